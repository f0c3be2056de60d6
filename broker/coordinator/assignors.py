"""Assignors: which member of a consumer group shall have which partitions (KIP-848).

Theory. An assignor is a function of who subscribes to what and of what was assigned so far. All of them are *sticky*:
what a member has already is taken from it only if it must be, since each partition that moves is one that nobody reads
for a while. Beyond that

* `uniform` balances: the numbers of partitions of two members differ by one at most, where their subscriptions allow
  it. Where they differ, no partition could move to a member that subscribes to its topic and has two fewer.
* `range` keeps numbers together: of topics that have the same subscribers and as many partitions, a member has the
  same partition numbers, so that what was written by key into two topics meets in one member. A member's partitions of
  a topic are neighbours as far as stickiness allows.

Cost: of the order of members + partitions, with a logarithm where heaps are used; and, for subscriptions that differ,
of topics times *distinct* subscriptions.

An assignment that has not changed is returned as the same object, so that whoever compares finds out quickly.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from uuid import UUID

Assignment = Mapping[UUID, tuple[int, ...]]
"""Partition numbers by topic: ascending, and never none."""

NOTHING: Assignment = {}


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A member, as far as an assignor sees it."""

    topics: frozenset[UUID]
    """The topics that it subscribes to and that exist. Members with the same subscription share one object."""
    assigned: Assignment
    """What it was to have so far."""


Assignor = Callable[[Mapping[str, Subscriber], Mapping[UUID, int]], dict[str, Assignment]]
"""From members by id and numbers of partitions by topic to what each member shall have."""


class _Holding:
    """What one member keeps and gets."""

    __slots__ = ("assigned", "changed", "count", "parts")

    def __init__(self, assigned: Assignment) -> None:
        self.assigned = assigned
        self.parts: dict[UUID, list[int]] = {}
        self.count = 0
        self.changed = False

    def add(self, topic: UUID, partition: int) -> None:
        self.parts.setdefault(topic, []).append(partition)
        self.count += 1
        self.changed = True

    def take(self, topic: UUID) -> int:
        """Give up a partition of a topic: what came last goes first, so that what it had before stays."""
        parts = self.parts[topic]
        partition = parts.pop()
        if not parts:
            del self.parts[topic]
        self.count -= 1
        self.changed = True
        return partition

    def take_any(self) -> tuple[UUID, int]:
        """Give up a partition: of the topic that it has most of, so that its topics stay mixed."""
        topic = max(self.parts, key=lambda topic: len(self.parts[topic]))
        return topic, self.take(topic)

    def result(self) -> Assignment:
        if not self.changed:
            return self.assigned
        result = {topic: tuple(sorted(parts)) for topic, parts in self.parts.items()}
        return self.assigned if result == self.assigned else result


class _Holdings:
    """What is kept at first: all that still exists and is still subscribed to; and what nobody has."""

    def __init__(self, members: Mapping[str, Subscriber], partitions: Mapping[UUID, int]) -> None:
        taken: dict[UUID, set[int]] = {topic: set() for topic in partitions}
        self.of: dict[str, _Holding] = {}
        for member_id in sorted(members):
            member = members[member_id]
            holding = self.of[member_id] = _Holding(member.assigned)
            for topic, old in member.assigned.items():
                if topic not in member.topics:
                    holding.changed = True
                    continue
                seen, count = taken[topic], partitions[topic]
                kept = [partition for partition in old if partition < count and partition not in seen]
                holding.changed |= len(kept) != len(old)
                if kept:
                    holding.parts[topic] = kept
                    holding.count += len(kept)
                    seen.update(kept)
        self.free = [
            (topic, partition)
            for topic in sorted(partitions)
            if len(taken[topic]) < partitions[topic]
            for partition in range(partitions[topic])
            if partition not in taken[topic]
        ]

    def result(self) -> dict[str, Assignment]:
        return {member_id: holding.result() for member_id, holding in self.of.items()}


