"""The time index: Kafka's bytes, and where to begin looking for a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.disk import SimulatedDisk
from tidelog.storage.errors import CorruptLog
from tidelog.storage.time_index import NOTHING, TimeEntry, TimeIndex

BASE = 1 << 40


def an_index(disk: SimulatedDisk, entries: list[TimeEntry]) -> TimeIndex:
    index = TimeIndex.create(disk, "i", BASE, size_max=1 << 20)
    for entry in entries:
        index.append(*entry)
    return index


def test_its_bytes_are_kafkas() -> None:
    """L-3: timestamp i64, relative offset i32; big endian."""
    disk = SimulatedDisk()
    index = an_index(disk, [TimeEntry(0x018BCFE56800, BASE + 41), TimeEntry(0x018BCFE56801, BASE + 1042)])
    index.entries.trim()
    assert disk.tree()["i"].hex() == "0000018bcfe56800" + "00000029" + "0000018bcfe56801" + "00000412"


def test_an_entry_is_added_only_if_the_time_grew() -> None:
    index = an_index(SimulatedDisk(), [TimeEntry(10, BASE), TimeEntry(10, BASE + 1), TimeEntry(9, BASE + 2)])
    assert index.entries.count == 1
    assert index.last == TimeEntry(10, BASE)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=50), st.integers(-1, 2600))
def test_lookups_find_the_last_entry_before_a_time_and_before_an_offset(steps: list[tuple[int, int]], at: int) -> None:
    entries, timestamp, offset = [], 0, BASE
    for milliseconds, offsets in steps:
        timestamp, offset = timestamp + milliseconds, offset + offsets
        entries.append(TimeEntry(timestamp, offset))
    index = an_index(SimulatedDisk(), entries)
    assert index.before_time(at) == max((one for one in entries if one.timestamp < at), default=NOTHING)
    assert index.before_offset(BASE + at) == max(
        (one for one in entries if one.last_offset < BASE + at), default=NOTHING
    )
    assert index.last == (entries[-1] if entries else NOTHING)


def test_what_was_closed_can_be_loaded_and_appended_to() -> None:
    disk = SimulatedDisk()
    index = an_index(disk, [TimeEntry(10, BASE + 4)])
    index.entries.trim()
    index.entries.close()
    loaded = TimeIndex.load(disk, "i", BASE, size_max=1 << 20)
    assert loaded.last == TimeEntry(10, BASE + 4)
    loaded.append(10, BASE + 5)
    loaded.append(11, BASE + 9)
    assert (loaded.entries.count, loaded.last) == (2, TimeEntry(11, BASE + 9))
    loaded.clear()
    assert loaded.last == NOTHING


@pytest.mark.parametrize("data", [b"\0" * 11, b"\0" * 4092, TimeIndex.encode(TimeEntry(5, 50), 0) + bytes(12)])
def test_what_was_not_closed_is_doubted(data: bytes) -> None:
    """A crash leaves zeros behind the entries."""
    disk = SimulatedDisk()
    disk.open("i", create=True).append([data])
    with pytest.raises(CorruptLog):
        TimeIndex.load(disk, "i", 0, size_max=1 << 20)


@pytest.mark.parametrize("second", [TimeEntry(10, BASE + 9), TimeEntry(20, BASE + 4)], ids=["time", "offset"])
def test_entries_that_are_not_in_order_are_not_believed(second: TimeEntry) -> None:
    """A8: one of the two is wrong."""
    index = TimeIndex.create(SimulatedDisk(), "i", BASE, size_max=1 << 20)
    for entry in (TimeEntry(10, BASE + 4), second, TimeEntry(30, BASE + 20)):
        index.entries.append(TimeIndex.encode(entry, BASE))
    with pytest.raises(CorruptLog, match="entries 0 and 1 are not in order"):
        index.before_offset(BASE + 5) if second.timestamp == 10 else index.before_time(15)
