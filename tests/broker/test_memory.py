"""Budgets: what is counted, who waits, who goes on; and that nobody waits for ever [Q-3, F-6]."""

import asyncio
import random

import pytest

from support.bench import Bench, on_the_bench
from tidelog.broker.memory import SHARES, RequestMemory, ResponseMemory


class Frame:
    """A request on its way in."""

    def __init__(
        self, memory: RequestMemory, name: str = "", steps: tuple[int, ...] = (), *, is_large: bool = False
    ) -> None:
        self.memory = memory
        self.is_large = is_large
        self.name = name
        self.held = 0
        self.steps = list(steps)
        self.granted: list[int] = []

    def __repr__(self) -> str:
        return self.name

    def ask(self, size: int) -> bool:
        if self.memory.ask(self, size, is_large=self.is_large):
            self.held += size
            return True
        return False

    def memory_granted(self, size: int) -> None:
        """See `Grower`."""
        self.granted.append(size)
        self.held += size

    def end(self) -> None:
        """It is whole, or its client is gone."""
        held, self.held = self.held, 0
        self.memory.finished(self, freed=held)


def test_memory_is_given_as_long_as_there_is_some() -> None:
    memory = RequestMemory(100)
    assert Frame(memory).ask(60)
    assert Frame(memory).ask(40)
    assert memory.used == memory.limit
    assert (memory.used, memory.waiting) == (100, 0)


@pytest.mark.parametrize("limit", [0, 100])
def test_one_frame_at_a_time_may_go_beyond_the_limit(limit: int) -> None:
    """Or half-received frames that hold all of it could never be whole."""
    memory = RequestMemory(limit)
    first, second, third = (Frame(memory, name) for name in "abc")
    assert first.ask(limit + 1)
    assert not second.ask(1)
    assert not third.ask(1)
    assert first.ask(500), "until it is whole"
    assert memory.waiting == 2
    first.end()
    assert (second.granted, third.granted) == ([1], [] if limit == 0 else [1])
    second.end()
    assert third.granted == [1]


def test_who_comes_first_is_given_first() -> None:
    """A small one does not overtake, or a large one might wait for ever."""
    memory = RequestMemory(100)
    holder, overdrawn = Frame(memory), Frame(memory)
    assert holder.ask(90)
    assert overdrawn.ask(20)
    large, small = Frame(memory), Frame(memory)
    assert not large.ask(80)
    assert not small.ask(1)
    overdrawn.end()
    assert (large.granted, small.granted) == ([80], [])
    holder.end()
    assert small.granted == [1]


def test_who_is_gone_waits_no_more() -> None:
    memory = RequestMemory(10)
    holder, overdrawn, gone, patient = (Frame(memory) for _ in range(4))
    assert holder.ask(10)
    assert overdrawn.ask(1)
    assert not gone.ask(5)
    assert not patient.ask(5)
    gone.end()
    holder.end()
    assert (gone.granted, patient.granted) == ([], [5])


def test_what_is_given_back_is_not_given_to_whoever_gives_it_back() -> None:
    """It is first in the queue, and what it frees would be enough for it: but its client is gone."""
    memory = RequestMemory(100)
    gone, overdrawn, patient = (Frame(memory) for _ in range(3))
    assert gone.ask(60)
    assert overdrawn.ask(50)
    assert not gone.ask(40)
    assert not patient.ask(30)
    gone.end()
    assert (gone.granted, patient.granted) == ([], [30])
    overdrawn.end()
    patient.end()
    assert (memory.used, memory.waiting) == (0, 0)


def test_small_frames_do_not_wait_for_large_ones() -> None:
    """Some memory is theirs alone, and large ones that come in slowly hold up large ones only."""
    memory = RequestMemory(100)
    large, overdrawn, waiting = (Frame(memory, is_large=True) for _ in range(3))
    assert large.ask(75)
    assert overdrawn.ask(500)
    assert not waiting.ask(1)
    small = [Frame(memory) for _ in range(3)]
    assert small[0].ask(25), "the overdraft is not theirs"
    assert small[1].ask(10), "their own overdraft"
    assert not small[2].ask(1)
    small[0].end()
    assert small[2].granted == [1]
    assert waiting.granted == []


def test_large_frames_do_not_take_what_is_for_small_ones() -> None:
    memory = RequestMemory(100)
    large = [Frame(memory, is_large=True) for _ in range(2)]
    assert large[0].ask(70)
    assert large[1].ask(10), "the overdraft"
    assert not Frame(memory, is_large=True).ask(1)
    assert Frame(memory).ask(25)
    assert memory.used == 105


def test_large_frames_do_not_starve_however_many_small_ones_there_are() -> None:
    memory = RequestMemory(100)
    small = [Frame(memory) for _ in range(101)]
    assert [one.ask(1) for one in small] == [True] * 101
    assert Frame(memory, is_large=True).ask(1000)


