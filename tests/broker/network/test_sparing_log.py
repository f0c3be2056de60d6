"""Lines that strangers cause: one a second of each kind, and no line is left out untold."""

import logging

import pytest

from tidelog.broker.network.sparing_log import SparingLog

logger = logging.getLogger("tidelog.broker.network.somewhere")
REFUSED, BROKEN = "connection refused peer=%s", "connection closed, bytes make no sense peer=%s"


class Clock:
    """Time that the test passes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_first_line_is_written_and_a_flood_is_counted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = SparingLog(clock)
    for number in range(1000):
        log.say(logger, logging.WARNING, REFUSED, number)
    assert lines(caplog) == ["connection refused peer=0"]
    clock.now += 1
    log.say(logger, logging.WARNING, REFUSED, "next")
    assert lines(caplog)[1:] == ["connection refused peer=next left_out=999"]
    clock.now += 1
    log.say(logger, logging.WARNING, REFUSED, "last")
    assert lines(caplog)[2:] == ["connection refused peer=last"]


def test_one_kind_does_not_hide_another(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = SparingLog(clock)
    log.say(logger, logging.WARNING, REFUSED, 1)
    log.say(logger, logging.WARNING, BROKEN, 2)
    assert len(lines(caplog)) == 2


def test_when_the_flood_is_over_its_size_is_told(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = SparingLog(clock)
    for number in range(10):
        log.say(logger, logging.WARNING, BROKEN, number)
    log.flush()
    assert len(lines(caplog)) == 1, "it may not be over"
    clock.now += 1
    log.flush()
    log.flush()
    assert lines(caplog)[1:] == ["connection closed, bytes make no sense: left_out=9"]


def test_a_traceback_comes_with_the_line_that_is_written(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = SparingLog(clock)
    for _ in range(2):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            log.say(logger, logging.ERROR, "handler failed api=%s", "Fetch", traceback=True)
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert record.name == logger.name
