"""The durable mark of a log: up to which offset everything is known to be on the platter (`durable-mark`).

Recovery needs it to tell a torn tail from corruption: bad bytes above the mark were never acknowledged and are cut,
bad bytes below it were, and are not touched. With it goes the last *checkpoint*: the end of a batch up to which the
indexes are durable too, so that recovery need not read what lies before; and what the file of the leader epochs is, for
that is text without a checksum, and an epoch in which nothing was written yet stands nowhere else. Two slots are
written in turn, each synced before the other is used, in sectors of their own, so that a torn write leaves the older
one readable:

    position  size  field
           0     8  sequence, u64, one more with each write; the even one stands here
           8     8  offset, i64: everything below it is durable
          16     8  checkpoint: base offset of its segment, i64; -1 if there is none, then zeros up to the CRC
          24     8  offset, i64: everything below it is durable, and its index entries are
          32     8  position in the segment's file where that offset begins, i64
          40     8  greatest timestamp of the segment up to there, i64; -1 if there is none
          48     8  last offset of the first batch that has it, i64; -1 if there is none
          56     4  entries of the offset index up to there, u32
          60     4  CRC-32C of their bytes, u32
          64     4  entries of the time index up to there, u32
          68     4  CRC-32C of their bytes, u32
          72     4  u32: 1 if the log had idempotent producers then, 0 if it had none
          76     4  leader epoch, i32: the log has reached that one; -1 if none is known
          80     4  CRC-32C of leader-epoch-checkpoint, u32; 0 if none is known
          84     4  CRC-32C of the 84 bytes before, u32
        4096    88  the same for odd sequences

All big endian. The slot with the greater sequence counts. A mark that is too low is harmless, and so is a checkpoint:
more is read again. A mark that cannot be read makes recovery read everything, and cut nothing. Then a new file takes
the place of the old one, of which some slot might be readable another time, and count for more than the new one.
"""

import logging
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from crc32c import crc32c

from .checkpoint import read_part, replace_file
from .disk import Disk
from .errors import Unreadable
from .index import NO_ENTRIES, IndexedEntries
from .leader_epochs import KnownEpochs
from .time_index import NOTHING, TimeEntry

FILE_NAME: Final = "durable-mark"
SLOT_DISTANCE: Final = 4096
SLOTS: Final = (0, SLOT_DISTANCE)
"""Where they begin."""

_SLOT = struct.Struct(">QqqqqqqIIIIIiI")
_CRC = struct.Struct(">I")
SLOT_SIZE: Final = _SLOT.size + _CRC.size
FILE_SIZE: Final = SLOT_DISTANCE + SLOT_SIZE
NO_CHECKPOINT: Final = -1
NO_EPOCHS: Final = (-1, 0)

logger = logging.getLogger(__name__)

assert SLOT_SIZE == 88
assert SLOT_SIZE <= 512, "a slot must not span sectors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where recovery may begin to read: at the end of a batch, with the state of the segment's tally there."""

    base_offset: int
    """Of the segment."""
    offset: int
    position: int = 0
    greatest: TimeEntry = NOTHING
    offset_entries: IndexedEntries = NO_ENTRIES
    time_entries: IndexedEntries = NO_ENTRIES
    has_producers: bool = True
    """The log knew idempotent producers then. If it knew none, nobody has to look for any below `offset`."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What one slot says."""

    sequence: int
    offset: int
    checkpoint: Checkpoint | None = None
    epochs: KnownEpochs | None = None


