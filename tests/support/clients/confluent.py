"""confluent-kafka (librdkafka) as a driver of the compatibility suite."""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from importlib.metadata import version
from typing import ClassVar, TypeVar
from uuid import UUID

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    ElectionType,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
    Uuid,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    OffsetSpec,
)
from confluent_kafka.admin import NewTopic as ConfluentNewTopic

from .confluent_member import ConfluentMember
from .model import (
    FETCH_WAIT_MS,
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

NOW = 0
"""What a producer takes for the time at which it is called."""
OFFSET_BEGINNING = -2
OFFSET_END = -1
OFFSET_TAIL_BASE = -2000
PARTITION_EOF = -191
"""librdkafka's own codes are below zero; the broker's are those of Kafka."""

Answer = TypeVar("Answer")


class ConfluentWriter:
    """A Producer."""

    def __init__(self, server: str, how: Writing) -> None:
        settings: dict[str, str | int | bool] = {
            "bootstrap.servers": server,
            "acks": how.acks,
            "compression.type": how.codec,
            "enable.idempotence": how.idempotent,
            "linger.ms": how.linger_ms,
            "message.max.bytes": 4 << 20,
            "log_level": 0,
        }
        if how.batch_size is not None:
            settings["batch.size"] = how.batch_size
        self._producer = Producer(settings)
        self._acks = how.acks

    def send(self, topic: str, records: Sequence[Sent]) -> Mapping[int, int]:
        """Write them and wait for the reports."""
        first: dict[int, int] = {}
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                errors.append(error)
                return
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            if offset is not None and offset >= 0:
                first[partition] = min(offset, first.get(partition, offset))

        for record in records:
            self._producer.produce(
                topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                partition=record.partition,
                on_delivery=delivered,
                timestamp=record.timestamp_ms or NOW,
            )
        waiting = self._producer.flush(PATIENCE_S)
        if waiting:
            raise ClientFailed(f"{waiting} records are still not acknowledged")
        if errors:
            raise _failure(errors[0])
        return first

    def close(self) -> None:
        """Nothing is left in it: `send` waits."""


class ConfluentReader:
    """A Consumer whose partitions are assigned by hand."""

    def __init__(self, server: str, how: Reading) -> None:
        settings: dict[str, str | int | bool] = {
            "bootstrap.servers": server,
            "group.id": "by-hand",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "log_level": 0,
        }
        if how.partition_bytes_max is not None:
            settings["max.partition.fetch.bytes"] = how.partition_bytes_max
        if how.bytes_max is not None:
            settings["message.max.bytes"] = how.bytes_max
            settings["fetch.max.bytes"] = how.bytes_max
        self._consumer = Consumer(settings)
        self._open = len(how.starts)
        # It waits half a second before it looks up an offset of a partition whose leader it does not know yet.
        self._consumer.list_topics(timeout=PATIENCE_S)
        self._consumer.assign([self._position(place, start) for place, start in how.starts.items()])

    def read(self, count: int) -> list[Read]:
        """So many records."""
        found: list[Read] = []
        while len(found) < count:
            record = self._next()
            if record is not None:
                found.append(record)
        return found

    def read_to_the_end(self) -> list[Read]:
        """Until each partition has ended."""
        found = []
        ended = 0
        while ended < self._open:
            record = self._next()
            if record is None:
                ended += 1
            else:
                found.append(record)
        return found

    def close(self) -> None:
        """End it."""
        self._consumer.close()

    def _next(self) -> Read | None:
        """None: a partition has ended."""
        message = self._consumer.poll(PATIENCE_S)
        if message is None:
            raise ClientFailed("nothing more came")
        error = message.error()
        if error is None:
            return _read(message)
        if error.code() == PARTITION_EOF:
            return None
        raise _failure(error)

    def _position(self, place: tuple[str, int], start: Start) -> TopicPartition:
        topic, partition = place
        match start.origin:
            case Origin.EARLIEST:
                return TopicPartition(topic, partition, OFFSET_BEGINNING)
            case Origin.LATEST:
                return TopicPartition(topic, partition, OFFSET_END)
            case Origin.OFFSET:
                return TopicPartition(topic, partition, start.number)
            case Origin.LAST:
                return TopicPartition(topic, partition, OFFSET_TAIL_BASE - start.number)
            case _:
                asked = TopicPartition(topic, partition, start.number)
                [found] = self._consumer.offsets_for_times([asked], timeout=PATIENCE_S)
                return found


class ConfluentClient(Client):
    """Producer, Consumer and AdminClient."""

    name: ClassVar[str] = "confluent-kafka"
    version: ClassVar[str] = version("confluent-kafka")

    def __init__(self, server: str) -> None:
        self._server = server
        self._made: AdminClient | None = None

    def open_writer(self, how: Writing) -> ConfluentWriter:
        """A producer."""
        return ConfluentWriter(self._server, how)

    def open_reader(self, how: Reading) -> ConfluentReader:
        """A consumer."""
        reader = ConfluentReader(self._server, how)
        if any(start.is_the_end for start in how.starts.values()):
            # The end is looked up in the background; where it is, the client says by an event.
            assert reader.read_to_the_end() == []
        return reader

    def read_to_the_end(self, how: Reading) -> list[Read]:
        """By enable.partition.eof."""
        reader = ConfluentReader(self._server, how)
        found = reader.read_to_the_end()
        reader.close()
        return found

    def join_group(self, how: Joining) -> ConfluentMember:
        """A consumer that has subscribed."""
        return ConfluentMember(self._server, how, _read)

    def join_consumer_group(self, how: Joining) -> ConfluentMember:
        """A consumer with group.protocol=consumer that has subscribed."""
        return ConfluentMember(self._server, how, _read)

    def list_groups(self) -> Mapping[str, str]:
        """ListGroups."""
        seen = self._admin.list_consumer_groups(request_timeout=PATIENCE_S).result(PATIENCE_S)
        assert not seen.errors, seen.errors
        return {group.group_id: letters(group.state.name) for group in seen.valid}

    def describe_group(self, group: str) -> GroupSeen:
        """DescribeGroups, or what the group wants."""
        seen = _ask(lambda: self._admin.describe_consumer_groups([group]).values())
        members = [
            MemberSeen(
                member_id=member.member_id,
                client_id=member.client_id,
                instance_id=member.group_instance_id,
                assigned=frozenset(
                    (place.topic, place.partition) for place in getattr(member.assignment, "topic_partitions", ())
                ),
            )
            for member in seen.members
        ]
        return GroupSeen(state=letters(seen.state.name), assignor=seen.partition_assignor, members=tuple(members))

    def describe_consumer_group(self, group: str) -> GroupSeen:
        """ConsumerGroupDescribe, by the same call."""
        return self.describe_group(group)

    def delete_group(self, group: str) -> None:
        """DeleteGroups."""
        _ask(lambda: self._admin.delete_consumer_groups([group]).values())

    def list_group_offsets(self, group: str, topic: str) -> Mapping[int, Position]:
        """OffsetFetch."""
        asked = ConsumerGroupTopicPartitions(group)
        seen = _ask(lambda: self._admin.list_consumer_group_offsets([asked]).values())
        return {
            place.partition: Position(place.offset, place.metadata or "")
            for place in seen.topic_partitions
            if place.topic == topic
        }

    def alter_group_offsets(self, group: str, positions: Mapping[Place, Position]) -> None:
        """OffsetCommit."""
        places = [TopicPartition(*place, position.offset) for place, position in positions.items()]
        asked = ConsumerGroupTopicPartitions(group, places)
        seen = _ask(lambda: self._admin.alter_consumer_group_offsets([asked]).values())
        for place in seen.topic_partitions:
            if place.error is not None:
                raise _failure(place.error)

    def create_topic(self, topic: NewTopic) -> None:
        """CreateTopics."""
        _ask(lambda: self._admin.create_topics([_new(topic)]).values())

    def validate_topic(self, topic: NewTopic) -> None:
        """CreateTopics, validate only."""
        _ask(lambda: self._admin.create_topics([_new(topic)], validate_only=True).values())

    def delete_topic(self, topic: str) -> None:
        """DeleteTopics."""
        _ask(lambda: self._admin.delete_topics([topic]).values())

    def create_partitions(self, topic: str, count: int) -> None:
        """CreatePartitions."""
        _ask(lambda: self._admin.create_partitions([NewPartitions(topic, count)]).values())

    def validate_partitions(self, topic: str, count: int) -> None:
        """CreatePartitions, validate only."""
        _ask(lambda: self._admin.create_partitions([NewPartitions(topic, count)], validate_only=True).values())

    def list_topics(self) -> set[str]:
        """Metadata."""
        return set(self._admin.list_topics(timeout=PATIENCE_S).topics)

    def describe_topic(self, topic: str) -> TopicSeen:
        """Metadata with topic ids."""
        seen = _ask(lambda: self._admin.describe_topics(TopicCollection([topic])).values())
        return TopicSeen(
            name=seen.name,
            leaders={row.id: row.leader.id for row in seen.partitions},
            replicas={row.id: tuple(node.id for node in row.replicas) for row in seen.partitions},
            topic_id=_uuid(seen.topic_id),
        )

    def describe_cluster(self) -> ClusterSeen:
        """DescribeCluster of librdkafka, which asks Metadata."""
        seen = _ask(lambda: [self._admin.describe_cluster()])
        return ClusterSeen(
            nodes={node.id: f"{node.host}:{node.port}" for node in seen.nodes},
            controller=seen.controller.id,
            cluster_id=seen.cluster_id,
        )

    def describe_configs(self, resource: Resource, name: str) -> Mapping[str, ConfigSeen]:
        """DescribeConfigs."""
        seen = _ask(lambda: self._admin.describe_configs([ConfigResource(resource.value, name)]).values())
        return {
            entry.name: ConfigSeen(
                value=entry.value,
                source=int(entry.source),
                is_read_only=bool(entry.is_read_only),
                is_sensitive=bool(entry.is_sensitive),
            )
            for entry in seen.values()
        }

    def alter_configs(self, resource: Resource, name: str, configs: Mapping[str, str]) -> None:
        """AlterConfigs, which the client calls outdated."""
        asked = ConfigResource(resource.value, name, set_config=dict(configs))
        _ask(lambda: self._admin.alter_configs([asked]).values())

    def change_configs(self, resource: Resource, name: str, change: ConfigChange) -> None:
        """IncrementalAlterConfigs."""
        entries = [
            ConfigEntry(config, value, incremental_operation=operation)
            for operation, rows in (
                (AlterConfigOpType.SET, change.set_to),
                (AlterConfigOpType.DELETE, dict.fromkeys(change.delete)),
                (AlterConfigOpType.APPEND, change.append),
                (AlterConfigOpType.SUBTRACT, change.subtract),
            )
            for config, value in rows.items()
        ]
        asked = ConfigResource(resource.value, name, incremental_configs=entries)
        _ask(lambda: self._admin.incremental_alter_configs([asked]).values())

    def find_offset(self, topic: str, partition: int, start: Start) -> OffsetSeen:
        """ListOffsets."""
        match start.origin:
            case Origin.EARLIEST:
                spec = OffsetSpec.earliest()
            case Origin.LATEST:
                spec = OffsetSpec.latest()
            case Origin.MAX_TIMESTAMP:
                spec = OffsetSpec.max_timestamp()
            case _:
                spec = OffsetSpec.for_timestamp(start.number)
        seen = _ask(lambda: self._admin.list_offsets({TopicPartition(topic, partition): spec}).values())
        return OffsetSeen(seen.offset, seen.timestamp)

    def elect_leader(self, topic: str, partition: int) -> None:
        """ElectLeaders."""
        place = TopicPartition(topic, partition)
        seen = _ask(lambda: [self._admin.elect_leaders(ElectionType.PREFERRED, [place])])
        error = seen[place]
        if error is not None:
            raise _failure(error.args[0] if isinstance(error, KafkaException) else error)

    def close(self) -> None:
        """Producers and consumers are closed by those who opened them."""
        self._made = None

    @property
    def _admin(self) -> AdminClient:
        # Kept, for what it has begun ends with it.
        if self._made is None:
            self._made = AdminClient({"bootstrap.servers": self._server, "log_level": 0})
        return self._made


def _ask(call: Callable[[], Iterable[Future[Answer]]]) -> Answer:
    """The answer to a call about one thing."""
    try:
        [answer] = call()
        return answer.result(PATIENCE_S)
    except KafkaException as error:
        raise _failure(error.args[0]) from None


def _failure(error: KafkaError) -> Exception:
    if error.code() > 0:
        return Refused(error.code(), error.str())
    return ClientFailed(f"{error.name()}: {error.str()}")


def _new(topic: NewTopic) -> ConfluentNewTopic:
    return ConfluentNewTopic(topic.name, topic.partitions, topic.replication_factor, config=dict(topic.configs))


def _uuid(shown: Uuid) -> UUID:
    return UUID(bytes=urlsafe_b64decode(f"{shown}=="))


def _read(message: Message) -> Read:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Read(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=message.timestamp()[1],
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=tuple((str(name), _bytes(value)) for name, value in list(message.headers() or ())),
    )


def _bytes(text: str | bytes | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text
