"""Offsets of times and ends, asked of the leaders."""

from collections.abc import Awaitable, Callable

import pytest

from support.builders import BASE_TIMESTAMP, a_batch
from support.fake_broker import FakeCluster, Fault, a_client, played
from tidelog.client.cluster import Cluster
from tidelog.client.errors import PartitionNotFound, TopicNotFound
from tidelog.client.lookup import list_offsets, resolve
from tidelog.client.offsets import EARLIEST, LATEST, OffsetQuery
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode


def with_orders(scenario: Callable[[FakeCluster, Cluster], Awaitable[None]], *, brokers: int = 1) -> None:
    """Partition 0 holds offsets 3 to 9, a millisecond apart; partition 1 is empty."""

    async def play(fake: FakeCluster) -> None:
        log = fake.create("orders", 2).partitions[0]
        log.append(a_batch([b"%d" % number for number in range(10)]))
        log.start_offset = 3
        client = a_client(fake)
        cluster = Cluster(client.config)
        await cluster.start()
        try:
            await scenario(fake, cluster)
        finally:
            await cluster.stop()

    played(play, brokers=brokers)


@pytest.mark.parametrize("brokers", [1, 2])
def test_queries_become_offsets(brokers: int) -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        for query, offset in [
            (OffsetQuery(offset=1000), 1000),
            (EARLIEST, 3),
            (LATEST, 10),
            (OffsetQuery(back=4), 6),
            (OffsetQuery(back=400), 3),
            (OffsetQuery(query=0), 3),
            (OffsetQuery(query=BASE_TIMESTAMP + 5), 5),
            (OffsetQuery(query=BASE_TIMESTAMP + 500), 10),
        ]:
            found = await resolve(cluster, "orders", {0: query, 1: query})
            assert found[0] == offset, query
            assert found[1] == (0 if query.offset is None else 1000)

    with_orders(scenario, brokers=brokers)


def test_a_known_offset_asks_nobody() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        assert await resolve(cluster, "orders", {0: OffsetQuery(offset=7)}) == {0: 7}
        assert fake.seen(ApiKey.LIST_OFFSETS) == []

    with_orders(scenario)


def test_a_time_comes_with_the_record_that_was_found() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        found = await list_offsets(cluster, "orders", {0: BASE_TIMESTAMP + 4})
        assert (found[0].offset, found[0].timestamp) == (4, BASE_TIMESTAMP + 4)
        assert (await list_offsets(cluster, "orders", {0: BASE_TIMESTAMP + 99}))[0].offset == -1

    with_orders(scenario)


def test_a_leader_that_moved_is_found() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        await cluster.read_topic("orders")
        fake.topics["orders"].partitions[0].leader = 2
        assert await resolve(cluster, "orders", {0: LATEST, 1: LATEST}) == {0: 10, 1: 0}

    with_orders(scenario, brokers=2)


@pytest.mark.parametrize("code", [ErrorCode.LEADER_NOT_AVAILABLE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION])
def test_what_may_pass_is_asked_again(code: ErrorCode) -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.fail(ApiKey.LIST_OFFSETS, Fault(refuse=code), Fault(drop=True), Fault(refuse=code))
        assert await resolve(cluster, "orders", {0: LATEST}) == {0: 10}

    with_orders(scenario)


def test_a_partition_or_topic_that_is_not_there_is_named() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        with pytest.raises(PartitionNotFound, match="partitions 0 to 1, not 2"):
            await resolve(cluster, "orders", {2: LATEST})
        with pytest.raises(TopicNotFound, match="'other'"):
            await resolve(cluster, "other", {0: LATEST})

    with_orders(scenario)
