"""Values, keys and headers in bytes."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.client.records import (
    RECORD_OVERHEAD,
    Record,
    Summary,
    checked_timestamp,
    header_pairs,
    key_bytes,
    record_size,
    value_bytes,
)
from tidelog.protocol.records import BatchBuilder


def a_record(value: bytes | None) -> Record:
    return Record("orders", 0, 7, 1_700_000_000_500, b"k", value, ())


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (b"as it is", b"as it is"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        ("grün", "grün".encode()),
        ({"id": 1, "name": "ü"}, '{"id":1,"name":"ü"}'.encode()),
        ([1, None], b"[1,null]"),
        (None, None),
        ("", b""),
    ],
)
def test_a_value_may_be_bytes_text_json_or_nothing(value: object, encoded: bytes | None) -> None:
    assert value_bytes(value) == encoded


@pytest.mark.parametrize("value", [1, 1.5, True, object(), ("a",), {1, 2}])
def test_other_values_are_refused_instead_of_guessed(value: object) -> None:
    with pytest.raises(TypeError, match="a value is bytes"):
        value_bytes(value)


def test_a_key_is_bytes_text_or_nothing() -> None:
    assert (key_bytes("a"), key_bytes(b"a"), key_bytes(memoryview(b"a")), key_bytes(None)) == (b"a", b"a", b"a", None)
    with pytest.raises(TypeError, match="a key is bytes"):
        key_bytes(7)


def test_headers_keep_their_order_and_may_repeat() -> None:
    assert header_pairs({"b": "1", "a": None}) == (("b", b"1"), ("a", None))
    assert header_pairs([("a", b"1"), ("a", "2")]) == (("a", b"1"), ("a", b"2"))
    assert header_pairs(None) == header_pairs({}) == ()


def test_a_header_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="value"):
        header_pairs({"a": 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name"):
        header_pairs([(1, b"a")])  # type: ignore[list-item]


@pytest.mark.parametrize("timestamp_ms", [-1, 1 << 63])
def test_a_timestamp_that_no_record_can_carry_is_refused(timestamp_ms: int) -> None:
    with pytest.raises(ValueError, match="since 1970"):
        checked_timestamp(timestamp_ms)


def test_a_timestamp_is_a_whole_number() -> None:
    with pytest.raises(TypeError):
        checked_timestamp(1.5)  # type: ignore[arg-type]


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.none() | st.binary(max_size=50),
    st.none() | st.binary(max_size=50),
    st.lists(st.tuples(names, st.none() | st.binary(max_size=9)), max_size=3).map(tuple),
)
def test_what_is_accounted_for_a_record_is_never_less_than_it_takes(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]
) -> None:
    builder = BatchBuilder()
    builder.append(key, value, headers, 1)
    before = builder.size
    builder.append(key, value, headers, 1 << 60)
    assert builder.size - before <= record_size(key, value, headers)
    assert record_size(None, None, ()) == RECORD_OVERHEAD


def test_a_record_reads_itself() -> None:
    assert a_record("grün".encode()).text == "grün"
    assert a_record(b'{"a": [1]}').json() == {"a": [1]}
    assert a_record(None).text == ""
    assert a_record(None).json() is None
    assert a_record(b"").time == datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)


def test_a_summary_adds_up_by_partition() -> None:
    summary = Summary(topic="orders")
    summary.add(0, first_offset=10, count=5, size=50)
    summary.add(1, first_offset=0, count=1, size=3)
    summary.add(0, first_offset=20, count=2, size=20)
    assert (summary.count, summary.bytes, summary.batches) == (8, 73, 3)
    assert (summary.partitions[0].count, summary.partitions[0].first_offset, summary.partitions[0].last_offset) == (
        7,
        10,
        21,
    )


def test_with_acks_0_a_summary_knows_no_offsets() -> None:
    summary = Summary(topic="orders")
    summary.add(0, first_offset=-1, count=5, size=50)
    assert summary.partitions[0].first_offset == summary.partitions[0].last_offset == -1
