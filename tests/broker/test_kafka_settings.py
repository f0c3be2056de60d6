"""Kafka's settings that are refused by name."""

import re

import pytest

from tidelog.broker.config import KEYS
from tidelog.broker.kafka_settings import BROKER_NOT_BUILT
from tidelog.storage.config import ConfigError, ValueType

# [kafka.md, Appendix A: the broker settings that clients and consoles use]
EXPECTED = [
    "message.max.bytes",
    "num.partitions",
    "default.replication.factor",
    "auto.create.topics.enable",
    "delete.topic.enable",
    "offsets.retention.minutes",
    "offset.metadata.max.bytes",
    "group.min.session.timeout.ms",
    "group.max.session.timeout.ms",
    "group.initial.rebalance.delay.ms",
    "group.max.size",
    "group.consumer.session.timeout.ms",
    "transaction.max.timeout.ms",
    "transactional.id.expiration.ms",
    "producer.id.expiration.ms",
    "fetch.max.bytes",
    "max.incremental.fetch.session.cache.slots",
    "socket.request.max.bytes",
    "connections.max.idle.ms",
    "connections.max.reauth.ms",
    "max.connections",
    "max.connections.per.ip",
    "log.retention.check.interval.ms",
    "log.cleaner.enable",
    "quota.window.num",
    "quota.window.size.seconds",
    "super.users",
    "sasl.enabled.mechanisms",
    "listeners",
    "advertised.listeners",
    "log.dirs",
    "log.retention.ms",
    "log.retention.hours",
    "log.retention.bytes",
]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_kafka_user_expects_is_known(name: str) -> None:
    assert name in KEYS or name in BROKER_NOT_BUILT


def test_a_name_is_built_or_it_is_not() -> None:
    assert not set(KEYS) & set(BROKER_NOT_BUILT)


@pytest.mark.parametrize("name", BROKER_NOT_BUILT)
def test_names_are_spelled_like_kafkas(name: str) -> None:
    assert re.fullmatch(r"[a-z]+(\.[a-z0-9]+)+", name)


@pytest.mark.parametrize(
    ("name", "value_type"),
    [
        ("delete.topic.enable", ValueType.BOOLEAN),
        ("log.cleanup.policy", ValueType.LIST),
        ("log.retention.hours", ValueType.INT),
        ("log.retention.ms", ValueType.LONG),
        ("authorizer.class.name", ValueType.STRING),
    ],
)
def test_tools_are_told_kafkas_types(name: str, value_type: ValueType) -> None:
    assert BROKER_NOT_BUILT[name].value_type is value_type


@pytest.mark.parametrize("name", BROKER_NOT_BUILT)
def test_any_value_but_the_accepted_one_is_refused(name: str) -> None:
    one = BROKER_NOT_BUILT[name]
    if one.accepted is not None:
        one.check(name, one.accepted)
    with pytest.raises(ConfigError, match="is not built yet"):
        one.check(name, "surely no accepted value")
