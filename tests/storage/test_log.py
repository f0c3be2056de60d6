"""A log against a list: the same operations on both, on the real disk and the simulated one."""

import errno
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import BASE_TIMESTAMP, a_batch, some_value, values_of
from support.disk import SimulatedDisk
from support.logs import flush, open_directory, open_log
from tidelog.protocol.batch import check, crc_of, read_header, walk
from tidelog.protocol.compression import Codec
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import Disk, RealDisk
from tidelog.storage.durable_mark import DurableMark
from tidelog.storage.errors import CorruptLog, DiskFailed, DiskFull, LogOffline, OffsetOutOfRange, StorageError
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

SMALL = LogConfig(segment_bytes=4096, index_interval_bytes=256, segment_index_bytes=400)


def a_log(disk: Disk | None = None, config: LogConfig = SMALL, *, open_segments_max: int = 2) -> Log:
    directory = LogDirectory.open(
        disk or SimulatedDisk(), cluster_id=lambda: "c" * 22, now_ms=0, open_segments_max=open_segments_max
    )
    return directory.create_log("t", 0, UUID(int=7), config, now_ms=0)


def stage(log: Log, *values: bytes, codec: Codec = Codec.NONE) -> memoryview:
    batch = memoryview(a_batch(values or (b"a value",), codec=codec))
    log.append(batch, check(batch), now_ms=0)
    return batch


def append(log: Log, *values: bytes) -> bytes:
    batch = stage(log, *values)
    log.write_out()
    return bytes(batch)


@dataclass
class Model:
    """What a log is: batches in a row, some of them staged, some durable."""

    batches: list[bytes] = field(default_factory=list)
    written: int = 0
    durable: int = 0
    end: int = 0

    def read(self, offset: int, *, size_max: int, up_to: int, at_least_one: bool) -> list[bytes]:
        found: list[bytes] = []
        for batch in self.batches:
            header = read_header(batch)
            if header.next_offset <= offset:
                continue
            size = sum(map(len, found)) + len(batch)
            if header.next_offset > up_to or (size > size_max and (found or not at_least_one)):
                break
            found.append(batch)
        return found


@pytest.mark.parametrize("kind", ["real", "simulated"])
@pytest.mark.parametrize("seed", range(15))
def test_a_log_does_what_a_list_does(kind: str, seed: int, tmp_path: Path) -> None:
    """L-1, L-4, L-5: any order of operations, with at most two sealed segments open at once."""
    rng = random.Random(seed)
    disk: Disk = RealDisk(str(tmp_path)) if kind == "real" else SimulatedDisk(seed)
    log, model = a_log(disk), Model()
    for _ in range(600):
        dice = rng.random()
        if dice < 0.4:
            values = [some_value(n, rng.randint(0, 300)) for n in range(rng.randint(1, 4))]
            batch = stage(log, *values, codec=rng.choice((Codec.NONE, Codec.LZ4)))
            assert read_header(batch).base_offset == model.end
            model.batches.append(bytes(batch))
            model.end += len(values)
        elif dice < 0.55:
            log.write_out()
            model.written = model.end
        elif dice < 0.65:
            flush(log)
            model.durable = log.written_offset
        elif dice < 0.67:
            log.write_mark()
        else:
            compare_a_read(log, model, rng)
        model.written = max(model.written, log.written_offset)  # a roll writes out what was staged before
        assert (log.start_offset, log.end_offset, log.recovery_point) == (0, model.end, model.durable)
    log.write_out()
    model.written = model.end
    assert log.segment_count > 5
    assert log.size == sum(map(len, model.batches))
    for _ in range(30):
        compare_a_read(log, model, rng)
    log.close()


def compare_a_read(log: Log, model: Model, rng: random.Random) -> None:
    offset = rng.choice((rng.randint(0, model.end), log.written_offset, max(0, log.written_offset - 2)))
    up_to = rng.choice((log.written_offset, model.durable, rng.randint(0, log.written_offset)))
    size_max, at_least_one = rng.choice((1, 61, 300, 2000, 9000, 1 << 20)), rng.random() < 0.7
    for _ in range(3):  # the first read from wherever, then on where it stopped, as readers do
        expected = model.read(offset, size_max=size_max, up_to=up_to, at_least_one=at_least_one)
        fetched = log.read(offset, size_max=size_max, up_to=up_to, at_least_one=at_least_one)
        assert bytes(fetched.records) == b"".join(expected)
        if not expected:
            assert (fetched.base_offset, fetched.next_offset) == (offset, offset)
            return
        assert fetched.base_offset == read_header(expected[0]).base_offset
        assert fetched.next_offset == read_header(expected[-1]).next_offset
        offset = fetched.next_offset


