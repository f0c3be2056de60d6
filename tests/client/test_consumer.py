"""Consuming in a group: delivery, batches, what cannot be decoded, steering, and leaving [C-1, C-6]."""

import asyncio
import json
import logging
import re

import pytest

from support.consuming import Rows, append, committed, fail_at, filled, group, offsets, some, until
from support.fake_broker import FakeCluster, Fault, a_client, played
from tidelog.client import (
    Batch,
    ClientClosed,
    ConsumerRecord,
    PartitionNotFound,
    Refused,
    TidelogError,
    UndecodableRecord,
)
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode

# Delivery


def test_a_group_goes_on_where_it_was_when_its_consumer_was_left() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            seen: Rows = []
            for count in (3, 9, 8):
                async with client.consumer("orders", group="billing") as consumer:
                    seen += await some(consumer, count)
            assert offsets(seen) == list(range(20))
            assert committed(fake) == 20
            assert [epoch for _, epoch in group(fake).left] == [-1, -1, -1]

    played(scenario)


def test_a_record_is_committed_when_the_next_is_asked_for_and_not_before() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            async for record in consumer:
                await asyncio.sleep(5.0)
                assert committed(fake) == record.offset
                if record.offset == 7:
                    break

    played(scenario)


def test_a_body_that_raises_has_its_record_delivered_again() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            with pytest.raises(ZeroDivisionError):
                await fail_at(client.consumer("orders", group="billing"), 8)
            assert committed(fake) == 7
            async with client.consumer("orders", group="billing") as consumer:
                assert offsets(await some(consumer, 2)) == [7, 8]

    played(scenario)


def test_commits_cost_no_request_per_record() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, batches=1000)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            await some(consumer, 5000)
        assert len(fake.seen(ApiKey.OFFSET_COMMIT)) <= 3
        assert committed(fake) == 5000

    played(scenario)


def test_commit_is_durable_when_it_returns_and_takes_what_is_in_hand() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing", commit="manual") as consumer:
            async for record in consumer:
                if record.offset == 7:
                    await consumer.commit()
                    assert committed(fake) == 8
                if record.offset == 12:
                    break
        assert committed(fake) == 8, "left to the program, to the last"

    played(scenario)


def test_at_most_once_commits_before_it_hands_out() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            with pytest.raises(ZeroDivisionError):
                await fail_at(client.consumer("orders", group="billing", commit="before"), 8)
            assert committed(fake) == 10
            async with client.consumer("orders", group="billing", commit="before") as consumer:
                assert offsets(await some(consumer, 2)) == [10, 11]

    played(scenario)


def test_a_commit_that_fails_keeps_at_most_once_from_handing_out() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with (
            a_client(fake, timeout=5.0) as client,
            client.consumer("orders", group="billing", commit="before") as consumer,
        ):
            await some(consumer, 5)
            fake.fail(ApiKey.OFFSET_COMMIT, *[Fault(refuse=ErrorCode.COORDINATOR_NOT_AVAILABLE)] * 50)
            with pytest.raises(TidelogError, match="COORDINATOR_NOT_AVAILABLE"):
                await some(consumer, 1)
            fake.brokers[0].faults.clear()
            assert offsets(await some(consumer, 2)) == [5, 6]

    played(scenario)


@pytest.mark.parametrize(("start", "expected"), [("earliest", 3), ("latest", 20), (-4, 16), (11, 11), (1, 3), (99, 20)])
def test_without_a_committed_offset_it_begins_at_the_start_that_was_given(start: str | int, expected: int) -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        fake.topics["orders"].partitions[0].start_offset = 3
        async with a_client(fake) as client:
            async with client.consumer("orders", group="billing", start=start) as consumer:
                reading = asyncio.ensure_future(some(consumer, 1))
                await asyncio.sleep(3.0)
                append(fake, b"x")
                assert offsets(await reading) == [expected]
            assert committed(fake) == expected + 1

    played(scenario)


def test_where_it_begins_is_committed_before_anything_comes() -> None:
    """Else what comes while nobody is there would be passed over by start="latest"."""

    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            async with client.consumer("orders", group="billing", start="latest") as consumer:
                await until(lambda: bool(consumer.assignment))
                await asyncio.sleep(2.0)
            append(fake, b"meanwhile")
            async with client.consumer("orders", group="billing", start="latest") as consumer:
                assert offsets(await some(consumer, 1)) == [20]

    played(scenario)


