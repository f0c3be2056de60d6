"""A whole broker, as its clients see it: the scripts, and how it is looked at after a power cut.

The oracle keeps, for whatever a client can change, all the values that may be found: the last one that was answered,
and each that was asked for since. Which of several it is, the disk decides; once it was seen it must stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar
from uuid import UUID

from support.builders import a_batch, some_value
from support.groups import ASSIGNMENT, MEMBER_ID_SINCE, PROTOCOL, PROTOCOL_TYPE
from tidelog.broker.topics.internal_topics import OFFSETS_TOPIC
from tidelog.broker.topics.registry import Topic
from tidelog.protocol.errors import ErrorCode, ProtocolError, RequestRefused
from tidelog.protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from tidelog.protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from tidelog.protocol.messages.delete_groups import DeleteGroupsRequest
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.describe_groups import DescribeGroupsRequest
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tidelog.protocol.messages.init_producer_id import InitProducerIdRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestTopic,
)
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tidelog.storage.errors import StorageError

from .disk import CrashDisk
from .logs import BYTES_LONGER
from .model import Tree
from .promises import Broken, LogBook, LogPromise, Presence, check_log
from .recording import Recorder, Story
from .world import Living, in_a_world, without_alarm

T = TypeVar("T")

TOPIC, BROKER = 2, 4
FIRST_TIME = 1_700_000_000_000
LATER_MS = 1_000_000
HOUSEKEEPING_S = 61.0
"""In which marks and checkpoints are written."""
RECOVERING, LIVING_ON = 100, 101
"""Seeds of what a broker draws by chance; lives of scripts have others."""
NONE = ErrorCode.NONE
OFFSET_FETCH_VERSION = 7
OFFSET_COMMIT_VERSION = 8
PRODUCE_VERSION = 12
NOT_THERE_YET = LogPromise((), 0, 0, Presence.MAY)


class Value(Generic[T]):
    """Something that clients change: what was answered last, and what was asked for since."""

    def __init__(self, first: T) -> None:
        self._may_be = [first]

    def ask(self, value: T) -> None:
        """Somebody wants it to be this."""
        self._may_be.append(value)

    def answer(self, value: T) -> None:
        """It was said to be."""
        self._may_be = [value]

    @property
    def may_be(self) -> tuple[T, ...]:
        """All that may be found."""
        return tuple(self._may_be)


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A group as DescribeGroups shows it."""

    state: str = "Dead"
    members: tuple[tuple[str, bytes], ...] = ()
    """Id and part of each."""