def test_a_batch_is_stamped_in_the_callers_buffer_and_its_checksum_stays() -> None:
    """B-15: the base offset and the leader epoch are outside the CRC."""
    log = a_log()
    append(log, b"a", b"b")
    log.leader_epochs.assign(5, 2)
    batch = memoryview(a_batch([b"c"]))
    before = bytes(batch)
    assert log.append(batch, check(batch), now_ms=0) == 2
    header = check(batch)
    assert (header.base_offset, header.leader_epoch) == (2, 5)
    assert bytes(batch[16:]) == before[16:]


def test_under_log_append_time_the_batch_gets_the_brokers_time_and_a_new_checksum() -> None:
    """B-15. A caller who has done it already is left alone."""
    log = a_log(config=LogConfig(message_timestamp_type="LogAppendTime"))
    batch = memoryview(a_batch([b"c"]))
    log.append(batch, check(batch), now_ms=777)
    header = check(batch)
    assert (header.is_log_append_time, header.max_timestamp) == (True, 777)
    assert header.crc == crc_of(batch, 0, len(batch))
    log.append(batch, header, now_ms=888)
    assert check(batch).max_timestamp == 777


def test_staged_batches_are_neither_written_nor_read_until_they_are_written_out_in_one_call() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    calls = disk.calls
    for _ in range(10):
        stage(log)
    assert (log.end_offset, log.written_offset, log.size, disk.calls) == (10, 0, 0, calls)
    assert len(log.read(5, size_max=1000, up_to=10, at_least_one=True).records) == 0
    log.write_out()
    assert log.written_offset == 10
    assert disk.calls == calls + 1
    calls = disk.calls
    stage(log)
    log.write_out()
    log.write_out()
    assert disk.calls == calls + 1
    assert log.recovery_point == 0
    assert len(values_of(log.read(0, size_max=10_000, up_to=11, at_least_one=True).records)) == 11


def test_offsets_outside_the_log_are_refused_and_its_end_is_merely_empty() -> None:
    """L-1."""
    log = a_log()
    append(log, b"a", b"b", b"c")
    for offset in (-1, 4):
        with pytest.raises(OffsetOutOfRange) as caught:
            log.read(offset, size_max=1000, up_to=3, at_least_one=True)
        assert (caught.value.start, caught.value.end) == (0, 3)
    for offset, up_to in ((3, 3), (1, 0), (0, 0), (2, 99)):
        fetched = log.read(offset, size_max=1000, up_to=up_to, at_least_one=True)
        assert fetched.next_offset == (3 if up_to == 99 else offset)


def test_a_read_goes_on_in_the_next_segment() -> None:
    """Else a fetch would wait for bytes that are there, behind a segment's end."""
    log = a_log()
    written = b"".join(append(log, some_value(n, 300)) for n in range(40))
    assert log.segment_count > 3
    assert bytes(log.read(0, size_max=1 << 20, up_to=40, at_least_one=True).records) == written
    assert len(log.read(0, size_max=5000, up_to=40, at_least_one=True).records) > 4096


def test_damage_in_the_next_segment_does_not_hide_what_is_sound_in_this_one() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    written = b"".join(append(log, some_value(n, 300)) for n in range(30))
    log.close()
    disk.kill()
    directory = LogDirectory.open(disk, cluster_id=str, now_ms=0)
    log = directory.open_log("t", 0, SMALL, now_ms=0)
    second = sorted(name for name in disk.tree() if name.endswith(".log"))[1]
    disk.corrupt(second, 100, b"!")
    fetched = log.read(0, size_max=1 << 20, up_to=30, at_least_one=True)
    assert bytes(fetched.records) == written[: len(fetched.records)]
    assert fetched.next_offset == int(second[4:24])
    with pytest.raises(CorruptLog):
        log.read(fetched.next_offset, size_max=1 << 20, up_to=30, at_least_one=True)


