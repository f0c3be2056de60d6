"""The batch header against Kafka's layout (kafka.md 2a), and what its checksum does and does not protect."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch

from support.builders import a_batch, batches, values_of, with_header
from tidelog.protocol import batch as batch_module
from tidelog.protocol import primitives
from tidelog.protocol.batch import (
    HEADER_SIZE,
    BatchHeader,
    check,
    crc_of,
    read_header,
    restamp,
    stamp_append_time,
    stamp_producer,
    walk,
    write_header,
)
from tidelog.protocol.compression import Codec
from tidelog.protocol.errors import CorruptBatch, ProtocolError

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
COUNT = st.integers(0, (1 << 31) - 1)
INT16 = st.integers(-(1 << 15), (1 << 15) - 1)

HEADERS = st.builds(
    BatchHeader,
    base_offset=INT64,
    batch_length=st.just(HEADER_SIZE - 12 + 5),
    leader_epoch=INT32,
    magic=st.just(2),
    crc=st.just(0),
    attributes=INT16,
    last_offset_delta=COUNT,
    base_timestamp=INT64,
    max_timestamp=INT64,
    producer_id=INT64,
    producer_epoch=INT16,
    base_sequence=INT32,
    record_count=COUNT,
)


@given(HEADERS)
def test_a_header_is_read_as_it_was_written(header: BatchHeader) -> None:
    buffer = bytearray(HEADER_SIZE + 5)
    write_header(buffer, 0, header)
    found = check(buffer)
    assert found._replace(crc=0) == header
    assert found.crc == crc_of(buffer, 0, len(buffer))


@given(HEADERS)
def test_every_header_field_stands_where_kafka_python_finds_it(header: BatchHeader) -> None:
    buffer = bytearray(HEADER_SIZE + 5)
    write_header(buffer, 0, header)
    theirs = DefaultRecordBatch(buffer)
    assert theirs.validate_crc()
    assert (theirs.base_offset, theirs.size_in_bytes, theirs.leader_epoch) == (
        header.base_offset,
        header.size,
        header.leader_epoch,
    )
    assert (theirs.last_offset, theirs.next_offset) == (header.last_offset, header.next_offset)
    assert (theirs.first_timestamp, theirs.max_timestamp) == (header.base_timestamp, header.max_timestamp)
    assert (theirs.producer_id, theirs.producer_epoch, theirs.base_sequence, theirs.records_count) == (
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        header.record_count,
    )
    assert (theirs.compression_type, theirs.timestamp_type) == (header.codec, header.timestamp_type)
    assert (theirs.is_transactional, theirs.is_control_batch) == (header.is_transactional, header.is_control)


@pytest.mark.parametrize(
    ("attributes", "codec", "flags"),
    [
        (0x00, 0, set()),
        (0x04, 4, set()),
        (0x07, 7, set()),
        (0x08, 0, {"is_log_append_time"}),
        (0x13, 3, {"is_transactional"}),
        (0x30, 0, {"is_transactional", "is_control"}),
        (0x40, 0, {"has_delete_horizon"}),
        (-1, 7, {"is_log_append_time", "is_transactional", "is_control", "has_delete_horizon"}),
    ],
)
def test_each_attribute_is_a_bit_of_its_own(attributes: int, codec: int, flags: set[str]) -> None:
    header = read_header(with_header(a_batch(), attributes=attributes))
    assert header.codec == codec
    assert header.timestamp_type == int(header.is_log_append_time)
    names = ("is_log_append_time", "is_transactional", "is_control", "has_delete_horizon")
    assert {name for name in names if getattr(header, name)} == flags


@pytest.mark.parametrize("size", [0, 1, 12, 16, 17, 60])
def test_fewer_bytes_than_a_header_are_no_header(size: int) -> None:
    with pytest.raises(CorruptBatch, match=f"{size} bytes are left"):
        read_header(a_batch()[:size])


@pytest.mark.parametrize(
    "changes", [{"record_count": -1}, {"last_offset_delta": -1}, {"record_count": -(1 << 31), "last_offset_delta": -1}]
)
def test_negative_counts_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(CorruptBatch, match="records and last offset delta"):
        read_header(with_header(a_batch(), **changes))


@pytest.mark.parametrize("magic", [-1, 0, 1, 3, 127])
def test_another_magic_than_2_is_refused(magic: int) -> None:
    batch = a_batch()
    struct.pack_into(">b", batch, 16, magic)
    with pytest.raises(CorruptBatch, match=f"magic {magic}"):
        read_header(batch)


@pytest.mark.parametrize("length", [-(1 << 31), -1, 0, 48])
def test_a_batch_length_less_than_a_header_is_refused(length: int) -> None:
    batch = a_batch()
    struct.pack_into(">i", batch, 8, length)
    with pytest.raises(CorruptBatch, match=f"batch length {length}"):
        read_header(batch)


def test_the_header_is_read_before_the_records_have_arrived() -> None:
    batch = a_batch()
    assert read_header(batch[:HEADER_SIZE]).size == len(batch)


def test_a_batch_that_is_cut_short_does_not_pass_the_check() -> None:
    """B-6."""
    batch = a_batch()
    for size in range(len(batch)):
        with pytest.raises(CorruptBatch, match=rf"\b{size} (bytes )?are left"):
            check(batch[:size])
    assert check(batch) == read_header(batch)


@pytest.mark.parametrize("codec", Codec)
def test_every_flipped_bit_under_the_checksum_is_found(codec: Codec) -> None:
    """B-6: CRC-32C over bytes 21 to the end, and over the checksum itself."""
    batch = a_batch([b"one", None, b"three" * 20], key=b"key", headers=[("name", b"value")], codec=codec)
    check(batch)
    for bit in range(17 * 8, len(batch) * 8):
        batch[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(CorruptBatch):
            check(batch)
        batch[bit >> 3] ^= 1 << (bit & 7)
    check(batch)


def test_a_batch_is_checked_where_it_stands() -> None:
    first, second = a_batch([b"a"]), a_batch([b"b", b"c"])
    buffer = memoryview(first + second + b"rest")
    assert check(buffer, len(first)).record_count == 2
    with pytest.raises(CorruptBatch, match="are left"):
        check(buffer[:-5], len(first))
    with pytest.raises(CorruptBatch):
        check(buffer, 1)


def test_restamping_changes_base_offset_and_leader_epoch_and_leaves_the_checksum_true() -> None:
    """B-15: neither field is under the checksum."""
    batch = bytearray(b"before") + a_batch([b"a", b"b"])
    before = read_header(batch, 6)
    restamp(memoryview(batch), 6, base_offset=1 << 40, leader_epoch=77)
    assert check(batch, 6) == before._replace(base_offset=1 << 40, leader_epoch=77)
    assert batch[:6] == b"before"


@pytest.mark.parametrize("codec", Codec)
def test_the_append_time_becomes_the_time_of_every_record(codec: Codec) -> None:
    """B-15: timestamp type, max timestamp and a new checksum; the records are not touched."""
    batch = a_batch([b"a", b"b"], codec=codec)
    before = read_header(batch)
    stamp_append_time(memoryview(batch), 0, 1_800_000_000_123)
    after = check(batch)
    assert after == before._replace(attributes=before.attributes | 8, max_timestamp=1_800_000_000_123, crc=after.crc)
    assert after.crc != before.crc
    if codec in {Codec.NONE, Codec.GZIP}:
        theirs = DefaultRecordBatch(batch)
        assert theirs.validate_crc()
        assert [record.timestamp for record in theirs] == [1_800_000_000_123] * 2


def test_a_producers_numbers_are_changed_in_place_and_the_checksum_is_true_again() -> None:
    batch = bytearray(b"before") + a_batch([b"a", b"b"])
    before = read_header(batch, 6)
    stamp_producer(memoryview(batch), 6, producer_id=1 << 40, producer_epoch=3, base_sequence=2_147_483_647)
    after = check(batch, 6)
    assert after.crc != before.crc
    assert after == before._replace(producer_id=1 << 40, producer_epoch=3, base_sequence=2_147_483_647, crc=after.crc)
    assert batch[:6] == b"before"


def test_walking_finds_every_batch_and_its_position() -> None:
    log = batches([[b"a"], [b"b", b"c"], [b"d"]], base_offset=40)
    found = list(walk(log))
    assert [header.base_offset for _, header in found] == [40, 41, 43]
    assert [position + header.size for position, header in found] == [
        *(position for position, _ in found[1:]),
        len(log),
    ]
    assert list(walk(log, found[1][0])) == found[1:]
    assert values_of(log) == [b"a", b"b", b"c", b"d"]


def test_walking_ends_before_a_last_batch_that_is_cut_short() -> None:
    """L-5: a read of a log may end in the middle of a batch."""
    log = batches([[b"a"], [b"b", b"c"]])
    whole = list(walk(log))
    second = whole[1][0]
    for size in range(len(log)):
        assert list(walk(log[:size])) == whole[: int(size >= second)]


def test_walking_over_what_is_no_batch_is_an_error() -> None:
    log = batches([[b"a"], [b"b"]])
    second = list(walk(log))[1][0]
    log[second + 16] = 1
    with pytest.raises(CorruptBatch, match="magic 1;"):
        list(walk(log))


@given(st.binary(max_size=200), st.integers(0, 100))
def test_garbage_is_nothing_worse_than_a_protocol_error(garbage: bytes, position: int) -> None:
    for read in (read_header, check, lambda *where: list(walk(*where))):
        try:
            read(garbage, position)
        except ProtocolError:
            continue


@given(st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_damaged_log_is_nothing_worse_than_a_protocol_error(damage: list[tuple[int, int]]) -> None:
    log = batches([[b"a"], [b"b", b"c"], [b"d" * 10]])
    for position, byte in damage:
        log[position % len(log)] = byte
    try:
        for position, header in walk(log):
            assert position + header.size <= len(log)
            check(log, position)
    except ProtocolError:
        pass


def test_storage_finds_the_buffer_type_beside_the_batch() -> None:
    assert batch_module.Buffer is primitives.Buffer
