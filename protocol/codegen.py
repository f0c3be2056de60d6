"""Compiles Kafka codecs out of message classes: one function per (message, version, direction), made at first use.

Theory: what a version looks like is known before the first byte arrives, so nothing about it is decided while bytes
are read. From the fields' metadata straight-line Python is generated: neighbouring fields of fixed size become one
`struct` call, nested structs and arrays become nested blocks, fields that the version lacks become constants.

Invariants of a decoder: it reads nothing beyond the buffer; a length or a count is checked against the bytes that are
left (by the smallest size that an element can have) before anything is allocated for it; elements are counted, for
each is an object larger than its bytes, and a string in a request is no longer than the versions that are not
flexible can say; whatever is wrong with the bytes ends in one of `UNREADABLE`, which the wire
turns into `MalformedMessage`. Generated names: `b` the buffer, `n` its size, `p` the position; `w` appends a part of
the output.

The only text that reaches `exec` is made here from class metadata, never from input.
"""

from __future__ import annotations

import linecache
import struct
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import NoReturn
from uuid import UUID

from .errors import ErrorCode, MalformedMessage
from .fields import Kind, MessageField, WireField, fields_of, mould_of
from .primitives import INT16_MAX, SMALL_VARINTS, Buffer, read_unsigned_varint, write_unsigned_varint

Decode = Callable[[memoryview, int], tuple[object, int]]
"""(frame, position) to (message, position after it)."""
Encode = Callable[[object, list[Buffer], list[int]], None]
"""Appends a message to parts, and to marks the index of each part that holds record batches."""

UNREADABLE = (MalformedMessage, struct.error, IndexError, ValueError, OverflowError, MemoryError)
"""What a decoder may raise."""

_NUMBERS = {
    kind: kind.value
    for kind in (Kind.INT8, Kind.INT16, Kind.UINT16, Kind.INT32, Kind.INT64, Kind.FLOAT64, Kind.BOOLEAN)
}
_CODES = {**_NUMBERS, Kind.ERROR: "h", Kind.UUID: "16s"}
"""The `struct` codes of the kinds whose size is fixed."""
_LENGTH_CODES = {Kind.STRING: "h", Kind.BYTES: "i", Kind.RECORDS: "i"}
"""The lengths before kinds whose size is not, in versions that are not flexible."""
_NULLS = {"h": b"\xff\xff", "i": b"\xff\xff\xff\xff"}
_COMPACT_NULL = b"\x00"


@cache
def decoder(message: type, version: int, flexible: bool, *, elements_max: int | None = None) -> Decode:
    """Reads a message class as of a version; refuses one whose arrays have more elements in all than `elements_max`."""
    return _DecoderSource(message, version, flexible, elements_max=elements_max).compile()


@cache
def encoder(message: type, version: int, flexible: bool) -> Encode:
    """Writes a message class as of a version."""
    return _EncoderSource(message, version, flexible).compile()


@cache
def size_min(message: type, version: int, flexible: bool) -> int:
    """The fewest bytes that an instance of a message class can take."""
    size = 1 if flexible else 0
    for field in fields_of(message):
        wire = field.wire
        if version not in wire.versions or wire.tag is not None:
            continue
        if wire.is_array:
            size += 1 if flexible else 4
        elif wire.is_nullable(version) and wire.kind is Kind.STRUCT:
            size += 1
        else:
            size += _value_size_min(wire, version, flexible)
    return size


def _value_size_min(wire: WireField, version: int, flexible: bool) -> int:
    if wire.struct is not None:
        return size_min(wire.struct, version, flexible)
    if wire.kind in _CODES:
        return struct.calcsize(">" + _CODES[wire.kind])
    return 1 if flexible else struct.calcsize(">" + _LENGTH_CODES[wire.kind])


