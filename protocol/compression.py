"""The compressions of a record batch, by their number in its attributes, through cramjam.

Whoever inflates names the limit: compressed bytes come from outside, and a hundred bytes can claim to be gigabytes.
Output goes into a buffer that starts near the usual ratio and is enlarged, up to the limit and no further; what does
not fit the limit is refused. Frames and gzip members that follow each other count as one text, skippable frames as
nothing; anything else behind them is refused.

Snappy comes as Java's xerial stream or raw, as some clients write it (B-16); we write the former:

    82 53 4e 41 50 50 59 00 | version i32 | oldest compatible version i32 | (block size i32, raw snappy block)…

LZ4 frames are written with independent blocks: Java's consumer refuses any other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Final

from .errors import DecompressionFailed, InflatedTooLarge
from .primitives import Buffer


class Codec(IntEnum):
    """The three lowest bits of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


LEVELS: Final[Mapping[Codec, int]] = {Codec.GZIP: 6, Codec.LZ4: 1, Codec.ZSTD: 3}
"""What a codec works at unless told otherwise. Snappy knows no levels."""

XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
XERIAL_HEADER: Final = XERIAL_MAGIC + struct.pack(">ii", 1, 1)
XERIAL_BLOCK_SIZE: Final = 32 << 10

SNAPPY_RATIO_MAX: Final = 32
"""More than the format can do: its best element makes 64 bytes of 3."""

_INT32 = struct.Struct(">i")
_FIRST_RATIO = 4
_FIRST_SIZE_MIN = 4 << 10
_GROWTH = 16
_OUTPUT_FULL = ("failed to write whole buffer", "Destination buffer is too small")
"""What cramjam says when the output is too small. Only the choice of the exception hangs on these words."""
_LIES = (
    *("corrupt", "incomplete", "unexpected end of file", "invalid", "Unknown frame", "truncated", "empty input"),
    *("_unknown", "_wrong", "_set", "mismatch", "Unsupported", "too much memory", "Src size is incorrect"),
)
"""What cramjam says of bytes to which no larger output would do justice. Words missing here cost time, nothing else."""


def compress(codec: Codec, data: Buffer, level: int | None = None) -> bytes:
    """`data` as one frame of the codec; as it is for `Codec.NONE`."""
    import cramjam

    if level is None:
        level = LEVELS.get(codec)
    match codec:
        case Codec.NONE:
            return bytes(data)
        case Codec.GZIP:
            return bytes(cramjam.gzip.compress(data, level=level))
        case Codec.SNAPPY:
            return _compress_xerial(data)
        case Codec.LZ4:
            frame = cramjam.lz4.Compressor(level=level, content_checksum=False, block_linked=False)
            frame.compress(bytes(data))  # takes no other kind of buffer; bytes are not copied
            return bytes(frame.finish())
        case Codec.ZSTD:
            return bytes(cramjam.zstd.compress(data, level=level))


def decompress(codec: int, data: Buffer, size_max: int) -> bytes:
    """What was compressed; `InflatedTooLarge` if that is more than `size_max` bytes.

    `DecompressionFailed` if `data` is not what the codec writes, or there is no such codec.
    """
    import cramjam

    match codec:
        case Codec.NONE:
            if len(data) > size_max:
                raise InflatedTooLarge(f"{len(data)} bytes where at most {size_max} are allowed")
            return bytes(data)
        case Codec.GZIP:
            return _inflate(cramjam.gzip.decompress_into, data, size_max)
        case Codec.SNAPPY:
            return _decompress_snappy(data, size_max)
        case Codec.LZ4:
            return _inflate(cramjam.lz4.decompress_into, data, size_max)
        case Codec.ZSTD:
            return _inflate(cramjam.zstd.decompress_into, data, size_max)
    raise DecompressionFailed(f"there is no compression {codec}")


def _inflate(decompress_into: Callable[[Buffer, bytearray], int], data: Buffer, size_max: int) -> bytes:
    import cramjam

    size = min(size_max, max(_FIRST_SIZE_MIN, len(data) * _FIRST_RATIO))
    while True:
        output = bytearray(size)
        try:
            inflated_size = decompress_into(data, output)
        except cramjam.DecompressionError as error:
            said = str(error)
            # Too small an output cannot be told for certain from bytes that lie, so what is not known as a lie is tried
            # with a larger one. A lie must not cost the largest: it comes from outside, as often as anybody likes.
            if size < size_max and not any(words in said for words in _LIES):
                size = min(size_max, size * _GROWTH)
                continue
            if any(words in said for words in _OUTPUT_FULL):
                raise InflatedTooLarge(f"{len(data)} bytes inflate to more than {size_max}") from None
            raise DecompressionFailed(said) from None
        with memoryview(output) as whole:
            return bytes(whole[:inflated_size])


def _compress_xerial(data: Buffer) -> bytes:
    import cramjam

    parts: list[bytes] = [XERIAL_HEADER]
    with memoryview(data) as whole:
        for position in range(0, len(whole), XERIAL_BLOCK_SIZE):
            block = bytes(cramjam.snappy.compress_raw(whole[position : position + XERIAL_BLOCK_SIZE]))
            parts += (_INT32.pack(len(block)), block)
    return b"".join(parts)


def _decompress_snappy(data: Buffer, size_max: int) -> bytes:
    """Blocks state their inflated sizes, so the output is allocated once, after all of them were added up."""
    import cramjam

    with memoryview(data) as whole:
        try:
            size = sum(map(cramjam.snappy.decompress_raw_len, _snappy_blocks(whole)))
            if size > size_max:
                raise InflatedTooLarge(f"{len(data)} bytes claim to inflate to {size}, more than {size_max}")
            if size > SNAPPY_RATIO_MAX * len(data):
                raise DecompressionFailed(f"{len(data)} bytes claim to inflate to {size}, which snappy cannot do")
            output = bytearray(size)
            position = 0
            with memoryview(output) as free:
                for block in _snappy_blocks(whole):
                    position += cramjam.snappy.decompress_raw_into(block, free[position:])
        except cramjam.DecompressionError as error:
            raise DecompressionFailed(str(error)) from None
    return bytes(output)


def _snappy_blocks(data: memoryview) -> Iterator[memoryview]:
    """The raw blocks of one or more xerial streams in a row; all of `data` if it is no such stream."""
    position, end = 0, len(data)
    if data[: len(XERIAL_MAGIC)].tobytes() != XERIAL_MAGIC:
        yield data
        return
    while position < end:
        if data[position : position + len(XERIAL_MAGIC)].tobytes() == XERIAL_MAGIC:
            position += len(XERIAL_HEADER)
            continue
        if end - position < _INT32.size:
            raise DecompressionFailed(f"snappy block cut short at position {position}")
        size = _INT32.unpack_from(data, position)[0]
        position += _INT32.size
        if not 0 < size <= end - position:
            raise DecompressionFailed(f"snappy block of {size} bytes at position {position}, {end - position} are left")
        yield data[position : position + size]
        position += size
    if position > end:
        raise DecompressionFailed("snappy header cut short")
