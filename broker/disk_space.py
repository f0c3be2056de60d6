"""DiskSpace: records are refused before the disk is full, and a reserve is held for what must go on then.

`log.min.free.bytes` of the disk are kept free. Below that, whatever a client would add (records, topics, partitions) is
refused with KAFKA_STORAGE_ERROR, which clients take for passing. What the broker writes for itself goes on: commits of
offsets, what groups remember, deletions, durable marks, the clean stop. But others may write to the same disk. So a
part of it is held by a file, the *reserve*: when the broker's own writes find no space it is given back, a quarter at a
time, so that what somebody else takes of it is not all of it. It is taken again when there is space enough.

How much is free is asked once a second, and as soon as clients have used up what the last look left them; so they run
into the limit, not into the disk's end. A reserve that is not held counts as missing: giving it back lets nobody in.

Why that default: 1 GiB or 2 %, whichever is more, is what operators are used to keep free, and what filesystems need to
stay quick. But of a disk smaller than 20 GiB that would be a large part, hence never more than 5 %.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from ..protocol.errors import ErrorCode, RequestRefused
from ..storage.disk import Volume
from ..storage.errors import DiskFailed, DiskFull, OutOfDescriptors
from .config import BrokerConfig
from .environment import Environment
from .metrics import Metrics

RESERVE: Final = ".reserve"
"""The file that holds the reserve. It is never written to, and never read."""
AUTOMATIC: Final = -1
MIN_FREE: Final = 1 << 30
MIN_FREE_PERCENT: Final = 2
MIN_FREE_PERCENT_MAX: Final = 5
RESERVE_PERCENT_MAX: Final = 6
PORTIONS: Final = 4
"""In so many parts the reserve is given back."""
LOOK_S: Final = 1.0
MARGIN_PARTS: Final = 16
MARGIN_MAX: Final = 64 << 20
"""Clients are let in again when a sixteenth more than the limit is free, but at most so much more."""
PARTITION_SIZE: Final = 64 << 10
"""What a new partition takes: a directory and a handful of small files, in blocks; estimated generously."""
UNKNOWN: Final = 1 << 62

logger = logging.getLogger(__name__)

R = TypeVar("R")

MakeRoom = Callable[[], bool]
"""Asks for space for what must go on; false when there is none to be had, and trying again is no use."""


def no_room() -> bool:
    """Where there is no reserve."""
    return False


def with_room(make_room: MakeRoom, action: Callable[[], R]) -> R:
    """Do what must go on; as often as the disk is too full for it, ask for space and do it again. Raises DiskFull."""
    while True:
        try:
            return action()
        except OutOfDescriptors:
            raise  # which no space would mend
        except DiskFull:
            if not make_room():
                raise


class DiskSpace:
    """Of one data directory."""

    def __init__(self, disk: Volume, config: BrokerConfig, *, environment: Environment, metrics: Metrics) -> None:
        self._disk = disk
        self._config = config
        self._environment = environment
        self._metrics = metrics
        self._allowance = 0
        """What clients may add until somebody looks again."""
        self._held = 0
        """Of the reserve."""
        self._portion = 0
        """What is given back at a time, once that has begun."""
        self._taking: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = self._has_complained = False

    # Start and stop

    def prepare(self) -> None:
        """The data directory is ours, and its logs are about to be opened, for which there may be no space."""
        try:
            if self._disk.exists(RESERVE):
                self._held = self._disk.size(RESERVE)
            wanted = self._reserve_wanted(self._disk.total_bytes())
            self._give_back_surplus(wanted)
            if self._disk.free_bytes() < wanted:
                while self.make_room():
                    pass
        except DiskFailed as error:
            logger.warning("free space of the disk is not known error=%s", error)

    def start(self) -> None:
        """Look from now on."""
        self.look()
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._due)

    async def stop(self) -> None:
        """Look no more. What follows is the end of the logs: there is space for it, if it can be had."""
        if self._timer is not None:
            self._timer.cancel()
        if self._taking is not None:
            await asyncio.wait([self._taking])
        self._is_stopped = True
        self.look()
        if self._metrics.disk_writable:
            self._shrink(0)  # a broker that does not run takes up no more than its data

    def reconfigure(self, config: BrokerConfig) -> None:
        """Other settings hold from here on."""
        self._config = config
        self.look()

    def _due(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._due)
        self.look()

    # What clients add

    def admit(self, size: int) -> None:
        """Let a client add a batch of so many bytes. Raises RequestRefused(KAFKA_STORAGE_ERROR).

        As long as anything is left: else large batches were refused for good while the disk is called writable.
        """
        if not self._is_left(1):
            raise self._refusal("the disk is full")
        self._allowance -= size

    def admit_partitions(self, count: int) -> None:
        """Let a client add so many partitions, if all fit. Raises RequestRefused(KAFKA_STORAGE_ERROR)."""
        size = count * PARTITION_SIZE
        if not self._is_left(size):
            is_full = not self._metrics.disk_writable
            raise self._refusal("the disk is full" if is_full else f"{count} partitions may take {size} bytes")
        self._allowance -= size

    def _is_left(self, size: int) -> bool:
        if size > self._allowance and self._metrics.disk_writable:  # else the next look is the timer's
            self.look()
        return size <= self._allowance

    def _refusal(self, why: str) -> RequestRefused:
        self._metrics.disk_full_refusals += 1
        min_free = self._metrics.disk_min_free_bytes
        message = f"No space: {why}, and {min_free} bytes of the disk are kept free (log.min.free.bytes)."
        return RequestRefused(ErrorCode.KAFKA_STORAGE_ERROR, message)

    # The broker's own

    def make_room(self) -> bool:
        """What must go on has found no space: give a part of the reserve back; false when none is left."""
        if not self._held or self._taking is not None:
            return False
        if not self._portion:
            self._portion = -(-self._held // PORTIONS)  # of what is held, whatever the settings say by now
        if not self._shrink(max(0, self._held - self._portion)):
            return False
        logger.warning("disk full, a part of the reserve is given back left=%d", self._held)
        with suppress(DiskFailed):  # the next look complains, if it fares no better
            self._measure()
        return True

    def _give_back_surplus(self, wanted: int) -> None:
        """The settings, or the disk, may have been larger when it was taken."""
        if self._held > wanted and self._shrink(wanted):
            self._portion = 0

    def _shrink(self, size: int) -> bool:
        if not self._held:
            return False
        try:
            if size:
                self._disk.allocate(RESERVE, size)
            else:
                self._disk.remove(RESERVE)
        except DiskFailed as error:
            logger.warning("reserve cannot be given back error=%s", error)
            return False
        self._held = self._metrics.disk_reserve_bytes = size
        return True

    # Looking

    def look(self) -> None:
        """See how much is free, and what follows from it for clients and for the reserve."""
        try:
            free, wanted = self._measure()
        except DiskFailed as error:
            self._allowance = UNKNOWN  # whoever writes will see
            if not self._has_complained:
                self._has_complained = True
                logger.warning("free space of the disk is not known error=%s", error)
            return
        if self._taking is not None:
            return
        self._give_back_surplus(wanted)
        if self._metrics.disk_writable:
            if self._held < wanted and not self._is_stopped:
                self._take(wanted)
        elif free < wanted // PORTIONS:
            self.make_room()  # before somebody has to ask for it

    def _measure(self) -> tuple[int, int]:
        """What clients may add; returns how much is free, and how large the reserve should be."""
        free, total = self._disk.free_bytes(), self._disk.total_bytes()
        wanted, min_free = self._reserve_wanted(total), min_free_bytes(self._config.log_min_free_bytes, total)
        left = free - max(0, wanted - self._held) - min_free
        was_writable = self._metrics.disk_writable
        is_writable = left > (0 if was_writable else min(min_free // MARGIN_PARTS, MARGIN_MAX))
        self._allowance = left if is_writable else -1
        self._metrics.disk_min_free_bytes = min_free
        self._metrics.disk_writable = is_writable
        if was_writable and not is_writable:
            logger.warning("disk full, records are refused free=%d min_free=%d", free, min_free)
        elif is_writable and not was_writable:
            logger.info("disk has space again, records are accepted free=%d min_free=%d", free, min_free)
        return free, wanted

    def _take(self, size: int) -> None:
        """Beside the loop: some filesystems write zeros for it."""
        self._taking = self._environment.run_blocking(lambda: self._disk.allocate(RESERVE, size))
        self._taking.add_done_callback(lambda taken: self._taken(taken, size))

    def _taken(self, taken: asyncio.Future[None], size: int) -> None:
        self._taking = None
        if taken.cancelled():
            return
        error = taken.exception()
        if error is None:
            self._held = self._metrics.disk_reserve_bytes = size
            self._portion = 0
        elif not isinstance(error, DiskFailed):
            raise error
        elif not isinstance(error, DiskFull) and not self._has_complained:  # else it was taken by somebody else
            self._has_complained = True
            logger.warning("no space can be held in reserve error=%s", error)

    def _reserve_wanted(self, total: int) -> int:
        return min(self._config.log_reserve_bytes, total * RESERVE_PERCENT_MAX // 100)


def min_free_bytes(configured: int, total: int) -> int:
    """How much is kept free of a disk of `total` bytes."""
    if configured != AUTOMATIC:
        return configured
    return min(max(MIN_FREE, total * MIN_FREE_PERCENT // 100), total * MIN_FREE_PERCENT_MAX // 100)
