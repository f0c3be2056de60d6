"""A file of sorted entries: where they lie, and what becomes of a file that is not what it was."""

import errno
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.disk import SimulatedDisk
from tidelog.storage.disk import RealDisk
from tidelog.storage.errors import CorruptLog, DiskFull, OutOfDescriptors, OutOfMemory
from tidelog.storage.index import BLOCK_SIZE, SIZE_MAX, TAIL_SIZE, Entries, IndexedEntries

ENTRY = struct.Struct(">ii")
FIELD = struct.Struct(">i")
MANY = 4 * BLOCK_SIZE // 8
"""So many that a search reads entry by entry before it reads a block."""


def some_entries(disk: SimulatedDisk | RealDisk, count: int = 0, *, size_max: int = 1 << 20) -> Entries:
    """Written out; the n-th is (10 n, n)."""
    entries = Entries.create(disk, "i", entry_size=8, size_max=size_max)
    entries.append(b"".join(ENTRY.pack(10 * number, number) for number in range(count)))
    entries.write_out()
    return entries


@given(st.integers(0, 40) | st.integers(MANY - 3, MANY + 3), st.integers(0, 5), st.integers(-5, 10 * MANY + 50))
def test_the_last_entry_at_most_is_found_in_the_file_and_in_memory(written: int, more: int, value: int) -> None:
    entries = some_entries(SimulatedDisk(), written)
    entries.append(b"".join(ENTRY.pack(10 * number, number) for number in range(written, written + more)))
    assert entries.last_at_most(value, FIELD, 0) == min(max(-1, value // 10), written + more - 1)
    for number in {0, written - 1, written, entries.count - 1} & set(range(entries.count)):
        assert entries.get(number, ENTRY) == (10 * number, number)
    if entries.count:
        assert entries.get(-1, ENTRY)[1] == entries.count - 1


def test_entries_are_kept_in_memory_until_they_are_worth_a_write() -> None:
    disk = SimulatedDisk()
    entries = some_entries(disk)
    while not entries.is_write_due:
        entries.append(ENTRY.pack(10 * entries.count, entries.count))
        assert entries.count * 8 <= TAIL_SIZE
    before = disk.calls
    entries.write_out()
    entries.write_out()
    assert disk.calls == before + 1
    assert (disk.size("i"), entries.is_write_due) == (entries.count * 8, False)


def test_what_finds_no_space_is_still_there_and_written_later() -> None:
    disk = SimulatedDisk()
    entries = some_entries(disk, 2)
    entries.append(ENTRY.pack(20, 2))
    disk.full(0)
    with pytest.raises(DiskFull):
        entries.trim()
    assert entries.get(-1, ENTRY) == (20, 2)
    disk.full(None)
    entries.trim()
    assert disk.tree()["i"] == b"".join(ENTRY.pack(10 * number, number) for number in range(3))


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4])
def test_what_is_cut_is_gone_wherever_it_was(kept: int) -> None:
    disk = SimulatedDisk()
    entries = some_entries(disk, 2)
    entries.append(ENTRY.pack(20, 2) + ENTRY.pack(30, 3))
    entries.cut(kept)
    entries.append(ENTRY.pack(70, 7))
    entries.trim()
    wanted = [*((10 * number, number) for number in range(kept)), (70, 7)]
    assert disk.tree()["i"] == b"".join(ENTRY.pack(*entry) for entry in wanted)
    known = entries.known()
    assert Entries.resume(disk, "i", known, entry_size=8, size_max=1 << 20).count == kept + 1


def test_its_capacity_is_a_whole_number_of_entries() -> None:
    assert some_entries(SimulatedDisk(), size_max=8 * 700 + 5).capacity == 700


