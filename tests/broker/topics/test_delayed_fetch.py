"""Fetches that wait: woken by enough bytes of all their partitions together, or by the clock [F-1, L-14]."""

import asyncio

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from tidelog.broker.memory import ResponseMemory
from tidelog.broker.topics.delayed_fetch import DelayedFetches, ParkedFetch
from tidelog.broker.topics.partition import Partition

SIZE = len(a_batch([b"value"]))


class Waiting:
    """A parked fetch, and when it was answered."""

    def __init__(
        self, bench: Bench, *partitions: Partition, wanted_bytes: int = 1, room: int = 1 << 20, wait_s: float = 60.0
    ) -> None:
        self.answered_at: list[float] = []
        self.parked_at = bench.loop.time()
        self.fetch = ParkedFetch(dict.fromkeys(partitions, room), wanted_bytes=wanted_bytes, answer=self._answer)
        self._bench = bench
        bench.fetches.park(self.fetch, wait_s=wait_s)

    def _answer(self) -> None:
        self.answered_at.append(self._bench.loop.time())

    @property
    def times(self) -> int:
        """It was answered."""
        return len(self.answered_at)


@on_the_bench
async def test_the_bytes_of_all_partitions_count_together(bench: Bench) -> None:
    """F-1: min_bytes is over the whole request."""
    first, second = bench.partition("orders", 0), bench.partition("orders", 1)
    waiting = Waiting(bench, first, second, wanted_bytes=100)
    bench.fetches.wake(first, 60)
    assert waiting.times == 0
    bench.fetches.wake(second, 39)
    assert waiting.times == 0
    bench.fetches.wake(first, 1)
    assert waiting.times == 1
    assert len(bench.fetches) == 0


@on_the_bench
async def test_no_more_counts_of_a_partition_than_there_is_room_for(bench: Bench) -> None:
    """F-1: min_bytes counts min(available, partition_max_bytes)."""
    first, second = bench.partition("orders", 0), bench.partition("orders", 1)
    waiting = Waiting(bench, first, second, wanted_bytes=100, room=60)
    for _ in range(3):
        bench.fetches.wake(first, 50)
    assert waiting.times == 0
    bench.fetches.wake(second, 40)
    assert waiting.times == 1


@on_the_bench
async def test_only_those_who_wait_for_the_partition_are_woken(bench: Bench) -> None:
    first, second = bench.partition("orders", 0), bench.partition("orders", 1)
    modest, greedy, elsewhere = Waiting(bench, first), Waiting(bench, first, wanted_bytes=11), Waiting(bench, second)
    bench.fetches.wake(first, 10)
    assert (modest.times, greedy.times, elsewhere.times) == (1, 0, 0)
    assert len(bench.fetches) == 2
    bench.fetches.wake(first, 10)
    assert (modest.times, greedy.times, elsewhere.times) == (1, 1, 0)


@on_the_bench
async def test_it_is_answered_at_its_deadline_not_before(bench: Bench) -> None:
    partition = bench.partition()
    waiting = Waiting(bench, partition, wanted_bytes=1000, wait_s=5.0)
    bench.fetches.wake(partition, 999)
    await asyncio.sleep(4.99)
    assert waiting.times == 0
    await asyncio.sleep(0.02)
    [at] = waiting.answered_at
    assert 5.0 <= at - waiting.parked_at < 5.01
    assert len(bench.fetches) == 0
    bench.fetches.wake(partition, 1000)
    assert waiting.times == 1


@on_the_bench
async def test_who_was_woken_is_not_answered_again_by_the_deadline(bench: Bench) -> None:
    partition = bench.partition()
    waiting = Waiting(bench, partition, wait_s=5.0)
    bench.fetches.wake(partition, 1)
    await asyncio.sleep(10)
    assert waiting.times == 1


@on_the_bench
async def test_a_partition_that_is_gone_ends_the_wait(bench: Bench) -> None:
    """L-14: the client learns of it now, not at its deadline."""
    gone, there = bench.partition("orders", 0), bench.partition("orders", 1)
    both, other = Waiting(bench, gone, there, wanted_bytes=1 << 20), Waiting(bench, there)
    bench.fetches.wake(gone, 0)
    assert (both.times, other.times) == (1, 0)
    assert len(bench.fetches) == 1


@on_the_bench
async def test_a_client_that_is_gone_gets_no_answer_and_leaves_nothing_behind(bench: Bench) -> None:
    first, second = bench.partition("orders", 0), bench.partition("orders", 1)
    waiting = Waiting(bench, first, second, wait_s=5.0)
    bench.fetches.forget(waiting.fetch)
    assert len(bench.fetches) == 0
    assert waiting.fetch.timer is not None
    assert waiting.fetch.timer.cancelled()
    bench.fetches.forget(waiting.fetch)
    bench.fetches.wake(first, 1)
    await asyncio.sleep(10)
    assert waiting.times == 0


