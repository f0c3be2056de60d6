"""The rules of the house that linters cannot say: banned words, sizes, docstrings, imports, the shape of the tree.

A rule is a function from one parsed file to what offends in it. Each stands in the table `RULES` together with a piece
of code that breaks it, so that two tests come from every row: the house obeys the rule, and the check would notice if
it did not. An exemption is a row in `ALLOWED` with its reason, and a test asks that every row is still needed.
"""

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 700
POSITIONAL_MAX = 4
UNTESTED_LINES_MAX = 20
NOT_OURS = frozenset({"build", "corpus", "dist", "node_modules", "tidelog-data", "__pycache__"})
TEXT_SUFFIXES = frozenset({".py", ".md", ".toml", ".yml", ".yaml", ".json", ".sh", ".txt", ""})
HOUSE = ("protocol", "storage", "client", "broker", "cli")
BESIDE = ("tests", "examples", "benchmarks")

ALLOWED: Mapping[str, Mapping[str, str]] = {
    "clock": {
        "broker/environment.py": "the real Environment is where the clock enters",
        "client/config.py": "the client's default clock, which a simulation replaces",
        "cli/serve.py": "how long the process took to be ready; nothing is decided by it",
    },
    "dice": {
        "broker/environment.py": "the real Environment is where chance enters",
        "client/config.py": "the client's default jitter, which a simulation replaces",
    },
    "files": {
        "storage/disk.py": "RealDisk is where the disk enters",
        "storage/filesystem.py": "the part of RealDisk that is Linux's alone",
        "broker/reference.py": "writes the generated documents; no broker runs in its process",
    },
    "tasks": {
        "broker/acceptor.py": "the owner of connections on the doorstep, which ends every one that it starts",
        "client/tasks.py": "the owner of the client's tasks, which ends every one that it starts",
    },
    "threads": {
        "broker/environment.py": "the one pool for blocking calls",
    },
    "sockets": {
        "broker/environment.py": "the socket of the HTTP side is opened here",
    },
    "types": {
        "__init__.py": "tells type checkers the names that are loaded when first used",
        "broker/coordinator/runtime.py": "a broker without groups starts without their coordinators and messages",
    },
    "uvloop": {
        "cli/serve.py": "the loop is chosen where the real world is put together, and nowhere else",
    },
}

BANNED: Mapping[str, frozenset[str]] = {
    "clock": frozenset(
        {
            "time.time",
            "time.time_ns",
            "time.monotonic",
            "time.monotonic_ns",
            "time.clock_gettime",
            "time.process_time",
            "time.perf_counter",
            "time.perf_counter_ns",
            "time.sleep",
            "datetime.datetime.now",
            "datetime.datetime.utcnow",
            "datetime.datetime.today",
            "datetime.date.today",
        }
    ),
    "dice": frozenset({"os.urandom", "uuid.uuid1", "uuid.uuid4"}),  # and all of `random` and `secrets`, see below
    "files": frozenset(
        {"open", "io.open", "os.open", "os.fdopen", "os.remove", "os.rename", "os.replace", "os.unlink"}
    ),
    "threads": frozenset(
        {
            "asyncio.get_event_loop",
            "asyncio.to_thread",
            "concurrent.futures.ThreadPoolExecutor",
            "concurrent.futures.ProcessPoolExecutor",
            "threading.Thread",
        }
    ),
    "sockets": frozenset({"socket.socket", "socket.create_server", "socket.create_connection"}),
    "tasks": frozenset({"asyncio.create_task", "asyncio.ensure_future"}),
    "types": frozenset({"typing.TYPE_CHECKING"}),
    "uvloop": frozenset({"uvloop"}),
}
PATH_METHODS = frozenset({"read_text", "read_bytes", "write_text", "write_bytes"})

