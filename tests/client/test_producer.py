"""What a producer promises: order, acknowledgement, bounded memory, nothing left behind."""

import asyncio
import gc

import pytest

from support.environment import wall_clock_ms
from support.fake_broker import FakeCluster, Fault, a_client, played
from support.loop import SimLoop
from tidelog.client import (
    BufferFull,
    ClientClosed,
    MessageTooLarge,
    PartitionNotFound,
    Producer,
    RecordMetadata,
    Refused,
    TimedOut,
    TopicNotFound,
)
from tidelog.client.partitioner import murmur2
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.produce import ProduceRequest


def produced(fake: FakeCluster) -> list[ProduceRequest]:
    return [body for body in fake.seen(ApiKey.PRODUCE) if isinstance(body, ProduceRequest)]


async def sent(producer: Producer, way: str, value: bytes, *, partition: int | None = None) -> None:
    if way == "send":
        await producer.send("orders", value, partition=partition)
    elif way == "send_nowait":
        await producer.send_nowait("orders", value, partition=partition)
    else:
        await producer.send_many("orders", [value], partition=partition)


def test_a_record_that_was_sent_is_in_the_log_as_it_was_given() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            where = await producer.send(
                "orders", {"id": 1}, key="k", headers={"h": "v"}, partition=2, timestamp_ms=1_600_000_000_000
            )
        assert where == RecordMetadata("orders", 2, 0, 1_600_000_000_000)
        [record] = fake.topics["orders"].partitions[2].records()
        assert (record.key, record.value, record.headers) == (b"k", b'{"id":1}', (("h", b"v"),))
        assert record.timestamp == 1_600_000_000_000

    played(scenario, partitions=3)


def test_a_record_has_the_clients_time_unless_it_has_its_own_or_the_topic_gives_one() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        async with a_client(fake) as client, client.producer() as producer:
            now_ms = wall_clock_ms(loop)
            assert now_ms <= (await producer.send("orders", b"1")).timestamp <= wall_clock_ms(loop)
            fake.topics["orders"].append_time_ms = 77
            assert (await producer.send("orders", b"2")).timestamp == 77

    played(scenario)


def test_a_key_goes_where_kafkas_clients_put_it() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            for number in range(30):
                where = await producer.send("orders", b"v", key=f"key {number}")
                assert where.partition == (murmur2(b"key %d" % number) & 0x7FFFFFFF) % 7

    played(scenario, partitions=7)


def test_records_without_a_key_are_spread_over_all_partitions() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            partitions = {(await producer.send("orders", b"v")).partition for _ in range(60)}
        assert partitions == {0, 1, 2, 3}

    played(scenario, partitions=4)


def test_none_is_a_tombstone() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            await producer.send("orders", None, key="k")
        assert fake.values("orders") == [None]

    played(scenario)


def test_what_is_sent_in_one_turn_of_the_loop_travels_together() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            await producer.send("orders", b"first")
            await asyncio.gather(*(producer.send("orders", b"%d" % number) for number in range(50)))
        assert len(produced(fake)) == 2

    played(scenario)


def test_partitions_of_one_leader_share_a_request_and_leaders_are_asked_side_by_side() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            await producer.send("orders", b"warm-up")
            futures = [producer.send_nowait("orders", b"v", partition=number) for number in range(6)]
            await asyncio.gather(*futures)
        requests = produced(fake)[1:]
        assert len(requests) == 2
        shares = [[data.index for topic in request.topic_data for data in topic.partition_data] for request in requests]
        assert sorted(map(sorted, shares)) == [[0, 2, 4], [1, 3, 5]]

    played(scenario, brokers=2, partitions=6)


def test_while_a_request_is_under_way_records_accumulate() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(delay=1.0))
            futures = []
            for number in range(20):
                futures.append(producer.send_nowait("orders", b"%d" % number))
                await asyncio.sleep(0.03)
            await asyncio.gather(*futures)
        assert len(produced(fake)) == 2
        assert fake.values("orders") == [b"%d" % number for number in range(20)]

    played(scenario)


def test_linger_waits_for_company() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        fake.create("orders")
        async with a_client(fake) as client, client.producer(linger=2.0) as producer:
            began = loop.time()
            first = producer.send_nowait("orders", b"1")
            await asyncio.sleep(1.0)
            await producer.send("orders", b"2")
            assert 2.0 <= loop.time() - began < 2.5
            assert first.done()
            third = producer.send_nowait("orders", b"3")
            await producer.flush()
            assert third.done()
            assert loop.time() - began < 3.5, "a flush does not linger"
        assert len(produced(fake)) == 2

    played(scenario)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_batches_are_compressed(codec: str) -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer(compression=codec) as producer:
            await producer.send_many("orders", [b"the same again " * 10] * 100)
        [batch, *_] = fake.topics["orders"].partitions[0].batches
        assert len(batch) < 2000
        assert fake.values("orders") == [b"the same again " * 10] * 100

    played(scenario)


