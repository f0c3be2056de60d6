"""The broker's own topics: made by the broker alone, read by everybody, written and changed by nobody else [B-19]."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from support.configs import (
    APPEND,
    BROKER,
    DELETE,
    TOPIC,
    a_change,
    altered,
    changes,
    replaced,
    replacement,
    set_configs,
    settings,
)
from support.house import House, a_house
from tidelog.broker.config import ConfigSource
from tidelog.broker.topics.internal_topics import (
    FIXED_SETTINGS,
    INTERNAL_TOPICS,
    METADATA_TOPIC,
    OFFSETS_TOPIC,
    TRANSACTIONS_TOPIC,
    effective_settings,
    fixed_settings,
)
from tidelog.broker.topics.registry import Topic
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
)
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest, CreateTopicsResponse
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopicState
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from tidelog.storage.config import INT_MAX
from tidelog.storage.errors import StorageError

RELIABLE = {"write.caching": "false", "max.message.bytes": str(INT_MAX)}
SEGMENT = {"segment.bytes": "104857600", "compression.type": "producer"}
INVALID_TOPIC = ErrorCode.INVALID_TOPIC_EXCEPTION


class Heard:
    """Outcomes of creations."""

    def __init__(self) -> None:
        self.outcomes: list[Topic | Exception] = []
        self._news = asyncio.Event()

    def __call__(self, outcome: Topic | Exception) -> None:
        self.outcomes.append(outcome)
        self._news.set()

    async def until(self, count: int) -> list[Topic | Exception]:
        async with asyncio.timeout(60):
            while len(self.outcomes) < count:
                self._news.clear()
                await self._news.wait()
        return self.outcomes


async def make(
    house: House, name: str = OFFSETS_TOPIC, partitions: int = 2, configs: Mapping[str, str] = SEGMENT
) -> Topic:
    topic = house.server.topics.by_name(name)
    if topic is not None:
        return topic
    heard = Heard()
    house.server.topics.create_internal(name, partitions=partitions, configs=configs, waiter=heard)
    [outcome] = await heard.until(1)
    assert isinstance(outcome, Topic), outcome
    return outcome


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with the topic of offsets."""
    async with a_house(tmp_path / "data") as house:
        await make(house)
        yield house


# What the broker does


def test_every_fixed_setting_is_of_an_internal_topic() -> None:
    assert FIXED_SETTINGS.keys() <= INTERNAL_TOPICS
    assert fixed_settings(OFFSETS_TOPIC) == {"cleanup.policy": "compact", **RELIABLE}
    assert fixed_settings("orders") == {}


def test_what_facts_say_holds_where_nothing_is_fixed() -> None:
    said = {"segment.bytes": "2048", "max.message.bytes": "1", "write.caching": "true"}
    assert effective_settings("orders", said) == said
    assert effective_settings(OFFSETS_TOPIC, said) == {"segment.bytes": "2048", **RELIABLE}


@on_the_bench
async def test_its_records_are_durable_and_fit_whatever_the_broker_has_for_other_topics(bench: Bench) -> None:
    house = await bench.serve("write.caching=true", "message.max.bytes=1")
    said = {"write.caching": "true", "max.message.bytes": "1"}
    topic = await make(house, configs=said)
    assert (topic.config.write_caching, topic.config.max_message_bytes) == (False, INT_MAX)
    await set_configs(house, BROKER, "", {"message.max.bytes": "2"})
    assert (topic.config.write_caching, topic.config.max_message_bytes) == (False, INT_MAX)
    await set_configs(house, TOPIC, OFFSETS_TOPIC, {"segment.bytes": "1048576"})
    assert (topic.config.write_caching, topic.config.max_message_bytes) == (False, INT_MAX)
    await house.server.stop()
    again = (await bench.serve("write.caching=true")).server.topics.by_name(OFFSETS_TOPIC)
    assert again is not None
    assert (again.config.write_caching, again.config.max_message_bytes) == (False, INT_MAX)
    assert again.config.segment_bytes == 1048576


