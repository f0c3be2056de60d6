"""The oracle: what was sent to each log, what of it was promised, and what must be found therefore.

It believes nothing that the code under test says about itself. It keeps every batch as its producer sent it, counts the
offsets, and knows the batch's header from Kafka's specification; what a log shows after a power cut is held against
that. A log must show, whatever is left of its disk:

* every batch that was promised, byte for byte, and behind it of the others a beginning: no gap, nothing changed,
  nothing that nobody sent [A1, L-9];
* a greater leader epoch than before, if bytes of it lie on the disk that it does not show, and the old epoch ends where
  it was cut [L-15];
* the producers, with the last five batches of each, as the batches that are left tell [I-7];
* each offset and each time where a reader looks for it, also through the indexes [L-5, L-6];
* the same again after another power cut that loses all that recovery did not make durable: so what it showed once, it
  shows for ever.

Of a log in which a batch has rotted it must show every other one that was promised, and an error in its place; once the
damage was noted down, it takes no appends, and nothing is cut, until it is sound again [A8].
"""

import struct
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import accumulate
from typing import NamedTuple

from tidelog.storage.errors import StorageError
from tidelog.storage.log import Log

_HEADER = struct.Struct(">qiibIhiqqqhii")
"""Kafka's RecordBatch v2: base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and
greatest timestamp, producer id and epoch, first sequence, number of records."""
_STAMP = struct.Struct(">q4xi")
BATCHES_REMEMBERED = 5
READ_SIZE = 1500
"""Less than a segment, so that reading goes through the indexes."""


class Broken(AssertionError):
    """A promise was broken."""


class Presence(Enum):
    """Whether something must be there."""

    MUST = "must be there"
    MAY = "may be there"
    MUST_NOT = "must not be there"


class Sent(NamedTuple):
    """A batch as it must lie in the log."""

    data: bytes
    base_offset: int
    next_offset: int
    timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int


class Damage(NamedTuple):
    """A batch that has rotted where it lies."""

    number: int
    """Of the batch."""
    is_noted: bool = False
    """It was found, and noted down."""


@dataclass(slots=True)
class LogBook:
    """What was sent to one log, from its beginning. Grows while the script runs."""

    batches: list[Sent] = field(default_factory=list)
    safe: int = 0
    """So many of them were promised."""
    epoch: int = 0
    presence: Presence = Presence.MAY
    damage: Damage | None = None

    def send(self, batch: bytes) -> None:
        """Somebody sends this one; it has not been promised."""
        base_offset = self.batches[-1].next_offset if self.batches else 0
        data = bytearray(batch)
        _STAMP.pack_into(data, 0, base_offset, self.epoch)
        data[8:12] = batch[8:12]
        _, _, _, _, _, _, delta, timestamp, _, producer_id, producer_epoch, sequence, _ = _HEADER.unpack_from(data)
        self.batches.append(
            Sent(bytes(data), base_offset, base_offset + delta + 1, timestamp, producer_id, producer_epoch, sequence)
        )

    def promise(self, end_offset: int) -> None:
        """All below this offset was said to be safe."""
        while self.safe < len(self.batches) and self.batches[self.safe].next_offset <= end_offset:
            self.safe += 1

    def next_sequence(self, producer_id: int, epoch: int) -> int:
        """What this producer's next batch begins with."""
        for batch in reversed(self.batches):
            if (batch.producer_id, batch.producer_epoch) == (producer_id, epoch):
                return batch.base_sequence + batch.next_offset - batch.base_offset
        return 0

    def snapshot(self) -> "LogPromise":
        """What holds now."""
        return LogPromise(tuple(self.batches), self.safe, self.epoch, self.presence, self.damage)


@dataclass(frozen=True, slots=True)
class LogPromise:
    """What must be found of a log at one moment."""

    sent: tuple[Sent, ...]
    safe: int
    epoch: int
    presence: Presence
    damage: Damage | None = None

    def with_rest(self, kept: int, epoch: int) -> "LogPromise":
        """What must be found from now on, when so many batches were found in this epoch."""
        return replace(self, sent=self.sent[:kept], safe=kept, epoch=epoch, presence=Presence.MUST)

    @property
    def end_offset(self) -> int:
        """Behind the last batch."""
        return self.sent[-1].next_offset if self.sent else 0


def check_log(log: Log, promise: LogPromise, *, bytes_there: int) -> LogPromise:
    """Hold an opened log against what was promised; what it has to show from now on. `bytes_there`: in its segments,
    when the power came back. Raises Broken.
    """
    if promise.damage is not None:
        return _check_damaged(log, promise, promise.damage)
    name = log.directory
    try:
        found = read_all(log)
    except StorageError as error:
        raise Broken(f"{name}: cannot be read: {error}") from error
    expected = b"".join([batch.data for batch in promise.sent])
    if found != expected[: len(found)]:
        raise Broken(f"{name}: what is there is not what was sent")
    ends = list(accumulate((len(batch.data) for batch in promise.sent), initial=0))
    kept = bisect_left(ends, len(found))
    if ends[kept] != len(found):
        raise Broken(f"{name}: {len(found)} bytes are no whole batches")
    if kept < promise.safe:
        raise Broken(f"{name}: {kept} batches of the {promise.safe} that were promised")
    rest = promise.with_rest(kept, log.leader_epoch)
    if log.offline:
        raise Broken(f"{name}: came up offline, {log.recovered}")
    if (log.end_offset, log.recovery_point) != (rest.end_offset, rest.end_offset):
        raise Broken(f"{name}: ends at {log.end_offset}, durable to {log.recovery_point}, batches to {rest.end_offset}")
    _check_epochs(log, promise, rest, was_cut=bytes_there > len(found))
    if (producers := producers_in(log, promise.sent)) != expected_producers(promise.sent, kept):
        raise Broken(
            f"{name}: its producers are {producers}, as its batches tell {expected_producers(rest.sent, kept)}"
        )
    _check_lookups(log, rest)
    return rest


