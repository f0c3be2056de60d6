"""Batches on their way to the leaders: order under any faults, metadata that change, backpressure."""

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

from support.environment import network_of
from support.fake_broker import FakeCluster, FakePartition, Fault, a_client, played
from support.loop import SimLoop
from tidelog.client import RecordMetadata, TidelogError, TimedOut, TopicNotFound
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.produce import ProduceRequest
from tidelog.protocol.records import iterate

SEEDS = range(200 if os.environ.get("TIDELOG_PROOF") else 20)
FAULTS = [
    Fault(refuse=ErrorCode.NOT_LEADER_OR_FOLLOWER),
    Fault(refuse=ErrorCode.NOT_ENOUGH_REPLICAS),
    Fault(refuse=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    Fault(refuse=ErrorCode.KAFKA_STORAGE_ERROR),
    Fault(refuse=ErrorCode.REQUEST_TIMED_OUT, whole=True),
    Fault(drop=True),
    Fault(drop_answer=True),
    Fault(silent=True),
    Fault(garbage=True),
    Fault(delay=0.5),
]


def runs(log: FakePartition) -> Iterator[list[int]]:
    """The numbers in each batch of a log."""
    for batch in log.batches:
        yield [int((record.value or b"").split()[0]) for record in iterate(batch)]


def assert_in_order_but_for_repeated_batches(log: FakePartition, expected: list[int]) -> None:
    """A batch may stand there again right after itself: that is what at least once means. Nothing else may differ."""
    told: list[int] = []
    last: list[int] = []
    for run in runs(log):
        if run != last:
            told += run
        last = run
    assert told == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_goes_wrong_each_partition_keeps_its_order_and_nothing_is_lost(seed: int) -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        dice = loop.random_for("test")
        network = network_of(loop)
        fake.create("orders", 4)
        for broker in fake.brokers:
            broker.faults[ApiKey.PRODUCE].extend(
                dice.choice(FAULTS) if dice.random() < 0.4 else Fault() for _ in range(60)
            )
            broker.faults[ApiKey.METADATA].extend(Fault(drop=dice.random() < 0.2) for _ in range(1, 20))

        async def chaos() -> None:
            while True:
                await asyncio.sleep(dice.random() * 0.6)
                for connection in list(network.connections):
                    if dice.random() < 0.2:
                        connection.drop()
                partition = dice.choice(fake.topics["orders"].partitions)
                partition.leader = dice.choice(fake.brokers).node_id

        sent: dict[int, list[int]] = {number: [] for number in range(4)}
        async with (
            a_client(fake, timeout=5.0) as client,
            client.producer(max_batch=dice.choice([300, 1 << 20]), linger=dice.choice([0.0, 0.01])) as producer,
        ):
            trouble = asyncio.create_task(chaos())
            futures: list[asyncio.Future[RecordMetadata]] = []
            for number in range(300):
                partition = dice.randrange(4)
                value = b"%d " % number + b"." * dice.randrange(100)
                futures.append(producer.send_nowait("orders", value, partition=partition))
                sent[partition].append(number)
                if dice.random() < 0.3:
                    await asyncio.sleep(dice.random() * 0.05)
            trouble.cancel()
            await producer.flush()
            for number, future in enumerate(futures):
                where = future.result()
                log = fake.topics["orders"].partitions[where.partition]
                [stored] = [record.value for record in log.records() if record.offset == where.offset]
                assert stored is not None
                assert stored.startswith(b"%d " % number), "an acknowledged record stands where its producer was told"
        assert len(fake.seen(ApiKey.PRODUCE)) > 20
        for partition, log in enumerate(fake.topics["orders"].partitions):
            assert_in_order_but_for_repeated_batches(log, sent[partition])

    played(scenario, seed=seed, brokers=2)


def test_a_partition_is_in_one_unanswered_request_at_most() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 3)
        fake.brokers[0].faults[ApiKey.PRODUCE].extend([Fault(delay=1.0)] * 10)
        async with a_client(fake) as client, client.producer(max_batch=200) as producer:
            for number in range(30):
                producer.send_nowait("orders", b"x" * 50, partition=number % 3)
            await asyncio.sleep(0.5)
            assert len(fake.seen(ApiKey.PRODUCE)) == 1
            await asyncio.sleep(1.0)
            assert len(fake.seen(ApiKey.PRODUCE)) == 2

    played(scenario)


