"""Whether the two index files of a closed segment tell the truth about its batches.

Nothing is rebuilt for that, and no setting is needed: how densely an index is written is its own affair. An entry is
true if there is such a batch; and the time index must end with the segment's greatest timestamp.
"""

from collections.abc import Callable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from ..protocol.batch import BatchHeader
from .checkpoint import read_part
from .disk import Disk
from .errors import DiskFailed, Unreadable
from .offset_index import ENTRY_SIZE as OFFSET_ENTRY_SIZE
from .offset_index import SUFFIX as OFFSET_INDEX_SUFFIX
from .offset_index import OffsetEntry, OffsetIndex
from .time_index import ENTRY_SIZE as TIME_ENTRY_SIZE
from .time_index import NO_TIMESTAMP, NOTHING, TimeEntry, TimeIndex
from .time_index import SUFFIX as TIME_INDEX_SUFFIX

ENTRIES_READ: Final = 4096
"""At once."""

E = TypeVar("E", OffsetEntry, TimeEntry)


class Fault(NamedTuple):
    """What is wrong with an index, and in which bytes of its file."""

    path: str
    begin: int
    end: int
    reason: str


class IndexCheck:
    """Takes the batches of a segment in order, and holds each against the entries that are due."""

    def __init__(self, disk: Disk, stem: str, base_offset: int) -> None:
        """`stem` is the segment's path without a suffix."""
        self._offsets = _Entries(
            *(disk, stem + OFFSET_INDEX_SUFFIX, OFFSET_ENTRY_SIZE),
            decode=lambda data: OffsetIndex.decode(data, base_offset),
        )
        self._times = _Entries(
            *(disk, stem + TIME_INDEX_SUFFIX, TIME_ENTRY_SIZE),
            decode=lambda data: TimeIndex.decode(data, base_offset),
        )
        self._greatest = NOTHING

    def add(self, position: int, header: BatchHeader) -> None:
        """The next batch."""
        offsets, times = self._offsets, self._times
        while offsets.due is not None and offsets.due.position <= position:
            offsets.hold_against(OffsetEntry(header.last_offset, position))
        if header.max_timestamp > self._greatest.timestamp:
            self._greatest = TimeEntry(header.max_timestamp, header.last_offset)
        while times.due is not None and times.due.last_offset <= header.last_offset:
            times.hold_against(self._greatest)

    def faults(self) -> Iterator[Fault]:
        """What is wrong first in each file, once the last batch was seen."""
        self._offsets.hold_against(None)
        self._times.hold_against(None)
        if self._greatest.timestamp != NO_TIMESTAMP and self._times.last != self._greatest:
            self._times.ends_early(f"the last entry is not the greatest timestamp, {_told(self._greatest)}")
        for entries in (self._offsets, self._times):
            if entries.fault is not None:
                yield entries.fault


class _Entries(Generic[E]):
    """The entries of one file up to its first fault, read a few at a time: it may be of any size."""

    def __init__(self, disk: Disk, path: str, entry_size: int, *, decode: Callable[[bytes], list[E]]) -> None:
        self.due: E | None = None
        """The next one; None at the end, or behind a fault."""
        self.last: E | None = None
        """The last one that was true."""
        self.fault: Fault | None = None
        self._disk, self._path, self._entry_size = disk, path, entry_size
        self._decode: Callable[[bytes], list[E]] = decode
        self._number = 0
        """Of the one that is due."""
        self._read: Iterator[E] = iter(())
        self._size = 0
        if not disk.exists(path):
            self._find(0, 0, "missing")
            return
        try:
            self._size = disk.size(path)
        except DiskFailed as error:
            self._find(0, 0, error.reason)
            return
        rest = self._size % entry_size
        if rest:
            self._find(self._size - rest, self._size, f"the last entry has {rest} bytes")
        else:
            self._go_on()

    def hold_against(self, true: E | None) -> None:
        """The one that is due, if there is one, must be this one."""
        if self.due is None:
            return
        if self.due == true:
            self.last = self.due
            self._number += 1
            self._go_on()
        else:
            begin = self._number * self._entry_size
            self._find(begin, begin + self._entry_size, f"no batch is as {_told(self.due)}")

    def ends_early(self, reason: str) -> None:
        """There should be more of them."""
        self._find(self._size, self._size, reason)

    def _find(self, begin: int, end: int, reason: str) -> None:
        self.due = None
        if self.fault is None:
            self.fault = Fault(self._path, begin, end, reason)

    def _go_on(self) -> None:
        begin = self._number * self._entry_size
        self.due = next(self._read, None)
        if self.due is None and begin < self._size:
            try:
                data = read_part(self._disk, self._path, begin, self._entry_size * ENTRIES_READ)
            except Unreadable as error:
                self._find(error.damage.position, error.damage.end or self._size, error.reason)
                return
            except DiskFailed as error:
                self._find(begin, self._size, error.reason)
                return
            self._read = iter(self._decode(data[: len(data) - len(data) % self._entry_size]))
            self.due = next(self._read, None)


def _told(entry: OffsetEntry | TimeEntry) -> str:
    return ", ".join(f"{name} {value}" for name, value in entry._asdict().items())
