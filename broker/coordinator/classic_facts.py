"""What a classic group is at the moment: its state, generation and members, and how that is told and remembered.

Nothing happens here. `classic_group` decides; `restore` is how a record becomes the state, at run time and at a start.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.describe_groups import DescribedGroup, DescribedGroupMember
from ...protocol.messages.join_group import JoinGroupResponse
from ...protocol.messages.sync_group import SyncGroupResponse
from .classic_members import ClassicMember, ClassicMembers, Joining, bytes_of
from .classic_state import (
    COMPLETING,
    DEAD,
    EMPTY,
    GROUP_BYTES_MAX,
    MEMBER_BYTES_MAX,
    PREPARING,
    STABLE,
    TRANSITIONS,
    ClassicState,
)
from .consumer_protocol import PROTOCOL_TYPE, subscribed_topics
from .group_records import ClassicGroupMetadata, ClassicGroupValue
from .group_settings import GroupSettings


class ClassicFacts:
    """See above."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.state = EMPTY
        self.generation = 0
        self.protocol_type: str | None = None
        """None: nobody has ever joined."""
        self.protocol: str | None = None
        self.members = ClassicMembers()
        self.is_written = False
        """Whether any record speaks of the group."""
        self.state_since_ms = -1
        """What the last record says, on the wall clock, or the group before; -1 if neither does."""
        self.assigned_bytes = 0
        """Of the parts that members were given."""
        self.remembered: ClassicGroupValue | None = None
        """The last record."""
        self._topics: frozenset[str] | None = None
        self._topics_known_for: int | None = None
        """The generation of which `_topics` tells."""

    def turn(self, state: ClassicState) -> None:
        """Go to the next state."""
        assert state in TRANSITIONS[self.state], f"{self.state.value} is not followed by {state.value}"
        self.state = state

    def empty_since(self, wall_ms: int | None) -> None:
        """It takes the place of a group of the other protocol that has been empty since then; None: nobody knows."""
        self.state_since_ms = -1 if wall_ms is None else wall_ms

    # -- who may do what --

    def member(self, member_id: str, instance_id: str | None) -> ClassicMember:
        """The member that a request names, or a refusal."""
        if instance_id is not None:
            known = self.members.of_instance(instance_id)
            if known is None:
                raise RequestRefused(ErrorCode.UNKNOWN_MEMBER_ID, instance_id)
            if known.member_id != member_id:
                raise RequestRefused(ErrorCode.FENCED_INSTANCE_ID, instance_id)
        member = self.members.get(member_id)
        if member is None:
            raise RequestRefused(ErrorCode.UNKNOWN_MEMBER_ID, member_id)
        return member

    def check_generation(self, member: ClassicMember, generation: int) -> None:
        """Refuse who speaks of another generation.

        Members of a consumer group have each an epoch of their own. When it becomes this group, they have not lost
        what they read only because they had not caught up; with Kafka they have.
        """
        if generation != self.generation and not (self.state is PREPARING and generation == member.epoch_before >= 0):
            raise RequestRefused(ErrorCode.ILLEGAL_GENERATION, str(generation))

    def has_room_for(self, member: ClassicMember | None, *, limit: int) -> bool:
        """Whether this member, or another one more, is not too many."""
        if self.state is EMPTY:
            return True
        if self.state is PREPARING:
            # Who has joined counts, and not who is a member: so the last ones are left out if the limit was lowered.
            return (member is not None and member.join_waiter is not None) or self.members.joined < limit
        return member is not None or len(self.members) < limit

    def check_joining(self, joining: Joining, known: ClassicMember | None) -> None:
        """Refuse who cannot agree with the others, or says too much of itself."""
        if self.state is EMPTY:
            speaks = bool(joining.protocol_type and joining.protocols)
        else:
            speaks = joining.protocol_type == self.protocol_type and self.members.shares_one_of(joining.protocols)
        if not speaks:
            raise RequestRefused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        size = bytes_of(joining.protocols)
        if size > MEMBER_BYTES_MAX:
            raise RequestRefused(ErrorCode.MESSAGE_TOO_LARGE, f"a member says {size} bytes of itself")
        before = 0 if known is None else bytes_of(known.protocols)
        if size > before and self.members.bytes_used + size - before > GROUP_BYTES_MAX:
            raise RequestRefused(ErrorCode.GROUP_MAX_SIZE_REACHED, "the members say too much of themselves together")

    def check_commit(self, member_id: str, instance_id: str | None, generation: int) -> None:
        """Refuse a commit of offsets that is not the group's own [G-10]."""
        if self.state is DEAD:
            raise RequestRefused(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if generation < 0 and self.state is EMPTY:
            return
        if generation < 0 and not member_id and instance_id is None:
            raise RequestRefused(ErrorCode.UNKNOWN_MEMBER_ID, "the group has members")
        self.check_generation(self.member(member_id, instance_id), generation)
        if self.state is COMPLETING:
            raise RequestRefused(ErrorCode.REBALANCE_IN_PROGRESS)

    # -- what members are told --

    def generation_for(self, member: ClassicMember) -> JoinGroupResponse:
        """The answer to its JoinGroup: the leader hears of all the others."""
        protocol = self.protocol or ""
        others = self.members.by_id.values() if self.members.leader == member.member_id else ()
        return JoinGroupResponse(
            generation_id=self.generation,
            protocol_type=self.protocol_type,
            protocol_name=protocol,
            leader=self.members.leader or "",
            member_id=member.member_id,
            members=tuple(other.for_leader(protocol) for other in others),
        )

    def generation_for_replacement(
        self, old: ClassicMember, new: ClassicMember, *, knows_skipping: bool
    ) -> JoinGroupResponse:
        """The answer to a static member that is about to take the old one's place without a rebalance [G-9]."""
        protocol, leader = self.protocol or "", self.members.leader or ""
        # KIP-814: an older client that hears it is the leader would assign anew, and nobody would heed it.
        skips = knows_skipping and leader == old.member_id
        members = (new if member is old else member for member in self.members.by_id.values())
        return JoinGroupResponse(
            generation_id=self.generation,
            protocol_type=self.protocol_type,
            protocol_name=protocol,
            leader=new.member_id if skips else leader,
            skip_assignment=skips,
            member_id=new.member_id,
            members=tuple(member.for_leader(protocol) for member in members) if skips else (),
        )

    def part(self, assignment: bytes) -> SyncGroupResponse:
        """The answer to a SyncGroup."""
        return SyncGroupResponse(protocol_type=self.protocol_type, protocol_name=self.protocol, assignment=assignment)

    # -- what is remembered --

    def stable_record(
        self, members: Iterable[tuple[ClassicMember, bytes]], *, leader: str | None, since_ms: int
    ) -> ClassicGroupMetadata:
        """This generation, with its members and the part of each."""
        protocol = self.protocol or ""
        value = ClassicGroupValue(
            protocol_type=self.protocol_type or "",
            generation=self.generation,
            protocol=self.protocol,
            leader=leader,
            state_since_ms=since_ms,
            members=tuple(member.to_value(protocol, assignment) for member, assignment in members),
        )
        return ClassicGroupMetadata(self.group_id, value)

    def empty_record(self, since_ms: int) -> ClassicGroupMetadata:
        """A next generation without members."""
        value = ClassicGroupValue(
            protocol_type=self.protocol_type or "", generation=self.generation + 1, state_since_ms=since_ms
        )
        return ClassicGroupMetadata(self.group_id, value)

    def renamed_record(self, member: ClassicMember) -> ClassicGroupMetadata | None:
        """The last record with this static member's new id; None if it does not know the member by another one.

        Else a start would bring the old id back, and fence who lives by the new one.
        """
        value, instance_id = self.remembered, member.instance_id
        if value is None or instance_id is None:
            return None
        old = next((one.member_id for one in value.members if one.instance_id == instance_id), member.member_id)
        if old == member.member_id:
            return None
        members = tuple(
            replace(one, member_id=member.member_id) if one.instance_id == instance_id else one for one in value.members
        )
        leader = member.member_id if value.leader == old else value.leader
        return ClassicGroupMetadata(self.group_id, replace(value, members=members, leader=leader))

    def restore(self, value: ClassicGroupValue | None, known: Mapping[str, ClassicMember]) -> None:
        """What the record says is so. `known`: members that live, and stay what they are."""
        self.remembered = value
        self.assigned_bytes = 0 if value is None else sum(len(member.assignment) for member in value.members)
        self.members = ClassicMembers()
        self._topics_known_for = None
        self.is_written = value is not None
        if value is None:
            self.state = DEAD
            return
        self.state = STABLE if value.members else EMPTY
        self.generation = value.generation
        self.protocol_type = value.protocol_type or None
        self.protocol = value.protocol
        self.state_since_ms = value.state_since_ms
        for member_value in value.members:
            member = known.get(member_value.member_id)
            if member is None:
                member = ClassicMember.remembered(member_value, value.protocol or "")
            member.assignment = member_value.assignment
            self.members.add(member)
        self.members.leader = value.leader

    # -- what others want to know --

    def describe(self) -> DescribedGroup:
        """As DescribeGroups shows it."""
        protocol = self.protocol if self.state is STABLE else None
        members = tuple(
            DescribedGroupMember(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                member_metadata=b"" if protocol is None else member.protocols.get(protocol, b""),
                member_assignment=member.assignment,
            )
            for member in self.members.by_id.values()
        )
        return DescribedGroup(
            group_id=self.group_id,
            group_state=self.state.value,
            protocol_type=self.protocol_type or "",
            protocol_data=protocol or "",
            members=members,
        )

    def subscribed_to(self, topic: str) -> bool:
        """Whether members read the topic, or may: what consumers say of themselves can be unreadable [G-12]."""
        if self.protocol_type != PROTOCOL_TYPE or not len(self.members):
            return False
        if self._topics_known_for != self.generation:
            self._topics, self._topics_known_for = self._read_topics(), self.generation
        return self._topics is None or topic in self._topics

    def _read_topics(self) -> frozenset[str] | None:
        topics: set[str] = set()
        for member in self.members.by_id.values():
            said = subscribed_topics(member.protocols.get(self.protocol or "", b""))
            if said is None:
                return None
            topics |= said
        return frozenset(topics)


def check_session_timeout(session_timeout_ms: int, settings: GroupSettings) -> None:
    """Refuse who asks for too short or too long a session."""
    if not settings.classic_session_timeout_min_ms <= session_timeout_ms <= settings.classic_session_timeout_max_ms:
        raise RequestRefused(ErrorCode.INVALID_SESSION_TIMEOUT, f"{session_timeout_ms} ms")