class _Source:
    """Lines of a function in the making, the constants it refers to, and fixed-size fields not yet flushed."""

    def __init__(self, message: type, version: int, flexible: bool) -> None:
        self.message = message
        self.version = version
        self.flexible = flexible
        self.lines: list[str] = []
        self.indent = 1
        self.names: dict[str, object] = {}
        self.count = 0

    def emit(self, line: str) -> None:
        self.lines.append("    " * self.indent + line)

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def constant(self, prefix: str, value: object) -> str:
        name = self.name(prefix)
        self.names[name] = value
        return name

    def fields(self, message: type) -> tuple[list[MessageField], list[MessageField]]:
        """The fields that this version has: the plain ones in their order, the tagged ones by tag."""
        present = [field for field in fields_of(message) if self.version in field.wire.versions]
        tagged = [field for field in present if field.wire.tag is not None]
        assert self.flexible or not tagged, f"{message.__name__} has tagged fields before it is flexible"
        return [field for field in present if field.wire.tag is None], sorted(tagged, key=lambda f: f.wire.tag or 0)

    def compiled(self, signature: str) -> object:
        """The function of this signature; its text is kept where tracebacks look for it."""
        text = "\n".join([f"def {signature}:", *self.lines, ""])
        file = f"<{self.message.__name__} v{self.version} {signature}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), self.names)  # noqa: S102 - see the top of the file
        return self.names[signature.partition("(")[0]]


