"""Log files without a broker: what they hold, and whether they are sound."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.command_line import Tidelog
from tidelog.protocol.records import build_batch
from tidelog.storage.disk import RealDisk
from tidelog.storage.durable_mark import DurableMark

COUNT = 5
"""Records in a batch."""


def batch(base_offset: int, *, leader_epoch: int = 0) -> bytes:
    records = [
        (b"k", b"value %d" % (base_offset + number), (("h", b"\xff"),), 1000 + number) for number in range(COUNT)
    ]
    return bytes(build_batch(records, base_offset=base_offset, leader_epoch=leader_epoch))


def segment_of(base_offset: int) -> str:
    return f"{base_offset:020d}.log"


def a_log(data: Path, *segments: Sequence[bytes], name: str = "orders-0", durable: int | None = None) -> Path:
    """A log of segments, each of which holds batches; the mark stands at the end unless told otherwise."""
    log = data / name
    log.mkdir(parents=True)
    offset = 0
    for batches in segments:
        (log / segment_of(offset)).write_bytes(b"".join(batches))
        offset += COUNT * len(batches)
    DurableMark(RealDisk(str(data)), name).write(offset if durable is None else durable)
    return log


def two_segments(data: Path, *, durable: int | None = None) -> Path:
    return a_log(data, [batch(0), batch(5)], [batch(10), batch(15)], durable=durable)


def flip(path: Path, position: int) -> None:
    """One bit of a file is another."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_dump_has_a_line_per_batch(tidelog: Tidelog, tmp_path: Path) -> None:
    log = two_segments(tmp_path)
    size = len(batch(0))
    lines = tidelog("log", "dump", str(log)).out.splitlines()
    assert lines[0].startswith("POSITION\tSIZE\tFIRST\tLAST\tRECORDS\tEPOCH\t")
    assert [line.split("\t")[:6] for line in lines[1:]] == [
        ["0", str(size), "0", "4", "5", "0"],
        [str(size), str(size), "5", "9", "5", "0"],
        ["0", str(len(batch(10))), "10", "14", "5", "0"],
        [str(len(batch(10))), str(len(batch(15))), "15", "19", "5", "0"],
    ]
    assert all(line.endswith("\tnone\tok") for line in lines[1:])


