"""The gate of mutants: every sync, every rename and every check is taken out of the code, one at a time [A1].

What there is to be taken out is found by reading the code, not listed by hand:

* a *sync*: any call of that name, of a file, a map, a directory or a descriptor; then it does nothing;
* a *rename*: then the file is written in its place from the beginning;
* a *check*: an `if` that ends in a refusal (it raises, returns nothing, no or a reason why not, leaves the loop or goes
  on with the next), an `if` that ends well and is followed by a refusal, and an answer that compares checksums. In
  recovery it is any `if`; where the broker refuses requests, those that tell damage from what is sound. Each part that
  an `or` joins is one of its own. Then the answer is always that all is well.

A mutant lives in a process of its own, forked from one that has imported everything: the function's code is exchanged,
so that whoever imported the function has the mutant. The proofs then have to fail; one that survives is
a check that nobody would miss, or a proof that is missing. What is not needed for safety says so beside it, in a
comment that begins with `Safe without:` and gives the reason.

    python -m crash.mutants --list              what was found
    python -m crash.mutants --part 0/2          every second one: who survives is told, and the exit code is 1
    python -m crash.mutants --only TEXT --tell  those that have this in their name, and what killed them
"""

import argparse
import ast
import copy
import gc
import importlib
import json
import logging
import os
import random
import re
import resource
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Final, NoReturn, TypeGuard, TypeVar

import pytest

from .images.campaign import PLANS, run
from .rot.damage import Damage, damages
from .rot.examine import examine
from .rot.house import HouseSpecimen, a_house_specimen, examine_house
from .rot.specimens import Specimen, Stop, specimens

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parents[2]
SCOPE: Final = (
    "protocol/batch.py",
    "storage/*.py",
    "broker/metadata/*.py",
    "broker/topics/*.py",
    "broker/coordinator/runtime.py",
)
SYNCS: Final = frozenset({"sync", "sync_directory", "sync_all", "fsync", "fdatasync", "syncfs", "_sync_directory"})
CHECKSUMS: Final = re.compile(r"crc|sha256|digest|checksum", re.IGNORECASE)
OF_REQUESTS: Final = ("broker/coordinator/", "broker/metadata/cluster.py", "broker/metadata/store.py", "broker/topics/")
DAMAGE: Final = re.compile(r"corrupt|damage|disk|lost|offline|quarantine|storage|topic_id|unknown_?f", re.IGNORECASE)
"""By what is told there of a refusal that it is the disk's, and not the request's."""
DECIDES: Final = "storage/recovery.py"
"""What is cut, and what is kept: every decision in it counts."""
NOT_OF_THE_DISK: Final = frozenset({"storage/config.py"})
OUT_OF_REACH: Final = frozenset(
    {"storage/disk.py", "storage/filesystem.py", "storage/repair.py", "storage/salvage.py", "storage/survey.py"}
)
"""The real disk, and what operators do to a directory that no broker has open: no proof in memory goes there."""
ALSO_TESTED: Final = {
    "broker/topics/partition.py": ("broker/topics/test_damage.py",),
    "broker/topics/registry.py": ("broker/test_damaged_start.py", "broker/test_disk_space.py"),
    "storage/log.py": (
        "storage/test_checkpoints.py",
        "storage/test_digest_lives.py",
        "storage/test_quarantine.py",
        "storage/test_unreadable.py",
        "storage/test_whole_reads.py",
        "storage/test_write_caching.py",
    ),
    "storage/segment.py": ("storage/test_spoiled_indexes.py", "storage/test_unreadable.py"),
    "storage/segment_indexes.py": ("storage/test_spoiled_indexes.py",),
    "storage/durable_mark.py": ("storage/test_clean_stop.py",),
    "storage/recovery.py": (
        "storage/test_clean_stop.py",
        "storage/test_obstacles.py",
        "storage/test_quarantine.py",
        "storage/test_whole_reads.py",
        "storage/test_write_caching.py",
    ),
}
"""Tests of what a file has a part in, besides the tests of its own name."""
TOO_SLOW: Final = (
    "tests/storage/test_recovery.py::test_what_was_flushed_survives_any_number_of_power_cuts",
    "tests/storage/test_recovery.py::test_a_forgotten_sync_is_caught_by_the_same_checker",
    "tests/storage/test_recovery.py::test_indexes_are_a_cache_that_may_be_lost_at_any_time",
)
"""Tests that crash at random: the images do so in every way there is."""
QUICK: Final = 500
"""So many damages are tried before the tests, which cost more: most that are noticed at all are noticed by then."""
SAMPLE: Final[list[tuple[Specimen, Damage]]] = []
HOUSE_SAMPLE: Final[list[tuple[HouseSpecimen, Damage]]] = []
SAFE_WITHOUT: Final = "Safe without:"
PYTEST: Final = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:unraisableexception"),
    *("-o", "addopts=--import-mode=importlib", f"--rootdir={ROOT}"),
)
"""Not with the project's own options: `--strict-config` refuses `cache_dir` where there is no cache, and every mutant
would be taken for killed. And without the collecting of garbage, which takes longer than most tests."""
CPU_S_MAX: Final = 45
"""A mutant that takes longer has lost its way, which is to be noticed as well."""
MEMORY_MAX: Final = 4 << 30


