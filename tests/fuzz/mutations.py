"""What is done to bytes so that they lie: flipped, cut, stretched, spliced, with lengths overwritten."""

from __future__ import annotations

import random
from collections.abc import Callable

from tidelog.protocol.primitives import write_unsigned_varint

NUMBERS_16 = tuple(value.to_bytes(2, "big") for value in (0, 1, 0x7F, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF))
NUMBERS_32 = tuple(
    value.to_bytes(4, "big")
    for value in (0, 1, 0xFFFF, 0x10000, 0xFFFFFF, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
)
VARINTS = (
    b"\x80\x80\x80\x80\x00",
    b"\xff\xff\xff\xff\x07",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\x0f",
    b"\x80" * 9 + b"\x01",
    b"\xff" * 9 + b"\x01",
    b"\xff" * 10,
    b"\xff" * 40,
)
BYTES = (0x00, 0x01, 0x02, 0x7E, 0x7F, 0x80, 0x81, 0xC0, 0xC1, 0xDC, 0xDD, 0xDE, 0xDF, 0xFE, 0xFF)

Mutation = Callable[[bytearray], None]


class Mutator:
    """Applies one or a few mutations, in place."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._mutations: tuple[Mutation, ...] = (
            *(self._flip, self._flip, self._set, self._set, self._cut_out, self._insert, self._repeat, self._truncate),
            *(self._extend, self._number_16, self._number_32, self._number_32, self._varint),
        )

    def mutate(self, data: bytearray) -> None:
        """Mostly once: a request in which everything is wrong is refused by its first field."""
        rng = self._rng
        rng.choice(self._mutations)(data)
        while rng.random() < 0.3:
            rng.choice(self._mutations)(data)

    def splice(self, one: bytes | bytearray, other: bytes | bytearray) -> bytearray:
        """The beginning of one, the end of the other."""
        rng = self._rng
        return bytearray(one[: rng.randint(0, len(one))] + other[rng.randint(0, len(other)) :])

    def _position(self, data: bytearray) -> int:
        # Most of what decides stands in front: header, counts, lengths.
        size = len(data)
        return self._rng.randrange(min(size, 40) if self._rng.random() < 0.5 else size) if size else 0

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._position(data)] ^= 1 << self._rng.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._position(data)] = self._rng.choice(BYTES)

    def _cut_out(self, data: bytearray) -> None:
        position = self._position(data)
        del data[position : position + self._rng.choice((1, 1, 2, 4, 16))]

    def _insert(self, data: bytearray) -> None:
        position = self._position(data)
        data[position:position] = self._rng.randbytes(self._rng.choice((1, 1, 2, 4, 16)))

    def _repeat(self, data: bytearray) -> None:
        position = self._position(data)
        piece = data[position : position + self._rng.choice((1, 4, 16, 64))]
        data[position:position] = piece * self._rng.choice((1, 1, 2, 50))

    def _truncate(self, data: bytearray) -> None:
        del data[self._position(data) :]

    def _extend(self, data: bytearray) -> None:
        data += self._rng.randbytes(self._rng.choice((1, 2, 8, 100)))

    def _number_16(self, data: bytearray) -> None:
        position = self._position(data)
        data[position : position + 2] = self._rng.choice(NUMBERS_16)

    def _number_32(self, data: bytearray) -> None:
        position = self._position(data)
        data[position : position + 4] = self._rng.choice(NUMBERS_32)

    def _varint(self, data: bytearray) -> None:
        position = self._position(data)
        varint = self._rng.choice(VARINTS)
        data[position : position + self._rng.choice((1, len(varint)))] = varint


def unknown_tags(rng: random.Random) -> bytes:
    """A section of tagged fields that no version knows; sometimes one that is none."""
    count = rng.randint(1, 3)
    tags = sorted(rng.sample((50, 99, 127, 128, 1000, 20_000, 2**31 - 1), count))
    section = write_unsigned_varint(count)
    for tag in tags:
        size = rng.choice((0, 1, 20, 200))
        section += write_unsigned_varint(tag) + write_unsigned_varint(size) + rng.randbytes(size)
    return section if rng.random() < 0.8 else section[: rng.randrange(len(section))]
