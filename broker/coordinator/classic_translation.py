"""Members of the classic protocol in a group of the consumer protocol: their requests, translated [C-8].

While consumers move from one protocol to the other, one by one, a group has members of both. It is a consumer group
then: the broker assigns, and a member's epoch is what the classic protocol calls its generation.

    JoinGroup    a heartbeat that says everything; answered at once: nobody waits for others, and nobody leads
    SyncGroup    asks for what is assigned, which is answered in the words of the consumers' own protocol
    Heartbeat    a sign of life; "rebalance in progress" when the member has to join anew (`Roster.is_called`)
    LeaveGroup   removes members, whichever protocol they speak

A member that was told to join anew has its rebalance timeout to do so, and as long again to ask for what is assigned.
What it has to give up it learns by its assignment; that it has done so it says when it joins again.
"""

from collections.abc import Mapping

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.consumer_group_heartbeat import TopicPartitions
from ...protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from ...protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from ...protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse
from ...protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from .assignors import NOTHING
from .classic_facts import check_session_timeout
from .classic_group import LEAVE_MANY_SINCE, MEMBER_ID_REQUIRED_SINCE
from .classic_members import Joining, bytes_of
from .classic_state import MEMBER_BYTES_MAX
from .consumer_group import CLASSIC_JOIN, SESSION, ConsumerGroup, GroupDecision
from .consumer_members import NO_VALUE, Member
from .consumer_protocol import PROTOCOL_TYPE, Words, read_words
from .decision import Caller, Decision, Instant, Reply, Timer, TimerKey, Waiter
from .group_conversion import Staying, assignment_bytes, classic_facts, staying_classic
from .group_records import ConsumerMemberValue
from .rebalances import Reason
from .topics_view import TopicsView

_GO_ON = HeartbeatResponse()
_JOIN_ANEW = HeartbeatResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)
_SYNC_LATER = SyncGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)

# -- JoinGroup --


def join(
    group: ConsumerGroup, request: JoinGroupRequest, caller: Caller, waiter: Waiter, *, at: Instant
) -> GroupDecision:
    """A member of the classic protocol comes, or comes back to be told more."""
    check_session_timeout(request.session_timeout_ms, group.settings)
    joining = Joining.of(request, caller, waiter)
    before = _find(group, joining)
    words = _check_words(group, joining)
    if not joining.member_id and joining.instance_id is None and caller.version >= MEMBER_ID_REQUIRED_SINCE:
        # KIP-394. The id is not kept in mind: whoever comes with one is let in under it.
        asked = JoinGroupResponse(error_code=ErrorCode.MEMBER_ID_REQUIRED, member_id=group.new_member_id())
        return Decision(replies=(Reply(waiter, asked),))
    member_id = joining.member_id or group.new_member_id()
    value = _value(NO_VALUE if before is None else before.value, joining, words)
    if before is not None and before.value.classic is None:
        staying = Staying(member_id, value, group.roster.targets.get(before.member_id, NOTHING), group.roster.epoch)
        downgraded = _join_last(group, before, staying, waiter, at=at)
        if downgraded is not None:
            return downgraded
    advance = group.advance(before, member_id, value, _by_id(words.owned, group.topics), at=at)
    if before is not None and not advance.records:
        before.join_due_ms = None
    answer = _generation(member_id, advance.after.member_epoch, next(iter(joining.protocols)))
    sync_due = group.await_sync(member_id, at.now_ms + value.rebalance_timeout_ms, advance.records)
    return Decision(advance.records, (Reply(waiter, answer),), (*advance.timers, sync_due))


def _find(group: ConsumerGroup, joining: Joining) -> Member | None:
    """The member that this is, or whose place it takes; None if it is a new one."""
    roster = group.roster
    if joining.instance_id is None:
        member = roster.members.get(joining.member_id)
    elif joining.member_id:
        member = _member(group, joining.member_id, joining.instance_id)
    else:
        member = roster.members.get(roster.static.get(joining.instance_id, ""))
    if member is None and len(roster.members) >= group.settings.consumer_max_size:
        raise RequestRefused(ErrorCode.GROUP_MAX_SIZE_REACHED)
    return member


