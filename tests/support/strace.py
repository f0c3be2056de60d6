"""strace on a broker's process: its system calls fail, stop half-way or hang, or are only watched.

What is injected holds for calls on given paths (by name or by descriptor), in every thread, until it is taken away
again. `strace` is Debian's, and belongs to the witnesses of the Makefile.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "openat",
    "mkdir",
    "rename",
    "unlink",
    "rmdir",
    "pread64",
    "pwritev2",
    "ftruncate",
    "fallocate",
    "fdatasync",
    "fsync",
    "syncfs",
    "getdents64",
)
"""By which a broker's disk is reached on Linux."""

DETACHED_WITHIN_S = 20.0

_CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?([a-z0-9_]+)(?: resumed>|\()(.*)$")
_BY_NAME = frozenset({"openat", "mkdir", "rename", "unlink", "rmdir"})
_NAME = re.compile(r'"([^"]*)"')
_RESULT = re.compile(r"= (-?\d+)(?:<[^>]*>)?(?: E[A-Z]+ \([^)]*\))?((?: \((?:INJECTED|DELAYED)\))*)$")
_DESCRIPTOR = re.compile(r"<(/[^>]*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was seen."""

    name: str
    path: str
    """The first one that it names."""
    result: int | None = None
    """-1 for a failure; None while it has not returned."""
    injected: bool = False


class Strace:
    """strace while it is attached, and what it saw."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def calls(self) -> list[Call]:
        """What has been seen so far, in the order of the calls' beginnings; a call that has not ended is among them."""
        found: dict[int, Call] = {}
        unfinished: dict[tuple[str, str], int] = {}
        for number, line in enumerate(self._output.read_text(errors="replace").splitlines()):
            match = _CALL.match(line)
            if match is None:
                continue
            thread, name, rest = match.groups()
            if "resumed>" in line:
                begun = unfinished.pop((thread, name), None)  # None: before strace was attached
                if begun is not None:
                    found[begun] = _ended(found[begun], rest)
                continue
            path = (_NAME if name in _BY_NAME else _DESCRIPTOR).search(rest)
            call = Call(name, path[1] if path else "")
            if rest.endswith("<unfinished ...>"):
                unfinished[thread, name] = number
            found[number] = _ended(call, rest)
        return list(found.values())


def _ended(call: Call, line: str) -> Call:
    """The call as the end of its line has it, if there is one."""
    result = _RESULT.search(line)
    return call if result is None else Call(call.name, call.path, int(result[1]), bool(result[2]))


def command(output: Path, *, injections: Iterable[str] = (), paths: Iterable[Path] = ()) -> list[str]:
    """What runs strace: before the command that is to be watched from its start, or with `-p`."""
    words = ["strace", "-f", "-y", "-o", str(output), "-e", f"trace={','.join(CALLS)}"]
    for injection in injections:
        words += ["-e", f"inject={injection}"]
    for path in paths:
        words += ["-P", str(path)]
    return words


@contextmanager
def attached(pid: int, output: Path, *, injections: Iterable[str] = (), paths: Sequence[Path] = ()) -> Iterator[Strace]:
    """As long as the block, the process behaves so; calls on other paths are left alone. What hangs ends with it."""
    words = [*command(output, injections=injections, paths=paths), "-p", str(pid)]
    tracer = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    try:
        said: list[bytes] = []
        while b" attached" not in (line := tracer.stderr.readline()):
            said.append(line)
            assert line, b"".join(said).decode()
        yield Strace(output)
    finally:
        tracer.terminate()
        tracer.wait(DETACHED_WITHIN_S)
        tracer.stderr.close()
