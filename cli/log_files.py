"""`tidelog log`: looks into log files without a broker. The files `log_*.py` alone know the storage.

Nothing is changed but by `verify --repair` and `recreate`, and nothing is locked but by these; so a running broker's
files may be looked at too: what lies above a log's durable mark may then be half written. That is a tail and no damage.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..protocol.compression import Codec
from ..storage.disk import Disk, RealDisk
from ..storage.errors import StorageError, UnknownFormat
from ..storage.leftovers import segment_bases
from ..storage.log_directory import CLEAN_SHUTDOWN, META, PARTITION_METADATA, check_format, log_directories
from ..storage.segment import SUFFIX
from .commands import Group, group
from .errors import Code, CommandFailed

METADATA_LOG = "__cluster_metadata-0"

# What the storage would log is said by findings and plans; and of an answer in JSON stderr is JSON, too.
logging.getLogger("tidelog.storage").addHandler(logging.NullHandler())


@group(
    "log",
    examples=(
        "tidelog log verify tidelog-data",
        "tidelog log stat tidelog-data",
        "tidelog log dump tidelog-data/orders-0 -n 10 -o jsonl",
    ),
)
def log() -> None:
    """Look into log files, without a broker."""


assert isinstance(log, Group)
log.lazy = {
    "dump": ("log_dump:dump", "Print what stands in a file of a log."),
    "recreate": ("log_recreate:recreate", "Put an empty log where one of __consumer_offsets is lost."),
    "stat": ("log_stat:stat", "Show how much is in each log, or in each segment of one."),
    "verify": ("log_verify:verify", "Check everything in a data directory, a log or a segment; repair it."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a path on the command line means."""

    disk: Disk
    """Its root is the data directory. It is for reading alone, as a disk that is looked into may be."""
    root: Path
    logs: list[str]
    """The names of the directories."""
    only: int | None = None
    """The base offset of the one segment that is meant."""

    @property
    def was_closed(self) -> bool:
        """The last broker closed all logs, and none has them now."""
        return self.disk.exists(CLEAN_SHUTDOWN)

    @property
    def is_whole(self) -> bool:
        """All of a data directory is meant."""
        return _is_data_directory(self.root) and self.logs == _logs_in(self.root)


@contextmanager
def files_may_fail() -> Iterator[None]:
    """Around a command: what the disk refuses, and what cannot be told of one file alone, ends it in one line."""
    try:
        yield
    except StorageError as error:
        raise CommandFailed(Code.FAILED, str(error)) from None


def target_at(path: Path) -> Target:
    """A data directory, a log in it, or a segment of that. Raises CommandFailed."""
    path = path.absolute()
    if path.is_file() and path.suffix == SUFFIX and path.stem.isdigit():
        root, logs, only = path.parent.parent, [path.parent.name], int(path.stem)
    elif _is_log(path) or (path.is_dir() and path.name in _logs_in(path.parent)):
        root, logs, only = path.parent, [path.name], None
    else:
        root, logs, only = path, _logs_in(path), None
    if not logs and not _is_data_directory(root):
        raise CommandFailed(Code.LOG_NOT_FOUND, f"{path} is neither a data directory, nor a log, nor a {SUFFIX} file")
    disk = RealDisk(str(root), read_only=True)
    if disk.exists(META):
        try:
            check_format(disk)
        except UnknownFormat as error:
            hint = "another version of tidelog wrote it, or it is damaged: see docs/operating.md"
            raise CommandFailed(Code.LOG_FORMAT, str(error), hint) from None
    return Target(disk=disk, root=root, logs=logs, only=only)


def _is_data_directory(path: Path) -> bool:
    """Whether a broker has had it; its logs may be gone."""
    return any((path / name).exists() for name in (META, CLEAN_SHUTDOWN, METADATA_LOG))


def _logs_in(path: Path) -> list[str]:
    """The names of the logs in a directory; elsewhere than in a data directory others may have such names."""
    if not path.is_dir():
        return []
    names = log_directories(RealDisk(str(path)))
    return names if _is_data_directory(path) else [name for name in names if _is_log(path / name)]


def _is_log(path: Path) -> bool:
    """Whether a directory holds a segment, or says whose log it is."""
    if not path.is_dir():
        return False
    return (path / PARTITION_METADATA).exists() or bool(segment_bases(RealDisk(str(path.parent)), path.name))


def codec_name(codec: int) -> str:
    """A compression in words."""
    return Codec(codec).name.lower() if codec in set(Codec) else f"codec {codec}"
