"""GroupCoordinator: the groups of one partition of `__consumer_offsets`, their offsets with them.

A *shard*, as the runtime calls it: finds the group that a request is for, and hands records to whom they concern, be
they new or read at a start. A group is of the classic protocol or of the consumer protocol; it is converted by whoever
joins it in the other, or by the last one who speaks it leaving (see `group_conversion`, `classic_translation`). Groups
that nobody has joined, but for which offsets were committed, are classic ones.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from ...protocol.messages.delete_groups import DeletableGroupResult
from ...protocol.messages.heartbeat import HeartbeatRequest
from ...protocol.messages.join_group import JoinGroupRequest
from ...protocol.messages.leave_group import LeaveGroupRequest
from ...protocol.messages.list_groups import ListedGroup
from ...protocol.messages.offset_commit import OffsetCommitRequest
from ...protocol.messages.offset_delete import OffsetDeleteRequest
from ...protocol.messages.offset_fetch import OffsetFetchRequestGroup
from ...protocol.messages.sync_group import SyncGroupRequest
from . import classic_translation
from .classic_group import ClassicGroup
from .classic_state import shown
from .consumer_group import ConsumerGroup
from .consumer_requests import check_heartbeat
from .decision import Caller, Decision, Instant, Reply, Timer, TimerKey, Waiter
from .group_conversion import Downgrade, check_upgrade, upgrade
from .group_memory import GROUP_BYTES, GroupMemory, text_bytes
from .group_record_bytes import decode, encode
from .group_records import ClassicGroupMetadata, CommittedOffset, ConsumerGroupEpoch, OffsetCommitted, Record
from .group_settings import GroupSettings
from .offset_requests import OffsetRequests
from .offsets import Offsets
from .rebalances import Counters, Reason
from .topics_view import TopicsView

logger = logging.getLogger(__name__)

Group = ClassicGroup | ConsumerGroup
GroupDecision = Decision[Record]

GROUPS_MAX = 100_000
"""Of a shard. Beyond, nobody can begin a new one: a stranger could begin any number of them."""
RECORDS_MAX = 1000
"""Of one batch, where it does not matter whether all records are written at once."""
LOOKED_AT_MAX = 4000
"""Groups and offsets of theirs, of one look for old ones that nothing else comes between: a millisecond or so."""
EXPIRY = TimerKey("", "expiry")
"""The timer by which old offsets are looked for."""


class GroupCoordinator:
    """See above."""

    decode = staticmethod(decode)
    encode = staticmethod(encode)

    def __init__(
        self,
        settings: GroupSettings,
        topics: TopicsView,
        *,
        new_member_id: Callable[[], str],
        counters: Counters,
        memory: GroupMemory | None = None,
    ) -> None:
        """`new_member_id`: makes an id that nobody has. `memory`: that of all shards."""
        self.groups: dict[str, Group] = {}
        self.offsets = Offsets()
        self._loaded_at: Instant | None = None
        self._settings = settings
        self._topics = topics
        self._new_member_id = new_member_id
        self._counters = counters
        self._memory = GroupMemory(-1) if memory is None else memory
        self._weights: dict[str, int] = {}
        """What each group takes of the memory."""
        self._commit: Record | None = None
        """The last record of the commit that was decided last."""
        self._offset_requests = OffsetRequests(self.groups, self.offsets, settings, topics)
        self._successor: Group | None = None
        """Takes the place of the group of its id, should what was decided last be applied."""

    # Groups of the classic protocol

    def join_group(self, request: JoinGroupRequest, caller: Caller, waiter: Waiter, at: Instant) -> GroupDecision:
        """JoinGroup."""
        self._check_id(request.group_id)
        group = self.groups.get(request.group_id)
        if not request.member_id:
            self._check_newcomer(group, "", request.group_instance_id)
        if isinstance(group, ConsumerGroup):
            if not group.is_empty:
                return classic_translation.join(group, request, caller, waiter, at=at)
            successor = self._new_classic(request.group_id)
            successor.facts.empty_since(group.empty_since_ms)
            decision = successor.join(request, caller, waiter, at)
            assert not decision.records, "who joins an empty group waits"
            self._successor = successor
            return replace(decision, records=group.tombstones())
        if group is not None:
            return self._tidied(group, group.join(request, caller, waiter, at))
        if request.member_id:
            raise RequestRefused(ErrorCode.UNKNOWN_MEMBER_ID)
        self._check_room()
        group = self._new_classic(request.group_id)
        decision = group.join(request, caller, waiter, at)
        if not group.is_unused:
            self.groups[group.group_id] = group
        return decision

    def sync_group(self, request: SyncGroupRequest, caller: Caller, waiter: Waiter, at: Instant) -> GroupDecision:
        """SyncGroup."""
        group = self._known(request.group_id)
        if isinstance(group, ConsumerGroup):
            return classic_translation.sync(group, request, waiter, at)
        return group.sync(request, caller, waiter, at)

    def heartbeat(self, request: HeartbeatRequest, waiter: Waiter, at: Instant) -> GroupDecision:
        """Heartbeat."""
        group = self._known(request.group_id)
        if isinstance(group, ConsumerGroup):
            return classic_translation.heartbeat(group, request, waiter, at)
        return group.heartbeat(request, waiter, at)

    def leave_group(self, request: LeaveGroupRequest, caller: Caller, waiter: Waiter, at: Instant) -> GroupDecision:
        """LeaveGroup."""
        group = self._known(request.group_id)
        if isinstance(group, ConsumerGroup):
            return classic_translation.leave(group, request, caller, waiter, at=at)
        return self._tidied(group, group.leave(request, caller, waiter, at))

    def describe_classic(self, group_id: str, waiter: Waiter, at: Instant) -> GroupDecision:
        """DescribeGroups, of one group."""
        del at
        group = self.groups.get(group_id)
        if not isinstance(group, ClassicGroup):
            raise RequestRefused(ErrorCode.GROUP_ID_NOT_FOUND, _not_found(group_id, group, "classic"))
        return Decision(replies=(Reply(waiter, group.describe()),))

    # Groups of the consumer protocol

    def consumer_group_heartbeat(
        self, request: ConsumerGroupHeartbeatRequest, caller: Caller, waiter: Waiter, at: Instant
    ) -> GroupDecision:
        """ConsumerGroupHeartbeat."""
        self._successor = None
        check_heartbeat(request, caller.version, self._settings.consumer_assignors)
        group = self.groups.get(request.group_id)
        if request.member_epoch == 0:
            self._check_newcomer(group, request.member_id, request.instance_id)
        if isinstance(group, ConsumerGroup):
            return group.heartbeat(request, caller, waiter, at)
        if request.member_epoch != 0:
            raise RequestRefused(ErrorCode.GROUP_ID_NOT_FOUND, _not_found(request.group_id, group, "consumer"))
        if group is None:
            self._check_room()
        if group is not None and group.member_count:
            return self._upgrade(group, request, caller, waiter, at=at)
        successor = self._new_consumer(request.group_id)
        decision = successor.heartbeat(request, caller, waiter, at)
        self._successor = successor
        if group is None or not group.facts.is_written:
            return decision
        return replace(decision, records=(group.tombstone(), *decision.records))

    def _upgrade(
        self,
        group: ClassicGroup,
        request: ConsumerGroupHeartbeatRequest,
        caller: Caller,
        waiter: Waiter,
        *,
        at: Instant,
    ) -> GroupDecision:
        """The first member of the consumer protocol comes: the others become members of a consumer group, too [C-8]."""
        check_upgrade(group, self._settings)
        records = upgrade(group, self._topics)
        successor = self._new_consumer(group.group_id)
        for record in records:
            if not isinstance(record, ClassicGroupMetadata):
                successor.apply(record)  # and again when it is written, which changes nothing
        sessions = successor.loaded(at).timers
        decision = successor.heartbeat(request, caller, waiter, at)
        logger.info("group becomes a consumer group group=%s members=%d", shown(group.group_id), group.member_count)
        self._successor = successor
        return Decision(
            (*records, *decision.records),
            (*decision.replies, *group.answers_to_all(ErrorCode.REBALANCE_IN_PROGRESS)),
            (*sessions, *decision.timers),
        )

    def _succeed(self, downgrade: Downgrade, replies: Sequence[Reply], at: Instant) -> GroupDecision:
        """Have a classic group take the place of a consumer group [C-8]."""
        successor = self._successor = self._new_classic(downgrade.record.group_id)
        return successor.take_over(downgrade.record, downgrade.members, replies, at)

    def describe_consumer(self, group_id: str, waiter: Waiter, at: Instant) -> GroupDecision:
        """ConsumerGroupDescribe, of one group."""
        del at
        group = self.groups.get(group_id)
        if not isinstance(group, ConsumerGroup):
            raise RequestRefused(ErrorCode.GROUP_ID_NOT_FOUND, _not_found(group_id, group, "consumer"))
        return Decision(replies=(Reply(waiter, group.describe()),))

    # Offsets

    def commit_offsets(
        self, request: OffsetCommitRequest, waiter: Waiter, at: Instant, *, version: int
    ) -> GroupDecision:
        """OffsetCommit."""
        if request.group_id not in self.groups:
            self._check_room()
        decision = self._offset_requests.commit(request, waiter, at, version=version)
        if decision.records:
            self._commit = decision.records[-1]
            if not self._memory.has_room and not all(map(self.offsets.has_one_for, decision.records)):
                raise _no_memory()
        return decision

    def fetch_offsets(self, request: OffsetFetchRequestGroup, waiter: Waiter, *, version: int) -> GroupDecision:
        """OffsetFetch, of one group."""
        return self._offset_requests.fetch(request, waiter, version=version)

    def delete_offsets(self, request: OffsetDeleteRequest, waiter: Waiter) -> GroupDecision:
        """OffsetDelete."""
        return self._offset_requests.delete(request, waiter)

    # Groups of any kind

    def list_groups(self) -> Iterator[ListedGroup]:
        """All of them."""
        for group_id, group in self.groups.items():
            protocol_type = "consumer"
            if isinstance(group, ClassicGroup):
                protocol_type = group.protocol_type or ""
            yield ListedGroup(
                group_id=group_id,
                protocol_type=protocol_type,
                group_state=group.state_name,
                group_type=group.type_name,
            )

    def delete_group(self, group_id: str, waiter: Waiter, at: Instant) -> GroupDecision:
        """DeleteGroups, of one group, with all that it has committed."""
        del at
        self._successor = None
        group = self.groups.get(group_id)
        if group is None:
            raise RequestRefused(ErrorCode.GROUP_ID_NOT_FOUND, f"There is no group {group_id!r}.")
        if group.member_count:
            raise RequestRefused(ErrorCode.NON_EMPTY_GROUP, f"The group {group_id!r} has members.")
        return Decision(
            (*self.offsets.forget(group_id), *_tombstones(group)),
            (Reply(waiter, DeletableGroupResult(group_id=group_id)),),
        )

    # What happens by itself

    def loaded(self, at: Instant) -> Iterator[GroupDecision]:
        """All records have been applied: what is to happen then."""
        self._loaded_at = at
        for group in list(self.groups.values()):
            yield group.loaded(at)
        yield from _in_batches(self.offsets.of_lost_topics(self._topics))
        yield Decision(timers=(self._next_expiry(at),))

    def topic_changed(self, name: str, *, is_deleted: bool) -> Iterator[GroupDecision]:
        """A topic was created, has grown or was deleted."""
        for group in self.groups.values():
            if isinstance(group, ConsumerGroup):
                group.topics_changed((name,))
        if is_deleted:
            yield from self._forget_offsets(self.offsets.topic_deleted(name))

    def _forget_offsets(self, records: Sequence[OffsetCommitted]) -> Iterator[GroupDecision]:
        """In batches, between which others come: what they commit anew meanwhile stays."""
        meant = [(record, self._offset_of(record)) for record in records]
        for first in range(0, len(meant), RECORDS_MAX):
            batch = meant[first : first + RECORDS_MAX]
            yield Decision([record for record, offset in batch if self._offset_of(record) is offset])

    def _offset_of(self, record: OffsetCommitted) -> CommittedOffset | None:
        return self.offsets.get(record.group_id, record.topic, record.partition)

    def timer_due(self, key: TimerKey, at: Instant) -> Iterator[GroupDecision]:
        """A timer comes."""
        self._successor = None
        if key == EXPIRY:
            yield from self._expire_offsets(at)
        elif (group := self.groups.get(key.group_id)) is not None:
            yield self._tidied(group, group.timer_due(key, at))

    def _expire_offsets(self, at: Instant) -> Iterator[GroupDecision]:
        """What is forgotten because nobody has cared about it for long [G-12]; a group's in one decision.

        Between two decisions anything may happen, so each is about groups as they are when it is taken.
        """
        records: list[Record] = []
        looked_at = broken = 0
        for group_id in list(self.groups):
            group = self.groups.get(group_id)
            if group is None:
                continue
            looked_at += 1 + self.offsets.count(group_id)
            try:
                records += self._expired(group, at)
            except Exception:  # one group must not end the look at all others for good
                broken += 1
                if broken == 1:
                    logger.exception("old offsets not looked for group=%s", shown(group_id))
            if len(records) >= RECORDS_MAX or looked_at >= LOOKED_AT_MAX:
                yield Decision(records)
                records, looked_at = [], 0
                self._successor = None  # of a conversion that was decided meanwhile, and could not be written
        if broken > 1:
            logger.error("old offsets not looked for groups=%d", broken)
        yield Decision(records, timers=(self._next_expiry(at),))

    def _expired(self, group: Group, at: Instant) -> Sequence[Record]:
        group_id = group.group_id
        expired = self._offset_requests.expired(group_id, self._unhurried_ms(at))
        if len(expired) < self.offsets.count(group_id) or not _can_go(group):
            return expired
        logger.info("group expired group=%s offsets=%d", ascii(group_id[:100])[1:-1], len(expired))
        return (*expired, *_tombstones(group))

    def _unhurried_ms(self, at: Instant) -> int:
        """The wall clock; but one that is set forward makes nothing old: no more time has passed than really did."""
        began = self._loaded_at or at
        return min(at.wall_ms, began.wall_ms + at.now_ms - began.now_ms)

    def resign(self, code: ErrorCode) -> Iterator[GroupDecision]:
        """The groups are looked after here no longer: nobody is left waiting."""
        for group in self.groups.values():
            if isinstance(group, ClassicGroup):
                yield group.resign(code)

    # What is remembered

    def apply(self, record: Record) -> None:
        """What the record says is so: it was just written, or is read at a start."""
        group_id = record.group_id
        if isinstance(record, OffsetCommitted):
            self.offsets.apply(record)
            if record is self._commit:
                self._commit = None
                self._counters.offsets_committed(group_id)
            if record.offset is not None and group_id not in self.groups:
                self.groups[group_id] = self._new_classic(group_id)
            return
        group = self.groups.get(group_id)
        if isinstance(record, ClassicGroupMetadata):
            self._apply_classic(record, group)
            return
        if not isinstance(group, ConsumerGroup):
            if _is_tombstone(record):
                return
            group = self._take_successor(group_id)
            if not isinstance(group, ConsumerGroup):
                group = self._new_consumer(group_id)
            self.groups[group_id] = group
        group.apply(record)
        if isinstance(record, ConsumerGroupEpoch) and record.epoch is None:
            self._removed(group_id)

    def _apply_classic(self, record: ClassicGroupMetadata, group: Group | None) -> None:
        if record.value is None:
            if isinstance(group, ClassicGroup):
                group.apply(record)
                self._removed(record.group_id)
            return
        if not isinstance(group, ClassicGroup):
            group = self.groups[record.group_id] = self._new_classic(record.group_id)
        group.apply(record)

    def _removed(self, group_id: str) -> None:
        """The group is no more; another of its name may begin, which its offsets alone are enough for."""
        del self.groups[group_id]
        successor = self._take_successor(group_id)
        if successor is not None:
            self.groups[group_id] = successor
        elif group_id in self.offsets:
            self.groups[group_id] = self._new_classic(group_id)
        else:
            self._counters.forget_group(group_id)

    def _take_successor(self, group_id: str) -> Group | None:
        successor, self._successor = self._successor, None
        return successor if successor is not None and successor.group_id == group_id else None

    # Small things

    def _new_classic(self, group_id: str) -> ClassicGroup:
        group = ClassicGroup(group_id, self._settings, lambda prefix: f"{prefix}-{self._new_member_id()}")
        self._count(group)
        return group

    def _new_consumer(self, group_id: str) -> ConsumerGroup:
        group = ConsumerGroup(group_id, self._settings, self._topics, self._new_member_id, become_classic=self._succeed)
        self._count(group)
        return group

    def _count(self, group: Group) -> None:
        def begun(reason: Reason) -> None:
            self._counters.rebalanced(group.group_id, reason.value)

        group.rebalances.on_begin = begun
        group.rebalances.on_complete = self._counters.rebalance_ended

    def _known(self, group_id: str) -> Group:
        self._check_id(group_id)
        group = self.groups.get(group_id)
        if group is None:
            raise RequestRefused(ErrorCode.UNKNOWN_MEMBER_ID)
        return group

    def _tidied(self, group: Group, decision: GroupDecision) -> GroupDecision:
        """Forget a group of which nothing is left and no record speaks."""
        is_nothing = isinstance(group, ClassicGroup) and group.is_unused and group.group_id not in self.offsets
        if is_nothing and not decision.records:
            del self.groups[group.group_id]
            self._counters.forget_group(group.group_id)
        return decision

    def _check_id(self, group_id: str) -> None:
        self._successor = None
        if not group_id:
            raise RequestRefused(ErrorCode.INVALID_GROUP_ID)

    def _check_room(self) -> None:
        if len(self.groups) >= GROUPS_MAX:
            raise RequestRefused(ErrorCode.COORDINATOR_NOT_AVAILABLE, f"There are {GROUPS_MAX} groups already.")
        if not self._memory.has_room_for_new:
            raise _no_memory()

    def _check_newcomer(self, group: Group | None, member_id: str, instance_id: str | None) -> None:
        """Refuse a new member, be it of a group that is there, while there is no memory for any."""
        if self._memory.has_room_for_new or group is None:
            return
        if isinstance(group, ClassicGroup):
            is_known = instance_id is not None and group.members.of_instance(instance_id) is not None
        else:
            is_known = member_id in group.roster.members or instance_id in group.roster.static
        if not is_known:
            raise _no_memory()

    def weigh(self, group_id: str) -> None:
        """Count what the group takes by now; to be called after whatever may have changed it."""
        group, weight = self.groups.get(group_id), self.offsets.bytes_of(group_id)
        if group is not None:
            weight += GROUP_BYTES + group.bytes_used + text_bytes(group_id)
        before = self._weights.get(group_id, 0)
        if weight != before:
            self._memory.used += weight - before
            if weight:
                self._weights[group_id] = weight
            else:
                del self._weights[group_id]

    def heeds(self, key: TimerKey) -> bool:
        """Whether a timer of this name can mean anything any more."""
        if key == EXPIRY:
            return True
        group = self.groups.get(key.group_id)
        if group is None or not key.member_id:
            return group is not None
        if isinstance(group, ClassicGroup):
            return key.member_id in group.members.by_id
        return key.member_id in group.roster.members

    def _next_expiry(self, at: Instant) -> Timer:
        return Timer(EXPIRY, at.now_ms + self._settings.offsets_retention_check_interval_ms)


def _no_memory() -> RequestRefused:
    return RequestRefused(ErrorCode.COORDINATOR_NOT_AVAILABLE, "Groups take as much memory as they may.")


def _is_tombstone(record: Record) -> bool:
    return any(getattr(record, name, 0) is None for name in ("value", "epoch", "partitions"))


def _can_go(group: Group) -> bool:
    """Whether nothing but offsets would keep it."""
    if isinstance(group, ClassicGroup):
        # One without records is there for its offsets alone, or for somebody who was given an id and is about to come.
        return group.state_name == "Empty" and (group.is_unused or group.facts.is_written)
    return group.is_empty


def _tombstones(group: Group) -> Sequence[Record]:
    return (group.tombstone(),) if isinstance(group, ClassicGroup) else group.tombstones()


def _in_batches(records: Sequence[Record]) -> Iterator[GroupDecision]:
    for first in range(0, len(records), RECORDS_MAX):
        yield Decision(records[first : first + RECORDS_MAX])


def _not_found(group_id: str, group: Group | None, wanted: str) -> str:
    if group is None:
        return f"Group {group_id} not found."
    return f"Group {group_id} is not a {wanted} group."
