"""aiokafka as a driver of the compatibility suite: its coroutines run on a loop of the driver's own."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.metadata import version
from typing import ClassVar, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin import NewTopic as AioNewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import BrokerResponseError, KafkaError
from aiokafka.structs import ConsumerRecord

from .aio_member import AioMember
from .model import (
    FETCH_WAIT_MS,
    LATEST,
    PATIENCE_S,
    Client,
    ClientFailed,
    ClusterSeen,
    ConfigSeen,
    GroupSeen,
    Joining,
    MemberSeen,
    NewTopic,
    OffsetSeen,
    Origin,
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

NO_NAME = "it has no name for it"
Answer = TypeVar("Answer")
REQUEST_VALUE_SIZE_MAX = 4 << 20


class Loop:
    """The loop that a driver and what it opened share; it runs while something is asked of it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Callable[[], Coroutine[None, None, Answer]]) -> Answer:
        """Do it; the client's own exceptions become ours."""
        try:
            return self._runner.run(_patiently(work))
        except BrokerResponseError as error:
            raise Refused(error.errno, str(error)) from None
        except KafkaError as error:
            raise ClientFailed(repr(error)) from None
        except TimeoutError:
            raise ClientFailed("nothing more came") from None

    def close(self) -> None:
        """End it."""
        self._runner.close()


class AioWriter:
    """An AIOKafkaProducer."""

    def __init__(self, loop: Loop, server: str, how: Writing) -> None:
        self._loop = loop
        self._producer: AIOKafkaProducer = loop.run(lambda: _started_producer(server, how))

    def send(self, topic: str, records: Sequence[Sent]) -> Mapping[int, int]:
        """Write them and wait for the answers."""
        return self._loop.run(lambda: self._send(topic, records))

    def close(self) -> None:
        """End it."""
        self._loop.run(self._producer.stop)

    async def _send(self, topic: str, records: Sequence[Sent]) -> Mapping[int, int]:
        futures = [
            await self._producer.send(
                topic,
                record.value,
                key=record.key,
                partition=record.partition,
                timestamp_ms=record.timestamp_ms,
                headers=list(record.headers),
            )
            for record in records
        ]
        first: dict[int, int] = {}
        for answer in await asyncio.gather(*futures):
            if answer is not None and answer.offset >= 0:
                first[answer.partition] = min(answer.offset, first.get(answer.partition, answer.offset))
        return first


class AioReader:
    """An AIOKafkaConsumer whose partitions are assigned by hand."""

    def __init__(self, loop: Loop, server: str, how: Reading) -> None:
        self._loop = loop
        self._consumer: AIOKafkaConsumer = loop.run(lambda: _started_consumer(server, how))

    def read(self, count: int) -> list[Read]:
        """So many records."""
        return self._loop.run(lambda: self._read(count))

    def close(self) -> None:
        """End it."""
        self._loop.run(self._consumer.stop)

    async def _read(self, count: int) -> list[Read]:
        found: list[Read] = []
        while len(found) < count:
            batches = await self._consumer.getmany(timeout_ms=1_000, max_records=count - len(found))
            found += [_read(record) for batch in batches.values() for record in batch]
        return found


