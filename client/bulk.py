"""What `send_many` does: many records of one topic, few objects per record.

A record costs a few table look-ups and one append here; no future, no task. Whoever waits is told once per batch and
call: a share is what one call put into one batch. Room in the memory budget is taken in lumps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from .batcher import Batch, Batcher
from .budget import Budget
from .cluster import Topic
from .config import ClientConfig, ProducerConfig
from .errors import MessageTooLarge, TidelogError
from .partitioner import Partitioner
from .records import (
    HEADER_OVERHEAD,
    RECORD_OVERHEAD,
    Headers,
    HeadersIn,
    Key,
    Summary,
    Value,
    checked_timestamp,
    header_pairs,
    key_bytes,
    record_size,
    value_bytes,
)

Item = TypeVar("Item")

LUMP = 64 << 10
"""Room that is taken at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a producer and its calls of `send_many` share."""

    client: ClientConfig
    config: ProducerConfig
    batcher: Batcher
    budget: Budget
    partitioner: Partitioner


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts(Generic[Item]):
    """How to make a record of an item; None stands for the obvious."""

    key: Callable[[Item], Key] | None = None
    value: Callable[[Item], Value] | None = None
    headers: Callable[[Item], HeadersIn | None] | None = None
    timestamp_ms: Callable[[Item], int] | None = None
    partition: int | None = None


class _Ready(NamedTuple):
    """A record in bytes that waits for room."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    size: int


class _Share(Generic[Item]):
    """What one call put into one batch; it stands there in a row unless others wrote in between."""

    __slots__ = ("batch", "bulk", "count", "first", "headers", "held")

    def __init__(self, bulk: Bulk[Item], batch: Batch) -> None:
        self.bulk = bulk
        self.batch = batch
        self.first = batch.builder.count
        self.count = 0
        self.headers = 0
        self.held = 0

    def delivered(self, batch: Batch, base_offset: int, append_time_ms: int) -> None:
        """See `Receipt`."""
        first = base_offset + self.first if base_offset >= 0 else -1
        size = self.held - RECORD_OVERHEAD * self.count - HEADER_OVERHEAD * self.headers
        self.bulk.summary.add(batch.name[1], first_offset=first, count=self.count, size=size)
        self.bulk.settled()

    def failed(self, error: TidelogError) -> None:
        """See `Receipt`."""
        self.bulk.failed += self.count
        self.bulk.error = self.bulk.error or error
        self.bulk.settled()


class Bulk(Generic[Item]):
    """One call of `send_many`."""

    def __init__(self, tools: Tools, topic: Topic, parts: Parts[Item]) -> None:
        self.summary = Summary(topic=topic.name)
        self.error: TidelogError | None = None
        """Of the first batch that failed."""
        self.failed = 0
        """Records that were not delivered."""
        self._tools = tools
        self._topic = topic
        self._parts = parts
        self._room = 0
        """Bytes taken from the budget and not used yet."""
        self._stash: _Ready | None = None
        self._current = (
            tools.partitioner.without_key(topic.name, topic.available) if parts.partition is None else parts.partition
        )
        """The partition of records that no key binds to another."""
        self._shares: dict[int, _Share[Item]] = {}
        self._unsettled = 0
        self._finished: asyncio.Future[None] | None = None

    def fill(self, items: Iterator[Item], *, now: float) -> int:
        """Add items until they end (then 0), or until the room ends: then the bytes to `await add_room` for."""
        parts = self._parts
        key_of, value_of, headers_of, time_of = parts.key, parts.value, parts.headers, parts.timestamp_ms
        is_hashed = key_of is not None and parts.partition is None
        count, for_key = len(self._topic.partitions), self._tools.partitioner.for_key
        now_ms = self._tools.client.now_ms()
        size_max = self._tools.config.max_batch
        shares = self._shares
        if self._stash is not None:
            self._put_stash(now)
        room = self._room
        try:
            for item in items:
                value = value_bytes(item if value_of is None else value_of(item))
                key = None if key_of is None else key_bytes(key_of(item))
                headers = () if headers_of is None else header_pairs(headers_of(item))
                timestamp_ms = now_ms if time_of is None else checked_timestamp(time_of(item))
                if key is None and not headers:
                    size = RECORD_OVERHEAD + (len(value) if value is not None else 0)
                else:
                    size = record_size(key, value, headers)
                if size > room:
                    if not self._tools.budget.try_take(lump := self._lump(size)):
                        self._stash = _Ready(key, value, headers, timestamp_ms, size)
                        return lump
                    room += lump
                partition = for_key(key, count) if is_hashed and key is not None else self._current
                share = shares.get(partition)
                if share is None or not share.batch.has_room(size, size_max):
                    share = self._open(partition, size, now, is_bound=key is not None)
                share.batch.append(key, value, headers, timestamp_ms)
                share.count += 1
                share.headers += len(headers)
                share.held += size
                room -= size
        finally:
            self._room = room
        return 0

    async def add_room(self, size: int) -> None:
        """Wait for room; what was left of it is given back first, since nobody may wait while sitting on some."""
        self.give_room_back()
        await self._tools.budget.take(size)
        self._room = size

    def give_room_back(self) -> None:
        """Give back what was taken from the budget and not used."""
        room, self._room = self._room, 0
        self._tools.budget.give(room)

    async def finish(self) -> Summary:
        """Wait until every batch is settled."""
        if self._unsettled:
            self._finished = asyncio.get_running_loop().create_future()
            await self._finished
        if self.error is not None:
            error = copy(self.error)  # others who had records in the batch raise it, too
            error.summary = self.summary
            raise error from self.error.__cause__
        return self.summary

    def settled(self) -> None:
        """One more share is settled."""
        self._unsettled -= 1
        if not self._unsettled and self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def _put_stash(self, now: float) -> None:
        """Add the record for which there was no room before."""
        assert self._stash is not None
        (key, value, headers, timestamp_ms, size), self._stash = self._stash, None
        partition = self._current
        if self._parts.partition is None and key is not None:
            partition = self._tools.partitioner.for_key(key, len(self._topic.partitions))
        share = self._shares.get(partition)
        if share is None or not share.batch.has_room(size, self._tools.config.max_batch):
            share = self._open(partition, size, now, is_bound=key is not None)
        share.batch.append(key, value, headers, timestamp_ms)
        share.count += 1
        share.headers += len(headers)
        share.held += size
        self._room -= size

    def _open(self, partition: int, size: int, now: float, *, is_bound: bool) -> _Share[Item]:
        """This call's share in a batch with room; a record that is bound to no partition moves on to another one."""
        name = (self._topic.name, partition)
        if self._parts.partition is None and not is_bound and not self._tools.batcher.has_room(name, size):
            self._current = self._tools.partitioner.move_on(self._topic.name, self._topic.available)
            name = (self._topic.name, self._current)
        batch = self._tools.batcher.batch_for(name, size, now=now)
        share = self._shares.get(name[1])
        if share is None or share.batch is not batch:
            share = self._shares[name[1]] = _Share(self, batch)
            batch.receipts.append(share)
            self._unsettled += 1
        return share

    def _lump(self, size: int) -> int:
        limit = self._tools.budget.limit
        if size > limit:
            raise MessageTooLarge(f"a record of {size} bytes does not fit into max_buffer, {limit} bytes")
        return max(size, min(LUMP, limit // 4))
