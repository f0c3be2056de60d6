"""Work in turns: a generator that gives the loop back at each `yield`, and what it returns at its end."""

import asyncio
from collections.abc import Generator
from typing import TypeVar

R = TypeVar("R")

InTurns = Generator[None, None, R]


def at_once(work: InTurns[R]) -> R:
    """All of it, for those who have nobody to wait for them."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: R = end.value
            return result


async def in_turns(work: InTurns[R]) -> R:
    """All of it, a turn of the loop at a time."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: R = end.value
            return result
        await asyncio.sleep(0)
