"""What clients outside of the machine were told, and whether the broker still says so when the power is back.

* lost: an acknowledged record is not at its offset; taken back: what a reader was given is not there any more;
* gap: offsets are not contiguous; invented: a record that nobody sent, or not so;
* duplicate, disorder: the records of an idempotent producer stand once, in the order in which they were sent;
* forgotten: the committed offset is below one of which the reader was told, or above all that it tried.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

PARTITIONS: Final = 3
ACKS_ALL: Final = -1

Place = tuple[int, int]
"""Partition and offset."""
Records = dict[Place, bytes]


@dataclass
class Told:
    """What one producer was told: the place of each acknowledged value."""

    name: str
    idempotent: bool = False
    acks: int = -1
    """With less than all (-1) nothing is promised: a power cut may take it, and its offset goes to another record."""
    acknowledged: dict[bytes, Place] = field(default_factory=dict)
    sent: int = 0

    def value(self) -> bytes:
        """The next value to send."""
        self.sent += 1
        return value_of(self.name, self.sent)

    @property
    def partition(self) -> int:
        """Where the value goes that was made last."""
        return self.sent % PARTITIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """All that clients were told up to some moment."""

    tolds: Sequence[Told]
    seen: Records
    """What readers were given."""
    commits: Sequence[int]
    """Of each partition, the offset up to which a reader was told that its commit is kept."""


def value_of(name: str, number: int) -> bytes:
    """All bytes of a value follow from who sent it as which."""
    return b"%s %09d " % (name.encode(), number) + b"%d" % (number * 7919) * (number % 40)


def sender_of(value: bytes) -> tuple[str, int] | None:
    """Who sent it as which; None if nobody did."""
    words = value.split(b" ", 2)
    if len(words) != 3 or not words[1].isdigit():
        return None
    name, number = words[0].decode(errors="replace"), int(words[1])
    return (name, number) if value == value_of(name, number) else None


def broken(promises: Promises, records: Records, commits: Sequence[int], commits_tried: Sequence[int]) -> Iterator[str]:
    """Each promise that does not hold for what is there now."""
    for told in promises.tolds:
        if told.acks != ACKS_ALL:
            continue
        for value, place in told.acknowledged.items():
            if records.get(place) != value:
                yield f"lost: {_short(value)} was acknowledged at {place}, there is {_short(records.get(place))}"
    for place, value in promises.seen.items():
        if records.get(place) != value:
            yield f"taken back: {_short(value)} was read at {place}, there is {_short(records.get(place))}"
    yield from _misplaced(records, {told.name: told.idempotent for told in promises.tolds})
    for partition, (found, told_of, tried) in enumerate(zip(commits, promises.commits, commits_tried, strict=True)):
        if not told_of <= found <= tried:
            yield f"forgotten: partition {partition} was committed to {told_of}, at most {tried}, and is at {found}"


def _misplaced(records: Records, producers: Mapping[str, bool]) -> Iterator[str]:
    """What stands where it should not, whatever anybody was told."""
    expected: defaultdict[int, int] = defaultdict(int)
    last: defaultdict[Place | tuple[str, int], int] = defaultdict(int)
    for (partition, offset), value in sorted(records.items()):
        if offset != expected[partition]:
            yield f"gap: partition {partition} has {offset} where {expected[partition]} should be"
        expected[partition] = offset + 1
        sender = sender_of(value)
        if sender is None or sender[0] not in producers or sender[1] % PARTITIONS != partition:
            yield f"invented: {_short(value)} at {(partition, offset)}"
            continue
        name, number = sender
        if producers[name]:
            before = last[name, partition]
            if number <= before:
                kind = "duplicate" if number == before else "disorder"
                yield f"{kind}: {_short(value)} at {(partition, offset)} stands behind {before}"
            elif number != before + PARTITIONS and before:
                yield f"lost: {name} sent {before + PARTITIONS} between {before} and {number}"
            last[name, partition] = max(before, number)


def _short(value: bytes | None) -> str:
    return "nothing" if value is None else repr(value[:30])
