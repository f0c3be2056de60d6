"""Offset to position: the file `.index` of a segment, in Kafka's layout (L-3).

    position  size  field
           0     4  last offset of a batch, minus the segment's base offset, i32
           4     4  position of that batch in the .log file, i32

Big endian, both fields ascending, one entry for about every `index.interval.bytes` of log.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from .disk import Disk
from .errors import CorruptLog
from .index import Entries, IndexedEntries, closed_if_that_fails

SUFFIX: Final = ".index"
RELATIVE_OFFSET_MAX: Final = (1 << 31) - 1

_ENTRY = struct.Struct(">ii")
_INT32 = struct.Struct(">i")
ENTRY_SIZE: Final = _ENTRY.size
assert ENTRY_SIZE == 8


class OffsetEntry(NamedTuple):
    """A batch that the index knows: the offset of its last record, and where it begins."""

    last_offset: int
    position: int


class OffsetIndex:
    """The offset index of one segment."""

    __slots__ = ("_base_offset", "entries")

    def __init__(self, entries: Entries, base_offset: int) -> None:
        self.entries = entries
        self._base_offset = base_offset

    @classmethod
    def create(cls, disk: Disk, path: str, base_offset: int, *, size_max: int) -> "OffsetIndex":
        """An empty one. What the file held counts no more."""
        return cls(Entries.create(disk, path, entry_size=ENTRY_SIZE, size_max=size_max), base_offset)

    @classmethod
    def load(cls, disk: Disk, path: str, base_offset: int, *, size_max: int) -> "OffsetIndex":
        """The one that was trimmed and synced; `CorruptLog` if it cannot be that."""
        entries = Entries.load(disk, path, entry_size=ENTRY_SIZE, size_max=size_max)
        with closed_if_that_fails(entries):
            index = cls(entries, base_offset)
            if entries.count > 1 and not index._ascends():
                raise CorruptLog(path, 0, "not an offset index that was closed")
        return index

    @classmethod
    def resume(cls, disk: Disk, path: str, base_offset: int, *, known: IndexedEntries, size_max: int) -> "OffsetIndex":
        """The one that a checkpoint knows, for more appends; `CorruptLog` if it is not there."""
        return cls(Entries.resume(disk, path, known, entry_size=ENTRY_SIZE, size_max=size_max), base_offset)

    def append(self, entries: Iterable[OffsetEntry]) -> None:
        """Add entries."""
        base_offset, pack = self._base_offset, _ENTRY.pack
        self.entries.append(b"".join([pack(last - base_offset, position) for last, position in entries]))

    @staticmethod
    def encode(entry: OffsetEntry, base_offset: int) -> bytes:
        """The bytes of one entry in a segment that begins at `base_offset`."""
        return _ENTRY.pack(entry.last_offset - base_offset, entry.position)

    @staticmethod
    def decode(data: bytes, base_offset: int) -> list[OffsetEntry]:
        """The entries in whole bytes of a file, whatever they say."""
        return [OffsetEntry(base_offset + relative, position) for relative, position in _ENTRY.iter_unpack(data)]

    def clear(self) -> None:
        """Forget all entries; the file keeps its size."""
        self.entries.cut(0)

    def lookup(self, offset: int) -> OffsetEntry | None:
        """The last entry whose offset is at most `offset`: its batch, or one behind it, holds that offset."""
        return self._get(self.entries.last_at_most(offset - self._base_offset, _INT32, 0))

    def at_position(self, position: int) -> OffsetEntry | None:
        """The last entry whose batch begins at or before `position`."""
        return self._get(self.entries.last_at_most(position, _INT32, 4))

    def behind_position(self, position: int) -> OffsetEntry | None:
        """The first entry whose batch begins behind `position`."""
        number = self.entries.last_at_most(position, _INT32, 4) + 1
        return self._get(number) if number < self.entries.count else None

    @property
    def last(self) -> OffsetEntry | None:
        """The last entry of all."""
        return self._get(self.entries.count - 1)

    def _get(self, number: int) -> OffsetEntry | None:
        if number < 0:
            return None
        relative, position = self.entries.get(number, _ENTRY)
        return OffsetEntry(self._base_offset + relative, position)

    def _ascends(self) -> bool:
        """Whether first and last stand in order: a tail of zeros, as a crash leaves behind, does not."""
        first, last = self.entries.get(0, _ENTRY), self.entries.get(-1, _ENTRY)
        return 0 <= first[0] < last[0] and 0 < first[1] < last[1]
