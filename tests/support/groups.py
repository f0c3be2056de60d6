"""Groups over the wire's messages: joining and committing in a broker in the test's loop."""

from dataclasses import dataclass

from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse

from .house import House

PROTOCOL_TYPE = "connect"
"""Not consumer: what its members say to each other need not make sense."""
PROTOCOL = JoinGroupRequestProtocol(name="compatible", metadata=b"what I can")
ASSIGNMENT = b"what you do"
MEMBER_ID_SINCE = 4
"""From this version on who joins with a member id asks for it first."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The one member of a stable group."""

    group_id: str
    member_id: str
    generation: int


async def join_alone(house: House, group_id: str) -> Joined:
    """Make a stable group of one member."""
    request = JoinGroupRequest(
        group_id=group_id,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=10_000,
        protocol_type=PROTOCOL_TYPE,
        protocols=(PROTOCOL,),
    )
    joined = await house.ask(request, MEMBER_ID_SINCE - 1)
    assert isinstance(joined, JoinGroupResponse)
    assert joined.error_code == 0, joined
    member = Joined(group_id, joined.member_id, joined.generation_id)
    synced = await house.ask(
        SyncGroupRequest(
            group_id=group_id,
            generation_id=member.generation,
            member_id=member.member_id,
            assignments=(SyncGroupRequestAssignment(member_id=member.member_id, assignment=ASSIGNMENT),),
        ),
        3,
    )
    assert isinstance(synced, SyncGroupResponse)
    assert (synced.error_code, synced.assignment) == (0, ASSIGNMENT)
    return member


async def leave(house: House, member: Joined) -> None:
    """Leave the group empty."""
    identity = MemberIdentity(member_id=member.member_id)
    left = await house.ask(LeaveGroupRequest(group_id=member.group_id, members=(identity,)))
    assert isinstance(left, LeaveGroupResponse)
    assert (left.error_code, [one.error_code for one in left.members]) == (0, [0])


async def commit(house: House, group_id: str, topic: str, partition: int = 0, offset: int = 0) -> int:
    """Commit without being a member; the code that it was answered with."""
    part = OffsetCommitRequestPartition(partition_index=partition, committed_offset=offset)
    wanted = OffsetCommitRequestTopic(name=topic, partitions=(part,))
    response = await house.ask(OffsetCommitRequest(group_id=group_id, topics=(wanted,)), 8)
    assert isinstance(response, OffsetCommitResponse)
    [[outcome]] = [one.partitions for one in response.topics]
    return outcome.error_code
