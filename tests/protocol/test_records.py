"""Records against kafka-python in both directions, against batches that librdkafka made, and against lying bytes."""

from __future__ import annotations

import base64
import contextlib
import itertools
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import codec as kafka_codec
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from support.builders import BASE_TIMESTAMP, a_batch, a_batch_of, records_of, some_value, values_of, with_header
from tidelog.protocol.batch import HEADER_SIZE, check, read_header, stamp_append_time, write_header
from tidelog.protocol.compression import Codec, compress
from tidelog.protocol.errors import CorruptBatch, DecompressionFailed, InflatedTooLarge, ProtocolError
from tidelog.protocol.primitives import write_varint, write_varlong
from tidelog.protocol.records import (
    BatchBuilder,
    ControlKind,
    ControlMarker,
    Record,
    build_batch,
    control_batch,
    credible_size,
    iterate,
    iterate_times,
    read_control,
    recompress,
    record_size_max,
)

KAFKA_PYTHON_HAS = {
    Codec.NONE: True,
    Codec.GZIP: kafka_codec.has_gzip(),
    Codec.SNAPPY: kafka_codec.has_snappy(),
    Codec.LZ4: kafka_codec.has_lz4(),
    Codec.ZSTD: kafka_codec.has_zstd(),
}
ORACLE_CODECS = [
    pytest.param(codec, marks=pytest.mark.skipif(not has, reason=f"kafka-python lacks its library for {codec.name}"))
    for codec, has in KAFKA_PYTHON_HAS.items()
]

OPTIONAL_BYTES = st.none() | st.binary(max_size=20) | st.integers(60, 9000).map(lambda size: b"x" * size)
ROW_HEADERS = st.lists(st.tuples(st.text(max_size=70), OPTIONAL_BYTES), max_size=4).map(tuple)
TIMESTAMPS = st.integers(BASE_TIMESTAMP - 20_000, BASE_TIMESTAMP + 20_000) | st.integers(-1, 1 << 62)
ROWS = st.lists(st.tuples(OPTIONAL_BYTES, OPTIONAL_BYTES, ROW_HEADERS, TIMESTAMPS), min_size=1, max_size=12)
Row = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...], int]


def rows_of(records: Sequence[Record]) -> list[Row]:
    return [(record.key, record.value, record.headers, record.timestamp) for record in records]


@pytest.mark.parametrize("codec", Codec)
@given(rows=ROWS, base_offset=st.integers(0, 1 << 62))
def test_the_records_of_a_batch_come_back(codec: Codec, rows: list[Row], base_offset: int) -> None:
    batch = build_batch(rows, codec=codec, base_offset=base_offset)
    header = check(batch)
    records = list(iterate(memoryview(batch)))
    assert rows_of(records) == rows
    assert [record.offset for record in records] == list(range(base_offset, base_offset + len(rows)))
    assert (header.codec, header.record_count, header.last_offset_delta) == (codec, len(rows), len(rows) - 1)
    assert header.base_timestamp == rows[0][3]
    assert header.max_timestamp == max(row[3] for row in rows)


@pytest.mark.parametrize("codec", ORACLE_CODECS)
@given(rows=ROWS, base_offset=st.integers(0, 1 << 62))
def test_kafka_python_reads_what_we_build(codec: Codec, rows: list[Row], base_offset: int) -> None:
    theirs = DefaultRecordBatch(build_batch(rows, codec=codec, base_offset=base_offset, leader_epoch=5))
    assert theirs.validate_crc()
    assert [
        (record.key, record.value, tuple(record.headers), record.timestamp, record.offset) for record in theirs
    ] == [(*row, base_offset + index) for index, row in enumerate(rows)]


@pytest.mark.parametrize("codec", ORACLE_CODECS)
@given(rows=ROWS)
def test_we_read_what_kafka_python_builds(codec: Codec, rows: list[Row]) -> None:
    builder = their_builder(codec)
    for index, (key, value, headers, timestamp) in enumerate(rows):
        assert builder.append(index, timestamp, key, value, list(headers)) is not None
    batch = builder.build()
    assert check(batch).record_count == len(rows)
    assert rows_of(list(iterate(batch))) == rows


