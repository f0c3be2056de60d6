"""What tools are told of settings: their values, and where these are from [L-18]."""

import pytest

from tidelog.broker.config import BROKER_SETTINGS, DYNAMIC, KEYS, BrokerConfig, ConfigSource
from tidelog.broker.config_listing import (
    ConfigEntry,
    Layers,
    Synonym,
    all_brokers_entries,
    broker_entries,
    group_entries,
    topic_entries,
)
from tidelog.broker.group_config import GROUP_SETTINGS
from tidelog.broker.kafka_settings import BROKER_NOT_BUILT
from tidelog.storage.config import TOPIC_NOT_BUILT, TOPIC_SETTINGS, LogConfig, ValueType

TOPIC = ConfigSource.DYNAMIC_TOPIC_CONFIG
THIS_BROKER = ConfigSource.DYNAMIC_BROKER_CONFIG
ALL_BROKERS = ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG
STATIC = ConfigSource.STATIC_BROKER_CONFIG
DEFAULT = ConfigSource.DEFAULT_CONFIG

KAFKAS_TOPIC_SETTINGS = """
    cleanup.policy compression.gzip.level compression.lz4.level compression.type compression.zstd.level
    delete.retention.ms file.delete.delay.ms flush.messages flush.ms follower.replication.throttled.replicas
    index.interval.bytes leader.replication.throttled.replicas local.retention.bytes local.retention.ms
    max.compaction.lag.ms max.message.bytes message.timestamp.after.max.ms message.timestamp.before.max.ms
    message.timestamp.type min.cleanable.dirty.ratio min.compaction.lag.ms min.insync.replicas preallocate
    remote.log.copy.disable remote.log.delete.on.disable remote.storage.enable retention.bytes retention.ms
    segment.bytes segment.index.bytes segment.jitter.ms segment.ms unclean.leader.election.enable
""".split()  # noqa: SIM905 - thirty names read better so


def layers(
    *overrides: str, all_brokers: dict[str, str] | None = None, this_broker: dict[str, str] | None = None
) -> Layers:
    static = BrokerConfig.load(environ={}, overrides=overrides)
    return Layers(static=static, all_brokers=all_brokers or {}, this_broker=this_broker or {})


def by_name(entries: list[ConfigEntry]) -> dict[str, ConfigEntry]:
    found = {entry.name: entry for entry in entries}
    assert list(found) == sorted(found), "listed by name, each once"
    assert len(found) == len(entries)
    return found


# Topics


def test_every_setting_that_kafka_has_for_topics_is_listed_of_a_topic() -> None:
    assert by_name(topic_entries(layers(), {})).keys() >= set(KAFKAS_TOPIC_SETTINGS)


def test_of_a_topic_that_says_nothing_everything_is_the_default() -> None:
    entries = by_name(topic_entries(layers(), {}))
    assert {name: entry.value for name, entry in entries.items()} == LogConfig().entries()
    assert {entry.source for entry in entries.values()} == {DEFAULT}
    assert entries["segment.bytes"].synonyms == (Synonym("log.segment.bytes", "1073741824", DEFAULT),)


def test_synonyms_are_every_place_with_a_value_the_stronger_first() -> None:
    """KIP-226, in Kafka's order, under the name that the setting has there."""
    told = layers(
        "log.segment.bytes=4000",
        all_brokers={"log.segment.bytes": "3000"},
        this_broker={"log.segment.bytes": "2kB"},
    )
    entry = by_name(topic_entries(told, {"segment.bytes": "1KiB"}))["segment.bytes"]
    assert (entry.value, entry.source) == ("1024", TOPIC)
    assert entry.synonyms == (
        Synonym("segment.bytes", "1024", TOPIC),
        Synonym("log.segment.bytes", "2000", THIS_BROKER),
        Synonym("log.segment.bytes", "3000", ALL_BROKERS),
        Synonym("log.segment.bytes", "4000", STATIC),
        Synonym("log.segment.bytes", "1073741824", DEFAULT),
    )


