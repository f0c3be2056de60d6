"""Consuming in a group while others come, go and fail: rebalances, fencing, trouble [C-2, C-3, C-7]."""

import asyncio
import logging
import os
import random
import re
from collections import defaultdict

import pytest

from support.consuming import Rows, append, committed, fail_at, filled, group, offsets, some, taken, until
from support.environment import network_of
from support.fake_broker import FakeCluster, Fault, a_client, played
from support.loop import SimLoop
from tidelog.client import (
    Consumer,
    PartitionsLost,
    Refused,
    TidelogError,
    TopicPartition,
)
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest

SEEDS = range(200 if os.environ.get("TIDELOG_PROOF") else 20)


# Rebalances


def test_partitions_move_to_a_new_member_after_what_is_in_hand_is_finished_and_committed() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2, batches=20)
        told: list[list[TopicPartition]] = []
        seen: defaultdict[str, Rows] = defaultdict(list)

        async def read(name: str, consumer: Consumer[bytes, bytes]) -> None:
            async for record in consumer:
                seen[name].append((record.partition, record.offset))
                await asyncio.sleep(0.5)

        async def revoked(partitions: list[TopicPartition]) -> None:
            told.append(partitions)
            [(_, partition)] = partitions
            read_so_far = [offset for p, offset in seen["a"] if p == partition]
            assert committed(fake, partition) == len(read_so_far)

        async with (
            a_client(fake) as client,
            client.consumer("orders", group="billing", on_revoke=revoked) as first,
        ):
            reading = asyncio.create_task(read("a", first))
            await asyncio.sleep(11.0)
            async with client.consumer("orders", group="billing") as second:
                other = asyncio.create_task(read("b", second))
                await until(lambda: len(second.assignment) == 1)
                assert len(first.assignment) == len(told) == 1
                await until(lambda: len(seen["a"]) + len(seen["b"]) >= 200)
                reading.cancel()
                other.cancel()
                await asyncio.wait([reading, other])
        rows = seen["a"] + seen["b"]
        assert sorted(rows) == [(partition, offset) for partition in (0, 1) for offset in range(100)]

    played(scenario)


def test_a_body_that_takes_long_keeps_its_partition_and_its_membership() -> None:
    """No max.poll.interval: ten minutes over one record, and nobody takes it away but another who needs it."""

    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            async for _record in consumer:
                await asyncio.sleep(600.0)
                break
            assert group(fake).fenced == []
            assert len(consumer.assignment) == 2

    played(scenario)


def test_a_partition_is_given_up_without_its_record_in_hand_when_that_takes_longer_than_the_group_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        filled(fake, partitions=2, batches=1, size=3)
        async with (
            a_client(fake) as client,
            client.consumer("orders", group="billing", rebalance_timeout=20.0) as first,
        ):
            async for record in first:
                if (record.partition, record.offset) == (1, 1):
                    began = loop.time()
                    async with client.consumer("orders", group="billing") as second:
                        assert await some(second, 1) == [(1, 1)]
                    assert 16.0 <= loop.time() - began < 27.0
                    break

    with caplog.at_level(logging.WARNING, "tidelog"):
        played(scenario)
    assert "before the program has finished" in caplog.text


def test_what_was_fetched_ahead_of_a_partition_that_is_revoked_is_not_handed_out() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2, batches=50)
        revoked: set[int] = set()
        async with (
            a_client(fake) as client,
            client.consumer(
                "orders", group="billing", on_revoke=lambda partitions: revoked.update(p for _, p in partitions)
            ) as first,
        ):
            count = 0
            async for record in first:
                assert record.partition not in revoked
                count += 1
                if count == 20:
                    second = client.consumer("orders", group="billing")
                    await second.__aenter__()
                await asyncio.sleep(0.1)
                if revoked and count > 150:
                    break
            assert revoked
            await second.close()

    played(scenario)


def test_a_listener_may_seek_and_its_failure_is_told_where_the_program_reads() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        holder: list[Consumer[bytes, bytes]] = []

        async def assigned(partitions: list[TopicPartition]) -> None:
            for topic, partition in partitions:
                await holder[0].seek(topic, partition, 17)
            raise ZeroDivisionError

        async with a_client(fake) as client:
            consumer = client.consumer("orders", group="billing", on_assign=assigned)
            holder.append(consumer)
            async with consumer:
                await until(lambda: bool(consumer.assignment))
                with pytest.raises(ZeroDivisionError):
                    await some(consumer, 1)
                assert offsets(await some(consumer, 3)) == [17, 18, 19]

    played(scenario)


def test_on_revoke_may_commit_and_leaves_what_is_in_hand_alone() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2)
        holder: list[Consumer[bytes, bytes]] = []
        async with a_client(fake) as client:
            consumer = client.consumer(
                "orders", group="billing", commit="manual", on_revoke=lambda partitions: holder[0].commit()
            )
            holder.append(consumer)
            with pytest.raises(ZeroDivisionError):
                await fail_at(consumer, 8)
            assert committed(fake, 0) + committed(fake, 1) == 7

    played(scenario)


