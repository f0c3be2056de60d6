"""The memory budget: bounded, in order of asking, nothing lost to cancellation."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.client.budget import Budget


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_there_is_as_much_as_there_is() -> None:
    budget = Budget(100)
    assert budget.try_take(60)
    assert not budget.try_take(41)
    assert budget.try_take(40)
    budget.give(100)
    assert budget.used == 0


async def test_who_waits_is_served_in_the_order_of_asking_and_nobody_overtakes() -> None:
    budget = Budget(100)
    await budget.take(90)
    served: list[int] = []

    async def taker(size: int) -> None:
        await budget.take(size)
        served.append(size)

    tasks = [asyncio.create_task(taker(size)) for size in (50, 5, 20)]
    await settle()
    assert budget.short
    assert not budget.try_take(1), "a small one does not slip past"
    assert served == []
    budget.give(60)
    await settle()
    assert served == [50, 5]
    budget.give(30)
    await settle()
    assert served == [50, 5, 20]
    await asyncio.gather(*tasks)
    assert budget.used == 75


async def test_a_cancelled_waiter_takes_nothing_and_lets_the_next_one_through() -> None:
    budget = Budget(100)
    await budget.take(90)
    large, small = asyncio.create_task(budget.take(50)), asyncio.create_task(budget.take(10))
    await settle()
    large.cancel()
    await settle()
    assert small.done()
    assert budget.used == 100
    assert not budget.short


async def test_room_that_was_granted_to_one_who_is_cancelled_in_that_moment_is_given_back() -> None:
    budget = Budget(100)
    await budget.take(100)
    waiter = asyncio.create_task(budget.take(50))
    await settle()
    budget.give(100)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert budget.used == 0


@given(st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=30), st.randoms(use_true_random=False))
def test_whatever_happens_the_limit_holds_and_all_is_given_back(plan: list[tuple[int, bool]], dice: object) -> None:
    async def play() -> None:
        budget = Budget(100)

        async def user(size: int) -> None:
            await budget.take(size)
            try:
                assert budget.used <= 100
                for _ in range(dice.randrange(4)):  # type: ignore[attr-defined]
                    await asyncio.sleep(0)
            finally:
                budget.give(size)

        tasks = []
        for size, is_cancelled in plan:
            tasks.append(asyncio.create_task(user(size)))
            if is_cancelled:
                await asyncio.sleep(0)
                tasks[dice.randrange(len(tasks))].cancel()  # type: ignore[attr-defined]
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert budget.used == 0
        assert not budget.short

    asyncio.run(play())