def test_a_full_disk_refuses_the_round_and_nothing_else() -> None:
    """A7, Q-4: what was staged is forgotten; when there is space again the log goes on, in order."""
    disk = SimulatedDisk()
    log = a_log(disk)
    first = append(log, b"a")
    disk.full(100)
    stage(log, b"b" * 50)
    stage(log, b"c" * 50)
    with pytest.raises(DiskFull):
        log.write_out()
    assert (log.end_offset, log.written_offset, log.offline) == (1, 1, False)
    log.write_out()
    disk.full(None)
    second = append(log, b"d")
    assert read_header(second).base_offset == 1
    assert bytes(log.read(0, size_max=10_000, up_to=2, at_least_one=True).records) == first + second
    log.close()


def test_batches_lost_while_a_segment_was_closed_are_not_taken_for_written() -> None:
    """A roll writes out what was staged: if that fails, `write_out` says so for those who staged it."""
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, b"a" * 2000)
    stage(log, b"b" * 1000)
    disk.fail_next("append", errno.ENOSPC)
    with pytest.raises(DiskFull):
        stage(log, b"c" * 2000)
    with pytest.raises(DiskFull):
        stage(log, b"d")
    with pytest.raises(DiskFull):
        log.write_out()
    assert (log.end_offset, log.segment_count) == (1, 1)
    append(log, b"e" * 3000)
    assert (log.end_offset, log.segment_count) == (2, 2)
    assert [len(value or b"") for value in values_of(log.read(0, size_max=1 << 20, up_to=2, at_least_one=True).records)]


@pytest.mark.parametrize(
    ("call", "path"),
    [("open", ".log"), ("open", ".index"), ("open", ".timeindex"), ("write", ".timeindex"), ("truncate", ".log")],
)
def test_a_segment_that_cannot_be_begun_is_begun_later(call: str, path: str) -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    written = append(log, b"a" * 3000)
    disk.fail_next(call, errno.ENOSPC, path=path)
    with pytest.raises(DiskFull):
        stage(log, b"b" * 3000)
    log.write_out()
    assert (log.end_offset, log.segment_count) == (1, 1)
    written += append(log, b"c") + append(log, b"d" * 3000) + append(log, b"e" * 3000)
    assert log.segment_count == 3
    flush(log)
    log.write_mark()
    disk.crash()
    directory = LogDirectory.open(disk, cluster_id=str, now_ms=0)
    reopened = directory.open_log("t", 0, SMALL, now_ms=0)
    assert bytes(reopened.read(0, size_max=1 << 20, up_to=4, at_least_one=True).records) == written


def test_a_segment_that_can_neither_be_made_nor_unmade_takes_the_log_offline() -> None:
    """A1: were more appended to the one before, a start would look for it in the one that is empty."""
    disk = SimulatedDisk()
    log = a_log(disk)
    while log.size < SMALL.segment_bytes - 400:
        append(log, some_value(0, 200))
    before = log.end_offset
    disk.fail_next("open", path=".index")
    disk.fail_next("remove", path=".log")
    with pytest.raises(DiskFailed):
        append(log, some_value(0, 1000))
    with pytest.raises(LogOffline):
        append(log, b"small")
    log.close()
    disk.kill()
    log = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0).open_log("t", 0, SMALL, now_ms=0)
    assert not log.offline
    assert log.end_offset == before
    assert log.segment_count == 2
    append(log, b"small")
    assert log.read(before, size_max=1000, up_to=before + 1, at_least_one=True).next_offset == before + 1


def test_after_a_failed_sync_the_log_is_offline_and_its_files_are_never_synced_again() -> None:
    """A5, 1.3: a second sync would succeed without writing what the first one could not."""
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, b"a")
    flush(log)
    append(log, b"b")
    began = log.begin_flush()
    assert began is not None
    disk.fail_next("sync")
    with pytest.raises(DiskFailed):
        began.sync()
    log.fail_flush(began)
    assert (log.offline, log.recovery_point, log.written_offset) == (True, 1, 2)
    syncs = disk.syncs
    with pytest.raises(LogOffline):
        stage(log)
    with pytest.raises(LogOffline):
        log.begin_flush()
    log.write_mark()
    assert values_of(log.read(0, size_max=1000, up_to=1, at_least_one=True).records) == [b"a"]
    log.close()
    assert disk.syncs == syncs


def test_what_was_staged_when_the_log_went_offline_is_refused() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, b"a")
    began = log.begin_flush()
    assert began is not None
    stage(log, b"b")
    log.fail_flush(began)
    with pytest.raises(LogOffline):
        log.write_out()
    assert log.end_offset == 1


