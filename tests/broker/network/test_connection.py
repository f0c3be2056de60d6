"""Connection: order, framing, backpressure, and every way in which a connection ends [1b.2, 1b.9, 1b.10, 1b.14]."""

import asyncio
import logging
import random
import socket
import struct
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from support.house import PATIENCE_S, House, a_house
from tidelog.broker.handlers.table import HANDLERS
from tidelog.broker.network.connection import WRITE_BUFFER_HIGH
from tidelog.protocol.apis import APIS, ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest, CreateTopicsResponse
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopicState
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from tidelog.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from tidelog.protocol.records import build_batch
from tidelog.protocol.tide_wire import PREFACE, TideWire
from tidelog.protocol.wire import REQUEST_SIZE_MAX, RequestHeader, Wire

KAFKA, TIDE = KafkaWire(), TideWire()
WIRES = [pytest.param(KAFKA, id="kafka"), pytest.param(TIDE, id="tide")]
NAMED_VERSIONS = {ApiKey.PRODUCE: 12, ApiKey.FETCH: 12}
"""The newest in which a topic is meant by its name."""
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")
LOOPS = {"asyncio": asyncio.DefaultEventLoopPolicy, "uvloop": uvloop.EventLoopPolicy}


@pytest.fixture(params=LOOPS)
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """The broker runs in uvloop, the simulation in asyncio: their transports differ, the rules do not."""
    return LOOPS[request.param]()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with the topic `orders`, and no failure in its log at the end."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders")
        yield house


