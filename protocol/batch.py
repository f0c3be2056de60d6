"""The header of a record batch (RecordBatch v2): read it, check it, stamp it, walk a buffer of batches.

A batch is the one format that is both wire and disk: 61 bytes of header, then the records, compressed together or not.
The records stay opaque here. The CRC-32C covers everything from the attributes to the end; base offset and leader
epoch lie before it, so a broker stamps both into the receive buffer without touching the checksum, and the 17 bytes
up to the magic are protected by nothing: whoever reads them from a disk must check them against their neighbours.

    base offset i64 @0 | batch length i32 @8 (bytes after it) | leader epoch i32 @12 | magic i8 @16 | crc u32 @17
    attributes i16 @21 | last offset delta i32 @23 | base timestamp i64 @27 | max timestamp i64 @35
    producer id i64 @43 | producer epoch i16 @51 | base sequence i32 @53 | record count i32 @57 | records @61
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from crc32c import crc32c

from . import errors, primitives

# Named here too for storage, which sees nothing of protocol but batches and records.
Buffer = primitives.Buffer
ProtocolError = errors.ProtocolError
CorruptBatch = errors.CorruptBatch

MAGIC: Final = 2
HEADER_SIZE: Final = 61
LENGTH_END: Final = 12
"""The batch length counts the bytes from here on."""
EPOCH_POSITION: Final = 12
MAGIC_POSITION: Final = 16
CRC_POSITION: Final = 17
CHECKED_FROM: Final = 21
"""The CRC covers the bytes from here, the attributes, to the batch's end."""
MAX_TIMESTAMP_POSITION: Final = 35
PRODUCER_POSITION: Final = 43
"""Producer id, epoch and base sequence stand here in a row."""
BATCH_LENGTH_MIN: Final = HEADER_SIZE - LENGTH_END

CODEC_MASK: Final = 0x07
LOG_APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
DELETE_HORIZON: Final = 0x40

NO_PRODUCER_ID: Final = -1
NO_PRODUCER_EPOCH: Final = -1
NO_SEQUENCE: Final = -1
NO_LEADER_EPOCH: Final = -1
NO_TIMESTAMP: Final = -1
"""What a producer without a clock writes."""

_HEADER = struct.Struct(">qiibIhiqqqhii")
_INT64 = struct.Struct(">q")
_INT32 = struct.Struct(">i")
_UINT32 = struct.Struct(">I")
_INT16 = struct.Struct(">h")
_PRODUCER = struct.Struct(">qhi")

assert _HEADER.size == HEADER_SIZE
assert struct.calcsize(">qiib") == CRC_POSITION
assert struct.calcsize(">qiibI") == CHECKED_FROM
assert struct.calcsize(">qiibIhiq") == MAX_TIMESTAMP_POSITION
assert struct.calcsize(">qiibIhiqq") == PRODUCER_POSITION


class BatchHeader(NamedTuple):
    """A batch's first 61 bytes, and what follows from them."""

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch, header included."""
        return LENGTH_END + self.batch_length

    @property
    def last_offset(self) -> int:
        """Offset of the last record the batch was built with; compaction may have taken that record away since."""
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        """Where the batch after this one may begin."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def codec(self) -> int:
        """Number of the compression, 0 to 7: compare it with `compression.Codec`, which knows 0 to 4."""
        return self.attributes & CODEC_MASK

    @property
    def timestamp_type(self) -> int:
        """0: the producer's time (CreateTime); 1: the broker's (LogAppendTime)."""
        return (self.attributes & LOG_APPEND_TIME) >> 3

    @property
    def is_log_append_time(self) -> bool:
        """Every record has the batch's max timestamp, whatever its own bytes say."""
        return bool(self.attributes & LOG_APPEND_TIME)

    @property
    def is_transactional(self) -> bool:
        """The batch belongs to a transaction of its producer."""
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """The batch holds a marker that only brokers write, no user's record."""
        return bool(self.attributes & CONTROL)

    @property
    def has_delete_horizon(self) -> bool:
        """The base timestamp is the time at which compaction may drop the batch's tombstones (KIP-534)."""
        return bool(self.attributes & DELETE_HORIZON)