@pytest.mark.parametrize(("policy", "expected"), [("start", 10), ("latest", 20), ("raise", None)])
def test_a_committed_offset_that_the_log_holds_no_more(
    policy: str, expected: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        group(fake).offsets[fake.topics["orders"].topic_id, 0] = 4
        fake.topics["orders"].partitions[0].start_offset = 10
        async with (
            a_client(fake) as client,
            client.consumer("orders", group="billing", on_out_of_range=policy) as consumer,
        ):
            reading = asyncio.ensure_future(some(consumer, 1))
            await asyncio.sleep(3.0)
            append(fake, b"x")
            if expected is None:
                with pytest.raises(TidelogError, match=r"offset 4 .*10 and up"):
                    await reading
            else:
                assert offsets(await reading) == [expected]
                assert f"going on at {expected}" in caplog.text

    with caplog.at_level(logging.WARNING, "tidelog"):
        played(scenario)


# Batches


def test_batches_are_as_large_or_as_late_as_asked_for_and_are_committed_when_done() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        filled(fake, partitions=2)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            sizes = []
            async for batch in consumer.batches(max_records=15, max_wait=1.0):
                sizes.append(len(batch))
                if len(sizes) == 3:
                    break
                began = loop.time()
            assert sizes == [15, 15, 10]
            assert 1.0 <= loop.time() - began < 1.1
        assert (committed(fake, 0), committed(fake, 1)) == (20, 20)

    played(scenario)


@pytest.mark.parametrize("limits", [{"max_records": 0}, {"max_wait": -1.0}, {"max_wait": float("nan")}])
def test_a_batch_of_nothing_is_refused_and_does_not_spin(limits: dict[str, float]) -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            with pytest.raises(ValueError, match="at least one record"):
                await anext(consumer.batches(**limits))  # type: ignore[arg-type]
            assert [len(await anext(consumer.batches(max_records=3, max_wait=0.0)))] == [3]

    played(scenario)


def test_a_batch_commits_itself_and_never_back() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing", commit="manual") as consumer:
            batches: list[Batch[bytes, bytes]] = []
            async for batch in consumer.batches(max_records=7):
                batches.append(batch)
                if len(batches) == 2:
                    break
            assert [record.offset for record in batches[0]] == list(range(7))
            assert batches[1][0].offset == 7
            await batches[1].commit()
            assert committed(fake) == 14
            await batches[0].commit()
            assert committed(fake) == 14

    played(scenario)


def test_records_that_were_gathered_when_a_batch_is_cancelled_come_again() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(consumer.batches(max_records=100, max_wait=60.0)), 2.0)
            assert offsets(await some(consumer, 20)) == list(range(20))

    played(scenario)


# Undecodable


def a_bad_log(fake: FakeCluster) -> None:
    fake.create("orders")
    append(fake, b"0", b"{", b"2", b"3")


