"""Reading a segment from end to end: what is sound gets a digest, what is not is named to the byte."""

import errno
import logging
import os
from pathlib import Path

import pytest

from support.builders import a_batch, some_value, with_header
from support.disk import SimulatedDisk
from tidelog.protocol.batch import read_header, write_header
from tidelog.storage.config import LogConfig
from tidelog.storage.digests import BLOCK_SIZE, Digest, read_digest
from tidelog.storage.disk import Disk, RealDisk
from tidelog.storage.errors import CorruptLog, DiskFailed, OutOfMemory, Unreadable
from tidelog.storage.handles import Handles
from tidelog.storage.inspection import SLICE_SIZE, Inspection
from tidelog.storage.leader_epochs import EpochStart, LeaderEpochs
from tidelog.storage.segment import Boundary, Room, Segment

BASE = 1000
BATCH_SIZE = len(a_batch([some_value(0, 10_000)]))
COUNT = 100
PATH = "t-0/00000000000000001000.log"
DIGEST = "t-0/00000000000000001000.digest"
EPOCHS = [EpochStart(0, 0), EpochStart(3, BASE + 50)]


def a_segment(disk: Disk, count: int = COUNT) -> Segment:
    """A sealed one of about a megabyte, one record a batch; the second half of it is of another leader epoch."""
    disk.make_directory("t-0")
    file = disk.open(PATH, create=True)
    for number in range(count):
        epoch = 0 if number < 50 else 3
        file.append([a_batch([some_value(number, 10_000)], base_offset=BASE + number, leader_epoch=epoch)])
    file.close()
    return loaded(disk, count)


def loaded(disk: Disk, count: int = COUNT) -> Segment:
    room = Room(disk, "t-0", LogConfig(), Handles(4), LeaderEpochs(disk, "t-0", EPOCHS))
    return Segment.load(room, BASE, next_offset=BASE + count)


def an_inspection(disk: Disk, segment: Segment, *, end: Boundary | None = None) -> Inspection:
    whole = Boundary(segment.size, segment.next_offset)
    return Inspection(disk, segment, end=end or whole, epochs=LeaderEpochs(disk, "t-0", EPOCHS), is_sealed=end is None)


def steps(inspection: Inspection) -> int:
    """Read all of it; in how many steps."""
    inspection.begin()
    count = 1
    while inspection.step():
        count += 1
    return count


def with_digest(disk: Disk, segment: Segment, *, now_ms: int = 5) -> Digest:
    inspection = an_inspection(disk, segment)
    steps(inspection)
    digest = inspection.result(now_ms=now_ms)
    inspection.write(digest)
    inspection.publish()
    inspection.close()
    return digest


def damage_in(disk: Disk, segment: Segment) -> CorruptLog:
    inspection = an_inspection(disk, segment)
    with pytest.raises(CorruptLog) as caught:
        steps(inspection)
    inspection.close()
    assert caught.value.path == PATH
    return caught.value


