"""DescribeTopicPartitions: topics by name, in pages that fit together without gap or repetition (KIP-966)."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from support.bench import Bench, on_the_bench
from support.house import House, a_house
from tidelog.broker.handlers.describe_topic_partitions import PARTITIONS_OF_A_PAGE_MAX
from tidelog.broker.metadata.cluster import OPERATIONS_ON_TOPIC
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    TopicRequest,
)
from tidelog.protocol.messages.metadata import OPERATIONS_UNKNOWN

SIZES = {"orders": 4, "b.events": 1, "audit": 3}
EVERYTHING = [(name, index) for name in sorted(SIZES) for index in range(SIZES[name])]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Node 7 with some topics."""
    async with a_house(tmp_path / "data", "node.id=7") as house:
        for name, count in SIZES.items():
            await house.create(name, count)
        yield house


def page(
    house: House, *names: str, limit: int = 2000, cursor: tuple[str, int] | None = None
) -> DescribeTopicPartitionsResponse:
    request = DescribeTopicPartitionsRequest(
        topics=tuple(TopicRequest(name=name) for name in names),
        response_partition_limit=limit,
        cursor=None if cursor is None else Cursor(topic_name=cursor[0], partition_index=cursor[1]),
    )
    response = house.call(request)
    assert isinstance(response, DescribeTopicPartitionsResponse)
    return response


def partitions_of(response: DescribeTopicPartitionsResponse) -> list[tuple[str | None, int]]:
    return [(topic.name, partition.partition_index) for topic in response.topics for partition in topic.partitions]


async def test_all_topics_are_told_in_the_order_of_their_names(house: House) -> None:
    response = page(house)
    assert partitions_of(response) == EVERYTHING
    assert response.next_cursor is None


async def test_a_topic_is_told_with_its_partitions_and_their_leader(house: House) -> None:
    [topic] = page(house, "orders").topics
    known = house.server.topics.by_name("orders")
    assert known is not None
    assert (topic.error_code, topic.topic_id, topic.is_internal) == (ErrorCode.NONE, known.topic_id, False)
    assert topic.topic_authorized_operations == OPERATIONS_ON_TOPIC
    assert topic.partitions[2] == DescribeTopicPartitionsResponsePartition(
        partition_index=2,
        leader_id=7,
        leader_epoch=0,
        replica_nodes=(7,),
        isr_nodes=(7,),
        eligible_leader_replicas=(),
        last_known_elr=(),
    )


@pytest.mark.parametrize("limit", range(1, 10))
@pytest.mark.parametrize("names", [(), ("orders", "audit", "b.events")])
async def test_pages_of_any_size_make_up_the_whole(house: House, limit: int, names: tuple[str, ...]) -> None:
    told: list[tuple[str | None, int]] = []
    cursor: tuple[str, int] | None = None
    for _ in EVERYTHING:
        response = page(house, *names, limit=limit, cursor=cursor)
        here = partitions_of(response)
        assert 0 < len(here) <= limit
        assert all(topic.partitions for topic in response.topics), "a topic without room for a partition is left out"
        told += here
        if response.next_cursor is None:
            break
        assert len(here) == limit
        cursor = (response.next_cursor.topic_name, response.next_cursor.partition_index)
    assert told == EVERYTHING


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_holds_one_partition_at_least(house: House, limit: int) -> None:
    assert partitions_of(page(house, limit=limit)) == EVERYTHING[:1]


@on_the_bench
async def test_a_page_holds_no_more_than_the_broker_allows(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", PARTITIONS_OF_A_PAGE_MAX + 1)
    response = page(house, limit=2**31 - 1)
    assert len(partitions_of(response)) == PARTITIONS_OF_A_PAGE_MAX
    assert response.next_cursor == Cursor(topic_name="orders", partition_index=PARTITIONS_OF_A_PAGE_MAX)


async def test_topics_that_are_not_there_are_told_so_and_take_no_room(house: House) -> None:
    response = page(house, "nowhere", "audit", "a b", "audit", limit=3)
    assert [(topic.name, topic.error_code) for topic in response.topics] == [
        ("a b", ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("audit", ErrorCode.NONE),
    ]
    assert response.next_cursor == Cursor(topic_name="nowhere", partition_index=0)
    last = page(house, "nowhere", "audit", limit=3, cursor=("nowhere", 0))
    assert [(topic.name, topic.error_code, topic.topic_id) for topic in last.topics] == [
        ("nowhere", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, UUID(int=0))
    ]
    assert [topic.topic_authorized_operations for topic in last.topics] == [OPERATIONS_ON_TOPIC]
    assert last.next_cursor is None


async def test_a_cursor_may_stand_where_nothing_is_any_more(house: House) -> None:
    """Topics are deleted between two pages."""
    assert partitions_of(page(house, cursor=("between", 3))) == [item for item in EVERYTHING if item[0] == "orders"]
    response = page(house, cursor=("orders", 99))
    assert [(topic.name, topic.partitions) for topic in response.topics] == [("orders", ())]
    assert response.next_cursor is None


@pytest.mark.parametrize("cursor", [("b.events", 0), ("orders", -1)], ids=["none of the list", "negative"])
async def test_a_cursor_that_cannot_be_is_refused_for_each_topic(house: House, cursor: tuple[str, int]) -> None:
    response = page(house, "orders", "audit", cursor=cursor)
    assert [(topic.name, topic.error_code) for topic in response.topics] == [
        ("orders", ErrorCode.INVALID_REQUEST),
        ("audit", ErrorCode.INVALID_REQUEST),
    ]
    assert {topic.topic_authorized_operations for topic in response.topics} == {OPERATIONS_UNKNOWN}
