"""What a log knows of its producers, so that a retry is recognised and a gap refused (KIP-98).

Per producer id: the epoch, and the last five batches of it (a client has at most five requests in flight). A batch
that is one of them is a *duplicate*: nothing is written, and the answer is the one the first attempt got. Any other
must follow on the last one, or begin a new epoch at 0. Of a producer that nobody knows, any sequence is taken: its
state may have expired (Kafka's rule, ProducerAppendInfo).

Invariants: a producer's batches ascend in sequence and in offset, all of its epoch; `written_ms` ascends from the first
producer to the last. Entries are immutable, so that what was staged and could not be written is undone by putting the
old ones back: `rewind`.

Bytes of a snapshot, Kafka's ProducerSnapshot version 1, big endian:

    position  size  field
           0     2  version, i16: 1
           2     4  CRC-32C of all that follows, u32
           6     4  number of rows, i32
          10    46  a row: producer id i64, epoch i16, last sequence i32, last offset i64, offset delta i32,
                    timestamp i64, coordinator epoch i32 (-1), first offset of the open transaction i64 (-1)

Kafka writes a producer's last batch only. Here each of the five has a row, oldest first: a reader that keeps one row a
producer keeps the last, as in Kafka, and we recognise every retry after a restart as well.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple
from weakref import WeakSet

from crc32c import crc32c

from ..protocol.batch import BatchHeader
from .errors import OutOfOrderSequence, ProducerFenced

BATCHES_KEPT: Final = 5
PRODUCERS_MAX: Final = 250_000
"""In all logs of a data directory together: a hundred mebibytes. Without a limit anybody could fill the memory."""
EVICTED_AT_ONCE: Final = 100
"""The part of them that makes room when there is none: one in so many."""
SEQUENCE_MAX: Final = (1 << 31) - 1
SNAPSHOT_VERSION: Final = 1
NONE: Final = -1

_HEAD = struct.Struct(">hI")
_COUNT = struct.Struct(">i")
_ROW = struct.Struct(">qhiqiqiq")


class AppendedBatch(NamedTuple):
    """One batch of a producer, as far as it must be remembered."""

    first_sequence: int
    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp: int
    """The batch's greatest."""

    @property
    def first_offset(self) -> int:
        """Where the batch begins."""
        return self.last_offset - self.offset_delta


class Producer(NamedTuple):
    """One producer's state."""

    epoch: int
    batches: tuple[AppendedBatch, ...]
    """The last ones, oldest first; never none."""
    written_ms: int
    """When it last wrote, or when the log was opened after that: by our clock, for the records' may be anything."""


class BadSnapshot(Exception):
    """Bytes that are no snapshot, or a damaged one."""


