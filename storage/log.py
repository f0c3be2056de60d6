"""One partition's log: segments in a row, the last one open for appends.

Invariants: segments are sorted by base offset and never overlap; start_offset <= recovery_point <= written_offset <=
end_offset. Below `recovery_point` everything is on the platter; below `written_offset` it is in the page cache and
survives the death of the process; up to `end_offset` it is staged in the callers' buffers. Not thread-safe: one owner,
and `Flush.sync`, `write_mark` and `settle` alone may run elsewhere. Time arrives as `now_ms`.

The way of a batch: `append` stamps and stages it, `write_out` hands all that is staged to the page cache in one call,
`begin_flush` .. `Flush.sync` .. `end_flush` make it durable, and `write_mark` notes down how far that went.

A log goes *offline* when a sync fails, for the kernel forgets the bytes that it could not write, and a second sync
would lie; or when damage is found in what was durable, at the start or later: then it is *quarantined*. It can still be
read, as far as it is sound. Opening it again decides.
"""

from bisect import bisect_right
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from ..protocol.batch import LENGTH_END, BatchHeader, Buffer, read_header, restamp, stamp_append_time
from .config import LogConfig
from .disk import Disk
from .durable_mark import Checkpoint
from .errors import CorruptLog, DiskFailed, DiskFull, LogOffline, OffsetOutOfRange, StorageError
from .flush import Flush
from .handles import Handles
from .inspection import Inspection
from .leader_epochs import LeaderEpochs
from .producer_snapshots import Snapshot
from .producer_state import ProducerState
from .quarantine import note_damage
from .recovery import OpenedLog, Recovered
from .segment import SUFFIX, Boundary, Room, Segment
from .segment_indexes import BATCH_WORK
from .timestamps import TimestampOffset, find_max_timestamp, find_timestamp
from .write_caching import forget_caching, note_caching

__all__ = ["Fetched", "Flush", "Log", "Recovered", "TimestampOffset"]

SNAPSHOT_RATIO_MIN: Final = 10
"""A roll leaves a snapshot of the producers when the log has grown by so many times as much: else small segments and
many producers would have more of those written than of records."""

CHECKPOINT_WORK: Final = 64 << 20
"""So much work for recovery, and the next flush makes a checkpoint. In bytes to be read."""

