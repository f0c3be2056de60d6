"""All the clients of a broker: they ask, and write down what they asked for and what they were told.

For whatever a client can change, all the values are kept that may be found: the last one that was answered, and each
that was asked for since. Which of several it is, the disk decides; once it was seen it must stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from support.builders import a_batch, some_value
from support.groups import ASSIGNMENT, MEMBER_ID_SINCE, PROTOCOL, PROTOCOL_TYPE
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest, TopicPartitions
from tidelog.protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from tidelog.protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from tidelog.protocol.messages.delete_groups import DeleteGroupsRequest
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tidelog.protocol.messages.init_producer_id import InitProducerIdRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

from .disk import CrashDisk
from .owner import BYTES_LONGER
from .promises import LogBook, LogPromise, Presence
from .recording import Recorder
from .world import Living, in_a_world

T = TypeVar("T")

TOPIC, BROKER = 2, 4
FIRST_TIME = 1_700_000_000_000
REBALANCE_TIMEOUT_MS = 20_000
HOUSEKEEPING_S = 61.0
"""In which marks and checkpoints are written."""
NONE = ErrorCode.NONE
OFFSET_COMMIT_VERSION = 9
PRODUCE_VERSION = 12


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


class Part(NamedTuple):
    """Of a member to which the broker assigns (KIP-848)."""

    epoch: int
    has: tuple[int, ...]
    shall_have: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A group as DescribeGroups or ConsumerGroupDescribe shows it."""

    state: str = "Dead"
    members: tuple[tuple[str, bytes | Part], ...] = ()
    """Id and part of each."""


EMPTY = GroupFacts("Empty")


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
        becomes = EMPTY if group_value.may_be[-1].state == "Dead" else group_value.may_be[-1]
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

    async def join(
        self,
        group: str,
        *,
        kind: str = PROTOCOL_TYPE,
        protocol: JoinGroupRequestProtocol = PROTOCOL,
        assignment: bytes = ASSIGNMENT,
    ) -> tuple[str, int]:
        """Join a group as its only member, and be given everything: its id and generation."""
        value = self.groups.setdefault(group, Value(GroupFacts()))
        request = JoinGroupRequest(
            group_id=group,
            session_timeout_ms=10_000,
            rebalance_timeout_ms=10_000,
            protocol_type=kind,
            protocols=(protocol,),
        )
        joined = await self.ask(request, lambda response: None, version=MEMBER_ID_SINCE - 1)
        assert joined.error_code == NONE, joined  # type: ignore[attr-defined]
        member, generation = joined.member_id, joined.generation_id  # type: ignore[attr-defined]
        facts = GroupFacts("Stable", ((member, assignment),))
        value.ask(facts)

        def heard(response: object) -> None:
            assert response.error_code == NONE, response  # type: ignore[attr-defined]
            value.answer(facts)

        sync = SyncGroupRequest(
            group_id=group,
            generation_id=generation,
            member_id=member,
            assignments=(SyncGroupRequestAssignment(member_id=member, assignment=assignment),),
        )
        await self.ask(sync, heard, version=3)
        return member, generation

    async def beat(
        self,
        group: str,
        topic: str,
        member: str,
        epoch: int,
        becomes: GroupFacts,
        *,
        has: tuple[int, ...] | None = None,
    ) -> None:
        """A heartbeat of a member to which the broker assigns partitions of a topic, and what the group becomes by it.

        Epoch 0 joins, -1 leaves; `has` is said when it has changed.
        """
        value = self.groups.setdefault(group, Value(GroupFacts()))
        value.ask(becomes)

        def heard(response: object) -> None:
            assert response.error_code == NONE, response  # type: ignore[attr-defined]
            value.answer(becomes)

        topic_id = self.book(topic).topic_id
        assert topic_id is not None
        has = () if epoch == 0 else has
        owned = None if has is None else (TopicPartitions(topic_id=topic_id, partitions=has),) if has else ()
        request = ConsumerGroupHeartbeatRequest(
            group_id=group,
            member_id=member,
            member_epoch=epoch,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS if epoch == 0 else -1,
            subscribed_topic_names=(topic,) if epoch == 0 else None,
            topic_partitions=owned,
        )
        await self.ask(request, heard)

    async def leave(self, group: str, member: str, becomes: GroupFacts = EMPTY) -> None:
        """Leave a group, by default empty."""
        value = self.groups[group]
        value.ask(becomes)

        def heard(response: object) -> None:
            assert response.error_code == NONE, response  # type: ignore[attr-defined]
            value.answer(becomes)

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
