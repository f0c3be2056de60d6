"""The first unread record's age: read once, kept while the group stands still, forgotten with it."""

from uuid import UUID

from support.bench import Bench, on_the_bench
from support.builders import BASE_TIMESTAMP, a_batch
from tidelog.broker.first_unread import UNKNOWN, FirstUnread, age_ms
from tidelog.broker.topics.partition import Partition

READER = "billing", UUID(int=1)
OTHER = "shipping", UUID(int=1)


async def a_minute_of_records(bench: Bench) -> Partition:
    partition = bench.partition()
    for number in range(6):
        bench.stage(partition, batch=a_batch(base_timestamp=BASE_TIMESTAMP + number * 10_000))
    partition.write_out()
    await bench.settle()
    return partition


@on_the_bench
async def test_a_record_is_as_old_as_its_batch_says(bench: Bench) -> None:
    partition = await a_minute_of_records(bench)
    first_unread = FirstUnread()
    times = first_unread.times_of(READER)
    assert age_ms(times, 0, now_ms=BASE_TIMESTAMP) == UNKNOWN
    first_unread.look(times, partition, 2)
    assert times[0].offset == 2
    assert age_ms(times, 0, now_ms=BASE_TIMESTAMP + 50_000) == 30_000


@on_the_bench
async def test_a_record_of_the_future_is_not_younger_than_now(bench: Bench) -> None:
    partition = await a_minute_of_records(bench)
    first_unread = FirstUnread()
    times = first_unread.times_of(READER)
    first_unread.look(times, partition, 5)
    assert age_ms(times, 0, now_ms=BASE_TIMESTAMP) == 0


@on_the_bench
async def test_later_looks_have_higher_numbers(bench: Bench) -> None:
    partition = await a_minute_of_records(bench)
    first_unread = FirstUnread()
    mine, other = first_unread.times_of(READER), first_unread.times_of(OTHER)
    first_unread.look(other, partition, 0)
    first_unread.look(mine, partition, 0)
    assert mine[0].look > other[0].look > 0


@on_the_bench
async def test_what_cannot_be_read_is_unknown_and_was_looked_at(bench: Bench) -> None:
    partition = await a_minute_of_records(bench)
    first_unread = FirstUnread()
    times = first_unread.times_of(READER)
    first_unread.look(times, partition, 99)
    assert age_ms(times, 0, now_ms=BASE_TIMESTAMP) == UNKNOWN
    assert times[0].offset == 99


@on_the_bench
async def test_others_than_those_to_keep_are_forgotten(bench: Bench) -> None:
    partition = await a_minute_of_records(bench)
    first_unread = FirstUnread()
    for reader in (READER, OTHER):
        first_unread.look(first_unread.times_of(reader), partition, 0)
    first_unread.keep({OTHER})
    assert first_unread.count == 1
    assert first_unread.times_of(OTHER)
    assert not first_unread.times_of(READER)
