"""The members of a consumer group, and all else that its records say: what `apply` writes and decisions read.

Invariants: a partition has one owner at most, who has it assigned or has yet to give it up. The numbers of members by
subscription, the owners and the set of those that are on their way follow from the members and are kept beside them, so
that a heartbeat need not look at other members.

Records come in the order in which they were written, or, from a compacted log, in that of their last writing: a member
may be met first by its assignment.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, TypeVar
from uuid import UUID

from ...protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatResponse
from .assignors import NOTHING, Assignment
from .group_memory import RecordSizes
from .group_records import (
    ConsumerGroupEpoch,
    ConsumerGroupMember,
    ConsumerMemberValue,
    CurrentAssignment,
    CurrentAssignmentValue,
    MemberState,
    Record,
    ResolvedRegex,
    ResolvedRegexValue,
    TargetAssignment,
    TargetAssignmentEpoch,
)

K = TypeVar("K")

AWAY = -2
"""The epoch of a static member that has left and comes back."""
NO_ASSIGNMENT = CurrentAssignmentValue(
    member_epoch=0, previous_epoch=-1, state=MemberState.STABLE, assigned=NOTHING, pending_revocation=NOTHING
)
"""Of a member that has only just come."""


class Subscription(NamedTuple):
    """What a member wants to read."""

    names: tuple[str, ...]
    """Sorted."""
    regex: str
    """Empty: none."""


NO_SUBSCRIPTION = Subscription((), "")
NO_VALUE = ConsumerMemberValue(
    instance_id=None,
    rack_id=None,
    client_id="",
    client_host="",
    subscribed_topics=(),
    subscribed_regex=None,
    rebalance_timeout_ms=-1,
    server_assignor=None,
    classic=None,
)


def subscription_of(value: ConsumerMemberValue) -> Subscription:
    """What the member of this record wants to read."""
    return Subscription(value.subscribed_topics, value.subscribed_regex or "")


class Member:
    """A member."""

    __slots__ = (
        "answer",
        "current",
        "join_due_ms",
        "member_id",
        "session_ends_ms",
        "subscription",
        "sync_due_ms",
        "value",
    )

    def __init__(self, member_id: str) -> None:
        self.member_id = member_id
        self.value = NO_VALUE
        self.subscription = NO_SUBSCRIPTION
        self.current = NO_ASSIGNMENT
        self.session_ends_ms = 0
        """Soft: by heartbeats that changed nothing; those that did have set the timer anew."""
        self.answer: ConsumerGroupHeartbeatResponse | None = None
        """Soft: what it is answered as long as nothing changes."""
        self.join_due_ms: int | None = None
        """Soft: until when it has to join anew that speaks the classic protocol, since it was told so; it has joined
        whenever a record speaks of it."""
        self.sync_due_ms: int | None = None
        """Soft: until when it has to ask for its assignment in the classic protocol, since it joined."""

    @property
    def epoch(self) -> int:
        """What it has to know to be heard."""
        return self.current.member_epoch


class Roster:
    """All that the records of one group say."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.epoch = 0
        """Of the group: rises with each change of members, subscriptions and topics. 0: nothing was written yet."""
        self.metadata_hash = 0
        """Of the topics that are subscribed to, as they were at that epoch."""
        self.target_epoch = 0
        """The group epoch that the target assignment was made for."""
        self.targets: dict[str, Assignment] = {}
        """What each member shall have; who is missing shall have nothing."""
        self.members: dict[str, Member] = {}
        self.static: dict[str, str] = {}
        """Member ids by instance id."""
        self.subscriptions: dict[Subscription, int] = {}
        """How many members have each."""
        self.assignors: dict[str, int] = {}
        """How many members prefer each."""
        self.classic = 0
        """How many members speak the classic protocol."""
        self.classic_protocols: dict[str, int] = {}
        """How many of these know a protocol, as they call an assignor."""
        self.regexes: dict[str, ResolvedRegexValue] = {}
        """The topics that patterns were found to match."""
        self.owners: dict[UUID, dict[int, str]] = {}
        """The member that has a partition assigned, or has yet to give it up."""
        self.moving: set[str] = set()
        """Members that have not arrived at the target assignment."""
        self._sizes = RecordSizes()
        self._topic_names: set[str] | None = None
        """None: not gathered since something changed."""
        self._appliers: Mapping[type[Record], Callable[..., None]] = {
            ConsumerGroupEpoch: self._apply_epoch,
            ConsumerGroupMember: self._apply_member,
            TargetAssignmentEpoch: self._apply_target_epoch,
            TargetAssignment: self._apply_target,
            CurrentAssignment: self._apply_current,
            ResolvedRegex: self._apply_regex,
        }

    def apply(self, record: Record) -> None:
        """Heed a record of this group."""
        self._appliers[type(record)](record)
        self._sizes.apply(record)

    @property
    def topic_names(self) -> Collection[str]:
        """All topics that members subscribe to, by name or by pattern."""
        if self._topic_names is None:
            names = {name for subscription in self.subscriptions for name in subscription.names}
            self._topic_names = names.union(*(value.topics for value in self.regexes.values()))
        return self._topic_names

    @property
    def bytes_used(self) -> int:
        """What all this takes in memory, roughly."""
        return self._sizes.bytes_used

    def owner(self, topic_id: UUID, partition: int) -> str | None:
        """Who has a partition."""
        return self.owners.get(topic_id, {}).get(partition)

    def is_called(self, member: Member) -> bool:
        """Whether a member of the classic protocol has to join anew: to catch up, to give up, or to take [C-8]."""
        current = member.current
        if current.member_epoch < self.epoch or current.state == MemberState.UNREVOKED_PARTITIONS:
            return True
        return current.state == MemberState.UNRELEASED_PARTITIONS and all(
            self.owner(topic, number) in (None, member.member_id)
            for topic, numbers in self.targets.get(member.member_id, NOTHING).items()
            for number in numbers
        )

    def _apply_epoch(self, record: ConsumerGroupEpoch) -> None:
        if record.epoch is None:
            self.epoch = self.metadata_hash = 0
        else:
            self.epoch, self.metadata_hash = record.epoch, record.metadata_hash

    def _apply_target_epoch(self, record: TargetAssignmentEpoch) -> None:
        self.target_epoch = record.epoch or 0
        self.moving = {member.member_id for member in self.members.values() if self._is_moving(member)}

    def _apply_target(self, record: TargetAssignment) -> None:
        if record.partitions:
            self.targets[record.member_id] = record.partitions
        else:
            self.targets.pop(record.member_id, None)

    def _apply_regex(self, record: ResolvedRegex) -> None:
        self._topic_names = None
        if record.value is None:
            self.regexes.pop(record.regex, None)
        else:
            self.regexes[record.regex] = record.value

    def _apply_member(self, record: ConsumerGroupMember) -> None:
        if record.value is None:
            self._forget(record.member_id)
            return
        member = self._member(record.member_id)
        self._count(member, -1)
        member.value, member.subscription = record.value, subscription_of(record.value)
        member.answer = None
        member.join_due_ms = None
        self._count(member, 1)

    def _apply_current(self, record: CurrentAssignment) -> None:
        if record.value is None:
            if (member := self.members.get(record.member_id)) is not None:
                self._take(member, NO_ASSIGNMENT)
            return
        member = self._member(record.member_id)
        self._take(member, record.value)

    def _member(self, member_id: str) -> Member:
        member = self.members.get(member_id)
        if member is None:
            member = self.members[member_id] = Member(member_id)
            self._count(member, 1)
            self.moving.add(member_id)
        return member

    def _forget(self, member_id: str) -> None:
        member = self.members.pop(member_id, None)
        if member is None:
            return
        self._take(member, NO_ASSIGNMENT)
        self._count(member, -1)
        self.moving.discard(member_id)

    def _count(self, member: Member, by: int) -> None:
        """Add a member to what is counted, or take it away."""
        self._topic_names = None
        _add(self.subscriptions, member.subscription, by)
        value = member.value
        if value.server_assignor is not None:
            _add(self.assignors, value.server_assignor, by)
        if value.classic is not None:
            self.classic += by
            for name in {protocol.name for protocol in value.classic.protocols}:
                _add(self.classic_protocols, name, by)
        if value.instance_id is not None:
            if by > 0:
                self.static[value.instance_id] = member.member_id
            elif self.static.get(value.instance_id) == member.member_id:
                del self.static[value.instance_id]

    def _take(self, member: Member, value: CurrentAssignmentValue) -> None:
        """What a member has changes; nobody may have taken it meanwhile whom it has not been taken from."""
        member_id, old = member.member_id, member.current
        if old.assigned != value.assigned or old.pending_revocation or value.pending_revocation:
            for partitions in (old.assigned, old.pending_revocation):
                for topic, numbers in partitions.items():
                    owners = self.owners.get(topic, {})
                    for number in numbers:
                        if owners.get(number) == member_id:
                            del owners[number]
                    if not owners:
                        self.owners.pop(topic, None)
            for partitions in (value.assigned, value.pending_revocation):
                for topic, numbers in partitions.items():
                    self.owners.setdefault(topic, {}).update(dict.fromkeys(numbers, member_id))
        member.current = value
        member.answer = None
        member.join_due_ms = None
        if self._is_moving(member):
            self.moving.add(member_id)
        else:
            self.moving.discard(member_id)

    def _is_moving(self, member: Member) -> bool:
        current = member.current
        return current.state != MemberState.STABLE or current.member_epoch != self.target_epoch


def _add(counts: dict[K, int], key: K, by: int) -> None:
    count = counts.get(key, 0) + by
    if count:
        counts[key] = count
    else:
        counts.pop(key, None)
