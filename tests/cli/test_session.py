"""What went wrong at the broker, as an exit code and a hint."""

from socket import AF_INET, SOCK_STREAM, socket

import pytest

from support.command_line import Stub, Tidelog
from support.fake_broker import Fault
from tidelog.cli.errors import Code
from tidelog.cli.session import failure_of
from tidelog.client import (
    ConnectionLost,
    GroupNotEmpty,
    GroupNotFound,
    MessageTooLarge,
    OffsetOutOfRange,
    PartitionNotFound,
    Refused,
    TidelogError,
    TimedOut,
    TopicExists,
    TopicNotFound,
)
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (ConnectionLost("x"), Code.UNREACHABLE, 6),
        (TimedOut("x"), Code.TIMED_OUT, 6),
        (TopicNotFound("x"), Code.TOPIC_NOT_FOUND, 5),
        (PartitionNotFound("x"), Code.PARTITION_NOT_FOUND, 5),
        (TopicExists("x"), Code.TOPIC_EXISTS, 1),
        (MessageTooLarge("x"), Code.RECORD_TOO_LARGE, 1),
        (OffsetOutOfRange("x"), Code.OFFSET_OUT_OF_RANGE, 1),
        (GroupNotFound("x"), Code.GROUP_NOT_FOUND, 5),
        (GroupNotEmpty("x"), Code.GROUP_NOT_EMPTY, 1),
        (Refused("x", code=ErrorCode.INVALID_CONFIG), Code.INVALID_TOPIC, 1),
        (Refused("x", code=ErrorCode.INVALID_TOPIC_EXCEPTION), Code.INVALID_TOPIC, 1),
        (Refused("x", code=ErrorCode.TOPIC_AUTHORIZATION_FAILED), Code.UNAUTHORISED, 7),
        (Refused("x", code=ErrorCode.SASL_AUTHENTICATION_FAILED), Code.UNAUTHORISED, 7),
        (Refused("x", code=ErrorCode.UNKNOWN_SERVER_ERROR), Code.REFUSED, 1),
    ],
)
def test_each_kind_of_failure_has_its_code(error: TidelogError, code: Code, exit_code: int) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.code.exit_code, failure.text) == (code, exit_code, "x")


def test_a_broker_that_does_not_answer_is_a_timeout(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.fail(ApiKey.CREATE_TOPICS, Fault(silent=True))
    ended = tidelog("topic", "create", "t", "--timeout", "300ms", server=stub.server)
    assert ended.code == 6
    assert ended.err.startswith("error[TL-0102]: ")
    assert "--timeout" in ended.err


def test_a_port_that_is_no_brokers_ends_within_the_timeout(tidelog: Tidelog) -> None:
    with socket(AF_INET, SOCK_STREAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ended = tidelog("topic", "ls", "--timeout", "300ms", server=f"127.0.0.1:{silent.getsockname()[1]}")
    assert ended.code == 6


def test_one_address_that_answers_is_enough(tidelog: Tidelog, stub: Stub) -> None:
    assert tidelog("topic", "ls", server=f"127.0.0.1:1,{stub.server}").code == 0


def test_every_address_that_refused_is_named(tidelog: Tidelog) -> None:
    ended = tidelog("topic", "ls", server="127.0.0.1:1,127.0.0.1:2")
    assert "127.0.0.1:1 (Connection refused), 127.0.0.1:2 (Connection refused)" in ended.err