class Kind(StrEnum):
    """What was taken out."""

    SYNC = "sync"
    RENAME = "rename"
    CHECK = "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One thing taken out of one function."""

    file: str
    function: str
    line: int
    kind: Kind
    what: str
    """Its source text."""
    excuse: str
    """Why it may survive; empty if it may not."""
    tree: ast.Module

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.file}:{self.line} {self.function}: {self.kind} {self.what}"

    @property
    def module(self) -> str:
        """The module it is a mutant of."""
        return ".".join(("tidelog", *self.file.removesuffix(".py").split("/")))


# -- finding them --


@cache
def find() -> list[Mutant]:
    """All of them, in the order of the files."""
    paths = sorted({path for pattern in SCOPE for path in ROOT.glob(pattern)})
    return [mutant for path in paths for mutant in mutants_of(path.relative_to(ROOT).as_posix(), path.read_text())]


def mutants_of(file: str, text: str) -> Iterator[Mutant]:
    """Those of one file."""
    tree = ast.parse(text)
    lines = text.splitlines()
    for function, body in outer_functions(tree):
        for number, (kind, what, line) in enumerate(places(file, body)):
            changed = copy.deepcopy(tree)
            target = next(node for name, node in outer_functions(changed) if name == function)
            changed_there = Changer(file, number).change(target)
            assert changed_there == what, f"{changed_there} is not {what}"
            yield Mutant(
                file=file,
                function=function,
                line=line,
                kind=kind,
                what=what,
                excuse=excuse_of(lines, line),
                tree=ast.fix_missing_locations(changed),
            )


def excuse_of(lines: Sequence[str], line: int) -> str:
    """What the comment above the line, or at its end, says in its favour."""
    comments: list[str] = []
    at = line - 1
    while at > 0 and lines[at - 1].lstrip().startswith("#"):
        at -= 1
        comments.insert(0, lines[at].lstrip().removeprefix("#").strip())
    comments.append(lines[line - 1].partition("  # ")[2])
    return " ".join(comments).partition(SAFE_WITHOUT)[2].strip()


Function = ast.FunctionDef | ast.AsyncFunctionDef


def outer_functions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Functions of the module and methods of its classes, not those within others."""
    for node in tree.body:
        if isinstance(node, Function):
            if not is_stub(node):
                yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from outer_functions(node, f"{prefix}{node.name}.")


def is_stub(function: Function) -> bool:
    """A protocol's: nothing but a docstring."""
    first = function.body[0]
    return len(function.body) == 1 and isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)


def places(file: str, function: Function) -> Iterator[tuple[Kind, str, int]]:
    """What can be taken out of a function, in the order in which `Changer` counts."""
    changer = Changer(file)
    changer.change(copy.deepcopy(function))
    yield from changer.seen


