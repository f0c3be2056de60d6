"""Every example runs against a broker as it stands, and prints what it is there to show."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.process import BrokerProcess

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

SHOWN = {
    "orders.py": [
        r"sent tea to examples\.orders\[\d+\] at offset 0",
        r"sent milk to examples\.orders\[\d+\] at offset 1",
        r"sent sugar to examples\.orders\[\d+\] at offset 2",
        r"read \{'id': 0, 'item': 'tea'\} of b'anna' at offset 0",
        r"read \{'id': 1, 'item': 'milk'\} of b'anna' at offset 1",
        r"read \{'id': 2, 'item': 'sugar'\} of b'anna' at offset 2",
    ],
    "word_count.py": [r"sent 3 lines in \d batch(es)?", r"b'a': 2", r"b'b': 3", r"b'c': 4"],
    "kafka_client.py": [r"0 payments left to send", r"the total is 425"],
}


def run(name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_shows_what_it_says(broker: BrokerProcess, tmp_path: Path, name: str) -> None:
    lines = tmp_path / "lines"
    lines.write_text("c b a\nc b c\nc b a\n")
    arguments = [str(lines)] if name == "word_count.py" else []
    done = run(name, *arguments, environment=broker.environment())
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert len(printed) == len(SHOWN[name])
    for line, pattern in zip(printed, SHOWN[name], strict=True):
        assert re.fullmatch(pattern, line), f"{line!r} is not {pattern!r}"


@pytest.mark.parametrize("arguments", [(), ("README.md", "CHANGELOG.md")])
def test_words_are_counted_of_one_file_and_without_it_the_example_says_so(arguments: tuple[str, ...]) -> None:
    done = run("word_count.py", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "usage: python examples/word_count.py FILE\n")