def uniform(members: Mapping[str, Subscriber], partitions: Mapping[UUID, int]) -> dict[str, Assignment]:
    """Balanced over all topics together, and sticky."""
    if not members:
        return {}
    subscriptions = {member.topics for member in members.values()}
    topics = frozenset().union(*subscriptions)
    wanted = {topic: partitions[topic] for topic in topics}
    holdings = _Holdings(members, wanted)
    if len(subscriptions) == 1:
        _level(holdings, sum(wanted.values()))
    else:
        _Balance(members, holdings).settle(wanted)
    return holdings.result()


def _level(holdings: _Holdings, total: int) -> None:
    """Everyone subscribes to the same: each gets the same number, and some one more."""
    least, extras = divmod(total, len(holdings.of))
    short: list[_Holding] = []
    for holding in holdings.of.values():
        allowed = least
        if holding.count > least and extras:  # who has one more already is the one who keeps it
            allowed, extras = least + 1, extras - 1
        while holding.count > allowed:
            holdings.free.append(holding.take_any())
        if holding.count < least or (holding.count == least and allowed == least):
            short.append(holding)
    free = iter(holdings.free)
    needy = [holding for holding in short if holding.count < least]
    while needy:  # one each in turn, so that the partitions of a topic are spread over the members
        for holding in needy:
            holding.add(*next(free))
        needy = [holding for holding in needy if holding.count < least]
    for holding, (topic, partition) in zip(short, free, strict=False):
        holding.add(topic, partition)


class _Balance:
    """Members with different subscriptions.

    Members with the same subscription form a class, with a heap by number of partitions: whoever wants the member of a
    topic that has least looks at one top per class. Entries of the heaps are never changed: one whose number is no
    longer true is thrown away when it comes up, and a fresh one is added at each change.
    """

    def __init__(self, members: Mapping[str, Subscriber], holdings: _Holdings) -> None:
        self._holdings = holdings
        self._class_of = {member_id: member.topics for member_id, member in members.items()}
        self._heaps: dict[frozenset[UUID], list[tuple[int, str]]] = {}
        for member_id, topics in self._class_of.items():
            self._heaps.setdefault(topics, []).append((holdings.of[member_id].count, member_id))
        for heap in self._heaps.values():
            heapify(heap)
        self._classes: dict[UUID, list[frozenset[UUID]]] = {}
        for topics in self._heaps:
            for topic in topics:
                self._classes.setdefault(topic, []).append(topics)
        self._sizes = {topics: len(heap) for topics, heap in self._heaps.items()}

    def settle(self, partitions: Mapping[UUID, int]) -> None:
        """Give away what is free, the choosiest topics first; then even out."""
        self._holdings.free.sort(key=lambda place: self._subscribers(place[0]))
        for topic, partition in self._holdings.free:
            self._give(topic, partition, self._least(topic)[1])
        order = sorted(partitions, key=lambda topic: (-partitions[topic] / self._subscribers(topic), topic))
        shared = [topic for topic in order if self._subscribers(topic) > 1]
        moved = True
        while moved:
            moved = False
            for topic in shared:
                moved |= self._even_out(topic)

    def _subscribers(self, topic: UUID) -> int:
        return sum(self._sizes[topics] for topics in self._classes[topic])

    def _least(self, topic: UUID) -> tuple[int, str]:
        """The member with the fewest partitions among the subscribers of a topic."""
        return min(self._top(self._heaps[topics]) for topics in self._classes[topic])

    def _top(self, heap: list[tuple[int, str]]) -> tuple[int, str]:
        while heap[0][0] != self._holdings.of[heap[0][1]].count:
            heappop(heap)
        return heap[0]

    def _counted(self, member_id: str) -> None:
        heappush(self._heaps[self._class_of[member_id]], (self._holdings.of[member_id].count, member_id))

    def _give(self, topic: UUID, partition: int, member_id: str) -> None:
        self._holdings.of[member_id].add(topic, partition)
        self._counted(member_id)

    def _even_out(self, topic: UUID) -> bool:
        """Move partitions of a topic until no move would help; whether any was moved."""
        of = self._holdings.of
        owners = [
            (-of[member_id].count, member_id)
            for topics in self._classes[topic]
            for member_id in self._members(topics)
            if topic in of[member_id].parts
        ]
        heapify(owners)
        moved = False
        while owners:
            most, owner = owners[0]
            if -most != of[owner].count or topic not in of[owner].parts:
                heappop(owners)
                continue
            least, receiver = self._least(topic)
            if least + 1 >= -most:
                break
            partition = of[owner].take(topic)
            self._counted(owner)
            self._give(topic, partition, receiver)
            heappush(owners, (-of[owner].count, owner))
            heappush(owners, (-of[receiver].count, receiver))
            moved = True
        return moved

    def _members(self, topics: frozenset[UUID]) -> Iterable[str]:
        return {member_id for _, member_id in self._heaps[topics]}


