"""Any one call on the disk fails: no acknowledged record is lost, nothing that failed is taken for done [A5, A6, A7].

A whole broker in virtual time goes through a script: topics made, grown, changed and deleted, records of an idempotent
producer through many segments, offsets committed, a stop, more starts. Sync number N fails, for every N there is, in
its work, its stop and its recovery alike; what it covered stays in the page cache, is never written, and later syncs
succeed, as on Linux. The same with calls of every other kind. Between its lives the broker stops, is killed, or loses
power.
"""

import errno
import os
import traceback
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from support.bench import a_simulated_config
from support.builders import a_batch, records_of
from support.disk import SimulatedDisk
from support.environment import Machine, raise_failures
from support.groups import commit
from support.house import House
from support.loop import SimLoop
from support.network import SimNetwork
from support.proofs import record
from tidelog.broker.metadata.soundness import MetadataDamaged
from tidelog.broker.server import Server
from tidelog.broker.topics.internal_topics import OFFSETS_TOPIC
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
)
from tidelog.protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopicState
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from tidelog.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchResponse,
)
from tidelog.protocol.messages.produce import PartitionProduceResponse
from tidelog.storage.disk import failure
from tidelog.storage.errors import StorageError
from tidelog.storage.log import Log

IS_PROOF = bool(os.environ.get("TIDELOG_PROOF"))
Place = tuple[str, int]
"""Topic and partition."""
Life = Callable[[House], Coroutine[object, object, None]]

ORDERS, SIDE, SCRATCH, GROUP = "orders", "side", "scratch", "billing"
OK, OFFLINE = ErrorCode.NONE, ErrorCode.KAFKA_STORAGE_ERROR
TOPIC = 2
"""As a resource of configs."""
ROUNDS = 7
RECORD_SIZE = 300
SETTINGS = (
    "offsets.topic.num.partitions=1",
    "log.segment.bytes=1024",
    "log.index.interval.bytes=0",
    "auto.create.topics.enable=false",
)
ENDS = (("stop", "power"), ("kill", "power"), ("power", "kill"))
"""How the first life of the broker ends, and the second."""
SYNCS_TRIED = 200
STEP = 29
"""So many calls are passed over, in a build."""
STARTS_MAX = 3
"""One that meets the failing sync may give up; the next one may not."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One call fails: which one of how many, of those that count."""

    number: int | None
    error: int = errno.EIO
    syncs_only: bool = True

    def counts(self, call: str) -> bool:
        """Whether calls of this name are counted."""
        return call.startswith("sync") or not self.syncs_only


class FailingDisk(SimulatedDisk):
    """One of its calls fails."""

    def __init__(self, seed: int, fault: Fault) -> None:
        super().__init__(seed)
        self.counted = 0
        self.failed: str | None = None
        """The path of the call that failed, until the process is gone."""
        self.lost = ""
        """The segment that could not be synced, likewise."""
        self.again: list[str] = []
        """Syncs of segments that had failed before."""
        self._fault = fault

    def has_failed_in(self, place: Place) -> bool:
        """Whether the call that failed in this life of the process was one for this log, or for all of them."""
        return self.failed is not None and f"{self.failed}/".startswith(("/", f"{place[0]}-{place[1]}/"))

    def has_lost(self, place: Place) -> bool:
        """Whether a segment of this log could not be synced in this life of the process."""
        return self.lost.startswith(f"{place[0]}-{place[1]}/")

    def check(self, call: str, path: str) -> None:
        """See `SimulatedDisk`."""
        if call == "sync" and path == self.lost:
            self.again.append(path)
        if self._fault.counts(call):
            self.counted += 1
            if self.counted == self._fault.number:
                self.failed = path
                if call == "sync" and path.endswith(".log"):
                    self.lost = path
                raise failure(path, OSError(self._fault.error, os.strerror(self._fault.error)))
        super().check(call, path)

    def kill(self) -> None:
        """See `SimulatedDisk`."""
        super().kill()
        self.failed, self.lost = None, ""


