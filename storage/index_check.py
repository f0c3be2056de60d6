"""Whether the two index files of a closed segment tell the truth about its batches.

Nothing is rebuilt for that, and no setting is needed: how densely an index is written is its own affair. An entry is
true if there is such a batch; and the time index must end with the segment's greatest timestamp.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ..protocol.batch import BatchHeader
from .checkpoint import read_file
from .disk import Disk
from .errors import CorruptLog
from .index import SIZE_MAX as INDEX_SIZE_MAX
from .offset_index import ENTRY_SIZE as OFFSET_ENTRY_SIZE
from .offset_index import SUFFIX as OFFSET_INDEX_SUFFIX
from .offset_index import OffsetEntry, OffsetIndex
from .time_index import ENTRY_SIZE as TIME_ENTRY_SIZE
from .time_index import NO_TIMESTAMP, NOTHING, TimeEntry, TimeIndex
from .time_index import SUFFIX as TIME_INDEX_SUFFIX


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
        self._offsets_path, self._times_path = stem + OFFSET_INDEX_SUFFIX, stem + TIME_INDEX_SUFFIX
        self._faults: dict[str, Fault] = {}
        """The first of each file."""
        self._offsets = OffsetIndex.decode(self._read(disk, self._offsets_path, OFFSET_ENTRY_SIZE), base_offset)
        self._times = TimeIndex.decode(self._read(disk, self._times_path, TIME_ENTRY_SIZE), base_offset)
        self._offset_number = self._time_number = 0
        """Of the entry that is due next."""
        self._greatest = NOTHING

    def add(self, position: int, header: BatchHeader) -> None:
        """The next batch."""
        number, entries = self._offset_number, self._offsets
        while number < len(entries) and entries[number].position <= position:
            entry = entries[number]
            if entry != OffsetEntry(header.last_offset, position):
                self._note(self._offsets_path, number, OFFSET_ENTRY_SIZE, f"no batch is as {_told(entry)}")
            number += 1
        self._offset_number = number
        if header.max_timestamp > self._greatest.timestamp:
            self._greatest = TimeEntry(header.max_timestamp, header.last_offset)
        number, times = self._time_number, self._times
        while number < len(times) and times[number].last_offset <= header.last_offset:
            if times[number] != self._greatest:
                self._note(self._times_path, number, TIME_ENTRY_SIZE, f"no batch is as {_told(times[number])}")
            number += 1
        self._time_number = number

    def faults(self) -> Iterator[Fault]:
        """What is wrong first in each file, once the last batch was seen."""
        if self._offset_number < len(self._offsets):
            entry = self._offsets[self._offset_number]
            self._note(self._offsets_path, self._offset_number, OFFSET_ENTRY_SIZE, f"no batch is as {_told(entry)}")
        if self._time_number < len(self._times):
            entry_of_time = self._times[self._time_number]
            reason = f"no batch is as {_told(entry_of_time)}"
            self._note(self._times_path, self._time_number, TIME_ENTRY_SIZE, reason)
        elif self._greatest.timestamp != NO_TIMESTAMP and self._times[-1:] != [self._greatest]:
            end = len(self._times) * TIME_ENTRY_SIZE
            reason = f"the last entry is not the greatest timestamp, {_told(self._greatest)}"
            self._add(Fault(self._times_path, end, end, reason))
        yield from self._faults.values()

    def _read(self, disk: Disk, path: str, entry_size: int) -> bytes:
        if not disk.exists(path):
            self._add(Fault(path, 0, 0, "missing"))
            return b""
        try:
            data = read_file(disk, path, size_max=INDEX_SIZE_MAX)
        except CorruptLog as error:
            self._add(Fault(path, error.position, error.end or error.position, error.reason))
            return b""
        whole = len(data) - len(data) % entry_size
        if whole < len(data):
            self._add(Fault(path, whole, len(data), f"the last entry has {len(data) - whole} bytes"))
        return data[:whole]

    def _note(self, path: str, number: int, entry_size: int, reason: str) -> None:
        self._add(Fault(path, number * entry_size, (number + 1) * entry_size, reason))

    def _add(self, fault: Fault) -> None:
        self._faults.setdefault(fault.path, fault)


def _told(entry: OffsetEntry | TimeEntry) -> str:
    return ", ".join(f"{name} {value}" for name, value in entry._asdict().items())
