"""A draft: the records of a decision about a consumer group, and the group as they would make it.

Nothing of the group changes before its records are applied, yet later steps of a decision build on earlier ones: the
target assignment is made for the members as they will be, with the topics that patterns will match. A draft carries
that along.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import TypeVar
from uuid import UUID

from ...protocol.errors import ErrorCode, RequestRefused
from .assignors import ASSIGNORS, NOTHING, Assignment, Subscriber
from .consumer_members import Member, Roster, Subscription
from .group_records import (
    ConsumerGroupEpoch,
    ConsumerGroupMember,
    ConsumerMemberValue,
    CurrentAssignment,
    Record,
    ResolvedRegex,
    ResolvedRegexValue,
    TargetAssignment,
    TargetAssignmentEpoch,
)
from .topic_patterns import TopicPattern
from .topics_view import TopicsView

K = TypeVar("K")

PATTERNS_MAX = 32
"""Different ones in a group: each is matched against all topics when topics change."""
PLACES_MAX = 500_000
"""Of members' subscriptions that differ, the partitions of all topics in each: beyond, to assign them takes more than a
few tenths of a second, in which nobody is served. Members with the same subscription cost next to nothing."""


class Draft:
    """What a decision has come to so far."""

    def __init__(self, roster: Roster, topics: TopicsView) -> None:
        self._roster = roster
        self._topics = topics
        self._group_id = roster.group_id
        self.records: list[Record] = []
        self.epoch = roster.epoch
        self.target_epoch = roster.target_epoch
        self._removed: set[str] = set()
        self._changed: dict[str, tuple[Subscription, Assignment]] = {}
        """Members that come or change: with what they subscribe to, and what they were to have so far."""
        self._subscriptions = dict(roster.subscriptions)
        self._assignors = dict(roster.assignors)
        self._regexes: dict[str, tuple[str, ...]] = {regex: value.topics for regex, value in roster.regexes.items()}
        self._sets: dict[Subscription, frozenset[UUID]] = {}

    def remove(self, member: Member) -> None:
        """The member is no more."""
        self._removed.add(member.member_id)
        self._uncount(member)
        self.records += (
            CurrentAssignment(self._group_id, member.member_id, None),
            TargetAssignment(self._group_id, member.member_id, None),
            ConsumerGroupMember(self._group_id, member.member_id, None),
        )

    def put(
        self, member_id: str, value: ConsumerMemberValue, subscription: Subscription, heir_of: Member | None
    ) -> None:
        """The member comes or changes. `heir_of`: whose place and target it takes over, its own perhaps."""
        target = NOTHING
        if heir_of is not None:
            target = self._roster.targets.get(heir_of.member_id, NOTHING)
            if heir_of.member_id == member_id:
                self._uncount(heir_of)
            else:
                self.remove(heir_of)
                if target:
                    self.records.append(TargetAssignment(self._group_id, member_id, target))
        if heir_of is None or heir_of.member_id != member_id or heir_of.value != value:
            self.records.append(ConsumerGroupMember(self._group_id, member_id, value))
        self._subscriptions[subscription] = self._subscriptions.get(subscription, 0) + 1
        if value.server_assignor is not None:
            self._assignors[value.server_assignor] = self._assignors.get(value.server_assignor, 0) + 1
        self._changed[member_id] = (subscription, target)
        if subscription not in self._roster.subscriptions:
            self._check_affordable()

    def _check_affordable(self) -> None:
        """Raises GROUP_MAX_SIZE_REACHED if members want too many different things."""
        if len(self._subscriptions) == 1:
            return
        if len({subscription.regex for subscription in self._subscriptions}) > PATTERNS_MAX + 1:
            raise RequestRefused(ErrorCode.GROUP_MAX_SIZE_REACHED, "The members subscribe by too many patterns.")
        places = 0
        for subscription in self._subscriptions:
            for name in (*subscription.names, *self._regexes.get(subscription.regex, ())):
                found = self._topics.partitions_of(name)
                places += 1 if found is None else found[1]
            if places > PLACES_MAX:
                raise RequestRefused(ErrorCode.GROUP_MAX_SIZE_REACHED, "The members' subscriptions differ too much.")

    def _uncount(self, member: Member) -> None:
        _subtract_one(self._subscriptions, member.subscription)
        if member.value.server_assignor is not None:
            _subtract_one(self._assignors, member.value.server_assignor)

    def resolve(self, moved: Collection[str] | None, wall_ms: int) -> bool:
        """Find the topics of new patterns, and forget patterns that nobody has any more.

        `moved`: topics that may have come or gone, as far as patterns have not heard of it; None: any may have. Whether
        a pattern that was there before matches others now. Raises INVALID_REGULAR_EXPRESSION for a new one.
        """
        wanted = {subscription.regex for subscription in self._subscriptions if subscription.regex}
        for regex in self._regexes.keys() - wanted:
            del self._regexes[regex]
            self.records.append(ResolvedRegex(self._group_id, regex, None))
        known = wanted & self._regexes.keys() if moved is None or moved else ()
        if not known and len(wanted) == len(self._regexes):
            return False
        names = set(self._topics.names())
        changed = False
        for regex in sorted(known):
            before = set(self._regexes[regex])
            candidates = names if moved is None else names.intersection(moved)
            kept = set() if moved is None else before.difference(moved)
            try:
                matched = kept | TopicPattern(regex).matching(candidates)
            except RequestRefused:  # RE2 was changed since it was accepted; nobody is there who could be told
                matched = kept
            if matched != before:
                self._resolved(regex, matched, wall_ms)
                changed = True
        for regex in sorted(wanted - self._regexes.keys()):
            pattern = TopicPattern(regex)
            pattern.check_affordable(names)
            self._resolved(regex, pattern.matching(names), wall_ms)
        return changed

    def _resolved(self, regex: str, matched: set[str], wall_ms: int) -> None:
        topics = self._regexes[regex] = tuple(sorted(matched))
        value = ResolvedRegexValue(topics=topics, version=self.epoch, wall_ms=wall_ms)
        self.records.append(ResolvedRegex(self._group_id, regex, value))

    def metadata_hash(self) -> int:
        """A number that changes whenever a topic of any subscription comes, goes, grows or is made anew."""
        names: set[str] = set()
        for subscription in self._subscriptions:
            names.update(subscription.names, self._regexes.get(subscription.regex, ()))
        partitions_of = self._topics.partitions_of
        text = "\n".join(f"{name} {found[0]} {found[1]}" for name in sorted(names) if (found := partitions_of(name)))
        if not text:
            return 0
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)

    def bump(self, metadata_hash: int) -> ConsumerGroupEpoch:
        """A new epoch: the target assignment is to be made anew."""
        self.epoch += 1
        record = ConsumerGroupEpoch(self._group_id, self.epoch, metadata_hash)
        self.records.append(record)
        return record

    def topics_of(self, subscription: Subscription) -> frozenset[UUID]:
        """The topics of a subscription that exist."""
        topics = self._sets.get(subscription)
        if topics is None:
            found = map(self._topics.partitions_of, {*subscription.names, *self._regexes.get(subscription.regex, ())})
            topics = self._sets[subscription] = frozenset(one[0] for one in found if one is not None)
        return topics

    def assign(self, assignors: tuple[str, ...]) -> dict[str, Assignment]:
        """Make the target assignment anew, with the assignor that most members prefer; what each member shall have.

        `assignors`: the names that may be chosen; the first one is for when nobody chooses.
        """
        roster = self._roster
        of = {
            member_id: Subscriber(self.topics_of(member.subscription), roster.targets.get(member_id, NOTHING))
            for member_id, member in roster.members.items()
            if member_id not in self._removed
        }
        for member_id, (subscription, target) in self._changed.items():
            of[member_id] = Subscriber(self.topics_of(subscription), target)
        partitions: dict[UUID, int] = {}
        for subscription in self._subscriptions:
            for name in (*subscription.names, *self._regexes.get(subscription.regex, ())):
                found = self._topics.partitions_of(name)
                if found is not None:
                    partitions[found[0]] = found[1]
        targets = ASSIGNORS[self.assignor(assignors)](of, partitions)
        for member_id, target in targets.items():
            old = of[member_id].assigned
            if target is not old and target != old:
                self.records.append(TargetAssignment(self._group_id, member_id, target))
        self.records.append(TargetAssignmentEpoch(self._group_id, self.epoch))
        self.target_epoch = self.epoch
        return targets

    def assignor(self, assignors: tuple[str, ...]) -> str:
        """The name of the assignor that most members prefer."""
        return preferred_assignor(self._assignors, assignors)


def preferred_assignor(preferences: Mapping[str, int], assignors: tuple[str, ...]) -> str:
    """The name with the most votes among those that may be chosen; the first of these without any."""
    return max(assignors, key=lambda name: preferences.get(name, 0))


def _subtract_one(counts: dict[K, int], key: K) -> None:
    count = counts[key] - 1
    if count:
        counts[key] = count
    else:
        del counts[key]
