"""A directory, or a link that leads nowhere, is where a file of a log should be [A6]: all that is sound is served."""

import logging
import os
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import a_batch, some_value
from support.disk import SimulatedDisk
from support.logs import append, flush, open_directory
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import Disk, RealDisk
from tidelog.storage.errors import DiskFailed, LogOffline, StorageError
from tidelog.storage.log import Log

CONFIG = LogConfig(segment_bytes=4096, index_interval_bytes=256)
BATCH = bytes(a_batch([some_value(0, 200)]))
PER_SEGMENT = 4096 // len(BATCH)
COUNT = 2 * PER_SEGMENT + 5
MIDDLE, LAST = (f"{number * PER_SEGMENT:020d}" for number in (1, 2))


def a_log(tmp_path: Path, *, is_clean: bool) -> RealDisk:
    """Three segments, all of it durable and marked; a stop that was clean, or a kill."""
    memory = SimulatedDisk()
    directory = open_directory(memory)
    log = directory.create_log("t", 0, UUID(int=7), CONFIG, now_ms=0)
    for _ in range(COUNT):
        append(log, BATCH)
        flush(log)
    log.write_mark()
    if is_clean:
        log.close()
        directory.close()
    for name, data in memory.tree().items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return RealDisk(str(tmp_path))


def opened(disk: Disk) -> Log:
    directory = open_directory(disk)
    try:
        return directory.open_log("t", 0, CONFIG, now_ms=0)
    finally:
        directory.release()


def put_in_the_way(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(path.parent / "not mounted" / "file")


def tree(path: Path) -> dict[str, bytes | None]:
    """Of a log's directory, but for what may be made anew, or half made."""
    names = [one for one in path.iterdir() if one.suffix not in (".index", ".timeindex", ".tmp")]
    return {one.name: one.read_bytes() if one.is_file() else None for one in names}


def offsets_served(log: Log) -> list[int]:
    served = []
    for offset in range(log.end_offset):
        try:
            fetched = log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True)
        except StorageError:
            continue
        assert fetched.base_offset == offset
        served.append(offset)
    return served


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean", "killed"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"{LAST}.log", "link"),
        *((name, "directory") for name in (f"{LAST}.log", "durable-mark", "leader-epoch-checkpoint", "quarantined")),
        *((name, "directory") for name in (f"{LAST}.index", f"{LAST}.timeindex", f"{LAST}.digest", "x.tmp")),
    ],
)
def test_the_log_is_quarantined_and_nothing_of_it_is_changed(
    name: str, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, is_clean: bool
) -> None:
    disk = a_log(tmp_path, is_clean=is_clean)
    path, aside = tmp_path / "t-0" / name, tmp_path / "t-0.aside"
    if path.exists():
        path.rename(aside)
    put_in_the_way(path, kind)
    before = tree(path.parent)
    for _ in range(2):
        log = opened(disk)
        damage = log.recovered.quarantined
        assert damage is not None
        assert (damage.path, damage.position) == (f"t-0/{name}", 0)
        assert caplog.records[-1].levelno == logging.ERROR
        assert f"t-0/{name}" in caplog.records[-1].getMessage()
        assert log.end_offset == COUNT
        assert offsets_served(log) == list(range(2 * PER_SEGMENT if name.endswith(("log", "index")) else COUNT))
        with pytest.raises(LogOffline):
            append(log, BATCH)
        log.close()
        assert tree(path.parent) == before
    os.rmdir(path) if kind == "directory" else path.unlink()
    if aside.exists():
        aside.rename(path)
    log = opened(disk)
    assert (log.offline, offsets_served(log)) == (False, list(range(COUNT)))
    append(log, BATCH)
    log.close()


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_so_it_is_with_a_closed_segment_if_that_is_all_there_is_to_know(kind: str, tmp_path: Path) -> None:
    disk = a_log(tmp_path, is_clean=True)
    (tmp_path / "t-0" / f"{MIDDLE}.log").unlink()
    put_in_the_way(tmp_path / "t-0" / f"{MIDDLE}.log", kind)
    log = opened(disk)
    assert log.offline == (kind == "link"), "of a directory there is a size, and nobody has looked into it yet"
    assert offsets_served(log) == [*range(PER_SEGMENT), *range(2 * PER_SEGMENT, COUNT)]
    log.close()


@pytest.mark.parametrize("name", ["durable-mark", "leader-epoch-checkpoint", "quarantined", f"{LAST}.digest", "x.tmp"])
def test_a_link_is_replaced_where_a_file_would_be(name: str, tmp_path: Path) -> None:
    disk = a_log(tmp_path, is_clean=True)
    path = tmp_path / "t-0" / name
    path.unlink(missing_ok=True)
    put_in_the_way(path, "link")
    log = opened(disk)
    assert (log.offline, offsets_served(log)) == (False, list(range(COUNT)))
    log.close()
    assert not path.is_symlink()


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_so_it_is_with_the_index_of_a_closed_segment_if_all_of_the_log_is_read(suffix: str, tmp_path: Path) -> None:
    disk = a_log(tmp_path, is_clean=True)
    (tmp_path / "t-0" / "durable-mark").unlink()
    (tmp_path / "t-0" / f"{MIDDLE}{suffix}").unlink()
    put_in_the_way(tmp_path / "t-0" / f"{MIDDLE}{suffix}", "directory")
    log = opened(disk)
    assert log.quarantined is not None
    assert log.quarantined.path == f"t-0/{MIDDLE}{suffix}"
    assert offsets_served(log)[:PER_SEGMENT] == list(range(PER_SEGMENT))
    assert log.end_offset == COUNT
    log.close()


def test_a_disk_that_failed_once_is_no_obstacle() -> None:
    """Nobody knows what a failed sync has lost: nothing is served of it."""
    disk = SimulatedDisk()
    directory = open_directory(disk)
    log = directory.create_log("t", 0, UUID(int=7), CONFIG, now_ms=0)
    append(log, BATCH)
    disk.kill()
    disk.fail_next("sync", path=".log")
    with pytest.raises(DiskFailed):
        opened(disk)
    disk.kill()
    disk.fail_next("sync_directory", path="t-0")
    disk.remove("t-0/durable-mark")
    with pytest.raises(DiskFailed):
        opened(disk)
    disk.kill()
    disk.fail_next("open", path="durable-mark")  # that cannot be made, and was never in the way
    with pytest.raises(DiskFailed):
        opened(disk)
    disk.kill()
    assert not opened(disk).offline
