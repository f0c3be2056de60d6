"""A group of the consumer protocol: the broker assigns, members only send heartbeats (KIP-848) [C-1 … C-9].

Three epochs. The *group epoch* rises when members, subscriptions or topics change. The *target assignment* is made for
a group epoch: what each member shall have in the end. A *member's epoch* rises to that of the target when the member
has given up what it shall not have any more (see `reconciliation`). So the members move one by one, and whoever need
not give up anything goes on reading all the while.

    happens                                 group epoch   target assignment        members
    a member joins, or subscribes anew      + 1           made anew, at once       reconciled by its own heartbeat
    a member leaves, or is removed          + 1           at the next heartbeat    the others by theirs
    topics come, go or grow                 (noted)       -                        -
      the next heartbeat of anyone          + 1           made anew                reconciled by its own heartbeat
    a static member leaves, to come back    as before     as before                keeps what it has for its session

What is remembered are the records in `group_records`; when sessions end, and which topics may have changed, is not.
After a start every session begins anew, and all topics may have changed.

A member that joins anew (epoch 0) under the id that it has is taken in again with what was assigned to it, as with
Kafka; other than there, also a static one that has not left. It holds nothing then, so nobody reads a partition twice.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.consumer_group_describe import DescribedGroup
from ...protocol.messages.consumer_group_heartbeat import (
    Assignment,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from .assignors import NOTHING
from .classic_state import record_bytes_max, shown
from .consumer_description import described
from .consumer_draft import Draft, preferred_assignor
from .consumer_members import AWAY, NO_ASSIGNMENT, NO_VALUE, Member, Roster, subscription_of
from .consumer_requests import check_epoch, is_full, updated_value
from .decision import Caller, Decision, Instant, Reply, Timer, TimerKey, Waiter
from .group_conversion import Downgrade, Staying, staying_classic, to_classic
from .group_records import (
    ConsumerGroupEpoch,
    ConsumerGroupMember,
    ConsumerMemberValue,
    CurrentAssignment,
    CurrentAssignmentValue,
    MemberState,
    Record,
    ResolvedRegex,
    TargetAssignment,
    TargetAssignmentEpoch,
)
from .group_settings import GroupSettings
from .rebalances import ConsumerRebalances, Reason
from .reconciliation import reconcile
from .topics_view import TopicsView

logger = logging.getLogger(__name__)

LEAVES = -1
"""The epoch by which a member says that it leaves."""
SESSION, REVOCATION = "consumer session", "consumer revocation"
CLASSIC_JOIN, CLASSIC_SYNC = "consumer join", "consumer sync"
"""The kinds of timers: a member's session; what it has to give up; that it joins anew, and asks for its assignment, in
the classic protocol."""
ASSIGNMENT_AWARE_COMMITS = 9
"""The version of OffsetCommit and OffsetFetch from which on they can name a member's epoch."""
MOVED_MAX = 1000
"""Names of changed topics that are kept apart; beyond, every topic may have changed."""

GroupDecision = Decision[Record]
BecomeClassic = Callable[[Downgrade, Sequence[Reply], Instant], GroupDecision]
"""Makes the classic group that takes this one's place; the decision lacks the tombstones of this one."""


class Advance(NamedTuple):
    """What comes of a sign of life of a member."""

    before: CurrentAssignmentValue
    """What it had."""
    after: CurrentAssignmentValue
    records: Sequence[Record]
    timers: list[Timer]