def test_only_the_entries_that_a_checkpoint_knows_are_resumed() -> None:
    """L-9: a file that is missing, too short, or holds others is doubted; what follows them counts no more."""
    disk = SimulatedDisk()
    entries = some_entries(disk, 2)
    known = entries.known()
    entries.append(b"entry 3.")
    entries.write_out()
    entries.close()
    resumed = Entries.resume(disk, "i", known, entry_size=8, size_max=1 << 20)
    assert (resumed.count, resumed.known()) == (2, known)
    resumed.append(b"another.")
    resumed.trim()
    assert disk.tree()["i"][16:] == b"another."
    resumed.close()
    for path, wrong in (
        ("missing", known),
        ("i", IndexedEntries(2, known.crc ^ 1)),
        ("i", IndexedEntries(3, known.crc)),
        ("i", IndexedEntries(1 << 20, known.crc)),
    ):
        with pytest.raises(CorruptLog):
            Entries.resume(disk, path, wrong, entry_size=8, size_max=1 << 20)


def test_a_checkpoint_vouches_for_what_was_written_not_for_what_somebody_made_of_it() -> None:
    disk = SimulatedDisk()
    entries = some_entries(disk, 3)
    disk.cut("i", 8)
    entries.append(ENTRY.pack(30, 3))
    entries.write_out()
    known = entries.known()
    with pytest.raises(CorruptLog):
        Entries.resume(disk, "i", known, entry_size=8, size_max=1 << 20)


@pytest.mark.parametrize("count", [1, 2 * BLOCK_SIZE])
def test_a_file_that_was_cut_short_is_doubted_and_nobody_dies_of_it(tmp_path: Path, count: int) -> None:
    """Were it mapped, looking into it would end the process."""
    entries = some_entries(RealDisk(str(tmp_path)), count)
    os.truncate(tmp_path / "i", 4)
    for look in (
        lambda: entries.get(0, ENTRY),
        lambda: entries.get(-1, ENTRY),
        lambda: entries.last_at_most(0, FIELD, 0),
    ):
        with pytest.raises(CorruptLog, match="ends before entry"):
            look()


def test_bytes_that_cannot_be_read_are_doubted_unless_that_says_nothing_of_them() -> None:
    disk = SimulatedDisk()
    entries = some_entries(disk, 5)
    disk.fail_next("read", errno.EIO)
    with pytest.raises(CorruptLog, match="from 0 to 8"):
        entries.get(0, ENTRY)
    disk.fail_next("read", errno.ENOMEM)
    with pytest.raises(OutOfMemory):
        entries.get(0, ENTRY)
    assert entries.get(0, ENTRY) == (0, 0)


def test_a_file_that_cannot_be_opened_is_doubted_unless_that_says_nothing_of_it() -> None:
    disk = SimulatedDisk()
    some_entries(disk, 5).close()
    disk.fail_next("open", errno.EIO)
    with pytest.raises(CorruptLog, match="cannot be opened"):
        Entries.load(disk, "i", entry_size=8, size_max=80)
    disk.fail_next("open", errno.EMFILE)
    with pytest.raises(OutOfDescriptors):
        Entries.load(disk, "i", entry_size=8, size_max=80)
    with pytest.raises(CorruptLog, match="missing"):
        Entries.load(disk, "j", entry_size=8, size_max=80)
    assert Entries.load(disk, "i", entry_size=8, size_max=80).count == 5


@pytest.mark.parametrize("size", [7, SIZE_MAX + 8, 10 << 30])
def test_a_file_of_a_size_that_none_of_ours_has_is_doubted(tmp_path: Path, size: int) -> None:
    """However large it is, nothing of it is read, nor is any space taken for it."""
    (tmp_path / "i").touch()
    os.truncate(tmp_path / "i", size)
    with pytest.raises(CorruptLog, match=f"no index has {size} bytes"):
        Entries.load(RealDisk(str(tmp_path)), "i", entry_size=8, size_max=80)
    assert os.stat(tmp_path / "i").st_blocks == 0


def test_what_was_synced_survives_a_power_cut() -> None:
    """A1."""
    for seed in range(20):
        disk = SimulatedDisk(seed)
        entries = some_entries(disk)
        disk.sync_directory("")
        entries.append(b"entry 1.")
        entries.write_out()
        entries.sync()
        disk.crash()
        assert disk.tree()["i"] == b"entry 1."
