"""A disk in memory that can lose power: the one twin of `RealDisk`.

Page cache and platter are kept apart. What `crash()`, a power cut, may do, chosen by the seed:

* a file keeps every byte that was there at its last `sync`; of what changed since, each sector of 512 bytes is as it
  was then, or as it is now, or, beyond the old size, zeros, and may be torn in the middle; the size is the old one, the
  new one or one in between. Or all of it is lost, or kept, or a prefix of what is new;
* of the steps taken in a directory since its last `sync_directory` (create, rename, remove) any are undone; a rename
  is done or not, never half;
* locks are free, and every open file is dead.

Never: synced bytes changed; a name that was synced gone. `kill()`, the death of the process alone, loses nothing.

Failures: `spoil` makes sectors unreadable; `fail_next` makes a call fail once, as the operating system would report
it; a failed *sync* also forgets that its bytes were dirty, so that later syncs succeed without writing them (as Linux
does); one of the whole disk those of all files that `sync_all_loses` names, but the next sync of such a file still says
so. `full(n)` leaves so many bytes of space. `crash_at(n)` raises `PowerCut` at the n-th call from now, before or after
its effect, and at every call after it, until `crash()` or `kill()` begins the next life. (A failed or short append
leaves the file as it was: that the real one cuts off what got through is proved on the real one.)
`ignores` names syncs that do nothing, as (call, end of the path), the call being `sync`, `sync_directory` or
`sync_all` (whose path is empty): with them a test shows that its checker would notice if the code forgot that sync.
"""

import errno
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tidelog.protocol.batch import Buffer
from tidelog.storage.disk import File, Lock, failure, lost_in_sync, unreadable
from tidelog.storage.errors import DirectoryLocked, DiskFailed

from .memory_disk import MemoryLock, Paths, missing

SECTOR_SIZE = 512
SIZE = 1 << 40
"""Of the whole disk, as it says of itself; how much can be written is for `full` to say."""


class PowerCut(BaseException):
    """The power went. Not an `Exception`: nobody may catch it and go on."""


class _Inode:
    """A file's contents: what the process sees, and what a power cut leaves."""

    def __init__(self) -> None:
        self.cache = bytearray()
        self.platter = bytearray()
        self.dirty_from: int | None = None
        """What lies before is on the platter. None: all of it is, or is believed to be."""
        self.owes_error = False
        """Bytes were lost in a sync of the whole disk: who syncs this file next is told."""

    def touch(self, position: int) -> None:
        self.dirty_from = position if self.dirty_from is None else min(self.dirty_from, position)

    def sync(self) -> None:
        if self.dirty_from is not None:
            begin = self.dirty_from
            # Before it may lie bytes that a failed sync gave up: on the platter there is nothing.
            self.platter.extend(bytes(max(0, begin - len(self.platter))))
            self.platter[begin:] = self.cache[begin:]
        self.dirty_from = None

    def forget_dirty(self) -> None:
        """A sync failed: the bytes stay readable, are never written, and nobody will say so again."""
        self.dirty_from = None

    def lose(self) -> None:
        """A sync of the whole disk could not write this file."""
        self.owes_error = self.owes_error or self.dirty_from is not None
        self.forget_dirty()

    def crash(self, rng: random.Random) -> None:
        """Leave on the platter what a power cut might, and nothing in the cache."""
        self.platter = _after_power_cut(self.platter, self.cache, rng)
        self.cache = bytearray(self.platter)
        self.dirty_from = None
        self.owes_error = False


@dataclass(slots=True)
class _Directory:
    """Names now, names on the platter, and the steps between them."""

    names: "dict[str, _Inode | _Directory]" = field(default_factory=dict)
    durable: "dict[str, _Inode | _Directory]" = field(default_factory=dict)
    steps: "list[tuple[str, str, _Inode | _Directory | None]]" = field(default_factory=list)
    """Name, new name (of a rename; else empty), node (of a create; else None)."""

    def sync(self) -> None:
        self.durable = dict(self.names)
        self.steps.clear()

    def sync_all(self) -> None:
        self.sync()
        for node in self.names.values():
            node.sync_all() if isinstance(node, _Directory) else node.sync()

    def lose(self, part: str, path: str = "") -> None:
        for name, node in self.names.items():
            if isinstance(node, _Directory):
                node.lose(part, f"{path}{name}/")
            elif part in path + name:
                node.lose()

    def crash(self, rng: random.Random) -> None:
        names = dict(self.durable)
        mode = rng.choice(("none", "all", "prefix", "any"))
        kept = rng.randrange(len(self.steps) + 1)
        for number, (name, target, node) in enumerate(self.steps):
            if mode == "none" or (mode == "prefix" and number >= kept) or (mode == "any" and rng.random() < 0.5):
                continue
            if node is not None:
                names[name] = node
            elif name in names:
                moved = names.pop(name)
                if target:
                    names[target] = moved
        self.names, self.durable = names, dict(names)
        self.steps.clear()
        for node in names.values():
            node.crash(rng)


