"""What a produced batch must be, and what is made of it before it is appended (B-2 to B-16).

Everything that can be is told from the header and its CRC; records are decoded only where a topic asks for a check of
each one's time, or to tell a client which of them were wrong, and inflated only where a topic wants another
compression. A batch whose header names a greatest timestamp that its records do not have is believed.
"""

from collections.abc import Mapping
from contextlib import suppress
from itertools import islice

from ...protocol import batch as batches
from ...protocol.batch import MAGIC_POSITION, NO_TIMESTAMP, BatchHeader
from ...protocol.compression import Codec
from ...protocol.errors import ErrorCode, ProtocolError, RequestRefused
from ...protocol.records import CREDIBLE_SIZE_MIN, RECORDS_DECODED_MAX, credible_size, iterate_times, recompress
from ...storage.config import LONG_MAX, LogConfig

RECORDS_TOLD_MAX = 10_000
"""A batch of more is refused without a look at which of its records were wrong."""
RECORD_ERRORS_MAX = 100
"""Told of one batch: who sends a million wrong records knows enough after that many."""

LAST_OFFSET_DELTA, MINUS_ONE = slice(23, 27), b"\xff" * 4
RECORD_COUNT, NONE_AT_ALL = slice(57, 61), bytes(4)

PRODUCER = "producer"
"""The compression type that keeps what the producer chose."""

CODECS: Mapping[str, Codec] = {
    "uncompressed": Codec.NONE,
    "gzip": Codec.GZIP,
    "snappy": Codec.SNAPPY,
    "lz4": Codec.LZ4,
    "zstd": Codec.ZSTD,
}


class RecordsRefused(RequestRefused):
    """Single records made the whole batch be refused (KIP-467)."""

    def __init__(self, code: ErrorCode, message: str, record_errors: tuple[tuple[int, str], ...]) -> None:
        super().__init__(code, message)
        self.record_errors = record_errors
        """Position in the batch, and what is wrong there."""


def admit(records: memoryview, config: LogConfig, *, now_ms: int) -> tuple[memoryview, BatchHeader]:
    """The batch as it may be appended, and its header: `records` itself, unless the topic has a compression of its own.

    Raises RequestRefused with the code of the rule it breaks, CorruptBatch when the bytes lie.
    """
    header = check_produced(records, config)
    if config.message_timestamp_type == "CreateTime":
        _check_times(records, header, config, now_ms)
    if config.compression_type == PRODUCER or header.codec == CODECS[config.compression_type]:
        return records, header
    codec = CODECS[config.compression_type]
    made = recompress(records, codec, _level(config), inflated_size_max=credible_size(records))
    _check_size(len(made), config)  # B-4 again: it may have grown
    view = memoryview(made)
    return view, batches.read_header(view)


def check_produced(records: memoryview, config: LogConfig) -> BatchHeader:
    """What can be said of a produced batch from its header and its CRC [B-2, B-4 to B-10, B-13], in Kafka's order.

    Raises as `admit`.
    """
    if len(records) > MAGIC_POSITION and records[MAGIC_POSITION] != batches.MAGIC:
        raise _refused(ErrorCode.INVALID_RECORD, "only record batches of magic 2 are accepted")
    if bytes(records[LAST_OFFSET_DELTA]) == MINUS_ONE and bytes(records[RECORD_COUNT]) == NONE_AT_ALL:
        # No header at all to those who read logs; of a producer it is a batch without records, like any other [B-8].
        raise _refused(ErrorCode.INVALID_RECORD, "a batch without records")
    header = batches.read_header(records)
    if header.size < len(records):
        raise _refused(ErrorCode.INVALID_RECORD, "a partition takes exactly one record batch a request")
    if header.base_offset != 0:
        raise _refused(ErrorCode.INVALID_RECORD, f"the base offset of a produced batch is 0, not {header.base_offset}")
    if header.size > config.max_message_bytes:
        raise _too_large(header.size, config)
    batches.check(records)
    if header.record_count <= 0 or header.last_offset_delta + 1 != header.record_count:
        raise _refused(
            ErrorCode.INVALID_RECORD,
            f"record count {header.record_count} and last offset delta {header.last_offset_delta} disagree",
        )
    if header.codec not in CODECS.values():
        raise _refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"there is no compression {header.codec}")
    if header.is_control:
        raise _refused(ErrorCode.INVALID_RECORD, "clients do not write control batches")
    if header.producer_id >= 0 and (header.base_sequence < 0 or header.producer_epoch < 0):
        raise _refused(ErrorCode.INVALID_RECORD, "a batch with a producer id needs a base sequence and an epoch")
    if header.is_transactional:
        # No transaction is ever begun: InitProducerId gives no producer id for one.
        raise _refused(ErrorCode.INVALID_TXN_STATE, "the partition is in no transaction of this producer")
    if header.is_log_append_time:
        raise _refused(ErrorCode.INVALID_TIMESTAMP, "clients do not set the timestamp type LogAppendTime")
    _check_size(header.size, config)
    return header


