"""`tidelog log recreate`: an empty log for one of the broker's own that is lost, and for no other."""

import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from support.command_line import Stub, Tidelog, run_on_a_terminal
from support.data_directory import id_of, make_directory
from support.house import House, a_house
from tidelog.broker.coordinator.group_partition import partition_for
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse
from tidelog.storage.disk import RealDisk
from tidelog.storage.errors import DiskFull
from tidelog.storage.log_directory import CLEAN_SHUTDOWN, LogDirectory, read_partition_metadata

OFFSETS = "__consumer_offsets"
LOST = f"{OFFSETS}-1"
GROUPS = [next(name for name in map(str, range(99)) if partition_for(name, 2) == index) for index in (0, 1)]
"""One on each of two partitions."""


def tree(data: Path) -> dict[str, str]:
    return {
        str(path.relative_to(data)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


def a_directory(data: Path, *, closed: bool = True) -> Path:
    """With two logs of `__consumer_offsets`, one of which is lost, and one of a user's."""
    make_directory(RealDisk(str(data)), [f"{OFFSETS}-0", LOST, "orders-0"], closed=closed, batches=1)
    shutil.rmtree(data / LOST)
    return data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return a_directory(tmp_path / "data")


async def commit(house: House, group_id: str) -> int:
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=7)
    topics = (OffsetCommitRequestTopic(name="orders", partitions=(partition,)),)
    response = await house.ask(OffsetCommitRequest(group_id=group_id, topics=topics), 8)
    assert isinstance(response, OffsetCommitResponse)
    return response.topics[0].partitions[0].error_code


async def committed(house: House, group_id: str) -> list[int] | int:
    """The offsets of the group, or why they cannot be had."""
    response = await house.ask(OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id=group_id, topics=None),)), 8)
    assert isinstance(response, OffsetFetchResponse)
    [group] = response.groups
    return group.error_code or [at.committed_offset for topic in group.topics for at in topic.partitions]


async def test_the_groups_of_a_lost_partition_begin_anew_and_the_others_lose_nothing(
    tidelog: Tidelog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    async with a_house(data, "offsets.topic.num.partitions=2") as house:
        await house.create("orders")
        for group_id in GROUPS:
            assert await commit(house, group_id) == ErrorCode.NONE
    shutil.rmtree(data / LOST)
    async with a_house(data) as house:
        assert (
            "missing, with all its records: put the directory back and start again, or make an empty one" in caplog.text
        )
        assert [await committed(house, group_id) for group_id in GROUPS] == [[7], ErrorCode.COORDINATOR_NOT_AVAILABLE]
        ended = tidelog("log", "recreate", str(data / LOST), "--yes")
        assert (ended.code, ended.err) == (1, f"error[TL-0504]: a broker has {data} · stop it\n")
    ended = tidelog("log", "recreate", str(data / LOST), "--yes")
    assert (ended.code, ended.out, ended.err) == (0, f"{LOST} made, empty\n", "")
    assert tidelog("log", "verify", str(data)).code == 0
    caplog.clear()
    async with a_house(data) as house:
        assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
        assert [await committed(house, group_id) for group_id in GROUPS] == [[7], []]
        assert await commit(house, GROUPS[1]) == ErrorCode.NONE
    async with a_house(data) as house:
        assert [await committed(house, group_id) for group_id in GROUPS] == [[7], [7]]


@pytest.mark.parametrize("closed", [True, False], ids=["clean", "unclean"])
def test_nothing_else_is_changed_and_an_unclean_stop_stays_one(
    tidelog: Tidelog, tmp_path: Path, *, closed: bool
) -> None:
    data = a_directory(tmp_path / "data", closed=closed)
    before = tree(data)
    assert tidelog("log", "recreate", str(data / LOST), "--yes").code == 0
    after = tree(data)
    assert {path.partition("/")[0] for path in before.keys() ^ after.keys()} == {LOST}
    assert all(after[path] == before[path] for path in before)
    assert (data / CLEAN_SHUTDOWN).exists() is closed
    assert read_partition_metadata(RealDisk(str(data)), LOST) == id_of(OFFSETS)
    directory = LogDirectory.open(RealDisk(str(data)), cluster_id=str, now_ms=0)
    directory.release()


def test_a_dry_run_changes_nothing(tidelog: Tidelog, data: Path) -> None:
    before = tree(data)
    ended = tidelog("log", "recreate", str(data / LOST), "--dry-run")
    assert (ended.code, ended.out) == (0, f"{LOST} can be made anew, empty\n")
    assert tree(data) == before


def test_where_nobody_can_be_asked_it_needs_yes(tidelog: Tidelog, data: Path) -> None:
    before = tree(data)
    ended = tidelog("log", "recreate", str(data / LOST))
    assert ended.code == 2
    assert "error[TL-0003]" in ended.err
    assert tree(data) == before


@pytest.mark.parametrize(("answer", "code"), [(LOST, 0), ("yes", 1)])
def test_on_a_terminal_the_logs_name_is_typed(stub: Stub, data: Path, answer: str, code: int) -> None:
    before = tree(data)
    ended, shown = run_on_a_terminal(stub, f"{answer}\n".encode(), "log", "recreate", str(data / LOST))
    assert ended == code
    assert f"All that the groups of {LOST} had committed is given up." in shown
    assert (tree(data) == before) is (code == 1)


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        (f"{OFFSETS}-0", "TL-0001", "is not missing · if it is damaged, move it elsewhere first"),
        ("orders-0", "TL-0001", "delete it instead, and create it again: tidelog topic rm orders"),
        (f"{OFFSETS}-2", "TL-0501", "the cluster's metadata tells of no log __consumer_offsets-2"),
        ("__cluster_metadata-0", "TL-0501", "tells of no log"),
        (f"{OFFSETS}-x", "TL-0501", "tells of no log"),
    ],
)
def test_only_what_is_missing_and_cannot_be_deleted_is_made(
    tidelog: Tidelog, data: Path, name: str, code: str, says: str
) -> None:
    before = tree(data)
    for option in ("--yes", "--dry-run"):
        ended = tidelog("log", "recreate", str(data / name), option)
        assert ended.err.startswith(f"error[{code}]: ")
        assert says in ended.err
    assert tree(data) == before