def _check_words(group: ConsumerGroup, joining: Joining) -> Words:
    """What the member says of itself to the assignor that it likes best, if it can be in a group with the others."""
    if joining.protocol_type != PROTOCOL_TYPE or not joining.protocols:
        raise RequestRefused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, "The group is one of consumers.")
    roster = group.roster
    # So that the group can become a classic one when the last member of the consumer protocol is gone.
    if not any(roster.classic_protocols.get(name, 0) == roster.classic for name in joining.protocols):
        raise RequestRefused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, "The members have no protocol in common.")
    if bytes_of(joining.protocols) > MEMBER_BYTES_MAX:
        raise RequestRefused(ErrorCode.MESSAGE_TOO_LARGE)
    words = read_words(next(iter(joining.protocols.values())))
    if words is None:
        raise RequestRefused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, "The subscription cannot be read.")
    return words


def _value(before: ConsumerMemberValue, joining: Joining, words: Words) -> ConsumerMemberValue:
    return ConsumerMemberValue(
        instance_id=before.instance_id if joining.instance_id is None else joining.instance_id,
        rack_id=before.rack_id if words.rack_id is None else words.rack_id,
        client_id=joining.caller.client_id,
        client_host=joining.caller.host,
        subscribed_topics=tuple(sorted(words.topics)),
        subscribed_regex=None,
        rebalance_timeout_ms=joining.rebalance_timeout_ms,
        server_assignor=before.server_assignor,
        classic=classic_facts(joining.protocols, joining.session_timeout_ms),
    )


def _by_id(owned: Mapping[str, tuple[int, ...]], topics: TopicsView) -> tuple[TopicPartitions, ...]:
    found = ((topics.partitions_of(name), numbers) for name, numbers in owned.items())
    return tuple(TopicPartitions(topic_id=one[0], partitions=numbers) for one, numbers in found if one is not None)


def _join_last(
    group: ConsumerGroup, before: Member, joining: Staying, waiter: Waiter, *, at: Instant
) -> GroupDecision | None:
    """The last member of the consumer protocol comes back as one of the classic: then the group is a classic one.

    The member is answered at once; it learns from its SyncGroup that all join anew.
    """
    staying = staying_classic(group.roster, (before,), joining, group.settings)
    if staying is None:
        return None
    classic = joining.value.classic
    assert classic is not None, "it joins by the classic protocol"
    answer = _generation(joining.member_id, group.roster.epoch, classic.protocols[0].name)
    return group.downgraded(staying, (Reply(waiter, answer),), at)


def _generation(member_id: str, epoch: int, protocol: str) -> JoinGroupResponse:
    """The answer to a JoinGroup: nobody leads, so nobody is told of others or assigns."""
    return JoinGroupResponse(
        generation_id=epoch, protocol_type=PROTOCOL_TYPE, protocol_name=protocol, leader="", member_id=member_id
    )


# -- SyncGroup and Heartbeat --


def sync(group: ConsumerGroup, request: SyncGroupRequest, waiter: Waiter, at: Instant) -> GroupDecision:
    """A member asks for what is assigned to it."""
    member = _classic_member(group, request.member_id, request.group_instance_id, request.generation_id)
    current = member.current
    # Who has yet to give up partitions has joined already: it is to hear which, and then joins again.
    if member.epoch < group.roster.epoch and not current.pending_revocation:
        return Decision(replies=(Reply(waiter, _SYNC_LATER),), timers=_call(group, member, at))
    # After that, for the classic group that it may have been may have agreed on another than the member likes best.
    if request.protocol_type not in (None, PROTOCOL_TYPE) or request.protocol_name not in (None, _protocol(member)):
        raise RequestRefused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    member.session_ends_ms = at.now_ms + group.session_timeout_ms(member.value)
    member.sync_due_ms = None
    answer = SyncGroupResponse(
        protocol_type=request.protocol_type,
        protocol_name=request.protocol_name,
        assignment=assignment_bytes(current.assigned, group.topics),
    )
    return Decision(replies=(Reply(waiter, answer),))


