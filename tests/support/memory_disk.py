"""What the disks in memory have in common: how a path leads to a file, and locks."""

import errno
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from tidelog.storage.disk import failure
from tidelog.storage.errors import DiskFailed


class Named(Protocol):
    """A directory."""

    @property
    def names(self) -> Mapping[str, object]:
        """What lies in it."""


F = TypeVar("F")
D = TypeVar("D", bound=Named)


class Paths(Generic[F, D]):
    """Files and directories below a root, by their paths."""

    def __init__(self, root: D, file: type[F]) -> None:
        self.root = root
        self._file = file

    def find(self, path: str) -> F | D | None:
        """What has that path."""
        node: object = self.root
        for name in path.split("/") if path else ():
            if not isinstance(node, type(self.root)):
                return None
            node = node.names.get(name)
        return node if isinstance(node, self._file | type(self.root)) else None

    def file(self, path: str) -> F:
        """The file of that path; DiskFailed if there is none."""
        node = self.find(path)
        if not isinstance(node, self._file):
            raise missing(path)
        return node

    def directory(self, path: str) -> D:
        """The directory of that path; DiskFailed if there is none."""
        node = self.find(path)
        if not isinstance(node, type(self.root)):
            raise missing(path)
        return node

    def parent(self, path: str) -> tuple[D, str]:
        """The directory that it lies in, and its name there."""
        directory, _, name = path.rpartition("/")
        return self.directory(directory), name


class Locking(Protocol):
    """A disk that was locked."""

    @property
    def life(self) -> int:
        """Counts the processes that it has seen."""

    def unlock(self, path: str) -> None:
        """A lock is released."""


class MemoryLock:
    """A lock of one life."""

    def __init__(self, disk: Locking, path: str) -> None:
        self._disk, self._path, self._life = disk, path, disk.life

    def release(self) -> None:
        """See `Lock`."""
        if self._life == self._disk.life:
            self._disk.unlock(self._path)


def missing(path: str) -> DiskFailed:
    """What opening a file says that is not there."""
    return failure(path, OSError(errno.ENOENT, "No such file or directory"))
