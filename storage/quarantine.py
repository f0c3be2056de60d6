"""The note that a log was found damaged while it was in use (`quarantined` in its directory).

Recovery trusts what lies well below the durable mark and reads no more of it. So whoever finds damage there leaves this
note, and the log is read from its beginning at each start until it is sound. Recovery asks of the note up to where the
log was durable, for the mark may not have come so far; the rest is for people.

    version: 0
    durable: 912
    file: 00000000000000000000.log
    position: 5123
    end: 21507
    reason: the checksum does not hold

Everything below the offset `durable` was on the platter. `position` is where the first bad batch begins, `end` where
the damage ends, or `unknown`.
"""

import re
from dataclasses import dataclass
from typing import Final

from .checkpoint import read_file, replace_file
from .disk import Disk
from .durable_mark import DurableMark
from .errors import CorruptLog, Unreadable

FILE_NAME: Final = "quarantined"

_DURABLE = re.compile(rb"^durable: (\d{1,19})$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """How far a log is known to have been durable."""

    offset: int
    """Everything below was. When damage was found, the mark may not have come so far yet."""
    cuts_nothing: bool
    """More than that may have been, and nobody knows how much. Else what is bad above is a torn tail."""


def note_damage(disk: Disk, directory: str, damage: CorruptLog, *, durable: int) -> None:
    """Leave the note, durably; `DiskFailed` if that cannot be."""
    lines = (
        "version: 0",
        f"durable: {durable}",
        f"file: {damage.path.rpartition('/')[2]}",
        f"position: {damage.position}",
        f"end: {'unknown' if damage.end is None else damage.end}",
        f"reason: {damage.reason}",
    )
    replace_file(disk, f"{directory}/{FILE_NAME}", "".join(f"{line}\n" for line in lines).encode("utf-8"))


def noted_durable(disk: Disk, directory: str) -> int | None:
    """The offset below which everything was durable when the note was left; None if there is none that says so."""
    path = f"{directory}/{FILE_NAME}"
    try:
        match = _DURABLE.search(read_file(disk, path)) if disk.exists(path) else None
    except (CorruptLog, Unreadable):
        return None
    return None if match is None else int(match[1])


def known_durable(disk: Disk, directory: str, mark: DurableMark, *, was_closed: bool) -> Durable:
    """What mark and note say together; `was_closed` after a clean stop."""
    noted = noted_durable(disk, directory)
    is_vague = noted is None and is_noted(disk, directory)
    return Durable(
        offset=max(mark.offset or 0, noted or 0), cuts_nothing=is_vague or not mark.may_cut(was_closed=was_closed)
    )


def is_noted(disk: Disk, directory: str) -> bool:
    """Whether damage was found in that log, and nobody has seen it sound since."""
    return disk.exists(f"{directory}/{FILE_NAME}")


def forget_damage(disk: Disk, directory: str) -> None:
    """The log was read from its beginning and is sound. After a crash that may have to be found once more."""
    disk.remove(f"{directory}/{FILE_NAME}")