class Peer:
    """A client's socket: what it sends as it likes, what comes back in the order of what it asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: Wire) -> None:
        self.reader, self.writer, self.wire = reader, writer, wire
        self.asked: deque[RequestHeader] = deque()
        self.address = "{}:{}".format(*writer.get_extra_info("sockname")[:2])
        self._correlation_id = 0
        self._opening = PREFACE if wire is TIDE else b""

    def spell(self, *requests: object) -> bytes:
        """The bytes of requests in a row."""
        spelt, self._opening = self._opening, b""
        for request in requests:
            api = next(api for api in APIS.values() if api.request is type(request))
            self._correlation_id += 1
            version = api.versions.max if self.wire is TIDE else NAMED_VERSIONS.get(api.key, api.versions.max)
            header = RequestHeader(api=api, version=version, correlation_id=self._correlation_id, client_id="peer")
            if not (isinstance(request, ProduceRequest) and request.acks == 0):
                self.asked.append(header)
            spelt += b"".join(self.wire.encode_request(header, request))
        return spelt

    async def send(self, *requests: object) -> None:
        """All of them in one write."""
        self.writer.write(self.spell(*requests))
        await self.writer.drain()

    async def answer(self) -> object:
        """The next one; it must belong to the oldest unanswered request."""
        async with asyncio.timeout(PATIENCE_S):
            size = int.from_bytes(await self.reader.readexactly(4), "big")
            frame = memoryview(bytearray(await self.reader.readexactly(size)))
        header = self.asked.popleft()
        assert self.wire.correlation_id(frame) == header.correlation_id, "an answer out of turn"
        return self.wire.decode_response(header, frame)

    async def ask(self, request: object) -> object:
        """One request and its answer."""
        await self.send(request)
        return await self.answer()

    async def rest(self) -> bytes:
        """What comes until the broker ends the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def reset(self) -> None:
        """Vanish without a goodbye."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def a_peer(house: House, wire: Wire = KAFKA, *, receive_size: int | None = None) -> AsyncIterator[Peer]:
    """A connected client."""
    host, port = house.server.addresses[0].rsplit(":", 1)
    raw = socket.socket(socket.AF_INET)
    raw.setblocking(False)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if receive_size is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_size)
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1 << 16)
    try:
        yield Peer(reader, writer, wire)
    finally:
        writer.transport.abort()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a product that sets events for tests would not be the product
            await asyncio.sleep(0)


def a_produce(*values: bytes, acks: int = -1, producer_id: int = -1) -> ProduceRequest:
    """One batch to `orders`; with a producer id it is refused."""
    records = ((None, value, (), 1_700_000_000_000) for value in values or (b"value",))
    batch = build_batch(records, producer_id=producer_id)
    partition = PartitionProduceData(index=0, records=memoryview(batch))
    return ProduceRequest(
        acks=acks, timeout_ms=1000, topic_data=(TopicProduceData(name="orders", partition_data=(partition,)),)
    )


def a_fetch(offset: int = 0, *, max_wait_ms: int = 0, size: int = 1 << 20) -> FetchRequest:
    partition = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=size)
    topic = FetchTopic(topic="orders", partitions=(partition,))
    return FetchRequest(max_wait_ms=max_wait_ms, min_bytes=1, max_bytes=size, topics=(topic,))


A_LONG_POLL = a_fetch(max_wait_ms=600_000)
WHO = ApiVersionsRequest(client_software_name="peer", client_software_version="1")
ORDERS = MetadataRequest(topics=(MetadataRequestTopic(name="orders"),), allow_auto_topic_creation=False)


def base_offset(response: object) -> int:
    """Of the one batch that was appended."""
    assert isinstance(response, ProduceResponse)
    [result] = response.responses[0].partition_responses
    assert result.error_code == ErrorCode.NONE
    return result.base_offset


def high_watermark(house: House) -> int:
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    return topic.partitions[0].high_watermark


def closed(house: House) -> dict[str, int]:
    """Ended connections by reason."""
    return house.server.metrics.connections_closed


def parked(house: House) -> int:
    return len(house.server.services.delayed_fetches)


def complaints(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= level]


# Order


@pytest.mark.parametrize("wire", WIRES)
async def test_answers_leave_in_the_order_of_the_requests_however_they_become_ready(house: House, wire: Wire) -> None:
    """1b.9: the first waits for a disk, the second for files, the third for nothing."""
    async with a_peer(house, wire) as peer:
        create = CreateTopicsRequest(topics=(CreatableTopic(name="new", num_partitions=3, replication_factor=1),))
        await peer.send(*[a_produce(), create, WHO, ORDERS, a_produce(acks=1)] * 10)
        for turn in range(10):
            assert base_offset(await peer.answer()) == 2 * turn
            created = await peer.answer()
            assert isinstance(created, CreateTopicsResponse)
            assert (created.topics[0].error_code == ErrorCode.NONE) == (turn == 0)
            assert isinstance(await peer.answer(), ApiVersionsResponse)
            assert isinstance(await peer.answer(), MetadataResponse)
            assert base_offset(await peer.answer()) == 2 * turn + 1
        assert house.server.metrics.inflight_requests == 0


@pytest.mark.parametrize("wire", WIRES)
async def test_requests_may_come_a_byte_at_a_time(house: House, wire: Wire) -> None:
    async with a_peer(house, wire) as peer:
        for byte in peer.spell(WHO, a_produce(b"chopped"), ORDERS):
            peer.writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        assert isinstance(await peer.answer(), ApiVersionsResponse)
        assert base_offset(await peer.answer()) == 0
        assert isinstance(await peer.answer(), MetadataResponse)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_request_larger_than_the_receive_buffer_arrives_whole(house: House, wire: Wire) -> None:
    async with a_peer(house, wire) as peer:
        await peer.send(WHO, a_produce(*[random.Random(1).randbytes(100_000)] * 9), ORDERS)
        assert isinstance(await peer.answer(), ApiVersionsResponse)
        assert base_offset(await peer.answer()) == 0
        assert isinstance(await peer.answer(), MetadataResponse)


@pytest.mark.parametrize("wire", WIRES)
async def test_acks_zero_leaves_no_gap_in_the_answers(house: House, wire: Wire) -> None:
    """1b.10."""
    async with a_peer(house, wire) as peer:
        silent = a_produce(acks=0)
        await peer.send(silent, a_produce(), silent, WHO, silent, a_produce(acks=1), silent, ORDERS)
        assert base_offset(await peer.answer()) == 1
        assert isinstance(await peer.answer(), ApiVersionsResponse)
        assert base_offset(await peer.answer()) == 4
        assert isinstance(await peer.answer(), MetadataResponse)
        await until(lambda: high_watermark(house) == 6)
        assert house.server.metrics.inflight_requests == 0


@pytest.mark.parametrize("wire", WIRES)
async def test_an_error_with_acks_zero_ends_the_connection_after_the_answers_before_it(
    house: House, wire: Wire
) -> None:
    """1b.10."""
    async with a_peer(house, wire) as peer:
        await peer.send(WHO, a_produce(), a_produce(acks=0, producer_id=7), ORDERS)
        assert isinstance(await peer.answer(), ApiVersionsResponse)
        assert base_offset(await peer.answer()) == 0
        assert await peer.rest() == b""
        await until(lambda: closed(house) == {"acks=0 produce failed: INVALID_RECORD": 1})


# What a parked fetch does to its connection, and what it does not


@pytest.mark.parametrize("wire", WIRES)
async def test_a_fetch_that_waits_holds_its_connection_and_no_other(house: House, wire: Wire) -> None:
    """1b.9: as if the channel were muted."""
    async with a_peer(house, wire) as waiting, a_peer(house, wire) as busy:
        await waiting.send(A_LONG_POLL, a_produce(b"behind"), WHO)
        await until(lambda: parked(house))
        # Whoever read on would have appended it by now: the other connection's batch has gone through a commit round.
        assert base_offset(await busy.ask(a_produce(b"from elsewhere"))) == 0
        assert isinstance(await waiting.answer(), FetchResponse)
        assert base_offset(await waiting.answer()) == 1
        assert isinstance(await waiting.answer(), ApiVersionsResponse)
        assert parked(house) == 0


async def test_requests_that_come_while_a_fetch_waits_are_taken_after_it(house: House) -> None:
    async with a_peer(house) as waiting, a_peer(house) as busy:
        await waiting.send(A_LONG_POLL)
        await until(lambda: parked(house))
        for _ in range(3):
            await waiting.send(WHO, a_produce(b"late"))
            assert isinstance(await busy.ask(WHO), ApiVersionsResponse)
        assert high_watermark(house) == 0
        assert base_offset(await busy.ask(a_produce(b"from elsewhere"))) == 0
        assert isinstance(await waiting.answer(), FetchResponse)
        for turn in range(3):
            assert isinstance(await waiting.answer(), ApiVersionsResponse)
            assert base_offset(await waiting.answer()) == 1 + turn


@pytest.mark.parametrize("goodbye", ["close", "reset"])
async def test_a_client_that_goes_away_takes_its_parked_fetch_along(house: House, goodbye: str) -> None:
    async with a_peer(house) as peer:
        await peer.send(A_LONG_POLL)
        await until(lambda: parked(house))
        assert house.server.metrics.inflight_requests == 1
        peer.reset() if goodbye == "reset" else peer.writer.close()
        await until(lambda: parked(house) == 0)
        await until(lambda: closed(house))
        assert house.server.metrics.inflight_requests == 0


@pytest.mark.parametrize("wire", WIRES)
async def test_what_was_asked_before_the_end_of_the_stream_is_answered(house: House, wire: Wire) -> None:
    """A client may close its sending half and read on, as `nc -N` does."""
    async with a_peer(house, wire) as peer:
        await peer.send(a_produce(), WHO, A_LONG_POLL, a_produce(acks=1), a_fetch(2, max_wait_ms=600_000), ORDERS)
        peer.writer.write_eof()
        assert base_offset(await peer.answer()) == 0
        assert isinstance(await peer.answer(), ApiVersionsResponse)
        assert isinstance(await peer.answer(), FetchResponse)
        assert base_offset(await peer.answer()) == 1
        assert isinstance(await peer.answer(), FetchResponse)
        assert isinstance(await peer.answer(), MetadataResponse)
        assert await peer.rest() == b""
        await until(lambda: closed(house) == {"closed by peer": 1})


@pytest.mark.parametrize("wire", WIRES)
async def test_a_request_sees_what_those_before_it_on_its_connection_have_done(house: House, wire: Wire) -> None:
    """1b.9: Kafka mutes the channel while a request is in work, so whoever does not wait for answers relies on it."""
    latest = ListOffsetsRequest(
        replica_id=-1,
        topics=(ListOffsetsTopic(name="orders", partitions=(ListOffsetsPartition(timestamp=-1),)),),
    )
    again = CreateTopicsRequest(topics=(CreatableTopic(name="orders", num_partitions=3, replication_factor=1),))
    async with a_peer(house, wire) as peer:
        await peer.send(a_produce(), a_produce(), latest)
        await peer.send(DeleteTopicsRequest(topics=(DeleteTopicState(name="orders"),)), ORDERS, again, ORDERS)
        assert [base_offset(await peer.answer()) for _ in range(2)] == [0, 1]
        listed = await peer.answer()
        assert isinstance(listed, ListOffsetsResponse)
        assert listed.topics[0].partitions[0].offset == 2
        deleted, gone, created, there = [await peer.answer() for _ in range(4)]
        assert isinstance(deleted, DeleteTopicsResponse)
        assert isinstance(created, CreateTopicsResponse)
        assert (deleted.responses[0].error_code, created.topics[0].error_code) == (0, 0)
        assert isinstance(gone, MetadataResponse)
        assert gone.topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert isinstance(there, MetadataResponse)
        assert len(there.topics[0].partitions) == 3


async def test_produces_do_not_wait_for_each_other(house: House) -> None:
    """I-10: five of an idempotent producer are under way; one commit round serves them all."""
    async with a_peer(house) as peer:
        syncs = sum(house.server.metrics.fsync.counts)
        await peer.send(*(a_produce() for _ in range(50)))
        assert [base_offset(await peer.answer()) for _ in range(50)] == list(range(50))
        assert sum(house.server.metrics.fsync.counts) - syncs < 10


async def test_half_a_request_at_the_end_of_the_stream_is_dropped(house: House) -> None:
    async with a_peer(house) as peer:
        peer.writer.write(peer.spell(WHO, ORDERS)[:-1])
        peer.writer.write_eof()
        assert isinstance(await peer.answer(), ApiVersionsResponse)
        assert await peer.rest() == b""


# Backpressure


@pytest.mark.parametrize("wire", WIRES)
async def test_a_peer_that_does_not_read_is_not_read_from_until_it_does(house: House, wire: Wire) -> None:
    """Q-3, F-6: what is encoded for it stays near the write buffer's limit, however much it asks for."""
    size, count = 256 << 10, 200
    await house.produce("orders", build_batch([(None, random.Random(2).randbytes(size), (), 0)]))
    measures = house.server.metrics.api(ApiKey.FETCH)
    async with a_peer(house, wire, receive_size=64 << 10) as greedy, a_peer(house, wire) as modest:
        greedy.writer.write(greedy.spell(*[a_fetch()] * count))
        before = -1
        while before < measures.response_bytes:
            before = measures.response_bytes
            for _ in range(20):
                assert isinstance(await modest.ask(WHO), ApiVersionsResponse)
        in_kernel = 8 << 20
        assert size < measures.response_bytes < WRITE_BUFFER_HIGH + 2 * size + in_kernel < size * count
        for _ in range(count):
            response = await greedy.answer()
            assert isinstance(response, FetchResponse)
            assert len(response.responses[0].partitions[0].records or b"") > size
        assert isinstance(await greedy.ask(WHO), ApiVersionsResponse)


