"""The calls by which bytes become durable: `Disk`, `File`, `Map`, `Lock`, and their real implementation.

Each call may be the last before the power goes. What a power cut leaves behind (the simulated disk of the tests takes
every liberty that this grants):

* bytes of a file: those that were there at its last `sync`, unchanged; of later ones any part, in any order, or zeros;
* a name in a directory (created, renamed, removed): as it was at the last `sync_directory` of that directory, or as
  any later step left it; a rename is never half done;
* a mapped file: each page as it was at the last `sync` or as it was later.

Paths are relative to the disk's root, separated by "/"; "" is the root. Everything that the operating system refuses
is raised as `DiskFailed`, lack of space as `DiskFull`.
"""

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from ..protocol.batch import Buffer
from .errors import DirectoryLocked, DiskFailed, DiskFull

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
IOV_MAX: Final = 1024
"""Buffers that one writev takes (Linux's UIO_MAXIOV)."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Syncable(Protocol):
    """A file or a mapping, when all that matters is that it becomes durable."""

    def sync(self) -> None:
        """Make durable what the file holds at this moment. The only call that may come from another thread."""


class File(Protocol):
    """An open file. Used by its owner alone, but for `sync`."""

    path: str

    @property
    def size(self) -> int:
        """Bytes in the file."""

    def append(self, buffers: Sequence[Buffer]) -> int:
        """Write all of them at the end; the position of the first byte. On failure the file is as it was before."""

    def write(self, position: int, data: Buffer) -> None:
        """Put a small record in its place; the file grows when it must."""

    def read(self, position: int, size: int) -> bytes:
        """Up to `size` bytes; fewer at the end of the file."""

    def truncate(self, size: int) -> None:
        """Cut what lies beyond `size`."""

    def sync(self) -> None:
        """Make durable what the file holds at this moment. The only call that may come from another thread."""

    def close(self) -> None:
        """Give the descriptor back. What was not synced is left to the page cache."""


class Map(Protocol):
    """A file mapped into memory, every page of which has its place on the disk."""

    path: str

    @property
    def buffer(self) -> memoryview:
        """The whole file, writable. Not to be kept over a `resize` or `close`."""

    @property
    def size(self) -> int:
        """Bytes mapped, which is the file's size."""

    def resize(self, size: int) -> None:
        """Grow with zeros, their space allocated first, or shrink. On failure nothing has changed."""

    def sync(self) -> None:
        """Make durable what the file holds at this moment. May come from another thread."""

    def close(self) -> None:
        """Unmap."""


class Lock(Protocol):
    """A lock on a path that ends with the process, however it ends."""

    def release(self) -> None:
        """Let others have it."""


class Disk(Protocol):
    """A directory tree that may lose power."""

    def open(self, path: str, *, create: bool = False) -> File:
        """A file for reading and writing; made empty when it is missing and `create` is set."""

    def map(self, path: str, size: int | None = None) -> Map:
        """A file mapped; made, or grown, or cut to `size` when that is given."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory of that name."""

    def size(self, path: str) -> int:
        """A file's size."""

    def list(self, directory: str) -> list[str]:
        """The names in a directory, sorted."""

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory of that name."""

    def make_directory(self, path: str) -> None:
        """Make one directory; its parent must be there."""

    def rename(self, source: str, target: str) -> None:
        """Give a file or directory another name, replacing a file that has it, at once."""

    def remove(self, path: str) -> None:
        """Remove a file."""

    def remove_directory(self, path: str) -> None:
        """Remove a directory and what is in it."""

    def sync_directory(self, directory: str) -> None:
        """Make durable which names the directory holds."""

    def lock(self, path: str) -> Lock:
        """Lock a file, made when it is missing; `DirectoryLocked` if another process has it."""

    def free_bytes(self) -> int:
        """Space that is left for us."""

    def total_bytes(self) -> int:
        """Space there is, used or not."""


@contextmanager
def _reporting(path: str) -> Iterator[None]:
    """Say in our words what the operating system refused."""
    try:
        yield
    except OSError as error:
        raise failure(path, error) from error
    except ValueError as error:  # os.fdatasync and mmap check the descriptor themselves
        raise failure(path, OSError(errno.EBADF, os.strerror(errno.EBADF))) from error


def failure(path: str, error: OSError) -> DiskFailed:
    """The exception that an operating system's error becomes."""
    reason = error.strerror or str(error)
    return DiskFull(path, reason) if error.errno in _FULL else DiskFailed(path, reason)


