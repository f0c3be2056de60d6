"""Group commit: one round of fdatasync for all who wait.

A partition that wrote kicks the flusher. The round starts once the loop has finished what it is doing, takes every
dirty partition there is, syncs each log's files and then tells each partition how far it is durable; what is written
meanwhile waits for the next round, which starts as soon as this one ends. There is no artificial delay: at low load a
round holds one append, at high load thousands.

A sync is done on the loop while it is measured to be quicker than the hop to a thread (`inline_max_s`), in the pool
otherwise. A failed sync is final for that log (the kernel may have dropped the pages: a second fsync would lie);
other logs go on.

A round of many logs is one sync of everything on the disk (`Volume.sync_all`) where that is measured to be quicker. It
also writes what other programs have left unwritten, so it may become slow at any time: then it is not used again until
the rounds have taken a hundred times as long as was lost by it. When it fails that says nothing of our logs: the error
may be a neighbour's, or an old one. So each log of the round is then synced by itself, for the kernel tells whoever
syncs a file what befell that file; and a sync of everything is not used again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ...storage.disk import Volume
from ...storage.errors import StorageError
from ...storage.log import Flush
from ..environment import Environment
from ..metrics import Metrics

logger = logging.getLogger(__name__)

INLINE_SYNC_MAX_S = 0.0005
SMOOTHING = 0.2
"""Weight of the newest measurement in the running mean of a sync's duration."""
LOGS_MIN = 8
"""For fewer logs a sync of everything is never tried: there would be little to gain."""
PATIENCE = 0.01
"""The part of the rounds' time that may be spent on trying again what was slow."""


Outcome = tuple[float, StorageError | None]
"""How long a sync took, in seconds, and why it failed, if it did."""

DurableWaiter = Callable[[Exception | None], None]
"""Told once: None when what it waits for is as safe as it asked for, else why it is not."""


class DurableWaiters:
    """Who waits for a log to be durable up to an offset. Added, and told, in the order of the offsets."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, DurableWaiter]] = deque()

    def add(self, end_offset: int, waiter: DurableWaiter) -> None:
        """Tell this one when everything below `end_offset` is durable."""
        self._waiting.append((end_offset, waiter))

    def reached(self, offset: int) -> None:
        """Everything below `offset` is durable."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= offset:
            waiting.popleft()[1](None)

    def fail(self, error: Exception) -> None:
        """Nothing more will be: tell everyone."""
        waiting, self._waiting = self._waiting, deque()
        for _, waiter in waiting:
            waiter(error)


class Flushable(Protocol):
    """What the flusher needs of a partition."""

    def begin_flush(self) -> Flush | None:
        """What there is to sync; None when nothing is dirty."""

    def flushed(self, flush: Flush) -> None:
        """It is on the disk."""

    def flush_failed(self, flush: Flush, error: StorageError) -> None:
        """It is not, and never will be."""


class Flusher:
    """Runs commit rounds, one at a time."""

    def __init__(self, environment: Environment, metrics: Metrics, *, inline_max_s: float = INLINE_SYNC_MAX_S) -> None:
        self._environment = environment
        self._metrics = metrics
        self._inline_max_s = inline_max_s
        self._sync_s = inline_max_s
        self._sync_all_s = 0.0
        """What a sync of everything is taken to cost; nothing, until one was tried."""
        self._disk: Volume | None = None
        """The one that all logs lie on."""
        self._dirty: dict[Flushable, None] = {}
        self._scheduled = False
        self._in_pool = False
        self._after_round: list[Callable[[], None]] = []

    @property
    def is_idle(self) -> bool:
        """Nothing is dirty and no round is under way."""
        return not self._dirty and not self._in_pool

    def lies_on(self, disk: Volume) -> None:
        """All logs lie on this disk."""
        # Asked before anything is written, so that it can tell of all that befalls what will be.
        self._disk = disk if disk.syncs_all else None

    def kick(self, partition: Flushable) -> None:
        """Sync this one in the next round."""
        self._dirty[partition] = None
        self._schedule()

    def after_round(self, callback: Callable[[], None]) -> None:
        """Call back when no sync is under way (a log must not be deleted during one); at once if none is."""
        if self._in_pool:
            self._after_round.append(callback)
        else:
            callback()

    async def drain(self) -> None:
        """Wait until all that was kicked has been synced or has failed."""
        while not self.is_idle:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self._in_pool:
                self._after_round.append(partial(done.set_result, None))
                await done
            else:
                await asyncio.sleep(0)

    def _schedule(self) -> None:
        if not self._scheduled and not self._in_pool:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._begin_round)

    def _begin_round(self) -> None:
        self._scheduled = False
        assert not self._in_pool, "two commit rounds at once"
        dirty, self._dirty = self._dirty, {}
        work = [(partition, flush) for partition in dirty if (flush := partition.begin_flush()) is not None]
        if not work:
            return
        flushes = [flush for _, flush in work]
        seconds = self._sync_s * len(work)
        if seconds < self._inline_max_s:
            self._end_round(work, self._sync_each(flushes))
            return
        self._in_pool = True
        disk = self._disk
        if disk is not None and len(work) >= LOGS_MIN and self._sync_all_s <= seconds and disk.syncs_all:
            future = self._environment.run_blocking(lambda: self._sync_everything(disk, flushes))
        else:
            self._sync_all_s -= PATIENCE * seconds
            future = self._environment.run_blocking(lambda: self._sync_each(flushes))
        future.add_done_callback(lambda future: self._end_pooled_round(work, future))

    # These three alone may run in a thread: they touch nothing but what they sync and the clock.

    def _sync_each(self, flushes: list[Flush]) -> list[Outcome]:
        return [self._timed(flush.sync) for flush in flushes]

    def _sync_everything(self, disk: Volume, flushes: list[Flush]) -> list[Outcome]:
        seconds, failure = self._timed(disk.sync_all)
        if failure is not None:
            logger.warning("sync of the whole disk failed, from now on each log is synced error=%s", failure)
            return self._sync_each(flushes)
        for flush in flushes:
            flush.leave_snapshot()
        return [(seconds, None)]

    def _timed(self, sync: Callable[[], None]) -> Outcome:
        started = self._environment.monotonic()
        failure: StorageError | None = None
        try:
            sync()
        except StorageError as error:
            failure = error
        return self._environment.monotonic() - started, failure

    def _end_pooled_round(self, work: list[tuple[Flushable, Flush]], future: asyncio.Future[list[Outcome]]) -> None:
        self._in_pool = False
        if future.cancelled():
            return
        outcomes = future.result()
        if len(outcomes) == len(work):
            self._end_round(work, outcomes)
        else:
            [(seconds, _)] = outcomes
            self._end_round_of_all(work, seconds)
        waiting, self._after_round = self._after_round, []
        for callback in waiting:
            callback()
        if self._dirty:
            self._schedule()

    def _end_round(self, work: list[tuple[Flushable, Flush]], outcomes: list[Outcome]) -> None:
        for (partition, flush), (seconds, failure) in zip(work, outcomes, strict=True):
            self._sync_s += SMOOTHING * (seconds - self._sync_s)
            self._metrics.fsync.observe(seconds)
            if failure is None:
                partition.flushed(flush)
            else:
                partition.flush_failed(flush, failure)

    def _end_round_of_all(self, work: list[tuple[Flushable, Flush]], seconds: float) -> None:
        self._sync_all_s = seconds
        self._metrics.fsync.observe(seconds)
        for partition, flush in work:
            partition.flushed(flush)
