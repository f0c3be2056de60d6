"""A disk in memory that knows at every call what a power cut would leave of it. The model is `model`'s.

It is made from a tree, whose contents it shares until they are written, so that a disk for each image costs little.
`before_call` is called before every call that may change something: there the power may fail, after the last call and
before this one, with all that the process had been told until then.

`fail_next` makes a call fail once, as the operating system would report it. `kill` is the death of the process alone.
`ignores` names calls that do nothing, as (call, end of the path): planted bugs.
"""

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from support.memory_disk import MemoryLock, Paths, missing
from tidelog.protocol.batch import Buffer
from tidelog.storage.disk import File, Lock, failure
from tidelog.storage.errors import DirectoryLocked, DiskFailed

from .model import DirectoryNode, FileNode, Instant, Node, Resize, Step, Tree, Write, instant, synced

SIZE = 1 << 40
"""Of the whole disk, as it says of itself."""


class Failure(NamedTuple):
    """A call that will fail."""

    call: str
    path: str
    """Its end."""
    error: int


class CrashDisk:
    """See the module, and `Disk` and `Volume`."""

    def __init__(self, tree: Tree | None = None, *, ignores: Iterable[tuple[str, str]] = ()) -> None:
        self.calls = 0
        """So far, of those that may change something."""
        self.before_call: Callable[[str], None] | None = None
        """Told of each of them, as `call path`."""
        self._ignores = tuple(ignores)
        self._paths = Paths(DirectoryNode(), FileNode)
        self._locks: set[str] = set()
        self._failures: list[Failure] = []
        self._life = 0
        if tree is not None:
            _plant(self._paths.root, tree)

    # What befalls it.

    def instant(self) -> Instant:
        """What a power cut may take from it at this moment."""
        return instant(self._paths.root)

    def synced(self) -> Tree:
        """What is left if it takes everything that it may."""
        return synced(self._paths.root)

    def tree(self) -> Tree:
        """What is there, as a process sees it."""

        def visit(directory: DirectoryNode) -> Tree:
            return {
                name: visit(node) if isinstance(node, DirectoryNode) else bytes(node.cache)
                for name, node in directory.names.items()
            }

        return visit(self._paths.root)

    def kill(self) -> None:
        """The process dies. What it wrote stays, as the kernel holds it."""
        self._life += 1
        self._locks.clear()
        self._failures.clear()

    def restart(self, tree: Tree) -> None:
        """The power fails, and this is what is left."""
        self.kill()
        self._paths = Paths(DirectoryNode(), FileNode)
        _plant(self._paths.root, tree)

    def fail_next(self, call: str, path: str, error: int = errno.EIO) -> None:
        """Make the next call of that name (`append`, `write`, `sync`, ...) on a path that ends so fail."""
        self._failures.append(Failure(call, path, error))

    def corrupt(self, path: str, position: int, data: bytes) -> None:
        """Change bytes behind everybody's back, in the cache and on the platter: rot."""
        file = self._paths.file(path)
        file.sync()
        content = bytearray(file.cache)
        content[position : position + len(data)] = data
        file.cache = file.platter = bytes(content)

    def lose(self, path: str) -> None:
        """Take a file away behind everybody's back, durably."""
        directory, name = self._paths.parent(path)
        directory.sync()
        del directory.names[name]
        del directory.platter[name]

    # Disk.

    def open(self, path: str, *, create: bool = False) -> File:
        """See `Disk`."""
        return CrashFile(self, path, self._opened("open", path, create=create))

    def exists(self, path: str) -> bool:
        """See `Disk`."""
        return self._paths.find(path) is not None

    def size(self, path: str) -> int:
        """See `Disk`."""
        return len(self._paths.file(path).cache)

    def list(self, directory: str) -> list[str]:
        """See `Disk`."""
        return sorted(self._paths.directory(directory).names)

    def is_directory(self, path: str) -> bool:
        """See `Disk`."""
        return isinstance(self._paths.find(path), DirectoryNode)

    def make_directory(self, path: str) -> None:
        """See `Disk`."""
        self.begin("make_directory", path)
        if self.exists(path):
            raise failure(path, OSError(errno.EEXIST, "File exists"))
        self._add(path, DirectoryNode())

    def rename(self, source: str, target: str) -> None:
        """See `Disk`. Only within one directory: nobody needs more."""
        self.begin("rename", source)
        directory, name = self._paths.parent(source)
        other, new_name = self._paths.parent(target)
        assert directory is other, "a rename between directories"
        if name not in directory.names:
            raise missing(source)
        directory.names[new_name] = directory.names.pop(name)
        directory.steps.append(Step(self.calls, directory, name, new_name, None))

    def remove(self, path: str) -> None:
        """See `Disk`."""
        self.begin("remove", path)
        self._paths.file(path)
        self._take_away(path)

    def remove_directory(self, path: str) -> None:
        """See `Disk`. One step a file, as it is on a real one."""
        for name, node in sorted(self._paths.directory(path).names.items()):
            if isinstance(node, DirectoryNode):
                self.remove_directory(f"{path}/{name}")
            else:
                self.remove(f"{path}/{name}")
        self.begin("remove_directory", path)
        self._take_away(path)

    def sync_directory(self, directory: str) -> None:
        """See `Disk`."""
        self.begin("sync_directory", directory)
        node = self._paths.directory(directory)
        if not self.ignored("sync_directory", directory):
            node.sync()

    def lock(self, path: str) -> Lock:
        """See `Disk`."""
        if path in self._locks:
            raise DirectoryLocked(path)
        self._opened("lock", path, create=True)
        self._locks.add(path)
        return MemoryLock(self, path)

    def free_bytes(self) -> int:
        """See `Disk`."""
        return SIZE

    def total_bytes(self) -> int:
        """See `Disk`."""
        return SIZE

    # Volume.

    def allocate(self, path: str, size: int) -> None:
        """See `Volume`. It takes up space, and holds no bytes."""
        self._opened("allocate", path, create=True)
        self.begin("allocate", path)

    @property
    def syncs_all(self) -> bool:
        """See `Volume`."""
        return True

    def sync_all(self) -> None:
        """See `Volume`."""
        self.begin("sync_all", "")

        def visit(directory: DirectoryNode) -> None:
            directory.sync()
            for node in directory.names.values():
                if isinstance(node, DirectoryNode):
                    visit(node)
                else:
                    node.sync()

        if not self.ignored("sync_all", ""):
            visit(self._paths.root)

    # For the files.

    def resize(self, node: FileNode, size: int) -> None:
        """Cut a file, or grow it with zeros."""
        cache = _own(node)
        del cache[size:]
        cache.extend(bytes(size - len(cache)))
        node.dirty.append(Resize(self.calls, node, size))

    @property
    def life(self) -> int:
        """Counts the processes that this disk has seen."""
        return self._life

    def begin(self, call: str, path: str) -> None:
        """A call that may change something: before it the power may fail, and here it fails itself."""
        if self.before_call is not None:
            self.before_call(f"{call} {path}")
        self.calls += 1
        self.check(call, path)

    def check(self, call: str, path: str) -> None:
        """Fail if that was asked for."""
        for failing in self._failures:
            if failing.call == call and path.endswith(failing.path):
                self._failures.remove(failing)
                raise failure(path, OSError(failing.error, errno.errorcode.get(failing.error, str(failing.error))))

    def ignored(self, call: str, path: str) -> bool:
        """Whether that call does nothing."""
        return any(call == name and path.endswith(end) for name, end in self._ignores)

    def sync_node(self, call: str, path: str, node: FileNode) -> None:
        """Sync a file, or fail to."""
        try:
            self.begin(call, path)
        except DiskFailed as error:
            node.give_up()
            raise DiskFailed(
                error.path, error.reason
            ) from error  # never `DiskFull`: that would say that nothing is lost
        if not self.ignored(call, path):
            node.sync()

    def unlock(self, path: str) -> None:
        """A lock is released."""
        self._locks.discard(path)

    def _opened(self, call: str, path: str, *, create: bool) -> FileNode:
        node = self._paths.find(path)
        if node is None and create:
            self.begin(call, path)
            node = FileNode()
            self._add(path, node)
        else:
            self.check(call, path)
        if not isinstance(node, FileNode):
            raise missing(path)
        return node

    def _add(self, path: str, node: Node) -> None:
        directory, name = self._paths.parent(path)
        directory.names[name] = node
        directory.steps.append(Step(self.calls, directory, name, "", node))

    def _take_away(self, path: str) -> None:
        directory, name = self._paths.parent(path)
        del directory.names[name]
        directory.steps.append(Step(self.calls, directory, name, "", None))


