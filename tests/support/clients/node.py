"""The two clients of Node.js, kafkajs and @platformatic/kafka, as drivers of the compatibility suite.

Each lives in one process for the whole session (tests/compat/node/), which takes a command a line and answers with a
line: starting Node.js for every test would take longer than all tests together.
"""

import json
import select
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from .model import (
    PATIENCE_S,
    Client,
    ClientFailed,
    ClusterSeen,
    ConfigChange,
    ConfigSeen,
    NewTopic,
    OffsetSeen,
    Origin,
    Refused,
    Resource,
    Sent,
    Start,
    TopicSeen,
    Writing,
)

FOLDER = Path(__file__).resolve().parents[2] / "compat" / "node"
PINNED: Mapping[str, str] = json.loads((FOLDER / "package.json").read_text())["dependencies"]
OPERATIONS = {"set": 0, "delete": 1, "append": 2, "subtract": 3}
"""IncrementalAlterConfigs' numbers."""


class NodeProcess:
    """One driver script, as long as the session lasts."""

    def __init__(self, script: str) -> None:
        if shutil.which("node") is None:
            raise AssertionError("node is missing: the compatibility suite needs Node.js 20 or newer")
        if not (FOLDER / "node_modules").is_dir():
            raise AssertionError(f"the clients in Node.js are not installed: npm ci --prefix {FOLDER}")
        self._process = subprocess.Popen(
            ["node", str(FOLDER / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def ask(self, verb: str, server: str, args: Mapping[str, object]) -> object:
        """Do it, and return what the script answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        command = json.dumps({"verb": verb, "server": server, "args": args})
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        readable, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            # Nobody knows any more which answer would come next.
            raise AssertionError(f"no answer to {verb}: {self.end()}")
        answer = json.loads(line)
        if "refused" in answer:
            raise Refused(*answer["refused"])
        if "failed" in answer:
            raise ClientFailed(answer["failed"])
        return answer["value"]

    def end(self) -> str:
        """Kill it; returns what it wrote to stderr."""
        self._process.kill()
        _, said = self._process.communicate()
        return said.decode()


class NodeWriter:
    """A producer inside the process."""

    def __init__(self, client: "NodeClient", how: Writing) -> None:
        self._client = client
        self._writer = client.ask(
            "openWriter",
            codec=how.codec,
            acks=how.acks,
            idempotent=how.idempotent,
            createsTopics=how.creates_topics,
        )

    def send(self, topic: str, records: Sequence[Sent]) -> Mapping[int, int]:
        """Write them: one request, and so one batch for each partition."""
        spelled = [
            {
                "key": _base64(record.key),
                "value": _base64(record.value),
                "headers": [[name, _base64(value)] for name, value in record.headers],
                "partition": record.partition,
                "timestampMs": record.timestamp_ms,
            }
            for record in records
        ]
        answer = self._client.ask("send", writer=self._writer, topic=topic, records=spelled)
        assert isinstance(answer, list)
        return dict(answer)

    def close(self) -> None:
        """End it."""
        self._client.ask("closeWriter", writer=self._writer)


class NodeClient(Client):
    """What the two have in common."""

    script: ClassVar[str]
    reads_in_groups_only: ClassVar[bool] = True

    def __init__(self, server: str, process: NodeProcess) -> None:
        self._server = server
        self._process = process

    def ask(self, verb: str, **args: object) -> object:
        """Let the script do it."""
        return self._process.ask(verb, self._server, args)

    def open_writer(self, how: Writing) -> NodeWriter:
        """A producer."""
        return NodeWriter(self, how)

    def create_topic(self, topic: NewTopic) -> None:
        """CreateTopics."""
        self.ask("createTopic", **_new(topic))

    def delete_topic(self, topic: str) -> None:
        """DeleteTopics."""
        self.ask("deleteTopic", topic=topic)

    def create_partitions(self, topic: str, count: int) -> None:
        """CreatePartitions."""
        self.ask("createPartitions", topic=topic, count=count, validateOnly=False)

    def validate_partitions(self, topic: str, count: int) -> None:
        """CreatePartitions, validate only."""
        self.ask("createPartitions", topic=topic, count=count, validateOnly=True)

    def list_topics(self) -> set[str]:
        """Metadata."""
        answer = self.ask("listTopics")
        assert isinstance(answer, list)
        return set(answer)

    def describe_topic(self, topic: str) -> TopicSeen:
        """Metadata."""
        rows = self.ask("describeTopic", topic=topic)
        assert isinstance(rows, list)
        return TopicSeen(
            name=topic,
            leaders={partition: leader for partition, leader, _ in rows},
            replicas={partition: tuple(replicas) for partition, _, replicas in rows},
        )

    def describe_cluster(self) -> ClusterSeen:
        """Metadata."""
        seen = self.ask("describeCluster")
        assert isinstance(seen, dict)
        return ClusterSeen(
            nodes={node["nodeId"]: f"{node['host']}:{node['port']}" for node in seen["brokers"]},
            controller=seen["controller"],
            cluster_id=seen["clusterId"],
        )

    def describe_configs(self, resource: Resource, name: str) -> Mapping[str, ConfigSeen]:
        """DescribeConfigs."""
        rows = self.ask("describeConfigs", type=resource.value, name=name)
        assert isinstance(rows, list)
        return {
            config: ConfigSeen(value=value, source=source, is_read_only=is_read_only, is_sensitive=is_sensitive)
            for config, value, source, is_read_only, is_sensitive in rows
        }

    def alter_configs(self, resource: Resource, name: str, configs: Mapping[str, str]) -> None:
        """AlterConfigs."""
        self.ask("alterConfigs", type=resource.value, name=name, configs=configs)

    def find_offset(self, topic: str, partition: int, start: Start) -> OffsetSeen:
        """ListOffsets."""
        named = {Origin.EARLIEST: -2, Origin.LATEST: -1, Origin.MAX_TIMESTAMP: -3}
        asked = named.get(start.origin, start.number)
        offset = self.ask("findOffset", topic=topic, partition=partition, timestampMs=asked)
        assert isinstance(offset, int)
        return OffsetSeen(offset, None)

    def close(self) -> None:
        """Let the script forget its admin client."""
        self.ask("forget")


class KafkaJsClient(NodeClient):
    """kafkajs."""

    name: ClassVar[str] = "kafkajs"
    version: ClassVar[str] = PINNED["kafkajs"]
    cannot: ClassVar[Mapping[str, str]] = {
        "batches of codec zstd": "it brings no codec for it, and Node.js 20 has none",
        "a header without a value": "it takes none",
        "the offset of the greatest timestamp": "it has no name for it",
        "many records become few batches": "each send is a batch: it gathers none",
    }
    script: ClassVar[str] = "kafkajs.mjs"

    def validate_topic(self, topic: NewTopic) -> None:
        """CreateTopics, validate only."""
        self.ask("validateTopic", **_new(topic))

    def list_reassignments(self) -> Mapping[tuple[str, int], tuple[int, ...]]:
        """ListPartitionReassignments."""
        rows = self.ask("listReassignments")
        assert isinstance(rows, list)
        return {(topic, partition): tuple(replicas) for topic, partition, replicas in rows}

    def reassign(self, topic: str, partition: int, replicas: Sequence[int]) -> None:
        """AlterPartitionReassignments."""
        self.ask("reassign", topic=topic, partition=partition, replicas=list(replicas))


class PlatformaticClient(NodeClient):
    """@platformatic/kafka."""

    name: ClassVar[str] = "@platformatic/kafka"
    version: ClassVar[str] = PINNED["@platformatic/kafka"]
    cannot: ClassVar[Mapping[str, str]] = {
        "batches of codec zstd": "it takes the codec of Node.js, which Node.js 20 lacks",
        "many records become few batches": "each send is a batch: it gathers none",
        "headers, several of one name among them": "it keeps them by name",
    }
    script: ClassVar[str] = "platformatic.mjs"

    def describe_topic(self, topic: str) -> TopicSeen:
        """Metadata with topic ids."""
        seen = super().describe_topic(topic)
        topic_id = self.ask("topicId", topic=topic)
        return TopicSeen(name=topic, leaders=seen.leaders, replicas=seen.replicas, topic_id=UUID(str(topic_id)))

    def change_configs(self, resource: Resource, name: str, change: ConfigChange) -> None:
        """IncrementalAlterConfigs."""
        changes = [
            *((config, OPERATIONS["set"], value) for config, value in change.set_to.items()),
            *((config, OPERATIONS["delete"], None) for config in change.delete),
            *((config, OPERATIONS["append"], value) for config, value in change.append.items()),
            *((config, OPERATIONS["subtract"], value) for config, value in change.subtract.items()),
        ]
        self.ask("changeConfigs", type=resource.value, name=name, changes=changes)

    def describe_log_dirs(self, topic: str) -> Mapping[int, int]:
        """DescribeLogDirs."""
        partitions = sorted(self.describe_topic(topic).leaders)
        rows = self.ask("describeLogDirs", topic=topic, partitions=partitions)
        assert isinstance(rows, list)
        return dict(rows)


def _new(topic: NewTopic) -> dict[str, object]:
    return {
        "name": topic.name,
        "partitions": topic.partitions,
        "replicationFactor": topic.replication_factor,
        "configs": dict(topic.configs),
    }


def _base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()
