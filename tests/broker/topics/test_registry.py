"""Topics: their logs, and what the facts say of them, through crashes, failures and haste [L-14, L-16, B-18, F-5]."""

import asyncio
import errno
import logging
from collections.abc import Coroutine, Sequence
from uuid import UUID

import pytest

from support.bench import TOPIC_ID, Append, Bench, a_simulated_config, on_the_bench, readable
from support.builders import BASE_TIMESTAMP, a_batch
from support.disk import SimulatedDisk
from support.environment import Machine, simulate
from support.house import House
from support.loop import ProcessDied, SimLoop
from tidelog.broker.errors import code_of
from tidelog.broker.metadata.records import Fact, TopicCreated, TopicDeleted
from tidelog.broker.metadata.store import MetadataStore
from tidelog.broker.server import Server
from tidelog.broker.topics.internal_topics import METADATA_TOPIC
from tidelog.broker.topics.partition import Partition
from tidelog.broker.topics.registry import Topic, TopicChange, Topics, What
from tidelog.protocol.batch import read_header
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.primitives import ZERO_UUID
from tidelog.storage.config import ConfigError, LogConfig
from tidelog.storage.errors import DiskFailed, DiskFull, StorageError
from tidelog.storage.log_directory import LogDirectory

Outcome = Topic | Exception


class Changes:
    """Creates and deletes, and remembers what it heard, in order."""

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
        self.outcomes: list[Outcome] = []
        self._more = asyncio.Event()

    def hear(self, outcome: Outcome) -> None:
        """What a waiter is told."""
        self.outcomes.append(outcome)
        self._more.set()

    def create(self, name: str, partitions: int = 1, **configs: str) -> UUID:
        settings = {key.replace("_", "."): value for key, value in configs.items()}
        return self.topics.create(name, partitions=partitions, configs=settings, waiter=self.hear)

    def delete(self, topic: Topic) -> None:
        self.topics.delete(topic, self.hear)

    def codes(self) -> list[ErrorCode]:
        return [code_of(outcome) if isinstance(outcome, Exception) else ErrorCode.NONE for outcome in self.outcomes]

    async def heard(self, count: int) -> None:
        """Until that many outcomes are there."""
        async with asyncio.timeout(60):
            while len(self.outcomes) < count:
                self._more.clear()
                await self._more.wait()


def topic_of(house: House, name: str = "orders") -> Topic:
    topic = house.server.topics.by_name(name)
    assert topic is not None, f"no topic {name}"
    return topic


def partition_of(house: House, name: str = "orders", index: int = 0) -> Partition:
    return topic_of(house, name).partitions[index]


def directories(disk: SimulatedDisk) -> list[str]:
    """The logs that are on the disk, the broker's own apart."""
    return [name for name in disk.list("") if disk.is_directory(name) and not name.startswith(METADATA_TOPIC)]


async def restarted(bench: Bench, house: House) -> House:
    await house.server.stop()
    return await bench.serve()


async def deleted(house: House, name: str = "orders") -> None:
    changes = Changes(house.server.topics)
    changes.delete(topic_of(house, name))
    await changes.heard(1)
    assert changes.codes() == [ErrorCode.NONE]


async def state_facts(bench: Bench, *facts: Fact) -> None:
    """What a process leaves that died when the facts were durable and nothing had been done about them yet."""
    directory = LogDirectory.open(bench.disk, cluster_id=lambda: "bench", now_ms=0)
    log = directory.open_log(METADATA_TOPIC, 0, LogConfig(), now_ms=0)
    MetadataStore(log, environment=bench.environment, flusher=bench.flusher).append(facts, lambda _: None)
    await bench.settle()
    bench.disk.crash()


# Names


@on_the_bench
async def test_names_are_as_kafka_has_them(bench: Bench) -> None:
    """L-16."""
    topics = (await bench.serve()).server.topics
    for name in ("a", "A.b_c-1", "...", "-", "a" * 249):
        topics.check_name(name)
    for name in ("", ".", "..", "a" * 250, "a b", "a/b", "a\n", "ä", "٣", METADATA_TOPIC, "__consumer_offsets"):
        with pytest.raises(RequestRefused) as refused:
            topics.check_name(name)
        assert refused.value.code is ErrorCode.INVALID_TOPIC_EXCEPTION, name


