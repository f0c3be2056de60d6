"""What the tests of consumers share: a topic, its group, and reading a little of it."""

import asyncio
from collections.abc import AsyncIterator, Callable

from tidelog.client import Consumer, ConsumerRecord

from .builders import a_batch
from .fake_broker import FakeCluster
from .fake_coordinator import ConsumerGroup

Rows = list[tuple[int, int]]
"""Partition and offset of each record."""


def filled(fake: FakeCluster, *, partitions: int = 1, batches: int = 4, size: int = 5, topic: str = "orders") -> None:
    """A topic whose values are their offsets."""
    for log in fake.create(topic, partitions).partitions:
        for number in range(batches):
            log.append(a_batch([b"%d" % (number * size + index) for index in range(size)]))


def append(fake: FakeCluster, *values: bytes, partition: int = 0) -> None:
    fake.topics["orders"].partitions[partition].append(a_batch(values))
    fake.wake()


def group(fake: FakeCluster) -> ConsumerGroup:
    return fake.coordinator["billing"]


def committed(fake: FakeCluster, partition: int = 0) -> int:
    return group(fake).offsets.get((fake.topics["orders"].topic_id, partition), -1)


async def some(consumer: Consumer[bytes, bytes], count: int) -> Rows:
    return [(record.partition, record.offset) async for record in taken(consumer, count)]


async def fail_at(consumer: Consumer[bytes, bytes], count: int) -> None:
    """The body of the loop raises ZeroDivisionError at its so manyth record."""
    async with consumer:
        async for _record in consumer:
            count -= 1
            _ = 1 / count


def offsets(rows: Rows) -> list[int]:
    return [offset for _, offset in rows]


async def until(condition: Callable[[], bool], *, seconds: float = 300.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.05)


async def taken(consumer: Consumer[bytes, bytes], count: int) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
    async for record in consumer:
        yield record
        count -= 1
        if count == 0:
            break
