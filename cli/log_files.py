"""`tidelog log`: looks into log files without a broker. The files `log_*.py` alone know the storage.

Nothing is changed, unless `verify --repair` was told to, and nothing is locked but by that; so a running broker's files
may be looked at too: what lies above a log's durable mark may then be half written. That is a tail and no damage.
"""

from dataclasses import dataclass
from pathlib import Path

from ..protocol.compression import Codec
from ..storage.disk import Disk, RealDisk
from ..storage.errors import UnknownFormat
from ..storage.log_directory import CLEAN_SHUTDOWN, META, check_format, log_directories
from ..storage.segment import SUFFIX
from .commands import Group, group
from .errors import Code, CommandFailed


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
    "stat": ("log_stat:stat", "Show how much is in each log, or in each segment of one."),
    "verify": ("log_verify:verify", "Check everything in a data directory, a log or a segment; repair it."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a path on the command line means."""

    disk: Disk
    """Its root is the data directory."""
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
        """All logs of a data directory are meant."""
        return self.disk.exists(META) and self.logs == log_directories(self.disk)


def target_at(path: Path) -> Target:
    """A data directory, a log in it, or a segment of that. Raises CommandFailed."""
    path = path.absolute()
    if path.is_file() and path.suffix == SUFFIX and path.stem.isdigit():
        root, logs, only = path.parent.parent, [path.parent.name], int(path.stem)
    elif path.is_dir() and (any(path.glob(f"*{SUFFIX}")) or path.name in _logs_in(path.parent)):
        root, logs, only = path.parent, [path.name], None
    else:
        root, logs, only = path, _logs_in(path), None
    if not logs:
        raise CommandFailed(Code.LOG_NOT_FOUND, f"{path} is neither a data directory, nor a log, nor a {SUFFIX} file")
    disk = RealDisk(str(root))
    if disk.exists(META):
        try:
            check_format(disk)
        except UnknownFormat as error:
            raise CommandFailed(Code.LOG_FORMAT, str(error), "another version of tidelog wrote it") from None
    return Target(disk=disk, root=root, logs=logs, only=only)


def _logs_in(path: Path) -> list[str]:
    return log_directories(RealDisk(str(path))) if path.is_dir() else []


def codec_name(codec: int) -> str:
    """A compression in words."""
    return Codec(codec).name.lower() if codec in set(Codec) else f"codec {codec}"
