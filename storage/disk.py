"""The calls by which bytes become durable: `Disk`, `File`, `Lock`, `Volume`, and their real implementation.

Each call may be the last before the power goes. What a power cut leaves behind (the simulated disk of the tests takes
every liberty that this grants):

* bytes of a file: those that were there at its last `sync`, unchanged; of later ones any part, in any order, or zeros;
* a name in a directory (created, renamed, removed): as it was at the last `sync_directory` of that directory, or as
  any later step left it; a rename is never half done.

Paths are relative to the disk's root, separated by "/"; "" is the root. Everything that the operating system refuses
is raised as `DiskFailed`, lack of space as `DiskFull`, lack of descriptors as `OutOfDescriptors`. Both of these promise
that nothing was changed and nothing lost; so a sync never raises them, whatever it lacks: its bytes may be gone.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from threading import RLock
from typing import Final, Protocol

from ..protocol.batch import Buffer
from .errors import CorruptLog, DirectoryLocked, DiskFailed, DiskFull, OutOfDescriptors, OutOfMemory, Unreadable
from .filesystem import Filesystem

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
IOV_MAX: Final = 1024
"""Buffers that one writev takes (Linux's UIO_MAXIOV)."""

DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})


class Syncable(Protocol):
    """Whatever can be synced, when all that matters is that it becomes durable."""

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
        """Up to `size` bytes; fewer at the end of the file. `Unreadable` from where on the disk does not give them."""

    def drop_cache(self, position: int, size: int) -> None:
        """Keep none of these bytes in memory that are on the disk already, so that they are read from there."""

    def truncate(self, size: int) -> None:
        """Cut what lies beyond `size`."""

    def sync(self) -> None:
        """Make durable what the file holds at this moment. The only call that may come from another thread."""

    def close(self) -> None:
        """Give the descriptor back. What was not synced is left to the page cache."""


class Lock(Protocol):
    """A lock on a path that ends with the process, however it ends."""

    def release(self) -> None:
        """Let others have it."""


class Disk(Protocol):
    """A directory tree that may lose power."""

    def open(self, path: str, *, create: bool = False) -> File:
        """A file for reading and writing; made empty when it is missing and `create` is set."""

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


class Volume(Disk, Protocol):
    """A disk with the filesystem that it lies on."""

    def allocate(self, path: str, size: int) -> None:
        """Let a file that nothing is written to, made when it is missing, take up so much space, no more and no less.

        `DiskFull` if there is not so much: then it takes up what it did before.
        """

    @property
    def syncs_all(self) -> bool:
        """Whether `sync_all` can be had here, and can be believed.

        Not once a sync has failed: it would tell of that again, and nobody could say whether of more.
        """

    def sync_all(self) -> None:
        """Make durable all files and directories as they are at this moment, other people's on the filesystem as well.

        May come from another thread. When it fails, perhaps nothing of ours is lost: each file's own `sync`, which must
        follow, knows of it.
        """


@contextmanager
def _reporting(path: str) -> Iterator[None]:
    """Say in our words what the operating system refused."""
    try:
        yield
    except OSError as error:
        raise failure(path, error) from error
    except ValueError as error:  # os.fdatasync checks the descriptor itself
        raise failure(path, OSError(errno.EBADF, os.strerror(errno.EBADF))) from error


class _Syncs:
    """How the syncs of one disk went."""

    def __init__(self) -> None:
        self.have_failed = False

    @contextmanager
    def reporting(self, path: str) -> Iterator[None]:
        """Around a sync: when it fails, nobody can say that nothing was lost."""
        try:
            with _reporting(path):
                yield
        except DiskFailed as error:
            self.have_failed = True
            raise lost_in_sync(error) from error