def test_with_acks_0_nobody_answers_and_nobody_waits() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer(acks=0) as producer:
            where = await producer.send("orders", b"1")
            assert where.offset == -1
            summary = await producer.send_many("orders", [b"2", b"3"])
            assert summary.partitions[0].first_offset == -1
        await asyncio.sleep(1.0)
        assert fake.values("orders") == [b"1", b"2", b"3"]
        assert all(request.acks == 0 for request in produced(fake))

    played(scenario)


# Memory


def test_send_nowait_says_when_the_buffer_is_full() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake, max_buffer=10_000) as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(delay=5.0))
            for _ in range(9):
                producer.send_nowait("orders", b"x" * 1000)
            with pytest.raises(BufferFull, match="max_buffer"):
                producer.send_nowait("orders", b"x" * 1000)
            await producer.flush()
            assert (await producer.send("orders", b"x" * 1000)).offset == 9

    played(scenario)


def test_send_waits_for_room_and_keeps_its_place_in_the_row() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake, max_buffer=10_000) as client, client.producer(linger=60.0) as producer:
            sends = [asyncio.create_task(producer.send("orders", b"%04d" % n + b"x" * 996)) for n in range(50)]
            await asyncio.sleep(0.0)
            with pytest.raises(BufferFull):
                producer.send_nowait("orders", b"does not slip past")
            await asyncio.gather(*sends)
        assert [(value or b"")[:4] for value in fake.values("orders")] == [b"%04d" % n for n in range(50)]

    played(scenario)


def test_the_budget_is_the_clients_not_the_producers() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with (
            a_client(fake, max_buffer=10_000) as client,
            client.producer(linger=1.0) as one,
            client.producer() as two,
        ):
            one.send_nowait("orders", b"x" * 9_000)
            with pytest.raises(BufferFull):
                two.send_nowait("orders", b"x" * 9_000)

    played(scenario)


def test_a_send_that_is_cancelled_while_it_waits_for_room_sends_nothing() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake, max_buffer=10_000) as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(delay=5.0))
            first = producer.send_nowait("orders", b"x" * 9_000)
            waiting = asyncio.create_task(producer.send("orders", b"y" * 9_000))
            await asyncio.sleep(1.0)
            waiting.cancel()
            await first
            assert (await producer.send("orders", b"z" * 9_000)).offset == 1
        assert [(value or b"")[:1] for value in fake.values("orders")] == [b"x", b"z"]

    played(scenario)


def test_a_send_that_is_cancelled_later_is_delivered_all_the_same() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(delay=5.0))
            waiting = asyncio.create_task(producer.send("orders", b"1"))
            await asyncio.sleep(1.0)
            waiting.cancel()
            await producer.send("orders", b"2")
        assert fake.values("orders") == [b"1", b"2"]

    played(scenario)


@pytest.mark.parametrize("way", ["send", "send_nowait", "send_many"])
def test_a_record_that_never_fits_is_refused_at_once(way: str) -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake, max_buffer=10_000) as client, client.producer() as producer:
            with pytest.raises(MessageTooLarge, match="max_buffer"):
                await sent(producer, way, b"x" * 10_001)
            await producer.send("orders", b"x")

    played(scenario)


# Failures


def test_a_batch_larger_than_the_topic_allows_fails_with_what_to_do() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders").max_message_bytes = 1000
        async with a_client(fake) as client, client.producer() as producer:
            with pytest.raises(MessageTooLarge, match=r"orders\[0\].*1 records and 2\d{3} bytes.*max_batch") as raised:
                await producer.send("orders", b"x" * 2000)
            assert raised.value.code is ErrorCode.MESSAGE_TOO_LARGE
            await producer.send("orders", b"x")

    played(scenario)


def test_what_is_refused_for_good_fails_at_once_and_alone() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(refuse=ErrorCode.INVALID_RECORD))
            with pytest.raises(Refused, match="INVALID_RECORD"):
                await producer.send("orders", b"1")
            assert producer.failed == 1
            assert (await producer.send("orders", b"2")).offset == 0

    played(scenario)


def test_a_topic_that_is_not_there_and_not_created_is_said_to_be_missing() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            with pytest.raises(TopicNotFound, match="'orders'"):
                await producer.send("orders", b"1")
            with pytest.raises(TopicNotFound):
                await producer.send_nowait("orders", b"1")
            with pytest.raises(TopicNotFound):
                await producer.send_many("orders", [b"1"])

    played(scenario, auto_create=False)


def test_a_topic_is_not_created_for_who_does_not_want_it() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer(auto_create=False) as producer:
            with pytest.raises(TopicNotFound):
                await producer.send("orders", b"1")
        assert not fake.topics

    played(scenario)


@pytest.mark.parametrize("way", ["send", "send_nowait", "send_many"])
def test_a_partition_that_is_not_there_is_refused(way: str) -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            for _ in range(2):  # with and without knowing the topic
                with pytest.raises(PartitionNotFound, match="partitions 0 to 2, not 3"):
                    await sent(producer, way, b"1", partition=3)

    played(scenario, partitions=3)


