"""The durable mark: never higher than what was written, and not lost by a torn write."""

from contextlib import suppress
from dataclasses import replace

import pytest
from crc32c import crc32c

from support.disk import PowerCut, SimulatedDisk
from tidelog.storage.disk import Disk
from tidelog.storage.durable_mark import (
    SLOT_DISTANCE,
    SLOT_SIZE,
    Checkpoint,
    DurableMark,
    Slot,
    decode_slot,
    encode_slot,
)
from tidelog.storage.index import IndexedEntries
from tidelog.storage.leader_epochs import KnownEpochs
from tidelog.storage.time_index import TimeEntry

CHECKPOINT = Checkpoint(
    base_offset=100,
    offset=150,
    position=4711,
    greatest=TimeEntry(1_700_000_000_000, 149),
    offset_entries=IndexedEntries(3, 0xAABBCCDD),
    time_entries=IndexedEntries(2, 0x11223344),
    has_producers=True,
)
EPOCHS = KnownEpochs(7, 0xDEADBEEF)


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
    mark.write(0x0102030405060708, CHECKPOINT, epochs=EPOCHS)
    data = disk.tree()["t-0/durable-mark"]
    assert len(data) == SLOT_DISTANCE + 88
    assert data[:88].hex(" ", -8) == (
        "0000000000000002 0102030405060708 0000000000000064 0000000000000096 0000000000001267 0000018bcfe56800 "
        "0000000000000095 00000003aabbccdd 0000000211223344 0000000100000007 deadbeef2ec1a929"
    )
    assert data[88:SLOT_DISTANCE] == bytes(SLOT_DISTANCE - 88)
    assert data[SLOT_DISTANCE:] == encode_slot(Slot(1, 5))
    assert data[SLOT_DISTANCE:][:84].hex() == (
        "0000000000000001" + "0000000000000005" + "ff" * 8 + "00" * 52 + "ffffffff" + "00" * 4
    )
    mark = DurableMark.read(disk, "t-0")
    assert (mark.offset, mark.checkpoint, mark.epochs) == (0x0102030405060708, CHECKPOINT, EPOCHS)


def test_the_last_one_written_counts_in_the_next_life_too() -> None:
    disk = a_disk()
    assert read(disk) is None
    for offset in (0, 7, 7, 900, 901):
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
    for position in (*range(SLOT_SIZE), *range(SLOT_DISTANCE, SLOT_DISTANCE + SLOT_SIZE)):
        for bit in range(8):
            disk.corrupt("t-0/durable-mark", position, bytes([data[position] ^ (1 << bit)]))
            assert read(disk) == (100 if position < SLOT_SIZE else 200)
        disk.corrupt("t-0/durable-mark", position, data[position : position + 1])


def test_a_slot_is_whole_or_none() -> None:
    for slot in (
        Slot(3, 4),
        Slot(3, 150, CHECKPOINT, EPOCHS),
        Slot(1, 2**63 - 1, replace(CHECKPOINT, has_producers=False), KnownEpochs(0, 0)),
    ):
        data = encode_slot(slot)
        assert decode_slot(data) == slot
        assert [decode_slot(data[:size]) for size in range(SLOT_SIZE)] == [None] * SLOT_SIZE
    assert decode_slot(bytes(SLOT_SIZE)) is None


@pytest.mark.parametrize(
    "slot",
    [
        Slot(0, 150),
        Slot(1, -1),
        Slot(1, 150, None, KnownEpochs(-2, 0)),
        Slot(1, 150, replace(CHECKPOINT, base_offset=-2)),
        Slot(1, 150, replace(CHECKPOINT, position=-1)),
    ],
)
def test_a_slot_that_nobody_would_write_is_none(slot: Slot) -> None:
    assert decode_slot(encode_slot(slot)) is None


def test_a_mark_of_the_time_before_checkpoints_cannot_be_read() -> None:
    """So everything is read, and nothing cut."""
    disk = a_disk()
    old = (1).to_bytes(8, "big") + (7).to_bytes(8, "big")
    file = disk.open("t-0/durable-mark")
    file.write(0, bytes(SLOT_DISTANCE) + old + crc32c(old).to_bytes(4, "big"))
    assert read(disk) is None
    DurableMark.read(disk, "t-0").write(9)
    assert read(disk) == 9