@dataclass(slots=True, kw_only=True)
class Told:
    """What the clients were told."""

    records: dict[Place, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """The acknowledged values, by offset."""
    sent: dict[Place, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    commits: list[int] = field(default_factory=lambda: [-1])
    """Offsets that may be committed: the last that was acknowledged, and those that were tried since."""
    topics: dict[str, set[int]] = field(default_factory=dict)
    """How many partitions each may have; 0 for none."""
    segment_bytes: set[str] = field(default_factory=lambda: {"1024"})
    """What the setting of the topic may be."""
    producer_ids: list[int] = field(default_factory=list)
    refused: int = 0
    """Requests."""


class Play:
    """A broker, through its lives."""

    def __init__(self, loop: SimLoop, fault: Fault) -> None:
        self.loop = loop
        self.disk = FailingDisk(loop.seed, fault)
        self.machine = Machine(loop, self.disk)
        self.told = Told()
        self.house: House | None = None
        self.sequences: dict[tuple[int, Place], int] = defaultdict(int)
        self.counted = 0
        """Calls of all lives but the last, which is to see what the others have left."""
        self._sent = 0

    async def play(self, ends: Sequence[str]) -> None:
        """All of it."""
        await self._live(ends[0], self._work)
        await self._live(ends[1], self._work_again)
        await self._live("stop", self._check)
        self.counted = self.disk.counted
        await self._live("kill", self._check)

    async def _live(self, end: str, life: Life) -> None:
        for attempt in range(STARTS_MAX):
            environment = self.machine.boot()
            server = Server(a_simulated_config(*SETTINGS), environment)
            try:
                await environment.process.start(server.start())
                break
            except (StorageError, MetadataDamaged):
                assert self.disk.failed is not None, "a start that nothing kept from succeeding"
                assert attempt < STARTS_MAX - 1
                self._end("kill")
        self.house = House(server)
        await environment.process.start(life(self.house))
        if end == "stop":
            try:
                await environment.process.start(server.stop())
            except StorageError:
                assert self.disk.failed is not None, "a stop that nothing kept from succeeding"
        self._end(end)

    def _end(self, end: str) -> None:
        if end == "power":
            self.machine.cut_power()
        else:
            self.machine.kill()

    # The lives

    async def _work(self, house: House) -> None:
        await self._create(house, SIDE, 1)
        await self._create(house, ORDERS, 2)
        await self._create(house, SCRATCH, 1)
        producer_id = await self._producer_id(house)
        for number in range(ROUNDS):
            for place in ((ORDERS, 0), (SIDE, 0), (ORDERS, 1), (SCRATCH, 0)):
                await self._produce(house, place, producer_id)
            await self._commit(house, number)
        await self._delete(house, SCRATCH)
        await self._grow(house, ORDERS, 3)
        await self._configure(house, ORDERS, "2048")
        await self.loop_for(1.5)  # the durable marks are written meanwhile
        for place in ((ORDERS, 0), (SIDE, 0), (ORDERS, 2)):
            await self._produce(house, place, producer_id)

    async def _work_again(self, house: House) -> None:
        await self._check(house)
        producer_id = await self._producer_id(house)
        for place in list(self.told.records):
            if self._partition(house, place) is not None:
                await self._produce(house, place, producer_id)
                await self._produce(house, place, -1)
        await self._commit(house, 50)

    async def loop_for(self, seconds: float) -> None:
        """Let time pass."""
        passed = self.loop.create_future()
        self.loop.call_later(seconds, passed.set_result, None)
        await passed

    # What clients do

    async def _create(self, house: House, name: str, partitions: int) -> None:
        setting = CreatableTopicConfig(name="segment.bytes", value="1024")
        topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1, configs=(setting,))
        response = await house.ask(CreateTopicsRequest(topics=(topic,)))
        assert isinstance(response, CreateTopicsResponse)
        self._topic_may_have(name, partitions, response.topics[0].error_code)

    async def _delete(self, house: House, name: str) -> None:
        if house.server.topics.by_name(name) is None:
            return
        response = await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name=name),)))
        assert isinstance(response, DeleteTopicsResponse)
        self._topic_may_have(name, 0, response.responses[0].error_code)

    async def _grow(self, house: House, name: str, count: int) -> None:
        if house.server.topics.by_name(name) is None:
            return
        response = await house.ask(
            CreatePartitionsRequest(topics=(CreatePartitionsTopic(name=name, count=count, assignments=None),))
        )
        assert isinstance(response, CreatePartitionsResponse)
        self._topic_may_have(name, count, response.results[0].error_code)

    def _topic_may_have(self, name: str, count: int, code: int) -> None:
        if code == OK:
            self.told.topics[name] = {count}
        else:
            self.told.refused += 1
            self.told.topics.setdefault(name, {0}).add(count)

    async def _configure(self, house: House, name: str, value: str) -> None:
        change = AlterableConfig(name="segment.bytes", value=value)
        resource = AlterConfigsResource(resource_type=TOPIC, resource_name=name, configs=(change,))
        response = await house.ask(IncrementalAlterConfigsRequest(resources=(resource,)))
        assert isinstance(response, IncrementalAlterConfigsResponse)
        if response.responses[0].error_code == OK:
            self.told.segment_bytes = {value}
        else:
            self.told.segment_bytes.add(value)

    async def _producer_id(self, house: House) -> int:
        response = await house.ask(InitProducerIdRequest(transactional_id=None))
        assert isinstance(response, InitProducerIdResponse)
        if response.error_code != OK:
            self.told.refused += 1
            return -1
        assert response.producer_id not in self.told.producer_ids
        self.told.producer_ids.append(response.producer_id)
        return response.producer_id

    async def _produce(self, house: House, place: Place, producer_id: int) -> None:
        if self._partition(house, place) is None:
            return
        self._sent += 1
        value = (b"%d " % self._sent).ljust(RECORD_SIZE, b".")
        sequence = self.sequences[producer_id, place]
        batch = a_batch(
            [value],
            producer_id=producer_id,
            producer_epoch=-1 if producer_id < 0 else 0,
            base_sequence=-1 if producer_id < 0 else sequence,
        )
        self.told.sent[place].add(value)
        was_lost = self.disk.has_lost(place)
        outcome = await house.produce(place[0], batch, partition=place[1])
        assert isinstance(outcome, PartitionProduceResponse)
        if outcome.error_code == OK:
            assert not was_lost, f"acknowledged after a sync of {place} had failed"
            assert not self.disk.has_lost(place), f"acknowledged in spite of a sync of {place} that failed"
            assert outcome.base_offset not in self.told.records[place]
            self.told.records[place][outcome.base_offset] = value
            self.sequences[producer_id, place] += 1
        else:
            assert outcome.error_code == OFFLINE, outcome
            assert self.disk.failed is not None, "refused, though nothing has failed"
            self.told.refused += 1

    async def _commit(self, house: House, offset: int) -> None:
        if house.server.topics.by_name(ORDERS) is None:
            return
        for _ in range(5):  # the first answers may be that the group is being loaded
            code = await commit(house, GROUP, ORDERS, 0, offset)
            if code == OK:
                self.told.commits = [offset]
                return
            self.told.commits.append(offset)
            await self.loop_for(0.5)
        assert self.disk.failed is not None, f"a commit was refused though nothing has failed: {code}"
        self.told.refused += 1

    # What is there

    async def _check(self, house: House) -> None:
        told = self.told
        for name, counts in told.topics.items():
            topic = house.server.topics.by_name(name)
            assert (0 if topic is None else len(topic.partitions)) in counts, name
        for place, acknowledged in told.records.items():
            partition = self._partition(house, place)
            if partition is None:
                assert 0 in told.topics[place[0]]
                continue
            if partition.log.offline:
                assert self.disk.has_failed_in(place), f"{place}: {partition.log.recovered}"
                continue  # the next start decides
            try:
                found = values(partition)
            except StorageError:
                assert self.disk.has_failed_in(place)
                continue
            assert {offset: found.get(offset) for offset in acknowledged} == acknowledged, place
            assert set(found.values()) <= told.sent[place]
        topic = house.server.topics.by_name(ORDERS)
        if topic is not None:
            assert str(topic.config.segment_bytes) in told.segment_bytes
            if not self.disk.has_failed_in((OFFSETS_TOPIC, 0)):
                assert await self._committed(house) in told.commits

    async def _committed(self, house: House) -> int:
        group = OffsetFetchRequestGroup(group_id=GROUP, topics=None)
        for _ in range(5):
            response = await house.ask(OffsetFetchRequest(groups=(group,)), 8)
            assert isinstance(response, OffsetFetchResponse)
            if response.groups[0].error_code == OK:
                found = [one.committed_offset for topic in response.groups[0].topics for one in topic.partitions]
                return found[0] if found else -1
            await self.loop_for(0.5)
        raise AssertionError("the group is not loaded")

    @staticmethod
    def _partition(house: House, place: Place) -> Partition | None:
        topic = house.server.topics.by_name(place[0])
        return topic.partitions[place[1]] if topic is not None and place[1] < len(topic.partitions) else None


