"""A data directory: who may open it, what is in it, and that a log is there whole or not at all."""

from pathlib import Path
from uuid import UUID

import pytest

from support.builders import a_batch
from support.disk import PowerCut, SimulatedDisk
from tidelog.protocol.batch import check
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import Disk, RealDisk
from tidelog.storage.errors import (
    CorruptLog,
    DirectoryLocked,
    DiskFailed,
    DiskFull,
    LogExists,
    LogMissing,
    UnknownFormat,
)
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory, LogName, encode_id

TOPIC_ID = UUID("0730b857-ac82-4b84-b81f-7d05647452ce")
CONFIG = LogConfig()


def opened(disk: Disk, *, cluster_id: str = "J8SIkSqRSVufnG7QZEbfDg") -> LogDirectory:
    return LogDirectory.open(disk, cluster_id=lambda: cluster_id, now_ms=1_700_000_000_000)


def append(log: Log, count: int = 1) -> None:
    for _ in range(count):
        batch = memoryview(a_batch([b"x"]))
        log.append(batch, check(batch), now_ms=0)
    log.write_out()


def test_the_files_are_those_that_are_documented() -> None:
    """L-2."""
    disk = SimulatedDisk()
    directory = opened(disk)
    directory.create_log("orders", 3, TOPIC_ID, CONFIG, now_ms=0).close()
    directory.close()
    files = disk.tree()
    assert sorted(files) == [
        ".kafka_cleanshutdown",
        ".lock",
        "meta.properties",
        "orders-3/00000000000000000000.index",
        "orders-3/00000000000000000000.log",
        "orders-3/00000000000000000000.timeindex",
        "orders-3/durable-mark",
        "orders-3/leader-epoch-checkpoint",
        "orders-3/partition.metadata",
    ]
    assert files["meta.properties"].decode() == (
        "#2023-11-14T22:13:20+00:00\n"
        "cluster.id=J8SIkSqRSVufnG7QZEbfDg\n"
        f"directory.id={files['meta.properties'].decode().partition('directory.id=')[2][:22]}\n"
        "node.id=1\n"
        "tidelog.format.version=1\n"
        "version=1\n"
    )
    assert files[".kafka_cleanshutdown"] == b'{"version":0,"brokerEpoch":-1}'
    assert files["orders-3/partition.metadata"] == b"version: 0\ntopic_id: BzC4V6yCS4S4H30FZHRSzg"
    assert files["orders-3/leader-epoch-checkpoint"] == b"0\n1\n0 0\n"
    assert files["orders-3/00000000000000000000.log"] == b""


def test_its_identity_is_drawn_once(tmp_path: Path) -> None:
    disk = RealDisk(str(tmp_path / "data"))
    first = opened(disk)
    assert (first.cluster_id, first.was_clean) == ("J8SIkSqRSVufnG7QZEbfDg", False)
    first.close()
    second = opened(disk, cluster_id="another")
    assert (second.cluster_id, second.was_clean) == ("J8SIkSqRSVufnG7QZEbfDg", True)
    second.release()
    third = opened(disk)
    assert not third.was_clean, "a stop that was not clean says nothing"
    third.close()


def test_when_a_directory_is_open_no_power_cut_brings_the_clean_stop_back() -> None:
    for seed in range(20):
        disk = SimulatedDisk(seed)
        opened(disk).close()
        assert opened(disk).was_clean
        disk.crash()
        assert not opened(disk).was_clean


def test_one_process_at_a_time(tmp_path: Path) -> None:
    disk = RealDisk(str(tmp_path))
    directory = opened(disk)
    with pytest.raises(DirectoryLocked):
        opened(disk)
    directory.close()
    opened(disk).close()


