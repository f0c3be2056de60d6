"""Recovery from a checkpoint: it reads what lies behind, nothing before, and all is as if nothing had happened."""

import errno
import random
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import a_batch, some_value, with_header
from support.disk import SimulatedDisk, SimulatedFile
from support.indexes import indexes, rebuilt
from tidelog.protocol.batch import HEADER_SIZE, check, read_header
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import Disk, File, RealDisk
from tidelog.storage.durable_mark import DurableMark
from tidelog.storage.errors import CorruptLog, DiskFailed, DiskFull, LogOffline
from tidelog.storage.flush import Flush
from tidelog.storage.log import CHECKPOINT_WORK, Log
from tidelog.storage.log_directory import LogDirectory
from tidelog.storage.segment_indexes import BATCH_WORK

INTERVAL_BYTES = 300
CONFIG = LogConfig(segment_bytes=16 * 1024, index_interval_bytes=INTERVAL_BYTES)
SMALL = LogConfig(segment_bytes=4096, index_interval_bytes=INTERVAL_BYTES)
BATCH_SIZE = 270
PRODUCER = 4000
FIRST = "t-0/" + 20 * "0"


def a_log(disk: Disk, config: LogConfig = CONFIG) -> Log:
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, UUID(int=7), config, now_ms=0)
    directory.release()
    return log


def reopened(disk: Disk, config: LogConfig = CONFIG) -> Log:
    """As after any stop but a clean one."""
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.open_log("t", 0, config, now_ms=0)
    directory.release()
    return log


def append(log: Log, numbers: Iterable[int], *, first_sequence: int | None = None) -> None:
    """Batches of one record; their times go up and down, the greatest ever further apart.

    With a sequence they are `PRODUCER`'s.
    """
    for count, number in enumerate(numbers):
        timestamp = 1000 + (number * 7919) % 101 * (number + 1)
        plain = a_batch([some_value(number, 200)], base_timestamp=timestamp)
        if first_sequence is not None:
            sequence = first_sequence + count
            plain = with_header(plain, producer_id=PRODUCER, producer_epoch=0, base_sequence=sequence)
        batch = memoryview(plain)
        log.append(batch, check(batch), now_ms=0)
        log.write_out()


def began(log: Log) -> Flush:
    flush = log.begin_flush()
    assert flush is not None
    return flush


def flush(log: Log) -> Flush:
    flush = began(log)
    flush.sync()
    log.end_flush(flush)
    return flush


def checkpoint(log: Log) -> None:
    log.checkpoint()
    flush(log)
    log.write_mark()


def read_all(log: Log) -> list[int]:
    """The numbers of the records, as a consumer gets them."""
    offset, found = log.start_offset, []
    while offset < log.end_offset:
        fetched = log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True)
        found.append(read_header(fetched.records).base_offset)
        offset = fetched.next_offset
    return found


class WatchedDisk(SimulatedDisk):
    """Remembers what was read of segments."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, int, int]] = []

    def open(self, path: str, *, create: bool = False) -> File:
        """See `Disk`."""
        return WatchedFile(self, path, self._opened("open", path, create=create))


class WatchedFile(SimulatedFile):
    """A file of such a disk."""

    def read(self, position: int, size: int) -> bytes:
        """See `File`."""
        data = super().read(position, size)
        assert isinstance(self._disk, WatchedDisk)
        if self.path.endswith(".log"):
            self._disk.reads.append((self.path, position, len(data)))
        return data


# What is read, and what is not


@pytest.mark.parametrize("beyond", [0, 1, 7])
def test_what_lies_before_the_checkpoint_is_not_read(beyond: int) -> None:
    """L-9: but for the header of the segment's first batch, which knows when the segment was begun."""
    disk = WatchedDisk()
    log = a_log(disk)
    append(log, range(90))
    assert log.segment_count == 2
    checkpoint(log)
    position = log.segments[-1].size
    append(log, range(90, 90 + beyond))
    disk.kill()
    disk.reads.clear()
    log = reopened(disk)
    assert log.end_offset == 90 + beyond
    inside = [read for read in disk.reads if read[1:] != (0, HEADER_SIZE)]
    assert {path for path, _, _ in inside} <= {log.segments[-1].path}
    assert all(at >= position for _, at, _ in inside)
    assert sum(size for _, at, size in inside if at == position) <= 2 * beyond * BATCH_SIZE
    assert read_all(log) == list(range(90 + beyond))


