"""Compiled codecs: every kind of field in every form, by version, and refusal of bytes that lie."""

# ruff: noqa: RUF009 - the default of a field is what the declaring function makes of it, and is immutable
from __future__ import annotations

import struct
import traceback
import tracemalloc
from dataclasses import dataclass
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.messages import examples, instances
from tidelog.protocol import fields
from tidelog.protocol.codegen import UNREADABLE, decoder, encoder, size_min, skip_tags
from tidelog.protocol.errors import ErrorCode, MalformedMessage
from tidelog.protocol.fields import Kind
from tidelog.protocol.primitives import Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A struct within, with a tagged field of its own."""

    number: int = fields.int16(3)
    label: str | None = fields.nullable_string(tag=0, versions="2+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One field of every kind and form; flexible from version 2 on."""

    flag: bool = fields.boolean(True, versions="1+")
    tiny: int = fields.int8()
    port: int = fields.uint16()
    ratio: float = fields.float64()
    code: int = fields.error()
    identity: UUID = fields.uuid()
    name: str = fields.string("x", versions="0-2")
    rack: str | None = fields.nullable_string(nullable="1+")
    blob: bytes = fields.octets()
    maybe_blob: bytes | None = fields.nullable_octets()
    records: Buffer | None = fields.batches()
    some_records: Buffer = fields.required_batches(versions="1+")
    leaf: Leaf = fields.struct(Leaf)
    maybe_leaf: Leaf | None = fields.nullable_struct(Leaf)
    leaves: tuple[Leaf, ...] = fields.array(Leaf)
    maybe_leaves: tuple[Leaf, ...] | None = fields.nullable_array(Leaf, nullable="1+")
    no_leaves: tuple[Leaf, ...] | None = fields.nullable_array(Leaf, None, versions="1+")
    tinies: tuple[int, ...] = fields.int8_array()
    shorts: tuple[int, ...] = fields.int16_array()
    numbers: tuple[int, ...] = fields.int32_array()
    maybe_numbers: tuple[int, ...] | None = fields.nullable_int32_array()
    longs: tuple[int, ...] = fields.int64_array()
    names: tuple[str, ...] = fields.string_array()
    maybe_names: tuple[str, ...] | None = fields.nullable_string_array(nullable="1+")
    no_names: tuple[str, ...] | None = fields.nullable_string_array(None)
    tagged_numbers: tuple[int, ...] | None = fields.nullable_int32_array(versions="2+", tag=7)
    tagged_names: tuple[str, ...] | None = fields.nullable_string_array(None, versions="2+", tag=8)
    tagged_leaf: Leaf = fields.struct(Leaf, versions="2+", tag=3)
    tagged_maybe_leaf: Leaf | None = fields.nullable_struct(Leaf, versions="2+", tag=5)
    tagged_leaves: tuple[Leaf, ...] = fields.array(Leaf, versions="2+", tag=1)
    tagged_maybe_leaves: tuple[Leaf, ...] | None = fields.nullable_array(Leaf, versions="2+", tag=6)
    tagged_long: int = fields.int64(-1, versions="3+", tag=2)
    tagged_code: int = fields.error(versions="3+", tag=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """A message without a field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maybe:
    """A nullable struct."""

    leaf: Leaf | None = fields.nullable_struct(Leaf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A few tagged fields."""

    first: int = fields.int32(versions="2+", tag=0)
    second: str = fields.string("two", versions="2+", tag=1)
    many: tuple[str, ...] = fields.string_array(versions="2+", tag=9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An array within an array."""

    numbers: tuple[int, ...] = fields.int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Rows."""

    rows: tuple[Row, ...] = fields.array(Row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strings:
    """An array of strings, and of numbers."""

    names: tuple[str, ...] = fields.string_array()
    numbers: tuple[int, ...] = fields.int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A number without a sign."""

    number: int = fields.uint16()


@dataclass(frozen=True, slots=True, kw_only=True)
class MaybeNumbers:
    """An array of numbers, or null."""

    numbers: tuple[int, ...] | None = fields.nullable_int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Record batches, never null."""

    records: Buffer = fields.required_batches()


VERSIONS = [0, 1, 2, 3]


def is_flexible(version: int) -> bool:
    return version >= 2


def encoded(message: object, version: int) -> bytes:
    parts: list[Buffer] = []
    encoder(type(message), version, is_flexible(version))(message, parts, [])
    return b"".join(parts)


def decoded(message: type, version: int, data: bytes) -> object:
    instance, position = decoder(message, version, is_flexible(version))(memoryview(data), 0)
    assert position == len(data)
    return instance


@pytest.mark.parametrize("version", VERSIONS)
def test_every_kind_of_field_survives_the_way(version: int) -> None:
    @examples(60)
    @given(sample=instances(Sample, version))
    def check(sample: Sample) -> None:
        data = encoded(sample, version)
        assert decoded(Sample, version, data) == sample
        assert len(data) >= size_min(Sample, version, is_flexible(version))

    check()


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_that_are_cut_short_are_refused_wherever_they_are_cut(version: int) -> None:
    @examples(10)
    @given(sample=instances(Sample, version))
    def check(sample: Sample) -> None:
        data = encoded(sample, version)
        for size in range(min(len(data), 200)):
            with pytest.raises(UNREADABLE):
                decoded(Sample, version, data[:size])

    check()


@pytest.mark.parametrize("version", VERSIONS)
def test_any_bytes_are_read_or_refused(version: int) -> None:
    @examples(300)
    @given(data=st.binary(max_size=300))
    def check(data: bytes) -> None:
        try:
            decoder(Sample, version, is_flexible(version))(memoryview(data), 0)
        except UNREADABLE:
            pass

    check()


def test_a_field_that_the_version_lacks_is_left_out_and_has_its_default() -> None:
    sample = Sample(flag=False, name="y", rack="r", tagged_long=5)
    assert decoded(Sample, 0, encoded(sample, 0)) == Sample(name="y", rack="r")
    assert decoded(Sample, 3, encoded(sample, 3)) == Sample(flag=False, rack="r", tagged_long=5)


def test_a_codec_is_compiled_once() -> None:
    assert decoder(Sample, 2, True) is decoder(Sample, 2, True)
    assert encoder(Sample, 2, True) is encoder(Sample, 2, True)
    assert encoder(Sample, 2, True) is not encoder(Sample, 3, True)


def test_a_message_without_fields_is_an_empty_tag_section() -> None:
    assert encoded(Nothing(), 0) == b""
    assert encoded(Nothing(), 2) == b"\x00"
    assert decoded(Nothing, 2, b"\x00") == Nothing()


def test_a_nullable_struct_has_a_marker_before_it() -> None:
    # KIP-893
    assert encoded(Maybe(), 0) == b"\xff"
    assert encoded(Maybe(leaf=Leaf(number=2)), 0) == b"\x01\x00\x02"
    assert decoded(Maybe, 0, b"\xff") == Maybe()
    assert decoded(Maybe, 0, b"\x01\x00\x02") == Maybe(leaf=Leaf(number=2))


def test_a_port_is_unsigned() -> None:
    assert encoded(Port(number=0xFFFE), 0) == b"\xff\xfe"
    assert decoded(Port, 0, b"\xff\xfe") == Port(number=0xFFFE)
    with pytest.raises(struct.error):
        encoded(Port(number=-1), 0)


def test_an_array_of_numbers_may_be_null_or_empty() -> None:
    assert [encoded(MaybeNumbers(numbers=numbers), 0) for numbers in (None, (), (1,))] == [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\x00\x00\x00\x01",
    ]
    assert [encoded(MaybeNumbers(numbers=numbers), 2) for numbers in (None, ())] == [b"\x00\x00", b"\x01\x00"]
    assert decoded(MaybeNumbers, 2, b"\x00\x00") == MaybeNumbers(numbers=None)
    assert decoded(MaybeNumbers, 2, b"\x01\x00") == MaybeNumbers(numbers=())


@pytest.mark.parametrize(("version", "null"), [(0, b"\xff\xff\xff\xff"), (2, b"\x00\x00")])
def test_records_that_must_be_there_are_empty_and_never_null(version: int, null: bytes) -> None:
    assert decoded(Batches, version, encoded(Batches(), version)) == Batches(records=b"")
    with pytest.raises(MalformedMessage, match="null"):
        decoded(Batches, version, null)


@pytest.mark.parametrize("elements_max", [5, 6])
def test_the_elements_of_all_arrays_of_a_message_are_counted(elements_max: int) -> None:
    """Each is an object, which may take twenty times its bytes."""
    data = b"\x00\x00\x00\x02" + 2 * (b"\x00\x00\x00\x02" + 2 * b"\x00\x00\x00\x07")
    decode = decoder(Grid, 0, False, elements_max=elements_max)
    if elements_max < 6:
        with pytest.raises(MalformedMessage, match="more than 5 elements"):
            decode(memoryview(data), 0)
    else:
        assert decode(memoryview(data), 0) == (Grid(rows=(Row(numbers=(7, 7)),) * 2), len(data))


def test_tagged_fields_are_written_ascending_and_without_those_that_have_their_default() -> None:
    # kafka.md 1b.8
    assert encoded(Tagged(), 2) == b"\x00"
    assert encoded(Tagged(many=[]), 2) == b"\x00"
    assert encoded(Tagged(many=("a",), first=1), 2) == b"\x02\x00\x04\x00\x00\x00\x01\x09\x03\x02\x02a"


def test_unknown_tagged_fields_are_skipped_and_their_order_does_not_matter() -> None:
    # kafka.md 1b.8; Kafka's own reader does not insist on the order either.
    unknown = b"\x63\x02??"
    data = b"\x04" + unknown + b"\x01\x04\x04abc" + b"\xff\x7f\x00" + b"\x00\x04\x00\x00\x00\x07"
    assert decoded(Tagged, 2, data) == Tagged(first=7, second="abc")
    assert decoded(Nothing, 2, b"\x02" + unknown + unknown) == Nothing()
    assert skip_tags(b"\x01" + unknown + b"!", 0) == 5


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x00\x05\x00\x00\x00\x01\x00",  # the value is shorter than its tagged field
        b"\x01\x00\x03\x00\x00\x00\x01",  # and longer
        b"\x01\x63\x7f",  # an unknown one longer than the message
        b"\x05\x63\x00",  # more announced than there are
        b"\xff\xff\xff\xff\x0f",
        b"\x01",
        b"",
    ],
)
def test_tagged_fields_that_lie_about_their_size_are_refused(data: bytes) -> None:
    for message in (Tagged, Nothing):
        if message is Nothing and data.startswith(b"\x01\x00"):
            continue
        with pytest.raises(UNREADABLE):
            decoded(message, 2, data)


def test_a_known_error_is_an_error_code_and_an_unknown_one_stays_a_number() -> None:
    sample = decoded(Sample, 3, encoded(Sample(code=3, tagged_code=999), 3))
    assert isinstance(sample, Sample)
    assert sample.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert sample.tagged_code == 999


def test_any_byte_but_zero_is_true() -> None:
    data = bytearray(encoded(Sample(flag=True), 1))
    data[0] = 0x7F
    sample = decoded(Sample, 1, bytes(data))
    assert sample == Sample(flag=True)


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (0, b"\xff\xff\xff\xff"),  # null where it is not allowed
        (0, b"\xff\xff\xff\xfe"),  # a count below null
        (0, b"\x00\x00\x00\x01\xff\xff"),  # an element that is null
        (0, b"\x00\x00\x00\x01\x00\x02\xc3\x28"),  # not utf-8
        (0, b"\x7f\xff\xff\xff"),
        (2, b"\x00"),
        (2, b"\x02\x00"),
        (2, b"\xff\xff\xff\xff\x0f"),
        (2, b"\xff\xff\xff\xff\xff\x0f"),  # a varint of six bytes
    ],
)
def test_lengths_and_counts_that_lie_are_refused(version: int, data: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decoder(Strings, version, is_flexible(version))(memoryview(data), 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_count_is_checked_against_the_bytes_left_before_anything_is_allocated(version: int) -> None:
    filler = bytes(100_000)
    huge = b"\xff\xff\xff\xff\x07" if is_flexible(version) else b"\x7f\xff\xff\xff"
    none = b"\x01" if is_flexible(version) else b"\x00\x00\x00\x00"
    tracemalloc.start()
    try:
        for data in (huge + filler, none + huge + filler):
            with pytest.raises(MalformedMessage, match="announced"):
                decoder(Strings, version, is_flexible(version))(memoryview(data), 0)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_record_batches_are_passed_by_reference_in_both_directions() -> None:
    records = bytearray(b"r" * 100)
    parts: list[Buffer] = []
    marks: list[int] = []
    encoder(Sample, 3, True)(Sample(records=records), parts, marks)
    assert [parts[mark] is records for mark in marks] == [True]

    data = bytearray(b"".join(parts))
    sample, _ = decoder(Sample, 3, True)(memoryview(data), 0)
    assert isinstance(sample, Sample)
    assert isinstance(sample.records, memoryview)
    data[:] = b"s" * len(data)
    assert sample.records == b"s" * 100


def test_any_sequence_may_stand_for_an_array() -> None:
    listed = Sample(leaves=[Leaf()], numbers=[1, 2], names=["a"])
    assert encoded(listed, 3) == encoded(Sample(leaves=(Leaf(),), numbers=(1, 2), names=("a",)), 3)


def test_the_smallest_size_of_an_element_counts_what_cannot_be_left_out() -> None:
    assert [size_min(Leaf, version, is_flexible(version)) for version in (0, 2)] == [2, 3]
    assert size_min(Strings, 0, False) == 8
    assert size_min(Maybe, 2, True) == 2


def test_generated_code_shows_its_lines_in_a_traceback() -> None:
    with pytest.raises(UNREADABLE) as caught:
        decoder(Maybe, 0, False)(memoryview(b""), 0)
    assert "unpack" in "".join(traceback.format_tb(caught.tb))


def test_tagged_fields_before_the_flexible_versions_are_a_programmers_mistake() -> None:
    with pytest.raises(AssertionError, match="flexible"):
        encoder(Tagged, 2, False)


def test_the_sample_has_a_field_of_every_kind() -> None:
    nested = {field.wire.kind for field in fields.fields_of(Leaf)}
    assert {field.wire.kind for field in fields.fields_of(Sample)} | nested == set(Kind)