def values(partition: Partition) -> dict[int, bytes]:
    """What a consumer reads, by offset: from the first to the last without a gap."""
    found: dict[int, bytes] = {}
    offset = partition.log_start_offset
    while offset < partition.high_watermark:
        fetched = partition.read(offset, size_max=1 << 20, at_least_one=True)
        for one in records_of(fetched.records):
            assert one.offset == offset, "a gap in the offsets"
            assert one.value is not None
            found[one.offset] = one.value
            offset += 1
    return found


def played(fault: Fault, ends: Sequence[str]) -> Play:
    """Play the script."""
    loop = SimLoop(seed=(fault.number or 0) + 1)
    SimNetwork(loop)
    try:
        play = Play(loop, fault)
        loop.run_until_complete(play.play(ends))
    finally:
        loop.close()
    raise_failures(loop)
    return play


def violations(faults: Iterable[Fault], ends: Sequence[str]) -> Iterator[Exception]:
    """What goes wrong under these faults, each in a play of its own."""
    for fault in faults:
        try:
            assert played(fault, ends).disk.again == [], "synced again after it had failed"
        except Exception as error:  # noqa: BLE001 - whatever it is, something went wrong
            error.add_note(f"{fault}, {ends}")
            yield error


def first_of(found: Sequence[Exception]) -> str:
    """To be shown."""
    return f"{len(found)} in all, the first:\n{''.join(traceback.format_exception(found[0]))}" if found else ""


