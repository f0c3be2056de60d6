"""Group commit: one fdatasync for all who wait for a log.

A partition that wrote kicks the flusher. Once the loop has finished what it is doing, the dirty logs are synced, each
by itself and up to `SYNCS_MAX` at a time, and each partition is told how far it is durable when its own sync ends. What
is written to a log meanwhile waits for its next one, which begins when its turn comes. There is no artificial delay: at
low load a sync serves one append, at high load thousands. A file for which the disk takes long, or hangs, holds up its
own log; only `SYNCS_MAX` of them at the same time hold up all.

Whatever a flush ends with that is no success, foreseen or not, is its failure: no log is left waiting for it.

Syncs are done on the loop while they are measured to be quicker than the hop to a thread (`inline_max_s`), in the pool
otherwise. A failed sync is final for that log (the kernel may have dropped the pages: a second fsync would lie); other
logs go on.

Many dirty logs are made durable by one sync of everything on the disk (`Volume.sync_all`) where that is measured to be
quicker. It also writes what other programs have left unwritten, so it may become slow at any time: then it is not used
again until syncs have taken a hundred times as long as was lost by it. It is given up when it takes much longer than
its logs would have taken one by one, and it is not believed when it fails, for that says nothing of our logs: the error
may be a neighbour's, or an old one. Either way each of its logs is then synced by itself, for the kernel tells whoever
syncs a file what befell that file; and after a failure a sync of everything is not used again.

Invariants: a log has one flush at a time, which is synced by one thread at a time and ended once.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ...storage.disk import Volume
from ...storage.errors import DiskFailed, StorageError
from ...storage.log import Flush
from ..environment import Environment
from ..metrics import Metrics

logger = logging.getLogger(__name__)

INLINE_SYNC_MAX_S = 0.0005
SYNCS_MAX = 4
"""Of logs, in the pool at a time, besides the one sync of everything that there may be: disks take several at once, and
one that hangs must not be all there are."""
SMOOTHING = 0.2
"""Weight of the newest measurement in the running mean of a sync's duration."""
LOGS_MIN = 8
"""For fewer logs a sync of everything is never tried: there would be little to gain."""
PATIENCE = 0.01
"""The part of the syncs' time that may be spent on trying again what was slow."""
GIVE_UP_S_MIN = 0.1
GIVE_UP_RATIO = 2
"""A sync of everything is given up when it takes so many times as long as its logs would have taken one by one."""

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

    def flush_failed(self, flush: Flush | None, error: StorageError) -> None:
        """It is not, and never will be. None: the flush could not even begin."""


Work = tuple[Flushable, Flush]


