"""When logs make checkpoints. In virtual time."""

import asyncio
from itertools import pairwise

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from support.house import House
from tidelog.broker.checkpoints import ROUND_S, ROUNDS, Checkpoints
from tidelog.broker.topics.partition import Partition
from tidelog.storage.durable_mark import DurableMark


def partitions_of(house: House, name: str) -> list[Partition]:
    topic = house.server.topics.by_name(name)
    assert topic is not None
    return topic.partitions


def checkpointed(bench: Bench, directory: str) -> int:
    """From which offset on the next unclean start would read."""
    checkpoint = DurableMark.read(bench.disk, directory).checkpoint
    return 0 if checkpoint is None else checkpoint.offset


@on_the_bench
async def test_within_a_minute_every_log_that_was_written_to_has_made_one(bench: Bench) -> None:
    house = await bench.serve()
    names = [f"topic-{number}" for number in range(70)]
    for name in names:
        await house.create(name)
        await house.produce(name, a_batch())
    await asyncio.sleep(ROUND_S * ROUNDS + 2.1)
    assert [checkpointed(bench, f"{name}-0") for name in names] == [1] * len(names)
    assert [partition.log.recovery_work for name in names for partition in partitions_of(house, name)] == [0] * 70


@on_the_bench
async def test_they_take_turns(bench: Bench) -> None:
    """So that no commit round has many."""
    house = await bench.serve()
    names = [f"topic-{number}" for number in range(70)]
    for name in names:
        await house.create(name)
    logs = [partition.log for name in names for partition in partitions_of(house, name)]
    await asyncio.sleep(ROUND_S * ROUNDS)
    for name in names:
        await house.produce(name, a_batch(), acks=0)
    left = [sum(log.recovery_work > 0 for log in logs)]
    while left[-1]:
        await asyncio.sleep(ROUND_S)
        left.append(sum(log.recovery_work > 0 for log in logs))
    assert len(left) > ROUNDS // 2
    assert max(before - after for before, after in pairwise(left)) <= 2


@on_the_bench
async def test_together_they_never_have_more_beyond_than_so_much(bench: Bench) -> None:
    """Those that have most come first."""
    house = await bench.serve()
    for name, count in (("few", 1), ("turn", 0), ("many", 30), ("some", 10)):
        await house.create(name)
        for _ in range(count):
            await house.produce(name, a_batch())
    work = {name: partitions_of(house, name)[0].log.recovery_work for name in ("few", "many", "some")}
    assert 0 < work["few"] < work["some"] < work["many"]
    every = sum(partition.log.recovery_work for topic in house.server.topics for partition in topic.partitions)
    for work_max, left in (
        (every, {"few", "many", "some"}),
        (every - 1, {"few", "some"}),
        (0, set()),
    ):
        Checkpoints(house.server.topics, work_max=work_max).make_round()
        await asyncio.sleep(0.1)
        assert {name for name in work if partitions_of(house, name)[0].log.recovery_work} == left


@on_the_bench
async def test_a_log_that_takes_no_appends_makes_none(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    [partition] = partitions_of(house, "orders")
    await house.produce("orders", a_batch())
    bench.disk.fail_next("sync", path="orders-0/0")
    await house.produce("orders", a_batch(), acks=0)
    await asyncio.sleep(0.1)
    assert partition.log.offline
    synced = list(bench.disk.synced)
    Checkpoints(house.server.topics, work_max=0).make_round()
    partition.checkpoint()
    await asyncio.sleep(0.1)
    assert bench.disk.synced == synced


@on_the_bench
async def test_a_deleted_log_makes_none(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    await house.produce("orders", a_batch())
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    [partition] = topic.partitions
    gone: list[object] = []
    house.server.topics.delete(topic, gone.append)
    partition.checkpoint()
    await asyncio.sleep(1)
    assert gone == [topic]