class Changer(ast.NodeTransformer):
    """Counts what can be taken out of a function, and takes out the one of that number."""

    def __init__(self, file: str, number: int | None = None) -> None:
        self._file = file
        self._number = number
        self.seen: list[tuple[Kind, str, int]] = []
        self._taken = ""
        self._rename: ast.Call | None = None

    def change(self, function: Function) -> str:
        """Change it in place; the text of what was taken out."""
        self.generic_visit(function)
        if self._rename is not None:
            write_in_place(function, self._rename)
        return self._taken

    def _is_it(self, kind: Kind, node: ast.expr, line: int) -> bool:
        self.seen.append((kind, ast.unparse(node), line))
        if len(self.seen) - 1 != self._number:
            return False
        self._taken = ast.unparse(node)
        return True

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Syncs and renames."""
        self.generic_visit(node)
        name = called(node)
        if name in SYNCS and self._is_it(Kind.SYNC, node, node.lineno):
            return ast.copy_location(ast.Constant(None), node)
        if name == "rename" and self._is_it(Kind.RENAME, node, node.lineno):
            self._rename = node
            return ast.copy_location(ast.Constant(None), node)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        """Checks."""
        if is_check(node, self._file):
            node.test = self._without(node.test)
        self.generic_visit(node)
        return node

    def _without(self, test: ast.expr) -> ast.expr:
        """The test, or what is left of it."""
        if is_or(test):
            test.values = [self._without(part) for part in test.values]
            return test
        if isinstance(test, ast.BoolOp):
            for number, part in enumerate(test.values):
                if is_or(part):
                    test.values[number] = self._without(part)
        return ast.copy_location(ast.Constant(False), test) if self._is_it(Kind.CHECK, test, test.lineno) else test

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Checks that end well when they are passed, and else run into the raising of what damage is called."""
        for block in (getattr(node, "body", None), getattr(node, "orelse", None)):
            for check, after in pairwise(block if isinstance(block, list) else ()):
                if (
                    isinstance(check, ast.If)
                    and not isinstance(after, ast.If)
                    and refuses(after, self._file)
                    and not refuses(check.body[-1], self._file)
                    and isinstance(check.body[-1], ast.Return | ast.If)
                    and self._is_it(Kind.CHECK, check.test, check.lineno)
                ):
                    check.test = ast.copy_location(ast.Constant(True), check.test)
        return super().generic_visit(node)

    def visit_Return(self, node: ast.Return) -> ast.AST:
        """A checksum that is compared in a return, or another answer to the question whether all is well."""
        if (
            isinstance(node.value, ast.Compare)
            and CHECKSUMS.search(ast.unparse(node.value))
            and self._is_it(Kind.CHECK, node.value, node.lineno)
        ):
            node.value = ast.copy_location(ast.Constant(isinstance(node.value.ops[0], ast.Eq)), node.value)
        self.generic_visit(node)
        return node


def called(node: ast.Call) -> str:
    """The last name of what is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def is_or(test: ast.expr) -> TypeGuard[ast.BoolOp]:
    """Several reasons, each enough."""
    return isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or)


def is_check(node: ast.If, file: str) -> bool:
    """Whether an `if` tells damage from what is sound."""
    return file == DECIDES or bool(CHECKSUMS.search(ast.unparse(node.test))) or refuses(node, file)


def refuses(node: ast.stmt, file: str) -> bool:
    """Whether a statement, or an `if` by its last one, refuses to go on with what the disk holds."""
    if file in NOT_OF_THE_DISK:
        return False
    last = node.body[-1] if isinstance(node, ast.If) else node
    if not (isinstance(last, ast.Raise | ast.Break | ast.Continue) or is_refusal(last)):
        return False
    told = ast.unparse(node.test) + ast.unparse(last) if isinstance(node, ast.If) else ast.unparse(last)
    return not file.startswith(OF_REQUESTS) or bool(DAMAGE.search(told))


def is_refusal(node: ast.stmt) -> bool:
    """A return of nothing, no, or the reason why not."""
    if not isinstance(node, ast.Return):
        return False
    value = node.value
    if isinstance(value, ast.Constant):
        return value.value is None or value.value is False or isinstance(value.value, str)
    return value is None or isinstance(value, ast.JoinedStr)


def write_in_place(function: Function, rename: ast.Call) -> None:
    """The name that the function made up for what it renames, or renames it to, becomes the other one at once.

    Whoever was given both names only leaves the rename out.
    """
    source, target = rename.args
    for mine, other in ((source, target), (target, source)):
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == ast.unparse(mine):
                node.value = copy.deepcopy(other)
                return


# -- letting them live --


def exchange(mutant: Mutant) -> None:
    """Let the function have the mutant's code, in this process and for good."""
    target = function_of(mutant)
    target.__code__ = code_of(compile(mutant.tree, str(ROOT / mutant.file), "exec"), mutant.function.split("."))


