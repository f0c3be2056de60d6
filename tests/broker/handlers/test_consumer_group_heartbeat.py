"""ConsumerGroupHeartbeat: in a broker, with topics and a log [C-1] [C-4]."""

import asyncio
from dataclasses import replace
from pathlib import Path

from support.bench import Bench, on_the_bench
from support.house import House, a_house
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)

JOIN = ConsumerGroupHeartbeatRequest(
    group_id="g",
    member_id="m1",
    rebalance_timeout_ms=60_000,
    subscribed_topic_names=("orders",),
    topic_partitions=(),
)


async def answer(
    house: House, request: ConsumerGroupHeartbeatRequest, version: int = 1
) -> ConsumerGroupHeartbeatResponse:
    response = await house.ask(request, version)
    assert isinstance(response, ConsumerGroupHeartbeatResponse)
    return response


def partitions(response: ConsumerGroupHeartbeatResponse) -> int:
    assert response.assignment is not None
    return sum(len(topic.partitions) for topic in response.assignment.topic_partitions)


@on_the_bench
async def test_a_member_joins_stays_and_leaves(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 3)
    joined = await answer(house, JOIN)
    assert (joined.error_code, joined.member_id, joined.member_epoch, partitions(joined)) == (0, "m1", 1, 3)
    stayed = await answer(house, ConsumerGroupHeartbeatRequest(group_id="g", member_id="m1", member_epoch=1))
    assert (stayed.error_code, stayed.member_epoch, stayed.assignment) == (0, 1, None)
    left = await answer(house, ConsumerGroupHeartbeatRequest(group_id="g", member_id="m1", member_epoch=-1))
    assert (left.error_code, left.member_epoch) == (0, -1)
    await house.server.stop()


@on_the_bench
async def test_version_0_gives_out_member_ids(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    joined = await answer(house, replace(JOIN, member_id=""), 0)
    assert joined.member_id
    other = await answer(house, replace(JOIN, member_id=""), 0)
    assert other.member_id != joined.member_id
    await house.server.stop()


@on_the_bench
async def test_what_is_refused_says_why(bench: Bench) -> None:
    house = await bench.serve()
    for request, code in (
        (replace(JOIN, member_id=""), ErrorCode.INVALID_REQUEST),
        (replace(JOIN, server_assignor="mine"), ErrorCode.UNSUPPORTED_ASSIGNOR),
        (replace(JOIN, subscribed_topic_regex="("), ErrorCode.INVALID_REGULAR_EXPRESSION),
        (replace(JOIN, member_epoch=3), ErrorCode.GROUP_ID_NOT_FOUND),
        (replace(JOIN, member_epoch=-1), ErrorCode.GROUP_ID_NOT_FOUND),
    ):
        response = await answer(house, request)
        assert response.error_code == code
        assert response.error_message
    await house.server.stop()


@on_the_bench
async def test_a_topic_that_is_created_or_grows_is_assigned_with_the_next_heartbeat(bench: Bench) -> None:
    house = await bench.serve()
    assert partitions(await answer(house, JOIN)) == 0
    await house.create("orders", 2)
    response = await answer(house, ConsumerGroupHeartbeatRequest(group_id="g", member_id="m1", member_epoch=1))
    assert (response.member_epoch, partitions(response)) == (2, 2)
    await house.server.stop()


@on_the_bench
async def test_a_silent_member_is_removed_after_its_session(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    await answer(house, JOIN)
    await asyncio.sleep(46)
    response = await answer(house, ConsumerGroupHeartbeatRequest(group_id="g", member_id="m1", member_epoch=1))
    assert response.error_code == ErrorCode.UNKNOWN_MEMBER_ID
    await house.server.stop()


async def test_members_survive_a_restart_of_the_broker_without_a_rebalance(tmp_path: Path) -> None:
    """[G-13]"""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 3)
        await answer(house, JOIN)
    async with a_house(tmp_path / "data") as house:
        stays = ConsumerGroupHeartbeatRequest(group_id="g", member_id="m1", member_epoch=1)
        async with asyncio.timeout(20):
            response = await answer(house, stays)
            while response.error_code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                await asyncio.sleep(0.001)
                response = await answer(house, stays)
        assert (response.error_code, response.member_epoch, response.assignment) == (0, 1, None)
