"""What becomes of the bytes of keys and values."""

import json
from collections.abc import Callable

import msgpack
import pytest

from tidelog.client import Record, UndecodableRecord
from tidelog.client.deserializers import Deserializers


def a_record(value: bytes | None, *, key: bytes | None = b"7") -> Record:
    return Record("orders", 3, 42, 1_700_000_000_000, key, value, (("h", b"v"),))


@pytest.mark.parametrize(
    ("wanted", "data", "expected"),
    [
        (None, b"x", b"x"),
        (bytes, b"x", b"x"),
        (str, "größer".encode(), "größer"),
        (json, b'{"id": 1}', {"id": 1}),
        (msgpack, msgpack.packb({"id": 1}), {"id": 1}),
        (int, b"12", 12),
        (len, b"123", 3),
        (json, None, None),
        (int, None, None),
    ],
)
def test_a_value_is_read_as_is_wanted_and_none_stays_none(wanted: object, data: bytes | None, expected: object) -> None:
    deserializers: Deserializers[object, object] = Deserializers(None, wanted)
    assert deserializers.read(a_record(data)).value == expected


def test_the_rest_of_the_record_comes_along() -> None:
    deserializers: Deserializers[int, str] = Deserializers(int, str)
    raw = a_record(b"x")
    record = deserializers.read(raw)
    assert record[:4] == raw[:4]
    assert (record.key, record.value, record.headers, record.raw) == (7, "x", raw.headers, raw)


@pytest.mark.parametrize("part", ["key", "value"])
def test_whatever_a_deserializer_raises_makes_the_record_undecodable(part: str) -> None:
    def stumble(data: bytes) -> object:
        raise RuntimeError("no")

    deserializers: Deserializers[object, object] = Deserializers(
        *((stumble, None) if part == "key" else (None, stumble))
    )
    with pytest.raises(UndecodableRecord, match=rf"orders\[3\] at offset 42: the {part} .*RuntimeError") as raised:
        deserializers.read(a_record(b"x"))
    assert (raised.value.part, raised.value.record) == (part, a_record(b"x"))
    assert isinstance(raised.value.__cause__, RuntimeError)


def an_exit(data: bytes) -> object:
    raise KeyboardInterrupt


@pytest.mark.parametrize("wanted", [an_exit])
def test_an_interruption_is_none_of_its_business(wanted: Callable[[bytes], object]) -> None:
    deserializers: Deserializers[object, object] = Deserializers(None, wanted)
    with pytest.raises(KeyboardInterrupt):
        deserializers.read(a_record(b"x"))


def test_what_is_no_deserializer_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="value is json, msgpack, str, bytes or a callable"):
        Deserializers(None, "json")
