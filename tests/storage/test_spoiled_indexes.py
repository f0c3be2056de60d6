"""Index files that are cut, or cannot be read, while a log is open; and a disk too full to write them [A6, A7]."""

from uuid import UUID

import pytest

from support.builders import BASE_TIMESTAMP, a_batch, some_value
from support.disk import SimulatedDisk
from support.indexes import indexes, rebuilt
from tidelog.protocol.batch import check
from tidelog.storage import segment
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import DiskFull, NotIndexedYet, Unreadable
from tidelog.storage.index import TAIL_SIZE
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory
from tidelog.storage.segment_indexes import BATCH_WORK

INTERVAL_BYTES = 100
CONFIG = LogConfig(segment_bytes=16 * 1024, index_interval_bytes=INTERVAL_BYTES)
VALUE_SIZE = 100
BATCH_SIZE = len(a_batch([some_value(0, VALUE_SIZE)]))
MANY = 160
"""A closed segment, and in the last one more entries than are kept in memory."""
CLOSED = "t-0/" + 20 * "0"
SUFFIXES = pytest.mark.parametrize("suffix", [".index", ".timeindex"])


def opened(disk: SimulatedDisk) -> Log:
    return LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0).open_log("t", 0, CONFIG, now_ms=0)


def a_log(disk: SimulatedDisk, count: int) -> Log:
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, UUID(int=7), CONFIG, now_ms=0)
    append(log, count)
    flush(log)
    return log


def append(log: Log, count: int) -> None:
    """Of each batch the time follows from the offset."""
    for _ in range(count):
        batch = a_batch([some_value(log.end_offset, VALUE_SIZE)], base_timestamp=BASE_TIMESTAMP + log.end_offset)
        log.append(memoryview(batch), check(memoryview(batch)), now_ms=0)
        log.write_out()


def flush(log: Log) -> None:
    flush = log.begin_flush()
    if flush is not None:
        flush.sync()
        log.end_flush(flush)


def answers(log: Log) -> None:
    """Every offset and every time leads to its record."""
    for offset in range(log.end_offset):
        assert log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True).base_offset == offset
        found = log.find_timestamp(BASE_TIMESTAMP + offset, up_to=log.end_offset)
        assert found is not None
        assert found.offset == offset
    assert log.find_timestamp(BASE_TIMESTAMP + log.end_offset, up_to=log.end_offset) is None
    greatest = log.find_max_timestamp(up_to=log.end_offset)
    assert greatest is not None
    assert greatest.offset == log.end_offset - 1


