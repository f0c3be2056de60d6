"""What each client's admin calls do and show: said to the broker by one client, and looked at by another one."""

from base64 import urlsafe_b64encode
from uuid import UUID

import pytest

from support.clients.confluent import ConfluentClient
from support.clients.features import READS_BACK, Case, feature
from support.clients.house import Clients, batches, fresh_name, of_partition, read, write
from support.clients.model import EARLIEST, Client, ConfigChange, NewTopic, Refused, Resource, Sent
from support.clients.pure_python import PythonClient
from tidelog.protocol.apis import KAFKA_APIS
from tidelog.protocol.errors import ErrorCode

SECTION = "Admin"
NODE = 1
DYNAMIC_TOPIC, DYNAMIC_BROKER, STATIC_BROKER, DEFAULT = 1, 2, 4, 5
BROKER_CONFIG = "max.connections"


def witness(clients: Clients, case: Case) -> Client:
    """Another client, which has every call by which to look."""
    return clients.open(PythonClient if case.kind is ConfluentClient else ConfluentClient)


def configs_of(client: Client, topic: str) -> dict[str, str | None]:
    """Those of the topic's configs that were set for it."""
    seen = client.describe_configs(Resource.TOPIC, topic)
    return {name: config.value for name, config in seen.items() if config.source == DYNAMIC_TOPIC}


# -- topics --


@feature(SECTION, "create a topic, with partitions and configs", verb="create_topic")
def test_create_a_topic(clients: Clients, case: Case) -> None:
    """L-17."""
    topic = fresh_name()
    wanted = {"segment.bytes": "3600000", "message.timestamp.type": "LogAppendTime"}
    clients.open(case.kind).create_topic(NewTopic(name=topic, partitions=3, configs=wanted))
    other = witness(clients, case)
    assert other.describe_topic(topic).leaders == {0: NODE, 1: NODE, 2: NODE}
    assert configs_of(other, topic) == wanted