def _check_size(size: int, config: LogConfig) -> None:
    """B-4, B-5."""
    if size > config.max_message_bytes:
        raise _too_large(size, config)
    if size > config.segment_bytes:
        raise _refused(
            ErrorCode.RECORD_LIST_TOO_LARGE,
            f"the batch of {size} bytes exceeds segment.bytes={config.segment_bytes}",
        )


def _check_times(records: memoryview, header: BatchHeader, config: LogConfig, now_ms: int) -> None:
    """B-12 (KIP-937): each record's time is near enough to ours."""
    earliest = now_ms - config.message_timestamp_before_max_ms
    latest = now_ms + config.message_timestamp_after_max_ms
    errors: tuple[tuple[int, str], ...] = ()
    if header.max_timestamp > latest:
        # Refused in any case; a small batch is looked into to say which records it was.
        if header.record_count <= RECORDS_TOLD_MAX:
            with suppress(ProtocolError):
                errors = _records_outside(records, earliest, latest, inflated_size_max=CREDIBLE_SIZE_MIN)
        errors = errors or ((0, _out_of_range(header.max_timestamp, 0, earliest, latest)),)
    elif config.message_timestamp_before_max_ms != LONG_MAX:
        if header.record_count > RECORDS_DECODED_MAX:
            raise _refused(
                ErrorCode.INVALID_TIMESTAMP,
                f"the times of {header.record_count} records would have to be checked, {RECORDS_DECODED_MAX} at most",
            )
        errors = _records_outside(records, earliest, latest, inflated_size_max=credible_size(records))
    if errors:
        raise RecordsRefused(
            ErrorCode.INVALID_TIMESTAMP, "One or more records have been rejected due to invalid timestamp", errors
        )


def _records_outside(
    records: memoryview, earliest: int, latest: int, *, inflated_size_max: int
) -> tuple[tuple[int, str], ...]:
    """Position and complaint of the first of those whose time is out of range. Raises ProtocolError."""
    wrong = (
        (index, _out_of_range(timestamp, index, earliest, latest))
        for index, timestamp in iterate_times(records, inflated_size_max=inflated_size_max)
        if timestamp != NO_TIMESTAMP and not earliest <= timestamp <= latest
    )
    return tuple(islice(wrong, RECORD_ERRORS_MAX))


def _out_of_range(timestamp: int, offset: int, earliest: int, latest: int) -> str:
    return (
        f"Timestamp {timestamp} of message with offset {offset} is out of range. "
        f"The timestamp should be within [{earliest}, {latest}]"
    )


def _level(config: LogConfig) -> int | None:
    """The level of the topic's own compression; None where there is none to choose."""
    match CODECS[config.compression_type]:
        case Codec.GZIP:
            # Java's -1 is zlib's word for its default.
            return None if config.compression_gzip_level == -1 else config.compression_gzip_level
        case Codec.LZ4:
            return config.compression_lz4_level
        case Codec.ZSTD:
            return config.compression_zstd_level
    return None


def _too_large(size: int, config: LogConfig) -> RequestRefused:
    return _refused(
        ErrorCode.MESSAGE_TOO_LARGE,
        f"the batch of {size} bytes exceeds max.message.bytes={config.max_message_bytes}",
    )


def _refused(code: ErrorCode, message: str) -> RequestRefused:
    return RequestRefused(code, message)
