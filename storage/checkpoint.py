"""Small files that are replaced whole: temp, sync, rename, sync of the directory.

Whenever the power goes, either the old contents or the new ones are there. Kafka's checkpoint files are text:

    line 1      format version
    line 2      number of entries
    then        one entry a line, fields separated by one space
"""

from collections.abc import Iterable, Sequence

from .disk import Disk
from .errors import CorruptLog

TEMPORARY_SUFFIX = ".tmp"
SIZE_MAX = 1 << 24
"""Far more than leader epochs, the digest of the largest segment, or a file of properties come to."""


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
    file = disk.open(path)
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
    file = disk.open(path)
    try:
        return file.read(position, size)
    finally:
        file.close()


def encode_checkpoint(entries: Iterable[Sequence[int]], *, version: int = 0) -> bytes:
    """The contents of a checkpoint file of numbers."""
    lines = [" ".join(map(str, entry)) for entry in entries]
    return "".join(f"{line}\n" for line in (version, len(lines), *lines)).encode("ascii")


def read_checkpoint(disk: Disk, path: str, *, fields: int, version: int = 0) -> list[tuple[int, ...]]:
    """The entries of a checkpoint file, each with so many fields; `CorruptLog` if it is not one of that version."""
    data = read_file(disk, path)
    try:
        found, count, *lines = data.decode("ascii").splitlines()
        entries = [tuple(map(int, line.split(" "))) for line in lines]
        if int(found) != version or int(count) != len(entries) or any(len(entry) != fields for entry in entries):
            raise ValueError(f"version {found}, {count} entries announced, {len(entries)} found")
    except ValueError as error:  # UnicodeDecodeError is one
        raise CorruptLog(path, 0, f"not a checkpoint: {error}") from error
    return entries