UNMIRRORED: Mapping[str, str] = {
    "broker/coordinator/decision.py": "what machines and the runtime say to each other; the tests of either speak it",
    "broker/services.py": "fields without behaviour; every handler's test works through them",
}
"""Source files without a test file of their own, each with the reason."""


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed file of the repository."""

    path: str
    text: str
    tree: ast.Module

    @property
    def line_count(self) -> int:
        return self.text.count("\n")

    @property
    def is_house(self) -> bool:
        return self.path.split("/")[0] not in BESIDE

    @property
    def module(self) -> str:
        """The dotted name, `tidelog` being the root."""
        parts = ["tidelog", *self.path.removesuffix(".py").split("/")]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


Finding = tuple[int, str]
Check = Callable[[Source], Iterator[Finding]]


# -- the tree --


@cache
def text_files() -> tuple[str, ...]:
    """Every file of ours, by its path from the root: neither what tools made nor what a broker stored."""
    found = []
    folders = [ROOT]
    while folders:
        for entry in folders.pop().iterdir():
            if entry.name in NOT_OURS or entry.name.endswith(".egg-info"):
                continue
            if entry.is_dir():
                if not entry.name.startswith(".") or entry.name == ".ci":
                    folders.append(entry)
            elif entry.suffix in TEXT_SUFFIXES:
                found.append(entry.relative_to(ROOT).as_posix())
    return tuple(sorted(found))


@cache
def sources() -> tuple[Source, ...]:
    return tuple(parsed(path, (ROOT / path).read_text()) for path in text_files() if path.endswith(".py"))


def parsed(path: str, text: str) -> Source:
    text = textwrap.dedent(text)
    return Source(path, text, ast.parse(text, path))


def house() -> Iterator[Source]:
    return (source for source in sources() if source.is_house)


# -- checks of one file --


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def says_what_it_is(source: Source) -> Iterator[Finding]:
    if ast.get_docstring(source.tree) is None:
        yield 1, "the file does not open with a docstring"


def documents_what_is_public(source: Source) -> Iterator[Finding]:
    classes = [node for node in source.tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for node in [*source.tree.body, *(item for found in classes for item in found.body)]:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.lineno, f"{node.name} has no docstring"


def keeps_functions_short(source: Source) -> Iterator[Finding]:
    for function in functions(source):
        size = (function.end_lineno or function.lineno) - function.lineno + 1
        if size > FUNCTION_LINES_MAX:
            yield function.lineno, f"{function.name} has {size} lines; {FUNCTION_LINES_MAX} at most"


def keeps_files_short(source: Source) -> Iterator[Finding]:
    if source.line_count > FILE_LINES_MAX:
        yield source.line_count, f"{source.line_count} lines; {FILE_LINES_MAX} at most"


def takes_few_by_position(source: Source) -> Iterator[Finding]:
    for function in functions(source):
        names = [argument.arg for argument in function.args.posonlyargs + function.args.args]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > POSITIONAL_MAX:
            yield function.lineno, f"{function.name} takes {count} by position; {POSITIONAL_MAX} at most"


def takes_few_fields_by_position(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            if not ast.unparse(decorator).startswith("dataclass") or "kw_only=True" in ast.unparse(decorator):
                continue
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and is_positional_field(item)]
            if len(fields) > POSITIONAL_MAX:
                yield node.lineno, f"{node.name} has {len(fields)} fields by position: kw_only=True"


def is_positional_field(item: ast.AnnAssign) -> bool:
    if "ClassVar" in ast.unparse(item.annotation):
        return False
    value = ast.unparse(item.value) if item.value else ""
    return "init=False" not in value and "kw_only=True" not in value


def has_no_any_in_signatures(source: Source) -> Iterator[Finding]:
    for function in functions(source):
        arguments = function.args
        everything = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        annotations = [argument.annotation for argument in everything if argument is not None]
        for annotation in [*annotations, function.returns]:
            if annotation is not None and re.search(r"\bAny\b", ast.unparse(annotation)):
                yield annotation.lineno, f"Any in the signature of {function.name}"


def imports_its_own_relatively(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        if any(name.split(".")[0] == "tidelog" for name in names):
            yield node.lineno, "an absolute import inside the house"


def calls_no_other_handler(source: Source) -> Iterator[Finding]:
    if not source.path.startswith("broker/handlers/") or source.path.endswith(("/table.py", "/__init__.py")):
        return
    for line, target in imports_of(source):
        if target.startswith("tidelog.broker.handlers."):
            yield line, f"a handler imports {target}"


def has_no_todo(source: Source) -> Iterator[Finding]:
    for line, text in enumerate(source.text.splitlines(), 1):
        if re.search(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b", text):
            yield line, "an open end: do it, or open an issue"


# -- banned words --


def banned(family: str) -> Check:
    def check(source: Source) -> Iterator[Finding]:
        exempt = source.path in ALLOWED.get(family, ()) or (family == "files" and source.path.startswith("cli/"))
        return iter(()) if exempt else uses(family, source)

    return check


def uses(family: str, source: Source) -> Iterator[Finding]:
    """Where the words of a family stand, whatever they were renamed to on import."""
    names = imported_names(source)
    annotations = {id(part) for root in annotations_of(source) for part in ast.walk(root)}
    inside = {id(node.value) for node in ast.walk(source.tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Name | ast.Attribute) or id(node) in inside or id(node) in annotations:
            continue
        written = ast.unparse(node)
        first, _, rest = written.partition(".")
        meant = names.get(first, first) + ("." + rest if rest else "")
        if is_banned(family, meant, node):
            yield node.lineno, f"{written}: {family} enters elsewhere"
    if family == "uvloop":
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and "uvloop" in ast.unparse(node):
                yield node.lineno, "import of uvloop"


def is_banned(family: str, meant: str, node: ast.Name | ast.Attribute) -> bool:
    if meant in BANNED[family]:
        return True
    last = meant.rpartition(".")[2]
    if family == "dice":
        return meant.startswith(("random.", "secrets."))
    if family == "files":
        return isinstance(node, ast.Attribute) and last in PATH_METHODS
    if family == "threads":
        return last == "run_in_executor"
    if family == "tasks":  # a TaskGroup's create_task is the only one whose tasks have an owner
        return last == "create_task" and re.search(r"loop(\(\))?\.create_task$", meant) is not None
    return False


def imported_names(source: Source) -> dict[str, str]:
    """What each imported name stands for, in full."""
    names = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def annotations_of(source: Source) -> Iterator[ast.expr]:
    """`random.Random` as a type promises that somebody else throws the dice."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield node.returns


