"""JoinGroup over the wire's messages: every version of it, and the answers that the handler gives by itself [G-2]."""

import pytest

from support.bench import Bench, on_the_bench
from support.house import House
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse

RANGE = JoinGroupRequestProtocol(name="range", metadata=b"topics")


async def join(house: House, member_id: str = "", *, version: int = 9, group_id: str = "billing") -> JoinGroupResponse:
    request = JoinGroupRequest(
        group_id=group_id,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=10_000,
        member_id=member_id,
        protocol_type="consumer",
        protocols=(RANGE,),
    )
    response = await house.ask(request, version)
    assert isinstance(response, JoinGroupResponse)
    return response


@pytest.mark.parametrize("version", range(10))
@on_the_bench
async def test_every_version_enters_a_group(bench: Bench, version: int) -> None:
    house = await bench.serve()
    response = await join(house, version=version)
    if version >= 4:
        assert response.error_code == ErrorCode.MEMBER_ID_REQUIRED
        response = await join(house, response.member_id, version=version)
    assert (response.error_code, response.generation_id, response.protocol_name) == (0, 1, "range")
    assert response.leader == response.member_id != ""
    assert [(member.member_id, member.metadata) for member in response.members] == [(response.leader, b"topics")]
    await house.server.stop()


@on_the_bench
async def test_members_that_come_at_once_are_in_one_generation(bench: Bench) -> None:
    house = await bench.serve()
    await join(house)  # the topic is there from now on
    first = house.call(
        JoinGroupRequest(group_id="g", session_timeout_ms=9999, protocol_type="x", protocols=(RANGE,)), 3
    )
    second = await house.ask(
        JoinGroupRequest(group_id="g", session_timeout_ms=9999, protocol_type="x", protocols=(RANGE,)), 3
    )
    assert isinstance(second, JoinGroupResponse)
    leader = first.response if hasattr(first, "response") else first
    assert isinstance(leader, JoinGroupResponse)
    assert (leader.generation_id, second.generation_id) == (1, 1)
    assert (len(leader.members), second.members, second.leader) == (2, (), leader.member_id)
    await house.server.stop()


@on_the_bench
async def test_a_group_has_a_name(bench: Bench) -> None:
    """[G-2]"""
    house = await bench.serve()
    response = await join(house, "me", group_id="")
    assert (response.error_code, response.member_id) == (ErrorCode.INVALID_GROUP_ID, "me")
    await house.server.stop()


@on_the_bench
async def test_an_id_in_a_group_that_does_not_exist_is_unknown(bench: Bench) -> None:
    """[G-2]"""
    house = await bench.serve()
    response = await join(house, "me")
    assert (response.error_code, response.member_id) == (ErrorCode.UNKNOWN_MEMBER_ID, "me")
    await house.server.stop()
