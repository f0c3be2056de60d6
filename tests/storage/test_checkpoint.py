"""Small files: old or new, never anything else."""

import pytest

from support.disk import PowerCut, SimulatedDisk
from tidelog.storage.checkpoint import create_file, encode_checkpoint, read_checkpoint, read_file, replace_file
from tidelog.storage.errors import CorruptLog, DiskFailed, DiskFull

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
    "text",
    [
        b"",
        b"0",
        b"0\n",
        b"1\n0\n",
        b"0\n1\n",
        b"0\n1\n0\n",
        b"0\n1\n0 0 0\n",
        b"0\n1\n0 x\n",
        b"\xff\n",
        b"0\n2\n1 1\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: bytes) -> None:
    disk = SimulatedDisk()
    replace_file(disk, "c", text)
    with pytest.raises(CorruptLog):
        read_checkpoint(disk, "c", fields=2)
