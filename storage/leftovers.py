"""What an interrupted change may have left in a log's directory, and how it is cleared away (L-9).

    *.tmp                           half a checkpoint: removed
    *.deleted, *.cleaned            segments on their way out, or not yet complete: removed
    *.index, *.timeindex, *.txnindex, *.digest without the .log of that number, before the first segment or behind the
                                    last: removed

Nothing that is removed here was ever part of the log, so nothing is synced: after a crash it is removed again. Files
without their .log *between* two segments tell that one is missing, and are left.
"""

import logging
import re
from typing import Final

from .checkpoint import TEMPORARY_SUFFIX
from .disk import Disk

UNFINISHED_SUFFIXES: Final = (TEMPORARY_SUFFIX, ".deleted", ".cleaned")

_SEGMENT = re.compile(r"(\d{20})\.log")
_INDEX = re.compile(r"(\d{20})\.(?:index|timeindex|txnindex|digest)")

logger = logging.getLogger(__name__)


def segment_bases(disk: Disk, directory: str) -> list[int]:
    """The base offsets of the segments in a log's directory, ascending."""
    return sorted(int(match[1]) for name in disk.list(directory) if (match := _SEGMENT.fullmatch(name)))


def remove_leftovers(disk: Disk, directory: str) -> None:
    """Remove from a log's directory what is not part of the log, which is sound."""
    names = disk.list(directory)
    bases = segment_bases(disk, directory)
    for name in names:
        index = _INDEX.fullmatch(name)
        if name.endswith(UNFINISHED_SUFFIXES) or (index is not None and not bases[0] <= int(index[1]) <= bases[-1]):
            logger.info("removing what was left behind path=%s/%s", directory, name)
            disk.remove(f"{directory}/{name}")
