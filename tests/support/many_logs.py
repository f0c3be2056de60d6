"""A data directory with very many logs, made in a moment: one is written, its files are linked and copied.

Each log has sealed segments, and a last one with a checkpoint in it and something beyond; all as `kill -9` leaves it.
The sealed segments of all logs are the same files, by links.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from tidelog.protocol.batch import check
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import RealDisk
from tidelog.storage.log import Log
from tidelog.storage.log_directory import PARTITION_METADATA, LogDirectory

from .builders import a_batch

NOW_MS = 1_750_000_000_000
SHARED_SUFFIXES = (".log", ".index", ".timeindex")


def fill(data: Path, topic: str, *, segments: int, segment_bytes: int, batch_bytes: int, beyond_bytes: int) -> Path:
    """Write the topic's partition 0, which must be there and empty, and return its directory.

    So many bytes lie beyond the checkpoint; there is one idempotent producer, which has written one batch.
    """
    disk = RealDisk(str(data))
    directory = LogDirectory.open(disk, cluster_id=lambda: "", now_ms=NOW_MS)
    log = directory.open_log(topic, 0, LogConfig(segment_bytes=segment_bytes), now_ms=NOW_MS)
    batch = a_batch([os.urandom(batch_bytes)], producer_id=7, producer_epoch=0, base_sequence=0)
    plain = a_batch([os.urandom(batch_bytes)])
    _append(log, batch)
    while log.segment_count < segments:
        _append(log, plain)
    log.checkpoint()
    _flush(log)
    for _ in range(beyond_bytes // len(plain)):
        _append(log, plain)
    _flush(log)
    directory.release()
    return data / log.directory


def spread(template: Path, logs: Iterable[Path]) -> None:
    """Give these the contents of the template; each keeps the id of its own topic, if it has one."""
    last = max(file.stem for file in template.glob("*.log"))
    for log in logs:
        log.mkdir(exist_ok=True)
        for file in template.iterdir():
            target = log / file.name
            if file.name == PARTITION_METADATA and target.exists():
                continue
            if file.suffix in SHARED_SUFFIXES and file.stem != last:
                if not target.exists():
                    target.hardlink_to(file)
            else:
                shutil.copyfile(file, target)


def _append(log: Log, batch: bytes | bytearray) -> None:
    buffer = memoryview(bytearray(batch))
    log.append(buffer, check(buffer), now_ms=NOW_MS)
    log.write_out()


def _flush(log: Log) -> None:
    flush = log.begin_flush()
    assert flush is not None
    flush.sync()
    log.end_flush(flush)
    log.write_mark()
