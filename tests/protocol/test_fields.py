"""Fields: what a declaration says is what the wires read in the metadata."""

# ruff: noqa: RUF009 - the default of a field is what the declaring function makes of it, and is immutable
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from uuid import UUID

import pytest

from tidelog.protocol import fields
from tidelog.protocol.apis import DEFINED
from tidelog.protocol.fields import Kind, VersionRange, fields_of, mould_of
from tidelog.protocol.primitives import ZERO_UUID, Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A struct within."""

    number: int = fields.int16(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One field of every kind."""

    flag: bool = fields.boolean(True, versions="1+")
    tiny: int = fields.int8()
    short: int = fields.int16(-1)
    port: int = fields.uint16()
    number: int = fields.int32()
    long: int = fields.int64(tag=4, versions="2+")
    ratio: float = fields.float64()
    code: int = fields.error()
    identity: UUID = fields.uuid()
    name: str = fields.string("x", versions="0-3")
    rack: str | None = fields.nullable_string(nullable="2+")
    blob: bytes = fields.octets()
    maybe_blob: bytes | None = fields.nullable_octets()
    records: Buffer | None = fields.batches()
    some_records: Buffer = fields.required_batches()
    leaf: Leaf = fields.struct(Leaf)
    maybe_leaf: Leaf | None = fields.nullable_struct(Leaf)
    leaves: tuple[Leaf, ...] = fields.array(Leaf)
    maybe_leaves: tuple[Leaf, ...] | None = fields.nullable_array(Leaf, nullable="1+")
    no_leaves: tuple[Leaf, ...] | None = fields.nullable_array(Leaf, None)
    tinies: tuple[int, ...] = fields.int8_array()
    shorts: tuple[int, ...] = fields.int16_array()
    numbers: tuple[int, ...] = fields.int32_array()
    maybe_numbers: tuple[int, ...] | None = fields.nullable_int32_array(nullable="2+")
    longs: tuple[int, ...] = fields.int64_array()
    names: tuple[str, ...] = fields.string_array()
    maybe_names: tuple[str, ...] | None = fields.nullable_string_array()
    no_names: tuple[str, ...] | None = fields.nullable_string_array(None, nullable="3+")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [("3+", [3, 4, 1000], [-1, 0, 2]), ("0-12", [0, 12], [-1, 13]), ("7", [7], [6, 8])],
)
def test_a_range_of_versions_is_written_as_in_kafkas_json(text: str, inside: list[int], outside: list[int]) -> None:
    versions = VersionRange.parse(text)
    assert all(version in versions for version in inside)
    assert not any(version in versions for version in outside)


def test_a_range_shows_its_ends() -> None:
    assert str(VersionRange(3, 13)) == "3-13"


def test_a_declaration_is_read_back_from_the_class() -> None:
    wires = {field.name: field.wire for field in fields_of(Sample)}
    assert list(wires) == [field.name for field in dataclasses.fields(Sample)]
    assert wires["flag"].kind is Kind.BOOLEAN
    assert (wires["long"].kind, wires["long"].tag) == (Kind.INT64, 4)
    assert 3 in wires["name"].versions
    assert 4 not in wires["name"].versions
    assert [wires["rack"].is_nullable(version) for version in (1, 2)] == [False, True]
    assert wires["records"].is_nullable(0)
    assert not wires["some_records"].is_nullable(0)
    assert wires["maybe_leaf"].is_nullable(0)
    assert (wires["leaves"].is_array, wires["leaves"].struct) == (True, Leaf)
    arrays = {
        "tinies": Kind.INT8,
        "shorts": Kind.INT16,
        "numbers": Kind.INT32,
        "longs": Kind.INT64,
        "names": Kind.STRING,
    }
    assert all((wires[name].is_array, wires[name].kind) == (True, kind) for name, kind in arrays.items())
    assert [wires["maybe_numbers"].is_nullable(version) for version in (1, 2)] == [False, True]
    assert [wires["no_names"].is_nullable(version) for version in (2, 3)] == [False, True]
    assert wires["maybe_names"].is_nullable(0)
    assert {wire.kind for wire in wires.values()} == set(Kind)


def test_every_field_has_a_default() -> None:
    sample = Sample()
    assert (sample.flag, sample.short, sample.name, sample.rack) == (True, -1, "x", None)
    assert (sample.identity, sample.records, sample.leaf) == (ZERO_UUID, None, Leaf(number=3))
    assert (sample.leaves, sample.maybe_leaves, sample.maybe_leaf, sample.no_leaves) == ((), (), None, None)
    assert (sample.names, sample.maybe_names, sample.no_names, sample.maybe_numbers) == ((), (), None, None)
    assert (sample.tinies, sample.shorts, sample.longs, sample.some_records) == ((), (), (), b"")


def test_a_mould_becomes_an_instance_of_its_message() -> None:
    mould = mould_of(Leaf)()
    mould.number = 9
    mould.__class__ = Leaf
    assert mould == Leaf(number=9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        mould.number = 10


@pytest.mark.parametrize("api", DEFINED.values(), ids=lambda api: api.name)
def test_messages_can_be_made_without_saying_anything(api: object) -> None:
    for message in (api.request, api.response):  # type: ignore[attr-defined]
        assert message() == message()
        assert hash(message()) == hash(message())