@on_the_bench
async def test_names_that_a_metric_could_not_tell_apart_collide(bench: Bench) -> None:
    """L-16: with a topic that exists or is being created, until it is deleted."""
    house = await bench.serve()
    changes = Changes(house.server.topics)
    changes.create("a.b")
    for name in ("a_b", "a.b"):
        with pytest.raises(RequestRefused, match=r"collides|already exists"):
            changes.create(name)
    await changes.heard(1)
    with pytest.raises(RequestRefused, match=r"collides with existing topic: a\.b") as refused:
        changes.create("a_b")
    assert refused.value.code is ErrorCode.INVALID_TOPIC_EXCEPTION
    with pytest.raises(RequestRefused) as refused:
        changes.create("a.b")
    assert refused.value.code is ErrorCode.TOPIC_ALREADY_EXISTS
    await deleted(house, "a.b")
    await house.create("a_b")


# Looking up


@on_the_bench
async def test_an_id_is_believed_before_a_name_and_both_must_agree(bench: Bench) -> None:
    """B-18, F-5."""
    house = await bench.serve()
    await house.create("orders")
    await house.create("events")
    topics, orders = house.server.topics, topic_of(house)
    assert topics.find("orders", ZERO_UUID) is topics.find("", orders.topic_id) is orders
    assert topics.find("orders", orders.topic_id) is topics.by_id(orders.topic_id) is orders
    for name, topic_id, code in (
        ("nowhere", ZERO_UUID, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("", UUID(int=5), ErrorCode.UNKNOWN_TOPIC_ID),
        ("orders", UUID(int=5), ErrorCode.UNKNOWN_TOPIC_ID),
        ("events", orders.topic_id, ErrorCode.INCONSISTENT_TOPIC_ID),
    ):
        with pytest.raises(RequestRefused) as refused:
            topics.find(name, topic_id)
        assert refused.value.code is code
    with pytest.raises(RequestRefused) as refused:
        topics.find("", UUID(int=5))
    assert refused.value.message == f"This server does not host this topic ID: {UUID(int=5)}"


@on_the_bench
async def test_partitions_are_counted_from_zero(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 3)
    topics, orders = house.server.topics, topic_of(house)
    assert [topics.partition(orders, index).index for index in range(3)] == [0, 1, 2]
    for index in (-1, 3):
        with pytest.raises(RequestRefused, match=f"orders-{index}"):
            topics.partition(orders, index)


@on_the_bench
async def test_the_metadata_log_is_no_topic(bench: Bench) -> None:
    """B-19."""
    house = await bench.serve()
    await house.create("orders")
    assert [topic.name for topic in house.server.topics] == ["orders"]
    assert house.server.topics.by_name(METADATA_TOPIC) is None


# Those who listen


@on_the_bench
async def test_those_who_listen_are_told_of_every_change_before_those_who_asked_for_it(bench: Bench) -> None:
    house = await bench.serve()
    topics = house.server.topics
    told: list[TopicChange | str] = []
    topics.on_change(told.append)
    topics.create("orders", partitions=1, configs={}, waiter=lambda _: told.append("created"))
    await house.create("bills")
    orders, bills = topic_of(house), topic_of(house, "bills")
    house.server.services.growth.grow(orders, 2, lambda _: told.append("grown"))
    changes = Changes(topics)
    changes.delete(bills)
    await changes.heard(1)
    await house.create("others")
    assert told[:2] == [TopicChange("orders", orders.topic_id, What.CREATED), "created"]
    assert TopicChange("bills", bills.topic_id, What.CREATED) in told
    grown = told.index(TopicChange("orders", orders.topic_id, What.GROWN))
    assert told[grown + 1] == "grown"
    assert told.count(TopicChange("bills", bills.topic_id, What.DELETED)) == 1


@on_the_bench
async def test_what_is_told_is_so_already(bench: Bench) -> None:
    house = await bench.serve()
    topics = house.server.topics
    seen: list[tuple[What, int | None]] = []

    def look(change: TopicChange) -> None:
        topic = topics.by_id(change.topic_id)
        seen.append((change.what, None if topic is None else len(topic.partitions)))

    topics.on_change(look)
    await house.create("orders", 2)
    heard = Changes(topics)
    house.server.services.growth.grow(topic_of(house), 5, heard.hear)
    await heard.heard(1)
    await deleted(house)
    assert seen == [(What.CREATED, 2), (What.GROWN, 5), (What.DELETED, None)]


@on_the_bench
async def test_of_what_did_not_happen_nobody_is_told(bench: Bench) -> None:
    house = await bench.serve()
    told: list[TopicChange] = []
    house.server.topics.on_change(told.append)
    changes = Changes(house.server.topics)
    bench.disk.fail_next("append", path=METADATA_TOPIC)
    changes.create("orders")
    await changes.heard(1)
    assert isinstance(changes.outcomes[0], StorageError)
    assert told == []


# Creation


@on_the_bench
async def test_a_topic_is_there_when_its_fact_is_durable_and_its_logs_are_made(bench: Bench) -> None:
    house = await bench.serve()
    changes = Changes(house.server.topics)
    topic_id = changes.create("orders", 3, segment_bytes="2048")
    assert directories(bench.disk) == [], "a request with many topics must not stall everybody else"
    bench.disk.sync_s = 1.0
    for _ in range(3):
        await asyncio.sleep(0)  # one a turn
    assert directories(bench.disk) == ["orders-0", "orders-1", "orders-2"]
    assert house.server.topics.by_name("orders") is None, "its fact is not durable yet"
    await changes.heard(1)
    [topic] = changes.outcomes
    assert topic is topic_of(house)
    assert (topic.topic_id, len(topic.partitions), topic.config.segment_bytes) == (topic_id, 3, 2048)
    assert directories(bench.disk) == ["orders-0", "orders-1", "orders-2"]
    assert topic_id.version == 4


@on_the_bench
async def test_an_illegal_setting_is_refused_before_anything_is_done(bench: Bench) -> None:
    house = await bench.serve()
    changes = Changes(house.server.topics)
    with pytest.raises(ConfigError):
        changes.create("orders", segment_bytes="none")
    changes.create("orders")
    await changes.heard(1)
    assert changes.codes() == [ErrorCode.NONE]


@on_the_bench
async def test_of_two_who_create_one_name_one_does(bench: Bench) -> None:
    house = await bench.serve()
    changes = Changes(house.server.topics)
    changes.create("orders")
    with pytest.raises(RequestRefused) as refused:
        changes.create("orders")
    assert refused.value.code is ErrorCode.TOPIC_ALREADY_EXISTS
    await changes.heard(1)
    assert len(house.server.topics) == 1
    assert len((await restarted(bench, house)).server.topics) == 1


@on_the_bench
async def test_who_finds_a_topic_under_creation_may_wait_for_it(bench: Bench) -> None:
    """L-16: auto-creation by many clients at once."""
    house = await bench.serve()
    changes = Changes(house.server.topics)
    late: list[Outcome] = []
    assert not house.server.topics.await_creation("orders", late.append)
    changes.create("orders")
    assert house.server.topics.await_creation("orders", late.append)
    await changes.heard(1)
    assert late == changes.outcomes == [topic_of(house)]
    assert not house.server.topics.await_creation("orders", late.append)


@pytest.mark.parametrize(
    ("call", "error", "path"), [("make_directory", errno.EIO, "orders-1"), ("sync", errno.ENOSPC, "orders-2")]
)
def test_a_creation_that_fails_is_withdrawn(call: str, error: int, path: str) -> None:
    """All who wait hear why, the name is free, nothing is left, and no restart brings it back."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        changes = Changes(house.server.topics)
        bench.disk.fail_next(call, error, path=path)
        first_id = changes.create("orders", 4)
        house.server.topics.await_creation("orders", changes.hear)
        await changes.heard(2)
        assert changes.codes() == [ErrorCode.KAFKA_STORAGE_ERROR] * 2
        assert house.server.topics.by_name("orders") is None
        again = changes.create("orders", 4)
        assert again != first_id
        await changes.heard(3)
        assert changes.codes()[2] is ErrorCode.NONE
        await deleted(house)
        house = await restarted(bench, house)
        assert len(house.server.topics) == 0
        assert directories(bench.disk) == []

    play()


@on_the_bench
async def test_a_creation_whose_fact_cannot_be_written_never_was(bench: Bench) -> None:
    house = await bench.serve()
    changes = Changes(house.server.topics)
    bench.disk.fail_next("append", errno.ENOSPC, path=METADATA_TOPIC)
    changes.create("orders", 3)
    await changes.heard(1)
    assert [type(outcome) for outcome in changes.outcomes] == [DiskFull]
    await house.create("orders")
    await deleted(house)
    await restarted(bench, house)
    assert directories(bench.disk) == []


@on_the_bench
async def test_a_creation_that_finds_no_space_leaves_nothing(bench: Bench) -> None:
    house = await bench.serve()
    changes = Changes(house.server.topics)
    bench.disk.full(0)
    changes.create("orders")
    await changes.heard(1)
    assert [type(outcome) for outcome in changes.outcomes] == [DiskFull]
    assert directories(bench.disk) == []
    bench.disk.full(None)
    await house.create("orders")


@on_the_bench
async def test_a_metadata_log_whose_sync_failed_refuses_all_changes_and_nothing_else(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    changes = Changes(house.server.topics)
    bench.disk.fail_next("sync", path=METADATA_TOPIC)
    changes.create("events")
    await changes.heard(1)
    changes.delete(topic_of(house))
    calls = bench.disk.calls
    changes.create("more")
    await changes.heard(3)
    assert (changes.codes(), bench.disk.calls) == ([ErrorCode.KAFKA_STORAGE_ERROR] * 3, calls)
    assert isinstance(changes.outcomes[0], DiskFailed)
    assert (await house.produce("orders", a_batch())).error_code == 0  # type: ignore[union-attr]


# Deletion


@on_the_bench
async def test_a_deleted_topic_is_gone_by_name_by_id_and_from_the_disk(bench: Bench) -> None:
    """L-14."""
    house = await bench.serve()
    await house.create("orders", 3)
    await house.create("events")
    orders = topic_of(house)
    house.server.metrics.topic_error("orders", "write")
    await deleted(house)
    topics = house.server.topics
    assert topics.by_name("orders") is topics.by_id(orders.topic_id) is None
    assert [topic.name for topic in topics] == ["events"]
    assert all(partition.deleted for partition in orders.partitions)
    assert house.server.metrics.topic_errors == {}
    house = await restarted(bench, house)
    assert directories(bench.disk) == ["events-0"]
    assert [topic.name for topic in house.server.topics] == ["events"]


@on_the_bench
async def test_a_topic_that_is_deleted_twice_at_once_is_deleted_once(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    changes = Changes(house.server.topics)
    for _ in range(2):
        changes.delete(topic_of(house))
    await changes.heard(2)
    assert changes.codes() == [ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]


@on_the_bench
async def test_what_could_not_be_removed_is_removed_by_the_next_start(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 3)
    bench.disk.fail_next("rename", path="orders-1")
    await deleted(house)
    await asyncio.sleep(1)
    assert directories(bench.disk) == ["orders-1"], "one failure does not keep the others"
    await restarted(bench, house)
    assert directories(bench.disk) == []


@on_the_bench
async def test_a_stop_ends_all_work_on_the_directories_and_the_next_start_clears_up(bench: Bench) -> None:
    """Somebody else may have the lock by then."""
    house = await bench.serve()
    await house.create("orders", 50)
    await deleted(house)
    for name in ("events", "others"):
        house.server.topics.create(name, partitions=50, configs={}, waiter=lambda _: None)
    await house.server.stop()
    left, calls = directories(bench.disk), bench.disk.calls
    assert left, "there was something left to do"
    await asyncio.sleep(10)
    assert (directories(bench.disk), bench.disk.calls) == (left, calls)
    house = await bench.serve()
    assert [topic.name for topic in house.server.topics] == []
    assert directories(bench.disk) == []
    await house.create("events", 50)


@on_the_bench
async def test_a_topic_created_again_has_a_new_id_and_none_of_the_old_data(bench: Bench) -> None:
    """L-14."""
    house = await bench.serve()
    await house.create("orders", 2)
    old_id = topic_of(house).topic_id
    await house.produce("orders", a_batch([b"old"]))
    await deleted(house)
    await house.create("orders", 2)
    assert topic_of(house).topic_id != old_id
    assert [readable(partition) for partition in topic_of(house).partitions] == [[], []]
    result = await house.produce("orders", a_batch([b"new"]))
    assert (result.error_code, result.base_offset) == (0, 0)  # type: ignore[union-attr]
    for _ in range(2):
        assert readable(partition_of(house)) == [b"new"]
        house = await restarted(bench, house)


@on_the_bench
async def test_a_topic_is_created_again_as_soon_as_its_deletion_was_answered(bench: Bench) -> None:
    """Its old logs are removed one a turn, and between commit rounds; the new ones must not run into them."""
    house = await bench.serve()
    await house.create("busy")
    busy = partition_of(house, "busy")
    bench.disk.sync_s = 0.001
    is_over = False

    async def keep_the_flusher_busy() -> None:
        while not is_over:
            busy.append(memoryview(a_batch()), acks=1, now_ms=BASE_TIMESTAMP, waiter=lambda _: None)
            busy.write_out()
            await asyncio.sleep(0.0005)

    task = asyncio.ensure_future(keep_the_flusher_busy())
    await house.create("orders", 10)
    for _ in range(10):
        await deleted(house)
        await house.create("orders", 10)
        assert all(readable(partition) == [] for partition in topic_of(house).partitions)
        await house.produce("orders", a_batch([b"old"]), partition=9)
    is_over = True
    await task


# The end of a socket read


@on_the_bench
async def test_what_is_staged_anywhere_is_written_out_once(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 3)
    appends = [Append() for _ in range(9)]
    for number, append in enumerate(appends):
        partition = partition_of(house, index=number % 2)
        partition.append(memoryview(a_batch()), acks=1, now_ms=BASE_TIMESTAMP, waiter=append.answers.append)
    bench.disk.appended.clear()
    house.server.topics.write_out()
    assert [append.answers for append in appends] == [[None]] * 9
    assert [path.split("/")[0] for path in bench.disk.appended if path.endswith(".log")] == ["orders-0", "orders-1"]
    bench.disk.appended.clear()
    house.server.topics.write_out()
    assert bench.disk.appended == []


# Start


@on_the_bench
async def test_topics_their_settings_and_their_data_outlive_the_process(bench: Bench) -> None:
    house = await bench.serve("log.segment.bytes=4096")
    await house.create("orders", 2, segment_bytes="2048")
    await house.create("events")
    await house.produce("orders", a_batch([b"kept"]), partition=1)
    ids = {topic.name: topic.topic_id for topic in house.server.topics}
    await house.server.stop()
    house = await bench.serve("log.segment.bytes=8192")
    assert {topic.name: topic.topic_id for topic in house.server.topics} == ids
    assert topic_of(house).configs == {"segment.bytes": "2048"}
    assert [topic_of(house, name).config.segment_bytes for name in ("orders", "events")] == [2048, 8192]
    assert [readable(partition) for partition in topic_of(house).partitions] == [[], [b"kept"]]


@on_the_bench
async def test_a_log_that_a_fact_tells_of_and_that_is_missing_is_lost_even_after_a_crash(bench: Bench) -> None:
    """A8: logs are durable before their fact is, so no crash leaves such a hole. To fill it would hide the loss."""
    house = await bench.serve()
    await house.server.stop()
    await state_facts(bench, TopicCreated(name="orders", topic_id=TOPIC_ID, partitions=2, configs={}))
    house = await bench.serve()
    for _ in range(2):
        assert [partition.log.recovered.lost for partition in topic_of(house).partitions] == [True, True]
        assert directories(bench.disk) == []
        result = await house.produce("orders", a_batch(), partition=1)
        assert result.error_code == ErrorCode.KAFKA_STORAGE_ERROR  # type: ignore[union-attr]
        house = await restarted(bench, house)
    await deleted(house)
    await house.create("orders")
    assert readable(partition_of(house)) == []


@on_the_bench
async def test_a_crash_after_the_fact_of_a_deletion_is_made_good_by_the_next_start(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 3)
    await house.create("events")
    topic_id = topic_of(house).topic_id
    await house.server.stop()
    await state_facts(bench, TopicDeleted(topic_id))
    house = await bench.serve()
    assert [topic.name for topic in house.server.topics] == ["events"]
    assert directories(bench.disk) == ["events-0"]
    await house.create("orders")


@on_the_bench
async def test_a_crash_before_an_old_topics_logs_are_gone_gives_the_new_one_none_of_them(bench: Bench) -> None:
    """L-14: deleted and created again, both durable, nothing done."""
    house = await bench.serve()
    await house.create("orders", 2)
    await house.produce("orders", a_batch([b"old"]))
    topic_id = topic_of(house).topic_id
    await house.server.stop()
    await state_facts(
        bench, TopicDeleted(topic_id), TopicCreated(name="orders", topic_id=TOPIC_ID, partitions=2, configs={})
    )
    house = await bench.serve()
    assert topic_of(house).topic_id == TOPIC_ID
    assert directories(bench.disk) == []


def test_a_directory_that_no_fact_knows_is_left_alone_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Unreadable metadata must never cost data."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        await house.create("orders")
        await house.server.stop()
        directory = LogDirectory.open(bench.disk, cluster_id=lambda: "bench", now_ms=0)
        stranger = directory.create_log("stranger", 4, UUID(int=5), LogConfig(), now_ms=0)
        batch = memoryview(a_batch())
        stranger.append(batch, read_header(batch), now_ms=0)
        stranger.close()
        directory.create_log("stranger", 5, UUID(int=5), LogConfig(), now_ms=0).close()
        directory.close()
        before = {path: data for path, data in bench.disk.tree().items() if path.startswith("stranger-4/")}
        assert before
        caplog.clear()
        house = await bench.serve()
        assert [topic.name for topic in house.server.topics] == ["orders"]
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
            f"directory without a topic, left alone topic=stranger partition=4 id={UUID(int=5)}"
        ]
        changes = Changes(house.server.topics)
        changes.create("stranger", 5)
        await changes.heard(1)
        assert isinstance(changes.outcomes[0], StorageError), "its partition 4 cannot be made"
        await asyncio.sleep(1)
        assert {path: data for path, data in bench.disk.tree().items() if path.startswith("stranger-")} == before

    play()


# A power cut at any moment


class Life:
    """A broker as one process of a machine."""

    def __init__(self, machine: Machine) -> None:
        self._environment = machine.boot()
        self._server = Server(a_simulated_config(), self._environment)
        self.house = House(self._server)

    async def start(self) -> None:
        await self._environment.process.start(self._server.start())

    async def run(self, work: Coroutine[object, object, None]) -> bool:
        """Do something in the process; false if the power failed first."""
        try:
            await self._environment.process.start(work)
        except ProcessDied:
            return False
        return True


def whole(house: House, names: Sequence[str], partitions: int) -> set[str]:
    """Those of the names that are topics; a topic must be whole, and what is none must not be on the disk."""
    found = {name for name in names if house.server.topics.by_name(name) is not None}
    for name in found:
        assert len(topic_of(house, name).partitions) == partitions
    return found


CALLS_MAX = 200


def test_wherever_the_power_fails_a_creation_is_whole_or_not_at_all() -> None:
    ends = set()
    for call in range(1, CALLS_MAX):

        async def play(loop: SimLoop, call: int = call) -> tuple[bool, bool]:
            machine = Machine(loop, SimulatedDisk(call))
            life = Life(machine)
            await life.start()
            machine.cut_power_at_call(call)
            was_told = await life.run(life.house.create("orders", 2))
            machine.cut_power()
            life = Life(machine)
            await life.start()
            is_there = whole(life.house, ["orders"], 2) == {"orders"}
            expected = ["orders-0", "orders-1"] if is_there else []
            assert directories(machine.disk) == expected  # type: ignore[arg-type]
            await life.run(life.house.create("another", 2))
            machine.kill()
            return was_told, is_there

        was_told, is_there = simulate(play, seed=call)
        assert is_there or not was_told, "it was answered, so it must be there"
        ends.add((was_told, is_there))
        if was_told:
            break
    assert ends >= {(False, False), (True, True)}


def test_wherever_the_power_fails_a_topic_is_whole_with_its_data_or_deleted() -> None:
    """L-14: and created again in the same breath it has none of the old data."""
    ends = set()
    for call in range(1, CALLS_MAX):

        async def play(loop: SimLoop, call: int = call) -> tuple[bool, str]:
            machine = Machine(loop, SimulatedDisk(call))
            life = Life(machine)
            await life.start()
            await life.run(life.house.create("orders", 2))
            await life.run(produce_old(life.house))
            old_id = topic_of(life.house).topic_id
            machine.cut_power_at_call(call)
            was_told = await life.run(deleted(life.house))
            was_told_again = was_told and await life.run(life.house.create("orders", 2))
            machine.cut_power()
            life = Life(machine)
            await life.start()
            if not whole(life.house, ["orders"], 2):
                state = "gone"
                assert directories(machine.disk) == []  # type: ignore[arg-type]
            elif topic_of(life.house).topic_id == old_id:
                state = "old"
                assert readable(partition_of(life.house)) == [b"old"]
            else:
                state = "new"
                assert readable(partition_of(life.house)) == []
            assert state != "old" or not was_told
            assert state == "new" or not was_told_again
            machine.kill()
            return was_told_again, state

        was_told_again, state = simulate(play, seed=call)
        ends.add(state)
        if was_told_again:
            break
    assert ends == {"old", "gone", "new"}


async def produce_old(house: House) -> None:
    result = await house.produce("orders", a_batch([b"old"]))
    assert result.error_code == 0  # type: ignore[union-attr]
