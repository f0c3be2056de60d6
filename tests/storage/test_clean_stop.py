"""A start after a clean stop: nothing is read, nothing cut. And what is derived has rotted: indexes, mark, epochs."""

from collections.abc import Sequence

import pytest

from support.builders import a_batch
from support.data_directory import TOPIC_ID
from support.disk import SimulatedDisk, SimulatedFile
from support.logs import append, flush
from tidelog.storage.config import LogConfig
from tidelog.storage.durable_mark import SLOT_DISTANCE
from tidelog.storage.errors import CorruptLog
from tidelog.storage.leader_epochs import EpochStart
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

CONFIG = LogConfig(index_interval_bytes=100)
TIMES = (3, 9, 7, 40, 12, 30, 8, 20, 11, 5)
"""The greatest stands neither in the first batch nor in the last ones."""
MARK, LOG = "t-0/durable-mark", "t-0/00000000000000000000"
OLDER_MARK = 4
"""Offset, and batches below it."""
EPOCHS = "t-0/leader-epoch-checkpoint"


def opened(disk: SimulatedDisk) -> tuple[LogDirectory, Log]:
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    if directory.has_log("t", 0):
        return directory, directory.open_log("t", 0, CONFIG, now_ms=0)
    return directory, directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0)


def write(log: Log, times: Sequence[int]) -> None:
    for time in times:
        append(log, bytes(a_batch([b"x" * 60], base_timestamp=time)))
    flush(log)


def a_disk(*, closed: bool = True) -> SimulatedDisk:
    """One segment with a batch for each of the times. Of the mark, the slot at 0 says `OLDER_MARK`."""
    disk = SimulatedDisk()
    directory, log = opened(disk)
    write(log, TIMES[:OLDER_MARK])
    log.write_mark()
    write(log, TIMES[OLDER_MARK:])
    if closed:
        log.close()
        directory.close()
    else:
        log.write_mark()
    disk.kill()
    return disk


def batches(log: Log) -> bytes:
    return bytes(log.read(0, size_max=1 << 20, up_to=log.end_offset, at_least_one=True).records)


def test_no_batch_is_read_but_the_first_ones_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """L-9: the checkpoint of a clean stop stands at the log's end."""
    disk, read = a_disk(), set()
    real = SimulatedFile.read

    def noted(file: SimulatedFile, position: int, size: int) -> bytes:
        if file.path == f"{LOG}.log":
            read.add((position, size))
        return real(file, position, size)

    monkeypatch.setattr(SimulatedFile, "read", noted)
    log = opened(disk)[1]
    assert (log.end_offset, log.recovered.is_clean) == (len(TIMES), True)
    assert read == {(0, 61)}


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize(("suffix", "entry_size"), [(".index", 8), (".timeindex", 12)])
def test_an_index_that_lost_its_last_entries_hides_no_record(suffix: str, entry_size: int, *, closed: bool) -> None:
    """A8, L-6: what is left of it is true, and yet not all."""
    size = len(a_disk().tree()[LOG + suffix])
    assert size >= 2 * entry_size
    for left in range(0, size, entry_size):
        disk = a_disk(closed=closed)
        disk.cut(LOG + suffix, left)
        log = opened(disk)[1]
        for time in range(max(TIMES) + 1):
            found = log.find_timestamp(time, up_to=len(TIMES))
            assert found is not None
            assert found.offset == next(offset for offset, at in enumerate(TIMES) if at >= time)
        assert log.find_timestamp(max(TIMES) + 1, up_to=len(TIMES)) is None


