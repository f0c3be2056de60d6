"""A log of which nothing can be opened: it stands there offline, and its files are as they were."""

import pytest

from support.builders import a_batch
from support.data_directory import CONFIG, make_directory
from support.disk import SimulatedDisk
from tidelog.protocol.batch import check
from tidelog.storage.errors import CorruptLog, DiskFailed, LogOffline
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory


def a_disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    make_directory(disk)
    return disk


def lost(disk: SimulatedDisk, cause: CorruptLog | DiskFailed) -> tuple[LogDirectory, Log]:
    directory = LogDirectory.open(disk, cluster_id=lambda: "another", now_ms=0)
    return directory, directory.lost_log("orders", 0, CONFIG, because=cause)


@pytest.mark.parametrize("cause", [CorruptLog("orders-0", 0, "no segment is left"), DiskFailed("orders-0", "EIO")])
def test_it_takes_nothing_and_says_why(cause: CorruptLog | DiskFailed) -> None:
    disk = a_disk()
    _, log = lost(disk, cause)
    assert log.offline
    assert log.recovered.lost
    batch = memoryview(a_batch())
    with pytest.raises(LogOffline, match=r"no segment is left|EIO"):
        log.append(batch, check(batch), now_ms=0)
    assert (log.start_offset, log.end_offset, log.size) == (100, 100, 0), "as far as the mark tells"


def test_closing_it_changes_nothing_in_its_files() -> None:
    disk = a_disk()
    directory, log = lost(disk, CorruptLog("orders-0", 0, "rot"))
    before = disk.tree()
    log.write_mark()
    log.close()
    assert disk.tree() == before
    directory.release()


def test_a_topic_that_is_deleted_takes_it_along() -> None:
    disk = a_disk()
    directory, log = lost(disk, CorruptLog("orders-0", 0, "rot"))
    directory.delete_log(log, token="0")  # noqa: S106
    assert not disk.exists("orders-0")


def test_without_a_mark_it_is_empty() -> None:
    disk = a_disk()
    disk.remove("orders-0/durable-mark")
    _, log = lost(disk, CorruptLog("orders-0", 0, "rot"))
    assert (log.start_offset, log.end_offset) == (0, 0)
