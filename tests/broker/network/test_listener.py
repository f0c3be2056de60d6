"""Listener: which address clients are told to dial [house 1.11], how many may come, when they must go [1b.14, Q-3]."""

import asyncio
import logging
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.house import PATIENCE_S, House, a_config, a_house
from tidelog.broker.environment import RealEnvironment
from tidelog.broker.handlers.table import HANDLERS
from tidelog.broker.network.listener import UNSENT_IN_KERNEL_MAX
from tidelog.broker.request import Pending
from tidelog.broker.server import Server
from tidelog.protocol.apis import APIS, ApiKey
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from tidelog.protocol.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataResponse
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from tidelog.protocol.records import build_batch
from tidelog.protocol.wire import RequestHeader

KAFKA = KafkaWire()
NAMED_VERSIONS = {ApiKey.PRODUCE: 12, ApiKey.FETCH: 12}
WHO = ApiVersionsRequest(client_software_name="caller", client_software_version="1")


class Caller:
    """A client on the Kafka wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, request: object) -> RequestHeader:
        """The header by which the answer can be read."""
        api = next(api for api in APIS.values() if api.request is type(request))
        version = NAMED_VERSIONS.get(api.key, api.versions.max)
        header = RequestHeader(api=api, version=version, correlation_id=1, client_id="caller")
        self.writer.writelines(KAFKA.encode_request(header, request))
        return header

    async def answer(self, header: RequestHeader) -> object:
        """The next response, to the request of this header."""
        async with asyncio.timeout(PATIENCE_S):
            size = int.from_bytes(await self.reader.readexactly(4), "big")
            return KAFKA.decode_response(header, memoryview(await self.reader.readexactly(size)))

    async def ask(self, request: object) -> object:
        """One request and its answer."""
        return await self.answer(self.send(request))

    async def is_hung_up(self) -> bool:
        """Wait for the end; whether nothing came before it."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@asynccontextmanager
async def a_caller(house: House, *, dialling: str = "127.0.0.1", listener: int = 0) -> AsyncIterator[Caller]:
    """A connected client that dialled this host."""
    port = int(house.server.addresses[listener].rsplit(":", 1)[1])
    caller = Caller(*await asyncio.open_connection(dialling, port))
    try:
        yield caller
    finally:
        caller.writer.transport.abort()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a product that sets events for tests would not be the product
            await asyncio.sleep(0)


def connections(house: House) -> int:
    """Open ones."""
    return sum(house.server.metrics.connections_active.values())


async def told(caller: Caller) -> str:
    """The address that Metadata and DescribeCluster give to this client."""
    metadata = await caller.ask(MetadataRequest(topics=None))
    cluster = await caller.ask(DescribeClusterRequest())
    assert isinstance(metadata, MetadataResponse)
    assert isinstance(cluster, DescribeClusterResponse)
    [node], [described] = metadata.brokers, cluster.brokers
    assert (node.host, node.port) == (described.host, described.port)
    return f"{node.host}:{node.port}"


def a_long_poll(partition: int = 0) -> FetchRequest:
    topic = FetchTopic(topic="orders", partitions=(FetchPartition(partition=partition, partition_max_bytes=1 << 20),))
    return FetchRequest(max_wait_ms=600_000, min_bytes=1, max_bytes=1 << 24, topics=(topic,))


def a_produce() -> ProduceRequest:
    records = memoryview(build_batch([(None, b"value", (), 1_700_000_000_000)]))
    data = TopicProduceData(name="orders", partition_data=(PartitionProduceData(index=0, records=records),))
    return ProduceRequest(acks=-1, timeout_ms=1000, topic_data=(data,))


# Addresses


@pytest.mark.parametrize(
    ("dialled", "meant"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("127.1.2.3", "127.1.2.3")],
)
async def test_a_client_is_told_to_dial_what_it_dialled(tmp_path: Path, dialled: str, meant: str) -> None:
    async with a_house(tmp_path / "data", "listeners=0.0.0.0:0") as house:
        [address] = house.server.addresses
        async with a_caller(house, dialling=dialled) as caller:
            assert await told(caller) == f"{meant}:{address.rsplit(':', 1)[1]}"


async def test_each_listener_advertises_what_it_was_told_to(tmp_path: Path) -> None:
    listeners = "listeners=127.0.0.1:0@broker.example:19092,127.0.0.1:0@[2001:db8::1]:29092,127.0.0.1:0"
    async with a_house(tmp_path / "data", listeners) as house:
        async with a_caller(house, listener=0) as caller:
            assert await told(caller) == "broker.example:19092"
        async with a_caller(house, listener=1) as caller:
            assert await told(caller) == "2001:db8::1:29092"
        async with a_caller(house, listener=2) as caller:
            assert await told(caller) == house.server.addresses[2]