@given(rows=ROWS, producer_id=st.integers(0, 1 << 62), base_sequence=st.integers(0, (1 << 31) - 1))
def test_uncompressed_batches_are_byte_for_byte_kafka_pythons(
    rows: list[Row], producer_id: int, base_sequence: int
) -> None:
    builder = their_builder(Codec.NONE)
    builder.set_producer_state(producer_id, 7, base_sequence, True)
    for index, (key, value, headers, timestamp) in enumerate(rows):
        builder.append(index, timestamp, key, value, list(headers))
    ours = build_batch(
        rows,
        leader_epoch=0,
        producer_id=producer_id,
        producer_epoch=7,
        base_sequence=base_sequence,
        is_transactional=True,
    )
    assert ours == builder.build()


def their_builder(codec: Codec) -> DefaultRecordBatchBuilder:
    return DefaultRecordBatchBuilder(
        magic=2,
        compression_type=int(codec),
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )


LIBRDKAFKA = {
    Codec.NONE: (
        "00000000000005h000000yeH`@Bjb+000F500E27<!Ar^00E27<!A)||NsC0|NsC0|NsC0{{R302ABZ=000VWWqB<yfB|-4Y"
        ";|QIFd%keY;|QIFd%keY;|QIFd%keY;|QIFd%keY;|QIFd%keY;|QIFd%keY;|QIFd%keY;|QIFdzV!0RRL73TtI~Eir%rc4"
        "2IFWgsyic42IFWgsyic42IFWgsyic42IFWgsyic42IFWgsyic42IFWgsyic42IFWgsyic42IFWgsyi0GI&)2m}giWqB<yfB|"
        "-4Y;|QIG9Y$gY;|QIG9Y$gY;|QIG9Y$gY;|QIG9Y$gY;|QIG9Y$gY;|QIG9Y$gY;|QIG9Y$gY;|QIG9Uns0RRF90e}H^VQh6"
        "}ATuC#VQh6}ATuC#VQh6}ATuC#VQh6}ATuC#VQh6}ATuC#VQh6}ATuC#VQh6}ATuC#VQh6}ATuBU761ka3TtI~EieH9!~p;R"
        "3JPmwc`Y%30d`?*b!8wmAa-GFb!8wmAa-GFb!8wmAa-GFb!8wmAa-GFb!8wmAa-GFb!8wmAa-GFb!8wmAa-GFb!8wmAO;F_a"
        "$#d-1ONdFWo>YDc>oA*Z*FA)"
    ),
    Codec.GZIP: (
        "000000000000024000000=`GSH2?ts000F500E27<!Ar^00E27<!A)||NsC0|NsC0|NsC0{{R301|N$E00000000A<!N|bCz"
        "?Gd^scX={SeBSmnyO%+KrYQNgOP!S32d4n%rrv<a%qrh94x4AGg2UzX6R#NU}9s08Dy+LF3ljuz{UY_6(hqDVDNFFde~HfT$"
        "+umq$n{tm4$(kD>b*Eq>_OnFF!Ap5ddY3ibA6S000"
    ),
    Codec.SNAPPY: (
        "00000000000002A000000tay@O8^1@000F500E27<!Ar^00E27<!A)||NsC0|NsC0|NsC0{{R302BQN|m;nF)019hmc`Y!20"
        "d`?*b!8whAl?W76abh300aUBP5?0xP5?0tPR0lT0Zs%61O-kNoB%QnPR0lT7yym|00IU95tjfn4N1lb01yBc00syNmKXs5!~"
        "p;R3Iz=n@c=aqTE++fSOyAoa$#d-1ONdFWo>YDc>oA*Z*FA)"
    ),
    Codec.LZ4: (
        "00000000000002W000000sw0kKmY>(000F500E27<!Ar^00E27<!A)||NsC0|NsC0|NsC0{{R301_UBa7+^qxiU0rr{|1-=0"
        "000AYh`&YFn|GeVQh6}ATS^Z03~4nm;nF;0!{!FF-`yzF-`yv2ml`dP5>bY1Wo`2oB$ItP5=)G03UP!jsXAy1_74<6EjHw4+"
        "sDsQUDeJ1_+h_aRC6t0RR9B4FCo4024J@01pTNAMgkU3UqQ|V`T&Y0SaYpaCCV92ySm~WdQ&H000"
    ),
    Codec.ZSTD: (
        "00000000000002H000000wtqkxBvtI000F500E27<!Ar^00E27<!A)||NsC0|NsC0|NsC0{{R301}L>J{Qy`E1OQ^i6CI$ZI"
        "sbo-*9R``e*Etr$wyUPp4rNw?@R9P-6;i5hG3{jOC0iClZ2&cchdj=|FwS9h)w|=_>|gF0UD%KF?G^}DHn#ta03HK7Ot(676"
        "2d%$Oke5SwKFJ8DxTPlAn#BgBXx6+7LE~0P+E1;2Kyqhyn5eu_#<{ca}Q"
    ),
}
"""What librdkafka's producer sent for the rows below, one batch for each `compression.codec`."""


