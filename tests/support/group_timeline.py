"""What members of groups did and saw in a simulated world, in its order, and whether a broker may have allowed it.

A `GroupHistory` is written while members live: what they are given, what is delivered to them, what they commit, what
they are told of committed offsets. Positions in it are a clock, as in `support.history`. A *generation* is what the
broker calls so, or the member's epoch where the broker assigns (KIP-848); a partition is held in the one in which it
was given. `check_groups` knows these promises:

* two owners: a partition of a generation is given to one member.
* skipped: what a member is delivered begins where others of the group have been, or before: nothing is left out, and
  nothing was ever committed that nobody had been delivered. torn: as long as it holds a partition, it gets one record
  after the other.
* receded: a group is told no less than was committed when it asked. (A commit without an answer may have got through
  at any time since; what it said is as good as what was answered.)
* delivered again: what a generation has committed is not delivered to a later one. (Records that a frozen member has
  fetched before are of its own generation.)
* stale: a commit of an older generation is refused as soon as anybody of a newer one has heard of it.
* altered: what is delivered is what stands in the log. unread: in the end, everything in it was delivered.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .history import Outcome, Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A member was given a partition."""

    at: int
    member: str
    generation: int
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A member's program got records, one after the other."""

    at: int
    member: str
    generation: int
    partition: int
    first: int
    sums: tuple[int, ...]
    """The CRC-32 of each value."""

    @property
    def end(self) -> int:
        """The offset behind the last one."""
        return self.first + len(self.sums)