async def test_an_ipv6_address_is_named_in_brackets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with a_house(tmp_path / "data", "listeners=[::1]:0") as house:
        [address] = house.server.addresses
        assert address.startswith("[::1]:")
        async with a_caller(house, dialling="::1") as caller:
            assert await told(caller) == f"::1:{address.rsplit(':', 1)[1]}"
            assert house.server.metrics.connections_active == {address: 1}
            caller.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await caller.is_hung_up()
            [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
            assert "peer=[::1]:" in line


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


async def test_an_address_in_use_is_an_error_at_the_start(tmp_path: Path) -> None:
    async with a_house(tmp_path / "one") as house:
        config = a_config(tmp_path / "two", f"listeners={house.server.addresses[0]}")
        with pytest.raises(OSError, match="Address already in use"):
            await Server(config, RealEnvironment()).start()


# How many


async def test_more_connections_than_allowed_are_turned_away_and_place_is_made_by_leaving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Q-3: over all listeners, as Kafka's max.connections."""
    async with a_house(tmp_path / "data", "listeners=127.0.0.1:0,127.0.0.1:0", "max.connections=2") as house:
        metrics = house.server.metrics
        async with a_caller(house) as first, a_caller(house, listener=1) as second:
            assert isinstance(await first.ask(WHO), ApiVersionsResponse)
            assert isinstance(await second.ask(WHO), ApiVersionsResponse)
            async with a_caller(house) as third:
                assert await third.is_hung_up()
            assert metrics.connections_closed == {"too many connections": 1}
            [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
            assert "max.connections" in line
            assert isinstance(await first.ask(WHO), ApiVersionsResponse)
            first.writer.close()
            await until(lambda: connections(house) == 1)
            async with a_caller(house) as third:
                assert isinstance(await third.ask(WHO), ApiVersionsResponse)
                assert sorted(metrics.connections_active.values()) == [1, 1]
        await until(lambda: connections(house) == 0)
        assert metrics.connections_opened == sum(metrics.connections_closed.values()) == 4
        assert metrics.connections_rejected == {"max.connections": 1}


async def test_an_address_has_its_own_limit_over_all_listeners(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Q-3: max.connections.per.ip; the refused are counted as opened and closed, so that the two agree."""
    settings = ("max.connections.per.ip=1", "max.connections.per.ip.overrides=127.0.0.9:2")
    async with a_house(tmp_path / "data", "listeners=127.0.0.1:0,127.0.0.1:0", *settings) as house:
        metrics = house.server.metrics
        async with a_caller(house) as first, a_caller(house, listener=1) as second:
            assert isinstance(await first.ask(WHO), ApiVersionsResponse)
            assert await second.is_hung_up()
        port = int(house.server.addresses[0].rsplit(":", 1)[1])
        known = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0)) for _ in range(2)]
        for reader, writer in known:
            assert isinstance(await Caller(reader, writer).ask(WHO), ApiVersionsResponse)
        await until(lambda: connections(house) == 2)
        assert metrics.connections_rejected == {"max.connections.per.ip": 1}
        [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert line.startswith("connection refused, max.connections.per.ip reached peer=127.0.0.1:")
    await until(lambda: connections(house) == 0)
    assert metrics.connections_opened == sum(metrics.connections_closed.values()) == 4
    for _, writer in known:
        writer.close()


# How long


async def test_a_silent_connection_is_closed_and_one_that_waits_for_its_answer_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1b.14: connections.max.idle.ms. No API takes so long by itself."""
    slow: Pending[MetadataResponse] = Pending()
    monkeypatch.setitem(HANDLERS, ApiKey.METADATA, lambda *_: slow)
    async with a_house(tmp_path / "data", "connections.max.idle.ms=200") as house, a_caller(house) as waiting:
        asked = waiting.send(MetadataRequest(topics=None))
        await until(lambda: house.server.metrics.inflight_requests)
        for count in (1, 2):
            async with a_caller(house) as silent:
                assert isinstance(await silent.ask(WHO), ApiVersionsResponse)
                assert await silent.is_hung_up()
                assert house.server.metrics.connections_closed == {"idle": count}
        slow(MetadataResponse())
        assert await waiting.answer(asked) == MetadataResponse()


async def test_a_silent_connection_that_takes_nothing_is_ended_all_the_same(tmp_path: Path) -> None:
    """Q-3: or its unread answers would be kept for ever."""
    async with a_house(tmp_path / "data", "connections.max.idle.ms=200") as house:
        await house.create("orders")
        await house.produce("orders", build_batch([(None, random.Random(1).randbytes(1_000_000), (), 0)]))
        async with a_caller(house) as deaf:
            await clog(house, deaf)
            await until(lambda: house.server.metrics.connections_closed == {"idle": 1})
            assert connections(house) == 0


async def test_a_fetch_waits_no_longer_than_a_connection_may_be_idle(tmp_path: Path) -> None:
    """A client that vanished without a word is noticed when it is written to."""
    async with a_house(tmp_path / "data", "connections.max.idle.ms=200") as house:
        await house.create("orders")
        async with a_caller(house) as caller:
            assert isinstance(await caller.ask(a_long_poll()), FetchResponse)


# The end


async def test_at_the_end_what_was_asked_is_answered_and_everyone_is_sent_away(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data", "listeners=127.0.0.1:0,127.0.0.1:0") as house:
        await house.create("orders")
        loop = asyncio.get_running_loop()
        async with (
            a_caller(house) as waiting,
            a_caller(house, listener=1) as producing,
            a_caller(house, listener=1) as silent,
        ):
            assert isinstance(await silent.ask(WHO), ApiVersionsResponse)
            fetch = waiting.send(a_long_poll())
            await until(lambda: len(house.server.services.delayed_fetches))
            # What comes behind it is not taken any more: not parked for another ten minutes, above all.
            waiting.send(a_long_poll())
            produce = producing.send(a_produce())
            await until(lambda: house.server.metrics.inflight_requests == 2)
            started = loop.time()
            await house.server.stop()
            assert loop.time() - started < 4
            assert isinstance(await waiting.answer(fetch), FetchResponse)
            answer = await producing.answer(produce)
            assert isinstance(answer, ProduceResponse)
            assert answer.responses[0].partition_responses[0].base_offset == 0
            for caller in (waiting, producing, silent):
                assert await caller.is_hung_up()
        assert house.server.metrics.connections_closed == {"drained": 3}
        with pytest.raises(ConnectionRefusedError):
            async with a_caller(house):
                pass


async def test_a_listener_is_drained_while_another_one_still_is(tmp_path: Path) -> None:
    """A consumer that is answered at the stop asks again at once; parked anew, it would wait for the deadline."""
    listeners = "listeners=127.0.0.1:0,127.0.0.1:0"
    async with a_house(tmp_path / "data", listeners, "shutdown.grace.ms=500") as house:
        await house.create("orders", 2)
        await house.produce("orders", build_batch([(None, random.Random(1).randbytes(1_000_000), (), 0)]))
        async with a_caller(house) as deaf, a_caller(house, listener=1) as consumer:
            await clog(house, deaf)
            fetch = consumer.send(a_long_poll(partition=1))
            await until(lambda: len(house.server.services.delayed_fetches))
            stopping = asyncio.ensure_future(house.server.stop())
            assert isinstance(await consumer.answer(fetch), FetchResponse)
            consumer.send(a_long_poll(partition=1))
            assert await consumer.is_hung_up()
            assert not stopping.done()
            await stopping
        assert house.server.metrics.connections_closed == {"drained": 1, "shutdown": 1}


async def clog(house: House, deaf: Caller) -> None:
    """Have answers written to a client that takes none, until the broker stops to read from it."""
    deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(20):
        deaf.send(a_long_poll())
    measures, connected = house.server.metrics.api(ApiKey.FETCH), connections(house)
    answered = -1
    while answered < measures.requests[0]:
        answered = measures.requests[0]
        async with a_caller(house, listener=-1) as modest:
            for _ in range(20):
                assert isinstance(await modest.ask(WHO), ApiVersionsResponse)
    assert 0 < answered < 20
    await until(lambda: connections(house) == connected)
    house.server.metrics.connections_closed.clear()


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_comes_as_the_listener_stops_does_not_hold_it_up(tmp_path: Path, turns: int) -> None:
    """Some turns of the loop lie between the accepting of a socket and the broker's hearing of it."""
    async with a_house(tmp_path / "data") as house, a_caller(house) as early:
        assert isinstance(await early.ask(WHO), ApiVersionsResponse)
        host, port = house.server.addresses[0].rsplit(":", 1)
        with socket.create_connection((host, int(port))):
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(4):
                await house.server.stop()
            await until(lambda: connections(house) == 0)


async def test_who_does_not_take_his_answers_is_cut_off_at_the_deadline(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data", "shutdown.grace.ms=100") as house:
        await house.create("orders")
        await house.produce("orders", build_batch([(None, random.Random(1).randbytes(1_000_000), (), 0)]))
        async with a_caller(house) as deaf:
            await clog(house, deaf)
            await house.server.stop()
            assert house.server.metrics.connections_closed == {"shutdown": 1}


async def test_how_connections_came_and_went_is_counted(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data") as house:
        metrics, [name] = house.server.metrics, house.server.addresses
        async with a_caller(house) as polite, a_caller(house) as rude, a_caller(house) as odd:
            for caller in (polite, rude, odd):
                assert isinstance(await caller.ask(WHO), ApiVersionsResponse)
            assert metrics.connections_active == {name: 3}
            polite.writer.close()
            raw = rude.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.writer.transport.abort()
            odd.writer.write(b"\x00\x00\x00\x00\x00")
            await until(lambda: metrics.connections_active == {name: 0})
        assert metrics.connections_opened == 3
        assert metrics.connections_closed == {"closed by peer": 1, "connection reset": 1, "protocol error": 1}


async def test_what_is_written_to_a_client_waits_here_and_not_in_the_kernel(tmp_path: Path) -> None:
    """Or a reader that takes its answers steadily would be seen to take nothing for a long time."""
    async with a_house(tmp_path / "data") as house:
        host, port = house.server.addresses[0].rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(struct.pack(">ihhih", 10, 18, 0, 1, -1))
        await reader.readexactly(4)
        [connection] = house.server._listeners[0]._connections  # noqa: SLF001
        accepted = connection._transport.get_extra_info("socket")  # type: ignore[union-attr]  # noqa: SLF001
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_IN_KERNEL_MAX
        writer.close()
