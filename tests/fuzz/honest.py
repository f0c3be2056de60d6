"""The honest client beside the fuzz: it produces, consumes, tidies up, and loses nothing.

It tells its records apart by number. What was acknowledged must be read, in order, once, and nothing else with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Protocol

from support.builders import a_batch, records_of
from tidelog.protocol.apis import APIS
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopicState
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataResponse, MetadataResponseTopic
from tidelog.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from tidelog.protocol.wire import RequestHeader
from tidelog.storage.config import LogConfig

TOPIC = "honest-orders"
SETTINGS = {**LogConfig().entries(), "retention.ms": "-1", "retention.bytes": "-1"}
"""All of its own, so that none is inherited from a broker whose settings a stranger may change."""
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
API_VERSIONS_BY_NAME_MAX = {"Produce": 12, "Fetch": 12}
"""The newest that name topics instead of ids."""
PATIENCE_S = 10.0
POLL_S = 0.001


class Line(Protocol):
    """A connection to the broker, as its client has it."""

    heard: bytearray
    """What came and was not taken yet."""
    is_gone: bool

    def say(self, data: bytes) -> None:
        """Send."""


class HonestClient:
    """One producer, one consumer, on connections of their own."""

    def __init__(self, connect: Callable[[], Line]) -> None:
        self.acknowledged: list[bytes] = []
        self.consumed: list[bytes] = []
        self._connect = connect
        self._line = connect()
        self._wire = KafkaWire()
        self._asked: deque[RequestHeader] = deque()
        self._correlation_id = 0

    def reconnect(self) -> None:
        """The broker was started again."""
        self._line = self._connect()
        self._asked.clear()

    # One call

    def send(self, request: object) -> None:
        """Ask, and do not wait."""
        api = next(api for api in APIS.values() if api.request is type(request))
        self._correlation_id += 1
        header = RequestHeader(
            api=api,
            version=API_VERSIONS_BY_NAME_MAX.get(api.name, api.versions.max),
            correlation_id=self._correlation_id,
            client_id="honest",
        )
        self._asked.append(header)
        self._line.say(b"".join(self._wire.encode_request(header, request)))

    async def receive(self) -> object:
        """The answer to the oldest question."""
        line, header = self._line, self._asked.popleft()
        async with asyncio.timeout(PATIENCE_S):
            while len(line.heard) < 4 or len(line.heard) < 4 + int.from_bytes(line.heard[:4], "big"):
                assert not line.is_gone, f"the honest client was sent away, asking for {header.api.name}"
                await asyncio.sleep(POLL_S)
        size = int.from_bytes(line.heard[:4], "big")
        frame = memoryview(bytearray(line.heard[4 : 4 + size]))
        del line.heard[: 4 + size]
        assert self._wire.correlation_id(frame) == header.correlation_id
        return self._wire.decode_response(header, frame)

    async def ask(self, request: object) -> object:
        """Ask, and wait."""
        self.send(request)
        return await self.receive()

    # Its work

    def send_record(self) -> bytes:
        """Produce the next record, and do not wait."""
        value = b"order %08d" % (len(self.acknowledged) + len(self._asked))
        data = PartitionProduceData(index=0, records=memoryview(a_batch([value])))
        topic = TopicProduceData(name=TOPIC, partition_data=(data,))
        self.send(ProduceRequest(acks=-1, timeout_ms=10_000, topic_data=(topic,)))
        return value

    async def acknowledge(self, value: bytes) -> None:
        """Wait for its acknowledgement: it comes, and says where."""
        response = await self.receive()
        assert isinstance(response, ProduceResponse)
        [result] = response.responses[0].partition_responses
        assert result.error_code == ErrorCode.NONE, result
        assert result.base_offset == len(self.acknowledged), "somebody else wrote here"
        self.acknowledged.append(value)

    async def consume(self) -> None:
        """Read what is new, up to the end."""
        while len(self.consumed) < len(self.acknowledged):
            offset = len(self.consumed)
            partition = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)
            topic = FetchTopic(topic=TOPIC, partitions=(partition,))
            response = await self.ask(FetchRequest(max_wait_ms=1000, min_bytes=1, topics=(topic,)))
            assert isinstance(response, FetchResponse)
            [result] = response.responses[0].partitions
            assert result.error_code == ErrorCode.NONE, result
            records = [record for record in records_of(result.records or b"") if record.offset >= offset]
            assert [record.offset for record in records] == list(range(offset, offset + len(records)))
            self.consumed += [record.value or b"" for record in records]
        assert self.consumed == self.acknowledged, "an honest client lost or gained something"

    async def consume_again(self) -> None:
        """Read everything from the beginning."""
        self.consumed.clear()
        await self.consume()

    # Its housework

    async def create(
        self, names: Collection[str], *, partitions: int = 1, settings: Mapping[str, str] = NO_SETTINGS
    ) -> None:
        """Create topics."""
        configs = tuple(CreatableTopicConfig(name=name, value=value) for name, value in settings.items())
        topics = tuple(
            CreatableTopic(name=name, num_partitions=partitions, replication_factor=1, configs=configs)
            for name in names
        )
        response = await self.ask(CreateTopicsRequest(topics=topics, timeout_ms=10_000))
        assert isinstance(response, CreateTopicsResponse)
        # A visitor may have begun to create the same, but not the honest client's own.
        expected = (ErrorCode.NONE,) if TOPIC in names else (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS)
        assert all(topic.error_code in expected for topic in response.topics), response

    async def create_own(self) -> None:
        """Create the topic that is nobody else's."""
        await self.create([TOPIC], settings=SETTINGS)

    async def others(self) -> list[MetadataResponseTopic]:
        """The topics that are somebody else's."""
        response = await self.ask(MetadataRequest(topics=None))
        assert isinstance(response, MetadataResponse)
        return [topic for topic in response.topics if topic.name != TOPIC and not topic.is_internal]

    async def delete_others(self) -> None:
        """Delete what the fuzz has created; what is being created this very moment stays."""
        states = tuple(DeleteTopicState(name=topic.name) for topic in await self.others())
        deleted = await self.ask(DeleteTopicsRequest(topics=states, timeout_ms=10_000))
        assert isinstance(deleted, DeleteTopicsResponse)
        # Some visitor may have been quicker.
        expected = (ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        assert all(topic.error_code in expected for topic in deleted.responses), deleted
