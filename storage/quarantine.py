"""The note that a log was found damaged while it was in use (`quarantined` in its directory).

Recovery trusts what lies well below the durable mark and reads no more of it. So whoever finds damage there leaves this
note, and the log is read from its beginning at each start until it is sound. What the note says is for people; that it
is there is all that recovery asks.

    version: 0
    file: 00000000000000000000.log
    position: 5123
    end: 21507
    reason: the checksum does not hold

`position` is where the first bad batch begins, `end` where the damage ends, or `unknown`.
"""

from typing import Final

from .checkpoint import replace_file
from .disk import Disk
from .errors import CorruptLog

FILE_NAME: Final = "quarantined"


def note_damage(disk: Disk, directory: str, damage: CorruptLog) -> None:
    """Leave the note, durably; `DiskFailed` if that cannot be."""
    lines = (
        "version: 0",
        f"file: {damage.path.rpartition('/')[2]}",
        f"position: {damage.position}",
        f"end: {'unknown' if damage.end is None else damage.end}",
        f"reason: {damage.reason}",
    )
    replace_file(disk, f"{directory}/{FILE_NAME}", "".join(f"{line}\n" for line in lines).encode("utf-8"))


def is_noted(disk: Disk, directory: str) -> bool:
    """Whether damage was found in that log, and nobody has seen it sound since."""
    return disk.exists(f"{directory}/{FILE_NAME}")


def forget_damage(disk: Disk, directory: str) -> None:
    """The log was read from its beginning and is sound. After a crash that may have to be found once more."""
    disk.remove(f"{directory}/{FILE_NAME}")
