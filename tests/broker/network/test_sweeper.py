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
from tidelog.protocol.apis import APIS, ApiKey
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.api_versions import ApiVersionsRequest
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from tidelog.protocol.tide_wire import PREFACE
from tidelog.protocol.wire import RequestHeader

ADDRESS = "127.0.0.1:9092"
WHO = ApiVersionsRequest(client_software_name="caller", client_software_version="1")
WHO_SPELT = struct.pack(">ihhih", 10, 18, 0, 1, -1)
MIB = 1 << 20
BY_NAME = 12


def produce_start(size: int) -> bytes:
    """The beginning of a Produce request of so many bytes."""
    return struct.pack(">ihhih", size, 0, 7, 1, -1)


def a_produce(size: int) -> ProduceRequest:
    data = PartitionProduceData(index=0, records=a_batch((b"x" * size,)))
    return ProduceRequest(
        acks=-1, timeout_ms=1000, topic_data=(TopicProduceData(name="orders", partition_data=(data,)),)
    )


def spell(request: ProduceRequest) -> bytes:
    """Its bytes."""
    header = RequestHeader(api=APIS[ApiKey.PRODUCE], version=BY_NAME, correlation_id=1, client_id="caller")
    return b"".join(KafkaWire().encode_request(header, request))


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
        assert bench.loop.time() - began < 9
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
        assert bench.loop.time() - began < 9
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
    assert house.server._responses.waiting == 0  # noqa: SLF001
    house.server._responses.count(-1000)  # noqa: SLF001


@on_the_bench
async def test_a_fetch_that_waits_for_memory_ends_with_its_client_or_with_the_broker(bench: Bench) -> None:
    """Answered with nothing: there is no memory for more."""
    house = await bench.serve("queued.max.response.bytes=1000", "shutdown.grace.ms=60000")
    await house.create("orders")
    await house.produce("orders", a_batch((b"x" * 900_000,)))
    house.server._responses.count(1000)  # noqa: SLF001
    topic = FetchTopic(topic="orders", partitions=(FetchPartition(partition=0, partition_max_bytes=MIB),))
    fetch = FetchRequest(max_bytes=MIB, topics=(topic,))
    async with a_caller(ADDRESS) as half_closed, a_caller(ADDRESS) as patient:
        await half_closed.send(fetch, BY_NAME)
        await patient.send(fetch, BY_NAME)
        await asyncio.sleep(0.1)
        half_closed._writer.write_eof()  # noqa: SLF001
        assert await half_closed.receive() == FetchResponse()
        assert house.server._responses.waiting == 1  # noqa: SLF001
        began = bench.loop.time()
        await house.server.stop()
        assert bench.loop.time() - began < 1
        assert await patient.receive() == FetchResponse()
    assert house.server.metrics.inflight_requests == 0


@on_the_bench
async def test_a_request_that_was_let_in_while_memory_was_short_leaves_no_trace(bench: Bench) -> None:
    """It was read a little, to find out whether it goes on; it was whole then, and the memory never needed."""
    house = await bench.serve(f"queued.max.request.bytes={MIB}")
    await house.create("orders")
    requests = house.server._requests  # noqa: SLF001
    requests.count(2 * MIB)
    silent_reader, silent = await connect()
    silent.write(produce_start(900_000) + bytes(5000))
    await asyncio.sleep(0.1)
    async with a_caller(ADDRESS) as honest:
        await honest.send(a_produce(6000), BY_NAME)
        await asyncio.sleep(0.1)
        assert requests.waiting == 1
        assert isinstance(await honest.receive(), ProduceResponse)
        assert requests.waiting == 0
        requests.count(-2 * MIB)
        silent.transport.abort()
        await asyncio.sleep(0.1)
        assert requests.used == 0
        spelt = spell(a_produce(6000))
        honest._writer.write(spelt[:5000])  # noqa: SLF001
        await asyncio.sleep(1)
        honest._writer.write(spelt[5000:])  # noqa: SLF001
        async with asyncio.timeout(5):
            assert len(await honest._reader.readexactly(4)) == 4  # noqa: SLF001
    assert requests.used == 0
    del silent_reader