def test_before_the_first_checkpoint_all_of_the_last_segment_is_read() -> None:
    disk = WatchedDisk()
    log = a_log(disk)
    append(log, range(90))
    log.write_mark()
    disk.kill()
    disk.reads.clear()
    log = reopened(disk)
    assert sum(size for _, _, size in disk.reads) >= log.size


def test_a_roll_is_a_checkpoint_where_the_new_segment_begins() -> None:
    """Its flush makes the closed segment durable, and its indexes."""
    disk = WatchedDisk()
    log = a_log(disk)
    append(log, range(70))
    assert log.segment_count == 2
    flush(log)
    log.write_mark()
    mark = DurableMark.read(disk, "t-0").checkpoint
    assert mark is not None
    assert (mark.base_offset, mark.offset, mark.position) == (60, 60, 0)
    disk.kill()
    disk.reads.clear()
    log = reopened(disk)
    assert {path for path, _, _ in disk.reads} == {log.segments[-1].path}
    assert log.recovery_work == 10 * BATCH_SIZE


def test_where_the_mark_is_in_a_later_segment_than_the_checkpoint_reading_begins_there() -> None:
    """All below the mark is durable, indexes of closed segments included."""
    disk = WatchedDisk()
    log = a_log(disk)
    append(log, range(10))
    checkpoint(log)
    known = DurableMark.read(disk, "t-0").checkpoint
    append(log, range(10, 70))
    flush(log)
    log.write_mark()
    DurableMark.read(disk, "t-0").write(70, known)
    disk.kill()
    disk.reads.clear()
    log = reopened(disk)
    assert {path for path, _, _ in disk.reads} == {log.segments[-1].path}
    assert read_all(log) == list(range(70))


# As if nothing had happened


def spoil_indexes(disk: SimulatedDisk, rng: random.Random) -> None:
    """What a crash may do to the index files behind the entries of the checkpoint, and to those begun since."""
    mark = DurableMark.read(disk, "t-0").checkpoint
    assert mark is not None
    kept = {".index": mark.offset_entries.count * 8, ".timeindex": mark.time_entries.count * 12}
    for name, data in indexes(disk).items():
        base_offset, suffix = int(name[4:24]), name[24:]
        if base_offset < mark.base_offset:
            continue
        keep = kept[suffix] if base_offset == mark.base_offset else 0
        size = max(len(data), 200)
        garbage = rng.choice((b"", bytes(size), rng.randbytes(size), data[keep:]))
        disk.cut(name, keep)
        disk.corrupt(name, keep, garbage)


@pytest.mark.parametrize("before", [1, 2, 3, 4, 5, 8, 13, 40, 59, 60, 61, 62, 75])
@pytest.mark.parametrize("behind", [0, 1, 2, 3, 5, 30, 60])
def test_the_indexes_go_on_byte_for_byte(before: int, behind: int) -> None:
    """L-9: the bytes since the last entry and the greatest timestamp are what they were, also of a segment that was
    closed since; and whatever the crash has left behind the entries of the checkpoint counts for nothing.
    """
    rng = random.Random(before * 100 + behind)
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(before))
    checkpoint(log)
    append(log, range(before, before + behind))
    for _ in range(3):
        disk.kill()
        spoil_indexes(disk, rng)
        log = reopened(disk)
        assert log.recovered.truncated_bytes == 0
    append(log, range(before + behind, before + behind + 9))
    assert read_all(log) == list(range(before + behind + 9))
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