class RealDisk:
    """A directory of the operating system."""

    def __init__(self, root: str) -> None:
        """`root` is made when the data directory is opened (`make_directory("")`), its parents too."""
        self.root = os.path.abspath(root)

    def open(self, path: str, *, create: bool = False) -> File:
        """See `Disk`."""
        with _reporting(path):
            flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
            return RealFile(path, os.open(self._real(path), flags, FILE_MODE))

    def map(self, path: str, size: int | None = None) -> Map:
        """See `Disk`."""
        with _reporting(path):
            return RealMap(path, self._real(path), size)

    def exists(self, path: str) -> bool:
        """See `Disk`."""
        return os.path.lexists(self._real(path))

    def size(self, path: str) -> int:
        """See `Disk`."""
        with _reporting(path):
            return os.stat(self._real(path)).st_size

    def list(self, directory: str) -> list[str]:
        """See `Disk`."""
        with _reporting(directory):
            return sorted(os.listdir(self._real(directory)))

    def is_directory(self, path: str) -> bool:
        """See `Disk`."""
        return os.path.isdir(self._real(path))

    def make_directory(self, path: str) -> None:
        """See `Disk`. The root's parents are made and synced with it, for nobody else would."""
        with _reporting(path):
            if path:
                os.mkdir(self._real(path), DIRECTORY_MODE)
                return
            missing = self.root
            while not os.path.isdir(missing):
                missing = os.path.dirname(missing)
            os.makedirs(self.root, DIRECTORY_MODE, exist_ok=True)
            made = self.root
            while made != missing:
                made = os.path.dirname(made)
                _sync_directory(made)

    def rename(self, source: str, target: str) -> None:
        """See `Disk`."""
        with _reporting(source):
            os.rename(self._real(source), self._real(target))

    def remove(self, path: str) -> None:
        """See `Disk`."""
        with _reporting(path):
            os.unlink(self._real(path))

    def remove_directory(self, path: str) -> None:
        """See `Disk`. Symbolic links are removed, never followed."""
        with _reporting(path):
            _remove_tree(self._real(path))

    def sync_directory(self, directory: str) -> None:
        """See `Disk`."""
        with _reporting(directory):
            _sync_directory(self._real(directory))

    def lock(self, path: str) -> Lock:
        """See `Disk`. A flock: the kernel lets go of it when the process dies."""
        with _reporting(path):
            descriptor = os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise DirectoryLocked(self._real(path)) from None
            except BaseException:
                os.close(descriptor)
                raise
            return RealLock(descriptor)

    def free_bytes(self) -> int:
        """See `Disk`."""
        with _reporting(""):
            found = os.statvfs(self.root)
            return found.f_bavail * found.f_frsize

    def total_bytes(self) -> int:
        """See `Disk`."""
        with _reporting(""):
            found = os.statvfs(self.root)
            return found.f_blocks * found.f_frsize

    def _real(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root


class RealFile:
    """A file descriptor. `size` is kept here: the end of the file is where our last whole append ended."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._tail_in_doubt = False
        """A failed append could not be cut off: bytes that nobody owns may lie beyond `_size`."""

    @property
    def size(self) -> int:
        """See `File`."""
        return self._size

    def append(self, buffers: Sequence[Buffer]) -> int:
        """See `File`. One `pwritev`, or as many as short writes and the kernel's limit make necessary."""
        position = end = self._size
        try:
            if self._tail_in_doubt:
                self._cut_tail()
            self._tail_in_doubt = True
            if len(buffers) <= IOV_MAX:
                end += _write_all(self._descriptor, buffers, end)
            else:
                for begin in range(0, len(buffers), IOV_MAX):
                    end += _write_all(self._descriptor, buffers[begin : begin + IOV_MAX], end)
            self._tail_in_doubt = False
        except OSError as error:
            try:
                self._cut_tail()
            except OSError:
                pass  # tried again before the next append; until then the bytes lie beyond `size`, unread
            raise failure(self.path, error) from error
        self._size = end
        return position

    def write(self, position: int, data: Buffer) -> None:
        """See `File`."""
        with _reporting(self.path):
            end = position + _write_all(self._descriptor, [data], position)
            self._size = max(self._size, end)

    def read(self, position: int, size: int) -> bytes:
        """See `File`. One pread, unless the kernel returns early."""
        try:
            data = os.pread(self._descriptor, size, position)
            while len(data) < size and position + len(data) < self._size:
                more = os.pread(self._descriptor, size - len(data), position + len(data))
                if not more:
                    break
                data += more
            return data
        except OSError as error:
            raise failure(self.path, error) from error

    def truncate(self, size: int) -> None:
        """See `File`."""
        with _reporting(self.path):
            os.ftruncate(self._descriptor, size)
            self._size = size

    def sync(self) -> None:
        """See `File`. fdatasync writes the size as well, for without it the data could not be found."""
        with _reporting(self.path):
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """See `File`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _cut_tail(self) -> None:
        os.ftruncate(self._descriptor, self._size)
        self._tail_in_doubt = False


class RealMap:
    """A shared mapping. Blocks are allocated before pages are mapped, so that touching one can never raise SIGBUS.

    The mapping holds a descriptor already. Of a file that is only looked up in, no other one is kept.
    """

    def __init__(self, path: str, real_path: str, size: int | None) -> None:
        self.path = path
        self._real_path = real_path
        self._descriptor = os.open(real_path, os.O_RDWR | os.O_CLOEXEC | (0 if size is None else os.O_CREAT), FILE_MODE)
        self._is_closed = False
        self._mapping: mmap.mmap | None = None
        self._buffer = memoryview(bytearray())
        self._size = 0
        try:
            found = os.fstat(self._descriptor).st_size
            wanted = found if size is None else size
            if wanted < found:
                os.ftruncate(self._descriptor, wanted)
            # Also when the size fits already: a sparse file, left by another's hand, would have pages without a place.
            _allocate(self._descriptor, 0, wanted)
            self._map(wanted)
        except BaseException:
            self._close_descriptor()
            raise
        if size is None:
            self._close_descriptor()

    @property
    def buffer(self) -> memoryview:
        """See `Map`."""
        return self._buffer

    @property
    def size(self) -> int:
        """See `Map`."""
        return self._size

    def resize(self, size: int) -> None:
        """See `Map`. Pages come after their blocks and go before them, so no mapped page ever lacks its place."""
        with _reporting(self.path):
            descriptor = self._opened()
            if size > self._size:
                _allocate(descriptor, self._size, size)
                self._map(size)
            else:
                before = self._size
                self._map(size)
                try:
                    os.ftruncate(descriptor, size)
                except OSError:
                    self._map(before)
                    raise

    def sync(self) -> None:
        """See `Map`. fdatasync finds the pages dirtied through the mapping too, and unlike msync frees the GIL."""
        with _reporting(self.path):
            os.fdatasync(self._opened())

    def close(self) -> None:
        """See `Map`."""
        self._is_closed = True
        self._unmap()
        self._close_descriptor()

    def _opened(self) -> int:
        if self._descriptor < 0 and not self._is_closed:
            self._descriptor = os.open(self._real_path, os.O_RDWR | os.O_CLOEXEC)
        return self._descriptor

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _map(self, size: int) -> None:
        mapping = mmap.mmap(self._opened(), size) if size else None  # an empty file cannot be mapped
        self._unmap()
        if mapping is not None:
            self._mapping, self._buffer = mapping, memoryview(mapping)
        self._size = size

    def _unmap(self) -> None:
        self._buffer.release()
        self._buffer = memoryview(bytearray())
        if self._mapping is not None:
            self._mapping.close()
            self._mapping = None


class RealLock:
    """A descriptor with a flock on it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """See `Lock`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _write_all(descriptor: int, buffers: Sequence[Buffer], position: int) -> int:
    """Write all of the buffers at `position`; how many bytes that were. A short write goes on where it stopped."""
    total = sum(map(len, buffers))
    written = os.pwritev(descriptor, buffers, position)
    while written < total:
        rest = _after(buffers, written)
        step = os.pwritev(descriptor, rest, position + written)
        if step == 0:
            raise OSError(errno.EIO, "the write made no progress")
        written += step
    return total


def _after(buffers: Sequence[Buffer], skipped: int) -> list[Buffer]:
    """What is left of the buffers behind the first `skipped` bytes."""
    rest: list[Buffer] = []
    for buffer in buffers:
        if skipped >= len(buffer):
            skipped -= len(buffer)
        else:
            rest.append(memoryview(buffer)[skipped:])
            skipped = 0
    return rest


def _allocate(descriptor: int, begin: int, end: int) -> None:
    """Give every byte of [begin, end) its block; on failure the file keeps its old size."""
    if end <= begin:
        return
    size = os.fstat(descriptor).st_size
    try:
        os.posix_fallocate(descriptor, begin, end - begin)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_tree(path: str) -> None:
    for name in os.listdir(path):
        entry = f"{path}/{name}"
        if stat.S_ISDIR(os.lstat(entry).st_mode):
            _remove_tree(entry)
        else:
            os.unlink(entry)
    os.rmdir(path)