@feature(SECTION, "a topic that cannot be is refused, with the reason", verb="create_topic")
def test_a_topic_that_cannot_be(clients: Clients, case: Case) -> None:
    """L-16, L-17."""
    client = clients.open(case.kind)
    topic = clients.topic()
    for wanted, code in (
        (NewTopic(name=topic), ErrorCode.TOPIC_ALREADY_EXISTS),
        (NewTopic(name="no:colons"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic(name=topic.replace("-", "."), partitions=0), ErrorCode.INVALID_PARTITIONS),
        (NewTopic(name=fresh_name(), replication_factor=3), ErrorCode.INVALID_REPLICATION_FACTOR),
        (NewTopic(name=fresh_name(), configs={"segment.bites": "1"}), ErrorCode.INVALID_CONFIG),
        (NewTopic(name=fresh_name(), configs={"segment.bytes": "soon"}), ErrorCode.INVALID_CONFIG),
    ):
        with pytest.raises(Refused) as refused:
            client.create_topic(wanted)
        assert refused.value.code is code
        if wanted.name != topic:
            assert wanted.name not in witness(clients, case).list_topics()


@feature(SECTION, "validate a topic without creating it", verb="validate_topic")
def test_validate_a_topic(clients: Clients, case: Case) -> None:
    client = clients.open(case.kind)
    topic = fresh_name()
    client.validate_topic(NewTopic(name=topic))
    assert topic not in witness(clients, case).list_topics()
    with pytest.raises(Refused) as refused:
        client.validate_topic(NewTopic(name=topic, replication_factor=2))
    assert refused.value.code is ErrorCode.INVALID_REPLICATION_FACTOR


@feature(SECTION, "delete a topic", verb="delete_topic")
def test_delete_a_topic(clients: Clients, case: Case) -> None:
    client = clients.open(case.kind)
    topic, other = clients.topic(), clients.topic()
    client.delete_topic(topic)
    seen = witness(clients, case).list_topics()
    assert topic not in seen
    assert other in seen
    assert list(clients.broker.data_dir.glob(f"{topic}-0")) == []
    with pytest.raises(Refused) as refused:
        client.delete_topic(topic)
    assert refused.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@feature(SECTION, "describe and delete a topic by its id", verb="delete_topic_by_id")
def test_a_topic_by_its_id(clients: Clients, case: Case) -> None:
    client = clients.open(case.kind)
    topic, other = clients.topic(partitions=2), clients.topic()
    topic_id = witness(clients, case).describe_topic(topic).topic_id
    assert topic_id is not None
    assert client.describe_topic_by_id(topic_id).leaders == {0: NODE, 1: NODE}
    client.delete_topic_by_id(topic_id)
    seen = witness(clients, case).list_topics()
    assert topic not in seen
    assert other in seen
    with pytest.raises(Refused) as refused:
        client.delete_topic_by_id(topic_id)
    assert refused.value.code is ErrorCode.UNKNOWN_TOPIC_ID


@feature(SECTION, "add partitions to a topic", verb="create_partitions")
def test_add_partitions(clients: Clients, case: Case) -> None:
    """L-17: what was there stays, the new ones take records."""
    client = clients.open(case.kind)
    topic = clients.topic(partitions=2)
    other = clients.open(READS_BACK[case.kind])
    write(other, topic, [Sent(key=b"k", value=b"before", partition=1)])
    client.create_partitions(topic, 5)
    assert sorted(witness(clients, case).describe_topic(topic).leaders) == [0, 1, 2, 3, 4]
    write(other, topic, [Sent(key=b"k", value=b"after", partition=4)])
    for partition, value in ((1, b"before"), (4, b"after")):
        [found] = read(witness(clients, case), of_partition(topic, EARLIEST, partition), 1)
        assert (found.offset, found.value) == (0, value)
    with pytest.raises(Refused) as refused:
        client.create_partitions(topic, 4)
    assert refused.value.code is ErrorCode.INVALID_PARTITIONS


@feature(SECTION, "validate new partitions without adding them", verb="validate_partitions")
def test_validate_new_partitions(clients: Clients, case: Case) -> None:
    client = clients.open(case.kind)
    topic = clients.topic(partitions=2)
    client.validate_partitions(topic, 3)
    with pytest.raises(Refused) as refused:
        client.validate_partitions(topic, 1)
    assert refused.value.code is ErrorCode.INVALID_PARTITIONS
    assert sorted(witness(clients, case).describe_topic(topic).leaders) == [0, 1]


@feature(SECTION, "list the topics", verb="list_topics")
def test_list_the_topics(clients: Clients, case: Case) -> None:
    topics = {clients.topic() for _ in range(3)}
    client = clients.open(case.kind)
    assert topics <= client.list_topics()
    gone = topics.pop()
    clients.open(ConfluentClient).delete_topic(gone)
    assert gone not in client.list_topics()


@feature(SECTION, "describe a topic", verb="describe_topic")
def test_describe_a_topic(clients: Clients, case: Case) -> None:
    """B-11 of the negotiation rules: every topic has a random id of version 4."""
    topic = clients.topic(partitions=4)
    seen = clients.open(case.kind).describe_topic(topic)
    assert seen.name == topic
    assert seen.leaders == dict.fromkeys(range(4), NODE)
    assert seen.replicas == dict.fromkeys(range(4), (NODE,))
    if seen.topic_id is not None:
        said = (clients.broker.data_dir / f"{topic}-0" / "partition.metadata").read_text()
        assert seen.topic_id.version == 4
        assert _base64(seen.topic_id) in said


@feature(SECTION, "describe a topic page by page (DescribeTopicPartitions)", verb="describe_topic_partitions")
def test_describe_a_topic_page_by_page(clients: Clients, case: Case) -> None:
    topic = clients.topic(partitions=5)
    seen = clients.open(case.kind).describe_topic_partitions(topic)
    assert seen.leaders == dict.fromkeys(range(5), NODE)
    assert seen.topic_id == witness(clients, case).describe_topic(topic).topic_id


# -- the cluster --


@feature(SECTION, "describe the cluster", verb="describe_cluster")
def test_describe_the_cluster(clients: Clients, case: Case) -> None:
    """The address is the one that was dialled."""
    seen = clients.open(case.kind).describe_cluster()
    assert seen.nodes == {NODE: clients.broker.server}
    assert seen.controller == NODE
    said = (clients.broker.data_dir / "meta.properties").read_text()
    assert seen.cluster_id is None or f"cluster.id={seen.cluster_id}\n" in said


@feature(SECTION, "show which versions are served (ApiVersions)", verb="api_versions")
def test_show_which_versions_are_served(clients: Clients, case: Case) -> None:
    seen = clients.open(case.kind).api_versions()
    assert seen == {int(key): (api.advertised_min, api.versions.max) for key, api in KAFKA_APIS.items()}


@feature(SECTION, "describe the features", verb="describe_features")
def test_describe_the_features(clients: Clients, case: Case) -> None:
    assert clients.open(case.kind).describe_features()["metadata.version"] > 0


@feature(SECTION, "update a feature", verb="update_feature")
def test_update_a_feature(clients: Clients, case: Case) -> None:
    client = clients.open(case.kind)
    level = client.describe_features()["metadata.version"]
    client.update_feature("metadata.version", level)
    with pytest.raises(Exception, match=r"(?i)feature"):
        client.update_feature("no.such.feature", 1)
    assert client.describe_features()["metadata.version"] == level


@feature(SECTION, "describe the metadata's quorum", verb="describe_quorum")
def test_describe_the_quorum(clients: Clients, case: Case) -> None:
    client = clients.open(case.kind)
    before = client.describe_quorum()
    clients.topic()
    after = client.describe_quorum()
    assert (after.leader, after.voters) == (NODE, (NODE,))
    assert after.high_watermark > before.high_watermark


@feature(SECTION, "describe the log directories", verb="describe_log_dirs")
def test_describe_the_log_directories(clients: Clients, case: Case) -> None:
    topic = clients.topic(partitions=2)
    write(clients.open(READS_BACK[case.kind]), topic, [Sent(key=b"k", value=b"x" * 5_000, partition=1)])
    sizes = clients.open(case.kind).describe_log_dirs(topic)
    assert sizes == {0: 0, 1: sum(header.size for header in batches(clients.broker, topic, 1))}


# -- configs --


@feature(SECTION, "describe the configs of a topic", verb="describe_configs")
def test_describe_the_configs_of_a_topic(clients: Clients, case: Case) -> None:
    """L-18: all of them, each with where it comes from."""
    topic = clients.topic(segment_bytes="7200000")
    seen = clients.open(case.kind).describe_configs(Resource.TOPIC, topic)
    assert (seen["segment.bytes"].value, seen["segment.bytes"].source) == ("7200000", DYNAMIC_TOPIC)
    assert (seen["max.message.bytes"].value, seen["max.message.bytes"].source) == ("1048588", DEFAULT)
    assert {"cleanup.policy", "compression.type", "min.insync.replicas", "retention.ms"} <= set(seen)
    assert not seen["segment.bytes"].is_read_only
    assert not any(config.is_sensitive for config in seen.values())


@feature(SECTION, "the configs of an unknown topic are refused", verb="describe_configs")
def test_the_configs_of_an_unknown_topic(clients: Clients, case: Case) -> None:
    with pytest.raises(Refused) as refused:
        clients.open(case.kind).describe_configs(Resource.TOPIC, fresh_name())
    assert refused.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@feature(SECTION, "describe the configs of the broker", verb="describe_configs")
def test_describe_the_configs_of_the_broker(clients: Clients, case: Case) -> None:
    seen = clients.open(case.kind).describe_configs(Resource.BROKER, str(NODE))
    assert (seen["node.id"].value, seen["node.id"].is_read_only) == (str(NODE), True)
    assert seen["listeners"].source == STATIC_BROKER
    assert clients.broker.server in str(seen["listeners"].value)
    assert {"num.partitions", "log.retention.ms", "message.max.bytes"} <= set(seen)


@feature(SECTION, "alter the configs of a topic (AlterConfigs)", verb="alter_configs")
def test_alter_the_configs_of_a_topic(clients: Clients, case: Case) -> None:
    """What is not named goes back to its default."""
    client = clients.open(case.kind)
    topic = clients.topic()
    client.alter_configs(Resource.TOPIC, topic, {"segment.bytes": "1000000", "max.message.bytes": "5000"})
    other = witness(clients, case)
    assert configs_of(other, topic) == {"segment.bytes": "1000000", "max.message.bytes": "5000"}
    with pytest.raises(Exception, match=r"(?i)too.?large|larger"):
        write(other, topic, [Sent(key=b"k", value=b"x" * 6_000)])
    with pytest.raises(Refused) as refused:
        client.alter_configs(Resource.TOPIC, topic, {"max.message.bytes": "many"})
    assert refused.value.code is ErrorCode.INVALID_CONFIG
    client.alter_configs(Resource.TOPIC, topic, {"max.message.bytes": "7000"})
    left = configs_of(other, topic)
    assert left["max.message.bytes"] == "7000"
    if case.kind is not PythonClient:  # which sends along what is set already
        assert set(left) == {"max.message.bytes"}
    write(other, topic, [Sent(key=b"k", value=b"x" * 6_000)])


@feature(SECTION, "change single configs of a topic (IncrementalAlterConfigs)", verb="change_configs")
def test_change_single_configs_of_a_topic(clients: Clients, case: Case) -> None:
    """L-18: set, delete, append, subtract."""
    client = clients.open(case.kind)
    topic = clients.topic(segment_bytes="1000000")
    other = witness(clients, case)
    client.change_configs(Resource.TOPIC, topic, ConfigChange(set_to={"max.message.bytes": "5000"}))
    assert configs_of(other, topic) == {"segment.bytes": "1000000", "max.message.bytes": "5000"}
    with pytest.raises(Exception, match=r"(?i)too.?large|larger"):
        write(other, topic, [Sent(key=b"k", value=b"x" * 6_000)])
    client.change_configs(Resource.TOPIC, topic, ConfigChange(delete=["max.message.bytes"]))
    assert configs_of(other, topic) == {"segment.bytes": "1000000"}
    write(other, topic, [Sent(key=b"k", value=b"x" * 6_000)])
    for change in (ConfigChange(append={"segment.bytes": "1"}), ConfigChange(set_to={"no.such.config": "1"})):
        with pytest.raises(Refused) as refused:
            client.change_configs(Resource.TOPIC, topic, change)
        assert refused.value.code is ErrorCode.INVALID_CONFIG
    assert configs_of(other, topic) == {"segment.bytes": "1000000"}


@feature(SECTION, "alter the configs of the broker", verb="alter_configs")
def test_alter_the_configs_of_the_broker(clients: Clients, case: Case) -> None:
    client, other = clients.open(case.kind), witness(clients, case)
    before = other.describe_configs(Resource.BROKER, str(NODE))[BROKER_CONFIG].value
    client.alter_configs(Resource.BROKER, str(NODE), {BROKER_CONFIG: "7777"})
    seen = other.describe_configs(Resource.BROKER, str(NODE))[BROKER_CONFIG]
    assert (seen.value, seen.source) == ("7777", DYNAMIC_BROKER)
    with pytest.raises(Refused) as refused:
        client.alter_configs(Resource.BROKER, str(NODE), {"node.id": "9"})
    assert refused.value.code is ErrorCode.INVALID_REQUEST
    other.change_configs(Resource.BROKER, str(NODE), ConfigChange(delete=[BROKER_CONFIG]))
    assert other.describe_configs(Resource.BROKER, str(NODE))[BROKER_CONFIG].value == before


@feature(SECTION, "change single configs of the broker", verb="change_configs")
def test_change_single_configs_of_the_broker(clients: Clients, case: Case) -> None:
    client, other = clients.open(case.kind), witness(clients, case)
    before = other.describe_configs(Resource.BROKER, str(NODE))[BROKER_CONFIG].value
    client.change_configs(Resource.BROKER, str(NODE), ConfigChange(set_to={BROKER_CONFIG: "7778"}))
    seen = other.describe_configs(Resource.BROKER, str(NODE))[BROKER_CONFIG]
    assert (seen.value, seen.source) == ("7778", DYNAMIC_BROKER)
    client.change_configs(Resource.BROKER, str(NODE), ConfigChange(delete=[BROKER_CONFIG]))
    assert other.describe_configs(Resource.BROKER, str(NODE))[BROKER_CONFIG].value == before


@feature(SECTION, "list what has configs (ListConfigResources)", verb="list_config_resources")
def test_list_what_has_configs(clients: Clients, case: Case) -> None:
    topic = clients.topic()
    seen = clients.open(case.kind).list_config_resources()
    assert topic in seen[Resource.TOPIC]
    assert seen[Resource.BROKER] == {str(NODE)}


# -- partitions --


@feature(SECTION, "elect the preferred leader", verb="elect_leader")
def test_elect_the_preferred_leader(clients: Clients, case: Case) -> None:
    """It leads already; a partition that is not there is another answer."""
    client = clients.open(case.kind)
    topic = clients.topic()
    for partition, code in ((0, ErrorCode.ELECTION_NOT_NEEDED), (5, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)):
        with pytest.raises(Refused) as refused:
            client.elect_leader(topic, partition)
        assert refused.value.code is code


@feature(SECTION, "list the reassignments", verb="list_reassignments")
def test_list_the_reassignments(clients: Clients, case: Case) -> None:
    clients.topic()
    assert clients.open(case.kind).list_reassignments() == {}


@feature(SECTION, "move a partition", verb="reassign")
def test_move_a_partition(clients: Clients, case: Case) -> None:
    """To where it is already; to a node that is not there."""
    client = clients.open(case.kind)
    topic = clients.topic()
    client.reassign(topic, 0, [NODE])
    with pytest.raises(Refused) as refused:
        client.reassign(topic, 0, [NODE + 6])
    assert refused.value.code is ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert witness(clients, case).describe_topic(topic).replicas == {0: (NODE,)}


@feature(SECTION, "cancel the move of a partition", verb="cancel_reassignment")
def test_cancel_the_move_of_a_partition(clients: Clients, case: Case) -> None:
    """There is none."""
    topic = clients.topic()
    with pytest.raises(Refused) as refused:
        clients.open(case.kind).cancel_reassignment(topic, 0)
    assert refused.value.code is ErrorCode.NO_REASSIGNMENT_IN_PROGRESS


def _base64(topic_id: UUID) -> str:
    return urlsafe_b64encode(topic_id.bytes).decode().rstrip("=")
