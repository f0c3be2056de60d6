"""From one group protocol to the other, with all members (KIP-848, online migration) [C-8].

A group of the classic protocol whose members are consumers becomes one of the consumer protocol, and the other way
round: with the same members, who keep what they have, and under the same number, the generation of the one being the
epoch of the other. What is converted here are records only; who may be converted and when, coordinators decide.

Of a member that speaks the classic protocol, the consumer protocol remembers what its JoinGroup said
(`ClassicMemberFacts`), so that it can be converted back.
"""

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.primitives import write_int16, write_int32, write_string
from .classic_members import ClassicMember
from .consumer_members import Member, Roster
from .consumer_protocol import PROTOCOL_TYPE, assigned_partitions, subscribed_topics
from .group_records import (
    ClassicGroupMetadata,
    ClassicGroupValue,
    ClassicMemberFacts,
    ClassicMemberValue,
    ClassicProtocolFacts,
    ConsumerGroupEpoch,
    ConsumerGroupMember,
    ConsumerMemberValue,
    CurrentAssignment,
    CurrentAssignmentValue,
    MemberState,
    Partitions,
    Record,
    TargetAssignment,
    TargetAssignmentEpoch,
)
from .topics_view import TopicsView

ASSIGNMENT_VERSION = 0
"""Of ConsumerProtocolAssignment: that which every consumer reads."""


def to_consumer_records(
    group_id: str, members: Iterable[ClassicMember], topics: TopicsView, *, generation: int, protocol: str
) -> list[Record]:
    """The records of the consumer group that a stable classic one becomes; its tombstone is not among them.

    Raises GROUP_ID_NOT_FOUND if the members' words cannot be read, as Kafka does.
    """
    said: list[Record] = []
    shall: list[Record] = []
    have: list[Record] = []
    taken: set[tuple[UUID, int]] = set()
    for member in members:
        names = subscribed_topics(member.protocols.get(protocol, b""))
        assignment = assigned_partitions(member.assignment)
        if names is None or assignment is None:
            raise RequestRefused(
                ErrorCode.GROUP_ID_NOT_FOUND,
                f"Cannot upgrade classic group {group_id} to consumer group because the embedded consumer protocol is "
                f"malformed.",
            )
        partitions = _by_id(assignment, taken, topics)
        said.append(ConsumerGroupMember(group_id, member.member_id, _said(member, names)))
        if partitions:
            shall.append(TargetAssignment(group_id, member.member_id, partitions))
        current = CurrentAssignmentValue(
            member_epoch=generation,
            previous_epoch=generation,
            state=MemberState.STABLE,
            assigned=partitions,
            pending_revocation={},
        )
        have.append(CurrentAssignment(group_id, member.member_id, current))
    # The hash is of no topics: whoever comes next looks at them, and the group is assigned anew if there are any.
    return [
        *said,
        ConsumerGroupEpoch(group_id, generation, 0),
        *shall,
        TargetAssignmentEpoch(group_id, generation),
        *have,
    ]


def _said(member: ClassicMember, names: Iterable[str]) -> ConsumerMemberValue:
    facts = tuple(ClassicProtocolFacts(name=name, metadata=words) for name, words in member.protocols.items())
    return ConsumerMemberValue(
        instance_id=member.instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topics=tuple(sorted(names)),
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        classic=ClassicMemberFacts(session_timeout_ms=member.session_timeout_ms, protocols=facts),
    )


def _by_id(
    assignment: Mapping[str, tuple[int, ...]], taken: set[tuple[UUID, int]], topics: TopicsView
) -> dict[UUID, tuple[int, ...]]:
    """Partitions by topic id: those that exist, and that no other member was given by an assignor that errs."""
    result: dict[UUID, tuple[int, ...]] = {}
    for name, numbers in assignment.items():
        found = topics.partitions_of(name)
        if found is None:
            continue
        topic_id, count = found
        mine = tuple(sorted({n for n in numbers if 0 <= n < count and (topic_id, n) not in taken}))
        taken.update((topic_id, number) for number in mine)
        if mine:
            result[topic_id] = mine
    return result


def can_be_classic(roster: Roster, leaving: Collection[str]) -> bool:
    """Whether there are members beside those that leave, and all of them speak the classic protocol."""
    staying = [member for member in roster.members.values() if member.member_id not in leaving]
    return bool(staying) and all(member.value.classic is not None for member in staying)


def to_classic_record(roster: Roster, leaving: Collection[str], topics: TopicsView, wall_ms: int) -> Record:
    """The stable classic group that a consumer group becomes without those that leave; see `can_be_classic`.

    The tombstones of the consumer group are not among it, and its members have to rebalance at once: what those who
    leave had belongs to nobody.
    """
    staying = [member for member in roster.members.values() if member.member_id not in leaving]
    protocol = _common_protocol(staying)
    members = tuple(_classic_value(member, protocol, roster, topics) for member in staying)
    value = ClassicGroupValue(
        protocol_type=PROTOCOL_TYPE,
        generation=roster.epoch,
        protocol=protocol,
        leader=members[0].member_id,
        state_since_ms=wall_ms,
        members=members,
    )
    return ClassicGroupMetadata(roster.group_id, value)


def _common_protocol(members: Collection[Member]) -> str:
    """The protocol that all support and most like best; they joined with one in common."""
    supported = [
        [protocol.name for protocol in member.value.classic.protocols]
        for member in members
        if member.value.classic is not None
    ]
    common = set(supported[0]).intersection(*supported)
    assert common, "members of one group have a protocol in common"
    votes = [next(name for name in names if name in common) for names in supported]
    return max(votes, key=votes.count)


def _classic_value(member: Member, protocol: str, roster: Roster, topics: TopicsView) -> ClassicMemberValue:
    value, facts = member.value, member.value.classic
    assert facts is not None, "only members that speak the classic protocol can be in a classic group"
    return ClassicMemberValue(
        member_id=member.member_id,
        instance_id=value.instance_id,
        client_id=value.client_id,
        client_host=value.client_host,
        rebalance_timeout_ms=value.rebalance_timeout_ms,
        session_timeout_ms=facts.session_timeout_ms,
        subscription=next(one.metadata for one in facts.protocols if one.name == protocol),
        assignment=assignment_bytes(roster.targets.get(member.member_id, {}), topics),
    )


def assignment_bytes(partitions: Partitions, topics: TopicsView) -> bytes:
    """What a consumer of the classic protocol reads as its assignment; topics that are no more are left out."""
    named = sorted(
        (name, numbers) for topic_id, numbers in partitions.items() if (name := topics.name_of(topic_id)) is not None
    )
    parts = [write_int16(ASSIGNMENT_VERSION), write_int32(len(named))]
    for name, numbers in named:
        parts += [write_string(name), write_int32(len(numbers)), *map(write_int32, numbers)]
    parts.append(write_int32(-1))  # no user data
    return b"".join(parts)