def test_what_lies_there_under_another_name_is_not_given_up(tidelog: Tidelog, data: Path) -> None:
    shutil.copytree(data / f"{OFFSETS}-0", data / "moved-1")
    ended = tidelog("log", "recreate", str(data / LOST), "--yes")
    assert ended.err == f"error[TL-0001]: moved-1 says that it is {LOST} · rename it, and start the broker\n"
    (data / "moved-1" / "partition.metadata").unlink()
    assert tidelog("log", "recreate", str(data / LOST), "--yes").code == 0, "it says nothing"


def test_without_the_clusters_metadata_nothing_is_made(tidelog: Tidelog, data: Path) -> None:
    segment = data / "__cluster_metadata-0" / f"{0:020d}.log"
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    before = tree(data)
    ended = tidelog("log", "recreate", str(data / LOST), "--yes")
    assert ended.err.startswith("error[TL-0502]: the cluster's metadata cannot be read")
    (data / "meta.properties").unlink()
    assert tidelog("log", "recreate", str(data / LOST), "--yes").err.startswith("error[TL-0505]: there is no meta.prop")
    assert tidelog("log", "recreate", str(data / "nowhere" / LOST), "--yes").err.startswith("error[TL-0501]: ")
    assert tree(data) == {path: content for path, content in before.items() if path != "meta.properties"}


def test_a_broker_that_ran_meanwhile_is_believed(tidelog: Tidelog, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late() -> int:
        shutil.copytree(data / f"{OFFSETS}-0", data / LOST)  # put back from a backup
        return 0

    monkeypatch.setattr("tidelog.cli.log_recreate.wall_clock_ms", late)  # asked just before the directory is locked
    ended = tidelog("log", "recreate", str(data / LOST), "--yes")
    assert "is not missing" in ended.err
    assert (data / CLEAN_SHUTDOWN).exists(), "nothing was changed"


def test_a_disk_that_is_full_leaves_the_directory_to_others(
    tidelog: Tidelog, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFull(LOST, "no space left")

    monkeypatch.setattr(LogDirectory, "create_log", full)
    ended = tidelog("log", "recreate", str(data / LOST), "--yes")
    assert ended.err.startswith("error[TL-0001]: ")
    assert not (data / CLEAN_SHUTDOWN).exists(), "the next start looks at everything"
    LogDirectory.open(RealDisk(str(data)), cluster_id=str, now_ms=0).release()
