"""The records inside a batch: build a batch from records, iterate over one, and the control records of transactions.

    record: length varint | attributes i8 | timestamp delta varlong | offset delta varint
            | key size varint, key | value size varint, value | header count varint | headers…
    header: key size varint, key (utf-8, never null) | value size varint, value        (sizes: zigzag, -1 is null)

Only clients, compaction and what must look for a single record come here; produce and fetch leave batches opaque.
Both directions are the client's hot path: small varints come from a table, larger ones are rare enough for a call,
and a batch is put together by one join.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from .batch import (
    CODEC_MASK,
    CONTROL,
    HEADER_SIZE,
    LENGTH_END,
    MAGIC,
    NO_LEADER_EPOCH,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    TRANSACTIONAL,
    BatchHeader,
    Buffer,
    read_header,
    write_header,
)
from .compression import Codec, compress, decompress
from .errors import CorruptBatch, MalformedMessage
from .primitives import (
    INT64_MAX,
    INT64_MIN,
    read_unsigned_varint,
    read_unsigned_varlong,
    read_varint,
    read_varlong,
    write_varint,
    write_varlong,
)

Headers = Sequence[tuple[str, bytes | None]]
DecodedHeaders = tuple[tuple[str, bytes | None], ...]

INFLATED_SIZE_MAX: Final = 128 << 20
"""Bytes that one batch's records may inflate to, unless the caller says otherwise."""
CREDIBLE_RATIO_MAX: Final = 100
CREDIBLE_SIZE_MIN: Final = 1 << 20
"""Records that inflate to no more than this are credible at any ratio."""
CREDIBLE_SIZE_MAX: Final = 32 << 20
"""And to no more than this at all, or inflating them would hold up everybody else."""
RECORDS_DECODED_MAX: Final = 200_000
"""How many records of one batch a broker decodes for an answer: that takes about a fifth of a second."""
BATCH_SIZE_MAX: Final = 1_048_588
"""Kafka's default `max.message.bytes`."""
RECORD_SIZE_MIN: Final = 7
"""Every field of a record takes at least a byte."""
RECORD_OVERHEAD_MAX: Final = 5 + 1 + 10 + 5 + 5 + 5 + 5
HEADER_OVERHEAD_MAX: Final = 5 + 5

_NO_BATCH_HEADER: Final = bytes(HEADER_SIZE)
_SMALL: Final = 1 << 13
_VARINTS: Final = tuple(
    [bytes((low,)) for low in range(0, 128, 2)]
    + [bytes((low, high)) for high in range(1, 128) for low in range(128, 256, 2)]
)
"""The zigzag varints of one and two bytes: nearly every size and offset delta."""
_NO_ATTRIBUTES: Final = b"\x00"
_NULL: Final = write_varint(-1)
_ZERO: Final = write_varint(0)
_NO_HEADERS: DecodedHeaders = ()
assert len(_VARINTS) == _SMALL
assert _VARINTS[-1] == write_varint(_SMALL - 1)

_MARKER_KEY = struct.Struct(">hh")
_MARKER_VALUE = struct.Struct(">hi")
_MARKER_VERSION = 0


