"""What is and what is not part of a log."""

import pytest

from support.disk import SimulatedDisk
from tidelog.storage.leftovers import remove_leftovers, segment_bases, went_on

PART = [
    "00000000000000000000.digest",
    "00000000000000000000.index",
    "00000000000000000000.log",
    "00000000000000000000.snapshot",
    "00000000000000000000.timeindex",
    "00000000000000000007.digest",
    "00000000000000000007.index",
    "00000000000000000042.log",
    "durable-mark",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "quarantined",
]
LEFT_BEHIND = [
    "00000000000000000042.index.tmp",
    "00000000000000000000.digest.tmp",
    "00000000000000000043.digest",
    "00000000000000000043.index",
    "00000000000000000043.timeindex",
    "00000000000000000043.txnindex",
    "00000000000000000000.log.deleted",
    "00000000000000000000.index.deleted",
    "00000000000000000000.log.cleaned",
    "leader-epoch-checkpoint.tmp",
]


def test_only_what_is_not_part_of_the_log_is_removed() -> None:
    """L-9; and what tells of a segment that is missing between two others is not."""
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    for name in PART + LEFT_BEHIND:
        disk.open(f"t-0/{name}", create=True).close()
    remove_leftovers(disk, "t-0")
    assert disk.list("t-0") == PART
    remove_leftovers(disk, "t-0")
    assert disk.list("t-0") == PART


@pytest.mark.parametrize("seed", range(10))
def test_what_was_removed_never_comes_back(seed: int) -> None:
    """L-9: it may not lie behind the last segment any more by then, and nobody would remove it."""
    disk = SimulatedDisk(seed)
    disk.make_directory("t-0")
    for name in (*PART, "00000000000000000043.index"):
        disk.open(f"t-0/{name}", create=True).close()
    disk.sync_directory("t-0")
    disk.sync_directory("")
    remove_leftovers(disk, "t-0")
    disk.crash()
    assert disk.list("t-0") == PART


def test_segments_are_found_by_their_names() -> None:
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    for name in ("00000000000000000042.log", "00000000000000000000.log", "7.log", "x.log", "00000000000000000001.logs"):
        disk.open(f"t-0/{name}", create=True).close()
    assert segment_bases(disk, "t-0") == [0, 42]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("00000000000000000050.index", 50),
        ("00000000000000000050.digest", 50),
        ("00000000000000000051.timeindex", 51),
        ("00000000000000000049.index", None),  # of a segment that could not be made: the log went on before it
        ("00000000000000000042.index", None),
        ("00000000000000000050.snapshot", None),
        ("00000000000000000051.snapshot", 51),
        ("00000000000000000050.log.deleted", None),
    ],
)
def test_a_log_of_which_a_file_tells_that_it_went_on(name: str, told: int | None) -> None:
    """It ends at 50, its last segment begins at 42."""
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    for one in (*PART, name):
        disk.open(f"t-0/{one}", create=True).close()
    trace = went_on(disk, "t-0", 50)
    assert (None if trace is None else trace.offset) == told
    assert trace is None or trace.path == f"t-0/{name}"


def test_an_empty_last_segment_does_not_tell_of_another() -> None:
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    for name in PART:
        disk.open(f"t-0/{name}", create=True).close()
    disk.open("t-0/00000000000000000042.index", create=True).close()
    assert went_on(disk, "t-0", 42) is None
