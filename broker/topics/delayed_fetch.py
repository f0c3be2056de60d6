"""Fetches that wait: for bytes, or for their deadline [F-1].

A parked fetch is a plain object in the lists of the partitions it reads. Nothing is read while it waits: a partition
that advances says how many bytes became visible, and the fetch adds them up until its minimum is reached. Then, or at
the deadline, or when one of its partitions is deleted, it reads again and answers with what is there.
"""

import asyncio
from collections.abc import Callable, Sequence

from .partition import Partition


class ParkedFetch:
    """One waiting fetch."""

    __slots__ = ("_partitions", "_wanted_bytes", "answer", "is_over", "timer")

    def __init__(self, partitions: Sequence[Partition], *, wanted_bytes: int, answer: Callable[[], None]) -> None:
        self.answer = answer
        """Reads again and completes the request; called once."""
        self.is_over = False
        self.timer: asyncio.TimerHandle | None = None
        self._partitions = partitions
        self._wanted_bytes = wanted_bytes

    @property
    def partitions(self) -> Sequence[Partition]:
        """Those whose progress it waits for."""
        return self._partitions

    def has_enough(self, new_bytes: int) -> bool:
        """Count bytes that became visible; true once the fetch's minimum is reached."""
        self._wanted_bytes -= new_bytes
        return self._wanted_bytes <= 0


class DelayedFetches:
    """All parked fetches of the broker, by partition."""

    def __init__(self) -> None:
        self._by_partition: dict[Partition, dict[ParkedFetch, None]] = {}

    def __len__(self) -> int:
        """How many partitions are waited for."""
        return len(self._by_partition)

    def park(self, fetch: ParkedFetch, *, wait_s: float) -> None:
        """Wait at most `wait_s` seconds."""
        for partition in fetch.partitions:
            self._by_partition.setdefault(partition, {})[fetch] = None
        fetch.timer = asyncio.get_running_loop().call_later(wait_s, self.finish, fetch)

    def wake(self, partition: Partition, new_bytes: int) -> None:
        """`new_bytes` became visible in a partition; 0: it is gone and its fetches must answer now."""
        waiting = self._by_partition.get(partition)
        if not waiting:
            return
        for fetch in [fetch for fetch in waiting if new_bytes == 0 or fetch.has_enough(new_bytes)]:
            self.finish(fetch)

    def forget(self, fetch: ParkedFetch) -> None:
        """Its client is gone: no answer."""
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
        """Answer every parked fetch with what is there: the broker is stopping."""
        for waiting in list(self._by_partition.values()):
            for fetch in list(waiting):
                self.finish(fetch)

    def finish(self, fetch: ParkedFetch) -> None:
        """Answer it with what is there."""
        if not fetch.is_over:
            self.forget(fetch)
            fetch.answer()
