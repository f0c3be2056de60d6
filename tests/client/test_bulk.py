"""Many records in one call: per-batch bookkeeping, backpressure, what is left after a failure."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from support.fake_broker import FakeCluster, Fault, a_client, played
from tidelog.client import Refused, Summary
from tidelog.client.partitioner import murmur2
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_a_summary_tells_what_was_written() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            summary = await producer.send_many(
                "orders", [b"aaa", b"bb"], key=lambda v: v[:1], headers=lambda v: {"h": v}
            )
            assert (summary.topic, summary.count, summary.bytes) == ("orders", 2, 3 + 2 + 1 + 1 + 1 + 3 + 1 + 2)
            summary = await producer.send_many("orders", numbers(5000), partition=0)
            assert (summary.partitions[0].first_offset, summary.partitions[0].last_offset) == (2, 5001)
            assert (await producer.send_many("orders", [])).count == 0

    played(scenario)


@pytest.mark.parametrize("max_batch", [300, 5000, 1 << 20])
def test_order_is_kept_in_every_partition_and_batches_stay_within_their_size(max_batch: int) -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer(max_batch=max_batch) as producer:
            summary = await producer.send_many("orders", numbers(3000), key=lambda value: value[-1:])
        assert summary.count == 3000
        for partition, log in enumerate(fake.topics["orders"].partitions):
            assert [record.value for record in log.records()] == [
                value for value in numbers(3000) if (murmur2(value[-1:]) & 0x7FFFFFFF) % 4 == partition
            ]
            assert all(len(batch) <= max_batch for batch in log.batches)
        assert summary.batches == sum(len(log.batches) for log in fake.topics["orders"].partitions)

    played(scenario, partitions=4)


def test_items_are_made_into_records_by_the_given_functions() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            await producer.send_many(
                "orders",
                [("k", {"a": 1}, 5), (None, None, 6)],
                key=lambda item: item[0],
                value=lambda item: item[1],  # type: ignore[arg-type, return-value]
                timestamp_ms=lambda item: item[2],
            )
        records = list(fake.topics["orders"].partitions[0].records())
        assert [(record.key, record.value, record.timestamp) for record in records] == [
            (b"k", b'{"a":1}', 5),
            (None, None, 6),
        ]

    played(scenario)


def test_an_endless_input_takes_no_more_memory_than_there_is() -> None:
    async def scenario(fake: FakeCluster) -> None:
        taken = 0

        def endless() -> Iterator[bytes]:
            nonlocal taken
            while True:
                taken += 1
                yield b"x" * 1000

        fake.create("orders")
        async with a_client(fake, max_buffer="1MiB") as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(delay=60.0))
            sending = asyncio.create_task(producer.send_many("orders", endless()))
            await asyncio.sleep(30.0)
            assert taken <= 1048 + 1024
            sending.cancel()
            await asyncio.wait([sending])
            await producer.flush()
            await producer.send("orders", b"x" * 900_000)

    played(scenario)


def test_a_record_as_large_as_the_budget_gets_through() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake, max_buffer=100_000) as client, client.producer() as producer:
            sizes = [10, 99_900, 10, 50_000, 99_900, 10]
            summary = await producer.send_many("orders", [b"x" * size for size in sizes])
        assert summary.count == len(sizes)
        assert [len(value or b"") for value in fake.values("orders")] == sizes

    played(scenario)


def test_items_of_an_asynchronous_input_leave_as_they_come() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async def slowly() -> AsyncIterator[bytes]:
            for value in numbers(5):
                yield value
                await asyncio.sleep(10.0)
                assert fake.values("orders")[-1] == value

        async with a_client(fake) as client, client.producer() as producer:
            summary = await producer.send_many("orders", slowly())
        assert summary.count == 5

    played(scenario)


def test_the_first_batch_that_fails_ends_it_and_the_error_tells_what_arrived() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer(max_batch=500) as producer:
            fake.fail(ApiKey.PRODUCE, Fault(), Fault(refuse=ErrorCode.INVALID_RECORD))
            with pytest.raises(Refused, match="INVALID_RECORD") as raised:
                await producer.send_many("orders", numbers(100_000))
            summary = raised.value.summary
            assert isinstance(summary, Summary)
            assert summary.count == len(fake.values("orders"))
            assert producer.failed > 0
            await producer.send("orders", b"goes on")

    played(scenario)


def test_an_input_that_fails_keeps_what_came_before() -> None:
    async def scenario(fake: FakeCluster) -> None:
        def failing() -> Iterator[bytes]:
            yield from numbers(2000)
            raise LookupError

        async with a_client(fake) as client, client.producer() as producer:
            with pytest.raises(LookupError):
                await producer.send_many("orders", failing())
            await producer.flush()
        assert fake.values("orders") == numbers(1024), "whole chunks; the one that failed is not begun"

    played(scenario)


def test_several_calls_and_single_sends_share_batches_without_mixing_up_their_offsets() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer(linger=0.5) as producer:
            calls = [producer.send_many("orders", [b"%d" % call] * 10) for call in range(3)]
            single = producer.send_nowait("orders", b"single")
            summaries = await asyncio.gather(*calls)
        values = fake.values("orders")
        for number, summary in enumerate(summaries):
            part = summary.partitions[0]
            assert values[part.first_offset : part.last_offset + 1] == [b"%d" % number] * 10
        assert values[single.result().offset] == b"single"
        assert len(fake.topics["orders"].partitions[0].batches) == 1

    played(scenario)


def test_a_producer_that_is_closed_meanwhile_ends_it() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0.1)

        async with a_client(fake) as client:
            async with client.producer() as producer:
                sending = asyncio.create_task(producer.send_many("orders", endless()))
                await asyncio.sleep(5.0)
            with pytest.raises(Exception, match="closed"):
                await sending

    played(scenario)
