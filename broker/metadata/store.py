"""MetadataStore: the cluster's facts, in order, in a log of the same engine as everybody's records.

A fact counts once it is durable: whoever appended it is told then, in order, and acts then. Start-up replays the log.
"""

import logging
from collections.abc import Iterator, Sequence

from ...protocol import batch as batches
from ...protocol.records import build_batch, iterate
from ...storage.errors import LogOffline, StorageError
from ...storage.log import Flush, Log
from ..disk_space import MakeRoom, no_room, with_room
from ..environment import Environment
from ..topics.flusher import DurableWaiter, DurableWaiters, Flusher
from .records import Fact, decode, encode

logger = logging.getLogger(__name__)

READ_SIZE = 1 << 20


class MetadataStore:
    """Appends facts and replays them."""

    def __init__(self, log: Log, *, environment: Environment, flusher: Flusher, make_room: MakeRoom = no_room) -> None:
        self.log = log
        self._environment = environment
        self._flusher = flusher
        self._make_room = make_room
        self._waiters = DurableWaiters()
        self._writes_fail = False

    def replay(self) -> Iterator[Fact]:
        """Every fact from the beginning. Raises UnknownFact, StorageError."""
        offset = self.log.start_offset
        while offset < self.log.end_offset:
            fetched = self.log.read(offset, size_max=READ_SIZE, up_to=self.log.end_offset, at_least_one=True)
            for position, header in batches.walk(fetched.records):
                for record in iterate(memoryview(fetched.records)[position : position + header.size]):
                    yield decode(record.value or b"")
            offset = fetched.next_offset

    def append(self, facts: Sequence[Fact], waiter: DurableWaiter) -> None:
        """Append facts in one batch, all or nothing; `waiter` hears when they are durable or why they are not."""
        now_ms = self._environment.now_ms()
        batch = memoryview(build_batch((None, encode(fact), (), now_ms) for fact in facts))
        try:
            with_room(self._make_room, lambda: self._write(batch, now_ms))
        except StorageError as error:
            if not self._writes_fail:
                # Once until it works again: on a full disk every retry of every client ends here.
                self._writes_fail = True
                logger.error("metadata cannot be written error=%s", error)
            waiter(error)
            return
        self._writes_fail = False
        self._waiters.add(self.log.end_offset, waiter)
        self._flusher.kick(self)

    def _write(self, batch: memoryview, now_ms: int) -> None:
        self.log.append(batch, batches.read_header(batch), now_ms=now_ms)
        self.log.write_out()

    def begin_flush(self) -> Flush | None:
        """What the next flush has to sync."""
        try:
            return self.log.begin_flush()
        except LogOffline as error:
            self._waiters.fail(error)
            return None

    def flushed(self, flush: Flush) -> None:
        """Facts up to the flush's end are durable."""
        try:
            self.log.end_flush(flush)
        except LogOffline as error:
            self._waiters.fail(error)
            return
        self._waiters.reached(flush.end_offset)

    def flush_failed(self, flush: Flush | None, error: StorageError) -> None:
        """Nothing can be changed any more until the broker is restarted on a sound disk."""
        logger.error("metadata sync failed, log offline error=%s", error)
        self.log.fail_flush(flush)
        self._waiters.fail(error)