@on_the_bench
async def test_the_broker_makes_its_topics_as_it_makes_others(bench: Bench) -> None:
    house = await bench.serve()
    topic = await make(house, TRANSACTIONS_TOPIC, 3, {"segment.bytes": "2048"})
    assert house.server.topics.by_name(TRANSACTIONS_TOPIC) is topic
    assert (topic.is_internal, len(topic.partitions), topic.config.segment_bytes) == (True, 3, 2048)
    await house.server.stop()
    again = (await bench.serve()).server.topics.by_name(TRANSACTIONS_TOPIC)
    assert again is not None
    assert (again.topic_id, len(again.partitions), again.config.segment_bytes) == (topic.topic_id, 3, 2048)


@on_the_bench
async def test_who_wants_a_topic_that_is_being_made_waits_for_it(bench: Bench) -> None:
    house = await bench.serve()
    heard = Heard()
    create = house.server.topics.create_internal
    assert create(OFFSETS_TOPIC, partitions=1, configs={}, waiter=heard) is not None
    assert create(OFFSETS_TOPIC, partitions=9, configs={}, waiter=heard) is None
    one, other = await heard.until(2)
    assert one is other
    assert isinstance(one, Topic)
    assert len(one.partitions) == 1


@on_the_bench
async def test_who_wants_a_topic_that_cannot_be_made_hears_why_and_can_try_again(bench: Bench) -> None:
    house = await bench.serve()
    heard = Heard()
    bench.disk.fail_next("append", path=METADATA_TOPIC)
    house.server.topics.create_internal(OFFSETS_TOPIC, partitions=1, configs={}, waiter=heard)
    [error] = await heard.until(1)
    assert isinstance(error, StorageError)
    assert (await make(house)).name == OFFSETS_TOPIC


@on_the_bench
async def test_only_the_broker_s_own_names_are_for_it(bench: Bench) -> None:
    house = await bench.serve()
    with pytest.raises(AssertionError):
        house.server.topics.create_internal("orders", partitions=1, configs={}, waiter=Heard())


# What clients may do


async def test_clients_see_it_as_internal_and_can_read_it(house: House) -> None:
    response = await house.ask(MetadataRequest(topics=(MetadataRequestTopic(name=OFFSETS_TOPIC),)))
    assert isinstance(response, MetadataResponse)
    [topic] = response.topics
    assert (topic.error_code, topic.is_internal, len(topic.partitions)) == (ErrorCode.NONE, True, 2)


async def test_clients_cannot_write_it(house: House) -> None:
    """B-19."""
    result = await house.produce(OFFSETS_TOPIC, a_batch([b"forged"]))
    assert result.error_code == INVALID_TOPIC  # type: ignore[union-attr]