class AioClient(Client):
    """AIOKafkaProducer, AIOKafkaConsumer and AIOKafkaAdminClient."""

    name: ClassVar[str] = "aiokafka"
    version: ClassVar[str] = version("aiokafka")
    cannot: ClassVar[Mapping[str, str]] = {
        "cooperative-sticky moves only what must move": "it has no cooperative assignor",
        "the offset of the greatest timestamp": NO_NAME,
        "the last so many records": NO_NAME,
    }

    def __init__(self, server: str) -> None:
        self._server = server
        self._loop = Loop()
        self._made: AIOKafkaAdminClient | None = None

    def open_writer(self, how: Writing) -> AioWriter:
        """A producer."""
        return AioWriter(self._loop, self._server, how)

    def open_reader(self, how: Reading) -> AioReader:
        """A consumer."""
        return AioReader(self._loop, self._server, how)

    def join_group(self, how: Joining) -> AioMember:
        """A consumer that has subscribed."""
        return AioMember(self._server, how, _read)

    def list_groups(self) -> Mapping[str, str]:
        """ListGroups, without states."""
        return dict.fromkeys((group for group, _ in self._ask(lambda admin: admin.list_consumer_groups())), "")

    def describe_group(self, group: str) -> GroupSeen:
        """DescribeGroups."""
        [answer] = self._ask(lambda admin: admin.describe_consumer_groups([group]))
        [seen] = answer.to_object()["groups"]
        _check(seen["error_code"])
        members = [
            MemberSeen(
                member_id=member["member_id"],
                client_id=member["client_id"],
                instance_id=None,
                assigned=frozenset(
                    (place.topic, place.partition)
                    for place in ConsumerProtocol.ASSIGNMENT.decode(member["member_assignment"]).partitions()
                ),
            )
            for member in seen["members"]
        ]
        return GroupSeen(state=letters(seen["state"]), assignor=seen["protocol"], members=tuple(members))

    def list_group_offsets(self, group: str, topic: str) -> Mapping[int, Position]:
        """OffsetFetch."""
        seen = self._ask(lambda admin: admin.list_consumer_group_offsets(group))
        return {
            place.partition: Position(found.offset, found.metadata)
            for place, found in seen.items()
            if place.topic == topic
        }

    def create_topic(self, topic: NewTopic) -> None:
        """CreateTopics."""
        self._create(topic, validate_only=False)

    def validate_topic(self, topic: NewTopic) -> None:
        """CreateTopics, validate only."""
        self._create(topic, validate_only=True)

    def delete_topic(self, topic: str) -> None:
        """DeleteTopics."""
        answer = self._ask(lambda admin: admin.delete_topics([topic]))
        [(_, code)] = answer.topic_error_codes
        _check(code)

    def create_partitions(self, topic: str, count: int) -> None:
        """CreatePartitions."""
        self._ask(lambda admin: admin.create_partitions({topic: NewPartitions(count)}))

    def validate_partitions(self, topic: str, count: int) -> None:
        """CreatePartitions, validate only."""
        self._ask(lambda admin: admin.create_partitions({topic: NewPartitions(count)}, validate_only=True))

    def list_topics(self) -> set[str]:
        """Metadata."""
        return set(self._ask(lambda admin: admin.list_topics()))

    def describe_topic(self, topic: str) -> TopicSeen:
        """Metadata."""
        [seen] = self._ask(lambda admin: admin.describe_topics([topic]))
        _check(seen["error_code"])
        rows = seen["partitions"]
        return TopicSeen(
            name=seen["topic"],
            leaders={row["partition"]: row["leader"] for row in rows},
            replicas={row["partition"]: tuple(row["replicas"]) for row in rows},
        )

    def describe_cluster(self) -> ClusterSeen:
        """Metadata."""
        seen = self._ask(lambda admin: admin.describe_cluster())
        return ClusterSeen(
            nodes={node["node_id"]: f"{node['host']}:{node['port']}" for node in seen["brokers"]},
            controller=seen["controller_id"],
            cluster_id=seen["cluster_id"],
        )

    def describe_configs(self, resource: Resource, name: str) -> Mapping[str, ConfigSeen]:
        """DescribeConfigs."""
        asked = ConfigResource(ConfigResourceType(resource.value), name)
        [answer] = self._ask(lambda admin: admin.describe_configs([asked]))
        [seen] = answer.to_object()["resources"]
        _check(seen["error_code"], seen["error_message"])
        return {
            row["config_names"]: ConfigSeen(
                value=row["config_value"],
                source=row.get("config_source"),
                is_read_only=row["read_only"],
                is_sensitive=row["is_sensitive"],
            )
            for row in seen["config_entries"]
        }

    def alter_configs(self, resource: Resource, name: str, configs: Mapping[str, str]) -> None:
        """AlterConfigs."""
        asked = ConfigResource(ConfigResourceType(resource.value), name, dict(configs))
        answers = self._ask(lambda admin: admin.alter_configs([asked]))
        # The client sends a request without any resource besides the one to a broker.
        for answer in answers:
            for seen in answer.to_object()["resources"]:
                _check(seen["error_code"], seen["error_message"])

    def find_offset(self, topic: str, partition: int, start: Start) -> OffsetSeen:
        """ListOffsets, by a consumer: the admin client has no such call."""
        return self._loop.run(lambda: self._find_offset(TopicPartition(topic, partition), start))

    def close(self) -> None:
        """End the admin client and the loop."""
        if self._made is not None:
            self._loop.run(self._made.close)
        self._loop.close()

    async def _find_offset(self, place: TopicPartition, start: Start) -> OffsetSeen:
        reading = Reading(starts={(place.topic, place.partition): Start(Origin.OFFSET)})
        consumer = await _started_consumer(self._server, reading)
        try:
            if start.origin is Origin.EARLIEST:
                return OffsetSeen((await consumer.beginning_offsets([place]))[place], None)
            if start.origin is Origin.LATEST:
                return OffsetSeen((await consumer.end_offsets([place]))[place], None)
            found = (await consumer.offsets_for_times({place: start.number}))[place]
            return OffsetSeen(-1, None) if found is None else OffsetSeen(found.offset, found.timestamp)
        finally:
            await consumer.stop()

    def _create(self, topic: NewTopic, *, validate_only: bool) -> None:
        asked = AioNewTopic(topic.name, topic.partitions, topic.replication_factor, topic_configs=dict(topic.configs))
        answer = self._ask(lambda admin: admin.create_topics([asked], validate_only=validate_only))
        [(_, code, message)] = answer.topic_errors
        _check(code, message)

    def _ask(self, call: Callable[[AIOKafkaAdminClient], Coroutine[None, None, Answer]]) -> Answer:
        if self._made is None:
            self._made = self._loop.run(lambda: _started_admin(self._server))
        admin = self._made
        return self._loop.run(lambda: call(admin))


