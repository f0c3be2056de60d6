"""Work in turns: all of it is done, and others have the loop meanwhile."""

import asyncio

from tidelog.broker.turns import InTurns, at_once, in_turns


def work(done: list[str]) -> InTurns[int]:
    for number in range(3):
        done.append(f"work {number}")
        yield
    return len(done)


def test_at_once_it_is_done_when_the_call_returns() -> None:
    done: list[str] = []
    assert at_once(work(done)) == 3


async def test_in_turns_others_come_in_between() -> None:
    done: list[str] = []

    async def other() -> None:
        for number in range(3):
            done.append(f"other {number}")
            await asyncio.sleep(0)

    result, _ = await asyncio.gather(in_turns(work(done)), other())
    assert done == [f"{who} {number}" for number in range(3) for who in ("work", "other")]
    assert result == len(done)
