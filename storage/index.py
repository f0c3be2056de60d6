"""A file of fixed-size entries, sorted, that grows at its end: what both indexes of a segment are.

Read with `pread` and never mapped: a mapping of a file that somebody cuts short, or of which a page cannot be read,
kills the process, while a read says so (docs/decisions/0016). What was added last is kept in memory until it is worth a
write or has to be synced; for after a crash an index counts only as far as a checkpoint knows it.

An index is a cache of its log: whoever doubts it throws it away and builds it again.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from crc32c import crc32c

from .disk import Disk, File
from .errors import CorruptLog, DiskFailed, DiskFull, OutOfMemory, Unreadable

TAIL_SIZE: Final = 256
"""So much is kept in memory, but for what one write adds: the entries of about 128 KiB of log."""

BLOCK_SIZE: Final = 16 * 1024
"""What a search reads at once when it has come so near, instead of entry by entry."""

SIZE_MAX: Final = 1 << 29
"""More than the smallest batches make of the largest segment."""


@dataclass(frozen=True, slots=True)
class IndexedEntries:
    """The first entries of an index, as a checkpoint knows them."""

    count: int = 0
    crc: int = 0
    """CRC-32C of their bytes."""


NO_ENTRIES: Final = IndexedEntries()


class Entries:
    """A sorted array of entries in a file. `count` of them are there; `capacity` is the most that there may be.

    Whatever reads them raises `CorruptLog` if the file does not give what it should.
    """

    __slots__ = ("_file", "_summed", "_tail", "_written", "capacity", "count", "entry_size")

    def __init__(self, file: File, *, entry_size: int, count: int, size_max: int) -> None:
        """The file holds `count` entries; what follows them counts for nothing."""
        self._file = file
        self._tail = bytearray()
        """The last entries, which the file does not hold yet."""
        self._written = count
        """How many it does hold."""
        self._summed = NO_ENTRIES
        """Of how many of those the CRC is known."""
        self.entry_size = entry_size
        self.count = count
        self.capacity = size_max // entry_size

    @classmethod
    def create(cls, disk: Disk, path: str, *, entry_size: int, size_max: int) -> "Entries":
        """None yet. What the file held counts no more."""
        return cls(disk.open(path, create=True), entry_size=entry_size, count=0, size_max=size_max)

    @classmethod
    def load(cls, disk: Disk, path: str, *, entry_size: int, size_max: int) -> "Entries":
        """All that a file holds; `CorruptLog` if it is missing, or cannot be opened, or is none of ours."""
        file = _opened(disk, path)
        count, rest = divmod(file.size, entry_size)
        if rest or file.size > SIZE_MAX:
            file.close()
            raise CorruptLog(path, 0, f"no index has {file.size} bytes")
        return cls(file, entry_size=entry_size, count=count, size_max=size_max)

    @classmethod
    def resume(cls, disk: Disk, path: str, known: IndexedEntries, *, entry_size: int, size_max: int) -> "Entries":
        """Those that a checkpoint knows; `CorruptLog` if they are not there. What follows counts no more.

        A crash may have left anything there: zeros, a part of what was added, what stood there long before.
        """
        entries = cls(_opened(disk, path), entry_size=entry_size, count=known.count, size_max=size_max)
        with closed_if_that_fails(entries):
            if entries.known() != known:
                raise CorruptLog(path, 0, f"not the {known.count} entries of the last checkpoint")
        return entries

    @property
    def path(self) -> str:
        """The file."""
        return self._file.path

    def append(self, data: bytes) -> None:
        """Add the encoded entries. They are in memory: nothing can fail."""
        self._tail += data
        self.count += len(data) // self.entry_size

    @property
    def is_write_due(self) -> bool:
        """Whether so much is in memory only that it should be written."""
        return len(self._tail) >= TAIL_SIZE

    def write_out(self) -> None:
        """Give to the file what is in memory only. On failure it stays there."""
        if self._tail:
            self._file.write(self._written * self.entry_size, bytes(self._tail))
            if self._summed.count == self._written:
                self._summed = IndexedEntries(self.count, crc32c(self._tail, self._summed.crc))
            self._written = self.count
            self._tail.clear()

    def get(self, number: int, entry: struct.Struct) -> tuple[int, int]:
        """The two fields of an entry; negative numbers count from the end."""
        number = number if number >= 0 else self.count + number
        if number < self._written:
            first, second = entry.unpack(self._read(number, 1))
        else:
            first, second = entry.unpack_from(self._tail, (number - self._written) * self.entry_size)
        return first, second

    def last_at_most(self, value: int, field: struct.Struct, at: int) -> int:
        """Number of the last entry whose field (found `at` bytes into it) is at most `value`; -1 if there is none."""
        entry_size, unpack = self.entry_size, field.unpack_from
        data: bytes | bytearray = self._tail
        first = self._written
        if not data or unpack(data, at)[0] > value:
            first, end = 0, self._written
            while (end - first) * entry_size > BLOCK_SIZE:
                middle = (first + end) >> 1
                if unpack(self._read(middle, 1), at)[0] <= value:
                    first = middle + 1
                else:
                    end = middle
            data = self._read(first, end - first)
        numbers = range(len(data) // entry_size)
        return first + bisect_right(numbers, value, key=lambda number: unpack(data, number * entry_size + at)[0]) - 1

    def known(self) -> IndexedEntries:
        """All that are there and written out, for a checkpoint. Those that this process did not write are read."""
        assert not self._tail
        while self._summed.count < self._written:
            count, crc = self._summed.count, self._summed.crc
            more = min(self._written - count, BLOCK_SIZE // self.entry_size)
            self._summed = IndexedEntries(count + more, crc32c(self._read(count, more), crc))
        return self._summed

    def cut(self, count: int) -> None:
        """Keep the first ones only; the file keeps its size."""
        del self._tail[max(0, count - self._written) * self.entry_size :]
        self._written = min(self._written, count)
        self.count = count
        if self._summed.count > count:
            self._summed = NO_ENTRIES

    def trim(self) -> None:
        """Let the file hold all of them and nothing else."""
        self.write_out()
        size = self.count * self.entry_size
        if size < self._file.size:
            self._file.truncate(size)

    def sync(self) -> None:
        """Make durable what was written. May come from another thread."""
        self._file.sync()

    def close(self) -> None:
        """Close the file. What is in memory only is forgotten."""
        self._file.close()

    def _read(self, number: int, count: int) -> bytes:
        """So many entries, of those that the file should hold."""
        begin, size = number * self.entry_size, count * self.entry_size
        try:
            data = self._file.read(begin, size)
        except Unreadable as error:
            raise error.damage from error
        if len(data) < size:
            raise CorruptLog(self.path, begin + len(data), f"ends before entry {number + count} of {self.count}")
        return data


@contextmanager
def closed_if_that_fails(entries: Entries) -> Iterator[None]:
    """Around what is done with entries that were opened just now."""
    try:
        yield
    except BaseException:
        entries.close()
        raise


def _opened(disk: Disk, path: str) -> File:
    """The file, or the doubt that there is none."""
    try:
        return disk.open(path)
    except (DiskFull, OutOfMemory):
        raise  # of descriptors, say: that is no word on the file
    except DiskFailed as error:
        reason = f"cannot be opened: {error.reason}" if disk.exists(path) else "missing"
        raise CorruptLog(path, 0, reason) from error