class _DecoderSource(_Source):
    def __init__(self, message: type, version: int, flexible: bool, *, elements_max: int | None) -> None:
        super().__init__(message, version, flexible)
        self.elements_max = elements_max
        self.pending: list[tuple[str, str]] = []
        self.after_pending: list[str] = []
        self.names.update(
            uvarint=read_unsigned_varint,
            skip_tags=skip_tags,
            cut_short=_cut_short,
            too_long=_too_long,
            too_many=_too_many,
            null_refused=_null_refused,
            unpack_from=struct.unpack_from,
            error_of=_ERRORS.get,
            uuid_of=_uuid_of,
        )

    def compile(self) -> Decode:
        self.emit("n = len(b)")
        if self.elements_max is not None:
            self.emit(f"room = {self.elements_max}")
        message = self.struct(self.message)
        self.emit(f"return {message}, p")
        decode: Decode = self.compiled("decode(b, p)")  # type: ignore[assignment]
        return decode

    def struct(self, message: type) -> str:
        """Emits the reading of a struct; returns the name of the instance."""
        plain, tagged = self.fields(message)
        values = {field.name: self.value(field.wire) for field in plain}
        self.flush()
        if self.flexible:
            values.update(self.tags(tagged))
        instance = self.name("o")
        self.emit(f"{instance} = {self.constant('Mould', mould_of(message))}()")
        for field in fields_of(message):
            value = values.get(field.name) or self.constant("default", field.default)
            self.emit(f"{instance}.{field.name} = {value}")
        self.emit(f"{instance}.__class__ = {self.constant('Message', message)}")
        return instance

    def value(self, wire: WireField) -> str:
        """Emits the reading of a field; returns the name of its value."""
        if wire.is_array:
            return self.array(wire)
        if wire.struct is None:
            return self.scalar(wire.kind, wire.is_nullable(self.version))
        if not wire.is_nullable(self.version):
            return self.struct(wire.struct)
        marker, value = self.fixed("b"), self.name("v")
        self.flush()
        self.emit(f"if {marker} < 0:")
        self.emit(f"    {value} = None")
        self.emit("else:")
        self.indent += 1
        self.emit(f"{value} = {self.struct(wire.struct)}")
        self.indent -= 1
        return value

    def scalar(self, kind: Kind, nullable: bool) -> str:
        if kind in _CODES:
            value = self.fixed(_CODES[kind])
            if kind is Kind.ERROR:
                self.after_pending.append(f"{value} = error_of({value}, {value})")
            elif kind is Kind.UUID:
                self.after_pending.append(f"{value} = uuid_of({value})")
            return value
        size, value, end = self.length(_LENGTH_CODES[kind]), self.name("v"), self.name("e")
        self.null_or(size, value, nullable)
        if kind is Kind.STRING and self.flexible and self.elements_max is not None:
            self.emit(f"if {size} > {INT16_MAX}: too_long(p, {size})")
        self.emit(f"{end} = p + {size}")
        self.emit(f"if {end} > n: cut_short(p, {size}, n)")
        data = f"b[p:{end}]"
        if kind is Kind.STRING:
            data = f'str({data}, "utf-8")'
        elif kind is Kind.BYTES:
            data = f"bytes({data})"
        self.emit(f"{value} = {data}")
        self.emit(f"p = {end}")
        self.indent -= nullable
        return value

    def array(self, wire: WireField) -> str:
        nullable = wire.is_nullable(self.version)
        count, value = self.length("i"), self.name("v")
        element_size = _value_size_min(wire, self.version, self.flexible)
        assert element_size > 0, "elements that take no bytes could be announced without limit"
        self.null_or(count, value, nullable)
        self.emit(f"if {count} * {element_size} > n - p: cut_short(p, {count}, n)")
        if self.elements_max is not None:
            self.emit(f"room -= {count}")
            self.emit(f"if room < 0: too_many(p, {self.elements_max})")
        if wire.kind in _NUMBERS:
            self.emit(f"{value} = unpack_from(f'>{{{count}}}{_NUMBERS[wire.kind]}', b, p)")
            self.emit(f"p += {count} * {element_size}")
        else:
            items = self.name("items")
            self.emit(f"{items} = []")
            self.emit(f"for _ in range({count}):")
            self.indent += 1
            element = self.struct(wire.struct) if wire.struct else self.scalar(wire.kind, nullable=False)
            self.flush()
            self.emit(f"{items}.append({element})")
            self.indent -= 1
            self.emit(f"{value} = tuple({items})")
        self.indent -= nullable
        return value

    def length(self, code: str) -> str:
        """A length or a count; -1 for null."""
        if not self.flexible:
            length = self.fixed(code)
            self.flush()
            return length
        self.flush()
        length = self.name("s")
        self.emit(f"{length} = b[p]")
        self.emit("p += 1")
        self.emit(f"if {length} > 127: {length}, p = uvarint(b, p - 1)")
        self.emit(f"{length} -= 1")
        return length

    def null_or(self, length: str, value: str, nullable: bool) -> None:
        """What follows is read if `length` is not null; opens a block if null is allowed."""
        if not nullable:
            self.emit(f"if {length} < 0: null_refused(p)")
            return
        self.emit(f"if {length} < 0:")
        if not self.flexible:
            self.emit(f"    if {length} != -1: null_refused(p)")
        self.emit(f"    {value} = None")
        self.emit("else:")
        self.indent += 1

    def tags(self, fields: Sequence[MessageField]) -> dict[str, str]:
        """Emits the reading of the tagged fields, known and unknown; returns the names of the known values."""
        count = self.name("t")
        self.emit(f"{count} = b[p]")
        self.emit("p += 1")
        if not fields:
            self.emit(f"if {count}: p = skip_tags(b, p - 1)")
            return {}
        values = {field.name: self.name("v") for field in fields}
        for field in fields:
            self.emit(f"{values[field.name]} = {self.constant('default', field.default)}")
        self.emit(f"if {count}:")
        self.indent += 1
        tag, size, end = self.name("k"), self.name("s"), self.name("e")
        self.emit(f"{count}, p = uvarint(b, p - 1)")
        self.emit(f"for _ in range({count}):")
        self.indent += 1
        self.emit(f"{tag}, p = uvarint(b, p)")
        self.emit(f"{size}, p = uvarint(b, p)")
        self.emit(f"{end} = p + {size}")
        self.emit(f"if {end} > n: cut_short(p, {size}, n)")
        for field in fields:
            self.emit(f"if {tag} == {field.wire.tag}:")
            self.indent += 1
            value = self.value(field.wire)
            self.flush()
            self.emit(f"{values[field.name]} = {value}")
            # A tagged field that is longer or shorter than its value is a lie about one of them.
            self.emit(f"if p != {end}: cut_short(p, {size}, {end})")
            self.indent -= 1
        self.emit(f"p = {end}")
        self.indent -= 2
        return values

    def fixed(self, code: str) -> str:
        value = self.name("v")
        self.pending.append((code, value))
        return value

    def flush(self) -> None:
        """Emits one `struct` call for the fixed-size fields gathered so far."""
        if not self.pending:
            return
        layout = struct.Struct(">" + "".join(code for code, _ in self.pending))
        unpack = self.constant("unpack", layout.unpack_from)
        targets = ", ".join(value for _, value in self.pending)
        self.emit(f"{targets}{',' if len(self.pending) == 1 else ''} = {unpack}(b, p)")
        self.emit(f"p += {layout.size}")
        for line in self.after_pending:
            self.emit(line)
        self.pending.clear()
        self.after_pending.clear()