class Flusher:
    """Has the logs synced."""

    def __init__(self, environment: Environment, metrics: Metrics, *, inline_max_s: float = INLINE_SYNC_MAX_S) -> None:
        self._environment = environment
        self._metrics = metrics
        self._inline_max_s = inline_max_s
        self._sync_s = inline_max_s
        self._sync_all_s = 0.0
        """What a sync of everything is taken to cost; nothing, until one was tried."""
        self._disk: Volume | None = None
        """The one that all logs lie on."""
        self._dirty: OrderedDict[Flushable, None] = OrderedDict()
        """Kicked, and not in a sync."""
        self._syncing: dict[Flushable, list[Callable[[], None]]] = {}
        """Those whose flush has begun, with what is to be done at its end."""
        self._kicked_again: set[Flushable] = set()
        """Since it has begun."""
        self._one_by_one: deque[Work] = deque()
        """Flushes that a sync of everything has not ended."""
        self._at_once: list[Work] | None = None
        """The flushes that the sync of everything is to end, while it goes on; none, once it was given up."""
        self._is_scheduled = False
        self._in_pool = 0
        """Syncs of single logs."""

    @property
    def is_idle(self) -> bool:
        """Nothing is dirty and no flush is under way."""
        return not self._dirty and not self._syncing

    def lies_on(self, disk: Volume) -> None:
        """All logs lie on this disk."""
        # Asked before anything is written, so that it can tell of all that befalls what will be.
        self._disk = disk if disk.syncs_all else None

    def kick(self, partition: Flushable) -> None:
        """Sync this one as soon as can be."""
        if partition in self._syncing:
            self._kicked_again.add(partition)
        else:
            self._dirty[partition] = None
            self._schedule()

    def when_free(self, partition: Flushable, callback: Callable[[], None]) -> None:
        """Call back when no sync of this one is under way (it must not be deleted during one); at once if none is."""
        if partition in self._syncing:
            self._syncing[partition].append(callback)
        else:
            callback()

    async def drain(self) -> None:
        """Wait until all that was kicked has been synced or has failed."""
        while not self.is_idle:
            if self._syncing:
                done = asyncio.Event()
                self.when_free(next(iter(self._syncing)), done.set)
                await done.wait()
            else:
                await asyncio.sleep(0)

    def _schedule(self) -> None:
        if not self._is_scheduled and self._in_pool < SYNCS_MAX:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._is_scheduled = False
        seconds = self._sync_s * len(self._dirty)
        is_free = not (self._in_pool or self._one_by_one or self._at_once is not None)
        if is_free and seconds < self._inline_max_s:
            for _ in range(len(self._dirty)):
                if (work := self._next()) is not None:
                    self._end_each(work, self._timed(work[1].sync))
            return
        disk = self._disk
        if disk is not None and self._can_sync_everything(disk, seconds):
            self._sync_everything(disk, seconds)
        while self._in_pool < SYNCS_MAX and (work := self._next()) is not None:
            self._in_pool += 1
            self._run(work[1].sync, partial(self._end_in_pool, work))

    def _next(self) -> Work | None:
        """What is to be synced next; None if there is nothing."""
        return self._one_by_one.popleft() if self._one_by_one else self._next_dirty()

    def _next_dirty(self) -> Work | None:
        while self._dirty:
            partition, _ = self._dirty.popitem(last=False)
            flush = None
            try:
                flush = partition.begin_flush()
            except Exception as error:  # noqa: BLE001 - it may be for want of memory, and whoever waits is told
                _isolated(partial(partition.flush_failed, None, _failure_of(error)))
            if flush is not None:
                self._syncing[partition] = []
                return partition, flush
        return None

    def _run(self, sync: Callable[[], None], end: Callable[[Outcome], None]) -> None:
        """Do it in the pool."""

        def ended(future: asyncio.Future[Outcome]) -> None:
            if future.cancelled():
                return
            end(future.result())
            if self._dirty or self._one_by_one:
                self._schedule()

        try:
            call = self._environment.run_blocking(lambda: self._timed(sync))
        except Exception as error:  # noqa: BLE001 - the pool does not take it: that is how the sync has ended
            sync = _nothing  # a call is queued before a thread is started for it, and another thread may find it later
            end((0.0, _failure_of(error)))
        else:
            call.add_done_callback(ended)

    def _timed(self, sync: Callable[[], None]) -> Outcome:
        """May run in a thread: it touches nothing but what it syncs and the clock."""
        started = self._environment.monotonic()
        failure: StorageError | None = None
        try:
            sync()
        except Exception as error:  # noqa: BLE001 - whatever it is, the log's owner is told
            failure = _failure_of(error)
        return self._environment.monotonic() - started, failure

    # A log by itself

    def _end_in_pool(self, work: Work, outcome: Outcome) -> None:
        self._in_pool -= 1
        self._end_each(work, outcome)

    def _end_each(self, work: Work, outcome: Outcome) -> None:
        seconds, failure = outcome
        self._sync_s += SMOOTHING * (seconds - self._sync_s)
        self._sync_all_s -= PATIENCE * seconds
        self._metrics.fsync.observe(seconds)
        self._tell(work, failure)

    def _tell(self, work: Work, failure: StorageError | None) -> None:
        partition, flush = work
        waiting = self._syncing.pop(partition)

        def ended() -> None:
            if failure is None:
                partition.flushed(flush)
            else:
                partition.flush_failed(flush, failure)

        for callback in (ended, *waiting):
            _isolated(callback)
        if partition in self._kicked_again:
            self._kicked_again.remove(partition)
            self.kick(partition)

    # Everything at once

    def _can_sync_everything(self, disk: Volume, seconds: float) -> bool:
        """Whether that is worth while: one by one they would take so long."""
        return self._at_once is None and len(self._dirty) >= LOGS_MIN and self._sync_all_s <= seconds and disk.syncs_all

    def _sync_everything(self, disk: Volume, seconds: float) -> None:
        self._at_once = []
        while (work := self._next_dirty()) is not None:
            self._at_once.append(work)
        patience_s = max(GIVE_UP_S_MIN, GIVE_UP_RATIO * seconds)
        timer = asyncio.get_running_loop().call_later(patience_s, self._give_up)

        def end(outcome: Outcome) -> None:
            timer.cancel()
            self._end_everything(outcome)

        self._run(disk.sync_all, end)

    def _give_up(self) -> None:
        """It takes too long, and may hang for one file of many."""
        assert self._at_once is not None
        logger.warning("sync of the whole disk takes long, each log is synced logs=%d", len(self._at_once))
        self._one_by_one.extend(self._at_once)
        self._at_once = []
        self._schedule()

    def _end_everything(self, outcome: Outcome) -> None:
        self._sync_all_s, failure = outcome
        assert self._at_once is not None
        works, self._at_once = self._at_once, None
        if failure is not None:
            self._disk = None
            logger.warning("sync of the whole disk failed, from now on each log is synced error=%s", failure)
            self._one_by_one.extend(works)
            return
        self._metrics.fsync.observe(self._sync_all_s)
        for work in works:
            if work[1].snapshot is None:
                self._tell(work, None)
            else:
                self._one_by_one.append(work)  # that has still to be written, beside the loop


def _failure_of(error: Exception) -> StorageError:
    """As which the owner of a log is told of what its flush ended with. What nobody foresaw is as final."""
    return error if isinstance(error, StorageError) else DiskFailed("sync", repr(error))


def _isolated(callback: Callable[[], None]) -> None:
    """Call it; what it raises goes where the loop reports exceptions, and keeps nobody else from being called."""
    try:
        callback()
    except Exception as error:  # noqa: BLE001 - it is reported
        report = {"message": "somebody could not be told of the end of a sync", "exception": error}
        asyncio.get_running_loop().call_exception_handler(report)


def _nothing() -> None:
    pass