class SimulatedDisk:
    """See the module. One seed, one behaviour."""

    def __init__(self, seed: int = 0, *, ignores: Iterable[tuple[str, str]] = ()) -> None:
        self.rng = random.Random(seed)
        self.calls = 0
        """Calls so far that may change something; reading is not one of them."""
        self.syncs = 0
        self.has_sync_failed = False
        """In this life."""
        self.sync_all_loses: str | None = ""
        """One that fails loses what is dirty in files of such a path; None: it tells of somebody else's only."""
        self._ignores = tuple(ignores)
        self._tree = Paths(_Directory(), _Inode)
        self._life = 0
        self._locks: set[str] = set()
        self._allocated: dict[str, int] = {}
        """Files that take up space and hold nothing, of which no zeros are kept."""
        self._failures: list[tuple[str, int, str]] = []
        self._bad_sectors: dict[str, tuple[_Inode, range]] = {}
        self._space: int | None = None
        self._cut_at: int | None = None
        self._is_cut = False

    # What befalls it.

    def crash(self) -> None:
        """The power is cut, and comes back."""
        self._tree.root.crash(self.rng)
        self.kill()

    def kill(self) -> None:
        """The process dies. What it wrote stays, as the kernel holds it."""
        self._life += 1
        self.has_sync_failed = False
        self._locks.clear()
        self._failures.clear()
        self._cut_at, self._is_cut = None, False

    def crash_at(self, call: int) -> None:
        """Cut the power at the n-th call from now that changes something (1 is the next one)."""
        self._cut_at = self.calls + call

    def fail_next(self, call: str, error: int = errno.EIO, *, path: str = "") -> None:
        """Make the next call of that name (`append`, `write`, `sync`, `open`, ...) on a path with `path` in it fail."""
        self._failures.append((call, error, path))

    def spoil(self, path: str, begin: int, end: int) -> None:
        """Give these bytes of a file to nobody from now on; until it is `spoil`ed from 0 to 0, or replaced."""
        self._bad_sectors[path] = self._tree.file(path), range(begin, end)

    def full(self, free: int | None) -> None:
        """Leave so many bytes of space; None: any number."""
        self._space = free

    def tree(self) -> dict[str, bytes]:
        """Every file and what is in it, as a process sees it now."""
        found: dict[str, bytes] = {}

        def visit(directory: _Directory, prefix: str) -> None:
            for name, node in sorted(directory.names.items()):
                if isinstance(node, _Directory):
                    visit(node, f"{prefix}{name}/")
                else:
                    found[prefix + name] = bytes(node.cache)

        visit(self._tree.root, "")
        return found

    def corrupt(self, path: str, position: int, data: bytes) -> None:
        """Change bytes behind everybody's back, in the cache and on the platter: rot."""
        inode = self._paths.file(path)
        for content in (inode.cache, inode.platter):
            content[position : position + len(data)] = data

    def cut(self, path: str, size: int) -> None:
        """Shorten a file behind everybody's back."""
        inode = self._paths.file(path)
        del inode.cache[size:], inode.platter[size:]

    # Disk.

    def open(self, path: str, *, create: bool = False) -> File:
        """See `Disk`."""
        return SimulatedFile(self, path, self._opened("open", path, create=create))

    def exists(self, path: str) -> bool:
        """See `Disk`."""
        return self._paths.find(path) is not None

    def size(self, path: str) -> int:
        """See `Disk`."""
        return self._allocated.get(path) or len(self._paths.file(path).cache)

    def list(self, directory: str) -> list[str]:
        """See `Disk`."""
        return sorted(self._paths.directory(directory).names)

    def is_directory(self, path: str) -> bool:
        """See `Disk`."""
        return isinstance(self._paths.find(path), _Directory)

    def make_directory(self, path: str) -> None:
        """See `Disk`."""
        with self.changing("make_directory", path):
            if self.exists(path):
                raise failure(path, OSError(errno.EEXIST, "File exists"))
            self._add(path, _Directory())

    def rename(self, source: str, target: str) -> None:
        """See `Disk`. Only within one directory: nobody needs more."""
        with self.changing("rename", source):
            parent, name = self._paths.parent(source)
            other, new_name = self._paths.parent(target)
            assert parent is other, "a rename between directories"
            if name not in parent.names:
                raise missing(source)
            parent.names[new_name] = parent.names.pop(name)
            parent.steps.append((name, new_name, None))

    def remove(self, path: str) -> None:
        """See `Disk`."""
        with self.changing("remove", path):
            self._paths.file(path)
            parent, name = self._paths.parent(path)
            del parent.names[name]
            parent.steps.append((name, "", None))
            if self._space is not None:
                self._space += self._allocated.pop(path, 0)

    def remove_directory(self, path: str) -> None:
        """See `Disk`. One step per file, as it is on a real one."""
        directory = self._paths.directory(path)
        for name, node in sorted(directory.names.items()):
            if isinstance(node, _Directory):
                self.remove_directory(f"{path}/{name}")
            else:
                self.remove(f"{path}/{name}")
        with self.changing("remove_directory", path):
            parent, name = self._paths.parent(path)
            del parent.names[name]
            parent.steps.append((name, "", None))

    def sync_directory(self, directory: str) -> None:
        """See `Disk`."""
        with self.changing("sync_directory", directory):
            self.syncs += 1
            names = self._paths.directory(directory)
            if not self.ignored("sync_directory", directory):
                names.sync()

    def lock(self, path: str) -> Lock:
        """See `Disk`."""
        if path in self._locks:
            raise DirectoryLocked(path)
        self._opened("lock", path, create=True)
        self._locks.add(path)
        return MemoryLock(self, path)

    def free_bytes(self) -> int:
        """See `Disk`."""
        self.check("free_bytes", "")
        return SIZE if self._space is None else self._space

    def total_bytes(self) -> int:
        """See `Disk`."""
        return SIZE

    # Volume.

    def allocate(self, path: str, size: int) -> None:
        """See `Volume`."""
        self._opened("allocate", path, create=True)
        with self.changing("allocate", path):
            more = size - self._allocated.get(path, 0)
            self.take_space(path, more)
            if self._space is not None and more < 0:
                self._space -= more
            self._allocated[path] = size

    @property
    def syncs_all(self) -> bool:
        """See `Volume`."""
        return not self.has_sync_failed

    def sync_all(self) -> None:
        """See `Volume`."""
        try:
            with self.changing("sync_all", ""):
                self.syncs += 1
                if not self.ignored("sync_all", ""):
                    self._tree.root.sync_all()
        except DiskFailed as error:
            self.has_sync_failed = True
            if self.sync_all_loses is not None:
                self._tree.root.lose(self.sync_all_loses)
            raise lost_in_sync(error) from error

    # For the files.

    def changing(self, call: str, path: str) -> "_Changing":
        """Around every call that changes something: it is counted, and here it fails or the power goes."""
        return _Changing(self, call, path)

    def before(self, call: str, path: str) -> None:
        """The call begins."""
        if self._is_cut:
            raise PowerCut
        self.calls += 1
        if self.calls == self._cut_at and self.rng.random() < 0.5:
            self._is_cut = True
            raise PowerCut
        self.check(call, path)

    def check(self, call: str, path: str) -> None:
        """Fail if that was asked for."""
        if self._is_cut:
            raise PowerCut
        for number, (name, error, part) in enumerate(self._failures):
            if name == call and part in path:
                del self._failures[number]
                raise failure(path, OSError(error, errno.errorcode.get(error, str(error))))

    def check_read(self, path: str, begin: int, end: int) -> None:
        """Fail if that was asked for, or if there are bad sectors; what lies before them the kernel has read."""
        try:
            self.check("read", path)
        except DiskFailed as error:
            raise unreadable(error, begin, end) from error
        inode, bad = self._bad_sectors.get(path, (None, range(0)))
        if inode is self._tree.find(path) and max(begin, bad.start) < min(end, bad.stop):
            failed = failure(path, OSError(errno.EIO, "Input/output error"))
            raise unreadable(failed, max(begin, bad.start), end)

    def after(self) -> None:
        """The call has had its effect."""
        if self.calls == self._cut_at:
            self._is_cut = True
            raise PowerCut

    def ignored(self, call: str, path: str) -> bool:
        """Whether that sync does nothing."""
        return any(call == name and path.endswith(end) for name, end in self._ignores)

    def take_space(self, path: str, size: int) -> None:
        """So many bytes more are needed; `DiskFull` if they are not there."""
        if self._space is not None and size > 0:
            if size > self._space:
                raise failure(path, OSError(errno.ENOSPC, "No space left on device"))
            self._space -= size

    @property
    def life(self) -> int:
        """Counts the processes that this disk has seen."""
        return self._life

    @property
    def is_cut(self) -> bool:
        """The power is off."""
        return self._is_cut

    def unlock(self, path: str) -> None:
        """A lock is released."""
        self._locks.discard(path)

    def _opened(self, call: str, path: str, *, create: bool) -> _Inode:
        node = self._paths.find(path)
        if node is None and create:
            with self.changing(call, path):
                node = _Inode()
                self._add(path, node)
        else:
            self.check(call, path)
        if not isinstance(node, _Inode):
            raise missing(path)
        return node

    def _add(self, path: str, node: "_Inode | _Directory") -> None:
        parent, name = self._paths.parent(path)
        parent.names[name] = node
        parent.steps.append((name, "", node))

    @property
    def _paths(self) -> Paths[_Inode, _Directory]:
        if self._is_cut:
            raise PowerCut
        return self._tree