# -- imports between files --


def imports_of(source: Source) -> Iterator[tuple[int, str]]:
    """The modules of ours that a file imports, by full name: `from ..storage import log` means the module `log`."""
    package = source.module if source.path.endswith("__init__.py") else source.module.rpartition(".")[0]
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
        target = f"{base}.{node.module}" if node.module else base
        for alias in node.names:
            yield node.lineno, f"{target}.{alias.name}" if is_module(f"{target}.{alias.name}") else target


@cache
def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Each circle of imports once, as the names along it."""
    found: list[list[str]] = []
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append(trail[trail.index(name) :])
        elif name not in finished:
            for target in sorted(graph.get(name, ())):
                visit(target, [*trail, name])
            finished.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


# -- the table of rules --


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, where it holds, and code that breaks it (`planted_at` says where that code would stand)."""

    name: str
    check: Check
    planted: str
    planted_at: str = "storage/planted.py"
    everywhere: bool = False


LONG_FUNCTION = "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX
RULES = (
    Rule(name="a file opens with a docstring", check=says_what_it_is, planted="x = 1\n", everywhere=True),
    Rule(
        name="what is public is documented",
        check=documents_what_is_public,
        planted='class Log:\n    """A log."""\n    def append(self): ...\n',
    ),
    Rule(name="a function fits a page", check=keeps_functions_short, planted=LONG_FUNCTION, everywhere=True),
    Rule(name="a file can be read", check=keeps_files_short, planted="x = 1\n" * 701, everywhere=True),
    Rule(
        name="four parameters by position at most",
        check=takes_few_by_position,
        planted="class A:\n    def f(self, a, b, c, d, e): ...\n",
    ),
    Rule(
        name="four fields by position at most",
        check=takes_few_fields_by_position,
        planted="@dataclass(frozen=True)\nclass A:\n    a: int\n    b: int\n    c: int\n    d: int\n    e: int = 1\n",
    ),
    Rule(
        name="no Any in a signature",
        check=has_no_any_in_signatures,
        planted="async def f(*, a: dict[str, Any]) -> None: ...\n",
    ),
    Rule(
        name="relative imports inside the house",
        check=imports_its_own_relatively,
        planted="def f():\n    from tidelog.storage.log import Log\n",
    ),
    Rule(
        name="no imports for types only",
        check=banned("types"),
        planted="import typing\nif typing.TYPE_CHECKING: ...\n",
        everywhere=True,
    ),
    Rule(
        name="a handler calls no other handler",
        check=calls_no_other_handler,
        planted="from .produce import produce\n",
        planted_at="broker/handlers/planted.py",
    ),
    Rule(name="no open ends", check=has_no_todo, planted="x = 1  # TO" + "DO: more\n", everywhere=True),
    Rule(name="the clock is the Environment's", check=banned("clock"), planted="from time import time as t\nt()\n"),
    Rule(name="chance is the Environment's", check=banned("dice"), planted="import random\nr = random.Random(1)\n"),
    Rule(name="the disk is the Environment's", check=banned("files"), planted="with open('x') as f: ...\n"),
    Rule(name="files are read by the disk alone", check=banned("files"), planted="Path('x').read_text()\n"),
    Rule(
        name="blocking calls go through the Environment",
        check=banned("threads"),
        planted="import asyncio\nasyncio.get_running_loop().run_in_executor(None, f)\n",
    ),
    Rule(
        name="the loop is the running one",
        check=banned("threads"),
        planted="import asyncio\nasyncio.get_event_loop()\n",
    ),
    Rule(name="sockets are the Environment's", check=banned("sockets"), planted="import socket\ns = socket.socket()\n"),
    Rule(
        name="a task has an owner", check=banned("tasks"), planted="from asyncio import create_task\ncreate_task(f())\n"
    ),
    Rule(
        name="a loop's tasks have an owner",
        check=banned("tasks"),
        planted="import asyncio\nasyncio.get_running_loop().create_task(f())\n",
    ),
    Rule(name="the loop is chosen in one place", check=banned("uvloop"), planted="def f():\n    import uvloop\n"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_house_obeys(rule: Rule) -> None:
    offences = [
        f"{source.path}:{line}: {what}"
        for source in sources()
        if rule.everywhere or source.is_house
        for line, what in rule.check(source)
    ]
    assert not offences, f"{rule.name}:\n" + "\n".join(offences)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_check_would_notice(rule: Rule) -> None:
    assert list(rule.check(parsed(rule.planted_at, rule.planted)))


@pytest.mark.parametrize(
    ("rule", "innocent"),
    [
        ("chance is the Environment's", "import random\ndef f(dice: random.Random) -> None: ...\n"),
        ("a task has an owner", "async def f(group):\n    group.create_task(g())\n"),
        ("the disk is the Environment's", "disk.open('x', create=True)\n"),
        ("the clock is the Environment's", "environment.now_ms()\nloop.time()\n"),
        ("four parameters by position at most", "def f(a, b, c, d, *, e): ...\n"),
    ],
)
def test_the_check_lets_the_innocent_pass(rule: str, innocent: str) -> None:
    (check,) = (row.check for row in RULES if row.name == rule)
    assert not list(check(parsed("storage/planted.py", innocent)))


@pytest.mark.parametrize(("family", "path"), [(family, path) for family, paths in ALLOWED.items() for path in paths])
def test_every_exemption_is_still_needed(family: str, path: str) -> None:
    found = [source for source in sources() if source.path == path]
    assert found, f"{path} is gone: take it out of ALLOWED[{family!r}]"
    assert list(uses(family, found[0])), f"{path} needs no exemption from {family!r} any more"


# -- rules about the tree --


def test_files_import_each_other_in_no_circle() -> None:
    # The package's own __init__ names the client's public names lazily; whoever reads the version there is no circle.
    graph = {
        source.module: {target for _, target in imports_of(source)} for source in house() if source.module != "tidelog"
    }
    found = [" -> ".join(circle) for circle in circles(graph)]
    assert not found, "circles of imports:\n" + "\n".join(found)


def test_a_circle_would_be_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}}) == []