@pytest.mark.parametrize("rot", [b"rot", bytes(SLOT_DISTANCE // 8)], ids=["other bytes", "zeros"])
def test_the_newer_slot_of_the_mark_has_rotted_and_all_that_is_sound_stays(rot: bytes) -> None:
    """A8."""
    disk = a_disk()
    before = disk.tree()[f"{LOG}.log"]
    disk.corrupt(MARK, SLOT_DISTANCE, rot)
    directory, log = opened(disk)
    assert (log.end_offset, log.offline, log.leader_epoch) == (len(TIMES), False, 0)
    assert batches(log) == before
    log.close()
    directory.close()
    disk.kill()
    assert opened(disk)[1].recovered.is_clean


@pytest.mark.parametrize("rot", [b"rot", bytes(SLOT_DISTANCE // 8)], ids=["other bytes", "zeros"])
def test_what_the_older_slot_leaves_out_is_damage_and_no_torn_tail(rot: bytes) -> None:
    """House rule 1.6: a clean stop tears nothing. So nothing is cut, and somebody is told."""
    disk = a_disk()
    size = len(disk.tree()[f"{LOG}.log"]) // len(TIMES)
    disk.corrupt(MARK, SLOT_DISTANCE, rot)
    disk.corrupt(f"{LOG}.log", (OLDER_MARK + 2) * size + 70, b"rot")
    before = disk.tree()[f"{LOG}.log"]
    log = opened(disk)[1]
    assert isinstance(log.quarantined, CorruptLog)
    assert log.quarantined.position == (OLDER_MARK + 2) * size
    assert disk.tree()[f"{LOG}.log"] == before
    assert log.read(OLDER_MARK + 1, size_max=1, up_to=log.end_offset, at_least_one=True).next_offset == OLDER_MARK + 2


def test_a_log_that_is_shorter_than_the_older_slot_says_is_damaged() -> None:
    disk = a_disk()
    size = len(disk.tree()[f"{LOG}.log"]) // len(TIMES)
    disk.corrupt(MARK, SLOT_DISTANCE, b"rot")
    disk.cut(f"{LOG}.log", (OLDER_MARK - 1) * size)
    assert opened(disk)[1].quarantined is not None


# The leader epochs' file.


def a_disk_with_two_epochs(*, closed: bool) -> SimulatedDisk:
    """The second one begins with the last batch."""
    disk = a_disk(closed=False)
    file = disk.open(f"{LOG}.log")
    file.append([b"torn"])
    file.close()
    directory, log = opened(disk)
    assert log.leader_epoch == 1
    write(log, [6])
    if closed:
        log.close()
        directory.close()
    else:
        log.write_mark()
    disk.kill()
    return disk


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
def test_no_flipped_bit_of_the_leader_epochs_is_taken_for_damage_to_the_log(*, closed: bool) -> None:
    """A8, L-15: the mark knows what the file must be, and the batches what it was."""
    sound = a_disk_with_two_epochs(closed=closed).tree()
    assert sound[EPOCHS] == b"0\n2\n0 0\n1 10\n"
    for bit in range(8 * len(sound[EPOCHS])):
        disk = a_disk_with_two_epochs(closed=closed)
        disk.corrupt(EPOCHS, bit // 8, bytes([sound[EPOCHS][bit // 8] ^ (1 << bit % 8)]))
        log = opened(disk)[1]
        assert (log.end_offset, log.quarantined, log.recovered.truncated_bytes) == (11, None, 0)
        assert log.leader_epoch >= 1
        assert [log.leader_epochs.epoch_at(offset) for offset in (0, 9, 10)] == [0, 0, 1]
        assert batches(log) == sound[f"{LOG}.log"]
        disk.kill()
        assert opened(disk)[1].leader_epochs.entries == log.leader_epochs.entries, "known again for good"


def test_an_epoch_that_was_begun_behind_records_which_the_power_took_begins_where_they_did() -> None:
    """L-15: else what is written next would be of an epoch that is not yet due."""
    disk = SimulatedDisk()
    log = opened(disk)[1]
    write(log, TIMES[:OLDER_MARK])
    log.write_mark()
    write(log, TIMES[OLDER_MARK:])
    disk.kill()
    size = len(disk.tree()[f"{LOG}.log"]) // len(TIMES)
    disk.cut(f"{LOG}.log", 10 * size - 1)
    assert opened(disk)[1].leader_epochs.entries == [EpochStart(0, 0), EpochStart(1, 9)]
    disk.kill()
    disk.cut(f"{LOG}.log", 7 * size)
    log = opened(disk)[1]
    assert log.leader_epochs.entries == [EpochStart(0, 0), EpochStart(2, 7)]
    write(log, [1])
    disk.kill()
    log = opened(disk)[1]
    assert (log.end_offset, log.offline, log.recovered.truncated_bytes) == (8, False, 0)


def test_epochs_that_begin_behind_the_log_are_not_believed_if_the_mark_does_not_know_them_either() -> None:
    disk = a_disk()
    for at in (0, SLOT_DISTANCE):
        disk.corrupt(MARK, at, b"rot")
    disk.corrupt(EPOCHS, len(b"0\n1\n0 "), b"3")
    log = opened(disk)[1]
    assert (log.start_offset, log.end_offset, log.quarantined) == (0, len(TIMES), None)
    assert log.leader_epochs.epoch_at(0) == 0


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_a_batchs_leader_epoch_is_damage_still(bit: int, *, closed: bool) -> None:
    """A8: the checksum leaves it out, so the epochs' file alone knows; nothing but the mark makes anybody doubt it."""
    disk = a_disk_with_two_epochs(closed=closed)
    data = disk.tree()[f"{LOG}.log"]
    position = len(data) // 11 * 10
    disk.corrupt(f"{LOG}.log", position + 15, bytes([data[position + 15] ^ (1 << bit)]))
    log = opened(disk)[1]
    with pytest.raises(CorruptLog):
        log.read(10, size_max=1, up_to=11, at_least_one=True)


def test_no_beginning_is_missed_silently_when_nobody_knows_where_the_log_begins() -> None:
    """A8: the first segment is gone, and so is the file of the epochs, which says that there was one."""
    disk = SimulatedDisk()
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    config = LogConfig(segment_bytes=300)
    log = directory.create_log("t", 0, TOPIC_ID, config, now_ms=0)
    write(log, TIMES)
    assert log.segment_count > 2
    log.close()
    directory.close()
    disk.kill()
    disk.remove(f"{LOG}.log")
    disk.remove(EPOCHS)
    log = opened(disk)[1]
    assert log.quarantined is not None
    assert log.quarantined.path == f"{LOG}.log"
    assert (log.start_offset, log.end_offset) == (0, len(TIMES))
    assert not disk.exists(EPOCHS), "it would say that the log begins behind what is gone"