class _Changing:
    """The context of one call that changes something."""

    def __init__(self, disk: SimulatedDisk, call: str, path: str) -> None:
        self._disk, self._call, self._path = disk, call, path

    def __enter__(self) -> None:
        self._disk.before(self._call, self._path)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self._disk.after()


class SimulatedFile:
    """An open file of one life."""

    def __init__(self, disk: SimulatedDisk, path: str, inode: _Inode) -> None:
        self.path = path
        self._disk, self._inode, self._life = disk, inode, disk.life
        self._closed = False

    @property
    def size(self) -> int:
        """See `File`."""
        return len(self._inode.cache)

    def append(self, buffers: Sequence[Buffer]) -> int:
        """See `File`."""
        self._check_open()
        data = b"".join(buffers)
        with self._disk.changing("append", self.path):
            self._disk.take_space(self.path, len(data))
            position = len(self._inode.cache)
            self._inode.touch(position)
            self._inode.cache += data
            return position

    def write(self, position: int, data: Buffer) -> None:
        """See `File`."""
        self._check_open()
        with self._disk.changing("write", self.path):
            cache = self._inode.cache
            self._disk.take_space(self.path, position + len(data) - len(cache))
            self._inode.touch(min(position, len(cache)))
            if len(cache) < position:
                cache.extend(bytes(position - len(cache)))
            cache[position : position + len(data)] = data

    def read(self, position: int, size: int) -> bytes:
        """See `File`."""
        self._check_open()
        self._disk.check_read(self.path, position, position + size)
        if position < 0 or size < 0:
            raise failure(self.path, OSError(errno.EINVAL, "Invalid argument"))
        return bytes(self._inode.cache[position : position + size])

    def drop_cache(self, position: int, size: int) -> None:
        """See `File`. Here a cache that is not dirty never differs from the platter."""
        del position, size
        self._check_open()

    def truncate(self, size: int) -> None:
        """See `File`."""
        self._check_open()
        with self._disk.changing("truncate", self.path):
            if size < len(self._inode.cache):
                self._inode.touch(size)
                del self._inode.cache[size:]

    def sync(self) -> None:
        """See `File`."""
        self._check_open()
        _sync(self._disk, self.path, self._inode)

    def close(self) -> None:
        """See `File`."""
        was_closed, self._closed = self._closed, True
        if not was_closed and not self._disk.is_cut:
            self._disk.check("close", self.path)

    def _check_open(self) -> None:
        if self._disk.is_cut:
            raise PowerCut
        if self._closed or self._life != self._disk.life:
            raise DiskFailed(self.path, "Bad file descriptor")


