"""A file of fixed-size entries, mapped, sorted, open for appends at its end: what both indexes of a segment are.

While it grows the file is longer than its entries: it is allocated ahead in chunks, each twice the last, and mapped
anew, so that no page is ever touched that has no block on the disk (that would be SIGBUS). `trim` gives the rest back
when the segment is closed. An index is a cache of its log: whoever doubts it throws it away and builds it again.
"""

import struct
from dataclasses import dataclass
from typing import Final

from crc32c import crc32c

from .disk import Disk, Map
from .errors import CorruptLog

CHUNK_MIN: Final = 4096
CHUNK_MAX: Final = 256 * 1024

SIZE_MAX: Final = 1 << 29
"""More than the smallest batches make of the largest segment."""


@dataclass(frozen=True, slots=True)
class IndexedEntries:
    """The first entries of an index, as a checkpoint knows them."""

    count: int = 0
    crc: int = 0
    """CRC-32C of their bytes."""


NO_ENTRIES: Final = IndexedEntries()


class MappedEntries:
    """A mapped array of entries. `count` of them are there; `capacity` is the most that there may be."""

    __slots__ = ("_map", "_size_max", "_summed", "capacity", "count", "entry_size")

    def __init__(self, mapped: Map, *, entry_size: int, count: int, size_max: int) -> None:
        self._map = mapped
        self.entry_size = entry_size
        self.count = count
        self.capacity = size_max // entry_size
        self._size_max = self.capacity * entry_size
        self._summed = NO_ENTRIES
        """What `known` said last: it goes on from there."""
        assert count * entry_size <= mapped.size

    @classmethod
    def create(cls, disk: Disk, path: str, *, entry_size: int, size_max: int) -> "MappedEntries":
        """None yet. What the file held counts no more, but its space is kept for what will be added."""
        mapped = disk.map(path, None if disk.exists(path) else 0)
        return cls(mapped, entry_size=entry_size, count=0, size_max=size_max)

    @classmethod
    def resume(cls, disk: Disk, path: str, known: IndexedEntries, *, entry_size: int, size_max: int) -> "MappedEntries":
        """Those that a checkpoint knows; `CorruptLog` if they are not there. What follows counts no more.

        A crash may have left anything there: zeros, a part of what was added, what stood there long before.
        """
        if not disk.exists(path):
            raise CorruptLog(path, 0, "missing")
        entries = cls(disk.map(path), entry_size=entry_size, count=0, size_max=size_max)
        if known.count * entry_size <= entries._map.size:
            entries.count = known.count
            if entries.known() == known:
                return entries
        entries.close()
        raise CorruptLog(path, 0, f"not the {known.count} entries of the last checkpoint")

    @property
    def path(self) -> str:
        """The file."""
        return self._map.path

    def reserve(self, extra: int) -> None:
        """Make room for so many more entries; `DiskFull` if there is none. A later `append` of them cannot fail."""
        needed = (self.count + extra) * self.entry_size
        if needed > self._map.size:
            grown = self._map.size + min(max(self._map.size, CHUNK_MIN), CHUNK_MAX)
            self._map.resize(max(needed, min(grown, self._size_max)))

    def append(self, data: bytes) -> None:
        """Add the encoded entries, for which room was reserved."""
        begin = self.count * self.entry_size
        self._map.buffer[begin : begin + len(data)] = data
        self.count += len(data) // self.entry_size

    def get(self, number: int, entry: struct.Struct) -> tuple[int, int]:
        """The two fields of an entry; negative numbers count from the end."""
        at = (number if number >= 0 else self.count + number) * self.entry_size
        first, second = entry.unpack_from(self._map.buffer, at)
        return first, second

    def last_at_most(self, value: int, field: struct.Struct, at: int) -> int:
        """Number of the last entry whose field (found `at` bytes into it) is at most `value`; -1 if there is none."""
        buffer, entry_size, unpack = self._map.buffer, self.entry_size, field.unpack_from
        low, high = 0, self.count
        while low < high:
            middle = (low + high) >> 1
            if unpack(buffer, middle * entry_size + at)[0] <= value:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def known(self) -> IndexedEntries:
        """All that are there, for a checkpoint. Only those are looked at that were added since the last one."""
        before = self._summed
        added = self._map.buffer[before.count * self.entry_size : self.count * self.entry_size]
        self._summed = IndexedEntries(self.count, crc32c(added, before.crc))
        return self._summed

    def cut(self, count: int) -> None:
        """Keep the first ones only; the file keeps its size."""
        self.count = count
        if self._summed.count > count:
            self._summed = NO_ENTRIES

    def trim(self) -> None:
        """Give back what was allocated ahead."""
        size = self.count * self.entry_size
        if size != self._map.size:
            self._map.resize(size)

    def prepare_sync(self) -> None:
        """Have at hand what a sync needs; `OutOfDescriptors`."""
        self._map.prepare_sync()

    def sync(self) -> None:
        """Make the entries durable. May come from another thread."""
        self._map.sync()

    def close(self) -> None:
        """Unmap."""
        self._map.close()
