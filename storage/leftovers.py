"""What an interrupted change may have left in a log's directory, and how it is cleared away (L-9).

    *.tmp                           half a checkpoint: removed
    *.deleted, *.cleaned            segments on their way out, or not yet complete: removed
    *.index, *.timeindex, *.txnindex, *.digest without the .log of that number, before the first segment or behind the
                                    last: removed

Nothing that is removed here was ever part of the log. It is removed for good, for a crash might bring it back when it
no longer lies behind the last segment, and it would be left there. Files
without their .log *between* two segments tell that one is missing, and are left. Those *behind* the last one tell the
same when the durable mark does not say where the log ends (`went_on`).
"""

import logging
import re
from typing import Final, NamedTuple

from .checkpoint import TEMPORARY_SUFFIX
from .disk import Disk

UNFINISHED_SUFFIXES: Final = (TEMPORARY_SUFFIX, ".deleted", ".cleaned")

_SEGMENT = re.compile(r"(\d{20})\.log")
_INDEX = re.compile(r"(\d{20})\.(?:index|timeindex|txnindex|digest)")
_SNAPSHOT = re.compile(r"(\d{20})\.snapshot")

logger = logging.getLogger(__name__)


def segment_bases(disk: Disk, directory: str) -> list[int]:
    """The base offsets of the segments in a log's directory, ascending."""
    return sorted(int(match[1]) for name in disk.list(directory) if (match := _SEGMENT.fullmatch(name)))


def is_segments_or_unfinished(name: str) -> bool:
    """Whether a file of that name belongs to a segment, to the producers, or to an interrupted change."""
    patterns = (_SEGMENT, _INDEX, _SNAPSHOT)
    return name.endswith(UNFINISHED_SUFFIXES) or any(pattern.fullmatch(name) for pattern in patterns)


class Trace(NamedTuple):
    """A file that tells how far the log went, at least."""

    path: str
    offset: int


def went_on(disk: Disk, directory: str, end_offset: int) -> Trace | None:
    """What tells most of records behind the log's end, if anything does: the producers there, or files of a segment.

    A crash may leave such files of a segment that was never used; so they count only if nothing better is known.
    """
    last = segment_bases(disk, directory)[-1]
    found = None
    for name in disk.list(directory):
        index, snapshot = _INDEX.fullmatch(name), _SNAPSHOT.fullmatch(name)
        if index is not None and last < int(index[1]) >= end_offset:
            found = Trace(f"{directory}/{name}", int(index[1]))
        elif snapshot is not None and int(snapshot[1]) > end_offset:
            found = Trace(f"{directory}/{name}", int(snapshot[1]))
    return found


def remove_leftovers(disk: Disk, directory: str) -> None:
    """Remove from a log's directory what is not part of the log, which is sound."""
    names = disk.list(directory)
    bases = segment_bases(disk, directory)
    has_removed = False
    for name in names:
        index = _INDEX.fullmatch(name)
        if name.endswith(UNFINISHED_SUFFIXES) or (index is not None and not bases[0] <= int(index[1]) <= bases[-1]):
            logger.info("removing what was left behind path=%s/%s", directory, name)
            disk.remove(f"{directory}/{name}")
            has_removed = True
    if has_removed:
        disk.sync_directory(directory)