def _sync(disk: SimulatedDisk, path: str, inode: _Inode) -> None:
    try:
        with disk.changing("sync", path):
            disk.syncs += 1
            if inode.owes_error:
                inode.owes_error = False
                raise failure(path, OSError(errno.EIO, "Input/output error"))
            if not disk.ignored("sync", path):
                inode.sync()
    except DiskFailed as error:
        disk.has_sync_failed = True
        inode.forget_dirty()
        raise lost_in_sync(error) from error


def _after_power_cut(platter: bytearray, cache: bytearray, rng: random.Random) -> bytearray:
    """Contents that a power cut may leave of a file whose synced contents are `platter`."""
    if platter == cache:
        return bytearray(cache)
    mode = rng.choice(("lost", "kept", "prefix", "any"))
    if mode == "lost":
        return bytearray(platter)
    if mode == "kept":
        return bytearray(cache)
    shorter, longer = sorted((len(platter), len(cache)))
    size = rng.choice((len(platter), len(cache), rng.randint(shorter, longer)))
    result = platter[:size].ljust(size, b"\0")
    first = _first_difference(platter, cache)
    end_of_prefix = rng.randint(first, max(first, len(cache)))
    for begin in range(first - first % SECTOR_SIZE, size, SECTOR_SIZE):
        end = min(begin + SECTOR_SIZE, size)
        if mode == "prefix":
            if begin < end_of_prefix:
                torn = min(end, end_of_prefix, len(cache))
                result[begin:torn] = cache[begin:torn]
        elif rng.random() < 0.6:
            torn = min(end, len(cache)) if rng.random() < 0.9 else rng.randint(begin, max(begin, min(end, len(cache))))
            result[begin:torn] = cache[begin:torn]
    return result


def _first_difference(one: bytearray, other: bytearray) -> int:
    """The first position at which they differ, or where the shorter one ends."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) >> 1
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
