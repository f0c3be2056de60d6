"""Partitioner: Kafka's hash, and batches that fill."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_python_murmur2

from tidelog.client.partitioner import Partitioner, murmur2


@pytest.mark.parametrize(
    ("key", "hash_"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_the_one_of_kafkas_java_client(key: bytes, hash_: int) -> None:
    assert murmur2(key) == hash_ & 0xFFFFFFFF


@given(st.binary(max_size=200))
def test_the_hash_is_the_one_of_kafka_python(key: bytes) -> None:
    assert murmur2(key) == kafka_python_murmur2(key)


@given(st.binary(max_size=20), st.integers(1, 100))
def test_a_key_has_one_partition_of_those_there_are(key: bytes, count: int) -> None:
    partitioner = Partitioner(random.Random(1))
    partition = partitioner.for_key(key, count)
    assert 0 <= partition < count
    assert partitioner.for_key(key, count) == partition


def test_records_without_a_key_stay_together_until_their_batch_is_closed() -> None:
    partitioner = Partitioner(random.Random(1))
    first = partitioner.without_key("orders", range(6))
    assert {partitioner.without_key("orders", range(6)) for _ in range(20)} == {first}
    second = partitioner.move_on("orders", range(6))
    assert second != first
    assert partitioner.without_key("orders", range(6)) == second


def test_a_partition_that_lost_its_leader_is_left() -> None:
    partitioner = Partitioner(random.Random(1))
    partitioner.without_key("orders", [3])
    assert partitioner.without_key("orders", [1, 2]) in (1, 2)


def test_where_there_is_one_partition_moving_on_stays_there() -> None:
    assert Partitioner(random.Random(1)).move_on("orders", [0]) == 0


def test_all_partitions_get_their_share() -> None:
    partitioner = Partitioner(random.Random(7))
    assert {partitioner.move_on("orders", range(6)) for _ in range(200)} == set(range(6))