def test_an_undecodable_record_is_raised_with_its_bytes_until_a_seek_leaves_it_out() -> None:
    async def scenario(fake: FakeCluster) -> None:
        a_bad_log(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing", value=json) as consumer:
            seen: list[object] = []

            async def read(count: int) -> None:
                async for record in consumer:
                    seen.append(record.value)
                    if len(seen) == count:
                        break

            for _ in range(3):
                with pytest.raises(UndecodableRecord, match=r"orders\[0\] at offset 1: the value .*JSON") as raised:
                    await read(9)
            error = raised.value
            assert (error.topic, error.partition, error.offset, error.part) == ("orders", 0, 1, "value")
            assert error.record.value == b"{"
            await asyncio.sleep(3.0)
            assert committed(fake) == 1
            await consumer.seek(error.topic, error.partition, error.offset + 1)
            await read(3)
            assert seen == [0, 2, 3]

    played(scenario)


def test_an_undecodable_record_ends_a_batch_and_is_raised_by_the_next() -> None:
    async def scenario(fake: FakeCluster) -> None:
        a_bad_log(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing", value=json) as consumer:
            batches = consumer.batches()
            assert [record.value for record in await anext(batches)] == [0]
            with pytest.raises(UndecodableRecord):
                await anext(batches)

    played(scenario)


def test_an_undecodable_record_is_left_out_counted_and_logged_if_the_program_wants_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(fake: FakeCluster) -> None:
        a_bad_log(fake)
        async with (
            a_client(fake) as client,
            client.consumer("orders", group="billing", value=json, on_decode_error="skip") as consumer,
        ):
            values = []
            async for record in consumer:
                values.append(record.value)
                if len(values) == 3:
                    break
            assert values == [0, 2, 3]
            assert consumer.skipped == 1

    with caplog.at_level(logging.WARNING, "tidelog"):
        played(scenario)
    assert len(caplog.records) == 1
    assert "orders[0] at offset 1" in caplog.text


def test_an_undecodable_record_is_given_to_a_callable_and_comes_again_if_that_fails() -> None:
    async def scenario(fake: FakeCluster) -> None:
        a_bad_log(fake)
        given: list[bytes | None] = []

        async def bury(error: UndecodableRecord) -> None:
            given.append(error.record.value)
            await asyncio.sleep(1.0)
            if len(given) == 1:
                raise ZeroDivisionError

        async with (
            a_client(fake) as client,
            client.consumer("orders", group="billing", value=json, on_decode_error=bury) as consumer,
        ):
            with pytest.raises(ZeroDivisionError):
                async for _record in consumer:
                    pass
            async for record in consumer:
                if record.value == 3:
                    break
            assert given == [b"{", b"{"]

    played(scenario)


# Looking and steering


def test_a_paused_partition_stands_still_until_it_is_resumed() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            [(first, _), *_rest] = await some(consumer, 3)
            consumer.pause("orders", first)
            assert {partition for partition, _ in await some(consumer, 20)} == {1 - first}
            assert consumer.position("orders", first) == 3
            assert await consumer.lag() == {("orders", first): 17, ("orders", 1 - first): 0}
            consumer.resume("orders", first)
            assert await some(consumer, 17) == [(first, offset) for offset in range(3, 20)]
            with pytest.raises(PartitionNotFound):
                consumer.pause("orders", 7)

    played(scenario)


def test_a_seek_moves_one_partition() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            await some(consumer, 40)
            assert await consumer.seek("orders", 1, -3) == 17
            assert await some(consumer, 3) == [(1, 17), (1, 18), (1, 19)]
            with pytest.raises(PartitionNotFound, match="not assigned"):
                await consumer.seek("orders", 7, 0)

    played(scenario)


def test_after_a_seek_back_commits_go_back() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            await some(consumer, 20)
            await consumer.commit()
            await consumer.seek("orders", 0, 5)
            assert offsets(await some(consumer, 1)) == [5]
            await consumer.commit()
            assert committed(fake) == 6

    played(scenario)


def test_a_second_loop_ends_the_first() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            first = aiter(consumer)
            await anext(first)
            await anext(aiter(consumer))
            with pytest.raises(ClientClosed, match="another loop"):
                await anext(first)

    played(scenario)


# Leaving


def test_a_static_member_leaves_for_a_while_and_finds_its_partitions_again() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2)
        async with a_client(fake) as client:
            for _ in range(2):
                async with client.consumer("orders", group="billing", instance_id="one") as consumer:
                    await until(lambda: len(consumer.assignment) == 2)
                    epoch = group(fake).epoch
            assert group(fake).epoch == epoch
            assert [epoch for _, epoch in group(fake).left] == [-2, -2]

    played(scenario)


def test_left_or_not_entered_it_cannot_be_read() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            consumer = client.consumer("orders", group="billing")
            with pytest.raises(ClientClosed):
                await some(consumer, 1)
            async with consumer:
                await some(consumer, 1)
            with pytest.raises(ClientClosed):
                await some(consumer, 1)
            with pytest.raises(ClientClosed):
                await consumer.commit()

    played(scenario)


def test_it_is_entered_once() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            async with client.consumer("orders", group="billing") as consumer:
                with pytest.raises(ClientClosed, match="entered once"):
                    await consumer.__aenter__()
                assert len(await some(consumer, 2)) == 2
            with pytest.raises(ClientClosed, match="entered once"):
                await consumer.__aenter__()

    played(scenario)


def test_a_last_commit_that_is_refused_is_raised_where_the_consumer_is_left() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            fake.fail(ApiKey.OFFSET_COMMIT, Fault(refuse=ErrorCode.GROUP_AUTHORIZATION_FAILED))
            with pytest.raises(Refused, match="GROUP_AUTHORIZATION_FAILED"):
                async with client.consumer("orders", group="billing") as consumer:
                    await some(consumer, 3)
            assert len(group(fake).left) == 1

    played(scenario)


def test_a_listener_that_fails_on_leaving_is_raised_unless_something_else_is() -> None:
    def refuse(_: object) -> None:
        raise KeyError("mine")

    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            with pytest.raises(KeyError, match="mine"):
                async with client.consumer("orders", group="billing", on_revoke=refuse) as consumer:
                    await some(consumer, 3)
            with pytest.raises(ZeroDivisionError):
                async with client.consumer("orders", group="billing", on_revoke=refuse) as consumer:
                    raise ZeroDivisionError
            assert committed(fake) == 3

    played(scenario)


def test_what_was_raised_by_the_loop_is_not_raised_again_on_leaving() -> None:
    def refuse(_: object) -> None:
        raise KeyError("mine")

    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing", on_assign=refuse) as consumer:
            with pytest.raises(KeyError):
                await some(consumer, 3)
            assert len(await some(consumer, 3)) == 3

    played(scenario)


def test_cancelled_in_its_body_it_commits_what_was_finished_and_leaves() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:

            async def work() -> None:
                async with client.consumer("orders", group="billing") as consumer:
                    async for record in consumer:
                        if record.offset == 6:
                            await asyncio.sleep(1000.0)

            task = asyncio.create_task(work())
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert committed(fake) == 6
            assert len(group(fake).left) == 1

    played(scenario)


def test_leaving_does_not_hang_on_a_broker_that_is_gone() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        filled(fake)
        async with a_client(fake, timeout=10.0) as client:
            async with client.consumer("orders", group="billing") as consumer:
                await some(consumer, 5)
                fake.brokers[0].stop()
                await asyncio.sleep(1.0)
                began = loop.time()
            assert loop.time() - began < 12.0

    played(scenario)


def test_leaving_the_client_ends_its_consumers() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            consumer = client.consumer("orders", group="billing")
            await consumer.__aenter__()
            await some(consumer, 3)
        assert committed(fake) == 2
        with pytest.raises(ClientClosed):
            await some(consumer, 1)

    played(scenario)


# Asking for one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": ""}, "name of its group"),
        ({"topics": None}, "give one of the two"),
        ({"pattern": "x"}, "give one of the two"),
        ({"topics": []}, "topics are"),
        ({"topics": re.compile("x", re.IGNORECASE)}, "without flags"),
        ({"commit": "sometimes"}, "after, before, manual"),
        ({"on_decode_error": "ignore"}, "skip"),
        ({"on_out_of_range": "never"}, "start, raise"),
        ({"start": "yesterday"}, "not an offset"),
        ({"rebalance_timeout": 0}, "rebalance_timeout"),
        ({"rebalance_timeout": 1e9}, "rebalance_timeout"),
        ({"commit_interval": float("nan")}, "commit_interval"),
        ({"commit_interval": "1s"}, "commit_interval is a number"),
        ({"group": 3}, "name of its group"),
        ({"group": "g" * 40_000}, "at most 32767 bytes"),
        ({"instance_id": ""}, "instance_id"),
        ({"on_decode_error": None}, "skip"),
        ({"on_revoke": "later"}, "on_revoke is a callable"),
        ({"start": None}, "an offset is"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(arguments: dict[str, object], message: str) -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            with pytest.raises((ValueError, TypeError), match=message):
                client.consumer(**({"topics": "orders", "group": "billing"} | arguments))  # type: ignore[call-overload]

    played(scenario)


def test_a_record_reads_like_one_of_a_reader() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        append(fake, b'{"id": 1}')
        async with a_client(fake) as client, client.consumer("orders", group="billing", value=json) as consumer:
            async for record in consumer:
                assert isinstance(record, ConsumerRecord)
                assert (record.value, record.text, record.json()) == ({"id": 1}, '{"id": 1}', {"id": 1})
                assert (record.key, record.raw.value) == (None, b'{"id": 1}')
                assert record.time.year == 2023
                break

    played(scenario)
