"""Growth: logs first, the fact after, all seen at once; through crashes, failures and haste [L-17, L-14]."""

import asyncio
import errno
from collections.abc import Coroutine
from uuid import UUID

import pytest

from support.bench import Bench, a_simulated_config, on_the_bench, readable
from support.builders import a_batch
from support.disk import SimulatedDisk
from support.environment import Machine, simulate
from support.house import House
from support.loop import ProcessDied, SimLoop
from tidelog.broker.config import PARTITIONS_MAX
from tidelog.broker.errors import code_of
from tidelog.broker.metadata.records import Fact, PartitionsAdded, TopicCreated
from tidelog.broker.metadata.store import MetadataStore
from tidelog.broker.server import Server
from tidelog.broker.topics.internal_topics import METADATA_TOPIC
from tidelog.broker.topics.registry import Topic
from tidelog.protocol.batch import read_header
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.storage.config import LogConfig
from tidelog.storage.log_directory import LogDirectory


class Growths:
    """Lets topics grow, and remembers what it heard, in order."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.heard: list[tuple[int, ErrorCode]] = []
        """What was asked for, and what came of it."""
        self._more = asyncio.Event()

    def grow(self, partitions: int, topic: Topic | None = None) -> None:
        """Ask for so many partitions of `orders`."""

        def hear(outcome: Topic | Exception) -> None:
            code = code_of(outcome) if isinstance(outcome, Exception) else ErrorCode.NONE
            self.heard.append((partitions, code))
            self._more.set()

        self.house.server.services.growth.grow(topic or orders(self.house), partitions, hear)

    async def until(self, count: int) -> list[tuple[int, ErrorCode]]:
        """What was heard, once it is so much."""
        async with asyncio.timeout(60):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return self.heard


def orders(house: House) -> Topic:
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    return topic


def directories(disk: SimulatedDisk) -> list[str]:
    """The logs that are on the disk, the broker's own apart."""
    return [name for name in disk.list("") if disk.is_directory(name) and not name.startswith(METADATA_TOPIC)]


async def on_loop(bench: Bench) -> House:
    """A broker that syncs on the loop, so that turns of the loop alone take it on."""
    return await bench.serve(inline_sync_max_s=1.0)


TURNS_MAX = 1000


async def until_there_are(count: int, bench: Bench) -> None:
    """Turn the loop until there are so many logs."""
    for _ in range(TURNS_MAX):
        if len(directories(bench.disk)) >= count:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"only {directories(bench.disk)}")


async def grown(house: House, partitions: int) -> None:
    growths = Growths(house)
    growths.grow(partitions)
    assert await growths.until(1) == [(partitions, ErrorCode.NONE)]


async def restarted(bench: Bench, house: House) -> House:
    await house.server.stop()
    return await bench.serve()


async def state_facts(bench: Bench, *facts: Fact) -> None:
    """What a process leaves that died when the facts were durable and nothing had been done about them yet."""
    directory = LogDirectory.open(bench.disk, cluster_id=lambda: "bench", now_ms=0)
    log = directory.open_log(METADATA_TOPIC, 0, LogConfig(), now_ms=0)
    MetadataStore(log, environment=bench.environment, flusher=bench.flusher).append(facts, lambda _: None)
    await bench.settle()
    bench.disk.crash()


# What may grow


@on_the_bench
async def test_partitions_are_only_ever_added(bench: Bench) -> None:
    """L-17, in Kafka's words."""
    house = await bench.serve()
    await house.create("orders", 3)
    growth = house.server.services.growth
    for partitions, said in (
        (3, "Topic already has 3 partition(s)."),
        (2, "The topic orders currently has 3 partition(s); 2 would not be an increase."),
        (0, "The topic orders currently has 3 partition(s); 0 would not be an increase."),
        (PARTITIONS_MAX + 1, f"Number of partitions must not be larger than {PARTITIONS_MAX}."),
    ):
        with pytest.raises(RequestRefused) as refused:
            growth.check(orders(house), partitions)
        assert (refused.value.code, refused.value.message) == (ErrorCode.INVALID_PARTITIONS, said)
    growth.check(orders(house), 4)
    growth.check(orders(house), PARTITIONS_MAX)
    assert len(orders(house).partitions) == 3, "checking changes nothing"


@on_the_bench
async def test_internal_topics_do_not_grow_for_clients(bench: Bench) -> None:
    house = await bench.serve()
    await house.server.stop()
    await state_facts(bench, TopicCreated(name="__consumer_offsets", topic_id=UUID(int=5), partitions=1))
    house = await bench.serve()
    internal = house.server.topics.by_name("__consumer_offsets")
    assert internal is not None
    with pytest.raises(RequestRefused) as refused:
        house.server.services.growth.check(internal, 2)
    assert refused.value.code is ErrorCode.INVALID_TOPIC_EXCEPTION


# Growing