class Record(NamedTuple):
    """One record as its reader sees it. A tuple, because a frozen dataclass takes five times as long to make."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: DecodedHeaders = ()


class BatchBuilder:
    """Grows one batch, record by record.

    `size` is what the batch would take uncompressed, to the byte; `count` is the number of records. `size_max` is what
    `has_room_for` goes by; `append` itself refuses nothing. Keys and values are kept by reference until `build`.
    """

    __slots__ = (
        "_base_timestamp",
        "_max_timestamp",
        "_parts",
        "_stamp",
        "_timestamp",
        "codec",
        "count",
        "level",
        "size",
        "size_max",
    )

    def __init__(self, *, codec: Codec = Codec.NONE, level: int | None = None, size_max: int = BATCH_SIZE_MAX) -> None:
        self.codec = codec
        self.level = level
        self.size_max = size_max
        self.size = HEADER_SIZE
        self.count = 0
        self._parts: list[bytes] = [_NO_BATCH_HEADER]
        self._base_timestamp = 0
        self._max_timestamp = 0
        self._timestamp: int | None = None
        self._stamp = b""

    def append(self, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int) -> int:
        """Add a record and return its offset relative to the batch's base offset."""
        if timestamp_ms != self._timestamp:
            self._stamp_time(timestamp_ms)
        stamp = self._stamp
        count = self.count
        offset = _VARINTS[count] if count < _SMALL else write_varint(count)
        size = len(stamp) + len(offset)
        if value is None:
            value_size, value = _NULL, b""
        else:
            length = len(value)
            value_size = _VARINTS[length] if length < _SMALL else write_varint(length)
            size += length
        tail = _encode_headers(headers) if headers else _ZERO
        size += len(value_size) + len(tail)
        if key is None:
            size += 1
            head = _VARINTS[size] if size < _SMALL else write_varint(size)
            self._parts += (head, stamp, offset, _NULL, value_size, value, tail)
        else:
            length = len(key)
            key_size = _VARINTS[length] if length < _SMALL else write_varint(length)
            size += length + len(key_size)
            head = _VARINTS[size] if size < _SMALL else write_varint(size)
            self._parts += (head, stamp, offset, key_size, key, value_size, value, tail)
        self.size += size + len(head)
        self.count = count + 1
        return count

    def _stamp_time(self, timestamp_ms: int) -> None:
        if not INT64_MIN <= timestamp_ms <= INT64_MAX:
            raise ValueError(f"{timestamp_ms} is no signed 64-bit number")
        if self.count == 0:
            self._base_timestamp = self._max_timestamp = timestamp_ms
        elif timestamp_ms > self._max_timestamp:
            self._max_timestamp = timestamp_ms
        step = timestamp_ms - self._base_timestamp
        # The record's attributes, a byte that is always 0, stand before the time.
        self._stamp = _NO_ATTRIBUTES + (_VARINTS[step] if 0 <= step < _SMALL else write_varlong(step))
        self._timestamp = timestamp_ms

    def has_room_for(self, key: bytes | None, value: bytes | None, headers: Headers = ()) -> bool:
        """Whether the record surely keeps the batch within `size_max` uncompressed. An empty batch takes any record."""
        return self.count == 0 or self.size + record_size_max(key, value, headers) <= self.size_max

    def build(
        self,
        *,
        base_offset: int = 0,
        leader_epoch: int = NO_LEADER_EPOCH,
        producer_id: int = NO_PRODUCER_ID,
        producer_epoch: int = NO_PRODUCER_EPOCH,
        base_sequence: int = NO_SEQUENCE,
        is_transactional: bool = False,
    ) -> bytearray:
        """The batch, with its checksum. The builder stays as it is."""
        assert self.count > 0, "a batch has records"
        batch = bytearray().join(self._parts)
        if self.codec != Codec.NONE:
            with memoryview(batch) as whole:
                compressed = compress(self.codec, whole[HEADER_SIZE:], self.level)
            batch = bytearray().join((_NO_BATCH_HEADER, compressed))
        header = BatchHeader(
            base_offset=base_offset,
            batch_length=len(batch) - LENGTH_END,
            leader_epoch=leader_epoch,
            magic=MAGIC,
            crc=0,
            attributes=self.codec | (TRANSACTIONAL if is_transactional else 0),
            last_offset_delta=self.count - 1,
            base_timestamp=self._base_timestamp,
            max_timestamp=self._max_timestamp,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            base_sequence=base_sequence,
            record_count=self.count,
        )
        write_header(batch, 0, header)
        return batch


def record_size_max(key: bytes | None, value: bytes | None, headers: Headers = ()) -> int:
    """The most bytes that the record may add to a batch, uncompressed."""
    size = RECORD_OVERHEAD_MAX + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += HEADER_OVERHEAD_MAX + len(name.encode()) + len(content or b"")
    return size


def _encode_headers(headers: Headers) -> bytes:
    parts = [write_varint(len(headers))]
    for name, value in headers:
        encoded = name.encode()
        name_size = len(encoded)
        parts += (_VARINTS[name_size] if name_size < _SMALL else write_varint(name_size), encoded)
        if value is None:
            parts.append(_NULL)
        else:
            size = len(value)
            parts += (_VARINTS[size] if size < _SMALL else write_varint(size), value)
    return b"".join(parts)


def build_batch(
    records: Iterable[tuple[bytes | None, bytes | None, Headers, int]],
    *,
    codec: Codec = Codec.NONE,
    level: int | None = None,
    base_offset: int = 0,
    leader_epoch: int = NO_LEADER_EPOCH,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
    is_transactional: bool = False,
) -> bytearray:
    """One batch of all `records`, each of them key, value, headers and timestamp in ms."""
    builder = BatchBuilder(codec=codec, level=level)
    append = builder.append
    for key, value, headers, timestamp_ms in records:
        append(key, value, headers, timestamp_ms)
    return builder.build(
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        is_transactional=is_transactional,
    )


def credible_size(batch: Buffer) -> int:
    """What a broker lets a stranger's batch inflate to before it calls it a bomb."""
    return min(CREDIBLE_SIZE_MAX, max(CREDIBLE_SIZE_MIN, CREDIBLE_RATIO_MAX * len(batch)))