@pytest.mark.parametrize("change", [(b"format.version=1", b"format.version=2"), (b"\nversion=1", b"\nversion=9")])
def test_an_unknown_version_is_refused_and_not_one_byte_is_changed(change: tuple[bytes, bytes]) -> None:
    """A17."""
    disk = SimulatedDisk()
    directory = opened(disk)
    directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0).close()
    directory.close()
    old, new = change
    at = disk.tree()["meta.properties"].index(old)
    disk.corrupt("meta.properties", at, new)
    disk.remove(".lock")
    before = disk.tree()
    with pytest.raises(UnknownFormat):
        opened(disk)
    assert disk.tree() == before


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"node.id=1\n", b"node.id=1\ntidelog.features=tiers\n", "names features"),
        (b"cluster.id=J8SIkSqRSVufnG7QZEbfDg\n", b"", "is damaged, or none of ours"),
        (b"tidelog.format.version=1\n", b"", "is damaged, or none of ours"),
        (b"tidelog.format.version=1", b"tidelog.format.version=2", "states version 1 and format version 2"),
        (b"cluster.id=J", b"cluster.id=K", "is damaged"),
        (b"node.id=1", b"node.id=2", "is damaged"),
    ],
)
def test_properties_that_are_not_what_was_written_are_refused(old: bytes, new: bytes, why: str) -> None:
    """A8, A17."""
    disk = SimulatedDisk()
    opened(disk).close()
    properties = disk.tree()["meta.properties"]
    assert old in properties
    file = disk.open("meta.properties")
    file.truncate(0)
    file.append([properties.replace(old, new, 1)])
    before = disk.tree()
    with pytest.raises(UnknownFormat, match=why):
        opened(disk)
    assert disk.tree() == before


def test_other_peoples_files_are_left_alone() -> None:
    disk = SimulatedDisk()
    disk.open("thesis.tex", create=True).append([b"precious"])
    with pytest.raises(UnknownFormat, match=r"thesis\.tex"):
        opened(disk)
    assert disk.tree() == {"thesis.tex": b"precious"}


def test_logs_are_named_sorted_and_opened_again() -> None:
    disk = SimulatedDisk()
    directory = opened(disk)
    wanted = [("a", 0), ("a", 2), ("a", 10), ("a-b", 1), ("a.b_c-9", 0), ("x" * 249, 0)]
    for topic, partition in reversed(wanted):
        log = directory.create_log(topic, partition, TOPIC_ID, CONFIG, now_ms=0)
        assert (log.topic, log.partition) == (topic, partition)
        append(log)
        log.close()
    directory.close()
    directory = opened(disk)
    assert directory.logs() == [LogName(topic, partition, TOPIC_ID) for topic, partition in wanted]
    for topic, partition in wanted:
        assert directory.open_log(topic, partition, CONFIG, now_ms=0).end_offset == 1
    with pytest.raises(LogExists):
        directory.create_log("a", 0, TOPIC_ID, CONFIG, now_ms=0)
    with pytest.raises(LogMissing):
        directory.open_log("a", 1, CONFIG, now_ms=0)


@pytest.mark.parametrize("seed", range(40))
def test_a_log_is_created_whole_or_not_at_all(seed: int) -> None:
    """A1, L-2: the id is on the disk before the first record."""
    for call in range(1, 45):
        disk = SimulatedDisk(seed)
        opened(disk).release()
        directory = opened(disk)
        disk.crash_at(call)
        created = False
        try:
            directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0)
            created = True
        except PowerCut:
            pass
        disk.crash()
        directory = opened(disk)
        there = directory.logs()
        assert directory.damaged == []
        assert there == [LogName("t", 0, TOPIC_ID)] or (not there and not created)
        assert [name for name in disk.list("") if not name.startswith((".", "meta", "t-0"))] == []
        if there:
            assert directory.open_log("t", 0, CONFIG, now_ms=0).end_offset == 0
        else:
            directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0)
        if created:
            break
    assert created


def test_a_creation_that_failed_can_be_repeated() -> None:
    disk = SimulatedDisk()
    directory = opened(disk)
    disk.fail_next("sync", path="leader-epoch")
    with pytest.raises(DiskFailed):
        directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0)
    disk.full(10)
    with pytest.raises(DiskFull):
        directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0)
    disk.full(None)
    assert directory.logs() == []
    append(directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0))