@pytest.mark.parametrize("codec", Codec)
def test_batches_that_librdkafka_made_are_read(codec: Codec) -> None:
    batch = base64.b85decode(LIBRDKAFKA[codec])
    header = check(batch)
    assert (header.codec, header.record_count, header.max_timestamp) == (codec, 6, 1_700_000_000_004)
    assert list(iterate(batch)) == [
        Record(
            offset=index,
            timestamp=1_700_000_000_000 + 7 * index % 5,
            key=None if index == 3 else b"key-%d" % (index % 2),
            value=None if index == 4 else b"value %d " % index * 8,
            headers=(("trace", b"\x00\x01"), ("empty", b""), ("none", None)) if index == 5 else (),
        )
        for index in range(6)
    ]


@pytest.mark.parametrize("codec", Codec)
def test_with_append_time_every_record_has_the_batchs_max_timestamp(codec: Codec) -> None:
    """B-15."""
    batch = a_batch([b"a", b"b", b"c"], codec=codec)
    stamp_append_time(batch, 0, BASE_TIMESTAMP + 999)
    assert [record.timestamp for record in iterate(batch)] == [BASE_TIMESTAMP + 999] * 3
    if KAFKA_PYTHON_HAS[codec]:
        assert [record.timestamp for record in DefaultRecordBatch(batch)] == [BASE_TIMESTAMP + 999] * 3


@given(rows=ROWS)
def test_the_builder_knows_its_size_to_the_byte(rows: list[Row]) -> None:
    builder = BatchBuilder()
    for index, (key, value, headers, timestamp) in enumerate(rows):
        size = builder.size
        assert builder.append(key, value, headers, timestamp) == index
        assert builder.size - size <= record_size_max(key, value, headers)
    assert builder.count == len(rows)
    assert builder.size == len(builder.build())


@given(rows=ROWS, size_max=st.integers(0, 30_000))
def test_a_batch_filled_while_there_is_room_stays_within_its_size(rows: list[Row], size_max: int) -> None:
    builder = BatchBuilder(size_max=size_max)
    for key, value, headers, timestamp in rows:
        if not builder.has_room_for(key, value, headers):
            break
        builder.append(key, value, headers, timestamp)
    assert builder.count == 1 or len(builder.build()) <= size_max


def test_an_empty_batch_has_room_for_a_record_of_any_size() -> None:
    builder = BatchBuilder(size_max=100)
    assert builder.has_room_for(None, bytes(1000))
    builder.append(None, bytes(1000), (), 0)
    assert not builder.has_room_for(None, None)