class _EncoderSource(_Source):
    def __init__(self, message: type, version: int, flexible: bool) -> None:
        super().__init__(message, version, flexible)
        self.pending: list[tuple[str, str]] = []
        self.names.update(
            small_varints=SMALL_VARINTS, varint=write_unsigned_varint, pack=struct.pack, write_tags=_write_tags
        )

    def compile(self) -> Encode:
        self.emit("w = parts.append")
        self.struct(self.message, "m")
        self.flush()
        encode: Encode = self.compiled("encode(m, parts, marks)")  # type: ignore[assignment]
        return encode

    def struct(self, message: type, instance: str) -> None:
        plain, tagged = self.fields(message)
        for field in plain:
            self.value(field.wire, f"{instance}.{field.name}")
        if self.flexible:
            self.tags(tagged, instance)

    def value(self, wire: WireField, value: str) -> None:
        """Emits the writing of the value of an expression."""
        nullable = wire.is_nullable(self.version)
        if wire.kind in _CODES and not wire.is_array:
            self.pending.append((_CODES[wire.kind], f"{value}.bytes" if wire.kind is Kind.UUID else value))
            return
        if wire.struct is not None and not wire.is_array:
            self.nested(wire.struct, value, nullable)
            return
        code = "i" if wire.is_array else _LENGTH_CODES[wire.kind]
        local = self.name("v")
        self.emit(f"{local} = {value}")
        if nullable:
            self.flush()
            self.emit(f"if {local} is None:")
            self.emit(f"    w({_COMPACT_NULL if self.flexible else _NULLS[code]!r})")
            self.emit("else:")
            self.indent += 1
        if wire.is_array:
            self.array(wire, local)
        else:
            self.sized(wire.kind, local)
        if nullable:
            self.flush()
            self.indent -= 1

    def nested(self, message: type, value: str, nullable: bool) -> None:
        local = self.name("m")
        self.emit(f"{local} = {value}")
        if not nullable:
            self.struct(message, local)
            return
        self.flush()
        self.emit(f"if {local} is None:")
        self.emit("    w(b'\\xff')")
        self.emit("else:")
        self.indent += 1
        self.emit("w(b'\\x01')")
        self.struct(message, local)
        self.flush()
        self.indent -= 1

    def sized(self, kind: Kind, value: str) -> None:
        if kind is Kind.STRING:
            data = self.name("d")
            self.emit(f"{data} = {value}.encode()")
            value = data
        self.length(_LENGTH_CODES[kind], f"len({value})")
        self.flush()
        if kind is Kind.RECORDS:
            self.emit(f"if len({value}):")
            self.emit("    marks.append(len(parts))")
            self.emit(f"    w({value})")
        else:
            self.emit(f"w({value})")

    def array(self, wire: WireField, value: str) -> None:
        self.length("i", f"len({value})")
        self.flush()
        if wire.kind in _NUMBERS:
            self.emit(f"w(pack(f'>{{len({value})}}{_NUMBERS[wire.kind]}', *{value}))")
            return
        element = self.name("m")
        self.emit(f"for {element} in {value}:")
        self.indent += 1
        if wire.struct is not None:
            self.struct(wire.struct, element)
        elif wire.kind in _CODES:
            self.pending.append((_CODES[wire.kind], f"{element}.bytes" if wire.kind is Kind.UUID else element))
        else:
            self.sized(wire.kind, element)
        self.flush()
        self.indent -= 1

    def length(self, code: str, value: str) -> None:
        if not self.flexible:
            self.pending.append((code, value))
            return
        self.flush()
        length = self.name("s")
        self.emit(f"{length} = {value} + 1")
        self.emit(f"w(small_varints[{length}] if {length} < {len(SMALL_VARINTS)} else varint({length}))")

    def tags(self, fields: Sequence[MessageField], instance: str) -> None:
        """Emits the writing of tagged fields, without those that have their default."""
        if not fields:
            self.pending.append(("x", ""))
            return
        self.flush()
        tagged = self.name("t")
        self.emit(f"{tagged} = []")
        for field in fields:
            assert field.wire.kind is not Kind.RECORDS, "a tagged field is copied"
            value, outer, inner = self.name("v"), self.name("w"), self.name("parts")
            self.emit(f"{value} = {instance}.{field.name}")
            self.emit(f"if {self.differs(field, value)}:")
            self.indent += 1
            self.emit(f"{outer}, {inner} = w, []")
            self.emit(f"w = {inner}.append")
            self.value(field.wire, value)
            self.flush()
            self.emit(f"w = {outer}")
            self.emit(f"{tagged}.append(({field.wire.tag}, b''.join({inner})))")
            self.indent -= 1
        self.emit(f"if {tagged}: write_tags(w, {tagged})")
        self.emit(f"else: w({_COMPACT_NULL!r})")

    def differs(self, field: MessageField, value: str) -> str:
        """The condition under which a value is not its default. Any empty sequence is like the empty tuple."""
        if field.default == ():
            return f"{value} is None or len({value})"
        default = self.constant("default", field.default)
        return f"{value} is not {default} and {value} != {default}"

    def flush(self) -> None:
        """Emits one `struct` call for the fixed-size values gathered so far; an empty tag section is a pad byte."""
        if not self.pending:
            return
        codes = "".join(code for code, _ in self.pending)
        values = [value for _, value in self.pending if value]
        if values:
            pack = self.constant("pack", struct.Struct(">" + codes).pack)
            self.emit(f"w({pack}({', '.join(values)}))")
        else:
            self.emit(f"w({bytes(len(codes))!r})")
        self.pending.clear()


