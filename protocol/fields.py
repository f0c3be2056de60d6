"""How a field of a message stands on the wire, by version.

A message is one version-less dataclass in Kafka's newest shape. Each field is declared by one of the functions below;
what it says is kept in the field's metadata as a `WireField`, which both wires read: the Kafka wire obeys `versions`,
`nullable` and `tag`, the tide wire needs only the kind. A field that a version does not know is left out when
written and takes its default when read.

Ranges are written as in Kafka's JSON: "3+", "0-12", "7".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import TypeVar
from uuid import UUID

from .primitives import ZERO_UUID, Buffer

T = TypeVar("T")

NEWEST = 32767
"""The end of an open range: more than any version will be."""

_KEY = "wire"


@dataclasses.dataclass(frozen=True, slots=True)
class VersionRange:
    """Versions from `min` to `max`, both included."""

    min: int
    max: int

    def __contains__(self, version: int) -> bool:
        return self.min <= version <= self.max

    def __str__(self) -> str:
        return f"{self.min}-{self.max}"

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """ "3+", "0-12" or "7"."""
        if text.endswith("+"):
            return cls(int(text[:-1]), NEWEST)
        first, _, last = text.partition("-")
        return cls(int(first), int(last or first))


ALWAYS = VersionRange(0, NEWEST)


class Kind(Enum):
    """What a value is; the value of a fixed-size kind is its `struct` code."""

    BOOLEAN = "?"
    INT8 = "b"
    INT16 = "h"
    UINT16 = "H"
    INT32 = "i"
    INT64 = "q"
    FLOAT64 = "d"
    ERROR = "error: an int16 that is an ErrorCode where the number is known"
    UUID = "uuid: 16 bytes"
    STRING = "utf-8"
    BYTES = "bytes, copied"
    RECORDS = "record batches, by reference"
    STRUCT = "another dataclass"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WireField:
    """What one field says about itself."""

    kind: Kind
    versions: VersionRange = ALWAYS
    nullable: VersionRange | None = None
    tag: int | None = None
    """Its number among the tagged fields of its struct (KIP-482)."""
    is_array: bool = False
    """An array of `kind`; `nullable` then speaks of the array."""
    struct: type | None = None
    """The class of a STRUCT."""

    def is_nullable(self, version: int) -> bool:
        """Whether null may stand for the value in this version."""
        return self.nullable is not None and version in self.nullable


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MessageField:
    """A field of a message class: its name, its default, and how it stands on the wire."""

    name: str
    default: object
    wire: WireField


@cache
def fields_of(message: type) -> tuple[MessageField, ...]:
    """The fields of a message class in the order of the wire."""
    return tuple(
        MessageField(name=field.name, default=field.default, wire=field.metadata[_KEY])
        for field in dataclasses.fields(message)
    )


@cache
def mould_of(message: type) -> type:
    """A twin of a message class with the same slots and without the guard of a frozen one.

    A frozen dataclass sets each field through `object.__setattr__`. A decoder fills an instance of the twin, which is
    several times faster, and then makes it one of the real class: `instance.__class__ = message`. Every field must
    have been set by then.
    """
    return type(f"{message.__name__}Mould", (), {"__slots__": tuple(field.name for field in fields_of(message))})


def _metadata(
    kind: Kind,
    versions: str,
    *,
    nullable: str = "",
    tag: int | None = None,
    is_array: bool = False,
    struct: type | None = None,
) -> Mapping[str, WireField]:
    field = WireField(
        kind=kind,
        versions=VersionRange.parse(versions),
        nullable=VersionRange.parse(nullable) if nullable else None,
        tag=tag,
        is_array=is_array,
        struct=struct,
    )
    return {_KEY: field}


def boolean(default: bool = False, *, versions: str = "0+", tag: int | None = None) -> bool:  # noqa: FBT002 - one-argument spelling
    """True or false."""
    return dataclasses.field(default=default, metadata=_metadata(Kind.BOOLEAN, versions, tag=tag))


def int8(default: int = 0, *, versions: str = "0+", tag: int | None = None) -> int:
    """8 bits, signed."""
    return dataclasses.field(default=default, metadata=_metadata(Kind.INT8, versions, tag=tag))


def int16(default: int = 0, *, versions: str = "0+", tag: int | None = None) -> int:
    """16 bits, signed."""
    return dataclasses.field(default=default, metadata=_metadata(Kind.INT16, versions, tag=tag))


def uint16(default: int = 0, *, versions: str = "0+", tag: int | None = None) -> int:
    """16 bits, unsigned: a port."""
    return dataclasses.field(default=default, metadata=_metadata(Kind.UINT16, versions, tag=tag))


def int32(default: int = 0, *, versions: str = "0+", tag: int | None = None) -> int:
    """32 bits, signed."""
    return dataclasses.field(default=default, metadata=_metadata(Kind.INT32, versions, tag=tag))


def int64(default: int = 0, *, versions: str = "0+", tag: int | None = None) -> int:
    """64 bits, signed."""
    return dataclasses.field(default=default, metadata=_metadata(Kind.INT64, versions, tag=tag))


def float64(default: float = 0.0, *, versions: str = "0+", tag: int | None = None) -> float:
    """64 bits, IEEE 754."""
    return dataclasses.field(default=default, metadata=_metadata(Kind.FLOAT64, versions, tag=tag))


def error(*, versions: str = "0+", tag: int | None = None) -> int:
    """An error code: read as `ErrorCode`, or as a plain int where the number is not known."""
    return dataclasses.field(default=0, metadata=_metadata(Kind.ERROR, versions, tag=tag))


def uuid(*, versions: str = "0+", tag: int | None = None) -> UUID:
    """16 bytes; all zero where there is none."""
    return dataclasses.field(default=ZERO_UUID, metadata=_metadata(Kind.UUID, versions, tag=tag))


def string(default: str = "", *, versions: str = "0+", tag: int | None = None) -> str:
    """Utf-8, never null."""
    return dataclasses.field(default=default, metadata=_metadata(Kind.STRING, versions, tag=tag))


def nullable_string(
    default: str | None = None, *, nullable: str = "0+", versions: str = "0+", tag: int | None = None
) -> str | None:
    """Utf-8, or null in the versions that `nullable` names."""
    return dataclasses.field(default=default, metadata=_metadata(Kind.STRING, versions, nullable=nullable, tag=tag))


def octets(*, versions: str = "0+", tag: int | None = None) -> bytes:
    """Bytes without a meaning to us, copied out of the frame."""
    return dataclasses.field(default=b"", metadata=_metadata(Kind.BYTES, versions, tag=tag))


def nullable_octets(*, nullable: str = "0+", versions: str = "0+", tag: int | None = None) -> bytes | None:
    """Like `octets`, or null in the versions that `nullable` names."""
    return dataclasses.field(default=None, metadata=_metadata(Kind.BYTES, versions, nullable=nullable, tag=tag))


def batches(*, versions: str = "0+") -> Buffer | None:
    """Record batches: a slice of the frame when read, passed on by reference when written."""
    return dataclasses.field(default=None, metadata=_metadata(Kind.RECORDS, versions, nullable="0+"))


def required_batches(*, versions: str = "0+") -> Buffer:
    """Like `batches`, never null."""
    return dataclasses.field(default=b"", metadata=_metadata(Kind.RECORDS, versions))


def struct(of: type[T], *, versions: str = "0+", tag: int | None = None) -> T:
    """Another dataclass, by default with all its defaults."""
    return dataclasses.field(default=of(), metadata=_metadata(Kind.STRUCT, versions, tag=tag, struct=of))


def nullable_struct(of: type[T], *, nullable: str = "0+", versions: str = "0+", tag: int | None = None) -> T | None:
    """Another dataclass or null; on the Kafka wire behind an int8, -1 for null and 1 otherwise (KIP-893)."""
    metadata = _metadata(Kind.STRUCT, versions, nullable=nullable, tag=tag, struct=of)
    return dataclasses.field(default=None, metadata=metadata)


def array(of: type[T], *, versions: str = "0+", tag: int | None = None) -> tuple[T, ...]:
    """An array of another dataclass; any sequence may be written."""
    metadata = _metadata(Kind.STRUCT, versions, tag=tag, is_array=True, struct=of)
    return dataclasses.field(default=(), metadata=metadata)


def nullable_array(
    of: type[T],
    default: tuple[T, ...] | None = (),
    *,
    nullable: str = "0+",
    versions: str = "0+",
    tag: int | None = None,
) -> tuple[T, ...] | None:
    """Like `array`, or null in the versions that `nullable` names."""
    metadata = _metadata(Kind.STRUCT, versions, nullable=nullable, tag=tag, is_array=True, struct=of)
    return dataclasses.field(default=default, metadata=metadata)


def int8_array(*, versions: str = "0+", tag: int | None = None) -> tuple[int, ...]:
    """An array of 8-bit numbers."""
    return dataclasses.field(default=(), metadata=_metadata(Kind.INT8, versions, tag=tag, is_array=True))


def int16_array(*, versions: str = "0+", tag: int | None = None) -> tuple[int, ...]:
    """An array of 16-bit numbers."""
    return dataclasses.field(default=(), metadata=_metadata(Kind.INT16, versions, tag=tag, is_array=True))


def int32_array(*, versions: str = "0+", tag: int | None = None) -> tuple[int, ...]:
    """An array of 32-bit numbers."""
    return dataclasses.field(default=(), metadata=_metadata(Kind.INT32, versions, tag=tag, is_array=True))


def nullable_int32_array(
    *, nullable: str = "0+", versions: str = "0+", tag: int | None = None
) -> tuple[int, ...] | None:
    """Like `int32_array`, or null in the versions that `nullable` names, and by default."""
    metadata = _metadata(Kind.INT32, versions, nullable=nullable, tag=tag, is_array=True)
    return dataclasses.field(default=None, metadata=metadata)


def int64_array(*, versions: str = "0+", tag: int | None = None) -> tuple[int, ...]:
    """An array of 64-bit numbers."""
    return dataclasses.field(default=(), metadata=_metadata(Kind.INT64, versions, tag=tag, is_array=True))


def string_array(*, versions: str = "0+", tag: int | None = None) -> tuple[str, ...]:
    """An array of strings."""
    return dataclasses.field(default=(), metadata=_metadata(Kind.STRING, versions, tag=tag, is_array=True))


def nullable_string_array(
    default: tuple[str, ...] | None = (), *, nullable: str = "0+", versions: str = "0+", tag: int | None = None
) -> tuple[str, ...] | None:
    """Like `string_array`, or null in the versions that `nullable` names."""
    metadata = _metadata(Kind.STRING, versions, nullable=nullable, tag=tag, is_array=True)
    return dataclasses.field(default=default, metadata=metadata)
