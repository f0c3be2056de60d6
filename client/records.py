"""What programs send and receive: records, where they went, and the forms a value may be written in.

`Record` and `RecordMetadata` are named tuples and not dataclasses: one of each is made per record, and a tuple is made
three times faster than a frozen dataclass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import index
from typing import Generic, NamedTuple, TypeVar

from ..protocol.primitives import INT64_MAX
from ..protocol.records import HEADER_OVERHEAD_MAX, RECORD_OVERHEAD_MAX

Headers = tuple[tuple[str, bytes | None], ...]
HeadersIn = Mapping[str, bytes | str | None] | Iterable[tuple[str, bytes | str | None]]
Key = bytes | str | None
Value = bytes | bytearray | memoryview | str | dict[str, object] | list[object] | None
"""bytes as they are, text as UTF-8, dict and list as JSON; None deletes the key in a compacted topic."""

K = TypeVar("K")
V = TypeVar("V")


class Record(NamedTuple):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since 1970; -1 if the producer gave none."""
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def text(self) -> str:
        """The value as text; empty for a record without a value."""
        return "" if self.value is None else self.value.decode()

    def json(self) -> object:
        """The value read as JSON; None for a record without a value."""
        decoded: object = None if self.value is None else json.loads(self.value)
        return decoded

    @property
    def time(self) -> datetime:
        """The timestamp as a datetime in UTC."""
        return datetime.fromtimestamp(self.timestamp / 1000, UTC)


class TopicPartition(NamedTuple):
    """A partition by name."""

    topic: str
    partition: int


class ConsumerRecord(NamedTuple, Generic[K, V]):
    """A record as a consumer hands it out: key and value as its deserializers made them."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since 1970; -1 if the producer gave none."""
    key: K | None
    value: V | None
    """None where the record has none, whatever the deserializer."""
    headers: Headers
    raw: Record
    """The record as it was read."""

    @property
    def text(self) -> str:
        """The raw value as text; empty for a record without a value."""
        return self.raw.text

    def json(self) -> object:
        """The raw value read as JSON; None for a record without a value."""
        return self.raw.json()

    @property
    def time(self) -> datetime:
        """The timestamp as a datetime in UTC."""
        return self.raw.time


class RecordMetadata(NamedTuple):
    """Where a record went."""

    topic: str
    partition: int
    offset: int
    """-1 with acks=0: nobody told."""
    timestamp: int
    """The record's own, or the broker's where the topic is set to LogAppendTime."""


@dataclass(slots=True)
class PartitionSummary:
    """What `send_many` wrote to one partition."""

    count: int = 0
    first_offset: int = -1
    last_offset: int = -1


@dataclass(slots=True, kw_only=True)
class Summary:
    """What one call of `send_many` wrote; every record in it is acknowledged."""

    topic: str
    count: int = 0
    bytes: int = 0
    """Keys, values and headers, before compression."""
    batches: int = 0
    partitions: dict[int, PartitionSummary] = field(default_factory=dict)

    def add(self, partition: int, *, first_offset: int, count: int, size: int) -> None:
        """Count acknowledged records that stand in a row; `first_offset` is -1 if nobody told."""
        self.count += count
        self.bytes += size
        self.batches += 1
        entry = self.partitions.setdefault(partition, PartitionSummary())
        entry.count += count
        if first_offset >= 0:
            if entry.first_offset < 0:
                entry.first_offset = first_offset
            entry.last_offset = first_offset + count - 1


def to_json(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def value_bytes(value: object) -> bytes | None:
    """The bytes of a value in any of the forms of `Value`."""
    if value is None or type(value) is bytes:
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dict | list):
        return to_json(value)
    raise TypeError(f"a value is bytes, str, dict, list or None, not {type(value).__name__}")


def key_bytes(key: object) -> bytes | None:
    """The bytes of a key."""
    if key is None or type(key) is bytes:
        return key
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes | bytearray | memoryview):
        return bytes(key)
    raise TypeError(f"a key is bytes, str or None, not {type(key).__name__}")


def header_pairs(headers: HeadersIn | None) -> Headers:
    """Headers in wire form, in the given order."""
    if not headers:
        return ()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((_header_name(name), _header_value(value)) for name, value in pairs)


def _header_name(name: object) -> str:
    if isinstance(name, str):
        return name
    raise TypeError(f"a header's name is a str, not {type(name).__name__}")


def _header_value(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    if value is None or isinstance(value, bytes):
        return value
    raise TypeError(f"a header's value is bytes, str or None, not {type(value).__name__}")


RECORD_OVERHEAD = RECORD_OVERHEAD_MAX
"""What a record takes beside its key, value and headers, at most: varints, deltas, attributes."""

HEADER_OVERHEAD = HEADER_OVERHEAD_MAX

TIMESTAMP_MAX = INT64_MAX


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes to account for a record, in the memory budget and against a batch's limit."""
    size = RECORD_OVERHEAD + (len(key) if key else 0) + (len(value) if value else 0)
    for name, header in headers:
        size += HEADER_OVERHEAD + len(name.encode()) + (len(header) if header else 0)
    return size


def checked_timestamp(timestamp_ms: int) -> int:
    """A timestamp that a record may carry."""
    if not 0 <= index(timestamp_ms) <= TIMESTAMP_MAX:
        raise ValueError(f"a timestamp is a number of milliseconds since 1970, not {timestamp_ms}")
    return timestamp_ms