def read_header(buffer: Buffer, position: int = 0) -> BatchHeader:
    """The header at `position`; `CorruptBatch` if it cannot be one. The records need not be there yet.

    What only a produce request forbids (a base offset, control bit, unknown codec) is left to whoever validates that.
    """
    assert position >= 0
    if len(buffer) - position < HEADER_SIZE:
        raise CorruptBatch(f"{len(buffer) - position} bytes are left where a batch header takes {HEADER_SIZE}")
    header = BatchHeader._make(_HEADER.unpack_from(buffer, position))
    if header.magic != MAGIC:
        raise CorruptBatch(f"magic {header.magic}; only {MAGIC} is spoken")
    if header.batch_length < BATCH_LENGTH_MIN:
        raise CorruptBatch(f"batch length {header.batch_length} is less than a header")
    if header.record_count < 0 or header.last_offset_delta < 0:
        raise CorruptBatch(f"{header.record_count} records and last offset delta {header.last_offset_delta}")
    return header


def check(buffer: Buffer, position: int = 0) -> BatchHeader:
    """The header of the batch at `position`, which is whole and whose checksum holds (B-6); else `CorruptBatch`."""
    header = read_header(buffer, position)
    size = LENGTH_END + header.batch_length
    if len(buffer) - position < size:
        raise CorruptBatch(f"the batch at position {position} takes {size} bytes, {len(buffer) - position} are left")
    crc = crc_of(buffer, position, size)
    if crc != header.crc:
        raise CorruptBatch(f"the batch at position {position} has CRC {crc:#010x}, its header says {header.crc:#010x}")
    return header


def crc_of(buffer: Buffer, position: int, size: int) -> int:
    """The CRC-32C of the batch of `size` bytes at `position`, as its header ought to state it."""
    return crc32c(memoryview(buffer)[position + CHECKED_FROM : position + size])


def write_header(buffer: bytearray | memoryview, position: int, header: BatchHeader) -> None:
    """Put `header` before the records that are already in place, with their true CRC instead of `header.crc`."""
    assert header.magic == MAGIC
    assert header.size <= len(buffer) - position
    _HEADER.pack_into(buffer, position, *header)
    _UINT32.pack_into(buffer, position + CRC_POSITION, crc_of(buffer, position, header.size))


def restamp(buffer: bytearray | memoryview, position: int, *, base_offset: int, leader_epoch: int) -> None:
    """Give the batch its place in the log, in place (B-15). The CRC covers neither field."""
    _INT64.pack_into(buffer, position, base_offset)
    _INT32.pack_into(buffer, position + EPOCH_POSITION, leader_epoch)


def stamp_append_time(buffer: bytearray | memoryview, position: int, now_ms: int) -> None:
    """Make the broker's time the time of every record, in place: timestamp type, max timestamp, new CRC (B-15)."""
    header = read_header(buffer, position)
    _INT16.pack_into(buffer, position + CHECKED_FROM, header.attributes | LOG_APPEND_TIME)
    _INT64.pack_into(buffer, position + MAX_TIMESTAMP_POSITION, now_ms)
    _UINT32.pack_into(buffer, position + CRC_POSITION, crc_of(buffer, position, header.size))


def stamp_producer(
    buffer: bytearray | memoryview, position: int, *, producer_id: int, producer_epoch: int, base_sequence: int
) -> None:
    """Number the batch of a producer anew, in place, with a new CRC."""
    header = read_header(buffer, position)
    _PRODUCER.pack_into(buffer, position + PRODUCER_POSITION, producer_id, producer_epoch, base_sequence)
    _UINT32.pack_into(buffer, position + CRC_POSITION, crc_of(buffer, position, header.size))


def walk(buffer: Buffer, position: int = 0) -> Iterator[tuple[int, BatchHeader]]:
    """Position and header of each whole batch from `position` on; checksums are not looked at.

    Ends silently before a last batch that is cut short, as reads of a log may be; `CorruptBatch` on what is no batch.
    """
    end = len(buffer)
    while end - position >= HEADER_SIZE:
        header = read_header(buffer, position)
        size = LENGTH_END + header.batch_length
        if end - position < size:
            return
        yield position, header
        position += size
