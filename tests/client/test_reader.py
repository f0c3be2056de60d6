"""Reading: spans, order, seeking, and going on whatever happens in between."""

import asyncio
import os
from datetime import UTC, datetime

import pytest

from support.builders import BASE_TIMESTAMP, a_batch, with_header
from support.environment import network_of, wall_clock_ms
from support.fake_broker import FakeCluster, FakePartition, Fault, a_client, played
from support.loop import SimLoop
from tidelog.client import (
    ClientClosed,
    ConnectionLost,
    CorruptRecords,
    OffsetOutOfRange,
    PartitionNotFound,
    Reader,
    Record,
    Refused,
    TopicNotFound,
    Unavailable,
)
from tidelog.client.offsets import OffsetSpec
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.compression import Codec
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.fetch import FetchRequest

SEEDS = range(200 if os.environ.get("TIDELOG_PROOF") else 20)


def filled(fake: FakeCluster, *, partitions: int = 1, batches: int = 4, size: int = 5) -> None:
    """A topic whose values are their offsets; record n has timestamp BASE_TIMESTAMP + n."""
    for log in fake.create("orders", partitions).partitions:
        for number in range(batches):
            first = number * size
            log.append(
                a_batch([b"%d" % (first + index) for index in range(size)], base_timestamp=BASE_TIMESTAMP + first)
            )


async def read_all(reader: Reader) -> list[Record]:
    return [record async for record in reader]


def offsets(records: list[Record]) -> list[int]:
    return [record.offset for record in records]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("earliest", "now", range(3, 20)),
        ("latest", "now", range(0)),
        (7, "now", range(7, 20)),
        (7, 12, range(7, 12)),
        (7, 7, range(0)),
        (12, 7, range(0)),
        (-4, "now", range(16, 20)),
        (-400, "latest", range(3, 20)),
        ("earliest", -5, range(3, 15)),
        (f"@{BASE_TIMESTAMP + 10}", "now", range(10, 20)),
        ("earliest", f"@{BASE_TIMESTAMP + 10}", range(3, 10)),
        (datetime.fromtimestamp((BASE_TIMESTAMP + 18) / 1000, UTC), "now", range(18, 20)),
        (f"@{BASE_TIMESTAMP + 99}", "now", range(0)),
        ("earliest", "@2100-01-01", range(3, 20)),
    ],
)
def test_a_span_is_read_from_its_start_to_its_end_and_ends_by_itself(
    start: OffsetSpec, end: OffsetSpec, expected: range
) -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        fake.topics["orders"].partitions[0].start_offset = 3
        async with a_client(fake) as client:
            records = await read_all(client.read("orders", start=start, end=end))
        assert offsets(records) == list(expected)
        assert [record.value for record in records] == [b"%d" % offset for offset in expected]

    played(scenario)


def test_a_time_span_counts_from_the_clients_now() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        log = fake.create("orders").partitions[0]
        for hours in (5, 3, 1):
            log.append(a_batch([b"%d" % hours], base_timestamp=wall_clock_ms(loop) - hours * 3_600_000))
        async with a_client(fake) as client:
            assert offsets(await read_all(client.read("orders", start="@-4h", end="@-2h"))) == [1]

    played(scenario)


def test_empty_partitions_end_at_once() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        fake.create("orders", 5)
        async with a_client(fake) as client:
            began = loop.time()
            assert await read_all(client.read("orders", end="now")) == []
            assert loop.time() - began < 0.2
        assert fake.seen(ApiKey.FETCH) == []

    played(scenario)


@pytest.mark.parametrize("brokers", [1, 3])
def test_all_partitions_are_read_each_in_its_order(brokers: int) -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=7, batches=20)
        async with a_client(fake) as client:
            records = await read_all(client.read("orders", end="now"))
        for partition in range(7):
            assert [r.offset for r in records if r.partition == partition] == list(range(100))

    played(scenario, brokers=brokers)


def test_some_partitions_are_read_alone() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=4)
        async with a_client(fake) as client:
            assert {r.partition for r in await read_all(client.read("orders", end="now", partition=2))} == {2}
            reader = client.read("orders", end="now", partition=[3, 0])
            assert {r.partition for r in await read_all(reader)} == {0, 3}
            with pytest.raises(PartitionNotFound, match="partitions 0 to 3, not 4"):
                await read_all(client.read("orders", end="now", partition=[1, 4]))

    played(scenario)


