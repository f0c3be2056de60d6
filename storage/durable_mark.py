"""The durable mark of a log: up to which offset everything is known to be on the platter (`durable-mark`).

Recovery needs it to tell a torn tail from corruption: bad bytes above the mark were never acknowledged and are cut,
bad bytes below it were, and are not touched. Two slots are written in turn, each synced before the other is used, in
sectors of their own, so that a torn write leaves the older mark readable:

    position  size  field
           0     8  sequence, u64, one more with each write; the even one stands here
           8     8  offset, i64
          16     4  CRC-32C of the 16 bytes before, u32
        4096    20  the same for odd sequences

All big endian. The slot with the greater sequence counts. A mark that is too low is harmless (more is read again);
one that cannot be read makes recovery cut nothing.
"""

import struct
from collections.abc import Callable
from typing import Final

from crc32c import crc32c

from .checkpoint import read_file
from .disk import Disk

FILE_NAME: Final = "durable-mark"
SLOT_DISTANCE: Final = 4096

_SLOT = struct.Struct(">Qq")
_CRC = struct.Struct(">I")
SLOT_SIZE: Final = _SLOT.size + _CRC.size
FILE_SIZE: Final = SLOT_DISTANCE + SLOT_SIZE

assert SLOT_SIZE <= 512, "a slot must not span sectors"


class DurableMark:
    """The mark of one log. `offset` is what the file says; None if no slot of it can be read."""

    def __init__(self, disk: Disk, directory: str, *, sequence: int = 0, offset: int | None = None) -> None:
        self._disk = disk
        self._path = f"{directory}/{FILE_NAME}"
        self._sequence = sequence
        self.offset = offset

    @classmethod
    def read(cls, disk: Disk, directory: str) -> "DurableMark":
        """What the file says; nothing, if it is missing or both its slots are damaged."""
        path = f"{directory}/{FILE_NAME}"
        data = read_file(disk, path) if disk.exists(path) else b""
        slots = [slot for at in (0, SLOT_DISTANCE) if (slot := decode_slot(data[at : at + SLOT_SIZE])) is not None]
        if not slots:
            return cls(disk, directory)
        sequence, offset = max(slots)
        return cls(disk, directory, sequence=sequence, offset=offset)

    def write(self, offset: int, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Move the mark, durably. What lies below `offset` must be durable already.

        Two threads may do so at once: whatever comes of it is one of the two marks, or an older one. `unless` is asked
        when the file is open: from then on it cannot be the file of another log that was given this one's name.
        """
        sequence = self._sequence + 1
        file = self._disk.open(self._path, create=True)
        try:
            if unless():
                return
            if file.size < FILE_SIZE:
                file.write(file.size, bytes(FILE_SIZE - file.size))  # no hole: else a full disk would stop the mark
            file.write((sequence & 1) * SLOT_DISTANCE, encode_slot(sequence, offset))
            file.sync()
        finally:
            file.close()
        self._sequence, self.offset = sequence, offset


def encode_slot(sequence: int, offset: int) -> bytes:
    """One slot's bytes."""
    data = _SLOT.pack(sequence, offset)
    return data + _CRC.pack(crc32c(data))


def decode_slot(data: bytes) -> tuple[int, int] | None:
    """Sequence and offset; None if that is no slot."""
    if len(data) < SLOT_SIZE or _CRC.unpack_from(data, _SLOT.size)[0] != crc32c(data[: _SLOT.size]):
        return None
    sequence, offset = _SLOT.unpack_from(data)
    return (sequence, offset) if sequence > 0 and offset >= 0 else None
