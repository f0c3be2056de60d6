"""A disk in memory for one short life on a given tree: cheap to make, so that a hundred thousand trees can be opened.

It knows no power cut, no failing call and no dirty page; for those there is `SimulatedDisk`. What it has instead: it is
made from a tree that many disks share, and can say what was changed on it.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence

from tidelog.protocol.batch import Buffer
from tidelog.storage.disk import File, Lock, failure
from tidelog.storage.errors import DirectoryLocked

SIZE = 1 << 40

Tree = Mapping[str, bytes]
"""Files by path."""
NOTHING: Tree = {}


class _Inode:
    """A file's contents; `bytes` as long as they are the shared ones."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | bytearray = b"") -> None:
        self.data = data

    def own(self) -> bytearray:
        if isinstance(self.data, bytes):
            self.data = bytearray(self.data)
        return self.data


class FlatDisk:
    """See the module."""

    def __init__(self, tree: Tree = NOTHING, directories: Sequence[str] = ()) -> None:
        """Empty `directories` must be named; all others follow from the files."""
        self._files = {path: _Inode(data) for path, data in tree.items()}
        self._directories = {"", *directories}
        self._directories.update(path.rpartition("/")[0] for path in tree)
        self._locks: set[str] = set()
        self._names: dict[str, list[str]] = {}
        """What `list` found, until names change."""

    def tree(self) -> dict[str, bytes]:
        """Every file and what is in it."""
        return {path: bytes(inode.data) for path, inode in self._files.items()}

    def changed_since(self, tree: Tree) -> set[str]:
        """The paths of files that are not as they are in `tree`."""
        files = self._files
        changed = {path for path in tree if path not in files}
        for path, inode in files.items():
            before = tree.get(path)
            if before is not inode.data and before != inode.data:
                changed.add(path)
        return changed

    def kill(self) -> None:
        """The process dies, and its locks with it."""
        self._locks.clear()

    def crash(self) -> None:
        """Nobody cuts the power of this one."""
        raise NotImplementedError

    def damage(self, path: str, data: bytes | None) -> None:
        """Give a file other contents behind everybody's back, or take it away."""
        if data is None:
            del self._files[path]
            self._names.clear()
        else:
            self._files[path].data = data

    # Disk.

    def open(self, path: str, *, create: bool = False) -> File:
        """See `Disk`."""
        return FlatFile(path, self._opened(path, create=create))

    def exists(self, path: str) -> bool:
        """See `Disk`."""
        return path in self._files or path in self._directories

    def size(self, path: str) -> int:
        """See `Disk`."""
        return len(self._opened(path, create=False).data)

    def list(self, directory: str) -> list[str]:
        """See `Disk`."""
        if directory not in self._directories:
            raise _missing(directory)
        names = self._names.get(directory)
        if names is None:
            names = self._names[directory] = sorted(self._names_in(directory))
        return list(names)

    def _names_in(self, directory: str) -> Iterator[str]:
        for path in (*self._files, *self._directories):
            parent, _, name = path.rpartition("/")
            if parent == directory and name:
                yield name

    def is_directory(self, path: str) -> bool:
        """See `Disk`."""
        return path in self._directories

    def make_directory(self, path: str) -> None:
        """See `Disk`."""
        if self.exists(path):
            raise failure(path, OSError(errno.EEXIST, "File exists"))
        self._directories.add(path)
        self._names.clear()

    def rename(self, source: str, target: str) -> None:
        """See `Disk`."""
        if source in self._files:
            self._files[target] = self._files.pop(source)
        elif source in self._directories:
            self._directories.remove(source)
            self._directories.add(target)
            for path in [path for path in self._files if path.startswith(source + "/")]:
                self._files[target + path[len(source) :]] = self._files.pop(path)
        else:
            raise _missing(source)
        self._names.clear()

    def remove(self, path: str) -> None:
        """See `Disk`."""
        if self._files.pop(path, None) is None:
            raise _missing(path)
        self._names.clear()

    def remove_directory(self, path: str) -> None:
        """See `Disk`."""
        if path not in self._directories:
            raise _missing(path)
        self._files = {name: inode for name, inode in self._files.items() if not name.startswith(path + "/")}
        self._directories -= {name for name in self._directories if name == path or name.startswith(path + "/")}
        self._names.clear()

    def sync_directory(self, directory: str) -> None:
        """See `Disk`."""

    def lock(self, path: str) -> Lock:
        """See `Disk`."""
        if path in self._locks:
            raise DirectoryLocked(path)
        self._opened(path, create=True)
        self._locks.add(path)
        return FlatLock(self, path)

    def free_bytes(self) -> int:
        """See `Disk`."""
        return SIZE

    def total_bytes(self) -> int:
        """See `Disk`."""
        return SIZE

    # Volume.

    def allocate(self, path: str, size: int) -> None:
        """See `Volume`."""
        self._opened(path, create=True).data = bytes(size)

    @property
    def syncs_all(self) -> bool:
        """See `Volume`."""
        return False

    def sync_all(self) -> None:
        """See `Volume`."""
        raise NotImplementedError

    # For the files.

    def unlock(self, path: str) -> None:
        """A lock is released."""
        self._locks.discard(path)

    def _opened(self, path: str, *, create: bool) -> _Inode:
        inode = self._files.get(path)
        if inode is None:
            if not create or path in self._directories:
                raise _missing(path)
            inode = self._files[path] = _Inode()
            self._names.clear()
        return inode


class FlatFile:
    """An open file."""

    __slots__ = ("_inode", "path")

    def __init__(self, path: str, inode: _Inode) -> None:
        self.path = path
        self._inode = inode

    @property
    def size(self) -> int:
        """See `File`."""
        return len(self._inode.data)

    def append(self, buffers: Sequence[Buffer]) -> int:
        """See `File`."""
        position = len(self._inode.data)
        self.write(position, b"".join(buffers))
        return position

    def write(self, position: int, data: Buffer) -> None:
        """See `File`."""
        own = self._inode.own()
        if len(own) < position:
            own.extend(bytes(position - len(own)))
        own[position : position + len(data)] = data

    def read(self, position: int, size: int) -> bytes:
        """See `File`."""
        if position < 0 or size < 0:
            raise failure(self.path, OSError(errno.EINVAL, "Invalid argument"))
        return bytes(self._inode.data[position : position + size])

    def drop_cache(self, position: int, size: int) -> None:
        """See `File`."""

    def truncate(self, size: int) -> None:
        """See `File`."""
        if size < len(self._inode.data):
            del self._inode.own()[size:]

    def sync(self) -> None:
        """See `File`."""

    def close(self) -> None:
        """See `File`."""


class FlatLock:
    """A lock."""

    __slots__ = ("_disk", "_path")

    def __init__(self, disk: FlatDisk, path: str) -> None:
        self._disk, self._path = disk, path

    def release(self) -> None:
        """See `Lock`."""
        self._disk.unlock(self._path)


def _missing(path: str) -> Exception:
    return failure(path, OSError(errno.ENOENT, "No such file or directory"))