def test_imports_are_read_as_python_reads_them() -> None:
    source = parsed(
        "broker/network/planted.py", "from ...storage.log import Log\nfrom .. import metadata\nfrom . import x\n"
    )
    targets = [target for _, target in imports_of(source)]
    assert targets == ["tidelog.storage.log", "tidelog.broker.metadata", "tidelog.broker.network"]


def test_the_package_list_is_the_tree() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {Path(path).parent.parts for path in text_files() if path.endswith(".py")}
    found = sorted(".".join(("tidelog", *parts)) for parts in folders if not parts or parts[0] not in BESIDE)
    assert listed == found


def test_a_package_says_so() -> None:
    folders = {Path(source.path).parent for source in house()}
    bare = [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()]
    assert not bare, f"folders of modules without __init__.py: {bare}"


def test_the_root_holds_no_other_module() -> None:
    loose = [path for path in text_files() if "/" not in path and path.endswith(".py")]
    assert loose == ["__init__.py", "__main__.py"], "the root is the package: modules belong into a folder"


def test_the_house_has_these_floors() -> None:
    assert {source.path.split("/")[0] for source in house() if "/" in source.path} == set(HOUSE)


def test_every_source_file_has_its_test_file() -> None:
    missing = []
    for source in house():
        folder, _, name = source.path.rpartition("/")
        mirror = "/".join(filter(None, ["tests", folder, f"test_{name}"]))
        if source.line_count > UNTESTED_LINES_MAX and not (ROOT / mirror).exists() and source.path not in UNMIRRORED:
            missing.append(f"{source.path}: no {mirror}")
    assert not missing, "\n".join(missing)


