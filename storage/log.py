"""One partition's log: segments in a row, the last one open for appends.

Invariants: segments are sorted by base offset and never overlap; start_offset <= recovery_point <= written_offset <=
end_offset. Below `recovery_point` everything is on the platter; below `written_offset` it is in the page cache and
survives the death of the process; up to `end_offset` it is staged in the callers' buffers. Not thread-safe: one owner,
and `Flush.sync` alone may run elsewhere. Time arrives as `now_ms`.

The way of a batch: `append` stamps and stages it, `write_out` hands all that is staged to the page cache in one call,
`begin_flush` .. `Flush.sync` .. `end_flush` make it durable, and `write_mark` notes down how far that went.

A log goes *offline* when a sync fails, for the kernel forgets the bytes that it could not write, and a second sync
would lie; or when it is opened with damage below its durable mark. It can still be read. Opening it again decides.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, NamedTuple

from ..protocol.batch import LENGTH_END, BatchHeader, Buffer, restamp, stamp_append_time
from .config import LogConfig
from .disk import Disk
from .errors import CorruptLog, DiskFailed, DiskFull, LogOffline, OffsetOutOfRange, StorageError
from .flush import Flush
from .handles import Handles
from .leader_epochs import LeaderEpochs
from .producer_state import ProducerState
from .recovery import OpenedLog, Recovered
from .segment import Boundary, Room, Segment
from .timestamps import TimestampOffset, find_max_timestamp, find_timestamp

__all__ = ["Fetched", "Flush", "Log", "Recovered", "TimestampOffset"]

SNAPSHOT_RATIO_MIN: Final = 10
"""A roll leaves a snapshot of the producers when the log has grown by so many times as much: else small segments and
many producers would have more of those written than of records."""

PLACES_MAX: Final = 256
"""How many places in the log are remembered: about as many readers are served without a look into an index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Whole batches as they lie on the disk. The first may begin before the offset that was asked for (L-5)."""

    records: Buffer
    base_offset: int
    next_offset: int
    """Behind the last batch; the offset that was asked for if there is none."""


class Place(NamedTuple):
    """Where in the log an offset begins a batch."""

    segment: Segment
    boundary: Boundary


class Log:
    """An open log."""

    def __init__(self, disk: Disk, directory: str, *, opened: OpenedLog, config: LogConfig, handles: Handles) -> None:
        """`directory` is named `<topic>-<partition>`; made by LogDirectory."""
        self.topic, _, number = directory.rpartition("-")
        self.partition = int(number)
        self.directory = directory
        self.config = config
        self.leader_epochs: LeaderEpochs = opened.leader_epochs
        self.recovered: Recovered = opened.recovered
        self.producers: ProducerState = opened.producers
        """Whoever appends asks it for duplicates first."""
        self.start_offset = opened.segments[0].base_offset
        self.end_offset = self.written_offset = self.recovery_point = opened.end_offset
        self.size = sum(segment.size for segment in opened.segments)
        """Bytes of all segments, as written."""
        self._disk = disk
        self._handles = handles
        self._mark = opened.mark
        self._snapshots = opened.snapshots
        self._snapshot_at = 0
        """Of what size the log was when the last one was written."""
        self._segments = opened.segments
        self._bases = [segment.base_offset for segment in opened.segments]
        self._active = opened.segments[-1]
        self._unsynced: list[Segment] = []
        """Sealed, but not yet durable."""
        self._directory_changed = False
        self._changed = not opened.recovered.is_clean
        """Since it was last closed: else closing has nothing to do."""
        self._flush: Flush | None = None
        self._closing = False
        self._lost: StorageError | None = None
        """Staged batches were lost outside `write_out`, which must still say so."""
        self._places: dict[int, Place] = {}
        quarantined = opened.recovered.quarantined
        self._offline_reason = None if quarantined is None else str(quarantined)

    @property
    def offline(self) -> bool:
        """Whether appends are refused until the log is opened again."""
        return self._offline_reason is not None

    @property
    def leader_epoch(self) -> int:
        """The epoch that batches get now."""
        return self.leader_epochs.latest

    @property
    def segment_count(self) -> int:
        """Segments, the active one included."""
        return len(self._segments)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, for those who keep house: they are to be read only."""
        return tuple(self._segments)

    def reconfigure(self, config: LogConfig) -> None:
        """Other settings hold from here on; those of the indexes with the next segment."""
        self.config = config
        self._active.limits = config

    # Writing.

    def append(self, batch: memoryview, header: BatchHeader, *, now_ms: int) -> int:
        """Give the batch its place and stage it; its base offset. `header` is the batch's own, checked by the caller.

        Base offset and leader epoch, and under LogAppendTime `now_ms` if the caller has not done that, are stamped into
        the buffer, which must stay as it is until `write_out`. A new segment is begun when one is due (L-4), which
        writes out what was staged before. A batch of an idempotent producer, no duplicate, must follow on its last one:
        ProducerFenced, OutOfOrderSequence.
        """
        if self._lost is not None:
            raise self._lost
        if self._offline_reason is not None:
            raise LogOffline(self.directory, self._offline_reason)
        if header.producer_id >= 0:
            self.producers.check(header)
        size = LENGTH_END + header.batch_length
        assert size == len(batch)
        timestamp = header.max_timestamp
        if self.config.message_timestamp_type == "LogAppendTime" and not header.is_log_append_time:
            timestamp = now_ms
            stamp_append_time(batch, 0, now_ms)
        base_offset = self.end_offset
        last_offset = base_offset + header.last_offset_delta
        if self._active.is_due(size, last_offset, timestamp, now_ms):
            self._roll(now_ms)
        restamp(batch, 0, base_offset=base_offset, leader_epoch=self.leader_epochs.latest)
        self._active.stage(batch, last_offset=last_offset, timestamp=timestamp)
        self.end_offset = last_offset + 1
        if header.producer_id >= 0:
            self.producers.update(header, base_offset, timestamp=timestamp, now_ms=now_ms)
        return base_offset

    def write_out(self) -> None:
        """Hand what is staged to the page cache. On failure all of it is forgotten, as if it had never been appended.

        `DiskFull` or `DiskFailed` then; also if the same happened to batches of this round while a segment was closed.
        """
        if self._lost is not None:
            lost, self._lost = self._lost, None
            raise lost
        if self.end_offset == self.written_offset:
            return
        active = self._active
        if self._offline_reason is not None:
            active.forget_staged()
            self._forget_staged()
            raise LogOffline(self.directory, self._offline_reason)
        before = active.size
        try:
            active.write_out(self.end_offset)
        except BaseException:
            self._forget_staged()
            raise
        self._changed = True
        self.size += active.size - before
        self.written_offset = self.end_offset
        self.producers.commit()

    def _forget_staged(self) -> None:
        self.end_offset = self.written_offset
        self.producers.rewind()

    def _roll(self, now_ms: int) -> None:
        """Close the active segment and begin the next one."""
        try:
            self.write_out()
        except StorageError as failed:
            self._lost = failed  # the other batches of this round must not be taken for written
            raise
        old = self._active
        old.finish_indexes()
        self._directory_changed = True
        room = Room(self._disk, self.directory, self.config, self._handles, self.leader_epochs)
        new = Segment.create(room, self.end_offset, now_ms=now_ms)
        old.seal()
        self._unsynced.append(old)
        self._segments.append(new)
        self._bases.append(new.base_offset)
        self._active = new
        self.write_mark()
        if self.size - self._snapshot_at >= SNAPSHOT_RATIO_MIN * self.producers.snapshot_size_max:
            self._write_snapshot()

    def _write_snapshot(self) -> None:
        self._snapshots.write(self.end_offset, self.producers, mark=self._mark.offset or 0)
        self._snapshot_at = self.size

    # Making durable.

    def begin_flush(self) -> Flush | None:
        """What must be synced for everything written to be durable; None if it is. One at a time."""
        assert self._flush is None, "the last flush has not ended"
        if self._offline_reason is not None:
            raise LogOffline(self.directory, self._offline_reason)
        if self.written_offset == self.recovery_point:
            return None
        self._flush = Flush(
            self._disk,
            sealed=self._unsynced,
            active=self._active,
            end=Boundary(self._active.size, self.written_offset),
            directory=self.directory if self._directory_changed else None,
        )
        self._directory_changed = False
        return self._flush

    def end_flush(self, flush: Flush) -> None:
        """`flush.sync` has returned."""
        assert flush is self._flush
        self._flush = None
        self.recovery_point = flush.end_offset
        for segment in flush.sealed:
            self._unsynced.remove(segment)
            segment.unpin()
        self._remember(flush.end_offset, Place(flush.segment, flush.end))
        if self._closing:
            self._close_files()

    def fail_flush(self, flush: Flush) -> None:
        """`flush.sync` has raised: take no more appends, and never sync these files again."""
        assert flush is self._flush
        self._flush = None
        self._go_offline("a sync failed")
        if self._closing:
            self._close_files()

    @property
    def mark_is_behind(self) -> bool:
        """Whether more is durable than `write_mark` has noted down."""
        return self._mark.offset != self.recovery_point

    def write_mark(self) -> None:
        """Note down, durably, how far the log is durable; `DiskFailed`, and offline, if that cannot be.

        May be called from another thread, even while the log is deleted and one of its name is made again.
        """
        if self._offline_reason is None and self.mark_is_behind:
            try:
                self._mark.write(self.recovery_point, unless=lambda: self.offline)
            except DiskFull:
                raise  # nothing was written, nothing was lost: the mark is behind, that is all
            except DiskFailed:
                self._go_offline("the durable mark could not be written")
                raise

    # Reading.

    def read(self, offset: int, *, size_max: int, up_to: int, at_least_one: bool) -> Fetched:
        """Whole batches from the one that holds `offset` to the last that ends at or below `up_to` (L-5).

        At most `size_max` bytes, but for a first batch that is larger, if `at_least_one` is set. `OffsetOutOfRange`
        before the log's start and behind its end; between `up_to` and the end there is nothing yet (L-1).
        """
        up_to = min(up_to, self.written_offset)
        if not self.start_offset <= offset <= self.end_offset:
            raise OffsetOutOfRange(offset, self.start_offset, self.end_offset)
        if offset >= up_to:
            return Fetched(records=b"", base_offset=offset, next_offset=offset)
        segment, begin = self._place_of(offset)
        records, end = self._read_segment(segment, begin, up_to, size_max=size_max, at_least_one=at_least_one)
        if not len(records):
            return Fetched(records=b"", base_offset=offset, next_offset=offset)
        if end.offset == segment.next_offset < up_to:
            records, (segment, end) = self._read_on(records, end, up_to, size_max=size_max)
        self._remember(end.offset, Place(segment, end))
        return Fetched(records=records, base_offset=begin.offset, next_offset=end.offset)

    def _read_on(self, records: Buffer, end: Boundary, up_to: int, *, size_max: int) -> tuple[Buffer, Place]:
        """`records` reach to the end of a segment: add what follows in the next ones, and say where that ends."""
        parts = [records]
        while True:
            segment, end = self._segment_of(end.offset), Boundary(0, end.offset)
            size_max -= len(parts[-1])
            if size_max <= 0:
                break
            try:
                records, end = self._read_segment(segment, end, up_to, size_max=size_max, at_least_one=False)
            except CorruptLog:
                break  # what is sound is served; the next read begins here, and fails
            parts.append(records)
            if not end.offset == segment.next_offset < up_to:
                break
        return b"".join(parts), Place(segment, end)

    def _read_segment(
        self, segment: Segment, begin: Boundary, up_to: int, *, size_max: int, at_least_one: bool
    ) -> tuple[Buffer, Boundary]:
        limit = self._limit(segment, up_to)
        if begin.position < limit.position:
            return segment.read(begin, limit, size_max=size_max, at_least_one=at_least_one)
        if begin.offset < limit.offset:
            raise CorruptLog(segment.path, begin.position, f"the segment ends before offset {limit.offset}")
        return b"", begin

    def header_of(self, offset: int) -> BatchHeader:
        """Of the batch that holds `offset`, which lies below `written_offset`; `CorruptLog` if there is none."""
        assert self.start_offset <= offset < self.written_offset
        segment, begin = self._place_of(offset)
        return segment.header_at(begin.position)

    def find_timestamp(self, timestamp_ms: int, *, up_to: int) -> TimestampOffset | None:
        """The first record below `up_to` of at least that time (L-6)."""
        up_to = min(up_to, self.written_offset)
        return find_timestamp(self._segments, timestamp_ms, start_offset=self.start_offset, up_to=up_to)

    def find_max_timestamp(self, *, up_to: int) -> TimestampOffset | None:
        """The first record below `up_to` that has the greatest time (L-6)."""
        up_to = min(up_to, self.written_offset)
        return find_max_timestamp(self._segments, start_offset=self.start_offset, up_to=up_to)

    def _place_of(self, offset: int) -> Place:
        place = self._places.get(offset)
        if place is not None and place.boundary.position < place.segment.size:
            return place
        segment = self._segment_of(offset)
        return Place(segment, segment.locate(offset))

    def _segment_of(self, offset: int) -> Segment:
        return self._segments[bisect_right(self._bases, offset) - 1]

    def _limit(self, segment: Segment, up_to: int) -> Boundary:
        """Where reading must stop in this segment."""
        if segment.next_offset <= up_to:
            return Boundary(segment.size, segment.next_offset)
        place = self._places.get(up_to)
        if place is not None and place.segment is segment:
            return place.boundary
        return segment.locate(up_to)

    def _remember(self, offset: int, place: Place) -> None:
        """A reader will ask for this offset next, or the high watermark stands there: spare them the index."""
        places = self._places
        if offset not in places and len(places) >= PLACES_MAX:
            del places[next(iter(places))]
        places[offset] = place

    # Closing.

    def close(self) -> None:
        """Write out, flush, trim the indexes, write the mark, and close the files. An offline log is only closed."""
        assert self._flush is None, "a flush is going on"
        try:
            if self._offline_reason is None:
                self._settle()
        finally:
            self._close_files()

    def _settle(self) -> None:
        self.write_out()
        flush = self.begin_flush()
        try:
            if flush is not None:
                flush.sync()
                self.end_flush(flush)
            self._active.finish_indexes()
            if self._changed:
                for file in self._active.indexes.maps():
                    file.sync()
        except DiskFailed:
            self._flush = None
            self._go_offline("a sync failed")
            raise
        self.write_mark()
        if self.end_offset > self.start_offset:
            self._write_snapshot()

    def discard(self) -> None:
        """Close the files and care for nothing: the log is being deleted. Waits for a flush that is going on."""
        self._go_offline("deleted")
        self._closing = True
        if self._flush is None:
            self._close_files()

    def _go_offline(self, reason: str) -> None:
        if self._offline_reason is None:
            self._offline_reason = reason

    def _close_files(self) -> None:
        self._go_offline("closed")
        for segment in self._segments:
            segment.close()