def test_it_is_not_written_if_that_is_no_longer_wanted() -> None:
    disk = a_disk()
    mark = DurableMark(disk, "t-0")
    mark.write(1)
    mark.write(2, unless=lambda: True)
    assert (mark.offset, read(disk)) == (1, 1)


def test_an_older_mark_does_not_follow_a_newer_one() -> None:
    """The pool and the loop both write it, and one of them may be late: a clean stop must find its own."""
    disk = a_disk()
    mark = DurableMark.read(disk, "t-0")
    mark.write(8, epochs=EPOCHS)
    mark.write(3, epochs=KnownEpochs(1, 1))
    assert (mark.offset, mark.epochs) == (8, EPOCHS)
    assert DurableMark.read(disk, "t-0").offset == 8


def test_it_says_of_no_leader_epochs_what_it_said_before() -> None:
    disk = a_disk()
    DurableMark.read(disk, "t-0").write(1, epochs=EPOCHS)
    DurableMark.read(disk, "t-0").write(2)
    assert DurableMark.read(disk, "t-0").epochs == EPOCHS


def test_it_is_whole_when_both_slots_can_be_read_and_belong_together() -> None:
    """A8: else the one that is missing may be the newer one."""
    disk = a_disk()
    mark = DurableMark.read(disk, "t-0")
    assert not mark.is_whole
    mark.write(1)
    assert not DurableMark.read(disk, "t-0").is_whole
    mark.write(2)
    mark.write(3)
    whole = disk.tree()["t-0/durable-mark"]
    for at in (0, SLOT_DISTANCE):
        for rot in (b"rot", bytes(SLOT_SIZE), encode_slot(Slot(9, 1))):
            assert DurableMark.read(disk, "t-0").is_whole
            disk.corrupt("t-0/durable-mark", at, rot)
            assert not DurableMark.read(disk, "t-0").is_whole
            disk.corrupt("t-0/durable-mark", at, whole[at : at + SLOT_SIZE])


def four_times(disk: SimulatedDisk) -> bytes:
    """The newest one stands at the beginning."""
    mark = DurableMark.read(disk, "t-0")
    for offset in (10, 20, 30, 40):
        mark.write(offset)
    return disk.tree()["t-0/durable-mark"]


@pytest.mark.parametrize(("at", "left"), [(0, 30), (SLOT_DISTANCE, 40)])
def test_a_slot_that_the_disk_does_not_give_costs_no_other_and_may_be_the_newer_one(at: int, left: int) -> None:
    """A6, A8: not even a power cut makes a torn tail of what is bad then; the next mark goes over it."""
    disk = a_disk()
    four_times(disk)
    assert DurableMark.read(disk, "t-0").may_cut(was_closed=False)
    disk.spoil("t-0/durable-mark", at, at + 1)
    mark = DurableMark.read(disk, "t-0")
    assert mark.offset == left
    assert not mark.may_cut(was_closed=False)
    mark.write(50)
    disk.spoil("t-0/durable-mark", 0, 0)
    mark = DurableMark.read(disk, "t-0")
    assert mark.offset == 50
    assert mark.may_cut(was_closed=True)


def test_a_mark_that_could_not_be_read_never_comes_back() -> None:
    """House rule 1.6: else the next start would take for a torn tail what was safe since."""
    disk = a_disk()
    old = four_times(disk)
    disk.spoil("t-0/durable-mark", 0, SLOT_DISTANCE + 1)
    mark = DurableMark.read(disk, "t-0")
    assert mark.offset is None
    mark.write(100)
    disk.spoil("t-0/durable-mark", 0, 0)
    new = disk.tree()["t-0/durable-mark"]
    assert new == bytes(SLOT_DISTANCE) + encode_slot(Slot(1, 100))
    assert len(new) == len(old)
    assert DurableMark.read(disk, "t-0").offset == 100
    disk.crash()
    assert disk.tree()["t-0/durable-mark"] == new


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("call", range(1, 7))
def test_a_power_cut_while_a_new_file_takes_its_place_leaves_the_old_one_or_the_new(call: int, seed: int) -> None:
    disk = a_disk()
    disk.rng.seed(seed)
    old = four_times(disk)
    mark = DurableMark(disk, "t-0")
    disk.crash_at(call)
    with suppress(PowerCut):
        mark.write(100)
    disk.crash()
    assert disk.tree()["t-0/durable-mark"] in {old, bytes(SLOT_DISTANCE) + encode_slot(Slot(1, 100))}
