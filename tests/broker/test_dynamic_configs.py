"""What is set at run time: durable before it holds, the same after a restart, gone with its topic [L-18]."""

import asyncio
import errno
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bench import Bench, a_simulated_config, on_the_bench
from support.builders import a_batch
from support.caller import a_caller
from support.configs import (
    ALL_BROKERS,
    APPEND,
    BROKER,
    DELETE,
    NODE,
    SET,
    SUBTRACT,
    TOPIC,
    a_change,
    a_resource,
    altered,
    changes,
    described,
    replaced,
    replacement,
    set_configs,
)
from support.house import House, a_house
from tidelog.broker.config import BrokerConfig
from tidelog.broker.dynamic_configs import Alteration, Change, Outcomes, Resource
from tidelog.broker.errors import code_of
from tidelog.broker.metadata.records import ConfigsChanged, ResourceType
from tidelog.broker.metadata.store import MetadataStore
from tidelog.broker.server import Server
from tidelog.broker.topics.internal_topics import METADATA_TOPIC, METADATA_TOPIC_ID
from tidelog.broker.topics.registry import Topic
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.api_versions import ApiVersionsRequest
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.storage.config import ConfigError, LogConfig
from tidelog.storage.errors import StorageError
from tidelog.storage.log_directory import LogDirectory

GROUP = ResourceType.GROUP


class Changes:
    """Who changes settings, and what it hears, in order."""

    def __init__(self, house: House) -> None:
        self.heard: list[Outcomes] = []
        self._house = house
        self._news = asyncio.Event()

    def set(self, kind: int, name: str, configs: Mapping[str, str]) -> None:
        """Ask, and do not wait."""
        wanted = [Change(key, SET, value) for key, value in configs.items()]
        alteration = Alteration(resource=Resource(kind, name), changes=wanted)
        self._house.server.services.configs.alter([alteration], validate_only=False, waiter=self._hear)

    def _hear(self, outcomes: Outcomes) -> None:
        self.heard.append(outcomes)
        self._news.set()

    async def wait(self, count: int = 1) -> None:
        """Until so many requests are answered."""
        while len(self.heard) < count:
            self._news.clear()
            await self._news.wait()

    @property
    def errors(self) -> list[Exception | None]:
        """Of requests that asked one thing each."""
        return [outcome for [outcome] in self.heard]


def topic_of(house: House, name: str = "orders") -> Topic:
    topic = house.server.topics.by_name(name)
    assert topic is not None
    return topic


async def delete(house: House, name: str) -> None:
    response = await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name=name),)))
    assert response.responses[0].error_code == ErrorCode.NONE  # type: ignore[attr-defined]


async def restarted(bench: Bench, house: House, *overrides: str) -> House:
    await house.server.stop()
    return await bench.serve(*overrides)


async def after_a_crash(bench: Bench, *overrides: str) -> House:
    """What a new process makes of the disk. The old one holds its port still."""
    bench.disk.crash()
    return await bench.serve("listeners=127.0.0.1:9093", *overrides)


# Durability