def test_a_mark_that_cannot_be_written_takes_the_log_offline() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, b"a")
    flush(log)
    assert log.mark_is_behind
    disk.fail_next("sync", path="durable-mark")
    with pytest.raises(DiskFailed):
        log.write_mark()
    assert log.offline


def test_when_all_is_durable_nothing_is_synced_but_for_a_checkpoint() -> None:
    log = a_log()
    append(log)
    flush(log)
    assert log.begin_flush() is None
    log.checkpoint()
    assert log.begin_flush() is not None


def test_what_is_appended_during_a_flush_waits_for_the_next() -> None:
    log = a_log()
    append(log, b"a")
    began = log.begin_flush()
    assert began is not None
    append(log, *[b"b" * 500] * 10)
    append(log, *[b"c" * 500] * 10)
    began.sync()
    log.end_flush(began)
    assert (log.recovery_point, log.written_offset) == (1, 21)
    flush(log)
    assert log.recovery_point == 21


def test_a_log_that_is_deleted_during_a_flush_keeps_its_files_until_that_ends() -> None:
    disk = SimulatedDisk()
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, UUID(int=7), SMALL, now_ms=0)
    append(log, b"a")
    began = log.begin_flush()
    assert began is not None
    directory.delete_log(log, token="0" * 32)
    assert directory.logs() == []
    began.sync()
    log.end_flush(began)
    with pytest.raises(LogOffline):
        stage(log)
    again = directory.create_log("t", 0, UUID(int=8), SMALL, now_ms=0)
    assert again.end_offset == 0


def test_closing_flushes_trims_and_marks(tmp_path: Path) -> None:
    """L-3."""
    log = a_log(RealDisk(str(tmp_path)))
    for number in range(30):
        stage(log, some_value(number, 300))
    log.close()
    with pytest.raises(StorageError):
        stage(log)
    for file in (tmp_path / "t-0").iterdir():
        if file.suffix == ".index":
            assert file.stat().st_size % 8 == 0
            assert file.stat().st_size < 400
    directory = LogDirectory.open(SimulatedDisk(), cluster_id=lambda: "c" * 22, now_ms=0)
    directory.close()


def test_a_log_that_is_settled_has_only_to_close_its_files() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, some_value(0, 300))
    before = log.is_durable
    flush(log)
    assert (before, log.is_durable) == (False, True)
    log.settle()
    with pytest.raises(AssertionError, match="about to be closed"):
        stage(log)
    calls = disk.calls
    log.settle()
    log.close()
    assert disk.calls == calls
    disk.crash()
    assert DurableMark.read(disk, "t-0").offset == 1


def test_a_log_for_which_there_is_no_space_to_settle_is_closed_when_there_is() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, some_value(0, 300))
    flush(log)
    disk.fail_next("write", errno.ENOSPC, path="durable-mark")
    with pytest.raises(DiskFull):
        log.settle()
    assert not log.offline
    log.close()
    assert DurableMark.read(disk, "t-0").offset == 1


def test_a_log_that_cannot_be_settled_is_offline_and_only_closed() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    append(log, some_value(0, 300))
    flush(log)
    disk.fail_next("sync", path="durable-mark")
    with pytest.raises(DiskFailed):
        log.settle()
    assert log.offline
    before = disk.calls
    log.close()
    assert disk.calls == before


def test_a_clean_stop_leaves_nothing_to_a_power_cut() -> None:
    """A1: batches, indexes and mark are as they were left, so that a clean start has nothing to do."""
    for seed in range(20):
        disk = SimulatedDisk(seed)
        log = a_log(disk)
        for _ in range(12):
            append(log, some_value(0, 300))
        log.close()
        before = kept(disk)
        disk.crash()
        assert kept(disk) == before


def kept(disk: SimulatedDisk) -> dict[str, bytes]:
    """What must be there after a clean stop: a snapshot of the producers may be lost."""
    return {path: data for path, data in disk.tree().items() if path != ".lock" and ".snapshot" not in path}


def test_a_new_size_of_segments_holds_for_the_one_that_is_open() -> None:
    """As in Kafka: who makes segments smaller need not first fill a large one."""
    log = a_log()
    append(log, b"a" * 2000)
    log.reconfigure(LogConfig(segment_bytes=1 << 20))
    for _ in range(10):
        append(log, b"b" * 3000)
    assert log.segment_count == 1
    log.reconfigure(LogConfig(segment_bytes=4096))
    append(log, b"c" * 3000)
    assert log.segment_count == 2