@on_the_bench
async def test_a_client_that_dies_while_it_waits_for_memory_takes_none_along(bench: Bench) -> None:
    """What it held would be enough for what it waits for."""
    house = await bench.serve(f"queued.max.request.bytes={16 * MIB}")
    requests = house.server._requests  # noqa: SLF001
    requests.count(10 * MIB)
    _, dying = await connect()
    dying.write(produce_start(4 * MIB) + bytes(5000))
    await asyncio.sleep(0.1)
    _, overdrawn = await connect()
    overdrawn.write(produce_start(8 * MIB) + bytes(5000))
    await asyncio.sleep(0.1)
    dying.write(bytes(MIB + MIB // 4))
    await asyncio.sleep(0.1)
    assert requests.waiting == 1
    requests.count(-5 * MIB // 2)
    assert requests.waiting == 1
    dying.transport.abort()
    overdrawn.transport.abort()
    await asyncio.sleep(0.1)
    assert (requests.used, requests.waiting) == (15 * MIB // 2, 0)


@on_the_bench
async def test_requests_that_trickle_in_hold_up_large_ones_only_and_not_for_long(bench: Bench) -> None:
    """Each claims much, sends a good part of it at once, and then far more than the least rate."""
    house = await bench.serve(f"queued.max.request.bytes={8 * MIB}")
    await house.create("orders")
    crowd = [await connect() for _ in range(12)]
    for _, writer in crowd:
        writer.write(WHO_SPELT)
    await asyncio.sleep(0.1)
    for _, writer in crowd:
        writer.write(produce_start(50 * MIB) + bytes(3 * MIB))

    async def trickle() -> None:
        while True:
            for _, writer in crowd:
                writer.write(bytes(8_000))
            await asyncio.sleep(0.05)

    trickling = asyncio.ensure_future(trickle())
    await asyncio.sleep(1)
    async with a_caller(ADDRESS) as honest:
        for _ in range(40):
            began = bench.loop.time()
            assert isinstance(await honest.ask(a_produce(600_000), BY_NAME), ProduceResponse)
            assert bench.loop.time() - began < 1
            await asyncio.sleep(1)
        assert closed(house) == {"memory needed": 2}, "one after the other, as it is their turn"
    trickling.cancel()
    for _, writer in crowd:
        writer.transport.abort()
    await asyncio.sleep(1)
    assert house.server._requests.used == 0  # noqa: SLF001


@on_the_bench
async def test_who_takes_a_long_answer_steadily_is_not_idle(bench: Bench) -> None:
    house = await bench.serve("connections.max.idle.ms=3000")
    await house.create("orders")
    for _ in range(4):
        await house.produce("orders", a_batch((b"x" * 900_000,)))
    topic = FetchTopic(topic="orders", partitions=(FetchPartition(partition=0, partition_max_bytes=8 * MIB),))
    began = bench.loop.time()
    async with a_caller(ADDRESS) as reader:
        await reader.send(FetchRequest(max_bytes=8 * MIB, topics=(topic,)), BY_NAME)
        left = int.from_bytes(await reader._reader.readexactly(4), "big")  # noqa: SLF001
        assert left > 3_600_000
        size = left + 4
        while left:
            left -= len(await reader._reader.readexactly(min(left, 100_000)))  # noqa: SLF001
            if left > 2_000_000:
                assert house.server._responses.used == size, "what is taken in part is kept whole"  # noqa: SLF001
            await asyncio.sleep(0.5)
        assert bench.loop.time() - began > 15
        assert closed(house) == {}
        await asyncio.sleep(4)
        assert closed(house) == {"idle": 1}


@on_the_bench
async def test_only_a_fetch_that_holds_memory_is_hurried_when_others_need_some(bench: Bench) -> None:
    """Thousands of idle consumers would but ask again."""
    house = await bench.serve(f"queued.max.request.bytes={MIB}")
    await house.create("orders")
    house.server._requests.count(2 * MIB)  # noqa: SLF001
    small = FetchTopic(topic="orders", partitions=(FetchPartition(partition=0),))
    large = FetchTopic(topic="orders", partitions=(FetchPartition(partition=0),) * 1000)
    async with a_caller(ADDRESS) as idle, a_caller(ADDRESS) as wordy:
        began = bench.loop.time()
        for caller, topic in ((idle, small), (wordy, large)):
            await caller.send(FetchRequest(max_wait_ms=5000, min_bytes=1, max_bytes=1000, topics=(topic,)), BY_NAME)
        lazy = [await connect() for _ in range(2)]
        for _, writer in lazy:
            writer.write(produce_start(900_000) + bytes(10_000))
        assert isinstance(await wordy.receive(), FetchResponse)
        assert bench.loop.time() - began < 3
        assert isinstance(await idle.receive(), FetchResponse)
        assert bench.loop.time() - began >= 5
        for _, writer in lazy:
            writer.transport.abort()


def test_rounds_are_as_short_as_the_shortest_deadline_wants() -> None:
    assert round_s(BrokerConfig()) == 0.5
    assert round_s(BrokerConfig.load(overrides=["connections.handshake.timeout.ms=2000"])) == 0.2
    assert round_s(BrokerConfig.load(overrides=["connections.max.idle.ms=1"])) == 0.1
