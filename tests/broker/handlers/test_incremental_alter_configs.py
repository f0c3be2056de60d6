"""IncrementalAlterConfigs: single settings, all of a resource or none [L-18, KIP-339]."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.configs import (
    ALL_BROKERS,
    APPEND,
    BROKER,
    DELETE,
    LOGGER,
    NODE,
    SET,
    SUBTRACT,
    TOPIC,
    a_change,
    altered,
    changes,
    set_configs,
    settings,
)
from support.house import House, a_house
from tidelog.protocol.errors import ErrorCode

INVALID_REQUEST, INVALID_CONFIG = ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_CONFIG
TESTED = "tidelog.broker.incremental.tested"
GROUP, CLIENT_METRICS = 32, 16


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", flush_ms="7")
        yield house


@pytest.fixture
def a_logger() -> Iterator[str]:
    logging.getLogger(TESTED)
    yield TESTED
    logging.getLogger(TESTED).setLevel(logging.NOTSET)


async def own(house: House, kind: int, name: str) -> dict[str, str | None]:
    """What a resource says itself, and not somebody else for it."""
    mine = {TOPIC: 1, BROKER: 2 if name else 3}[kind]  # type: ignore[index]
    return {key: one.value for key, one in (await settings(house, kind, name)).items() if one.config_source == mine}


async def test_what_is_set_holds_and_what_is_deleted_goes_back_to_its_default(house: House) -> None:
    await set_configs(house, TOPIC, "orders", {"segment.bytes": "2KiB", "max.message.bytes": "999"})
    assert await own(house, TOPIC, "orders") == {"segment.bytes": "2048", "max.message.bytes": "999", "flush.ms": "7"}
    back = changes(TOPIC, "orders", a_change("segment.bytes", operation=DELETE), a_change("flush.ms", "8"))
    assert await altered(house, back) == [(0, None)]
    assert await own(house, TOPIC, "orders") == {"max.message.bytes": "999", "flush.ms": "8"}
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    assert (topic.config.segment_bytes, topic.config.max_message_bytes, topic.config.flush_ms) == (1 << 30, 999, 8)


async def test_a_brokers_setting_holds_for_the_brokers_it_is_made_for(house: House) -> None:
    await set_configs(house, BROKER, ALL_BROKERS, {"max.connections": "50", "log.segment.bytes": "4096"})
    await set_configs(house, BROKER, NODE, {"max.connections": "40"})
    assert house.server.services.config.max_connections == 40
    assert house.server.services.config.log.segment_bytes == 4096
    assert await altered(house, changes(BROKER, NODE, a_change("max.connections", operation=DELETE))) == [(0, None)]
    assert house.server.services.config.max_connections == 50


async def test_of_a_resource_all_changes_are_made_or_none(house: House) -> None:
    bad = changes(TOPIC, "orders", a_change("segment.bytes", "2048"), a_change("segment.ms", "never"))
    good = changes(BROKER, ALL_BROKERS, a_change("max.connections", "50"))
    (code, message), outcome = await altered(house, bad, good)
    assert code == INVALID_CONFIG
    assert "segment.ms" in (message or "")
    assert outcome == (0, None)
    assert await own(house, TOPIC, "orders") == {"flush.ms": "7"}
    assert await own(house, BROKER, ALL_BROKERS) == {"max.connections": "50"}


async def test_validating_refuses_what_altering_would_and_changes_nothing(house: House, a_logger: str) -> None:
    wanted = [
        changes(TOPIC, "orders", a_change("segment.bytes", "2048")),
        changes(BROKER, NODE, a_change("max.connections", "0")),
        changes(LOGGER, NODE, a_change(a_logger, "DEBUG")),
    ]
    outcomes = await altered(house, *wanted, validate_only=True)
    assert [code for code, _ in outcomes] == [0, INVALID_REQUEST, 0]
    assert await own(house, TOPIC, "orders") == {"flush.ms": "7"}
    assert logging.getLogger(a_logger).level == logging.NOTSET


@pytest.mark.parametrize(
    ("operation", "value", "outcome"),
    [
        (APPEND, "delete", (0, None)),
        (SUBTRACT, "compact", (0, None)),
        (APPEND, "compact", (INVALID_CONFIG, "Invalid value delete,compact for configuration cleanup.policy")),
        (SUBTRACT, "delete", (INVALID_CONFIG, "Invalid value  for configuration cleanup.policy")),
    ],
)
async def test_lists_are_added_to_and_taken_from(
    house: House, operation: int, value: str, outcome: tuple[int, str | None]
) -> None:
    """What comes of it is refused like a list that is set: nothing but `delete` is built."""
    [(code, message)] = await altered(house, changes(TOPIC, "orders", a_change("cleanup.policy", value, operation)))
    assert code == outcome[0]
    assert (message or "").startswith(outcome[1] or "")
    assert (await settings(house, TOPIC, "orders"))["cleanup.policy"].value == "delete"


@pytest.mark.parametrize(
    ("kind", "name", "key", "operation", "words"),
    [
        (TOPIC, "orders", "segment.ms", APPEND, "Can't APPEND to key segment.ms because its type is not LIST."),
        (TOPIC, "orders", "no.such", SUBTRACT, "Can't SUBTRACT to key no.such because its type is not LIST."),
        (BROKER, NODE, "log.roll.ms", APPEND, "Config value append is not allowed for config key: log.roll.ms"),
        (BROKER, NODE, "no.such", SUBTRACT, "Config value subtract is not allowed for config key: no.such"),
    ],
)
async def test_what_is_no_list_is_not_added_to(
    house: House, *, kind: int, name: str, key: str, operation: int, words: str
) -> None:
    assert await altered(house, changes(kind, name, a_change(key, "1", operation))) == [(INVALID_CONFIG, words)]


@pytest.mark.parametrize(
    ("key", "value", "code", "words"),
    [
        ("segment.bites", "1", INVALID_CONFIG, "Unknown topic config name: segment.bites; did you mean segment.bytes?"),
        ("segment.bytes", "1", INVALID_CONFIG, "Invalid value 1 for configuration segment.bytes: Value must be at"),
        ("min.insync.replicas", "2", INVALID_CONFIG, "Invalid value 2 for configuration min.insync.replicas"),
        ("segment.bytes", None, INVALID_REQUEST, "Null value not supported for : segment.bytes"),
    ],
    ids=["unknown", "out of range", "B-20", "null"],
)
async def test_a_topics_setting_that_would_not_hold_is_refused(
    house: House, key: str, value: str | None, code: ErrorCode, words: str
) -> None:
    [(refusal, message)] = await altered(house, changes(TOPIC, "orders", a_change(key, value)))
    assert refusal == code
    assert (message or "").startswith(words)


@pytest.mark.parametrize("name", [NODE, ALL_BROKERS])
@pytest.mark.parametrize(
    ("key", "value", "code", "words"),
    [
        ("num.partitions", "3", INVALID_REQUEST, "Cannot update these configs dynamically: Set(num.partitions)"),
        ("log.dirs", "/x", INVALID_REQUEST, "Cannot update these configs dynamically: Set(log.dirs)"),
        ("log.retention.ms", "-1", INVALID_REQUEST, "Cannot update these configs dynamically: Set(log.retention.ms)"),
        ("max.connections", "x", INVALID_REQUEST, "Invalid value x for configuration max.connections: Expected a"),
        ("log.segment.bytes", "5", INVALID_REQUEST, "Invalid value 5 for configuration log.segment.bytes: Value must"),
        ("segment.bytes", "1", INVALID_CONFIG, "Unknown broker config name: segment.bytes; did you mean log.segment."),
        ("max.connections", None, INVALID_REQUEST, "Null value not supported for : max.connections"),
    ],
)
async def test_a_brokers_setting_that_would_not_hold_is_refused(
    house: House, *, name: str, key: str, value: str | None, code: ErrorCode, words: str
) -> None:
    """KAFKA-13609: mostly with INVALID_REQUEST."""
    [(refusal, message)] = await altered(house, changes(BROKER, name, a_change(key, value)))
    assert refusal == code
    assert (message or "").startswith(words)
    assert await own(house, BROKER, name) == {}


@pytest.mark.parametrize(
    ("kind", "name", "code", "words"),
    [
        (TOPIC, "nothing", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'nothing' does not exist."),
        (TOPIC, "no way", ErrorCode.INVALID_TOPIC_EXCEPTION, "Topic name is invalid"),
        (TOPIC, "", INVALID_REQUEST, "Default topic resources are not allowed."),
        (BROKER, "2", INVALID_REQUEST, "Unexpected broker id, expected 1, but received 2"),
        (BROKER, "one", INVALID_REQUEST, "Node id must be an integer, but it is: one"),
        (LOGGER, "2", INVALID_REQUEST, "Unexpected node id. Expected 1, but received 2"),
        (LOGGER, "", INVALID_REQUEST, "Node id must be an integer, but it is: "),
        (GROUP, "", INVALID_REQUEST, "Default group resources are not allowed."),
        (CLIENT_METRICS, "m", INVALID_REQUEST, "Unsupported resource type: CLIENT_METRICS"),
        (1, "?", INVALID_REQUEST, "Unknown resource type 1"),
    ],
)
async def test_what_has_no_settings_is_refused_in_kafkas_words(
    house: House, kind: int, name: str, code: ErrorCode, words: str
) -> None:
    [(refusal, message)] = await altered(house, changes(kind, name))
    assert refusal == code
    assert (message or "").startswith(words)


async def test_a_resource_that_stands_twice_in_a_request_is_refused_each_time(house: House) -> None:
    once = changes(TOPIC, "orders", a_change("segment.ms", "1"))
    again = changes(TOPIC, "orders", a_change("segment.bytes", "2048"))
    other = changes(BROKER, NODE, a_change("max.connections", "9"))
    refusal = (INVALID_REQUEST, "Each resource must appear at most once.")
    assert await altered(house, once, other, again) == [refusal, (0, None), refusal]
    assert await own(house, TOPIC, "orders") == {"flush.ms": "7"}


async def test_a_setting_that_stands_twice_in_a_resource_is_refused(house: House) -> None:
    twice = changes(TOPIC, "orders", a_change("segment.ms", "1"), a_change("segment.ms", operation=DELETE))
    assert await altered(house, twice) == [(INVALID_REQUEST, "Error due to duplicate config keys")]


@pytest.mark.parametrize(("kind", "name"), [(TOPIC, "orders"), (BROKER, NODE), (LOGGER, NODE)])
async def test_an_operation_that_nobody_knows_is_refused(house: House, kind: int, name: str) -> None:
    outcome = await altered(house, changes(kind, name, a_change("segment.ms", "1", 4)))
    assert outcome == [(INVALID_REQUEST, "Unknown operations type 4")]


async def test_deleting_what_is_not_set_is_no_error(house: House) -> None:
    for kind, name in ((TOPIC, "orders"), (BROKER, NODE)):
        assert await altered(house, changes(kind, name, a_change("no.such", operation=DELETE))) == [(0, None)]


async def test_the_level_of_a_logger_is_set_and_put_back(house: House, a_logger: str) -> None:
    """KIP-412."""
    assert await altered(house, changes(LOGGER, NODE, a_change(a_logger, "ERROR", SET))) == [(0, None)]
    assert logging.getLogger(a_logger).level == logging.ERROR
    assert await altered(house, changes(LOGGER, NODE, a_change(a_logger, operation=DELETE))) == [(0, None)]
    assert logging.getLogger(a_logger).level == logging.NOTSET


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (a_change("tidelog.nobody", "INFO"), INVALID_CONFIG, "Logger tidelog.nobody does not exist!"),
        (a_change(TESTED, "LOUD"), INVALID_CONFIG, f"Cannot set the log level of {TESTED} to LOUD"),
        (a_change(TESTED, "INFO", APPEND), INVALID_REQUEST, "APPEND operation is not allowed for the BROKER_LOGGER"),
    ],
)
async def test_of_loggers_all_levels_are_set_or_none(
    house: House, a_logger: str, change: object, code: ErrorCode, words: str
) -> None:
    wanted = changes(LOGGER, NODE, a_change("tidelog", "ERROR"), change)  # type: ignore[arg-type]
    [(refusal, message)] = await altered(house, wanted)
    assert refusal == code
    assert (message or "").startswith(words)
    assert logging.getLogger("tidelog").level == logging.NOTSET
    assert logging.getLogger(a_logger).level == logging.NOTSET


async def test_a_request_for_nothing_is_answered_with_nothing(house: House) -> None:
    assert await altered(house) == []
