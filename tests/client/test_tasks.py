"""Tasks that end with their owner."""

import asyncio

import pytest

from tidelog.client.tasks import Tasks


async def test_nothing_runs_after_stop() -> None:
    tasks = Tasks()
    running = [tasks.start(asyncio.sleep(3600), name=f"sleeper {number}") for number in range(3)]
    await asyncio.sleep(0)
    await tasks.stop()
    assert all(task.cancelled() for task in running)
    await tasks.stop()


async def test_a_task_gives_its_result() -> None:
    tasks = Tasks()
    assert await tasks.start(asyncio.sleep(0, "result"), name="quick") == "result"
    await tasks.stop()


async def test_a_failure_that_nobody_handled_comes_out_at_the_end() -> None:
    async def fail() -> None:
        raise LookupError("a mistake")

    tasks = Tasks()
    tasks.start(fail(), name="failing")
    await asyncio.sleep(0)
    with pytest.raises(LookupError, match="a mistake"):
        await tasks.stop()


async def test_a_task_that_tidies_up_is_waited_for() -> None:
    tidied = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            tidied.append(True)

    tasks = Tasks()
    tasks.start(work(), name="tidy")
    await asyncio.sleep(0)
    await tasks.stop()
    assert tidied == [True]
