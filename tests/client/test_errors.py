"""Which exception a code becomes."""

import pytest

from tidelog.client.errors import (
    MessageTooLarge,
    NotRetriable,
    OffsetOutOfRange,
    Refused,
    Retriable,
    TidelogError,
    TimedOut,
    TopicExists,
    TopicNotFound,
    Unavailable,
    error_for,
)
from tidelog.protocol.errors import ErrorCode


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.OFFSET_OUT_OF_RANGE, OffsetOutOfRange),
        (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, TopicNotFound),
        (ErrorCode.TOPIC_ALREADY_EXISTS, TopicExists),
        (ErrorCode.MESSAGE_TOO_LARGE, MessageTooLarge),
        (ErrorCode.REQUEST_TIMED_OUT, TimedOut),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, Unavailable),
        (ErrorCode.INVALID_RECORD, Refused),
    ],
)
def test_a_code_becomes_the_exception_that_programs_catch(code: ErrorCode, kind: type[TidelogError]) -> None:
    error = error_for(code, about="orders[3]")
    assert type(error) is kind
    assert error.code is code
    assert str(error) == f"orders[3]: {code.description} [{code.name}]"


@pytest.mark.parametrize("code", [code for code in ErrorCode if code != ErrorCode.NONE])
def test_every_code_is_either_worth_another_try_or_not(code: ErrorCode) -> None:
    error = error_for(code)
    assert isinstance(error, Retriable) != isinstance(error, NotRetriable)
    if not isinstance(error, TopicNotFound):
        assert isinstance(error, Retriable) == code.retriable


def test_what_the_broker_said_is_not_lost() -> None:
    assert "segment.bytes" in str(error_for(ErrorCode.INVALID_CONFIG, "segment.bytes must be a number"))


def test_a_code_that_nobody_knows_is_named_by_its_number() -> None:
    error = error_for(9999)
    assert "code 9999" in str(error)
    assert error.code is ErrorCode.UNKNOWN_SERVER_ERROR
