"""Fetches that wait: for bytes, or for their deadline [F-1].

A parked fetch is a plain object in the lists of the partitions it reads. Nothing is read while it waits: a partition
that advances says how many bytes became visible, and the fetch adds them up until its minimum is reached; of each
partition only as many as it may take from it. Then, or at the deadline, or when one of its partitions is deleted, it
reads again and answers with what is there, once there is memory for it.
"""

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from .partition import Partition


class ParkedFetch:
    """One waiting fetch."""

    __slots__ = ("_room", "_wanted_bytes", "answer", "cancel", "fail", "is_over", "timer")

    def __init__(self, room: dict[Partition, int], *, wanted_bytes: int, answer: Callable[[], None]) -> None:
        """`room`: how many more bytes it can take from each partition; its own from here on."""
        self.answer = answer
        """Reads again and completes the request; called once."""
        self.fail: Callable[[], bool] | None = None
        """Told, while the exception is handled, that `answer` has raised one; returns false if nobody is told by it.

        Whoever finishes a fetch finishes others, and has more to do: he must not pay for an answer that cannot be made.
        """
        self.cancel: Callable[[], None] | None = None
        """Takes it out of those that wait for memory for their answer."""
        self.is_over = False
        self.timer: asyncio.TimerHandle | None = None
        self._room = room
        self._wanted_bytes = wanted_bytes

    @property
    def partitions(self) -> Collection[Partition]:
        """Those whose progress it waits for."""
        return self._room

    def has_enough(self, partition: Partition, new_bytes: int) -> bool:
        """Count bytes that became visible; true once the fetch's minimum is reached."""
        room = self._room[partition]
        counted = min(new_bytes, room)
        self._room[partition] = room - counted
        self._wanted_bytes -= counted
        return self._wanted_bytes <= 0


class DelayedFetches:
    """All parked fetches of the broker, by partition."""

    def __init__(self, when_free: Callable[[Callable[[], None]], Callable[[], None] | None]) -> None:
        """`when_free` is told to answer a fetch, and does so once there is memory for it: then it returns what cancels
        that."""
        self._when_free = when_free
        self._is_stopping = False
        self._by_partition: dict[Partition, dict[ParkedFetch, None]] = {}

    def __len__(self) -> int:
        """How many partitions are waited for."""
        return len(self._by_partition)

    def park(self, fetch: ParkedFetch, *, wait_s: float) -> None:
        """Wait at most `wait_s` seconds."""
        for partition in fetch.partitions:
            self._by_partition.setdefault(partition, {})[fetch] = None
        wait_s = 0.0 if self._is_stopping else wait_s
        fetch.timer = asyncio.get_running_loop().call_later(wait_s, self.finish, fetch)

    def wake(self, partition: Partition, new_bytes: int) -> None:
        """`new_bytes` became visible in a partition; 0: it is gone and its fetches must answer now."""
        waiting = self._by_partition.get(partition)
        if not waiting:
            return
        for fetch in [fetch for fetch in waiting if new_bytes == 0 or fetch.has_enough(partition, new_bytes)]:
            self.finish(fetch)

    def forget(self, fetch: ParkedFetch) -> None:
        """Its client is gone: no answer."""
        if fetch.cancel is not None:
            fetch.cancel()
            fetch.cancel = None
        self._take_out(fetch)

    def _take_out(self, fetch: ParkedFetch) -> None:
        if fetch.is_over:
            return
        fetch.is_over = True
        if fetch.timer is not None:
            fetch.timer.cancel()
        for partition in fetch.partitions:
            waiting = self._by_partition.get(partition)
            if waiting is not None:
                waiting.pop(fetch, None)
                if not waiting:
                    del self._by_partition[partition]

    def finish_all(self) -> None:
        """Answer every parked fetch, and every later one, with what is there: the broker is stopping."""
        self._is_stopping = True
        for waiting in list(self._by_partition.values()):
            for fetch in list(waiting):
                self.finish(fetch)

    def finish(self, fetch: ParkedFetch) -> None:
        """Answer it with what is there."""
        if not fetch.is_over:
            self._take_out(fetch)
            fetch.cancel = self._when_free(partial(_answer, fetch))


def _answer(fetch: ParkedFetch) -> None:
    fetch.cancel = None
    try:
        fetch.answer()
    except Exception:
        if fetch.fail is None or not fetch.fail():
            raise
