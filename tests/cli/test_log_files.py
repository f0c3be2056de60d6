"""What a path means to `tidelog log`: a data directory, a log in it, or one segment."""

from pathlib import Path

import pytest

from support.command_line import Tidelog
from support.data_directory import write_directory
from tidelog.cli.errors import Code, CommandFailed
from tidelog.cli.log_files import codec_name, target_at
from tidelog.storage.errors import DiskFailed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with three logs."""
    write_directory(tmp_path / "data", ["invoices-0", "orders-0"])
    return tmp_path / "data"


def test_a_data_directory_means_all_its_logs(data: Path) -> None:
    (data / "orders-0.0123-delete").mkdir()
    (data / "orders-1").mkdir()
    target = target_at(data)
    assert target.logs == ["__cluster_metadata-0", "invoices-0", "orders-0", "orders-1"]
    assert (target.root, target.only, target.was_closed, target.is_whole) == (data, None, True, True)


def test_files_are_opened_for_reading_alone(data: Path) -> None:
    """They may lie on a disk that was mounted for nothing else, or belong to somebody else."""
    file = target_at(data).disk.open(f"orders-0/{0:020d}.log")
    assert file.read(0, 8) == bytes(8)
    with pytest.raises(DiskFailed, match="Bad file descriptor"):
        file.append([b"x"])
    file.close()


def test_a_log_or_a_segment_is_one_of_its_directory(data: Path) -> None:
    target = target_at(data / "orders-0")
    assert (target.root, target.logs, target.only, target.is_whole) == (data, ["orders-0"], None, False)
    target = target_at(data / "orders-0" / f"{40:020d}.log")
    assert (target.logs, target.only) == (["orders-0"], 40)
    (data / ".kafka_cleanshutdown").unlink()
    assert not target.was_closed


def test_a_log_without_a_segment_is_one_all_the_same(data: Path) -> None:
    for path in (data / "orders-0").glob("*.log"):
        path.unlink()
    assert target_at(data / "orders-0").logs == ["orders-0"]


def test_a_log_that_lies_alone_can_be_looked_at(data: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (data / "orders-0").rename(tmp_path / "elsewhere" / "copy")
    target = target_at(tmp_path / "elsewhere" / "copy")
    assert (target.root, target.logs, target.was_closed) == (tmp_path / "elsewhere", ["copy"], False)


def test_a_directory_of_another_version_is_not_interpreted(data: Path) -> None:
    """A17."""
    meta = data / "meta.properties"
    meta.write_text(meta.read_text().replace("format.version=1", "format.version=2"))
    for path in (data, data / "orders-0"):
        with pytest.raises(CommandFailed, match="format version 2") as failed:
            target_at(path)
        assert failed.value.code is Code.LOG_FORMAT


@pytest.mark.parametrize("command", ["dump", "stat", "verify"])
@pytest.mark.parametrize("name", ["nowhere", "file.txt", "empty"])
def test_what_is_no_log_is_five(tidelog: Tidelog, tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    ended = tidelog("log", command, str(tmp_path / name))
    assert ended.code == 5
    assert ended.err.startswith("error[TL-0501]: ")


def test_other_peoples_directories_and_files_of_such_names_are_no_logs(tidelog: Tidelog, tmp_path: Path) -> None:
    """As in /var/log: `.log` files that are no segments, and directories that end in a number."""
    for name in ("backup-1", "journal-2024"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.log").touch()
    (tmp_path / "syslog.log").write_bytes(b"text")
    for path in (tmp_path, tmp_path / "backup-1", tmp_path / "syslog.log"):
        ended = tidelog("log", "stat", str(path))
        assert (ended.code, ended.out) == (5, "")
        assert "is neither a data directory, nor a log" in ended.err


@pytest.mark.parametrize("command", ["dump", "stat", "verify"])
def test_what_the_disk_refuses_is_told_in_one_line(tidelog: Tidelog, data: Path, command: str) -> None:
    meta = data / "meta.properties"
    meta.unlink()
    meta.mkdir()
    ended = tidelog("log", command, str(data / "orders-0"))
    assert ended.code == 1
    assert ended.err.startswith("error[TL-0001]: meta.properties")
    assert ended.err.endswith(": Is a directory\n")


def test_a_codec_that_nobody_knows_has_its_number() -> None:
    assert [codec_name(number) for number in (0, 4, 6)] == ["none", "zstd", "codec 6"]


def test_the_commands_are_listed_without_importing_them(tidelog: Tidelog) -> None:
    ended = tidelog("log", "--help")
    assert ended.code == 0
    for name in ("dump", "stat", "verify"):
        assert f"  {name} " in ended.out
