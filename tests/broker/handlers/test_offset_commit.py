"""OffsetCommit: all of it or nothing, and durable before the answer [G-10]."""

from uuid import UUID

import pytest

from support.bench import Bench, on_the_bench
from support.groups import join_alone
from support.house import House
from tidelog.broker.request import Pending
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchResponse,
    OffsetFetchResponsePartitions,
)

VERSIONS = range(2, 11)


def id_of(house: House, name: str) -> OffsetCommitRequestTopic:
    """The topic, called by its name and by its id: each version sends one of them."""
    topic = house.server.topics.by_name(name)
    assert topic is not None
    return OffsetCommitRequestTopic(name=name, topic_id=topic.topic_id)


def a_commit(
    *topics: OffsetCommitRequestTopic,
    offsets: dict[int, int],
    member_id: str = "",
    generation: int = -1,
    retention_ms: int = -1,
    group_id: str = "billing",
) -> OffsetCommitRequest:
    partitions = tuple(
        OffsetCommitRequestPartition(
            partition_index=index,
            committed_offset=offset,
            committed_leader_epoch=4,
            committed_metadata=f"at {offset}",
        )
        for index, offset in offsets.items()
    )
    return OffsetCommitRequest(
        group_id=group_id,
        generation_id_or_member_epoch=generation,
        member_id=member_id,
        retention_time_ms=retention_ms,
        topics=tuple(
            OffsetCommitRequestTopic(name=topic.name, topic_id=topic.topic_id, partitions=partitions)
            for topic in topics
        ),
    )


async def commit(house: House, request: OffsetCommitRequest, version: int = 10) -> list[int]:
    response = await house.ask(request, version)
    assert isinstance(response, OffsetCommitResponse)
    assert [topic.name for topic in response.topics] == [topic.name for topic in request.topics]
    assert [topic.topic_id for topic in response.topics] == [topic.topic_id for topic in request.topics]
    return [partition.error_code for topic in response.topics for partition in topic.partitions]


async def committed(house: House, group_id: str = "billing") -> dict[str, tuple[OffsetFetchResponsePartitions, ...]]:
    response = await house.ask(OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id=group_id, topics=None),)), 8)
    assert isinstance(response, OffsetFetchResponse)
    return {topic.name: topic.partitions for topic in response.groups[0].topics}


def is_answered(pending: Pending[object]) -> bool:
    return pending.response is not None


@pytest.mark.parametrize("version", VERSIONS)
@on_the_bench
async def test_what_is_committed_is_there_afterwards(bench: Bench, version: int) -> None:
    house = await bench.serve()
    await house.create("orders", 2)
    assert await commit(house, a_commit(id_of(house, "orders"), offsets={0: 5, 1: 6}), version) == [0, 0]
    [partition, other] = (await committed(house))["orders"]
    assert (partition.committed_offset, partition.committed_leader_epoch, partition.metadata) == (5, 4, "at 5")
    assert (other.committed_offset, other.metadata) == (6, "at 6")
    await house.server.stop()


@on_the_bench
async def test_it_is_durable_before_it_is_answered(bench: Bench) -> None:
    """G-10."""
    house = await bench.serve()
    await house.create("orders", 100)
    await commit(house, a_commit(id_of(house, "orders"), offsets={0: 1}))
    asked = house.call(a_commit(id_of(house, "orders"), offsets=dict.fromkeys(range(100), 7)))
    assert isinstance(asked, Pending)
    assert not is_answered(asked)
    assert await commit(house, a_commit(id_of(house, "orders"), offsets={0: 8})) == [0]
    assert is_answered(asked)
    bench.disk.crash()
    house = await bench.serve("listeners=127.0.0.1:9093")
    assert [partition.committed_offset for partition in (await committed(house))["orders"]] == [8, *[7] * 99]
    await house.server.stop()


@pytest.mark.parametrize("version", VERSIONS)
@on_the_bench
async def test_what_does_not_exist_is_refused_by_itself(bench: Bench, version: int) -> None:
    house = await bench.serve()
    await house.create("orders", 1)
    by_id = version >= 10
    strange = OffsetCommitRequestTopic(topic_id=UUID(int=9)) if by_id else OffsetCommitRequestTopic(name="nothing")
    request = a_commit(id_of(house, "orders"), strange, offsets={0: 5, 1: 5})
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    missing = ErrorCode.UNKNOWN_TOPIC_ID if by_id else unknown
    assert await commit(house, request, version) == [ErrorCode.NONE, unknown, missing, missing]
    assert list(await committed(house)) == ["orders"]
    await house.server.stop()


@on_the_bench
async def test_metadata_has_a_limit_that_can_be_set(bench: Bench) -> None:
    """G-10."""
    house = await bench.serve("offset.metadata.max.bytes=4")
    await house.create("orders", 2)
    request = a_commit(id_of(house, "orders"), offsets={0: 5, 1: 50})
    assert await commit(house, request) == [ErrorCode.NONE, ErrorCode.OFFSET_METADATA_TOO_LARGE]
    await house.server.stop()


@pytest.mark.parametrize("version", VERSIONS)
@on_the_bench
async def test_who_may_not_is_told_so_for_each_partition(bench: Bench, version: int) -> None:
    """G-10."""
    house = await bench.serve()
    await house.create("orders", 2)
    orders = id_of(house, "orders")
    stranger = a_commit(orders, offsets={0: 5, 1: 6}, member_id="m", generation=1)
    unknown = ErrorCode.ILLEGAL_GENERATION if version < 9 else ErrorCode.GROUP_ID_NOT_FOUND
    assert await commit(house, stranger, version) == [unknown] * 2
    member = await join_alone(house, "billing")
    assert await commit(house, stranger, version) == [ErrorCode.UNKNOWN_MEMBER_ID] * 2
    mine = a_commit(orders, offsets={0: 5}, member_id=member.member_id, generation=member.generation)
    assert await commit(house, mine, version) == [ErrorCode.NONE]
    old = a_commit(orders, offsets={0: 6}, member_id=member.member_id, generation=member.generation - 1)
    assert await commit(house, old, version) == [ErrorCode.ILLEGAL_GENERATION]
    assert (await committed(house))["orders"][0].committed_offset == 5
    await house.server.stop()


@on_the_bench
async def test_a_group_without_a_name_may_commit(bench: Bench) -> None:
    """As with Kafka, for consumers of before there were groups."""
    house = await bench.serve()
    await house.create("orders")
    assert await commit(house, a_commit(id_of(house, "orders"), offsets={0: 5}, group_id="")) == [0]
    assert (await committed(house, ""))["orders"][0].committed_offset == 5
    await house.server.stop()


@on_the_bench
async def test_an_offset_goes_with_its_topic(bench: Bench) -> None:
    """G-12."""
    house = await bench.serve()
    await house.create("orders")
    await house.create("bills")
    await commit(house, a_commit(id_of(house, "orders"), id_of(house, "bills"), offsets={0: 5}))
    await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="orders"),)))
    await house.create("orders")
    assert list(await committed(house)) == ["bills"]
    await house.server.stop()
    house = await bench.serve()
    assert list(await committed(house)) == ["bills"]
    await house.server.stop()
