"""Dispatcher: what becomes of a frame, whatever the handler does; and what is counted [1b.1, 1b.2, 1b.10]."""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.house import PATIENCE_S, House, a_house
from support.messages import examples, instances, served
from tidelog.broker.handlers.table import HANDLERS
from tidelog.broker.network.dispatcher import Dispatcher, Exchange
from tidelog.broker.request import NO_RESPONSE, Pending
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.apis import APIS, KAFKA_APIS, Api, ApiKey
from tidelog.protocol.errors import (
    ErrorCode,
    NotServed,
    ProtocolError,
    RequestRefused,
    UnsupportedVersion,
)
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from tidelog.protocol.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from tidelog.protocol.records import build_batch
from tidelog.protocol.tide_wire import TideWire
from tidelog.protocol.wire import RequestHeader, Wire

KAFKA, TIDE = KafkaWire(), TideWire()
WIRES = [pytest.param(KAFKA, id="kafka"), pytest.param(TIDE, id="tide")]
WHO = ApiVersionsRequest(client_software_name="caller", client_software_version="1")
ALL_TOPICS = MetadataRequest(topics=None)
AS_A_REPLICA = FetchRequest(replica_id=5)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with the topic `orders`."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders")
        yield house


def header_for(request: object, wire: Wire, version: int | None = None) -> RequestHeader:
    api = next(api for api in APIS.values() if api.request is type(request))
    named = {ApiKey.PRODUCE: 12, ApiKey.FETCH: 12}.get(api.key, api.versions.max)
    if version is None:
        version = api.versions.max if wire is TIDE else named
    return RequestHeader(api=api, version=version, correlation_id=77, client_id="caller")


def a_frame(request: object, wire: Wire, version: int | None = None) -> memoryview:
    """As a connection hands it over."""
    return memoryview(bytearray(b"".join(wire.encode_request(header_for(request, wire, version), request))))[4:]


