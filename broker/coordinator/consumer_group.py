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
from collections.abc import Callable, Collection
from dataclasses import replace

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.consumer_group_describe import DescribedGroup
from ...protocol.messages.consumer_group_heartbeat import (
    Assignment,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from .assignors import NOTHING
from .consumer_description import described
from .consumer_draft import Draft, preferred_assignor
from .consumer_members import AWAY, NO_ASSIGNMENT, NO_VALUE, Member, Roster, subscription_of
from .decision import Caller, Decision, Instant, Reply, Timer, TimerKey, Waiter
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
from .reconciliation import holds_only, reconcile
from .topics_view import TopicsView

logger = logging.getLogger(__name__)

LEAVES = -1
"""The epoch by which a member says that it leaves."""
SESSION, REVOCATION = "consumer session", "consumer revocation"
"""The kinds of timers: a member's session; what it has to give up."""
ASSIGNMENT_AWARE_COMMITS = 9
"""The version of OffsetCommit and OffsetFetch from which on they can name a member's epoch."""
MOVED_MAX = 1000
"""Names of changed topics that are kept apart; beyond, every topic may have changed."""

GroupDecision = Decision[Record]


class ConsumerGroup:
    """See above."""

    def __init__(
        self, group_id: str, settings: GroupSettings, topics: TopicsView, new_member_id: Callable[[], str]
    ) -> None:
        """`new_member_id`: for members that do not bring one, as was allowed at first."""
        self.group_id = group_id
        self.roster = Roster(group_id)
        self.rebalances = ConsumerRebalances()
        self._settings = settings
        self._topics = topics
        self._new_member_id = new_member_id
        self._moved: set[str] | None = set()
        """Topics that may have changed since they were last looked at; None: any may have."""
        self._now_ms = 0
        """When the group was last asked anything: so that `apply`, which is told no time, can tell how long it took."""
        self._reason: Reason | None = None
        """Of the epoch that was decided last."""
        self._rebalance_began_ms: int | None = None

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
    def is_empty(self) -> bool:
        """Whether it has no members."""
        return not self.roster.members

    def subscribed_to(self, topic: str) -> bool:
        """Whether any member subscribes to it, by name or by pattern."""
        return any(topic in subscription.names for subscription in self.roster.subscriptions) or any(
            topic in value.topics for value in self.roster.regexes.values()
        )

    # -- heartbeats --

    def heartbeat(
        self, request: ConsumerGroupHeartbeatRequest, caller: Caller, waiter: Waiter, at: Instant
    ) -> GroupDecision:
        """A member joins, stays or leaves. The request is one that `consumer_requests.check_heartbeat` lets pass."""
        self._now_ms = at.now_ms
        member = self.roster.members.get(request.member_id)
        if member is not None and self._nothing_new(member, request, caller):
            settings, group_id = self._settings, self.group_id
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
        roster, group_id = self.roster, self.group_id
        before = self._find(request)
        member_id = request.member_id or self._new_member_id()
        value = _updated(NO_VALUE if before is None else before.value, request, caller)
        subscription = subscription_of(value)
        draft = Draft(roster, self._topics)
        draft.put(member_id, value, subscription, before)
        reason = self._refreshed(draft, at)
        if before is None or subscription != before.subscription or roster.epoch == 0:
            reason = Reason.MEMBER_JOINED if before is None else Reason.SUBSCRIPTION_CHANGED
        metadata_hash = roster.metadata_hash
        if reason is not None or self._moved is None or self._moved:
            metadata_hash = draft.metadata_hash()
        if reason is None and metadata_hash != roster.metadata_hash:
            reason = Reason.TOPICS_CHANGED
        if reason is not None:
            self._bump(draft, metadata_hash, reason)
        target = NOTHING if before is None else roster.targets.get(before.member_id, NOTHING)
        if draft.epoch > roster.target_epoch:
            target = draft.assign(self._settings.consumer_assignors)[member_id]

        current = NO_ASSIGNMENT if before is None else before.current
        if current.member_epoch == AWAY:
            current = replace(current, member_epoch=0, previous_epoch=0)
        heirs = (None, member_id, None if before is None else before.member_id)
        moved = reconcile(
            current,
            target_epoch=draft.target_epoch,
            target=target,
            subscribed=draft.topics_of(subscription),
            owned=request.topic_partitions,
            is_free=lambda topic, partition: roster.owner(topic, partition) in heirs,
        )
        timers: list[Timer] = []
        if moved is not current or before is None or before.current is not current or before.member_id != member_id:
            draft.records.append(CurrentAssignment(group_id, member_id, moved))
            if moved.state == MemberState.UNREVOKED_PARTITIONS:
                due_ms = at.now_ms + value.rebalance_timeout_ms
                timers.append(Timer(TimerKey(group_id, REVOCATION, member_id), due_ms))

        session_ends_ms = at.now_ms + self._settings.consumer_session_timeout_ms(group_id)
        if draft.records:
            timers.append(Timer(TimerKey(group_id, SESSION, member_id), session_ends_ms))
        else:
            assert before is not None, "a member that joins is written"
            before.session_ends_ms = session_ends_ms
            self._moved = set()  # they have been looked at, and nothing came of it
        tell = request.member_epoch == 0 or _is_full(request) or moved.assigned != current.assigned
        answer = self._answer(member_id, moved, assignment=tell)
        return Decision(records=draft.records, replies=(Reply(waiter, answer),), timers=timers)

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
        if member is None and len(roster.members) >= self._settings.consumer_max_size:
            raise RequestRefused(
                ErrorCode.GROUP_MAX_SIZE_REACHED,
                f"The consumer group has reached its maximum capacity of {self._settings.consumer_max_size} members.",
            )
        if member is not None and epoch != 0:
            _check_epoch(member, request)
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
            heartbeat_interval_ms=self._settings.consumer_heartbeat_interval_ms(self.group_id),
            assignment=told,
        )

    # -- what raises the epoch --

    def _refreshed(self, draft: Draft, at: Instant) -> Reason | None:
        """Have patterns looked through again where topics have changed; TOPICS_CHANGED if they match others now."""
        return Reason.TOPICS_CHANGED if draft.resolve(self._moved, at.wall_ms) else None

    def _bump(self, draft: Draft, metadata_hash: int, reason: Reason) -> None:
        draft.bump(metadata_hash)
        self._reason = reason
        logger.info("group rebalances group=%s epoch=%d reason=%s", self.group_id, draft.epoch, reason.value)

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
            return replace(self._remove([member], Reason.MEMBER_LEFT, at), replies=replies)
        current = member.current
        if current.member_epoch == AWAY:
            return Decision(replies=replies)
        # It keeps what it has for when it comes back, but for what it was to give up: that it has done by leaving.
        state = MemberState.STABLE if current.pending_revocation else current.state
        away = replace(current, member_epoch=AWAY, state=state, pending_revocation=NOTHING)
        return Decision(records=(CurrentAssignment(self.group_id, member.member_id, away),), replies=replies)

    def kick(self, member_ids: Collection[str], at: Instant) -> GroupDecision:
        """Remove members for an operator; those that are none are passed over."""
        members = [self.roster.members[member_id] for member_id in member_ids if member_id in self.roster.members]
        return self._remove(members, Reason.MEMBER_LEFT, at) if members else Decision()

    def _remove(self, members: Collection[Member], reason: Reason, at: Instant) -> GroupDecision:
        self._now_ms = at.now_ms
        draft = Draft(self.roster, self._topics)
        for member in members:
            draft.remove(member)
            logger.info("member removed group=%s member=%s reason=%s", self.group_id, member.member_id, reason.value)
        self._refreshed(draft, at)
        self._bump(draft, draft.metadata_hash(), reason)
        return Decision(records=draft.records)

    def timer_due(self, key: TimerKey, at: Instant) -> GroupDecision:
        """A session may have ended, or a member may have failed to give up partitions."""
        member = self.roster.members.get(key.member_id)
        if member is None:
            return Decision()
        if key.kind == SESSION:
            if member.session_ends_ms > at.now_ms:
                return Decision(timers=(Timer(key, member.session_ends_ms),))
            return self._remove([member], Reason.MEMBER_EXPIRED, at)
        if key.kind == REVOCATION and member.current.state == MemberState.UNREVOKED_PARTITIONS:
            return self._remove([member], Reason.REVOCATION_OVERDUE, at)
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
        assignor = preferred_assignor(self.roster.assignors, self._settings.consumer_assignors)
        return described(self.roster, self.state, assignor, self._topics)

    # -- what is remembered --

    def apply(self, record: Record) -> None:
        """Heed a record of this group."""
        roster = self.roster
        roster.apply(record)
        if isinstance(record, ConsumerGroupEpoch):
            self._moved = set()  # the epoch was decided with these looked at
            if self._reason is not None:
                self.rebalances.begin(self._reason)
                self._reason = None
                if self._rebalance_began_ms is None:
                    self._rebalance_began_ms = self._now_ms
        elif not roster.members:
            self._rebalance_began_ms = None  # nobody is left for whom it could end
        elif self._rebalance_began_ms is not None and not roster.moving and roster.epoch == roster.target_epoch:
            self.rebalances.complete(self._now_ms - self._rebalance_began_ms)
            self._rebalance_began_ms = None

    def loaded(self, at: Instant) -> GroupDecision:
        """All records of before the start were applied: sessions begin anew, and so does the time to give up."""
        self._now_ms = at.now_ms
        self._moved, self._reason, self._rebalance_began_ms = None, None, None
        session_ends_ms = at.now_ms + self._settings.consumer_session_timeout_ms(self.group_id)
        timers = [
            Timer(TimerKey(self.group_id, SESSION, member_id), session_ends_ms) for member_id in self.roster.members
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


def _updated(value: ConsumerMemberValue, request: ConsumerGroupHeartbeatRequest, caller: Caller) -> ConsumerMemberValue:
    """What the member says of itself now; what it does not say is as before."""
    names, regex = request.subscribed_topic_names, request.subscribed_topic_regex
    timeout_ms = request.rebalance_timeout_ms
    return ConsumerMemberValue(
        instance_id=value.instance_id if request.instance_id is None else request.instance_id,
        rack_id=value.rack_id if request.rack_id is None else request.rack_id,
        client_id=caller.client_id,
        client_host=caller.host,
        subscribed_topics=value.subscribed_topics if names is None else tuple(sorted(set(names))),
        subscribed_regex=value.subscribed_regex if regex is None else regex or None,
        rebalance_timeout_ms=value.rebalance_timeout_ms if timeout_ms == -1 else timeout_ms,
        server_assignor=value.server_assignor if request.server_assignor is None else request.server_assignor,
        classic=None,
    )


def _is_full(request: ConsumerGroupHeartbeatRequest) -> bool:
    """Whether the member says all that it can say: it does so after an error, when it may have missed an answer."""
    return (
        request.rebalance_timeout_ms != -1
        and (request.subscribed_topic_names is not None or request.subscribed_topic_regex is not None)
        and request.topic_partitions is not None
    )


def _check_epoch(member: Member, request: ConsumerGroupHeartbeatRequest) -> None:
    """Raises FENCED_MEMBER_EPOCH unless it knows its epoch, or an answer may have got lost [C-2]."""
    epoch, current = request.member_epoch, member.current
    if epoch == current.member_epoch:
        return
    if (
        epoch < current.member_epoch
        and epoch == current.previous_epoch
        and holds_only(request.topic_partitions, current.assigned)
    ):
        return
    than = "greater" if epoch > current.member_epoch else "smaller"
    raise RequestRefused(
        ErrorCode.FENCED_MEMBER_EPOCH,
        f"The consumer group member has a {than} member epoch ({epoch}) than the one known by the group coordinator "
        f"({current.member_epoch}). The member must abandon all its partitions and rejoin.",
    )