def function_of(mutant: Mutant) -> types.FunctionType:
    """The function itself, whatever it is wrapped in."""
    owner: object = importlib.import_module(mutant.module)
    *classes, name = mutant.function.split(".")
    for one in classes:
        owner = getattr(owner, one)
    found = vars(owner)[name]
    while not isinstance(found, types.FunctionType):
        found = next(
            inner
            for attribute in ("fget", "__func__", "func", "__wrapped__")
            if (inner := getattr(found, attribute, None)) is not None
        )
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    assert isinstance(found, types.FunctionType)
    return found


def code_of(code: types.CodeType, path: Sequence[str]) -> types.CodeType:
    """The code of a function or class within another's."""
    for name in path:
        code = next(part for part in code.co_consts if isinstance(part, types.CodeType) and part.co_name == name)
    return code


# -- having them killed --


Killer = tuple[str, Callable[[], bool]]
"""Its name, and whether it notices."""


def killer_of(mutant: Mutant) -> str:
    """What notices the mutant; nothing if nothing does."""
    return noticed(lambda: exchange(mutant), killers(mutant))


def noticed(change: Callable[[], None], by: Iterable[Killer]) -> str:
    """Which is the first to notice a change that is made in a process of its own; nothing if none does."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be(change, by, writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        name = told.read()
    _, status = os.waitpid(child, 0)
    return name if os.waitstatus_to_exitcode(status) == 0 else "it does not end"


def _be(change: Callable[[], None], by: Iterable[Killer], writing: int) -> NoReturn:
    """The mutant's whole life."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        change()
        killer = next((name for name, kills in by if kills()), "")
        os.write(writing, killer.encode())
        os._exit(0)
    except BaseException:  # noqa: BLE001 - what even the killers do not survive is noticed
        os._exit(1)


def killers(mutant: Mutant) -> Iterator[Killer]:
    """The proofs, and the tests of the function's own file; those that are quicker to notice come first."""
    own = ("its own tests", partial(own_tests_notice, mutant.file))
    flips = ("bit flips", flips_notice)
    house = ("bit flips, seen from outside", house_notices)
    images = ("crash images", images_notice)
    if mutant.file in OUT_OF_REACH:
        yield own
    elif mutant.file.startswith("broker/"):
        yield from (own, house, images)
    elif mutant.kind is not Kind.CHECK:
        yield from (images, own)
    elif mutant.file == DECIDES:
        yield from (("bit flips", partial(flips_notice, SAMPLE[:QUICK])), own, flips, images)
    else:
        yield from (own, flips, house, images)


def flips_notice(some: Sequence[tuple[Specimen, Damage]] = SAMPLE) -> bool:
    """Whether a promise about damage is broken."""
    return any(fails(partial(examine, specimen, damage)) for specimen, damage in some)


def house_notices(some: Sequence[tuple[HouseSpecimen, Damage]] = HOUSE_SAMPLE) -> bool:
    """The same with a whole broker."""
    return any(fails(partial(examine_house, specimen, damage)) for specimen, damage in some)


def fails(action: Callable[[], object]) -> bool:
    """Whether it raises anything."""
    try:
        action()
    except Exception:  # noqa: BLE001 - whatever it is, the mutant was noticed
        return True
    return False


def images_notice() -> bool:
    """Whether a promise about crashes is broken."""
    found: list[str] = []
    return fails(lambda: found.extend(run(replace(PLANS["quick"], violations_max=1)).violations)) or bool(found)


