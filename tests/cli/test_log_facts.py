"""What the cluster's metadata says of the logs beside it, and when that is not to be relied on."""

from pathlib import Path
from uuid import UUID

from support.data_directory import id_of, make_directory
from tidelog.broker.metadata.records import ConfigsChanged, PartitionsAdded, ResourceType, TopicCreated, TopicDeleted
from tidelog.cli.log_facts import read_facts
from tidelog.cli.log_files import METADATA_LOG
from tidelog.storage.disk import RealDisk

ORDERS, OLD, NEW = id_of("orders"), UUID(int=5), UUID(int=6)
FACTS = (
    TopicCreated(name="orders", topic_id=ORDERS, partitions=1),
    TopicCreated(name="twice", topic_id=OLD, partitions=1),
    TopicDeleted(OLD),
    TopicCreated(name="twice", topic_id=NEW, partitions=1),
    TopicCreated(name="gone", topic_id=UUID(int=7), partitions=1),
    TopicDeleted(UUID(int=7)),
    PartitionsAdded(ORDERS, 3),
    ConfigsChanged(resource_type=ResourceType.TOPIC, resource_name="orders", configs={"retention.ms": "1"}),
)


def a_disk(tmp_path: Path) -> RealDisk:
    disk = RealDisk(str(tmp_path))
    make_directory(disk, [], facts=FACTS)
    return disk


def test_it_follows_the_facts_as_the_broker_does(tmp_path: Path) -> None:
    facts = read_facts(a_disk(tmp_path))
    assert facts.is_whole
    assert facts.findings == []
    assert facts.directories() == ["orders-0", "orders-1", "orders-2", "twice-0"]


def test_a_directory_has_an_id_only_if_its_name_never_meant_another_topic(tmp_path: Path) -> None:
    facts = read_facts(a_disk(tmp_path))
    assert [facts.topic_id(f"orders-{index}") for index in range(4)] == [ORDERS] * 3 + [None]
    assert facts.topic_id("twice-0") is None
    assert facts.topic_id("gone-0") is None
    assert facts.topic_id("stranger-0") is None


def test_of_metadata_that_is_not_whole_nothing_is_concluded(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    segment = tmp_path / METADATA_LOG / f"{0:020d}.log"
    content = bytearray(segment.read_bytes())
    content[100] ^= 1
    segment.write_bytes(content)
    facts = read_facts(disk)
    assert not facts.is_whole
    assert facts.topic_id("orders-0") is None
    assert not read_facts(RealDisk(str(tmp_path / "nowhere"))).is_whole
