"""kafka-python's command line and `kcat -L`, unmodified: cluster, topics, configs and log directories as from Kafka."""

import json
import subprocess
import sys
import uuid

from support.process import BrokerProcess

PATIENCE_S = 60.0


def run(command: list[str], given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE_S, check=False)


def asked(broker: BrokerProcess, words: str, *, output: str = "json") -> "subprocess.CompletedProcess[bytes]":
    """What became of `kafka-python admin` with these words."""
    command = [sys.executable, "-m", "kafka.admin", "-b", broker.server, "-l", "ERROR", "--format", output]
    return run([*command, *words.split()])


def admin(broker: BrokerProcess, words: str) -> object:
    """What it prints, when it succeeds."""
    done = asked(broker, words)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def refused(broker: BrokerProcess, words: str) -> str:
    """What it says, when it fails."""
    done = asked(broker, words)
    assert done.returncode != 0, done.stdout.decode()
    return done.stderr.decode() + done.stdout.decode()


def kcat(broker: BrokerProcess, *words: str, given: bytes = b"") -> bytes:
    """What kcat prints."""
    done = run(["kcat", "-b", broker.server, *words], given)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_the_cluster_is_shown(broker: BrokerProcess) -> None:
    host, port = broker.server.split(":")
    cluster = admin(broker, "cluster describe")
    assert isinstance(cluster, dict)
    assert cluster["brokers"] == [{"broker_id": 1, "host": host, "port": int(port), "rack": None, "is_fenced": False}]
    assert cluster["controller_id"] == 1
    assert len(cluster["cluster_id"]) == 22
    quorum = admin(broker, "cluster describe-quorum")
    assert isinstance(quorum, dict)
    [partition] = quorum["topics"][0]["partitions"]
    assert (quorum["topics"][0]["topic_name"], partition["leader_id"]) == ("__cluster_metadata", 1)
    assert [voter["replica_id"] for voter in partition["current_voters"]] == [1]
    assert [(node["node_id"], node["listeners"][0]["port"]) for node in quorum["nodes"]] == [(1, int(port))]


def test_what_the_broker_is_and_has_switched_on_is_shown(broker: BrokerProcess) -> None:
    versions = admin(broker, "cluster api-versions")
    assert isinstance(versions, dict)
    assert (versions["ApiVersions"], versions["DescribeTopicPartitions"]) == ([0, 4], [0, 0])
    version = admin(broker, "cluster broker-version --broker 1")
    assert isinstance(version, dict)
    assert version["1"].startswith("4."), "guessed from the versions of the APIs"
    features = admin(broker, "cluster describe-features")
    assert isinstance(features, dict)
    level = features["metadata.version"]["finalized"][1]
    assert admin(broker, f"cluster update-features -f metadata.version={level}") == {"metadata.version": "OK"}
    assert f"only supports versions {level}" in refused(broker, "cluster update-features -f metadata.version=1")


def test_topics_are_made_shown_and_removed(broker: BrokerProcess) -> None:
    assert admin(broker, "topics list") == []
    made = admin(broker, "topics create -t orders --num-partitions 2 --replication-factor 1")
    assert isinstance(made, dict)
    [result] = made["topics"]
    assert (result["name"], result["num_partitions"], result["replication_factor"]) == ("orders", 2, 1)
    assert admin(broker, "topics list") == ["orders"]
    for wanted in ("-t orders", f"--id {result['topic_id']}"):
        described = admin(broker, f"topics describe {wanted}")
        assert isinstance(described, list)
        [topic] = described
        assert (topic["name"], uuid.UUID(topic["topic_id"])) == ("orders", uuid.UUID(result["topic_id"]))
        assert [
            (one["partition_index"], one["leader_id"], one["replica_nodes"], one["isr_nodes"], one["offline_replicas"])
            for one in topic["partitions"]
        ] == [(0, 1, [1], [1], []), (1, 1, [1], [1], [])]
    assert "Topic 'orders' already exists." in refused(broker, "topics create -t orders")
    assert "only 1 broker(s) are registered" in refused(broker, "topics create -t many --replication-factor 3")
    admin(broker, "topics delete -t orders")
    assert admin(broker, "topics list") == []


