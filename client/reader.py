"""Reads a topic, or some of its partitions, without a group: from an offset or a time, to an end or for ever.

Records of one partition come in their order; partitions take turns. While the program works on what it got, the next
fetch is already under way: a fetch is a future, and nothing runs for a reader that nobody reads from. A reader that
is left in the middle of an `async for` closes its connections and goes on where it was when it is read again.

What may pass (a lost connection, a leader that moves) is tried again until it has lasted as long as the client's
`timeout`, then raised; the reader still knows where it is. A position that the log does not hold (any more) raises
OffsetOutOfRange unless `on_out_of_range` says where to go on; `seek` helps, too. A batch that cannot be read raises
CorruptRecords, again and again until a `seek` leaves it out: nothing is skipped without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from operator import length_hint
from types import TracebackType
from typing import Self
from uuid import UUID

from ..protocol.errors import ErrorCode
from ..protocol.messages.fetch import FetchResponse
from .cluster import Cluster, Topic
from .config import Address, ReaderConfig
from .connection import Connection
from .errors import (
    STALE_METADATA,
    ClientClosed,
    OffsetOutOfRange,
    PartitionNotFound,
    Retriable,
    TidelogError,
    TopicNotFound,
    Unavailable,
    error_for,
)
from .fetcher import Asked, Cursor, Fetcher, Trouble
from .lookup import resolve
from .offsets import EARLIEST, LATEST, OffsetQuery, OffsetSpec, parse_offset
from .records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What to read: from where, to where, of which partitions (None: all, also those that are added later)."""

    start: OffsetSpec = "earliest"
    end: OffsetSpec | None = None
    partitions: Sequence[int] | None = None


