"""What may befall a file: a bit flipped, its end cut off, blocks swapped, emptied or old, all of it old or gone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from support.flat_disk import Tree

BLOCK_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One file of a directory, harmed."""

    path: str
    how: str
    """Tells it from all others of the file."""
    data: bytes | None
    """What is there instead; None if nothing is."""


def kind_of(path: str) -> str:
    """What kind of file it is: its name without numbers."""
    return re.sub(r"^\d{20}", "*", path.rpartition("/")[2])


class Harmable(Protocol):
    """A data directory that may be harmed."""

    @property
    def tree(self) -> Tree:
        """Its files."""

    @property
    def earlier(self) -> tuple[Tree, ...]:
        """What they were before; the last one first."""


def damages(specimen: Harmable, path: str, *, step: int = 1) -> Iterator[Damage]:
    """Every way in which a file may be harmed; of the flips and cuts, every `step`-th."""
    data = specimen.tree[path]
    for bit in range(0, 8 * len(data), step):
        yield Damage(path=path, how=f"flip {bit}", data=flipped(data, bit))
    for size in range(0, len(data), step):
        yield Damage(path=path, how=f"cut {size}", data=data[:size])
    yield Damage(path=path, how="gone", data=None)
    yield from _blocks(path, data)
    yield from _old(path, data, specimen.earlier)


def one(specimen: Harmable, path: str, how: str) -> Damage:
    """The one of that name."""
    return next(damage for damage in damages(specimen, path) if damage.how == how)


def flipped(data: bytes, bit: int) -> bytes:
    """With one bit turned over."""
    at = bit >> 3
    return b"%b%c%b" % (data[:at], data[at] ^ (1 << (bit & 7)), data[at + 1 :])


def _blocks(path: str, data: bytes) -> Iterator[Damage]:
    """Pairs of blocks exchanged, and each one emptied. Equal ones are none."""
    starts = range(0, len(data) - BLOCK_SIZE + 1, BLOCK_SIZE)
    blocks = {start: data[start : start + BLOCK_SIZE] for start in starts}
    empty = bytes(BLOCK_SIZE)
    for start, block in blocks.items():
        if block != empty:
            yield Damage(path=path, how=f"empty {start}", data=_with(data, start, empty))
        for other, its in blocks.items():
            if start < other and block != its:
                swapped = _with(_with(data, start, its), other, block)
                yield Damage(path=path, how=f"swap {start} {other}", data=swapped)


def _old(path: str, data: bytes, earlier: tuple[Tree, ...]) -> Iterator[Damage]:
    """As it was before, whole and block by block."""
    for age, tree in enumerate(earlier):
        old = tree.get(path)
        if old is None or old == data:
            continue
        yield Damage(path=path, how=f"old {age}", data=old)
        for start in range(0, len(data), BLOCK_SIZE):
            block = old[start : start + BLOCK_SIZE].ljust(min(BLOCK_SIZE, len(data) - start), b"\0")
            if block != data[start : start + BLOCK_SIZE]:
                yield Damage(path=path, how=f"old {age} {start}", data=_with(data, start, block))


def _with(data: bytes, start: int, block: bytes) -> bytes:
    return data[:start] + block + data[start + len(block) :]