class Desk:
    """A dispatcher, and what it reports."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.dispatcher = Dispatcher(house.server.services)
        self.late: list[Exchange] = []

    def take(self, frame: memoryview, wire: Wire = KAFKA) -> Exchange | None:
        return self.dispatcher.dispatch(frame, wire, self.house.client, self.late.append)

    def ask(self, request: object, wire: Wire = KAFKA, version: int | None = None) -> Exchange | None:
        return self.take(a_frame(request, wire, version), wire)

    async def settle(self, exchange: Exchange) -> None:
        """Until it is answered."""
        self.dispatcher.end_of_read()
        async with asyncio.timeout(PATIENCE_S):
            while exchange.buffers is None:  # noqa: ASYNC110 - as a connection would: turn by turn
                await asyncio.sleep(0)


def answer(exchange: Exchange | None, wire: Wire = KAFKA) -> object:
    """Decoded as the client would."""
    assert exchange is not None
    assert exchange.buffers is not None
    frame = memoryview(b"".join(exchange.buffers))
    assert struct.unpack(">i", frame[:4]) == (len(frame) - 4,)
    assert exchange.size == len(frame)
    assert wire.correlation_id(frame[4:]) == 77
    return wire.decode_response(exchange.header, frame[4:])


def a_produce(acks: int = -1, topic: str = "orders") -> ProduceRequest:
    records = memoryview(build_batch([(None, b"value", (), 1_700_000_000_000)]))
    data = TopicProduceData(name=topic, partition_data=(PartitionProduceData(index=0, records=records),))
    return ProduceRequest(acks=acks, timeout_ms=1000, topic_data=(data,))


def a_long_poll() -> FetchRequest:
    topic = FetchTopic(topic="orders", partitions=(FetchPartition(partition=0, partition_max_bytes=1000),))
    return FetchRequest(max_wait_ms=600_000, min_bytes=1, max_bytes=1000, topics=(topic,))


# What cannot be read


@pytest.mark.parametrize("version", [5, 99, 32767, -1])
async def test_api_versions_of_an_unknown_version_is_answered_in_version_0(house: House, version: int) -> None:
    """1b.1, KIP-511: whatever its header and body look like in that version."""
    desk = Desk(house)
    frame = struct.pack(">hhih", 18, version, 77, 4) + b"kafk" + b"from the future"
    exchange = desk.take(memoryview(bytearray(frame)))
    assert exchange is not None
    written = b"".join(exchange.buffers or ())
    api_versions = APIS[ApiKey.API_VERSIONS].versions
    expected = struct.pack(">ihi", 77, 35, 1) + struct.pack(">hhh", 18, api_versions.min, api_versions.max)
    assert written == struct.pack(">i", len(expected)) + expected
    assert house.server.metrics.api(ApiKey.API_VERSIONS).requests[35] == 1
    assert house.client.closed_for == []


@pytest.mark.parametrize("api", [api for api in KAFKA_APIS.values() if api.key is not ApiKey.API_VERSIONS])
async def test_any_other_version_that_is_not_served_is_for_the_connection_to_end(house: House, api: Api) -> None:
    """1b.2; Produce 0 to 2 are advertised all the same [1b.3]."""
    for version in (-1, api.versions.min - 1, api.versions.max + 1):
        with pytest.raises(UnsupportedVersion):
            Desk(house).take(memoryview(bytearray(struct.pack(">hhih", api.key, version, 77, -1))))


@pytest.mark.parametrize("key", [-1000, -1, 4, 32767])
async def test_a_key_that_is_not_served_is_for_the_connection_to_end(house: House, key: int) -> None:
    """1b.2."""
    with pytest.raises(NotServed, match=f"key {key} "):
        Desk(house).take(memoryview(bytearray(struct.pack(">hhih", key, 0, 77, -1))))


@pytest.mark.parametrize("wire", WIRES)
async def test_half_a_request_reaches_no_handler(house: House, wire: Wire) -> None:
    """1b.2."""
    whole = a_frame(a_produce(), wire)
    desk = Desk(house)
    for size in range(len(whole)):
        with pytest.raises(ProtocolError):
            desk.take(memoryview(bytearray(whole[:size])), wire)
    assert set(house.server.metrics.api(ApiKey.PRODUCE).requests.values()) == {0}


# What handlers return or raise


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_that_is_there_is_encoded_at_once(house: House, wire: Wire) -> None:
    desk = Desk(house)
    response = answer(desk.ask(ALL_TOPICS, wire), wire)
    assert isinstance(response, MetadataResponse)
    assert [topic.name for topic in response.topics] == ["orders"]
    assert desk.late == []


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_that_has_to_wait_is_announced(house: House, wire: Wire) -> None:
    desk = Desk(house)
    exchange = desk.ask(a_produce(), wire)
    assert exchange is not None
    assert (exchange.buffers, exchange.size, desk.late) == (None, 0, [])
    await desk.settle(exchange)
    assert desk.late == [exchange]
    response = answer(exchange, wire)
    assert isinstance(response, ProduceResponse)
    assert response.responses[0].partition_responses[0].base_offset == 0


async def test_what_is_staged_is_written_at_the_end_of_the_read(house: House) -> None:
    """All of a socket read's batches in one write."""
    desk = Desk(house)
    exchanges = [desk.ask(a_produce(acks=1)) for _ in range(3)]
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    assert (topic.partitions[0].log.written_offset, desk.late) == (0, [])
    desk.dispatcher.end_of_read()
    assert topic.partitions[0].log.written_offset == 3
    assert desk.late == exchanges


async def test_acks_zero_has_an_empty_answer_when_its_turn_comes(house: House) -> None:
    """1b.10."""
    desk = Desk(house)
    exchange = desk.ask(a_produce(acks=0))
    assert exchange is not None
    desk.dispatcher.end_of_read()
    assert (exchange.buffers, desk.late) == ([], [exchange])
    assert desk.ask(a_produce(acks=0, topic="nowhere")) is None
    assert house.client.closed_for == ["acks=0 produce failed: UNKNOWN_TOPIC_OR_PARTITION"]
    assert house.server.metrics.api(ApiKey.PRODUCE).requests == {0: 2}


async def test_a_refusal_of_the_whole_request_is_said_where_there_are_words_for_it(house: House) -> None:
    """The tide wire has them; Kafka's clients are hung up on."""
    desk = Desk(house)
    exchange = desk.ask(AS_A_REPLICA, TIDE)
    with pytest.raises(RequestRefused, match="only consumers") as refused:
        answer(exchange, TIDE)
    assert refused.value.code is ErrorCode.CLUSTER_AUTHORIZATION_FAILED
    assert house.client.closed_for == []
    assert desk.ask(AS_A_REPLICA, KAFKA) is None
    assert house.client.closed_for == ["Fetch refused: CLUSTER_AUTHORIZATION_FAILED"]
    requests = house.server.metrics.api(ApiKey.FETCH).requests
    assert requests[ErrorCode.CLUSTER_AUTHORIZATION_FAILED] == 2


def handles_metadata(monkeypatch: pytest.MonkeyPatch, handler: Callable[[], object]) -> None:
    """Put a defect where the handler of Metadata is: no other way leads to one."""
    monkeypatch.setitem(HANDLERS, ApiKey.METADATA, lambda *_: handler())


