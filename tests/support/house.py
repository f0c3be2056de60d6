"""A whole broker inside a test's loop, and a way to ask its handlers without a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tidelog.broker.config import BrokerConfig
from tidelog.broker.environment import RealEnvironment
from tidelog.broker.handlers.table import HANDLERS
from tidelog.broker.request import Address, NoResponse, Pending, RequestContext
from tidelog.broker.server import Server
from tidelog.protocol.apis import APIS
from tidelog.protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from tidelog.protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    TopicProduceData,
)
from tidelog.protocol.wire import RequestHeader

PATIENCE_S = 20.0


@dataclass
class Client:
    """Who asks: a connection, as handlers know it."""

    peer: str = "127.0.0.1:50000"
    listener: str = "127.0.0.1:9092"
    software: str = ""
    advertised: Address = field(default_factory=lambda: Address("dialled.example", 9092))
    closed_for: list[str] = field(default_factory=list)

    def close(self, reason: str) -> None:
        """Remember why."""
        self.closed_for.append(reason)


class House:
    """A started broker."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = Client()

    def call(self, request: object, version: int | None = None) -> object:
        """What the handler returns, with staged batches written out: a response, NO_RESPONSE or a Pending."""
        api = next(api for api in APIS.values() if api.request is type(request))
        header = RequestHeader(
            api=api, version=api.versions.max if version is None else version, correlation_id=1, client_id="test"
        )
        result = HANDLERS[api.key](RequestContext(header, self.client), self.server.services, request)
        self.server.topics.write_out()
        return result

    async def ask(self, request: object, version: int | None = None) -> object:
        """The response, waited for."""
        result = self.call(request, version)
        if not isinstance(result, Pending):
            return result
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        result.attach(future.set_result)
        async with asyncio.timeout(PATIENCE_S):
            return await future

    async def create(self, name: str, partitions: int = 1, **configs: str) -> None:
        """Create a topic; `segment_bytes="2048"` stands for segment.bytes."""
        topic = CreatableTopic(
            name=name,
            num_partitions=partitions,
            replication_factor=1,
            configs=tuple(
                CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in configs.items()
            ),
        )
        response = await self.ask(CreateTopicsRequest(topics=(topic,)))
        [result] = response.topics  # type: ignore[attr-defined]
        assert result.error_code == 0, result

    async def produce(
        self, topic: str, batch: bytes | bytearray | None, *, partition: int = 0, acks: int = -1, version: int = 12
    ) -> PartitionProduceResponse | NoResponse:
        """Produce one batch to one partition."""
        records = None if batch is None else memoryview(bytearray(batch))
        data = TopicProduceData(name=topic, partition_data=(PartitionProduceData(index=partition, records=records),))
        response = await self.ask(ProduceRequest(acks=acks, timeout_ms=1000, topic_data=(data,)), version)
        if isinstance(response, NoResponse):
            return response
        [topic_response] = response.responses  # type: ignore[attr-defined]
        [result] = topic_response.partition_responses
        assert isinstance(result, PartitionProduceResponse)
        return result


def a_config(data_dir: Path, *overrides: str) -> BrokerConfig:
    """Any port, no HTTP."""
    base = ["listeners=127.0.0.1:0", "http.listen=off", f"data.dir={data_dir}"]
    return BrokerConfig.load(environ={}, overrides=[*base, *overrides])


@asynccontextmanager
async def a_house(data_dir: Path, *overrides: str) -> AsyncIterator[House]:
    """A broker that runs as long as the block."""
    server = Server(a_config(data_dir, *overrides), RealEnvironment())
    await server.start()
    try:
        yield House(server)
    finally:
        await server.stop()
