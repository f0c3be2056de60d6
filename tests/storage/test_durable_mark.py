"""The durable mark: never higher than what was written, and not lost by a torn write."""

import pytest

from support.disk import PowerCut, SimulatedDisk
from tidelog.storage.disk import Disk
from tidelog.storage.durable_mark import SLOT_DISTANCE, DurableMark, decode_slot, encode_slot


def a_disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    disk.open("t-0/durable-mark", create=True).close()
    disk.sync_directory("t-0")
    disk.sync_directory("")
    return disk


def read(disk: Disk) -> int | None:
    return DurableMark.read(disk, "t-0").offset


def test_the_layout_is_the_one_that_is_documented() -> None:
    disk = a_disk()
    mark = DurableMark(disk, "t-0")
    mark.write(5)
    mark.write(0x0102030405060708)
    data = disk.tree()["t-0/durable-mark"]
    assert len(data) == SLOT_DISTANCE + 20
    assert data[:20].hex() == "0000000000000002" + "0102030405060708" + "6540ed80"
    assert data[20:SLOT_DISTANCE] == bytes(SLOT_DISTANCE - 20)
    assert data[SLOT_DISTANCE:] == encode_slot(1, 5)


def test_the_last_one_written_counts_in_the_next_life_too() -> None:
    disk = a_disk()
    assert read(disk) is None
    for offset in (0, 7, 7, 900, 12):
        DurableMark.read(disk, "t-0").write(offset)
        disk.crash()
        assert read(disk) == offset


@pytest.mark.parametrize("seed", range(100))
def test_a_power_cut_leaves_the_old_mark_or_the_new_one(seed: int) -> None:
    disk = a_disk()
    disk.rng.seed(seed)
    mark = DurableMark(disk, "t-0")
    for offset in range(10, 10 + seed % 5):
        mark.write(offset)
    before = mark.offset
    disk.crash_at(1 + seed % 2 if mark.offset is not None else 1 + seed % 3)
    with pytest.raises(PowerCut):
        mark.write(99)
    disk.crash()
    assert read(disk) in {before, 99}


def test_no_flipped_bit_moves_the_mark_forward() -> None:
    """A8."""
    disk = a_disk()
    mark = DurableMark(disk, "t-0")
    for offset in (100, 200):
        mark.write(offset)
    data = disk.tree()["t-0/durable-mark"]
    for position in (*range(20), *range(SLOT_DISTANCE, SLOT_DISTANCE + 20)):
        for bit in range(8):
            disk.corrupt("t-0/durable-mark", position, bytes([data[position] ^ (1 << bit)]))
            assert read(disk) == (100 if position < 20 else 200)
        disk.corrupt("t-0/durable-mark", position, data[position : position + 1])


def test_a_slot_is_whole_or_none() -> None:
    slot = encode_slot(3, 4)
    assert decode_slot(slot) == (3, 4)
    assert [decode_slot(slot[:size]) for size in range(20)] == [None] * 20
    assert decode_slot(bytes(20)) is None


def test_it_is_not_written_if_that_is_no_longer_wanted() -> None:
    disk = a_disk()
    mark = DurableMark(disk, "t-0")
    mark.write(1)
    mark.write(2, unless=lambda: True)
    assert (mark.offset, read(disk)) == (1, 1)