@pytest.mark.parametrize("stops", [(3,), (1, 2, 3), (20, 21, 60, 61)])
def test_neither_does_a_clean_stop_leave_a_trace_in_them(stops: tuple[int, ...]) -> None:
    """The entry that closing adds to the time index goes when the log is opened again."""
    disk = SimulatedDisk()
    log, written = a_log(disk), 0
    for stop in (*stops, 70):
        append(log, range(written, stop))
        written = stop
        log.close()
        LogDirectory.open(disk, cluster_id=lambda: "", now_ms=0).close()
        disk.kill()
        directory = LogDirectory.open(disk, cluster_id=lambda: "", now_ms=0)
        log = directory.open_log("t", 0, CONFIG, now_ms=0)
        assert log.recovered.is_clean
        directory.release()
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_nor_does_a_roll_that_fails() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(60))
    disk.fail_next("open", errno.ENOSPC, path=".index")
    with pytest.raises(DiskFull):
        append(log, range(60, 61))
    checkpoint(log)
    disk.kill()
    log = reopened(disk)
    append(log, range(60, 70))
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_a_clean_stop_is_a_checkpoint_for_an_unclean_start() -> None:
    """When another log of the directory could not be closed, say."""
    disk = WatchedDisk()
    log = a_log(disk)
    append(log, range(40))
    log.close()
    disk.kill()
    disk.reads.clear()
    log = reopened(disk)
    assert log.recovery_work == 0
    assert [read for read in disk.reads if read[1:] != (0, HEADER_SIZE)] == []
    append(log, range(40, 45))
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_indexes_with_other_entries_than_the_checkpoint_knows_are_built_anew() -> None:
    """A8: every bit of them."""
    for suffix, size in ((".index", 8), (".timeindex", 12)):
        for bit in range(0, 8 * size * 5, 3):
            disk = SimulatedDisk()
            log = a_log(disk)
            append(log, range(20))
            checkpoint(log)
            append(log, range(20, 25))
            disk.kill()
            data = disk.tree()[FIRST + suffix]
            disk.corrupt(FIRST + suffix, bit // 8, bytes([data[bit // 8] ^ (1 << bit % 8)]))
            log = reopened(disk)
            assert read_all(log) == list(range(25))
            log.close()
            assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


@pytest.mark.parametrize("lost", [".index", ".timeindex"])
def test_a_missing_index_is_built_anew(lost: str) -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20))
    checkpoint(log)
    disk.kill()
    disk.remove(FIRST + lost)
    log = reopened(disk)
    append(log, range(20, 25))
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_other_settings_of_the_index_hold_from_the_checkpoint_on() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20))
    checkpoint(log)
    before = disk.tree()[FIRST + ".index"]
    disk.kill()
    log = reopened(disk, LogConfig(segment_bytes=16 * 1024, index_interval_bytes=1, segment_index_bytes=120))
    append(log, range(20, 30))
    assert read_all(log) == list(range(30))
    log.close()
    assert disk.tree()[FIRST + ".index"].startswith(before.rstrip(b"\0"))


# Damage


def test_what_is_torn_behind_the_checkpoint_is_cut_and_the_log_goes_on() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20))
    checkpoint(log)
    append(log, range(20, 30))
    disk.kill()
    disk.corrupt(FIRST + ".log", 25 * BATCH_SIZE + 99, b"!")
    log = reopened(disk)
    assert (log.end_offset, log.leader_epoch) == (25, 1)
    append(log, range(25, 31))
    assert read_all(log) == list(range(31))
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_what_is_torn_right_behind_it_is_cut_there() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20))
    checkpoint(log)
    append(log, range(20, 22))
    disk.kill()
    disk.corrupt(FIRST + ".log", 20 * BATCH_SIZE + 99, b"!")
    log = reopened(disk)
    assert (log.end_offset, log.segments[-1].size) == (20, 20 * BATCH_SIZE)
    append(log, range(20, 31))
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_damage_between_the_checkpoint_and_the_mark_is_quarantined() -> None:
    """House rule 1.6."""
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20))
    checkpoint(log)
    append(log, range(20, 30))
    flush(log)
    log.write_mark()
    disk.kill()
    disk.corrupt(FIRST + ".log", 25 * BATCH_SIZE + 99, b"!")
    log = reopened(disk)
    assert log.quarantined is not None
    assert log.quarantined.position == 25 * BATCH_SIZE


@pytest.mark.parametrize("size", [0, 61, 10 * BATCH_SIZE, 20 * BATCH_SIZE - 1])
def test_a_file_that_ends_before_the_checkpoint_is_quarantined(size: int) -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20))
    checkpoint(log)
    disk.kill()
    disk.cut(FIRST + ".log", size)
    assert reopened(disk).quarantined is not None
    assert disk.size(FIRST + ".log") == size


def test_damage_before_the_checkpoint_is_found_by_the_first_reader() -> None:
    """A8: wrong bytes are never served."""
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20))
    checkpoint(log)
    disk.kill()
    disk.corrupt(FIRST + ".log", 5 * BATCH_SIZE + 99, b"!")
    log = reopened(disk)
    with pytest.raises(CorruptLog) as caught:
        read_all(log)
    assert caught.value.position == 5 * BATCH_SIZE