@dataclass(slots=True, kw_only=True)
class Commit:
    """A member committed how far it came in a partition, or tried to."""

    member: str
    generation: int
    partition: int
    offset: int
    invoked: int
    is_known_stale: bool = False
    """The member knew of a newer generation, and tried it all the same."""
    completed: int | None = None
    outcome: Outcome = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A member was told how far the group came; -1: nothing is committed."""

    member: str
    partition: int
    offset: int
    invoked: int
    completed: int


@dataclass(slots=True)
class OneGroup:
    """What happened in a group."""

    has_common_generation: bool
    """All members have the same one (classic); else each has its epoch, and generations are compared by partition."""
    given: list[Given] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    reached: dict[int, int] = field(default_factory=dict)
    """By partition: up to where records were delivered, to whomever."""


class GroupHistory:
    """What happened, in order."""

    def __init__(self) -> None:
        self.groups: dict[str, OneGroup] = {}
        self._position = 0

    def now(self) -> int:
        """A position later than all that was given so far."""
        self._position += 1
        return self._position

    def group(self, group_id: str, *, has_common_generation: bool) -> OneGroup:
        """The group, which is made if it is new."""
        return self.groups.setdefault(group_id, OneGroup(has_common_generation))

    def given(self, group_id: str, member: str, generation: int, partitions: Sequence[int]) -> None:
        """A member was given these."""
        at = self.now()
        self.groups[group_id].given.extend(
            Given(at=at, member=member, generation=generation, partition=partition) for partition in partitions
        )

    def delivered(
        self, group_id: str, member: str, generation: int, *, partition: int, first: int, sums: Sequence[int]
    ) -> None:
        """Its program got these records."""
        event = Delivered(
            at=self.now(), member=member, generation=generation, partition=partition, first=first, sums=tuple(sums)
        )
        group = self.groups[group_id]
        group.delivered.append(event)
        group.reached[partition] = max(group.reached.get(partition, 0), event.end)

    def committing(
        self, group_id: str, member: str, generation: int, offsets: Mapping[int, int], *, is_known_stale: bool = False
    ) -> list[Commit]:
        """A commit is on its way."""
        invoked = self.now()
        commits = [
            Commit(
                member=member,
                generation=generation,
                partition=partition,
                offset=offset,
                invoked=invoked,
                is_known_stale=is_known_stale,
            )
            for partition, offset in offsets.items()
        ]
        self.groups[group_id].commits += commits
        return commits

    def committed(self, commits: Sequence[Commit], outcome: Outcome) -> None:
        """It was answered so, or not at all (`info`)."""
        at = self.now()
        for commit in commits:
            commit.outcome, commit.completed = outcome, at

    def told(self, group_id: str, member: str, offsets: Mapping[int, int], *, invoked: int) -> None:
        """Who asked at `invoked` was told these offsets."""
        completed = self.now()
        self.groups[group_id].told.extend(
            Told(member=member, partition=partition, offset=offset, invoked=invoked, completed=completed)
            for partition, offset in offsets.items()
        )


Logs = Mapping[int, Sequence[int]]
"""For each partition the CRC-32 of the value at each offset."""


def check_groups(history: GroupHistory, logs: Logs) -> list[Violation]:
    """Every broken promise."""
    found = []
    for group_id, group in history.groups.items():
        for rule, text in _all_rules(group, logs):
            found.append(Violation(rule, f"group {group_id}: {text}"))
    return found


def _all_rules(group: OneGroup, logs: Logs) -> Iterator[tuple[str, str]]:
    yield from (("two owners", text) for text in _two_owners(group))
    yield from _gaps(group)
    yield from (("receded", text) for text in _receded(group))
    yield from (("delivered again", text) for text in _delivered_again(group))
    yield from (("stale", text) for text in _stale(group))
    yield from _against_the_logs(group, logs)


def _two_owners(group: OneGroup) -> Iterator[str]:
    owners: dict[tuple[int, int], str] = {}
    for given in group.given:
        owner = owners.setdefault((given.generation, given.partition), given.member)
        if owner != given.member:
            yield f"partition {given.partition} of generation {given.generation}: {owner} and {given.member}"


def _gaps(group: OneGroup) -> Iterator[tuple[str, str]]:
    reached: defaultdict[int, int] = defaultdict(int)
    held: dict[tuple[str, int], int] = {}
    for event in _in_order(group):
        if isinstance(event, Given):
            held.pop((event.member, event.partition), None)
            continue
        if isinstance(event, Commit):
            if not event.is_known_stale and event.offset > reached[event.partition]:
                yield "skipped", f"{event.member} commits what nobody was delivered: {event}"
            continue
        if event.first > reached[event.partition]:
            yield "skipped", f"nobody was delivered what is before: {_shown(event)}"
        at = held.get((event.member, event.partition), event.first)
        if at != event.first:
            yield "torn", f"was at {at}, and goes on elsewhere: {_shown(event)}"
        held[event.member, event.partition] = event.end
        reached[event.partition] = max(reached[event.partition], event.end)


def _in_order(group: OneGroup) -> list[Given | Delivered | Commit]:
    def time_of(event: Given | Delivered | Commit) -> int:
        return event.invoked if isinstance(event, Commit) else event.at

    return sorted([*group.given, *group.delivered, *group.commits], key=time_of)


def _receded(group: OneGroup) -> Iterator[str]:
    answered: defaultdict[int, list[Commit]] = defaultdict(list)
    unanswered: defaultdict[int, set[int]] = defaultdict(set)
    for commit in group.commits:
        if commit.outcome == "ok":
            answered[commit.partition].append(commit)
        elif commit.outcome != "fail":
            unanswered[commit.partition].add(commit.offset)
    ends: dict[int, tuple[list[int], list[int]]] = {}
    for partition, commits in answered.items():
        commits.sort(key=_completed)
        highest, rising = -1, []
        for commit in commits:
            highest = max(highest, commit.offset)
            rising.append(highest)
        ends[partition] = [_completed(commit) for commit in commits], rising
    for told in group.told:
        times, rising = ends.get(told.partition, ([], []))
        before = bisect.bisect_left(times, told.invoked)
        least = rising[before - 1] if before else -1
        if told.offset < least and told.offset not in unanswered[told.partition]:
            yield f"{told.member} was told {told.offset} of partition {told.partition} when {least} was committed"


def _delivered_again(group: OneGroup) -> Iterator[str]:
    committed: defaultdict[int, list[Commit]] = defaultdict(list)
    for commit in group.commits:
        if commit.outcome == "ok" and not commit.is_known_stale:
            committed[commit.partition].append(commit)
    begun: set[tuple[str, int, int]] = set()
    for event in group.delivered:
        stint = (event.member, event.generation, event.partition)
        if stint in begun:
            continue
        begun.add(stint)
        for commit in committed[event.partition]:
            if commit.generation < event.generation and commit.offset > event.first:
                yield f"{_shown(event)}, though {commit.member} committed {commit.offset} in {commit.generation}"
                break


def _stale(group: OneGroup) -> Iterator[str]:
    newest: dict[int, tuple[list[int], list[Given]]] = {}
    for given in sorted(group.given, key=lambda given: given.at):
        key = 0 if group.has_common_generation else given.partition
        times, rising = newest.setdefault(key, ([], []))
        if not rising or given.generation > rising[-1].generation:
            times.append(given.at)
            rising.append(given)
    for commit in group.commits:
        if commit.outcome != "ok":
            continue
        if commit.is_known_stale:
            yield f"{commit.member} knew of a newer generation, and its commit was taken: {commit}"
            continue
        times, rising = newest.get(0 if group.has_common_generation else commit.partition, ([], []))
        before = bisect.bisect_left(times, commit.invoked)
        if before and rising[before - 1].generation > commit.generation and rising[before - 1].member != commit.member:
            yield f"{rising[before - 1]} came before a commit that was taken: {commit}"


def _against_the_logs(group: OneGroup, logs: Logs) -> Iterator[tuple[str, str]]:
    covered: defaultdict[int, int] = defaultdict(int)
    for event in sorted(group.delivered, key=lambda event: event.first):
        if tuple(logs.get(event.partition, ())[event.first : event.end]) != event.sums:
            yield "altered", f"the log has something else: {_shown(event)}"
        if event.first <= covered[event.partition]:
            covered[event.partition] = max(covered[event.partition], event.end)
    for partition, sums in logs.items():
        if covered[partition] < len(sums):
            yield "unread", f"partition {partition} from {covered[partition]} on; it ends at {len(sums)}"


def _completed(commit: Commit) -> int:
    assert commit.completed is not None
    return commit.completed


def _shown(event: Delivered) -> str:
    place = f"[{event.first}, {event.end}) of partition {event.partition}"
    return f"{event.member} in generation {event.generation} was delivered {place}"
