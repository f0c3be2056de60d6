"""System calls of a running broker fail, stop half-way or hang: nobody is told what is not so, and nobody else suffers.

A5, A6, A7. strace makes calls fail on the real process. Which ones there are is not listed here: a script (a topic is
created, written through several segments by an idempotent producer, read, committed to and deleted) is watched once,
and then played again for each kind of call on each kind of file, that call failing as an operating system has it fail.
The oracle is outside: what the client was told.
"""

import re
import resource
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.builders import a_batch, records_of
from support.caller import Caller, a_caller
from support.process import BrokerProcess
from support.proofs import IS_PROOF, record
from support.strace import Call, Strace, attached, command
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopicState
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from tidelog.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData

OK, OFFLINE = ErrorCode.NONE, ErrorCode.KAFKA_STORAGE_ERROR
SIDE = "side"
"""The topic whose disk is sound all the time."""
BATCHES = 10
RECORD_SIZE = 400
TIMEOUT_MS = 20_000
SEGMENT_BYTES = 1_500
SETTINGS = (
    f"log.segment.bytes={SEGMENT_BYTES}",
    "log.index.interval.bytes=0",
    "offsets.topic.num.partitions=1",
    "auto.create.topics.enable=false",
)
ERRORS: Mapping[str, Sequence[str]] = {
    "openat": ("EMFILE", "EIO", "ENOSPC"),
    "mkdir": ("EIO", "ENOSPC"),
    "rename": ("EIO", "ENOSPC"),
    "pread64": ("EIO",),
    "pwritev2": ("ENOSPC", "EIO", "EDQUOT"),
    "ftruncate": ("EIO",),
    "fallocate": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO", "ENOSPC"),
    "fsync": ("EIO",),
    "syncfs": ("EIO",),
}
"""How a call may fail; in a build, each one fails in the first of these ways."""
PASSING = (0, 1, 2, 3, 5, 8) if IS_PROOF else (0,)
"""How many calls succeed before, in each thread."""
STARTS_TRIED = 1_000 if IS_PROOF else 6
FIRST = "t000"


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of call on a kind of file, in one part of the script."""

    phase: str
    call: str
    kind: str
    """Its path below the data directory, `{}` for the topic and N for an offset."""

    @property
    def is_shared(self) -> bool:
        """It hits a log that all topics need."""
        return self.kind.startswith("__")


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault, as strace is told of it, and the paths of it that there are."""

    fault: Fault
    injection: str
    paths: tuple[str, ...]


@dataclass(slots=True)
class Told:
    """What the client was told of a topic."""

    exists: bool = False
    may_be_gone: bool = False
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    sent: set[bytes] = field(default_factory=set)