@on_the_bench
async def test_new_partitions_are_seen_together_when_the_last_of_their_logs_is_there(bench: Bench) -> None:
    house = await on_loop(bench)
    await house.create("orders", 2, segment_bytes="2048")
    await house.produce("orders", a_batch([b"old"]), partition=1)
    topic = orders(house)
    growths = Growths(house)
    growths.grow(5)
    assert directories(bench.disk) == ["orders-0", "orders-1"], "a request with many topics must not stall the rest"
    seen = {len(topic.partitions)}
    while not growths.heard:
        await asyncio.sleep(0)
        seen.add(len(topic.partitions))
    assert seen == {2, 5}
    assert directories(bench.disk) == [f"orders-{index}" for index in range(5)]
    assert [partition.index for partition in topic.partitions] == list(range(5))
    assert readable(topic.partitions[1]) == [b"old"]
    assert topic.partitions[4].log.config.segment_bytes == 2048
    assert (await house.produce("orders", a_batch(), partition=4)).error_code == 0  # type: ignore[union-attr]


@on_the_bench
async def test_logs_are_made_one_a_turn_of_the_loop(bench: Bench) -> None:
    """Each costs a few syncs: a hundred of them must not stall everybody else."""
    house = await on_loop(bench)
    await house.create("orders")
    growths = Growths(house)
    growths.grow(30)
    count = len(directories(bench.disk))
    while not growths.heard:
        await asyncio.sleep(0)
        now = len(directories(bench.disk))
        assert now - count <= 1
        count = now


@on_the_bench
async def test_a_setting_that_changes_during_a_growth_holds_in_the_new_partitions(bench: Bench) -> None:
    house = await on_loop(bench)
    await house.create("orders")
    growths = Growths(house)
    growths.grow(9)
    await until_there_are(4, bench)
    house.server.topics.configure(orders(house), {"segment.bytes": "4096"})
    await growths.until(1)
    assert {partition.log.config.segment_bytes for partition in orders(house).partitions} == {4096}


@on_the_bench
async def test_growths_of_one_topic_follow_each_other(bench: Bench) -> None:
    """Each is checked when its turn comes, against what is there then."""
    house = await bench.serve()
    await house.create("orders")
    growths = Growths(house)
    for partitions in (4, 6, 6, 5, 7):
        growths.grow(partitions)
    assert await growths.until(5) == [
        (4, ErrorCode.NONE),
        (6, ErrorCode.NONE),
        (6, ErrorCode.INVALID_PARTITIONS),
        (5, ErrorCode.INVALID_PARTITIONS),
        (7, ErrorCode.NONE),
    ]
    assert len(orders(house).partitions) == 7
    house = await restarted(bench, house)
    assert len(orders(house).partitions) == 7


