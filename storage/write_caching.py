"""The note that consumers may have seen records that were not durable (`write-caching` in a log's directory).

Under `write.caching` a power cut can take such records back, and at the end of a batch nothing tells of it: the log
just ends earlier. A consumer that was beyond must learn of it all the same (KIP-320), or it would skip what is written
there next. So the note is there before the first of these records, and goes when a clean stop has made all of them
durable. Whoever finds it begins a leader epoch, whatever the settings are by then. The file is empty.
"""

from typing import Final

from .disk import Disk

FILE_NAME: Final = "write-caching"


def note_caching(disk: Disk, directory: str) -> None:
    """Leave the note, durably; `DiskFailed` if that cannot be."""
    disk.open(f"{directory}/{FILE_NAME}", create=True).close()
    disk.sync_directory(directory)


def is_caching_noted(disk: Disk, directory: str) -> bool:
    """Whether records may have been seen that are gone."""
    return disk.exists(f"{directory}/{FILE_NAME}")


def forget_caching(disk: Disk, directory: str) -> None:
    """All that was seen is durable, or an epoch has begun. If a crash brings the note back, one more begins."""
    disk.remove(f"{directory}/{FILE_NAME}")
