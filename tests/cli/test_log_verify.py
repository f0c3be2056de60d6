"""`tidelog log verify`: damage by its bytes, and an exit code that says whether there is any."""

import json
import shutil
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import BASE_TIMESTAMP
from support.command_line import Tidelog
from support.data_directory import id_of, write_directory
from support.golden import assert_golden
from support.logs import append, flush
from tidelog.protocol.records import build_batch
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import RealDisk
from tidelog.storage.errors import CorruptLog
from tidelog.storage.log_directory import LogDirectory, encode_partition_metadata
from tidelog.storage.quarantine import note_damage

NO_SERVER = "nobody:0"


def segment_of(base_offset: int, suffix: str = ".log") -> str:
    return f"{base_offset:020d}{suffix}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two logs and the metadata, closed."""
    write_directory(tmp_path, ["invoices-0", "orders-0"])
    return tmp_path


def flip(path: Path, position: int) -> None:
    """One bit of a file is another."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_sound_logs_are_ok(tidelog: Tidelog, data: Path) -> None:
    ended = tidelog("log", "verify", str(data), "--records")
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split("\t") for line in ended.out.splitlines()]
    size = sum(path.stat().st_size for path in (data / "orders-0").glob("*.log"))
    assert rows[0] == ["LOG", "SEGMENTS", "BATCHES", "RECORDS", "SIZE", "START", "END", "DURABLE", "STATUS"]
    assert rows[-1] == ["orders-0", "3", "20", "100", f"{size / 1000:.1f} kB", "0", "100", "100", "ok"]
    assert len(rows) == 4


def test_nothing_is_changed_by_looking(tidelog: Tidelog, data: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in data.rglob("*") if path.is_file()}
    assert tidelog("log", "verify", str(data)).code == 0
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in data.rglob("*") if path.is_file()}
    assert after == before


def test_a_directory_that_a_broker_has_can_be_looked_at(tidelog: Tidelog, data: Path) -> None:
    directory = LogDirectory.open(RealDisk(str(data)), cluster_id=lambda: "another", now_ms=0)
    log = directory.open_log("orders", 0, LogConfig(), now_ms=0)
    append(log, bytes(build_batch([(None, b"more", (), BASE_TIMESTAMP)])))
    assert tidelog("log", "verify", str(data)).code == 0
    log.close()
    directory.close()


def test_one_log_or_one_segment_can_be_verified(tidelog: Tidelog, data: Path) -> None:
    log = data / "orders-0"
    assert json.loads(tidelog("log", "verify", str(log), "-o", "jsonl").out)["records"] == 100
    (report,) = json.loads(tidelog("log", "verify", str(log / segment_of(40)), "-o", "json").out)
    assert (report["start_offset"], report["end_offset"], report["records"]) == (40, 75, 35)


def test_damage_is_told_by_bytes_and_offsets(tidelog: Tidelog, data: Path) -> None:
    flip(data / "orders-0" / segment_of(40), 80)
    ended = tidelog("log", "verify", str(data))
    assert ended.code == 1
    assert ended.err.startswith(
        f"error[TL-0502]: orders-0: orders-0/{segment_of(40)} from 0 to 186, offsets 40 to 44: the checksum does not"
    )
    lines = ended.out.splitlines()
    assert lines[3].endswith("\tdamaged")
    assert lines[4:6] == ["", "1 finding"]
    assert lines[-1].split("\t") == [
        *("damage", f"orders-0/{segment_of(40)}", "0", "186", "40 to 44", "the checksum does not hold")
    ]


def every_kind_of_damage(data: Path) -> None:
    """Below the mark, above it, and beside the batches."""
    flip(data / "invoices-0" / segment_of(0), 20)
    flip(data / "invoices-0" / segment_of(40, ".digest"), 50)
    (data / "orders-0" / segment_of(0, ".index")).unlink()
    flip(data / "orders-0" / segment_of(100, ".snapshot"), 5)
    segment = data / "orders-0" / segment_of(75)
    segment.write_bytes(segment.read_bytes() + b"torn")


def test_the_json_stays_as_it_is(tidelog: Tidelog, data: Path) -> None:
    every_kind_of_damage(data)
    ended = tidelog("log", "verify", str(data), "-o", "json")
    assert ended.code == 1
    assert_golden("log-verify.json", ended.out, server=NO_SERVER)
    assert json.loads(ended.err)["error"]["code"] == "TL-0502"


def test_what_can_be_made_again_ends_with_one_too_and_says_how(tidelog: Tidelog, data: Path) -> None:
    (data / "orders-0" / segment_of(0, ".index")).unlink()
    ended = tidelog("log", "verify", str(data))
    assert ended.code == 1
    assert ended.err == (
        f"error[TL-0503]: orders-0: orders-0/{segment_of(0, '.index')} at 0: missing · "
        "tidelog log verify --repair makes them again\n"
    )


def test_a_tail_is_told_and_is_no_failure(tidelog: Tidelog, data: Path) -> None:
    segment = data / "orders-0" / segment_of(75)
    segment.write_bytes(segment.read_bytes() + b"torn")
    ended = tidelog("log", "verify", str(data))
    assert ended.code == 0
    assert "\ttail\n" in ended.out
    assert "unfinished tail, " in ended.out


def test_of_many_findings_the_error_names_the_first_of_each_log(tidelog: Tidelog, data: Path) -> None:
    for base_offset in (0, 40, 75):
        flip(data / "orders-0" / segment_of(base_offset), 80)
    ended = tidelog("log", "verify", str(data))
    assert ended.err.count("the checksum does not hold") == 1
    assert ", and 2 more" in ended.err
    assert ended.out.count("the checksum does not hold") == 3


def test_a_log_that_the_metadata_tells_of_must_be_there(tidelog: Tidelog, data: Path) -> None:
    """Of whatever a fact tells the log was made before, so no crash explains that it is not there."""
    shutil.rmtree(data / "orders-0")
    for _ in range(2):
        ended = tidelog("log", "verify", str(data))
        assert ended.code == 1
        assert "orders-0 at 0: missing, though the cluster's metadata tells of it" in ended.err
        (data / ".kafka_cleanshutdown").unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["__cluster_metadata-0", "meta.properties"])
def test_without_its_metadata_a_data_directory_is_not_sound(tidelog: Tidelog, data: Path, name: str) -> None:
    """No broker starts on it, whether it was closed or not."""
    (data / name).rename(data / "away")
    for _ in range(2):
        ended = tidelog("log", "verify", str(data))
        assert ended.code == 1
        assert ended.err.startswith(f"error[TL-0502]: {name}: {name} at 0: missing")
        assert "put it back from a backup" in ended.err
        (data / ".kafka_cleanshutdown").unlink(missing_ok=True)
    for log in ("orders-0", "invoices-0"):
        shutil.rmtree(data / log)
    assert tidelog("log", "verify", str(data)).code == (0 if name == "__cluster_metadata-0" else 1), "a first start"


def id_is(data: Path, log: str, topic_id: UUID) -> Path:
    path = data / log / "partition.metadata"
    path.write_bytes(encode_partition_metadata(topic_id))
    return path


@pytest.mark.parametrize("log", ["orders-0", "__cluster_metadata-0"])
def test_an_id_that_no_topic_ever_had_is_found_and_written_anew(tidelog: Tidelog, data: Path, log: str) -> None:
    """A8: one bit makes one valid id of another."""
    path = data / log / "partition.metadata"
    before = path.read_bytes()
    id_is(data, log, UUID(int=1 << 77))
    for target in (data, data / log):
        ended = tidelog("log", "verify", str(target))
        assert ended.code == 1
        assert ended.err.startswith(f"error[TL-0503]: {log}: {log}/partition.metadata from 0 to 43: the id is AAAAAAAA")
    assert tidelog("log", "verify", str(data), "--repair", "--yes").code == 0
    assert path.read_bytes() == before


def test_the_log_of_another_topic_is_not_made_this_ones(tidelog: Tidelog, data: Path) -> None:
    """Its records are not what was written to this topic, however sound they are."""
    shutil.rmtree(data / "orders-0")
    shutil.copytree(data / "invoices-0", data / "orders-0")
    before = id_is(data, "orders-0", id_of("invoices")).read_bytes()
    ended = tidelog("log", "verify", str(data))
    assert ended.code == 1
    assert ended.err.startswith("error[TL-0502]: orders-0: orders-0/partition.metadata from 0 to 43: the id is ")
    assert "this is the log of invoices" in ended.err
    assert tidelog("log", "verify", str(data), "--repair", "--yes").code == 1
    assert (data / "orders-0" / "partition.metadata").read_bytes() == before


def test_damaged_metadata_stops_a_start_and_so_does_the_hint_say(tidelog: Tidelog, data: Path) -> None:
    flip(data / "__cluster_metadata-0" / segment_of(0), 80)
    assert "no broker starts on it" in tidelog("log", "verify", str(data)).err


def test_metadata_that_nobody_understands_is_damage(tidelog: Tidelog, data: Path) -> None:
    """A17: the broker would refuse to start."""
    directory = LogDirectory.open(RealDisk(str(data)), cluster_id=lambda: "another", now_ms=0)
    log = directory.open_log("__cluster_metadata", 0, LogConfig(), now_ms=0)
    append(log, bytes(build_batch([(None, b"\x93\x63\x00\x80", (), BASE_TIMESTAMP)])))
    flush(log)
    log.close()
    directory.close()
    ended = tidelog("log", "verify", str(data))
    assert ended.code == 1
    assert "metadata record of unknown kind 99" in ended.err


def test_what_the_broker_has_noted_is_told(tidelog: Tidelog, data: Path) -> None:
    note_damage(RealDisk(str(data)), "orders-0", CorruptLog(f"orders-0/{segment_of(0)}", 0, "rot"), durable=0)
    ended = tidelog("log", "verify", str(data))
    assert ended.code == 0
    assert "\tquarantined, but sound\n" in ended.out


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_options_of_repair_mean_nothing_without_it(tidelog: Tidelog, data: Path, option: str) -> None:
    assert tidelog("log", "verify", str(data), option).code == 2
