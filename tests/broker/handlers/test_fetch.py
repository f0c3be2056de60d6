"""Fetch: what is read, in which order and how much of it, and when it waits [F-1…F-3, F-5, L-1, L-5]."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from support.house import House, a_house
from tidelog.broker.request import Pending
from tidelog.protocol import batch as batches
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    PartitionData,
    ReplicaState,
)
from tidelog.protocol.records import build_batch, iterate


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with the topic `orders` of two partitions."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 2)
        yield house


def a_batch(*values: bytes) -> bytearray:
    return build_batch((None, value, (), 1_700_000_000_000) for value in values)


def a_fetch(*wanted: tuple[int, int], size: int = 1 << 20, **fields: int) -> FetchRequest:
    """Of `orders`, from (partition, offset) each."""
    partitions = tuple(
        FetchPartition(partition=partition, fetch_offset=offset, partition_max_bytes=size)
        for partition, offset in wanted
    )
    settings = {"max_wait_ms": 0, "min_bytes": 1, "max_bytes": 1 << 24, **fields}
    return FetchRequest(topics=(FetchTopic(topic="orders", partitions=partitions),), **settings)  # type: ignore[arg-type]


async def fetched(house: House, request: FetchRequest, version: int = 12) -> list[PartitionData]:
    response = await house.ask(request, version)
    assert isinstance(response, FetchResponse)
    return [partition for topic in response.responses for partition in topic.partitions]


def values(data: PartitionData) -> list[bytes | None]:
    assert data.records is not None
    view = memoryview(data.records)
    return [
        record.value
        for position, header in batches.walk(view)
        for record in iterate(view[position : position + header.size])
    ]


async def test_what_was_produced_is_fetched_with_where_it_stands(house: House) -> None:
    """F-3."""
    await house.produce("orders", a_batch(b"a", b"b"))
    [data] = await fetched(house, a_fetch((0, 0)))
    assert values(data) == [b"a", b"b"]
    assert (data.high_watermark, data.last_stable_offset, data.log_start_offset) == (2, 2, 0)
    assert data.aborted_transactions is None
    assert data.preferred_read_replica == -1
    [committed] = await fetched(house, a_fetch((0, 0), isolation_level=1))
    assert committed.aborted_transactions == ()


async def test_an_offset_inside_a_batch_gets_the_whole_batch(house: House) -> None:
    """L-5."""
    await house.produce("orders", a_batch(b"a", b"b", b"c"))
    await house.produce("orders", a_batch(b"d"))
    [data] = await fetched(house, a_fetch((0, 1)))
    assert values(data) == [b"a", b"b", b"c", b"d"]


async def test_at_the_end_there_is_nothing_beyond_it_an_error(house: House) -> None:
    """L-1."""
    await house.produce("orders", a_batch(b"a"))
    [at_end, beyond, before] = await fetched(house, a_fetch((0, 1), (0, 2), (0, -1)))
    assert (at_end.error_code, values(at_end)) == (ErrorCode.NONE, [])
    assert (beyond.error_code, beyond.high_watermark) == (ErrorCode.OFFSET_OUT_OF_RANGE, 1)
    assert before.error_code == ErrorCode.OFFSET_OUT_OF_RANGE


async def test_limits_hold_in_request_order_but_the_first_batch_always_comes(house: House) -> None:
    """F-2."""
    large = a_batch(b"x" * 5000)
    for partition in (0, 1):
        await house.produce("orders", large, partition=partition)
        await house.produce("orders", large, partition=partition)
    first, second = await fetched(house, a_fetch((1, 0), (0, 0), size=100, max_bytes=100))
    assert (first.partition_index, len(values(first))) == (1, 1)
    assert (second.partition_index, len(values(second))) == (0, 0)
    first, second = await fetched(house, a_fetch((0, 0), (1, 0), max_bytes=3 * len(large)))
    assert (len(values(first)), len(values(second))) == (2, 1)
    first, second = await fetched(house, a_fetch((0, 0), (1, 0), size=len(large)))
    assert (len(values(first)), len(values(second))) == (1, 1)


async def test_errors_are_answered_by_partition(house: House) -> None:
    """F-5, and at once [F-1]."""
    await house.produce("orders", a_batch(b"a"))
    known, unknown = await fetched(house, a_fetch((0, 0), (7, 0), max_wait_ms=60_000, min_bytes=1 << 20))
    assert (known.error_code, values(known)) == (ErrorCode.NONE, [b"a"])
    assert unknown.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    topic = FetchTopic(topic_id=UUID(int=9), partitions=(FetchPartition(partition=0),))
    [by_id] = await fetched(house, FetchRequest(topics=(topic,), max_bytes=1000), 13)
    assert by_id.error_code == ErrorCode.UNKNOWN_TOPIC_ID


@pytest.mark.parametrize(("epoch", "code"), [(-1, 0), (0, 0), (1, ErrorCode.UNKNOWN_LEADER_EPOCH)])
async def test_a_leader_epoch_that_is_not_ours_is_refused(house: House, epoch: int, code: int) -> None:
    partition = FetchPartition(partition=0, current_leader_epoch=epoch, partition_max_bytes=1000)
    request = FetchRequest(topics=(FetchTopic(topic="orders", partitions=(partition,)),), max_bytes=1000)
    [data] = await fetched(house, request)
    assert data.error_code == code


@pytest.mark.parametrize(
    "request_as_replica",
    [a_fetch((0, 0), replica_id=2), FetchRequest(replica_state=ReplicaState(replica_id=2, replica_epoch=1))],
)
async def test_nobody_fetches_as_a_replica(house: House, request_as_replica: FetchRequest) -> None:
    with pytest.raises(RequestRefused, match="only consumers"):
        house.call(request_as_replica, 15)


async def test_a_session_that_we_never_gave_out_is_unknown(house: House) -> None:
    response = await house.ask(a_fetch((0, 0), session_id=5, session_epoch=1), 12)
    assert isinstance(response, FetchResponse)
    assert response.error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    opened = await house.ask(a_fetch((0, 0), session_id=0, session_epoch=0), 12)
    assert isinstance(opened, FetchResponse)
    assert (opened.error_code, opened.session_id) == (ErrorCode.NONE, 0)


class Waiting:
    """A fetch that has been parked."""

    def __init__(self, house: House, request: FetchRequest) -> None:
        result = house.call(request, 12)
        assert isinstance(result, Pending), "it was answered at once"
        self.pending: Pending[object] = result
        self.responses: list[FetchResponse] = []
        self.answered = asyncio.Event()
        result.attach(self._answer)

    def _answer(self, response: object) -> None:
        assert isinstance(response, FetchResponse)
        self.responses.append(response)
        self.answered.set()

    def values(self) -> list[list[bytes | None]]:
        [response] = self.responses
        return [values(data) for topic in response.responses for data in topic.partitions]


async def test_a_fetch_waits_for_its_minimum_counting_every_partition(house: House) -> None:
    """F-1."""
    batch = a_batch(b"x" * 100)
    waiting = Waiting(house, a_fetch((0, 0), (1, 0), max_wait_ms=60_000, min_bytes=2 * len(batch)))
    assert waiting.pending.holds_connection
    await house.produce("orders", batch, partition=0)
    assert waiting.responses == []
    await house.produce("orders", batch, partition=1)
    assert waiting.values() == [[b"x" * 100], [b"x" * 100]]
    assert len(house.server.services.delayed_fetches) == 0


async def test_a_fetch_that_waits_sees_only_what_is_durable(house: House) -> None:
    waiting = Waiting(house, a_fetch((0, 0), max_wait_ms=60_000))
    await house.produce("orders", a_batch(b"a"), acks=1)
    async with asyncio.timeout(20):
        await waiting.answered.wait()
    partition = house.server.topics.by_name("orders").partitions[0]  # type: ignore[union-attr]
    assert partition.log.recovery_point == 1
    assert waiting.values() == [[b"a"]]


async def test_at_the_deadline_what_is_there_is_answered(house: House) -> None:
    await house.produce("orders", a_batch(b"a"))
    [data] = await fetched(house, a_fetch((0, 0), max_wait_ms=5, min_bytes=1 << 20))
    assert values(data) == [b"a"]


async def test_deleting_a_topic_ends_the_wait(house: House) -> None:
    """L-14."""
    waiting = Waiting(house, a_fetch((0, 0), max_wait_ms=60_000))
    await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="orders"),)))
    [response] = waiting.responses
    assert response.responses[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_client_that_went_away_is_not_waited_for(house: House) -> None:
    waiting = Waiting(house, a_fetch((0, 0), (1, 0), max_wait_ms=60_000))
    waiting.pending.abandon()
    assert len(house.server.services.delayed_fetches) == 0
    await house.produce("orders", a_batch(b"a"))
    assert waiting.responses == []


async def test_a_fetch_of_nothing_does_not_wait(house: House) -> None:
    response = await house.ask(FetchRequest(max_wait_ms=60_000, min_bytes=1), 12)
    assert response == FetchResponse()


async def test_a_minimum_above_the_most_it_takes_is_the_most_it_takes(house: House) -> None:
    await house.produce("orders", a_batch(b"a" * 200))
    [data] = await fetched(house, a_fetch((0, 0), max_wait_ms=60_000, min_bytes=1 << 20, max_bytes=100))
    assert values(data) == [b"a" * 200]


async def test_a_topic_that_is_named_in_no_way_is_an_unknown_id(house: House) -> None:
    """F-5: from v13 on a topic has no name, and the id of none is no topic's."""
    topic = FetchTopic(partitions=(FetchPartition(partition=0),))
    [data] = await fetched(house, FetchRequest(topics=(topic,), max_bytes=1000), 13)
    assert data.error_code == ErrorCode.UNKNOWN_TOPIC_ID
