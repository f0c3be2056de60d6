"""Integers, varints, strings and uuids to bytes and back, as Kafka writes them: big endian, length-prefixed.

A reader takes `(buffer, position)` and returns `(value, next position)`. Invariant: a reader never looks beyond the
buffer, and checks a length against the bytes that are left *before* it allocates anything; every way in which bytes
can be wrong ends in `MalformedMessage`. A writer returns bytes. "Compact" lengths are unsigned varints of the length
plus one, 0 meaning null (KIP-482).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable

from .errors import MalformedMessage

Buffer = bytes | bytearray | memoryview

INT8_MIN, INT8_MAX = -(1 << 7), (1 << 7) - 1
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
UINT16_MAX, UINT32_MAX, UINT64_MAX = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1

VARINT_SIZE_MAX = 5
"""Bytes that a 32-bit varint may take."""
VARLONG_SIZE_MAX = 10
"""Bytes that a 64-bit varint may take."""

ZERO_UUID = uuid.UUID(int=0)
"""What Kafka writes where there is no uuid."""


def _fixed_reader(code: str, name: str) -> Callable[[Buffer, int], tuple[int, int]]:
    layout = struct.Struct(code)
    unpack, size = layout.unpack_from, layout.size

    def read(buffer: Buffer, position: int) -> tuple[int, int]:
        if position < 0:
            raise MalformedMessage(f"{name} at the negative position {position}")
        try:
            return unpack(buffer, position)[0], position + size
        except struct.error:
            raise MalformedMessage(f"{name} cut short at position {position}") from None

    return read


def _fixed_writer(code: str) -> Callable[[int], bytes]:
    return struct.Struct(code).pack


read_int8 = _fixed_reader(">b", "int8")
read_int16 = _fixed_reader(">h", "int16")
read_uint16 = _fixed_reader(">H", "uint16")
read_int32 = _fixed_reader(">i", "int32")
read_uint32 = _fixed_reader(">I", "uint32")
read_int64 = _fixed_reader(">q", "int64")

write_int8 = _fixed_writer(">b")
write_int16 = _fixed_writer(">h")
write_uint16 = _fixed_writer(">H")
write_int32 = _fixed_writer(">i")
write_uint32 = _fixed_writer(">I")
write_int64 = _fixed_writer(">q")


def read_boolean(buffer: Buffer, position: int) -> tuple[bool, int]:
    """Any byte but zero is true, as in Kafka."""
    value, position = read_int8(buffer, position)
    return value != 0, position


def write_boolean(value: bool) -> bytes:
    """One byte, 1 or 0."""
    return b"\x01" if value else b"\x00"


def read_unsigned_varint(buffer: Buffer, position: int) -> tuple[int, int]:
    """Seven bits a byte, least significant first; at most 5 bytes and 32 bits."""
    return _read_varint(buffer, position, 32)


def read_unsigned_varlong(buffer: Buffer, position: int) -> tuple[int, int]:
    """Like `read_unsigned_varint`, for 64 bits and at most 10 bytes."""
    return _read_varint(buffer, position, 64)


def _read_varint(buffer: Buffer, position: int, bits: int) -> tuple[int, int]:
    try:
        byte = buffer[position]
        position += 1
        if byte < 0x80:
            return byte, position
        value = byte & 0x7F
        for shift in range(7, bits, 7):
            byte = buffer[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                # The last byte has room for more bits than the number may have.
                if value >> bits:
                    raise MalformedMessage(f"varint of more than {bits} bits before position {position}")
                return value, position
    except IndexError:
        raise MalformedMessage(f"varint cut short at position {position}") from None
    raise MalformedMessage(f"varint without an end before position {position}")


def read_varint(buffer: Buffer, position: int) -> tuple[int, int]:
    """A signed 32-bit number, zigzag: 0, -1, 1, -2 … stand as 0, 1, 2, 3 …."""
    value, position = _read_varint(buffer, position, 32)
    return (value >> 1) ^ -(value & 1), position


def read_varlong(buffer: Buffer, position: int) -> tuple[int, int]:
    """A signed 64-bit number, zigzag."""
    value, position = _read_varint(buffer, position, 64)
    return (value >> 1) ^ -(value & 1), position


def _varint_bytes(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


SMALL_VARINTS = tuple(_varint_bytes(value) for value in range(1 << 11))
"""The unsigned varints of the smallest numbers, ready made."""


def write_unsigned_varint(value: int) -> bytes:
    """1 to 5 bytes for 0 … 2**32-1."""
    if 0 <= value < len(SMALL_VARINTS):
        return SMALL_VARINTS[value]
    if not 0 <= value <= UINT32_MAX:
        raise ValueError(f"{value} is no unsigned 32-bit number")
    return _varint_bytes(value)


def write_unsigned_varlong(value: int) -> bytes:
    """1 to 10 bytes for 0 … 2**64-1."""
    if 0 <= value < len(SMALL_VARINTS):
        return SMALL_VARINTS[value]
    if not 0 <= value <= UINT64_MAX:
        raise ValueError(f"{value} is no unsigned 64-bit number")
    return _varint_bytes(value)


def write_varint(value: int) -> bytes:
    """A signed 32-bit number, zigzag."""
    if not INT32_MIN <= value <= INT32_MAX:
        raise ValueError(f"{value} is no signed 32-bit number")
    return write_unsigned_varint((value << 1) ^ (value >> 31))


def write_varlong(value: int) -> bytes:
    """A signed 64-bit number, zigzag."""
    if not INT64_MIN <= value <= INT64_MAX:
        raise ValueError(f"{value} is no signed 64-bit number")
    return write_unsigned_varlong((value << 1) ^ (value >> 63))


def read_slice(buffer: Buffer, position: int, size: int) -> tuple[Buffer, int]:
    """`size` bytes by slicing: no copy if the buffer is a memoryview."""
    end = position + size
    if size < 0 or position < 0 or end > len(buffer):
        raise MalformedMessage(f"{size} bytes announced at position {position}, {len(buffer) - position} are left")
    return buffer[position:end], end


def _text(buffer: Buffer, position: int, size: int) -> tuple[str, int]:
    data, end = read_slice(buffer, position, size)
    try:
        return str(data, "utf-8"), end
    except UnicodeDecodeError:
        raise MalformedMessage(f"string at position {position} is not utf-8") from None


def read_nullable_string(buffer: Buffer, position: int) -> tuple[str | None, int]:
    """int16 length (-1: null), utf-8."""
    size, position = read_int16(buffer, position)
    return (None, position) if size == -1 else _text(buffer, position, size)


def read_string(buffer: Buffer, position: int) -> tuple[str, int]:
    """int16 length, utf-8; null is refused."""
    size, position = read_int16(buffer, position)
    return _text(buffer, position, size)


def read_compact_nullable_string(buffer: Buffer, position: int) -> tuple[str | None, int]:
    """Unsigned varint of length + 1 (0: null), utf-8."""
    size, position = read_unsigned_varint(buffer, position)
    return (None, position) if size == 0 else _text(buffer, position, size - 1)


def read_compact_string(buffer: Buffer, position: int) -> tuple[str, int]:
    """Unsigned varint of length + 1, utf-8; null is refused."""
    size, position = read_unsigned_varint(buffer, position)
    return _text(buffer, position, size - 1)


def read_nullable_bytes(buffer: Buffer, position: int) -> tuple[bytes | None, int]:
    """int32 length (-1: null), then the bytes, copied."""
    size, position = read_int32(buffer, position)
    if size == -1:
        return None, position
    data, position = read_slice(buffer, position, size)
    return bytes(data), position


def write_string(value: str) -> bytes:
    """int16 length, utf-8."""
    data = value.encode()
    if len(data) > INT16_MAX:
        raise ValueError(f"a string of {len(data)} bytes is longer than {INT16_MAX}")
    return write_int16(len(data)) + data


def write_nullable_string(value: str | None) -> bytes:
    """int16 length (-1: null), utf-8."""
    return b"\xff\xff" if value is None else write_string(value)


def write_compact_string(value: str) -> bytes:
    """Unsigned varint of length + 1, utf-8."""
    data = value.encode()
    return write_unsigned_varint(len(data) + 1) + data


def write_compact_nullable_string(value: str | None) -> bytes:
    """Unsigned varint of length + 1 (0: null), utf-8."""
    return b"\x00" if value is None else write_compact_string(value)


def write_nullable_bytes(value: Buffer | None) -> bytes:
    """int32 length (-1: null), then the bytes."""
    return write_int32(-1) if value is None else write_int32(len(value)) + bytes(value)


def read_uuid(buffer: Buffer, position: int) -> tuple[uuid.UUID, int]:
    """16 bytes, most significant first."""
    data, position = read_slice(buffer, position, 16)
    return uuid.UUID(bytes=bytes(data)), position


def write_uuid(value: uuid.UUID) -> bytes:
    """16 bytes, most significant first."""
    return value.bytes
