"""One segment of a log: a `.log` file of record batches, one behind the other, and its two indexes.

The file's name is the segment's base offset, twenty digits. Batches lie in it as they travelled, base offset and
leader epoch stamped. An active segment takes appends: they are *staged* as views of the caller's buffers until
`write_out` hands all of them to the disk in one call, then puts their entries into the indexes. A sealed one is only
read; its files are opened when they are wanted and closed again when too many are open (see handles.py).

Invariants: size <= staged_size; the batches in [0, size) follow each other without a gap, in bytes and in offsets, from
base_offset to next_offset. What the indexes say is compared with the batch it points at before it is believed; if they
differ, both are built again from the log.

What this process did not write, nor read yet, is checked (CRC, length, sequence of offsets) before it is handed out for
the first time, so that rotten bytes are an error here and not at a client.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from ..protocol.batch import HEADER_SIZE, BatchHeader, Buffer, CorruptBatch, crc_of, read_header
from .config import LogConfig
from .digests import SUFFIX as DIGEST_SUFFIX
from .disk import Disk, File, Syncable
from .durable_mark import Checkpoint
from .errors import CorruptLog, DiskFailed, DiskFull, NotIndexedYet, OutOfMemory, Unreadable
from .handles import Handles
from .leader_epochs import LeaderEpochs
from .offset_index import RELATIVE_OFFSET_MAX, OffsetEntry
from .segment_indexes import SUFFIXES, Rebuild, SegmentIndexes, Tally, replace_indexes
from .time_index import NO_TIMESTAMP, NOTHING, TimeEntry, TimeIndex

SUFFIX: Final = ".log"
WINDOW_SIZE: Final = 16 * 1024
"""How much is read at once while walking from header to header: about two index intervals and a batch."""

REBUILD_WORK: Final = 8 << 20
"""So much is read at once for indexes that are built anew, in bytes: within a tenth of a second."""

logger = logging.getLogger(__name__)


class Boundary(NamedTuple):
    """Where a batch begins, or the last one ends: the position in the file and the offset there."""

    position: int
    offset: int


class Room(NamedTuple):
    """Where a segment lives: what all segments of a log share."""

    disk: Disk
    directory: str
    config: LogConfig
    handles: Handles
    epochs: LeaderEpochs


class Segment:
    """One segment. The room's `config` is what it was opened with; of a change it learns its `limits` alone."""

    def __init__(self, room: Room, base_offset: int, *, end: Boundary) -> None:
        """A sealed one whose file ends at `end`; nothing is opened yet."""
        disk, directory, config, handles, epochs = room
        self.base_offset = base_offset
        self.stem = f"{directory}/{base_offset:020d}"
        self.path = self.stem + SUFFIX
        self.size, self.next_offset = end
        self.staged_size = self.size
        self.first_timestamp = NO_TIMESTAMP
        """Of the first batch; known only while the segment is active, for that alone asks for it."""
        self.created_ms = 0
        self.active = False
        """Takes appends."""
        self.pinned = False
        """Active, or not yet synced: its files stay open."""
        self.tally = Tally(config.index_interval_bytes)
        self.verified_ms: int | None = None
        """When the scrubber last read all of it, who alone sets and asks it; None if it has not yet looked."""
        self.limits = config
        """How large and how old it may get; replaced when the log's settings are."""
        self._disk = disk
        self._config = config
        self._handles = handles
        self._epochs = epochs
        self._file: File | None = None
        self._indexes: SegmentIndexes | None = None
        self._rebuilt = False
        self._rebuild: Rebuild | None = None
        """As far as the indexes of a closed segment were built anew, and not yet written."""
        self._unindexed: CorruptLog | None = None
        """Why they could be built anew only up to there."""
        self._is_timeless = False
        """No batch of it has a time; of a closed one that is found out when somebody asks."""
        self._staged: list[Buffer] = []
        self._written_from = self.size
        """From here on the bytes are this process's own, or were checked when the log was opened."""
        self._checked_from = self._checked_to = self.size
        """What readers had checked on their way; one stretch, which grows as long as they read on."""

    @classmethod
    def load(cls, room: Room, base_offset: int, *, next_offset: int) -> "Segment":
        """One that is on the disk, of which only the size is read."""
        size = room.disk.size(f"{room.directory}/{base_offset:020d}{SUFFIX}")
        return cls(room, base_offset, end=Boundary(size, next_offset))

    @classmethod
    def create(cls, room: Room, base_offset: int, *, now_ms: int) -> "Segment":
        """A new one, active and empty. Its name is durable when the directory has been synced."""
        segment = cls(room, base_offset, end=Boundary(0, base_offset))
        segment.created_ms = now_ms
        segment.active = segment.pinned = True
        try:
            segment._file = room.disk.open(segment.path, create=True)
            segment._file.truncate(0)
            segment._indexes = SegmentIndexes.create(
                room.disk, segment.stem, base_offset, size_max=room.config.segment_index_bytes
            )
        except DiskFailed:
            segment.remove()  # the log goes on without it
            raise
        return segment

    @property
    def file(self) -> File:
        """The open `.log` file; `CorruptLog` if it is gone."""
        if self._file is None:
            self._file = self._open()
        if not self.pinned:
            self._handles.touch(self)
        return self._file

    @property
    def indexes(self) -> SegmentIndexes:
        """The open indexes; built again if they are missing or in doubt."""
        if self._indexes is None:
            try:
                self._indexes = self._load_indexes()
            except CorruptLog as doubt:
                self._rebuild_indexes(doubt)
            assert self._indexes is not None
            if not self.pinned:
                self._handles.touch(self)
        return self._indexes

    @property
    def greatest(self) -> TimeEntry:
        """The greatest timestamp, and the last offset of the first batch that has it; a sealed one asks its index."""
        is_known = self.pinned or self._is_timeless or self.tally.greatest != NOTHING
        if not is_known and self.next_offset > self.base_offset:
            greatest = self._last_of_time_index()
            # Nothing behind it may be later, up to the segment's end: an index that was cut short is true as well.
            position = 0 if greatest == NOTHING else self.locate(greatest.last_offset).position
            behind = self.headers(position, checked=greatest == NOTHING)  # if it says nothing, only they can tell
            if any(header.max_timestamp > greatest.timestamp for _, header in behind):
                reason = f"its last timestamp, {greatest.timestamp}, is not the greatest"
                self._rebuild_indexes(CorruptLog(self.stem + SUFFIXES[1], 0, reason))
                greatest = self._last_of_time_index()
            self.tally.greatest, self._is_timeless = greatest, greatest == NOTHING
        return self.tally.greatest

    # Appending. Only while the segment is active.

    def is_due(self, size: int, last_offset: int, timestamp: int, now_ms: int) -> bool:
        """Whether a batch must go into the next segment instead (L-4)."""
        limits = self.limits
        if self.staged_size == 0:
            return False
        if self.staged_size + size > limits.segment_bytes or last_offset - self.base_offset > RELATIVE_OFFSET_MAX:
            return True
        if NO_TIMESTAMP in (timestamp, self.first_timestamp):
            age_ms = now_ms - self.created_ms
        else:
            age_ms = timestamp - self.first_timestamp
        assert self._indexes is not None
        return age_ms > limits.segment_ms or self._indexes.is_full(len(self.tally.points))

    def stage(self, batch: Buffer, *, last_offset: int, timestamp: int) -> None:
        """Take a batch that is stamped and checked. The buffer must live until `write_out`."""
        position, size = self.staged_size, len(batch)
        if position == 0:
            self.first_timestamp = timestamp
        self.tally.add(position, size, last_offset, timestamp)
        self._staged.append(batch)
        self.staged_size = position + size

    def write_out(self, next_offset: int) -> None:
        """Hand what is staged to the page cache, then index it. On failure it is forgotten, and nothing has changed."""
        tally, file, indexes = self.tally, self._file, self._indexes
        assert file is not None
        assert indexes is not None
        assert file.size == self.size
        try:
            if tally.points:
                indexes.write_out_if_due()  # first, for nothing can fail any more once the batches are in the file
            file.append(self._staged)
        except BaseException:
            self.forget_staged()
            raise
        if tally.points:
            indexes.append(tally.points)
        tally.commit()
        self._staged.clear()
        self.size, self.next_offset = self.staged_size, next_offset

    def forget_staged(self) -> None:
        """Let go of what was staged and not written."""
        self._staged.clear()
        self.staged_size = self.size
        self.tally.rewind()
        if self.size == 0:
            self.first_timestamp = NO_TIMESTAMP

    def finish(self) -> None:
        """Give the file its true size and the indexes their last entry, and write them out. More may still be appended.

        A failed append may have left bytes behind the last batch: nobody could tell any more that they are nobody's.
        """
        assert self._file is not None
        assert self._indexes is not None
        self._file.truncate(self.size)
        self._indexes.finish(self.tally.greatest)

    def reopen_indexes(self) -> None:
        """Take that back: the segment was not closed after all."""
        assert self._indexes is not None
        try:
            self._indexes.reopen()
        except CorruptLog as doubt:
            self._rebuild_indexes(doubt)

    def seal(self) -> None:
        """Take no more appends. The indexes are finished; the files stay open until they are synced."""
        assert self.active
        assert not self._staged
        self.active = False
        self.verified_ms = None

    def checkpoint(self, *, has_producers: bool) -> Checkpoint:
        """What is written so far; it holds once the file and the indexes have been synced.

        The indexes are written out for that: `DiskFailed`, or `CorruptLog` if they cannot even be built anew.
        """
        assert self._indexes is not None
        try:
            self._indexes.write_out()
            return self._checkpoint(self._indexes, has_producers=has_producers)
        except CorruptLog as doubt:
            self._rebuild_indexes(doubt)
            self._indexes.write_out()
            return self._checkpoint(self._indexes, has_producers=has_producers)

    def _checkpoint(self, indexes: SegmentIndexes, *, has_producers: bool) -> Checkpoint:
        return Checkpoint(
            base_offset=self.base_offset,
            offset=self.next_offset,
            position=self.size,
            greatest=self.tally.greatest_written,
            offset_entries=indexes.offsets.entries.known(),
            time_entries=indexes.times.entries.known(),
            has_producers=has_producers,
        )

    def syncables(self, *, indexes: bool) -> tuple[Syncable, ...]:
        """What must be synced before the bytes are durable, and, for a checkpoint or for good, the indexes too."""
        assert self._file is not None
        assert self._indexes is not None
        return (self._file, *self._indexes.files()) if indexes else (self._file,)

    def unpin(self) -> None:
        """Sealed and synced: from now on the files may be closed when others need the descriptors."""
        assert not self.active
        self.pinned = False
        self._handles.touch(self)

    # Reading. Positions are always those of batches.

    def locate(self, offset: int) -> Boundary:
        """The batch that holds `offset`, or the segment's end if it lies there or beyond (L-5)."""
        if offset <= self.base_offset:
            return Boundary(0, self.base_offset)
        if offset >= self.next_offset:
            return Boundary(self.size, self.next_offset)
        try:
            return self._walk_to(offset, self.indexes.offsets.lookup(offset))
        except CorruptLog as doubt:
            if self._is_index_true(doubt, offset):  # Safe without: they are built once, to no avail.
                raise
            self._rebuild_indexes(doubt)
            return self.locate(offset)

    def read(self, begin: Boundary, limit: Boundary, *, size_max: int, at_least_one: bool) -> tuple[Buffer, Boundary]:
        """Whole batches from `begin`, none beyond `limit`, and where they end.

        No more than `size_max` bytes, unless the first batch alone is larger and `at_least_one` is set.
        """
        available = limit.position - begin.position
        size = min(available, size_max)
        data = self._read_some(begin.position, size)
        if len(data) < size:
            end = self._check(data, begin, limit)
            if end == begin:
                data = self._read_exactly(begin.position, size)  # which says why, unless it is there now
                end = self._check(data, begin, limit)
        elif not self._is_checked(begin.position, begin.position + size):
            end = self._check(data, begin, limit)
        elif size == available and (self.active or limit.position < self.size):
            return data, limit  # a closed one may end too early: where it should, only the next one's name says
        else:
            end = self._last_whole(data, begin)
        if end.position == begin.position and at_least_one:
            header = self.header_at(begin.position)
            if header.size > available:
                raise CorruptLog(self.path, begin.position, "a batch reaches beyond where one should begin")
            _ = self.indexes  # now they are open, and know whether that size can be true
            data = self._read_batch(begin.position, header)
            end = self._check(data, begin, limit)
        size = end.position - begin.position
        return (data if size == len(data) else memoryview(data)[:size]), end

    def distrust(self) -> None:
        """Damage was found near: check again what was taken for sound, because it was written here or read before."""
        self._written_from = self._checked_from = self._checked_to = self.size

    def time_entry(self, look_up: Callable[[TimeIndex], TimeEntry]) -> TimeEntry:
        """What the time index says, if there is such a batch; else nothing."""
        try:
            entry = look_up(self.indexes.times)
        except CorruptLog as doubt:
            self._rebuild_indexes(doubt)
            return self.time_entry(look_up)
        return entry if self.confirms(entry) else NOTHING

    def confirms(self, entry: TimeEntry) -> bool:
        """Whether there is a batch of that last offset and that greatest timestamp: else the time index is wrong.

        It must also be the first of so great a time behind the last one that the index knows before it. What lies
        between that one and an earlier batch of the same time has no greater one: the next entry would name it.
        """
        if entry == NOTHING:
            return True
        try:
            known = self.indexes.offsets.lookup(entry.last_offset - 1)
            begin = 0 if known is None else self.locate(known.last_offset).position
            for _, header in self.headers(begin):
                if header.max_timestamp >= entry.timestamp or header.last_offset >= entry.last_offset:
                    return (header.max_timestamp, header.last_offset) == entry
        except CorruptLog:
            pass
        return False

    def headers(self, position: int, *, checked: bool = False) -> Iterator[tuple[int, BatchHeader]]:
        """Each batch from `position` to the end; `CorruptLog` where the next one should be and is not.

        What a header says of its own batch is believed only if `checked`: whoever passes a batch by for what its header
        says must ask for that.
        """
        window, window_start = b"", 0
        expected, before = self.base_offset if position == 0 else None, None
        if position < 0:
            raise CorruptLog(self.stem + SUFFIXES[0], 0, f"it names position {position}")
        while position < self.size:
            if position - window_start + HEADER_SIZE > len(window):
                window, window_start = self._read_some(position, min(WINDOW_SIZE, self.size - position)), position
            header = self._parse(window, position - window_start, position)
            if expected is not None and header.base_offset != expected:
                if before is not None:
                    self._check_batch(*before)  # which may be what is wrong
                raise CorruptLog(self.path, position, f"offset {header.base_offset} instead of {expected}")
            if checked and not self._is_checked(position, position + header.size):
                self._check_batch(position, header)
            yield position, header
            before, expected = (position, header), header.next_offset
            position += header.size
        if expected is not None and expected < self.next_offset:
            raise self._ends_early()

    def header_at(self, position: int) -> BatchHeader:
        """The header of one batch; `CorruptLog` if there is none."""
        return self._parse(self.file.read(position, HEADER_SIZE), 0, position)

    def batch_at(self, position: int) -> bytes:
        """One batch, checked."""
        return self._check_batch(position, self.header_at(position))

    # Opening and closing.

    def resume_indexes(self, checkpoint: Checkpoint) -> Tally:
        """Open the indexes as the checkpoint knows them, and say what the tally was there.

        `CorruptLog` if something of what it vouches for is not there.
        """
        if self.size < checkpoint.position:
            raise CorruptLog(self.path, self.size, f"the file ends here, the checkpoint is at {checkpoint.position}")
        self.header_at(0)  # `resume` wants it
        size_max = self._config.segment_index_bytes
        self._indexes = SegmentIndexes.resume(self._disk, self.stem, checkpoint, size_max=size_max)
        last = self._indexes.offsets.last
        return Tally(
            self._config.index_interval_bytes,
            bytes_since_point=checkpoint.position - (0 if last is None else last.position),
            greatest=checkpoint.greatest,
        )

    def adopt(self, tally: Tally, end: Boundary, *, active: bool, read_from: int) -> None:
        """Every batch from `read_from` on was checked just now, they end at `end`, the tally has seen them: index them.

        Behind what the indexes hold, if they were resumed, which is when it was not read from its beginning; else anew.
        Those of an active segment need not be durable.
        """
        if read_from == 0:
            self._close_indexes()
        self._remove_digest()
        self.size, self.next_offset = end
        self.staged_size = self.size
        self._written_from = read_from
        if read_from == 0 and not active:
            replace_indexes(self._disk, self.stem, self.base_offset, tally)
        elif self._indexes is not None:
            self._indexes.extend(tally.points)
        else:
            size_max = self._config.segment_index_bytes
            self._indexes = SegmentIndexes.create(self._disk, self.stem, self.base_offset, size_max=size_max)
            self._indexes.extend(tally.points)
        if self._indexes is not None and not active:
            self._indexes.finish(tally.greatest)
            for entries in self._indexes.files():
                entries.sync()
            self._close_indexes()
        tally.commit()
        self.tally = tally

    def resume(self, *, now_ms: int) -> None:
        """Open the segment, adopted as the active one, for appends. `CorruptLog` if it begins with no batch."""
        if self.size:
            self.first_timestamp = self.header_at(0).max_timestamp
        self.active = self.pinned = True
        assert self.file.size == self.size == self.staged_size
        self._handles.forget(self)
        self.created_ms = now_ms

    def evict(self) -> None:
        """Close what can be opened again."""
        assert not self.pinned
        self._close_files()

    def remove(self) -> None:
        """Remove the files; durable when the directory has been synced. What belongs to no log is nothing."""
        self.close()
        for suffix in (SUFFIX, *SUFFIXES, DIGEST_SUFFIX):
            if self._disk.exists(self.stem + suffix):
                self._disk.remove(self.stem + suffix)

    def close(self) -> None:
        """Close the files. What is not durable stays so."""
        self._handles.forget(self)
        self.pinned = False
        self._close_files()

    def _remove_digest(self) -> None:
        """It says what the file may no longer be, or will not be. If a crash brings it back, it is removed again."""
        if self._disk.exists(self.stem + DIGEST_SUFFIX):
            self._disk.remove(self.stem + DIGEST_SUFFIX)

    def _close_files(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        finally:
            self._close_indexes()

    def _open(self) -> File:
        try:
            return self._disk.open(self.path)
        except (DiskFull, OutOfMemory):
            raise  # that is no word on the file
        except DiskFailed as error:
            if self._disk.exists(self.path):
                raise Unreadable(CorruptLog(self.path, 0, error.reason, end=self.size)) from error
            raise CorruptLog(self.path, 0, "missing", end=self.size) from error

    def _load_indexes(self) -> SegmentIndexes:
        size_max = self._config.segment_index_bytes
        return SegmentIndexes.load(self._disk, self.stem, self.base_offset, size_max=size_max)

    def _close_indexes(self) -> None:
        indexes, self._indexes = self._indexes, None
        if indexes is not None:
            indexes.close()

    def _parse(self, data: Buffer, at: int, position: int) -> BatchHeader:
        """The header at `at` in `data`, which lies at `position` in the file, and must be one within it."""
        try:
            header = read_header(data, at)
        except CorruptBatch as error:
            raise CorruptLog(self.path, position, str(error)) from error
        if position + header.size > self.size:
            raise CorruptLog(self.path, position, f"a batch of {header.size} bytes reaches beyond the end {self.size}")
        return header

    def _read_some(self, position: int, size: int) -> bytes:
        """So many bytes, or as many as there are before the disk gives no more: `Unreadable` if that is no header."""
        try:
            return self.file.read(position, size)
        except Unreadable as error:
            if error.damage.position - position < HEADER_SIZE:
                raise
            return self.file.read(position, error.damage.position - position)

    def _read_exactly(self, position: int, size: int) -> bytes:
        data = self.file.read(position, size)
        if len(data) != size:
            where = position + len(data)
            raise CorruptLog(self.path, where, f"the file ends here instead of at {self.size}", end=self.size)
        return data

    def _read_batch(self, position: int, header: BatchHeader) -> bytes:
        """The batch at `position`. A length that cannot be true costs nothing: it may say anything up to a gibibyte."""
        following = self._batch_behind(position)
        if following is not None and following < position + header.size:
            raise CorruptLog(self.path, position, f"no batch of {header.size} bytes can be here", end=following)
        return self._read_exactly(position, header.size)

    def _batch_behind(self, position: int) -> int | None:
        """Where the next batch that the index knows begins; None if it knows none, or may be wrong."""
        if self._indexes is None:
            return None
        try:
            known = self._indexes.offsets.behind_position(position)
            return known.position if known is not None and self._is_batch(known) else None
        except CorruptLog:
            return None

    def _is_index_true(self, doubt: CorruptLog, offset: int) -> bool:
        """Whether a walk met damage in the log itself. To build the indexes anew would end there, too."""
        try:
            known = self.indexes.offsets.lookup(offset)
            return doubt.path == self.path and (known is None or self._is_batch(known))
        except CorruptLog:
            return False

    def _is_batch(self, entry: OffsetEntry) -> bool:
        return self.header_at(entry.position).last_offset == entry.last_offset

    def _walk_to(self, offset: int, known: OffsetEntry | None) -> Boundary:
        """The batch that holds `offset`, found from one that the index knows to begin before it."""
        begin = known.position if known is not None else 0
        for position, header in self.headers(begin):
            if position == begin and known is not None and header.last_offset != known.last_offset:
                raise self._contradicted(known, header)
            if header.last_offset >= offset:
                return Boundary(position, header.base_offset)
        raise self._ends_early()

    def _ends_early(self) -> CorruptLog:
        return CorruptLog(self.path, self.size, f"the segment ends before offset {self.next_offset}")

    def _contradicted(self, known: OffsetEntry, header: BatchHeader) -> CorruptLog:
        """What is in doubt then is the index: rotten bytes of the log are found when they are checked."""
        reason = (
            f"at {known.position} it knows a batch to offset {known.last_offset}, there is one to {header.last_offset}"
        )
        return CorruptLog(self.stem + SUFFIXES[0], 0, reason)

    def _last_whole(self, data: bytes, begin: Boundary) -> Boundary:
        """Where the last batch ends that is whole in `data`. The index saves walking all of them."""
        stop = begin.position + len(data)
        position = self._known_between(data, begin, stop)
        end = begin
        while stop - position >= HEADER_SIZE:
            header = self._parse(data, position - begin.position, position)
            end = Boundary(position, header.base_offset)
            if position + header.size > stop:
                break
            position += header.size
            end = Boundary(position, header.next_offset)
        return end

    def _known_between(self, data: bytes, begin: Boundary, stop: int) -> int:
        """The last position below `stop` where the index knows a batch to begin; `begin` if it knows none."""
        try:
            known = self.indexes.offsets.at_position(stop - HEADER_SIZE)
            if known is None or known.position <= begin.position:
                return begin.position
            header = self._parse(data, known.position - begin.position, known.position)
            if header.last_offset != known.last_offset:
                raise self._contradicted(known, header)
        except CorruptLog as doubt:
            if not self._rebuilt:
                with suppress(NotIndexedYet):
                    self._rebuild_indexes(doubt)
            return begin.position  # a longer walk, this once
        except NotIndexedYet:
            return begin.position
        return known.position

    def _check(self, data: Buffer, begin: Boundary, limit: Boundary) -> Boundary:
        """Where the last batch ends that is whole in `data` and sound; `CorruptLog` if the first one is not."""
        end = begin
        stop = begin.position + len(data)
        try:
            while stop - end.position >= HEADER_SIZE:
                at = end.position - begin.position
                header = self._parse(data, at, end.position)
                batch_end = end.position + header.size
                if batch_end > stop:
                    if batch_end > limit.position:
                        raise CorruptLog(self.path, end.position, "a batch reaches beyond where one should begin")
                    break
                why = self._why_unsound(data, at, header, end.offset)
                if why is not None:
                    following = self._batch_behind(end.position)  # for the length may be wrong, too
                    raise CorruptLog(self.path, end.position, why, end=min(batch_end, following or batch_end))
                end = Boundary(batch_end, header.next_offset)
        except CorruptLog:
            if end == begin:
                raise
            # What is sound is served; the next read begins at the bad batch, and fails.
        self._remember_checked(begin.position, end.position)
        return end

    def _check_batch(self, position: int, header: BatchHeader) -> bytes:
        """The batch at `position`, whose header was read there, if it is sound."""
        data = self._read_batch(position, header)
        begin = Boundary(position, header.base_offset)
        self._check(data, begin, Boundary(position + header.size, header.next_offset))
        return data

    def _why_unsound(self, data: Buffer, at: int, header: BatchHeader, offset: int) -> str | None:
        """What is wrong with the whole batch at `at` in `data`, which should begin at `offset`; None for nothing."""
        if crc_of(data, at, header.size) != header.crc:
            return "the checksum does not hold"
        if header.base_offset != offset:
            return f"offset {header.base_offset} instead of {offset}"
        if not self._epochs.allows(header.leader_epoch, offset):
            return f"leader epoch {header.leader_epoch} cannot be here"
        return None

    def _is_checked(self, begin: int, end: int) -> bool:
        return begin >= self._written_from or (self._checked_from <= begin and end <= self._checked_to)

    def _remember_checked(self, begin: int, end: int) -> None:
        if begin <= self._checked_to and end >= self._checked_from:
            self._checked_from, self._checked_to = min(self._checked_from, begin), max(self._checked_to, end)
        else:
            self._checked_from, self._checked_to = begin, end
        if self._checked_to >= self._written_from:
            self._written_from = min(self._written_from, self._checked_from)

    def _last_of_time_index(self) -> TimeEntry:
        """The time index's last entry, if the batch that it names has that timestamp indeed."""
        if not self.confirms(self.indexes.times.last) and not self._rebuilt:
            self._rebuild_indexes(CorruptLog(self.path, 0, "the last entry of the time index is not true"))
        if self._unindexed is not None:  # Safe without: `greatest` looks at what is behind.
            raise self._unindexed
        return self.indexes.times.last

    def _rebuild_indexes(self, doubt: CorruptLog) -> None:
        """Build the indexes from the batches; raises `doubt`, or what is wrong in the log, if that was done before.

        Of a closed segment only a part is read with each call: `NotIndexedYet` until that was all.
        If the log is damaged, those that are there stay: they may know what lies behind the damage. If there are none,
        they reach as far as the batches are sound.
        """
        if self._rebuilt:
            raise self._unindexed or doubt
        _ = self.file  # which may be gone: then they are left as they are
        rebuild = self._rebuild
        if rebuild is None:
            logger.warning("rebuilding indexes segment=%s because=%s", self.path, doubt)
            rebuild = Rebuild(Tally(self.tally.interval_bytes), self.headers(0, checked=True))
        tally, self._rebuild = rebuild.tally, None
        try:
            is_read = rebuild.read_on(None if self.pinned else REBUILD_WORK)
        except CorruptLog as corrupt:
            is_read, self._unindexed = True, corrupt
            logger.warning("indexes not rebuilt to the end segment=%s because=%s", self.path, corrupt)
            if self._indexes is not None:
                self._rebuilt = True
                return
        if not self.pinned:
            self._rebuild = rebuild  # what was read need not be read again, be the disk full now
        if not is_read:
            raise NotIndexedYet(self.path, "the indexes of the segment are being built anew: try again")
        if self.pinned:
            # In place, for a flush may be syncing the files; the tally goes on, it knows what is staged besides.
            assert self._indexes is not None
            self._indexes.rewrite(tally.points)
            if not self.active:
                self._indexes.finish(tally.greatest)
        else:
            self._close_indexes()
            replace_indexes(self._disk, self.stem, self.base_offset, tally)
            self._indexes = self._load_indexes()
            if self._unindexed is None:
                self.tally.greatest = tally.greatest
        self._rebuilt, self._rebuild = True, None  # not if the disk was full, say: then the next reader tries again
