"""Index files that are cut, or cannot be read, while a log is open; and a disk too full to write them [A6, A7]."""

from uuid import UUID

import pytest

from support.builders import BASE_TIMESTAMP, a_batch, some_value
from support.disk import SimulatedDisk
from support.indexes import indexes, rebuilt
from tidelog.protocol.batch import check
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import DiskFull
from tidelog.storage.index import TAIL_SIZE
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

INTERVAL_BYTES = 100
CONFIG = LogConfig(segment_bytes=16 * 1024, index_interval_bytes=INTERVAL_BYTES)
VALUE_SIZE = 100
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
