"""Which wire code answers which exception: the one table; and how much is said of it."""

from collections.abc import Mapping

from ..protocol.errors import CorruptBatch, DecompressionFailed, ErrorCode, InflatedTooLarge, RequestRefused
from ..storage.errors import (
    CorruptLog,
    DiskFailed,
    LogExists,
    LogOffline,
    OffsetOutOfRange,
    OutOfOrderSequence,
    ProducerFenced,
)

CODES: Mapping[type[Exception], ErrorCode] = {
    CorruptBatch: ErrorCode.CORRUPT_MESSAGE,
    # The checksum held, so the bytes are what was sent; and clients send again what is called corrupt.
    DecompressionFailed: ErrorCode.INVALID_RECORD,
    InflatedTooLarge: ErrorCode.INVALID_RECORD,
    OffsetOutOfRange: ErrorCode.OFFSET_OUT_OF_RANGE,
    CorruptLog: ErrorCode.CORRUPT_MESSAGE,
    LogExists: ErrorCode.KAFKA_STORAGE_ERROR,
    LogOffline: ErrorCode.KAFKA_STORAGE_ERROR,
    DiskFailed: ErrorCode.KAFKA_STORAGE_ERROR,
    ProducerFenced: ErrorCode.INVALID_PRODUCER_EPOCH,  # not PRODUCER_FENCED, which a coordinator answers (KIP-588)
    OutOfOrderSequence: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
}

ANSWERABLE: tuple[type[Exception], ...] = (RequestRefused, *CODES)
"""What a handler may catch and answer; anything else is a defect and ends the connection."""


MESSAGE_LENGTH_MAX = 1000
"""Characters. Names in it are the client's own, and what quotes them need not fit where the name did."""


def message_of(error: Exception) -> str:
    """What a client is told of `error`."""
    text = (error.message if isinstance(error, RequestRefused) else "") or str(error)
    return text[:MESSAGE_LENGTH_MAX]


def code_of(error: Exception) -> ErrorCode:
    """The code that answers `error`; UNKNOWN_SERVER_ERROR for what nobody foresaw."""
    if isinstance(error, RequestRefused):
        return error.code
    for kind in type(error).__mro__:
        code = CODES.get(kind)
        if code is not None:
            return code
    return ErrorCode.UNKNOWN_SERVER_ERROR


def outcome_of(error: Exception | None) -> tuple[ErrorCode, str | None]:
    """The code and the message for one part of a request: success has no message."""
    return (ErrorCode.NONE, None) if error is None else (code_of(error), message_of(error))
