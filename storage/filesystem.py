"""A filesystem as a whole, made durable at one stroke: Linux's `syncfs`, where it can be believed.

It costs about as much for a thousand files as for ten, but says of a failure only that there was one, perhaps a
neighbour's: what befell a file is told, as ever, to who syncs that file. Before Linux 5.8 it does not even say that.
Which filesystems also have the drive empty its cache, whatever was written, was read in their code: those that are
named here. On others, and where the kernel does not tell which one it is (a subvolume of Btrfs, an overlay), there is
no such thing as a `Filesystem`, and files are synced one by one.
"""

import os
import re
from typing import Final

SOUND: Final = frozenset({"ext4", "tmpfs", "xfs"})
LINUX_MIN: Final = (5, 8)
MOUNTS: Final = "/proc/self/mountinfo"

_RELEASE = re.compile(r"(\d+)\.(\d+)")


class Filesystem:
    """The one that a directory lies on. Its descriptor is opened once and kept.

    For the kernel tells of errors since that, those too that befell pages before a sync began; and once of older ones
    that nobody has been told of.
    """

    def __init__(self, directory: str) -> None:
        """Made before the first file is written to. Raises OSError."""
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.device = os.fstat(self._descriptor).st_dev

    @classmethod
    def below(cls, directory: str) -> "Filesystem | None":
        """The one that the directory lies on; None if its sync cannot be believed. Raises OSError."""
        device = os.stat(directory).st_dev
        if not tells_of_errors(os.uname().release):
            return None
        with open(MOUNTS, encoding="utf-8", errors="replace") as mounts:
            kind = kind_of(f"{os.major(device)}:{os.minor(device)}", mounts.read())
        return cls(directory) if kind in SOUND else None

    def sync(self) -> None:
        """Make everything on it durable. Raises OSError. May come from another thread."""
        import ctypes  # no start need wait for it

        if ctypes.CDLL(None, use_errno=True).syncfs(self._descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


def kind_of(device: str, mounts: str) -> str | None:
    """What a mounted device, `major:minor`, is formatted with; `mounts` is Linux's /proc/self/mountinfo."""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if fields[2] == device:
            return fields[fields.index("-") + 1]
    return None


def tells_of_errors(release: str) -> bool:
    """Whether a kernel of this release says so when a sync of a filesystem has failed."""
    version = _RELEASE.match(release)
    return version is not None and (int(version[1]), int(version[2])) >= LINUX_MIN
