"""Brokers as a client sees them: they speak the tide wire, keep their logs in lists, and misbehave when told to.

A double of the network peer for the client's own tests; nothing of the broker is in it. A `FakeCluster` listens through
the running loop's `create_server`, so it lives in the simulated loop as well as on a socket. Answers leave in the
order of the requests, as a broker's do: one that waits holds up those behind it.
"""

import asyncio
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

from tidelog.client import Client, connect
from tidelog.protocol.apis import DEFINED_BY_NAME, ApiKey
from tidelog.protocol.batch import BatchHeader, check, read_header, restamp, stamp_append_time
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopicResult,
)
from tidelog.protocol.messages.create_topics import CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse
from tidelog.protocol.messages.delete_topics import DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse
from tidelog.protocol.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)
from tidelog.protocol.messages.fetch import (
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    PartitionData,
)
from tidelog.protocol.messages.find_coordinator import Coordinator, FindCoordinatorRequest, FindCoordinatorResponse
from tidelog.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from tidelog.protocol.messages.list_offsets import (
    EARLIEST,
    LATEST,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from tidelog.protocol.messages.metadata import (
    MetadataRequest,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from tidelog.protocol.messages.produce import (
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from tidelog.protocol.primitives import INT32_MAX, Buffer
from tidelog.protocol.records import Record, iterate
from tidelog.protocol.tide_wire import PREFACE, TideWire
from tidelog.protocol.wire import Request

from .environment import simulate, wall_clock_ms
from .fake_coordinator import FakeCoordinator
from .fake_groups import FakeGroup
from .fake_groups import respond as answer_about_groups
from .loop import SimLoop

HOST = "127.0.0.1"
PORT = 9092
CLUSTER_ID = "fake-cluster"
WIRE = TideWire(DEFINED_BY_NAME)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request."""

    refuse: ErrorCode | None = None
    """Answered with this code, for every partition or topic; nothing is done."""
    whole: bool = False
    """The code is for the request as a whole."""
    drop: bool = False
    """The connection breaks before anything is done."""
    drop_answer: bool = False
    """It is done, but the connection breaks instead of an answer."""
    silent: bool = False
    """It is done, but never answered."""
    garbage: bool = False
    """Answered with bytes that are no answer."""
    empty: bool = False
    """A produce request is answered without a word about any partition."""
    delay: float = 0.0
    """Answered this much later."""


NO_FAULT = Fault()


@dataclass(slots=True)
class FakeProducer:
    """What a partition knows of a producer [I-1]."""

    epoch: int = -1
    batches: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=5))
    """First and last sequence and base offset of the last five."""


@dataclass(slots=True)
class FakePartition:
    """A log: batches with consecutive offsets."""

    leader: int
    batches: list[bytes] = field(default_factory=list)
    start_offset: int = 0
    next_offset: int = 0
    producers: dict[int, FakeProducer] = field(default_factory=dict)
    """Those whose numbers are known; forgetting one is what a broker does that has lost its state."""
    is_lost: bool = False
    """Its log cannot be opened: no offset of it is told."""

    def take(self, records: Buffer, *, append_time_ms: int | None = None) -> int | ErrorCode:
        """Append a producer's batch unless its numbers forbid it [I-2, I-3]; a duplicate's offset is the old one."""
        header = read_header(records)
        if header.producer_id < 0:
            return self.append(records, append_time_ms=append_time_ms)
        known = self.producers.get(header.producer_id)
        if known is not None:
            place = _place(known, header)
            if place is not None:
                return place
        producer = self.producers.setdefault(header.producer_id, FakeProducer())
        if header.producer_epoch != producer.epoch:
            producer.epoch = header.producer_epoch
            producer.batches.clear()
        base_offset = self.append(records, append_time_ms=append_time_ms)
        producer.batches.append((header.base_sequence, _last_sequence(header), base_offset))
        return base_offset

    def append(self, records: Buffer, *, append_time_ms: int | None = None) -> int:
        """Put a batch at the end; returns its base offset."""
        batch = bytearray(records)
        header = check(batch)
        assert header.size == len(batch), "one batch per partition"
        assert header.base_offset == 0
        if append_time_ms is not None:
            stamp_append_time(batch, 0, append_time_ms)
        base_offset = self.next_offset
        restamp(batch, 0, base_offset=base_offset, leader_epoch=0)
        self.batches.append(bytes(batch))
        self.next_offset = base_offset + header.last_offset_delta + 1
        return base_offset

    def read(self, offset: int, size_max: int) -> bytes:
        """Whole batches from the one that holds `offset`, at least one (F-2, L-5)."""
        found: list[bytes] = []
        size = 0
        for batch in self.batches[self._index(offset) :]:
            if found and size + len(batch) > size_max:
                break
            found.append(batch)
            size += len(batch)
        return b"".join(found)

    def records(self) -> Iterator[Record]:
        """Everything from the log's start."""
        for batch in self.batches:
            for record in iterate(batch):
                if record.offset >= self.start_offset:
                    yield record

    def _index(self, offset: int) -> int:
        low, high = 0, len(self.batches)
        while low < high:
            middle = (low + high) // 2
            if read_header(self.batches[middle]).next_offset <= offset:
                low = middle + 1
            else:
                high = middle
        return low


def _last_sequence(header: BatchHeader) -> int:
    return (header.base_sequence + header.last_offset_delta) & INT32_MAX


def _place(known: FakeProducer, header: BatchHeader) -> int | ErrorCode | None:
    """The offset of a duplicate, the code of what cannot be taken, None for what can."""
    if header.producer_epoch == known.epoch:
        for first, last, offset in known.batches:
            if (first, last) == (header.base_sequence, _last_sequence(header)):
                return offset
    if header.producer_epoch < known.epoch:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    expected = (known.batches[-1][1] + 1) & INT32_MAX if header.producer_epoch == known.epoch else 0
    return None if header.base_sequence == expected else ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


@dataclass(slots=True, kw_only=True)
class FakeTopic:
    """A topic with its id and settings."""

    topic_id: uuid.UUID
    partitions: list[FakePartition]
    max_message_bytes: int = 1_048_588
    append_time_ms: int | None = None
    """LogAppendTime, always this one."""


class FakeCluster:
    """Some brokers and what they hold together."""

    def __init__(self, brokers: int = 1, *, partitions: int = 1, auto_create: bool = True) -> None:
        self.topics: dict[str, FakeTopic] = {}
        self.groups: dict[str, FakeGroup] = {}
        """As an administrator is told of them; coordinated by the last of the brokers."""
        self.unavailable_partitions: tuple[int, ...] = ()
        """Of groups that cannot be told of."""
        self.coordinator = FakeCoordinator()
        """What members of groups talk to, at whichever broker."""
        self.partitions = partitions
        self.auto_create = auto_create
        self.brokers = [FakeBroker(self, number + 1, PORT + number) for number in range(brokers)]
        self.waiting: list[Callable[[], None]] = []
        """Fetches to look at again when something was appended."""
        self.next_producer_id = 0
        self._ids = 0

    @property
    def url(self) -> str:
        """For `connect`."""
        return "tidelog://" + ",".join(f"{HOST}:{broker.port}" for broker in self.brokers)

    async def start(self) -> None:
        """Listen."""
        for broker in self.brokers:
            await broker.start()

    async def stop(self) -> None:
        """Stop listening and break every connection."""
        for broker in self.brokers:
            broker.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def create(self, name: str, partitions: int | None = None) -> FakeTopic:
        """A topic, its partitions led by the brokers in turn."""
        self._ids += 1
        count = self.partitions if partitions is None else partitions
        leaders = [self.brokers[index % len(self.brokers)].node_id for index in range(count)]
        topic = FakeTopic(topic_id=uuid.UUID(int=self._ids), partitions=[FakePartition(node) for node in leaders])
        self.topics[name] = topic
        return topic

    def values(self, topic: str, partition: int | None = None) -> list[bytes | None]:
        """Values in the log of a partition, or of all of them one after the other."""
        partitions = self.topics[topic].partitions
        chosen = partitions if partition is None else [partitions[partition]]
        return [record.value for log in chosen for record in log.records()]

    def fail(self, api: ApiKey, *faults: Fault) -> None:
        """The next requests of this kind to the first broker go wrong like this, one after the other."""
        self.brokers[0].faults[api].extend(faults)

    def seen(self, api: ApiKey) -> list[object]:
        """The requests of this kind that came, with whatever became of them."""
        return [body for broker in self.brokers for key, body in broker.seen if key == api]

    def wake(self) -> None:
        """Something was appended."""
        waiting, self.waiting = self.waiting, []
        for look in waiting:
            look()


class FakeBroker:
    """One broker."""

    def __init__(self, cluster: FakeCluster, node_id: int, port: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.port = port
        self.faults: defaultdict[ApiKey, deque[Fault]] = defaultdict(deque)
        self.seen: list[tuple[ApiKey, object]] = []
        self.connections: list[FakeConnection] = []
        self.accepted = 0
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        """Listen; port 0 is replaced by the one that was found."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: FakeConnection(self), HOST, self.port)
        if self.port == 0:
            self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Stop listening, break every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_connections()

    def drop_connections(self) -> None:
        """Break every connection."""
        for connection in list(self.connections):
            connection.drop()

    def log(self, topic: str, index: int) -> FakePartition | ErrorCode:
        """The partition, or why it cannot be used here."""
        known = self.cluster.topics.get(topic)
        if known is None or not 0 <= index < len(known.partitions):
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        partition = known.partitions[index]
        return partition if partition.leader == self.node_id else ErrorCode.NOT_LEADER_OR_FOLLOWER


@dataclass(slots=True)
class _Slot:
    """The place of an answer in the row."""

    answer: list[Buffer] | None = None


class FakeConnection(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.cluster = broker.cluster
        self._loop = asyncio.get_running_loop()
        self._bytes = bytearray()
        self._has_preface = False
        self._slots: deque[_Slot] = deque()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.broker.connections.append(self)
        self.broker.accepted += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self in self.broker.connections:
            self.broker.connections.remove(self)

    def drop(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        if not self._has_preface and len(self._bytes) >= len(PREFACE):
            assert self._bytes[: len(PREFACE)] == PREFACE
            del self._bytes[: len(PREFACE)]
            self._has_preface = True
        position = 0
        while self._has_preface and len(self._bytes) - position >= 4:
            end = position + 4 + int.from_bytes(self._bytes[position : position + 4], "big")
            if len(self._bytes) < end or self._transport is None:
                break
            self._handle(WIRE.decode_request(memoryview(bytes(self._bytes[position + 4 : end]))))
            position = end
        del self._bytes[:position]

    # Answers

    def _handle(self, request: Request) -> None:
        api = request.header.api.key
        self.broker.seen.append((api, request.body))
        faults = self.broker.faults[api]
        fault = faults.popleft() if faults else NO_FAULT
        if fault.drop:
            self.drop()
            return
        if isinstance(request.body, ProduceRequest) and request.body.acks == 0:
            self._produce(request.body, fault)
            return
        slot = _Slot()
        self._slots.append(slot)
        if isinstance(request.body, FetchRequest) and fault == NO_FAULT:
            self._fetch(request, slot, deadline=self._loop.time() + request.body.max_wait_ms / 1000)
            return
        response = ProduceResponse() if fault.empty else self._respond(request.body, fault)
        if fault.drop_answer:
            self.drop()
        elif fault.silent:
            pass
        elif fault.delay:
            self._loop.call_later(fault.delay, self._answer, request, slot, response)
        elif fault.garbage:
            self._fill(slot, [b"\x00\x00\x00\x08garbage!"])
        elif fault.refuse is not None and fault.whole:
            self._fill(slot, WIRE.encode_refusal(request.header, fault.refuse, "as told"))
        else:
            self._answer(request, slot, response)

    def _answer(self, request: Request, slot: _Slot, response: object) -> None:
        self._fill(slot, WIRE.encode_response(request.header, response))

    def _fill(self, slot: _Slot, answer: list[Buffer]) -> None:
        slot.answer = answer
        while self._slots and self._slots[0].answer is not None:
            ready = self._slots.popleft().answer
            if self._transport is not None and ready is not None:
                self._transport.writelines(ready)

    def _respond(self, body: object, fault: Fault) -> object:
        if isinstance(body, ProduceRequest):
            return self._produce(body, fault)
        if isinstance(body, FetchRequest):
            return self._read(body, fault)[0]
        if isinstance(body, MetadataRequest):
            return self._metadata(body, fault)
        if isinstance(body, ListOffsetsRequest):
            return self._list_offsets(body, fault)
        if isinstance(body, CreateTopicsRequest):
            return self._create_topics(body, fault)
        if isinstance(body, CreatePartitionsRequest):
            return self._create_partitions(body, fault)
        if isinstance(body, DeleteTopicsRequest):
            return self._delete_topics(body, fault)
        if isinstance(body, InitProducerIdRequest):
            if fault.refuse is not None:
                return InitProducerIdResponse(error_code=fault.refuse)
            self.cluster.next_producer_id += 1
            return InitProducerIdResponse(producer_id=self.cluster.next_producer_id - 1)
        if (answer := self._to_a_member(body, fault)) is not None:
            return answer
        if isinstance(body, FindCoordinatorRequest):
            return self._find_coordinator(body, fault)
        if (told := self._tell_of_groups(body, fault)) is not None:
            return told
        assert isinstance(body, DescribeClusterRequest), body
        brokers = tuple(
            DescribeClusterBroker(broker_id=broker.node_id, host=HOST, port=broker.port)
            for broker in self.cluster.brokers
        )
        return DescribeClusterResponse(cluster_id=CLUSTER_ID, controller_id=1, brokers=brokers)

    def _find_coordinator(self, body: FindCoordinatorRequest, fault: Fault) -> FindCoordinatorResponse:
        last = self.cluster.brokers[-1]
        code = fault.refuse or ErrorCode.NONE
        return FindCoordinatorResponse(
            coordinators=tuple(
                Coordinator(key=key, node_id=last.node_id, host=HOST, port=last.port, error_code=code)
                for key in body.coordinator_keys
            )
        )

    def _to_a_member(self, body: object, fault: Fault) -> object | None:
        sizes = {name: (topic.topic_id, len(topic.partitions)) for name, topic in self.cluster.topics.items()}
        return self.cluster.coordinator.respond(body, sizes, fault.refuse)

    def _tell_of_groups(self, body: object, fault: Fault) -> object | None:
        ends = {
            name: [(log.start_offset, log.next_offset) for log in topic.partitions]
            for name, topic in self.cluster.topics.items()
        }
        if self.broker is not self.cluster.brokers[-1]:
            return answer_about_groups({}, ends, body, fault.refuse)
        unavailable = self.cluster.unavailable_partitions
        return answer_about_groups(self.cluster.groups, ends, body, fault.refuse, unavailable)

    def _produce(self, body: ProduceRequest, fault: Fault) -> ProduceResponse:
        topics = []
        for topic in body.topic_data:
            partitions = []
            for data in topic.partition_data:
                assert data.records is not None
                answer = PartitionProduceResponse(index=data.index, base_offset=-1)
                log = self.broker.log(topic.name, data.index)
                known = self.cluster.topics.get(topic.name)
                if fault.refuse is not None:
                    answer = replace(answer, error_code=fault.refuse)
                elif isinstance(log, ErrorCode):
                    answer = replace(answer, error_code=log)
                elif known is None or topic.topic_id != known.topic_id:
                    answer = replace(answer, error_code=ErrorCode.UNKNOWN_TOPIC_ID)
                elif len(data.records) > known.max_message_bytes:
                    answer = replace(answer, error_code=ErrorCode.MESSAGE_TOO_LARGE)
                else:
                    taken = log.take(data.records, append_time_ms=known.append_time_ms)
                    stamped = -1 if known.append_time_ms is None else known.append_time_ms
                    if isinstance(taken, ErrorCode):
                        answer = replace(answer, error_code=taken)
                    else:
                        answer = replace(answer, base_offset=taken, log_append_time_ms=stamped)
                partitions.append(answer)
            topics.append(
                TopicProduceResponse(name=topic.name, topic_id=topic.topic_id, partition_responses=tuple(partitions))
            )
        self._loop.call_soon(self.cluster.wake)
        return ProduceResponse(responses=tuple(topics))

    def _fetch(self, request: Request, slot: _Slot, *, deadline: float) -> None:
        body = request.body
        assert isinstance(body, FetchRequest)
        response, is_something = self._read(body, NO_FAULT)
        if is_something or self._loop.time() >= deadline:
            self._answer(request, slot, response)
            return
        is_done = False

        def look() -> None:
            nonlocal is_done
            if not is_done and self._transport is not None:
                is_done = True
                timer.cancel()
                self._fetch(request, slot, deadline=deadline)

        timer = self._loop.call_at(deadline, look)
        self.cluster.waiting.append(look)

    def _read(self, body: FetchRequest, fault: Fault) -> tuple[FetchResponse, bool]:
        left = body.max_bytes
        is_something = False
        topics = []
        for topic in body.topics:
            partitions = []
            for asked in topic.partitions:
                data = self._read_partition(topic.topic, topic.topic_id, asked, fault)
                if data.records and is_something and len(data.records) > left:
                    data = replace(data, records=b"")
                left -= len(data.records or b"")
                is_something = is_something or bool(data.records) or data.error_code != ErrorCode.NONE
                partitions.append(data)
            topics.append(
                FetchableTopicResponse(topic=topic.topic, topic_id=topic.topic_id, partitions=tuple(partitions))
            )
        return FetchResponse(responses=tuple(topics)), is_something

    def _read_partition(self, topic: str, topic_id: uuid.UUID, asked: FetchPartition, fault: Fault) -> PartitionData:
        answer = PartitionData(partition_index=asked.partition, high_watermark=-1)
        log = self.broker.log(topic, asked.partition)
        if fault.refuse is not None:
            return replace(answer, error_code=fault.refuse)
        if isinstance(log, ErrorCode):
            return replace(answer, error_code=log)
        if topic_id != self.cluster.topics[topic].topic_id:
            return replace(answer, error_code=ErrorCode.UNKNOWN_TOPIC_ID)
        answer = replace(answer, high_watermark=log.next_offset, log_start_offset=log.start_offset)
        if not log.start_offset <= asked.fetch_offset <= log.next_offset:
            return replace(answer, error_code=ErrorCode.OFFSET_OUT_OF_RANGE)
        return replace(answer, records=log.read(asked.fetch_offset, asked.partition_max_bytes))

    def _metadata(self, body: MetadataRequest, fault: Fault) -> MetadataResponse:
        ids = {topic.topic_id: name for name, topic in self.cluster.topics.items()}
        asked = [topic.name or ids.get(topic.topic_id, "") for topic in body.topics or ()]
        names = list(self.cluster.topics) if body.topics is None else asked
        if self.cluster.auto_create and body.allow_auto_topic_creation:
            for name in names:
                if name not in self.cluster.topics:
                    self.cluster.create(name)
        brokers = tuple(
            MetadataResponseBroker(node_id=broker.node_id, host=HOST, port=broker.port)
            for broker in self.cluster.brokers
        )
        topics = tuple(self._describe(name, fault) for name in names)
        return MetadataResponse(brokers=brokers, cluster_id=CLUSTER_ID, controller_id=1, topics=topics)

    def _describe(self, name: str, fault: Fault) -> MetadataResponseTopic:
        topic = self.cluster.topics.get(name)
        if fault.refuse is not None or topic is None:
            return MetadataResponseTopic(name=name, error_code=fault.refuse or ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        partitions = tuple(
            MetadataResponsePartition(
                partition_index=index,
                leader_id=partition.leader,
                replica_nodes=(partition.leader,),
                isr_nodes=(),
                offline_replicas=(partition.leader,) if partition.is_lost else (),
            )
            for index, partition in reversed(list(enumerate(topic.partitions)))
        )
        return MetadataResponseTopic(
            name=name, topic_id=topic.topic_id, is_internal=name.startswith("__"), partitions=partitions
        )

    def _list_offsets(self, body: ListOffsetsRequest, fault: Fault) -> ListOffsetsResponse:
        topics = []
        for topic in body.topics:
            partitions = []
            for asked in topic.partitions:
                log = self.broker.log(topic.name, asked.partition_index)
                answer = ListOffsetsPartitionResponse(partition_index=asked.partition_index)
                if fault.refuse is not None:
                    answer = replace(answer, error_code=fault.refuse)
                elif isinstance(log, ErrorCode):
                    answer = replace(answer, error_code=log)
                elif log.is_lost:
                    answer = replace(answer, error_code=ErrorCode.KAFKA_STORAGE_ERROR)
                elif asked.timestamp == LATEST:
                    answer = replace(answer, offset=log.next_offset)
                elif asked.timestamp == EARLIEST:
                    answer = replace(answer, offset=log.start_offset)
                else:
                    for record in log.records():
                        if record.timestamp >= asked.timestamp:
                            answer = replace(answer, offset=record.offset, timestamp=record.timestamp)
                            break
                partitions.append(answer)
            topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=tuple(partitions)))
        return ListOffsetsResponse(topics=tuple(topics))

    def _create_topics(self, body: CreateTopicsRequest, fault: Fault) -> CreateTopicsResponse:
        results = []
        for topic in body.topics:
            result = CreatableTopicResult(name=topic.name, error_message=None)
            if fault.refuse is not None:
                result = replace(result, error_code=fault.refuse, error_message="as told")
            elif topic.name in self.cluster.topics:
                result = replace(result, error_code=ErrorCode.TOPIC_ALREADY_EXISTS)
            else:
                count = self.cluster.partitions if topic.num_partitions < 0 else topic.num_partitions
                made = self.cluster.create(topic.name, count)
                result = replace(result, topic_id=made.topic_id, num_partitions=count, replication_factor=1)
            results.append(result)
        return CreateTopicsResponse(topics=tuple(results))

    def _create_partitions(self, body: CreatePartitionsRequest, fault: Fault) -> CreatePartitionsResponse:
        results = []
        for topic in body.topics:
            known = self.cluster.topics.get(topic.name)
            code = fault.refuse or (ErrorCode.NONE if known else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            if known is not None and code is ErrorCode.NONE:
                if topic.count <= len(known.partitions):
                    code = ErrorCode.INVALID_PARTITIONS
                elif not body.validate_only:
                    added = range(len(known.partitions), topic.count)
                    known.partitions += [FakePartition(self.broker.node_id) for _ in added]
            results.append(
                CreatePartitionsTopicResult(name=topic.name, error_code=code, error_message="as told" if code else None)
            )
        return CreatePartitionsResponse(results=tuple(results))

    def _delete_topics(self, body: DeleteTopicsRequest, fault: Fault) -> DeleteTopicsResponse:
        results = []
        for topic in body.topics:
            code = fault.refuse or ErrorCode.NONE
            if not code and self.cluster.topics.pop(topic.name or "", None) is None:
                code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            results.append(DeletableTopicResult(name=topic.name, error_code=code))
        return DeleteTopicsResponse(responses=tuple(results))


def played(
    scenario: Callable[[FakeCluster], Coroutine[object, object, T]],
    *,
    seed: int = 1,
    brokers: int = 1,
    partitions: int = 1,
    auto_create: bool = True,
) -> T:
    """Play a scenario against a fake cluster in the simulated loop; afterwards nothing of a client may be left."""

    async def play(loop: SimLoop) -> T:
        cluster = FakeCluster(brokers, partitions=partitions, auto_create=auto_create)
        async with cluster:
            result = await scenario(cluster)
            await asyncio.sleep(10.0)  # connections that were closed are gone by now
            left = [task.get_name() for task in loop.living_tasks() if task is not asyncio.current_task()]
            assert not left, f"tasks outlive the client: {left}"
            assert not any(broker.connections for broker in cluster.brokers), "connections outlive the client"
        return result

    return simulate(play, seed=seed)


def a_client(
    cluster: FakeCluster,
    *,
    timeout: float = 30.0,
    max_buffer: int | str = "32MiB",
    backoff: tuple[float, float] = (0.05, 2.0),
) -> Client:
    """A client in the simulated loop: its time and its chance."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    return connect(
        cluster.url,
        timeout=timeout,
        max_buffer=max_buffer,
        backoff=backoff,
        now_ms=lambda: wall_clock_ms(loop),
        random=loop.random_for("client"),
    )
