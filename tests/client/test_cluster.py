"""Metadata, leaders and connections of a client."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from support.fake_broker import HOST, PORT, FakeCluster, Fault, played
from support.loop import SimLoop
from tidelog.client.cluster import Cluster
from tidelog.client.config import Address, ClientConfig
from tidelog.client.errors import ClientClosed, ConnectionLost, Refused, TimedOut, TopicNotFound, Unavailable
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse

ASK = DescribeClusterRequest()
ADDRESSES = [Address(HOST, PORT + number) for number in range(3)]


def a_cluster(fake: FakeCluster, *, timeout: float = 10.0, servers: tuple[Address, ...] | None = None) -> Cluster:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    addresses = servers or tuple(Address(HOST, broker.port) for broker in fake.brokers)
    return Cluster(ClientConfig(servers=addresses, timeout=timeout, random=loop.random_for("client")))


def with_cluster(
    scenario: Callable[[FakeCluster, Cluster], Awaitable[None]], *, brokers: int = 1, seed: int = 1
) -> None:
    async def play(fake: FakeCluster) -> None:
        cluster = a_cluster(fake)
        try:
            await cluster.start()
            await scenario(fake, cluster)
        finally:
            await cluster.stop()

    played(play, brokers=brokers, seed=seed)


def test_starting_learns_the_brokers() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        assert [broker.address for broker in cluster.brokers.values()] == ADDRESSES[:2]
        assert cluster.cluster_id == "fake-cluster"

    with_cluster(scenario, brokers=2)


def test_of_several_addresses_one_that_answers_is_enough() -> None:
    async def play(fake: FakeCluster) -> None:
        cluster = a_cluster(fake, servers=(Address(HOST, 1), ADDRESSES[0]))
        await cluster.start()
        assert len(cluster.brokers) == 1
        await cluster.stop()

    played(play)


def test_a_broker_that_is_just_starting_is_waited_for() -> None:
    async def play(fake: FakeCluster) -> None:
        fake.brokers[0].stop()
        cluster = a_cluster(fake)
        starting = asyncio.create_task(cluster.start())
        await asyncio.sleep(5.0)
        await fake.brokers[0].start()
        await starting
        await cluster.stop()

    played(play)


def test_when_none_answers_in_time_every_address_is_named() -> None:
    async def play(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        cluster = a_cluster(fake, servers=(Address(HOST, 1), Address(HOST, 2)))
        with pytest.raises(ConnectionLost, match=r"127.0.0.1:1.*127.0.0.1:2"):
            await cluster.start()
        assert 6.0 < loop.time() - began <= 10.0
        await cluster.stop()

    played(play)


def test_a_topic_is_learnt_with_its_leaders() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.create("orders", 3)
        assert cluster.topic("orders") is None
        topic = await cluster.read_topic("orders")
        assert [partition.index for partition in topic.partitions] == [0, 1, 2]
        assert topic.available == (0, 1, 2)
        assert [cluster.leader("orders", index) for index in range(4)] == [
            ADDRESSES[0],
            ADDRESSES[1],
            ADDRESSES[0],
            None,
        ]
        cluster.forget("orders")
        assert cluster.leader("orders", 0) is None

    with_cluster(scenario, brokers=2)


def test_a_partition_without_a_leader_is_not_available() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.create("orders", 2).partitions[1].leader = -1
        assert (await cluster.read_topic("orders")).available == (0,)
        assert cluster.leader("orders", 1) is None
        fake.topics["orders"].partitions[0].leader = -1
        assert (await cluster.read_topic("orders")).available == (0, 1), "better one that may come back than none"

    with_cluster(scenario)


def test_a_topic_is_created_only_for_who_wants_that() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        with pytest.raises(TopicNotFound, match="'orders'"):
            await cluster.read_topic("orders")
        await cluster.read_topic("orders", create=True)
        assert "orders" in fake.topics

    with_cluster(scenario)


def test_a_topic_whose_leaders_are_being_chosen_is_asked_for_again() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.create("orders")
        fake.fail(ApiKey.METADATA, *[Fault(refuse=ErrorCode.LEADER_NOT_AVAILABLE)] * 3)
        assert (await cluster.read_topic("orders")).name == "orders"
        assert len(fake.seen(ApiKey.METADATA)) == 1 + 4

    with_cluster(scenario)


def test_what_fails_for_good_is_not_asked_again() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.fail(ApiKey.METADATA, Fault(refuse=ErrorCode.TOPIC_AUTHORIZATION_FAILED))
        with pytest.raises(Refused):
            await cluster.read_topic("orders")
        assert len(fake.seen(ApiKey.METADATA)) == 1 + 1

    with_cluster(scenario)


def test_attempts_end_with_the_time_that_was_given() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        fake.fail(ApiKey.METADATA, *[Fault(refuse=ErrorCode.LEADER_NOT_AVAILABLE)] * 1000)
        with pytest.raises(Unavailable):
            await cluster.read_topic("orders")
        assert 6.0 < loop.time() - began <= 10.0
        assert len(fake.seen(ApiKey.METADATA)) < 20, "with growing pauses"

    with_cluster(scenario)


def test_a_broker_that_says_nothing_is_not_waited_for_longer_than_that_either() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.fail(ApiKey.DESCRIBE_CLUSTER, Fault(silent=True))
        with pytest.raises(TimedOut):
            await cluster.ask(ASK, DescribeClusterResponse)

    with_cluster(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_connection_is_made_anew(seed: int) -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        for _ in range(3):
            fake.brokers[0].drop_connections()
            assert (await cluster.ask(ASK, DescribeClusterResponse)).controller_id == 1
        fake.fail(ApiKey.DESCRIBE_CLUSTER, Fault(drop=True), Fault(drop_answer=True))
        assert (await cluster.ask(ASK, DescribeClusterResponse)).controller_id == 1

    with_cluster(scenario, seed=seed)


def test_a_broker_that_comes_back_is_found_and_was_not_stormed() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.brokers[0].stop()
        asking = asyncio.create_task(cluster.ask(ASK, DescribeClusterResponse))
        await asyncio.sleep(5.0)
        assert 2 <= cluster.health(ADDRESSES[0]).failures < 12
        await fake.brokers[0].start()
        assert (await asking).controller_id == 1

    with_cluster(scenario)


def test_another_broker_answers_for_one_that_is_down() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        await cluster.read_topic("orders", create=True)
        fake.brokers[0].stop()
        fake.brokers[2].stop()
        assert (await cluster.read_topic("orders")).name == "orders"

    with_cluster(scenario, brokers=3)


def test_who_asks_at_the_same_time_shares_one_connection() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        lane = cluster.lane()
        before = fake.brokers[0].accepted
        await asyncio.gather(
            *(lane.call(ADDRESSES[0], ASK, DescribeClusterResponse, timeout=5) for _ in range(20))
        )  # fmt: skip
        assert fake.brokers[0].accepted == before + 1
        await lane.close()

    with_cluster(scenario)


def test_who_is_cancelled_while_connecting_spoils_it_for_nobody() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        lane = cluster.lane()
        calls = [
            asyncio.create_task(lane.call(ADDRESSES[0], ASK, DescribeClusterResponse, timeout=5)) for _ in range(3)
        ]
        await asyncio.sleep(0)
        calls[0].cancel()
        assert (await calls[1]).controller_id == (await calls[2]).controller_id == 1
        await lane.close()

    with_cluster(scenario)


def test_a_lane_that_is_dropped_may_be_used_again_and_one_that_is_closed_may_not() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        lane = cluster.lane()
        connecting = asyncio.create_task(lane.call(ADDRESSES[0], ASK, DescribeClusterResponse, timeout=5))
        await asyncio.sleep(0)
        lane.drop()
        with pytest.raises(ClientClosed):
            await connecting
        await lane.call(ADDRESSES[0], ASK, DescribeClusterResponse, timeout=5)
        await lane.close()
        with pytest.raises(ClientClosed):
            await lane.call(ADDRESSES[0], ASK, DescribeClusterResponse, timeout=5)

    with_cluster(scenario)


def test_metadata_grow_old() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        topic = await cluster.read_topic("orders", create=True)
        assert not cluster.is_old(topic)
        await asyncio.sleep(cluster.config.metadata_max_age + 1)
        assert cluster.is_old(topic)

    with_cluster(scenario)


def test_stopping_ends_connections_that_are_just_being_made() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.brokers[0].stop()
        lane = cluster.lane()
        call = asyncio.create_task(lane.call(ADDRESSES[0], ASK, DescribeClusterResponse, timeout=600))
        await asyncio.sleep(1.0)
        outcome = lane.connect(ADDRESSES[0])
        await cluster.stop()
        with pytest.raises((ClientClosed, ConnectionLost)):
            await call
        assert outcome.done()

    with_cluster(scenario)
