"""The offset index: Kafka's bytes, and the nearest batch at or before an offset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.disk import SimulatedDisk
from tidelog.storage.errors import CorruptLog
from tidelog.storage.offset_index import OffsetEntry, OffsetIndex

BASE = 1 << 40


def an_index(disk: SimulatedDisk, entries: list[OffsetEntry]) -> OffsetIndex:
    index = OffsetIndex.create(disk, "i", BASE, size_max=1 << 20)
    index.append(entries)
    return index


def test_its_bytes_are_kafkas() -> None:
    """L-3: relative offset of the batch's last record, position; both i32, big endian."""
    disk = SimulatedDisk()
    index = an_index(disk, [OffsetEntry(BASE + 41, 4160), OffsetEntry(BASE + 1042, 0x7FFF0102)])
    index.entries.trim()
    assert disk.tree()["i"].hex() == "00000029" + "00001040" + "00000412" + "7fff0102"


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 5000)), min_size=1, max_size=50), st.integers(-10, 2500))
def test_lookup_finds_the_last_batch_that_ends_at_or_before_the_offset(steps: list[tuple[int, int]], at: int) -> None:
    entries, offset, position = [], BASE, 0
    for offsets, size in steps:
        offset, position = offset + offsets, position + size
        entries.append(OffsetEntry(offset, position))
    index = an_index(SimulatedDisk(), entries)
    assert index.lookup(BASE + at) == max((one for one in entries if one.last_offset <= BASE + at), default=None)
    assert index.at_position(at * 50) == max((one for one in entries if one.position <= at * 50), default=None)
    assert index.last == entries[-1]


def test_what_was_closed_can_be_loaded_and_appended_to() -> None:
    disk = SimulatedDisk()
    index = an_index(disk, [OffsetEntry(BASE + 4, 100)])
    index.entries.trim()
    index.entries.close()
    loaded = OffsetIndex.load(disk, "i", BASE, size_max=1 << 20)
    loaded.append([OffsetEntry(BASE + 9, 200)])
    assert loaded.lookup(BASE + 8) == OffsetEntry(BASE + 4, 100)
    assert loaded.lookup(BASE + 9) == OffsetEntry(BASE + 9, 200)
    loaded.clear()
    assert loaded.lookup(BASE + 9) is None
    assert loaded.last is None


@pytest.mark.parametrize("data", [b"\0" * 7, b"\0" * 4096, OffsetIndex.encode(OffsetEntry(5, 50), 0) + bytes(8)])
def test_what_was_not_closed_is_doubted(data: bytes) -> None:
    """A crash leaves zeros behind the entries."""
    disk = SimulatedDisk()
    disk.open("i", create=True).append([data])
    with pytest.raises(CorruptLog):
        OffsetIndex.load(disk, "i", 0, size_max=1 << 20)
