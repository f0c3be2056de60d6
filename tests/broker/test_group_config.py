"""The broker's settings of groups: Kafka's names, defaults and rules."""

import re
from pathlib import Path

import pytest

from tidelog.broker.config import DYNAMIC, BrokerConfig
from tidelog.broker.group_config import ASSIGNORS, GROUP_SETTINGS, RELATIONS, GroupConfig, Relation
from tidelog.storage.config import INT_MAX, ConfigError, Setting, ValueType

HEARTBEAT = "heartbeat.interval.ms"
ROOT = Path(__file__).resolve().parents[2]

KAFKAS: dict[str, tuple[str, ValueType]] = {
    "group.consumer.assignors": ("uniform,range", ValueType.LIST),
    "group.consumer.heartbeat.interval.ms": ("5000", ValueType.INT),
    "group.consumer.max.heartbeat.interval.ms": ("15000", ValueType.INT),
    "group.consumer.max.session.timeout.ms": ("60000", ValueType.INT),
    "group.consumer.max.size": (str(INT_MAX), ValueType.INT),
    "group.consumer.migration.policy": ("bidirectional", ValueType.STRING),
    "group.consumer.min.heartbeat.interval.ms": ("5000", ValueType.INT),
    "group.consumer.min.session.timeout.ms": ("45000", ValueType.INT),
    "group.consumer.session.timeout.ms": ("45000", ValueType.INT),
    "group.initial.rebalance.delay.ms": ("0", ValueType.INT),  # Kafka's is 3000; its docker images set 0 [G-4]
    "group.max.session.timeout.ms": ("1800000", ValueType.INT),
    "group.max.size": (str(INT_MAX), ValueType.INT),
    "group.min.session.timeout.ms": ("6000", ValueType.INT),
    "offset.metadata.max.bytes": ("4096", ValueType.INT),
    "offsets.retention.check.interval.ms": ("600000", ValueType.LONG),
    "offsets.retention.minutes": ("10080", ValueType.INT),
    "offsets.topic.num.partitions": ("4", ValueType.INT),  # Kafka's is 50
    "offsets.topic.segment.bytes": ("104857600", ValueType.INT),
}


def load(*overrides: str) -> GroupConfig:
    return BrokerConfig.load(environ={}, overrides=overrides).groups


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(*overrides)
    return str(refused.value)


def test_names_defaults_and_types_are_kafkas() -> None:
    declared = {one.name: (one.kind.show(one.default), one.value_type) for one in GROUP_SETTINGS.values()}
    assert declared.pop("group.memory.max.bytes") == ("536870912", ValueType.LONG), "which is ours alone"
    assert declared == KAFKAS


@pytest.mark.parametrize("one", GROUP_SETTINGS.values(), ids=lambda one: one.name)
def test_every_default_is_a_value_its_setting_accepts(one: Setting) -> None:
    assert one.parse(one.kind.show(one.default)) == one.default
    assert one.text.endswith(".")


def test_the_defaults_go_together() -> None:
    assert load() == GroupConfig()
    GroupConfig().check()


def test_none_of_them_can_be_changed_while_the_broker_runs() -> None:
    """As in Kafka."""
    assert not DYNAMIC.keys() & KAFKAS.keys()


@pytest.mark.parametrize("attribute", [*GROUP_SETTINGS])
def test_every_setting_is_read_by_something(attribute: str) -> None:
    texts = [path.read_text() for path in (ROOT / "broker").rglob("*.py") if path.name != "group_config.py"]
    assert re.search(rf"\.{attribute}\b", "\n".join(texts))


def test_what_is_written_is_read() -> None:
    config = load(
        "group.consumer.assignors=range",
        "group.consumer.migration.policy=Upgrade",
        "group.initial.rebalance.delay.ms=3s",
        "offsets.retention.minutes=1",
    )
    assert config.consumer_assignors == ("range",)
    assert config.consumer_migration_policy == "upgrade"
    assert (config.initial_rebalance_delay_ms, config.offsets_retention_minutes) == (3000, 1)
    table = '[group.consumer]\nassignors = ["range", "uniform"]\n[offsets]\ntopic.num.partitions = 50'
    config = BrokerConfig.load(environ={}, files=[("a file", table)]).groups
    assert (config.consumer_assignors, config.offsets_topic_num_partitions) == (("range", "uniform"), 50)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("group.consumer.assignors=", "Expected at least one assignor"),
        ("group.consumer.assignors=uniform,uniform", "An assignor is named twice"),
        ("group.consumer.assignors=uniform,org.acme.Mine", "Expected assignors among uniform, range"),
        ("group.consumer.migration.policy=sideways", "String must be one of: disabled, downgrade, upgrade"),
        ("group.max.size=0", "Value must be at least 1"),
        ("group.consumer.max.size=0", "Value must be at least 1"),
        ("offsets.topic.num.partitions=0", "Value must be at least 1"),
        ("offsets.retention.minutes=0", "Value must be at least 1"),
        ("offset.metadata.max.bytes=32768", "Value must be no more than 32767"),
    ],
)
def test_what_makes_no_sense_is_refused(override: str, words: str) -> None:
    assert words in refusal(override)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["group.consumer.max.heartbeat.interval.ms=4000"],
            f"group.consumer.max.{HEARTBEAT} must be greater than or equal to group.consumer.min.{HEARTBEAT}",
        ),
        (
            ["group.consumer.heartbeat.interval.ms=4000"],
            f"group.consumer.{HEARTBEAT} must be greater than or equal to group.consumer.min.{HEARTBEAT}",
        ),
        (
            ["group.consumer.session.timeout.ms=60001"],
            "group.consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms",
        ),
        (
            ["group.consumer.min.session.timeout.ms=1", "group.consumer.session.timeout.ms=5000"],
            "group.consumer.heartbeat.interval.ms must be less than group.consumer.session.timeout.ms",
        ),
        (
            ["group.min.session.timeout.ms=10", "group.max.session.timeout.ms=9"],
            "group.max.session.timeout.ms must be greater than or equal to group.min.session.timeout.ms",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused_in_kafkas_words(overrides: list[str], words: str) -> None:
    assert refusal(*overrides) == words


@pytest.mark.parametrize(
    ("relation", "holds"),
    [
        (Relation.AT_LEAST, [False, True, True]),
        (Relation.AT_MOST, [True, True, False]),
        (Relation.ABOVE, [False, False, True]),
        (Relation.BELOW, [True, False, False]),
    ],
)
def test_a_relation_is_what_it_is_called(relation: Relation, holds: list[bool]) -> None:
    assert [relation.holds(one, 2) for one in (1, 2, 3)] == holds


def test_every_relation_is_between_settings() -> None:
    assert {name for one, _, other in RELATIONS for name in (one, other)} <= GroupConfig().numbers().keys()
    assert set(ASSIGNORS) == set(GroupConfig().consumer_assignors)
