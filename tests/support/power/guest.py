"""The system inside the virtual machine: one initramfs with busybox, a few kernel modules, this Python and the broker.

Nothing of it is installed anywhere. Busybox, the kernel and its modules come out of Debian's packages; Python and the
libraries that the broker needs are those that run the tests, compiled beforehand, for the machine is an emulated one
and slow.
"""

import importlib.machinery
import importlib.metadata
import importlib.util
import marshal
import os
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
DEBIAN: Final = ROOT / ".cache/power"
"""Where `make` unpacks Debian's packages."""
MODULES: Final = ("virtio_pci", "virtio_blk", "virtio_net")
FILE_SYSTEMS: Final = ("ext4", "xfs")
PACKAGES: Final = ("broker", "cli", "client", "protocol", "storage")
UNNEEDED: Final = frozenset(
    {
        "__pycache__",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "pygments",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
    }
)
"""Of the libraries: what a broker has no use for, and what is large."""
UNNEEDED_OBJECTS: Final = re.compile(r"_codecs_|_crypt|_curses|_dbm|_gdbm|_sqlite3|_test|_tkinter|_xx|nis|readline|xx")
"""And of the objects of the standard library: some of them want half of a desktop."""

DIRECTORY: Final = stat.S_IFDIR | 0o755
EXECUTABLE: Final = stat.S_IFREG | 0o755

INIT: Final = """#!/busybox sh
/busybox mount -t proc none /proc
/busybox mount -t sysfs none /sys
/busybox mount -t devtmpfs none /dev
for module in /modules/*.ko /modules/$filesystem/*.ko; do [ ! -e $module ] || /busybox insmod $module; done
/busybox ip link set lo up
/busybox ip address add 10.0.2.15/24 dev eth0
/busybox ip link set eth0 up
/busybox ip route add default via 10.0.2.2
/busybox mount -t $filesystem -o $mounting /dev/vda /data || { echo "POWER: no file system"; /busybox poweroff -f; }
echo "POWER: mounted"
export PYTHONHOME=%(prefix)s PYTHONPATH=/libraries PYTHONHASHSEED=0 PYTHONUNBUFFERED=1 HOME=/
%(python)s /launch.pyc </dev/null
echo "POWER: the broker ended with $?"
/busybox poweroff -f
"""
"""What the kernel does not know of its command line (filesystem=xfs) stands in the environment of its first process."""

LAUNCH: Final = """
import os, sys
from tidelog.cli.main import main
from tidelog.storage import disk

left = int(os.environ.get("syncs", 0))

def for_a_while(sync):
    def planted(*arguments):
        global left
        left -= 1
        return sync(*arguments) if left >= 0 else None
    return planted

if left:
    for holder in (disk.RealFile, disk.RealDisk):
        for name in {"sync", "sync_all", "sync_directory"} & set(vars(holder)):
            setattr(holder, name, for_a_while(getattr(holder, name)))
sys.argv = ["tidelog", "serve", "--http", "off", "--data-dir", "/data/tidelog", *os.environ["broker"].split(",")]
sys.exit(main())
"""
"""The broker, and the planted bug: with syncs=60, only the first sixty syncs are made."""