async def test_clients_cannot_create_it(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data") as house:
        response = await house.ask(CreateTopicsRequest(topics=(CreatableTopic(name=OFFSETS_TOPIC, num_partitions=1),)))
        assert isinstance(response, CreateTopicsResponse)
        assert response.topics[0].error_code == INVALID_TOPIC
        asked = MetadataRequest(topics=(MetadataRequestTopic(name=OFFSETS_TOPIC),), allow_auto_topic_creation=True)
        metadata = await house.ask(asked)
        assert isinstance(metadata, MetadataResponse)
        assert metadata.topics[0].error_code == INVALID_TOPIC
        assert house.server.topics.by_name(OFFSETS_TOPIC) is None


@pytest.mark.parametrize("by_name", [True, False])
async def test_clients_cannot_delete_it(house: House, by_name: bool) -> None:
    topic = await make(house)
    wanted = DeleteTopicState(name=OFFSETS_TOPIC) if by_name else DeleteTopicState(topic_id=topic.topic_id)
    response = await house.ask(DeleteTopicsRequest(topics=(wanted,)))
    assert isinstance(response, DeleteTopicsResponse)
    assert response.responses[0].error_code == INVALID_TOPIC
    assert house.server.topics.by_name(OFFSETS_TOPIC) is topic


async def test_clients_cannot_let_it_grow(house: House) -> None:
    """A group's partition would be another one, where nobody knows of its offsets."""
    response = await house.ask(CreatePartitionsRequest(topics=(CreatePartitionsTopic(name=OFFSETS_TOPIC, count=9),)))
    assert isinstance(response, CreatePartitionsResponse)
    assert response.results[0].error_code == INVALID_TOPIC


async def test_tools_hear_what_it_is_for(house: House) -> None:
    """As in Kafka; and why no record has gone yet."""
    listed = await settings(house, TOPIC, OFFSETS_TOPIC)
    policy = listed["cleanup.policy"]
    assert (policy.value, policy.config_source) == ("compact", ConfigSource.DYNAMIC_TOPIC_CONFIG)
    assert [(one.value, one.source) for one in policy.synonyms] == [
        ("compact", ConfigSource.DYNAMIC_TOPIC_CONFIG),
        ("delete", ConfigSource.DEFAULT_CONFIG),
    ]
    assert "Compaction is not built yet: nothing is removed" in (policy.documentation or "")
    assert {name: listed[name].value for name in (*SEGMENT, *RELIABLE)} == SEGMENT | RELIABLE
    assert listed["write.caching"].config_source == ConfigSource.DYNAMIC_TOPIC_CONFIG
    await house.create("orders", segment_bytes="104857600", compression_type="producer")
    assert (await settings(house, TOPIC, "orders"))["cleanup.policy"].value == "delete"


async def test_what_it_is_for_cannot_be_changed(house: House) -> None:
    words = f"cleanup.policy is compact for good: Topic '{OFFSETS_TOPIC}' is internal"
    for change in (a_change("cleanup.policy", "delete"), a_change("cleanup.policy", "delete", APPEND)):
        assert await altered(house, changes(TOPIC, OFFSETS_TOPIC, change)) == [(ErrorCode.INVALID_CONFIG, words)]
    [outcome] = await replaced(house, replacement(TOPIC, OFFSETS_TOPIC, [("cleanup.policy", "delete")]))
    assert outcome == (ErrorCode.INVALID_CONFIG, words)


@pytest.mark.parametrize(("name", "value"), [("write.caching", "true"), ("max.message.bytes", "1")])
async def test_what_commits_rely_on_cannot_be_changed(house: House, name: str, value: str) -> None:
    words = f"{name} is {RELIABLE[name]} for good: Topic '{OFFSETS_TOPIC}' is internal"
    assert await altered(house, changes(TOPIC, OFFSETS_TOPIC, a_change(name, value))) == [
        (ErrorCode.INVALID_CONFIG, words)
    ]
    [outcome] = await replaced(house, replacement(TOPIC, OFFSETS_TOPIC, [(name, value)]))
    assert outcome == (ErrorCode.INVALID_CONFIG, words)
    same = a_change(name, RELIABLE[name].upper())
    assert await altered(house, changes(TOPIC, OFFSETS_TOPIC, same)) == [(ErrorCode.NONE, None)]


async def test_other_settings_of_it_can_be_changed_as_in_kafka(house: House) -> None:
    await set_configs(house, TOPIC, OFFSETS_TOPIC, {"segment.bytes": "1048576", "cleanup.policy": "compact"})
    assert (await make(house)).config.segment_bytes == 1048576
    assert await altered(house, changes(TOPIC, OFFSETS_TOPIC, a_change("cleanup.policy", None, DELETE))) == [(0, None)]
    listed = await settings(house, TOPIC, OFFSETS_TOPIC)
    assert (listed["segment.bytes"].value, listed["cleanup.policy"].value) == ("1048576", "compact")
