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

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from operator import length_hint
from types import TracebackType
from typing import Self
from uuid import UUID

from .cluster import Cluster, Topic
from .config import ReaderConfig
from .errors import ClientClosed, PartitionNotFound, TopicNotFound
from .fetcher import Cursor
from .fetching import Fetching
from .lookup import resolve
from .offsets import EARLIEST, LATEST, OffsetQuery, OffsetSpec, parse_offset
from .records import Record, TopicPartition


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
        self._fetching = Fetching(cluster, config)
        self._fetcher = self._fetching.fetcher
        self._topic_id: UUID | None = None
        """None until the reader has begun."""
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
                self._fetching.drop()

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
                self._fetching.drop()

    async def close(self) -> None:
        """Close the reader's connections; it cannot be read any more."""
        self._closed = True
        await self._fetching.close()

    async def seek(self, partition: int, offset: OffsetSpec) -> int:
        """Go on elsewhere in one partition; returns the offset. The end stays where it is."""
        await self._begin()
        cursor = self._cursor(partition)
        query = parse_offset(offset, now_ms=self._cluster.config.now_ms())
        target = (await resolve(self._cluster, self.topic, {partition: query}))[partition]
        self._fetcher.place(cursor, target)
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
        return sorted(partition for _, partition in self._fetcher.cursors)

    # Beginning

    def _cursor(self, partition: int) -> Cursor:
        cursor = self._fetcher.cursors.get(TopicPartition(self.topic, partition))
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
            name = TopicPartition(self.topic, number)
            self._fetcher.add(name, topic.topic_id, starts[number], ends.get(number))
        self._topic_id = topic.topic_id

    # Fetching

    async def _next(self) -> list[Record] | None:
        """The next records; None at the end."""
        await self._begin()
        while True:
            self._fetching.ask()
            batch = self._fetcher.next_batch()
            if batch is not None:
                return batch
            if self._fetcher.finished:
                self._fetching.drop()
                return None
            if self._fetching.stale:
                await self._refresh()
            if self._fetching.misplaced:
                await self._place_misplaced()
            else:
                await self._fetching.wait()

    async def _refresh(self) -> None:
        topic = await self._cluster.read_topic(self.topic)
        self._fetching.stale.clear()
        if topic.topic_id != self._topic_id:
            raise TopicNotFound(f"topic {self.topic!r} was deleted and created anew while it was read")
        await self._add_partitions(topic)

    async def _add_partitions(self, topic: Topic) -> None:
        """Who reads all partitions for ever reads those that are added, too, from their beginning."""
        if self._partitions is not None or self._end is not None:
            return
        names = [TopicPartition(self.topic, number) for number in range(len(topic.partitions))]
        added = [name for name in names if name not in self._fetcher.cursors]
        if added:
            starts = await resolve(self._cluster, self.topic, {name.partition: EARLIEST for name in added})
            for name in added:
                self._fetcher.add(name, topic.topic_id, starts[name.partition])

    async def _place_misplaced(self) -> None:
        target: OffsetQuery = EARLIEST if self._config.on_out_of_range == "earliest" else LATEST
        misplaced = {trouble.cursor.partition: trouble for trouble in self._fetching.misplaced}
        offsets = await resolve(self._cluster, self.topic, dict.fromkeys(misplaced, target))
        for partition, trouble in misplaced.items():
            self._fetcher.place(trouble.cursor, offsets[partition])
            self._fetching.settled(trouble)
