"""Timestamp to offset: the file `.timeindex` of a segment, in Kafka's layout (L-3).

    position  size  field
           0     8  the greatest timestamp of the segment so far, i64, milliseconds
           8     4  last offset of the first batch that has it, minus the segment's base offset, i32

Big endian, both fields ascending. An entry is added together with one of the offset index, if the greatest timestamp
grew since, and a last one when the segment is closed: so the last entry tells the segment's greatest timestamp.
"""

import struct
from typing import Final, NamedTuple

from .disk import Disk
from .errors import CorruptLog
from .index import Entries, IndexedEntries, closed_if_that_fails

SUFFIX: Final = ".timeindex"
NO_TIMESTAMP: Final = -1

_ENTRY = struct.Struct(">qi")
_INT64 = struct.Struct(">q")
_INT32 = struct.Struct(">i")
ENTRY_SIZE: Final = _ENTRY.size
assert ENTRY_SIZE == 12


class TimeEntry(NamedTuple):
    """The greatest timestamp up to a batch that the index knows, and the last offset of the batch that has it."""

    timestamp: int
    last_offset: int


NOTHING: Final = TimeEntry(NO_TIMESTAMP, -1)
"""What stands before the first entry."""


class TimeIndex:
    """The time index of one segment."""

    __slots__ = ("_base_offset", "entries", "last")

    def __init__(self, entries: Entries, base_offset: int) -> None:
        self.entries = entries
        self._base_offset = base_offset
        self.last = self._get(entries.count - 1)

    @classmethod
    def create(cls, disk: Disk, path: str, base_offset: int, *, size_max: int) -> "TimeIndex":
        """An empty one. What the file held counts no more."""
        return cls(Entries.create(disk, path, entry_size=ENTRY_SIZE, size_max=size_max), base_offset)

    @classmethod
    def load(cls, disk: Disk, path: str, base_offset: int, *, size_max: int) -> "TimeIndex":
        """The one that was trimmed and synced; `CorruptLog` if it cannot be that."""
        entries = Entries.load(disk, path, entry_size=ENTRY_SIZE, size_max=size_max)
        with closed_if_that_fails(entries):
            index = cls(entries, base_offset)
            if entries.count > 1 and not index._ascends():
                raise CorruptLog(path, 0, "not a time index that was closed")
        return index

    @classmethod
    def resume(cls, disk: Disk, path: str, base_offset: int, *, known: IndexedEntries, size_max: int) -> "TimeIndex":
        """The one that a checkpoint knows, for more appends; `CorruptLog` if it is not there."""
        entries = Entries.resume(disk, path, known, entry_size=ENTRY_SIZE, size_max=size_max)
        with closed_if_that_fails(entries):
            return cls(entries, base_offset)

    def append(self, timestamp: int, last_offset: int) -> None:
        """Add an entry if the timestamp grew."""
        if timestamp > self.last.timestamp:
            self.last = TimeEntry(timestamp, last_offset)
            self.entries.append(self.encode(self.last, self._base_offset))

    @staticmethod
    def encode(entry: TimeEntry, base_offset: int) -> bytes:
        """The bytes of one entry in a segment that begins at `base_offset`."""
        return _ENTRY.pack(entry.timestamp, entry.last_offset - base_offset)

    @staticmethod
    def decode(data: bytes, base_offset: int) -> list[TimeEntry]:
        """The entries in whole bytes of a file, whatever they say."""
        return [TimeEntry(timestamp, base_offset + relative) for timestamp, relative in _ENTRY.iter_unpack(data)]

    def clear(self) -> None:
        """Forget all entries; the file keeps its size."""
        self.entries.cut(0)
        self.last = NOTHING

    def drop_last(self) -> None:
        """Take back the last entry, which closing has added."""
        self.entries.cut(self.entries.count - 1)
        self.last = self._get(self.entries.count - 1)

    def before_time(self, timestamp: int) -> TimeEntry:
        """The last entry before that time: every record of that time, or later, lies behind its batch.

        Not the one of that very time: with one bit wrong it may name a later batch, which has the same.
        """
        return self._get_in_order(self.entries.last_at_most(timestamp - 1, _INT64, 0))

    def before_offset(self, offset: int) -> TimeEntry:
        """The last entry whose batch ends before `offset`."""
        return self._get_in_order(self.entries.last_at_most(offset - 1 - self._base_offset, _INT32, 8))

    def _get_in_order(self, number: int) -> TimeEntry:
        """`CorruptLog` if that one does not stand before the next one."""
        entry = self._get(number)
        if number + 1 < self.entries.count:
            following = self._get(number + 1)
            if entry.timestamp >= following.timestamp or entry.last_offset >= following.last_offset:
                raise CorruptLog(self.entries.path, 0, f"entries {number} and {number + 1} are not in order")
        return entry

    def _get(self, number: int) -> TimeEntry:
        if number < 0:
            return NOTHING
        timestamp, relative = self.entries.get(number, _ENTRY)
        return TimeEntry(timestamp, self._base_offset + relative)

    def _ascends(self) -> bool:
        """Whether first and last stand in order: a tail of zeros, as a crash leaves behind, does not."""
        first, last = self.entries.get(0, _ENTRY), self.entries.get(-1, _ENTRY)
        return 0 <= first[0] < last[0] and 0 <= first[1] < last[1]
