"""DescribeQuorum: one voter, which leads, is always caught up, and is where the client found it (KIP-595, KIP-836)."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from support.bench import Bench, on_the_bench
from support.house import House, a_house
from tidelog.broker.request import Address
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    Listener,
    PartitionData,
    ReplicaState,
    ResponsePartitionData,
    TopicData,
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Node 7."""
    async with a_house(tmp_path / "data", "node.id=7") as house:
        yield house


def about(**partitions: tuple[int, ...]) -> DescribeQuorumRequest:
    return DescribeQuorumRequest(
        topics=tuple(
            TopicData(topic_name=name, partitions=tuple(PartitionData(partition_index=index) for index in indexes))
            for name, indexes in partitions.items()
        )
    )


QUORUM = about(__cluster_metadata=(0,))


def described(house: House, request: DescribeQuorumRequest, version: int = 2) -> DescribeQuorumResponse:
    response = house.call(request, version)
    assert isinstance(response, DescribeQuorumResponse)
    assert response.error_code == ErrorCode.NONE
    return response


def partition_of(house: House, version: int = 2) -> ResponsePartitionData:
    [topic] = described(house, QUORUM, version).topics
    assert topic.topic_name == "__cluster_metadata"
    [partition] = topic.partitions
    return partition


@pytest.mark.parametrize("version", range(3))
async def test_the_quorum_is_this_node(house: House, version: int) -> None:
    partition = partition_of(house, version)
    assert (partition.partition_index, partition.error_code) == (0, ErrorCode.NONE)
    assert (partition.leader_id, partition.leader_epoch) == (7, 0)
    assert [voter.replica_id for voter in partition.current_voters] == [7]
    assert partition.observers == ()


async def test_the_voter_is_found_where_the_client_found_the_broker(house: House) -> None:
    house.client.advertised = Address("found.example", 29092)
    [node] = described(house, QUORUM).nodes
    assert node.node_id == 7
    assert node.listeners == (Listener(name="CONTROLLER", host="found.example", port=29092),)


@on_the_bench
async def test_the_leader_is_caught_up_at_this_moment_with_all_that_was_decided(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    partition = partition_of(house)
    end = house.server.services.metadata_log.end_offset
    assert end > 0
    assert partition.high_watermark == end
    now_ms = bench.environment.now_ms()
    assert partition.current_voters == (
        ReplicaState(
            replica_id=1,
            replica_directory_id=UUID(int=0),
            log_end_offset=end,
            last_fetch_timestamp=now_ms,
            last_caught_up_timestamp=now_ms,
        ),
    )


@on_the_bench
async def test_what_is_not_durable_lies_above_the_high_watermark(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    before = partition_of(house)
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    house.server.topics.delete(topic, lambda _: None)
    partition = partition_of(house)
    assert partition.high_watermark == before.high_watermark
    assert partition.current_voters[0].log_end_offset == before.high_watermark + 1


@pytest.mark.parametrize(
    "request_",
    [
        about(orders=(0,)),
        about(__cluster_metadata=(1,)),
        about(__cluster_metadata=(0, 0)),
        about(__cluster_metadata=(0,), orders=(0, 1)),
        about(__cluster_metadata=()),
        about(),
    ],
)
async def test_nothing_else_has_a_quorum(house: House, request_: DescribeQuorumRequest) -> None:
    await house.create("orders")
    response = described(house, request_)
    assert [(topic.topic_name, [one.partition_index for one in topic.partitions]) for topic in response.topics] == [
        (topic.topic_name, [one.partition_index for one in topic.partitions]) for topic in request_.topics
    ]
    codes = {partition.error_code for topic in response.topics for partition in topic.partitions}
    assert codes <= {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
    assert response.nodes == ()
