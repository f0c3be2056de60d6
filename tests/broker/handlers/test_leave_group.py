"""LeaveGroup over the wire's messages: one member or many, and the answers that the handler gives by itself [G-8]."""

import pytest

from support.bench import Bench, on_the_bench
from support.groups import Joined, join_alone
from support.house import House
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity

MANY_SINCE = 3


async def leave(house: House, member: Joined, version: int) -> tuple[int, list[int]]:
    """The code of the whole and those of the members."""
    if version < MANY_SINCE:
        request = LeaveGroupRequest(group_id=member.group_id, member_id=member.member_id)
    else:
        identities = (MemberIdentity(member_id=member.member_id), MemberIdentity(member_id="nobody"))
        request = LeaveGroupRequest(group_id=member.group_id, members=identities)
    response = await house.ask(request, version)
    assert isinstance(response, LeaveGroupResponse)
    return response.error_code, [one.error_code for one in response.members if version >= MANY_SINCE]


@pytest.mark.parametrize("version", range(6))
@on_the_bench
async def test_every_version_takes_a_member_out(bench: Bench, version: int) -> None:
    house = await bench.serve()
    member = await join_alone(house, "billing")
    unknown = ErrorCode.UNKNOWN_MEMBER_ID
    many = version >= MANY_SINCE
    assert await leave(house, member, version) == (0, [0, unknown] if many else [])
    assert await leave(house, member, version) == ((0, [unknown, unknown]) if many else (unknown, []))
    await house.server.stop()


@pytest.mark.parametrize("version", range(6))
@on_the_bench
async def test_a_group_that_does_not_exist_has_no_members(bench: Bench, version: int) -> None:
    house = await bench.serve()
    unknown = ErrorCode.UNKNOWN_MEMBER_ID
    expected = (0, [unknown, unknown]) if version >= MANY_SINCE else (unknown, [])
    assert await leave(house, Joined("nothing", "me", 1), version) == expected
    assert await leave(house, Joined("", "me", 1), version) == (ErrorCode.INVALID_GROUP_ID, [])
    await house.server.stop()
