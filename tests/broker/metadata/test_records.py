"""Facts and their bytes."""

from uuid import UUID

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.broker.metadata.records import TopicCreated, TopicDeleted, UnknownFact, decode, encode

facts = st.one_of(
    st.builds(
        TopicCreated,
        name=st.text(min_size=1),
        topic_id=st.uuids(),
        partitions=st.integers(1, 10_000),
        configs=st.dictionaries(st.text(), st.text(), max_size=5),
    ),
    st.builds(TopicDeleted, st.uuids()),
)


@given(facts)
def test_a_fact_comes_back_as_it_was(fact: TopicCreated | TopicDeleted) -> None:
    assert decode(encode(fact)) == fact


def test_the_bytes_of_a_fact_do_not_change() -> None:
    fact = TopicCreated(name="orders", topic_id=UUID(int=1), partitions=3, configs={"segment.bytes": "2048"})
    assert msgpack.unpackb(encode(fact)) == [
        1,
        0,
        {"name": "orders", "topic_id": UUID(int=1).bytes, "partitions": 3, "configs": {"segment.bytes": "2048"}},
    ]
    assert msgpack.unpackb(encode(TopicDeleted(UUID(int=2)))) == [2, 0, {"topic_id": UUID(int=2).bytes}]


def test_an_older_record_without_settings_takes_none() -> None:
    old = msgpack.packb([1, 0, {"name": "a", "topic_id": UUID(int=1).bytes, "partitions": 1}])
    assert decode(old) == TopicCreated(name="a", topic_id=UUID(int=1), partitions=1)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        b"not msgpack",
        msgpack.packb([]),
        msgpack.packb([1, 0, None]),
        msgpack.packb([1, 0, {"name": "a"}]),
        msgpack.packb([1, 1, {}]),
        msgpack.packb([99, 0, {}]),
        msgpack.packb({"a": 1}),
        msgpack.packb([2, 0, {"topic_id": b"short"}]),
    ],
)
def test_what_cannot_be_read_is_refused_not_skipped(value: bytes) -> None:
    with pytest.raises(UnknownFact):
        decode(value)
