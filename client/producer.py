"""Sends records: one by one, many at once, and waits for what was sent.

What is promised: records of one partition are stored in the order in which they were handed over, also when some have
to be sent again; a record whose future has a result is as safe as `acks` says, and stored once. (With acks other than
"all", or idempotent=False, it may be stored twice. A record whose future has an error may be stored, once, or not.)
Memory is bounded by the client's budget: `send` and `send_many` wait for room, `send_nowait` raises BufferFull.
Cancelling `send` while it waits for room takes the record back; later it only stops waiting, and the record goes out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from .batcher import Batch, Batcher
from .budget import Budget
from .bulk import Bulk, Parts, Tools
from .cluster import Cluster, Topic
from .config import ProducerConfig
from .errors import BufferFull, ClientClosed, MessageTooLarge, PartitionNotFound, TidelogError
from .partitioner import Partitioner
from .records import (
    Headers,
    HeadersIn,
    Key,
    RecordMetadata,
    Summary,
    Value,
    checked_timestamp,
    header_pairs,
    key_bytes,
    record_size,
    value_bytes,
)
from .sender import Sender
from .tasks import Tasks

Item = TypeVar("Item")

CHUNK = 1024
"""Records that `send_many` takes before it lets others run."""


class _Outgoing(NamedTuple):
    """A record in bytes."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None
    timestamp_ms: int
    size: int


class _Single:
    """The receipt of a record that was sent for itself."""

    __slots__ = ("future", "held", "index", "producer", "timestamp_ms")

    def __init__(
        self, producer: Producer, future: asyncio.Future[RecordMetadata], record: _Outgoing, *, index: int
    ) -> None:
        self.producer = producer
        self.future = future
        self.index = index
        self.timestamp_ms = record.timestamp_ms
        self.held = record.size

    def delivered(self, batch: Batch, base_offset: int, append_time_ms: int) -> None:
        """See `Receipt`."""
        if not self.future.done():
            topic, partition = batch.name
            offset = base_offset + self.index if base_offset >= 0 else -1
            timestamp = append_time_ms if append_time_ms >= 0 else self.timestamp_ms
            self.future.set_result(RecordMetadata(topic, partition, offset, timestamp))

    def failed(self, error: TidelogError) -> None:
        """See `Receipt`."""
        self.producer.failed += 1
        _fail(self.future, error)


