"""`tidelog log dump`: batches, records, and what stands in every other file of a log."""

import json
from pathlib import Path

import pytest

from support.command_line import Tidelog
from support.data_directory import BATCHES, RECORDS, write_directory
from support.golden import assert_golden
from tidelog.protocol.batch import read_header
from tidelog.storage.durable_mark import SLOT_DISTANCE, Checkpoint, Slot, encode_slot
from tidelog.storage.index import IndexedEntries
from tidelog.storage.leader_epochs import KnownEpochs
from tidelog.storage.time_index import TimeEntry

NO_SERVER = "nobody:0"


def segment_of(base_offset: int, suffix: str = ".log") -> str:
    return f"{base_offset:020d}{suffix}"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three segments."""
    write_directory(tmp_path, ["orders-0"])
    return tmp_path / "orders-0"


def test_a_dump_has_a_line_per_batch(tidelog: Tidelog, log: Path) -> None:
    lines = tidelog("log", "dump", str(log)).out.splitlines()
    assert lines[0].startswith("POSITION\tSIZE\tFIRST\tLAST\tRECORDS\tEPOCH\t")
    rows = [line.split("\t") for line in lines[1:]]
    assert [row[2:6] for row in rows] == [
        [str(first), str(first + RECORDS - 1), str(RECORDS), "0"] for first in range(0, BATCHES * RECORDS, RECORDS)
    ]
    assert [row[0] for row in rows].count("0") == 3, "each segment begins anew"
    assert all(line.endswith("\tnone\tok") for line in lines[1:])


def test_a_dump_of_one_segment_and_of_the_first_batches(tidelog: Tidelog, log: Path) -> None:
    lines = tidelog("log", "dump", str(log / segment_of(75)), "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["base_offset"] for line in lines] == [75, 80, 85, 90, 95]
    lines = tidelog("log", "dump", str(log), "-n", "3", "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["base_offset"] for line in lines] == [0, 5, 10]


def test_the_records_can_be_printed(tidelog: Tidelog, log: Path) -> None:
    lines = tidelog("log", "dump", str(log), "--records", "-n", "1").out.splitlines()
    assert len(lines) == RECORDS
    assert json.loads(lines[2]) == {
        "offset": 2,
        "timestamp": 1_700_000_000_002,
        "key": None,
        "value": "value 2 of batch 0",
        "headers": [],
    }


def test_a_dump_goes_on_behind_a_bad_checksum_and_stops_where_there_is_no_batch(tidelog: Tidelog, log: Path) -> None:
    segment = log / segment_of(75)
    content = bytearray(segment.read_bytes())
    content[70] ^= 1
    segment.write_bytes(content + bytes(100))
    ended = tidelog("log", "dump", str(segment), "-o", "jsonl")
    assert [json.loads(line)["valid"] for line in ended.out.splitlines()] == [False, True, True, True, True]
    assert "100 bytes are left" in ended.err
    content[-3:] = b""
    segment.write_bytes(content)
    assert "is cut short" in tidelog("log", "dump", str(segment)).err


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        (segment_of(75), "log-dump-batches.json"),
        (segment_of(40, ".index"), "log-dump-index.json"),
        (segment_of(40, ".timeindex"), "log-dump-timeindex.json"),
        (segment_of(40, ".digest"), "log-dump-digest.json"),
        (segment_of(100, ".snapshot"), "log-dump-snapshot.json"),
        ("durable-mark", "log-dump-durable-mark.json"),
        ("leader-epoch-checkpoint", "log-dump-leader-epochs.json"),
        ("partition.metadata", "log-dump-partition-metadata.json"),
    ],
)
def test_every_file_of_a_log_can_be_printed_in_a_form_that_stays(
    tidelog: Tidelog, log: Path, name: str, golden: str
) -> None:
    ended = tidelog("log", "dump", str(log / name), "-o", "json")
    assert (ended.code, ended.err) == (0, "")
    assert_golden(golden, ended.out, server=NO_SERVER)
    lines = tidelog("log", "dump", str(log / name), "-n", "1").out.splitlines()
    assert len(lines) == 2, "columns for people"


def test_an_index_shows_the_batches_that_it_knows(tidelog: Tidelog, log: Path) -> None:
    segment = (log / segment_of(40)).read_bytes()
    rows = json.loads(tidelog("log", "dump", str(log / segment_of(40, ".index")), "-o", "json").out)
    assert rows
    for row in rows:
        assert 40 + read_header(segment, row["position"]).last_offset_delta <= row["last_offset"]
        assert read_header(segment, row["position"]).last_offset == row["last_offset"]


def test_what_an_open_index_has_allocated_ahead_is_left_out(tidelog: Tidelog, log: Path) -> None:
    path = log / segment_of(75, ".index")
    before = tidelog("log", "dump", str(path)).out
    path.write_bytes(path.read_bytes().ljust(4096, b"\0"))
    assert tidelog("log", "dump", str(path)).out == before


def test_half_an_entry_is_told(tidelog: Tidelog, log: Path) -> None:
    path = log / segment_of(75, ".index")
    path.write_bytes(path.read_bytes() + b"\x01\x02")
    assert "2 bytes are no entry" in tidelog("log", "dump", str(path)).err


def test_every_field_of_a_slot_is_shown(tidelog: Tidelog, log: Path) -> None:
    path = log / "durable-mark"
    checkpoint = Checkpoint(
        base_offset=75,
        offset=99,
        position=900,
        greatest=TimeEntry(1_700_000_000_000, 98),
        offset_entries=IndexedEntries(3, 0x00BBCCDD),
        time_entries=IndexedEntries(2, 0x11223344),
        has_producers=False,
    )
    slot = encode_slot(Slot(2, 100, checkpoint, KnownEpochs(7, 0x0EADBEEF)))
    older = encode_slot(Slot(1, 75))
    path.write_bytes(slot.ljust(SLOT_DISTANCE, b"\0") + older)
    [row, other] = json.loads(tidelog("log", "dump", str(path), "-o", "json").out)
    assert row == {
        "at": 0,
        "sequence": 2,
        "offset": 100,
        "checkpoint_segment": 75,
        "checkpoint_offset": 99,
        "checkpoint_position": 900,
        "max_timestamp": 1_700_000_000_000,
        "max_timestamp_offset": 98,
        "index_entries": 3,
        "index_crc": "0x00bbccdd",
        "timeindex_entries": 2,
        "timeindex_crc": "0x11223344",
        "producers": "none",
        "leader_epoch": 7,
        "epochs_crc": "0x0eadbeef",
        "crc": f"0x{slot[-4:].hex()}",
        "status": "holds",
    }
    told = {name for name, value in other.items() if value is not None}
    assert told == {"at", "sequence", "offset", "crc", "status"}
    assert f"0x{older[-4:].hex()}" in tidelog("log", "dump", str(path), "-o", "wide").out
    assert "CRC" not in tidelog("log", "dump", str(path)).out


def test_both_slots_of_a_mark_are_shown_and_which_one_holds(tidelog: Tidelog, log: Path) -> None:
    rows = json.loads(tidelog("log", "dump", str(log / "durable-mark"), "-o", "json").out)
    assert sorted(row["status"] for row in rows) == ["holds", "older"]
    [holds] = [row for row in rows if row["status"] == "holds"]
    assert holds["offset"] == 100
    path = log / "durable-mark"
    content = bytearray(path.read_bytes())
    content[holds["at"] + 10] ^= 1
    path.write_bytes(content)
    rows = json.loads(tidelog("log", "dump", str(path), "-o", "json").out)
    assert sorted(row["status"] for row in rows) == ["damaged, or empty", "holds"]


@pytest.mark.parametrize("name", [segment_of(40, ".digest"), segment_of(100, ".snapshot"), "leader-epoch-checkpoint"])
def test_a_file_that_cannot_be_read_is_an_error(tidelog: Tidelog, log: Path, name: str) -> None:
    content = bytearray((log / name).read_bytes())
    content[0] ^= 0x40
    (log / name).write_bytes(content)
    ended = tidelog("log", "dump", str(log / name))
    assert ended.code == 1
    assert ended.err.startswith(f"error[TL-0503]: orders-0/{name}")
    assert ended.err.count(name) == 1


def test_a_directory_of_several_logs_is_too_much_at_once(tidelog: Tidelog, log: Path) -> None:
    ended = tidelog("log", "dump", str(log.parent))
    assert ended.code == 5
    assert "name one of them" in ended.err
    ended = tidelog("log", "dump", "--records", str(log / "durable-mark"))
    assert ended.code == 2