@on_the_bench
async def test_a_stop_answers_everybody_once(bench: Bench) -> None:
    first, second = bench.partition("orders", 0), bench.partition("orders", 1)
    waiting = [Waiting(bench, first, second), Waiting(bench, second), Waiting(bench, first, wanted_bytes=1 << 20)]
    bench.fetches.finish_all()
    assert [one.times for one in waiting] == [1, 1, 1]
    assert len(bench.fetches) == 0
    bench.fetches.finish_all()
    await asyncio.sleep(120)
    assert [one.times for one in waiting] == [1, 1, 1]


@on_the_bench
async def test_whoever_is_parked_while_the_broker_stops_does_not_wait(bench: Bench) -> None:
    bench.fetches.finish_all()
    late = Waiting(bench, bench.partition())
    await asyncio.sleep(0.1)
    assert late.times == 1


@on_the_bench
async def test_an_answer_that_cannot_be_made_is_nobody_elses_harm(bench: Bench) -> None:
    """Whoever wakes the fetches is the flusher, in the middle of its round."""
    partition = bench.partition()
    failures: list[bool] = []

    def defect() -> None:
        raise ZeroDivisionError("a defect")

    def fail() -> bool:
        failures.append(True)
        return True

    broken = ParkedFetch({partition: 1000}, wanted_bytes=1, answer=defect)
    broken.fail = fail
    bench.fetches.park(broken, wait_s=60)
    behind = Waiting(bench, partition)
    append = bench.produce(partition)
    await bench.settle()
    assert (failures, behind.times, append.error) == ([True], 1, None)
    broken = ParkedFetch({partition: 1000}, wanted_bytes=1, answer=defect)
    with pytest.raises(ZeroDivisionError):
        bench.fetches.finish(broken)


@on_the_bench
async def test_a_client_that_goes_while_its_answer_waits_for_memory_leaves_nothing_behind(bench: Bench) -> None:
    memory = ResponseMemory(100)
    memory.count(100)
    fetches, answers = DelayedFetches(memory.when_free), []
    fetch = ParkedFetch({bench.partition(): 1000}, wanted_bytes=1, answer=lambda: answers.append("late"))
    fetches.park(fetch, wait_s=5.0)
    await asyncio.sleep(6)
    assert memory.waiting == 1
    fetches.forget(fetch)
    assert memory.waiting == 0
    memory.count(-100)
    await asyncio.sleep(1)
    assert answers == []


@on_the_bench
async def test_an_answer_may_park_the_next_fetch_and_forget_another(bench: Bench) -> None:
    """What a connection may do when its answer comes."""
    partition = bench.partition()
    next_ones: list[Waiting] = []
    neighbours: list[Waiting] = []

    def answered() -> None:
        next_ones.append(Waiting(bench, partition))
        bench.fetches.forget(neighbours[0].fetch)

    bench.fetches.park(ParkedFetch({partition: 1000}, wanted_bytes=20, answer=answered), wait_s=60)
    neighbours += [Waiting(bench, partition, wanted_bytes=20), Waiting(bench, partition, wanted_bytes=20)]
    bench.fetches.wake(partition, 20)
    assert (len(next_ones), [one.times for one in neighbours]) == (1, [0, 1])
    assert next_ones[0].times == 0, "it waits for what comes after its being parked"
    bench.fetches.wake(partition, 1)
    assert next_ones[0].times == 1


@on_the_bench
async def test_a_partition_tells_what_became_visible_not_what_was_written(bench: Bench) -> None:
    """L-1: nobody is woken for what a power cut could take back."""
    partition = bench.partition()
    waiting = Waiting(bench, partition, wanted_bytes=2 * SIZE)
    bench.produce(partition)
    bench.produce(partition)
    assert waiting.times == 0
    await bench.settle()
    assert waiting.times == 1
    exact = Waiting(bench, partition, wanted_bytes=2 * SIZE + 1)
    bench.produce(partition)
    bench.produce(partition)
    await bench.settle()
    assert exact.times == 0, "bytes that were visible before count for nobody"
    bench.produce(partition)
    await bench.settle()
    assert exact.times == 1


@on_the_bench
async def test_bytes_count_also_when_a_segment_ends_between_them(bench: Bench) -> None:
    partition = bench.partition(segment_bytes="1024")
    size = len(a_batch([b"x" * 800]))
    waiting = Waiting(bench, partition, wanted_bytes=3 * size)
    for _ in range(3):
        bench.stage(partition, b"x" * 800)
    partition.write_out()
    await bench.settle()
    assert partition.segment_count == 3
    assert waiting.times == 1


@on_the_bench
async def test_a_fetch_that_is_hurried_is_answered_now_and_never_again(bench: Bench) -> None:
    partition = bench.partition()
    hurried, other = Waiting(bench, partition, wait_s=5.0), Waiting(bench, partition, wait_s=7.0)
    bench.fetches.finish(hurried.fetch)
    assert (hurried.times, other.times) == (1, 0)
    await asyncio.sleep(10)
    assert (hurried.times, other.times) == (1, 1)