@pytest.mark.parametrize("position", range(0, 61, 3))
def test_a_damaged_first_header_is_quarantined(position: int) -> None:
    """It is the one thing before the checkpoint that a start does look at."""
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20))
    checkpoint(log)
    disk.kill()
    disk.corrupt(FIRST + ".log", position, bytes([disk.tree()[FIRST + ".log"][position] ^ 0x55]))
    log = reopened(disk)
    if log.quarantined is None:
        with pytest.raises(CorruptLog):
            read_all(log)


# Making one


def test_a_checkpoint_syncs_the_indexes_and_another_flush_does_not() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(5))
    before = disk.syncs
    flush(log)
    assert disk.syncs == before + 1
    log.checkpoint()
    flush(log)
    assert disk.syncs == before + 1 + 3
    log.checkpoint()
    assert log.begin_flush() is None, "nothing is beyond it"


def test_it_counts_when_the_mark_was_written() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(5))
    flush(log)
    log.write_mark()
    log.checkpoint()
    behind = [log.mark_is_behind]
    flush(log)
    behind.append(log.mark_is_behind)
    assert DurableMark.read(disk, "t-0").checkpoint is None
    log.write_mark()
    behind.append(log.mark_is_behind)
    assert behind == [False, True, False]
    mark = DurableMark.read(disk, "t-0").checkpoint
    assert mark is not None
    assert (mark.offset, mark.position) == (5, 5 * BATCH_SIZE)


def test_a_log_that_has_grown_much_makes_one_by_itself() -> None:
    """So that recovery never has more than so much of one log to do; many small batches are much, too."""
    disk = SimulatedDisk()
    log = a_log(disk, LogConfig())
    data = a_batch([b"v" * 100])
    count = CHECKPOINT_WORK // (BATCH_WORK + len(data)) + 1
    for number, is_one in ((count, True), (count // 2, False), (count // 2 + 1, True)):
        for _ in range(number):
            batch = memoryview(bytearray(data))
            log.append(batch, check(batch), now_ms=0)
        log.write_out()
        assert (flush(log).checkpoint is not None) == is_one
        assert (log.recovery_work == 0) == is_one


def test_what_is_appended_while_it_is_made_is_beyond_it() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(10))
    log.checkpoint()
    flush = began(log)
    append(log, range(10, 30))
    flush.sync()
    log.end_flush(flush)
    assert log.recovery_work > 0
    log.write_mark()
    disk.crash()
    log = reopened(disk)
    assert log.end_offset >= 10
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


@pytest.mark.parametrize("seed", range(20))
def test_a_segment_may_be_closed_while_it_is_made(seed: int) -> None:
    disk = SimulatedDisk(seed)
    log = a_log(disk, SMALL)
    append(log, range(14))
    log.checkpoint()
    flush = began(log)
    append(log, range(14, 40))
    assert log.segment_count > 2
    flush.sync()
    log.end_flush(flush)
    log.write_mark()
    disk.crash()
    log = reopened(disk, SMALL)
    assert log.end_offset >= 14
    assert read_all(log) == list(range(log.end_offset))
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


@pytest.mark.parametrize("suffix", [".log", ".index", ".timeindex"])
def test_if_a_sync_of_it_fails_the_log_is_offline_and_the_last_one_holds(suffix: str) -> None:
    """A5: nothing that failed to be synced is synced again, or vouched for."""
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(10))
    checkpoint(log)
    append(log, range(10, 20))
    log.checkpoint()
    flush = began(log)
    disk.fail_next("sync", path=FIRST + suffix)
    with pytest.raises(DiskFailed):
        flush.sync()
    log.fail_flush(flush)
    assert log.offline
    with pytest.raises(LogOffline):
        log.begin_flush()
    mark = DurableMark.read(disk, "t-0").checkpoint
    assert mark is not None
    assert mark.offset == 10
    disk.kill()
    log = reopened(disk)
    assert (log.end_offset, log.recovery_point) == (20, 20)
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


# Producers


