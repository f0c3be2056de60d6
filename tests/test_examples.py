"""Every example runs against a broker as it stands, and prints what it is there to show."""

import re
import subprocess
import sys
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


def run(broker: BrokerProcess, name: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=broker.environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_shows_what_it_says(broker: BrokerProcess, tmp_path: Path, name: str) -> None:
    lines = tmp_path / "lines"
    lines.write_text("c b a\nc b c\nc b a\n")
    printed = run(broker, name, *([str(lines)] if name == "word_count.py" else []))
    assert len(printed) == len(SHOWN[name])
    for line, pattern in zip(printed, SHOWN[name], strict=True):
        assert re.fullmatch(pattern, line), f"{line!r} is not {pattern!r}"
