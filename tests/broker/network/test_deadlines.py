"""Deadlines: who is sent away, when, and for what [reliability 3.5]."""

from dataclasses import replace

import pytest

from tidelog.broker.network.deadlines import (
    ANSWERS_NOT_TAKEN,
    MEMORY_NEEDED,
    NO_REQUEST,
    RATE_MIN,
    RATE_MIN_WHEN_SCARCE,
    SLOW_REQUEST,
    ReaderClock,
    Round,
    SenderClock,
)

ROUND = Round(
    now=0.0,
    elapsed_s=1.0,
    handshake_s=10.0,
    frame_s=10.0,
    send_s=60.0,
    idle_s=600.0,
    requests_press=False,
    responses_press=False,
)


def at(now: float, **changes: bool) -> Round:
    return replace(ROUND, now=now, **changes)


def an_old_hand(now: float = 100.0) -> SenderClock:
    """Of a connection that has asked before, and has begun to ask again."""
    clock = SenderClock(0.0001)
    clock.finished()
    clock.began(now, 0)
    return clock


def verdicts(clock: SenderClock, held: dict[float, int], **changes: bool) -> list[str]:
    return [clock.judge(at(now, **changes), size, holds_memory=True) for now, size in held.items()]


def test_a_new_connection_has_its_time_to_ask_something() -> None:
    clock = SenderClock(100.0)
    assert verdicts(clock, {110.0: 0, 110.1: 0}) == ["", NO_REQUEST]


def test_a_new_connection_that_asks_slowly_has_no_more_time() -> None:
    clock = SenderClock(100.0)
    clock.began(100.0, 0)
    assert verdicts(clock, {105.0: 100_000, 110.1: 200_000}) == ["", NO_REQUEST]


def test_who_has_asked_once_may_be_silent() -> None:
    clock = SenderClock(100.0)
    clock.finished()
    assert verdicts(clock, {1000.0: 0}) == [""]


@pytest.mark.parametrize("rate", [0, 1, RATE_MIN - 1])
def test_a_request_that_comes_too_slowly_is_not_waited_for(rate: int) -> None:
    """The slow loris."""
    clock = an_old_hand()
    assert verdicts(clock, {110.0: 10 * rate + 1, 110.5: int(10.5 * rate) + 1}) == ["", SLOW_REQUEST]


def test_a_request_that_comes_fast_enough_may_take_its_time() -> None:
    clock = an_old_hand()
    sizes = {100.0 + second: 1 + RATE_MIN * second for second in range(1, 1000)}
    assert set(verdicts(clock, sizes)) == {""}


def test_who_begins_fast_must_go_on() -> None:
    """An average over the whole request would let it be slow for hours."""
    clock = an_old_hand()
    sizes = {100.0 + second: 50_000_000 + second for second in range(1, 30)}
    assert SLOW_REQUEST in verdicts(clock, sizes)


def test_time_in_which_we_did_not_read_does_not_count() -> None:
    clock = an_old_hand()
    clock.began(500.0, 7)
    assert verdicts(clock, {509.0: 7, 510.1: 7}) == ["", SLOW_REQUEST]


def test_while_memory_is_scarce_who_holds_some_must_hurry() -> None:
    clock = an_old_hand()
    sizes = {101.0: 50_000, 102.0: 50_000 + RATE_MIN_WHEN_SCARCE, 103.0: 60_000 + RATE_MIN_WHEN_SCARCE}
    assert verdicts(clock, sizes, requests_press=True) == ["", "", MEMORY_NEEDED]
    clock = an_old_hand()
    assert verdicts(clock, sizes) == ["", "", ""]


def test_who_holds_no_memory_need_not_hurry() -> None:
    clock = an_old_hand()
    pressing = [clock.judge(at(now, requests_press=True), 100, holds_memory=False) for now in (101.0, 102.0, 103.0)]
    assert pressing == ["", "", ""]


# Answers


def take(clock: ReaderClock, round_: Round, left: int, *, holds_memory: bool = False) -> str:
    return clock.judge(round_, left, holds_memory=holds_memory)


def test_a_reader_that_takes_nothing_is_not_waited_for_longer_than_its_time() -> None:
    clock = ReaderClock(100.0)
    clock.wrote(1000)
    assert take(clock, at(160.0), 1000) == ""
    assert take(clock, at(161.0), 1000) == ANSWERS_NOT_TAKEN


def test_a_reader_that_takes_little_by_little_is_waited_for() -> None:
    clock = ReaderClock(100.0)
    clock.wrote(1000)
    for step in range(1, 20):
        assert take(clock, at(100.0 + 50 * step), 1000 - step) == ""


def test_what_is_written_meanwhile_is_not_taken_for_what_was_left() -> None:
    clock = ReaderClock(100.0)
    clock.wrote(1000)
    assert take(clock, at(150.0), 999) == ""
    clock.wrote(1000)
    assert take(clock, at(200.0), 1999) == ""
    assert take(clock, at(211.0), 1999) == ANSWERS_NOT_TAKEN


def test_while_memory_is_scarce_readers_must_hurry() -> None:
    clock = ReaderClock(100.0)
    clock.wrote(1 << 20)
    press = {"responses_press": True}
    assert take(clock, at(101.0, **press), 1 << 20) == "", "it may just have begun"
    assert take(clock, at(102.0, **press), (1 << 20) - RATE_MIN_WHEN_SCARCE) == ""
    assert take(clock, at(103.0, **press), (1 << 20) - RATE_MIN_WHEN_SCARCE - 1) == MEMORY_NEEDED


def test_who_takes_no_answers_cannot_hold_memory_for_requests_either() -> None:
    """Nothing is read from it meanwhile, so its half request would stay for as long as it likes."""
    for holds_memory, verdict in ((True, MEMORY_NEEDED), (False, "")):
        clock = ReaderClock(100.0)
        clock.wrote(1 << 20)
        assert take(clock, at(101.0, requests_press=True), 1 << 20, holds_memory=holds_memory) == ""
        assert take(clock, at(102.0, requests_press=True), 1 << 20, holds_memory=holds_memory) == verdict