def test_what_cannot_be_delivered_in_time_fails_with_the_last_reason() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        fake.create("orders")
        async with a_client(fake) as client, client.producer(delivery_timeout=10.0) as producer:
            fake.fail(ApiKey.PRODUCE, *[Fault(refuse=ErrorCode.NOT_ENOUGH_REPLICAS)] * 1000)
            began = loop.time()
            with pytest.raises(TimedOut, match=r"orders\[0\].*10 s.*NOT_ENOUGH_REPLICAS") as raised:
                await producer.send("orders", b"1")
            assert raised.value.code is ErrorCode.NOT_ENOUGH_REPLICAS
            assert 7.0 < loop.time() - began <= 10.1
            assert 4 < len(produced(fake)) < 20

    played(scenario)


def test_a_broker_that_is_gone_is_waited_for_until_the_delivery_timeout() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        fake.create("orders")
        async with a_client(fake) as client, client.producer(delivery_timeout=10.0) as producer:
            await producer.send("orders", b"1")
            fake.brokers[0].stop()
            began = loop.time()
            with pytest.raises(TimedOut, match="cannot connect"):
                await producer.send("orders", b"2")
            assert loop.time() - began == pytest.approx(10.0, abs=0.1)
            lost = producer.send_nowait("orders", b"3")
            await asyncio.sleep(5.0)
            await fake.brokers[0].start()
            assert (await lost).offset == 1

    played(scenario)


def test_a_broker_that_does_not_answer_is_left_and_asked_again() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake, timeout=5.0) as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(silent=True))
            assert (await producer.send("orders", b"1")).offset == 0, "it was there already"
        assert fake.values("orders") == [b"1"]

    played(scenario)


def test_futures_that_nobody_looks_at_fail_without_noise() -> None:
    # The simulated loop fails the test if "exception was never retrieved" is reported.
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            producer.send_nowait("missing", b"1")
            await producer.flush()
            assert producer.failed == 1
        gc.collect()

    played(scenario, auto_create=False)


# Leaving


def test_leaving_delivers_everything() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer(linger=60.0) as producer:
            futures = [producer.send_nowait("orders", b"%d" % number) for number in range(10)]
        assert [future.result().offset for future in futures] == list(range(10))

    played(scenario)


def test_leaving_by_an_exception_gives_up_what_is_under_way() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        fake.create("orders")
        began = loop.time()
        futures: list[asyncio.Future[RecordMetadata]] = []

        async def leave() -> None:
            async with a_client(fake) as client, client.producer(linger=60.0) as producer:
                futures.append(producer.send_nowait("orders", b"1"))
                futures.append(producer.send_nowait("unknown", b"2"))
                raise LookupError

        with pytest.raises(LookupError):
            await leave()
        for future in futures:
            with pytest.raises(ClientClosed):
                future.result()
        assert loop.time() - began < 1.0
        assert fake.values("orders") == []

    played(scenario)


def test_leaving_the_client_closes_its_producers() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            producer = client.producer(linger=60.0)
            await producer.send_many("orders", [])
            future = producer.send_nowait("orders", b"1")
        with pytest.raises(ClientClosed):
            future.result()
        with pytest.raises(ClientClosed):
            await producer.send("orders", b"2")

    played(scenario)


def test_a_flush_waits_for_records_whose_topic_is_not_known_yet() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            futures = [producer.send_nowait(f"topic {number}", b"v") for number in range(5)]
            await producer.flush()
            assert all(future.done() for future in futures)

    played(scenario)


def test_a_flush_that_is_cancelled_disturbs_nothing() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        async with a_client(fake) as client, client.producer() as producer:
            fake.fail(ApiKey.PRODUCE, Fault(delay=5.0))
            future = producer.send_nowait("orders", b"1")
            flush = asyncio.create_task(producer.flush())
            await asyncio.sleep(1.0)
            flush.cancel()
            await producer.flush()
            assert future.result().offset == 0

    played(scenario)


def test_records_handed_over_before_the_topic_is_known_keep_their_order() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client, client.producer() as producer:
            for number in range(10):
                producer.send_nowait("orders", b"%d" % number)
            await producer.send_many("orders", [b"%d" % number for number in range(10, 20)])
            await producer.send("orders", b"20")
        assert fake.values("orders") == [b"%d" % number for number in range(21)]

    played(scenario)


def test_a_record_that_cannot_be_encoded_is_refused_and_takes_no_room() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake, max_buffer=1000) as client, client.producer() as producer:
            for _ in range(100):
                with pytest.raises(TypeError):
                    producer.send_nowait("orders", 7)  # type: ignore[arg-type]
                with pytest.raises(ValueError, match="since 1970"):
                    await producer.send("orders", b"1", timestamp_ms=-5)
                with pytest.raises(UnicodeEncodeError):
                    await producer.send("orders", b"1", headers={"\ud800": b""})
            await producer.send("orders", b"x" * 800)

    played(scenario)