def only_complaint(caplog: pytest.LogCaptureFixture) -> str:
    """The one line, which carries a traceback."""
    [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.exc_info is not None
    return line.getMessage()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_defect_in_a_handler_ends_the_connection_with_one_traceback(
    house: House, wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash() -> object:
        raise KeyError("a defect")

    handles_metadata(monkeypatch, crash)
    assert Desk(house).ask(ALL_TOPICS, wire) is None
    assert house.client.closed_for == ["internal error"]
    assert only_complaint(caplog) == "handler failed api=Metadata peer=127.0.0.1:50000"
    assert house.server.metrics.api(ApiKey.METADATA).requests[ErrorCode.UNKNOWN_SERVER_ERROR] == 1


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_that_has_no_bytes_is_a_defect_like_any_other(
    house: House, wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unencodable = MetadataResponse(topics=(object(),))  # type: ignore[arg-type]
    handles_metadata(monkeypatch, lambda: unencodable)
    exchange = Desk(house).ask(ALL_TOPICS, wire)
    assert exchange is not None
    assert exchange.buffers == []
    assert house.client.closed_for == ["internal error"]
    assert only_complaint(caplog) == "answer cannot be written api=Metadata peer=127.0.0.1:50000"


async def test_who_completes_an_answer_does_not_suffer_from_it(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It completes others' as well: a commit round, for one, or the creation of a topic."""
    pending: Pending[object] = Pending()
    handles_metadata(monkeypatch, lambda: pending)
    desk = Desk(house)
    exchange = desk.ask(ALL_TOPICS)
    pending(MetadataResponse(topics=(object(),)))  # type: ignore[arg-type]
    assert desk.late == [exchange]
    assert house.client.closed_for == ["internal error"]
    assert "answer cannot be written" in only_complaint(caplog)
    assert house.server.metrics.inflight_requests == 0


async def test_a_pending_that_is_answered_already_does_not_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pending: Pending[object] = Pending()
    pending(MetadataResponse(controller_id=4))
    handles_metadata(monkeypatch, lambda: pending)
    desk = Desk(house)
    response = answer(desk.ask(ALL_TOPICS))
    assert isinstance(response, MetadataResponse)
    assert response.controller_id == 4
    assert desk.late == []
    silent: Pending[object] = Pending()
    silent(NO_RESPONSE)
    handles_metadata(monkeypatch, lambda: silent)
    assert desk.ask(ALL_TOPICS) is None


# What is counted


@pytest.mark.parametrize("wire", WIRES)
async def test_requests_and_their_bytes_are_counted_by_api(house: House, wire: Wire) -> None:
    desk, metrics = Desk(house), house.server.metrics
    frames = [a_frame(WHO, wire), a_frame(ApiVersionsRequest(), wire)]
    written = 0
    for frame in frames:
        exchange = desk.take(frame, wire)
        response = answer(exchange, wire)
        assert isinstance(response, ApiVersionsResponse)
        assert exchange is not None
        written += exchange.size
    measures = metrics.api(ApiKey.API_VERSIONS)
    assert measures.requests == {0: 1, int(ErrorCode.INVALID_REQUEST): 1}
    assert measures.request_bytes == sum(map(len, frames))
    assert measures.response_bytes == written > 0
    assert sum(measures.duration.counts) == 2
    assert metrics.api(ApiKey.METADATA).request_bytes == 0


async def test_requests_in_flight_are_those_that_wait(house: House) -> None:
    desk, metrics = Desk(house), house.server.metrics
    desk.ask(WHO)
    assert metrics.inflight_requests == 0
    parked, produced = desk.ask(a_long_poll()), desk.ask(a_produce())
    assert parked is not None
    assert produced is not None
    assert metrics.inflight_requests == 2
    desk.dispatcher.abandon(parked)
    desk.dispatcher.abandon(parked)
    assert metrics.inflight_requests == 1
    assert len(house.server.services.delayed_fetches) == 0
    await desk.settle(produced)
    desk.dispatcher.abandon(produced)
    assert metrics.inflight_requests == 0
    assert metrics.api(ApiKey.FETCH).requests == {0: 0}
    assert metrics.api(ApiKey.PRODUCE).requests == {0: 1}


# Every request that can be read is answered

LONGEST = "n" * 32767
NAMED = [
    ProduceRequest(acks=1, topic_data=(TopicProduceData(name=LONGEST, partition_data=(PartitionProduceData(),)),)),
    FetchRequest(topics=(FetchTopic(topic=LONGEST, partitions=(FetchPartition(),)),)),
    ListOffsetsRequest(topics=(ListOffsetsTopic(name=LONGEST, partitions=(ListOffsetsPartition(),)),)),
    MetadataRequest(topics=(MetadataRequestTopic(name=LONGEST),)),
    CreateTopicsRequest(topics=(CreatableTopic(name=LONGEST, num_partitions=1, replication_factor=1),)),
    DeleteTopicsRequest(topics=(DeleteTopicState(name=LONGEST),)),
    DeleteTopicsRequest(topic_names=(LONGEST,)),
]


@pytest.mark.parametrize("request_", NAMED, ids=lambda request: type(request).__name__)
async def test_the_longest_name_does_not_break_the_answer_that_quotes_it(
    house: House, request_: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A string of the older versions has 32,767 bytes at most, on the way in and on the way out."""
    api = header_for(request_, KAFKA).api
    desk = Desk(house)
    versions = [version for version in range(api.versions.min, api.versions.max + 1) if can_say(request_, version)]
    assert versions
    for version in versions:
        exchange = desk.ask(request_, KAFKA, version)
        assert exchange is not None
        await desk.settle(exchange)
        assert isinstance(answer(exchange), api.response)
    assert caplog.records == []
    assert house.client.closed_for == []


def can_say(request: object, version: int) -> bool:
    """Whether the version has words for it: by then some name topics by id, or in another field."""
    match request:
        case ProduceRequest() | FetchRequest():
            return version < 13
        case DeleteTopicsRequest():
            return (version >= 6) == bool(request.topics)
        case _:
            return True


@pytest.mark.parametrize("version", [10, 11])
async def test_a_topic_without_a_name_is_refused_where_the_answer_could_not_leave_it_out(
    house: House, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Ids stand in Metadata requests since v10, and may be looked up since v12."""
    nameless = MetadataRequestTopic(name=None, topic_id=UUID(int=9))
    by_both = MetadataRequestTopic(name="orders", topic_id=UUID(int=9))
    desk = Desk(house)
    exchange = desk.ask(
        MetadataRequest(topics=(nameless, by_both, replace(nameless, name="new", topic_id=UUID(int=0)))),
        version=version,
    )
    assert exchange is not None
    await desk.settle(exchange)
    response = answer(exchange)
    assert isinstance(response, MetadataResponse)
    codes = [topic.error_code for topic in response.topics]
    assert codes == [ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST, ErrorCode.NONE]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def tamed(request: object) -> object:
    """Without the wish for thousands of files."""
    if isinstance(request, CreateTopicsRequest):
        topics = (replace(topic, num_partitions=min(topic.num_partitions, 2)) for topic in request.topics)
        return replace(request, topics=tuple(topics))
    return request


async def test_a_fetch_that_fails_after_its_wait_costs_its_connection_and_nobody_else(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wakes it commits what others have produced."""
    desk = Desk(house)
    exchange = desk.ask(a_long_poll())
    assert exchange is not None

    def crash(*_: object, **__: object) -> object:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Partition, "read", crash)
    produced = desk.ask(a_produce())
    assert produced is not None
    await desk.settle(produced)
    assert set(desk.late) == {exchange, produced}
    assert exchange.buffers == []
    assert house.client.closed_for == ["internal error"]
    [line] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert line.exc_info is not None
    assert line.exc_info[0] is ZeroDivisionError
    assert house.server.metrics.inflight_requests == 0
    assert house.server.metrics.api(ApiKey.FETCH).requests[ErrorCode.UNKNOWN_SERVER_ERROR] == 1


ANY_REQUEST = st.sampled_from(served()).flatmap(
    lambda pair: st.tuples(st.just(pair[1]), instances(pair[0].request, pair[1]).map(tamed))
)


def test_whatever_can_be_read_is_answered_in_its_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By an answer that can be read, or by none; never by a defect."""

    async def dispatch(desk: Desk, request: object, version: int) -> None:
        exchange = desk.ask(request, KAFKA, version)
        if exchange is None:
            return
        if exchange.pending is not None:
            exchange.pending.hurry()
        await desk.settle(exchange)
        if exchange.buffers:
            assert isinstance(answer(exchange), exchange.header.api.response)

    with asyncio.Runner() as runner:
        opened = a_house(tmp_path / "data")
        desk = Desk(runner.run(opened.__aenter__()))

        @examples(300)
        @given(ANY_REQUEST)
        def check(asked: tuple[int, object]) -> None:
            runner.run(dispatch(desk, asked[1], asked[0]))
            assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
            assert "internal error" not in desk.house.client.closed_for
            assert desk.house.server.metrics.inflight_requests == 0

        check()
        runner.run(opened.__aexit__(None, None, None))