@on_the_bench
async def test_a_change_is_durable_before_it_holds_and_before_it_is_answered(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    told = Changes(house)
    bench.disk.synced.clear()
    told.set(TOPIC, "orders", {"segment.bytes": "2048"})
    assert (told.heard, topic_of(house).config.segment_bytes) == ([], 1 << 30)
    assert bench.disk.syncs_of(f"{METADATA_TOPIC}-0") == 0
    await told.wait()
    assert (told.errors, topic_of(house).config.segment_bytes) == ([None], 2048)
    assert bench.disk.syncs_of(f"{METADATA_TOPIC}-0") == 1


@on_the_bench
async def test_what_was_answered_outlives_a_power_cut(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    await set_configs(house, TOPIC, "orders", {"segment.bytes": "2048"})
    await set_configs(house, BROKER, ALL_BROKERS, {"log.flush.interval.ms": "1"})
    await set_configs(house, BROKER, NODE, {"max.connections": "9"})
    again = await after_a_crash(bench)
    config = again.server.services.config
    assert (config.max_connections, config.log.flush_ms) == (9, 1)
    assert (topic_of(again).config.segment_bytes, topic_of(again).config.flush_ms) == (2048, 1)
    assert topic_of(again).partitions[0].log.config == topic_of(again).config


@on_the_bench
async def test_changes_begin_from_what_those_before_them_left(bench: Bench) -> None:
    """A client may send the next change before the last one is durable."""
    house = await bench.serve()
    await house.create("orders")
    told = Changes(house)
    told.set(TOPIC, "orders", {"segment.bytes": "2048"})
    told.set(TOPIC, "orders", {"segment.ms": "5"})
    told.set(TOPIC, "orders", {"segment.bytes": "4096", "flush.ms": "6"})
    await told.wait(3)
    assert told.errors == [None, None, None]
    assert topic_of(house).configs == {"segment.bytes": "4096", "segment.ms": "5", "flush.ms": "6"}


@on_the_bench
async def test_a_change_that_changes_nothing_writes_nothing(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", segment_bytes="2KiB")
    bench.disk.appended.clear()
    await set_configs(house, TOPIC, "orders", {"segment.bytes": "2048"})
    await set_configs(house, BROKER, NODE, {})
    assert bench.disk.appended == []


@on_the_bench
async def test_a_change_that_cannot_be_written_does_not_hold_and_the_next_one_can(bench: Bench) -> None:
    house = await bench.serve("log.reserve.bytes=0")
    await house.create("orders")
    told = Changes(house)
    for _ in range(3):
        bench.disk.fail_next("append", errno.ENOSPC, path=METADATA_TOPIC)
        told.set(TOPIC, "orders", {"segment.bytes": "2048"})
    await told.wait(3)
    assert [code_of(error) for error in told.errors if error] == [ErrorCode.KAFKA_STORAGE_ERROR] * 3
    assert topic_of(house).configs == {}
    told.set(TOPIC, "orders", {"segment.ms": "5"})
    await told.wait(4)
    assert topic_of(house).configs == {"segment.ms": "5"}
    assert topic_of(await restarted(bench, house)).configs == {"segment.ms": "5"}


@on_the_bench
async def test_who_waits_behind_a_change_that_fails_is_not_forgotten(bench: Bench) -> None:
    house = await bench.serve()
    told = Changes(house)
    bench.disk.fail_next("sync", path=METADATA_TOPIC)
    for count in ("5", "6", "7"):
        told.set(BROKER, NODE, {"max.connections": count})
    await told.wait(3)
    assert all(isinstance(error, StorageError) for error in told.errors)
    assert house.server.services.config.max_connections == BrokerConfig().max_connections


# Topics come and go


@on_the_bench
async def test_settings_die_with_their_topic(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", flush_ms="7")
    await set_configs(house, TOPIC, "orders", {"segment.bytes": "2048"})
    await delete(house, "orders")
    await house.create("orders")
    assert topic_of(house).configs == {}
    again = await restarted(bench, house)
    assert (topic_of(again).configs, topic_of(again).config) == ({}, LogConfig())


@on_the_bench
async def test_a_topic_that_is_deleted_under_a_change_takes_it_along(bench: Bench) -> None:
    """The deletion's fact comes first: what is set then is nobody's, not that of a topic of the same name."""
    house = await bench.serve()
    await house.create("orders")
    deletion = house.call(DeleteTopicsRequest(topics=(DeleteTopicState(name="orders"),)))
    told = Changes(house)
    told.set(TOPIC, "orders", {"segment.bytes": "2048"})
    await told.wait()
    assert [code_of(error) for error in told.errors if error] == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    assert deletion.response is not None  # type: ignore[attr-defined]
    await house.create("orders")
    assert topic_of(house).configs == {}
    assert topic_of(await restarted(bench, house)).configs == {}


@on_the_bench
async def test_a_topic_that_is_deleted_after_a_change_is_deleted(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    told = Changes(house)
    told.set(TOPIC, "orders", {"segment.bytes": "2048"})
    await delete(house, "orders")
    assert told.errors == [None]
    assert house.server.topics.by_name("orders") is None
    assert house.server.topics.by_name("orders") is (await restarted(bench, house)).server.topics.by_name("orders")


# Effect


@on_the_bench
async def test_defaults_flow_into_every_topic_that_says_nothing_else(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 2)
    await house.create("bills", segment_bytes="4096")
    await set_configs(house, BROKER, ALL_BROKERS, {"log.segment.bytes": "2048", "message.max.bytes": "100"})
    for name, segment_bytes in (("orders", 2048), ("bills", 4096)):
        for partition in topic_of(house, name).partitions:
            config = partition.log.config
            assert (config.segment_bytes, config.max_message_bytes) == (segment_bytes, 100)
    produced = await house.produce("orders", a_batch([b"x" * 200]))
    assert produced.error_code == ErrorCode.MESSAGE_TOO_LARGE  # type: ignore[union-attr]
    back = [a_change("message.max.bytes", operation=DELETE), a_change("log.segment.bytes", operation=DELETE)]
    assert await altered(house, changes(BROKER, ALL_BROKERS, *back)) == [(0, None)]
    assert topic_of(house).config == LogConfig()


@on_the_bench
async def test_defaults_reach_topics_that_are_being_made_meanwhile(bench: Bench) -> None:
    house = await bench.serve()
    told = Changes(house)
    told.set(BROKER, NODE, {"log.segment.bytes": "2048"})
    await house.create("orders", 5)
    assert told.errors == [None]
    assert {partition.log.config.segment_bytes for partition in topic_of(house).partitions} == {2048}


@on_the_bench
async def test_those_who_listen_are_told_of_what_holds(bench: Bench) -> None:
    house = await bench.serve()
    heard: list[int] = []
    house.server.services.configs.on_change(lambda config: heard.append(config.max_connections))
    await set_configs(house, BROKER, ALL_BROKERS, {"max.connections": "5"})
    await set_configs(house, BROKER, NODE, {"max.connections": "6"})
    await set_configs(house, BROKER, ALL_BROKERS, {"max.connections": "7"})
    await altered(house, changes(BROKER, NODE, a_change("max.connections", operation=DELETE)))
    assert heard == [5, 6, 7], "that of all brokers is hidden by this one's until it is gone"


async def test_a_limit_on_connections_holds_for_the_next_one(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data") as house:
        [address] = house.server.addresses
        async with a_caller(address) as first:
            await first.ask(ApiVersionsRequest())
            await set_configs(house, BROKER, NODE, {"max.connections": "1"})
            async with a_caller(address) as second:
                assert await second.closed() == b""
            await first.ask(ApiVersionsRequest())


@on_the_bench
async def test_settings_must_go_together_also_those_of_one_request(bench: Bench) -> None:
    house = await bench.serve()
    words = "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set."
    none, some = a_change("max.connections.per.ip", "0"), a_change("max.connections.per.ip.overrides", "127.0.0.1:9")
    assert await altered(house, changes(BROKER, NODE, none)) == [(ErrorCode.INVALID_REQUEST, words)]
    together = [changes(BROKER, ALL_BROKERS, some), changes(BROKER, NODE, none)]
    assert await altered(house, *together) == [(0, None), (0, None)]
    assert house.server.services.config.max_connections_per_ip == 0
    alone = changes(BROKER, ALL_BROKERS, a_change("max.connections.per.ip.overrides", operation=DELETE))
    other = changes(BROKER, NODE, a_change("max.connections.per.ip", operation=DELETE))
    assert await altered(house, alone, other) == [(ErrorCode.INVALID_REQUEST, words), (0, None)]


@on_the_bench
async def test_settings_of_another_node_are_kept_and_do_not_hold_here(bench: Bench) -> None:
    house = await bench.serve()
    await set_configs(house, BROKER, NODE, {"max.connections": "5"})
    other = await restarted(bench, house, "node.id=2")
    assert other.server.services.config.max_connections == BrokerConfig().max_connections
    again = await restarted(bench, other)
    assert again.server.services.config.max_connections == 5


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (BROKER, "", r"set at run time for broker=all .*from\.the\.future"),
        (GROUP, "billing", r"set at run time for group=billing .*from\.the\.future"),
    ],
)
@on_the_bench
async def test_a_setting_that_this_version_cannot_read_keeps_it_from_starting(
    bench: Bench, kind: ResourceType, name: str, words: str
) -> None:
    directory = LogDirectory.open(bench.disk, cluster_id=lambda: "bench", now_ms=0)
    log = directory.create_log(METADATA_TOPIC, 0, METADATA_TOPIC_ID, LogConfig(), now_ms=0)
    fact = ConfigsChanged(resource_type=kind, resource_name=name, configs={"from.the.future": "1"})
    MetadataStore(log, environment=bench.environment, flusher=bench.flusher).append([fact], lambda _: None)
    await bench.settle()
    bench.disk.crash()
    with pytest.raises(ConfigError, match=words):
        await Server(a_simulated_config(), bench.environment).start()


@on_the_bench
async def test_a_change_is_logged_with_what_was_set(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    house = await bench.serve()
    with caplog.at_level(logging.INFO, logger="tidelog.broker.dynamic_configs"):
        await set_configs(house, BROKER, ALL_BROKERS, {"max.connections": "5"})
    assert caplog.messages == ["settings changed broker=all settings={'max.connections': '5'}"]


# Any sequence of changes

TOPIC_VALUES = {
    "segment.bytes": ["1024", "2KiB", "1"],
    "write.caching": ["true", "FALSE", "maybe"],
    "flush.ms": ["0", "1s", "-1"],
    "cleanup.policy": ["delete", "compact", ""],
    "no.such": ["1"],
}
BROKER_VALUES = {
    "log.segment.bytes": ["1024", "4KiB", "many"],
    "max.connections": ["0", "1", "50"],
    "log.flush.interval.ms": ["5", "9m"],
    "num.partitions": ["2"],
    "no.such": ["1"],
}
OPERATIONS = st.sampled_from([SET, SET, SET, DELETE, APPEND, SUBTRACT])
PLACES = st.sampled_from([(TOPIC, "orders"), (TOPIC, "bills"), (BROKER, NODE), (BROKER, ALL_BROKERS)])


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, int, str, list[tuple[str, int, str]]]:
    """What to do, to what, and with which settings."""
    kind, name = draw(PLACES)
    verb = draw(st.sampled_from(["alter", "alter", "alter", "replace", "recreate"]))
    values = TOPIC_VALUES if kind == TOPIC else BROKER_VALUES
    keys = draw(st.lists(st.sampled_from(sorted(values)), max_size=3, unique=True))
    return verb, kind, name, [(key, draw(OPERATIONS), draw(st.sampled_from(values[key]))) for key in keys]


async def everything(house: House) -> list[object]:
    """All that tools see, and what the logs work with."""
    resources = [a_resource(TOPIC, "orders"), a_resource(TOPIC, "bills"), a_resource(BROKER, NODE)]
    seen: list[object] = []
    for result in await described(house, *resources, a_resource(BROKER, ALL_BROKERS)):
        seen += [config for config in result.configs if config.name != "listeners"]
    config = house.server.services.config
    seen += [config.log, config.max_connections]
    for name in ("orders", "bills"):
        topic = topic_of(house, name)
        assert {partition.log.config for partition in topic.partitions} == {topic.config}
        seen += [topic.configs, topic.config]
    return seen


@given(st.lists(requests(), max_size=8), st.booleans())
def test_whatever_is_changed_holds_the_same_after_a_restart(
    sequence: list[tuple[str, int, str, list[tuple[str, int, str]]]], crash: bool
) -> None:
    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve("log.flush.interval.ms=77")
        await house.create("orders", 2)
        await house.create("bills", segment_bytes="4096")
        for verb, kind, name, wanted in sequence:
            before = await everything(house)
            if verb == "alter":
                configs = [a_change(key, None if what == DELETE else value, what) for key, what, value in wanted]
                [(code, _)] = await altered(house, changes(kind, name, *configs))
            elif verb == "replace":
                [(code, _)] = await replaced(house, replacement(kind, name, [(key, value) for key, _, value in wanted]))
            elif kind == TOPIC:
                await delete(house, name)
                await house.create(name)
                assert topic_of(house, name).configs == {}
                continue
            else:
                continue
            if code != ErrorCode.NONE:
                assert await everything(house) == before, "refused, and yet something is different"
        before = await everything(house)
        if crash:
            again = await after_a_crash(bench, "log.flush.interval.ms=77")
        else:
            again = await restarted(bench, house, "log.flush.interval.ms=77")
        assert await everything(again) == before

    play()
