"""Batches on their way to the leaders: order under any faults, metadata that change, backpressure."""

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

from support.environment import network_of
from support.fake_broker import HOST, PORT, FakeCluster, FakePartition, Fault, a_client, played
from support.loop import SimLoop
from tidelog.client import RecordMetadata, Refused, TidelogError, TimedOut, TopicNotFound
from tidelog.client.batcher import Batch, Batcher
from tidelog.client.cluster import Cluster
from tidelog.client.config import Address, ClientConfig, ProducerConfig
from tidelog.client.sender import Sender
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.batch import BatchHeader, read_header
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


def headers(fake: FakeCluster) -> list[BatchHeader]:
    """Of the batches in the order in which they came, taken or not."""
    requests = [body for body in fake.seen(ApiKey.PRODUCE) if isinstance(body, ProduceRequest)]
    return [read_header(data.records or b"") for r in requests for t in r.topic_data for data in t.partition_data]


def stamps(fake: FakeCluster) -> list[tuple[int, int, int]]:
    """Producer id, epoch and base sequence of the batches that came."""
    return [(header.producer_id, header.producer_epoch, header.base_sequence) for header in headers(fake)]


def assert_in_order_but_for_repeated_batches(log: FakePartition, expected: list[int]) -> None:
    """A batch may stand there again right after itself: that is what at least once means. Nothing else may differ."""
    told: list[int] = []
    last: list[int] = []
    for run in runs(log):
        if run != last:
            told += run
        last = run
    assert told == expected


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_goes_wrong_each_partition_keeps_its_order_and_nothing_is_lost(seed: int, idempotent: bool) -> None:
    """And nothing is there twice, if the producer is idempotent [I-2, I-3, I-10]."""

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
            broker.faults[ApiKey.INIT_PRODUCER_ID].extend(Fault(drop_answer=dice.random() < 0.5) for _ in range(3))

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
            client.producer(
                max_batch=dice.choice([300, 1 << 20]), linger=dice.choice([0.0, 0.01]), idempotent=idempotent
            ) as producer,
        ):
            trouble = asyncio.create_task(chaos())
            futures: list[asyncio.Future[RecordMetadata]] = []
            for number in range(300):
                partition = dice.randrange(4)
                value = b"%d " % number + b"." * dice.randrange(100)
                futures.append(producer.send_nowait("orders", value, partition=partition))
                sent[partition].append(number)
                if number == 0:
                    await asyncio.wait(futures)  # by then there is a producer id
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
            if idempotent:
                assert [number for run in runs(log) for number in run] == sent[partition]
            else:
                assert_in_order_but_for_repeated_batches(log, sent[partition])

    played(scenario, seed=seed, brokers=2)


def test_a_partition_without_numbers_is_in_one_unanswered_request_at_most() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 3)
        fake.brokers[0].faults[ApiKey.PRODUCE].extend([Fault(delay=1.0)] * 10)
        async with a_client(fake) as client, client.producer(max_batch=200, idempotent=False) as producer:
            for number in range(30):
                producer.send_nowait("orders", b"x" * 50, partition=number % 3)
            await asyncio.sleep(0.5)
            assert len(fake.seen(ApiKey.PRODUCE)) == 1
            await asyncio.sleep(1.0)
            assert len(fake.seen(ApiKey.PRODUCE)) == 2

    played(scenario)


# Numbers


def test_full_batches_of_an_idempotent_producer_follow_each_other_unanswered() -> None:
    """I-10."""

    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer(max_batch=200) as producer:
            await producer.send("orders", b"first")
            fake.brokers[0].faults[ApiKey.PRODUCE].extend([Fault(delay=1.0)] * 100)
            futures = [producer.send_nowait("orders", b"x" * 50) for _ in range(40)]
            await asyncio.sleep(0.1)
            assert len(fake.seen(ApiKey.PRODUCE)) == 1 + 1, "the first one of a busy time travels alone"
            await asyncio.sleep(1.0)
            assert len(fake.seen(ApiKey.PRODUCE)) == 2 + 5
            await producer.flush()
        assert [future.result().offset for future in futures] == list(range(1, 41))

    played(scenario)