class ConsumerGroup:
    """See above."""

    def __init__(
        self,
        group_id: str,
        settings: GroupSettings,
        topics: TopicsView,
        new_member_id: Callable[[], str],
        *,
        become_classic: BecomeClassic | None = None,
    ) -> None:
        """`new_member_id`: for members that do not bring one, as was allowed at first."""
        self.group_id = group_id
        self.roster = Roster(group_id)
        self.rebalances = ConsumerRebalances()
        self.settings = settings
        self.topics = topics
        self.new_member_id = new_member_id
        self._become_classic = become_classic
        self._moved: set[str] | None = set()
        """Topics that may have changed since they were last looked at; None: any may have."""
        self.empty_since_ms: int | None = None
        """Soft, on the wall clock: since when there are no members, or since the start; None while there are."""
        self._asked = Instant(0, 0)
        """When the group was last asked anything: so that `apply`, which is told no time, can tell how long it took."""
        self._begun: tuple[ConsumerGroupEpoch, Reason] | None = None
        """The epoch that was decided last, and why."""
        self._rebalance_began_ms: int | None = None
        self._awaited: tuple[Record, str, int] | None = None
        """The last record of a member that joins by the classic protocol, and until when it has to sync."""

    @property
    def state(self) -> str:
        """In Kafka's words."""
        roster = self.roster
        if not roster.members:
            return "Empty"
        if roster.epoch > roster.target_epoch:
            return "Assigning"
        return "Reconciling" if roster.moving else "Stable"

    @property
    def state_name(self) -> str:
        """In Kafka's words."""
        return self.state

    @property
    def type_name(self) -> str:
        """In Kafka's words."""
        return "consumer"

    @property
    def member_count(self) -> int:
        """How many members it has."""
        return len(self.roster.members)

    @property
    def bytes_used(self) -> int:
        """What it takes in memory beside the group itself, roughly."""
        return self.roster.bytes_used

    @property
    def is_empty(self) -> bool:
        """Whether it has no members."""
        return not self.roster.members

    def subscribed_to(self, topic: str) -> bool:
        """Whether any member subscribes to it, by name or by pattern."""
        return topic in self.roster.topic_names

    # -- heartbeats --

    def heartbeat(
        self, request: ConsumerGroupHeartbeatRequest, caller: Caller, waiter: Waiter, at: Instant
    ) -> GroupDecision:
        """A member joins, stays or leaves. The request is one that `consumer_requests.check_heartbeat` lets pass."""
        self._asked = at
        member = self.roster.members.get(request.member_id)
        if member is not None and self._nothing_new(member, request, caller):
            settings, group_id = self.settings, self.group_id
            member.session_ends_ms = at.now_ms + settings.consumer_session_timeout_ms(group_id)
            answer = member.answer
            interval_ms = settings.consumer_heartbeat_interval_ms(group_id)
            if answer is None or answer.heartbeat_interval_ms != interval_ms:
                answer = member.answer = self._answer(member.member_id, member.current, assignment=False)
            return Decision(replies=(Reply(waiter, answer),))
        if request.member_epoch < 0:
            return self._leave(request, waiter, at)
        return self._stay(request, caller, waiter, at)

    def _nothing_new(self, member: Member, request: ConsumerGroupHeartbeatRequest, caller: Caller) -> bool:
        """Whether neither the member nor the group has anything to tell the other: what nearly all heartbeats are."""
        roster, value = self.roster, member.value
        return (
            request.member_epoch == member.current.member_epoch
            and request.rebalance_timeout_ms == -1
            and request.subscribed_topic_names is None
            and request.subscribed_topic_regex is None
            and member.member_id not in roster.moving
            and roster.epoch == roster.target_epoch
            and not (self._moved is None or self._moved)
            and request.server_assignor in (None, value.server_assignor)
            and request.instance_id in (None, value.instance_id)
            and request.rack_id in (None, value.rack_id)
            and caller.client_id == value.client_id
            and caller.host == value.client_host
            and value.classic is None
        )

    def _stay(
        self, request: ConsumerGroupHeartbeatRequest, caller: Caller, waiter: Waiter, at: Instant
    ) -> GroupDecision:
        """Join, or any other heartbeat: change the member, make the target anew if need be, bring the member nearer."""
        before = self._find(request)
        value = updated_value(NO_VALUE if before is None else before.value, request, caller)
        member_id = request.member_id or self.new_member_id()
        advance = self.advance(before, member_id, value, request.topic_partitions, at=at)
        tell = request.member_epoch == 0 or is_full(request) or advance.after.assigned != advance.before.assigned
        answer = self._answer(member_id, advance.after, assignment=tell)
        return Decision(advance.records, (Reply(waiter, answer),), advance.timers)

    def advance(
        self,
        before: Member | None,
        member_id: str,
        value: ConsumerMemberValue,
        owned: Collection[TopicPartitions] | None,
        *,
        at: Instant,
    ) -> Advance:
        """Take a member in, or its changes; make the target anew if need be; bring the member nearer to it.

        `before`: the member as it was, or that whose place it takes; None if it is a new one.
        """
        self._asked = at
        roster, group_id = self.roster, self.group_id
        subscription = subscription_of(value)
        draft = Draft(roster, self.topics)
        draft.put(member_id, value, subscription, before)
        reason = self._refreshed(draft, at)
        if before is None or subscription != before.subscription or roster.epoch == 0:
            reason = Reason.MEMBER_JOINED if before is None else Reason.SUBSCRIPTION_CHANGED
        self._bump_if_need_be(draft, reason)
        target = NOTHING if before is None else roster.targets.get(before.member_id, NOTHING)
        if draft.epoch > roster.target_epoch:
            target = draft.assign(self.settings.consumer_assignors)[member_id]

        current = NO_ASSIGNMENT if before is None else before.current
        if current.member_epoch == AWAY:
            current = replace(current, member_epoch=0, previous_epoch=0)
        heirs = (None, member_id, None if before is None else before.member_id)
        moved = reconcile(
            current,
            target_epoch=draft.target_epoch,
            target=target,
            subscribed=draft.topics_of(subscription),
            owned=owned,
            is_free=lambda topic, partition: roster.owner(topic, partition) in heirs,
        )
        timers: list[Timer] = []
        if moved is not current or before is None or before.current is not current or before.member_id != member_id:
            draft.records.append(CurrentAssignment(group_id, member_id, moved))
            if moved.state == MemberState.UNREVOKED_PARTITIONS:
                due_ms = at.now_ms + value.rebalance_timeout_ms
                timers.append(Timer(TimerKey(group_id, REVOCATION, member_id), due_ms))

        session_ends_ms = at.now_ms + self.session_timeout_ms(value)
        if draft.records:
            timers.append(Timer(TimerKey(group_id, SESSION, member_id), session_ends_ms))
        else:
            assert before is not None, "a member that joins is written"
            before.session_ends_ms = session_ends_ms
            self._moved = set()  # they have been looked at, and nothing came of it
        return Advance(current, moved, draft.records, timers)

    def await_sync(self, member_id: str, due_ms: int, records: Sequence[Record]) -> Timer:
        """The member joins by the classic protocol: when these are written it has until then to ask for its part."""
        if records:
            self._awaited = records[-1], member_id, due_ms
        else:
            self.roster.members[member_id].sync_due_ms = due_ms
        return Timer(TimerKey(self.group_id, CLASSIC_SYNC, member_id), due_ms)

    def session_timeout_ms(self, value: ConsumerMemberValue) -> int:
        """After how long the member is taken for dead: one of the classic protocol says it itself."""
        if value.classic is not None:
            return value.classic.session_timeout_ms
        return self.settings.consumer_session_timeout_ms(self.group_id)

    def _find(self, request: ConsumerGroupHeartbeatRequest) -> Member | None:
        """The member that this is, or whose place it takes; None if it is a new one. Raises what refuses it."""
        roster, member_id, epoch = self.roster, request.member_id, request.member_epoch
        if request.instance_id is not None:
            member = self._static_member(request)
        else:
            member = roster.members.get(member_id)
            if member is None and epoch != 0:
                raise RequestRefused(
                    ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} is not a member of group {self.group_id}."
                )
        if member is None and len(roster.members) >= self.settings.consumer_max_size:
            raise RequestRefused(
                ErrorCode.GROUP_MAX_SIZE_REACHED,
                f"The consumer group has reached its maximum capacity of {self.settings.consumer_max_size} members.",
            )
        if member is not None and epoch != 0:
            check_epoch(member, request)
        return member

    def _static_member(self, request: ConsumerGroupHeartbeatRequest) -> Member | None:
        """The member of the instance id, which only its own member id may use; after a leave (-2), any that joins."""
        instance_id, member_id = request.instance_id, request.member_id
        assert instance_id is not None, "only of static members"
        holder = self.roster.static.get(instance_id)
        if holder is None:
            if request.member_epoch != 0:
                raise RequestRefused(ErrorCode.UNKNOWN_MEMBER_ID, f"Instance id {instance_id} is unknown.")
            return self.roster.members.get(member_id)
        member = self.roster.members[holder]
        if holder == member_id:
            return member
        if request.member_epoch != 0:
            raise RequestRefused(
                ErrorCode.FENCED_INSTANCE_ID,
                f"Static member {member_id} with instance id {instance_id} was fenced by member {holder}.",
            )
        if member.epoch != AWAY and member.value.classic is None:
            raise RequestRefused(
                ErrorCode.UNRELEASED_INSTANCE_ID,
                f"Static member {member_id} with instance id {instance_id} cannot join the group because the instance "
                f"id is owned by {holder} member.",
            )
        return member

    def _answer(
        self, member_id: str, current: CurrentAssignmentValue, *, assignment: bool
    ) -> ConsumerGroupHeartbeatResponse:
        told = None
        if assignment:
            parts = (TopicPartitions(topic_id=topic, partitions=numbers) for topic, numbers in current.assigned.items())
            told = Assignment(topic_partitions=tuple(parts))
        return ConsumerGroupHeartbeatResponse(
            member_id=member_id,
            member_epoch=current.member_epoch,
            heartbeat_interval_ms=self.settings.consumer_heartbeat_interval_ms(self.group_id),
            assignment=told,
        )

    # -- what raises the epoch --

    def _refreshed(self, draft: Draft, at: Instant) -> Reason | None:
        """Have patterns looked through again where topics have changed; TOPICS_CHANGED if they match others now."""
        return Reason.TOPICS_CHANGED if draft.resolve(self._moved, at.wall_ms) else None

    def _bump_if_need_be(self, draft: Draft, reason: Reason | None) -> None:
        """For a reason that was found already, or because topics have changed."""
        if reason is None and self._moved is not None and not self._moved:
            return
        metadata_hash = draft.metadata_hash()
        if reason is None and metadata_hash != self.roster.metadata_hash:
            reason = Reason.TOPICS_CHANGED
        if reason is not None:
            self._bump(draft, metadata_hash, reason)

    def _bump(self, draft: Draft, metadata_hash: int, reason: Reason) -> None:
        self._begun = draft.bump(metadata_hash), reason
        logger.info("group rebalances group=%s epoch=%d reason=%s", shown(self.group_id), draft.epoch, reason.value)

    def look_at_topics(self, at: Instant) -> Sequence[Record]:
        """What comes of topics that have changed, where the asking member cannot be told more than to join anew."""
        if self._moved is not None and not self._moved:
            return ()
        self._asked = at
        draft = Draft(self.roster, self.topics)
        self._bump_if_need_be(draft, self._refreshed(draft, at))
        if not draft.records:
            self._moved = set()
        return draft.records

    def topics_changed(self, names: Collection[str]) -> None:
        """Topics were created, deleted, or have grown: the next heartbeat of any member looks what that means."""
        if self._moved is not None:
            self._moved.update(names)
            if len(self._moved) > MOVED_MAX:
                self._moved = None

    # -- those who go --

    def _leave(self, request: ConsumerGroupHeartbeatRequest, waiter: Waiter, at: Instant) -> GroupDecision:
        member = self.roster.members.get(request.member_id)
        if request.instance_id is not None:
            member = self._static_member(request)
        if member is None:
            raise RequestRefused(
                ErrorCode.UNKNOWN_MEMBER_ID, f"Member {request.member_id} is not a member of group {self.group_id}."
            )
        answer = ConsumerGroupHeartbeatResponse(member_id=request.member_id, member_epoch=request.member_epoch)
        replies = (Reply(waiter, answer),)
        if request.member_epoch == LEAVES:
            return self.remove([member], Reason.MEMBER_LEFT, at, replies)
        current = member.current
        if current.member_epoch == AWAY:
            return Decision(replies=replies)
        # It keeps what it has for when it comes back, but for what it was to give up: that it has done by leaving.
        state = MemberState.STABLE if current.pending_revocation else current.state
        away = replace(current, member_epoch=AWAY, state=state, pending_revocation=NOTHING)
        return Decision(records=(CurrentAssignment(self.group_id, member.member_id, away),), replies=replies)

    def remove(
        self, members: Collection[Member], reason: Reason, at: Instant, replies: Sequence[Reply] = ()
    ) -> GroupDecision:
        """They are members no more; if only members of the classic protocol are left, it becomes their group [C-8]."""
        self._asked = at
        for member in members:
            facts = (shown(self.group_id), shown(member.member_id), reason.value)
            logger.info("member removed group=%s member=%s reason=%s", *facts)
        staying = staying_classic(self.roster, members, None, self.settings)
        downgraded = None if staying is None else self.downgraded(staying, replies, at)
        if downgraded is not None:
            return downgraded
        draft = Draft(self.roster, self.topics)
        for member in members:
            draft.remove(member)
        self._refreshed(draft, at)
        self._bump(draft, draft.metadata_hash(), reason)
        return Decision(records=draft.records, replies=replies)

    def downgraded(self, staying: Collection[Staying], replies: Sequence[Reply], at: Instant) -> GroupDecision | None:
        """Have these be a classic group in place of this one; None if that cannot be."""
        limit = record_bytes_max(self.settings)
        downgrade = to_classic(self.roster, staying, self.topics, wall_ms=at.wall_ms, bytes_max=limit)
        if downgrade is None or self._become_classic is None:
            return None
        logger.info("group becomes a classic one group=%s members=%d", shown(self.group_id), len(downgrade.members))
        decision = self._become_classic(downgrade, replies, at)
        return replace(decision, records=(*self.tombstones(), *decision.records))

    def timer_due(self, key: TimerKey, at: Instant) -> GroupDecision:
        """A session may have ended, or a member may have failed to give up partitions."""
        member = self.roster.members.get(key.member_id)
        if member is None:
            return Decision()
        if key.kind == SESSION:
            if member.session_ends_ms > at.now_ms:
                return Decision(timers=(Timer(key, member.session_ends_ms),))
            return self.remove([member], Reason.MEMBER_EXPIRED, at)
        if key.kind == REVOCATION and member.current.state == MemberState.UNREVOKED_PARTITIONS:
            return self.remove([member], Reason.REVOCATION_OVERDUE, at)
        if key.kind == CLASSIC_JOIN and member.join_due_ms is not None and self.roster.is_called(member):
            if member.join_due_ms > at.now_ms:
                return Decision(timers=(Timer(key, member.join_due_ms),))
            return self.remove([member], Reason.JOIN_OVERDUE, at)
        if key.kind == CLASSIC_SYNC and member.value.classic is not None and member.sync_due_ms is not None:
            if member.sync_due_ms > at.now_ms:
                return Decision(timers=(Timer(key, member.sync_due_ms),))
            return self.remove([member], Reason.SYNC_OVERDUE, at)
        return Decision()

    # -- what others ask --

    def check_commit(self, member_id: str, epoch: int, *, version: int = ASSIGNMENT_AWARE_COMMITS) -> None:
        """Raises why this member, at this epoch, may not commit offsets. Without members, anybody may."""
        if epoch < 0 and self.is_empty:
            return
        self._check_epoch_of(member_id, epoch, version)

    def check_fetch(self, member_id: str | None, epoch: int, *, version: int = ASSIGNMENT_AWARE_COMMITS) -> None:
        """Raises why this member, at this epoch, may not be told offsets. Who does not say that it is a member may."""
        if not member_id and epoch < 0:
            return
        member = self.roster.members.get(member_id or "")
        if epoch < 0 and member is not None and member.value.classic is not None:
            return  # some clients of the classic protocol say who they are, but no generation, which Kafka refuses
        self._check_epoch_of(member_id or "", epoch, version)

    def _check_epoch_of(self, member_id: str, epoch: int, version: int) -> None:
        member = self.roster.members.get(member_id)
        if member is None:
            raise RequestRefused(
                ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} is not a member of group {self.group_id}."
            )
        is_classic = member.value.classic is not None
        if not is_classic and version < ASSIGNMENT_AWARE_COMMITS:
            raise RequestRefused(
                ErrorCode.UNSUPPORTED_VERSION, f"Version {version} cannot say the epoch of a member of this group."
            )
        if epoch != member.epoch:
            raise RequestRefused(
                ErrorCode.ILLEGAL_GENERATION if is_classic else ErrorCode.STALE_MEMBER_EPOCH,
                f"The received member epoch {epoch} does not match the expected member epoch {member.epoch}.",
            )

    def describe(self) -> DescribedGroup:
        """What ConsumerGroupDescribe tells."""
        assignor = preferred_assignor(self.roster.assignors, self.settings.consumer_assignors)
        return described(self.roster, self.state, assignor, self.topics)

    # -- what is remembered --

    def apply(self, record: Record) -> None:
        """Heed a record of this group."""
        roster = self.roster
        was_empty = self.is_empty
        roster.apply(record)
        if self.is_empty != was_empty:
            self.empty_since_ms = self._asked.wall_ms if self.is_empty else None
        if self._awaited is not None and self._awaited[0] is record:
            roster.members[self._awaited[1]].sync_due_ms = self._awaited[2]
        if isinstance(record, ConsumerGroupEpoch):
            self._moved = set()  # the epoch was decided with these looked at
            if self._begun is not None and self._begun[0] is record:
                self.rebalances.begin(self._begun[1])
                self._begun = None
                if self._rebalance_began_ms is None:
                    self._rebalance_began_ms = self._asked.now_ms
        elif not roster.members:
            self._rebalance_began_ms = None  # nobody is left for whom it could end
        elif self._rebalance_began_ms is not None and not roster.moving and roster.epoch == roster.target_epoch:
            self.rebalances.complete(self._asked.now_ms - self._rebalance_began_ms)
            self._rebalance_began_ms = None

    def loaded(self, at: Instant) -> GroupDecision:
        """All records of before the start were applied: sessions begin anew, and so does the time to give up."""
        self._asked = at
        self._moved, self._begun, self._rebalance_began_ms = None, None, None
        self.empty_since_ms = at.wall_ms if self.is_empty else None  # no record says it, so rather too late
        timers = [
            Timer(
                TimerKey(self.group_id, SESSION, member.member_id),
                at.now_ms + self.session_timeout_ms(member.value),
            )
            for member in self.roster.members.values()
        ]
        timers += [
            Timer(TimerKey(self.group_id, REVOCATION, member.member_id), at.now_ms + member.value.rebalance_timeout_ms)
            for member in self.roster.members.values()
            if member.current.state == MemberState.UNREVOKED_PARTITIONS
        ]
        return Decision(timers=timers)

    def tombstones(self) -> list[Record]:
        """What takes back every record of the group."""
        group_id, roster = self.group_id, self.roster
        records: list[Record] = [CurrentAssignment(group_id, member_id, None) for member_id in roster.members]
        records += [TargetAssignment(group_id, member_id, None) for member_id in roster.members]
        records.append(TargetAssignmentEpoch(group_id, None))
        records += [ConsumerGroupMember(group_id, member_id, None) for member_id in roster.members]
        records += [ResolvedRegex(group_id, regex, None) for regex in roster.regexes]
        records.append(ConsumerGroupEpoch(group_id, None))
        return records
