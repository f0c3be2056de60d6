"""What a power cut may leave of a disk: the model, and nowhere else is anything said about it.

A disk is files and directories. What the process sees is its page cache; what a power cut leaves is made of the
*platter* and of any part of the *changes* since, in these ways and no others:

1. A file's `sync` puts everything that was written to it on the platter, and only that: not its name. A `sync` of a
   directory puts its names there: not what is in the files.
2. Of every other change any selection arrives, whatever their order was, in whatever files and directories they are:
   a later one may arrive without an earlier one.
3. Of a write any part arrives: any selection of its sectors of 512 bytes, each of which may be torn at any byte. What
   it covers and has not arrived is as it was before, or, where the file was shorter, zeros; or the file is as short as
   before that part. A truncation or a growth arrives whole or not at all.
4. A step in a directory (a name made, changed or removed) arrives whole or not at all: a rename is never half done. One
   that changes a name whose making did not arrive does nothing.
5. A `sync` that *failed* has put on the platter what it liked, and has made the kernel forget the rest: no later sync
   writes it, unless it is written once more. (Linux does so, and shows the bytes to readers all the same.)
6. Never: a byte changed that nobody has written since the last sync; a name gone that was synced and not changed.

This is what `storage/disk.py` grants, which is more than a real disk takes: ext4 and XFS keep the order of names.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

SECTOR = 512
DIGEST_SIZE = 16

Tree: TypeAlias = dict[str, "Tree | bytes"]
"""A disk without any past: what is found when the power is back."""


class FileNode:
    """A file, by whatever name."""

    __slots__ = ("cache", "dirty", "limbo", "platter")

    def __init__(self, content: bytes = b"") -> None:
        self.cache: bytes | bytearray = content
        """What the process sees. Shared with others as long as it is `bytes`."""
        self.platter = content
        self.dirty: list[Write | Resize] = []
        """What the next sync puts on the platter, in the order in which it was done."""
        self.limbo: list[Write | Resize] = []
        """What a failed sync has given up [5]; older than all that is dirty."""

    def sync(self) -> None:
        """See [1]."""
        if not self.dirty:
            return
        content = bytearray(self.platter)
        for change in self.dirty:
            _arrive(content, change, whole(change))
            self.limbo = [rest for older in self.limbo for rest in _left_of(older, change)]
        self.platter = bytes(content)
        self.dirty.clear()

    def give_up(self) -> None:
        """See [5]."""
        self.limbo += self.dirty
        self.dirty.clear()


class DirectoryNode:
    """A directory."""

    __slots__ = ("names", "platter", "steps")

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}
        self.platter: dict[str, Node] = {}
        self.steps: list[Step] = []

    def sync(self) -> None:
        """See [1]."""
        self.platter = dict(self.names)
        self.steps.clear()


Node: TypeAlias = FileNode | DirectoryNode


class Write(NamedTuple):
    """Bytes were put into a file."""

    number: int
    """Of the call."""
    file: FileNode
    position: int
    data: bytes


class Resize(NamedTuple):
    """A file was cut, or grown with zeros."""

    number: int
    file: FileNode
    size: int


class Step(NamedTuple):
    """A name was made (`node`), changed (`target`) or removed (neither)."""

    number: int
    directory: DirectoryNode
    name: str
    target: str
    node: Node | None


Change: TypeAlias = Write | Resize | Step


class Part(NamedTuple):
    """What arrives of a write: see [3]. Of other changes, nothing but the whole."""

    pieces: tuple[tuple[int, int], ...]
    """From where to where in the data."""
    is_as_long: bool = True
    """The file is as long as with the whole of it; else only as far as the pieces reach."""


class Arrived(NamedTuple):
    """A change, and what of it arrives."""

    change: Change
    part: Part


class Instant(NamedTuple):
    """A disk between two calls."""

    root: DirectoryNode
    files: Mapping[FileNode, bytes]
    """Every file that could be found, with its platter."""
    directories: Mapping[DirectoryNode, Mapping[str, Node]]
    changes: tuple[Change, ...]
    """All that a power cut may take, in the order in which it was done."""


def whole(change: Change) -> Part:
    """All of it."""
    return Part(((0, len(change.data)),)) if isinstance(change, Write) else Part(())


def instant(root: DirectoryNode) -> Instant:
    """Take hold of a disk as it is now."""
    files: dict[FileNode, bytes] = {}
    directories: dict[DirectoryNode, Mapping[str, Node]] = {}
    changes: list[Change] = []

    def visit(node: Node) -> None:
        if node in files or node in directories:
            return
        if isinstance(node, FileNode):
            files[node] = node.platter
            changes.extend(node.limbo)
            changes.extend(node.dirty)
            return
        directories[node] = dict(node.platter)
        changes.extend(node.steps)
        for inner in (*node.platter.values(), *(step.node for step in node.steps if step.node is not None)):
            visit(inner)

    visit(root)
    changes.sort(key=lambda change: change.number)
    return Instant(root, files, directories, tuple(changes))


def image(at: Instant, arrived: Iterable[Arrived]) -> Tree:
    """What is found when the power is back and these changes have arrived, and no others."""
    contents: dict[FileNode, bytearray] = {}
    names: dict[DirectoryNode, dict[str, Node]] = {}
    for change, part in arrived:
        if isinstance(change, Step):
            if change.directory not in names:
                names[change.directory] = dict(at.directories[change.directory])
            _take_step(names[change.directory], change)
        else:
            if change.file not in contents:
                contents[change.file] = bytearray(at.files[change.file])
            _arrive(contents[change.file], change, part)

    def build(directory: DirectoryNode) -> Tree:
        tree: Tree = {}
        for name, node in (names[directory] if directory in names else at.directories[directory]).items():
            if isinstance(node, DirectoryNode):
                tree[name] = build(node)
            else:
                tree[name] = bytes(contents[node]) if node in contents else at.files[node]
        return tree

    return build(at.root)


def synced(root: DirectoryNode) -> Tree:
    """What is found if no change arrives at all."""
    return {
        name: synced(node) if isinstance(node, DirectoryNode) else node.platter for name, node in root.platter.items()
    }


def files_of(tree: Tree, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Every file and what is in it, by its path; a directory stands before its files, with a slash and no bytes."""
    for name in sorted(tree):
        inner = tree[name]
        if isinstance(inner, dict):
            yield f"{prefix}{name}/", b""
            yield from files_of(inner, f"{prefix}{name}/")
        else:
            yield prefix + name, inner


