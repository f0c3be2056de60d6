"""Positions in partitions, and what was fetched ahead of them. Sans-I/O: requests are made here and answers read.

A cursor has two offsets: where the next fetch goes on, and where the program goes on. Between them lies what is held,
in the order of the answers, still encoded; record batches are decoded one at a time when the program wants them.

Invariants: what is held and what is asked for together stay within `prefetch`, but for a single batch that is larger;
a partition is in one unanswered fetch at most; an answer to a fetch from an offset that is no longer the cursor's (the
program has sought elsewhere meanwhile) is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ..protocol.batch import check, read_header, walk
from ..protocol.errors import ErrorCode, ProtocolError
from ..protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData
from ..protocol.primitives import INT32_MAX
from ..protocol.records import iterate
from .config import ReaderConfig
from .errors import CorruptRecords, error_for
from .records import Record, TopicPartition

NOWHERE = -1
"""The offset of a cursor that is gone: no answer fits it."""


class Cursor:
    """Where a program stands in one partition."""

    __slots__ = ("asked", "end", "failing_since", "failures", "fetch_offset", "high_watermark", "name", "partition",
                 "paused", "position", "retry_at", "topic", "topic_id")  # fmt: skip

    def __init__(self, name: TopicPartition, topic_id: UUID, offset: int, end: int | None) -> None:
        self.name = name
        self.topic, self.partition = name
        self.topic_id = topic_id
        self.fetch_offset = offset
        """What to ask the leader for next."""
        self.position = offset
        """What to hand to the program next."""
        self.end = end
        """The first offset that is not read any more; None: follow for ever."""
        self.high_watermark = -1
        """As the last answer told."""
        self.asked = False
        """A fetch is under way."""
        self.paused = False
        """Not to be fetched from for now."""
        self.failures = 0
        self.failing_since: float | None = None
        self.retry_at = 0.0

    @property
    def fetched(self) -> bool:
        """Everything up to the end has been fetched."""
        return self.end is not None and self.fetch_offset >= self.end


@dataclass(frozen=True, slots=True)
class Ask:
    """A partition in a fetch that is under way."""

    cursor: Cursor
    offset: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A fetch that is under way."""

    request: FetchRequest
    asks: tuple[Ask, ...]
    bytes_max: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """A partition that could not be fetched."""

    cursor: Cursor
    code: ErrorCode
    log_start_offset: int
    high_watermark: int


@dataclass(slots=True)
class _Held:
    """Record batches of one partition from one answer."""

    cursor: Cursor
    data: memoryview
    at: int = 0