class ProducerRoom:
    """How many producers all logs together remember. Beyond the limit those go that the fullest log has longest not
    heard of: whoever invents producers fills one log, or few, and pays for it there.
    """

    def __init__(self, limit: int = PRODUCERS_MAX) -> None:
        self._limit = limit
        self._states: WeakSet[ProducerState] = WeakSet()
        self._count = 0
        """At least as many as there are: who leaves is counted off when it would be too many."""

    def adopt(self, state: "ProducerState") -> None:
        """A log was opened."""
        state.room = self
        self._states.add(state)
        self.taken(len(state))

    def taken(self, count: int) -> None:
        """So many are new."""
        self._count += count
        if self._count > self._limit:
            self._count = sum(map(len, self._states))
        if self._count > self._limit:
            wanted = self._count - self._limit + max(1, self._limit // EVICTED_AT_ONCE)
            self._count -= max(self._states, key=len).forget_oldest(wanted)


class ProducerState:
    """The producers of one log. One owner."""

    def __init__(self) -> None:
        self.room: ProducerRoom | None = None
        self._producers: dict[int, Producer] = {}
        self._before: dict[int, Producer | None] = {}
        """What `update` has replaced since the last `commit`."""

    def __len__(self) -> int:
        """How many producers are known."""
        return len(self._producers)

    def items(self) -> Iterable[tuple[int, Producer]]:
        """All producers with their ids."""
        return self._producers.items()

    def get(self, producer_id: int) -> Producer | None:
        """A producer's state; None if nothing is known of it."""
        return self._producers.get(producer_id)

    # Before a batch is appended

    def duplicate_of(self, header: BatchHeader) -> AppendedBatch | None:
        """The batch of which this one is a retry, if it is still remembered [I-2]."""
        producer = self._producers.get(header.producer_id)
        if producer is None or producer.epoch != header.producer_epoch:
            return None
        first = header.base_sequence
        for batch in producer.batches:
            if batch.first_sequence == first and batch.offset_delta == header.last_offset_delta:
                return batch
        return None

    def check(self, header: BatchHeader) -> None:
        """Whether a batch that is no duplicate may follow. Raises ProducerFenced, OutOfOrderSequence [I-2, I-3]."""
        producer = self._producers.get(header.producer_id)
        if producer is None:
            return
        if header.producer_epoch < producer.epoch:
            raise ProducerFenced(header.producer_id, header.producer_epoch, producer.epoch)
        if header.producer_epoch > producer.epoch:
            expected = 0
        else:
            expected = following(producer.batches[-1].last_sequence, 1)
        if header.base_sequence != expected:
            raise OutOfOrderSequence(
                producer_id=header.producer_id,
                epoch=header.producer_epoch,
                sequence=header.base_sequence,
                expected=expected,
            )

    # As it is appended

    def update(self, header: BatchHeader, base_offset: int, *, timestamp: int, now_ms: int) -> None:
        """The batch was appended at `base_offset`, with that greatest timestamp; `rewind` undoes it until `commit`."""
        producer_id, delta = header.producer_id, header.last_offset_delta
        appended = AppendedBatch(
            header.base_sequence,
            following(header.base_sequence, delta),
            base_offset + delta,
            delta,
            timestamp,
        )
        known = self._take(producer_id)
        if known is not None and known.epoch == header.producer_epoch:
            batches = (*known.batches[1 - BATCHES_KEPT :], appended)
        else:
            batches = (appended,)
        self._producers[producer_id] = Producer(header.producer_epoch, batches, now_ms)
        if known is None and self.room is not None:
            self.room.taken(1)

    def commit(self) -> None:
        """What was appended is written."""
        self._before.clear()

    def rewind(self) -> None:
        """What was appended since the last `commit` could not be written."""
        restored = False
        for producer_id, producer in self._before.items():
            self._producers.pop(producer_id, None)
            if producer is not None:
                self._producers[producer_id] = producer
                restored = True
        if restored:  # at the end, where they do not belong; this is rare, and what is nearly sorted is sorted soon
            self._producers = dict(sorted(self._producers.items(), key=_last_write))
        self._before.clear()

    def expire(self, *, written_before_ms: int) -> int:
        """Forget the producers that have not written since; how many that were [I-6]."""
        count = 0
        for producer in self._producers.values():
            if producer.written_ms >= written_before_ms:
                break
            count += 1
        return self.forget_oldest(count)

    def forget_oldest(self, count: int) -> int:
        """Forget so many of those that have been silent longest; how many that were."""
        forgotten = list(islice(self._producers, count))
        for producer_id in forgotten:
            del self._producers[producer_id]
        return len(forgotten)

    def _take(self, producer_id: int) -> Producer | None:
        producer = self._producers.pop(producer_id, None)
        self._before.setdefault(producer_id, producer)
        return producer

    # Snapshots

    @property
    def snapshot_size_max(self) -> int:
        """Bytes that a snapshot may take."""
        return _HEAD.size + _COUNT.size + len(self._producers) * BATCHES_KEPT * _ROW.size

    def encode(self) -> bytes:
        """A snapshot's bytes."""
        rows = b"".join(
            _ROW.pack(
                producer_id,
                producer.epoch,
                batch.last_sequence,
                batch.last_offset,
                batch.offset_delta,
                batch.timestamp,
                NONE,
                NONE,
            )
            for producer_id, producer in self._producers.items()
            for batch in producer.batches
        )
        body = _COUNT.pack(len(rows) // _ROW.size) + rows
        return _HEAD.pack(SNAPSHOT_VERSION, crc32c(body)) + body

    @classmethod
    def decode(cls, data: bytes, *, now_ms: int) -> "ProducerState":
        """The state in a snapshot. Raises BadSnapshot."""
        state = cls()
        for producer_id, epoch, batch in _rows(data):
            known = state._producers.get(producer_id)
            batches = known.batches if known is not None and known.epoch == epoch else ()
            if batches and batches[-1].last_offset >= batch.last_offset:
                raise BadSnapshot(f"the batches of producer {producer_id} do not ascend")
            state._producers[producer_id] = Producer(epoch, (*batches, batch)[-BATCHES_KEPT:], now_ms)
        return state


def following(sequence: int, count: int) -> int:
    """The sequence `count` records later: behind the greatest comes 0 [I-4]."""
    return (sequence + count) & SEQUENCE_MAX


def _last_write(entry: tuple[int, Producer]) -> tuple[int, int]:
    producer = entry[1]
    return producer.written_ms, producer.batches[-1].last_offset


def _rows(data: bytes) -> Iterator[tuple[int, int, AppendedBatch]]:
    start = _HEAD.size + _COUNT.size
    if len(data) < start:
        raise BadSnapshot(f"{len(data)} bytes are too few")
    version, crc = _HEAD.unpack_from(data)
    if version != SNAPSHOT_VERSION:
        raise BadSnapshot(f"version {version}, known is {SNAPSHOT_VERSION}")
    if crc32c(memoryview(data)[_HEAD.size :]) != crc:
        raise BadSnapshot("the checksum does not hold")
    (count,) = _COUNT.unpack_from(data, _HEAD.size)
    if len(data) != start + count * _ROW.size:
        raise BadSnapshot(f"{count} rows announced, {len(data) - start} bytes found")
    for row in _ROW.iter_unpack(memoryview(data)[start:]):
        producer_id, epoch, last_sequence, last_offset, delta, timestamp, _, _ = row
        yield (
            producer_id,
            epoch,
            AppendedBatch((last_sequence - delta) & SEQUENCE_MAX, last_sequence, last_offset, delta, timestamp),
        )
