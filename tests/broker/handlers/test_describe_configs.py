"""DescribeConfigs: every setting, its source, its type, its prose [L-18]."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.configs import ALL_BROKERS, BROKER, LOGGER, NODE, TOPIC, a_resource, described, set_configs, settings
from support.house import House, a_house
from tidelog.broker.config import ConfigSource
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse
from tidelog.storage.config import LogConfig, ValueType

GROUP, CLIENT_METRICS = 32, 16


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path / "data", "log.segment.bytes=1MiB") as house:
        await house.create("orders", max_message_bytes="5000")
        yield house


async def test_a_topic_is_described_with_value_source_synonyms_type_and_prose(house: House) -> None:
    configs = await settings(house, TOPIC, "orders")
    assert configs.keys() == LogConfig().entries().keys()
    own = configs["max.message.bytes"]
    assert (own.value, own.config_source, own.config_type) == (
        "5000",
        ConfigSource.DYNAMIC_TOPIC_CONFIG,
        ValueType.INT,
    )
    assert (own.read_only, own.is_sensitive) == (False, False)
    assert [(one.name, one.value, one.source) for one in own.synonyms] == [
        ("max.message.bytes", "5000", 1),
        ("message.max.bytes", "1048588", 5),
    ]
    assert own.documentation == "The largest record batch accepted, as it travels: compressed, header included."
    given = configs["segment.bytes"]
    assert (given.value, given.config_source) == ("1048576", ConfigSource.STATIC_BROKER_CONFIG)


async def test_synonyms_and_prose_are_sent_to_those_who_ask(house: House) -> None:
    request = DescribeConfigsRequest(resources=(a_resource(TOPIC, "orders"),))
    response = await house.ask(request)
    assert isinstance(response, DescribeConfigsResponse)
    [result] = response.results
    assert {(config.synonyms, config.documentation) for config in result.configs} == {((), None)}


async def test_only_the_settings_that_are_named_are_described(house: House) -> None:
    [some] = await described(house, a_resource(TOPIC, "orders", "segment.ms", "no.such", "flush.ms"))
    [nothing_known] = await described(house, a_resource(TOPIC, "orders", "no.such"))
    assert [config.name for config in some.configs] == ["flush.ms", "segment.ms"]
    assert (nothing_known.error_code, nothing_known.configs) == (ErrorCode.NONE, ())


async def test_a_broker_is_described_by_its_id(house: House) -> None:
    configs = await settings(house, BROKER, NODE)
    assert configs["log.segment.bytes"].config_source == ConfigSource.STATIC_BROKER_CONFIG
    assert configs["log.dirs"].value == configs["data.dir"].value
    assert (configs["max.connections"].read_only, configs["node.id"].read_only) == (False, True)
    assert not any(name.startswith(("sasl.", "ssl.")) for name in configs)


async def test_of_all_brokers_what_was_set_for_them_is_described(house: House) -> None:
    assert await settings(house, BROKER, ALL_BROKERS) == {}
    await set_configs(house, BROKER, ALL_BROKERS, {"max.connections": "50"})
    [config] = (await settings(house, BROKER, ALL_BROKERS)).values()
    assert (config.name, config.value, config.config_source) == (
        "max.connections",
        "50",
        ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG,
    )


async def test_a_brokers_loggers_are_described_with_their_levels(house: House) -> None:
    """KIP-412."""
    configs = await settings(house, LOGGER, NODE)
    assert {"root", "tidelog"} <= configs.keys()
    root = configs["root"]
    assert root.config_source == ConfigSource.DYNAMIC_BROKER_LOGGER_CONFIG
    assert root.value in ("DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN")


@pytest.mark.parametrize(
    ("kind", "name", "code", "words"),
    [
        (TOPIC, "nothing", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'nothing' does not exist."),
        (TOPIC, "no way", ErrorCode.INVALID_TOPIC_EXCEPTION, "Topic name is invalid"),
        (TOPIC, "", ErrorCode.INVALID_TOPIC_EXCEPTION, "Topic name is invalid"),
        (BROKER, "2", ErrorCode.INVALID_REQUEST, "Unexpected broker id, expected 1 or empty string, but received 2"),
        (BROKER, "x", ErrorCode.INVALID_REQUEST, "Broker id must be an integer, but it is: x"),
        (LOGGER, "", ErrorCode.INVALID_REQUEST, "Broker id must not be empty"),
        (LOGGER, "-7", ErrorCode.INVALID_REQUEST, "Unexpected broker id, expected 1 but received -7"),
        (LOGGER, "x", ErrorCode.INVALID_REQUEST, "Broker id must be an integer, but it is: x"),
        (GROUP, "", ErrorCode.INVALID_REQUEST, "Group name must not be empty"),
        (CLIENT_METRICS, "m", ErrorCode.INVALID_REQUEST, "Unsupported resource type: CLIENT_METRICS"),
        (3, "?", ErrorCode.INVALID_REQUEST, "Unexpected resource type 3 for resource ?"),
    ],
)
async def test_what_cannot_be_described_is_refused_in_kafkas_words(
    house: House, kind: int, name: str, code: ErrorCode, words: str
) -> None:
    [result] = await described(house, a_resource(kind, name))
    assert (result.error_code, result.resource_type, result.resource_name, result.configs) == (code, kind, name, ())
    assert words in (result.error_message or "")


async def test_a_resource_that_stands_twice_in_a_request_is_not_described(house: House) -> None:
    """A request of a megabyte would be answered with gigabytes."""
    twice = a_resource(TOPIC, "orders")
    results = await described(house, twice, a_resource(BROKER, NODE), twice)
    assert [result.error_code for result in results] == [ErrorCode.INVALID_REQUEST, 0, ErrorCode.INVALID_REQUEST]
    assert results[0].error_message == "Each resource must appear at most once."


async def test_topics_are_described_each_with_its_own_settings(house: House) -> None:
    await house.create("bills")
    await house.create("more", max_message_bytes="5000")
    wanted = [a_resource(TOPIC, name, "max.message.bytes") for name in ("bills", "orders", "more")]
    wanted.append(a_resource(TOPIC, "bills-too"))
    results = await described(house, *wanted)
    values = [config.value for result in results for config in result.configs]
    assert values == ["1048588", "5000", "5000"]


async def test_resources_are_described_each_for_itself_in_the_order_asked(house: House) -> None:
    results = await described(house, a_resource(TOPIC, "no"), a_resource(TOPIC, "orders"), a_resource(BROKER, NODE))
    assert [(result.resource_name, result.error_code) for result in results] == [("no", 3), ("orders", 0), ("1", 0)]