class Fetcher:
    """The cursors of one reader or consumer, and what it holds."""

    def __init__(self, config: ReaderConfig) -> None:
        self.cursors: dict[TopicPartition, Cursor] = {}
        """In the order in which to ask: those that got something last stand last."""
        self.changed = True
        """There may be something to ask for that was not asked for yet."""
        self._config = config
        self._held: deque[_Held] = deque()
        self._held_bytes = 0
        self._asked_bytes = 0

    @property
    def finished(self) -> bool:
        """Every partition has been read to its end."""
        return not self._held and all(cursor.fetched for cursor in self.cursors.values())

    def add(self, name: TopicPartition, topic_id: UUID, offset: int, end: int | None = None) -> Cursor:
        """Begin to read a partition."""
        assert name not in self.cursors, f"{name} is being read already"
        cursor = self.cursors[name] = Cursor(name, topic_id, offset, end)
        self.changed = True
        return cursor

    def place(self, cursor: Cursor, offset: int) -> None:
        """Go on at `offset`; what was fetched of the partition before is dropped."""
        cursor.fetch_offset = cursor.position = offset
        cursor.retry_at = 0.0
        self._drop(cursor)
        self.changed = True

    def remove(self, cursor: Cursor) -> None:
        """Read the partition no more; what was fetched of it is dropped, and what is still being fetched will be."""
        del self.cursors[cursor.name]
        cursor.fetch_offset = NOWHERE
        self._drop(cursor)
        self.changed = True

    def wanted(self, now: float) -> list[Cursor]:
        """Partitions to fetch from now; none while as much is held as may be."""
        if self._held_bytes + self._asked_bytes >= self._config.prefetch:
            return []
        return [
            cursor
            for cursor in self.cursors.values()
            if not cursor.asked and not cursor.paused and not cursor.fetched and cursor.retry_at <= now
        ]

    def next_retry(self, now: float) -> float | None:
        """The moment after `now` when the first of the partitions that failed may be asked for again."""
        return min((cursor.retry_at for cursor in self.cursors.values() if cursor.retry_at > now), default=None)

    def ask(self, cursors: Sequence[Cursor]) -> Asked:
        """A fetch from these partitions, which one broker leads."""
        room = max(1, self._config.prefetch - self._held_bytes - self._asked_bytes)
        bytes_max = min(room, self._config.partition_bytes_max * len(cursors), INT32_MAX)
        topics: dict[tuple[str, UUID], list[FetchPartition]] = {}
        for cursor in cursors:
            partition = FetchPartition(
                partition=cursor.partition,
                fetch_offset=cursor.fetch_offset,
                partition_max_bytes=min(bytes_max, self._config.partition_bytes_max),
            )
            topics.setdefault((cursor.topic, cursor.topic_id), []).append(partition)
        request = FetchRequest(
            max_wait_ms=int(self._config.max_wait * 1000),
            min_bytes=1,
            max_bytes=bytes_max,
            topics=tuple(
                FetchTopic(topic=topic, topic_id=topic_id, partitions=tuple(partitions))
                for (topic, topic_id), partitions in topics.items()
            ),
        )
        for cursor in cursors:
            cursor.asked = True
        self._asked_bytes += bytes_max
        return Asked(request, tuple(Ask(cursor, cursor.fetch_offset) for cursor in cursors), bytes_max)

    def unask(self, asked: Asked) -> None:
        """The fetch is over, answered or not."""
        self._asked_bytes -= asked.bytes_max
        for ask in asked.asks:
            ask.cursor.asked = False
        self.changed = True

    def accept(self, asked: Asked, response: FetchResponse) -> list[Trouble]:
        """Keep what the answer brings; returns the partitions that it refuses."""
        if response.error_code != ErrorCode.NONE:
            raise error_for(response.error_code, about="Fetch")
        asks = {(ask.cursor.topic, ask.cursor.partition): ask for ask in asked.asks}
        troubles: list[Trouble] = []
        for topic in response.responses:
            for data in topic.partitions:
                ask = asks.get((topic.topic, data.partition_index))
                if ask is None or ask.cursor.fetch_offset != ask.offset or ask.cursor.paused:
                    continue
                cursor = ask.cursor
                if data.error_code == ErrorCode.NONE:
                    cursor.failures, cursor.failing_since = 0, None
                    self._keep(cursor, data)
                else:
                    code = ErrorCode.of(data.error_code)
                    troubles.append(Trouble(cursor, code, data.log_start_offset, data.high_watermark))
        return troubles

    def next_batch(self) -> list[Record] | None:
        """The records of the next batch that has any for the program; None if nothing is held."""
        while self._held:
            held = self._held[0]
            records = self._decode(held)
            if held.at >= len(held.data):
                self._drop_first()
            if records:
                return records
        return None

    def _keep(self, cursor: Cursor, data: PartitionData) -> None:
        cursor.high_watermark = data.high_watermark
        if not data.records:
            return
        records = memoryview(data.records)
        size, next_offset = 0, cursor.fetch_offset
        try:
            for position, header in walk(records):
                size, next_offset = position + header.size, header.next_offset
        except ProtocolError as error:
            if not size:  # what stands before it is good, and is read first; then this is where the next fetch begins
                raise self._corrupt(cursor, cursor.fetch_offset, error) from error
        if next_offset <= cursor.fetch_offset:
            raise self._corrupt(cursor, cursor.fetch_offset, "the broker's answer does not reach this offset")
        cursor.fetch_offset = next_offset
        self._held.append(_Held(cursor, records[:size]))
        self._held_bytes += size
        self.cursors[cursor.name] = self.cursors.pop(cursor.name)

    def _drop(self, cursor: Cursor) -> None:
        self._held_bytes -= sum(len(held.data) for held in self._held if held.cursor is cursor)
        self._held = deque(held for held in self._held if held.cursor is not cursor)

    def _drop_first(self) -> None:
        held = self._held.popleft()
        self._held_bytes -= len(held.data)
        self.changed = True

    def _decode(self, held: _Held) -> list[Record]:
        cursor, topic, partition = held.cursor, held.cursor.topic, held.cursor.partition
        make = tuple.__new__  # skips the named tuple's own, which does the same in Python
        try:
            header = check(held.data, held.at) if self._config.check_crcs else read_header(held.data, held.at)
            batch = held.data[held.at : held.at + header.size]
            records = (
                [] if header.is_control else [make(Record, (topic, partition, *record)) for record in iterate(batch)]
            )
        except ProtocolError as error:
            # It stays held: reading on without a word would leave its records out.
            next_offset = read_header(held.data, held.at).next_offset
            raise self._corrupt(cursor, cursor.position, error, next_offset) from error
        held.at += header.size
        # A batch is given whole even if only its tail was asked for, and it may reach beyond the end (L-5).
        if records and records[0].offset < cursor.position:
            records = [record for record in records if record.offset >= cursor.position]
        if cursor.end is not None and header.next_offset > cursor.end:
            records = [record for record in records if record.offset < cursor.end]
        cursor.position = max(cursor.position, header.next_offset)
        return records

    def _corrupt(self, cursor: Cursor, offset: int, reason: object, next_offset: int | None = None) -> CorruptRecords:
        if next_offset is not None and next_offset <= offset:
            next_offset = None  # the header lies, too
        way_on = "" if next_offset is None else f"; to leave the batch out, seek to offset {next_offset}"
        error = CorruptRecords(f"{cursor.topic}[{cursor.partition}] at offset {offset}: {reason}{way_on}")
        error.topic, error.partition = cursor.name
        error.offset, error.next_offset = offset, next_offset
        return error
