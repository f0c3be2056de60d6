"""Records grow into record batches, one queue per partition. Sans-I/O: no futures, no clock, `now` is passed.

Theory. A partition's queue holds batches in the order in which they were opened; only the last one is open for more
records, and only the first one may leave. While one is away the next one follows if it is full and its producer is
idempotent; else it stays and grows, which makes batches large where that helps and costs nobody time.

Invariants:
- Without sequence numbers at most one batch of a partition is in flight. This keeps records of a partition in order
  when a batch has to be sent again: nothing that came later can have been appended before it.
- With them at most `IN_FLIGHT_MAX` of a partition have left since the oldest that is not settled, itself included: a
  broker knows that many again. The first one of a busy time travels alone, because a broker that knows nothing of a
  producer takes any number. What came back leaves only when all are back, and before anything new: what a batch is told
  while others are ahead of it decides nothing.
- A broker knows a producer's numbers in a topic, not in another of the same name: once a partition's topic id has
  changed, what left under the old one comes back, or is settled, before anything leaves under the new one.
- Numbers are given when a batch first leaves. It gets others only when it is certain that it is not in the log.
- A batch is encoded once; what is sent again are the same bytes, unless it has got new numbers.
- `outstanding` holds every batch that is not settled, in the order of opening. A batch whose time is over while it is
  in flight is settled there and then; what it is answered later is nobody's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Protocol
from uuid import UUID

from ..protocol.batch import stamp_producer
from ..protocol.primitives import Buffer
from ..protocol.records import BatchBuilder, Headers
from .config import ProducerConfig
from .errors import TidelogError
from .sequences import Sequences, Stamp

Name = tuple[str, int]
"""Topic and partition."""

IN_FLIGHT_MAX = 5
"""Kafka's number: what a broker remembers of a producer in a partition are its last five batches [I-1]."""

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
        "may_be_stored",
        "name",
        "number",
        "place",
        "receipts",
        "stamp",
        "topic_id",
        "was_first",
    )

    def __init__(self, name: Name, builder: BatchBuilder, *, number: int, born_at: float, deadline: float) -> None:
        self.name = name
        self.builder = builder
        self.append: Append = builder.append
        """Adds a record to an open batch; bound here because it is called once per record."""
        self.is_open = True
        self.number = number
        """Of all batches of the producer, in the order of opening."""
        self.born_at = born_at
        self.deadline = deadline
        self.count = 0
        """Records, once it is encoded."""
        self.attempts = 0
        self.stamp: Stamp | None = None
        """The numbers under which it was sent and, if it is sent again, will be."""
        self.place = 0
        """How many batches of its partition had left before it."""
        self.topic_id: UUID | None = None
        """Of the topic to which it last left."""
        self.was_first = False
        """When it last left, no other batch of its partition was away or to be sent again before it."""
        self.may_be_stored = False
        """An attempt ended without a word on whether it is in the log."""
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
            stamp = self.stamp
            if stamp is None:
                self.encoded = self.builder.build()
            else:
                self.encoded = self.builder.build(
                    producer_id=stamp.producer_id, producer_epoch=stamp.epoch, base_sequence=stamp.base_sequence
                )
            self.builder = _SPENT
            self.append = _spent
        return self.encoded

    def number_by(self, sequences: Sequences) -> None:
        """Take the next numbers of the partition."""
        stamp = self.stamp = sequences.stamp(self.builder.count if self.encoded is None else self.count)
        if self.encoded is not None:
            # A copy, for a connection that is going down may still hold the bytes that were sent.
            copy = self.encoded = bytearray(self.encoded)
            stamp_producer(
                copy,
                0,
                producer_id=stamp.producer_id,
                producer_epoch=stamp.epoch,
                base_sequence=stamp.base_sequence,
            )

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

    __slots__ = ("batches", "in_flight", "is_known", "numbered", "retry_at", "topic_id")

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        """Those that are here; at the front what came back and has to be sent again."""
        self.in_flight: dict[Batch, None] = {}
        """In the order in which they left."""
        self.numbered = 0
        """How many batches have got numbers."""
        self.is_known = False
        """The broker has acknowledged a batch in this busy time: it knows the producer's numbers."""
        self.topic_id: UUID | None = None
        """Of the topic to which batches leave."""
        self.retry_at = 0.0