def test_following_yields_what_is_written_later_soon_after_it_is_written() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        fake.create("orders", 2)
        async with a_client(fake) as client, client.producer() as producer:

            async def write() -> None:
                for number in range(10):
                    await asyncio.sleep(3.0)
                    await producer.send("orders", b"%.4f" % loop.time(), partition=number % 2)

            writing = asyncio.create_task(write())
            count = 0
            async for record in client.read("orders", start="latest"):
                assert record.value is not None
                assert loop.time() - float(record.value) < 0.1, "woken, not found at the next look"
                count += 1
                if count == 10:
                    break
            await writing

    played(scenario)


def test_the_end_now_is_the_end_at_the_beginning() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            seen = []
            async for record in client.read("orders", end="now"):
                seen.append(record.offset)
                fake.topics["orders"].partitions[0].append(a_batch([b"later"]))
        assert seen == list(range(20))

    played(scenario)


def test_an_end_in_the_future_is_waited_for() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            reading = asyncio.create_task(read_all(client.read("orders", start=18, end=22)))
            await asyncio.sleep(5.0)
            fake.topics["orders"].partitions[0].append(a_batch([b"x"] * 5))
            fake.wake()
            assert offsets(await reading) == [18, 19, 20, 21]

    played(scenario)


# Leaving and coming back


def test_a_reader_that_is_left_in_the_middle_goes_on_where_it_was() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            reader = client.read("orders", end="now")
            seen: list[int] = []
            for stop in (3, 7, 100):
                async for record in reader:
                    seen.append(record.offset)
                    assert reader.position(0) == record.offset + 1
                    if record.offset == stop:
                        break
                await asyncio.sleep(1.0)
            assert seen == list(range(20))
            assert await read_all(reader) == []

    played(scenario)


def test_a_reader_that_is_left_asks_no_more_and_holds_no_connection() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            for _ in range(10):
                async for _record in client.read("orders"):
                    break
            await asyncio.sleep(1.0)
            assert len(fake.brokers[0].connections) == 1, "the client's own"
            count = len(fake.seen(ApiKey.FETCH))
            await asyncio.sleep(60.0)
            assert len(fake.seen(ApiKey.FETCH)) == count

    played(scenario)


def test_as_a_context_manager_a_reader_keeps_its_connections_until_it_is_left() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            async with client.read("orders") as reader:
                assert reader.partitions == [0]
                for _ in range(3):
                    async for _record in reader:
                        break
                assert fake.brokers[0].accepted == 2
            with pytest.raises(ClientClosed):
                await read_all(reader)

    played(scenario)


def test_a_cancelled_read_loses_nothing() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.read("orders") as reader:
            seen: list[int] = []

            async def read() -> None:
                async for record in reader:
                    seen.append(record.offset)  # noqa: PERF401 - kept when it is cut short

            for _ in range(3):
                reading = asyncio.create_task(read())
                await asyncio.sleep(2.0)
                reading.cancel()
                await asyncio.wait([reading])
                fake.topics["orders"].partitions[0].append(a_batch([b"x"] * 5))
            async for record in reader:
                seen.append(record.offset)
                if record.offset == 34:
                    break
            assert seen == list(range(35))

    played(scenario)


def test_leaving_the_client_ends_its_readers() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            reader = client.read("orders")
            async for _record in reader:
                break
        with pytest.raises(ClientClosed):
            await asyncio.wait_for(read_all(reader), 60)

    played(scenario)


# Batches, seeking


def test_batches_are_lists_of_one_partition() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2)
        async with a_client(fake) as client:
            batches = [batch async for batch in client.read("orders", start=2, end="now").batches()]
        assert [len(batch) for batch in batches] == [3, 5, 5, 5] * 2
        assert all(len({record.partition for record in batch}) == 1 for batch in batches)

    played(scenario)


def test_records_and_batches_may_be_taken_in_turn() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            reader = client.read("orders", end="now")
            async for record in reader:
                if record.offset == 1:
                    break
            rest = [offset async for batch in reader.batches() for offset in offsets(batch)]
        assert rest == list(range(2, 20))

    played(scenario)


def test_seeking_goes_on_elsewhere_even_in_the_middle_of_a_batch() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.read("orders", end="now") as reader:
            seen: list[int] = []
            async for record in reader:
                seen.append(record.offset)
                if len(seen) == 3:
                    assert await reader.seek(0, 17) == 17
                    assert reader.position(0) == 17
                elif len(seen) == 5:
                    assert await reader.seek(0, -4) == 16
                elif len(seen) == 7:
                    assert await reader.seek(0, f"@{BASE_TIMESTAMP + 19}") == 19
            assert seen == [0, 1, 2, 17, 18, 16, 17, 19]
            assert await reader.seek(0, "earliest") == 0
            assert len(await read_all(reader)) == 20, "a seek revives what had ended"

    played(scenario)


