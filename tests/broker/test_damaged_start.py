"""A start with damaged files: one log is lost to those who ask for it, others are served, and nothing is deleted."""

import logging
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from support.bench import Bench, on_the_bench, readable
from support.builders import a_batch, values_of
from support.house import House, a_config, a_house
from tidelog.broker import server
from tidelog.broker.environment import RealEnvironment
from tidelog.broker.metadata.soundness import MetadataDamaged
from tidelog.broker.server import Server
from tidelog.broker.topics.internal_topics import METADATA_TOPIC
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest, CreateTopicsResponse
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from tidelog.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.storage.disk import RealDisk
from tidelog.storage.durable_mark import DurableMark
from tidelog.storage.errors import UnknownFormat
from tidelog.storage.log_directory import CLEAN_SHUTDOWN, encode_partition_metadata

STORAGE_ERROR = ErrorCode.KAFKA_STORAGE_ERROR
Damage = Callable[[Path], None]


def tree(directory: Path) -> dict[str, str]:
    """Every file with the hash of what is in it."""
    return {
        str(path.relative_to(directory)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def log_tree(data: Path, name: str) -> dict[str, str]:
    return tree(data / name) if (data / name).is_dir() else {}


def partition_of(house: House, index: int) -> Partition:
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    return topic.partitions[index]


async def fill(data: Path) -> None:
    async with a_house(data) as house:
        await house.create("orders", 3)
        for index in range(3):
            await house.produce("orders", a_batch([b"of %d" % index]), partition=index)


async def fetched(house: House, index: int, *, offset: int = 0) -> tuple[int, list[bytes | None]]:
    partition = FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=1 << 20)
    topics = (FetchTopic(topic="orders", partitions=(partition,)),)
    response = await house.ask(FetchRequest(topics=topics, max_wait_ms=0, max_bytes=1 << 20), 12)
    assert isinstance(response, FetchResponse)
    [data] = response.responses[0].partitions
    return data.error_code, values_of(data.records or b"")


async def offset_at(house: House, index: int, timestamp: int) -> int:
    """The error code of ListOffsets."""
    partition = ListOffsetsPartition(partition_index=index, timestamp=timestamp)
    topics = (ListOffsetsTopic(name="orders", partitions=(partition,)),)
    response = await house.ask(ListOffsetsRequest(topics=topics))
    assert isinstance(response, ListOffsetsResponse)
    return response.topics[0].partitions[0].error_code


async def error_of_produce(house: House, index: int) -> int:
    result = await house.produce("orders", a_batch([b"more"]), partition=index)
    return result.error_code  # type: ignore[union-attr]


def remove_segments(log: Path) -> None:
    for path in log.glob("*.log"):
        path.unlink()


def spoil_metadata(log: Path) -> None:
    (log / "partition.metadata").write_bytes(b"version: 7\n")


def remove_metadata(log: Path) -> None:
    (log / "partition.metadata").unlink()


def change_id(log: Path) -> None:
    (log / "partition.metadata").write_text("version: 0\ntopic_id: " + "A" * 22)


def rename(log: Path) -> None:
    log.rename(log.with_name("backup-1"))


def put_a_file_in_its_place(log: Path) -> None:
    shutil.rmtree(log)
    log.write_text("no directory")


@pytest.mark.parametrize("was_clean", [True, False], ids=["clean", "unclean"])
@pytest.mark.parametrize(
    "damage",
    [remove_segments, spoil_metadata, remove_metadata, change_id, rename, put_a_file_in_its_place, shutil.rmtree],
)
async def test_a_log_that_cannot_be_opened_is_lost_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Damage, was_clean: bool
) -> None:
    """House rule 1.6, A8: damage stays within its partition."""
    data = tmp_path / "data"
    await fill(data)
    if not was_clean:
        (data / CLEAN_SHUTDOWN).unlink()
    damage(data / "orders-1")
    before = log_tree(data, "orders-1") | log_tree(data, "backup-1")
    for starts in range(2):
        caplog.clear()
        async with a_house(data) as house:
            assert await fetched(house, 0) == (0, [b"of 0", *[b"more"] * starts])
            assert await fetched(house, 2) == (0, [b"of 2"])
            assert await error_of_produce(house, 0) == 0
            # Whatever is asked: no offset is out of range, and none is told, for a reader would go by it.
            assert await error_of_produce(house, 1) == STORAGE_ERROR
            for offset in (0, 1, 1000):
                assert await fetched(house, 1, offset=offset) == (STORAGE_ERROR, [])
            for timestamp in (-2, -1, 0):
                assert await offset_at(house, 1, timestamp) == STORAGE_ERROR
            assert house.server.metrics.topic_errors["orders", "quarantined"] == 1
            errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
            assert [line for line in errors if "cannot be opened, quarantined topic=orders partition=1" in line]
        assert log_tree(data, "orders-1") | log_tree(data, "backup-1") == before, "nothing is deleted, nothing changed"
        assert not (data / CLEAN_SHUTDOWN).exists()


