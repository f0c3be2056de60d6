"""Records grow into record batches, one queue per partition. Sans-I/O: no futures, no clock, `now` is passed.

Theory. A partition's queue holds batches in the order in which they were opened; only the last one is open for more
records, and only the first one may leave. While it is away the others wait, whatever becomes of it.

Invariants:
- At most one batch of a partition is in flight. This is what keeps records of a partition in order when a batch has
  to be sent again: nothing that came later can have been appended before it. (A producer id with sequence numbers will
  allow more than one.)
- A batch is encoded once; what is sent again are the same bytes.
- `outstanding` holds every batch that is not settled, in the order of opening.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from ..protocol.primitives import Buffer
from ..protocol.records import BatchBuilder, Headers
from .config import ProducerConfig
from .errors import TidelogError

Name = tuple[str, int]
"""Topic and partition."""

Append = Callable[[bytes | None, bytes | None, Headers, int], int]
"""Key, value, headers and timestamp of a record; returns its number in the batch."""


class Receipt(Protocol):
    """Somebody who wants to know what became of a batch, or of one record in it."""

    @property
    def held(self) -> int:
        """Bytes of the memory budget to give back when the batch is settled."""
        ...

    def delivered(self, batch: Batch, base_offset: int, append_time_ms: int) -> None:
        """The batch is acknowledged; `append_time_ms` is -1 unless the broker stamped its own time."""

    def failed(self, error: TidelogError) -> None:
        """The batch will not be sent (again)."""


class Batch:
    """One record batch on its way: open, waiting, in flight, settled."""

    __slots__ = (
        "append",
        "attempts",
        "born_at",
        "builder",
        "count",
        "deadline",
        "encoded",
        "is_open",
        "last_error",
        "name",
        "receipts",
        "sequence",
    )

    def __init__(self, name: Name, builder: BatchBuilder, *, sequence: int, born_at: float, deadline: float) -> None:
        self.name = name
        self.builder = builder
        self.append: Append = builder.append
        """Adds a record to an open batch; bound here because it is called once per record."""
        self.is_open = True
        self.sequence = sequence
        self.born_at = born_at
        self.deadline = deadline
        self.count = 0
        """Records, once it is encoded."""
        self.attempts = 0
        self.receipts: list[Receipt] = []
        self.encoded: Buffer | None = None
        self.last_error: TidelogError | None = None

    @property
    def size(self) -> int:
        """Bytes, before compression as long as it is not encoded."""
        return self.builder.size if self.encoded is None else len(self.encoded)

    @property
    def held(self) -> int:
        """Bytes of the memory budget that the batch takes."""
        return sum(receipt.held for receipt in self.receipts)

    def has_room(self, size: int, size_max: int) -> bool:
        """The batch takes another record of `size` bytes; an empty one takes any."""
        return self.is_open and (self.builder.size + size <= size_max or not self.builder.count)

    def encode(self) -> Buffer:
        """The bytes; always the same ones. What the records held is let go."""
        if self.encoded is None:
            self.count = self.builder.count
            self.encoded = self.builder.build()
            self.builder = _SPENT
            self.append = _spent
        return self.encoded

    def deliver(self, base_offset: int, append_time_ms: int) -> None:
        """Tell all who wait that the batch is acknowledged."""
        for receipt in self.receipts:
            receipt.delivered(self, base_offset, append_time_ms)

    def fail(self, error: TidelogError) -> None:
        """Tell all who wait that the batch is given up."""
        for receipt in self.receipts:
            receipt.failed(error)


_SPENT = BatchBuilder()
"""Stands where the builder of an encoded batch stood, so that the records' parts are let go."""


def _spent(_key: bytes | None, _value: bytes | None, _headers: Headers, _timestamp_ms: int) -> int:
    raise AssertionError("an encoded batch takes no more records")


class _Queue:
    """The batches of one partition."""

    __slots__ = ("batches", "in_flight", "retry_at")

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        self.in_flight: Batch | None = None
        """Was the first of `batches`, and becomes it again if it has to be sent again."""
        self.retry_at = 0.0