@pytest.mark.parametrize("kind", ["real", "simulated"])
def test_what_is_sound_is_read_once_in_slices_and_gets_a_digest(kind: str, tmp_path: Path) -> None:
    disk: Disk = RealDisk(str(tmp_path)) if kind == "real" else SimulatedDisk()
    segment = a_segment(disk)
    inspection = an_inspection(disk, segment)
    slices = -(-segment.size // (SLICE_SIZE // BATCH_SIZE * BATCH_SIZE))
    assert steps(inspection) == slices + 1
    assert inspection.bytes_read == segment.size
    digest = inspection.result(now_ms=77)
    assert digest.describes(BASE, BASE + COUNT, segment.size)
    inspection.write(digest)
    assert not disk.exists(DIGEST), "that is for the owner to say"
    inspection.publish()
    assert read_digest(disk, DIGEST) == digest
    inspection.close()

    again = an_inspection(disk, segment)
    steps(again)
    assert again.old == digest
    assert again.differs(again.result(now_ms=99)) is None
    again.close()


def test_a_digest_that_has_its_name_is_whole_after_a_power_cut() -> None:
    """A1: temporary file, sync, rename. Whether it has its name is left to chance: else it is made again."""
    found = set()
    for seed in range(40):
        disk = SimulatedDisk(seed)
        segment = a_segment(disk, 3)
        digest = with_digest(disk, segment)
        disk.sync_directory("")
        disk.crash()
        if disk.exists(DIGEST):
            assert read_digest(disk, DIGEST) == digest
        found.add(disk.exists(DIGEST))
    assert found == {False, True}


def test_what_an_earlier_attempt_left_is_no_obstacle() -> None:
    disk = SimulatedDisk()
    segment = a_segment(disk, 3)
    disk.open(DIGEST + ".tmp", create=True).append([b"x" * 5000])
    assert read_digest(disk, DIGEST) is None
    assert with_digest(disk, segment) == read_digest(disk, DIGEST)


@pytest.mark.parametrize("has_digest", [False, True])
@pytest.mark.parametrize("position", [0, 7, 8, 11, 12, 15, 16, 17, 21, 60, 61, 9000])
def test_a_bit_that_flips_anywhere_in_a_batch_is_found(position: int, has_digest: bool) -> None:
    """A8: in the 17 bytes, too, that the checksum leaves out."""
    disk = SimulatedDisk()
    segment = a_segment(disk)
    if has_digest:
        with_digest(disk, segment)
    at = 40 * BATCH_SIZE + position
    disk.corrupt(PATH, at, bytes([disk.tree()[PATH][at] ^ 1]))
    damage = damage_in(disk, segment)
    assert damage.position == 40 * BATCH_SIZE
    if has_digest:
        assert damage.end == (at // BLOCK_SIZE + 1) * BLOCK_SIZE
    elif position not in (16, *range(8, 12)):
        assert damage.end == 41 * BATCH_SIZE


def test_an_epoch_that_is_not_the_logs_is_found_though_the_checksum_holds() -> None:
    disk = SimulatedDisk()
    segment = a_segment(disk)
    old = disk.tree()[PATH][60 * BATCH_SIZE : 61 * BATCH_SIZE]
    disk.corrupt(PATH, 60 * BATCH_SIZE, bytes(with_header(old, leader_epoch=0)))
    assert damage_in(disk, segment).position == 60 * BATCH_SIZE


def test_the_digest_knows_where_damage_ends_when_no_batch_does() -> None:
    """Three blocks of zeros: the next batch could begin anywhere."""
    disk = SimulatedDisk()
    segment = a_segment(disk)
    disk.corrupt(PATH, 5 * BLOCK_SIZE, bytes(3 * BLOCK_SIZE))
    first_bad = 5 * BLOCK_SIZE // BATCH_SIZE * BATCH_SIZE
    damage = damage_in(disk, segment)
    assert (damage.position, damage.end) == (first_bad, first_bad + BATCH_SIZE), "of the rest nothing is known"

    disk = SimulatedDisk()
    segment = a_segment(disk)
    with_digest(disk, segment)
    disk.corrupt(PATH, 5 * BLOCK_SIZE, bytes(3 * BLOCK_SIZE))
    damage = damage_in(disk, segment)
    assert (damage.position, damage.end) == (first_bad, 8 * BLOCK_SIZE)
    disk.corrupt(PATH, 5 * BLOCK_SIZE, bytes(segment.size - 5 * BLOCK_SIZE))
    assert damage_in(disk, segment).end == segment.size


def test_damage_that_the_digest_was_made_with_is_left_as_the_batch_tells_it() -> None:
    disk = SimulatedDisk()
    segment = a_segment(disk)
    with_digest(disk, segment)
    inspection = Inspection(
        disk,
        segment,
        end=Boundary(segment.size, segment.next_offset),
        epochs=LeaderEpochs(disk, "t-0", [EpochStart(0, 0)]),
        is_sealed=True,
    )
    with pytest.raises(CorruptLog, match="leader epoch") as caught:
        steps(inspection)
    assert (caught.value.position, caught.value.end) == (50 * BATCH_SIZE, 51 * BATCH_SIZE)


def test_bytes_that_are_missing_or_too_many_are_damage() -> None:
    """A8: truncated, or with something behind the end."""
    disk = SimulatedDisk()
    segment = a_segment(disk)
    disk.cut(PATH, segment.size - 1)
    damage = damage_in(disk, segment)
    assert (damage.position, damage.end) == (segment.size - 1, segment.size)
    disk.corrupt(PATH, segment.size - 1, b"ab")
    damage = damage_in(disk, segment)
    assert (damage.position, damage.end) == (segment.size, segment.size + 1)
    disk.remove(PATH)
    damage = damage_in(disk, segment)
    assert (damage.position, damage.end, damage.reason) == (0, segment.size, "missing")


def test_a_segment_that_lost_its_last_batches_and_shows_others_is_damaged() -> None:
    """Sound batches, one behind the other, and yet not those that were there."""
    disk = SimulatedDisk()
    segment = a_segment(disk)
    last = bytearray(disk.tree()[PATH][-BATCH_SIZE:])
    write_header(last, 0, read_header(last)._replace(last_offset_delta=1))
    disk.corrupt(PATH, segment.size - BATCH_SIZE, bytes(last))
    assert "end at offset 1101 instead of 1100" in damage_in(disk, segment).reason


def test_sound_batches_that_were_others_once_differ_from_the_digest() -> None:
    """A stale block, put back where it belonged: no checksum of a batch can tell."""
    disk = SimulatedDisk()
    segment = a_segment(disk)
    digest = with_digest(disk, segment)
    other = a_batch([some_value(7, 10_000)], base_offset=BASE + 40, leader_epoch=0)
    disk.corrupt(PATH, 40 * BATCH_SIZE, bytes(other))
    inspection = an_inspection(disk, segment)
    steps(inspection)
    difference = inspection.differs(inspection.result(now_ms=9))
    assert difference is not None
    block = 40 * BATCH_SIZE // BLOCK_SIZE
    assert (difference.position, difference.end) == (block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE)
    assert inspection.old == digest


@pytest.mark.parametrize("bad", [b"rot", None])
def test_a_digest_that_is_rotten_or_another_ones_says_nothing(
    bad: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    disk = SimulatedDisk()
    segment = a_segment(disk)
    with_digest(disk, segment)
    if bad is None:
        disk.cut(PATH, 99 * BATCH_SIZE)
        segment = loaded(disk, 99)
    else:
        disk.corrupt(DIGEST, 100, bad)
    inspection = an_inspection(disk, segment)
    steps(inspection)
    assert inspection.old is None
    assert inspection.differs(inspection.result(now_ms=9)) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_last_segment_is_read_as_far_as_it_is_durable_and_has_no_digest() -> None:
    disk = SimulatedDisk()
    segment = a_segment(disk)
    disk.corrupt(PATH, 60 * BATCH_SIZE + 70, b"not durable yet: still being written")
    inspection = an_inspection(disk, segment, end=Boundary(60 * BATCH_SIZE, BASE + 60))
    steps(inspection)
    assert inspection.bytes_read == 60 * BATCH_SIZE
    assert inspection.old is None
    inspection = an_inspection(disk, segment, end=Boundary(61 * BATCH_SIZE, BASE + 61))
    with pytest.raises(CorruptLog):
        steps(inspection)


def test_what_cannot_be_read_is_told_apart_from_what_is_wrong() -> None:
    """A6: a bad sector, or a path to the disk that is down for a moment: to be asked again decides."""
    disk = SimulatedDisk()
    segment = a_segment(disk)
    inspection = an_inspection(disk, segment)
    inspection.begin()
    assert inspection.step()
    assert inspection.step()
    disk.fail_next("read")
    disk.fail_next("read")
    with pytest.raises(Unreadable, match="EIO") as caught:
        inspection.step()
    begin, end = caught.value.damage.position, caught.value.damage.end
    assert end is not None
    assert SLICE_SIZE < begin <= 2 * SLICE_SIZE < end <= 3 * SLICE_SIZE


def test_want_of_memory_says_nothing_of_the_bytes() -> None:
    disk = SimulatedDisk()
    inspection = an_inspection(disk, a_segment(disk))
    inspection.begin()
    disk.fail_next("read", errno.ENOMEM)
    with pytest.raises(OutOfMemory):
        inspection.step()


def test_a_file_that_cannot_be_opened_says_nothing_of_its_bytes() -> None:
    disk = SimulatedDisk()
    segment = a_segment(disk)
    disk.fail_next("open")
    with pytest.raises(DiskFailed):
        an_inspection(disk, segment).begin()


def test_what_is_verified_again_is_read_past_the_cache_and_what_is_new_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rot on the disk does not show in memory; and the memory is for consumers."""
    dropped: list[tuple[int, int]] = []

    def advise(descriptor: int, position: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        dropped.append((position, size))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    disk = RealDisk(str(tmp_path))
    segment = a_segment(disk)
    with_digest(disk, segment)
    assert not dropped
    steps(an_inspection(disk, segment))
    assert dropped[0] == (0, segment.size), "before the first read"
    behind = 0
    for position, size in dropped[1:]:
        assert position == behind
        behind += size
    assert segment.size - SLICE_SIZE - BATCH_SIZE < behind <= segment.size