async def _patiently(work: Callable[[], Coroutine[None, None, Answer]]) -> Answer:
    async with asyncio.timeout(PATIENCE_S):
        return await work()


async def _started_admin(server: str) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=server)
    await admin.start()
    return admin


async def _started_producer(server: str, how: Writing) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        bootstrap_servers=server,
        acks="all" if how.acks == -1 else how.acks,
        compression_type=None if how.codec == "none" else how.codec,
        enable_idempotence=how.idempotent,
        linger_ms=how.linger_ms,
        max_batch_size=how.batch_size or 16_384,
        max_request_size=REQUEST_VALUE_SIZE_MAX,
    )
    await producer.start()
    return producer


async def _started_consumer(server: str, how: Reading) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=server,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=how.partition_bytes_max or 1 << 20,
        fetch_max_bytes=how.bytes_max or 50 << 20,
    )
    await consumer.start()
    # Looked up before: as soon as something is assigned, the client begins to fetch from where it thinks best.
    starts = {
        TopicPartition(*place): await _without_time(consumer, TopicPartition(*place), start)
        for place, start in how.starts.items()
    }
    consumer.assign(list(starts))
    for place, start in starts.items():
        if start.origin is Origin.OFFSET:
            consumer.seek(place, start.number)
    if beginning := [place for place, start in starts.items() if start.origin is Origin.EARLIEST]:
        await consumer.seek_to_beginning(*beginning)
    if end := [place for place, start in starts.items() if start.origin is Origin.LATEST]:
        await consumer.seek_to_end(*end)
        for place in end:
            await consumer.position(place)
    return consumer


async def _without_time(consumer: AIOKafkaConsumer, place: TopicPartition, start: Start) -> Start:
    """The same start, by an offset if it was a time."""
    if start.origin is not Origin.TIME:
        return start
    found = (await consumer.offsets_for_times({place: start.number}))[place]
    return LATEST if found is None else Start(Origin.OFFSET, found.offset)


def _check(code: int, message: str | None = None) -> None:
    if code:
        raise Refused(code, message or "")


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
