"""What single groups say themselves (KIP-848): checked in Kafka's words, kept, and what holds by it [C-4]."""

from collections.abc import Mapping

import pytest

from support.bench import Bench, on_the_bench
from support.configs import (
    APPEND,
    DELETE,
    SUBTRACT,
    a_change,
    a_resource,
    altered,
    changes,
    described,
    replaced,
    replacement,
    set_configs,
    settings,
)
from support.group_settings import SettingsForTests
from tidelog.broker.config import ConfigSource
from tidelog.broker.coordinator.group_settings import GroupSettings, MigrationPolicy
from tidelog.broker.group_config import GroupConfig
from tidelog.broker.group_overrides import GROUP_NOT_BUILT, OF_ONE_GROUP, GroupOverrides, checked, value_type
from tidelog.broker.metadata.records import ResourceType
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.list_config_resources import ListConfigResourcesRequest, ListConfigResourcesResponse
from tidelog.storage.config import ConfigError, ValueType

GROUP = ResourceType.GROUP
SESSION, HEARTBEAT = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"
INVALID_CONFIG, INVALID_REQUEST = ErrorCode.INVALID_CONFIG, ErrorCode.INVALID_REQUEST

BROKER = GroupConfig()


# What a group may say


def test_a_group_may_say_what_is_within_the_bounds_of_the_broker() -> None:
    assert checked({}, BROKER) == {}
    assert checked({SESSION: "60000", HEARTBEAT: "15000"}, BROKER) == {SESSION: "60000", HEARTBEAT: "15000"}
    assert checked({SESSION: "50s"}, BROKER) == {SESSION: "50000"}, "in Kafka's spelling"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({SESSION: "44999"}, f"{SESSION} must be greater than or equal to group.consumer.min.session.timeout.ms"),
        ({SESSION: "60001"}, f"{SESSION} must be less than or equal to group.consumer.max.session.timeout.ms"),
        ({HEARTBEAT: "4999"}, f"{HEARTBEAT} must be greater than or equal to group.consumer.min.heartbeat.interval.ms"),
        ({HEARTBEAT: "15001"}, f"{HEARTBEAT} must be less than or equal to group.consumer.max.heartbeat.interval.ms"),
        ({SESSION: "0"}, f"Invalid value 0 for configuration {SESSION}: Value must be at least 1"),
        ({SESSION: "soon"}, f"Invalid value soon for configuration {SESSION}"),
        ({"consumer.patience": "1"}, "Unknown group config name: consumer.patience"),
        ({"retention.ms": "1"}, "Unknown group config name: retention.ms"),
        ({"share.session.timeout.ms": "45000"}, "queues is not built yet"),
        ({"streams.num.standby.replicas": "1"}, "a protocol for streams is not built yet"),
    ],
)
def test_what_a_group_may_not_say_is_refused_in_kafkas_words(said: Mapping[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        checked(said, BROKER)
    assert words in str(refused.value)


def test_a_session_lasts_longer_than_the_time_between_heartbeats() -> None:
    broker = GroupConfig(consumer_min_session_timeout_ms=1, consumer_session_timeout_ms=45_000)
    with pytest.raises(ConfigError, match=f"{SESSION} must be greater than {HEARTBEAT}"):
        checked({SESSION: "5000"}, broker)
    assert checked({SESSION: "5001"}, broker) == {SESSION: "5001"}


def test_every_setting_of_a_group_is_a_number_and_stands_over_one_of_the_broker() -> None:
    for one in OF_ONE_GROUP.values():
        assert value_type(one.name) is ValueType.INT
        assert BROKER.numbers()[one.broker_name] == one.default
    assert value_type("consumer.patience") is None
    assert not GROUP_NOT_BUILT.keys() & {one.name for one in OF_ONE_GROUP.values()}


# What holds


def test_a_group_s_own_value_holds_and_else_the_broker_s() -> None:
    groups = GroupOverrides(lambda: BROKER)
    groups.set("billing", {SESSION: "60000"})
    assert groups.consumer_session_timeout_ms("billing") == 60_000
    assert groups.consumer_heartbeat_interval_ms("billing") == 5000
    assert groups.consumer_session_timeout_ms("others") == 45_000
    groups.set("billing", {HEARTBEAT: "7000"})
    assert groups.consumer_session_timeout_ms("billing") == 45_000
    assert groups.consumer_heartbeat_interval_ms("billing") == 7000
    assert (list(groups.names()), groups.of("billing"), groups.of("others")) == (["billing"], {HEARTBEAT: "7000"}, {})
    groups.set("billing", {})
    assert list(groups.names()) == []


def test_the_broker_s_bounds_hold_for_what_was_set_before_they_did() -> None:
    narrow = GroupConfig(consumer_max_session_timeout_ms=50_000, consumer_max_heartbeat_interval_ms=6000)
    groups = GroupOverrides(lambda: narrow)
    groups.set("billing", {SESSION: "60000", HEARTBEAT: "15000"})
    assert groups.consumer_session_timeout_ms("billing") == 50_000
    assert groups.consumer_heartbeat_interval_ms("billing") == 6000


def test_all_other_settings_are_the_broker_s_as_of_now() -> None:
    current = GroupConfig()
    groups: GroupSettings = GroupOverrides(lambda: current)
    default: GroupSettings = SettingsForTests()
    for name in (
        "classic_session_timeout_min_ms",
        "classic_session_timeout_max_ms",
        "initial_rebalance_delay_ms",
        "classic_max_size",
        "consumer_max_size",
        "consumer_assignors",
        "migration_policy",
        "offset_metadata_max_bytes",
        "offsets_retention_ms",
        "offsets_retention_check_interval_ms",
        "offsets_topic_num_partitions",
        "offsets_topic_segment_bytes",
    ):
        assert getattr(groups, name) == getattr(default, name), name
    current = GroupConfig(consumer_migration_policy="disabled", offsets_retention_minutes=1)
    assert (groups.migration_policy, groups.offsets_retention_ms) == (MigrationPolicy.DISABLED, 60_000)


# Over the wire


@on_the_bench
async def test_settings_of_groups_are_listed_with_where_they_are_from(bench: Bench) -> None:
    """Of groups that do not exist, too, as in Kafka."""
    house = await bench.serve("group.consumer.heartbeat.interval.ms=6000")
    await set_configs(house, GROUP, "billing", {SESSION: "50000"})
    listed = await settings(house, GROUP, "billing")
    assert list(listed) == [HEARTBEAT, SESSION]
    session, heartbeat = listed[SESSION], listed[HEARTBEAT]
    assert (session.value, session.config_source, session.read_only) == ("50000", ConfigSource.GROUP_CONFIG, False)
    assert [(one.name, one.value, one.source) for one in session.synonyms] == [
        (SESSION, "50000", ConfigSource.GROUP_CONFIG),
        ("group.consumer.session.timeout.ms", "45000", ConfigSource.DEFAULT_CONFIG),
    ]
    assert [(one.name, one.value, one.source) for one in heartbeat.synonyms] == [
        ("group.consumer.heartbeat.interval.ms", "6000", ConfigSource.STATIC_BROKER_CONFIG),
        ("group.consumer.heartbeat.interval.ms", "5000", ConfigSource.DEFAULT_CONFIG),
    ]
    [few] = await described(house, a_resource(GROUP, "nobody", SESSION))
    assert [(one.name, one.value) for one in few.configs] == [(SESSION, "45000")]


@on_the_bench
async def test_settings_of_groups_hold_at_once_and_outlive_a_power_cut(bench: Bench) -> None:
    house = await bench.serve()
    await set_configs(house, GROUP, "billing", {SESSION: "50000", HEARTBEAT: "6000"})
    assert house.server.services.configs.groups.consumer_session_timeout_ms("billing") == 50_000
    assert await altered(house, changes(GROUP, "billing", a_change(HEARTBEAT, None, DELETE))) == [(0, None)]
    bench.disk.crash()
    groups = (await bench.serve("listeners=127.0.0.1:9093")).server.services.configs.groups
    assert groups.of("billing") == {SESSION: "50000"}
    assert groups.consumer_session_timeout_ms("billing") == 50_000


@on_the_bench
async def test_groups_that_say_something_are_listed(bench: Bench) -> None:
    house = await bench.serve()
    await set_configs(house, GROUP, "billing", {SESSION: "50000"})
    await set_configs(house, GROUP, "others", {SESSION: "50000"})
    await altered(house, changes(GROUP, "others", a_change(SESSION, None, DELETE)))
    response = await house.ask(ListConfigResourcesRequest(resource_types=(GROUP,)))
    assert isinstance(response, ListConfigResourcesResponse)
    assert [(one.resource_type, one.resource_name) for one in response.config_resources] == [(GROUP, "billing")]


@on_the_bench
async def test_who_replaces_the_settings_of_a_group_says_all_of_them(bench: Bench) -> None:
    house = await bench.serve()
    await set_configs(house, GROUP, "billing", {SESSION: "50000"})
    assert await replaced(house, replacement(GROUP, "billing", [(HEARTBEAT, "6000")])) == [(0, None)]
    assert house.server.services.configs.groups.of("billing") == {HEARTBEAT: "6000"}


@on_the_bench
async def test_what_is_refused_changes_nothing(bench: Bench) -> None:
    house = await bench.serve()
    outcomes = await altered(
        house,
        changes(GROUP, "", a_change(SESSION, "50000")),
        changes(GROUP, "a", a_change(SESSION, "1")),
        changes(GROUP, "b", a_change(SESSION, "50000", APPEND)),
        changes(GROUP, "c", a_change("share.isolation.level", "read_committed", SUBTRACT)),
        changes(GROUP, "d", a_change(SESSION, None)),
    )
    assert outcomes == [
        (INVALID_REQUEST, "Default group resources are not allowed."),
        (INVALID_CONFIG, f"{SESSION} must be greater than or equal to group.consumer.min.session.timeout.ms"),
        (INVALID_CONFIG, f"Can't APPEND to key {SESSION} because its type is not LIST."),
        (INVALID_CONFIG, "Can't SUBTRACT to key share.isolation.level because its type is not LIST."),
        (INVALID_REQUEST, f"Null value not supported for : {SESSION}"),
    ]
    assert await altered(house, changes(GROUP, "a", a_change(SESSION, "50000")), validate_only=True) == [(0, None)]
    assert list(house.server.services.configs.groups.names()) == []