def test_a_new_age_of_segments_holds_for_the_one_that_is_open() -> None:
    log = a_log(config=LogConfig())
    append(log, b"a")
    log.reconfigure(LogConfig(segment_ms=5))
    batch = memoryview(a_batch([b"b"], base_timestamp=BASE_TIMESTAMP + 10))
    log.append(batch, check(batch), now_ms=0)
    log.write_out()
    assert log.segment_count == 2


def test_new_settings_of_indexes_hold_from_the_next_segment_on() -> None:
    """An index has its size from its beginning; read again, it is what it was."""
    disk = SimulatedDisk()
    log = a_log(disk, LogConfig(segment_bytes=4096, index_interval_bytes=1, segment_index_bytes=4096))
    append(log, b"a" * 100)
    log.reconfigure(LogConfig(segment_bytes=4096, index_interval_bytes=1 << 20, segment_index_bytes=64))
    for _ in range(100):
        append(log, b"b" * 100)
    assert log.segment_count > 4
    sizes = [len(data) for path, data in sorted(disk.tree().items()) if path.endswith(".index")]
    assert sizes[0] > 0
    assert sizes[1:-1] == [0] * (len(sizes) - 2)
    for offset in range(101):
        fetched = log.read(offset, size_max=1, up_to=101, at_least_one=True)
        assert fetched.base_offset == offset


def test_every_byte_served_is_a_whole_batch() -> None:
    """F-2: whole batches only."""
    log = a_log()
    for number in range(60):
        append(log, some_value(number, number * 7))
    for size_max in range(1, 3000, 97):
        fetched = log.read(20, size_max=size_max, up_to=60, at_least_one=True)
        headers = [header for _, header in walk(fetched.records)]
        assert sum(header.size for header in headers) == len(fetched.records)
        assert headers[0].base_offset == fetched.base_offset == 20
        assert headers[-1].next_offset == fetched.next_offset


def test_the_header_of_a_batch_is_found_by_any_of_its_offsets() -> None:
    log = a_log()
    expected = []
    for number in range(60):
        batch = append(log, *(some_value(index) for index in range(1 + number % 3)))
        header = read_header(batch, 0)
        expected += [header] * header.record_count
    assert log.segment_count > 2
    assert [log.header_of(offset) for offset in range(log.written_offset)] == expected


def test_after_a_failed_sync_what_may_be_gone_is_checked_before_it_is_served() -> None:
    """A9: the kernel forgot what it could not write, and reads what the platter has."""
    disk = SimulatedDisk()
    log = a_log(disk, replace(SMALL, write_caching=True))
    batches = [append(log, b"shown"), append(log, b"shown")]
    flush = log.begin_flush()
    assert flush is not None
    disk.fail_next("sync", path=".log")
    with pytest.raises(DiskFailed):
        flush.sync()
    log.fail_flush(flush)
    disk.corrupt(f"t-0/{0:020d}.log", len(batches[0]) + 65, bytes(8))
    assert log.read(0, size_max=1 << 20, up_to=2, at_least_one=True).records == batches[0]
    with pytest.raises(CorruptLog):
        log.read(1, size_max=1 << 20, up_to=2, at_least_one=True)


def test_a_log_that_is_offline_writes_out_nothing_as_if_it_were_well() -> None:
    """I-2: who sends a batch again waits for one that was appended before, and may be lost."""
    disk = SimulatedDisk()
    log = a_log(disk)
    log.write_out()
    append(log, b"lost")
    flush = log.begin_flush()
    assert flush is not None
    log.fail_flush(flush)
    for _ in range(2):
        with pytest.raises(LogOffline):
            log.write_out()


@pytest.mark.parametrize("is_rotten", [False, True])
def test_a_time_that_has_rotted_is_not_stamped_into_what_follows(*, is_rotten: bool) -> None:
    """B-15, A8: after a start the last batch's time counts if its checksum holds."""
    config, disk = LogConfig(message_timestamp_type="LogAppendTime"), SimulatedDisk()
    directory = open_directory(disk)
    log = open_log(directory, config)
    batch = memoryview(a_batch())
    log.append(batch, check(batch), now_ms=5000)
    log.close()
    directory.close()
    disk.kill()
    if is_rotten:
        disk.corrupt("t-0/00000000000000000000.log", 36, b"@")  # the greatest time is more by far
    log = open_log(open_directory(disk), config)
    assert not log.offline
    assert log.append_time(4000) == (4000 if is_rotten else 5000)
