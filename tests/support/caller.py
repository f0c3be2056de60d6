"""A client's socket: Kafka's wire, one request at a time or several in a row, on a real loop or a simulated one."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidelog.protocol.apis import APIS
from tidelog.protocol.kafka_wire import KafkaWire
from tidelog.protocol.wire import RequestHeader

PATIENCE_S = 20.0


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._wire = KafkaWire()
        self._unanswered: deque[RequestHeader] = deque()
        self._sent = 0

    async def send(self, request: object, version: int | None = None) -> None:
        """Ask, and do not wait."""
        api = next(api for api in APIS.values() if api.request is type(request))
        self._sent += 1
        header = RequestHeader(
            api=api,
            version=api.versions.max if version is None else version,
            correlation_id=self._sent,
            client_id="caller",
        )
        self._unanswered.append(header)
        self._writer.writelines(bytes(buffer) for buffer in self._wire.encode_request(header, request))
        await self._writer.drain()

    async def receive(self) -> object:
        """The answer to the oldest request without one."""
        async with asyncio.timeout(PATIENCE_S):
            size = int.from_bytes(await self._reader.readexactly(4), "big")
            frame = memoryview(bytearray(await self._reader.readexactly(size)))
        header = self._unanswered.popleft()
        assert self._wire.correlation_id(frame) == header.correlation_id, "answers come in the order of the requests"
        return self._wire.decode_response(header, frame)

    async def ask(self, request: object, version: int | None = None) -> object:
        """Ask, and wait for the answer."""
        await self.send(request, version)
        return await self.receive()

    async def closed(self) -> bytes:
        """Until the broker closes; what it still sent."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read()

    @property
    def is_closed(self) -> bool:
        """The broker has closed, and nothing is left to read."""
        return self._reader.at_eof()


@asynccontextmanager
async def a_caller(address: str) -> AsyncIterator[Caller]:
    """Connected to `host:port` as long as the block."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
