"""OffsetFetch: what was committed, and no error where nothing was [G-11]."""

from uuid import UUID

import pytest

from support.bench import Bench, on_the_bench
from support.groups import commit, join_alone
from support.house import House
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
)
from tidelog.protocol.primitives import ZERO_UUID

OLD = range(1, 8)
NEW = range(8, 11)


async def ask(house: House, request: OffsetFetchRequest, version: int) -> OffsetFetchResponse:
    response = await house.ask(request, version)
    assert isinstance(response, OffsetFetchResponse)
    return response


def an_old_request(*topics: str) -> OffsetFetchRequest:
    wanted = tuple(OffsetFetchRequestTopic(name=name, partition_indexes=(1, 0)) for name in topics)
    return OffsetFetchRequest(group_id="billing", topics=wanted or None)


def a_group(house: House, *topics: str, group_id: str = "billing", version: int = 10) -> OffsetFetchRequestGroup:
    wanted = []
    for name in topics:
        topic = house.server.topics.by_name(name)
        topic_id = ZERO_UUID if topic is None or version < 10 else topic.topic_id
        wanted.append(OffsetFetchRequestTopics(name=name, topic_id=topic_id, partition_indexes=(1, 0)))
    return OffsetFetchRequestGroup(group_id=group_id, topics=tuple(wanted) or None)


async def serve(bench: Bench) -> House:
    """A broker to which `billing` has committed something."""
    house = await bench.serve()
    await house.create("orders", 2)
    assert await commit(house, "billing", "orders", 0, 7) == 0
    return house


@pytest.mark.parametrize("version", OLD)
@on_the_bench
async def test_one_group_is_told_its_offsets(bench: Bench, version: int) -> None:
    house = await serve(bench)
    response = await ask(house, an_old_request("orders", "nothing"), version)
    orders, nothing = response.topics
    assert (response.error_code, orders.name, nothing.name) == (0, "orders", "nothing")
    assert [(p.partition_index, p.committed_offset, p.error_code) for p in orders.partitions] == [(1, -1, 0), (0, 7, 0)]
    assert [(p.committed_leader_epoch, p.metadata) for p in orders.partitions] == [(-1, ""), (-1, "")]
    assert [(p.partition_index, p.committed_offset, p.error_code) for p in nothing.partitions] == [
        (1, -1, 0),
        (0, -1, 0),
    ]
    await house.server.stop()


@pytest.mark.parametrize("version", range(2, 8))
@on_the_bench
async def test_null_is_all_topics(bench: Bench, version: int) -> None:
    house = await serve(bench)
    [topic] = (await ask(house, an_old_request(), version)).topics
    assert (topic.name, [p.committed_offset for p in topic.partitions]) == ("orders", [7])
    nobody = await ask(house, OffsetFetchRequest(group_id="nobody", topics=None), version)
    assert (nobody.topics, nobody.error_code) == ((), 0)
    await house.server.stop()


@pytest.mark.parametrize("version", NEW)
@on_the_bench
async def test_many_groups_are_told_in_their_order(bench: Bench, version: int) -> None:
    house = await serve(bench)
    names = [f"group-{number}" for number in range(8)]
    for number, name in enumerate(names):
        assert await commit(house, name, "orders", 1, number) == 0
    wanted = tuple(a_group(house, "orders", group_id=name, version=version) for name in [*names, "nobody", names[0]])
    response = await ask(house, OffsetFetchRequest(groups=wanted), version)
    assert [group.group_id for group in response.groups] == [*names, "nobody"]  # what is asked twice is told once
    assert {group.error_code for group in response.groups} == {0}
    offsets = [[p.committed_offset for p in group.topics[0].partitions] for group in response.groups]
    assert offsets == [*[[number, -1] for number in range(8)], [-1, -1]]
    await house.server.stop()