class CrashFile:
    """An open file of one life."""

    def __init__(self, disk: CrashDisk, path: str, node: FileNode) -> None:
        self.path = path
        self._disk, self._node, self._life = disk, node, disk.life
        self._closed = False

    @property
    def size(self) -> int:
        """See `File`."""
        return len(self._node.cache)

    def append(self, buffers: Sequence[Buffer]) -> int:
        """See `File`."""
        self._begin("append")
        position = len(self._node.cache)
        self._put(position, b"".join(buffers))
        return position

    def write(self, position: int, data: Buffer) -> None:
        """See `File`."""
        self._begin("write")
        self._put(position, bytes(data))

    def read(self, position: int, size: int) -> bytes:
        """See `File`."""
        self._check_open()
        self._disk.check("read", self.path)
        return bytes(self._node.cache[position : position + size])

    def drop_cache(self, position: int, size: int) -> None:
        """See `File`. There is no other place to read from."""

    def truncate(self, size: int) -> None:
        """See `File`."""
        self._begin("truncate")
        if size < len(self._node.cache):
            self._disk.resize(self._node, size)

    def sync(self) -> None:
        """See `File`."""
        self._check_open()
        self._disk.sync_node("sync", self.path, self._node)

    def close(self) -> None:
        """See `File`."""
        self._closed = True

    def _begin(self, call: str) -> None:
        self._check_open()
        self._disk.begin(call, self.path)

    def _put(self, position: int, data: bytes) -> None:
        cache = _own(self._node)
        if len(cache) < position:
            cache.extend(bytes(position - len(cache)))
        cache[position : position + len(data)] = data
        self._node.dirty.append(Write(self._disk.calls, self._node, position, data))

    def _check_open(self) -> None:
        if self._closed or self._life != self._disk.life:
            raise DiskFailed(self.path, "Bad file descriptor")


def _own(node: FileNode) -> bytearray:
    """The cache, no longer shared."""
    if not isinstance(node.cache, bytearray):
        node.cache = bytearray(node.cache)
    return node.cache


def _plant(directory: DirectoryNode, tree: Tree) -> None:
    for name, inner in tree.items():
        if isinstance(inner, dict):
            node: Node = DirectoryNode()
            assert isinstance(node, DirectoryNode)
            _plant(node, inner)
        else:
            node = FileNode(inner)
        directory.names[name] = directory.platter[name] = node