NEVER_MS: Final = 0
"""When a segment was verified that is in doubt: longer ago than any interval."""

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
        self._checkpoint = opened.checkpoint
        """Recovery could begin there; None: in the last segment."""
        self._batches_beyond = 0
        """Appended since then, as far as this process knows."""
        self._checkpoint_wanted = False
        self._directory_changed = False
        self._changed = not opened.recovered.is_clean
        """Since it was last closed: else closing has nothing to do."""
        self._flush: Flush | None = None
        self._is_settled = self._closing = self._is_caching_noted = False
        self._lost: StorageError | None = None
        """Staged batches were lost outside `write_out`, which must still say so."""
        self._places: dict[int, Place] = {}
        self._append_time_ms = -1
        """What LogAppendTime stamped last; -1 before it is asked for."""
        self.doubted: deque[Segment] = deque()
        """Those of which a reader could not read something, in this order; the scrubber takes them out."""
        self.quarantined = opened.recovered.quarantined
        """Damage below the durable mark, or since the start below the durable end; None as long as none was found."""
        self._offline_reason = None if self.quarantined is None else str(self.quarantined)

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
        assert not self._is_settled, "appended to a log that is about to be closed"
        if header.producer_id >= 0:
            self.producers.check(header)
        size = LENGTH_END + header.batch_length
        assert size == len(batch)
        timestamp = header.max_timestamp
        if self.config.message_timestamp_type == "LogAppendTime" and not header.is_log_append_time:
            timestamp = self._append_time_ms = self.append_time(now_ms)
            stamp_append_time(batch, 0, timestamp)
        base_offset = self.end_offset
        last_offset = base_offset + header.last_offset_delta
        if self._active.is_due(size, last_offset, timestamp, now_ms):
            self._roll(now_ms)
        restamp(batch, 0, base_offset=base_offset, leader_epoch=self.leader_epochs.latest)
        self._active.stage(batch, last_offset=last_offset, timestamp=timestamp)
        self.end_offset = last_offset + 1
        self._batches_beyond += 1
        if header.producer_id >= 0:
            self.producers.update(header, base_offset, timestamp=timestamp, now_ms=now_ms)
        return base_offset

    def append_time(self, now_ms: int) -> int:
        """What LogAppendTime stamps now: never less than into the batch before, though the clock may be set back."""
        if self._append_time_ms < 0:
            self._append_time_ms = self._last_append_time()
        return max(now_ms, self._append_time_ms)

    def _last_append_time(self) -> int:
        """Of the last batch that an earlier process wrote; 0 if there is none, or it has another kind of time."""
        if self.start_offset == self.written_offset:
            return 0
        try:
            segment, begin = self._place_of(self.written_offset - 1)
            last = read_header(segment.batch_at(begin.position))
        except StorageError:
            return 0  # whoever reads there is told
        return last.max_timestamp if last.is_log_append_time else 0

    def write_out(self) -> None:
        """Hand what is staged to the page cache. On failure all of it is forgotten, as if it had never been appended.

        `DiskFull` or `DiskFailed` then; also if the same happened to batches of this round while a segment was closed.
        `LogOffline` even if nothing is staged: who waits for an earlier batch may wait for one that is lost.
        """
        if self._lost is not None:
            lost, self._lost = self._lost, None
            raise lost
        active = self._active
        if self._offline_reason is not None:
            active.forget_staged()
            self._forget_staged()
            raise LogOffline(self.directory, self._offline_reason)
        before = active.size
        try:
            self._note_caching()  # also if nothing is staged: what was written before is shown now
            if self.end_offset == self.written_offset:
                return
            active.write_out(self.end_offset)
        except BaseException:
            active.forget_staged()
            self._forget_staged()
            raise
        self._changed = True
        self.size += active.size - before
        self.written_offset = self.end_offset
        self.producers.commit()

    def _note_caching(self) -> None:
        if self.config.write_caching and not self._is_caching_noted:
            note_caching(self._disk, self.directory)
            self._is_caching_noted = True

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
        self._directory_changed = True
        room = Room(self._disk, self.directory, self.config, self._handles, self.leader_epochs)
        try:
            old.finish()
            new = Segment.create(room, self.end_offset, now_ms=now_ms)
        except StorageError:
            old.reopen_indexes()  # it goes on
            if self._disk.exists(f"{self.directory}/{self.end_offset:020d}{SUFFIX}"):
                # Its name says that what follows is in there, and not in the old one.
                self._go_offline("a segment could not be made, nor be unmade")
            raise
        old.seal()
        self._unsynced.append(old)
        self._segments.append(new)
        self._bases.append(new.base_offset)
        self._active = new
        self.write_mark()
        if self._is_snapshot_due:
            self._write_snapshot()

    @property
    def _is_snapshot_due(self) -> bool:
        return self.size - self._snapshot_at >= SNAPSHOT_RATIO_MIN * self.producers.snapshot_size_max

    def _write_snapshot(self) -> None:
        snapshot = self._snapshots.begin(self.end_offset, self.producers)
        if snapshot is not None:
            snapshot.write()
            self._snapshots.end(snapshot, mark=self._mark.offset or 0)
        self._snapshot_at = self.size

    # Making durable.

    def begin_flush(self) -> Flush | None:
        """What must be synced for everything written to be durable; None if it is. One at a time."""
        assert self._flush is None, "the last flush has not ended"
        if self._offline_reason is not None:
            raise LogOffline(self.directory, self._offline_reason)
        checkpoint, snapshot = self._begin_checkpoint()
        if self.written_offset == self.recovery_point and checkpoint is None:
            return None
        self._flush = Flush(
            self._disk,
            sealed=self._unsynced,
            active=self._active,
            end=Boundary(self._active.size, self.written_offset),
            directory=self.directory if self._directory_changed else None,
            checkpoint=checkpoint,
            snapshot=snapshot,
        )
        self._directory_changed = False
        return self._flush

    def end_flush(self, flush: Flush) -> None:
        """`flush.sync` has returned.

        `LogOffline`, and it has failed, if the log was quarantined meanwhile: the next start goes by what was durable
        then, and might take the rest for a torn tail.
        """
        assert flush is self._flush
        if self.quarantined is not None:
            self.fail_flush(flush)
            raise LogOffline(self.directory, str(self.quarantined))
        self._flush = None
        self.recovery_point = flush.end_offset
        if flush.checkpoint is not None:
            self._checkpoint = flush.checkpoint
        if flush.snapshot is not None and not self._closing:
            self._snapshots.end(flush.snapshot, mark=self._mark.offset or 0)
        for segment in flush.sealed:
            self._unsynced.remove(segment)
            segment.unpin()
        self._remember(flush.end_offset, Place(flush.segment, flush.end))
        if self._closing:
            self._close_files()

    def fail_flush(self, flush: Flush | None) -> None:
        """`flush.sync` has raised: take no more appends, and never sync these files again.

        None: `begin_flush` has, in a way that nobody foresaw.
        """
        assert flush is self._flush
        self._sync_failed()
        if self._closing:
            self._close_files()

    def _sync_failed(self) -> None:
        """The kernel has forgotten bytes, and what is read again in their place are others."""
        self._flush = None
        for segment in self._segments:
            segment.distrust()
        self._go_offline("a sync failed")

    @property
    def recovery_work(self) -> int:
        """How much recovery would have to do, once the mark has been written: 0 if all lies before the checkpoint.

        In bytes to be read, batches having a weight of their own.
        """
        base, position = self._active.base_offset, 0
        if self._checkpoint is not None:
            base, position = self._checkpoint.base_offset, self._checkpoint.position
        size = -position
        for segment in reversed(self._segments):
            size += segment.size
            if segment.base_offset <= base:
                break
        return size + BATCH_WORK * self._batches_beyond if size > 0 else 0

    def checkpoint(self) -> None:
        """Let the next flush be a checkpoint: what is written now will not have to be read by recovery.

        It makes the active segment's indexes durable, and leaves a snapshot of the producers if there are any. It
        counts when the mark has been written after it. There is such a flush even if all else is durable.
        """
        self._checkpoint_wanted = True

    def _begin_checkpoint(self) -> tuple[Checkpoint | None, Snapshot | None]:
        """The checkpoint, and its snapshot, of the flush that begins now."""
        work, wanted = self.recovery_work, self._checkpoint_wanted
        self._checkpoint_wanted = False
        has_producers = len(self.producers) > 0
        active = self._active
        is_due = work > 0 and (wanted or work >= CHECKPOINT_WORK)
        checkpoint = self._checkpoint_here(has_producers=has_producers) if is_due else None
        if checkpoint is None:
            if not self._unsynced:
                return None, None
            self._batches_beyond = 0  # but a few
            # What lies before the active segment is made durable now, indexes included.
            return Checkpoint(
                base_offset=active.base_offset, offset=active.base_offset, has_producers=has_producers
            ), None
        snapshot = None
        if has_producers and self.end_offset == self.written_offset and self._is_snapshot_due:
            snapshot = self._snapshots.begin(self.end_offset, self.producers)
            self._snapshot_at = self.size
        self._batches_beyond = 0
        return checkpoint, snapshot

    def _checkpoint_here(self, *, has_producers: bool) -> Checkpoint | None:
        """In the active segment; None if its indexes cannot be written, on a full disk, say: then there is none now."""
        try:
            return self._active.checkpoint(has_producers=has_producers)
        except (CorruptLog, DiskFailed):
            return None

    @property
    def mark_is_behind(self) -> bool:
        """Whether more is durable than `write_mark` has noted down."""
        mark = self._mark
        return (mark.offset, mark.checkpoint) != (self.recovery_point, self._checkpoint) or (
            mark.epochs != self.leader_epochs.known
        )

    def write_mark(self) -> None:
        """Note down, durably, how far the log is durable, and the last checkpoint.

        `DiskFailed`, and offline, if that cannot be.

        May be called from another thread, even while the log is deleted and one of its name is made again.
        """
        if self._offline_reason is None and self.mark_is_behind:
            self._check_active_is_there()
            checkpoint = self._checkpoint  # first: if both move meanwhile, it must not be the one that is ahead
            try:
                self._mark.write(
                    self.recovery_point, checkpoint, epochs=self.leader_epochs.known, unless=lambda: self.offline
                )
            except DiskFull:
                raise  # nothing was written, nothing was lost: the mark is behind, that is all
            except DiskFailed:
                self._go_offline("the durable mark could not be written")
                raise

    def _check_active_is_there(self) -> None:
        """Whoever removes its file takes away what is appended from then on, too, though no call fails."""
        path = self._active.path
        if not self._disk.exists(path) and not self.offline:
            self._go_offline(f"{path} was removed")
            raise DiskFailed(path, "removed while it was written to")

    # Reading.

    def read(self, offset: int, *, size_max: int, up_to: int, at_least_one: bool) -> Fetched:
        """Whole batches from the one that holds `offset` to the last that ends at or below `up_to` (L-5).

        At most `size_max` bytes, but for a first batch that is larger, if `at_least_one` is set. `OffsetOutOfRange`
        before the log's start and behind its end; between `up_to` and the end there is nothing yet (L-1).
        """
        up_to = min(up_to, self.written_offset)
        self.check_offset(offset, end_offset=self.end_offset)
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

    def check_offset(self, offset: int, *, end_offset: int) -> None:
        """`OffsetOutOfRange` before the log's start and behind its end, which whoever asks knows as `end_offset`.

        `LogOffline` behind the end of a log that was opened with damage: it may have gone on further, and who is told
        that an offset is out of range goes elsewhere for good.
        """
        damage = self.recovered.quarantined
        if offset > self.end_offset and damage is not None:
            raise LogOffline(self.directory, str(damage))
        if not self.start_offset <= offset <= self.end_offset:
            raise OffsetOutOfRange(offset, self.start_offset, end_offset)

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
            except (CorruptLog, DiskFailed):
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
        segment.batch_at(begin.position)  # it reaches beyond `up_to`, or so its header says; or there is none
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

    # Damage.

    def inspection_of(self, segment: Segment) -> Inspection | None:
        """A reading of all that is durable in a segment; None if that is nothing, or ends nobody knows where."""
        if segment in self._unsynced:
            return None
        is_sealed = segment is not self._active
        end = Boundary(segment.size, segment.next_offset) if is_sealed else self._durable_end()
        if end is None or end == (0, segment.base_offset):
            return None
        return Inspection(self._disk, segment, end=end, epochs=self.leader_epochs, is_sealed=is_sealed)

    def was_durable(self, damage: CorruptLog) -> bool:
        """Whether the damage lies in what had become durable; not so in an index, which is only made anew."""
        segment = next((segment for segment in self._segments if segment.path == damage.path), None)
        if segment is None or segment in self._unsynced:
            return False
        end = self._durable_end() if segment is self._active else None
        return end is None or damage.position < end.position

    def _durable_end(self) -> Boundary | None:
        """Up to where the last segment is durable; None if damage hides it."""
        try:
            return self._limit(self._active, max(self.recovery_point, self._active.base_offset))
        except (CorruptLog, DiskFailed):
            return None

    def doubt(self, path: str) -> None:
        """Whether that segment is sound nobody knows any more: the scrubber has the next word."""
        for segment in self._segments:
            if segment.path == path:
                segment.verified_ms = NEVER_MS
                self.doubted.append(segment)

    def quarantine(self, damage: CorruptLog) -> None:
        """What was durable is damaged: take no more appends, now and at the next start, until the log is sound again.

        Nothing is cut, for the mark is written first, and the note says the same: what lies below is never taken for a
        torn tail. `DiskFailed` if that could not be noted down, and the log is offline all the same.
        """
        if self.quarantined is not None:
            return
        self.quarantined = damage
        for segment in self._segments:
            segment.distrust()
        try:
            with suppress(DiskFull):
                self.write_mark()
            note_damage(self._disk, self.directory, damage, durable=self.recovery_point)
        finally:
            self._go_offline(str(damage))

    # Closing.

    def close(self) -> None:
        """Write out, flush, finish the indexes, write the mark, and close the files. An offline log is only closed.

        `DiskFull` if there is no space for that: then the log is as open as before, to be closed again or discarded.
        """
        try:
            self.settle()
        except DiskFull:
            raise
        except BaseException:
            self._close_files()
            raise
        self._close_files()

    def settle(self) -> None:
        """Do all of `close` but the last step: the files stay open, and nothing may be appended.

        May be called from another thread if `is_durable`, and nobody else touches the log meanwhile.
        """
        assert self._flush is None, "a flush is going on"
        if self._offline_reason is not None or self._is_settled:
            return
        try:
            self._settle()
        except DiskFull:
            self._active.reopen_indexes()
            raise
        self._is_settled = True

    @property
    def is_durable(self) -> bool:
        """Everything that was appended is on the platter, and no flush is going on."""
        return self.end_offset == self.recovery_point and not self._unsynced and self._flush is None

    def _settle(self) -> None:
        self.write_out()
        flush = self.begin_flush()
        try:
            if flush is not None:
                flush.sync()
                self.end_flush(flush)
            checkpoint = self._active.checkpoint(has_producers=len(self.producers) > 0)
            self._active.finish()
            if self._changed:
                for file in self._active.indexes.files():
                    file.sync()
            self._checkpoint = checkpoint
        except DiskFull:
            raise  # no sync says so: nothing is lost
        except DiskFailed:
            self._sync_failed()
            raise
        self.write_mark()
        if self.end_offset > self.start_offset:
            self._write_snapshot()
        if self._is_caching_noted:
            forget_caching(self._disk, self.directory)
            self._is_caching_noted = False

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
