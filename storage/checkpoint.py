"""Small files that are replaced whole: temp, sync, rename, sync of the directory.

Whenever the power goes, either the old contents or the new ones are there. Kafka's checkpoint files are text:

    line 1      format version
    line 2      number of entries
    then        one entry a line, fields separated by one space
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from .disk import Disk, File
from .errors import CorruptLog, DiskFailed, DiskFull, OutOfMemory, Unreadable

TEMPORARY_SUFFIX: Final = ".tmp"
SIZE_MAX: Final = 1 << 24
"""Far more than leader epochs, the digest of the largest segment, or a file of properties come to."""
HEAD_LINES: Final = 2

_NUMBER = re.compile(r"-?\d{1,19}")


def replace_file(disk: Disk, path: str, data: bytes) -> None:
    """Give `path` new contents at once and for good; `DiskFailed` if that did not work, and the old ones stay."""
    put_in_place(disk, path, data)
    disk.sync_directory(path.rpartition("/")[0])


def put_in_place(disk: Disk, path: str, data: bytes) -> None:
    """Give `path` new contents at once; after a crash it has these, or it is as it was before."""
    temporary = path + TEMPORARY_SUFFIX
    file = disk.open(temporary, create=True)
    try:
        file.truncate(0)  # a crash may have left one
        file.append([data])
        file.sync()
    finally:
        file.close()
    disk.rename(temporary, path)


def create_file(disk: Disk, path: str, data: bytes) -> None:
    """Write a new file and sync it; for directories that nobody looks into before they are complete and synced."""
    file = disk.open(path, create=True)
    try:
        file.append([data])
        file.sync()
    finally:
        file.close()


def read_file(disk: Disk, path: str, *, size_max: int = SIZE_MAX) -> bytes:
    """A small file's contents; `CorruptLog` if it is larger than any that we write: it might not fit into memory."""
    file = _opened(disk, path)
    try:
        if file.size > size_max:
            raise CorruptLog(path, size_max, f"{file.size} bytes are more than such a file can have", end=file.size)
        return file.read(0, file.size)
    finally:
        file.close()


def read_head(disk: Disk, path: str, size: int) -> bytes:
    """The first bytes of a file that counts no further, however large it claims to be."""
    return read_part(disk, path, 0, size)


def read_part(disk: Disk, path: str, position: int, size: int) -> bytes:
    """Up to so many bytes of a file."""
    file = _opened(disk, path)
    try:
        return file.read(position, size)
    finally:
        file.close()


def _opened(disk: Disk, path: str) -> File:
    """The file; `Unreadable` if what is there cannot be opened, because it is a directory, say."""
    try:
        return disk.open(path)
    except (DiskFull, OutOfMemory):
        raise  # that is no word on the file
    except DiskFailed as error:
        if disk.exists(path):
            raise Unreadable(CorruptLog(path, 0, f"cannot be opened: {error.reason}")) from error
        raise


def encode_checkpoint(entries: Iterable[Sequence[int]], *, version: int = 0) -> bytes:
    """The contents of a checkpoint file of numbers."""
    lines = [" ".join(map(str, entry)) for entry in entries]
    return "".join(f"{line}\n" for line in (version, len(lines), *lines)).encode("ascii")


def read_checkpoint(disk: Disk, path: str, *, fields: int, version: int = 0) -> list[tuple[int, ...]]:
    """The entries of a checkpoint file, each with so many fields; `CorruptLog` if it is not one of that version."""
    rows: list[tuple[int, ...]] = []
    for number, line in enumerate(read_file(disk, path).decode("ascii", "replace").splitlines(), start=1):
        words, expected = line.split(" "), 1 if number <= HEAD_LINES else fields
        if len(words) != expected or not all(map(_NUMBER.fullmatch, words)):
            raise CorruptLog(path, 0, f"line {number} does not hold {expected} number{'s' if expected > 1 else ''}")
        rows.append(tuple(map(int, words)))
    head, entries = rows[:HEAD_LINES], rows[HEAD_LINES:]
    if head != [(version,), (len(entries),)]:
        raise CorruptLog(
            path, 0, f"it should begin with version {version} and the number of its {len(entries)} entries"
        )
    return entries