@dataclass(slots=True)
class TopicBook:
    """One life of a topic."""

    name: str
    topic_id: UUID | None = None
    presence: Presence = Presence.MAY
    partitions: Value[int] = field(default_factory=lambda: Value(0))
    configs: Value[Mapping[str, str]] = field(default_factory=lambda: Value({}))
    logs: dict[int, LogBook] = field(default_factory=dict)

    def snapshot(self) -> TopicPromise:
        """What holds now."""
        return TopicPromise(
            name=self.name,
            topic_id=self.topic_id,
            presence=self.presence,
            partitions=self.partitions.may_be,
            configs=self.configs.may_be,
            logs={index: book.snapshot() for index, book in self.logs.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPromise:
    """What must be found of one life of a topic."""

    name: str
    topic_id: UUID | None
    presence: Presence
    partitions: tuple[int, ...]
    configs: tuple[Mapping[str, str], ...]
    logs: Mapping[int, LogPromise]


Offset = tuple[str, str, int]
"""Group, topic, partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerPromises:
    """What must be found in a broker at one moment."""

    topics: tuple[TopicPromise, ...] = ()
    offsets: Mapping[Offset, tuple[int, ...]] = field(default_factory=dict)
    groups: Mapping[str, tuple[GroupFacts, ...]] = field(default_factory=dict)
    defaults: tuple[str, ...] = ("",)
    """What `message.max.bytes` may be set to, for all brokers."""
    handed_out: int = -1
    """The greatest producer id so far."""
    cluster_id: str = ""


class Clients:
    """All the clients of a broker: they ask, and write down what they asked for and what they were told."""

    def __init__(self, recorder: Recorder[BrokerPromises], disk: CrashDisk, *, variant: int = 0) -> None:
        self.disk = disk
        self.topics: list[TopicBook] = []
        self.offsets: dict[Offset, Value[int]] = {}
        self.groups: dict[str, Value[GroupFacts]] = {}
        self.defaults: Value[str] = Value("")
        self.handed_out = -1
        self.cluster_id = ""
        self._recorder = recorder
        self._longer = variant * BYTES_LONGER
        self._house: Living | None = None
        self.time_ms = FIRST_TIME
        """Of the next batch; each has its own."""
        self._sequences: dict[tuple[str, int, int], int] = {}

    def live(self, script: Callable[[Clients], Awaitable[None]], *, stop: bool = True, chance: int = 0) -> None:
        """One life of the broker: started, used, and stopped, or killed. Each has another `chance`, as in the world."""

        async def program(house: Living) -> None:
            self._house = house
            if not self.cluster_id:
                self.cluster_id = house.server.services.cluster.cluster_id
            self.changed()
            await script(self)
            if stop:
                await house.server.stop()

        in_a_world(self.disk, program, seed=chance)
        self._recorder.note("stopped" if stop else "killed")
        self.disk.kill()

    @property
    def house(self) -> Living:
        """The broker."""
        assert self._house is not None
        return self._house

    def changed(self) -> None:
        """More was asked for, or answered."""
        self._recorder.promises = BrokerPromises(
            topics=tuple(book.snapshot() for book in self.topics),
            offsets={key: value.may_be for key, value in self.offsets.items()},
            groups={name: value.may_be for name, value in self.groups.items()},
            defaults=self.defaults.may_be,
            handed_out=self.handed_out,
            cluster_id=self.cluster_id,
        )

    async def ask(self, request: object, heard: Callable[[object], None], *, version: int | None = None) -> object:
        """Ask; what `heard` writes down is promised from that instant on."""
        self.changed()

        def told(response: object) -> None:
            heard(response)
            self.changed()

        return await self.house.say(request, version, told)

    def book(self, name: str) -> TopicBook:
        """The life of this name that is not over."""
        return next(book for book in reversed(self.topics) if book.name == name)

    # What they do.

    async def tick(self) -> None:
        """Nothing, while the broker keeps house."""
        await asyncio.sleep(HOUSEKEEPING_S)

    async def create(self, name: str, partitions: int = 1, **configs: str) -> None:
        """Create a topic."""
        settings = {key.replace("_", "."): value for key, value in configs.items()}
        book = TopicBook(name, partitions=Value(partitions), configs=Value(settings))
        self.topics.append(book)
        topic = CreatableTopic(
            name=name,
            num_partitions=partitions,
            replication_factor=1,
            configs=tuple(CreatableTopicConfig(name=key, value=value) for key, value in settings.items()),
        )

        def heard(response: object) -> None:
            [result] = response.topics  # type: ignore[attr-defined]
            assert result.error_code == NONE, result
            book.topic_id, book.presence = result.topic_id, Presence.MUST

        await self.ask(CreateTopicsRequest(topics=(topic,)), heard)

    async def delete(self, name: str) -> None:
        """Delete a topic."""
        book = self.book(name)
        book.presence = Presence.MAY

        def heard(response: object) -> None:
            [result] = response.responses  # type: ignore[attr-defined]
            assert result.error_code == NONE, result
            book.presence = Presence.MUST_NOT

        await self.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name=name),)), heard)

    async def grow(self, name: str, partitions: int) -> None:
        """Give a topic more partitions."""
        book = self.book(name)
        book.partitions.ask(partitions)

        def heard(response: object) -> None:
            [result] = response.results  # type: ignore[attr-defined]
            assert result.error_code == NONE, result
            book.partitions.answer(partitions)

        topic = CreatePartitionsTopic(name=name, count=partitions, assignments=None)
        await self.ask(CreatePartitionsRequest(topics=(topic,), timeout_ms=1000), heard)

    async def produce(self, name: str, *sizes: int, partition: int = 0, producer_id: int = -1) -> None:
        """Produce one batch with acks=all."""
        book = self.book(name).logs.setdefault(partition, LogBook())
        self.time_ms += 10
        key = (name, partition, producer_id)
        sequence = self._sequences.get(key, 0)
        self._sequences[key] = sequence + len(sizes)
        stamp = {"producer_id": producer_id, "producer_epoch": 0, "base_sequence": sequence} if producer_id >= 0 else {}
        values = [some_value(number, size + self._longer) for number, size in enumerate(sizes)]
        batch = a_batch(values, base_timestamp=self.time_ms, **stamp)  # type: ignore[arg-type]
        book.send(bytes(batch))
        end_offset = book.batches[-1].next_offset

        def heard(response: object) -> None:
            [topic] = response.responses  # type: ignore[attr-defined]
            [result] = topic.partition_responses
            assert result.error_code == NONE, result
            assert result.base_offset == book.batches[-1].base_offset, result
            book.promise(end_offset)

        part = PartitionProduceData(index=partition, records=memoryview(batch))
        request = ProduceRequest(
            acks=-1, timeout_ms=1000, topic_data=(TopicProduceData(name=name, partition_data=(part,)),)
        )
        await self.ask(request, heard, version=PRODUCE_VERSION)

    async def new_producer(self) -> int:
        """A producer id."""
        ids: list[int] = []

        def heard(response: object) -> None:
            assert response.error_code == NONE, response  # type: ignore[attr-defined]
            ids.append(response.producer_id)  # type: ignore[attr-defined]
            assert ids[0] > self.handed_out, "handed out before"
            self.handed_out = ids[0]

        await self.ask(InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0), heard)
        return ids[0]

    async def configure(self, name: str, **configs: str) -> None:
        """Change settings of a topic."""
        book = self.book(name)
        changes = {key.replace("_", "."): value for key, value in configs.items()}
        wanted = {**book.configs.may_be[-1], **changes}
        book.configs.ask(wanted)
        await self._alter(TOPIC, name, changes, lambda: book.configs.answer(wanted))

    async def set_default(self, value: str) -> None:
        """Change `message.max.bytes` for all brokers."""
        self.defaults.ask(value)
        await self._alter(BROKER, "", {"message.max.bytes": value}, lambda: self.defaults.answer(value))

    async def _alter(self, kind: int, name: str, changes: Mapping[str, str], done: Callable[[], None]) -> None:
        def heard(response: object) -> None:
            [result] = response.responses  # type: ignore[attr-defined]
            assert result.error_code == NONE, result
            done()

        configs = tuple(AlterableConfig(name=key, value=value) for key, value in changes.items())
        resource = AlterConfigsResource(resource_type=kind, resource_name=name, configs=configs)
        await self.ask(IncrementalAlterConfigsRequest(resources=(resource,)), heard)

    async def commit(
        self, group: str, topic: str, offset: int, *, partition: int = 0, member: str = "", generation: int = -1
    ) -> None:
        """Commit an offset."""
        value = self.offsets.setdefault((group, topic, partition), Value(-1))
        value.ask(offset)
        group_value = self.groups.setdefault(group, Value(GroupFacts()))
        becomes = GroupFacts("Empty") if group_value.may_be[-1].state == "Dead" else group_value.may_be[-1]
        group_value.ask(becomes)

        def heard(response: object) -> None:
            [result] = response.topics[0].partitions  # type: ignore[attr-defined]
            assert result.error_code == NONE, result
            value.answer(offset)
            group_value.answer(becomes)

        part = OffsetCommitRequestPartition(partition_index=partition, committed_offset=offset)
        request = OffsetCommitRequest(
            group_id=group,
            member_id=member,
            generation_id_or_member_epoch=generation,
            topics=(OffsetCommitRequestTopic(name=topic, partitions=(part,)),),
        )
        await self.ask(request, heard, version=OFFSET_COMMIT_VERSION)

    async def join(self, group: str) -> tuple[str, int]:
        """Join a group as its only member, and be given everything: its id and generation."""
        value = self.groups.setdefault(group, Value(GroupFacts()))
        request = JoinGroupRequest(
            group_id=group,
            session_timeout_ms=10_000,
            rebalance_timeout_ms=10_000,
            protocol_type=PROTOCOL_TYPE,
            protocols=(PROTOCOL,),
        )
        joined = await self.ask(request, lambda response: None, version=MEMBER_ID_SINCE - 1)
        assert joined.error_code == NONE, joined  # type: ignore[attr-defined]
        member, generation = joined.member_id, joined.generation_id  # type: ignore[attr-defined]
        facts = GroupFacts("Stable", ((member, ASSIGNMENT),))
        value.ask(facts)

        def heard(response: object) -> None:
            assert response.error_code == NONE, response  # type: ignore[attr-defined]
            value.answer(facts)

        sync = SyncGroupRequest(
            group_id=group,
            generation_id=generation,
            member_id=member,
            assignments=(SyncGroupRequestAssignment(member_id=member, assignment=ASSIGNMENT),),
        )
        await self.ask(sync, heard, version=3)
        return member, generation

    async def leave(self, group: str, member: str) -> None:
        """Leave a group empty."""
        value = self.groups[group]
        value.ask(GroupFacts("Empty"))

        def heard(response: object) -> None:
            assert response.error_code == NONE, response  # type: ignore[attr-defined]
            value.answer(GroupFacts("Empty"))

        await self.ask(LeaveGroupRequest(group_id=group, members=(MemberIdentity(member_id=member),)), heard)

    async def delete_group(self, group: str) -> None:
        """Delete an empty group with its offsets."""
        value = self.groups[group]
        value.ask(GroupFacts())
        offsets = [one for key, one in self.offsets.items() if key[0] == group]
        for one in offsets:
            one.ask(-1)

        def heard(response: object) -> None:
            [result] = response.results  # type: ignore[attr-defined]
            assert result.error_code == NONE, result
            value.answer(GroupFacts())
            for one in offsets:
                one.answer(-1)

        await self.ask(DeleteGroupsRequest(groups_names=(group,)), heard)


# How a broker is looked at.


class BrokerWorld:
    """See `World`."""

    def recover(self, disk: CrashDisk, tree: Tree, promises: BrokerPromises) -> BrokerPromises:
        """See `World`."""

        async def look(house: Living) -> BrokerPromises:
            return await _found(house, tree, promises)

        try:
            return without_alarm(lambda: in_a_world(disk, look, seed=RECOVERING))
        except (StorageError, ProtocolError, RequestRefused) as error:
            raise Broken(f"{type(error).__name__}: {error}") from error

    def live_on(self, disk: CrashDisk, promises: BrokerPromises) -> None:
        """See `World`."""
        recorder = Recorder(disk, promises)
        disk.before_call = None
        clients = Clients(recorder, disk)
        clients.topics = [_book(topic) for topic in promises.topics if topic.presence is Presence.MUST]
        clients.offsets = {key: Value(values[0]) for key, values in promises.offsets.items()}
        clients.groups = {name: Value(values[0]) for name, values in promises.groups.items()}
        clients.defaults = Value(promises.defaults[0])
        clients.handed_out, clients.cluster_id = promises.handed_out, promises.cluster_id
        clients.time_ms += LATER_MS
        try:
            clients.live(_live_on, chance=LIVING_ON)
            after = disk.synced()
            self.recover(CrashDisk(after), after, recorder.promises)
        except (StorageError, ProtocolError, RequestRefused, AssertionError) as error:
            raise Broken(f"cannot be worked with: {type(error).__name__}: {error}") from error


async def _live_on(clients: Clients) -> None:
    producer_id = await clients.new_producer()
    for book in clients.topics:
        for partition in range(book.partitions.may_be[0]):
            await clients.produce(book.name, 30, partition=partition, producer_id=producer_id)
        await clients.commit("another group", book.name, 1)
    await clients.create("another-topic", 2)


def _book(promise: TopicPromise) -> TopicBook:
    book = TopicBook(promise.name, promise.topic_id, promise.presence)
    book.partitions, book.configs = Value(promise.partitions[0]), Value(promise.configs[0])
    for index, log in promise.logs.items():
        book.logs[index] = LogBook(list(log.sent), log.safe, log.epoch, log.presence)
    return book


async def _found(house: Living, tree: Tree, promises: BrokerPromises) -> BrokerPromises:
    """Hold a broker that has started against what was promised; what must be found from now on. Raises Broken."""
    services = house.server.services
    if promises.cluster_id and services.cluster.cluster_id != promises.cluster_id:
        raise Broken(f"the cluster is called {services.cluster.cluster_id}, it was {promises.cluster_id}")
    there = {topic.name: topic for topic in services.topics}
    topics = []
    for promise in promises.topics:
        topic = there.get(promise.name)
        if promise.presence is Presence.MUST_NOT:
            if topic is not None and topic.topic_id == promise.topic_id:
                raise Broken(f"{promise.name}: was deleted, and is there")
            topics.append(promise)
            continue
        there.pop(promise.name, None)
        topics.append(_found_topic(topic, tree, promise))
    for topic in there.values():
        if topic.name != OFFSETS_TOPIC:
            raise Broken(f"{topic.name}: nobody made it")
        _check_offsets_topic(topic)
    defaults = services.configs.current.log.max_message_bytes
    default = next((text for text in promises.defaults if text == str(defaults)), promises.defaults[0])
    if default == "" or str(defaults) not in promises.defaults:
        if "" not in promises.defaults or str(defaults) in promises.defaults[1:]:
            raise Broken(f"message.max.bytes is {defaults}, set were {promises.defaults}")
        default = ""
    return replace(
        promises,
        topics=tuple(topics),
        offsets=await _found_offsets(house, promises),
        groups=await _found_groups(house, promises),
        defaults=(default,),
        cluster_id=services.cluster.cluster_id,
    )


def _found_topic(topic: Topic | None, tree: Tree, promise: TopicPromise) -> TopicPromise:
    if topic is None:
        if promise.presence is Presence.MUST:
            raise Broken(f"{promise.name}: must be there")
        return replace(promise, presence=Presence.MUST_NOT)
    if promise.topic_id not in (None, topic.topic_id):
        raise Broken(f"{promise.name}: has the id {topic.topic_id}, it was {promise.topic_id}")
    count = len(topic.partitions)
    if count not in promise.partitions:
        raise Broken(f"{promise.name}: has {count} partitions, it may have {promise.partitions}")
    if dict(topic.configs) not in promise.configs:
        raise Broken(f"{promise.name}: is set to {topic.configs}, it may be {promise.configs}")
    logs = {}
    for partition in topic.partitions:
        name = f"{promise.name}-{partition.index}"
        files = tree.get(name, {})
        assert isinstance(files, dict)
        size = sum(len(data) for file, data in files.items() if file.endswith(".log"))
        expected = promise.logs.get(partition.index, NOT_THERE_YET)
        logs[partition.index] = check_log(partition.log, expected, bytes_there=size)
        if partition.high_watermark != logs[partition.index].end_offset:
            raise Broken(f"{name}: consumers see up to {partition.high_watermark} only")
    return replace(
        promise,
        topic_id=topic.topic_id,
        presence=Presence.MUST,
        partitions=(count,),
        configs=(dict(topic.configs),),
        logs=logs,
    )


def _check_offsets_topic(topic: Topic) -> None:
    for partition in topic.partitions:
        if partition.log.offline:
            raise Broken(f"{OFFSETS_TOPIC}-{partition.index}: came up offline, {partition.log.recovered}")


async def _found_offsets(house: Living, promises: BrokerPromises) -> Mapping[Offset, tuple[int, ...]]:
    found: dict[Offset, tuple[int, ...]] = {}
    for key, may_be in promises.offsets.items():
        group, topic, partition = key
        request = OffsetFetchRequest(
            group_id=group, topics=(OffsetFetchRequestTopic(name=topic, partition_indexes=(partition,)),)
        )
        response = await house.ask(request, OFFSET_FETCH_VERSION)
        [result] = response.topics[0].partitions  # type: ignore[attr-defined]
        if response.error_code or result.error_code:  # type: ignore[attr-defined]
            raise Broken(f"the offsets of {group} cannot be read: {response}")
        if result.committed_offset not in may_be:
            raise Broken(f"{key}: {result.committed_offset} is committed, it may be {may_be}")
        found[key] = (result.committed_offset,)
    return found


async def _found_groups(house: Living, promises: BrokerPromises) -> Mapping[str, tuple[GroupFacts, ...]]:
    found: dict[str, tuple[GroupFacts, ...]] = {}
    for name, may_be in promises.groups.items():
        response = await house.ask(DescribeGroupsRequest(groups=(name,)), 5)
        [group] = response.groups  # type: ignore[attr-defined]
        members = tuple((member.member_id, member.member_assignment) for member in group.members)
        facts = GroupFacts(group.group_state, members)
        if group.error_code or facts not in may_be:
            raise Broken(f"the group {name} is {facts}, error {group.error_code}; it may be {may_be}")
        found[name] = (facts,)
    return found


# The scripts.


def told(
    script: Callable[[Clients], None], ignores: tuple[tuple[str, str], ...] = (), *, variant: int = 0
) -> Story[BrokerPromises]:
    """Run a script on a new disk, on which those calls do nothing."""
    disk = CrashDisk(ignores=ignores)
    recorder = Recorder(disk, BrokerPromises())
    script(Clients(recorder, disk, variant=variant))
    return Story(script.__name__, variant, BrokerWorld(), recorder.moments)


def topics_come_and_go(clients: Clients) -> None:
    """Created, written to, grown, deleted, and another of the same name."""

    async def life(clients: Clients) -> None:
        await clients.create("orders", 2)
        await clients.produce("orders", 50)
        await clients.create("other")
        await clients.grow("orders", 3)
        await clients.produce("orders", 60, 60, partition=2)
        await clients.delete("orders")
        await clients.create("orders", 1)
        await clients.produce("orders", 70)

    clients.live(life, stop=False)


def settings_change(clients: Clients) -> None:
    """A topic's own, and those of all brokers; stopped and started in between."""

    async def first(clients: Clients) -> None:
        await clients.create("orders", max_message_bytes="100000")
        await clients.configure("orders", segment_bytes="2048")
        await clients.produce("orders", 900)
        await clients.set_default("123456")

    async def second(clients: Clients) -> None:
        await clients.configure("orders", max_message_bytes="200000")
        await clients.produce("orders", 800, 800)
        await clients.set_default("234567")

    clients.live(first)
    clients.live(second, stop=False, chance=1)


def groups_read(clients: Clients) -> None:
    """Members come and go, offsets are committed by them and by nobody in particular; a group is deleted."""

    async def first(clients: Clients) -> None:
        await clients.create("orders")
        await clients.produce("orders", 20)
        await clients.commit("loose", "orders", 1)
        member, generation = await clients.join("readers")
        await clients.commit("readers", "orders", 1, member=member, generation=generation)
        await clients.commit("readers", "orders", 2, member=member, generation=generation)
        await clients.leave("readers", member)
        await clients.commit("loose", "orders", 5)

    async def second(clients: Clients) -> None:
        await clients.join("readers")
        await clients.delete_group("loose")
        await clients.commit("loose", "orders", 6)

    clients.live(first)
    clients.live(second, stop=False, chance=1)


def producers_number_their_batches(clients: Clients) -> None:
    """Ids are handed out in three lives, of which one ends in a kill; marks and checkpoints are written meanwhile."""

    async def life(clients: Clients) -> None:
        if not clients.topics:
            await clients.create("orders", segment_bytes="2048")
        producer_id = await clients.new_producer()
        for size in (300, 500, 400):
            await clients.produce("orders", size, 40, producer_id=producer_id)
        await clients.tick()
        await clients.produce("orders", 1100, producer_id=producer_id)

    async def last(clients: Clients) -> None:
        await clients.produce("orders", 30, producer_id=await clients.new_producer())

    clients.live(life)
    clients.live(life, stop=False, chance=1)
    clients.live(last, chance=2)


SCRIPTS: tuple[Callable[[Clients], None], ...] = (
    topics_come_and_go,
    settings_change,
    groups_read,
    producers_number_their_batches,
)