@pytest.mark.parametrize("was_clean", [True, False], ids=["clean", "unclean"])
async def test_what_lies_behind_the_damage_can_be_read_too(tmp_path: Path, was_clean: bool) -> None:
    """House rule 1.6: as docs/operating.md says."""
    data = tmp_path / "data"
    async with a_house(data) as house:
        await house.create("orders")
        for value in (b"before", b"damaged", b"behind"):
            await house.produce("orders", a_batch([value]))
    segment = data / "orders-0" / f"{0:020d}.log"
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b"damaged", b"dAmaged"))
    if not was_clean:
        (data / CLEAN_SHUTDOWN).unlink()
        forget_checkpoint(data)
    async with a_house(data) as house:
        assert await fetched(house, 0) == (0, [b"before"])
        assert await fetched(house, 0, offset=1) == (ErrorCode.CORRUPT_MESSAGE, [])
        assert await fetched(house, 0, offset=2) == (0, [b"behind"])
        assert await error_of_produce(house, 0) == STORAGE_ERROR


def forget_checkpoint(data: Path) -> None:
    """Leave the mark in its place, and have recovery read the whole log."""
    mark = DurableMark.read(RealDisk(str(data)), "orders-0")
    assert mark.offset is not None
    mark.write(mark.offset)


async def test_what_comes_back_is_served_again(tmp_path: Path) -> None:
    """From a backup, say: quarantine ends when the damage does."""
    data = tmp_path / "data"
    await fill(data)
    shutil.copytree(data / "orders-1", tmp_path / "backup")
    remove_segments(data / "orders-1")
    async with a_house(data) as house:
        assert (await fetched(house, 1))[0] == STORAGE_ERROR
    shutil.rmtree(data / "orders-1")
    shutil.copytree(tmp_path / "backup", data / "orders-1")
    async with a_house(data) as house:
        assert await fetched(house, 1) == (0, [b"of 1"])
        assert await error_of_produce(house, 1) == 0


@pytest.mark.parametrize("damage", [spoil_metadata, remove_segments, shutil.rmtree])
async def test_a_topic_with_a_lost_log_is_described_can_be_deleted_and_made_again(
    tmp_path: Path, damage: Damage
) -> None:
    data = tmp_path / "data"
    await fill(data)
    damage(data / "orders-1")
    async with a_house(data) as house:
        described = await house.ask(MetadataRequest(topics=(MetadataRequestTopic(name="orders"),)), 9)
        assert isinstance(described, MetadataResponse)
        offline = [partition.offline_replicas for partition in described.topics[0].partitions]
        assert offline == [(), (1,), ()], "whoever lists topics sees it"
        await house.ask(DeleteTopicsRequest(topic_names=("orders",)), 5)
        await house.create("orders", 3)
        assert await error_of_produce(house, 1) == 0
        assert await fetched(house, 1) == (0, [b"more"])