def test_producers_are_replayed_from_the_snapshot_that_a_checkpoint_leaves() -> None:
    """I-7."""
    disk = WatchedDisk()
    log = a_log(disk, LogConfig())
    append(log, range(40), first_sequence=0)
    checkpoint(log)
    append(log, range(40, 43), first_sequence=40)
    known = log.producers.get(PRODUCER)
    disk.kill()
    assert f"t-0/{40:020d}.snapshot" in disk.tree()
    disk.reads.clear()
    log = reopened(disk)
    assert log.producers.get(PRODUCER) == known
    assert min(position for _, position, size in disk.reads if size > HEADER_SIZE) >= 38 * BATCH_SIZE


def test_of_a_log_without_producers_none_is_looked_for_before_the_checkpoint_nor_a_snapshot_left() -> None:
    disk = WatchedDisk()
    log = a_log(disk, LogConfig())
    append(log, range(40))
    checkpoint(log)
    append(log, range(40, 43))
    disk.kill()
    assert [name for name in disk.tree() if name.endswith(".snapshot")] == []
    disk.reads.clear()
    log = reopened(disk)
    assert len(log.producers) == 0
    assert min(position for _, position, size in disk.reads if size > HEADER_SIZE) == 40 * BATCH_SIZE


def test_producers_that_come_after_the_checkpoint_are_found() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(40))
    checkpoint(log)
    append(log, range(40, 43), first_sequence=0)
    append(log, range(43, 80))
    known = log.producers.get(PRODUCER)
    assert known is not None
    disk.kill()
    assert reopened(disk).producers.get(PRODUCER) == known


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_checkpoint_for_which_the_indexes_cannot_be_written_is_made_another_time(error: int) -> None:
    """A7: nobody has failed to sync anything, so no log is taken offline."""
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20))
    disk.fail_next("write", error, path=".timeindex")
    checkpoint(log)
    assert (log.offline, log.recovery_point) == (False, 20), "what was written is durable all the same"
    assert log.recovery_work > 0
    checkpoint(log)
    assert log.recovery_work == 0


def test_a_segment_is_not_closed_before_its_indexes_are_written() -> None:
    """A7: nor is the batch taken for which a new one is due; it may come again."""
    disk = SimulatedDisk()
    log, fit = a_log(disk), CONFIG.segment_bytes // BATCH_SIZE
    append(log, range(fit))
    disk.fail_next("write", errno.ENOSPC, path=".timeindex")
    with pytest.raises(DiskFull):
        append(log, [fit])
    assert log.segment_count == 1
    append(log, range(fit, fit + 5))
    assert (log.segment_count, log.offline) == (2, False)
    assert read_all(log) == list(range(fit + 5))


def test_a_snapshot_that_cannot_be_written_costs_reading_and_nothing_else() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(20), first_sequence=0)
    disk.fail_next("rename", path=".snapshot")
    checkpoint(log)
    assert not log.offline
    known = log.producers.get(PRODUCER)
    disk.kill()
    assert [name for name in disk.tree() if name.endswith(".snapshot")] == []
    assert reopened(disk).producers.get(PRODUCER) == known


def test_a_roll_at_the_place_of_a_snapshot_that_is_being_written_leaves_it_alone() -> None:
    """Two writers of one file: the second one waits for none, and there is no need of it."""
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, range(60), first_sequence=0)
    log.checkpoint()
    flush = began(log)
    append(log, range(60, 61), first_sequence=60)
    assert log.segment_count == 2
    assert [name for name in disk.tree() if "snapshot" in name] == []
    flush.sync()
    log.end_flush(flush)
    assert [name for name in disk.tree() if "snapshot" in name] == [f"t-0/{60:020d}.snapshot"]
    log.write_mark()
    disk.kill()
    producer = reopened(disk).producers.get(PRODUCER)
    assert producer is not None
    assert producer.batches[-1].last_sequence == 60


def test_checkpoints_on_a_real_disk(tmp_path: Path) -> None:
    """Indexes that grow while their file is being synced."""
    disk = RealDisk(str(tmp_path))
    log, written = a_log(disk, LogConfig(index_interval_bytes=1)), 0
    for stop in (1, 500, 1100, 1200):
        append(log, range(written, stop))
        log.checkpoint()
        flush = began(log)
        append(log, range(stop, stop + 3))
        flush.sync()
        log.end_flush(flush)
        log.write_mark()
        written = stop + 3
        log = reopened(disk, LogConfig(index_interval_bytes=1))
        assert log.end_offset == written
    assert read_all(log) == list(range(written))
    log.close()
    assert disk.size(FIRST + ".index") == 8 * (written - 1)
