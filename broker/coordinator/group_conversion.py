"""From one group protocol to the other, with all members (KIP-848, online migration) [C-8].

A group of the classic protocol whose members are consumers becomes one of the consumer protocol, and the other way
round: with the same members, who keep what they have, and under the same number, the generation of the one being the
epoch of the other. What is converted here are records only; who may be converted and when, coordinators decide.

Of a member that speaks the classic protocol, the consumer protocol remembers what its JoinGroup said
(`ClassicMemberFacts`), so that it can be converted back.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.primitives import write_int16, write_int32, write_string
from .classic_group import ClassicGroup
from .classic_members import ClassicMember, bytes_of, record_bytes
from .classic_state import GROUP_BYTES_MAX, shown
from .consumer_members import Member, Roster
from .consumer_protocol import PROTOCOL_TYPE, Words, assigned_partitions, has_user_data, read_words
from .group_records import (
    ClassicGroupMetadata,
    ClassicGroupValue,
    ClassicMemberFacts,
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
from .group_settings import GroupSettings
from .topics_view import TopicsView

logger = logging.getLogger(__name__)

ASSIGNMENT_VERSION = 0
"""Of ConsumerProtocolAssignment: that which every consumer reads."""
UNDERSTOOD = frozenset({"range", "roundrobin", "sticky", "cooperative-sticky"})
"""Assignors of consumers that need not find again what they write beside the partitions; others may."""


def to_consumer_records(
    group_id: str, members: Iterable[ClassicMember], topics: TopicsView, *, generation: int, protocol: str
) -> list[Record]:
    """The records of the consumer group that a stable classic one becomes; its tombstone is not among them.

    Raises GROUP_ID_NOT_FOUND if the members' words cannot be read, as Kafka does, or if they would be lost: what an
    assignor that nobody knows here has written beside the partitions.
    """
    said: list[Record] = []
    shall: list[Record] = []
    have: list[Record] = []
    taken: set[tuple[UUID, int]] = set()
    for member in members:
        words = read_words(member.protocols.get(protocol, b""))
        assignment = assigned_partitions(member.assignment)
        if words is None or assignment is None:
            raise _no_upgrade(group_id, "the embedded consumer protocol is malformed")
        if protocol not in UNDERSTOOD and has_user_data(member.assignment):
            raise _no_upgrade(
                group_id,
                "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default "
                "assignor before re-attempting the upgrade",
            )
        partitions = _by_id(assignment, taken, topics)
        said.append(ConsumerGroupMember(group_id, member.member_id, _said(member, words)))
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


def _said(member: ClassicMember, words: Words) -> ConsumerMemberValue:
    return ConsumerMemberValue(
        instance_id=member.instance_id,
        rack_id=words.rack_id,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topics=tuple(sorted(words.topics)),
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        classic=classic_facts(member.protocols, member.session_timeout_ms),
    )


def classic_facts(protocols: Mapping[str, bytes], session_timeout_ms: int) -> ClassicMemberFacts:
    """What is remembered of a member of the classic protocol besides."""
    known = tuple(ClassicProtocolFacts(name=name, metadata=words) for name, words in protocols.items())
    return ClassicMemberFacts(session_timeout_ms=session_timeout_ms, protocols=known)


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


def check_upgrade(group: ClassicGroup, settings: GroupSettings) -> None:
    """Raises why this group, which has members, cannot become one of the consumer protocol."""
    why = ""
    if not settings.migration_policy.allows_upgrade:
        why = "online upgrade is disabled"
    elif group.protocol_type != PROTOCOL_TYPE:
        why = "the group does not use the consumer embedded protocol"
    elif group.member_count > settings.consumer_max_size:
        why = "the group size exceeds the consumer group maximum size"
    if why:
        raise _no_upgrade(group.group_id, why)


def upgrade(group: ClassicGroup, topics: TopicsView) -> list[Record]:
    """What turns the group with its members into one of the consumer protocol; see `check_upgrade`.

    Whatever it is at: who joins or waits for its part is told to join anew, and holds what it was last given.
    """
    members = group.members.by_id.values()
    protocol = group.protocol
    if not protocol or any(protocol not in member.protocols for member in members):
        protocol = group.members.vote() or ""  # a join under way has agreed on nothing yet
    records = to_consumer_records(group.group_id, members, topics, generation=group.generation, protocol=protocol)
    return [group.tombstone(), *records] if group.facts.is_written else records


def _no_upgrade(group_id: str, why: str) -> RequestRefused:
    return RequestRefused(
        ErrorCode.GROUP_ID_NOT_FOUND, f"Cannot upgrade classic group {group_id} to consumer group because {why}."
    )


class Staying(NamedTuple):
    """A member that stays when a consumer group becomes a classic one."""

    member_id: str
    value: ConsumerMemberValue
    target: Partitions
    """What it was to have."""
    epoch: int
    """What it knows."""


class Downgrade(NamedTuple):
    """A consumer group as a classic one."""

    record: ClassicGroupMetadata
    members: Sequence[ClassicMember]


def staying_classic(
    roster: Roster, leaving: Collection[Member], joining: Staying | None, settings: GroupSettings
) -> list[Staying] | None:
    """Who is left when these are gone, should that be nobody but members of the classic protocol; else None.

    `joining`: one of that protocol who comes in the place of one who is gone.
    """
    count = len(roster.members) - len(leaving)
    speakers = roster.classic - sum(member.value.classic is not None for member in leaving)
    if count != speakers or not (count or joining):
        return None
    if not settings.migration_policy.allows_downgrade or count > settings.classic_max_size:
        logger.info("group stays a consumer group though all its members are classic group=%s", shown(roster.group_id))
        return None
    gone = {member.member_id for member in leaving}
    staying = [
        Staying(member.member_id, member.value, roster.targets.get(member.member_id, {}), member.epoch)
        for member in roster.members.values()
        if member.member_id not in gone
    ]
    return staying if joining is None else [*staying, joining]


def to_classic(
    roster: Roster, staying: Collection[Staying], topics: TopicsView, *, wall_ms: int, bytes_max: int
) -> Downgrade | None:
    """The classic group of those who stay, who all speak that protocol; None if it is too large for one record.

    The tombstones of the consumer group are not among it, and its members have to rebalance at once: what those who
    left had belongs to nobody.
    """
    members = [_classic_member(one, topics) for one in staying]
    protocol = _common_protocol(members)
    value = ClassicGroupValue(
        protocol_type=PROTOCOL_TYPE,
        generation=roster.epoch,
        protocol=protocol,
        leader=members[0].member_id,
        state_since_ms=wall_ms,
        members=tuple(member.to_value(protocol, member.assignment) for member in members),
    )
    if record_bytes(value) > bytes_max or sum(bytes_of(member.protocols) for member in members) > GROUP_BYTES_MAX:
        logger.warning("group stays a consumer group, too large for a classic one group=%s", shown(roster.group_id))
        return None
    return Downgrade(ClassicGroupMetadata(roster.group_id, value), members)


def _common_protocol(members: Collection[ClassicMember]) -> str:
    """The protocol that all know and most like best."""
    names = [list(member.protocols) for member in members]
    common = set(names[0]).intersection(*names)
    assert common, "nobody joins a group without having a protocol in common with all classic members"
    votes = [next(name for name in known if name in common) for known in names]
    return max(votes, key=votes.count)


def _classic_member(staying: Staying, topics: TopicsView) -> ClassicMember:
    value, facts = staying.value, staying.value.classic
    assert facts is not None, "only members that speak the classic protocol can be in a classic group"
    return ClassicMember(
        member_id=staying.member_id,
        instance_id=value.instance_id,
        client_id=value.client_id,
        client_host=value.client_host,
        rebalance_timeout_ms=value.rebalance_timeout_ms,
        session_timeout_ms=facts.session_timeout_ms,
        protocols={protocol.name: protocol.metadata for protocol in facts.protocols},
        assignment=assignment_bytes(staying.target, topics),
        epoch_before=staying.epoch,
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
