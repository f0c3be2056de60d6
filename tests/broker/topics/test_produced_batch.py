"""A produced batch before it is appended: its time, its compression, which record was wrong [B-4, B-12, B-16].

What its header alone must say is tested where it is answered, in the produce handler's tests.
"""

import tracemalloc

import pytest

from support.builders import a_batch, values_of, with_header
from tidelog.broker.topics.produced_batch import RECORD_ERRORS_MAX, RecordsRefused, admit
from tidelog.protocol.batch import HEADER_SIZE, LENGTH_END, check
from tidelog.protocol.compression import Codec
from tidelog.protocol.errors import DecompressionFailed, ErrorCode, InflatedTooLarge, RequestRefused
from tidelog.protocol.primitives import write_varint
from tidelog.storage.config import LogConfig

NOW_MS = 1_750_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def at(*timestamps: int, codec: Codec = Codec.NONE) -> memoryview:
    """A batch with a record of each time."""
    first, *_ = timestamps
    step = timestamps[1] - first if len(timestamps) > 1 else 0
    assert list(timestamps) == [first + index * step for index in range(len(timestamps))]
    return memoryview(a_batch([b"v"] * len(timestamps), base_timestamp=first, timestamp_step=step, codec=codec))


# B-12


@pytest.mark.parametrize("timestamp", [NOW_MS, NOW_MS + HOUR_MS, 0, -1, NOW_MS - 100 * DAY_MS])
def test_unless_told_otherwise_any_past_and_the_next_hour_are_taken(timestamp: int) -> None:
    batch = at(timestamp)
    assert admit(batch, LogConfig(), now_ms=NOW_MS)[0] is batch


def test_who_is_ahead_of_us_is_told_which_records_are() -> None:
    with pytest.raises(RecordsRefused, match="rejected due to invalid timestamp") as refusal:
        admit(at(NOW_MS, NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS, codec=Codec.LZ4), LogConfig(), now_ms=NOW_MS)
    assert refusal.value.code is ErrorCode.INVALID_TIMESTAMP
    [(index, message)] = refusal.value.record_errors
    assert (index, f"Timestamp {NOW_MS + 2 * HOUR_MS} of message with offset 2 is out of range" in message) == (2, True)


def test_a_limit_to_the_past_is_held_against_every_record() -> None:
    config = LogConfig(message_timestamp_before_max_ms=DAY_MS)
    admit(at(NOW_MS - DAY_MS, NOW_MS), config, now_ms=NOW_MS)
    admit(at(-1), config, now_ms=NOW_MS)
    with pytest.raises(RecordsRefused) as refusal:
        admit(at(NOW_MS, NOW_MS - DAY_MS - 1), config, now_ms=NOW_MS)
    assert [index for index, _ in refusal.value.record_errors] == [1]


def test_under_the_brokers_clock_the_producers_does_not_count() -> None:
    config = LogConfig(message_timestamp_type="LogAppendTime", message_timestamp_before_max_ms=DAY_MS)
    admit(at(NOW_MS + 2 * HOUR_MS), config, now_ms=NOW_MS)
    admit(at(1), config, now_ms=NOW_MS)


def test_a_header_that_claims_the_future_for_its_records_is_refused() -> None:
    batch = memoryview(with_header(at(NOW_MS), max_timestamp=NOW_MS + 2 * HOUR_MS))
    with pytest.raises(RecordsRefused):
        admit(batch, LogConfig(), now_ms=NOW_MS)


def test_the_times_of_so_many_records_are_not_looked_at() -> None:
    """Or a batch that costs nothing to send would hold up everybody else for many seconds."""
    batch = memoryview(with_header(at(NOW_MS), record_count=200_001, last_offset_delta=200_000))
    admit(batch, LogConfig(), now_ms=NOW_MS)
    with pytest.raises(RequestRefused, match="the times of 200001 records would have to be checked") as refusal:
        admit(batch, LogConfig(message_timestamp_before_max_ms=DAY_MS), now_ms=NOW_MS)
    assert refusal.value.code is ErrorCode.INVALID_TIMESTAMP