def test_every_file_without_a_mirror_is_still_without() -> None:
    for path in UNMIRRORED:
        folder, _, name = path.rpartition("/")
        assert (ROOT / path).exists(), f"{path} is gone: take it out of UNMIRRORED"
        assert not (ROOT / "tests" / folder / f"test_{name}").exists(), f"{path} has a test file by now"


FOREIGN_PATH = re.compile(r"(?<![\w.\-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me|Us" + r"ers)/\w|\.\./sha" + r"red\b")


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    found = []
    for path in text_files():
        if path.startswith("tests/"):
            continue
        for line, text in enumerate((ROOT / path).read_text().splitlines(), 1):
            if FOREIGN_PATH.search(text):
                found.append(f"{path}:{line}: {text.strip()}")
    assert not found, "\n".join(found)


def test_a_place_on_somebodys_machine_would_be_noticed() -> None:
    assert FOREIGN_PATH.search("see /ho" + "me/anna/x")
    assert FOREIGN_PATH.search("zcat ../sha" + "red/data/x")
    assert not FOREIGN_PATH.search("/var/lib/tidelog and docs/work/x and http://host/work/x")


def test_documents_and_settings_have_no_open_ends() -> None:
    found = [
        f"{path}:{line}"
        for path in text_files()
        if not path.endswith((".py", "pyproject.toml")) and not path.startswith("LICENSE")
        for line, text in enumerate((ROOT / path).read_text().splitlines(), 1)
        if re.search(r"\b(?:TO" + r"DO|FIX" + r"ME)\b", text)
    ]
    assert not found, "\n".join(found)


# -- the import contracts of pyproject.toml: would they notice? --


PLANTED_IMPORTS = {
    "floors": ("storage/log.py", "from ..broker import server"),
    "broker-without-client": ("broker/server.py", "from ..client import errors"),
    "storage-sees-the-batch": ("storage/log.py", "from ..protocol import primitives"),
    "storage-knows-no-message": ("protocol/batch.py", "from . import framing"),
    "serve-alone-knows-the-broker": ("cli/topics.py", "from ..broker import server"),
    "log-files-alone-knows-the-disk": ("cli/topics.py", "from ..storage import log"),
    "protocol-is-pure": ("protocol/batch.py", "import time"),
    "storage-is-told-the-time": ("storage/log.py", "def f():\n    import asyncio"),
    "handlers-do-not-look-up": ("broker/handlers/produce.py", "from ..network import connection"),
}
SMALL_HOUSE = {
    "__init__.py": "",
    "__main__.py": "from .cli import main",
    "cli/main.py": "from . import serve, topics, log_files",
    "cli/serve.py": "from ..broker.server import *",
    "cli/topics.py": "from ..client import errors",
    "cli/log_files.py": "from ..storage.log import *",
    "broker/server.py": "from .network import connection",
    "broker/network/connection.py": "from ..handlers import produce\nfrom ...protocol import framing",
    "broker/handlers/produce.py": "from ...storage import log\nfrom ...protocol import apis",
    "client/errors.py": "from ..protocol import tide_wire",
    "storage/log.py": "import os\nfrom ..protocol.batch import *\nfrom ..protocol.records import *",
    "protocol/batch.py": "from . import primitives",
    "protocol/records.py": "from .batch import *",
    "protocol/messages/__init__.py": "",
    "protocol/apis.py": "from . import messages",
    "protocol/primitives.py": "import struct",
} | {f"protocol/{name}.py": "" for name in ("fields", "framing", "kafka_wire", "tide_wire", "wire")}


def contracts() -> dict[str, str]:
    rows = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {row["id"]: row["name"] for row in rows}


def lint_a_small_house(folder: Path, planted: Mapping[str, str]) -> str:
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for path, text in SMALL_HOUSE.items():
        target = folder / "tidelog" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{text}\n{planted.get(path, '')}\n")
        (target.parent / "__init__.py").touch()
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_the_import_contracts_let_a_sound_house_stand(tmp_path: Path) -> None:
    assert " 0 broken" in lint_a_small_house(tmp_path, {})


def test_a_violation_is_planted_for_every_import_contract() -> None:
    assert PLANTED_IMPORTS.keys() == contracts().keys()


@pytest.mark.parametrize("contract", PLANTED_IMPORTS)
def test_the_import_contract_would_notice(contract: str, tmp_path: Path) -> None:
    path, line = PLANTED_IMPORTS[contract]
    printed = lint_a_small_house(tmp_path, {path: line})
    assert re.search(re.escape(contracts()[contract]) + r"\s+BROKEN", printed), printed