# Fenced


def test_a_fenced_consumer_drops_what_it_holds_is_told_and_joins_again_as_itself() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, batches=50)
        lost: list[TopicPartition] = []
        async with (
            a_client(fake) as client,
            client.consumer("orders", group="billing", on_lost=lost.extend) as consumer,
        ):
            seen: Rows = []
            async for record in consumer:
                seen.append((record.partition, record.offset))
                if len(seen) == 10:
                    await asyncio.sleep(3.0)
                    assert committed(fake) == 9
                    group(fake).expire(consumer.member_id)
                    await asyncio.sleep(10.0)
                    assert lost == [("orders", 0)]
                    lost.clear()
                if len(seen) == 20:
                    break
            assert offsets(seen) == [*range(10), *range(9, 19)], "the one in hand was nobody's any more"
            assert list(group(fake).members) == [consumer.member_id]
        assert not lost

    played(scenario)


def test_a_commit_of_what_was_lost_says_so() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        revoked: list[TopicPartition] = []
        async with (
            a_client(fake) as client,
            client.consumer("orders", group="billing", commit="manual", on_revoke=revoked.extend) as consumer,
        ):
            async for batch in consumer.batches(max_records=5):
                group(fake).expire(consumer.member_id)
                with pytest.raises(PartitionsLost, match=r"orders\[0\]"):
                    await batch.commit()
                break
            await until(lambda: bool(revoked))
            assert committed(fake) == -1
            assert offsets(await some(consumer, 1)) == [0]

    played(scenario)


def test_a_commit_says_if_what_is_in_hand_went_to_others_and_only_then() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing", commit="manual") as consumer:
            told: list[int] = []
            async for record in consumer:
                if len(told) < 2:
                    group(fake).expire(consumer.member_id)
                    await asyncio.sleep(10.0)
                    with pytest.raises(PartitionsLost, match=r"orders\[0\]"):
                        await consumer.commit()
                told.append(record.offset)
                await consumer.commit()
                if len(told) == 4:
                    break
            assert told == [0, 0, 0, 1]
            assert committed(fake) == 2

    played(scenario)


def test_a_stale_epoch_is_renewed_and_the_commit_goes_on() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing", commit="manual") as consumer:
            await some(consumer, 5)
            fake.fail(ApiKey.OFFSET_COMMIT, Fault(refuse=ErrorCode.STALE_MEMBER_EPOCH))
            count = len(fake.seen(ApiKey.CONSUMER_GROUP_HEARTBEAT))
            await consumer.commit()
            assert committed(fake) == 5
            assert len(fake.seen(ApiKey.CONSUMER_GROUP_HEARTBEAT)) > count

    played(scenario)


def test_who_has_not_heard_from_the_group_for_long_hands_nothing_out_before_it_has() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        filled(fake, batches=50)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            seen: Rows = []
            async for record in consumer:
                seen.append((record.partition, record.offset))
                if len(seen) == 10:
                    await asyncio.sleep(3.0)
                    group(fake).expire(consumer.member_id)
                    loop.spend(100.0)  # as SIGSTOP does
                    group(fake).offsets[fake.topics["orders"].topic_id, 0] = 50  # another went on meanwhile
                if len(seen) == 20:
                    break
            assert offsets(seen) == [*range(10), *range(50, 60)]

    played(scenario)


# Trouble


def test_a_broker_that_restarts_finds_the_same_members_at_the_same_epochs() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=2, batches=50)
        revoked: list[TopicPartition] = []
        async with (
            a_client(fake) as client,
            client.consumer("orders", group="billing", on_revoke=revoked.extend) as consumer,
        ):
            rows = await some(consumer, 50)
            epoch = group(fake).epoch
            fake.brokers[0].stop()
            await asyncio.sleep(8.0)
            await fake.brokers[0].start()
            async with asyncio.timeout(20.0):
                rows += await some(consumer, 450)
            assert len(set(rows)) == 500
            assert group(fake).epoch == epoch
            assert not revoked
            assert not group(fake).fenced

    played(scenario)


def test_a_broker_that_is_gone_for_long_is_said_to_be_gone_and_reading_may_go_on() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake, timeout=10.0) as client, client.consumer("orders", group="billing") as consumer:
            await some(consumer, 20)
            fake.brokers[0].stop()
            with pytest.raises(TidelogError, match="connect"):
                await some(consumer, 1)
            await fake.brokers[0].start()
            append(fake, b"x")
            assert offsets(await some(consumer, 1)) == [20]

    played(scenario)


