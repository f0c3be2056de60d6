"""The README is true: every command in it is run, in its order, and what it shows is what comes.

A line that begins with `$ ` in a console block is a command, and the lines below it, up to the next, are what it
prints; with none below it only its exit code is looked at. A python block is a program, and the text block that follows
it what it prints. `…` stands for anything. The broker is the one that the README's own `make run` starts.

Two things are not as written: the documented ports may be taken on the machine that tests, so 9092 and 9192 become free
ones, in commands, programs and expected lines alike; and the files that the README makes go to a temporary directory.
The defaults that commands rely on are moved by the same variables that a person would use. `make test` is not run: it
runs this.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
START = "make run"
NOT_RUN = {"make test": "it would run itself"}
READY_SECONDS = 120
COMMAND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Step:
    """A command or a program of the README, and what is shown below it."""

    line: int
    kind: str
    text: str
    shown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"line {self.line}: {self.text.strip().splitlines()[0]}"


def steps_of(document: str) -> list[Step]:
    """The steps in the order in which a reader meets them."""
    steps: list[Step] = []
    for block in FENCE.finditer(document):
        line = document.count("\n", 0, block.start()) + 2
        kind, text = block[1], block[2]
        if kind == "console":
            steps += console_steps(text, line)
        elif kind == "python":
            steps.append(Step(line, kind, text))
        elif kind == "text":
            assert steps[-1].kind == "python", f"line {line}: a text block shows what the python block above it prints"
            steps[-1] = Step(steps[-1].line, "python", steps[-1].text, tuple(text.splitlines()))
        else:
            raise AssertionError(f"line {line}: a block of kind {kind!r} is run by nobody")
    return steps


def console_steps(text: str, first_line: int) -> Iterator[Step]:
    for part in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
        line = first_line + text.count("\n", 0, part.start())
        yield Step(line, "console", part[1], tuple(part[2].splitlines()))


def matches(shown: tuple[str, ...], printed: str) -> bool:
    """Whether this was printed, `…` in a line being any text and a line of `…` alone any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else ".*?".join(map(re.escape, line.rstrip().split("…"))) + r"[ \t]*\n"
        for line in shown
    )
    return re.fullmatch(pattern, printed if printed.endswith("\n") or not printed else printed + "\n") is not None


STEPS = steps_of(README)
COMMANDS = [step for step in STEPS if step.text not in (START, *NOT_RUN)]


# -- the world in which the README is played --


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@dataclass(slots=True)
class World:
    """A running broker, and how the README's words are to be changed to reach it."""

    directory: Path
    kafka: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    ready_line: str = ""

    def translated(self, text: str) -> str:
        text = re.sub(r"\b9092\b", str(self.kafka), text)
        text = re.sub(r"\b9192\b", str(self.http), text)
        text = re.sub(r"(?<![\w/.-])(?:\./)?tidelog-data\b", str(self.directory / "tidelog-data"), text)
        return re.sub(r"(?<![\w/.-])commits\.jsonl\b", str(self.directory / "commits.jsonl"), text)

    def environment(self) -> dict[str, str]:
        ours = ("TIDELOG_", "MAKE", "MFLAGS", "PYTEST_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return inherited | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TIDELOG_SERVER": f"127.0.0.1:{self.kafka}",
            "TIDELOG_HTTP": f"127.0.0.1:{self.http}",
        }

    def start(self) -> subprocess.Popen[str]:
        """Run the README's first command, and return when it has said that it is ready."""
        settings = {
            "LISTEN": f"127.0.0.1:{self.kafka}",
            "HTTP": f"127.0.0.1:{self.http}",
            "DATA_DIR": str(self.directory / "tidelog-data"),
        }
        make = [*START.split(), "--no-print-directory", *(f"{name}={value}" for name, value in settings.items())]
        with (self.directory / "log").open("w") as log:
            running = subprocess.Popen(
                make,
                cwd=ROOT,
                env=self.environment(),
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert running.stdout is not None
        impatient = threading.Timer(READY_SECONDS, os.killpg, (running.pid, signal.SIGKILL))
        impatient.start()
        self.ready_line = running.stdout.readline()
        impatient.cancel()
        return running

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def run(self, step: Step) -> str:
        text = self.translated(step.text)
        command = ["bash", "-o", "pipefail", "-c", text] if step.kind == "console" else [sys.executable, "-c", text]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment(),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"README.md {step}\nexit code {done.returncode}\n{done.stdout}\n{self.log()}"
        return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    here = World(tmp_path_factory.mktemp("readme"))
    running = here.start()
    try:
        yield here
    finally:
        os.killpg(running.pid, signal.SIGINT)  # what Ctrl-C does: make and the broker both hear it
        running.wait(30)


def test_make_run_prints_the_line_that_the_readme_shows(world: World) -> None:
    (step,) = (step for step in STEPS if step.text == START)
    shown = tuple(map(world.translated, step.shown))
    assert matches(shown, world.ready_line), f"README.md {step}\nprinted: {world.ready_line}\n{world.log()}"


@pytest.mark.parametrize("step", COMMANDS, ids=str)
def test_a_command_of_the_readme_does_what_it_shows(step: Step, world: World) -> None:
    printed = world.run(step)
    shown = tuple(map(world.translated, step.shown))
    assert not shown or matches(shown, printed), (
        f"README.md {step}\n--- shown\n" + "\n".join(shown) + f"\n--- printed\n{printed}"
    )


def test_ctrl_c_stops_the_broker_gracefully(tmp_path: Path) -> None:
    world = World(tmp_path)
    running = world.start()
    began = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    running.wait(30)
    assert time.monotonic() - began < 10
    assert "Traceback" not in world.log()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", world.kafka))


# -- the README as a document --


def test_nothing_but_make_test_is_left_out() -> None:
    assert {step.text for step in STEPS} - {step.text for step in COMMANDS} == {START, *NOT_RUN}


def test_what_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", README)
    assert links
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in README.splitlines()
        if line[:1] == "#"
    }
    missing = [
        f"{path}#{anchor}"
        for path, anchor in links
        if not (ROOT / path).exists() or (anchor and anchor not in headings)
    ]
    assert not missing


def test_a_target_that_the_documents_name_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = README + (ROOT / "CONTRIBUTING.md").read_text()
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", text)) <= targets


# -- the player itself: would it notice? --


def test_steps_are_read_as_a_reader_does() -> None:
    document = "```console\n$ a | b\nx\ny\n$ c\n```\n\n```python\np\n```\n\n```text\nq\n```\n"
    assert steps_of(document) == [
        Step(2, "console", "a | b", ("x", "y")),
        Step(5, "console", "c"),
        Step(9, "python", "p\n", ("q",)),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (("a",), "a\n", True),
        (("a",), "b\n", False),
        (("a",), "a\nb\n", False),
        (("a", "b"), "a\n", False),
        (("ready in … ms",), "ready in 12.5 ms\n", True),
        (("ready in … ms",), "ready\n", False),
        (("a", "…", "d"), "a\nb\nc\nd\n", True),
        (("…",), "", True),
        (("x.y",), "xzy\n", False),
    ],
)
def test_what_is_shown_is_compared_with_what_is_printed(shown: tuple[str, ...], printed: str, *, same: bool) -> None:
    assert matches(shown, printed) is same


def test_a_block_that_nobody_would_run_is_noticed() -> None:
    with pytest.raises(AssertionError, match="run by nobody"):
        steps_of("```sh\nls\n```\n")
