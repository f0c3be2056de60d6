"""Mapped entries: found by bisection, allocated ahead, trimmed."""

import struct
from bisect import bisect_right
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.disk import SimulatedDisk
from tidelog.storage.disk import Disk, RealDisk
from tidelog.storage.errors import CorruptLog, DiskFull
from tidelog.storage.index import CHUNK_MAX, CHUNK_MIN, IndexedEntries, MappedEntries

ENTRY = struct.Struct(">ii")
FIELD = struct.Struct(">i")


def an_index(disk: Disk, *, size_max: int = 1 << 20) -> MappedEntries:
    return MappedEntries(disk.map("i", 0), entry_size=8, count=0, size_max=size_max)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=60), st.integers(-5, 210))
def test_the_last_entry_at_most_a_value_is_found_by_either_field(pairs: list[tuple[int, int]], value: int) -> None:
    firsts, seconds = sorted(one for one, _ in pairs), sorted(other for _, other in pairs)
    index = an_index(SimulatedDisk())
    index.reserve(len(pairs))
    index.append(b"".join(ENTRY.pack(*entry) for entry in zip(firsts, seconds, strict=True)))
    assert index.last_at_most(value, FIELD, 0) == bisect_right(firsts, value) - 1
    assert index.last_at_most(value, FIELD, 4) == bisect_right(seconds, value) - 1
    for number, entry in enumerate(zip(firsts, seconds, strict=True)):
        assert index.get(number, ENTRY) == entry
        assert index.get(number - len(pairs), ENTRY) == entry


@pytest.mark.parametrize("kind", ["real", "simulated"])
def test_it_grows_in_allocated_chunks_and_is_trimmed_to_its_entries(kind: str, tmp_path: Path) -> None:
    """L-3: no page without a block, and nothing but entries in a closed file."""
    disk: Disk = RealDisk(str(tmp_path)) if kind == "real" else SimulatedDisk()
    index = an_index(disk)
    sizes = set()
    for number in range(50_000):
        index.reserve(1)
        index.append(ENTRY.pack(number, number))
        sizes.add(disk.size("i")) if number % 500 == 0 else None
    assert min(sizes) == CHUNK_MIN
    assert max(later - earlier for earlier, later in zip(sorted(sizes), sorted(sizes)[1:], strict=False)) == CHUNK_MAX
    index.trim()
    assert disk.size("i") == 50_000 * 8
    index.reserve(1)
    index.append(ENTRY.pack(50_000, 50_000))
    assert index.get(-1, ENTRY) == (50_000, 50_000)
    assert index.last_at_most(49_000, FIELD, 0) == 49_000
    index.close()


def test_its_capacity_is_a_whole_number_of_entries_and_never_exceeded_by_what_is_allocated() -> None:
    disk = SimulatedDisk()
    index = an_index(disk, size_max=8 * 700 + 5)
    assert index.capacity == 700
    for number in range(700):
        index.reserve(1)
        index.append(ENTRY.pack(number, number))
    assert disk.size("i") == 8 * 700


def test_without_space_nothing_changes_and_what_was_reserved_still_fits() -> None:
    disk = SimulatedDisk()
    index = an_index(disk)
    index.reserve(CHUNK_MIN // 8)
    disk.full(0)
    for number in range(CHUNK_MIN // 8):
        index.append(ENTRY.pack(number, number))
    with pytest.raises(DiskFull):
        index.reserve(1)
    assert index.get(-1, ENTRY) == (511, 511)
    assert disk.size("i") == CHUNK_MIN


def test_only_the_entries_that_a_checkpoint_knows_are_resumed() -> None:
    """L-9: a file that is missing, too short, or holds others is doubted; what follows them counts no more."""
    disk = SimulatedDisk()
    entries = MappedEntries.create(disk, "i", entry_size=8, size_max=1 << 20)
    entries.reserve(3)
    entries.append(b"entry 1.entry 2.")
    known = entries.known()
    entries.append(b"entry 3.")
    entries.close()
    resumed = MappedEntries.resume(disk, "i", known, entry_size=8, size_max=1 << 20)
    assert resumed.count == 2
    resumed.close()
    for path, wrong in (
        ("missing", known),
        ("i", IndexedEntries(2, known.crc ^ 1)),
        ("i", IndexedEntries(3, known.crc)),
        ("i", IndexedEntries(1 << 20, known.crc)),
    ):
        with pytest.raises(CorruptLog):
            MappedEntries.resume(disk, path, wrong, entry_size=8, size_max=1 << 20)


def test_what_was_synced_survives_a_power_cut() -> None:
    """A1."""
    for seed in range(20):
        disk = SimulatedDisk(seed)
        entries = MappedEntries.create(disk, "i", entry_size=8, size_max=1 << 20)
        disk.sync_directory("")
        entries.reserve(1)
        entries.append(b"entry 1.")
        entries.sync()
        disk.crash()
        assert disk.tree()["i"].startswith(b"entry 1.")