class Batcher:
    """All batches of one producer that are not settled."""

    def __init__(self, config: ProducerConfig) -> None:
        self.producer_id: int | None = None
        """What an idempotent producer needs before anything can leave."""
        self._config = config
        self._queues: dict[Name, _Queue] = {}
        self._eligible: dict[Name, _Queue] = {}
        """Queues of which a batch may leave when it is time; those served last stand last, so that all get their turn.
        """
        self._sequences: dict[Name, Sequences] = {}
        self.outstanding: dict[Batch, None] = {}
        self._opened = 0
        self._hurry_through = 0

    @property
    def wants_producer_id(self) -> bool:
        """Nothing can leave before `producer_id` is set."""
        return self._config.is_idempotent and self.producer_id is None

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
        self._opened += 1
        builder = BatchBuilder(codec=self._config.codec, level=self._config.level)
        deadline = now + self._config.delivery_timeout
        batch = Batch(name, builder, number=self._opened, born_at=now, deadline=deadline)
        queue.batches.append(batch)
        self.outstanding[batch] = None
        self._changed(name, queue)
        return batch

    def has_room(self, name: Name, size: int) -> bool:
        """The partition has an open batch with room for `size` bytes more."""
        queue = self._queues.get(name)
        return queue is not None and bool(queue.batches) and queue.batches[-1].has_room(size, self._config.max_batch)

    def ready(self, now: float, *, hurry: bool = False) -> Iterator[Batch]:
        """Batches that may leave now, one per partition; `hurry` leaves no time to linger."""
        if self.wants_producer_id:
            return
        for queue in list(self._eligible.values()):
            if self._ready_at(queue) <= (float("inf") if hurry and not queue.retry_at else now):
                yield queue.batches[0]

    def next_event(self, now: float) -> float | None:
        """The next moment after `now` at which a batch is due or overdue, if nothing happens until then."""
        moments = [moment for queue in self._eligible.values() if (moment := self._ready_at(queue)) > now]
        oldest = next(iter(self.outstanding), None)
        if oldest is not None and oldest.deadline > now:
            moments.append(oldest.deadline)
        return min(moments, default=None)

    def may_go_to(self, batch: Batch, topic_id: UUID) -> bool:
        """A batch that is ready may leave to the topic of this id; false if others are still away to one before it."""
        queue = self._queues[batch.name]
        if queue.topic_id != topic_id:
            # The new topic's log knows no numbers and takes any: whoever came first would be the first.
            queue.topic_id = topic_id
            queue.is_known = False
            self._changed(batch.name, queue)
        return batch.name in self._eligible

    def take(self, batch: Batch) -> Buffer:
        """The batch leaves: its bytes."""
        name = batch.name
        queue = self._queues[name]
        assert name in self._eligible, "a batch leaves when it may"
        first = queue.batches.popleft()
        assert first is batch, "batches leave in order"
        batch.was_first = not queue.in_flight
        batch.topic_id = queue.topic_id
        queue.in_flight[batch] = None
        queue.retry_at = 0.0
        batch.is_open = False
        batch.attempts += 1
        if self._config.is_idempotent and batch.stamp is None:
            batch.number_by(self._sequences_of(name))
            batch.place = queue.numbered
            queue.numbered += 1
        del self._eligible[name]
        self._changed(name, queue)
        return batch.encode()

    def retry(self, batch: Batch, error: TidelogError, *, at: float, is_stored_maybe: bool = True) -> None:
        """The batch came back: it takes its old place in its queue, and may leave at `at`."""
        queue = self._queues[batch.name]
        assert batch in queue.in_flight, "only what is in flight can come back"
        batch.last_error = error
        batch.may_be_stored |= is_stored_maybe
        del queue.in_flight[batch]
        self._forget_ended(batch)
        earlier = 0
        while earlier < len(queue.batches) and queue.batches[earlier].number < batch.number:
            earlier += 1
        queue.batches.insert(earlier, batch)
        queue.retry_at = max(queue.retry_at, at)
        self._changed(batch.name, queue)

    def renumber(self, batch: Batch, *, is_fenced: bool) -> bool:
        """The broker does not take the batch, which was first, under its numbers: it and those behind it get others.

        That is safe because none of them is in the log. A gap before a batch says so by itself; and the next epoch
        fences what is still on its way. `is_fenced`: the broker knows a later epoch of this producer id than we do.
        Then only a new id helps, and the batch must not have been sent before without a word on what became of it;
        False if it was, and nothing has changed.
        """
        assert batch.was_first, "what is told to others decides nothing"
        sequences = self._sequences[batch.name]
        if batch.stamp is None or not sequences.gave(batch.stamp):
            return True  # of an epoch that has ended meanwhile
        if is_fenced or not sequences.begin_epoch():
            if batch.may_be_stored:
                return False
            del self._sequences[batch.name]
            self.producer_id = None
        queue = self._queues[batch.name]
        queue.is_known = False
        for other in queue.batches:
            self._forget_ended(other)
        self._changed(batch.name, queue)
        return True

    def settle(self, batch: Batch, *, is_delivered: bool = False) -> None:
        """The batch is delivered or given up; the next one of its partition may leave."""
        queue = self._queues[batch.name]
        if batch in queue.in_flight:
            del queue.in_flight[batch]
        else:
            queue.batches.remove(batch)
            queue.retry_at = 0.0
        batch.is_open = False
        if is_delivered:
            queue.is_known = batch.stamp is not None and batch.topic_id == queue.topic_id
        elif batch.stamp is not None and not queue.in_flight and not (queue.batches and queue.batches[0].stamp):
            # Whether its numbers were used nobody knows. Those behind it that were numbered would find out; there are
            # none, and the next ones need not.
            self._end_epoch(batch)
            queue.is_known = False
        del self.outstanding[batch]
        self._changed(batch.name, queue)

    def expired(self, now: float) -> list[Batch]:
        """Batches past their deadline, in flight or not."""
        return list(takewhile(lambda batch: batch.deadline <= now, self.outstanding))

    def hurry(self) -> int:
        """Nothing that is here now lingers any more; returns a mark for `settled_through`."""
        self._hurry_through = self._opened
        return self._opened

    def settled_through(self, mark: int) -> bool:
        """Every batch that was here when `hurry` returned `mark` is settled."""
        first = next(iter(self.outstanding), None)
        return first is None or first.number > mark

    def of_topic(self, topic: str) -> list[Batch]:
        """The topic's batches that are not in flight, in order."""
        return [
            batch for batch in self.outstanding
            if batch.name[0] == topic and batch not in self._queues[batch.name].in_flight
        ]  # fmt: skip

    # Inside

    def _changed(self, name: Name, queue: _Queue) -> None:
        if self._may_leave(queue):
            self._eligible.setdefault(name, queue)
        else:
            self._eligible.pop(name, None)
            if not queue.batches and not queue.in_flight:
                del self._queues[name]

    def _may_leave(self, queue: _Queue) -> bool:
        if not queue.batches or not queue.in_flight:
            return bool(queue.batches)
        if not queue.is_known or queue.numbered - next(iter(queue.in_flight)).place >= IN_FLIGHT_MAX:
            return False
        first = queue.batches[0]
        return not first.is_open and first.stamp is None

    def _ready_at(self, queue: _Queue) -> float:
        if queue.retry_at:
            return queue.retry_at
        batch = queue.batches[0]
        if not batch.is_open or batch.number <= self._hurry_through or batch.size >= self._config.max_batch:
            return batch.born_at
        return batch.born_at + self._config.linger

    def _sequences_of(self, name: Name) -> Sequences:
        sequences = self._sequences.get(name)
        if sequences is None:
            assert self.producer_id is not None, "nothing is ready without a producer id"
            sequences = self._sequences[name] = Sequences(self.producer_id)
        return sequences

    def _end_epoch(self, batch: Batch) -> None:
        """The partition's next batch begins an epoch, or gets a producer id of its own."""
        sequences = self._sequences.get(batch.name)
        if sequences is not None and not sequences.begin_epoch():
            del self._sequences[batch.name]
            self.producer_id = None

    def _forget_ended(self, batch: Batch) -> None:
        """A batch whose epoch has ended is numbered anew when it leaves."""
        sequences = self._sequences.get(batch.name)
        if batch.stamp is not None and (sequences is None or not sequences.gave(batch.stamp)):
            batch.stamp = None
