"""Fetch: what is read, in which order and how much of it, and when it waits [F-1…F-7, L-1, L-5, L-14, L-15]."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from support.house import House, a_house
from tidelog.broker.request import Pending
from tidelog.protocol import batch as batches
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.fetch import (
    EpochEndOffset,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    ForgottenTopic,
    LeaderIdAndEpoch,
    NodeEndpoint,
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
    [at_end], [beyond], [before] = [await fetched(house, a_fetch((0, offset))) for offset in (1, 2, -1)]
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
    waiting = Waiting(house, a_fetch((0, 0), (1, 0), max_wait_ms=60_000))
    await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="orders"),)))
    [response] = waiting.responses
    codes = [data.error_code for data in response.responses[0].partitions]
    assert codes == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION] * 2


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


async def test_what_does_not_fit_under_the_limits_counts_as_there(house: House) -> None:
    """F-1: Kafka would have sent a piece of the batch; whole ones alone would leave the minimum out of reach."""
    batch = a_batch(b"a" * 200)
    for _ in range(2):
        await house.produce("orders", batch)
    size = len(batch) + 100
    [data] = await fetched(house, a_fetch((0, 0), size=size, max_wait_ms=60_000, min_bytes=size))
    assert len(values(data)) == 1
    [data] = await fetched(house, a_fetch((0, 0), max_bytes=size, max_wait_ms=60_000, min_bytes=size))
    assert len(values(data)) == 1


async def test_of_each_partition_no_more_counts_than_it_may_give(house: House) -> None:
    """F-1: min_bytes counts min(available, partition_max_bytes)."""
    batch = a_batch(b"x" * 100)
    request = a_fetch((0, 0), (1, 0), size=len(batch), max_wait_ms=60_000, min_bytes=2 * len(batch))
    waiting = Waiting(house, request)
    for _ in range(3):
        await house.produce("orders", batch, partition=0)
    assert waiting.responses == []
    await house.produce("orders", batch, partition=1)
    assert waiting.values() == [[b"x" * 100], [b"x" * 100]]


async def test_the_brokers_own_limit_bounds_the_minimum(tmp_path: Path) -> None:
    """F-1, F-2: a client that asks for more than any fetch returns is not left waiting."""
    async with a_house(tmp_path / "small", "fetch.max.bytes=1024") as house:
        await house.create("orders", 1)
        for _ in range(4):
            await house.produce("orders", a_batch(b"x" * 400))
        [data] = await fetched(house, a_fetch((0, 0), max_wait_ms=60_000, min_bytes=1 << 20))
        assert len(values(data)) == 2


async def test_bytes_are_counted_when_they_are_sent(house: House) -> None:
    batch = a_batch(b"x" * 100)
    partition = house.server.topics.by_name("orders").partitions[0]  # type: ignore[union-attr]
    await house.produce("orders", batch)
    waiting = Waiting(house, a_fetch((0, 0), max_wait_ms=60_000, min_bytes=2 * len(batch)))
    assert partition.bytes_out == 0
    await house.produce("orders", batch)
    assert waiting.values() == [[b"x" * 100] * 2]
    assert partition.bytes_out == 2 * len(batch)


async def test_a_partition_named_twice_is_answered_once_by_its_last_word(house: House) -> None:
    """F-5, as in Kafka."""
    await house.produce("orders", a_batch(b"a"))
    await house.produce("orders", a_batch(b"b"))
    first, second = await fetched(house, a_fetch((0, 0), (1, 0), (0, 1)))
    assert (first.partition_index, values(first)) == (0, [b"b"])
    assert second.partition_index == 1


# Leader epochs


@pytest.fixture
async def torn(house: House) -> House:
    """Epoch 0 held offsets 0 to 3, of which a crash left two; epoch 2 went on from there, up to 5."""
    for value in (b"a", b"b"):
        await house.produce("orders", a_batch(value))
    partition = house.server.topics.by_name("orders").partitions[0]  # type: ignore[union-attr]
    partition.log.leader_epochs.assign(2, 2)
    for value in (b"c", b"d", b"e"):
        await house.produce("orders", a_batch(value))
    return house


def a_fetch_of_an_epoch(offset: int, last: int, *, current: int = -1, max_wait_ms: int = 60_000) -> FetchRequest:
    asked = FetchPartition(
        partition=0,
        fetch_offset=offset,
        last_fetched_epoch=last,
        current_leader_epoch=current,
        partition_max_bytes=1 << 20,
    )
    topic = FetchTopic(topic="orders", partitions=(asked,))
    return FetchRequest(max_wait_ms=max_wait_ms, min_bytes=1, max_bytes=1 << 20, topics=(topic,))


@pytest.mark.parametrize(
    ("offset", "last", "divergence"),
    [
        (2, 0, None),
        (1, 0, None),
        (5, 2, None),
        (3, 0, EpochEndOffset(epoch=0, end_offset=2)),
        (4, 0, EpochEndOffset(epoch=0, end_offset=2)),
        (2, 1, EpochEndOffset(epoch=0, end_offset=2)),
        (99, 2, EpochEndOffset(epoch=2, end_offset=5)),
    ],
)
async def test_a_reader_whose_log_was_another_is_told_where_they_part(
    torn: House, offset: int, last: int, divergence: EpochEndOffset | None
) -> None:
    """L-15, KIP-595; at once, and without records [F-1]."""
    [data] = await fetched(torn, a_fetch_of_an_epoch(offset, last, max_wait_ms=60_000 if divergence else 0))
    assert data.error_code == 0
    assert data.diverging_epoch == (divergence or EpochEndOffset())
    assert values(data) == ([] if divergence else [b"a", b"b", b"c", b"d", b"e"][offset:])
    assert data.high_watermark == 5


async def test_an_epoch_that_we_never_had_is_out_of_range(torn: House) -> None:
    """As in Kafka: what it read is not known here."""
    [data] = await fetched(torn, a_fetch_of_an_epoch(3, 3))
    assert data.error_code == ErrorCode.OFFSET_OUT_OF_RANGE


async def test_before_the_start_of_the_log_nothing_diverges(torn: House) -> None:
    [data] = await fetched(torn, a_fetch_of_an_epoch(-1, 1))
    assert data.error_code == ErrorCode.OFFSET_OUT_OF_RANGE


@pytest.mark.parametrize(("version", "is_hinted"), [(12, False), (15, False), (16, True), (18, True)])
async def test_who_knows_an_old_epoch_is_told_who_leads(torn: House, version: int, is_hinted: bool) -> None:
    """KIP-951."""
    request = a_fetch_of_an_epoch(0, -1, current=1)
    if version >= 13:
        topic_id = torn.server.topics.by_name("orders").topic_id  # type: ignore[union-attr]
        request = replace(request, topics=(replace(request.topics[0], topic="", topic_id=topic_id),))
    response = await torn.ask(request, version)
    assert isinstance(response, FetchResponse)
    [data] = response.responses[0].partitions
    assert data.error_code == ErrorCode.FENCED_LEADER_EPOCH
    assert data.current_leader == (LeaderIdAndEpoch(leader_id=1, leader_epoch=2) if is_hinted else LeaderIdAndEpoch())
    hint = NodeEndpoint(node_id=1, host="dialled.example", port=9092)
    assert response.node_endpoints == ((hint,) if is_hinted else ())


async def test_who_knows_a_newer_epoch_is_told_nothing_of_leaders(torn: House) -> None:
    response = await torn.ask(a_fetch_of_an_epoch(0, -1, current=3), 16)
    assert isinstance(response, FetchResponse)
    assert response.responses[0].partitions[0].error_code == ErrorCode.UNKNOWN_LEADER_EPOCH
    assert response.node_endpoints == ()


async def test_what_only_replicas_say_is_ignored_and_nobody_is_sent_to_another_rack(house: House) -> None:
    """F-7; v17 and v18."""
    await house.produce("orders", a_batch(b"a"))
    asked = FetchPartition(
        partition=0, partition_max_bytes=1000, replica_directory_id=UUID(int=7), high_watermark=99, log_start_offset=4
    )
    topic_id = house.server.topics.by_name("orders").topic_id  # type: ignore[union-attr]
    topic = FetchTopic(topic_id=topic_id, partitions=(asked,))
    [data] = await fetched(house, FetchRequest(max_bytes=1000, topics=(topic,), rack_id="elsewhere"), 18)
    assert values(data) == [b"a"]
    assert (data.preferred_read_replica, data.high_watermark) == (-1, 1)


# Sessions


async def session_of(house: House, *wanted: tuple[int, int], version: int = 12) -> int:
    """The id of a session that was opened with a full fetch."""
    opened = await house.ask(a_fetch(*wanted, session_epoch=0), version)
    assert isinstance(opened, FetchResponse)
    assert len([data for topic in opened.responses for data in topic.partitions]) == len(wanted)
    assert opened.session_id > 0
    return opened.session_id


async def test_a_session_answers_only_what_is_new(house: House) -> None:
    """F-4."""
    session_id = await session_of(house, (0, 0), (1, 0))
    response = await house.ask(FetchRequest(max_bytes=1000, session_id=session_id, session_epoch=1), 12)
    assert response == FetchResponse(session_id=session_id)
    await house.produce("orders", a_batch(b"a"), partition=1)
    [data] = await fetched(house, FetchRequest(max_bytes=1000, session_id=session_id, session_epoch=2))
    assert (data.partition_index, values(data), data.high_watermark) == (1, [b"a"], 1)
    moved_on = a_fetch((1, 1), session_id=session_id, session_epoch=3)
    assert await house.ask(moved_on, 12) == FetchResponse(session_id=session_id)


@pytest.mark.parametrize(
    ("session_id", "epoch", "version", "code"),
    [
        (5, 1, 12, ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
        (0, 1, 12, ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
        (None, 2, 12, ErrorCode.INVALID_FETCH_SESSION_EPOCH),
        (None, 1, 13, ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR),
    ],
)
async def test_a_session_that_does_not_fit_is_refused_as_a_whole(
    house: House, session_id: int | None, epoch: int, version: int, code: ErrorCode
) -> None:
    ours = await session_of(house, (0, 0))
    request = FetchRequest(session_id=ours if session_id is None else session_id, session_epoch=epoch, max_wait_ms=9999)
    assert await house.ask(request, version) == FetchResponse(error_code=code)


async def test_a_waiting_fetch_of_a_session_is_answered_once_with_what_is_there_then(house: House) -> None:
    session_id = await session_of(house, (0, 0), (1, 0))
    waiting = Waiting(
        house, FetchRequest(session_id=session_id, session_epoch=1, max_wait_ms=60_000, min_bytes=1, max_bytes=1 << 20)
    )
    await house.produce("orders", a_batch(b"a"), partition=1)
    [response] = waiting.responses
    assert response.session_id == session_id
    assert waiting.values() == [[b"a"]]
    assert await house.ask(a_fetch((1, 1), session_id=session_id, session_epoch=2), 12) == FetchResponse(
        session_id=session_id
    )


async def test_a_waiting_fetch_whose_session_went_on_elsewhere_is_refused(house: House) -> None:
    session_id = await session_of(house, (0, 0))
    waiting = Waiting(house, a_fetch(session_id=session_id, session_epoch=1, max_wait_ms=60_000))
    assert await house.ask(FetchRequest(session_id=session_id, session_epoch=2), 12) == FetchResponse(
        session_id=session_id
    )
    await house.produce("orders", a_batch(b"a"))
    assert waiting.responses == [FetchResponse(error_code=ErrorCode.INVALID_FETCH_SESSION_EPOCH, session_id=session_id)]


async def test_a_session_by_name_hears_that_its_topic_is_gone_before_it_reads_the_next(house: House) -> None:
    """L-14."""
    await house.produce("orders", a_batch(b"old"))
    session_id = await session_of(house, (0, 1))
    await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="orders"),)))
    await house.create("orders", 1)
    for value in (b"new", b"newer"):
        await house.produce("orders", a_batch(value))
    request = FetchRequest(session_id=session_id, session_epoch=1, max_bytes=1000, max_wait_ms=60_000, min_bytes=1)
    [gone] = await fetched(house, request)
    assert (gone.error_code, gone.high_watermark, values(gone)) == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, [])
    [found] = await fetched(house, replace(request, session_epoch=2))
    assert (found.error_code, found.high_watermark, values(found)) == (0, 2, [b"newer"])


async def test_a_session_by_id_never_reads_the_topic_that_took_the_name(house: House) -> None:
    """L-14."""
    topic_id = house.server.topics.by_name("orders").topic_id  # type: ignore[union-attr]
    topic = FetchTopic(topic_id=topic_id, partitions=(FetchPartition(partition=0, partition_max_bytes=1000),))
    opened = await house.ask(FetchRequest(session_epoch=0, max_bytes=1000, topics=(topic,)), 13)
    assert isinstance(opened, FetchResponse)
    await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="orders"),)))
    await house.create("orders", 1)
    await house.produce("orders", a_batch(b"new"))
    for epoch in (1, 2):
        request = FetchRequest(session_id=opened.session_id, session_epoch=epoch, max_bytes=1000, max_wait_ms=60_000)
        [data] = await fetched(house, request, 13)
        assert data.error_code == ErrorCode.UNKNOWN_TOPIC_ID
    forgotten = ForgottenTopic(topic_id=topic_id, partitions=(0,))
    request = FetchRequest(session_id=opened.session_id, session_epoch=3, forgotten_topics_data=(forgotten,))
    assert await house.ask(request, 13) == FetchResponse()


async def test_in_a_session_whoever_was_served_waits_behind_the_others(house: House) -> None:
    """F-2, F-4."""
    for partition in (0, 1):
        await house.produce("orders", a_batch(b"x" * 500), partition=partition)
    session_id = await session_of(house, (0, 0), (1, 0))
    order = []
    for epoch in (1, 2, 3, 4):
        request = FetchRequest(session_id=session_id, session_epoch=epoch, max_bytes=100, max_wait_ms=60_000)
        order.append([data.partition_index for data in await fetched(house, request) if data.records])
    assert order == [[0], [1], [0], [1]]


async def test_without_slots_every_fetch_is_a_full_one(tmp_path: Path) -> None:
    async with a_house(tmp_path / "full", "max.incremental.fetch.session.cache.slots=0") as house:
        await house.create("orders", 1)
        opened = await house.ask(a_fetch((0, 0), session_epoch=0), 12)
        assert isinstance(opened, FetchResponse)
        assert (opened.error_code, opened.session_id) == (0, 0)


async def test_a_topic_that_is_named_in_no_way_is_an_unknown_id(house: House) -> None:
    """F-5: from v13 on a topic has no name, and the id of none is no topic's."""
    topic = FetchTopic(partitions=(FetchPartition(partition=0),))
    [data] = await fetched(house, FetchRequest(topics=(topic,), max_bytes=1000), 13)
    assert data.error_code == ErrorCode.UNKNOWN_TOPIC_ID
