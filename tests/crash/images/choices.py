"""Which of the things that may be left at one instant are tried.

First those that a rule names: nothing and everything; all changes up to each, and all but each; each alone, and all
from each on; the files without the names and the names without the files, of everything and of each file and
directory. Each write in parts, with all that came before it and with everything else: torn at each sector and at a few
bytes, as zeros, without each sector, each sector alone. With few changes, every selection of them. Then, as many as
are wanted, any selection with any parts, drawn from a seed.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import combinations, pairwise
from typing import NamedTuple

from .model import SECTOR, Arrived, Change, Part, Step, Write, whole

Choice = tuple[Arrived, ...]


class Parts(Enum):
    """How many parts of each write are tried."""

    NONE = "none"
    FEW = "its first half, and all but its last sector"
    ALL = "see `parts`"


class Extent(NamedTuple):
    """How many are tried at each instant."""

    parts: Parts
    in_a_row: bool = True
    """Each alone, all from each on, and by place."""
    every_of: int = 0
    """Up to so many changes, every selection of them."""
    drawn: int = 0
    """Selections drawn by chance."""


GLANCE = Extent(Parts.NONE, in_a_row=False)
QUICK = Extent(Parts.FEW, in_a_row=False)
BUILD = Extent(Parts.ALL, every_of=5, drawn=32)
RELEASE = Extent(Parts.ALL, every_of=7, drawn=150)


def choices(changes: Sequence[Change], extent: Extent, rng: random.Random) -> Iterator[Choice]:
    """Selections of the changes, those of the rules first. The same one may come more than once."""
    yield ()
    if not changes:
        return
    yield _all(changes)
    for number in range(len(changes)):
        yield _all(changes[:number])
        yield _all([*changes[:number], *changes[number + 1 :]])
    if extent.in_a_row:
        for number in range(len(changes)):
            yield _all([changes[number]])
            yield _all(changes[number:])
        yield from _by_place(changes)
    if extent.parts is not Parts.NONE:
        yield from _all_torn(changes)
    for number, change in enumerate(changes):
        for part in parts(change, extent.parts):
            torn = Arrived(change, part)
            before = _all(changes[:number])
            yield (*before, torn)
            yield (*before, torn, *_all(changes[number + 1 :]))
    if len(changes) <= extent.every_of:
        for count in range(2, len(changes)):
            for some in combinations(changes, count):
                yield _all(some)
    for _ in range(extent.drawn):
        yield _drawn(changes, rng)


def parts(change: Change, which: Parts) -> Iterator[Part]:
    """What may arrive of a write, but for all or nothing of it."""
    if not isinstance(change, Write) or which is Parts.NONE:
        return
    size = len(change.data)
    edges = _sector_edges(change)
    if which is Parts.FEW:
        yield Part(((0, size // 2),), is_as_long=False)
        yield Part(((0, edges[-1] if edges else 0),))
        return
    cuts = {*edges, 1, size // 2, size - 1} - {0, size}
    for cut in sorted(cuts):
        yield Part(((0, cut),), is_as_long=False)
        yield Part(((0, cut),))
    yield Part(())
    bounds = [0, *edges, size]
    sectors = list(pairwise(bounds))
    if len(sectors) > 1:
        for missing in range(len(sectors)):
            yield Part(tuple(sectors[:missing] + sectors[missing + 1 :]))
    if len(sectors) > 2:
        for sector in sectors:
            yield Part((sector,))


def _all(changes: Sequence[Change]) -> Choice:
    return tuple(Arrived(change, whole(change)) for change in changes)


def _by_place(changes: Sequence[Change]) -> Iterator[Choice]:
    yield from _split(changes, lambda change: isinstance(change, Step))
    places = dict.fromkeys(map(_place, changes))
    if len(places) > 2:
        for place in places:
            yield _all([change for change in changes if _place(change) == place])
            yield _all([change for change in changes if _place(change) != place])


def _all_torn(changes: Sequence[Change]) -> Iterator[Choice]:
    """Every write arrives in half; those to all files, and those to each one."""
    halves = [next(parts(change, Parts.FEW), whole(change)) for change in changes]
    yield tuple(map(Arrived, changes, halves))
    for place in dict.fromkeys(map(_place, changes)):
        yield tuple(
            Arrived(change, half if _place(change) == place else whole(change))
            for change, half in zip(changes, halves, strict=True)
        )


def _split(changes: Sequence[Change], belongs: Callable[[Change], bool]) -> Iterator[Choice]:
    yield _all([change for change in changes if belongs(change)])
    yield _all([change for change in changes if not belongs(change)])


def _place(change: Change) -> int:
    """Of the file or directory that it changes."""
    return id(change.directory) if isinstance(change, Step) else id(change.file)


def _sector_edges(change: Write) -> list[int]:
    """Where in the data a sector of the file ends and the next begins."""
    first = SECTOR - change.position % SECTOR
    return list(range(first, len(change.data), SECTOR))


def _drawn(changes: Sequence[Change], rng: random.Random) -> Choice:
    rate = rng.choice((0.2, 0.5, 0.8))
    arrived = []
    for change in changes:
        if rng.random() < rate:
            is_torn = isinstance(change, Write) and rng.random() < 0.5
            arrived.append(Arrived(change, _drawn_part(change, rng) if is_torn else whole(change)))
    return tuple(arrived)


def _drawn_part(change: Change, rng: random.Random) -> Part:
    assert isinstance(change, Write)
    size = len(change.data)
    if rng.random() < 0.5:
        return Part(((0, rng.randint(0, size)),), is_as_long=rng.random() < 0.5)
    bounds = [0, *_sector_edges(change), size]
    pieces = []
    for begin, end in pairwise(bounds):
        if rng.random() < 0.6:
            pieces.append((begin, end if rng.random() < 0.9 else rng.randint(begin, end)))
    return Part(tuple(pieces))
