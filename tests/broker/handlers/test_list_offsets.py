"""ListOffsets: the offset at a point in time, to the record and never beyond what is visible [L-6, L-1, L-15]."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.builders import a_batch
from support.house import House, a_house
from tidelog.broker.request import Pending
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.compression import Codec
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.list_offsets import (
    EARLIEST,
    EARLIEST_LOCAL,
    EARLIEST_PENDING_UPLOAD,
    LATEST,
    LATEST_TIERED,
    MAX_TIMESTAMP,
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData

T0 = 1_700_000_000_000


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with the topic `orders` of two partitions."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 2)
        yield house


def partition(house: House, index: int = 0) -> Partition:
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    return topic.partitions[index]


async def listed(
    house: House, *wanted: tuple[int, int], version: int = 11, epoch: int = -1
) -> list[ListOffsetsPartitionResponse]:
    """Of `orders`, for (partition, timestamp) each."""
    partitions = tuple(
        ListOffsetsPartition(partition_index=index, timestamp=timestamp, current_leader_epoch=epoch)
        for index, timestamp in wanted
    )
    request = ListOffsetsRequest(replica_id=-1, topics=(ListOffsetsTopic(name="orders", partitions=partitions),))
    response = await house.ask(request, version)
    assert isinstance(response, ListOffsetsResponse)
    [topic] = response.topics
    assert topic.name == "orders"
    assert [one.partition_index for one in topic.partitions] == [index for index, _ in wanted]
    return list(topic.partitions)


async def found(house: House, timestamp: int, *, version: int = 11) -> tuple[int, int, int]:
    """Offset, timestamp and leader epoch found in the first partition."""
    [result] = await listed(house, (0, timestamp), version=version)
    assert result.error_code == ErrorCode.NONE
    return result.offset, result.timestamp, result.leader_epoch


async def test_the_ends_of_an_empty_partition_are_its_beginning(house: House) -> None:
    assert await found(house, EARLIEST) == (0, -1, 0)
    assert await found(house, LATEST) == (0, -1, 0)
    assert await found(house, MAX_TIMESTAMP) == (-1, -1, -1)
    assert await found(house, T0) == (-1, -1, -1)


async def test_earliest_is_the_logs_start_and_latest_its_end(house: House) -> None:
    await house.produce("orders", a_batch([b"a", b"b", b"c"]))
    assert await found(house, EARLIEST) == (0, -1, 0)
    assert await found(house, EARLIEST_LOCAL) == (0, -1, 0)
    assert await found(house, LATEST) == (3, -1, 0)


async def test_latest_is_the_high_watermark_and_nothing_above_it_is_found(house: House) -> None:
    """L-1, L-6: what a power cut could take back is not there yet."""
    await house.produce("orders", a_batch([b"durable"], base_timestamp=T0))
    data = PartitionProduceData(index=0, records=memoryview(a_batch([b"written"], base_timestamp=T0 + 100)))
    house.call(ProduceRequest(acks=-1, topic_data=(TopicProduceData(name="orders", partition_data=(data,)),)), 12)
    # No turn of the loop, so no commit round, has passed since then.
    assert partition(house).log.written_offset == 2
    assert offsets_now(house, LATEST, T0 + 50, MAX_TIMESTAMP) == [1, -1, 0]
    await house.produce("orders", a_batch([b"later"], base_timestamp=T0))
    assert offsets_now(house, LATEST, T0 + 50, MAX_TIMESTAMP) == [3, 1, 1]


def offsets_now(house: House, *timestamps: int) -> list[int]:
    """Found in the first partition without a turn of the loop."""
    offsets = []
    for timestamp in timestamps:
        wanted = ListOffsetsPartition(partition_index=0, timestamp=timestamp)
        response = house.call(ListOffsetsRequest(topics=(ListOffsetsTopic(name="orders", partitions=(wanted,)),)))
        assert isinstance(response, ListOffsetsResponse)
        offsets.append(response.topics[0].partitions[0].offset)
    return offsets


@pytest.mark.parametrize("codec", Codec)
async def test_a_timestamp_leads_to_the_first_record_not_older(house: House, codec: Codec) -> None:
    """L-6: inside the batch, compressed or not."""
    await house.produce("orders", a_batch([b"x"] * 5, base_timestamp=T0, timestamp_step=10, codec=codec))
    await house.produce("orders", a_batch([b"x"] * 5, base_timestamp=T0 + 100, timestamp_step=10, codec=codec))
    assert await found(house, 0) == (0, T0, 0)
    assert await found(house, T0) == (0, T0, 0)
    assert await found(house, T0 + 1) == (1, T0 + 10, 0)
    assert await found(house, T0 + 40) == (4, T0 + 40, 0)
    assert await found(house, T0 + 41) == (5, T0 + 100, 0)
    assert await found(house, T0 + 140) == (9, T0 + 140, 0)
    assert await found(house, T0 + 141) == (-1, -1, -1)
    assert await found(house, 2**63 - 1) == (-1, -1, -1)


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.ZSTD])
async def test_timestamps_need_not_grow_with_the_offsets(house: House, codec: Codec) -> None:
    """L-6: the first by offset, also where a later record is older."""
    await house.produce("orders", a_batch([b"x"] * 3, base_timestamp=T0 + 50, timestamp_step=-20, codec=codec))
    await house.produce("orders", a_batch([b"x"], base_timestamp=T0, codec=codec))
    assert await found(house, T0) == (0, T0 + 50, 0)
    assert await found(house, T0 + 40) == (0, T0 + 50, 0)
    assert await found(house, MAX_TIMESTAMP) == (0, T0 + 50, 0)


async def test_the_maximum_is_a_record_not_a_batch(house: House) -> None:
    """L-6: -3, KIP-734."""
    await house.produce("orders", a_batch([b"x"] * 3, base_timestamp=T0, timestamp_step=10, codec=Codec.GZIP))
    await house.produce("orders", a_batch([b"x"] * 3, base_timestamp=T0 + 15, timestamp_step=-1))
    assert await found(house, MAX_TIMESTAMP) == (2, T0 + 20, 0)


async def test_a_timestamp_is_found_behind_many_segments(house: House) -> None:
    await house.create("rolling", segment_bytes="1024", index_interval_bytes="256")
    for number in range(60):
        await house.produce("rolling", a_batch([b"x" * 200], base_timestamp=T0 + number * 10))
    topic = house.server.topics.by_name("rolling")
    assert topic is not None
    assert topic.partitions[0].segment_count > 5
    for number in (0, 1, 29, 59):
        wanted = ListOffsetsPartition(partition_index=0, timestamp=T0 + number * 10 - 3)
        response = await house.ask(ListOffsetsRequest(topics=(ListOffsetsTopic(name="rolling", partitions=(wanted,)),)))
        assert isinstance(response, ListOffsetsResponse)
        [result] = response.topics[0].partitions
        assert (result.offset, result.timestamp) == (number, T0 + number * 10)


async def test_nothing_is_tiered_so_nothing_is_found_there(house: House) -> None:
    """L-6: -5, -6."""
    await house.produce("orders", a_batch())
    assert await found(house, LATEST_TIERED) == (-1, -1, -1)
    assert await found(house, EARLIEST_PENDING_UPLOAD) == (-1, -1, -1)


@pytest.mark.parametrize(
    ("timestamp", "since"),
    [(LATEST, 1), (EARLIEST, 1), (MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9), (-6, 11)],
)
async def test_a_special_timestamp_means_something_from_its_version_on(
    house: House, timestamp: int, since: int
) -> None:
    for version in range(1, 12):
        [result] = await listed(house, (0, timestamp), version=version)
        assert (result.error_code == ErrorCode.NONE) == (version >= since)
        assert result.error_code in {ErrorCode.NONE, ErrorCode.UNSUPPORTED_VERSION}


async def test_any_other_negative_timestamp_means_nothing(house: House) -> None:
    [result] = await listed(house, (0, -7))
    assert (result.error_code, result.offset) == (ErrorCode.UNSUPPORTED_VERSION, -1)


@pytest.mark.parametrize(
    ("epoch", "code"),
    [(-1, ErrorCode.NONE), (0, ErrorCode.NONE), (1, ErrorCode.UNKNOWN_LEADER_EPOCH)],
)
async def test_a_leader_epoch_that_is_not_ours_is_refused(house: House, epoch: int, code: ErrorCode) -> None:
    """L-15."""
    [result] = await listed(house, (0, LATEST), epoch=epoch)
    assert (result.error_code, result.offset) == (code, 0 if code == ErrorCode.NONE else -1)


async def test_partitions_are_answered_each_for_itself_in_the_order_asked(house: House) -> None:
    await house.produce("orders", a_batch([b"a", b"b"]), partition=1)
    results = await listed(house, (1, LATEST), (2, LATEST), (0, LATEST), (-1, LATEST))
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert [(one.error_code, one.offset) for one in results] == [(0, 2), (unknown, -1), (0, 0), (unknown, -1)]


async def test_a_partition_that_is_asked_for_twice_is_refused_both_times(house: House) -> None:
    results = await listed(house, (0, EARLIEST), (1, LATEST), (0, LATEST))
    codes = [result.error_code for result in results]
    assert codes == [ErrorCode.INVALID_REQUEST, ErrorCode.NONE, ErrorCode.INVALID_REQUEST]


@pytest.mark.parametrize("name", ["nowhere", "", "__cluster_metadata"])
async def test_an_unknown_topic_is_said_so(house: House, name: str) -> None:
    topic = ListOffsetsTopic(name=name, partitions=(ListOffsetsPartition(timestamp=LATEST),))
    response = await house.ask(ListOffsetsRequest(topics=(topic,)))
    assert isinstance(response, ListOffsetsResponse)
    [result] = response.topics[0].partitions
    assert result.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_each_search_for_a_time_has_a_turn_of_the_loop_to_itself(house: House) -> None:
    """Each may take a while, and others are served in between."""
    partitions = tuple(ListOffsetsPartition(partition_index=index, timestamp=T0) for index in range(2))
    request = ListOffsetsRequest(replica_id=-1, topics=(ListOffsetsTopic(name="orders", partitions=partitions),))
    pending = house.call(request, 11)
    assert isinstance(pending, Pending)
    answers = [pending.response]
    await asyncio.sleep(0)
    answers.append(pending.response)
    assert [type(answer) for answer in answers] == [type(None), ListOffsetsResponse]
    one = replace(request, topics=(replace(request.topics[0], partitions=partitions[:1]),))
    assert isinstance(house.call(one, 11), ListOffsetsResponse)


async def test_a_search_that_nobody_waits_for_ends(house: House) -> None:
    partitions = tuple(ListOffsetsPartition(partition_index=index % 2, timestamp=T0) for index in (0, 1))
    request = ListOffsetsRequest(replica_id=-1, topics=(ListOffsetsTopic(name="orders", partitions=partitions),))
    pending = house.call(request, 11)
    assert isinstance(pending, Pending)
    pending.abandon()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pending.response is None