@pytest.mark.parametrize("seed", range(30))
def test_a_log_that_was_deleted_does_not_come_back(seed: int) -> None:
    """L-14: nor does what is left of it hinder one of the same name."""
    for call in range(1, 20):
        disk = SimulatedDisk(seed)
        directory = opened(disk)
        log = directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0)
        append(log)
        deleted = False
        disk.crash_at(call)
        try:
            directory.delete_log(log, token="f" * 32)
            deleted = True
        except PowerCut:
            pass
        disk.crash()
        directory = opened(disk)
        there = directory.logs()
        assert not (deleted and there)
        for name in there:
            directory.delete_leftover(name, token="e" * 32)
        assert disk.list("") == [".lock", "meta.properties"]
        assert directory.create_log("t", 0, UUID(int=9), CONFIG, now_ms=0).end_offset == 0


def test_the_longest_topic_name_can_be_deleted(tmp_path: Path) -> None:
    directory = opened(RealDisk(str(tmp_path)))
    log = directory.create_log("x" * 249, 12345, TOPIC_ID, CONFIG, now_ms=0)
    directory.delete_log(log, token="f" * 32)
    assert directory.logs() == []


@pytest.mark.parametrize(
    "contents", [None, b"", b"version: 1\ntopic_id: BzC4V6yCS4S4H30FZHRSzg", b"version: 0\ntopic_id: x"]
)
def test_a_log_that_cannot_be_named_is_reported_and_left_alone(contents: bytes | None) -> None:
    disk = SimulatedDisk()
    directory = opened(disk)
    for topic in ("a", "b"):
        directory.create_log(topic, 0, TOPIC_ID, CONFIG, now_ms=0).close()
    disk.remove("a-0/partition.metadata")
    if contents is not None:
        disk.open("a-0/partition.metadata", create=True).append([contents])
    before = disk.tree()
    assert [name.topic for name in directory.logs()] == ["b"]
    assert len(directory.damaged) == 1
    assert isinstance(directory.damaged[0], CorruptLog)
    assert disk.tree() == before


def test_a_stale_mark_never_reaches_the_log_that_took_the_name() -> None:
    """`write_mark` may run in another thread while the log is deleted and made again."""
    disk = SimulatedDisk()
    directory = opened(disk)
    log = directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0)
    append(log, 5)
    flush = log.begin_flush()
    assert flush is not None
    flush.sync()
    log.end_flush(flush)
    directory.delete_log(log, token="f" * 32)
    directory.create_log("t", 0, UUID(int=9), CONFIG, now_ms=0)
    before = disk.tree()
    log.write_mark()
    assert disk.tree() == before


def test_ids_are_written_as_kafka_writes_them() -> None:
    assert encode_id(TOPIC_ID) == "BzC4V6yCS4S4H30FZHRSzg"
    assert encode_id(UUID(int=0)) == "A" * 22


def test_space_is_told() -> None:
    disk = SimulatedDisk()
    directory = opened(disk)
    disk.full(12345)
    assert directory.free_bytes() == 12345
    assert directory.total_bytes() == disk.total_bytes()


def test_only_what_was_being_made_or_deleted_is_removed_at_a_start() -> None:
    """What an operator put aside may be all that is left of a log."""
    disk = SimulatedDisk()
    directory = opened(disk)
    directory.create_log("t", 0, TOPIC_ID, CONFIG, now_ms=0).close()
    directory.release()
    disk.kill()
    ours = ["t-0-create", f"t-10.{'0f' * 16}-delete"]
    theirs = ["t-0-before-delete", "backup-create", "t-0.old-delete", f"t-01.{'0f' * 16}-delete", "t-0.bak-create"]
    for name in (*ours, *theirs):
        disk.make_directory(name)
    files = ["meta.properties.tmp", ".kafka_cleanshutdown.tmp", "notes.tmp"]
    for name in files:
        disk.open(name, create=True).close()
    opened(disk)
    assert sorted(disk.list("")) == sorted([".lock", "meta.properties", "notes.tmp", "t-0", *theirs])