def test_batches_that_were_under_way_when_one_was_refused_are_sent_again_in_their_order() -> None:
    """I-3, I-10."""

    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer(max_batch=200) as producer:
            producer.send_nowait("orders", b"0 ")
            futures = [producer.send_nowait("orders", b"%d " % number + b"x" * 50) for number in range(1, 30)]
            fake.fail(ApiKey.PRODUCE, Fault(), Fault(), Fault(refuse=ErrorCode.NOT_ENOUGH_REPLICAS))
            await producer.flush()
        assert [future.result().offset for future in futures] == list(range(1, 30))
        [log] = fake.topics["orders"].partitions
        assert [number for run in runs(log) for number in run] == list(range(30))
        assert len(set(stamps(fake))) < len(stamps(fake)), "some came twice"
        assert {epoch for _, epoch, _ in stamps(fake)} == {0}

    played(scenario)


def test_a_producer_that_is_not_idempotent_asks_for_no_id() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client:
            for acks, idempotent in (("all", False), (1, None), (0, None)):
                async with client.producer(acks=acks, idempotent=idempotent) as producer:
                    await producer.send("orders", b"v")
            await asyncio.sleep(1.0)
        assert fake.seen(ApiKey.INIT_PRODUCER_ID) == []
        assert stamps(fake) == [(-1, -1, -1)] * 3

    played(scenario)


def test_each_producer_has_an_id_of_its_own_which_it_asks_for_once() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 3)
        async with a_client(fake) as client:
            for _ in range(2):
                async with client.producer() as producer:
                    for partition in range(3):
                        await producer.send("orders", b"v", partition=partition)
        assert stamps(fake) == [(0, 0, 0)] * 3 + [(1, 0, 0)] * 3
        assert len(fake.seen(ApiKey.INIT_PRODUCER_ID)) == 2

    played(scenario)


def test_a_broker_that_has_no_producer_id_yet_is_asked_again() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        not_yet = Fault(refuse=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        fake.fail(ApiKey.INIT_PRODUCER_ID, not_yet, not_yet, not_yet, Fault(drop=True))
        async with a_client(fake) as client, client.producer() as producer:
            assert (await producer.send("orders", b"v")).offset == 0
        assert len(fake.seen(ApiKey.INIT_PRODUCER_ID)) == 5

    played(scenario)


def test_a_broker_that_never_has_one_is_waited_for_without_a_storm_and_named_at_the_end() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        fake.fail(ApiKey.INIT_PRODUCER_ID, *[Fault(refuse=ErrorCode.REQUEST_TIMED_OUT)] * 1000)
        async with a_client(fake) as client, client.producer(delivery_timeout=20.0) as producer:
            with pytest.raises(TimedOut, match=r"orders\[0\].*InitProducerId.*REQUEST_TIMED_OUT"):
                await producer.send("orders", b"v")
        assert len(fake.seen(ApiKey.INIT_PRODUCER_ID)) < 30

    played(scenario)


def test_a_broker_that_gives_no_id_fails_what_waits_for_one() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        fake.fail(ApiKey.INIT_PRODUCER_ID, Fault(refuse=ErrorCode.CLUSTER_AUTHORIZATION_FAILED))
        async with a_client(fake) as client, client.producer() as producer:
            await client.admin.describe_topic("orders")
            with pytest.raises(Refused, match=r"InitProducerId.*CLUSTER_AUTHORIZATION_FAILED"):
                await producer.send("orders", b"v")
            assert (await producer.send("orders", b"v")).offset == 0, "the next record asks again"

    played(scenario)


def test_a_duplicate_that_the_broker_knows_of_without_its_offset_is_a_success() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(refuse=ErrorCode.DUPLICATE_SEQUENCE_NUMBER))
            assert (await producer.send("orders", b"v")).offset == -1

    played(scenario)


@pytest.mark.parametrize("code", [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode.UNKNOWN_PRODUCER_ID])
def test_after_a_gap_in_the_brokers_log_the_producer_goes_on_in_a_new_epoch(code: ErrorCode) -> None:
    """KIP-360: the broker has lost what it had acknowledged. What was lost is lost; nothing else is, nor doubled."""

    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer(max_batch=200) as producer:
            await producer.send("orders", b"0 ")
            fake.fail(ApiKey.PRODUCE, Fault(refuse=code))
            futures = [producer.send_nowait("orders", b"%d " % number + b"x" * 50) for number in range(1, 20)]
            await producer.flush()
            assert [future.result().offset for future in futures] == list(range(1, 20))
        [log] = fake.topics["orders"].partitions
        assert [number for run in runs(log) for number in run] == list(range(20))
        assert stamps(fake)[:3] == [(0, 0, 0), (0, 0, 1), (0, 1, 0)]

    played(scenario)