_ERRORS = {code.value: code for code in ErrorCode}


@lru_cache(maxsize=4096)
def _uuid_of(data: bytes) -> UUID:
    # Topic ids come again and again, and UUID() is slow.
    return UUID(bytes=data)


def skip_tags(buffer: Buffer, position: int) -> int:
    """The position after a section of tagged fields of which none is known."""
    count, position = read_unsigned_varint(buffer, position)
    for _ in range(count):
        _, position = read_unsigned_varint(buffer, position)
        size, position = read_unsigned_varint(buffer, position)
        if size > len(buffer) - position:
            _cut_short(position, size, len(buffer))
        position += size
    return position


def _write_tags(write: Callable[[bytes], None], tagged: Sequence[tuple[int, bytes]]) -> None:
    write(write_unsigned_varint(len(tagged)))
    for tag, data in tagged:
        write(write_unsigned_varint(tag))
        write(write_unsigned_varint(len(data)))
        write(data)


def _cut_short(position: int, announced: int, end: int) -> NoReturn:
    raise MalformedMessage(f"{announced} announced at position {position}, {end - position} bytes are left")


def _too_long(position: int, size: int) -> NoReturn:
    raise MalformedMessage(f"a string of {size} bytes at position {position}, at most {INT16_MAX}")


def _too_many(position: int, elements_max: int) -> NoReturn:
    raise MalformedMessage(f"more than {elements_max} elements of arrays at position {position}")


def _null_refused(position: int) -> NoReturn:
    raise MalformedMessage(f"null or a negative length before position {position}")
