"""DeleteGroups: groups without members go, with what they have committed, for good (KIP-229) [G-12]."""

import pytest

from support.bench import Bench, on_the_bench
from support.groups import commit, join_alone, leave
from support.house import House
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
from tidelog.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
)

NONE, NON_EMPTY, NOT_FOUND = ErrorCode.NONE, ErrorCode.NON_EMPTY_GROUP, ErrorCode.GROUP_ID_NOT_FOUND


async def deleted(house: House, *groups: str, version: int = 2) -> list[tuple[str, int]]:
    response = await house.ask(DeleteGroupsRequest(groups_names=groups), version)
    assert isinstance(response, DeleteGroupsResponse)
    return [(result.group_id, result.error_code) for result in response.results]


async def listed(house: House) -> set[str]:
    response = await house.ask(ListGroupsRequest())
    assert isinstance(response, ListGroupsResponse)
    return {group.group_id for group in response.groups}


async def committed(house: House, group_id: str) -> int:
    """The offset of partition 0 of `orders`."""
    wanted = OffsetFetchRequestTopics(name="orders", partition_indexes=(0,))
    request = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id=group_id, topics=(wanted,)),))
    response = await house.ask(request, 8)
    assert isinstance(response, OffsetFetchResponse)
    return response.groups[0].topics[0].partitions[0].committed_offset


@pytest.mark.parametrize("version", range(3))
@on_the_bench
async def test_a_group_without_members_goes_with_its_offsets(bench: Bench, version: int) -> None:
    house = await bench.serve()
    await house.create("orders")
    assert await commit(house, "simple", "orders", offset=7) == NONE
    await leave(house, await join_alone(house, "left"))
    assert await committed(house, "simple") == 7
    assert await deleted(house, "left", "simple", version=version) == [("left", NONE), ("simple", NONE)]
    assert await listed(house) == set()
    assert await committed(house, "simple") == -1


@on_the_bench
async def test_a_group_with_members_stays(bench: Bench) -> None:
    """G-12."""
    house = await bench.serve()
    await join_alone(house, "billing")
    assert await deleted(house, "billing") == [("billing", NON_EMPTY)]
    assert await listed(house) == {"billing"}


@on_the_bench
async def test_each_group_is_answered_for_itself_and_once(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    assert await commit(house, "simple", "orders") == NONE
    await join_alone(house, "billing")
    assert await deleted(house, "simple", "nobody", "billing", "simple") == [
        ("simple", NONE),
        ("nobody", NOT_FOUND),
        ("billing", NON_EMPTY),
    ]
    assert await deleted(house) == []


@on_the_bench
async def test_what_was_deleted_stays_deleted_through_a_power_cut(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    for name in ("kept", "gone"):
        assert await commit(house, name, "orders", offset=5) == NONE
    assert await deleted(house, "gone") == [("gone", NONE)]
    bench.disk.crash()
    again = await bench.serve("listeners=127.0.0.1:9093")
    assert await committed(again, "kept") == 5
    assert await committed(again, "gone") == -1
    assert await listed(again) == {"kept"}