def own_tests_notice(file: str) -> bool:
    """Whether the tests of the source file fail."""
    logging.getLogger("tidelog").setLevel(logging.NOTSET)
    tests = tests_of([file])
    return bool(tests) and run_tests(*tests) != 0


def tests_of(files: Iterable[str]) -> list[str]:
    """The tests of these source files, as far as they have any."""
    found: list[str] = []
    for file in sorted(files):
        folder, _, name = file.rpartition("/")
        found += [str(ROOT / "tests" / test) for test in (*ALSO_TESTED.get(file, ()), f"{folder}/test_{name}")]
    return [test for test in found if Path(test).exists()]


def run_tests(*arguments: str) -> int:
    """How pytest ends."""
    return int(pytest.main([*PYTEST, *(f"--deselect={test}" for test in TOO_SLOW), *arguments]))


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m crash.mutants")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--part", default="0/1", help="which part of how many")
    parser.add_argument("--only", default="", help="those that have this in their name")
    parser.add_argument("--tell", action="store_true", help="each one's end, when it comes")
    given = parser.parse_args()
    part, parts = map(int, given.part.split("/"))
    wanted = [mutant for number, mutant in enumerate(find()) if number % parts == part and given.only in mutant.name]
    if given.list:
        print("\n".join(f"{mutant.name}{mutant.excuse and ' | '}{mutant.excuse}" for mutant in wanted))  # noqa: T201
        return 0
    logging.getLogger("tidelog").setLevel(logging.CRITICAL)
    SAMPLE.extend(mixed(sample()))
    HOUSE_SAMPLE.extend(mixed(house_sample()))
    files = {mutant.file for mutant in find()}
    # What is imported here, and not looked at by the garbage collector any more, need not be copied for each mutant.
    run_tests("--collect-only", *tests_of([DECIDES]))
    gc.freeze()
    check_killers(files, part, parts)
    ends: dict[str, str] = {}
    for mutant in wanted:
        if mutant.excuse:
            continue
        began = time.monotonic()
        ends[mutant.name] = killer_of(mutant)
        if given.tell:
            line = f"{ends[mutant.name] or 'SURVIVES':<16}{time.monotonic() - began:6.1f} s  {mutant.name}"
            print(line, flush=True)  # noqa: T201
    survivors = [name for name, killer in ends.items() if not killer]
    excused = [mutant.name for mutant in wanted if mutant.excuse]
    print(json.dumps({"killed": Counter(ends.values()), "survivors": survivors, "excused": excused}))  # noqa: T201
    return 1 if survivors else 0


def check_killers(files: Iterable[str], part: int, parts: int) -> None:
    """Without any mutant nobody notices one: else it would be no wonder that all are killed."""
    own = ((f"the tests of {file}", partial(own_tests_notice, file)) for file in sorted(files)[part::parts])
    every: list[Killer] = [
        ("bit flips", lambda: flips_notice(SAMPLE[part::parts])),
        ("bit flips, seen from outside", lambda: house_notices(HOUSE_SAMPLE[part::parts])),
        *own,
    ]
    for one in every:
        name = noticed(lambda: None, [one])
        assert not name, f"{name} notice a mutant where there is none"


def mixed(some: Iterable[T]) -> list[T]:
    """In an order in which what differs comes early; always the same."""
    drawn = list(some)
    random.Random(0).shuffle(drawn)
    return drawn


def sample() -> Iterator[tuple[Specimen, Damage]]:
    """Damages of every kind to every kind of file, few enough for every mutant to be asked about all of them."""
    for specimen in specimens(range(3)):
        for path in specimen.files:
            some = list(damages(specimen, path, step=1 + len(specimen.tree[path]) // 12))
            yield from ((specimen, damage) for damage in some[:: max(1, len(some) // 150)])


def house_sample() -> Iterator[tuple[HouseSpecimen, Damage]]:
    """The same of a broker's data directories, and fewer: each takes a broker's start."""
    for stop in (Stop.CLEAN, Stop.MARKED):
        specimen = a_house_specimen(stop)
        for path in specimen.files:
            some = list(damages(specimen, path))
            yield from ((specimen, damage) for damage in some[5 :: 1 + len(some) // 6])


if __name__ == "__main__":
    sys.exit(main())