def test_requests_to_one_broker_overtake_each_others_answers_up_to_a_limit() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 10)
        fake.brokers[0].faults[ApiKey.PRODUCE].extend([Fault(delay=3.0)] * 100)
        async with a_client(fake) as client, client.producer() as producer:
            for partition in range(10):
                producer.send_nowait("orders", b"v", partition=partition)
                await asyncio.sleep(0.1)
            assert len(fake.seen(ApiKey.PRODUCE)) == 5
            await producer.flush()
            assert len(fake.seen(ApiKey.PRODUCE)) == 6, "what had to wait travels together"

    played(scenario)


def test_a_leader_that_moves_is_followed() -> None:
    async def scenario(fake: FakeCluster) -> None:
        log = fake.create("orders").partitions[0]
        async with a_client(fake) as client, client.producer() as producer:
            for number in range(6):
                log.leader = 1 + number % 2
                assert (await producer.send("orders", b"%d" % number)).offset == number

    played(scenario, brokers=2)


def test_a_leader_that_is_gone_is_replaced_by_the_one_that_metadata_name() -> None:
    async def scenario(fake: FakeCluster) -> None:
        log = fake.create("orders").partitions[0]
        async with a_client(fake) as client, client.producer(delivery_timeout=20.0) as producer:
            await producer.send("orders", b"0")
            fake.brokers[0].stop()
            log.leader = 2
            assert (await producer.send("orders", b"1")).offset == 1

    played(scenario, brokers=2)


def test_a_partition_without_a_leader_is_waited_for_without_a_storm() -> None:
    async def scenario(fake: FakeCluster) -> None:
        log = fake.create("orders").partitions[0]
        log.leader = -1
        async with a_client(fake) as client, client.producer() as producer:
            future = producer.send_nowait("orders", b"0")
            await asyncio.sleep(30.0)
            assert len(fake.seen(ApiKey.METADATA)) < 30
            log.leader = 1
            assert (await future).offset == 0

    played(scenario)


def test_a_partition_that_never_gets_a_leader_is_named_at_the_end() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders").partitions[0].leader = -1
        async with a_client(fake) as client, client.producer(delivery_timeout=5.0) as producer:
            with pytest.raises(TimedOut, match=r"orders\[0\] has no leader"):
                await producer.send("orders", b"0")

    played(scenario)


def test_a_topic_that_was_deleted_fails_what_waits_for_it() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer(auto_create=False) as producer:
            await producer.send("orders", b"0")
            del fake.topics["orders"]
            with pytest.raises(TopicNotFound):
                await producer.send("orders", b"1")

    played(scenario, auto_create=False)


def test_a_topic_that_was_created_anew_gets_the_record() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            await producer.send("orders", b"0")
            fake.create("orders")
            assert (await producer.send("orders", b"1")).offset == 0
        assert fake.values("orders") == [b"1"]

    played(scenario)


def test_partitions_that_were_added_are_used_when_metadata_are_old() -> None:
    async def scenario(fake: FakeCluster) -> None:
        topic = fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            await producer.send("orders", b"0")
            topic.partitions.append(FakePartition(leader=1))
            await asyncio.sleep(400.0)
            await producer.send("orders", b"1")
            await asyncio.sleep(1.0)
            partitions = {(await producer.send("orders", b"2")).partition for _ in range(20)}
        assert partitions == {0, 1}

    played(scenario)


def test_an_answer_that_leaves_a_partition_out_fails_its_batch() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(empty=True))
            with pytest.raises(TidelogError, match="does not name the partition"):
                await producer.send("orders", b"0")

    played(scenario)


def test_requests_stay_within_their_size() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 40)
        async with a_client(fake, max_buffer="64MiB") as client, client.producer() as producer:
            for partition in range(40):
                producer.send_nowait("orders", b"x" * 1_000_000, partition=partition)
            await producer.flush()
        requests = [body for body in fake.seen(ApiKey.PRODUCE) if isinstance(body, ProduceRequest)]
        sizes = [
            sum(len(data.records or b"") for topic in r.topic_data for data in topic.partition_data) for r in requests
        ]
        assert sum(sizes) > 40_000_000
        assert max(sizes) <= 17 << 20

    played(scenario)


def test_with_acks_0_a_socket_that_takes_no_more_bytes_holds_the_records_back() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        fake.create("orders")
        async with a_client(fake, max_buffer="1MiB") as client, client.producer(acks=0, max_batch="64KiB") as producer:
            await producer.send("orders", b"0")
            for connection in list(network_of(loop).connections):
                connection.stall(60.0)
            dice = random.Random(1)
            values = [dice.randbytes(10_000) for _ in range(1_000)]
            sending = asyncio.create_task(producer.send_many("orders", values))
            await asyncio.sleep(30.0)
            assert not sending.done()
            assert (await sending).count == 1_000
        await asyncio.sleep(10.0)
        assert fake.values("orders") == [b"0", *values]

    played(scenario)