def failure(path: str, error: OSError) -> DiskFailed:
    """The exception that an operating system's error becomes."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return DiskFull(path, reason)
    if error.errno == errno.ENOMEM:
        return OutOfMemory(path, reason)
    return OutOfDescriptors(path, reason) if error.errno in _OUT_OF_DESCRIPTORS else DiskFailed(path, reason)


def unreadable(error: DiskFailed, position: int, end: int) -> DiskFailed:
    """What a read failed with becomes `Unreadable`, unless it says nothing of these bytes."""
    if isinstance(error, DiskFull | OutOfMemory):
        return error
    return Unreadable(CorruptLog(error.path, position, error.reason, end=end))


def lost_in_sync(error: DiskFailed) -> DiskFailed:
    """The exception that lack of space becomes in a sync."""
    return DiskFailed(error.path, error.reason)


class RealDisk:
    """A directory of the operating system."""

    def __init__(self, root: str, *, read_only: bool = False) -> None:
        """`root` is made when the data directory is opened (`make_directory("")`), its parents too.

        `read_only`: files are opened for reading, so those may be looked at that may not be changed.
        """
        self.root = os.path.abspath(root)
        self._access = os.O_RDONLY if read_only else os.O_RDWR
        self._syncs = _Syncs()
        self._spare: int | None = None
        """A descriptor that is kept, by whoever has the lock, for when there is none to be had."""
        self._spare_turn = RLock()
        """Several threads may want for a descriptor at a time: they have it one after the other."""
        self._keeps_spare = False
        self._devices: set[int] = set()
        """Those on which files were opened: more than one when a part of the tree was moved elsewhere by a link."""
        self._filesystem: Filesystem | None = None
        self._is_filesystem_known = False

    def open(self, path: str, *, create: bool = False) -> File:
        """See `Disk`."""
        with _reporting(path):
            flags = self._access | os.O_CLOEXEC | (os.O_CREAT if create else 0)
            file = RealFile(path, os.open(self._real(path), flags, FILE_MODE), self._syncs)
            self._devices.add(file.device)
            return file

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
        path = self._real(directory)
        with _reporting(directory), self._opened_directory(path) as descriptor, self._syncs.reporting(directory):
            os.fsync(descriptor)

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
            self._keeps_spare = True
            return RealLock(path, descriptor, self._let_go)

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

    def allocate(self, path: str, size: int) -> None:
        """See `Volume`."""
        with _reporting(path):
            descriptor = os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            try:
                if size < os.fstat(descriptor).st_size:
                    os.ftruncate(descriptor, size)
                _allocate(descriptor, 0, size)
            finally:
                os.close(descriptor)

    @property
    def syncs_all(self) -> bool:
        """See `Volume`. Not if a file was opened that lies on another filesystem than the root."""
        if not self._is_filesystem_known:
            self._is_filesystem_known = True
            try:
                self._filesystem = Filesystem.below(self.root)
            except OSError:
                pass  # what cannot be asked is not believed
        if self._filesystem is None or self._syncs.have_failed:
            return False
        return self._devices <= {self._filesystem.device}

    def sync_all(self) -> None:
        """See `Volume`."""
        assert self._filesystem is not None, "ask `syncs_all` first"
        with self._syncs.reporting(""):
            self._filesystem.sync()

    @contextmanager
    def _opened_directory(self, path: str) -> Iterator[int]:
        """Open it whatever happens: a flush that has synced its files must not fail for want of a descriptor."""
        with ExitStack() as while_open:
            try:
                descriptor = os.open(path, DIRECTORY_FLAGS)
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                while_open.enter_context(self._spare_turn)
                if self._spare is None:
                    raise
                spare, self._spare = self._spare, None
                os.close(spare)
                descriptor = os.open(path, DIRECTORY_FLAGS)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
                self._keep_spare()

    def _keep_spare(self) -> None:
        """Have one again. Who cannot has done its work all the same: the next one tries."""
        if self._keeps_spare and self._spare_turn.acquire(blocking=False):
            if self._spare is None:
                with suppress(OSError):
                    self._spare = os.open(self.root, DIRECTORY_FLAGS)
            self._spare_turn.release()

    def _let_go(self) -> None:
        self._keeps_spare = False
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)
        filesystem, self._filesystem = self._filesystem, None
        if filesystem is not None:
            filesystem.close()

    def _real(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root


class RealFile:
    """A file descriptor. `size` is kept here: the end of the file is where our last whole append ended."""

    def __init__(self, path: str, descriptor: int, syncs: _Syncs) -> None:
        self.path = path
        self._syncs = syncs
        found = os.fstat(descriptor)
        self.device = found.st_dev
        """The filesystem it lies on."""
        self._descriptor = descriptor
        self._size = found.st_size
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
        data = b""
        try:
            data = os.pread(self._descriptor, size, position)
            while len(data) < size and position + len(data) < self._size:
                more = os.pread(self._descriptor, size - len(data), position + len(data))
                if not more:
                    break
                data += more
            return data
        except OSError as error:
            raise unreadable(failure(self.path, error), position + len(data), position + size) from error

    def drop_cache(self, position: int, size: int) -> None:
        """See `File`. Where the kernel knows no better it is a wish, and a filesystem in memory has no other place."""
        with _reporting(self.path):
            os.posix_fadvise(self._descriptor, position, size, os.POSIX_FADV_DONTNEED)

    def truncate(self, size: int) -> None:
        """See `File`."""
        with _reporting(self.path):
            if size != self._size or self._tail_in_doubt:
                os.ftruncate(self._descriptor, size)
                self._size, self._tail_in_doubt = size, False

    def sync(self) -> None:
        """See `File`. fdatasync writes the size as well, for without it the data could not be found."""
        with self._syncs.reporting(self.path):
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """See `File`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with _reporting(self.path):
                os.close(descriptor)

    def _cut_tail(self) -> None:
        os.ftruncate(self._descriptor, self._size)
        self._tail_in_doubt = False


class RealLock:
    """A descriptor with a flock on it."""

    def __init__(self, path: str, descriptor: int, on_release: Callable[[], None]) -> None:
        self._path = path
        self._descriptor = descriptor
        self._on_release = on_release

    def release(self) -> None:
        """See `Lock`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with _reporting(self._path):
                self._on_release()
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
    descriptor = os.open(path, DIRECTORY_FLAGS)
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