def test_a_group_that_refuses_is_told_on_entering() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            fake.fail(ApiKey.CONSUMER_GROUP_HEARTBEAT, Fault(refuse=ErrorCode.GROUP_AUTHORIZATION_FAILED))
            with pytest.raises(Refused, match="GROUP_AUTHORIZATION_FAILED"):
                async with client.consumer("orders", group="billing"):
                    pass

    played(scenario)


def test_a_topic_that_is_deleted_and_made_anew_is_read_from_its_beginning() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client, client.consumer("orders", group="billing") as consumer:
            assert offsets(await some(consumer, 20)) == list(range(20))
            reading = asyncio.ensure_future(some(consumer, 5))
            await asyncio.sleep(2.0)
            del fake.topics["orders"]
            await asyncio.sleep(60.0)
            filled(fake, batches=1)
            assert offsets(await reading) == [0, 1, 2, 3, 4]

    played(scenario)


def test_partitions_and_topics_that_are_added_are_read() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, topic="orders-1")
        async with a_client(fake) as client:
            async with client.consumer(re.compile("orders-.*"), group="billing") as consumer:
                await some(consumer, 20)
                filled(fake, topic="orders-2")
                filled(fake, topic="bills")
                rows = [record.topic async for record in taken(consumer, 20)]
                assert rows == ["orders-2"] * 20
            request = fake.seen(ApiKey.CONSUMER_GROUP_HEARTBEAT)[0]
            assert isinstance(request, ConsumerGroupHeartbeatRequest)
            assert (request.subscribed_topic_regex, request.subscribed_topic_names) == ("orders-.*", None)

    played(scenario)


def test_many_topics_on_one_broker_are_one_fetch() -> None:
    async def scenario(fake: FakeCluster) -> None:
        for topic in ("a", "b", "c"):
            filled(fake, topic=topic, partitions=4, batches=0)
        async with a_client(fake) as client, client.consumer(["a", "b", "c"], group="billing") as consumer:
            reading = asyncio.ensure_future(some(consumer, 1))
            await asyncio.sleep(30.0)
            reading.cancel()
            assert len(fake.seen(ApiKey.FETCH)) <= 30.0 / 0.5 + 5

    played(scenario)


FAULTS = (
    Fault(refuse=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
    Fault(drop=True),
    Fault(drop_answer=True),
    Fault(silent=True),
    Fault(delay=1.0),
)


async def a_careless_program(fake: FakeCluster, dice: random.Random, seen: dict[int, list[int]]) -> None:
    """Reads for a while, fails now and then, and comes back, for ever."""
    async with a_client(fake, timeout=60.0) as client:
        while True:
            prefetch = dice.choice([1, 2000, 1 << 20])
            try:
                async with client.consumer("orders", group="billing", prefetch=prefetch) as consumer:
                    async for record in taken(consumer, dice.randrange(1, 200)):
                        if dice.random() < 0.1:
                            await asyncio.sleep(dice.random())
                        seen[record.partition].append(record.offset)
                        if dice.random() < 0.003:
                            raise ZeroDivisionError
            except (ZeroDivisionError, TidelogError):
                pass


async def trouble(fake: FakeCluster, loop: SimLoop, dice: random.Random) -> None:
    for broker in fake.brokers:
        for api in (ApiKey.CONSUMER_GROUP_HEARTBEAT, ApiKey.OFFSET_COMMIT, ApiKey.OFFSET_FETCH):
            broker.faults[api].extend(dice.choice(FAULTS) if dice.random() < 0.2 else Fault() for _ in range(60))
    while True:
        await asyncio.sleep(dice.random() * 5)
        if dice.random() < 0.1 and group(fake).members:
            group(fake).expire(dice.choice(sorted(group(fake).members)))
        for connection in list(network_of(loop).connections):
            if dice.random() < 0.1:
                connection.drop()


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_goes_wrong_no_record_is_passed_over_and_commits_never_go_back(seed: int) -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        dice = loop.random_for("test")
        filled(fake, partitions=4, batches=30)
        seen: defaultdict[int, list[int]] = defaultdict(list)
        programs = [asyncio.create_task(a_careless_program(fake, dice, seen)) for _ in range(3)]
        chaos = asyncio.create_task(trouble(fake, loop, dice))
        await asyncio.sleep(20.0)
        chaos.cancel()
        for broker in fake.brokers:
            broker.faults.clear()
        await until(lambda: all(committed(fake, partition) == 150 for partition in range(4)))
        for program in programs:
            program.cancel()
        await asyncio.wait(programs)
        for partition in range(4):
            assert set(seen[partition]) == set(range(150))
            assert_no_leap(seen[partition])
            went = [commit.offset for commit in group(fake).commits if commit.partition == partition]
            assert went == sorted(went)

    played(scenario, seed=seed, brokers=2)


def assert_no_leap(came: list[int]) -> None:
    """Offsets may come again, but never one before all below it have."""
    furthest = -1
    for offset in came:
        assert offset <= furthest + 1
        furthest = max(furthest, offset)