@pytest.mark.parametrize("version", NEW)
@on_the_bench
async def test_null_is_all_topics_of_each_group(bench: Bench, version: int) -> None:
    house = await serve(bench)
    response = await ask(house, OffsetFetchRequest(groups=(a_group(house), a_group(house, group_id="x"))), version)
    [topic] = response.groups[0].topics
    known = house.server.topics.by_name("orders")
    assert known is not None
    assert (topic.name, topic.topic_id) == ("orders", known.topic_id)
    assert response.groups[1].topics == ()
    await house.server.stop()


@on_the_bench
async def test_a_topic_id_that_nobody_knows_is_an_error_of_its_own(bench: Bench) -> None:
    house = await serve(bench)
    strange = OffsetFetchRequestTopics(topic_id=UUID(int=9), partition_indexes=(0,))
    request = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id="billing", topics=(strange,)),))
    [topic] = (await ask(house, request, 10)).groups[0].topics
    assert topic.topic_id == UUID(int=9)
    assert [(p.committed_offset, p.error_code) for p in topic.partitions] == [(-1, ErrorCode.UNKNOWN_TOPIC_ID)]
    await house.server.stop()


@on_the_bench
async def test_every_offset_is_stable(bench: Bench) -> None:
    house = await serve(bench)
    request = OffsetFetchRequest(groups=(a_group(house, "orders"),), require_stable=True)
    [topic] = (await ask(house, request, 10)).groups[0].topics
    assert [p.committed_offset for p in topic.partitions] == [-1, 7]
    await house.server.stop()


@on_the_bench
async def test_members_of_classic_groups_are_told_whatever_they_say_of_themselves(bench: Bench) -> None:
    house = await serve(bench)
    await join_alone(house, "billing")
    group = a_group(house, "orders")
    strange = OffsetFetchRequestGroup(group_id="billing", topics=group.topics, member_id="m", member_epoch=77)
    [answer] = (await ask(house, OffsetFetchRequest(groups=(strange,)), 10)).groups
    assert (answer.error_code, [p.committed_offset for p in answer.topics[0].partitions]) == (0, [-1, 7])
    await house.server.stop()


@pytest.mark.parametrize("version", [9, 10])
@on_the_bench
async def test_a_member_of_a_consumer_group_with_another_epoch_is_told_nothing(bench: Bench, version: int) -> None:
    """C-7."""
    house = await serve(bench)
    joined = await house.ask(
        ConsumerGroupHeartbeatRequest(
            group_id="reports",
            member_id="m",
            member_epoch=0,
            rebalance_timeout_ms=10_000,
            subscribed_topic_names=("orders",),
            topic_partitions=(),
        )
    )
    assert isinstance(joined, ConsumerGroupHeartbeatResponse)
    topics = a_group(house, "orders", version=version).topics
    groups = tuple(
        OffsetFetchRequestGroup(group_id="reports", topics=topics, member_id="m", member_epoch=epoch)
        for epoch in (joined.member_epoch, joined.member_epoch + 1)
    )
    good, bad = (await ask(house, OffsetFetchRequest(groups=(*groups,)), version)).groups
    assert (good.error_code, len(good.topics)) == (0, 1)
    assert (bad.error_code, bad.topics) == (ErrorCode.STALE_MEMBER_EPOCH, ())
    await house.server.stop()


@on_the_bench
async def test_one_group_is_not_told_as_often_as_there_are_names_for_members(bench: Bench) -> None:
    """Q-3: all offsets of a group can be many, and to ask for them takes but a few bytes."""
    house = await bench.serve()
    groups = [OffsetFetchRequestGroup(group_id="g", member_id=f"m{number}", topics=None) for number in range(101)]
    response = await house.ask(OffsetFetchRequest(groups=tuple(groups[:100])))
    assert isinstance(response, OffsetFetchResponse)
    assert len(response.groups) == 100
    with pytest.raises(RequestRefused, match="more than 100 times"):
        await house.ask(OffsetFetchRequest(groups=tuple(groups)))