class Reader:
    """Reads records; made by `Client.read`."""

    def __init__(self, cluster: Cluster, topic: str, span: Span, config: ReaderConfig) -> None:
        now_ms = cluster.config.now_ms()
        self.topic = topic
        self._cluster = cluster
        self._config = config
        self._start = parse_offset(span.start, now_ms=now_ms)
        self._end = None if span.end is None else parse_offset(span.end, now_ms=now_ms)
        self._partitions = None if span.partitions is None else tuple(dict.fromkeys(span.partitions))
        self._fetcher = Fetcher(topic, config)
        self._topic_id: UUID | None = None
        """None until the reader has begun."""
        self._lane = cluster.lane()
        self._fetching: dict[Address, tuple[Asked, asyncio.Future[object]]] = {}
        self._connecting: dict[Address, asyncio.Future[Connection]] = {}
        self._lost: list[Cursor] = []
        """Out of range, to be placed anew as `on_out_of_range` says."""
        self._stale = False
        self._records: list[Record] = []
        self._rest: Iterator[Record] = iter(self._records)
        """What of `_records` was not handed out yet."""
        self._iterations = 0
        self._entered = False
        self._closed = False

    async def __aenter__(self) -> Self:
        self._entered = True
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[Record]:
        """Records, until the end if there is one."""
        self._iterations += 1
        mine = self._iterations
        try:
            while True:
                for record in self._rest:
                    yield record
                batch = await self._next()
                if batch is None:
                    return
                self._records, self._rest = batch, iter(batch)
        finally:
            if mine == self._iterations and not self._entered:
                self._pause()

    async def batches(self) -> AsyncIterator[list[Record]]:
        """Records in lists, as they came: one partition's each, never empty."""
        self._iterations += 1
        mine = self._iterations
        try:
            while True:
                batch = list(self._rest) or await self._next()
                if batch is None:
                    return
                self._records, self._rest = [], iter(())
                yield batch
        finally:
            if mine == self._iterations and not self._entered:
                self._pause()

    async def close(self) -> None:
        """Close the reader's connections; it cannot be read any more."""
        self._closed = True
        self._pause()
        await self._lane.close()

    async def seek(self, partition: int, offset: OffsetSpec) -> int:
        """Go on elsewhere in one partition; returns the offset. The end stays where it is."""
        await self._begin()
        cursor = self._cursor(partition)
        query = parse_offset(offset, now_ms=self._cluster.config.now_ms())
        target = (await resolve(self._cluster, self.topic, {partition: query}))[partition]
        self._fetcher.place(partition, target, cursor.end)
        if self._records and self._records[0].partition == partition:
            self._records.clear()  # the iterator that may be running over it ends with that
        return target

    def position(self, partition: int) -> int:
        """The offset of the record of this partition that comes next; the reader must have begun."""
        cursor = self._cursor(partition)
        left = length_hint(self._rest)
        if left and self._records[0].partition == partition:
            return self._records[len(self._records) - left].offset
        return cursor.position

    def high_watermark(self, partition: int) -> int:
        """The end of what could be read of a partition when it was last fetched; -1 before."""
        return self._cursor(partition).high_watermark

    @property
    def partitions(self) -> list[int]:
        """The partitions that are read; empty until the reader has begun."""
        return sorted(self._fetcher.cursors)

    # Beginning

    def _cursor(self, partition: int) -> Cursor:
        cursor = self._fetcher.cursors.get(partition)
        if cursor is None:
            raise PartitionNotFound(f"partition {partition} of {self.topic!r} is not being read")
        return cursor

    async def _begin(self) -> None:
        if self._closed:
            raise ClientClosed("the reader is closed")
        if self._topic_id is not None:
            return
        topic = await self._cluster.read_topic(self.topic)
        numbers = self._partitions if self._partitions is not None else range(len(topic.partitions))
        for number in numbers:
            if not 0 <= number < len(topic.partitions):
                count = len(topic.partitions)
                raise PartitionNotFound(f"topic {self.topic!r} has partitions 0 to {count - 1}, not {number}")
        starts = await resolve(self._cluster, self.topic, dict.fromkeys(numbers, self._start))
        ends: dict[int, int] = {}
        if self._end is not None:
            ends = await resolve(self._cluster, self.topic, dict.fromkeys(numbers, self._end))
        for number in numbers:
            self._fetcher.place(number, starts[number], ends.get(number))
        self._topic_id = topic.topic_id

    # Fetching

    async def _next(self) -> list[Record] | None:
        """The next records; None at the end."""
        await self._begin()
        while True:
            if self._fetcher.changed:
                self._fetch()
            batch = self._fetcher.next_batch()
            if batch is not None:
                return batch
            if self._fetcher.finished:
                self._pause()
                return None
            await self._progress()

    def _fetch(self) -> None:
        """Ask every leader that is not being asked for what is wanted of it."""
        self._fetcher.changed = False
        now = asyncio.get_running_loop().time()
        known = self._cluster.topic(self.topic)
        if known is not None and self._cluster.is_old(known):
            self._stale = True
        by_leader: dict[Address, list[Cursor]] = {}
        for cursor in self._fetcher.wanted(now):
            leader = self._cluster.leader(self.topic, cursor.partition)
            if leader is None:
                self._trouble(cursor, Unavailable(f"{self.topic}[{cursor.partition}] has no leader"))
                self._stale = True
            elif leader not in self._fetching:
                by_leader.setdefault(leader, []).append(cursor)
        for leader, cursors in by_leader.items():
            connection = self._lane.connection(leader)
            if connection is None or connection.lost is not None:
                self._connecting[leader] = self._lane.connect(leader)
                continue
            assert self._topic_id is not None
            asked = self._fetcher.ask(cursors, self._topic_id)
            timeout = self._config.max_wait + self._cluster.config.timeout
            self._fetching[leader] = (asked, connection.submit(asked.request, timeout=timeout))

    async def _progress(self) -> None:
        """Wait until something has happened that may bring records."""
        if self._stale:
            self._stale = False
            await self._refresh()
        if self._lost:
            await self._place_lost()
            return
        loop = asyncio.get_running_loop()
        awaited: list[asyncio.Future[object] | asyncio.Future[Connection]] = []
        awaited += (answer for _, answer in self._fetching.values())
        awaited += self._connecting.values()
        retry_at = self._fetcher.next_retry(loop.time())
        delay = None if retry_at is None else retry_at - loop.time()
        if awaited:
            await asyncio.wait(awaited, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        elif delay is not None:
            await asyncio.sleep(delay)
        self._fetcher.changed = True
        self._collect_connections()
        self._collect_answers()

    def _collect_connections(self) -> None:
        for leader, outcome in list(self._connecting.items()):
            if outcome.done():
                del self._connecting[leader]
                error = outcome.exception()
                if error is not None:
                    self._leader_failed(leader, error)

    def _collect_answers(self) -> None:
        for leader, (asked, answer) in list(self._fetching.items()):
            if not answer.done():
                continue
            del self._fetching[leader]
            self._fetcher.unask(asked)
            error = answer.exception()
            if error is not None:
                self._leader_failed(leader, error)
                continue
            response = answer.result()
            assert isinstance(response, FetchResponse)
            for trouble in self._fetcher.accept(asked, response):
                self._refused(trouble)

    # Trouble

    def _leader_failed(self, leader: Address, error: BaseException) -> None:
        if not isinstance(error, Retriable):
            raise error
        self._stale = True
        for cursor in list(self._fetcher.cursors.values()):
            if not cursor.fetched and self._cluster.leader(self.topic, cursor.partition) == leader:
                self._trouble(cursor, error)

    def _refused(self, trouble: Trouble) -> None:
        cursor, code = trouble.cursor, trouble.code
        about = f"{self.topic}[{cursor.partition}]"
        if code == ErrorCode.OFFSET_OUT_OF_RANGE:
            text = f"offset {cursor.fetch_offset} is not in the log, which holds {trouble.log_start_offset} and up"
            if trouble.high_watermark >= 0:
                text += f" to {trouble.high_watermark}"
            if self._config.on_out_of_range == "raise":
                raise OffsetOutOfRange(f"{about}: {text}", code=code)
            cursor.asked = True  # keeps it from being asked again before it is placed
            self._lost.append(cursor)
        elif code.retriable:
            if code in STALE_METADATA:
                self._stale = True
            self._trouble(cursor, error_for(code, about=about))
        else:
            raise error_for(code, about=about)

    def _trouble(self, cursor: Cursor, error: TidelogError) -> None:
        """Try again later, or give up if that has been tried for long enough."""
        now = asyncio.get_running_loop().time()
        if cursor.failing_since is None:
            cursor.failing_since = now
        cursor.failures += 1
        cursor.retry_at = now + self._cluster.config.backoff(cursor.failures)
        if cursor.retry_at - cursor.failing_since > self._cluster.config.timeout:
            cursor.failing_since = None  # whoever reads on gives it as long again
            raise error

    async def _refresh(self) -> None:
        topic = await self._cluster.read_topic(self.topic)
        if topic.topic_id != self._topic_id:
            raise TopicNotFound(f"topic {self.topic!r} was deleted and created anew while it was read")
        await self._add_partitions(topic)

    async def _add_partitions(self, topic: Topic) -> None:
        """Who reads all partitions for ever reads those that are added, too, from their beginning."""
        if self._partitions is not None or self._end is not None:
            return
        added = [number for number in range(len(topic.partitions)) if number not in self._fetcher.cursors]
        if added:
            starts = await resolve(self._cluster, self.topic, dict.fromkeys(added, EARLIEST))
            for number in added:
                self._fetcher.place(number, starts[number], None)

    async def _place_lost(self) -> None:
        target: OffsetQuery = EARLIEST if self._config.on_out_of_range == "earliest" else LATEST
        lost = {cursor.partition: cursor for cursor in self._lost}
        offsets = await resolve(self._cluster, self.topic, dict.fromkeys(lost, target))
        self._lost.clear()
        for partition, cursor in lost.items():
            cursor.asked = False
            self._fetcher.place(partition, offsets[partition], cursor.end)

    def _pause(self) -> None:
        """Close the connections; what is under way is forgotten."""
        for asked, _ in self._fetching.values():
            self._fetcher.unask(asked)
        self._fetching.clear()
        self._connecting.clear()
        self._lane.drop()