@pytest.mark.parametrize(
    ("overrides", "all_brokers", "this_broker", "source", "value"),
    [
        ((), {}, {}, DEFAULT, "1048588"),
        (("message.max.bytes=1",), {}, {}, STATIC, "1"),
        (("message.max.bytes=1",), {"message.max.bytes": "2"}, {}, ALL_BROKERS, "2"),
        (("message.max.bytes=1",), {"message.max.bytes": "2"}, {"message.max.bytes": "3"}, THIS_BROKER, "3"),
        ((), {}, {"message.max.bytes": "3"}, THIS_BROKER, "3"),
    ],
)
def test_a_topic_takes_what_it_does_not_say_from_the_strongest_of_the_brokers_places(
    overrides: tuple[str, ...],
    all_brokers: dict[str, str],
    this_broker: dict[str, str],
    source: ConfigSource,
    value: str,
) -> None:
    told = layers(*overrides, all_brokers=all_brokers, this_broker=this_broker)
    entry = by_name(topic_entries(told, {}))["max.message.bytes"]
    assert (entry.value, entry.source) == (value, source)


def test_a_setting_that_is_not_built_is_listed_with_what_happens_anyway() -> None:
    entries = by_name(topic_entries(layers(), {"retention.ms": "-1"}))
    assert entries["retention.ms"].synonyms == (
        Synonym("retention.ms", "-1", TOPIC),
        Synonym("retention.ms", "-1", DEFAULT),
    )
    assert {name for name, one in TOPIC_NOT_BUILT.items() if one.accepted is not None} <= entries.keys()
    assert entries["retention.ms"].text == "Retention is not built yet; the value says what happens anyway."


def test_of_a_topic_nothing_is_read_only_and_of_a_broker_what_is_not_built() -> None:
    """Tools drop a change of what is read-only; who wants `retention.ms` shall hear why it cannot be had."""
    assert not any(entry.read_only for entry in topic_entries(layers(), {"retention.ms": "-1"}))
    entries = by_name(broker_entries(layers()))
    assert all(entries[name].read_only for name, one in BROKER_NOT_BUILT.items() if one.accepted is not None)


def test_what_the_broker_has_fixed_for_a_topic_of_its_own_is_listed_as_its_own() -> None:
    entry = by_name(topic_entries(layers(), {}, {"cleanup.policy": "compact"}))["cleanup.policy"]
    assert entry.synonyms == (
        Synonym("cleanup.policy", "compact", TOPIC),
        Synonym("cleanup.policy", "delete", DEFAULT),
    )
    assert entry.text == "Fixed, for the topic is the broker's own. Compaction is not built yet: nothing is removed."


def test_what_is_fixed_holds_over_what_the_topic_says() -> None:
    entry = by_name(topic_entries(layers(), {"write.caching": "true"}, {"write.caching": "false"}))["write.caching"]
    assert entry.synonyms == (Synonym("write.caching", "false", TOPIC), Synonym("write.caching", "false", DEFAULT))
    assert entry.text.startswith("Fixed, for the topic is the broker's own. With `true`,")


def test_nothing_is_listed_of_which_no_value_would_be_true() -> None:
    assert "tidelog.message.ttl.ms" not in by_name(topic_entries(layers(), {}))
    entries = by_name(broker_entries(layers()))
    unlisted = {name for name, one in BROKER_NOT_BUILT.items() if one.accepted is None}
    assert {"sasl.enabled.mechanisms", "ssl.keystore.password", "transaction.max.timeout.ms"} <= unlisted
    assert not entries.keys() & unlisted


@pytest.mark.parametrize(
    ("name", "value_type"),
    [
        ("cleanup.policy", ValueType.LIST),
        ("compression.type", ValueType.STRING),
        ("compression.zstd.level", ValueType.INT),
        ("flush.ms", ValueType.LONG),
        ("index.interval.bytes", ValueType.INT),
        ("leader.replication.throttled.replicas", ValueType.LIST),
        ("max.message.bytes", ValueType.INT),
        ("message.timestamp.after.max.ms", ValueType.LONG),
        ("message.timestamp.type", ValueType.STRING),
        ("min.cleanable.dirty.ratio", ValueType.DOUBLE),
        ("min.insync.replicas", ValueType.INT),
        ("preallocate", ValueType.BOOLEAN),
        ("retention.bytes", ValueType.LONG),
        ("segment.bytes", ValueType.INT),
        ("segment.ms", ValueType.LONG),
        ("write.caching", ValueType.BOOLEAN),
    ],
)
def test_types_are_kafkas(name: str, value_type: ValueType) -> None:
    assert by_name(topic_entries(layers(), {}))[name].value_type is value_type