def _check_damaged(log: Log, promise: LogPromise, damage: Damage) -> LogPromise:
    is_quarantined = log.quarantined is not None
    if is_quarantined != log.offline or (damage.is_noted and not is_quarantined):
        raise Broken(f"{log.directory}: quarantined {log.quarantined}, offline {log.offline}, noted {damage.is_noted}")
    # Nobody knows the epoch if the power went while a new one began, before the mark knew of it: decision 0013.
    is_same_epoch = log.leader_epoch == promise.epoch or not log.leader_epochs.is_known
    if is_quarantined and (log.recovered.truncated_bytes or not is_same_epoch):
        raise Broken(f"{log.directory}: {log.recovered} in epoch {log.leader_epoch}, though it is quarantined")
    there = [batch for batch in promise.sent if batch.next_offset <= log.end_offset]
    if len(there) < promise.safe:
        raise Broken(f"{log.directory}: {len(there)} batches of the {promise.safe} that were promised")
    for number, batch in enumerate(there):
        try:
            fetched = log.read(batch.base_offset, size_max=1, up_to=log.end_offset, at_least_one=True)
        except StorageError as error:
            if number != damage.number:
                raise Broken(f"{log.directory}: nothing is found at {batch.base_offset}: {error}") from error
        else:
            if number == damage.number or bytes(fetched.records) != batch.data:
                raise Broken(f"{log.directory}: what is served at {batch.base_offset} is not what was sent")
    return replace(
        promise,
        # Those that were not promised and are not shown may come back: a log that is quarantined was not cut.
        sent=promise.sent if is_quarantined else tuple(there),
        epoch=log.leader_epoch if log.leader_epochs.is_known else promise.epoch,
        presence=Presence.MUST,
        damage=damage._replace(is_noted=is_quarantined),
    )


def _check_epochs(log: Log, promise: LogPromise, rest: LogPromise, *, was_cut: bool) -> None:
    epoch = log.leader_epoch
    if epoch < promise.epoch or (was_cut and epoch == promise.epoch):
        raise Broken(f"{log.directory}: leader epoch {epoch} after {promise.epoch}, {was_cut=}")
    if epoch > promise.epoch:
        end = log.leader_epochs.end_of(promise.epoch, end_offset=log.end_offset)
        if end is None or end.end_offset != rest.end_offset:
            raise Broken(f"{log.directory}: epoch {promise.epoch} ends at {end}, the log at {rest.end_offset}")


def _check_lookups(log: Log, rest: LogPromise) -> None:
    """The last batch, and one in the middle, where a reader expects them."""
    for batch in rest.sent:
        try:
            fetched = log.read(batch.next_offset - 1, size_max=1, up_to=rest.end_offset, at_least_one=True)
            at_time = log.find_timestamp(batch.timestamp, up_to=rest.end_offset)
        except StorageError as error:
            raise Broken(f"{log.directory}: nothing is found at {batch.base_offset}: {error}") from error
        if bytes(fetched.records) != batch.data:
            raise Broken(f"{log.directory}: offset {batch.next_offset - 1} is not where it should be")
        if at_time is None or at_time.offset != batch.base_offset:
            raise Broken(f"{log.directory}: time {batch.timestamp} is found at {at_time}, not at {batch.base_offset}")


def read_all(log: Log) -> bytes:
    """All that a consumer gets who reads from the start to the end."""
    found, offset = bytearray(), log.start_offset
    while offset < log.end_offset:
        fetched = log.read(offset, size_max=READ_SIZE, up_to=log.end_offset, at_least_one=True)
        if fetched.next_offset <= offset:
            raise Broken(f"{log.directory}: nothing can be read at {offset}, below the end {log.end_offset}")
        offset = fetched.next_offset
        found += fetched.records
    return bytes(found)


Producers = Mapping[int, tuple[int, list[tuple[int, int]]]]
"""By id: the epoch, and base offset and first sequence of the last batches."""


def expected_producers(sent: tuple[Sent, ...], kept: int) -> Producers:
    """As the first `kept` batches tell."""
    found: dict[int, tuple[int, list[tuple[int, int]]]] = {}
    for batch in sent[:kept]:
        if batch.producer_id < 0:
            continue
        epoch, before = found.get(batch.producer_id, (batch.producer_epoch, []))
        if epoch != batch.producer_epoch:
            before = []
        before = [*before, (batch.base_offset, batch.base_sequence)][-BATCHES_REMEMBERED:]
        found[batch.producer_id] = (batch.producer_epoch, before)
    return found


def producers_in(log: Log, sent: tuple[Sent, ...]) -> Producers:
    """As the log has it, of all producers that ever sent to it."""
    found: dict[int, tuple[int, list[tuple[int, int]]]] = {}
    for producer_id in {batch.producer_id for batch in sent}:
        known = log.producers.get(producer_id)
        if known is not None:
            found[producer_id] = (known.epoch, [(one.first_offset, one.first_sequence) for one in known.batches])
    return found
