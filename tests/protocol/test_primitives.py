"""Primitives: what is written is read back, and bytes that lie are refused before anything is allocated for them."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.serial import readers as kio_readers
from kio.serial import writers as kio_writers

from support.messages import examples
from tidelog.protocol import primitives as p
from tidelog.protocol.errors import MalformedMessage

Reader = Callable[[p.Buffer, int], tuple[object, int]]

STRINGS = st.text(max_size=200) | st.sampled_from(["", "x" * 127, "x" * 128, "x" * 32_767])
PAIRS: list[tuple[Reader, Callable[..., bytes], st.SearchStrategy[object]]] = [
    (p.read_int8, p.write_int8, st.integers(p.INT8_MIN, p.INT8_MAX)),
    (p.read_int16, p.write_int16, st.integers(p.INT16_MIN, p.INT16_MAX)),
    (p.read_uint16, p.write_uint16, st.integers(0, 2**16 - 1)),
    (p.read_int32, p.write_int32, st.integers(p.INT32_MIN, p.INT32_MAX)),
    (p.read_uint32, p.write_uint32, st.integers(0, p.UINT32_MAX)),
    (p.read_int64, p.write_int64, st.integers(p.INT64_MIN, p.INT64_MAX)),
    (p.read_boolean, p.write_boolean, st.booleans()),
    (p.read_unsigned_varint, p.write_unsigned_varint, st.integers(0, p.UINT32_MAX)),
    (p.read_unsigned_varlong, p.write_unsigned_varlong, st.integers(0, p.UINT64_MAX)),
    (p.read_varint, p.write_varint, st.integers(p.INT32_MIN, p.INT32_MAX)),
    (p.read_varlong, p.write_varlong, st.integers(p.INT64_MIN, p.INT64_MAX)),
    (p.read_string, p.write_string, STRINGS),
    (p.read_nullable_string, p.write_nullable_string, st.none() | STRINGS),
    (p.read_compact_string, p.write_compact_string, STRINGS),
    (p.read_compact_nullable_string, p.write_compact_nullable_string, st.none() | STRINGS),
    (p.read_nullable_bytes, p.write_nullable_bytes, st.none() | st.binary(max_size=200)),
    (p.read_uuid, p.write_uuid, st.uuids()),
]
READERS = [read for read, _, _ in PAIRS]


@pytest.mark.parametrize(("read", "write", "values"), PAIRS)
def test_what_is_written_is_read_back(
    read: Reader, write: Callable[[object], bytes], values: st.SearchStrategy[object]
) -> None:
    @examples(60)
    @given(value=values, before=st.binary(max_size=3), after=st.binary(max_size=3))
    def check(value: object, before: bytes, after: bytes) -> None:
        data = write(value)
        end = len(before) + len(data)
        for buffer in (before + data + after, memoryview(before + data + after)):
            assert read(buffer, len(before)) == (value, end)

    check()


@pytest.mark.parametrize(("read", "write", "values"), PAIRS)
def test_bytes_that_are_cut_short_are_refused(
    read: Reader, write: Callable[[object], bytes], values: st.SearchStrategy[object]
) -> None:
    @examples(30)
    @given(value=values)
    def check(value: object) -> None:
        data = write(value)
        for size in {0, 1, len(data) // 2, len(data) - 1} & set(range(len(data))):
            with pytest.raises(MalformedMessage):
                read(data[:size], 0)

    check()


@pytest.mark.parametrize("read", READERS)
def test_a_reader_of_any_bytes_answers_or_refuses(read: Reader) -> None:
    @examples(100)
    @given(data=st.binary(max_size=20), position=st.integers(0, 25))
    def check(data: bytes, position: int) -> None:
        try:
            _, end = read(memoryview(data), position)
        except MalformedMessage:
            return
        assert position < end <= len(data)

    check()


def test_fixed_sizes_are_big_endian() -> None:
    assert p.write_int32(1) == b"\x00\x00\x00\x01"
    assert p.write_int64(-2) == b"\xff" * 7 + b"\xfe"
    assert p.write_uuid(UUID("00112233-4455-6677-8899-aabbccddeeff")).hex() == "00112233445566778899aabbccddeeff"


@examples(300)
@given(value=st.integers(p.INT64_MIN, p.INT64_MAX))
def test_varints_are_written_as_an_independent_codec_writes_them(value: int) -> None:
    buffer = io.BytesIO()
    kio_writers.write_signed_varlong(buffer, value)
    assert p.write_varlong(value) == buffer.getvalue()
    assert kio_readers.read_signed_varlong(p.write_varlong(value), 0) == (value, len(p.write_varlong(value)))


@pytest.mark.parametrize(
    ("value", "size"), [(0, 1), (127, 1), (128, 2), (2047, 2), (2048, 2), (16384, 3), (2**32 - 1, 5)]
)
def test_a_varint_takes_a_byte_for_every_seven_bits(value: int, size: int) -> None:
    assert len(p.write_unsigned_varint(value)) == size


def test_a_varint_that_does_not_end_or_overflows_is_refused() -> None:
    for data in (b"\xff" * 5, b"\xff" * 5 + b"\x01", b"\xff\xff\xff\xff\x10", b"\x80" * 11):
        with pytest.raises(MalformedMessage):
            p.read_unsigned_varint(data, 0)
    for data in (b"\xff" * 10, b"\xff" * 9 + b"\x02", b"\x80" * 11):
        with pytest.raises(MalformedMessage):
            p.read_unsigned_varlong(data, 0)
    assert p.read_unsigned_varint(b"\xff\xff\xff\xff\x0f", 0) == (2**32 - 1, 5)
    assert p.read_unsigned_varlong(b"\xff" * 9 + b"\x01", 0) == (2**64 - 1, 10)


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (p.write_unsigned_varint, -1),
        (p.write_unsigned_varint, 2**32),
        (p.write_unsigned_varlong, -1),
        (p.write_unsigned_varlong, 2**64),
        (p.write_varint, 2**31),
        (p.write_varlong, -(2**63) - 1),
        (p.write_string, "x" * 32_768),
    ],
)
def test_a_value_beyond_its_type_is_not_written(write: Callable[[object], bytes], value: object) -> None:
    with pytest.raises(ValueError, match=r"bit number|longer than"):
        write(value)


@pytest.mark.parametrize("read", [p.read_string, p.read_compact_string])
def test_null_is_refused_where_it_is_not_allowed(read: Reader) -> None:
    with pytest.raises(MalformedMessage):
        read(b"\xff\xff" if read is p.read_string else b"\x00", 0)


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="utf-8"):
        p.read_string(b"\x00\x02\xc3\x28", 0)


def test_a_slice_of_a_memoryview_is_no_copy() -> None:
    data = bytearray(b"abcdef")
    part, position = p.read_slice(memoryview(data), 1, 3)
    data[1] = ord("X")
    assert (bytes(part), position) == (b"Xcd", 4)


@pytest.mark.parametrize(("position", "size"), [(0, 4), (4, 0), (-1, 2), (1, -1)])
def test_a_slice_outside_the_buffer_is_refused(position: int, size: int) -> None:
    with pytest.raises(MalformedMessage):
        p.read_slice(b"abc", position, size)


def test_an_announced_length_is_checked_before_anything_is_allocated() -> None:
    lies = [(p.read_nullable_bytes, b"\x7f\xff\xff\xff"), (p.read_compact_nullable_string, b"\xff\xff\xff\xff\x07")]
    tracemalloc.start()
    try:
        for read, data in lies:
            with pytest.raises(MalformedMessage):
                read(data, 0)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