def test_a_dump_of_one_segment_and_of_the_first_batches(tidelog: Tidelog, tmp_path: Path) -> None:
    log = two_segments(tmp_path)
    lines = tidelog("log", "dump", str(log / segment_of(10)), "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["base_offset"] for line in lines] == [10, 15]
    lines = tidelog("log", "dump", str(log), "-n", "3", "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["base_offset"] for line in lines] == [0, 5, 10]


def test_the_json_of_a_batch_has_a_stable_shape(tidelog: Tidelog, tmp_path: Path) -> None:
    log = a_log(tmp_path, [batch(0)])
    (found,) = json.loads(tidelog("log", "dump", str(log), "-o", "json").out)
    crc = found.pop("crc")
    assert isinstance(crc, int)
    assert found == {
        "segment": f"orders-0/{segment_of(0)}",
        "position": 0,
        "size": len(batch(0)),
        "base_offset": 0,
        "last_offset": 4,
        "record_count": 5,
        "leader_epoch": 0,
        "base_timestamp": 1000,
        "max_timestamp": 1004,
        "timestamp_type": "CreateTime",
        "compression": "none",
        "producer_id": -1,
        "producer_epoch": -1,
        "base_sequence": -1,
        "transactional": False,
        "control": False,
        "valid": True,
    }


def test_the_records_can_be_printed(tidelog: Tidelog, tmp_path: Path) -> None:
    log = a_log(tmp_path, [batch(0), batch(5)])
    lines = tidelog("log", "dump", str(log), "--records", "-n", "1").out.splitlines()
    assert len(lines) == COUNT
    assert json.loads(lines[2]) == {
        "offset": 2,
        "timestamp": 1002,
        "key": "k",
        "value": "value 2",
        "headers": [{"key": "h", "value_base64": "/w=="}],
    }


def test_a_dump_goes_on_behind_a_bad_checksum_and_stops_where_there_is_no_batch(
    tidelog: Tidelog, tmp_path: Path
) -> None:
    log = a_log(tmp_path, [batch(0), batch(5)])
    segment = log / segment_of(0)
    flip(segment, 70)
    segment.write_bytes(segment.read_bytes() + b"\0" * 100)
    ended = tidelog("log", "dump", str(log), "-o", "jsonl")
    assert [json.loads(line)["valid"] for line in ended.out.splitlines()] == [False, True]
    assert "100 bytes are left" in ended.err


def test_sound_logs_are_ok(tidelog: Tidelog, tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in two_segments(tmp_path).glob("*.log"))
    a_log(tmp_path, [], name="empty-0")
    (tmp_path / "meta.properties").touch()
    (tmp_path / "orders-1.0123-delete").mkdir()
    ended = tidelog("log", "verify", str(tmp_path), "--records")
    assert ended.code == 0
    assert [line.split("\t") for line in ended.out.splitlines()] == [
        ["LOG", "SEGMENTS", "BATCHES", "RECORDS", "SIZE", "START", "END", "DURABLE", "STATUS"],
        ["empty-0", "1", "0", "0", "0 B", "0", "0", "0", "ok"],
        ["orders-0", "2", "4", "20", f"{size} B", "0", "20", "20", "ok"],
    ]


def test_one_log_or_one_segment_can_be_verified(tidelog: Tidelog, tmp_path: Path) -> None:
    log = two_segments(tmp_path)
    assert json.loads(tidelog("log", "verify", str(log), "-o", "jsonl").out)["records"] == 20
    (report,) = json.loads(tidelog("log", "verify", str(log / segment_of(10)), "-o", "json").out)
    assert (report["start_offset"], report["end_offset"], report["records"]) == (10, 20, 10)


@pytest.mark.parametrize("position", [0, 8, 16, 17, 22, 57, 80])
def test_a_flipped_bit_below_the_durable_mark_is_damage(tidelog: Tidelog, tmp_path: Path, position: int) -> None:
    log = two_segments(tmp_path)
    segment = log / segment_of(10)
    before = segment.read_bytes()
    flip(segment, len(batch(10)) + position)
    ended = tidelog("log", "verify", str(tmp_path))
    assert ended.code == 1
    assert f"error[TL-0502]: orders-0: orders-0/{segment_of(10)} at {len(batch(10))}: " in ended.err
    assert len(segment.read_bytes()) == len(before)


def test_a_torn_tail_above_the_durable_mark_is_reported_and_no_damage(tidelog: Tidelog, tmp_path: Path) -> None:
    log = two_segments(tmp_path, durable=15)
    segment = log / segment_of(10)
    segment.write_bytes(segment.read_bytes()[:-3])
    ended = tidelog("log", "verify", str(tmp_path))
    assert ended.code == 0
    assert "unfinished tail, " in ended.out
    assert "is cut short" in ended.out


def test_without_a_readable_mark_everything_counts_as_durable(tidelog: Tidelog, tmp_path: Path) -> None:
    log = two_segments(tmp_path)
    (log / "durable-mark").unlink()
    assert tidelog("log", "verify", str(tmp_path)).code == 0
    flip(log / segment_of(10), 80)
    assert tidelog("log", "verify", str(tmp_path)).code == 1


def test_batches_that_do_not_follow_each_other_are_damage_however_sound_each_is(
    tidelog: Tidelog, tmp_path: Path
) -> None:
    a_log(tmp_path, [batch(0), batch(6)], name="gap-0")
    a_log(tmp_path, [batch(0, leader_epoch=2), batch(5, leader_epoch=1)], name="epoch-0")
    missing = a_log(tmp_path, [batch(0)], [batch(5)], [batch(10)], name="missing-0")
    (missing / segment_of(5)).unlink()
    ended = tidelog("log", "verify", str(tmp_path))
    assert ended.code == 1
    assert "offset 6 where 5 is due" in ended.err
    assert "leader epoch 1 after 2" in ended.err
    assert f"{segment_of(10)} should begin at offset 5" in ended.err


def test_records_that_lie_under_a_sound_checksum_are_found_when_they_are_decoded(
    tidelog: Tidelog, tmp_path: Path
) -> None:
    from tidelog.protocol.batch import crc_of

    lying = bytearray(batch(0))
    lying[57:61] = (COUNT + 1).to_bytes(4, "big")
    lying[17:21] = crc_of(lying, 0, len(lying)).to_bytes(4, "big")
    a_log(tmp_path, [bytes(lying)])
    assert tidelog("log", "verify", str(tmp_path)).code == 0
    assert tidelog("log", "verify", str(tmp_path), "--records").code == 1


@pytest.mark.parametrize("command", ["dump", "verify"])
@pytest.mark.parametrize("name", ["nowhere", "file.txt", "empty"])
def test_what_is_no_log_is_five(tidelog: Tidelog, tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    ended = tidelog("log", command, str(tmp_path / name))
    assert ended.code == 5
    assert ended.err.startswith("error[TL-0501]: ")
