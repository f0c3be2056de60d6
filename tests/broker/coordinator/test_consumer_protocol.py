"""What consumers say of themselves is read as far as it can be, and no stranger's bytes do harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.broker.coordinator.consumer_protocol import (
    COUNT_MAX,
    assigned_partitions,
    has_user_data,
    read_words,
    subscribed_topics,
)
from tidelog.protocol.primitives import write_int16, write_int32, write_string


def topics(*names: str) -> bytes:
    return write_int32(len(names)) + b"".join(map(write_string, names))


@pytest.mark.parametrize("version", range(5))
@pytest.mark.parametrize("rest", [b"", write_int32(-1), b"what later versions add"])
def test_topics_stand_first_in_every_version(version: int, rest: bytes) -> None:
    data = write_int16(version) + topics("a", "b", "a") + rest
    assert subscribed_topics(data) == {"a", "b"}


def test_partitions_are_told_by_topic() -> None:
    one = write_string("a") + write_int32(2) + write_int32(0) + write_int32(5)
    two = write_string("b") + write_int32(0)
    again = write_string("a") + write_int32(1) + write_int32(7)
    data = write_int16(1) + write_int32(3) + one + two + again + write_int32(-1)
    assert assigned_partitions(data) == {"a": (0, 5, 7), "b": ()}


def test_who_has_no_part_has_no_partitions() -> None:
    assert assigned_partitions(b"") == {}
    assert assigned_partitions(write_int16(0) + write_int32(0)) == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        write_int16(-1) + topics("a"),
        write_int16(0) + write_int32(-1),
        write_int16(0) + write_int32(2) + write_string("a"),
        write_int16(0) + write_int32(1) + write_int16(2) + b"\xff\xff",
        write_int16(0) + write_int32(COUNT_MAX + 1) + write_string("") * (COUNT_MAX + 1),
    ],
)
def test_what_cannot_be_read_is_no_subscription(data: bytes) -> None:
    assert subscribed_topics(data) is None
    assert assigned_partitions(data) is None or data == b""


def test_no_more_partitions_are_read_than_an_honest_consumer_has() -> None:
    many = write_string("a") + write_int32(COUNT_MAX) + bytes(4 * COUNT_MAX)
    assert assigned_partitions(write_int16(0) + write_int32(2) + many + many) is None


@given(st.binary())
def test_any_bytes_are_answered(data: bytes) -> None:
    subscribed_topics(data)
    assigned_partitions(data)
    read_words(data)
    has_user_data(data)


NO_DATA = write_int32(-1)
OWNED = write_int32(1) + write_string("a") + write_int32(2) + write_int32(0) + write_int32(1)
RACK = write_int32(7) + write_string("here")


@pytest.mark.parametrize(
    ("data", "owned", "rack_id"),
    [
        (write_int16(0) + topics("a") + NO_DATA, {}, None),
        (write_int16(0) + topics("a"), {}, None),
        (write_int16(0) + topics("a") + NO_DATA + OWNED, {}, None),
        (write_int16(1) + topics("a") + NO_DATA + OWNED, {"a": (0, 1)}, None),
        (write_int16(1) + topics("a") + NO_DATA, {}, None),
        (write_int16(2) + topics("a") + NO_DATA + OWNED + write_int32(7), {"a": (0, 1)}, None),
        (write_int16(3) + topics("a") + NO_DATA + OWNED + RACK, {"a": (0, 1)}, "here"),
        (write_int16(9) + topics("a") + write_int32(1) + b"x" + OWNED + RACK + b"later", {"a": (0, 1)}, "here"),
    ],
)
def test_a_member_says_what_it_holds_and_where_it_is(
    data: bytes, owned: dict[str, tuple[int, ...]], rack_id: str | None
) -> None:
    words = read_words(data)
    assert words is not None
    assert (words.topics, words.owned, words.rack_id) == ({"a"}, owned, rack_id)


@pytest.mark.parametrize("data", [b"", write_int16(1) + topics("a") + NO_DATA + OWNED[:-1], write_int16(0) + b"\x01"])
def test_words_that_are_cut_short_are_none(data: bytes) -> None:
    assert read_words(data) is None


def test_an_assignment_can_say_more_than_partitions() -> None:
    assert has_user_data(write_int16(0) + OWNED + write_int32(1) + b"x")
    assert not has_user_data(write_int16(0) + OWNED + write_int32(0))
    assert not has_user_data(write_int16(0) + OWNED + NO_DATA)
    assert not has_user_data(write_int16(0) + OWNED)
    assert not has_user_data(b"")
