"""`tidelog log stat`: figures of logs and segments, true to the files."""

import json
from pathlib import Path

import pytest

from support.command_line import Tidelog
from support.data_directory import write_directory
from support.golden import assert_golden

NO_SERVER = "nobody:0"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two logs and the metadata."""
    write_directory(tmp_path, ["invoices-0", "orders-0"])
    return tmp_path


def test_a_log_has_a_row(tidelog: Tidelog, data: Path) -> None:
    ended = tidelog("log", "stat", str(data))
    assert ended.code == 0
    rows = [line.split("\t") for line in ended.out.splitlines()]
    assert rows[0][:4] == ["LOG", "SEGMENTS", "BATCHES", "RECORDS"]
    assert [row[:4] for row in rows[1:]] == [
        ["__cluster_metadata-0", "1", "2", "2"],
        ["invoices-0", "3", "20", "100"],
        ["orders-0", "3", "20", "100"],
    ]
    size = sum(path.stat().st_size for path in (data / "orders-0").glob("*.log"))
    assert rows[3][4] == str(size)
    assert rows[3][-2:] == ["none:20", "0"]


def test_of_one_log_each_segment_has_a_row(tidelog: Tidelog, data: Path) -> None:
    rows = [line.split("\t") for line in tidelog("log", "stat", str(data / "orders-0")).out.splitlines()]
    assert [row[:5] for row in rows[1:]] == [
        [f"{base:020d}.log", str(base), str(end), str((end - base) // 5), str(end - base)]
        for base, end in ((0, 40), (40, 75), (75, 100))
    ]
    assert [row[-1] for row in rows[1:]] == ["yes", "yes", "no"]
    assert rows[1][8] == "2023-11-14T22:13:20.000+00:00"


@pytest.mark.parametrize(("name", "golden"), [("", "log-stat.json"), ("orders-0", "log-stat-segments.json")])
def test_the_json_stays_as_it_is(tidelog: Tidelog, data: Path, name: str, golden: str) -> None:
    assert_golden(golden, tidelog("log", "stat", str(data / name), "-o", "json").out, server=NO_SERVER)


def test_damage_is_counted_and_is_no_failure(tidelog: Tidelog, data: Path) -> None:
    (data / "orders-0" / f"{0:020d}.index").unlink()
    ended = tidelog("log", "stat", str(data), "-o", "jsonl")
    assert ended.code == 0
    assert [json.loads(line)["findings"] for line in ended.out.splitlines()] == [0, 0, 1]


def test_a_time_that_no_calendar_has_is_printed_as_it_is(tidelog: Tidelog, tmp_path: Path) -> None:
    from support.builders import a_batch

    (tmp_path / "t-0").mkdir()
    batch = a_batch([b"x"], base_timestamp=1 << 62, leader_epoch=0)
    (tmp_path / "t-0" / f"{0:020d}.log").write_bytes(batch)
    assert str(1 << 62) in tidelog("log", "stat", str(tmp_path / "t-0")).out
