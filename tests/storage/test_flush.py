"""A flush syncs what it must, and no more."""

import pytest

from support.builders import a_batch
from support.disk import SimulatedDisk
from support.logs import append, open_directory, open_log
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import DiskFailed
from tidelog.storage.log import Log


def a_log(disk: SimulatedDisk) -> Log:
    return open_log(open_directory(disk), LogConfig(segment_bytes=1024))


def write(log: Log, count: int) -> None:
    for _ in range(count):
        append(log, a_batch([b"v" * 200]))


def test_within_a_segment_a_flush_is_one_sync() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    write(log, 3)
    before = disk.syncs
    flush = log.begin_flush()
    assert flush is not None
    assert flush.end_offset == 3
    flush.sync()
    log.end_flush(flush)
    assert disk.syncs == before + 1
    assert log.begin_flush() is None


def test_after_a_roll_the_closed_segment_its_indexes_and_the_directory_are_synced_once() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    write(log, 4)
    assert log.segment_count == 2
    before = disk.syncs
    for syncs in (1 + 2 + 1 + 1, 1):
        flush = log.begin_flush()
        assert flush is not None
        flush.sync()
        log.end_flush(flush)
        assert disk.syncs == before + syncs
        before = disk.syncs
        write(log, 1)


def test_a_flush_that_fails_says_so() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    write(log, 1)
    flush = log.begin_flush()
    assert flush is not None
    disk.fail_next("sync")
    with pytest.raises(DiskFailed):
        flush.sync()
