"""`tidelog log verify --repair`: a plan, a question, and only what cannot cost an acknowledged record."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from support.command_line import Stub, Tidelog, run_on_a_terminal
from support.data_directory import write_directory
from support.golden import assert_golden
from tidelog.storage.disk import RealDisk
from tidelog.storage.log_directory import LogDirectory

NO_SERVER = "nobody:0"


def segment_of(base_offset: int, suffix: str = ".log") -> str:
    return f"{base_offset:020d}{suffix}"


def tree(data: Path) -> dict[str, str]:
    return {
        str(path.relative_to(data)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Files that can be made again are damaged in one log; in the other one a batch, below the mark."""
    data = tmp_path / "data"
    write_directory(data, ["invoices-0", "orders-0"])
    (data / "orders-0" / segment_of(0, ".index")).unlink()
    (data / "orders-0" / segment_of(40, ".digest")).write_bytes(b"rot")
    (data / "orders-0" / "partition.metadata").unlink()
    segment = data / "orders-0" / segment_of(75)
    segment.write_bytes(segment.read_bytes() + b"torn")
    return data


def damage(data: Path) -> None:
    segment = data / "invoices-0" / segment_of(0)
    content = bytearray(segment.read_bytes())
    content[100] ^= 1
    segment.write_bytes(content)


def test_a_dry_run_shows_the_plan_and_changes_nothing(tidelog: Tidelog, data: Path) -> None:
    before = tree(data)
    ended = tidelog("log", "verify", str(data), "--repair", "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split("\t") for line in ended.out.splitlines()]
    assert rows[0] == ["LOG", "WHAT", "FILE", "BECAUSE"]
    assert [row[1:3] for row in rows[1:]] == [
        ["write the topic's id", "partition.metadata"],
        ["build the indexes anew", segment_of(0)],
        ["make the digest anew", segment_of(40, ".digest")],
        ["cut the tail, and write the durable mark", segment_of(75)],
    ]
    assert tree(data) == before


def test_the_json_of_a_plan_stays_as_it_is(tidelog: Tidelog, data: Path) -> None:
    ended = tidelog("log", "verify", str(data), "--repair", "--dry-run", "-o", "json")
    assert_golden("log-repair.json", ended.out, server=NO_SERVER)


def test_with_yes_it_is_done_and_the_next_look_finds_nothing(tidelog: Tidelog, data: Path) -> None:
    ended = tidelog("log", "verify", str(data), "--repair", "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("\n4 repairs made\n")
    ended = tidelog("log", "verify", str(data), "-o", "jsonl")
    assert ended.code == 0
    assert json.loads(ended.out.splitlines()[-1])["records"] == 100
    ended = tidelog("log", "verify", str(data), "--repair", "--yes")
    assert (ended.code, ended.out) == (0, "nothing to repair\n")


def test_where_nobody_can_be_asked_it_needs_yes(tidelog: Tidelog, data: Path) -> None:
    before = tree(data)
    ended = tidelog("log", "verify", str(data), "--repair")
    assert ended.code == 2
    assert "error[TL-0003]" in ended.err
    assert tree(data) == before


@pytest.mark.parametrize(("answer", "code"), [(b"data\n", 0), (b"yes\n", 1)])
def test_on_a_terminal_the_directory_is_typed(stub: Stub, data: Path, answer: bytes, code: int) -> None:
    before = tree(data)
    ended, shown = run_on_a_terminal(stub, answer, "log", "verify", str(data), "--repair")
    assert ended == code
    assert "This makes 4 repairs in" in shown
    assert (tree(data) == before) is (code == 1)


def test_what_was_acknowledged_and_is_damaged_stays_as_it_is(tidelog: Tidelog, data: Path) -> None:
    damage(data)
    before = tree(data)
    ended = tidelog("log", "verify", str(data), "--repair", "--yes")
    assert ended.code == 1
    assert f"note: not touched: invoices-0/{segment_of(0)} from 0 to 186, offsets 0 to 4: " in ended.err
    assert "error[TL-0502]: invoices-0: " in ended.err
    after = tree(data)
    assert {path.partition("/")[0] for path in before | after if before.get(path) != after.get(path)} == {"orders-0"}


def test_nothing_but_the_answer_is_printed(data: Path) -> None:
    """Recovery has warnings of its own. In a process of its own, for here the tests listen to them."""
    (data / "orders-0" / "leader-epoch-checkpoint").unlink()
    command = [sys.executable, "-m", "tidelog", "log", "verify", str(data), "--repair", "--yes", "-o", "json"]
    ended = subprocess.run(command, capture_output=True, check=True)
    assert "epochs" in [repair["action"] for repair in json.loads(ended.stdout)]
    assert ended.stderr == b""


def test_a_broker_that_runs_keeps_its_directory(tidelog: Tidelog, data: Path) -> None:
    directory = LogDirectory.open(RealDisk(str(data)), cluster_id=lambda: "another", now_ms=0)
    before = tree(data)
    ended = tidelog("log", "verify", str(data), "--repair", "--yes")
    assert ended.code == 1
    assert ended.err.startswith("error[TL-0504]: a broker has ")
    assert tidelog("log", "verify", str(data), "--repair", "--dry-run").code == 0, "a plan can be made"
    assert tree(data) == before
    directory.release()


def test_one_log_of_a_directory_can_be_repaired_and_a_segment_cannot(tidelog: Tidelog, data: Path) -> None:
    assert tidelog("log", "verify", str(data / "orders-0"), "--repair", "--yes").code == 0
    assert tidelog("log", "verify", str(data / "orders-0" / segment_of(0)), "--repair", "--yes").code == 2


def test_a_log_without_its_directory_is_left_alone(tidelog: Tidelog, data: Path) -> None:
    """Nobody could tell whether a broker has it."""
    (data / "meta.properties").unlink()
    ended = tidelog("log", "verify", str(data / "orders-0"), "--repair", "--yes")
    assert ended.code == 1
    assert "error[TL-0505]" in ended.err