@pytest.mark.parametrize("ends", ENDS, ids="-".join)
def test_whichever_sync_fails_nothing_acknowledged_is_lost(ends: tuple[str, str]) -> None:
    """A5. In a build each sync fails once, with one of the ends; before a release, with each of them."""
    count = played(Fault(None), ends).counted
    assert count > 100
    numbers = range(1, count + 1) if IS_PROOF else range(1 + ENDS.index(ends), count + 1, len(ENDS))
    found = list(violations(map(Fault, numbers), ends))
    record("failing fsync", part="-".join(ends), size=len(numbers), lost=len(found))
    assert not found, first_of(found)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("ends", ENDS, ids="-".join)
def test_whichever_call_fails_nothing_acknowledged_is_lost(ends: Sequence[str], error: int) -> None:
    """A6, A7: reading and writing, names and sizes, at work, in the stop and in the recovery."""
    count = played(Fault(None, syncs_only=False), ends).counted
    numbers = range(1, count + 1, 1 if IS_PROOF else STEP)
    found = list(violations((Fault(number, error, syncs_only=False) for number in numbers), ends))
    record("failing calls", part=f"{errno.errorcode[error]} {'-'.join(ends)}", size=len(numbers), lost=len(found))
    assert not found, first_of(found)


# Bugs that are planted are caught


def is_caught(ends: Sequence[str]) -> bool:
    """Whether any sync that fails shows that something is wrong."""
    return next(violations(map(Fault, range(1, SYNCS_TRIED)), ends), None) is not None


def test_a_log_that_goes_on_after_a_failed_sync_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "fail_flush", Log.end_flush)
    assert is_caught(("power", "kill"))


def test_a_recovery_that_trusts_the_page_cache_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidelog.storage.recovery._make_durable", lambda one: one.segment.file.sync())
    assert is_caught(("kill", "power"))