class Producer:
    """Sends records; made by `Client.producer` and used as an asynchronous context manager."""

    def __init__(self, cluster: Cluster, budget: Budget, config: ProducerConfig) -> None:
        self.failed = 0
        """Records that were not delivered. Whoever drops the futures of `send_nowait` may look here."""
        self._cluster = cluster
        self._budget = budget
        self._batcher = Batcher(config)
        self._tools = Tools(
            client=cluster.config,
            config=config,
            batcher=self._batcher,
            budget=budget,
            partitioner=Partitioner(cluster.config.random),
        )
        self._loop = asyncio.get_running_loop()
        self._sender = Sender(
            cluster, config, self._batcher, settled=self._settled, pressed=lambda: budget.short
        )  # fmt: skip
        self._tasks = Tasks()
        self._unrouted: dict[str, deque[tuple[_Outgoing, asyncio.Future[RecordMetadata]]]] = {}
        """Records of `send_nowait` to topics of which nothing is known yet."""
        self._routing: dict[str, asyncio.Task[None]] = {}
        self._flushes: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Deliver what was sent; after an exception give it up instead."""
        try:
            if kind is None:
                await self.flush()
        finally:
            await self.close()

    async def close(self) -> None:
        """Give up what is not delivered yet, at once; `flush` first to wait for it."""
        self._closed = True
        await self._tasks.stop()
        for topic in list(self._unrouted):  # of tasks that were cancelled before they began
            self._give_up_unrouted(topic, ClientClosed("the producer was closed before the record was sent"))
        await self._sender.close()

    async def send(
        self,
        topic: str,
        value: Value,
        *,
        key: Key = None,
        headers: HeadersIn | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> RecordMetadata:
        """Send a record and wait until it is acknowledged."""
        self._check_open()
        record = self._outgoing(value, key, headers, partition=partition, timestamp_ms=timestamp_ms)
        if not self._budget.try_take(record.size):
            self._sender.kick()  # what lingers and could make room leaves now
            await self._budget.take(record.size)
        try:
            known = self._cluster.topic(topic) or await self._sender.topic(topic)
            future = self._add(known, record)
        except BaseException:
            self._budget.give(record.size)
            raise
        return await future

    def send_nowait(
        self,
        topic: str,
        value: Value,
        *,
        key: Key = None,
        headers: HeadersIn | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[RecordMetadata]:
        """Send a record; the future tells when it is acknowledged. BufferFull if there is no room for it now."""
        self._check_open()
        record = self._outgoing(value, key, headers, partition=partition, timestamp_ms=timestamp_ms)
        if not self._budget.try_take(record.size):
            raise BufferFull(f"{self._budget.used} of {self._budget.limit} bytes of max_buffer are in use")
        known = self._cluster.topic(topic)
        waiting = self._unrouted.get(topic)
        if known is not None and waiting is None:
            try:
                return self._add(known, record)
            except BaseException:
                self._budget.give(record.size)
                raise
        future: asyncio.Future[RecordMetadata] = self._loop.create_future()
        if waiting is None:
            waiting = self._unrouted[topic] = deque()
            self._routing[topic] = self._tasks.start(self._route(topic), name=f"route {topic}")
        waiting.append((record, future))
        return future

    async def send_many(
        self,
        topic: str,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        key: Callable[[Item], Key] | None = None,
        value: Callable[[Item], Value] | None = None,
        headers: Callable[[Item], HeadersIn | None] | None = None,
        partition: int | None = None,
        timestamp_ms: Callable[[Item], int] | None = None,
    ) -> Summary:
        """Send a record for each item and wait until all are acknowledged.

        An item is the value itself unless `value` says what to send of it. Stops at the first batch that fails,
        waits for what is under way, and raises its error. An iterable that blocks blocks the loop: make such a one
        asynchronous.
        """
        self._check_open()
        known = self._cluster.topic(topic) or await self._sender.topic(topic)
        while topic in self._routing:  # records of `send_nowait` came first
            await asyncio.wait([self._routing[topic]])
        _check_partition(known, partition)
        parts = Parts(key=key, value=value, headers=headers, timestamp_ms=timestamp_ms, partition=partition)
        bulk = Bulk(self._tools, known, parts)
        try:
            async for chunk in _chunks(items):
                await self._fill(bulk, chunk)
                if bulk.error is not None:
                    break
            return await bulk.finish()
        finally:
            bulk.give_room_back()
            self.failed += bulk.failed

    async def flush(self) -> None:
        """Wait until everything sent so far is delivered or given up. Nothing lingers meanwhile."""
        if self._routing:
            await asyncio.wait(list(self._routing.values()))
        mark = self._batcher.hurry()
        if not self._batcher.settled_through(mark):
            self._sender.kick()
            settled: asyncio.Future[None] = self._loop.create_future()
            self._flushes.append((mark, settled))
            await settled

    # Inside

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("the producer is closed")
        if self._sender.failure is not None:
            raise ClientClosed(f"the producer failed: {self._sender.failure!r}")

    def _outgoing(
        self, value: object, key: object, headers: HeadersIn | None, *, partition: int | None, timestamp_ms: int | None
    ) -> _Outgoing:
        key_ = key_bytes(key)
        value_ = value_bytes(value)
        pairs = header_pairs(headers)
        time = self._cluster.config.now_ms() if timestamp_ms is None else checked_timestamp(timestamp_ms)
        size = record_size(key_, value_, pairs)
        if size > self._budget.limit:
            raise MessageTooLarge(f"a record of {size} bytes does not fit into max_buffer, {self._budget.limit} bytes")
        return _Outgoing(key_, value_, pairs, partition, time, size)

    def _add(self, topic: Topic, record: _Outgoing) -> asyncio.Future[RecordMetadata]:
        future: asyncio.Future[RecordMetadata] = self._loop.create_future()
        self._place(topic, record, future)
        return future

    def _place(self, topic: Topic, record: _Outgoing, future: asyncio.Future[RecordMetadata]) -> None:
        self._check_open()
        partition = self._choose(topic, record)
        batch = self._batcher.batch_for((topic.name, partition), record.size, now=self._loop.time())
        index = batch.append(record.key, record.value, record.headers, record.timestamp_ms)
        batch.receipts.append(_Single(self, future, record, index=index))
        self._sender.kick()

    def _choose(self, topic: Topic, record: _Outgoing) -> int:
        partitioner = self._tools.partitioner
        if record.partition is not None:
            _check_partition(topic, record.partition)
            return record.partition
        if record.key is not None:
            return partitioner.for_key(record.key, len(topic.partitions))
        partition = partitioner.without_key(topic.name, topic.available)
        if not self._batcher.has_room((topic.name, partition), record.size):
            partition = partitioner.move_on(topic.name, topic.available)
        return partition

    async def _route(self, topic: str) -> None:
        """Place what `send_nowait` took for a topic of which nothing was known."""
        try:
            known = await self._sender.topic(topic)
        except TidelogError as error:
            self._give_up_unrouted(topic, error)
        else:
            for record, future in self._unrouted.pop(topic):
                self._place_or_fail(known, record, future)
        finally:
            del self._routing[topic]

    def _give_up_unrouted(self, topic: str, error: TidelogError) -> None:
        for record, future in self._unrouted.pop(topic):
            self._drop(record, future, error)

    def _place_or_fail(self, topic: Topic, record: _Outgoing, future: asyncio.Future[RecordMetadata]) -> None:
        try:
            self._place(topic, record, future)
        except TidelogError as error:
            self._drop(record, future, error)

    def _drop(self, record: _Outgoing, future: asyncio.Future[RecordMetadata], error: TidelogError) -> None:
        self.failed += 1
        self._budget.give(record.size)
        _fail(future, error)

    async def _fill(self, bulk: Bulk[Item], items: Iterator[Item]) -> None:
        while True:
            self._check_open()
            wanted = bulk.fill(items, now=self._loop.time())
            self._sender.kick()
            if not wanted:
                break
            await bulk.add_room(wanted)

    def _settled(self, batch: Batch) -> None:
        self._budget.give(batch.held)
        while self._flushes and self._batcher.settled_through(self._flushes[0][0]):
            _, settled = self._flushes.popleft()
            if not settled.done():
                settled.set_result(None)


async def _chunks(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Iterator[Item]]:
    """Chunks of an iterable, each item at once of an asynchronous one; others may run in between."""
    if isinstance(items, AsyncIterable):
        count = 0
        async for item in items:
            yield iter((item,))
            count += 1
            if count % CHUNK == 0:
                await asyncio.sleep(0)
    else:
        iterator = iter(items)
        while chunk := list(islice(iterator, CHUNK)):
            yield iter(chunk)
            await asyncio.sleep(0)


def _check_partition(topic: Topic, partition: int | None) -> None:
    if partition is not None and not 0 <= partition < len(topic.partitions):
        count = len(topic.partitions)
        raise PartitionNotFound(f"topic {topic.name!r} has partitions 0 to {count - 1}, not {partition}")


def _fail(future: asyncio.Future[RecordMetadata], error: TidelogError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody may be waiting any more, and that is no news to report