def iterate(batch: Buffer, *, inflated_size_max: int = INFLATED_SIZE_MAX) -> Iterator[Record]:
    """The records of the batch at the beginning of `batch`, with their offsets and timestamps as they count in the log.

    At once: `CorruptBatch` for a header that cannot be, `DecompressionFailed` or `InflatedTooLarge` for records that
    cannot be unpacked. While iterating: `CorruptBatch` at the first record that is not what it says (B-14), or at the
    end if there are more bytes than records. The checksum is not looked at; `batch.check` does that.
    """
    header = read_header(batch)
    if len(batch) < header.size:
        raise CorruptBatch(f"the batch takes {header.size} bytes, {len(batch)} are there")
    with memoryview(batch) as whole, whole[HEADER_SIZE : header.size] as records:
        if header.codec == Codec.NONE or not records:
            data = bytes(records)
        else:
            data = decompress(header.codec, records, inflated_size_max)
    if header.record_count * RECORD_SIZE_MIN > len(data):
        raise CorruptBatch(f"{header.record_count} records announced in {len(data)} bytes")
    return _decode(data, header)


def iterate_times(batch: Buffer, *, inflated_size_max: int = INFLATED_SIZE_MAX) -> Iterator[tuple[int, int]]:
    """Offset and timestamp of each record of the batch at the beginning of `batch`, and nothing else of it.

    Keys, values and headers are passed over unread: a record may have as many headers as bytes. Raises as `iterate`.
    """
    header = read_header(batch)
    if len(batch) < header.size:
        raise CorruptBatch(f"the batch takes {header.size} bytes, {len(batch)} are there")
    with memoryview(batch) as whole, whole[HEADER_SIZE : header.size] as records:
        data = decompress(header.codec, records, inflated_size_max)
    if header.record_count * RECORD_SIZE_MIN > len(data):
        raise CorruptBatch(f"{header.record_count} records announced in {len(data)} bytes")
    return _decode_times(data, header)


def _decode_times(data: bytes, header: BatchHeader) -> Iterator[tuple[int, int]]:
    start, position, last_delta, is_stamped = 0, 0, -1, header.is_log_append_time
    timestamp = header.max_timestamp
    try:
        for _ in range(header.record_count):
            start = position
            size, position = read_varint(data, position)
            end = position + size
            time, position = read_varlong(data, position + 1)
            delta, position = read_varint(data, position)
            if not position < end <= len(data) or not last_delta < delta <= header.last_offset_delta:
                raise CorruptBatch(f"the record at byte {start} has a size or an offset that cannot be")
            if not is_stamped:
                timestamp = header.base_timestamp + time
                if not INT64_MIN <= timestamp <= INT64_MAX:
                    raise CorruptBatch(f"the record at byte {start} has timestamp {timestamp}")
            yield header.base_offset + delta, timestamp
            position, last_delta = end, delta
    except (IndexError, MalformedMessage):
        raise CorruptBatch(f"the record at byte {start} cannot be read") from None


def recompress(
    batch: Buffer, codec: Codec, level: int | None = None, *, inflated_size_max: int = INFLATED_SIZE_MAX
) -> bytearray:
    """A copy of the batch at the beginning of `batch` with its records packed in another way, and a true checksum.

    The records are not looked at. `CorruptBatch`, `DecompressionFailed` and `InflatedTooLarge` as in `iterate`.
    """
    header = read_header(batch)
    with memoryview(batch) as whole, whole[HEADER_SIZE : header.size] as records:
        packed = compress(codec, decompress(header.codec, records, inflated_size_max), level)
    made = bytearray().join((_NO_BATCH_HEADER, packed))
    attributes = (header.attributes & ~CODEC_MASK) | codec
    write_header(made, 0, header._replace(batch_length=len(made) - LENGTH_END, attributes=attributes))
    return made


