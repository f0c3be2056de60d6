"""The durable mark: never higher than what was written, and not lost by a torn write."""

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
