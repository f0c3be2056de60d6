"""The two clients of Node.js, kafkajs and @platformatic/kafka, as drivers of the compatibility suite.

Each lives in one process for the whole session (tests/compat/node/), which takes a command a line and answers with a
line: starting Node.js for every test would take longer than all tests together.
"""

import json
import select
import shutil
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import ClassVar
from uuid import UUID

from .membership import HEARTBEAT_MS, IDLE_S, METADATA_AGE_MS, SESSION_MS
from .model import (
    FETCH_WAIT_MS,
    LATEST,
    PATIENCE_S,
    Client,
    ClientFailed,
    ClusterSeen,
    ConfigChange,
    ConfigSeen,
    GroupSeen,
    Joining,
    Member,
    MemberSeen,
    NewTopic,
    OffsetSeen,
    Origin,
    Place,
    Position,
    Protocols,
    Read,
    Reading,
    Refused,
    Resource,
    Sent,
    Start,
    TopicSeen,
    Writing,
    letters,
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


class NodeMember(Member):
    """A consumer inside the process, which reads on by itself."""

    def __init__(self, client: "NodeClient", how: Joining) -> None:
        self._client = client
        self._member = client.ask(
            "openMember",
            group=how.group,
            topics=how.topics,
            pattern=how.pattern,
            protocol=how.protocol.value,
            instanceId=how.instance_id,
            commitsByItself=how.commits_by_itself,
            fromTheEnd=how.from_the_end,
            **_paces(),
        )

    def read(self, count: int) -> list[Read]:
        """Out of the process's inbox."""
        return _taken(self._client, self._member, count)

    def idle(self) -> list[Read]:
        """Out of the inbox, after a while."""
        time.sleep(IDLE_S)
        rows = self._client.ask("take", member=self._member, count=1_000_000)
        assert isinstance(rows, list)
        return [_read(row) for row in rows]

    def assigned(self) -> frozenset[Place]:
        """The last change."""
        return (self.changes() or [frozenset()])[-1]

    def changes(self) -> list[frozenset[Place]]:
        """The events of the client."""
        rows = self._client.ask("changes", member=self._member)
        assert isinstance(rows, list)
        return [frozenset((topic, partition) for topic, partition in row) for row in rows]

    def commit(self, positions: Mapping[Place, Position]) -> None:
        """By the consumer."""
        rows = [[*place, position.offset, position.metadata] for place, position in positions.items()]
        self._client.ask("commit", member=self._member, positions=rows)

    def committed(self, place: Place) -> Position | None:
        """By the consumer, or by the admin client where the consumer has no call."""
        topic, partition = place
        answer = self._client.ask("committed", member=self._member, topic=topic, partition=partition)
        assert isinstance(answer, list)
        offset, metadata = answer
        return None if offset < 0 else Position(offset, metadata)

    def seek(self, place: Place, offset: int) -> None:
        """By the consumer."""
        topic, partition = place
        self._client.ask("seek", member=self._member, topic=topic, partition=partition, offset=offset)

    def pause(self, place: Place) -> None:
        """By the consumer."""
        topic, partition = place
        self._client.ask("pause", member=self._member, topic=topic, partition=partition)

    def resume(self, place: Place) -> None:
        """By the consumer."""
        topic, partition = place
        self._client.ask("resume", member=self._member, topic=topic, partition=partition)

    def close(self) -> None:
        """Leave."""
        if self._member is not None:
            self._client.ask("closeMember", member=self._member)
            self._member = None


class NodeReader:
    """A consumer that is alone in a group of its own, and begins where it is told."""

    _groups = count(1)

    def __init__(self, client: "NodeClient", how: Reading) -> None:
        self._client = client
        self._member = client.ask(
            "openReader",
            group=f"reader-{next(self._groups)}",
            topics=sorted({topic for topic, _ in how.starts}),
            pattern=None,
            protocol=Protocols.CLASSIC.value,
            instanceId=None,
            commitsByItself=False,
            fromTheEnd=False,
            starts=[[*place, self._offset(place, start)] for place, start in how.starts.items()],
            **_paces(how),
        )

    def read(self, count: int) -> list[Read]:
        """So many records."""
        return _taken(self._client, self._member, count)

    def close(self) -> None:
        """End it."""
        self._client.ask("closeMember", member=self._member)

    def _offset(self, place: Place, start: Start) -> int:
        if start.origin is Origin.OFFSET:
            return start.number
        found = self._client.find_offset(*place, start).offset
        return found if found >= 0 else self._client.find_offset(*place, LATEST).offset


class NodeClient(Client):
    """What the two have in common."""

    script: ClassVar[str]

    def __init__(self, server: str, process: NodeProcess) -> None:
        self._server = server
        self._process = process

    def ask(self, verb: str, **args: object) -> object:
        """Let the script do it."""
        return self._process.ask(verb, self._server, args)

    def open_writer(self, how: Writing) -> NodeWriter:
        """A producer."""
        return NodeWriter(self, how)

    def open_reader(self, how: Reading) -> "NodeReader":
        """A consumer that is alone in its group."""
        return NodeReader(self, how)

    def join_group(self, how: Joining) -> "NodeMember":
        """A consumer that has subscribed."""
        return NodeMember(self, how)

    def list_groups(self) -> Mapping[str, str]:
        """ListGroups."""
        rows = self.ask("listGroups")
        assert isinstance(rows, list)
        return {group: letters(state) for group, state in rows}

    def describe_group(self, group: str) -> GroupSeen:
        """DescribeGroups."""
        seen = self.ask("describeGroup", group=group)
        assert isinstance(seen, dict)
        members = [
            MemberSeen(
                member_id=member_id,
                client_id=client_id,
                instance_id=instance_id,
                assigned=frozenset((topic, partition) for topic, partitions in assigned for partition in partitions),
            )
            for member_id, client_id, instance_id, assigned in seen["members"]
        ]
        return GroupSeen(state=letters(seen["state"]), assignor=seen["assignor"], members=tuple(members))

    def delete_group(self, group: str) -> None:
        """DeleteGroups."""
        self.ask("deleteGroup", group=group)

    def list_group_offsets(self, group: str, topic: str) -> Mapping[int, Position]:
        """OffsetFetch."""
        rows = self.ask("listGroupOffsets", group=group, topic=topic)
        assert isinstance(rows, list)
        return {partition: Position(offset, metadata) for partition, offset, metadata in rows if offset >= 0}

    def alter_group_offsets(self, group: str, positions: Mapping[Place, Position]) -> None:
        """OffsetCommit, of one topic."""
        [topic] = {topic for topic, _ in positions}
        rows = [[partition, position.offset] for (_, partition), position in positions.items()]
        self.ask("alterGroupOffsets", group=group, topic=topic, positions=rows)

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
        "a broker that is killed (kill -9) causes no rebalance, by the classic protocol": "it may join as somebody new",
        "cooperative-sticky moves only what must move": "it has no cooperative assignor",
        "a static member comes back without a rebalance, by the classic protocol": "it has no static members",
        "a topic that comes later and fits the pattern, by the classic protocol": "it looks only when it subscribes",
        "batches of codec zstd": "it brings no codec for it, and Node.js 20 has none",
        "a header without a value": "it takes none",
        "the offset of the greatest timestamp": "it has no name for it",
        "many records become few batches": "each send is a batch: it gathers none",
        "batches of codec zstd are read": "it brings no codec for it, and Node.js 20 has none",
        "the last so many records": "it has no name for it",
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
        "an offset that does not exist leads to the earliest record": "it ends with the broker's refusal",
        "partitions that are added to a topic find a reader, by the classic protocol": "it does not look for them",
        "partitions that are added to a topic find a reader, by the consumer protocol": "it dies of a TypeError",
        "a static member comes back without a rebalance, by the classic protocol": "it leaves when it is closed",
        "cooperative-sticky moves only what must move": "it has no cooperative assignor",
        "metadata of a commit": "it writes none",
        "seek to an offset": "it has no call for it",
        "pause and resume a partition": "it pauses all of them or none",
        "topics by a pattern, by the classic protocol": "it takes names only",
        "topics by a pattern, by the consumer protocol": "it takes names only",
        "a topic that comes later and fits the pattern, by the classic protocol": "it takes names only",
        "a topic that comes later and fits the pattern, by the consumer protocol": "it takes names only",
        "batches of codec zstd": "it takes the codec of Node.js, which Node.js 20 lacks",
        "many records become few batches": "each send is a batch: it gathers none",
        "headers, several of one name among them": "it keeps them by name",
        "batches of codec zstd are read": "it takes the codec of Node.js, which Node.js 20 lacks",
        "the last so many records": "it has no name for it",
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

    def join_consumer_group(self, how: Joining) -> NodeMember:
        """A consumer with groupProtocol: consumer that has subscribed."""
        return NodeMember(self, how)

    def delete_group_offsets(self, group: str, place: Place) -> None:
        """OffsetDelete."""
        topic, partition = place
        self.ask("deleteGroupOffsets", group=group, topic=topic, partition=partition)

    def remove_member(self, group: str, member_id: str) -> None:
        """LeaveGroup."""
        self.ask("removeMember", group=group, memberId=member_id)

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


def _paces(how: Reading | None = None) -> dict[str, object]:
    return {
        "sessionMs": SESSION_MS,
        "heartbeatMs": HEARTBEAT_MS,
        "fetchWaitMs": FETCH_WAIT_MS,
        "metadataAgeMs": METADATA_AGE_MS,
        "partitionBytesMax": None if how is None else how.partition_bytes_max,
        "bytesMax": None if how is None else how.bytes_max,
    }


def _taken(client: "NodeClient", member: object, count: int) -> list[Read]:
    found: list[Read] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        rows = client.ask("take", member=member, count=count - len(found))
        assert isinstance(rows, list)
        found += [_read(row) for row in rows]
        if time.monotonic() > deadline:
            raise ClientFailed(f"nothing more came after {len(found)} of {count} records")
    return found


def _read(row: dict) -> Read:
    return Read(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        timestamp_ms=row["timestampMs"],
        key=_bytes(row["key"]),
        value=_bytes(row["value"]),
        headers=tuple((name, _bytes(value)) for name, value in row["headers"]),
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)


def _base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()