def test_headers_are_not_read_for_a_time() -> None:
    """A record may have as many headers as bytes; making them would cost a thousand times as much."""
    count = 400_000
    record = b"\x00" + b"\x00\x00" + b"\x01\x01" + write_varint(count) + b"\x00\x01" * count
    batch = a_batch([b""], base_timestamp=NOW_MS)
    raw = batch[:HEADER_SIZE] + write_varint(len(record)) + record
    bomb = with_header(raw, batch_length=len(raw) - LENGTH_END, max_timestamp=NOW_MS + DAY_MS)
    tracemalloc.start()
    try:
        with pytest.raises(RecordsRefused):
            admit(memoryview(bomb), LogConfig(), now_ms=NOW_MS)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_only_so_many_errors_are_told() -> None:
    with pytest.raises(RecordsRefused) as refusal:
        admit(at(*[NOW_MS + DAY_MS] * 500), LogConfig(), now_ms=NOW_MS)
    assert len(refusal.value.record_errors) == RECORD_ERRORS_MAX


# B-16


@pytest.mark.parametrize("codec", list(Codec))
def test_a_topic_leaves_the_compression_to_the_producer(codec: Codec) -> None:
    batch = at(NOW_MS, codec=codec)
    assert admit(batch, LogConfig(), now_ms=NOW_MS)[0] is batch


@pytest.mark.parametrize("sent", list(Codec))
@pytest.mark.parametrize("wanted", ["uncompressed", "gzip", "snappy", "lz4", "zstd"])
def test_a_topic_may_have_a_compression_of_its_own(sent: Codec, wanted: str) -> None:
    values: list[bytes | None] = [b"some value " * 20, None, b"", b"another"]
    batch = memoryview(
        a_batch(values, key=b"k", base_timestamp=NOW_MS, codec=sent, producer_id=7, producer_epoch=1, base_sequence=3)
    )
    made, header = admit(batch, LogConfig(compression_type=wanted), now_ms=NOW_MS)
    assert header == check(made)
    assert header.codec == {"uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}[wanted]
    assert values_of(made) == values
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.record_count) == (7, 1, 3, 4)
    assert (made is batch) == (sent == header.codec), "what is right already is not touched"


def test_a_level_is_obeyed() -> None:
    text = b" ".join(b"%d is the square of %d" % (number * number, number) for number in range(9000))
    batch = memoryview(a_batch([text], base_timestamp=NOW_MS))

    def size(level: int) -> int:
        config = LogConfig(compression_type="zstd", compression_zstd_level=level)
        return len(admit(batch, config, now_ms=NOW_MS)[0])

    assert size(19) < size(1)


def test_a_batch_that_grew_is_measured_again() -> None:
    """B-4: what is stored must be fetched again."""
    batch = memoryview(a_batch([b"a" * 10_000], base_timestamp=NOW_MS, codec=Codec.ZSTD))
    config = LogConfig(compression_type="uncompressed", max_message_bytes=5_000)
    with pytest.raises(RequestRefused, match=r"exceeds max\.message\.bytes"):
        admit(batch, config, now_ms=NOW_MS)


def test_bytes_that_cannot_be_unpacked_are_refused() -> None:
    batch = bytearray(a_batch([b"some value " * 20], base_timestamp=NOW_MS, codec=Codec.ZSTD))
    batch[70:90] = bytes(20)
    with pytest.raises((DecompressionFailed, InflatedTooLarge)):
        admit(memoryview(with_header(batch)), LogConfig(compression_type="gzip"), now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("settings", "late_ms"), [({"compression.type": "gzip"}, 0), ({}, 10**12)], ids=["packed anew", "times looked at"]
)
def test_a_bomb_is_refused_before_it_goes_off(settings: dict[str, str], late_ms: int) -> None:
    """A few hundred bytes never cost more than a few mebibytes, whatever makes the broker look into them."""
    bomb = a_batch([bytes(20 << 20)], base_timestamp=NOW_MS, codec=Codec.ZSTD)
    bomb = with_header(bomb, max_timestamp=NOW_MS + late_ms)
    assert len(bomb) < 1000
    tracemalloc.start()
    try:
        with pytest.raises((InflatedTooLarge, RecordsRefused)):
            admit(memoryview(bomb), LogConfig().with_overrides(settings), now_ms=NOW_MS)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_compression_that_nobody_knows_is_refused(codec: int) -> None:
    with pytest.raises(RequestRefused, match="there is no compression") as refusal:
        admit(memoryview(with_header(at(NOW_MS), attributes=codec)), LogConfig(), now_ms=NOW_MS)
    assert refusal.value.code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