@on_the_bench
async def test_a_long_queue_of_growths_is_worked_off(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    growths = Growths(house)
    for _ in range(3000):
        growths.grow(2)
    codes = [code for _, code in await growths.until(3000)]
    assert codes == [ErrorCode.NONE, *[ErrorCode.INVALID_PARTITIONS] * 2999]


# Deletion in between


@on_the_bench
async def test_a_topic_that_is_deleted_while_it_grows_leaves_nothing(bench: Bench) -> None:
    """L-14: at whichever turn; and the name can be taken at once."""
    ends = set()
    for turns in range(12):
        house = await on_loop(bench)
        await house.create("orders", 2)
        topic = orders(house)
        growths = Growths(house)
        growths.grow(6, topic)
        for _ in range(turns):
            await asyncio.sleep(0)
        gone: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        house.server.topics.delete(topic, gone.set_result)
        growths.grow(8, topic)
        assert await gone is topic
        codes = [code for _, code in await growths.until(2)]
        ends.add(codes[0])
        assert codes[1] is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        await house.create("orders", 9)
        assert len(orders(house).partitions) == 9
        assert len(directories(bench.disk)) == 9
        house = await restarted(bench, house)
        assert len(orders(house).partitions) == 9
        await asyncio.sleep(1)
        house.server.topics.delete(orders(house), lambda _: None)
        await asyncio.sleep(1)
        await house.server.stop()
        assert directories(bench.disk) == []
    assert ends == {ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}


# Stops and failures


@on_the_bench
async def test_a_log_of_a_growth_that_is_missing_is_lost_even_after_a_crash(bench: Bench) -> None:
    """A8: new logs are durable before the fact is."""
    house = await bench.serve()
    await house.create("orders", 2)
    await house.produce("orders", a_batch([b"old"]), partition=1)
    topic_id = orders(house).topic_id
    await house.server.stop()
    await state_facts(bench, PartitionsAdded(topic_id, 3), PartitionsAdded(topic_id, 4))
    house = await bench.serve()
    assert [partition.log.recovered.lost for partition in orders(house).partitions] == [False, False, True, True]
    assert readable(orders(house).partitions[1]) == [b"old"]
    await grown(house, 6)
    assert [partition.log.recovered.lost for partition in orders(house).partitions[4:]] == [False, False]


@on_the_bench
async def test_a_growth_of_a_topic_that_is_no_more_is_nothing(bench: Bench) -> None:
    house = await bench.serve()
    await house.server.stop()
    await state_facts(bench, PartitionsAdded(UUID(int=99), 5))
    house = await bench.serve()
    assert len(house.server.topics) == 0


@on_the_bench
async def test_what_a_stop_in_the_middle_leaves_is_removed_by_the_next_start(bench: Bench) -> None:
    house = await on_loop(bench)
    await house.create("orders")
    Growths(house).grow(50)
    await until_there_are(10, bench)
    await house.server.stop()
    left = directories(bench.disk)
    assert len(left) < 50
    calls = bench.disk.calls
    await asyncio.sleep(10)
    assert (directories(bench.disk), bench.disk.calls) == (left, calls), "somebody else may have the lock by then"
    house = await bench.serve()
    assert len(orders(house).partitions) == 1
    assert directories(bench.disk) == ["orders-0"]
    await grown(house, 50)


@pytest.mark.parametrize(("call", "error"), [("make_directory", errno.EIO), ("sync", errno.ENOSPC)])
def test_after_a_failure_the_next_growth_goes_on(call: str, error: int) -> None:
    """Nothing new is seen, whoever asked hears why; a retry finishes it, be it of the same, of more or of less."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        for retried in (6, 8, 3):
            house = await bench.serve()
            await house.create("orders", 2)
            growths = Growths(house)
            bench.disk.fail_next(call, error, path="orders-4")
            growths.grow(6)
            assert await growths.until(1) == [(6, ErrorCode.KAFKA_STORAGE_ERROR)]
            assert len(orders(house).partitions) == 2
            growths.grow(retried)
            assert (await growths.until(2))[1] == (retried, ErrorCode.NONE)
            assert len(orders(house).partitions) == retried
            await grown(house, 9)
            house = await restarted(bench, house)
            assert len(orders(house).partitions) == 9
            assert len(directories(bench.disk)) == 9
            house.server.topics.delete(orders(house), lambda _: None)
            await asyncio.sleep(1)
            await house.server.stop()

    play()


@on_the_bench
async def test_after_a_failure_the_next_start_clears_up(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 2)
    growths = Growths(house)
    bench.disk.fail_next("make_directory", path="orders-4")
    growths.grow(6)
    assert await growths.until(1) == [(6, ErrorCode.KAFKA_STORAGE_ERROR)]
    assert (await house.produce("orders", a_batch())).error_code == 0  # type: ignore[union-attr]
    house = await restarted(bench, house)
    assert len(orders(house).partitions) == 2
    assert directories(bench.disk) == ["orders-0", "orders-1"]


@on_the_bench
async def test_a_growth_whose_fact_cannot_be_written_never_was(bench: Bench) -> None:
    house = await bench.serve("log.reserve.bytes=0")
    await house.create("orders", 2)
    growths = Growths(house)
    bench.disk.fail_next("append", errno.ENOSPC, path=METADATA_TOPIC)
    growths.grow(4)
    assert await growths.until(1) == [(4, ErrorCode.KAFKA_STORAGE_ERROR)]
    assert len(orders(house).partitions) == 2
    await grown(house, 3)
    house = await restarted(bench, house)
    assert len(orders(house).partitions) == 3
    assert len(directories(bench.disk)) == 3


@on_the_bench
async def test_no_topic_grows_to_where_another_log_lies_already(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 2)
    await house.server.stop()
    directory = LogDirectory.open(bench.disk, cluster_id=lambda: "bench", now_ms=0)
    stranger = directory.create_log("orders", 3, UUID(int=5), LogConfig(), now_ms=0)
    batch = memoryview(a_batch())
    stranger.append(batch, read_header(batch), now_ms=0)
    stranger.close()
    directory.close()
    house = await bench.serve()
    growths = Growths(house)
    growths.grow(4)
    assert await growths.until(1) == [(4, ErrorCode.KAFKA_STORAGE_ERROR)]
    await grown(house, 3)
    house = await restarted(bench, house)
    assert len(orders(house).partitions) == 3


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


CALLS_MAX = 200


def test_wherever_the_power_fails_a_growth_is_whole_or_not_at_all() -> None:
    ends = set()
    for call in range(1, CALLS_MAX):

        async def play(loop: SimLoop, call: int = call) -> tuple[bool, int]:
            machine = Machine(loop, SimulatedDisk(call))
            life = Life(machine)
            await life.start()
            await life.run(life.house.create("orders"))
            machine.cut_power_at_call(call)
            was_told = await life.run(grown(life.house, 3))
            machine.cut_power()
            life = Life(machine)
            await life.start()
            count = len(orders(life.house).partitions)
            expected = [f"orders-{index}" for index in range(count)]
            assert directories(machine.disk) == expected  # type: ignore[arg-type]
            assert await life.run(grown(life.house, 4))
            machine.kill()
            return was_told, count

        was_told, count = simulate(play, seed=call)
        ends.add((was_told, count))
        if was_told:
            break
    assert ends >= {(False, 1), (True, 3)}
