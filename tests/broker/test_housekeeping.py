"""What is done every now and then: durable marks, silent connections, the loop's lag. In virtual time."""

import asyncio
import errno
import logging

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from support.caller import a_caller
from support.house import House
from tidelog.broker.config import BrokerConfig
from tidelog.broker.topics.internal_topics import METADATA_TOPIC
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.metadata import MetadataRequest
from tidelog.protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from tidelog.storage.durable_mark import FILE_NAME, DurableMark

ADDRESS = "127.0.0.1:9092"
ASK = MetadataRequest(topics=())
BY_NAME = 12


def partition_of(house: House, name: str = "orders") -> Partition:
    topic = house.server.topics.by_name(name)
    assert topic is not None
    return topic.partitions[0]


def marks_written(bench: Bench, directory: str = "orders-0") -> int:
    return bench.disk.synced.count(f"{directory}/{FILE_NAME}")


def marked(bench: Bench, directory: str = "orders-0") -> int | None:
    """What the next start would take to be durable."""
    return DurableMark.read(bench.disk, directory).offset


# Durable marks


@on_the_bench
async def test_a_log_that_is_written_to_gets_a_mark_once_an_interval(bench: Bench) -> None:
    """House rule 1.6: at least once a second while it is dirty; not more often, it costs a sync."""
    house = await bench.serve()
    await house.create("orders")
    bench.disk.synced.clear()
    for _ in range(100):
        await house.produce("orders", a_batch())
        await asyncio.sleep(0.05)
    assert 4 <= marks_written(bench) <= 6
    await asyncio.sleep(1.1)
    assert marked(bench) == partition_of(house).log.recovery_point == 100