def test_a_fenced_batch_that_was_never_sent_before_goes_under_another_producer_id() -> None:
    """I-2."""

    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            await producer.send("orders", b"0")
            fake.fail(ApiKey.PRODUCE, Fault(refuse=ErrorCode.INVALID_PRODUCER_EPOCH))
            assert (await producer.send("orders", b"1")).offset == 1
        assert stamps(fake) == [(0, 0, 0), (0, 0, 1), (1, 0, 0)]

    played(scenario)


def test_a_fenced_batch_that_may_be_stored_fails_by_name_and_is_not_sent_again() -> None:
    """Under another id it might be there twice; and it must not be called stored either."""

    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            await producer.send("orders", b"0")
            fake.fail(ApiKey.PRODUCE, Fault(drop_answer=True), Fault(refuse=ErrorCode.INVALID_PRODUCER_EPOCH))
            with pytest.raises(Refused, match=r"orders\[0\].*not known.*INVALID_PRODUCER_EPOCH"):
                await producer.send("orders", b"1")
            assert (await producer.send("orders", b"2")).offset == 2
        assert fake.values("orders") == [b"0", b"1", b"2"]

    played(scenario)


def test_a_batch_that_is_refused_for_good_leaves_no_gap_for_those_behind_it() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders").max_message_bytes = 500
        async with a_client(fake) as client, client.producer(max_batch=200) as producer:
            await producer.send("orders", b"0 ")
            futures = [
                producer.send_nowait("orders", b"%d " % number + b"x" * (600 if number % 7 == 3 else 50))
                for number in range(1, 40)
            ]
            await producer.flush()
        [log] = fake.topics["orders"].partitions
        assert [number for run in runs(log) for number in run] == [n for n in range(40) if n % 7 != 3 or n == 0]
        assert sum(future.exception() is not None for future in futures) == 6

    played(scenario)


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_batch_that_ran_out_of_time_leaves_no_gap_for_those_behind_it(is_stored: bool) -> None:
    """Whether it is stored nobody knows; those behind it find out."""

    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with (
            a_client(fake, timeout=1.0) as client,
            client.producer(max_batch=200, delivery_timeout=5.0) as producer,
        ):
            await producer.send("orders", b"0 ")
            fake.fail(ApiKey.PRODUCE, Fault(drop_answer=is_stored, drop=not is_stored), *[Fault(drop=True)] * 1000)
            lost = producer.send_nowait("orders", b"1 " + b"x" * 200)
            await asyncio.sleep(1.0)
            others = [producer.send_nowait("orders", b"%d " % number + b"x" * 50) for number in range(2, 20)]
            with pytest.raises(TimedOut, match=r"orders\[0\]"):
                await lost
            fake.brokers[0].faults.clear()
            await producer.flush()
        first = 2 if is_stored else 1
        assert [future.result().offset for future in others] == list(range(first, first + 18))
        [log] = fake.topics["orders"].partitions
        assert [number for run in runs(log) for number in run] == [0, *range(1 if is_stored else 2, 20)]

    played(scenario)


