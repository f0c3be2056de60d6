"""The sweeper: deadlines of connections are kept, in virtual time, by one look at all of them [reliability 3.5]."""

import asyncio
import logging
import struct

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from support.caller import a_caller
from support.house import House
from tidelog.broker.config import BrokerConfig
from tidelog.broker.network.sweeper import round_s
from tidelog.protocol.messages.api_versions import ApiVersionsRequest
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from tidelog.protocol.tide_wire import PREFACE

ADDRESS = "127.0.0.1:9092"
WHO = ApiVersionsRequest(client_software_name="caller", client_software_version="1")
WHO_SPELT = struct.pack(">ihhih", 10, 18, 0, 1, -1)
MIB = 1 << 20
BY_NAME = 12


def produce_start(size: int) -> bytes:
    """The beginning of a Produce request of so many bytes."""
    return struct.pack(">ihhih", size, 0, 7, 1, -1)


def closed(house: House) -> dict[str, int]:
    return house.server.metrics.connections_closed


async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", 9092)


async def gone(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("greeting", [b"", PREFACE, b"\x00", WHO_SPELT[:-1]], ids=["nothing", "TIDE", "a byte", "half"])
def test_who_asks_nothing_in_time_is_sent_away(greeting: bytes, caplog: pytest.LogCaptureFixture) -> None:
    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve("connections.frame.timeout.ms=60000")
        began = bench.loop.time()
        reader, writer = await connect()
        writer.write(greeting)
        assert await gone(reader) == b""
        assert 10 < bench.loop.time() - began < 11.1
        assert closed(house) == {"no request": 1}
        [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert line.startswith("connection closed, no request peer=127.0.0.1:")
        writer.close()

    play()


@on_the_bench
async def test_a_request_that_does_not_come_on_is_not_waited_for(bench: Bench) -> None:
    """A slow loris. Nor is it idle, for it says a byte now and then."""
    house = await bench.serve()
    reader, writer = await connect()
    writer.write(WHO_SPELT)
    await reader.readexactly(4)
    await asyncio.sleep(100)
    began = bench.loop.time()
    for byte in WHO_SPELT[:-1]:
        writer.write(bytes((byte,)))
        await asyncio.sleep(1)
    await gone(reader)
    assert bench.loop.time() - began < 14
    assert closed(house) == {"slow request": 1}
    writer.close()


@on_the_bench
async def test_a_large_request_over_a_slow_line_is_waited_for(bench: Bench) -> None:
    house = await bench.serve()
    reader, writer = await connect()
    writer.write(WHO_SPELT)
    await reader.readexactly(4)
    began = bench.loop.time()
    writer.write(produce_start(100_000))
    for _ in range(45):
        writer.write(bytes(2048))
        await asyncio.sleep(1)
    assert closed(house) == {}
    assert bench.loop.time() - began > 40
    writer.close()


@on_the_bench
async def test_a_broker_that_was_held_up_blames_nobody(bench: Bench) -> None:
    """What came in meanwhile is there, and was not read."""
    house = await bench.serve("connections.handshake.timeout.ms=2000")
    reader, writer = await connect()
    await asyncio.sleep(1)
    writer.write(WHO_SPELT)
    bench.loop.spend(30.0)
    assert (await reader.readexactly(4)) != b""
    assert closed(house) == {}
    writer.close()


@on_the_bench
async def test_who_takes_nothing_of_his_answers_is_cut_off(bench: Bench) -> None:
    house = await bench.serve("connections.send.timeout.ms=20000")
    await house.create("orders")
    await house.produce("orders", a_batch((b"x" * 900_000,)))
    began = bench.loop.time()
    async with a_caller(ADDRESS) as deaf:
        deaf._reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001
        topic = FetchTopic(topic="orders", partitions=(FetchPartition(partition=0, partition_max_bytes=MIB),))
        for _ in range(3):
            await deaf.send(FetchRequest(max_bytes=MIB, topics=(topic,)), BY_NAME)
        while not closed(house):
            assert bench.loop.time() - began < 60
            await asyncio.sleep(0.5)
    assert closed(house) == {"answers not taken": 1}
    assert bench.loop.time() - began > 20


@on_the_bench
async def test_half_requests_make_room_for_whoever_waits(bench: Bench) -> None:
    """Three that hold all memory and say nothing more; a fourth goes on. The first three would have ten seconds."""
    house = await bench.serve(f"queued.max.request.bytes={2 * MIB}")
    await house.create("orders")
    lazy = [await connect() for _ in range(3)]
    for _, writer in lazy:
        writer.write(produce_start(MIB) + bytes(MIB // 2))
    await asyncio.sleep(1)
    async with a_caller(ADDRESS) as busy:
        data = PartitionProduceData(index=0, records=a_batch((b"x" * 900_000,)))
        topic = TopicProduceData(name="orders", partition_data=(data,))
        began = bench.loop.time()
        response = await busy.ask(ProduceRequest(acks=-1, timeout_ms=1000, topic_data=(topic,)), BY_NAME)
        assert isinstance(response, ProduceResponse)
        assert response.responses[0].partition_responses[0].error_code == 0
        assert bench.loop.time() - began < 4
    await asyncio.sleep(1)
    assert closed(house)["memory needed"] >= 1
    for _, writer in lazy:
        writer.close()
    await asyncio.sleep(1)
    assert house.server._requests.used == 0  # noqa: SLF001


@on_the_bench
async def test_a_fetch_waits_until_others_have_taken_their_answers(bench: Bench) -> None:
    """Nothing is answered empty for want of memory, and whoever takes nothing makes room."""
    house = await bench.serve(f"queued.max.response.bytes={MIB}")
    await house.create("orders")
    await house.produce("orders", a_batch((b"x" * 900_000,)))
    await house.produce("orders", a_batch((b"x" * 900_000,)))
    topic = FetchTopic(topic="orders", partitions=(FetchPartition(partition=0, partition_max_bytes=4 * MIB),))
    fetch = FetchRequest(max_bytes=4 * MIB, topics=(topic,))
    async with a_caller(ADDRESS) as deaf, a_caller(ADDRESS) as second, a_caller(ADDRESS) as honest:
        for one in (deaf, second):
            one._reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001
            await one.send(fetch, BY_NAME)
        await asyncio.sleep(0.3)
        began = bench.loop.time()
        response = await honest.ask(fetch, BY_NAME)
        assert isinstance(response, FetchResponse)
        assert len(response.responses[0].partitions[0].records or b"") > 900_000
        assert bench.loop.time() - began < 4
    await asyncio.sleep(1)
    assert closed(house)["memory needed"] == 2
    assert house.server._responses.used == 0  # noqa: SLF001


@on_the_bench
async def test_a_client_that_vanishes_while_its_fetch_waits_for_memory_takes_it_along(bench: Bench) -> None:
    house = await bench.serve("queued.max.response.bytes=1000")
    await house.create("orders")
    house.server._responses.count(1000)  # noqa: SLF001
    topic = FetchTopic(topic="orders", partitions=(FetchPartition(partition=0, partition_max_bytes=MIB),))
    async with a_caller(ADDRESS) as caller:
        await caller.send(FetchRequest(max_bytes=MIB, topics=(topic,)), BY_NAME)
        await asyncio.sleep(0.1)
        assert house.server._responses.waiting == 1  # noqa: SLF001
        assert house.server.metrics.inflight_requests == 1
        caller._writer.transport.abort()  # noqa: SLF001
        await asyncio.sleep(0.5)
    assert house.server.metrics.inflight_requests == 0
    house.server._responses.count(-1000)  # noqa: SLF001
    await asyncio.sleep(0.5)
    assert house.server._responses.waiting == 0  # noqa: SLF001


def test_rounds_are_as_short_as_the_shortest_deadline_wants() -> None:
    assert round_s(BrokerConfig()) == 0.5
    assert round_s(BrokerConfig.load(overrides=["connections.handshake.timeout.ms=2000"])) == 0.2
    assert round_s(BrokerConfig.load(overrides=["connections.max.idle.ms=1"])) == 0.1