def _decode(data: bytes, header: BatchHeader) -> Iterator[Record]:  # noqa: C901 - a record's varints, unrolled
    """Varints of one and two bytes are read in place. An odd zigzag number is negative: -1 for null, or a fault.

    A size that lies needs no check of its own: no slice or index reaches beyond `data`, and in the end the fields
    must have taken exactly the bytes that the record announced.
    """
    base_offset, last_delta = header.base_offset, header.last_offset_delta
    base_timestamp, is_log_append_time = header.base_timestamp, header.is_log_append_time
    timestamp = header.max_timestamp if is_log_append_time else base_timestamp
    make, record_type = tuple.__new__, Record
    step, delta, position, start = 0, -1, 0, 0
    try:
        for _ in range(header.record_count):
            start, previous = position, delta
            if (size := data[position]) < 128:
                position += 1
            elif (high := data[position + 1]) < 128:
                size, position = size + (high << 7) - 128, position + 2
            else:
                size, position = read_unsigned_varint(data, position)
            end = position + (size >> 1)
            # One byte of attributes is passed over: none is in use.
            if (time := data[position + 1]) < 128:
                position += 2
            elif (high := data[position + 2]) < 128:
                time, position = time + (high << 7) - 128, position + 3
            else:
                time, position = read_unsigned_varlong(data, position + 1)
            if time != step and not is_log_append_time:
                step = time
                timestamp = base_timestamp + ((time >> 1) ^ -(time & 1))
                if not INT64_MIN <= timestamp <= INT64_MAX:
                    raise CorruptBatch(f"the record at byte {start} has timestamp {timestamp}")
            if (delta := data[position]) < 128:
                position += 1
            elif (high := data[position + 1]) < 128:
                delta, position = delta + (high << 7) - 128, position + 2
            else:
                delta, position = read_unsigned_varint(data, position)
            if (key_size := data[position]) == 1:
                key, key_size, position = None, 0, position + 1
            else:
                if key_size < 128:
                    position += 1
                else:
                    key_size, position = read_unsigned_varint(data, position)
                key = data[position : (position := position + (key_size >> 1))]
            if (value_size := data[position]) == 1:
                value, value_size, position = None, 0, position + 1
            else:
                if value_size < 128:
                    position += 1
                elif (high := data[position + 1]) < 128:
                    value_size, position = value_size + (high << 7) - 128, position + 2
                else:
                    value_size, position = read_unsigned_varint(data, position)
                value = data[position : (position := position + (value_size >> 1))]
            if data[position] == 0:
                headers, position = _NO_HEADERS, position + 1
            else:
                headers, position = _read_headers(data, position)
            odd = (size | delta | key_size | value_size) & 1
            delta >>= 1
            if position != end or odd or not previous < delta <= last_delta:
                raise CorruptBatch(f"the record at byte {start} has sizes or an offset that cannot be")
            yield make(record_type, (base_offset + delta, timestamp, key, value, headers))
    except (IndexError, MalformedMessage, UnicodeDecodeError):
        raise CorruptBatch(f"the record at byte {start} cannot be read") from None
    if position != len(data):
        raise CorruptBatch(f"{len(data) - position} bytes are left behind the last record")


def _read_headers(data: bytes, position: int) -> tuple[DecodedHeaders, int]:
    """The headers whose count stands at `position`, and the position behind them. Sizes as in `_decode`."""
    count, position = read_varint(data, position)
    if not 0 <= count * 2 <= len(data) - position:
        raise MalformedMessage(f"{count} headers announced at byte {position}")
    headers = []
    for _ in range(count):
        if (name_size := data[position]) < 128:
            position += 1
        else:
            name_size, position = read_unsigned_varint(data, position)
        name = str(data[position : (position := position + (name_size >> 1))], "utf-8")
        if (value_size := data[position]) < 128:
            position += 1
        else:
            value_size, position = read_unsigned_varint(data, position)
        value = None
        if value_size == 1:
            value_size = 0
        else:
            value = data[position : (position := position + (value_size >> 1))]
        if (name_size | value_size) & 1:
            raise MalformedMessage(f"a header of negative size before byte {position}")
        headers.append((name, value))
    return tuple(headers), position


class ControlKind(IntEnum):
    """What a control record says about the transaction it ends."""

    ABORT = 0
    COMMIT = 1


@dataclass(frozen=True, slots=True)
class ControlMarker:
    """The end of a producer's transaction, as a partition's log holds it."""

    kind: ControlKind
    coordinator_epoch: int


def control_batch(
    kind: ControlKind, *, producer_id: int, producer_epoch: int, coordinator_epoch: int, now_ms: int
) -> bytearray:
    """The batch of one record that ends a transaction in a partition (T-6). It takes one offset."""
    builder = BatchBuilder()
    key = _MARKER_KEY.pack(_MARKER_VERSION, kind)
    value = _MARKER_VALUE.pack(_MARKER_VERSION, coordinator_epoch)
    builder.append(key, value, (), now_ms)
    batch = builder.build(producer_id=producer_id, producer_epoch=producer_epoch, is_transactional=True)
    header = read_header(batch)
    write_header(batch, 0, header._replace(attributes=header.attributes | CONTROL))
    return batch


def read_control(record: Record) -> ControlMarker:
    """What the record of a control batch says; `CorruptBatch` if it says nothing that is known here (T-6)."""
    try:
        key_version, kind = _MARKER_KEY.unpack_from(record.key or b"")
        value_version, coordinator_epoch = _MARKER_VALUE.unpack_from(record.value or b"")
        # A later version may only add to the end (KIP-98).
        if key_version < 0 or value_version < 0:
            raise CorruptBatch(f"the control record at offset {record.offset} has a negative version")
        return ControlMarker(ControlKind(kind), coordinator_epoch)
    except (struct.error, ValueError):
        raise CorruptBatch(f"the control record at offset {record.offset} cannot be read") from None