class DurableMark:
    """The mark of one log. `offset` is what the file says; None if no slot of it can be read."""

    def __init__(self, disk: Disk, directory: str, slots: Sequence[Slot] = (), *, is_readable: bool = True) -> None:
        """`slots` are those that can be read; `is_readable` unless the disk refused one."""
        newest = max(slots, key=lambda slot: slot.sequence, default=None)
        self._disk = disk
        self._path = f"{directory}/{FILE_NAME}"
        self._sequence = 0 if newest is None else newest.sequence
        self.offset = None if newest is None else newest.offset
        self.checkpoint = None if newest is None else newest.checkpoint
        self.epochs = None if newest is None else newest.epochs
        """The leader epochs' file; None if it does not say."""
        self.is_whole = {slot.sequence for slot in slots} == {self._sequence - 1, self._sequence}
        """Both slots can be read. Else one was never written, or torn, or it has rotted, and may be the newer one."""
        self._is_readable = is_readable
        self._turn = Lock()

    @classmethod
    def read(cls, disk: Disk, directory: str) -> "DurableMark":
        """What the file says; nothing, if it is missing or neither of its slots can be read."""
        path = f"{directory}/{FILE_NAME}"
        slots: list[Slot] = []
        is_readable = True
        for at in SLOTS if disk.exists(path) else ():
            try:
                slot = decode_slot(read_part(disk, path, at, SLOT_SIZE))
            except Unreadable as error:
                logger.warning("a slot of the durable mark counts for nothing because=%s", error)
                is_readable = False
            else:
                slots += [] if slot is None else [slot]
        return cls(disk, directory, slots, is_readable=is_readable)

    def may_cut(self, *, was_closed: bool) -> bool:
        """Whether what is bad above it is a torn tail. Not if it cannot be read.

        Nor if one slot cannot be read, which may be the newer one: unless it is just damaged, and the stop was not
        clean. A power cut tears the slot that is being written, but the disk still gives its bytes.
        """
        return self.offset is not None and self._is_readable and (self.is_whole or not was_closed)

    def write(
        self,
        offset: int,
        checkpoint: Checkpoint | None = None,
        *,
        epochs: KnownEpochs | None = None,
        unless: Callable[[], bool] = lambda: False,
    ) -> None:
        """Move the mark, durably. What it says must be so, durably, already. No `epochs`: those that it knew.

        Two threads may do so: one waits for the other, and a mark that is behind the last one is not written. `unless`
        is asked when the file is open: from then on it cannot be the file of another log that was given this one's
        name.
        """
        with self._turn:
            if self.offset is not None and offset < self.offset:
                return
            slot = Slot(self._sequence + 1, offset, checkpoint, epochs or self.epochs)
            if self.offset is None:
                replace_file(self._disk, self._path, encode_first(slot))
            elif not self._write_slot(slot, unless):
                return
            self._sequence, self.offset, self.checkpoint, self.epochs = slot.sequence, offset, checkpoint, slot.epochs

    def _write_slot(self, slot: Slot, unless: Callable[[], bool]) -> bool:
        """Over the older one, or over the one that cannot be read."""
        file = self._disk.open(self._path, create=True)
        try:
            if unless():
                return False
            if file.size < FILE_SIZE:
                file.write(file.size, bytes(FILE_SIZE - file.size))  # no hole: else a full disk would stop the mark
            file.write((slot.sequence & 1) * SLOT_DISTANCE, encode_slot(slot))
            file.sync()
        finally:
            file.close()
        return True


def encode_first(slot: Slot) -> bytes:
    """The bytes of a new file; the other slot has its room already, else a full disk would stop the mark."""
    assert slot.sequence == 1
    return bytes(SLOT_DISTANCE) + encode_slot(slot)


def encode_slot(slot: Slot) -> bytes:
    """One slot's bytes."""
    checkpoint = slot.checkpoint
    if checkpoint is None:
        fields = (NO_CHECKPOINT, *(0,) * 9)
    else:
        assert checkpoint.base_offset <= checkpoint.offset <= slot.offset
        fields = (
            *(checkpoint.base_offset, checkpoint.offset, checkpoint.position, *checkpoint.greatest),
            *(checkpoint.offset_entries.count, checkpoint.offset_entries.crc),
            *(checkpoint.time_entries.count, checkpoint.time_entries.crc),
            int(checkpoint.has_producers),
        )
    epochs = NO_EPOCHS if slot.epochs is None else (slot.epochs.latest, slot.epochs.crc)
    data = _SLOT.pack(slot.sequence, slot.offset, *fields, *epochs)
    return data + _CRC.pack(crc32c(data))


def decode_slot(data: bytes) -> Slot | None:
    """What the bytes of a slot say; None if they are none."""
    if len(data) < SLOT_SIZE or _CRC.unpack_from(data, _SLOT.size)[0] != crc32c(data[: _SLOT.size]):
        return None
    sequence, durable, base_offset, offset, position, timestamp, last_offset, *rest = _SLOT.unpack_from(data)
    *counts, has_producers, epoch, epochs_crc = rest
    if sequence <= 0 or durable < 0 or epoch < -1:
        return None
    epochs = None if (epoch, epochs_crc) == NO_EPOCHS else KnownEpochs(epoch, epochs_crc)
    if base_offset == NO_CHECKPOINT:
        return Slot(sequence, durable, None, epochs)
    if not (0 <= base_offset <= offset <= durable and position >= 0):
        return None
    checkpoint = Checkpoint(
        base_offset=base_offset,
        offset=offset,
        position=position,
        greatest=TimeEntry(timestamp, last_offset),
        offset_entries=IndexedEntries(*counts[0:2]),
        time_entries=IndexedEntries(*counts[2:4]),
        has_producers=has_producers != 0,
    )
    return Slot(sequence, durable, checkpoint, epochs)