def test_what_is_counted_without_asking_is_counted() -> None:
    memory = RequestMemory(10)
    memory.count(12)
    assert memory.is_exhausted
    waiting = [Frame(memory) for _ in range(2)]
    assert waiting[0].ask(5), "the overdraft"
    assert not waiting[1].ask(5)
    memory.count(-12)
    assert waiting[1].granted == [5]


def test_no_limit_is_no_limit() -> None:
    memory = RequestMemory(-1)
    assert Frame(memory).ask(1 << 50)
    assert not memory.is_exhausted


def test_it_presses_when_somebody_waited_from_one_look_to_the_next() -> None:
    memory = RequestMemory(10)
    holder, overdrawn, waiting = (Frame(memory) for _ in range(3))
    holder.ask(10)
    overdrawn.ask(10)
    assert not memory.is_pressing()
    waiting.ask(1)
    assert not memory.is_pressing()
    assert memory.is_pressing()
    holder.end()
    overdrawn.end()
    assert not memory.is_pressing()


@pytest.mark.parametrize("seed", range(200))
def test_every_frame_becomes_whole_and_the_limit_is_passed_by_one_at_the_most(seed: int) -> None:
    """Any frames, growing in any order: none waits for ever, as long as those that may go on do. One of each kind."""
    rng = random.Random(seed)
    memory = RequestMemory(rng.choice((0, 50, 100, 1000)))
    largest = {False: 0, True: 0}
    frames = []
    for number in range(30):
        steps = tuple(rng.randint(1, 60) for _ in range(rng.randint(1, 5)))
        is_large = rng.random() < 0.5
        largest[is_large] = max(largest[is_large], sum(steps))
        frames.append(Frame(memory, str(number), steps, is_large=is_large))
    waiting: set[Frame] = set()
    while frames:
        able = [frame for frame in frames if frame not in waiting or len(frame.granted) > 0]
        assert able, "everybody waits"
        frame = rng.choice(able)
        waiting.discard(frame)
        frame.granted.clear()
        if not frame.steps:
            frame.end()
            frames.remove(frame)
        elif not frame.ask(frame.steps.pop(0)):
            waiting.add(frame)
        assert memory.used == sum(frame.held for frame in frames)
        assert memory.used <= memory.limit + sum(largest.values())
    assert (memory.used, memory.waiting) == (0, 0)


# Answers


@on_the_bench
async def test_answers_begin_at_once_while_there_is_room(bench: Bench) -> None:
    memory = ResponseMemory(100)
    made: list[str] = []
    memory.when_free(lambda: made.append("a"))
    assert made == ["a"]
    memory.count(99)
    memory.when_free(lambda: made.append("b"))
    assert made == ["a", "b"]


@on_the_bench
async def test_answers_wait_their_turn_and_each_is_counted_before_the_next_begins(bench: Bench) -> None:
    memory = ResponseMemory(100)
    memory.count(100)
    made: list[int] = []

    def answer(number: int, size: int) -> None:
        made.append(number)
        memory.count(size)

    for number, size in enumerate((60, 60, 1, 1)):
        memory.when_free(lambda number=number, size=size: answer(number, size))  # type: ignore[misc]
    assert (made, memory.waiting) == ([], 4)
    memory.count(-100)
    await settle()
    assert made == [0, 1], "then it is used up again"
    memory.count(-60)
    await settle()
    assert made == [0, 1, 2, 3]


@on_the_bench
async def test_an_answer_that_nobody_wants_any_more_is_not_begun(bench: Bench) -> None:
    memory = ResponseMemory(100)
    made: list[str] = []
    assert memory.when_free(lambda: made.append("at once")) is None
    memory.count(100)
    cancels = [memory.when_free(lambda name=name: made.append(name)) for name in "abc"]  # type: ignore[misc]
    assert cancels[0] is not None
    cancels[0]()
    assert memory.waiting == 2
    memory.count(-100)
    await settle()
    assert made == ["at once", "b", "c"]
    cancels[0]()


@on_the_bench
async def test_an_answer_gets_what_is_left_and_less_while_others_wait(bench: Bench) -> None:
    memory = ResponseMemory(3200)
    assert memory.answer_size_max == 3200
    memory.count(200)
    assert memory.answer_size_max == 3000
    memory.count(3100)
    assert memory.answer_size_max == 0, "a reader is given its first batch in any case"
    sizes: list[int] = []
    memory.when_free(lambda: sizes.append(memory.answer_size_max))
    memory.when_free(lambda: sizes.append(memory.answer_size_max))
    memory.count(-3300)
    await settle()
    assert sizes == [3200 // SHARES, 3200]


async def settle() -> None:
    """Some turns of the loop."""
    for _ in range(20):
        await asyncio.sleep(0)