class Client:
    """One connection, and what was said over it."""

    def __init__(self, caller: Caller, told: dict[str, Told]) -> None:
        self._caller = caller
        self._told = told
        self._producers: dict[str, tuple[int, int]] = {}
        """Of each topic: the producer id, and the next sequence."""
        self._sent = sum(len(one.sent) for one in told.values())

    async def create(self, name: str, *, segment_bytes: int = SEGMENT_BYTES) -> int:
        """The code that it was answered with."""
        setting = CreatableTopicConfig(name="segment.bytes", value=str(segment_bytes))
        topic = CreatableTopic(name=name, num_partitions=1, replication_factor=1, configs=(setting,))
        response = await self._caller.ask(CreateTopicsRequest(topics=(topic,), timeout_ms=TIMEOUT_MS))
        assert isinstance(response, CreateTopicsResponse)
        code = response.topics[0].error_code
        self._told[name].exists = code == OK
        return code

    async def delete(self, name: str) -> int:
        """The code that it was answered with."""
        self._told[name].may_be_gone = True
        request = DeleteTopicsRequest(topics=(DeleteTopicState(name=name),), timeout_ms=TIMEOUT_MS)
        response = await self._caller.ask(request)
        assert isinstance(response, DeleteTopicsResponse)
        return response.responses[0].error_code

    async def produce(self, name: str, *, size: int = RECORD_SIZE, acks: int = -1) -> int:
        """One record; the code that it was answered with."""
        await self.send(name, size=size, acks=acks)
        return await self.answered(name)

    async def send(self, name: str, *, size: int = RECORD_SIZE, acks: int = -1) -> None:
        """One record; the answer is still to come."""
        if name not in self._producers:
            response = await self._caller.ask(InitProducerIdRequest(transactional_id=None))
            assert isinstance(response, InitProducerIdResponse)
            assert response.error_code == OK
            self._producers[name] = response.producer_id, 0
        producer_id, sequence = self._producers[name]
        self._sent += 1
        self._value = (b"%s %d " % (name.encode(), self._sent)).ljust(size, b".")
        self._told[name].sent.add(self._value)
        batch = a_batch([self._value], producer_id=producer_id, producer_epoch=0, base_sequence=sequence)
        self._producers[name] = producer_id, sequence + 1
        data = PartitionProduceData(index=0, records=memoryview(batch))
        topic = TopicProduceData(name=name, partition_data=(data,))
        await self._caller.send(ProduceRequest(acks=acks, timeout_ms=TIMEOUT_MS, topic_data=(topic,)), 12)

    async def answered(self, name: str) -> int:
        """The code of the record that was sent last."""
        response = await self._caller.receive()
        assert isinstance(response, ProduceResponse)
        result = response.responses[0].partition_responses[0]
        if result.error_code == OK:
            told = self._told[name].acknowledged
            assert result.base_offset not in told, "two records were said to lie in one place"
            told[result.base_offset] = self._value
        else:
            del self._producers[name]  # whether the broker counted it nobody knows
        return result.error_code

    async def read(self, name: str) -> dict[int, bytes] | int:
        """All records by offset, without a gap; the code if there is an error."""
        found: dict[int, bytes] = {}
        while True:
            part = FetchPartition(partition=0, fetch_offset=len(found), partition_max_bytes=1 << 20)
            topic = FetchTopic(topic=name, partitions=(part,))
            response = await self._caller.ask(FetchRequest(topics=(topic,), min_bytes=1, max_wait_ms=0), 12)
            assert isinstance(response, FetchResponse)
            data = response.responses[0].partitions[0]
            if data.error_code != OK:
                return data.error_code
            for one in records_of(data.records or b""):
                if one.offset >= len(found):
                    assert one.offset == len(found), "a gap in the offsets"
                    assert one.value is not None
                    found[one.offset] = one.value
            if len(found) >= data.high_watermark:
                return found

    async def commit(self, name: str, offset: int) -> int:
        """The code that it was answered with."""
        part = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
        topic = OffsetCommitRequestTopic(name=name, partitions=(part,))
        response = await self._caller.ask(OffsetCommitRequest(group_id="billing", topics=(topic,)), 8)
        assert isinstance(response, OffsetCommitResponse)
        return response.topics[0].partitions[0].error_code


