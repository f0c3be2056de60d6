"""Small files: old or new, never anything else."""

import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import a_batch
from support.disk import PowerCut, SimulatedDisk
from tidelog.protocol.batch import check
from tidelog.storage.checkpoint import (
    create_file,
    encode_checkpoint,
    read_checkpoint,
    read_file,
    read_head,
    replace_file,
)
from tidelog.storage.config import LogConfig
from tidelog.storage.digests import read_digest
from tidelog.storage.disk import Disk, RealDisk
from tidelog.storage.errors import CorruptLog, DiskFailed, DiskFull, Unreadable
from tidelog.storage.log_directory import LogDirectory

HUGE = 1 << 40
SNAPSHOT = f"{1:020d}.snapshot"
OLD, NEW = b"old" * 1000, b"new" * 700


@pytest.mark.parametrize("seed", range(60))
def test_whenever_the_power_goes_the_file_is_the_old_one_or_the_new_one(seed: int) -> None:
    for call in range(1, 8):
        disk = SimulatedDisk(seed)
        replace_file(disk, "a", OLD)
        disk.crash_at(call)
        done = False
        try:
            replace_file(disk, "a", NEW)
            done = True
        except PowerCut:
            pass
        disk.crash()
        left = read_file(disk, "a")
        assert left == NEW if done else left in {OLD, NEW}


@pytest.mark.parametrize("name", ["durable-mark", "leader-epoch-checkpoint", "partition.metadata", SNAPSHOT])
def test_a_file_that_claims_to_be_huge_is_damaged_and_costs_no_memory(tmp_path: Path, name: str) -> None:
    """A8: it may be sparse. No start may end by that, nor a scrubber."""
    disk = RealDisk(str(tmp_path))
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, UUID(int=7), LogConfig(), now_ms=0)
    batch = memoryview(a_batch([b"kept"]))
    log.append(batch, check(batch), now_ms=0)
    log.close()
    directory.release()
    path = tmp_path / "t-0" / name
    path.touch()
    os.truncate(path, HUGE)
    with pytest.raises(CorruptLog, match="more than such a file can have"):
        read_file(disk, f"t-0/{name}")
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    assert len(directory.logs()) == (0 if name == "partition.metadata" else 1)
    log = directory.open_log("t", 0, LogConfig(), now_ms=0)
    assert log.read(0, size_max=1000, up_to=1, at_least_one=True).records
    log.close()
    directory.release()


@pytest.mark.parametrize("read", [read_file, lambda disk, path: read_head(disk, path, 1)])
def test_what_cannot_be_opened_is_unreadable_if_it_is_there(tmp_path: Path, read: Callable[[Disk, str], bytes]) -> None:
    disk = RealDisk(str(tmp_path))
    (tmp_path / "a").mkdir()
    with pytest.raises(Unreadable, match="cannot be opened"):
        read(disk, "a")
    with pytest.raises(DiskFailed) as missing:
        read(disk, "b")
    assert not isinstance(missing.value, Unreadable)


def test_a_digest_that_claims_to_be_huge_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.digest").touch()
    os.truncate(tmp_path / "a.digest", HUGE)
    assert read_digest(RealDisk(str(tmp_path)), "a.digest") is None


@pytest.mark.parametrize("call", ["append", "sync", "rename", "open"])
def test_if_the_disk_fails_the_old_contents_stay(call: str) -> None:
    disk = SimulatedDisk()
    replace_file(disk, "a", OLD)
    disk.fail_next(call)
    with pytest.raises(DiskFailed):
        replace_file(disk, "a", NEW)
    assert read_file(disk, "a") == OLD
    disk.full(10)
    with pytest.raises(DiskFull):
        replace_file(disk, "a", NEW)
    disk.full(None)
    replace_file(disk, "a", NEW)
    assert read_file(disk, "a") == NEW
    disk.crash()
    assert read_file(disk, "a") == NEW


def test_a_checkpoint_is_kafkas_text() -> None:
    disk = SimulatedDisk()
    disk.make_directory("d")
    create_file(disk, "d/c", encode_checkpoint([(0, 0), (3, 1042)]))
    assert disk.tree() == {"d/c": b"0\n2\n0 0\n3 1042\n"}
    assert read_checkpoint(disk, "d/c", fields=2) == [(0, 0), (3, 1042)]
    assert encode_checkpoint([]) == b"0\n0\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "it should begin with version 0 and the number of its 0 entries"),
        (b"0", "it should begin with version 0 and the number of its 0 entries"),
        (b"0\n", "it should begin with version 0 and the number of its 0 entries"),
        (b"1\n0\n", "it should begin with version 0 and the number of its 0 entries"),
        (b"0\n1\n", "it should begin with version 0 and the number of its 0 entries"),
        (b"0\n2\n1 1\n", "it should begin with version 0 and the number of its 1 entries"),
        (b"0\n1\n0\n", "line 3 does not hold 2 numbers"),
        (b"0\n1\n0 0 0\n", "line 3 does not hold 2 numbers"),
        (b"0\n1\n0 x\n", "line 3 does not hold 2 numbers"),
        (b"0\n1\n0 1_0\n", "line 3 does not hold 2 numbers"),
        (b"0\n1\n0 " + 20 * b"9" + b"\n", "line 3 does not hold 2 numbers"),
        (b"0\n1 1\n0 0\n", "line 2 does not hold 1 number"),
        (b"\xff\n", "line 1 does not hold 1 number"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_plain_words(text: bytes, reason: str) -> None:
    disk = SimulatedDisk()
    replace_file(disk, "c", text)
    with pytest.raises(CorruptLog) as caught:
        read_checkpoint(disk, "c", fields=2)
    assert str(caught.value) == f"c at 0: {reason}"
