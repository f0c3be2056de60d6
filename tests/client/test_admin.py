"""Topics, offsets, the cluster."""

import asyncio

import pytest

from support.builders import BASE_TIMESTAMP, a_batch
from support.fake_broker import HOST, PORT, FakeCluster, Fault, a_client, played
from tidelog.client import ConnectionLost, Refused, TopicExists, TopicNotFound
from tidelog.client.config import Address
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_topics import CreateTopicsRequest


def test_a_topic_is_created_described_listed_and_deleted() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            created = await client.admin.create_topic("orders", 3)
            assert (created.name, created.partitions, created.replication_factor) == ("orders", 3, 1)
            topic = await client.admin.describe_topic("orders")
            assert [partition.index for partition in topic.partitions] == [0, 1, 2]
            assert topic.topic_id == created.topic_id
            fake.create("__inner")
            await client.admin.create_topic("bills")
            assert [topic.name for topic in await client.admin.list_topics()] == ["bills", "orders"]
            assert len(await client.admin.list_topics(internal=True)) == 3
            await client.admin.delete_topic("orders")
            with pytest.raises(TopicNotFound):
                await client.admin.describe_topic("orders")

    played(scenario)


def test_settings_are_sent_as_the_text_that_kafka_expects() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            await client.admin.create_topic(
                "orders", config={"retention.ms": 5, "write.caching": True, "cleanup.policy": "delete"}
            )
        [request] = fake.seen(ApiKey.CREATE_TOPICS)
        assert isinstance(request, CreateTopicsRequest)
        assert {config.name: config.value for config in request.topics[0].configs} == {
            "retention.ms": "5",
            "write.caching": "true",
            "cleanup.policy": "delete",
        }
        assert (request.topics[0].num_partitions, request.topics[0].replication_factor) == (-1, -1)

    played(scenario)


@pytest.mark.parametrize(("timeout", "timeout_ms"), [(2.3, 2300), (5.0, 5000)])
def test_the_broker_is_told_the_whole_timeout(timeout: float, timeout_ms: int) -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake, timeout=timeout) as client:
            await client.admin.create_topic("orders")
        [request] = fake.seen(ApiKey.CREATE_TOPICS)
        assert isinstance(request, CreateTopicsRequest)
        assert request.timeout_ms == timeout_ms

    played(scenario)


def test_creating_what_is_there_and_deleting_what_is_not_is_said() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            await client.admin.create_topic("orders")
            with pytest.raises(TopicExists, match="'orders'"):
                await client.admin.create_topic("orders")
            with pytest.raises(TopicNotFound, match="'bills'"):
                await client.admin.delete_topic("bills")

    played(scenario)


def test_what_the_broker_says_about_a_refusal_is_passed_on() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            fake.fail(ApiKey.CREATE_TOPICS, Fault(refuse=ErrorCode.INVALID_CONFIG))
            with pytest.raises(Refused, match="as told") as raised:
                await client.admin.create_topic("orders")
            assert raised.value.code is ErrorCode.INVALID_CONFIG

    played(scenario)


def test_partitions_are_added_and_only_added() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            await client.admin.create_topic("orders", 2)
            await client.admin.create_partitions("orders", 5, validate_only=True)
            assert len((await client.admin.describe_topic("orders")).partitions) == 2
            fake.fail(ApiKey.CREATE_PARTITIONS, Fault(refuse=ErrorCode.KAFKA_STORAGE_ERROR))
            await client.admin.create_partitions("orders", 4)
            assert len((await client.admin.describe_topic("orders")).partitions) == 4
            with pytest.raises(Refused, match="'orders'") as raised:
                await client.admin.create_partitions("orders", 4)
            assert raised.value.code is ErrorCode.INVALID_PARTITIONS
            with pytest.raises(TopicNotFound, match="'bills'"):
                await client.admin.create_partitions("bills", 4)

    played(scenario)


def test_what_may_pass_is_tried_again() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            fake.fail(ApiKey.CREATE_TOPICS, Fault(drop=True), Fault(refuse=ErrorCode.NOT_CONTROLLER))
            assert (await client.admin.create_topic("orders", 2)).partitions == 2

    played(scenario)


def test_a_broker_that_stays_away_is_said_to_be_away() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        async with a_client(fake, timeout=5.0) as client:
            fake.brokers[0].stop()
            began = loop.time()
            with pytest.raises(ConnectionLost):
                await client.admin.list_topics()
            assert loop.time() - began < 6.0

    played(scenario)


def test_the_cluster_is_described() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            cluster = await client.admin.describe_cluster()
            assert (cluster.cluster_id, cluster.controller_id) == ("fake-cluster", 1)
            assert [broker.address for broker in cluster.brokers] == [Address(HOST, PORT), Address(HOST, PORT + 1)]
            assert client.cluster_id == "fake-cluster"

    played(scenario, brokers=2)


def test_offsets_are_listed_in_every_form() -> None:
    async def scenario(fake: FakeCluster) -> None:
        for log in fake.create("orders", 2).partitions:
            log.append(a_batch([b"x"] * 10))
            log.start_offset = 2
        async with a_client(fake) as client:
            list_offsets = client.admin.list_offsets
            latest = await list_offsets("orders")
            assert {partition: at.offset for partition, at in latest.items()} == {0: 10, 1: 10}
            mixed = await list_offsets("orders", {1: "earliest", 0: -3})
            assert {partition: at.offset for partition, at in mixed.items()} == {0: 7, 1: 2}
            found = await list_offsets("orders", f"@{BASE_TIMESTAMP + 4}")
            assert [(at.offset, at.timestamp) for at in found.values()] == [(4, BASE_TIMESTAMP + 4)] * 2
            assert (await list_offsets("orders", {0: f"@{BASE_TIMESTAMP + 99}"}))[0].offset == -1
            with pytest.raises(TopicNotFound):
                await list_offsets("bills")

    played(scenario)