def range_(members: Mapping[str, Subscriber], partitions: Mapping[UUID, int]) -> dict[str, Assignment]:
    """The same partition numbers of each topic, side by side, and sticky."""
    classes: dict[frozenset[UUID], list[str]] = {}
    for member_id in sorted(members):
        classes.setdefault(members[member_id].topics, []).append(member_id)
    classes_of: dict[UUID, list[frozenset[UUID]]] = {}
    for topics in classes:
        for topic in topics:
            classes_of.setdefault(topic, []).append(topics)
    # Topics that have the same subscribers and as many partitions are partitioned alike, and are assigned alike.
    alike: dict[tuple[tuple[frozenset[UUID], ...], int], list[UUID]] = {}
    for topic, of_topic in classes_of.items():
        alike.setdefault((tuple(of_topic), partitions[topic]), []).append(topic)
    result: dict[str, dict[UUID, tuple[int, ...]]] = {member_id: {} for member_id in members}
    for (subscriptions, count), group in alike.items():
        subscribers = sorted(member_id for one in subscriptions for member_id in classes[one])
        held = {member_id: _numbers_held(members[member_id].assigned, group, count) for member_id in subscribers}
        for member_id, numbers in _ranges(held, count).items():
            if numbers:
                result[member_id].update(dict.fromkeys(group, numbers))
    return {
        member_id: members[member_id].assigned if new == members[member_id].assigned else new
        for member_id, new in result.items()
    }


def _numbers_held(assigned: Assignment, topics: Iterable[UUID], count: int) -> list[int]:
    """Partition numbers that a member has in any of the topics, ascending."""
    return sorted({number for topic in topics for number in assigned.get(topic, ()) if number < count})


def _ranges(held: Mapping[str, list[int]], count: int) -> dict[str, tuple[int, ...]]:
    """Numbers 0 to `count` for members, each near to what it holds."""
    least, extras = divmod(count, len(held))
    taken: set[int] = set()
    kept: dict[str, list[int]] = {}
    for member_id, numbers in held.items():
        mine = [number for number in numbers if number not in taken]
        allowed = least
        if len(mine) > least and extras:
            allowed, extras = least + 1, extras - 1
        kept[member_id] = mine[:allowed]
        taken.update(kept[member_id])
    free = iter([number for number in range(count) if number not in taken])
    for mine in kept.values():
        missing = least - len(mine)
        if missing >= 0 and extras:
            missing, extras = missing + 1, extras - 1
        mine.extend(next(free) for _ in range(missing))
    return {member_id: tuple(sorted(mine)) for member_id, mine in kept.items()}


ASSIGNORS: Mapping[str, Assignor] = {"uniform": uniform, "range": range_}
"""By the name that members ask for and `group.consumer.assignors` lists."""