def test_building_twice_gives_the_same_bytes_and_growing_on_is_allowed() -> None:
    builder = BatchBuilder(codec=Codec.ZSTD)
    builder.append(b"k", b"1", (), BASE_TIMESTAMP)
    assert builder.build() == builder.build()
    builder.append(b"k", b"2", (), BASE_TIMESTAMP)
    assert values_of(builder.build()) == [b"1", b"2"]


def test_a_batch_without_a_producer_id_says_so_as_kafka_does() -> None:
    header = check(build_batch([(None, b"v", (), 5)]))
    assert (header.base_offset, header.leader_epoch, header.attributes) == (0, -1, 0)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (-1, -1, -1)


def test_producer_fields_stand_in_the_header() -> None:
    header = check(
        build_batch(
            [(None, b"v", (), 5)],
            producer_id=1 << 50,
            producer_epoch=3,
            base_sequence=17,
            is_transactional=True,
            leader_epoch=9,
        )
    )
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.leader_epoch) == (1 << 50, 3, 17, 9)
    assert header.is_transactional
    assert not header.is_control


@pytest.mark.parametrize("timestamp", [1 << 63, -(1 << 63) - 1])
def test_a_timestamp_beyond_64_bits_is_the_callers_mistake(timestamp: int) -> None:
    with pytest.raises(ValueError, match="64-bit"):
        BatchBuilder().append(None, b"v", (), timestamp)


@pytest.mark.parametrize("count", [63, 64, 65, 8191, 8192, 8193, 20_000])
def test_offsets_of_every_width_come_back(count: int) -> None:
    batch = a_batch_of(count, size=3)
    assert [record.offset for record in iterate(batch)] == list(range(count))
    assert [record.offset for record in DefaultRecordBatch(batch)] == list(range(count))


@pytest.mark.parametrize("size", [0, 1, 60, 63, 64, 8000, 8191, 8192, 8193, 70_000, 1_100_000])
def test_sizes_of_every_width_come_back(size: int) -> None:
    value = some_value(1, size)
    batch = build_batch([(value, value, ((value.decode(), value),), 0)])
    assert list(iterate(batch)) == [Record(0, 0, value, value, ((value.decode(), value),))]
    assert next(iter(DefaultRecordBatch(batch))).value == value


def test_only_the_first_batch_of_a_buffer_is_read() -> None:
    assert [record.value for record in iterate(a_batch([b"a"]) + a_batch([b"b"]))] == [b"a"]


def test_records_keep_the_offsets_that_compaction_left() -> None:
    """2a: gaps stay, and so does the last offset delta, also where its record has gone."""
    data = b"".join(a_record(delta, b"v%d" % delta) for delta in (2, 3, 7))
    batch = a_batch_from(data, record_count=3, last_offset_delta=9, base_offset=100)
    assert [record.offset for record in iterate(batch)] == [102, 103, 107]
    assert read_header(batch).next_offset == 110


@pytest.mark.parametrize("codec", Codec)
def test_a_batch_that_compaction_emptied_has_no_records(codec: Codec) -> None:
    """2a: record count 0, the offsets are still taken."""
    batch = a_batch_from(b"", record_count=0, last_offset_delta=4, attributes=int(codec))
    assert list(iterate(batch)) == []


@pytest.mark.parametrize("step", [-1, 0, 1, -64, 63, 64, -8192, 8191, 8192, -(1 << 40), 1 << 40])
def test_the_first_record_may_be_at_another_time_than_the_base(step: int) -> None:
    """2a: after compaction the first record is no longer the one that gave the batch its base timestamp."""
    data = a_record(0, time=write_varlong(step)) + a_record(1, time=write_varlong(0))
    batch = a_batch_from(data, record_count=2, last_offset_delta=1)
    assert [record.timestamp for record in iterate(batch)] == [BASE_TIMESTAMP + step, BASE_TIMESTAMP]


