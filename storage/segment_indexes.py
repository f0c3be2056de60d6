"""The two indexes of a segment as one, and the tally from which their entries come.

The tally sees every batch once, when it is appended or when the segment is read again; so an index that is rebuilt is
byte for byte the one that was lost.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from ..protocol.batch import BatchHeader
from .checkpoint import replace_file
from .disk import Disk
from .durable_mark import Checkpoint
from .index import Entries, closed_if_that_fails
from .offset_index import SUFFIX as OFFSET_INDEX_SUFFIX
from .offset_index import OffsetEntry, OffsetIndex
from .time_index import NO_TIMESTAMP, NOTHING, TimeEntry, TimeIndex
from .time_index import SUFFIX as TIME_INDEX_SUFFIX

SUFFIXES: Final = (OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX)

BATCH_WORK: Final = 4096
"""What a batch costs besides its bytes: very small ones take longer to check than to read."""


class IndexPoint(NamedTuple):
    """A batch that gets an entry in both indexes."""

    batch: OffsetEntry
    greatest: TimeEntry


class Tally:
    """What the indexes want to know of the batches that go by."""

    __slots__ = ("_committed", "bytes_since_point", "greatest", "interval_bytes", "points")

    def __init__(self, interval_bytes: int, *, bytes_since_point: int = 0, greatest: TimeEntry = NOTHING) -> None:
        """Of an empty segment, or of one in which it has come so far already."""
        self.interval_bytes = interval_bytes
        self.bytes_since_point = bytes_since_point
        self.greatest = greatest
        self.points: list[IndexPoint] = []
        self._committed = (self.bytes_since_point, self.greatest)

    def add(self, position: int, size: int, last_offset: int, timestamp: int) -> None:
        """The batch of so many bytes at `position` ends with `last_offset`; `timestamp` is its greatest."""
        if timestamp > self.greatest.timestamp:
            self.greatest = TimeEntry(timestamp, last_offset)
        if self.bytes_since_point > self.interval_bytes:
            self.points.append(IndexPoint(OffsetEntry(last_offset, position), self.greatest))
            self.bytes_since_point = 0
        self.bytes_since_point += size

    def commit(self) -> None:
        """The points are in the indexes."""
        if self.points:
            self.points = []
        self._committed = (self.bytes_since_point, self.greatest)

    @property
    def greatest_written(self) -> TimeEntry:
        """The greatest timestamp as of the last `commit`."""
        return self._committed[1]

    def rewind(self) -> None:
        """What was added since the last `commit` was not written."""
        self.points = []
        self.bytes_since_point, self.greatest = self._committed


class Rebuild(NamedTuple):
    """Indexes that are being built anew."""

    tally: Tally
    batches: Iterator[tuple[int, BatchHeader]]
    """Those that the tally has not seen yet."""

    def read_on(self, work_max: int | None) -> bool:
        """Read so many bytes at most, batches having a weight of their own; whether that was all."""
        work = 0
        for position, header in self.batches:
            self.tally.add(position, header.size, header.last_offset, header.max_timestamp)
            work += header.size + BATCH_WORK
            if work_max is not None and work >= work_max:
                return False
        return True


class SegmentIndexes:
    """Offset and time index of one segment. `stem` is the segment's path without a suffix."""

    __slots__ = ("offsets", "times")

    def __init__(self, offsets: OffsetIndex, times: TimeIndex) -> None:
        self.offsets = offsets
        self.times = times

    @classmethod
    def create(cls, disk: Disk, stem: str, base_offset: int, *, size_max: int) -> "SegmentIndexes":
        """Empty ones, for appends. Not durable: after a crash they are built again."""
        offsets = OffsetIndex.create(disk, stem + OFFSET_INDEX_SUFFIX, base_offset, size_max=size_max)
        with closed_if_that_fails(offsets.entries):
            times = TimeIndex.create(disk, stem + TIME_INDEX_SUFFIX, base_offset, size_max=size_max)
        return cls(offsets, times)

    @classmethod
    def load(cls, disk: Disk, stem: str, base_offset: int, *, size_max: int) -> "SegmentIndexes":
        """Those of a segment that was closed; `CorruptLog` if one of them is missing or in doubt."""
        offsets = OffsetIndex.load(disk, stem + OFFSET_INDEX_SUFFIX, base_offset, size_max=size_max)
        with closed_if_that_fails(offsets.entries):
            times = TimeIndex.load(disk, stem + TIME_INDEX_SUFFIX, base_offset, size_max=size_max)
        return cls(offsets, times)

    @classmethod
    def resume(cls, disk: Disk, stem: str, checkpoint: Checkpoint, *, size_max: int) -> "SegmentIndexes":
        """Those that the checkpoint knows, for more appends; `CorruptLog` if one of them is not there."""
        offsets = OffsetIndex.resume(
            *(disk, stem + OFFSET_INDEX_SUFFIX, checkpoint.base_offset),
            known=checkpoint.offset_entries,
            size_max=size_max,
        )
        with closed_if_that_fails(offsets.entries):
            times = TimeIndex.resume(
                *(disk, stem + TIME_INDEX_SUFFIX, checkpoint.base_offset),
                known=checkpoint.time_entries,
                size_max=size_max,
            )
        return cls(offsets, times)

    def write_out_if_due(self) -> None:
        """Give to the files what is in memory only, if that is much; `DiskFailed`, and then it stays there."""
        for entries in self.files():
            if entries.is_write_due:
                entries.write_out()

    def write_out(self) -> None:
        """Give to the files all that is in memory only; `DiskFailed`, and then it stays there."""
        for entries in self.files():
            entries.write_out()

    def is_full(self, pending: int) -> bool:
        """Whether, with so many points not yet written, one more would not fit."""
        offsets, times = self.offsets.entries, self.times.entries
        return offsets.count + pending >= offsets.capacity or times.count + pending + 1 >= times.capacity

    def append(self, points: list[IndexPoint]) -> None:
        """Add the points. They are in memory: nothing can fail."""
        self.offsets.append([point.batch for point in points])
        for point in points:
            self.times.append(*point.greatest)

    def rewrite(self, points: list[IndexPoint]) -> None:
        """Begin anew, in place."""
        self.offsets.clear()
        self.times.clear()
        self.extend(points)

    def extend(self, points: list[IndexPoint]) -> None:
        """Add very many points."""
        self.append(points)
        self.write_out_if_due()

    def finish(self, greatest: TimeEntry) -> None:
        """The segment is being closed: the last entry, and the files hold all of them. May be repeated."""
        self.times.append(*greatest)
        self.offsets.entries.trim()
        self.times.entries.trim()

    def reopen(self) -> None:
        """The segment takes appends again: what `finish` added goes, and all is as if it had never been closed.

        It is the one entry of a batch that stands behind the last point: those of points do not.
        """
        last_point = self.offsets.last
        if self.times.last.timestamp > NO_TIMESTAMP and (
            last_point is None or self.times.last.last_offset > last_point.last_offset
        ):
            self.times.drop_last()

    def files(self) -> tuple[Entries, Entries]:
        """Both of them, to be synced."""
        return self.offsets.entries, self.times.entries

    def close(self) -> None:
        """Close both."""
        self.offsets.entries.close()
        self.times.entries.close()


def replace_indexes(disk: Disk, stem: str, base_offset: int, tally: Tally) -> None:
    """Write the indexes of a closed segment anew, whole and durably, from the tally of all its batches."""
    offsets = b"".join([OffsetIndex.encode(point.batch, base_offset) for point in tally.points])
    replace_file(disk, stem + OFFSET_INDEX_SUFFIX, offsets)
    times = bytearray()
    last = NO_TIMESTAMP
    for greatest in [*(point.greatest for point in tally.points), tally.greatest]:
        if greatest.timestamp > last:
            times += TimeIndex.encode(greatest, base_offset)
            last = greatest.timestamp
    replace_file(disk, stem + TIME_INDEX_SUFFIX, bytes(times))