def test_seeking_in_one_partition_leaves_the_others_alone() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2)
        async with a_client(fake) as client:
            reader = client.read("orders", end="now")
            await reader.seek(1, 18)
            records = await read_all(reader)
            assert [record.offset for record in records if record.partition == 1] == [18, 19]
            assert [record.offset for record in records if record.partition == 0] == list(range(20))
            with pytest.raises(PartitionNotFound):
                await reader.seek(7, 0)

    played(scenario)


# Out of range


def test_an_offset_that_the_log_does_not_hold_raises_and_a_seek_helps() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        fake.topics["orders"].partitions[0].start_offset = 10
        async with a_client(fake) as client:
            reader = client.read("orders", start=5, end="now")
            for _ in range(2):
                with pytest.raises(OffsetOutOfRange, match=r"orders\[0\]: offset 5 .*10 and up to 20") as raised:
                    await read_all(reader)
                assert raised.value.code is ErrorCode.OFFSET_OUT_OF_RANGE
            await reader.seek(0, "earliest")
            assert offsets(await read_all(reader)) == list(range(10, 20))

    played(scenario)


@pytest.mark.parametrize(("policy", "expected"), [("earliest", range(10, 25)), ("latest", range(20, 25))])
def test_a_policy_says_where_to_go_on_instead(policy: str, expected: range) -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        log = fake.topics["orders"].partitions[0]
        log.start_offset = 10
        async with a_client(fake) as client:
            reader = client.read("orders", start=5, end=25, on_out_of_range=policy)
            reading = asyncio.create_task(read_all(reader))
            await asyncio.sleep(3.0)
            log.append(a_batch([b"x"] * 5))
            fake.wake()
            assert offsets(await reading) == list(expected)

    played(scenario)


# Trouble


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_goes_wrong_each_record_comes_once_and_in_order(seed: int) -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        dice = loop.random_for("test")
        filled(fake, partitions=4, batches=60)
        faults = [
            Fault(refuse=ErrorCode.NOT_LEADER_OR_FOLLOWER),
            Fault(refuse=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            Fault(refuse=ErrorCode.UNKNOWN_SERVER_ERROR, drop=True),
            Fault(drop_answer=True),
            Fault(silent=True),
            Fault(garbage=True),
            Fault(delay=1.0),
        ]
        for broker in fake.brokers:
            for api in (ApiKey.FETCH, ApiKey.LIST_OFFSETS):
                broker.faults[api].extend(dice.choice(faults) if dice.random() < 0.3 else Fault() for _ in range(40))

        async def chaos() -> None:
            while True:
                await asyncio.sleep(dice.random())
                dice.choice(fake.topics["orders"].partitions).leader = dice.choice(fake.brokers).node_id
                for connection in list(network_of(loop).connections):
                    if dice.random() < 0.2:
                        connection.drop()

        async with a_client(fake, timeout=60.0) as client:
            trouble = asyncio.create_task(chaos())
            prefetch = dice.choice([1, 2_000, 1 << 20])
            records = await read_all(client.read("orders", end="now", prefetch=prefetch))
            trouble.cancel()
        for partition in range(4):
            assert [r.offset for r in records if r.partition == partition] == list(range(300))

    played(scenario, seed=seed, brokers=2)


def test_what_is_fetched_ahead_is_bounded_for_a_slow_program() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, batches=100, size=20)
        batch = len(fake.topics["orders"].partitions[0].batches[0])
        async with a_client(fake) as client:
            async for record in client.read("orders", end="now", prefetch=5 * batch):
                if record.offset == 500:
                    await asyncio.sleep(60.0)
                    asked = [body for body in fake.seen(ApiKey.FETCH) if isinstance(body, FetchRequest)]
                    furthest = asked[-1].topics[0].partitions[0].fetch_offset
                    assert furthest <= 500 + 20 * (5 + 5 + 1)
                    assert all(request.max_bytes <= 5 * batch for request in asked)

    played(scenario)


def test_a_broker_that_is_gone_for_long_is_said_to_be_gone_and_reading_may_go_on() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        filled(fake)
        async with a_client(fake, timeout=10.0) as client, client.read("orders") as reader:
            seen: list[int] = []

            async def read() -> None:
                async for record in reader:
                    seen.append(record.offset)  # noqa: PERF401 - kept when it is cut short

            reading = asyncio.create_task(read())
            await asyncio.sleep(1.0)
            fake.brokers[0].stop()
            began = loop.time()
            with pytest.raises(ConnectionLost):
                await reading
            assert 5.0 < loop.time() - began < 25.0
            await fake.brokers[0].start()
            fake.topics["orders"].partitions[0].append(a_batch([b"x"]))
            async for record in reader:
                seen.append(record.offset)
                break
            assert seen == list(range(21))

    played(scenario)


