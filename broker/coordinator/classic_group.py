"""A group of the classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup [G-1 … G-9, G-13 … G-15].

The members agree among themselves who does what; the group only sees to it that all of them agree on the same. In a
*join* it gathers who is there, gives the gathering a number, the generation, and names a leader, who is told what the
others said of themselves. In the *sync* the leader hands in a part for each, and each gets its own. Neither what they
say nor the parts are read here: the protocol type may be "consumer", "connect", "sr" or any other.

What is remembered is a stable generation, or that the group is empty: one record, `ClassicGroupMetadata`, in which the
whole group stands. So after a start the members of the last stable generation go on as if nothing had been. A join
under way is not remembered: its members are told that its generation is unknown, and join anew.

Decisions with records put off what they do to the rest of the state, too, until the record is applied (`_planned`).

Where Kafka leaves a request without an answer (a member that asks again before it was answered, or is removed while it
waits), it is answered here. A group that nobody has ever completed is not written.
"""

import logging
from collections.abc import Callable, Collection, Sequence

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.describe_groups import DescribedGroup
from ...protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from ...protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from ...protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse
from ...protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from .classic_facts import ClassicFacts, check_session_timeout
from .classic_members import ClassicMember, ClassicMembers, Joining, PendingIds, Plan, record_bytes
from .classic_state import (
    COMPLETING,
    DEAD,
    EMPTY,
    ID_PREFIX_LENGTH_MAX,
    JOIN,
    JOIN_PAUSE_MS,
    NEW_MEMBER_JOIN_TIMEOUT_MS,
    PENDING,
    PREPARING,
    SESSION,
    STABLE,
    SYNC,
    TRANSITIONS,
    ClassicState,
    GroupDecision,
    Step,
    record_bytes_max,
    shown,
)
from .decision import Caller, Decision, Instant, Reply, Timer, TimerKey, Waiter
from .group_memory import MEMBER_BYTES, PENDING_ID_BYTES
from .group_records import ClassicGroupMetadata
from .group_settings import GroupSettings
from .rebalances import ConsumerRebalances, Reason

logger = logging.getLogger(__name__)

MEMBER_ID_REQUIRED_SINCE = 4
"""Versions of JoinGroup from here on make a new member ask for its id."""
SKIP_ASSIGNMENT_SINCE = 9
"""Versions of JoinGroup from here on can tell a leader not to assign."""
LEAVE_MANY_SINCE = 3
"""Versions of LeaveGroup from here on have many members and a code for each."""

_GO_ON = HeartbeatResponse()
_JOIN_ANEW = HeartbeatResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)


