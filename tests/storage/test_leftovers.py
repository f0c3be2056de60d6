"""What is and what is not part of a log."""

from support.disk import SimulatedDisk
from tidelog.storage.leftovers import remove_leftovers, segment_bases

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


def test_segments_are_found_by_their_names() -> None:
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    for name in ("00000000000000000042.log", "00000000000000000000.log", "7.log", "x.log", "00000000000000000001.logs"):
        disk.open(f"t-0/{name}", create=True).close()
    assert segment_bases(disk, "t-0") == [0, 42]
