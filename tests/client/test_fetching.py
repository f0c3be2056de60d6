"""Fetches under way, one to each leader, and what is left to the owner."""

import asyncio

import pytest

from support.builders import a_batch
from support.fake_broker import FakeCluster, Fault, a_client, played
from tidelog.client import Client, OffsetOutOfRange, TopicNotFound, Unavailable
from tidelog.client.cluster import Cluster
from tidelog.client.config import ReaderConfig
from tidelog.client.fetching import Fetching
from tidelog.client.records import TopicPartition
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode


def cluster_of(client: Client) -> Cluster:
    return client._entered()  # noqa: SLF001 - what every part of a client is given


async def begun(
    fake: FakeCluster, client: Client, *topics: str, policy: str = "raise", waits_for_topics: bool = False
) -> Fetching:
    cluster = cluster_of(client)
    config = ReaderConfig(on_out_of_range=policy)
    fetching = Fetching(cluster, config, waits_for_topics=waits_for_topics)
    for topic in topics:
        known = await cluster.read_topic(topic)
        for partition in range(len(known.partitions)):
            fetching.fetcher.add(TopicPartition(topic, partition), known.topic_id, 0)
    return fetching


async def rounds(fetching: Fetching, *, seconds: float = 5.0) -> int:
    """Reads for so long; returns how many records came."""
    loop = asyncio.get_running_loop()
    end, count = loop.time() + seconds, 0
    while loop.time() < end:
        fetching.ask()
        if (batch := fetching.fetcher.next_batch()) is not None:
            count += len(batch)
            continue
        await fetching.wait(loop.create_future() if fetching.misplaced else None)
    return count


def test_all_topics_on_a_broker_share_a_fetch() -> None:
    async def scenario(fake: FakeCluster) -> None:
        for topic in ("a", "b"):
            for log in fake.create(topic, 4).partitions:
                log.append(a_batch([b"x"] * 3))
        async with a_client(fake) as client:
            fetching = await begun(fake, client, "a", "b")
            assert await rounds(fetching) == 24
            assert [len(broker.connections) for broker in fake.brokers] == [2, 1]
            await fetching.close()
        assert len(fake.seen(ApiKey.FETCH)) <= 2 * (5.0 / 0.5 + 3)

    played(scenario, brokers=2)


def test_something_else_may_end_the_wait() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        async with a_client(fake) as client:
            fetching = await begun(fake, client)
            also: asyncio.Future[None] = loop.create_future()
            loop.call_later(3.0, also.set_result, None)
            began = loop.time()
            await fetching.wait(also)
            assert 3.0 <= loop.time() - began < 3.1
            await fetching.close()

    played(scenario)


def test_out_of_range_is_raised_or_left_to_the_owner_once() -> None:
    async def scenario(fake: FakeCluster) -> None:
        log = fake.create("a").partitions[0]
        log.append(a_batch([b"x"] * 3))
        log.start_offset = 2
        async with a_client(fake) as client:
            fetching = await begun(fake, client, "a")
            with pytest.raises(
                OffsetOutOfRange, match=r"a\[0\]: offset 0 is not in the log, which holds 2 and up to 3"
            ):
                await rounds(fetching)
            await fetching.close()
            fetching = await begun(fake, client, "a", policy="earliest")
            while not fetching.misplaced:
                fetching.ask()
                await fetching.wait()
            [trouble] = fetching.misplaced
            assert fetching.fetcher.wanted(1e9) == [], "it is not asked for again"
            fetching.fetcher.place(trouble.cursor, 2)
            fetching.settled(trouble)
            assert await rounds(fetching) == 1
            await fetching.close()

    played(scenario)


@pytest.mark.parametrize("waits", [False, True])
def test_a_topic_that_is_gone_is_waited_for_only_by_who_will_be_told(waits: bool) -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("a")
        async with a_client(fake, timeout=5.0) as client:
            fetching = await begun(fake, client, "a", waits_for_topics=waits)
            del fake.topics["a"]
            if waits:
                assert await rounds(fetching, seconds=60.0) == 0
                assert fetching.stale == {"a"}
            else:
                with pytest.raises(TopicNotFound):
                    await rounds(fetching, seconds=60.0)
            await fetching.close()

    played(scenario)


def test_what_may_pass_is_raised_when_it_has_lasted_too_long() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("a")
        async with a_client(fake, timeout=5.0) as client:
            fetching = await begun(fake, client, "a", waits_for_topics=True)
            fake.fail(ApiKey.FETCH, *[Fault(refuse=ErrorCode.KAFKA_STORAGE_ERROR)] * 100)
            with pytest.raises(Unavailable, match="KAFKA_STORAGE_ERROR"):
                await rounds(fetching, seconds=60.0)
            await fetching.close()

    played(scenario)