def test_a_base_timestamp_that_is_a_delete_horizon_is_still_the_base() -> None:
    batch = with_header(a_batch([b"a", b"b"], timestamp_step=10), attributes=0x40)
    assert [record.timestamp for record in iterate(batch)] == [BASE_TIMESTAMP, BASE_TIMESTAMP + 10]


def a_record(
    delta: int = 0,
    value: bytes = b"value",
    *,
    size: int | None = None,
    time: bytes = b"\x00",
    offset: bytes | None = None,
    key: bytes = b"\x01",
    value_size: bytes | None = None,
    headers: bytes = b"\x00",
) -> bytes:
    """A record with any of its fields replaced by other bytes."""
    body = b"\x00" + time + (write_varint(delta) if offset is None else offset) + key
    body += (write_varint(len(value)) if value_size is None else value_size) + value + headers
    return write_varint(len(body) if size is None else size) + body


def a_batch_from(data: bytes, **header: int) -> bytearray:
    """A batch of these bytes, whose checksum is true."""
    batch = bytearray(a_batch([b""])[:HEADER_SIZE]) + data
    fields = read_header(batch)._replace(batch_length=HEADER_SIZE - 12 + len(data))
    write_header(batch, 0, fields._replace(**header))
    check(batch)
    return batch


def test_the_record_that_the_lies_below_are_made_from_is_sound() -> None:
    assert list(iterate(a_batch_from(a_record()))) == [Record(0, BASE_TIMESTAMP, None, b"value")]


LIES = {
    "a record longer than it says": a_record(size=9),
    "a record shorter than it says": a_record(size=12),
    "a record that says it is empty": a_record(size=0),
    "a negative record size": b"\x17" + a_record()[1:],
    "a record size without an end": b"\xff" * 5 + a_record(),
    "a record size of more than 32 bits": b"\xff\xff\xff\xff\x7f" + a_record(),
    "a record size beyond the batch": a_record(size=1 << 30),
    "a negative offset delta": a_record(offset=b"\x01"),
    "an offset delta beyond the last": a_record(delta=1),
    "an offset delta without an end": a_record(offset=b"\xff" * 6),
    "a timestamp delta without an end": a_record(time=b"\xff" * 11),
    "a timestamp beyond 64 bits": a_record(time=write_varlong((1 << 63) - 1)),
    "a key size below -1": a_record(key=b"\x03k"),
    "a wide key size below -1": a_record(key=b"\x81\x01" + bytes(64)),
    "a key beyond the record": a_record(key=b"\x7e"),
    "a key beyond everything": a_record(key=write_varint((1 << 31) - 1)),
    "a value size below -1": a_record(value_size=b"\x0b"),
    "a value shorter than it says": a_record(value_size=b"\x08"),
    "a value longer than it says": a_record(value_size=b"\x0c"),
    "a value beyond everything": a_record(value_size=write_varint((1 << 31) - 1)),
    "a null value with bytes": a_record(value_size=b"\x01"),
    "a negative header count": a_record(headers=b"\x01"),
    "more headers than bytes": a_record(headers=write_varint(1 << 30)),
    "a header that is missing": a_record(headers=b"\x02"),
    "a null header key": a_record(headers=b"\x02\x01\x01"),
    "a header key size below -1": a_record(headers=b"\x02\x03a\x01"),
    "a header value size below -1": a_record(headers=b"\x02\x02a\x03b"),
    "a header key that is not utf-8": a_record(headers=b"\x02\x02\xff\x01"),
    "a header key beyond the record": a_record(headers=b"\x02\x7ea\x01"),
    "a header value beyond the record": a_record(headers=b"\x02\x02a\x7e"),
    "bytes behind the last record": a_record() + b"\x00",
    "nothing at all": b"",
    "fewer bytes than a record takes": bytes(6),
}