@SUFFIXES
@pytest.mark.parametrize("was_asked", [True, False])
@pytest.mark.parametrize("is_cut", [True, False], ids=["cut", "unreadable"])
def test_answers_are_right_all_the_same_and_the_index_is_there_again(
    suffix: str, *, was_asked: bool, is_cut: bool
) -> None:
    disk = SimulatedDisk()
    log = a_log(disk, MANY)
    if was_asked:
        answers(log)
    paths = [path for path in indexes(disk) if path.endswith(suffix)]
    assert len(paths) == 2
    assert disk.size(paths[-1]) >= TAIL_SIZE
    for path in paths if is_cut else paths[:1]:  # what is written in its place can be read again, but not here
        size = disk.size(path)
        if is_cut:
            disk.cut(path, size // 2 + 1)
        else:
            disk.spoil(path, size // 2, size)
    answers(log)
    append(log, MANY)
    answers(log)
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


@SUFFIXES
def test_a_checkpoint_does_not_vouch_for_an_index_that_was_cut(suffix: str) -> None:
    """L-9: the one of a log that was opened again is read for it, and built anew then; the next start trusts it."""
    disk = SimulatedDisk()
    log = a_log(disk, MANY // 4)
    log.close()
    disk.kill()
    log = opened(disk)
    disk.cut(CLOSED + suffix, 10)
    append(log, 10)
    log.checkpoint()
    flush(log)
    log.write_mark()
    append(log, 10)
    disk.kill()
    log = opened(disk)
    assert (log.offline, log.end_offset) == (False, MANY // 4 + 20)
    answers(log)
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_a_log_for_the_end_of_which_there_is_no_space_is_closed_when_there_is_some() -> None:
    """Nothing is lost by that, so it is no unclean stop."""
    disk = SimulatedDisk()
    log = a_log(disk, MANY // 8)
    disk.full(0)
    for _ in range(2):
        with pytest.raises(DiskFull):
            log.close()
        assert not log.offline
    disk.full(None)
    append(log, 1)
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)
    disk.kill()
    log = opened(disk)
    assert log.end_offset == MANY // 8 + 1
    answers(log)


def an_index_is_lost(disk: SimulatedDisk) -> Log:
    """That of the closed segment; the log was closed, and is open again."""
    log = a_log(disk, MANY)
    log.close()
    disk.kill()
    disk.remove(CLOSED + ".index")
    return opened(disk)


def read_at(log: Log, offset: int) -> int:
    return log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True).base_offset


def test_an_index_of_a_large_segment_is_built_anew_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else is kept waiting, and who reads in a row is served meanwhile."""
    disk = SimulatedDisk()
    log = an_index_is_lost(disk)
    middle = log.segments[0].next_offset // 2
    parts = 5
    monkeypatch.setattr(segment, "REBUILD_WORK", middle * 2 * (BATCH_WORK + BATCH_SIZE) // parts)
    for _ in range(2):
        with pytest.raises(NotIndexedYet, match=rf"^{CLOSED}.log: the indexes .* try again$"):
            read_at(log, middle)
        with pytest.raises(NotIndexedYet):
            log.find_timestamp(BASE_TIMESTAMP + middle, up_to=log.end_offset)
    assert not disk.exists(CLOSED + ".index")
    offset = 0
    while offset < log.segments[0].next_offset:
        assert read_at(log, offset) == offset
        offset += 1
    answers(log)
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_what_was_read_for_an_index_is_not_read_again_when_that_cannot_be_written(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimulatedDisk()
    log = an_index_is_lost(disk)
    disk.full(0)
    with pytest.raises(DiskFull):
        read_at(log, 20)
    monkeypatch.setattr(log.segments[0], "headers", None)
    for _ in range(3):
        with pytest.raises(DiskFull):
            read_at(log, 20)
    monkeypatch.undo()
    assert [record.getMessage() for record in caplog.records if "rebuilding" in record.getMessage()] == [
        f"rebuilding indexes segment={CLOSED}.log because={CLOSED}.index at 0: missing"
    ]
    disk.full(None)
    answers(log)
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_a_read_that_fails_has_an_index_built_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimulatedDisk()
    log = an_index_is_lost(disk)
    monkeypatch.setattr(segment, "REBUILD_WORK", 10 * (BATCH_WORK + BATCH_SIZE))
    with pytest.raises(NotIndexedYet):
        read_at(log, 20)
    disk.fail_next("read", path=CLOSED)
    with pytest.raises(Unreadable):
        read_at(log, 20)
    monkeypatch.undo()
    answers(log)
    log.close()
    assert indexes(disk) == rebuilt(disk, interval_bytes=INTERVAL_BYTES)


def test_a_start_waits_for_the_index_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """I-7: the producers are known before anybody is served."""
    monkeypatch.setattr(segment, "REBUILD_WORK", 1)
    disk = SimulatedDisk()
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, UUID(int=7), CONFIG, now_ms=0)
    for sequence in range(MANY):
        batch = a_batch([some_value(0, VALUE_SIZE)], producer_id=7, producer_epoch=0, base_sequence=sequence)
        log.append(memoryview(batch), check(memoryview(batch)), now_ms=0)
        log.write_out()
        if sequence == MANY // 4:
            flush(log)
            monkeypatch.setattr("tidelog.storage.log.SNAPSHOT_RATIO_MIN", 0)
            log.checkpoint()
            flush(log)
            log.write_mark()
    snapshot = f"t-0/{MANY // 4 + 1:020d}.snapshot"
    for path in [path for path in disk.tree() if path.endswith((".snapshot", ".index")) and path != snapshot]:
        disk.remove(path)
    assert disk.exists(snapshot)
    flush(log)
    log.write_mark()
    disk.kill()
    log = opened(disk)
    producer = log.producers.get(7)
    assert producer is not None
    assert producer.batches[-1].last_sequence == MANY - 1