def test_what_was_away_to_a_topic_that_was_created_anew_stands_before_what_came_later() -> None:
    """I-3: the new log takes any number, so nothing new may leave before what comes back."""

    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer(max_batch=200) as producer:
            await producer.send("orders", b"0 ")
            fake.fail(ApiKey.PRODUCE, *[Fault(delay=1.0)] * 4)
            futures = [producer.send_nowait("orders", b"1 ")]
            await asyncio.sleep(0.5)
            futures += [producer.send_nowait("orders", b"%d " % number + b"x" * 150) for number in (2, 3, 4)]
            fake.create("orders")
            await asyncio.sleep(1.0)
            assert len(fake.seen(ApiKey.PRODUCE)) == 4, "two are away to the old topic"
            await client.admin.describe_topic("orders")
            futures += [producer.send_nowait("orders", b"%d " % number + b"x" * 150) for number in (5, 6, 7)]
            await producer.flush()
        [log] = fake.topics["orders"].partitions
        assert [number for run in runs(log) for number in run] == [2, 3, 4, 5, 6, 7]
        assert [future.result().offset for future in futures] == [1, 0, 1, 2, 3, 4, 5]

    played(scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_given_up_in_flight_the_others_keep_their_order_and_nothing_is_there_twice(seed: int) -> None:
    """I-2, I-3, I-10: delivery times so short that answers come too late."""

    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        dice = loop.random_for("test")
        log = fake.create("orders").partitions[0]
        async with (
            a_client(fake, timeout=5.0) as client,
            client.producer(max_batch=300, delivery_timeout=1.0) as producer,
        ):
            await producer.send("orders", b"0 ")
            fake.brokers[0].faults[ApiKey.PRODUCE].extend(
                dice.choice([*FAULTS, Fault(delay=1.2)]) if dice.random() < 0.4 else Fault() for _ in range(100)
            )
            futures: list[asyncio.Future[RecordMetadata]] = []
            for number in range(1, 300):
                futures.append(producer.send_nowait("orders", b"%d " % number + b"." * dice.randrange(100)))
                if dice.random() < 0.3:
                    await asyncio.sleep(dice.random() * 0.2)
            await producer.flush()
        stored = [number for run in runs(log) for number in run]
        assert stored == sorted(set(stored))
        for number, future in enumerate(futures, 1):
            if future.exception() is None:
                assert stored[future.result().offset] == number
        assert any(future.exception() is None for future in futures)

    played(scenario, seed=seed)


# Requests


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


def test_a_last_attempt_with_little_time_left_costs_the_others_no_connection() -> None:
    """The batch is given up when its time is over, and the answer that comes later is not listened to."""

    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        fake.create("orders", 2)
        async with a_client(fake) as client, client.producer(delivery_timeout=5.0) as producer:
            await producer.send("orders", b"0", partition=1)
            accepted = fake.brokers[0].accepted
            fake.fail(ApiKey.PRODUCE, Fault(refuse=ErrorCode.NOT_ENOUGH_REPLICAS, delay=4.7), Fault(delay=1.0))
            began = loop.time()
            late = producer.send_nowait("orders", b"1", partition=0)
            await asyncio.sleep(4.9)
            assert len(fake.seen(ApiKey.PRODUCE)) == 3, "it is away again"
            other = producer.send_nowait("orders", b"2", partition=1)
            with pytest.raises(TimedOut, match=r"orders\[0\]: not delivered within 5 s; last: .*NOT_ENOUGH_REPLICAS"):
                await late
            assert loop.time() - began == pytest.approx(5.0, abs=0.1)
            assert (await other).offset == 1
            assert (await producer.send("orders", b"3", partition=0)).offset == 1, "the late one was stored"
            assert fake.brokers[0].accepted == accepted

    played(scenario)


def test_a_batch_that_was_never_answered_says_so() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake, timeout=10.0) as client, client.producer(delivery_timeout=5.0) as producer:
            await producer.send("orders", b"0")
            fake.fail(ApiKey.PRODUCE, Fault(delay=4.0), Fault(delay=3.0))
            producer.send_nowait("orders", b"1")
            await asyncio.sleep(0.1)
            with pytest.raises(TimedOut, match=r"not delivered within 5 s; last: the broker has not answered"):
                await producer.send("orders", b"2")

    played(scenario)


class Watched:
    """A receipt that remembers what became of its batch."""

    held = 0

    def __init__(self) -> None:
        self.told: list[str] = []

    def delivered(self, batch: Batch, base_offset: int, append_time_ms: int) -> None:
        self.told.append(f"at {base_offset}")

    def failed(self, error: TidelogError) -> None:
        self.told.append(str(error))


def test_a_mistake_while_an_answer_is_read_fails_what_waits_instead_of_letting_it_wait_for_ever() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        reported: list[object] = []
        loop.set_exception_handler(lambda _, report: reported.append(report.get("exception")))
        mistakes = [LookupError("a mistake")]

        def settled(batch: Batch) -> None:
            if mistakes:
                raise mistakes.pop()

        fake.create("orders", 3)
        config = ProducerConfig()
        cluster = Cluster(ClientConfig(servers=(Address(HOST, PORT),), random=loop.random_for("client")))
        await cluster.start()
        batcher = Batcher(config)
        sender = Sender(cluster, config, batcher, settled=settled, pressed=lambda: False)
        await sender.topic("orders")
        watched = [Watched() for _ in range(3)]
        for partition, watcher in enumerate(watched):
            batch = batcher.batch_for(("orders", partition), 100, now=loop.time())
            batch.append(None, b"v", (), 1)
            batch.receipts.append(watcher)
        sender.kick()
        await asyncio.sleep(5.0)
        failed = ["the producer failed: LookupError('a mistake')"]
        assert [watcher.told for watcher in watched] == [["at 0"], failed, failed]
        assert not batcher.outstanding
        assert isinstance(sender.failure, LookupError)
        assert reported == [sender.failure], "and it is heard of"
        await sender.close()
        await cluster.stop()

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
