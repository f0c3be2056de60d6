"""What the members of one group say that they did, and the judgement on it: a pure function of their journals.

Each member is a process and keeps a journal (`support.members.journal`). Nothing here asks what time it was. What comes
before what follows from generations alone: a member writes down what it has read before it commits it, and it learns
where to begin after it has joined.

A generation is what the broker calls so, or the member's epoch where the broker assigns (KIP-848). A record is read,
and an offset is committed, in the generation in which the member was given the partition.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Assigned:
    """A member holds these partitions and no others."""

    generation: int
    partitions: frozenset[int]


@dataclass(frozen=True, slots=True)
class Read:
    """Records that the program was given, one after the other."""

    generation: int
    partition: int
    first: int
    sums: tuple[int, ...]
    """The CRC-32 of each value."""

    @property
    def end(self) -> int:
        """The offset behind the last one."""
        return self.first + len(self.sums)


@dataclass(frozen=True, slots=True)
class Committing:
    """An offset is about to be committed."""

    generation: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Committed:
    """The broker has acknowledged it."""

    generation: int
    partition: int
    offset: int


Event = Assigned | Read | Committing | Committed
Histories = Mapping[str, Sequence[Event]]
"""What each member did, by the member's name, in its order."""
Produced = Mapping[int, Sequence[int]]
"""For each partition the CRC-32 of the value at each offset."""


def events_of(journal: Path) -> list[Event]:
    """What stands in a journal; the last line may be torn by a kill."""
    found: list[Event] = []
    if not journal.exists():
        return found
    for line in journal.read_bytes().split(b"\n")[:-1]:
        match json.loads(line):
            case ["assigned", generation, partitions]:
                found.append(Assigned(generation, frozenset(partitions)))
            case ["read", generation, partition, first, sums]:
                found.append(Read(generation, partition, first, tuple(sums)))
            case ["committing", generation, partition, offset]:
                found.append(Committing(generation, partition, offset))
            case ["committed", generation, partition, offset]:
                found.append(Committed(generation, partition, offset))
    return found


def violations(histories: Histories, produced: Produced) -> list[str]:
    """Everything that a group may not do, and this one did."""
    return [f"{name}: {text}" for name, rule in RULES.items() for text in rule(histories, produced)]


def _two_owners(histories: Histories, produced: Produced) -> Iterator[str]:
    """In a generation a partition belongs to one member."""
    owners: dict[tuple[int, int], str] = {}
    for member, events in histories.items():
        for event in events:
            if isinstance(event, Assigned):
                for partition in sorted(event.partitions):
                    owner = owners.setdefault((event.generation, partition), member)
                    if owner != member:
                        yield f"partition {partition} in generation {event.generation}: {owner} and {member}"


def _not_owned(histories: Histories, produced: Produced) -> Iterator[str]:
    """A member reads and commits only what it was given."""
    for member, events in histories.items():
        given: set[tuple[int, int]] = set()
        for event in events:
            if isinstance(event, Assigned):
                given |= {(event.generation, partition) for partition in event.partitions}
            elif (event.generation, event.partition) not in given:
                yield f"{member} was never given partition {event.partition} in generation {event.generation}: {event}"


def _altered(histories: Histories, produced: Produced) -> Iterator[str]:
    """What is read is what was written there."""
    for member, events in histories.items():
        for event in events:
            if isinstance(event, Read):
                written = tuple(produced[event.partition][event.first : event.end])
                if written != event.sums:
                    yield f"{member} read other values than were written: partition {event.partition} at {event.first}"


def _torn(histories: Histories, produced: Produced) -> Iterator[str]:
    """As long as a member holds a partition it reads one record after the other, and commits how far it has read."""
    for member, events in histories.items():
        at: dict[tuple[int, int], int] = {}
        for event in events:
            if isinstance(event, Assigned):
                continue
            place = (event.generation, event.partition)
            if isinstance(event, Read):
                if event.first != at.get(place, event.first):
                    yield f"{member} was at {at[place]}, and read on at {event.first}: {place}"
                at[place] = event.end
            elif isinstance(event, Committing) and event.offset != at.get(place):
                yield f"{member} had read up to {at.get(place)}, and committed {event.offset}: {place}"


def _skipped(histories: Histories, produced: Produced) -> Iterator[str]:
    """Who is given a partition begins at 0, or where a member of an earlier generation wanted the group to be.

    Together with `_torn` this says that nothing was skipped at any time, not only in the end. A member that sleeps
    before it has asked where to begin is told where a later generation is, for no classic request of offsets names its
    own (Kafka fences only commits). It may read there; that none of its commits is taken any more is what keeps it out.
    """
    wanted: defaultdict[int, defaultdict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    committed: set[tuple[str, int, int]] = set()
    for member, events in histories.items():
        for event in events:
            if isinstance(event, Committing):
                wanted[event.partition][event.offset].add(event.generation)
            elif isinstance(event, Committed):
                committed.add((member, event.generation, event.partition))
    for member, read in _beginnings(histories):
        generations = wanted[read.partition][read.first]
        is_put_out = (member, read.generation, read.partition) not in committed
        may_begin = any(one < read.generation or (one > read.generation and is_put_out) for one in generations)
        if read.first != 0 and not may_begin:
            yield (
                f"{member} was given partition {read.partition} in generation {read.generation} and began at "
                f"{read.first}, which nobody had committed before"
            )


def _delivered_again(histories: Histories, produced: Produced) -> Iterator[str]:
    """What a generation has committed is not given to a later one."""
    committed: defaultdict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for member, events in histories.items():
        for event in events:
            if isinstance(event, Committed):
                committed[event.partition].append((event.generation, event.offset, member))
    for reader, read in _beginnings(histories):
        before = [row for row in committed[read.partition] if row[0] < read.generation]
        generation, offset, member = max(before, key=lambda row: row[1], default=(0, 0, ""))
        if read.first < offset:
            yield (
                f"{member} had committed {offset} of partition {read.partition} in generation {generation}, and "
                f"{reader} was given {read.first} in generation {read.generation}"
            )


def _unread(histories: Histories, produced: Produced) -> Iterator[str]:
    """In the end everything was read by someone."""
    left = {partition: set(range(len(sums))) for partition, sums in produced.items()}
    for events in histories.values():
        for event in events:
            if isinstance(event, Read):
                left[event.partition].difference_update(range(event.first, event.end))
    for partition, offsets in left.items():
        if offsets:
            yield f"{len(offsets)} records of partition {partition}, the first of them at {min(offsets)}"


def _beginnings(histories: Histories) -> Iterator[tuple[str, Read]]:
    """The first records that a member was given of a partition in each generation that gave it the partition."""
    for member, events in histories.items():
        known: set[tuple[int, int]] = set()
        for event in events:
            if isinstance(event, Read) and (event.generation, event.partition) not in known:
                known.add((event.generation, event.partition))
                yield member, event


RULES: Mapping[str, Callable[[Histories, Produced], Iterator[str]]] = {
    "two owners": _two_owners,
    "not owned": _not_owned,
    "altered": _altered,
    "torn": _torn,
    "skipped": _skipped,
    "delivered again": _delivered_again,
    "unread": _unread,
}
