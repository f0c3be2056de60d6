"""Facts and their bytes."""

from uuid import UUID

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.broker.metadata.records import (
    ConfigsChanged,
    Fact,
    PartitionsAdded,
    ProducerIdsAllocated,
    TopicCreated,
    TopicDeleted,
    UnknownFact,
    decode,
    encode,
)

facts = st.one_of(
    st.builds(
        TopicCreated,
        name=st.text(min_size=1),
        topic_id=st.uuids(),
        partitions=st.integers(1, 10_000),
        configs=st.dictionaries(st.text(), st.text(), max_size=5),
    ),
    st.builds(TopicDeleted, st.uuids()),
    st.builds(PartitionsAdded, st.uuids(), st.integers(1, 10_000)),
    st.builds(
        ConfigsChanged,
        resource_type=st.integers(0, 127),
        resource_name=st.text(),
        configs=st.dictionaries(st.text(), st.text(), max_size=5),
    ),
    st.builds(ProducerIdsAllocated, st.integers(0, (1 << 63) - 1)),
)


@given(facts)
def test_a_fact_comes_back_as_it_was(fact: Fact) -> None:
    assert decode(encode(fact)) == fact


def test_the_bytes_of_a_fact_do_not_change() -> None:
    fact = TopicCreated(name="orders", topic_id=UUID(int=1), partitions=3, configs={"segment.bytes": "2048"})
    assert msgpack.unpackb(encode(fact)) == [
        1,
        0,
        {"name": "orders", "topic_id": UUID(int=1).bytes, "partitions": 3, "configs": {"segment.bytes": "2048"}},
    ]
    assert msgpack.unpackb(encode(TopicDeleted(UUID(int=2)))) == [2, 0, {"topic_id": UUID(int=2).bytes}]
    added = PartitionsAdded(UUID(int=2), 6)
    assert msgpack.unpackb(encode(added)) == [3, 0, {"topic_id": UUID(int=2).bytes, "partitions": 6}]
    change = ConfigsChanged(resource_type=2, resource_name="orders", configs={"segment.bytes": "2048"})
    assert msgpack.unpackb(encode(change)) == [
        4,
        0,
        {"type": 2, "name": "orders", "configs": {"segment.bytes": "2048"}},
    ]
    assert msgpack.unpackb(encode(ProducerIdsAllocated(1000))) == [5, 0, {"next_id": 1000}]


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
        msgpack.packb([5, 1, {"next_id": 1000}]),
        msgpack.packb([99, 0, {}]),
        msgpack.packb({"a": 1}),
        msgpack.packb([2, 0, {"topic_id": b"short"}]),
    ],
)
def test_what_cannot_be_read_is_refused_not_skipped(value: bytes) -> None:
    with pytest.raises(UnknownFact):
        decode(value)
