"""EachTopic: one answer, in order, when all is done or the time is up."""

import asyncio
from dataclasses import dataclass

import pytest

from support.bench import Bench, on_the_bench
from support.loop import Deadlock, SimLoop
from tidelog.broker.each_topic import PARTITIONS_OF_A_REQUEST_MAX, EachTopic
from tidelog.broker.errors import code_of
from tidelog.protocol.errors import ErrorCode, RequestRefused

Result = tuple[str, str]
Answer = tuple[Result, ...]

DONE = "done"


class Collected:
    """The results of some topics, and when which answer was heard."""

    def __init__(self, *names: str, timeout_ms: int = 0) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun = self.loop.time()
        self.heard: list[tuple[float, Answer]] = []
        self.topics: EachTopic[Result, Answer] = EachTopic(
            names,
            timeout_ms=timeout_ms,
            failure=lambda name, error: (name, code_of(error).name),
            answer=lambda results: results,
        )
        self.topics.pending.attach(self._hear)

    def end(self, *names: str) -> None:
        for name in names:
            self.topics.end(name, (name, DONE))

    def _hear(self, answer: Answer) -> None:
        self.heard.append((round(self.loop.time() - self.begun, 3), answer))


@on_the_bench
async def test_all_are_answered_at_once_in_the_order_asked(bench: Bench) -> None:
    del bench
    collected = Collected("b", "a", "c")
    collected.end("c", "b")
    assert collected.heard == []
    collected.topics.fail("a", RequestRefused(ErrorCode.INVALID_REQUEST))
    assert collected.heard == [(0, (("b", DONE), ("a", "INVALID_REQUEST"), ("c", DONE)))]


@on_the_bench
async def test_a_request_for_nothing_has_its_answer(bench: Bench) -> None:
    del bench
    assert Collected(timeout_ms=1000).heard == [(0, ())]


@on_the_bench
async def test_when_the_time_is_up_what_is_missing_has_timed_out_and_is_not_heard_of_again(bench: Bench) -> None:
    del bench
    collected = Collected("a", "b", "c", timeout_ms=1500)
    collected.end("b")
    await asyncio.sleep(10)
    answer = (("a", "REQUEST_TIMED_OUT"), ("b", DONE), ("c", "REQUEST_TIMED_OUT"))
    assert collected.heard == [(1.5, answer)]
    collected.end("c")
    collected.topics.fail("a", RequestRefused(ErrorCode.INVALID_REQUEST))
    assert collected.heard == [(1.5, answer)]


@pytest.mark.parametrize("timeout_ms", [0, -1, -(2**31)])
def test_who_gives_no_time_waits_until_it_is_done(timeout_ms: int) -> None:
    @on_the_bench
    async def waits(bench: Bench) -> None:
        del bench
        collected = Collected("a", timeout_ms=timeout_ms)
        await asyncio.sleep(100_000)
        assert collected.heard == []
        collected.end("a")
        assert collected.heard == [(100_000, (("a", DONE),))]

    waits()


def test_no_timer_outlives_its_request() -> None:
    """Answered or abandoned: nothing is left for which the loop would have to wake up."""

    async def requests() -> None:
        answered, abandoned = Collected("a", timeout_ms=1000), Collected("a", timeout_ms=1000)
        answered.end("a")
        abandoned.topics.pending.abandon()
        abandoned.end("a")
        assert [len(one.heard) for one in (answered, abandoned)] == [1, 0]
        await asyncio.get_running_loop().create_future()

    loop = SimLoop(1)
    begun = loop.time()
    with pytest.raises(Deadlock):
        loop.run_until_complete(requests())
    assert loop.time() - begun < 1
    loop.close()


@dataclass(frozen=True)
class Asked:
    """A topic in a request."""

    name: str
    partitions: int = 1


def begun(collected: "Collected", *topics: Asked) -> list[str]:
    names: list[str] = []
    collected.topics.start(topics, partitions=lambda one: one.partitions, begin=lambda one: names.append(one.name))
    return names


@on_the_bench
async def test_one_request_creates_ten_thousand_partitions_and_no_more(bench: Bench) -> None:
    del bench
    half = PARTITIONS_OF_A_REQUEST_MAX // 2
    assert begun(Collected("a", "b", timeout_ms=0), Asked("a", half), Asked("b", half)) == ["a", "b"]
    collected = Collected("a", "b", timeout_ms=0)
    assert begun(collected, Asked("a", half), Asked("b", half + 1)) == []
    assert collected.heard == [(0, (("a", "POLICY_VIOLATION"), ("b", "POLICY_VIOLATION")))]


@on_the_bench
async def test_a_topic_that_stands_twice_is_refused_and_the_others_are_begun(bench: Bench) -> None:
    del bench
    collected = Collected("a", "b", timeout_ms=0)
    assert begun(collected, Asked("a"), Asked("b"), Asked("a")) == ["b"]
    collected.end("b")
    assert collected.heard == [(0, (("a", "INVALID_REQUEST"), ("b", DONE)))]
