"""An index is true if there are batches as it says: however dense it was written, and whatever else lies in it not."""

import random

import pytest

from support.builders import BASE_TIMESTAMP, a_batch
from support.disk import SimulatedDisk
from tidelog.protocol.batch import BatchHeader, read_header
from tidelog.storage.index_check import Fault, IndexCheck
from tidelog.storage.segment_indexes import Tally, replace_indexes

STEM = f"t-0/{50:020d}"


def batches(seed: int, count: int = 30) -> list[tuple[int, BatchHeader]]:
    """With times that go up and down, and some that have none."""
    rng, position, offset, found = random.Random(seed), 0, 50, []
    for _ in range(count):
        timestamp = rng.choice([-1, BASE_TIMESTAMP + rng.randrange(1000)])
        values = [b"x"] * rng.randint(1, 4)
        batch = a_batch(values, base_offset=offset, base_timestamp=timestamp, timestamp_step=0)
        found.append((position, read_header(batch)))
        position, offset = position + len(batch), offset + len(values)
    return found


def indexed(seed: int, interval: int) -> SimulatedDisk:
    disk, tally = SimulatedDisk(), Tally(interval)
    disk.make_directory("t-0")
    for position, header in batches(seed):
        tally.add(position, header.size, header.last_offset, header.max_timestamp)
    replace_indexes(disk, STEM, 50, tally)
    return disk


def faults(disk: SimulatedDisk, seed: int) -> list[Fault]:
    check = IndexCheck(disk, STEM, 50)
    for position, header in batches(seed):
        check.add(position, header)
    return list(check.faults())


@pytest.mark.parametrize("interval", [0, 100, 500, 1 << 20])
@pytest.mark.parametrize("seed", range(20))
def test_what_the_storage_writes_is_true_at_any_interval(seed: int, interval: int) -> None:
    """L-3."""
    assert faults(indexed(seed, interval), seed) == []


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_a_changed_entry_is_named_by_its_bytes(suffix: str) -> None:
    disk = indexed(3, 100)
    entry_size = 8 if suffix == ".index" else 12
    for position in range(disk.size(STEM + suffix)):
        old = disk.tree()[STEM + suffix][position]
        disk.corrupt(STEM + suffix, position, bytes([old ^ 0x10]))
        [fault] = faults(disk, 3)
        begin = position - position % entry_size
        assert (fault.path, fault.begin, fault.end) == (STEM + suffix, begin, begin + entry_size)
        disk.corrupt(STEM + suffix, position, bytes([old]))


def test_a_missing_file_and_a_part_of_an_entry_are_told() -> None:
    disk = indexed(3, 100)
    disk.remove(STEM + ".index")
    size = disk.size(STEM + ".timeindex")
    disk.cut(STEM + ".timeindex", size - 1)
    assert faults(disk, 3) == [
        Fault(STEM + ".index", 0, 0, "missing"),
        Fault(STEM + ".timeindex", size - 12, size - 1, "the last entry has 11 bytes"),
    ]
    disk.cut(STEM + ".timeindex", size - 12)
    assert [(fault.begin, fault.end) for fault in faults(disk, 3)] == [(0, 0), (size - 12, size - 12)]


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_of_a_file_of_any_size_no_more_is_read_than_is_true(suffix: str) -> None:
    """Else a file that somebody made of ten gigabytes of nothing would be looked through for hours."""
    disk = indexed(3, 100)
    entry_size, size = 8 if suffix == ".index" else 12, disk.size(STEM + suffix)
    disk.open(STEM + suffix).append([bytes(2_000_000 * entry_size)])
    disk.spoil(STEM + suffix, size + 100_000, 1 << 40)
    assert faults(disk, 3)[0][:3] == (STEM + suffix, size, size + entry_size)


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_entries_that_cannot_be_read_are_told(suffix: str) -> None:
    disk = indexed(3, 100)
    size = disk.size(STEM + suffix)
    disk.spoil(STEM + suffix, 0, size)
    [fault] = faults(disk, 3)
    assert (fault.path, fault.begin, fault.end >= size) == (STEM + suffix, 0, True)