class Batcher:
    """All batches of one producer that are not settled."""

    def __init__(self, config: ProducerConfig) -> None:
        self._config = config
        self._queues: dict[Name, _Queue] = {}
        self._idle: dict[Name, _Queue] = {}
        """Queues with batches and none in flight; those served last stand last, so that all get their turn."""
        self.outstanding: dict[Batch, None] = {}
        self._sequence = 0
        self._hurry_through = 0

    def batch_for(self, name: Name, size: int, *, now: float) -> Batch:
        """The partition's open batch, which has room for `size` bytes more; a new one if need be."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue()
        if queue.batches:
            batch = queue.batches[-1]
            if batch.has_room(size, self._config.max_batch):
                return batch
            batch.is_open = False
        self._sequence += 1
        builder = BatchBuilder(codec=self._config.codec, level=self._config.level)
        deadline = now + self._config.delivery_timeout
        batch = Batch(name, builder, sequence=self._sequence, born_at=now, deadline=deadline)
        queue.batches.append(batch)
        self.outstanding[batch] = None
        if queue.in_flight is None:
            self._idle.setdefault(name, queue)
        return batch

    def has_room(self, name: Name, size: int) -> bool:
        """The partition has an open batch with room for `size` bytes more."""
        queue = self._queues.get(name)
        return queue is not None and bool(queue.batches) and queue.batches[-1].has_room(size, self._config.max_batch)

    def ready(self, now: float, *, hurry: bool = False) -> Iterator[Batch]:
        """Batches that may leave now, one per partition; `hurry` leaves no time to linger."""
        for queue in list(self._idle.values()):
            if self._ready_at(queue) <= (float("inf") if hurry and not queue.retry_at else now):
                yield queue.batches[0]

    def next_event(self, now: float) -> float | None:
        """The next moment after `now` at which a batch is due or overdue, if nothing happens until then."""
        moments = [moment for queue in self._idle.values() if (moment := self._ready_at(queue)) > now]
        for batch in self.outstanding:
            if self._queues[batch.name].in_flight is not batch:
                if batch.deadline > now:
                    moments.append(batch.deadline)
                break
        return min(moments, default=None)

    def take(self, batch: Batch) -> Buffer:
        """The batch leaves: its bytes."""
        queue = self._queues[batch.name]
        assert queue.in_flight is None, "a partition may have one batch in flight"
        first = queue.batches.popleft()
        assert first is batch, "batches leave in order"
        queue.in_flight = batch
        queue.retry_at = 0.0
        batch.is_open = False
        del self._idle[batch.name]
        batch.attempts += 1
        return batch.encode()

    def retry(self, batch: Batch, error: TidelogError, *, at: float) -> None:
        """The batch came back: it is first in its queue again, and may leave at `at`."""
        queue = self._queues[batch.name]
        assert queue.in_flight is batch, "only what is in flight can come back"
        batch.last_error = error
        queue.in_flight = None
        queue.batches.appendleft(batch)
        queue.retry_at = at
        self._idle[batch.name] = queue

    def settle(self, batch: Batch) -> None:
        """The batch is delivered or given up; the next one of its partition may leave."""
        queue = self._queues[batch.name]
        if queue.in_flight is batch:
            queue.in_flight = None
        else:
            queue.batches.remove(batch)
            queue.retry_at = 0.0
        batch.is_open = False
        self._idle.pop(batch.name, None)
        if queue.in_flight is None:
            if queue.batches:
                self._idle[batch.name] = queue
            else:
                del self._queues[batch.name]
        del self.outstanding[batch]

    def expired(self, now: float) -> list[Batch]:
        """Batches past their deadline that are not in flight. What is in flight is decided by its answer."""
        late: list[Batch] = []
        for batch in self.outstanding:
            if batch.deadline > now:
                break
            if self._queues[batch.name].in_flight is not batch:
                late.append(batch)
        return late

    def hurry(self) -> int:
        """Nothing that is here now lingers any more; returns a mark for `settled_through`."""
        self._hurry_through = self._sequence
        return self._sequence

    def settled_through(self, mark: int) -> bool:
        """Every batch that was here when `hurry` returned `mark` is settled."""
        first = next(iter(self.outstanding), None)
        return first is None or first.sequence > mark

    def of_topic(self, topic: str) -> list[Batch]:
        """The topic's batches that are not in flight, in order."""
        return [
            batch for batch in self.outstanding
            if batch.name[0] == topic and self._queues[batch.name].in_flight is not batch
        ]  # fmt: skip

    def _ready_at(self, queue: _Queue) -> float:
        if queue.retry_at:
            return queue.retry_at
        batch = queue.batches[0]
        if not batch.is_open or batch.sequence <= self._hurry_through or batch.size >= self._config.max_batch:
            return batch.born_at
        return batch.born_at + self._config.linger
