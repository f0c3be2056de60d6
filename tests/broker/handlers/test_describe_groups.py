"""DescribeGroups: classic groups with their members, and what is said of those that are not (KIP-1043)."""

import pytest

from support.bench import Bench, on_the_bench
from support.groups import ASSIGNMENT, PROTOCOL, PROTOCOL_TYPE, join_alone, leave
from support.house import House
from tidelog.broker.metadata.cluster import OPERATIONS_ON_GROUP
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from tidelog.protocol.messages.metadata import OPERATIONS_UNKNOWN

NOT_FOUND_SINCE = 6


async def described(
    house: House, *groups: str, version: int = NOT_FOUND_SINCE, operations: bool = False
) -> list[DescribedGroup]:
    request = DescribeGroupsRequest(groups=groups, include_authorized_operations=operations)
    response = await house.ask(request, version)
    assert isinstance(response, DescribeGroupsResponse)
    return list(response.groups)


@pytest.mark.parametrize("version", range(7))
@on_the_bench
async def test_a_stable_group_is_described_with_its_members(bench: Bench, version: int) -> None:
    house = await bench.serve()
    member = await join_alone(house, "billing")
    assert await described(house, "billing", version=version) == [
        DescribedGroup(
            error_message=None,
            group_id="billing",
            group_state="Stable",
            protocol_type=PROTOCOL_TYPE,
            protocol_data=PROTOCOL.name,
            members=(
                DescribedGroupMember(
                    member_id=member.member_id,
                    group_instance_id=None,
                    client_id="test",
                    client_host="/127.0.0.1",
                    member_metadata=PROTOCOL.metadata,
                    member_assignment=ASSIGNMENT,
                ),
            ),
        )
    ]


@on_the_bench
async def test_a_group_whose_members_have_left_is_empty(bench: Bench) -> None:
    house = await bench.serve()
    await leave(house, await join_alone(house, "billing"))
    [group] = await described(house, "billing")
    assert (group.group_state, group.protocol_type, group.protocol_data) == ("Empty", PROTOCOL_TYPE, "")
    assert group.members == ()


@on_the_bench
async def test_a_group_that_is_not_there_used_to_be_dead_and_is_not_found_now(bench: Bench) -> None:
    house = await bench.serve()
    for version in range(NOT_FOUND_SINCE):
        [group] = await described(house, "nobody", version=version)
        assert (group.error_code, group.group_state, group.members) == (ErrorCode.NONE, "Dead", ())
    [group] = await described(house, "nobody")
    assert (group.error_code, group.group_state) == (ErrorCode.GROUP_ID_NOT_FOUND, "Dead")
    assert group.error_message == "Group nobody not found."


@on_the_bench
async def test_groups_are_answered_in_order_each_once(bench: Bench) -> None:
    """One that is named a thousand times would make a small request a large answer."""
    house = await bench.serve()
    for name in ("a", "b", "c"):
        await join_alone(house, name)
    groups = await described(house, "c", "a", "nobody", "c", "b", "a")
    assert [group.group_id for group in groups] == ["c", "a", "nobody", "b"]
    assert await described(house) == []


@pytest.mark.parametrize("version", range(3, 7))
@on_the_bench
async def test_who_asks_what_they_may_do_may_do_everything(bench: Bench, version: int) -> None:
    """As Kafka without an authorizer; of a group that is not there nothing is said."""
    house = await bench.serve()
    await join_alone(house, "billing")
    for asked, told in ((False, OPERATIONS_UNKNOWN), (True, OPERATIONS_ON_GROUP)):
        [group] = await described(house, "billing", version=version, operations=asked)
        assert group.authorized_operations == told
    [nobody] = await described(house, "nobody", operations=True)
    assert nobody.authorized_operations == OPERATIONS_UNKNOWN
