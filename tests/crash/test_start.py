"""A start with a thousand partitions: what it reads, asks and holds. Not how long it takes: that is printed.

`benchmarks/recovery.py` has the figures of the whole process.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from support.many_logs import NOW_MS, fill, spread
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import File, RealDisk
from tidelog.storage.log import Log
from tidelog.storage.log_directory import PARTITION_METADATA, LogDirectory, encode_partition_metadata

TOPIC = "many"
LOGS = 1000
SEGMENTS = 10
SEGMENT_BYTES = 16 << 20
BEYOND_BYTES = 64 * 1024
DESCRIPTORS_MAX = 20_000
MEMORY_MAX = 200 << 20
OPENED_MAX = 8
"""Files of one log that are opened."""
READ_MAX = 32 * 1024
"""Bytes of one log that are read besides what lies beyond its checkpoint: two windows, and small files."""


@dataclass
class Work:
    """What was asked of the disk."""

    opened: Counter[str] = field(default_factory=Counter)
    """Files, by log."""
    read: Counter[str] = field(default_factory=Counter)
    """Bytes, by path."""


class CountingDisk(RealDisk):
    """A real disk that counts."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.work = Work()

    def open(self, path: str, *, create: bool = False) -> File:
        """See `Disk`."""
        self.work.opened[path.partition("/")[0]] += 1
        return cast(File, CountingFile(super().open(path, create=create), self.work))


class CountingFile:
    """Stands before a file of such a disk."""

    def __init__(self, file: File, work: Work) -> None:
        self._file, self._work = file, work

    def read(self, position: int, size: int) -> bytes:
        """See `File`."""
        data = self._file.read(position, size)
        self._work.read[self._file.path] += len(data)
        return data

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand logs of ten segments of 16 MiB, as `kill -9` leaves them."""
    data = tmp_path_factory.mktemp("many") / "data"
    directory = LogDirectory.open(RealDisk(str(data)), cluster_id=lambda: "c" * 22, now_ms=NOW_MS)
    directory.create_log(TOPIC, 0, UUID(int=1), LogConfig(), now_ms=NOW_MS).close()
    directory.release()
    template = fill(
        data,
        TOPIC,
        segments=SEGMENTS,
        segment_bytes=SEGMENT_BYTES,
        batch_bytes=16 * 1024,
        beyond_bytes=BEYOND_BYTES,
    )
    multiply(template)
    return data


def multiply(template: Path) -> None:
    """Make all the others like this one."""
    others = [template.with_name(f"{TOPIC}-{number}") for number in range(1, LOGS)]
    spread(template, others)
    for log in others:
        (log / PARTITION_METADATA).write_bytes(encode_partition_metadata(UUID(int=1)))


@dataclass
class Started:
    """What a start has come to."""

    directory: LogDirectory
    logs: list[Log]
    work: Work


@contextmanager
def started(data: Path, what: str) -> Iterator[Started]:
    """Open every log, and look at what that took."""
    disk, before, others = CountingDisk(str(data)), resident(), len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    directory = LogDirectory.open(disk, cluster_id=lambda: "", now_ms=NOW_MS)
    logs = [directory.open_log(name.topic, name.partition, LogConfig(), now_ms=NOW_MS) for name in directory.logs()]
    seconds, descriptors = time.monotonic() - began, len(os.listdir("/proc/self/fd")) - others
    print(  # noqa: T201
        f"{what}: {len(logs)} logs in {seconds:.2f} s, {sum(disk.work.read.values()) >> 10} KiB read, "
        f"{descriptors} descriptors, {(resident() - before) >> 20} MiB"
    )
    assert len(logs) == LOGS
    assert {(log.segment_count, log.end_offset, log.offline, len(log.producers)) for log in logs} == {
        (SEGMENTS, logs[0].end_offset, False, 1)
    }
    assert descriptors < DESCRIPTORS_MAX // 2, "twice as many are there for connections and sealed segments"
    assert resident() - before < MEMORY_MAX
    assert max(disk.work.opened[log.directory] for log in logs) <= OPENED_MAX
    sealed = {segment.path for log in logs for segment in log.segments[:-1]}
    assert not sealed & disk.work.read.keys()
    yield Started(directory, logs, disk.work)
    for log in logs:
        log.discard()
    directory.release()


def resident() -> int:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bytes_read(work: Work, log: Log) -> int:
    """Bytes of all files of a log."""
    return sum(size for path, size in work.read.items() if path.startswith(log.directory + "/"))


def test_a_start_reads_what_lies_beyond_the_checkpoints_and_little_else(data: Path) -> None:
    """A9, house rule 1.12: after `kill -9`, again after that, after a clean stop, and when all has its checkpoint."""
    for what in ("unclean", "unclean once more"):
        with started(data, what) as start:
            assert max(bytes_read(start.work, log) for log in start.logs) <= BEYOND_BYTES + READ_MAX
            assert {log.recovered.truncated_bytes for log in start.logs} == {0}
            assert all(0 < log.recovery_work < 2 * BEYOND_BYTES for log in start.logs)
    directory = LogDirectory.open(RealDisk(str(data)), cluster_id=lambda: "", now_ms=NOW_MS)
    directory.open_log(TOPIC, 0, LogConfig(), now_ms=NOW_MS).close()
    directory.close()
    multiply(data / f"{TOPIC}-0")
    with started(data, "clean") as start:
        assert max(bytes_read(start.work, log) for log in start.logs) <= READ_MAX
        assert all(log.recovered.is_clean for log in start.logs)
    with started(data, "unclean with nothing beyond the checkpoints") as start:
        assert max(bytes_read(start.work, log) for log in start.logs) <= READ_MAX