class Scene:
    """A broker, and the client of it."""

    def __init__(self, folder: Path) -> None:
        self.broker = BrokerProcess((folder / "data").resolve(), *SETTINGS)
        self.trace = folder / "trace"
        self.told: dict[str, Told] = defaultdict(Told)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """As long as the block."""
        async with a_caller(self.broker.server) as caller:
            yield Client(caller, self.told)

    @contextmanager
    def struck(self, injection: str, *paths: str) -> Iterator[Strace]:
        """As long as the block, calls on these paths below the data directory fail."""
        with self._attached([injection], paths) as strace:
            yield strace

    @contextmanager
    def watched(self) -> Iterator[Strace]:
        """As long as the block, what the broker does is written down."""
        with self._attached([], []) as strace:
            yield strace

    @contextmanager
    def _attached(self, injections: Sequence[str], paths: Sequence[str]) -> Iterator[Strace]:
        places = [self.broker.data_dir / path for path in paths]
        with attached(self.broker.pid, self.trace, injections=injections, paths=places) as strace:
            yield strace

    @contextmanager
    def started_under(self, *blow: str) -> Iterator[Strace]:
        """A start, while calls fail: an injection and the paths. Whether it succeeds is not said."""
        paths = [self.broker.data_dir / path for path in blow[1:]]
        self.broker.under = [*command(self.trace, injections=blow[:1], paths=paths), "-D"]
        try:
            self.broker.start()
        except AssertionError:
            assert blow, "it does not even start when nothing fails"
        self.broker.under = []
        yield Strace(self.trace)

    def size_of(self, path: str) -> int:
        """A file's."""
        return (self.broker.data_dir / path).stat().st_size

    async def check(self) -> int:
        """Of a broker that was started on a sound disk: everything that was acknowledged is there; how much that is."""
        count = 0
        async with self.client() as client:
            for name, told in self.told.items():
                found = await client.read(name)
                if found == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                    assert told.may_be_gone or not told.exists, f"{name} is gone"
                    continue
                assert isinstance(found, dict), f"{name}: {found!r}"
                assert {at: found.get(at) for at in told.acknowledged} == told.acknowledged, name
                assert set(found.values()) <= told.sent, name
                count += len(told.acknowledged)
                assert await client.produce(name) == OK, name
        return count


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A broker that runs."""
    scene = Scene(tmp_path)
    scene.broker.start()
    try:
        yield scene
    finally:
        scene.broker.stop()
    assert "Traceback" not in scene.broker.log_text(), scene.broker.log_text()


# Each call of the script fails


PHASES = ("create", "work", "delete")


async def set_up(client: Client) -> None:
    """What all topics share is there."""
    assert await client.create(SIDE) == OK
    assert await client.produce(SIDE) == OK
    while await client.commit(SIDE, 0) != OK:
        pass  # the coordinator is on its way


async def play(client: Client, phase: str, name: str) -> list[int]:
    """One part of the script; the codes of its answers."""
    if phase == "create":
        return [await client.create(name)]
    if phase == "delete":
        return [await client.delete(name)]
    codes = [await client.produce(name) for _ in range(BATCHES)]
    codes.append(await client.commit(name, 1))
    found = await client.read(name)
    return [*codes, OK if isinstance(found, dict) else found]


def kinds(scene: Scene, phase: str, calls: Sequence[Call], name: str) -> dict[Fault, set[str]]:
    """The faults that these calls may meet, and the paths of each, `{}` standing for the topic.

    Not those on the disk that is sound all the time, whose durable mark may be written meanwhile.
    """
    root = str(scene.broker.data_dir)
    found: dict[Fault, set[str]] = defaultdict(set)
    for call in calls:
        path = call.path.replace(" (deleted)", "")
        if call.name in ERRORS and (path == root or path.startswith(root + "/")) and "-delete" not in path:
            pattern = path.removeprefix(root).removeprefix("/").replace(name, "{}")
            if pattern.startswith(f"{SIDE}-"):
                continue
            found[Fault(phase, call.name, re.sub(r"\d{20}", "N", pattern))].add(pattern)
    return found


def blows(faults: Mapping[Fault, set[str]], passing: Sequence[int]) -> Iterator[Blow]:
    """Every way in which the calls may fail."""
    for fault, paths in faults.items():
        for error in ERRORS[fault.call] if IS_PROOF else ERRORS[fault.call][:1]:
            for count in passing:
                yield Blow(fault, f"{fault.call}:error={error}:when={count + 1}+", tuple(sorted(paths)))


async def strike(scene: Scene, client: Client, blow: Blow, name: str) -> bool:
    """Play the script with one fault; whether it was met."""
    fault, codes, calls = blow.fault, list[int](), list[Call]()
    for phase in PHASES:
        if phase != fault.phase:
            if phase != "delete":  # else there would be nothing to be found in the end
                codes += await play(client, phase, name)
            continue
        with scene.struck(blow.injection, *(path.format(name) for path in blow.paths)) as strace:
            codes += await play(client, phase, name)
            if not fault.is_shared:
                assert await client.produce(SIDE) == OK, "somebody else's disk is sound"
                assert isinstance(await client.read(SIDE), dict)
        calls = strace.calls()
        injected = [number for number, call in enumerate(calls) if call.injected]
        if injected and phase == "work" and fault.call == "fdatasync" and fault.kind.endswith("}-0/N.log"):
            later = [call.path for call in calls[injected[0] + 1 :] if call.name == "fdatasync"]
            assert calls[injected[0]].path not in later, "a failed sync was tried again"
            assert await client.produce(name) == OFFLINE, "online in spite of a failed sync"
    assert ErrorCode.UNKNOWN_SERVER_ERROR not in codes
    return any(call.injected for call in calls)


async def test_whichever_call_fails_the_client_is_told_the_truth_and_others_go_on(scene: Scene) -> None:
    """A5, A6, A7, L-9, L-10."""
    broker = scene.broker
    faults: dict[Fault, set[str]] = {}
    async with scene.client() as client:
        await set_up(client)
        for phase in PHASES:
            with scene.watched() as strace:
                assert set(await play(client, phase, FIRST)) == {OK}
            faults |= kinds(scene, phase, strace.calls(), FIRST)
    assert {fault.call for fault in faults} >= {"openat", "rename", "pread64", "pwritev2", "fdatasync", "fsync"}
    met = 0
    for number, blow in enumerate(blows(faults, PASSING), 1):
        try:
            async with scene.client() as client:
                met += await strike(scene, client, blow, f"t{number:03}")
            if blow.fault.is_shared:
                broker.kill()
                broker.restart()
                await scene.check()
        except BaseException as failed:
            failed.add_note(f"{blow}\n{broker.log_text()[-3000:]}")
            raise
    broker.kill()
    broker.restart()
    acknowledged = await scene.check()
    record("failing calls", part="work", size=met, lost=0)
    assert met > 50
    assert acknowledged > met


async def test_whichever_call_fails_in_a_start_the_next_one_finds_everything(scene: Scene) -> None:
    """A5, A6: the start gives up, or does without the log whose file it cannot read, and changes nothing for worse."""
    broker = scene.broker
    async with scene.client() as client:
        await set_up(client)
        assert await client.create(FIRST) == OK
        for _ in range(BATCHES):
            assert await client.produce(FIRST) == OK
    broker.kill()
    with scene.started_under() as strace:
        faults = kinds(scene, "start", strace.calls(), FIRST)
    every = list(blows(faults, (0,)))
    met = 0
    for blow in every[:: max(1, len(every) // STARTS_TRIED)]:
        broker.kill()
        with scene.started_under(blow.injection, *(path.format(FIRST) for path in blow.paths)) as strace:
            pass
        met += any(call.injected for call in strace.calls())
        broker.kill()
        broker.start()
        try:
            await scene.check()
        except BaseException as failed:
            failed.add_note(f"{blow}\n{broker.log_text()[-3000:]}")
            raise
    record("failing calls", part="start", size=met, lost=0)
    assert met >= STARTS_TRIED // 2


# A write that is cut short, and a disk that hangs


async def test_a_write_that_stops_half_way_leaves_nothing_behind(scene: Scene) -> None:
    """A6: the kernel writes as many bytes as the limit on the size of files allows, and then no more."""
    segment = f"{FIRST}-0/{0:020d}.log"
    async with scene.client() as client:
        assert await client.create(FIRST, segment_bytes=1 << 20) == OK
        assert await client.produce(FIRST, size=300_000) == OK  # larger than every other file there is
        before = scene.size_of(segment)
        resource.prlimit(scene.broker.pid, resource.RLIMIT_FSIZE, (before + 1_000, resource.RLIM_INFINITY))
        with scene.watched() as strace:
            assert await client.produce(FIRST, size=400_000) == OFFLINE
        writes = [call.result for call in strace.calls() if call.name == "pwritev2" and call.path.endswith(segment)]
        assert writes == [1_000, -1]
        assert scene.size_of(segment) == before
        assert await client.produce(FIRST) == OK
        resource.prlimit(scene.broker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert await client.produce(FIRST, size=400_000) == OK
    scene.broker.kill()
    scene.broker.restart()
    assert await scene.check() == 3
    record("failing calls", part="half-way", size=1, lost=0)


async def test_bytes_that_cannot_be_read_are_named_and_cost_nobody_anything_else(scene: Scene) -> None:
    """A6: no damage is called what may be there all the same; one line and the metrics say where to look."""
    broker = scene.broker
    async with scene.client() as client:
        await set_up(client)
        assert await client.create(FIRST) == OK
        for _ in range(BATCHES):
            assert await client.produce(FIRST) == OK
    broker.restart()
    [_, second, *_] = sorted((broker.data_dir / f"{FIRST}-0").glob("*.log"))
    path, size = f"{FIRST}-0/{second.name}", second.stat().st_size
    async with scene.client() as client:
        with scene.struck("pread64:error=EIO", path) as strace:
            for _ in range(3):
                assert await client.read(FIRST) == OFFLINE
            assert await client.produce(FIRST) == OK
            assert isinstance(await client.read(SIDE), dict)
        assert any(call.injected for call in strace.calls())
    lines = [line for line in broker.log_text().splitlines() if "ERROR" in line]
    assert [line.partition(" error=")[2] for line in lines] == [f"{path} from 0 to {size}: Input/output error"]
    assert broker.metric("tidelog_damage_info", topic=FIRST, file=path, begin="0", end=str(size)) == 1
    assert broker.metric("tidelog_topic_errors_total", topic=FIRST, kind="read") == 3
    assert broker.metric("tidelog_partition_quarantined", topic=FIRST, partition="0") == 0
    broker.restart()
    assert await scene.check() == BATCHES + 2
    record("failing calls", part="unreadable", size=3, lost=0)


async def test_while_a_sync_hangs_whoever_needs_no_disk_is_served(scene: Scene) -> None:
    """A6: what is to be durable waits, as long as it takes; reading and acks=1 do not."""
    segment = f"{FIRST}-0/{0:020d}.log"
    async with scene.client() as client, scene.client() as other:
        await set_up(other)
        assert await client.create(FIRST, segment_bytes=1 << 20) == OK
        with scene.struck("fdatasync:delay_enter=20ms", segment):
            for _ in range(BATCHES):  # the broker learns that this is no disk to be waited for
                assert await client.produce(FIRST) == OK
        with scene.struck("fdatasync:delay_enter=3600s", segment) as strace:
            await client.send(FIRST)
            while not any(call.name == "fdatasync" for call in strace.calls()):
                await other.read(SIDE)
            assert await other.produce(SIDE, acks=1) == OK
            assert isinstance(await other.read(FIRST), dict)
            assert isinstance(await other.read(SIDE), dict)
            [sync] = [call for call in strace.calls() if call.name == "fdatasync"]
            assert sync.result is None, "it hangs no more"
        assert await client.answered(FIRST) == OK
        assert len(await other.read(FIRST)) == BATCHES + 1  # type: ignore[arg-type]
    record("failing calls", part="hanging", size=1, lost=0)