async def test_what_lies_in_a_deleted_topics_place_and_is_another_topics_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A8: an operator's slip, or a restore that is half done, is no reason to delete another topic's records."""
    data = tmp_path / "data"
    await fill(data)
    async with a_house(data) as house:
        await house.create("invoices")
        await house.produce("invoices", a_batch([b"paid"]))
    shutil.rmtree(data / "orders-0")
    (data / "invoices-0").rename(data / "orders-0")
    before = log_tree(data, "orders-0")
    async with a_house(data) as house:
        assert await error_of_produce(house, 0) == STORAGE_ERROR
        await house.ask(DeleteTopicsRequest(topic_names=("orders",)), 5)
        again = CreateTopicsRequest(topics=(CreatableTopic(name="orders", num_partitions=1, replication_factor=1),))
        response = await house.ask(again)  # which waits for the deletion
        assert isinstance(response, CreateTopicsResponse)
        assert response.topics[0].error_code == STORAGE_ERROR
    assert not (data / "orders-1").exists()
    assert log_tree(data, "orders-0") == before
    assert "directory of another topic, left alone topic=orders partition=0" in caplog.text
    (data / "orders-0").rename(data / "invoices-0")
    async with a_house(data) as house:
        topic = house.server.topics.by_name("invoices")
        assert topic is not None
        assert readable(topic.partitions[0]) == [b"paid"]


def test_a_log_that_the_disk_refuses_is_lost_alone_and_opens_when_it_does_not() -> None:
    """A6: at every call that may fail while a log is opened, made anew, or removed."""
    failures = [("open", "orders-1/"), ("rename", "doomed-0"), *[("remove", "-delete/")] * 2]

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        await house.create("orders", 2)
        await house.create("doomed")
        for index in (0, 1):
            await house.produce("orders", a_batch([b"of %d" % index]), partition=index)
        topic = house.server.topics.by_name("doomed")
        assert topic is not None
        bench.disk.fail_next("rename", path="doomed-0")
        await house.ask(DeleteTopicsRequest(topic_names=("doomed",)), 5)
        await house.server.stop()
        for call, path in failures:
            bench.disk.fail_next(call, path=path)
            house = await bench.serve()
            lost = path == "orders-1/"
            assert [partition.log.recovered.lost for partition in orders(house)] == [False, lost]
            assert readable(orders(house)[0]) == [b"of 0"]
            await house.server.stop()
            bench.disk.kill()
        house = await bench.serve()
        assert [readable(partition) for partition in orders(house)] == [[b"of 0"], [b"of 1"]]
        assert not [path for path in bench.disk.tree() if path.startswith("doomed-0")]

    def orders(house: House) -> list[Partition]:
        topic = house.server.topics.by_name("orders")
        assert topic is not None
        return topic.partitions

    play()


def test_the_clusters_metadata_is_no_log_without_a_topic_whatever_its_id_says() -> None:
    """Not even as long as nothing was written to it: it is open, and what comes next is the first topic."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        await house.server.stop()
        bench.disk.corrupt("__cluster_metadata-0/partition.metadata", 0, encode_partition_metadata(UUID(int=9)))
        house = await bench.serve()
        await house.create("orders")
        await house.server.stop()
        house = await bench.serve()
        assert [topic.name for topic in house.server.topics] == ["orders"]
        await house.server.stop()

    play()


async def test_groups_whose_log_is_lost_are_not_taken_for_empty(tmp_path: Path) -> None:
    """Else each of them would begin anew where its settings say, and skip or repeat everything."""
    data = tmp_path / "data"

    async def committed(house: House) -> int:
        partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=1)
        topics = (OffsetCommitRequestTopic(name="orders", partitions=(partition,)),)
        response = await house.ask(OffsetCommitRequest(group_id="billing", topics=topics), 8)
        assert isinstance(response, OffsetCommitResponse)
        return response.topics[0].partitions[0].error_code

    async with a_house(data, "offsets.topic.num.partitions=1") as house:
        await house.create("orders")
        assert await committed(house) == 0
    remove_segments(data / "__consumer_offsets-0")
    async with a_house(data) as house:
        assert await committed(house) == ErrorCode.COORDINATOR_NOT_AVAILABLE


