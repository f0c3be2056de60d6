"""How a member of a group in a simulated world reaches its broker, and where its records come from.

A `Line` answers one request after the other. `NetworkLine` is a connection on the tide wire in the simulated network,
made anew when it was lost; `HouseLine` asks the handlers of a broker in the same loop, without a wire: for storms.
"""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

from tidelog.broker.request import Pending
from tidelog.client.config import Address, ClientConfig
from tidelog.client.connection import Connection
from tidelog.client.errors import TidelogError
from tidelog.protocol.batch import walk
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from tidelog.protocol.records import iterate

from .house import House

Response = TypeVar("Response")

ANSWER_S = 5.0
FETCH_WAIT_MS = 100
FETCH_SIZE_MAX = 4_000


class Cut(Exception):
    """There was no answer: the request may have been heard, or not."""


class Line(Protocol):
    """See above."""

    async def ask(self, request: object, expected: type[Response], *, timeout: float = ANSWER_S) -> Response:
        """The answer. Raises Cut."""

    def drop(self) -> None:
        """Begin anew with the next request."""


class Source(Protocol):
    """Where a member's records come from."""

    async def partitions(self) -> int:
        """How many partitions the topic has. Raises Cut."""

    async def read(self, positions: Mapping[int, int]) -> Mapping[int, Sequence[int]]:
        """The CRC-32s of values from these offsets on, by partition. Raises Cut."""


class NetworkLine:
    """A connection to one broker."""

    def __init__(self, address: Address, config: ClientConfig) -> None:
        self._address = address
        self._config = config
        self._connection: Connection | None = None

    async def ask(self, request: object, expected: type[Response], *, timeout: float = ANSWER_S) -> Response:
        """See `Line`."""
        try:
            async with asyncio.timeout(timeout):
                if self._connection is None or self._connection.lost is not None:
                    self._connection = await self._connect()
                return await self._connection.call(request, expected, timeout=timeout)
        except (OSError, TimeoutError, TidelogError) as error:
            self.drop()
            raise Cut(str(error)) from error

    def drop(self) -> None:
        """See `Line`."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def _connect(self) -> Connection:
        buffer = bytearray(1 << 16)

        def factory() -> Connection:
            return Connection(self._address, self._config, receive_buffer=buffer, changed=lambda: None)

        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(factory, self._address.host, self._address.port)
        return connection


class HouseLine:
    """The handlers of a broker in this loop. A member that is `paused` neither asks nor hears."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self.asked = 0

    def pause(self) -> None:
        """Freeze whoever uses it."""
        self._goes_on.clear()

    def resume(self) -> None:
        """Let it go on."""
        self._goes_on.set()

    async def ask(self, request: object, expected: type[Response], *, timeout: float = ANSWER_S) -> Response:
        """See `Line`."""
        await self._goes_on.wait()
        self.asked += 1
        response = self._house.call(request)
        if isinstance(response, Pending):
            answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            response.attach(partial(_answer, answered))
            try:
                async with asyncio.timeout(timeout):
                    response = await answered
            except TimeoutError as error:
                raise Cut("no answer") from error
        await self._goes_on.wait()
        assert isinstance(response, expected), response
        return response

    def drop(self) -> None:
        """See `Line`."""


class BrokerSource:
    """A topic, fetched over a line."""

    def __init__(self, line: Line, topic: str) -> None:
        self._line = line
        self._topic = topic
        self._topic_id: UUID | None = None

    async def partitions(self) -> int:
        """See `Source`."""
        request = MetadataRequest(topics=(MetadataRequestTopic(name=self._topic),), allow_auto_topic_creation=False)
        response = await self._line.ask(request, MetadataResponse)
        [topic] = response.topics
        if topic.error_code:
            raise Cut(f"no metadata: {topic.error_code}")
        self._topic_id = topic.topic_id
        return len(topic.partitions)

    async def read(self, positions: Mapping[int, int]) -> Mapping[int, Sequence[int]]:
        """See `Source`."""
        if self._topic_id is None:
            await self.partitions()
        assert self._topic_id is not None
        parts = tuple(
            FetchPartition(partition=partition, fetch_offset=offset, partition_max_bytes=FETCH_SIZE_MAX)
            for partition, offset in positions.items()
        )
        request = FetchRequest(
            max_wait_ms=FETCH_WAIT_MS,
            min_bytes=1,
            session_epoch=-1,
            topics=(FetchTopic(topic_id=self._topic_id, partitions=parts),),
        )
        response = await self._line.ask(request, FetchResponse)
        if response.error_code:
            raise Cut(f"no records: {response.error_code}")
        return {
            data.partition_index: _sums(data.records, positions[data.partition_index])
            for topic in response.responses
            for data in topic.partitions
            if not data.error_code and data.records
        }


class ModelSource:
    """Logs that exist in the mind only, and grow with time: for storms."""

    def __init__(self, count: int, *, records_per_s: float, pause_s: float) -> None:
        self._count = count
        self._rate = records_per_s
        self._pause_s = pause_s
        self._began = asyncio.get_running_loop().time()
        self._last: int | None = None

    def end(self) -> int:
        """Where every log ends now."""
        if self._last is not None:
            return self._last
        return int((asyncio.get_running_loop().time() - self._began) * self._rate)

    def stop(self) -> int:
        """Nothing more comes; where every log ends."""
        self._last = self.end()
        return self._last

    async def partitions(self) -> int:
        """See `Source`."""
        return self._count

    async def read(self, positions: Mapping[int, int]) -> Mapping[int, Sequence[int]]:
        """See `Source`."""
        await asyncio.sleep(self._pause_s)
        end = self.end()
        return {partition: (0,) * (end - offset) for partition, offset in positions.items() if end > offset}


def _answer(answered: asyncio.Future[object], response: object) -> None:
    if not answered.cancelled():  # whoever asked may be dead by now
        answered.set_result(response)


def _sums(records: memoryview | bytes | bytearray, position: int) -> list[int]:
    """Of the values from an offset on."""
    view = memoryview(records)
    return [
        zlib.crc32(record.value or b"")
        for at, header in walk(view)
        for record in iterate(view[at : at + header.size])
        if record.offset >= position
    ]