@pytest.mark.parametrize("data", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("codec", Codec)
def test_a_record_that_lies_is_corrupt_although_the_checksum_is_true(data: bytes, codec: Codec) -> None:
    """B-14."""
    batch = a_batch_from(compress(codec, data), attributes=int(codec))
    with pytest.raises(CorruptBatch):
        list(iterate(batch))


@pytest.mark.parametrize("count", [0, 1, 3, 4, (1 << 31) - 1])
def test_another_record_count_than_the_header_says_is_corrupt(count: int) -> None:
    """B-14."""
    batch = with_header(a_batch([b"a", b"b"]), record_count=count)
    with pytest.raises(CorruptBatch):
        list(iterate(batch))


@pytest.mark.parametrize("deltas", [(0, 0), (1, 0), (0, 2), (1, 1)])
def test_offsets_that_do_not_rise_within_the_batch_are_corrupt(deltas: tuple[int, int]) -> None:
    batch = a_batch_from(b"".join(map(a_record, deltas)), record_count=2, last_offset_delta=1)
    with pytest.raises(CorruptBatch):
        list(iterate(batch))


def test_records_before_the_one_that_lies_are_given() -> None:
    batch = a_batch_from(a_record(0, b"sound") + a_record(1, size=50), record_count=2, last_offset_delta=1)
    records = iterate(batch)
    assert next(records).value == b"sound"
    with pytest.raises(CorruptBatch, match="record at byte 12 "):
        next(records)


def test_a_batch_cut_short_is_corrupt() -> None:
    batch = a_batch()
    for size in range(len(batch)):
        with pytest.raises(CorruptBatch):
            iterate(batch[:size])


def test_an_unknown_codec_cannot_be_read() -> None:
    with pytest.raises(DecompressionFailed):
        iterate(with_header(a_batch(), attributes=5))


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec != Codec.NONE])
def test_records_that_would_inflate_too_far_are_refused(codec: Codec) -> None:
    """Q-5."""
    batch = a_batch([bytes(100_000)], codec=codec)
    assert len(batch) < 20_000
    with pytest.raises(InflatedTooLarge):
        iterate(batch, inflated_size_max=100_000)
    assert values_of(batch) == [bytes(100_000)]


@given(garbage=st.binary(max_size=120), count=st.integers(0, 20), codec=st.integers(0, 7), last=st.integers(0, 30))
def test_garbage_is_nothing_worse_than_a_protocol_error(garbage: bytes, count: int, codec: int, last: int) -> None:
    batch = a_batch_from(garbage, record_count=count, last_offset_delta=last, attributes=codec)
    try:
        for record in iterate(batch, inflated_size_max=10_000):
            read_control(record)
    except ProtocolError:
        pass