class Digests:
    """Tells disks apart: by the names and the contents of all files. Contents seen before are not hashed again."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def of(self, tree: Tree) -> bytes:
        """In every process the same."""
        known = self._known
        if len(known) > 20_000:
            known.clear()
        found = blake2b(digest_size=DIGEST_SIZE)
        for path, content in files_of(tree):
            digest = known.get(content)
            if digest is None:
                digest = known[content] = blake2b(content, digest_size=DIGEST_SIZE).digest()
            found.update(path.encode())
            found.update(b"\0")
            found.update(digest)
        return found.digest()


def _take_step(names: dict[str, Node], step: Step) -> None:
    if step.node is not None:
        names[step.name] = step.node
    elif step.name in names:
        moved = names.pop(step.name)
        if step.target:
            names[step.target] = moved


def _arrive(content: bytearray, change: Write | Resize, part: Part) -> None:
    if isinstance(change, Resize):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    _, _, position, data = change
    if part.is_as_long:
        end = position + len(data)
    else:
        end = position + part.pieces[-1][1] if part.pieces else 0
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    for begin, stop in part.pieces:
        content[position + begin : position + stop] = data[begin:stop]


def _left_of(older: Write | Resize, newer: Write | Resize) -> Iterator[Write | Resize]:
    """What of a change in limbo is still in doubt when a newer one is on the platter."""
    if isinstance(newer, Resize):
        if isinstance(older, Write) and older.position < newer.size:
            yield older._replace(data=older.data[: newer.size - older.position])
        return
    if isinstance(older, Resize):
        if older.size < newer.position + len(newer.data):
            return  # the file is longer than that by now, for good
        yield older
        return
    begin, end = newer.position, newer.position + len(newer.data)
    first, last = older.position, older.position + len(older.data)
    if last <= begin or end <= first:
        yield older
        return
    if first < begin:
        yield older._replace(data=older.data[: begin - first])
    if end < last:
        yield older._replace(position=end, data=older.data[end - first :])