def heartbeat(group: ConsumerGroup, request: HeartbeatRequest, waiter: Waiter, at: Instant) -> GroupDecision:
    """A member lives; it is told whether to join anew."""
    member = _classic_member(group, request.member_id, request.group_instance_id, request.generation_id)
    session_ends_ms = at.now_ms + group.session_timeout_ms(member.value)
    records = group.look_at_topics(at)
    if records:
        # The epoch has risen, most likely; if not, its next heartbeat goes on.
        session = Timer(TimerKey(group.group_id, SESSION, member.member_id), session_ends_ms)
        return Decision(records, (Reply(waiter, _JOIN_ANEW),), (session,))
    member.session_ends_ms = session_ends_ms
    if group.roster.is_called(member):
        return Decision(replies=(Reply(waiter, _JOIN_ANEW),), timers=_call(group, member, at))
    return Decision(replies=(Reply(waiter, _GO_ON),))


def _call(group: ConsumerGroup, member: Member, at: Instant) -> tuple[Timer, ...]:
    """The member is told to join anew: from the first time on it has its rebalance timeout to do so."""
    if member.join_due_ms is not None:
        return ()
    member.join_due_ms = at.now_ms + member.value.rebalance_timeout_ms
    return (Timer(TimerKey(group.group_id, CLASSIC_JOIN, member.member_id), member.join_due_ms),)


def _classic_member(group: ConsumerGroup, member_id: str, instance_id: str | None, generation: int) -> Member:
    member = _member(group, member_id, instance_id)
    if member.value.classic is None:
        raise RequestRefused(ErrorCode.UNKNOWN_MEMBER_ID, f"Member {member_id} does not use the classic protocol.")
    if generation != member.epoch:
        raise RequestRefused(ErrorCode.ILLEGAL_GENERATION, f"{generation} instead of {member.epoch}")
    return member


def _protocol(member: Member) -> str:
    """What the member was told that its assignor is: the one that it likes best."""
    classic = member.value.classic
    assert classic is not None, "only of members of the classic protocol"
    return classic.protocols[0].name


def _member(group: ConsumerGroup, member_id: str, instance_id: str | None) -> Member:
    """The member that a request names, or a refusal."""
    roster = group.roster
    if instance_id is not None:
        holder = roster.static.get(instance_id)
        if holder is None:
            raise RequestRefused(ErrorCode.UNKNOWN_MEMBER_ID, f"Instance id {instance_id} is unknown.")
        if holder != member_id:
            raise RequestRefused(ErrorCode.FENCED_INSTANCE_ID, f"{instance_id} is member {holder}.")
    member = roster.members.get(member_id)
    if member is None:
        raise RequestRefused(ErrorCode.UNKNOWN_MEMBER_ID, f"{member_id} is not a member of group {group.group_id}.")
    return member


# -- LeaveGroup --


def leave(
    group: ConsumerGroup, request: LeaveGroupRequest, caller: Caller, waiter: Waiter, *, at: Instant
) -> GroupDecision:
    """Members go, or are made to go: those of the consumer protocol by an operator [G-8]."""
    has_many = caller.version >= LEAVE_MANY_SINCE
    identities = request.members if has_many else (MemberIdentity(member_id=request.member_id),)
    going: dict[str, Member] = {}
    answers = []
    for identity in identities:
        code = ErrorCode.NONE
        try:
            member = _who_leaves(group, identity)
            going[member.member_id] = member
        except RequestRefused as refused:
            code = refused.code
        answers.append(
            MemberResponse(member_id=identity.member_id, group_instance_id=identity.group_instance_id, error_code=code)
        )
    whole = ErrorCode.NONE if has_many else answers[0].error_code
    replies = (Reply(waiter, LeaveGroupResponse(error_code=whole, members=tuple(answers))),)
    if not going:
        return Decision(replies=replies)
    return group.remove(tuple(going.values()), Reason.MEMBER_LEFT, at, replies)


def _who_leaves(group: ConsumerGroup, identity: MemberIdentity) -> Member:
    """A static member can be named by its instance id alone."""
    member_id, instance_id = identity.member_id, identity.group_instance_id
    if not member_id and instance_id is not None:
        member_id = group.roster.static.get(instance_id, "")
    return _member(group, member_id, instance_id)
