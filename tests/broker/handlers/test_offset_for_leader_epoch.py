"""OffsetForLeaderEpoch: where epochs ended, as far as consumers may know [L-15]."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from support.house import House, a_house
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with `orders`: epoch 0 wrote two records, epoch 3 another three."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 1)
        await house.produce("orders", a_batch([b"a", b"b"]))
        partition_of(house).log.leader_epochs.assign(3, 2)
        await house.produce("orders", a_batch([b"c", b"d", b"e"]))
        yield house


def partition_of(house: House) -> Partition:
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    return topic.partitions[0]


async def asked(
    house: House, epoch: int, *, partition: int = 0, current: int = -1, topic: str = "orders", replica_id: int = -1
) -> EpochEndOffset:
    wanted = OffsetForLeaderPartition(partition=partition, current_leader_epoch=current, leader_epoch=epoch)
    topics = (OffsetForLeaderTopic(topic=topic, partitions=(wanted,)),)
    response = await house.ask(OffsetForLeaderEpochRequest(replica_id=replica_id, topics=topics))
    assert isinstance(response, OffsetForLeaderEpochResponse)
    [answered] = response.topics
    assert answered.topic == topic
    [end] = answered.partitions
    return end


@pytest.mark.parametrize(
    ("epoch", "leader_epoch", "end_offset"), [(0, 0, 2), (1, 0, 2), (2, 0, 2), (3, 3, 5), (4, -1, -1), (-1, -1, -1)]
)
async def test_an_epoch_ended_where_the_next_began(
    house: House, epoch: int, leader_epoch: int, end_offset: int
) -> None:
    assert await asked(house, epoch) == EpochEndOffset(partition=0, leader_epoch=leader_epoch, end_offset=end_offset)


@pytest.mark.parametrize(
    ("current", "code"),
    [(-1, 0), (3, 0), (2, ErrorCode.FENCED_LEADER_EPOCH), (4, ErrorCode.UNKNOWN_LEADER_EPOCH)],
)
async def test_who_is_wrong_about_the_current_epoch_is_refused(house: House, current: int, code: int) -> None:
    end = await asked(house, 0, current=current)
    assert end.error_code == code
    assert (end.leader_epoch, end.end_offset) == ((-1, -1) if code else (0, 2))


@pytest.mark.parametrize(("topic", "partition"), [("orders", 1), ("orders", -1), ("no such", 0), ("", 0)])
async def test_what_does_not_exist_has_no_epochs(house: House, topic: str, partition: int) -> None:
    unknown = EpochEndOffset(partition=partition, error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    assert await asked(house, 0, topic=topic, partition=partition) == unknown


@pytest.mark.parametrize("replica_id", [-2, -1, 0, 7])
def test_nobody_hears_of_an_end_that_is_not_durable_yet(replica_id: int) -> None:
    """Also who says that it is a replica: what it would do with the truth is no business of a consumer's broker."""

    @on_the_bench
    async def look(bench: Bench) -> None:
        house = await bench.serve()
        await house.create("orders", 1)
        await house.produce("orders", a_batch([b"a"]))
        partition = partition_of(house)
        bench.stage(partition, b"b")
        partition.write_out()
        assert (partition.log.end_offset, partition.high_watermark) == (2, 1)
        assert (await asked(house, 0, replica_id=replica_id)).end_offset == 1
        await house.produce("orders", a_batch([b"c"]))
        assert (await asked(house, 0, replica_id=replica_id)).end_offset == 3
        await house.server.stop()

    look()


async def test_what_nobody_knows_is_refused_and_not_answered(house: House) -> None:
    """Consumers take an unknown epoch for the loss of all that they have read, and begin elsewhere."""
    partition_of(house).log.leader_epochs.forget()
    for current in (-1, 0, 3):
        assert (await asked(house, 0, current=current)).error_code == ErrorCode.KAFKA_STORAGE_ERROR


async def test_topics_are_answered_in_their_order(house: House) -> None:
    request = OffsetForLeaderEpochRequest(
        topics=(
            OffsetForLeaderTopic(topic="no such", partitions=(OffsetForLeaderPartition(partition=0, leader_epoch=0),)),
            OffsetForLeaderTopic(
                topic="orders",
                partitions=tuple(OffsetForLeaderPartition(partition=index, leader_epoch=0) for index in (1, 0)),
            ),
        )
    )
    response = await house.ask(request)
    assert isinstance(response, OffsetForLeaderEpochResponse)
    assert [[end.partition for end in topic.partitions] for topic in response.topics] == [[0], [1, 0]]
    assert [[end.error_code for end in topic.partitions] for topic in response.topics] == [[3], [3, 0]]
