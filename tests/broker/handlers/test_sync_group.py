"""SyncGroup over the wire's messages: every version of it, and the answers that the handler gives by itself [G-6]."""

import pytest

from support.bench import Bench, on_the_bench
from support.groups import ASSIGNMENT, PROTOCOL, PROTOCOL_TYPE, Joined, join_alone
from support.house import House
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse


async def sync(
    house: House, member: Joined, *, version: int, named: tuple[str | None, str | None] = (PROTOCOL_TYPE, PROTOCOL.name)
) -> SyncGroupResponse:
    request = SyncGroupRequest(
        group_id=member.group_id,
        generation_id=member.generation,
        member_id=member.member_id,
        protocol_type=named[0],
        protocol_name=named[1],
    )
    response = await house.ask(request, version)
    assert isinstance(response, SyncGroupResponse)
    return response


@pytest.mark.parametrize("version", range(6))
@on_the_bench
async def test_every_version_brings_the_members_part(bench: Bench, version: int) -> None:
    house = await bench.serve()
    member = await join_alone(house, "billing")
    response = await sync(house, member, version=version)
    assert (response.error_code, response.assignment) == (0, ASSIGNMENT)
    assert (response.protocol_type, response.protocol_name) == (PROTOCOL_TYPE, PROTOCOL.name)
    await house.server.stop()


@pytest.mark.parametrize("named", [(None, PROTOCOL.name), (PROTOCOL_TYPE, None), (PROTOCOL_TYPE, "other")])
@on_the_bench
async def test_from_v5_on_the_protocol_is_named_and_is_the_groups(
    bench: Bench, named: tuple[str | None, str | None]
) -> None:
    """[G-6] KIP-559."""
    house = await bench.serve()
    member = await join_alone(house, "billing")
    response = await sync(house, member, version=5, named=named)
    assert response.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert (await sync(house, member, version=4, named=(None, None))).error_code == 0
    await house.server.stop()


@on_the_bench
async def test_a_group_has_a_name_and_exists(bench: Bench) -> None:
    """[G-6]"""
    house = await bench.serve()
    codes = [(await sync(house, Joined(name, "me", 1), version=5)).error_code for name in ("", "nothing")]
    assert codes == [ErrorCode.INVALID_GROUP_ID, ErrorCode.UNKNOWN_MEMBER_ID]
    await house.server.stop()
