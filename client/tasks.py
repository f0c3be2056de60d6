"""The background tasks of one object: none outlives `stop`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

Result = TypeVar("Result")


class Tasks:
    """Starts tasks and ends them all.

    Unlike a TaskGroup it does not cancel the task in which it was made when one of its tasks fails: a client is often
    opened in one task and used in another. An error that a task does not handle stays in the task, for `stop` to raise.
    """

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[object], None] = {}
        self._failure: BaseException | None = None
        self._stopped = False

    def start(self, work: Coroutine[object, object, Result], *, name: str) -> asyncio.Task[Result]:
        """Run `work` in a task that ends with `stop` at the latest."""
        assert not self._stopped, "work was started after the end"
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[task] = None
        task.add_done_callback(self._ended)
        return task

    async def stop(self) -> None:
        """Cancel what runs and wait until it has ended."""
        self._stopped = True
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._running.pop(task, None)
        if not task.cancelled():
            failure = task.exception()
            self._failure = self._failure or failure
