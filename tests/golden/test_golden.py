"""Data directories that older brokers left: they open, with everything in them; and unknown ones are left as they are.

A17. `make.py` wrote them, one format each; a file per format stays here for good.
"""

import json
import tarfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from support.bench import readable
from support.builders import BASE_TIMESTAMP, a_batch, values_of
from support.command_line import Tidelog, run_here
from support.house import House, a_config, a_house
from support.logs import append, flush
from tidelog.broker.environment import RealEnvironment
from tidelog.broker.metadata.soundness import MetadataDamaged
from tidelog.broker.server import Server
from tidelog.broker.topics.partition import Partition
from tidelog.broker.topics.registry import Topic
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestTopic,
    OffsetFetchResponse,
)
from tidelog.protocol.records import build_batch
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import RealDisk
from tidelog.storage.errors import UnknownFormat
from tidelog.storage.log_directory import FORMAT_VERSION, LogDirectory

HERE = Path(__file__).resolve().parent
ARCHIVES = sorted(HERE.glob("*.tar.gz"))
FORMATS = sorted(path.stem for path in HERE.glob("*.json"))
Change = Callable[[Path], None]


def unpacked(archive: Path, scratch: Path) -> Path:
    data = scratch / "data"
    with tarfile.open(archive) as tar:
        tar.extractall(data, filter="data")
    return data


def facts_of(archive: Path) -> Mapping[str, object]:
    name = archive.name.removesuffix(".tar.gz").rpartition("-")[0]
    facts = json.loads((HERE / f"{name}.json").read_text())
    assert isinstance(facts, dict)
    return facts


def tree(data: Path) -> dict[str, str]:
    return {
        str(path.relative_to(data)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


def orders(house: House) -> Topic:
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    return topic


def all_values(partition: Partition) -> list[bytes | None]:
    """Batch by batch, in whatever segment."""
    values: list[bytes | None] = []
    offset = 0
    while offset < partition.high_watermark:
        fetched = partition.read(offset, size_max=1 << 20, at_least_one=True)
        values += values_of(fetched.records)
        offset = fetched.next_offset
    return values


def in_bytes(texts: list[str]) -> list[bytes | None]:
    return [text.encode() for text in texts]


async def committed(house: House, group: str, topic: str, partition: int) -> tuple[int, str | None]:
    topics = (OffsetFetchRequestTopic(name=topic, partition_indexes=(partition,)),)
    response = await house.ask(OffsetFetchRequest(group_id=group, topics=topics), 7)
    assert isinstance(response, OffsetFetchResponse)
    [found] = response.topics[0].partitions
    return found.committed_offset, found.metadata


def test_every_format_up_to_todays_is_here() -> None:
    assert [f"format-{number}" for number in range(1, FORMAT_VERSION + 1)] == FORMATS
    assert [path.name for path in ARCHIVES] == [
        f"{name}-{how}.tar.gz" for name in FORMATS for how in ("closed", "killed")
    ]


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
async def test_it_opens_with_everything_in_it_and_goes_on(tmp_path: Path, archive: Path) -> None:
    """Records, topics, settings, producers and groups; after a second start as well."""
    data, facts = unpacked(archive, tmp_path), facts_of(archive)
    values, producer, commit = facts["values"], facts["producer"], facts["committed"]
    assert isinstance(values, dict)
    assert isinstance(producer, dict)
    assert isinstance(commit, dict)
    more: list[bytes | None] = []
    for number in range(2):
        async with a_house(data) as house:
            topic = orders(house)
            assert topic.topic_id == UUID(str(facts["topic_id"]))
            assert dict(topic.configs) == facts["configs"]
            assert [each.name for each in house.server.topics] == ["orders", "__consumer_offsets"]
            assert [len(topic.partitions), len(values)] == [3, 3]
            for partition in topic.partitions:
                expected = in_bytes(values[f"orders-{partition.index}"])
                assert all_values(partition) == expected + (more if partition.index == 0 else [])
                assert not partition.log.offline
            assert await committed(house, commit["group"], commit["topic"], commit["partition"]) == (
                commit["offset"],
                commit["metadata"],
            )
            batch = a_batch(
                [b"more"],
                producer_id=producer["id"],
                producer_epoch=producer["epoch"],
                base_sequence=producer["next_sequence"] + number,
            )
            end = topic.partitions[0].high_watermark
            for _ in range(2):  # the second time it is a retry
                result = await house.produce("orders", batch)
                assert (result.error_code, result.base_offset) == (0, end)  # type: ignore[union-attr]
            more.append(b"more")


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def test_it_is_sound_to_those_who_look_into_its_files(tmp_path: Path, archive: Path) -> None:
    data = unpacked(archive, tmp_path)
    before = tree(data)
    tidelog: Tidelog = run_here
    ended = tidelog("log", "verify", str(data), "--records", "-o", "json")
    assert (ended.code, ended.err) == (0, "")
    statuses = {report["log"]: report["status"] for report in json.loads(ended.out)}
    torn = "tail" if "killed" in archive.name else "ok"
    assert statuses == {
        "__cluster_metadata-0": "ok",
        "__consumer_offsets-0": "ok",
        "orders-0": "ok",
        "orders-1": torn,
        "orders-2": "ok",
    }
    assert tree(data) == before


@pytest.mark.parametrize("archive", ARCHIVES[:1], ids=lambda path: path.name.removesuffix(".tar.gz"))
async def test_a_topic_without_records_has_none(tmp_path: Path, archive: Path) -> None:
    async with a_house(unpacked(archive, tmp_path)) as house:
        assert readable(orders(house).partitions[2]) == []


def in_meta(old: str, new: str) -> Change:
    def change(data: Path) -> None:
        meta = data / "meta.properties"
        assert old in meta.read_text()
        meta.write_text(meta.read_text().replace(old, new))

    change.__name__ = new.strip() or f"without {old.strip()}"
    return change


def with_fact(value: bytes) -> Change:
    def change(data: Path) -> None:
        closed = (data / ".kafka_cleanshutdown").read_bytes() if (data / ".kafka_cleanshutdown").exists() else None
        directory = LogDirectory.open(RealDisk(str(data)), cluster_id=lambda: "another", now_ms=0)
        log = directory.open_log("__cluster_metadata", 0, LogConfig(), now_ms=0)
        append(log, bytes(build_batch([(None, value, (), BASE_TIMESTAMP)])))
        flush(log)
        log.close()
        directory.close()
        if closed is None:
            (data / ".kafka_cleanshutdown").unlink()

    change.__name__ = f"fact {value!r}"
    return change


UNKNOWN: tuple[Change, ...] = (
    in_meta("tidelog.format.version=1", "tidelog.format.version=2"),
    in_meta("tidelog.format.version=1\n", ""),
    in_meta("\nversion=1", "\nversion=2"),
    in_meta("node.id=1\n", "node.id=1\ntidelog.features=compressed-indexes\n"),
    with_fact(b"\x93\x63\x00\x80"),
    with_fact(b"\x93\x01\x01\x80"),
)


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
@pytest.mark.parametrize("change", UNKNOWN, ids=lambda change: change.__name__)
async def test_what_a_later_version_may_have_written_is_refused_and_not_one_byte_is_changed(
    tmp_path: Path, archive: Path, change: Change
) -> None:
    data = unpacked(archive, tmp_path)
    change(data)
    (data / ".lock").touch()
    before = tree(data)
    for _ in range(2):
        with pytest.raises((UnknownFormat, MetadataDamaged)):
            await Server(a_config(data), RealEnvironment()).start()
        assert tree(data) == before