class ClassicGroup:
    """See above."""

    def __init__(self, group_id: str, settings: GroupSettings, new_member_id: Callable[[str], str]) -> None:
        """`new_member_id`: makes an id that nobody has out of a text to begin it with."""
        self.group_id = group_id
        self.facts = ClassicFacts(group_id)
        self.rebalances = ConsumerRebalances()
        self._settings = settings
        self._new_member_id = new_member_id
        self._pending = PendingIds()
        self._must_sync: set[str] = set()
        """Who has not synced yet in this generation."""
        self._join_deadline_ms = 0
        self._sync_deadline_ms = 0
        self._is_initial = False
        """The join under way is the first of an empty group, which waits a little for more members."""
        self._initial_end_ms = 0
        """When it waits no longer, whoever comes."""
        self._newcomers = False
        """Somebody came since the delay last began."""
        self._rebalance_began_ms: int | None = None
        self._planned: Plan | None = None

    @property
    def state(self) -> ClassicState:
        """What it is at."""
        return self.facts.state

    @property
    def generation(self) -> int:
        """The number of the last completed join."""
        return self.facts.generation

    @property
    def protocol_type(self) -> str | None:
        """Of what kind its members are; None if there never was any."""
        return self.facts.protocol_type

    @property
    def protocol(self) -> str | None:
        """What the members of the generation agreed on."""
        return self.facts.protocol

    @property
    def members(self) -> ClassicMembers:
        """Who is in it."""
        return self.facts.members

    @property
    def state_name(self) -> str:
        """In Kafka's words."""
        return self.state.value

    @property
    def type_name(self) -> str:
        """In Kafka's words."""
        return "classic"

    @property
    def member_count(self) -> int:
        """How many members it has."""
        return len(self.members)

    @property
    def leader(self) -> str | None:
        """The id of the leading member."""
        return self.members.leader

    @property
    def empty_since_ms(self) -> int | None:
        """On the wall clock, since when there are no members; None while there are, or if nobody knows."""
        since_ms = self.facts.state_since_ms
        return since_ms if self.state is EMPTY and since_ms >= 0 else None

    @property
    def is_unused(self) -> bool:
        """Nothing would be lost if it were forgotten: nobody is in it, nobody is about to come, no record has it."""
        return not self.facts.is_written and not len(self.members) and not len(self._pending)

    @property
    def bytes_used(self) -> int:
        """What its members take in memory, and ids that are not used yet; roughly."""
        pending = PENDING_ID_BYTES * len(self._pending)
        return self.members.bytes_used + MEMBER_BYTES * len(self.members) + self.facts.assigned_bytes + pending

    # -- JoinGroup --

    def join(self, request: JoinGroupRequest, caller: Caller, waiter: Waiter, at: Instant) -> GroupDecision:
        """A member enters the group, or comes back for a new generation."""
        step = self._begin(at)
        check_session_timeout(request.session_timeout_ms, self._settings)
        joining = Joining.of(request, caller, waiter)
        member = self.members.get(joining.member_id)
        replaced = None
        if not joining.member_id and joining.instance_id is not None:
            replaced = self.members.of_instance(joining.instance_id)
        if not (replaced or self.facts.has_room_for(member, limit=self._settings.classic_max_size)):
            return self._turn_away(joining, step)
        self.facts.check_joining(joining, replaced or member)
        if replaced is not None:
            return self._replace(replaced, joining, step)
        if joining.member_id:
            return self._join_known(joining, step)
        member_id = self._make_id(joining)
        if joining.instance_id is None and caller.version >= MEMBER_ID_REQUIRED_SINCE:
            # KIP-394: a client that never hears of its id must not leave a member behind.
            sweep_ms = self._pending.give_out(member_id, at.now_ms + joining.session_timeout_ms)
            if sweep_ms is not None:
                step.timers.append(self._timer(PENDING, sweep_ms))
            step.answer(waiter, JoinGroupResponse(error_code=ErrorCode.MEMBER_ID_REQUIRED, member_id=member_id))
            return step.decision()
        return self._add(member_id, joining, step)

    def _turn_away(self, joining: Joining, step: Step) -> GroupDecision:
        self._pending.drop(joining.member_id)
        member = self.members.get(joining.member_id)
        reply = Reply(joining.waiter, JoinGroupResponse(error_code=ErrorCode.GROUP_MAX_SIZE_REACHED))
        return self._depart([] if member is None else [member], Reason.OVER_CAPACITY, step, reply=reply)

    def _make_id(self, joining: Joining) -> str:
        prefix = joining.caller.client_id if joining.instance_id is None else joining.instance_id
        return self._new_member_id(prefix[:ID_PREFIX_LENGTH_MAX])

    def _join_known(self, joining: Joining, step: Step) -> GroupDecision:
        if joining.member_id in self._pending and joining.instance_id is None:
            self._pending.drop(joining.member_id)
            return self._add(joining.member_id, joining, step)
        member = self.facts.member(joining.member_id, joining.instance_id)
        unchanged = member.matches(joining)
        leads = self.leader == member.member_id
        # A follower that lost its answer gets it again [G-3], and so does the leader, until it has synced.
        if unchanged and (self.state is COMPLETING or (self.state is STABLE and not leads)):
            self._renew(member, step)
            step.answer(joining.waiter, self.facts.generation_for(member))
            return step.decision()
        self.members.update(member, joining)
        self._park_join(member, joining.waiter, step)
        self._rebalance_or_complete(Reason.LEADER_REJOINED if unchanged else Reason.SUBSCRIPTION_CHANGED, step)
        return step.decision()

    def _add(self, member_id: str, joining: Joining, step: Step) -> GroupDecision:
        member = ClassicMember.who_joins(member_id, joining)
        member.is_new = True

        def enter() -> None:
            if not len(self.members):
                self.facts.protocol_type = joining.protocol_type
            self.members.add(member)
            self._newcomers = True
            self._park_join(member, joining.waiter, step)
            self._rebalance_or_complete(Reason.MEMBER_JOINED, step)

        return self._with_its_id_written(member, enter, step)

    def _with_its_id_written(self, member: ClassicMember, effect: Callable[[], None], step: Step) -> GroupDecision:
        """Have it happen; before that, remember a static member's new id if another one is remembered."""
        record = self.facts.renamed_record(member)
        if record is None:
            effect()
            return step.decision()
        self._planned = Plan(record, effect, is_the_state=False)
        return step.decision(record)

    def _park_join(self, member: ClassicMember, waiter: Waiter, step: Step) -> None:
        before = self.members.park_join(member, waiter)
        # Not UNKNOWN_MEMBER_ID: should anybody still listen, it is told to ask again and keeps its id.
        step.answer(before, JoinGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS, member_id=member.member_id))
        self._renew(member, step)

    # -- static members [G-9] --

    def _replace(self, old: ClassicMember, joining: Joining, step: Step) -> GroupDecision:
        new = ClassicMember.who_joins(self._make_id(joining), joining)
        new.assignment = old.assignment
        logger.info(
            "static member replaced group=%s instance=%s old=%s new=%s",
            *(shown(text) for text in (self.group_id, joining.instance_id or "", old.member_id, new.member_id)),
        )
        if self.state is STABLE and self.members.vote(instead=(old, joining.protocols)) == self.protocol:
            return self._replace_quietly(old, new, joining, step)

        def take_its_place() -> None:
            self._answer_gone(old, ErrorCode.FENCED_INSTANCE_ID, step)
            self.members.replace(old, new)
            self._park_join(new, joining.waiter, step)
            self._rebalance_or_complete(Reason.MEMBER_JOINED, step)

        return self._with_its_id_written(new, take_its_place, step)

    def _replace_quietly(self, old: ClassicMember, new: ClassicMember, joining: Joining, step: Step) -> GroupDecision:
        """Without a rebalance: only the name changes, and that must be remembered."""
        leader = new.member_id if self.leader == old.member_id else self.leader
        members = [(new if member is old else member, member.assignment) for member in self.members.by_id.values()]
        record = self.facts.stable_record(members, leader=leader, since_ms=self.facts.state_since_ms)
        new.deadline_ms = new.timer_ms = step.at.now_ms + new.session_timeout_ms
        step.timers.append(self._timer(SESSION, new.deadline_ms, new.member_id))
        knows_skipping = joining.caller.version >= SKIP_ASSIGNMENT_SINCE
        answer = self.facts.generation_for_replacement(old, new, knows_skipping=knows_skipping)
        step.answer(joining.waiter, answer)

        def forget_the_old_name() -> None:
            if old.member_id in self._must_sync:
                self._must_sync.remove(old.member_id)
                self._must_sync.add(new.member_id)

        self._planned = Plan(record, forget_the_old_name, newcomers=(new,))
        return step.decision(record)

    # -- a rebalance --

    def _rebalance_or_complete(self, reason: Reason, step: Step) -> None:
        if self.state is PREPARING:
            self._complete_if_all_joined(step)
        else:
            self._rebalance(reason, step)

    def _rebalance(self, reason: Reason, step: Step) -> None:
        """Have all members join anew [G-3]."""
        logger.info(
            "rebalance begun group=%s generation=%d state=%s reason=%s",
            *(shown(self.group_id), self.generation, self.state.value, reason.value),
        )
        self.rebalances.begin(reason)
        if self._rebalance_began_ms is None:
            self._rebalance_began_ms = step.at.now_ms
        if self.state is COMPLETING:
            for member in self.members.by_id.values():
                self._answer_sync(member, ErrorCode.REBALANCE_IN_PROGRESS, step)
        self._must_sync.clear()
        self._is_initial = self.state is EMPTY
        self.facts.turn(PREPARING)
        if self._is_initial:
            delay_ms = self._settings.initial_rebalance_delay_ms
            self._newcomers = False
            self._initial_end_ms = step.at.now_ms + self.members.rebalance_timeout_ms
            self._set_join_deadline(delay_ms, step)
        elif not self._complete_if_all_joined(step):
            self._set_join_deadline(self.members.rebalance_timeout_ms, step)

    def _set_join_deadline(self, wait_ms: int, step: Step) -> None:
        self._join_deadline_ms = step.at.now_ms + wait_ms
        step.timers.append(self._timer(JOIN, self._join_deadline_ms))

    def _complete_if_all_joined(self, step: Step) -> bool:
        if self._is_initial or self._pending or self.members.joined < len(self.members):
            return False
        self._complete_join(step)
        return True

    def _complete_join(self, step: Step) -> None:
        """A new generation of those who are there [G-5]."""
        elected = self.members.elect()
        assert elected, "a join is completed by somebody who has joined"
        self.facts.generation += 1
        self.facts.protocol = self.members.vote()
        assert self.protocol is not None, "members have a protocol in common"
        self.facts.turn(COMPLETING)
        self._is_initial = False
        logger.info(
            "generation begun group=%s generation=%d protocol=%s members=%d leader=%s",
            *(shown(self.group_id), self.generation, shown(self.protocol), len(self.members), shown(self.leader or "")),
        )
        for member in self.members.by_id.values():
            step.answer(self.members.take_join(member), self.facts.generation_for(member))
            member.is_new = False
            member.epoch_before = -1
            self._renew(member, step)
            self._must_sync.add(member.member_id)
        self._sync_deadline_ms = step.at.now_ms + self.members.rebalance_timeout_ms
        step.timers.append(self._timer(SYNC, self._sync_deadline_ms))

    def _join_due(self, key: TimerKey, step: Step) -> GroupDecision:
        """Time is up for those who have not joined [G-4]."""
        if self.state is not PREPARING:
            return step.decision()
        if step.at.now_ms < self._join_deadline_ms:
            step.timers.append(Timer(key, self._join_deadline_ms))
            return step.decision()
        left_ms = self._initial_end_ms - step.at.now_ms
        if self._is_initial and self._newcomers and left_ms > 0:
            self._newcomers = False
            self._set_join_deadline(min(self._settings.initial_rebalance_delay_ms, left_ms), step)
            return step.decision()
        missing = [m for m in self.members.by_id.values() if m.join_waiter is None and not m.is_static]
        if len(missing) == len(self.members):
            return self._become_empty(step)
        for member in missing:
            logger.info("member removed group=%s member=%s: did not join", *self._shown(member))
            self.members.remove(member)
        if self.members.joined:
            self._complete_join(step)
        else:
            self._set_join_deadline(max(self.members.rebalance_timeout_ms, JOIN_PAUSE_MS), step)
        return step.decision()

    # -- SyncGroup [G-6] --

    def sync(self, request: SyncGroupRequest, caller: Caller, waiter: Waiter, at: Instant) -> GroupDecision:
        """A member asks for its part of the assignment; the leader brings it."""
        del caller  # a part is the same in every version
        step = self._begin(at)
        member = self.facts.member(request.member_id, request.group_instance_id)
        self.facts.check_generation(member, request.generation_id)
        if self.state is PREPARING:
            # Before the next, for in the consumer group that it may have been each had a protocol of its own.
            raise RequestRefused(ErrorCode.REBALANCE_IN_PROGRESS)
        named = (request.protocol_type, request.protocol_name)
        if named[0] not in (None, self.protocol_type) or named[1] not in (None, self.protocol):
            raise RequestRefused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        if self.state is COMPLETING and self.leader == member.member_id:
            return self._stabilise(request, waiter, step)
        self._must_sync.discard(member.member_id)
        self._renew(member, step)
        if self.state is COMPLETING:
            self._answer_sync(member, ErrorCode.REBALANCE_IN_PROGRESS, step)
            member.sync_waiter = waiter
        else:
            step.answer(waiter, self.facts.part(member.assignment))
        return step.decision()

    def _stabilise(self, request: SyncGroupRequest, waiter: Waiter, step: Step) -> GroupDecision:
        given = {part.member_id: part.assignment for part in request.assignments}
        members = [(member, given.get(member.member_id, b"")) for member in self.members.by_id.values()]
        record = self.facts.stable_record(members, leader=self.leader, since_ms=step.at.wall_ms)
        if record.value is not None and record_bytes(record.value) > record_bytes_max(self._settings):
            return self._refuse_assignment(waiter, step)
        for member, assignment in members:
            is_leader = member.member_id == request.member_id
            step.answer(waiter if is_leader else member.sync_waiter, self.facts.part(assignment))

        def become_stable() -> None:
            self._must_sync.discard(request.member_id)
            for member, _ in members:
                if member.sync_waiter is not None or member.member_id == request.member_id:
                    member.sync_waiter = None
                    member.deadline_ms = step.at.now_ms + member.session_timeout_ms
            self._end_rebalance(step)

        self._planned = Plan(record, become_stable)
        return step.decision(record)

    def _refuse_assignment(self, waiter: Waiter, step: Step) -> GroupDecision:
        """It is more than can be remembered: no client tries again what it is told so."""
        logger.warning("assignment too large group=%s generation=%d", shown(self.group_id), self.generation)
        step.answer(waiter, SyncGroupResponse(error_code=ErrorCode.MESSAGE_TOO_LARGE))
        for member in self.members.by_id.values():
            self._answer_sync(member, ErrorCode.MESSAGE_TOO_LARGE, step)
        self._rebalance(Reason.ASSIGNMENT_TOO_LARGE, step)
        return step.decision()

    def _sync_due(self, key: TimerKey, step: Step) -> GroupDecision:
        """Who knows of the generation and does not ask for its part is gone."""
        if not self._must_sync or self.state not in (COMPLETING, STABLE):
            return step.decision()
        if step.at.now_ms < self._sync_deadline_ms:
            step.timers.append(Timer(key, self._sync_deadline_ms))
            return step.decision()
        missing = [member for member in self.members.by_id.values() if member.member_id in self._must_sync]
        for member in missing:
            logger.info("member removed group=%s member=%s: did not sync", *self._shown(member))
        return self._depart(missing, Reason.SYNC_OVERDUE, step)

    # -- Heartbeat and other signs of life [G-7] --

    def heartbeat(self, request: HeartbeatRequest, waiter: Waiter, at: Instant) -> GroupDecision:
        """A member lives; it is told whether to join anew."""
        step = self._begin(at)
        member = self.facts.member(request.member_id, request.group_instance_id)
        self.facts.check_generation(member, request.generation_id)
        self._renew(member, step)
        step.answer(waiter, _JOIN_ANEW if self.state is PREPARING else _GO_ON)
        return step.decision()

    def touch(self, member_id: str, at: Instant) -> Sequence[Timer]:
        """A commit is a sign of life, too. Answers with timers to set, mostly none."""
        member = self.members.get(member_id)
        if member is None:
            return ()
        step = Step(at)
        self._renew(member, step)
        return step.timers

    def _renew(self, member: ClassicMember, step: Step) -> None:
        timeout_ms = NEW_MEMBER_JOIN_TIMEOUT_MS if member.is_new else member.session_timeout_ms
        member.deadline_ms = step.at.now_ms + timeout_ms
        if member.timer_ms is None or member.deadline_ms < member.timer_ms:
            member.timer_ms = member.deadline_ms
            step.timers.append(self._timer(SESSION, member.deadline_ms, member.member_id))

    def _session_due(self, key: TimerKey, step: Step) -> GroupDecision:
        member = self.members.get(key.member_id)
        if member is None:
            return step.decision()
        member.timer_ms = None
        if step.at.now_ms < member.deadline_ms:
            member.timer_ms = member.deadline_ms
            step.timers.append(Timer(key, member.deadline_ms))
            return step.decision()
        # Who waits for an answer cannot send heartbeats; but who came without an id may have gone long since.
        if not member.is_new and (member.join_waiter or member.sync_waiter):
            self._renew(member, step)
            return step.decision()
        logger.info("member expired group=%s member=%s", *self._shown(member))
        return self._depart([member], Reason.MEMBER_EXPIRED, step)

    def _pending_due(self, step: Step) -> GroupDecision:
        sweep_ms = self._pending.sweep(step.at.now_ms)
        if sweep_ms is not None:
            step.timers.append(self._timer(PENDING, sweep_ms))
        return self._depart([], Reason.MEMBER_EXPIRED, step)

    # -- LeaveGroup [G-8] --

    def leave(self, request: LeaveGroupRequest, caller: Caller, waiter: Waiter, at: Instant) -> GroupDecision:
        """Members go, or are made to go."""
        step = self._begin(at)
        has_many = caller.version >= LEAVE_MANY_SINCE
        identities = request.members if has_many else (MemberIdentity(member_id=request.member_id),)
        going: dict[str, ClassicMember] = {}
        dropped: set[str] = set()
        answers = []
        for identity in identities:
            code = self._who_leaves(identity, going, dropped)
            answers.append(
                MemberResponse(
                    member_id=identity.member_id, group_instance_id=identity.group_instance_id, error_code=code
                )
            )
        # For a single member the code of the whole says what became of it.
        whole = ErrorCode.NONE if has_many else answers[0].error_code
        reply = Reply(waiter, LeaveGroupResponse(error_code=whole, members=tuple(answers)))
        return self._depart(list(going.values()), Reason.MEMBER_LEFT, step, reply=reply, dropped=dropped)

    def _who_leaves(self, identity: MemberIdentity, going: dict[str, ClassicMember], dropped: set[str]) -> ErrorCode:
        """Add whom it means; the code for it."""
        member_id, instance_id = identity.member_id, identity.group_instance_id
        if not member_id:
            member = None if instance_id is None else self.members.of_instance(instance_id)
        elif member_id in self._pending and member_id not in dropped:
            dropped.add(member_id)
            return ErrorCode.NONE
        else:
            try:
                member = self.facts.member(member_id, instance_id)
            except RequestRefused as refused:
                return refused.code
        if member is None or member.member_id in going:
            return ErrorCode.UNKNOWN_MEMBER_ID
        going[member.member_id] = member
        logger.info("member left group=%s member=%s reason=%s", *self._shown(member), shown(identity.reason or ""))
        return ErrorCode.NONE

    # -- who is gone --

    def _depart(
        self,
        going: Sequence[ClassicMember],
        reason: Reason,
        step: Step,
        *,
        reply: Reply | None = None,
        dropped: Collection[str] = (),
    ) -> GroupDecision:
        """Members are gone, and ids that were given out are not to be used; go on with the others."""
        if going and len(going) == len(self.members):
            return self._become_empty(step, reply=reply, dropped=dropped)
        for member_id in dropped:
            self._pending.drop(member_id)
        for member in going:
            self._answer_gone(member, ErrorCode.UNKNOWN_MEMBER_ID, step)
            self.members.remove(member)
            self._must_sync.discard(member.member_id)
        if self.state is PREPARING:
            self._complete_if_all_joined(step)
        elif going:
            self._rebalance(reason, step)
        if reply is not None:
            step.replies.append(reply)
        return step.decision()

    def _become_empty(self, step: Step, *, reply: Reply | None = None, dropped: Collection[str] = ()) -> GroupDecision:
        """All members are gone."""
        for member in self.members.by_id.values():
            self._answer_gone(member, ErrorCode.UNKNOWN_MEMBER_ID, step)
        if reply is not None:
            step.replies.append(reply)

        def forget_the_rest() -> None:
            for member_id in dropped:
                self._pending.drop(member_id)
            self._must_sync.clear()
            self._is_initial = False
            self._end_rebalance(step)

        record = self.facts.empty_record(step.at.wall_ms)
        self._planned = Plan(record, forget_the_rest)
        return step.decision(record)

    def _answer_gone(self, member: ClassicMember, code: ErrorCode, step: Step) -> None:
        """Whoever waits in the name of a member that is about to be none."""
        member_id = member.member_id if code is ErrorCode.FENCED_INSTANCE_ID else ""
        step.answer(member.join_waiter, JoinGroupResponse(error_code=code, member_id=member_id))
        step.answer(member.sync_waiter, SyncGroupResponse(error_code=code))

    def _answer_sync(self, member: ClassicMember, code: ErrorCode, step: Step) -> None:
        """Whoever waits for the part of a member that stays one."""
        if member.sync_waiter is not None:
            step.answer(member.sync_waiter, SyncGroupResponse(error_code=code))
            member.sync_waiter = None
            self._renew(member, step)

    # -- what is remembered --

    def apply(self, record: ClassicGroupMetadata) -> None:
        """What the record says is so: it was just written, or is read at a start."""
        plan = self._planned if self._planned is not None and self._planned.record is record else None
        self._planned = None
        if plan is None:
            self.facts.restore(record.value, {})
            return
        # Members that live are the same ones as before the record; at a start the record is all there is of them.
        if not plan.is_the_state:
            self.facts.remembered = record.value
            plan.effect()
            return
        known = dict(self.members.by_id)
        known.update((member.member_id, member) for member in plan.newcomers)
        before = self.state
        self.facts.restore(record.value, known)
        assert self.state in TRANSITIONS[before], f"{before.value} is not followed by {self.state.value}"
        plan.effect()

    def loaded(self, at: Instant) -> GroupDecision:
        """All records have been applied: every session begins anew [G-13]."""
        step = Step(at)
        for member in self.members.by_id.values():
            member.timer_ms = None
            self._renew(member, step)
        if self.state is STABLE and len(self.members) > self._settings.classic_max_size:
            self._rebalance(Reason.OVER_CAPACITY, step)
        return step.decision()

    def resign(self, code: ErrorCode) -> GroupDecision:
        """The group is looked after here no longer: nobody is left waiting."""
        replies = self.answers_to_all(code)
        for member in self.members.by_id.values():
            self.members.take_join(member)
            member.sync_waiter = None
        return Decision(replies=replies)

    def answers_to_all(self, code: ErrorCode) -> Sequence[Reply]:
        """A refusal for everybody who waits; they wait until they are given it."""
        step = Step(Instant(0, 0))
        for member in self.members.by_id.values():
            step.answer(member.join_waiter, JoinGroupResponse(error_code=code, member_id=member.member_id))
            step.answer(member.sync_waiter, SyncGroupResponse(error_code=code))
        return step.replies

    def take_over(
        self, record: ClassicGroupMetadata, members: Sequence[ClassicMember], replies: Sequence[Reply], at: Instant
    ) -> GroupDecision:
        """Be what a consumer group becomes that only members of the classic protocol are left in [C-8].

        They join anew at once: what those had who left belongs to nobody, and none of them knows that it leads.
        """
        step = self._begin(at)
        step.replies.extend(replies)

        def begin() -> None:
            for member in members:
                self._renew(member, step)
            self._rebalance(Reason.PROTOCOL_CHANGED, step)

        self._planned = Plan(record, begin, newcomers=members)
        return step.decision(record)

    def tombstone(self) -> ClassicGroupMetadata:
        """The record by which the group is forgotten."""
        return ClassicGroupMetadata(self.group_id, None)

    # -- timers --

    def timer_due(self, key: TimerKey, at: Instant) -> GroupDecision:
        """A timer of this group comes."""
        self._planned = None
        step = Step(at)
        if key.kind == SESSION:
            return self._session_due(key, step)
        if key.kind == JOIN:
            return self._join_due(key, step)
        if key.kind == SYNC:
            return self._sync_due(key, step)
        if key.kind == PENDING:
            return self._pending_due(step)
        return step.decision()  # of the consumer group that it was before

    def _timer(self, kind: str, at_ms: int, member_id: str = "") -> Timer:
        return Timer(TimerKey(self.group_id, kind, member_id), at_ms)

    # -- what others want to know --

    def describe(self) -> DescribedGroup:
        """As DescribeGroups shows it."""
        return self.facts.describe()

    def subscribed_to(self, topic: str) -> bool:
        """Whether members read the topic, or may: what consumers say of themselves can be unreadable [G-12]."""
        return self.facts.subscribed_to(topic)

    def check_commit(self, member_id: str, instance_id: str | None, generation: int) -> None:
        """Refuse a commit of offsets that is not the group's own [G-10]."""
        self.facts.check_commit(member_id, instance_id, generation)

    # -- small things --

    def _begin(self, at: Instant) -> Step:
        self._planned = None
        if self.state is DEAD:
            raise RequestRefused(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        return Step(at)

    def _end_rebalance(self, step: Step) -> None:
        facts = (shown(self.group_id), self.state.value, self.generation, len(self.members))
        logger.info("group settled group=%s state=%s generation=%d members=%d", *facts)
        if self._rebalance_began_ms is not None:
            self.rebalances.complete(step.at.now_ms - self._rebalance_began_ms)
            self._rebalance_began_ms = None

    def _shown(self, member: ClassicMember) -> tuple[str, str]:
        return shown(self.group_id), shown(member.member_id)
