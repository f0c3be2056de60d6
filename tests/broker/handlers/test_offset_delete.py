"""OffsetDelete: offsets of topics that the group does not read (KIP-496) [G-12]."""

from support.bench import Bench, on_the_bench
from support.groups import commit, join_alone, leave
from support.house import House
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
)
from tidelog.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse


async def delete(house: House, group_id: str, *topics: str) -> tuple[int, dict[str, list[int]]]:
    """The code of the whole, and those of partitions 0 and 1."""
    partitions = tuple(OffsetDeleteRequestPartition(partition_index=index) for index in (0, 1))
    wanted = tuple(OffsetDeleteRequestTopic(name=name, partitions=partitions) for name in topics)
    response = await house.ask(OffsetDeleteRequest(group_id=group_id, topics=wanted))
    assert isinstance(response, OffsetDeleteResponse)
    codes = {topic.name: [partition.error_code for partition in topic.partitions] for topic in response.topics}
    return response.error_code, codes


async def committed(house: House, group_id: str) -> dict[str, list[int]]:
    response = await house.ask(OffsetFetchRequest(group_id=group_id, topics=None), 7)
    assert isinstance(response, OffsetFetchResponse)
    return {topic.name: [partition.partition_index for partition in topic.partitions] for topic in response.topics}


@on_the_bench
async def test_what_is_deleted_is_gone_for_good(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 2)
    await house.create("bills")
    for topic, partition in (("orders", 0), ("orders", 1), ("bills", 0)):
        assert await commit(house, "billing", topic, partition) == 0
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert await delete(house, "billing", "orders", "nothing") == (
        0,
        {"orders": [0, 0], "nothing": [unknown, unknown]},
    )
    assert await committed(house, "billing") == {"bills": [0]}
    bench.disk.crash()
    house = await bench.serve("listeners=127.0.0.1:9093")
    assert await committed(house, "billing") == {"bills": [0]}
    await house.server.stop()


@on_the_bench
async def test_a_group_that_there_is_not_has_a_code_for_the_whole(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    assert await delete(house, "nobody", "orders") == (ErrorCode.GROUP_ID_NOT_FOUND, {})
    assert await delete(house, "", "orders") == (ErrorCode.INVALID_GROUP_ID, {})
    await house.server.stop()


@on_the_bench
async def test_a_group_whose_members_read_who_knows_what_keeps_its_offsets(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 2)
    assert await commit(house, "connect", "orders") == 0
    member = await join_alone(house, "connect")
    assert await delete(house, "connect", "orders") == (ErrorCode.NON_EMPTY_GROUP, {})
    await leave(house, member)
    assert await delete(house, "connect", "orders") == (0, {"orders": [0, 0]})
    assert await committed(house, "connect") == {}
    await house.server.stop()


@on_the_bench
async def test_topics_that_are_read_keep_their_offsets(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 2)
    await house.create("bills", 2)
    for topic in ("orders", "bills"):
        assert await commit(house, "reports", topic) == 0
    await house.ask(
        ConsumerGroupHeartbeatRequest(
            group_id="reports",
            member_id="m",
            member_epoch=0,
            rebalance_timeout_ms=10_000,
            subscribed_topic_names=("orders",),
            topic_partitions=(),
        )
    )
    read = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
    assert await delete(house, "reports", "orders", "bills") == (0, {"orders": [read, read], "bills": [0, 0]})
    assert await committed(house, "reports") == {"orders": [0]}
    await house.server.stop()
