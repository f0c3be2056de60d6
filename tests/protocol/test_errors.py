"""Error codes are Kafka's, and exceptions carry what their catchers need."""

from __future__ import annotations

import pytest
from kio.schema.errors import ErrorCode as KioErrorCode

from tidelog.protocol.errors import (
    CorruptBatch,
    DecompressionFailed,
    ErrorCode,
    FrameTooLarge,
    InflatedTooLarge,
    MalformedMessage,
    ProtocolError,
    RequestRefused,
    UnsupportedVersion,
)


def test_names_numbers_and_retriability_are_kafkas() -> None:
    ours = {(code.name, int(code), code.retriable) for code in ErrorCode}
    assert ours == {(code.name.upper(), int(code), code.retriable) for code in KioErrorCode}
    assert {int(code) for code in ErrorCode} == set(range(-1, 134))


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_is_described_in_a_sentence(code: ErrorCode) -> None:
    assert code.description[0].isupper() or code.description.startswith("acks")
    assert code.description.endswith(".")


def test_a_number_is_looked_up_and_an_unknown_one_is_an_unknown_error() -> None:
    assert ErrorCode.of(3) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert ErrorCode.of(9999) is ErrorCode.UNKNOWN_SERVER_ERROR


@pytest.mark.parametrize(
    "kind", [MalformedMessage, FrameTooLarge, UnsupportedVersion, CorruptBatch, DecompressionFailed, InflatedTooLarge]
)
def test_whatever_closes_the_connection_is_a_protocol_error(kind: type[Exception]) -> None:
    assert issubclass(kind, ProtocolError)


def test_an_unsupported_version_carries_the_header_that_could_be_read() -> None:
    header = object()
    error = UnsupportedVersion(18, 99, header)
    assert (error.api_key, error.version, error.header) == (18, 99, header)
    assert "version 99 of API 18" in str(error)


def test_a_refusal_is_named_by_its_code() -> None:
    error = RequestRefused(ErrorCode.INVALID_REQUEST, "two of them")
    assert (error.code, error.message) == (ErrorCode.INVALID_REQUEST, "two of them")
    assert str(error) == "INVALID_REQUEST: two of them"
    assert str(RequestRefused(ErrorCode.INVALID_REQUEST)) == "INVALID_REQUEST"
    assert not isinstance(error, ProtocolError)