def test_a_partition_that_refuses_for_long_raises_its_code() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake, timeout=10.0) as client:
            fake.fail(ApiKey.FETCH, *[Fault(refuse=ErrorCode.KAFKA_STORAGE_ERROR)] * 1000)
            with pytest.raises(Unavailable, match="KAFKA_STORAGE_ERROR"):
                await read_all(client.read("orders", end="now"))
            assert len(fake.seen(ApiKey.FETCH)) < 20

    played(scenario)


def test_a_partition_without_a_leader_is_waited_for() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        log = fake.topics["orders"].partitions[0]
        log.leader = -1
        async with a_client(fake) as client:
            reading = asyncio.create_task(read_all(client.read("orders", end="now")))
            await asyncio.sleep(5.0)
            log.leader = 1
            assert len(await reading) == 20
            assert len(fake.seen(ApiKey.METADATA)) < 30

    played(scenario)


def test_what_is_refused_for_good_raises_at_once() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            fake.fail(ApiKey.FETCH, Fault(refuse=ErrorCode.TOPIC_AUTHORIZATION_FAILED))
            with pytest.raises(Refused, match="TOPIC_AUTHORIZATION_FAILED"):
                await read_all(client.read("orders", end="now"))

    played(scenario)


def test_a_topic_that_is_not_there_is_said_to_be_missing_and_is_not_created() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            with pytest.raises(TopicNotFound):
                await read_all(client.read("orders", end="now"))
        assert not fake.topics

    played(scenario)


@pytest.mark.parametrize("anew", [False, True])
def test_a_topic_that_goes_while_it_is_read_is_said_to_be_gone(anew: bool) -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            reading = asyncio.create_task(read_all(client.read("orders")))
            await asyncio.sleep(2.0)
            del fake.topics["orders"]
            if anew:
                filled(fake)
            with pytest.raises(TopicNotFound, match="created anew" if anew else "no topic"):
                await reading

    played(scenario)


def test_bytes_that_lie_raise() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        log = fake.topics["orders"].partitions[0]
        log.batches[2] = log.batches[2][:-1] + b"!"
        async with a_client(fake) as client:
            with pytest.raises(CorruptRecords, match=r"orders\[0\] at offset 10"):
                await read_all(client.read("orders", end="now"))

    played(scenario)


@pytest.mark.parametrize("changes", [{"record_count": 4}, {"record_count": 6}, {"attributes": Codec.GZIP}], ids=str)
def test_a_batch_with_a_true_checksum_and_false_records_stops_the_reader_until_it_seeks(
    changes: dict[str, int],
) -> None:
    """The broker takes records as they are."""

    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        log = fake.topics["orders"].partitions[0]
        log.batches[2] = bytes(with_header(log.batches[2], **changes))
        async with a_client(fake) as client, client.read("orders", end="now") as reader:
            seen: list[Record] = []

            async def read() -> None:
                async for record in reader:
                    seen.append(record)  # noqa: PERF401 - kept when it is cut short

            for _ in range(3):
                with pytest.raises(CorruptRecords, match=r"orders\[0\] at offset 10: .*seek to offset 15") as raised:
                    await read()
                assert offsets(seen) == list(range(10))
                assert reader.position(0) == 10
            assert raised.value.next_offset is not None
            await reader.seek(raised.value.partition, raised.value.next_offset)
            await read()
            assert offsets(seen) == [*range(10), *range(15, 20)]

    played(scenario)


def test_who_follows_all_partitions_reads_those_that_are_added_from_their_beginning() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            seen: list[tuple[int, int]] = []

            async def read() -> None:
                async for record in client.read("orders", start="latest"):
                    seen.append((record.partition, record.offset))  # noqa: PERF401 - kept when it is cut short

            reading = asyncio.create_task(read())
            await asyncio.sleep(1.0)
            added = FakePartition(leader=1)
            fake.topics["orders"].partitions.append(added)
            added.append(a_batch([b"x"]))
            await asyncio.sleep(400.0)
            reading.cancel()
            await asyncio.wait([reading])
            assert seen == [(1, 0)]

    played(scenario)


def test_the_high_watermark_tells_how_far_there_is_to_go() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.read("orders", end="now") as reader:
            assert reader.high_watermark(0) == -1
            async for record in reader:
                assert reader.high_watermark(0) - reader.position(0) == 19 - record.offset

    played(scenario)
