"""The one table from exceptions to wire codes."""

import inspect

import pytest

from tidelog.broker.errors import ANSWERABLE, CODES, code_of, message_of, outcome_of
from tidelog.protocol.errors import CorruptBatch, ErrorCode, RequestRefused
from tidelog.storage import errors as storage_errors
from tidelog.storage.errors import DiskFull, OffsetOutOfRange

WHEN_OPENING = {"DirectoryLocked", "UnknownFormat", "LogMissing"}
"""These end a start; no request meets them."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OffsetOutOfRange(7, 0, 5), ErrorCode.OFFSET_OUT_OF_RANGE),
        (CorruptBatch("crc"), ErrorCode.CORRUPT_MESSAGE),
        (DiskFull("orders-0", "no space left"), ErrorCode.KAFKA_STORAGE_ERROR),
        (RequestRefused(ErrorCode.INVALID_RECORD, "x"), ErrorCode.INVALID_RECORD),
        (KeyError("nobody foresaw this"), ErrorCode.UNKNOWN_SERVER_ERROR),
    ],
)
def test_an_exception_has_its_code(error: Exception, code: ErrorCode) -> None:
    assert code_of(error) is code


def test_every_storage_error_that_a_request_can_meet_has_a_code() -> None:
    for name, kind in inspect.getmembers(storage_errors, inspect.isclass):
        if issubclass(kind, storage_errors.StorageError) and kind is not storage_errors.StorageError:
            answered = any(base in CODES for base in kind.__mro__)
            assert answered or name in WHEN_OPENING, f"{name} has no code"


def test_what_is_answerable_is_what_has_a_code() -> None:
    assert set(ANSWERABLE) == {RequestRefused, *CODES}


def test_a_part_of_a_request_that_went_well_has_no_message() -> None:
    assert outcome_of(None) == (ErrorCode.NONE, None)
    assert outcome_of(RequestRefused(ErrorCode.INVALID_RECORD, "no key")) == (ErrorCode.INVALID_RECORD, "no key")


def test_a_client_is_told_the_reason_without_the_code_that_goes_beside_it() -> None:
    assert message_of(RequestRefused(ErrorCode.INVALID_RECORD, "no key")) == "no key"
    assert message_of(RequestRefused(ErrorCode.INVALID_RECORD)) == "INVALID_RECORD"
    assert message_of(OffsetOutOfRange(7, 0, 5)) == str(OffsetOutOfRange(7, 0, 5))
    assert len(message_of(KeyError("x" * 100_000))) == 1000
