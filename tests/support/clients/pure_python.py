"""kafka-python as a driver of the compatibility suite."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import ClassVar, TypeVar
from uuid import UUID

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition, errors
from kafka.admin import ConfigResource, MemberToRemove, OffsetSpec
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import BrokerResponseError, KafkaError

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
    MemberSeen,
    NewTopic,
    OffsetSeen,
    Origin,
    Place,
    Position,
    QuorumSeen,
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
from .python_member import PythonMember

Answer = TypeVar("Answer")
PREFERRED = 0
REQUEST_SIZE_MAX = 4 << 20
SOURCES = {
    "DYNAMIC_TOPIC_CONFIG": 1,
    "DYNAMIC_BROKER_CONFIG": 2,
    "DYNAMIC_DEFAULT_BROKER_CONFIG": 3,
    "STATIC_BROKER_CONFIG": 4,
    "DEFAULT_CONFIG": 5,
}


class PythonWriter:
    """A KafkaProducer."""

    def __init__(self, server: str, how: Writing) -> None:
        self._producer = KafkaProducer(
            bootstrap_servers=server,
            acks="all" if how.acks == -1 else how.acks,
            compression_type=None if how.codec == "none" else how.codec,
            enable_idempotence=how.idempotent,
            linger_ms=how.linger_ms,
            batch_size=16_384 if how.batch_size is None else how.batch_size,
            max_request_size=REQUEST_SIZE_MAX,
        )
        self._is_answered = how.acks != 0

    def send(self, topic: str, records: Sequence[Sent]) -> Mapping[int, int]:
        """Write them and wait for the answers."""
        return _guarded(lambda: self._send(topic, records))

    def close(self) -> None:
        """End it."""
        self._producer.close(PATIENCE_S)

    def _send(self, topic: str, records: Sequence[Sent]) -> Mapping[int, int]:
        futures = [
            self._producer.send(
                topic,
                record.value,
                key=record.key,
                partition=record.partition,
                timestamp_ms=record.timestamp_ms,
                headers=list(record.headers),
            )
            for record in records
        ]
        self._producer.flush(PATIENCE_S)
        first: dict[int, int] = {}
        for future in futures:
            answer = future.get(PATIENCE_S)
            if self._is_answered:
                first[answer.partition] = min(answer.offset, first.get(answer.partition, answer.offset))
        return first


class PythonReader:
    """A KafkaConsumer whose partitions are assigned by hand."""

    def __init__(self, server: str, how: Reading) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=server,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            consumer_timeout_ms=int(PATIENCE_S * 1000),
            max_partition_fetch_bytes=how.partition_bytes_max or 1 << 20,
            fetch_max_bytes=how.bytes_max or 50 << 20,
        )
        self._consumer.assign([TopicPartition(topic, partition) for topic, partition in how.starts])
        for (topic, partition), start in how.starts.items():
            self._seek(TopicPartition(topic, partition), start)

    def read(self, count: int) -> list[Read]:
        """So many records."""
        return _guarded(lambda: self._read(count))

    def close(self) -> None:
        """End it."""
        self._consumer.close(autocommit=False)

    def _read(self, count: int) -> list[Read]:
        found: list[Read] = []
        while len(found) < count:
            record = next(self._consumer, None)
            if record is None:
                raise ClientFailed("nothing more came")
            found.append(_read(record))
        return found

    def _seek(self, place: TopicPartition, start: Start) -> None:
        match start.origin:
            case Origin.EARLIEST:
                self._consumer.seek_to_beginning(place)
            case Origin.LATEST:
                self._consumer.seek_to_end(place)
                self._consumer.position(place)
            case Origin.OFFSET:
                self._consumer.seek(place, start.number)
            case _:
                found = self._consumer.offsets_for_times({place: start.number})[place]
                if found is not None:
                    self._consumer.seek(place, found.offset)
                else:
                    self._seek(place, LATEST)


class PythonClient(Client):
    """KafkaProducer, KafkaConsumer and KafkaAdminClient."""

    name: ClassVar[str] = "kafka-python"
    version: ClassVar[str] = version("kafka-python")
    cannot: ClassVar[Mapping[str, str]] = {
        "a header without a value": "it takes none",
        "the last so many records": "it has no name for it",
        "the configs of an unknown topic are refused": "it shows an empty answer",
    }

    def __init__(self, server: str) -> None:
        self._server = server
        self._made: KafkaAdminClient | None = None

    def open_writer(self, how: Writing) -> PythonWriter:
        """A producer."""
        return _guarded(lambda: PythonWriter(self._server, how))

    def open_reader(self, how: Reading) -> PythonReader:
        """A consumer."""
        return PythonReader(self._server, how)

    def join_group(self, how: Joining) -> PythonMember:
        """A consumer that has subscribed."""
        return PythonMember(self._server, how, _read)

    def list_groups(self) -> Mapping[str, str]:
        """ListGroups."""
        return {row["group_id"]: letters(row["group_state"]) for row in _guarded(self._admin.list_groups)}

    def describe_group(self, group: str) -> GroupSeen:
        """DescribeGroups."""
        seen = _guarded(lambda: self._admin.describe_groups([group]))[group]
        if seen["error"]:
            told = re.search(r"\[Error (\d+)\]", seen["error"])
            assert told is not None, seen
            raise Refused(int(told[1]), seen["error"])
        members = [
            MemberSeen(
                member_id=member["member_id"],
                client_id=member["client_id"],
                instance_id=member["group_instance_id"],
                assigned=frozenset(
                    (row["topic"], partition)
                    for row in (member["member_assignment"] or {"assigned_partitions": ()})["assigned_partitions"]
                    for partition in row["partitions"]
                ),
            )
            for member in seen["members"]
        ]
        return GroupSeen(state=letters(seen["group_state"]), assignor=seen["protocol_data"], members=tuple(members))

    def delete_group(self, group: str) -> None:
        """DeleteGroups."""
        outcome = _guarded(lambda: self._admin.delete_groups([group]))[group]
        if outcome != "OK":
            raise Refused(getattr(errors, outcome).errno)

    def list_group_offsets(self, group: str, topic: str) -> Mapping[int, Position]:
        """OffsetFetch."""
        seen = _guarded(lambda: self._admin.list_group_offsets(group))[group]
        return {
            place.partition: Position(found.offset, found.metadata)
            for place, found in seen.items()
            if place.topic == topic
        }

    def alter_group_offsets(self, group: str, positions: Mapping[Place, Position]) -> None:
        """OffsetCommit."""
        offsets = {
            TopicPartition(*place): OffsetAndMetadata(position.offset, position.metadata, -1)
            for place, position in positions.items()
        }
        for error in _guarded(lambda: self._admin.alter_group_offsets(group, offsets)).values():
            _check(error.errno)

    def delete_group_offsets(self, group: str, place: Place) -> None:
        """OffsetDelete."""
        [error] = _guarded(lambda: self._admin.delete_group_offsets(group, [TopicPartition(*place)])).values()
        _check(error.errno)

    def remove_member(self, group: str, member_id: str) -> None:
        """LeaveGroup."""
        [error] = _guarded(lambda: self._admin.remove_group_members(group, [MemberToRemove(member_id)])).values()
        _check(error.errno)

    def create_topic(self, topic: NewTopic) -> None:
        """CreateTopics."""
        _guarded(lambda: self._admin.create_topics(_new(topic)))

    def validate_topic(self, topic: NewTopic) -> None:
        """CreateTopics, validate only."""
        _guarded(lambda: self._admin.create_topics(_new(topic), validate_only=True))

    def delete_topic(self, topic: str) -> None:
        """DeleteTopics."""
        _guarded(lambda: self._admin.delete_topics([topic]))

    def delete_topic_by_id(self, topic_id: UUID) -> None:
        """DeleteTopics."""
        _guarded(lambda: self._admin.delete_topics([topic_id]))

    def create_partitions(self, topic: str, count: int) -> None:
        """CreatePartitions."""
        _guarded(lambda: self._admin.create_partitions({topic: count}))

    def validate_partitions(self, topic: str, count: int) -> None:
        """CreatePartitions, validate only."""
        _guarded(lambda: self._admin.create_partitions({topic: count}, validate_only=True))

    def list_topics(self) -> set[str]:
        """Metadata."""
        return set(_guarded(self._admin.list_topics))

    def describe_topic(self, topic: str) -> TopicSeen:
        """Metadata."""
        [seen] = _guarded(lambda: self._admin.describe_topics([topic]))
        return _topic(seen)

    def describe_topic_by_id(self, topic_id: UUID) -> TopicSeen:
        """Metadata."""
        [seen] = _guarded(lambda: self._admin.describe_topics([topic_id]))
        return _topic(seen)

    def describe_topic_partitions(self, topic: str) -> TopicSeen:
        """DescribeTopicPartitions, two partitions a page."""
        pages: list[dict] = []
        cursor = None
        while not pages or cursor is not None:
            page = _guarded(partial(self._admin.describe_topic_partitions, [topic], 2, cursor))
            pages += page["topics"]
            cursor = page["next_cursor"]
        assert all(len(page["partitions"]) <= 2 for page in pages)
        return _topic({**pages[0], "partitions": [row for page in pages for row in page["partitions"]]})

    def describe_cluster(self) -> ClusterSeen:
        """DescribeCluster."""
        seen = _guarded(self._admin.describe_cluster)
        return ClusterSeen(
            nodes={
                node.get("broker_id", node.get("node_id")): f"{node['host']}:{node['port']}" for node in seen["brokers"]
            },
            controller=seen["controller_id"],
            cluster_id=seen["cluster_id"],
        )

    def api_versions(self) -> Mapping[int, tuple[int, int]]:
        """ApiVersions."""
        seen = _guarded(self._admin.api_versions)
        return {int(key): (low, high) for key, (low, high) in seen.items()}

    def describe_features(self) -> Mapping[str, int]:
        """ApiVersions."""
        seen = _guarded(self._admin.describe_features)
        return {name: levels["finalized"][1] for name, levels in seen.items() if "finalized" in levels}

    def update_feature(self, feature: str, level: int) -> None:
        """UpdateFeatures, validate only."""
        answer = _guarded(lambda: self._admin.update_features({feature: level}, validate_only=True))
        if answer[feature] != "OK":
            raise ClientFailed(str(answer[feature]))

    def describe_quorum(self) -> QuorumSeen:
        """DescribeQuorum."""
        seen = _guarded(self._admin.describe_metadata_quorum)
        [topic] = seen["topics"]
        [partition] = topic["partitions"]
        assert topic["topic_name"] == "__cluster_metadata"
        return QuorumSeen(
            leader=partition["leader_id"],
            voters=tuple(voter["replica_id"] for voter in partition["current_voters"]),
            high_watermark=partition["high_watermark"],
        )

    def describe_log_dirs(self, topic: str) -> Mapping[int, int]:
        """DescribeLogDirs."""
        [broker] = _guarded(lambda: self._admin.describe_log_dirs([topic]))
        [directory] = broker["log_dirs"] if "log_dirs" in broker else broker["results"]
        [seen] = [row for row in directory["topics"] if row["name"] == topic]
        return {row["partition_index"]: row["partition_size"] for row in seen["partitions"]}

    def describe_configs(self, resource: Resource, name: str) -> Mapping[str, ConfigSeen]:
        """DescribeConfigs."""
        asked = ConfigResource(resource.name, name)
        answer = _guarded(lambda: self._admin.describe_configs([asked], config_filter="all"))
        return {
            config: ConfigSeen(
                value=row["value"],
                source=SOURCES[row["config_source"]],
                is_read_only=row["read_only"],
                is_sensitive=row["is_sensitive"],
            )
            for config, row in answer[resource.name.lower()][name].items()
        }

    def alter_configs(self, resource: Resource, name: str, configs: Mapping[str, str]) -> None:
        """AlterConfigs: the client fills in what else is set, so that nothing is unset by it."""
        self._alter(resource, name, dict(configs), incremental=False)

    def change_configs(self, resource: Resource, name: str, change: ConfigChange) -> None:
        """IncrementalAlterConfigs."""
        configs = {
            config: (operation, value)
            for operation, rows in (
                ("SET", change.set_to),
                ("DELETE", dict.fromkeys(change.delete)),
                ("APPEND", change.append),
                ("SUBTRACT", change.subtract),
            )
            for config, value in rows.items()
        }
        self._alter(resource, name, configs, incremental=True)

    def list_config_resources(self) -> Mapping[Resource, set[str]]:
        """ListConfigResources."""
        seen = _guarded(lambda: self._admin.list_config_resources(["TOPIC", "BROKER"]))
        return {resource: set(seen.get(resource.name.lower(), ())) for resource in Resource}

    def find_offset(self, topic: str, partition: int, start: Start) -> OffsetSeen:
        """ListOffsets."""
        spec = {
            Origin.EARLIEST: OffsetSpec.EARLIEST,
            Origin.LATEST: OffsetSpec.LATEST,
            Origin.MAX_TIMESTAMP: OffsetSpec.MAX_TIMESTAMP,
        }.get(start.origin, start.number)
        place = TopicPartition(topic, partition)
        seen = _guarded(lambda: self._admin.list_partition_offsets({place: spec}))[place]
        return OffsetSeen(seen.offset, seen.timestamp)

    def elect_leader(self, topic: str, partition: int) -> None:
        """ElectLeaders."""
        answer = _guarded(lambda: self._admin.elect_leaders(PREFERRED, {topic: [partition]}, raise_errors=False))
        [seen] = answer.replica_election_results
        [row] = seen.partition_result
        _check(answer.error_code)
        _check(row.error_code)

    def list_reassignments(self) -> Mapping[tuple[str, int], tuple[int, ...]]:
        """ListPartitionReassignments."""
        seen = _guarded(self._admin.list_partition_reassignments)
        return {(place.topic, place.partition): tuple(row["replicas"]) for place, row in seen.items()}

    def reassign(self, topic: str, partition: int, replicas: Sequence[int]) -> None:
        """AlterPartitionReassignments."""
        self._reassign(topic, partition, list(replicas))

    def cancel_reassignment(self, topic: str, partition: int) -> None:
        """AlterPartitionReassignments, to no replicas."""
        self._reassign(topic, partition, None)

    def _reassign(self, topic: str, partition: int, wanted: list[int] | None) -> None:
        place = TopicPartition(topic, partition)
        answer = _guarded(lambda: self._admin.alter_partition_reassignments({place: wanted}))
        if answer[place] is not None:
            _check(answer[place].errno)

    def close(self) -> None:
        """End the admin client."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _alter(self, resource: Resource, name: str, configs: dict, *, incremental: bool) -> None:
        asked = ConfigResource(resource.name, name, configs)
        answer = _guarded(lambda: self._admin.alter_configs([asked], raise_on_unknown=False, incremental=incremental))
        outcome = answer[resource.name.lower()][name]
        if outcome != "OK":
            told = re.match(r"\[Error (\d+)\]", str(outcome))
            assert told is not None, outcome
            raise Refused(int(told[1]), str(outcome))

    @property
    def _admin(self) -> KafkaAdminClient:
        if self._made is None:
            self._made = KafkaAdminClient(bootstrap_servers=self._server)
        return self._made


def _guarded(call: Callable[[], Answer]) -> Answer:
    """Its answer; the client's own exceptions become ours."""
    try:
        return call()
    except BrokerResponseError as error:
        raise Refused(error.errno, str(error)) from None
    except KafkaError as error:
        raise ClientFailed(repr(error)) from None


def _check(code: int) -> None:
    if code:
        raise Refused(code)


def _new(topic: NewTopic) -> dict[str, dict]:
    wanted = {
        "num_partitions": topic.partitions,
        "replication_factor": topic.replication_factor,
        "configs": dict(topic.configs),
    }
    return {topic.name: wanted}


def _topic(seen: dict) -> TopicSeen:
    _check(seen["error_code"])
    rows = seen["partitions"]
    return TopicSeen(
        name=seen["name"],
        leaders={row["partition_index"]: row["leader_id"] for row in rows},
        replicas={row["partition_index"]: tuple(row["replica_nodes"]) for row in rows},
        topic_id=UUID(str(seen["topic_id"])),
    )


def _read(record: ConsumerRecord) -> Read:
    return Read(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )
