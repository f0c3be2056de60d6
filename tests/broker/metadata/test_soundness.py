"""Whether the cluster's metadata can be read is known before anything is changed; and if not, nothing is."""

from pathlib import Path

import pytest

from support.builders import BASE_TIMESTAMP
from support.data_directory import make_directory
from support.disk import SimulatedDisk
from support.logs import append, flush
from tidelog.broker.metadata.records import ProducerIdsAllocated
from tidelog.broker.metadata.soundness import DIRECTORY, MetadataDamaged, check_metadata
from tidelog.protocol.records import build_batch
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import RealDisk
from tidelog.storage.log_directory import LogDirectory

SEGMENT = f"{DIRECTORY}/{0:020d}.log"


def a_disk(*, closed: bool = True) -> SimulatedDisk:
    disk = SimulatedDisk()
    make_directory(disk, ["orders-0", "invoices-0", "invoices-1"], closed=closed, batches=1)
    return disk


def refused(disk: SimulatedDisk, match: str) -> None:
    """By the check, which changes nothing; nor does a directory that is opened with it."""
    before = disk.tree()
    with pytest.raises(MetadataDamaged, match=match):
        check_metadata(disk)
    with pytest.raises(MetadataDamaged):
        LogDirectory.open(disk, cluster_id=lambda: "another", now_ms=0, check=check_metadata)
    assert disk.tree() == before


@pytest.mark.parametrize("closed", [True, False])
def test_sound_metadata_is_read_and_nothing_is_changed(closed: bool) -> None:
    disk = a_disk(closed=closed)
    before, calls = disk.tree(), disk.calls
    check_metadata(disk)
    assert (disk.tree(), disk.calls) == (before, calls)


def test_a_new_directory_has_none_yet() -> None:
    disk = SimulatedDisk()
    directory = LogDirectory.open(disk, cluster_id=lambda: "new", now_ms=0, check=check_metadata)
    directory.release()
    LogDirectory.open(disk, cluster_id=lambda: "new", now_ms=0, check=check_metadata).release()


def test_a_directory_that_a_broker_has_closed_is_not_a_new_one() -> None:
    """All its logs are gone, by a mistaken command or a disk that is not mounted: nobody shall begin anew over that."""
    disk = a_disk()
    for name in (DIRECTORY, "orders-0", "invoices-0", "invoices-1"):
        disk.remove_directory(name)
    refused(disk, match=f"{DIRECTORY} is missing, and was there")


@pytest.mark.parametrize("closed", [True, False])
def test_a_flip_of_any_byte_below_the_mark_refuses_the_start(closed: bool) -> None:
    """A8."""
    disk = a_disk(closed=closed)
    for position in range(disk.size(SEGMENT)):
        old = disk.tree()[SEGMENT][position]
        disk.corrupt(SEGMENT, position, bytes([old ^ 1]))
        with pytest.raises(MetadataDamaged, match="nothing was changed"):
            check_metadata(disk)
        disk.corrupt(SEGMENT, position, bytes([old]))
    check_metadata(disk)


def test_the_refusal_says_what_is_wrong_and_where() -> None:
    disk = a_disk()
    last = disk.size(SEGMENT) - 1
    disk.corrupt(SEGMENT, last, bytes([disk.tree()[SEGMENT][last] ^ 1]))
    refused(disk, match=rf"{SEGMENT} from \d+ to \d+: the checksum does not hold")


def test_every_cut_below_the_mark_refuses_the_start() -> None:
    """A8: whole batches that are missing, too."""
    size = a_disk().size(SEGMENT)
    for kept in range(size):
        disk = a_disk()
        disk.cut(SEGMENT, kept)
        with pytest.raises(MetadataDamaged):
            check_metadata(disk)


def test_a_torn_tail_is_left_to_recovery() -> None:
    """House rule 1.6."""
    disk = a_disk(closed=False)
    file = disk.open(SEGMENT)
    file.append([disk.tree()[SEGMENT][:50]])
    file.close()
    check_metadata(disk)


def test_a_lost_mark_is_no_damage_as_long_as_all_is_sound() -> None:
    disk = a_disk()
    disk.remove(f"{DIRECTORY}/durable-mark")
    disk.remove(f"{DIRECTORY}/leader-epoch-checkpoint")
    check_metadata(disk)
    disk.cut(SEGMENT, disk.size(SEGMENT) - 1)
    refused(disk, match="of which")