def test_configs_are_shown_and_changed(broker: BrokerProcess) -> None:
    admin(broker, "topics create -t orders")
    listed = admin(broker, "configs list")
    assert isinstance(listed, dict)
    assert (listed["topic"], listed["broker"]) == (["orders"], ["1"])
    shown = admin(broker, "configs describe -r topic -n orders")
    assert isinstance(shown, dict)
    entries = shown["topic"]["orders"]
    for name, value in (
        ("cleanup.policy", "delete"),
        ("max.message.bytes", "1048588"),
        ("segment.bytes", "1073741824"),
        ("min.insync.replicas", "1"),
        ("message.timestamp.type", "CreateTime"),
    ):
        assert (entries[name]["value"], entries[name]["config_source"]) == (value, "DEFAULT_CONFIG")
    admin(broker, "configs alter -r topic -n orders -c segment.bytes=2097152")
    changed = admin(broker, "configs describe -r topic -n orders --modified")
    assert isinstance(changed, dict)
    [(name, entry)] = changed["topic"]["orders"].items()
    assert (name, entry["value"], entry["config_source"]) == ("segment.bytes", "2097152", "DYNAMIC_TOPIC_CONFIG")
    admin(broker, "configs reset -r topic -n orders -c segment.bytes")
    assert admin(broker, "configs describe -r topic -n orders --modified") == {"topic": {"orders": {}}}
    refusal = admin(broker, "configs alter -r topic -n orders -c retention.ms=5")
    assert isinstance(refusal, dict), "which the tool does not call a failure"
    assert "Invalid value 5 for configuration retention.ms: retention is not built yet" in refusal["topic"]["orders"]
    of_broker = admin(broker, "configs describe -r broker -n 1 -c num.partitions")
    assert isinstance(of_broker, dict)
    assert of_broker["broker"]["1"]["num.partitions"]["value"] == "1"


def test_log_directories_are_shown_with_what_lies_in_them(broker: BrokerProcess) -> None:
    admin(broker, "topics create -t orders --num-partitions 2")
    kcat(broker, "-P", "-t", "orders", "-p", "1", "-X", "acks=all", given=b"x" * 5000)
    shown = admin(broker, "cluster describe-log-dirs")
    assert isinstance(shown, list)
    [node] = shown
    [directory] = node["log_dirs"]
    assert (node["broker"], directory["error_code"], directory["log_dir"]) == (1, 0, str(broker.data_dir))
    [topic] = directory["topics"]
    on_disk = {
        int(path.parent.name.removeprefix("orders-")): path.stat().st_size
        for path in broker.data_dir.glob("orders-*/*.log")
    }
    assert on_disk[1] > 5000
    assert {one["partition_index"]: one["partition_size"] for one in topic["partitions"]} == on_disk
    assert 0 < directory["usable_bytes"] < directory["total_bytes"]


def test_partitions_are_added_shown_and_stay_where_they_are(broker: BrokerProcess) -> None:
    admin(broker, "topics create -t orders --num-partitions 2")
    admin(broker, "partitions create -p orders:5 --validate-only")
    admin(broker, "partitions create -p orders:4")
    said = refused(broker, "partitions create -p orders:3")
    assert "The topic orders currently has 4 partition(s); 3 would not be an increase." in said
    page = asked(broker, "partitions describe -t orders --response-partition-limit 3", output="raw")
    assert page.returncode == 0, page.stderr.decode()
    assert page.stdout.count(b"'partition_index': ") == 4, "three partitions, and where the next page begins"
    assert admin(broker, "partitions list-reassignments") == {}
    assert admin(broker, "partitions alter-reassignments -r orders:0=1 -r orders:1=2 -r orders:2=cancel") == {
        "orders:0": None,
        "orders:1": "InvalidReplicationAssignmentError",
        "orders:2": "NoReassignmentInProgressError",
    }
    elected = admin(broker, "partitions elect-leaders -p orders:3")
    assert isinstance(elected, dict)
    assert elected["replica_election_results"][0]["partition_result"][0]["error_code"] == 84
    offsets = admin(broker, "partitions list-offsets -t orders -s latest")
    assert isinstance(offsets, dict)
    assert sorted(offsets["orders"]) == ["0", "1", "2", "3"]


def test_kcats_listing_looks_as_from_kafka(broker: BrokerProcess) -> None:
    admin(broker, "topics create -t orders --num-partitions 2")
    admin(broker, "topics create -t events")
    assert kcat(broker, "-L").decode().splitlines() == [
        f"Metadata for all topics (from broker 1: {broker.server}/1):",
        " 1 brokers:",
        f"  broker 1 at {broker.server} (controller)",
        " 2 topics:",
        '  topic "orders" with 2 partitions:',
        "    partition 0, leader 1, replicas: 1, isrs: 1",
        "    partition 1, leader 1, replicas: 1, isrs: 1",
        '  topic "events" with 1 partitions:',
        "    partition 0, leader 1, replicas: 1, isrs: 1",
    ]
    assert kcat(broker, "-L", "-t", "events").decode().splitlines()[3:] == [
        " 1 topics:",
        '  topic "events" with 1 partitions:',
        "    partition 0, leader 1, replicas: 1, isrs: 1",
    ]
    unknown = kcat(broker, "-L", "-t", "no.such.topic", "-X", "allow.auto.create.topics=false").decode()
    assert '  topic "no.such.topic" with 0 partitions: Broker: Unknown topic or partition' in unknown