# Brokers


def test_every_setting_of_the_broker_is_listed_under_each_of_its_names() -> None:
    entries = by_name(broker_entries(layers("log.dirs=/data")))
    assert entries.keys() >= KEYS.keys()
    assert (entries["log.dirs"].value, entries["log.dirs"].source) == ("/data", STATIC)
    assert (entries["data.dir"].value, entries["data.dir"].source) == ("/data", STATIC)
    assert entries["log.dirs"].synonyms[1] == Synonym("log.dirs", "tidelog-data", DEFAULT)
    assert (entries["broker.id"].value, entries["broker.id"].source) == ("1", DEFAULT)
    assert entries["listeners"].value_type is ValueType.LIST


def test_what_can_be_changed_at_run_time_is_what_kafka_changes_at_run_time() -> None:
    entries = by_name(broker_entries(layers()))
    changeable = {name for name, entry in entries.items() if not entry.read_only}
    assert changeable == DYNAMIC.keys()
    assert {"max.connections", "message.max.bytes", "log.segment.bytes", "log.roll.ms"} <= changeable
    assert not changeable & {"node.id", "listeners", "num.partitions", "fetch.max.bytes", "log.dirs"}


def test_of_this_broker_all_places_count() -> None:
    told = layers("max.connections=4", all_brokers={"max.connections": "3"}, this_broker={"max.connections": "2"})
    entry = by_name(broker_entries(told))["max.connections"]
    assert [(one.value, one.source) for one in entry.synonyms] == [
        ("2", THIS_BROKER),
        ("3", ALL_BROKERS),
        ("4", STATIC),
        ("2147483647", DEFAULT),
    ]


def test_of_all_brokers_only_what_was_set_for_them_is_listed() -> None:
    told = layers("max.connections=4", all_brokers={"log.roll.ms": "1d"}, this_broker={"max.connections": "2"})
    [entry] = all_brokers_entries(told)
    assert entry.synonyms == (Synonym("log.roll.ms", "86400000", ALL_BROKERS),)
    assert not entry.read_only


def test_what_somebody_asked_for_that_happens_anyway_is_from_there() -> None:
    entry = by_name(broker_entries(layers("log.retention.ms=-1")))["log.retention.ms"]
    assert entry.synonyms == (Synonym("log.retention.ms", "-1", STATIC), Synonym("log.retention.ms", "-1", DEFAULT))
    assert entry.read_only


def test_values_are_listed_as_they_can_be_written() -> None:
    entries = by_name(broker_entries(layers("http.listen=off", "listeners=0.0.0.0:9092@far.example:9092")))
    assert entries["http.listen"].value == "off"
    assert entries["listeners"].value == "0.0.0.0:9092@far.example:9092"
    for one in (*BROKER_SETTINGS.values(), *GROUP_SETTINGS.values(), *TOPIC_SETTINGS.values()):
        assert one.show(entries[one.broker_name].value) == entries[one.broker_name].value
        assert entries[one.broker_name].text == one.text


# Groups


def test_of_a_group_its_own_value_is_listed_over_the_broker_s() -> None:
    entries = by_name(
        group_entries(layers("group.consumer.session.timeout.ms=50s"), {"consumer.session.timeout.ms": "60000"})
    )
    assert entries["consumer.session.timeout.ms"].synonyms == (
        Synonym("consumer.session.timeout.ms", "60000", ConfigSource.GROUP_CONFIG),
        Synonym("group.consumer.session.timeout.ms", "50000", STATIC),
        Synonym("group.consumer.session.timeout.ms", "45000", DEFAULT),
    )
    assert entries["consumer.heartbeat.interval.ms"].synonyms == (
        Synonym("group.consumer.heartbeat.interval.ms", "5000", DEFAULT),
    )
    assert not any(entry.read_only for entry in entries.values())
