"""What can go wrong with a log, grouped by the moment it happens.

StorageError
    at the disk:     DiskFailed (an I/O call failed), DiskFull (no space: nothing was written, try again later),
                     OutOfDescriptors (nothing was opened, try again later), OutOfMemory, Unreadable (which bytes)
    while reading:   OffsetOutOfRange, CorruptLog (bytes on disk are not what was written), NotIndexedYet (try again)
    while writing:   LogOffline (a failed sync or damage below the durable mark; nothing is accepted until reopened),
                     ProducerFenced, OutOfOrderSequence (an idempotent producer's batch that may not follow)
    while opening:   DirectoryLocked, UnknownFormat, LogExists, LogMissing
"""


class StorageError(Exception):
    """Base of everything that this folder raises on purpose."""


class DiskFailed(StorageError):
    """A call to the operating system failed. After a failed *sync* the log that made it stays offline."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class DiskFull(DiskFailed):
    """There is no space (or quota) left. What was being written is not there; earlier bytes are untouched."""


class OutOfDescriptors(DiskFull):
    """The process, or the system, can open no more files. As on a full disk, nothing was changed and nothing lost."""


class OutOfMemory(DiskFailed):
    """The kernel had no memory for the call, which says nothing of the disk."""


class OffsetOutOfRange(StorageError):
    """A read outside what the log holds."""

    def __init__(self, offset: int, start: int, end: int) -> None:
        super().__init__(f"offset {offset} is outside [{start}, {end}]")
        self.offset, self.start, self.end = offset, start, end


class CorruptLog(StorageError):
    """Bytes of a log that must be sound are not. `position` is where the first bad batch begins in the file.

    `end` is where the damage ends, as far as the batch or a digest can say; None if neither can.
    """

    def __init__(self, path: str, position: int, reason: str, *, end: int | None = None) -> None:
        where = f"at {position}" if end is None else f"from {position} to {end}"
        super().__init__(f"{path} {where}: {reason}")
        self.path, self.position, self.end, self.reason = path, position, end, reason


class Unreadable(DiskFailed):
    """Bytes that the disk does not give just now, nor says that they are gone. `damage` is for when it never does."""

    def __init__(self, damage: CorruptLog) -> None:
        super().__init__(damage.path, damage.reason)
        self.damage = damage

    def __str__(self) -> str:
        return str(self.damage)


class NotIndexedYet(DiskFailed):
    """The indexes of a closed segment are being built anew, a part with each call that wants them: call again."""


class LogOffline(StorageError):
    """The log takes no appends: its disk failed, or damage was found below its durable mark."""

    def __init__(self, directory: str, reason: str) -> None:
        super().__init__(f"{directory} is offline: {reason}")
        self.directory, self.reason = directory, reason


class ProducerFenced(StorageError):
    """A producer of an older epoch than one that has already written."""

    def __init__(self, producer_id: int, epoch: int, current: int) -> None:
        super().__init__(f"epoch {epoch} of producer {producer_id} is smaller than {current}, the last one seen")
        self.producer_id, self.epoch, self.current = producer_id, epoch, current


class OutOfOrderSequence(StorageError):
    """A batch that does not follow on the last one of its producer."""

    def __init__(self, *, producer_id: int, epoch: int, sequence: int, expected: int) -> None:
        super().__init__(
            f"out of order sequence number for producer {producer_id} in epoch {epoch}: {sequence} where "
            f"{expected} should be"
        )
        self.producer_id, self.epoch, self.sequence, self.expected = producer_id, epoch, sequence, expected


class DirectoryLocked(StorageError):
    """Another process holds the data directory."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is locked by another process")
        self.path = path


class UnknownFormat(StorageError):
    """The data directory was not written by a version that we can read. Nothing in it was changed."""


class LogExists(StorageError):
    """A log of that topic and partition is there already."""

    def __init__(self, directory: str) -> None:
        super().__init__(f"{directory} exists")
        self.directory = directory


class LogMissing(StorageError):
    """There is no log of that topic and partition."""

    def __init__(self, directory: str) -> None:
        super().__init__(f"{directory} does not exist")
        self.directory = directory