async def test_answers_behind_one_that_waits_are_bounded_too(house: House) -> None:
    """Q-3: they could not be sent even to a peer that reads."""
    size, count = 256 << 10, 100
    await house.produce("orders", build_batch([(None, random.Random(2).randbytes(size), (), 0)]))
    async with a_peer(house) as peer:
        await peer.send(a_produce(), *[a_fetch()] * count)
        await until(lambda: house.server.metrics.inflight_requests)
        assert house.server.metrics.api(ApiKey.FETCH).response_bytes < WRITE_BUFFER_HIGH + 2 * size
        assert base_offset(await peer.answer()) == 1
        for _ in range(count):
            assert isinstance(await peer.answer(), FetchResponse)


async def test_requests_that_wait_are_limited_in_number_and_all_answered(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data", "connections.max.inflight.requests=3") as house, a_peer(house) as peer:
        await house.create("orders")
        most = 0
        await peer.send(*[a_produce()] * 20)

        async def watch() -> None:
            nonlocal most
            while high_watermark(house) < 20:
                most = max(most, house.server.metrics.inflight_requests)
                await asyncio.sleep(0)

        async with asyncio.timeout(PATIENCE_S):
            await watch()
        assert most == 3
        assert [base_offset(await peer.answer()) for _ in range(20)] == list(range(20))


# Bytes that make no sense


def a_frame(key: int, version: int, body: bytes = b"") -> bytes:
    """A Kafka request as nobody here would send it."""
    content = struct.pack(">hhih", key, version, 1, -1) + body
    return struct.pack(">i", len(content)) + content


def a_tide_frame(header: bytes) -> bytes:
    return struct.pack(">II", 4 + len(header), len(header)) + header


NONSENSE = {
    "an API key that nobody knows": (KAFKA, a_frame(999, 0), "API key 999"),
    "an API that is not served": (KAFKA, a_frame(17, 1), "API key 17"),
    "a version that is not served": (KAFKA, a_frame(3, 99), "version 99 of API 3"),
    "a version that is advertised and refused": (KAFKA, a_frame(0, 2), "version 2 of API 0"),
    "a negative version": (KAFKA, a_frame(3, -1), "version -1 of API 3"),
    "a body that ends too early": (KAFKA, a_frame(3, 1, b"\x00\x00"), "Metadata v1"),
    "more elements than bytes": (KAFKA, a_frame(3, 1, b"\x7f\xff\xff\xff"), "Metadata v1"),
    "a client id beyond the frame": (KAFKA, struct.pack(">ihhih", 10, 3, 1, 1, 999), "client id of 999"),
    "a frame too small for a header": (KAFKA, b"\x00\x00\x00\x05\x00\x03\x00\x01\x00", "header"),
    "an empty frame": (KAFKA, b"\x00\x00\x00\x00 and more", "a frame of 0 bytes"),
    "a negative length": (KAFKA, b"\xff\xff\xff\xff\xff", "a frame of -1 bytes"),
    "an oversized length": (KAFKA, struct.pack(">i", 104_857_601) + b"x", "a frame of 104857601 bytes"),
    "an API name that nobody knows": (TIDE, a_tide_frame(b"\x93\xa5Quake\x01\x80"), "API 'Quake'"),
    "a header that is no msgpack": (TIDE, a_tide_frame(b"\xc1\xc1\xc1"), "header"),
    "a header longer than its frame": (TIDE, struct.pack(">II", 8, 99) + b"four", "a header of 99 bytes"),
    "bytes behind a tide header": (TIDE, a_tide_frame(b"\x93\xa8Metadata\x01\x80more"), "header"),
    "a field of the wrong type": (TIDE, a_tide_frame(b"\x93\xa8Metadata\x01\x81\xa6topics\x05"), "MetadataRequest"),
    "an oversized tide frame": (TIDE, struct.pack(">I", 104_857_601) + b"x", "a frame of 104857601 bytes"),
    "a negative tide length": (TIDE, b"\xff\xff\xff\xff", "a frame of -1 bytes"),
}


@pytest.mark.parametrize(("wire", "nonsense", "said"), NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_ends_its_connection_with_one_line_and_hurts_nobody(
    house: House, caplog: pytest.LogCaptureFixture, wire: Wire, nonsense: bytes, said: str
) -> None:
    """1b.2: there is no response that says so. What was asked before it is answered."""
    async with a_peer(house, wire) as bad, a_peer(house) as bystander:
        assert isinstance(await bystander.ask(WHO), ApiVersionsResponse)
        bad.writer.write(bad.spell(a_produce(), WHO) + nonsense + KAFKA_REMAINDER)
        assert base_offset(await bad.answer()) == 0
        assert isinstance(await bad.answer(), ApiVersionsResponse)
        assert await bad.rest() == b""
        assert base_offset(await bystander.ask(a_produce())) == 1
        [line] = complaints(caplog)
        assert said in line.getMessage()
        assert ("software=peer/1 " in line.getMessage()) == ("is not served" in line.getMessage())
        assert bad.address in line.getMessage()
        assert line.exc_info is None
        assert closed(house) == {"not served" if "is not served" in line.getMessage() else "protocol error": 1}


KAFKA_REMAINDER = a_frame(18, 0)
"""A request that would be answered, were it not behind nonsense."""


async def test_bytes_behind_the_body_of_a_kafka_request_do_not_matter(house: House) -> None:
    """Kafka ignores them, and librdkafka sends some."""
    async with a_peer(house) as peer:
        sound = peer.spell(ORDERS)
        longer = struct.pack(">i", len(sound)) + sound[4:] + b"more"
        peer.writer.write(longer + peer.spell(WHO))
        assert isinstance(await peer.answer(), MetadataResponse)
        assert isinstance(await peer.answer(), ApiVersionsResponse)


STRANGERS = {
    "GET": (b"GET /metrics HTTP/1.1\r\n\r\n", "HTTP"),
    "POST": (b"POST / HTTP/1.1\r\n\r\n", "HTTP"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "plaintext"),
    "SSH": (b"SSH-2.0-OpenSSH_9.9\r\n", "SSH"),
    "another TIDE": (b"TIDE\x02", "version 2: known is 1"),
}


@pytest.mark.parametrize(("greeting", "said"), STRANGERS.values(), ids=STRANGERS)
async def test_a_stranger_is_told_apart_and_shown_the_door(
    house: House, caplog: pytest.LogCaptureFixture, greeting: bytes, said: str
) -> None:
    """1b.14."""
    async with a_peer(house) as stranger:
        stranger.writer.write(greeting)
        assert await stranger.rest() == b""
        [line] = complaints(caplog)
        assert said in line.getMessage()
        assert stranger.address in line.getMessage()
        await until(lambda: closed(house) == {"not a client": 1})


async def test_a_greeting_is_judged_once_it_is_whole(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async with a_peer(house, TIDE) as peer, a_peer(house) as stranger:
        peer.writer.write(PREFACE[:4])
        stranger.writer.write(b"GET ")
        assert isinstance(await house_is_alive(house), ApiVersionsResponse)
        assert closed(house) == {"closed by peer": 1}
        peer.writer.write(peer.spell(WHO)[4:])
        stranger.writer.write(b"/")
        assert isinstance(await peer.answer(), ApiVersionsResponse)
        assert await stranger.rest() == b""


async def house_is_alive(house: House) -> object:
    """An honest client's answer; the client is gone again afterwards."""
    gone = sum(closed(house).values()) + 1
    async with a_peer(house) as honest:
        response = await honest.ask(WHO)
    await until(lambda: sum(closed(house).values()) == gone)
    return response


async def test_a_claimed_length_alone_takes_no_memory(house: House) -> None:
    """Q-3."""
    tracemalloc.start()
    try:
        async with AsyncExitStack() as stack:
            for _ in range(20):
                peer = await stack.enter_async_context(a_peer(house))
                peer.writer.write(struct.pack(">i", 100_000_000) + b"only a little")
            assert isinstance(await house_is_alive(house), ApiVersionsResponse)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


async def test_a_request_without_records_may_not_be_as_large_as_a_frame(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused by its first bytes, before the rest is here. Every byte may become an object."""
    async with a_peer(house) as bad:
        bad.writer.write(struct.pack(">ihhih", REQUEST_SIZE_MAX + 1, 3, 12, 1, -1))
        assert await bad.rest() == b""
        [line] = complaints(caplog)
        assert "without records" in line.getMessage()
    async with a_peer(house) as large:
        names = tuple(MetadataRequestTopic(name=f"topic-{number:06}") for number in range(20_000))
        response = await large.ask(MetadataRequest(topics=names, allow_auto_topic_creation=False))
        assert isinstance(response, MetadataResponse)
        assert len(response.topics) == 20_000


def request_memory(house: House) -> int:
    return house.server._requests.used  # noqa: SLF001


async def test_memory_that_was_counted_is_given_back_whatever_happens(house: House) -> None:
    """Half requests, whole ones, refused ones, vanished clients."""
    big = a_produce(*[random.Random(3).randbytes(90_000)] * 9)
    async with a_peer(house) as whole, a_peer(house) as half, a_peer(house) as wrong, a_peer(house) as waiting:
        spelt = half.spell(big)
        half.writer.write(spelt[:500_000])
        await until(lambda: request_memory(house) >= 500_000)
        before = request_memory(house)
        assert base_offset(await whole.ask(big)) == 0
        assert request_memory(house) == before
        wrong.writer.write(spelt[:14] + b"\xff" * (len(spelt) - 14))
        assert await wrong.rest() == b""
        await waiting.send(a_fetch(9, max_wait_ms=600_000))
        await until(lambda: parked(house))
        assert request_memory(house) > before
        waiting.reset()
        half.reset()
        await until(lambda: request_memory(house) == 0)
    assert house.server._responses.used == 0  # noqa: SLF001


async def test_while_memory_is_used_up_small_requests_get_through_and_large_ones_one_by_one(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data", "queued.max.request.bytes=0") as house:
        await house.create("orders")
        big = a_produce(*[random.Random(3).randbytes(90_000)] * 9)
        async with a_peer(house) as first, a_peer(house, TIDE) as second, a_peer(house) as small:
            await first.send(big)
            await second.send(big)
            assert isinstance(await small.ask(WHO), ApiVersionsResponse)
            assert {base_offset(await first.answer()), base_offset(await second.answer())} == {0, 9}
            assert base_offset(await small.ask(a_produce())) == 18
        assert request_memory(house) == 0


# A defect of ours


@pytest.mark.parametrize("wire", WIRES)
async def test_a_crash_costs_its_connection_and_one_traceback(
    house: House, wire: Wire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> object:
        raise ZeroDivisionError("a defect")

    monkeypatch.setitem(HANDLERS, ApiKey.METADATA, crash)
    async with a_peer(house, wire) as unlucky, a_peer(house, wire) as bystander:
        await unlucky.send(a_produce(), ORDERS, WHO)
        assert base_offset(await unlucky.answer()) == 0
        assert await unlucky.rest() == b""
        assert isinstance(await bystander.ask(WHO), ApiVersionsResponse)
        [line] = complaints(caplog)
        assert line.exc_info is not None
        assert line.exc_info[0] is ZeroDivisionError
        assert unlucky.address in line.getMessage()
        assert closed(house) == {"internal error": 1}
        assert house.server.metrics.inflight_requests == 0


# Anything at all

ROUNDS = 300


def a_mutation(rng: random.Random, sound: bytes) -> bytes:
    """Random bytes, or a sound request cut, doubled or with bytes changed."""
    changed = bytearray(sound)
    match rng.randrange(6):
        case 0:
            return rng.randbytes(rng.randrange(1, 200))
        case 1:
            return struct.pack(">i", size := rng.randrange(4, 60)) + rng.randbytes(size)
        case 2:
            del changed[rng.randrange(len(changed)) :]
        case 3:
            start = rng.randrange(len(changed))
            changed[start:start] = changed[: rng.randrange(20)]
        case _:
            for _ in range(rng.choice((1, 1, 2, 8))):
                # Behind the length mostly: a wrong length is found out at once.
                changed[rng.randrange(rng.choice((0, 4, 4, 4)), len(changed))] = rng.choice((0, 1, 127, 128, 255))
    return bytes(changed)


@pytest.mark.parametrize("wire", WIRES)
async def test_whatever_comes_is_answered_or_ends_its_connection_alone(
    house: House, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker lives, an honest client beside it is served, nothing is logged as our failure."""
    rng = random.Random(f"garbage on the {wire.name} wire")
    quick = replace(a_fetch(), max_wait_ms=1)
    create = CreateTopicsRequest(topics=(CreatableTopic(name="x", num_partitions=1, replication_factor=1),))
    create = replace(create, validate_only=True)
    sound = [WHO, ORDERS, a_produce(), a_produce(acks=1), quick, create]
    async with a_peer(house, wire) as honest:
        for turn in range(ROUNDS):
            async with a_peer(house, wire) as odd:
                opening = odd.spell()
                body = a_mutation(rng, odd.spell(rng.choice(sound)))
                odd.writer.write((opening if rng.random() < 0.9 else b"") + body)
                odd.writer.write_eof()
                await odd.rest()
            assert isinstance(await honest.ask(WHO), ApiVersionsResponse)
            if turn % 10 == 0:
                base_offset(await honest.ask(a_produce()))
    await until(lambda: sum(closed(house).values()) == ROUNDS + 1)
    assert house.server.metrics.inflight_requests == 0
    assert parked(house) == 0
    assert complaints(caplog, logging.ERROR) == []
    assert set(closed(house)) >= {"protocol error", "closed by peer"}
