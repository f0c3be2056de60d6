"""One log on a disk, without a broker: opened as at a start, written to and made durable as by its owner."""

from uuid import UUID

from tidelog.protocol.batch import Buffer, read_header
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import Disk, File, RealDisk
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

TOPIC_ID = UUID(int=7)


def open_directory(disk: Disk) -> LogDirectory:
    """The data directory, made when it is missing."""
    return LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)


def open_log(directory: LogDirectory, config: LogConfig) -> Log:
    """The log `t-0` in it, made when it is missing."""
    if directory.has_log("t", 0):
        return directory.open_log("t", 0, config, now_ms=0)
    return directory.create_log("t", 0, TOPIC_ID, config, now_ms=0)


def append(log: Log, batch: Buffer, *, now_ms: int = 0) -> None:
    """Append one batch and write it out."""
    buffer = memoryview(bytearray(batch))
    log.append(buffer, read_header(buffer), now_ms=now_ms)
    log.write_out()


def flush(log: Log) -> None:
    """Make durable what is written."""
    round_of_one = log.begin_flush()
    if round_of_one is not None:
        round_of_one.sync()
        log.end_flush(round_of_one)


class DiskOfTheDead(RealDisk):
    """Who dies closes nothing; the kernel does."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._opened: list[File] = []

    def open(self, path: str, *, create: bool = False) -> File:
        """See `Disk`."""
        file = super().open(path, create=create)
        self._opened.append(file)
        return file

    def bury(self) -> None:
        """All that was opened is closed."""
        for file in self._opened:
            file.close()