class Archive:
    """A cpio archive of the kind that the kernel unpacks into its first file system."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def add(self, path: str, data: bytes = b"", *, mode: int = EXECUTABLE, device: tuple[int, int] = (0, 0)) -> None:
        """An entry, and the directories above it."""
        path = os.path.normpath(path).lstrip("/")
        if path in self._names:
            return
        parent = os.path.dirname(path)
        if parent:
            self.add(parent, mode=DIRECTORY)
        self._names.add(path)
        name = path.encode() + b"\0"
        fields = (len(self._names), mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        self._parts += [header, bytes(-len(header) % 4), data, bytes(-len(data) % 4)]

    def write(self, target: Path) -> None:
        """The whole archive."""
        self.add("TRAILER!!!", mode=0)
        with target.open("wb") as file:
            file.writelines(self._parts)


def build(target: Path) -> None:
    """Write the initramfs."""
    archive = Archive()
    for directory in ("proc", "sys", "dev", "data", "tmp"):
        archive.add(directory, mode=DIRECTORY)
    archive.add("dev/console", mode=stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("busybox", (DEBIAN / "bin/busybox").read_bytes())
    _add_modules(archive)
    python = Path(sys.base_prefix) / "bin" / Path(os.path.realpath(sys.executable)).name
    archive.add("init", (INIT % {"prefix": sys.base_prefix, "python": python}).encode())
    archive.add("launch.pyc", compiled(LAUNCH.encode()))
    binaries = [python, *_add_python(archive)]
    archive.add(str(python), python.read_bytes())
    for library in shared_libraries(binaries):
        archive.add(str(library), library.read_bytes())
    archive.write(target)


def _add_modules(archive: Archive) -> None:
    """Add what every machine loads, and for each file system what it needs besides; named in their order."""
    common = with_dependencies(MODULES)
    for folder, modules in [("", common), *((name, with_dependencies([name])) for name in FILE_SYSTEMS)]:
        for number, module in enumerate(modules):
            if not folder or module not in common:
                archive.add(f"modules/{folder}/{number:02}-{module.name}", module.read_bytes())


def _add_python(archive: Archive) -> Iterator[Path]:
    """Add the standard library, the broker's libraries and the broker; the shared objects among them."""
    standard = Path(sysconfig.get_path("stdlib"))
    for path in _files(standard, is_top=True):
        yield from _add_file(archive, path, str(standard / path.relative_to(standard)))
    for distribution in distributions("tidelog"):
        for packaged in distribution.files or ():
            path = Path(str(distribution.locate_file(packaged)))
            if not UNNEEDED.intersection(packaged.parts) and ".." not in packaged.parts and path.is_file():
                yield from _add_file(archive, path, f"libraries/{packaged}")
    for path in [
        ROOT / "__init__.py",
        ROOT / "__main__.py",
        *(file for name in PACKAGES for file in _files(ROOT / name)),
    ]:
        yield from _add_file(archive, path, f"libraries/tidelog/{path.relative_to(ROOT)}")


def _add_file(archive: Archive, path: Path, place: str) -> Iterator[Path]:
    if path.suffix == ".py":
        archive.add(f"{place}c", compiled(path))
    else:
        archive.add(place, path.read_bytes())
    if ".so" in path.suffixes:
        yield path


def _files(folder: Path, *, is_top: bool = False) -> Iterator[Path]:
    """The modules and shared objects below a folder."""
    for entry in sorted(folder.iterdir()):
        if entry.name in UNNEEDED or (is_top and entry.name.startswith("config-")):
            continue
        if entry.suffix == ".so" and UNNEEDED_OBJECTS.match(entry.name):
            continue
        if entry.is_dir():
            yield from _files(entry)
        elif entry.suffix in (".py", ".so"):
            yield entry


def compiled(source: Path | bytes) -> bytes:
    """A module as Python would cache it, with a date that nobody compares; taken out of the cache where it is there."""
    if isinstance(source, bytes):
        code = compile(source, "launch.py", "exec")
    else:
        loaded = importlib.machinery.SourceFileLoader(source.stem, str(source)).get_code(source.stem)
        assert loaded is not None
        code = loaded
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


def distributions(name: str) -> list[importlib.metadata.Distribution]:
    """What a distribution needs, directly or not, itself and its extras left out."""
    found: dict[str, importlib.metadata.Distribution] = {}

    def visit(required: str) -> None:
        for requirement in importlib.metadata.requires(required) or ():
            needed = re.split(r"[^\w.-]", requirement)[0].lower()
            if "extra ==" in requirement or needed in found:
                continue
            try:
                found[needed] = importlib.metadata.distribution(needed)
            except importlib.metadata.PackageNotFoundError:
                continue  # for another platform or an older Python
            visit(needed)

    visit(name)
    return list(found.values())


def shared_libraries(binaries: Iterable[Path]) -> set[Path]:
    """The libraries that these load, and the loader itself, where they look for them."""
    printed = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=True).stdout
    return {Path(path) for path in re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", printed, re.MULTILINE)}


def kernel() -> Path:
    """The kernel out of Debian's package."""
    (image,) = (DEBIAN / "boot").glob("vmlinuz-*")
    return image


def with_dependencies(names: Iterable[str]) -> list[Path]:
    """The files of modules in an order in which they load; what is built into the kernel has none."""
    files = {path.stem.replace("-", "_"): path for path in (DEBIAN / "lib/modules").rglob("*.ko")}
    ordered: dict[str, Path] = {}

    def visit(name: str) -> None:
        if name in files and name not in ordered:
            (needed,) = re.findall(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
            for other in filter(None, needed.decode().split(",")):
                visit(other.replace("-", "_"))
            ordered[name] = files[name]

    for name in names:
        visit(name)
    return list(ordered.values())