@pytest.mark.parametrize("was_clean", [True, False], ids=["clean", "unclean"])
@pytest.mark.parametrize("what", ["flip", "cut", "segment", "id", "all"])
async def test_damaged_metadata_refuses_the_start_and_not_one_byte_is_changed(
    tmp_path: Path, what: str, was_clean: bool
) -> None:
    """A17; and with one message that says where."""
    data = tmp_path / "data"
    await fill(data)
    if not was_clean:
        (data / CLEAN_SHUTDOWN).unlink()
    (data / "orders-9-create").mkdir()  # what a start would clear away
    (data / "something.tmp").write_text("half")
    metadata = data / f"{METADATA_TOPIC}-0"
    [segment] = metadata.glob("*.log")
    if what == "flip":
        rotten = bytearray(segment.read_bytes())
        rotten[80] ^= 1
        segment.write_bytes(rotten)
    elif what == "cut":
        segment.write_bytes(segment.read_bytes()[:-1])
    elif what == "segment":
        remove_segments(metadata)
    elif what == "id":
        spoil_metadata(metadata)
    else:
        shutil.rmtree(metadata)
    before = tree(data)
    server = Server(a_config(data), RealEnvironment())
    with pytest.raises(MetadataDamaged, match=rf"^the cluster's metadata cannot be read.*: {METADATA_TOPIC}-0"):
        await server.start()
    assert tree(data) == before
    await server.stop()
    assert tree(data) == before


async def test_metadata_that_only_recovery_finds_damaged_refuse_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They rotted between the check and that: what is not known of them is not taken for deleted."""
    data = tmp_path / "data"
    await fill(data)
    monkeypatch.setattr(server, "check_metadata", lambda _: None)
    (data / f"{METADATA_TOPIC}-0" / "durable-mark").unlink()
    (data / f"{METADATA_TOPIC}-0" / "durable-mark").mkdir()
    with pytest.raises(MetadataDamaged, match=rf"^the cluster's metadata cannot be read: {METADATA_TOPIC}-0/durable-"):
        await Server(a_config(data), RealEnvironment()).start()


@pytest.mark.parametrize("lines", ["tidelog.features=compressed-index\n", "tidelog.features=a,b\n"])
async def test_a_directory_with_features_that_are_unknown_is_refused_as_it_is(tmp_path: Path, lines: str) -> None:
    """A17: what a later version adds, and an older one would not see."""
    data = tmp_path / "data"
    await fill(data)
    meta = data / "meta.properties"
    meta.write_text(meta.read_text() + lines)
    before = tree(data)
    with pytest.raises(UnknownFormat, match="features that this version does not know"):
        await Server(a_config(data), RealEnvironment()).start()
    assert tree(data) == before


def test_what_a_fact_knows_by_its_name_or_its_id_is_left_alone_though_nothing_was_written_to_it() -> None:
    """The other half is damaged, and may be mended by whoever looks at it."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        await house.create("orders", 2)
        await house.server.stop()
        bench.disk.corrupt("orders-0/partition.metadata", 0, encode_partition_metadata(UUID(int=9)))
        bench.disk.rename("orders-1", "moved-1")
        for _ in range(2):
            house = await bench.serve()
            topic = house.server.topics.by_name("orders")
            assert topic is not None
            assert [partition.is_lost for partition in topic.partitions] == [True, True]
            await house.server.stop()
            assert {"orders-0", "moved-1"} <= set(bench.disk.list(""))

    play()


def test_a_directory_whose_number_is_written_otherwise_is_no_log() -> None:
    """It would be taken for the one whose number that is."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        await house.create("orders")
        await house.server.stop()
        bench.disk.make_directory("orders-00")
        bench.disk.open("orders-00/partition.metadata", create=True).append([encode_partition_metadata(UUID(int=9))])
        bench.disk.open(f"orders-00/{0:020d}.log", create=True).close()
        house = await bench.serve()
        result = await house.produce("orders", a_batch())
        assert result.error_code == 0  # type: ignore[union-attr]
        await house.server.stop()
        assert {"orders-0", "orders-00"} <= set(bench.disk.list(""))

    play()