@pytest.mark.parametrize("codec", Codec)
@given(
    rows=ROWS,
    damage=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_batch_is_nothing_worse_than_a_protocol_error(
    codec: Codec, rows: list[Row], damage: list[tuple[int, int]]
) -> None:
    batch = build_batch(rows, codec=codec)
    for position, byte in damage:
        batch[position % len(batch)] = byte
    try:
        records = list(itertools.islice(iterate(batch, inflated_size_max=1 << 20), 100))
    except ProtocolError:
        return
    assert all(-(1 << 63) <= record.timestamp < 1 << 63 for record in records)


@pytest.mark.parametrize("kind", ControlKind)
def test_a_control_batch_is_the_marker_that_kafka_writes(kind: ControlKind) -> None:
    """T-6."""
    batch = control_batch(kind, producer_id=4711, producer_epoch=2, coordinator_epoch=6, now_ms=BASE_TIMESTAMP)
    header = check(batch)
    assert header.attributes == 0x30
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (4711, 2, -1)
    assert (header.record_count, header.last_offset_delta) == (1, 0)
    (record,) = records_of(batch)
    assert record.key == struct.pack(">hh", 0, int(kind))
    assert record.value == struct.pack(">hi", 0, 6)
    assert record.timestamp == BASE_TIMESTAMP
    assert read_control(record) == ControlMarker(kind, 6)
    (theirs,) = DefaultRecordBatch(batch)
    assert (theirs.abort, theirs.commit) == (kind == ControlKind.ABORT, kind == ControlKind.COMMIT)


def test_a_marker_of_a_later_version_may_have_more_at_its_end() -> None:
    record = Record(0, 0, struct.pack(">hh", 1, 1) + b"more", struct.pack(">hi", 1, 9) + b"more")
    assert read_control(record) == ControlMarker(ControlKind.COMMIT, 9)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, struct.pack(">hi", 0, 1)),
        (struct.pack(">hh", 0, 1), None),
        (b"\x00\x00\x00", struct.pack(">hi", 0, 1)),
        (struct.pack(">hh", 0, 1), b"\x00\x00\x00\x00\x00"),
        (struct.pack(">hh", 0, 2), struct.pack(">hi", 0, 1)),
        (struct.pack(">hh", -1, 1), struct.pack(">hi", 0, 1)),
        (struct.pack(">hh", 0, 1), struct.pack(">hi", -1, 1)),
    ],
)
def test_a_control_record_that_is_no_marker_is_corrupt(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(CorruptBatch, match="offset 33"):
        read_control(Record(33, 0, key, value))


# Recompression


@pytest.mark.parametrize("sent", list(Codec))
@pytest.mark.parametrize("wanted", list(Codec))
def test_a_batch_packed_in_another_way_is_the_same_batch(sent: Codec, wanted: Codec) -> None:
    """B-16: the same records, times, producer and offsets, under a true checksum."""
    values = [b"value" * 50, None, b""]
    batch = a_batch(
        values, key=b"k", headers=[("h", b"x")], codec=sent, producer_id=3, producer_epoch=1, base_sequence=9
    )
    made = recompress(batch, wanted)
    header = check(made)
    assert header.codec == wanted
    assert list(records_of(made)) == list(records_of(batch))
    assert header == read_header(batch)._replace(
        batch_length=header.batch_length, attributes=header.attributes, crc=header.crc
    )


def test_packing_in_another_way_keeps_the_other_attributes() -> None:
    batch = a_batch(codec=Codec.LZ4, is_transactional=True, producer_id=1, producer_epoch=0, base_sequence=0)
    stamp_append_time(batch, 0, 5)
    header = check(recompress(batch, Codec.ZSTD))
    assert (header.is_transactional, header.is_log_append_time, header.max_timestamp) == (True, True, 5)


def test_packing_in_another_way_inflates_no_further_than_it_may() -> None:
    with pytest.raises(InflatedTooLarge):
        recompress(a_batch([bytes(1 << 20)], codec=Codec.ZSTD), Codec.GZIP, inflated_size_max=1 << 16)


def test_what_a_batch_may_inflate_to_goes_by_its_size() -> None:
    assert credible_size(bytes(300)) == 1 << 20, "small ones may be packed as well as they like"
    assert credible_size(bytes(200 << 10)) == (200 << 10) * 100
    assert credible_size(bytes(1 << 20)) == 32 << 20


@given(ROWS, st.sampled_from(list(Codec)), st.booleans())
def test_times_are_those_of_the_records(rows: list[Row], codec: Codec, is_stamped: bool) -> None:
    batch = build_batch(rows, codec=codec, base_offset=77)
    if is_stamped:
        stamp_append_time(batch, 0, 5)
    assert list(iterate_times(batch)) == [(record.offset, record.timestamp) for record in iterate(batch)]


@given(st.binary(max_size=80), st.integers(0, 9))
def test_garbage_has_no_times(data: bytes, count: int) -> None:
    raw = a_batch()[:HEADER_SIZE] + data
    batch = with_header(raw, batch_length=len(raw) - 12, record_count=count, last_offset_delta=max(0, count - 1))
    with contextlib.suppress(CorruptBatch):
        for _, timestamp in iterate_times(batch):
            assert -(1 << 63) <= timestamp < 1 << 63