@pytest.mark.parametrize("kind", ["directory", "link"])
@pytest.mark.parametrize(
    "name",
    [
        *("durable-mark", "leader-epoch-checkpoint", "quarantined", "write-caching", "x.tmp"),
        *(f"{0:020d}{suffix}" for suffix in (".log", ".index", ".timeindex", ".digest", ".snapshot")),
    ],
)
def test_what_is_no_file_where_one_should_be_refuses_the_start(name: str, kind: str, tmp_path: Path) -> None:
    for written, data in a_disk().tree().items():
        (tmp_path / written).parent.mkdir(exist_ok=True)
        (tmp_path / written).write_bytes(data)
    disk, path = RealDisk(str(tmp_path)), tmp_path / DIRECTORY / name
    check_metadata(disk)
    (path.parent / "of an operator").mkdir()
    check_metadata(disk)
    path.unlink(missing_ok=True)
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "not mounted" / "file")
    with pytest.raises(MetadataDamaged, match=f"nothing was changed: {DIRECTORY}/{name}.*: cannot be opened"):
        check_metadata(disk)


def test_leader_epochs_that_have_rotted_are_no_damage() -> None:
    """A8: the mark knows that they are not what they were; recovery makes them again."""
    size = a_disk().size(f"{DIRECTORY}/leader-epoch-checkpoint")
    for bit in range(8 * size):
        disk = a_disk()
        byte = disk.tree()[f"{DIRECTORY}/leader-epoch-checkpoint"][bit // 8]
        disk.corrupt(f"{DIRECTORY}/leader-epoch-checkpoint", bit // 8, bytes([byte ^ (1 << bit % 8)]))
        check_metadata(disk)


def test_nothing_is_a_torn_tail_behind_half_a_mark_that_was_closed() -> None:
    """House rule 1.6: the other half may have been the newer one."""
    disk = a_disk()
    newer = max((0, 4096), key=lambda at: disk.tree()[f"{DIRECTORY}/durable-mark"][at : at + 8])
    disk.corrupt(f"{DIRECTORY}/durable-mark", newer, b"rot")
    check_metadata(disk)
    last = disk.size(SEGMENT) - 1
    disk.corrupt(SEGMENT, last, bytes([disk.tree()[SEGMENT][last] ^ 1]))
    refused(disk, match="the checksum does not hold")


@pytest.mark.parametrize("name", [f"{0:020d}.log", "partition.metadata"])
def test_a_missing_file_refuses_the_start(name: str) -> None:
    disk = a_disk()
    disk.remove(f"{DIRECTORY}/{name}")
    refused(disk, match=r"no segment is left|missing")


def test_a_beginning_that_is_missing_refuses_the_start() -> None:
    """A8: what is left is sound, and begins where a log may begin; only the leader epochs know of more."""
    disk = SimulatedDisk()
    make_directory(disk, facts=[ProducerIdsAllocated(number) for number in range(40)], batches=1)
    first, *others = [path for path in disk.tree() if path.startswith(DIRECTORY) and path.endswith(".log")]
    assert others
    disk.remove(first)
    refused(disk, match="and did at 0")


def test_a_segment_that_could_not_be_made_nor_unmade_is_none_of_the_log() -> None:
    """An empty one: the log went on in the one before it."""
    disk = SimulatedDisk()
    make_directory(disk, facts=[ProducerIdsAllocated(number) for number in range(40)], batches=1)
    assert f"{DIRECTORY}/{1:020d}.log" not in disk.tree()
    disk.open(f"{DIRECTORY}/{1:020d}.log", create=True).close()
    check_metadata(disk)


def test_a_segment_of_which_nobody_knows_what_comes_before_it_refuses_the_start() -> None:
    """An empty one: its batches do not tell, and without a mark nobody can say that nothing is missing."""
    disk = a_disk()
    disk.remove(f"{DIRECTORY}/durable-mark")
    disk.open(f"{DIRECTORY}/{99:020d}.log", create=True).close()
    refused(disk, match="the segment begins where 2 should be")


def test_a_missing_log_of_metadata_refuses_the_start_where_there_are_topics() -> None:
    """An empty one in its place would make strangers of all of them."""
    disk = a_disk()
    disk.remove_directory(DIRECTORY)
    refused(disk, match="is missing, but there are logs, invoices-0 for one")


@pytest.mark.parametrize(
    "value", [b"\x93\x63\x00\x80", b"\x93\x01\x09\x80", b"no msgpack"], ids=["unknown kind", "newer version", "noise"]
)
def test_a_fact_that_nobody_understands_refuses_the_start(value: bytes) -> None:
    """A17: a later version wrote it."""
    disk = a_disk()
    directory = LogDirectory.open(disk, cluster_id=lambda: "another", now_ms=0)
    log = directory.open_log("__cluster_metadata", 0, LogConfig(), now_ms=0)
    append(log, bytes(build_batch([(None, value, (), BASE_TIMESTAMP)])))
    flush(log)
    log.close()
    directory.close()
    refused(disk, match="metadata record")
