"""What a consumer makes of the bytes of keys and values.

A deserializer is a callable that takes bytes (`int`, `Order.model_validate_json`), or a module or object with a `loads`
that does (`json`, `msgpack`). `str` reads UTF-8, `bytes` leaves them as they are. One that raises makes the record
undecodable, whatever it raises. A record without a key or value has None, and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, cast

from .errors import UndecodableRecord
from .records import ConsumerRecord, Record

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Loads(Protocol[T_co]):
    """As the modules json, msgpack, orjson and pickle are."""

    def loads(self, data: bytes, /) -> T_co:
        """What the bytes mean."""


Deserializer = Callable[[bytes], T] | Loads[T]


class Deserializers(Generic[K, V]):
    """Reads both parts of a record."""

    def __init__(self, key: object, value: object) -> None:
        self._key = deserializer(key, "key")
        self._value = deserializer(value, "value")
        self._are_bytes = self._key is None and self._value is None

    def read(self, record: Record) -> ConsumerRecord[K, V]:
        """The record, decoded; raises UndecodableRecord."""
        if self._are_bytes:  # a tuple is made faster from a tuple than field by field
            made: ConsumerRecord[K, V] = tuple.__new__(ConsumerRecord, (*record, record))
            return made
        key = _decoded(self._key, record.key, "key", record)
        value = _decoded(self._value, record.value, "value", record)
        return ConsumerRecord(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            cast("K | None", key),
            cast("V | None", value),
            record.headers,
            record,
        )


def deserializer(wanted: object, part: str) -> Callable[[bytes], object] | None:
    """The function that is meant; None: bytes as they are."""
    if wanted is None or wanted is bytes:
        return None
    if wanted is str:
        return _text
    loads = getattr(wanted, "loads", None)
    if callable(loads):
        return cast("Callable[[bytes], object]", loads)
    if callable(wanted):
        return wanted
    raise TypeError(f"{part} is json, msgpack, str, bytes or a callable that takes bytes, not {wanted!r}")


def _text(data: bytes) -> str:
    return data.decode()


def _decoded(read: Callable[[bytes], object] | None, data: bytes | None, part: str, record: Record) -> object:
    if read is None or data is None:
        return data
    try:
        return read(data)
    except Exception as error:  # somebody else's code, and any failure of it means the same
        raise UndecodableRecord(part, record, error) from error