@on_the_bench
async def test_a_log_at_rest_costs_nothing(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    await house.produce("orders", a_batch())
    await asyncio.sleep(62.5)  # its mark has been written, and its checkpoint made
    bench.disk.synced.clear()
    calls, pooled = bench.disk.calls, bench.environment.pooled
    await asyncio.sleep(3600)
    assert (bench.disk.synced, bench.disk.calls, bench.environment.pooled) == ([], calls, pooled)


@on_the_bench
async def test_how_often_is_a_setting(bench: Bench) -> None:
    house = await bench.serve("log.flush.offset.checkpoint.interval.ms=10000")
    await house.create("orders")
    bench.disk.synced.clear()
    await house.produce("orders", a_batch())
    await asyncio.sleep(9)
    assert (marks_written(bench), marked(bench)) == (0, 0)
    await asyncio.sleep(1.5)
    assert (marks_written(bench), marked(bench)) == (1, 1)


@on_the_bench
async def test_the_metadata_log_gets_its_mark_too(bench: Bench) -> None:
    """Else a fact that rots would be cut off like a torn tail, and its topic forgotten."""
    house = await bench.serve()
    await house.create("orders")
    await asyncio.sleep(1.1)
    assert marked(bench, f"{METADATA_TOPIC}-0") == 1


@on_the_bench
async def test_a_mark_says_no_more_than_is_durable(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", write_caching="true", flush_ms="3600000")
    await house.produce("orders", a_batch())
    await asyncio.sleep(5)
    assert (partition_of(house).log.recovery_point, marked(bench)) == (0, 0)


@on_the_bench
async def test_marks_are_written_beside_the_loop(bench: Bench) -> None:
    house = await bench.serve(inline_sync_max_s=1.0)
    await house.create("orders")
    await house.produce("orders", a_batch())
    pooled = bench.environment.pooled
    await asyncio.sleep(1.1)
    assert bench.environment.pooled == pooled + 1, "all of them in one call"
    assert (marked(bench), marked(bench, f"{METADATA_TOPIC}-0")) == (1, 1)


@on_the_bench
async def test_a_disk_slower_than_the_interval_has_one_round_of_marks_at_a_time(bench: Bench) -> None:
    house = await bench.serve("log.flush.offset.checkpoint.interval.ms=100")
    await house.create("orders")
    await asyncio.sleep(1)
    bench.loop.pool_delay_s_min = 30.0
    pooled = bench.environment.pooled
    await house.produce("orders", a_batch(), acks=1)
    log = partition_of(house).log
    flush = log.begin_flush()
    assert flush is not None
    flush.sync()
    log.end_flush(flush)
    assert log.mark_is_behind
    await asyncio.sleep(1)
    assert log.mark_is_behind, "it takes longer than that"
    assert bench.environment.pooled == pooled + 1


def test_a_mark_that_cannot_be_written_is_reported_and_the_others_are(caplog: pytest.LogCaptureFixture) -> None:
    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        for name in ("events", "orders"):
            await house.create(name)
        await asyncio.sleep(1.1)
        for name in ("events", "orders"):
            await house.produce(name, a_batch())
        bench.disk.fail_next("write", errno.ENOSPC, path=f"events-0/{FILE_NAME}")
        caplog.clear()
        await asyncio.sleep(1)
        assert (marked(bench, "events-0"), marked(bench)) == (0, 1)
        [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.getMessage().startswith("durable mark not written error=events-0/")
        await asyncio.sleep(1)
        assert marked(bench, "events-0") == 1, "the old one held; the next round tries again"

    play()


def test_a_log_whose_file_was_removed_while_it_was_written_to_takes_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """No call fails: what is appended from then on is gone when the file is closed, acknowledged or not."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        for name in ("events", "orders"):
            await house.create(name)
            await house.produce(name, a_batch())
        bench.disk.remove("events-0/00000000000000000000.log")
        for name in ("events", "orders"):
            await house.produce(name, a_batch())
        caplog.clear()
        await asyncio.sleep(1.1)
        [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.getMessage() == (
            "log offline, durable mark not written "
            "error=events-0/00000000000000000000.log: removed while it was written to"
        )
        for name, code in (("events", ErrorCode.KAFKA_STORAGE_ERROR), ("orders", ErrorCode.NONE)):
            outcome = await house.produce(name, a_batch())
            assert isinstance(outcome, PartitionProduceResponse)
            assert outcome.error_code == code

    play()


@on_the_bench
async def test_a_deleted_log_gets_no_mark(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    await house.produce("orders", a_batch())
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    gone: list[object] = []
    house.server.topics.delete(topic, gone.append)
    await asyncio.sleep(3)
    assert gone == [topic]
    assert not bench.disk.exists("orders-0")


# Silent connections


@on_the_bench
async def test_a_silent_connection_is_closed_after_its_time(bench: Bench) -> None:
    house = await bench.serve("connections.max.idle.ms=10000")
    async with a_caller(ADDRESS) as silent, a_caller(ADDRESS) as busy:
        began = bench.loop.time()
        await silent.ask(ASK)
        for _ in range(11):
            await asyncio.sleep(0.9)
            await busy.ask(ASK)
        assert not silent.is_closed
        assert await silent.closed() == b""
        assert 10 < bench.loop.time() - began < 11.5
        await busy.ask(ASK)
        assert house.server.metrics.connections_closed == {"idle": 1}


@on_the_bench
async def test_who_waits_for_an_answer_is_not_silent(bench: Bench) -> None:
    """However long the disk takes."""
    house = await bench.serve("connections.max.idle.ms=1000", "log.flush.offset.checkpoint.interval.ms=60000")
    await house.create("orders")
    bench.disk.sync_s = 15.0
    data = PartitionProduceData(index=0, records=a_batch())
    request = ProduceRequest(
        acks=-1, timeout_ms=1000, topic_data=(TopicProduceData(name="orders", partition_data=(data,)),)
    )
    async with a_caller(ADDRESS) as caller:
        began = bench.loop.time()
        response = await caller.ask(request, BY_NAME)
        assert bench.loop.time() - began > 15
        assert isinstance(response, ProduceResponse)
        assert response.responses[0].partition_responses[0].base_offset == 0


@on_the_bench
async def test_who_says_nothing_at_all_is_closed_as_well(bench: Bench) -> None:
    await bench.serve("connections.max.idle.ms=500")
    async with a_caller(ADDRESS) as caller:
        began = bench.loop.time()
        assert await caller.closed() == b""
        assert 0.5 < bench.loop.time() - began < 0.8


# The loop


@on_the_bench
async def test_a_loop_that_is_held_up_is_measured(bench: Bench) -> None:
    house = await bench.serve()
    lag = house.server.metrics.event_loop_lag
    await asyncio.sleep(10)
    assert sum(lag.counts) > 90
    assert lag.sum < 1
    bench.loop.spend(3.0)
    await asyncio.sleep(1)
    assert 2.8 < lag.sum < 4


@on_the_bench
async def test_after_the_stop_nothing_is_done_any_more(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    await house.produce("orders", a_batch())
    await house.server.stop()
    counted, events = sum(house.server.metrics.event_loop_lag.counts), bench.loop.trace.count
    await asyncio.sleep(3600)
    assert sum(house.server.metrics.event_loop_lag.counts) == counted
    assert bench.loop.trace.count == events + 1, "this test's own timer, and no other"


# Producers


@on_the_bench
async def test_a_producer_is_forgotten_when_it_has_not_written_for_so_long(bench: Bench) -> None:
    """I-6; a day, unless told otherwise."""
    assert BrokerConfig().producer_id_expiration_ms == 24 * 3600 * 1000
    house = await bench.serve("producer.id.expiration.ms=1000", "producer.id.expiration.check.interval.ms=500")
    await house.create("orders")
    for number in range(3):
        await house.produce("orders", a_batch(producer_id=7, producer_epoch=0, base_sequence=number))
        await asyncio.sleep(0.9)
        assert partition_of(house).log.producers.get(7) is not None
    await asyncio.sleep(0.7)
    assert partition_of(house).log.producers.get(7) is None
