"""AlterConfigs: what is not named goes back to its default [L-18, KIP-133]."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.configs import ALL_BROKERS, BROKER, LOGGER, NODE, TOPIC, replaced, replacement, settings
from support.house import House, a_house
from tidelog.protocol.errors import ErrorCode

OK = (0, None)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", flush_ms="7", segment_ms="9")
        yield house


async def own(house: House, kind: int, name: str, source: int) -> dict[str, str | None]:
    listed = (await settings(house, kind, name)).items()
    return {key: one.value for key, one in listed if one.config_source == source}


async def test_a_topic_has_what_is_named_and_nothing_else(house: House) -> None:
    assert await replaced(house, replacement(TOPIC, "orders", [("segment.ms", "10"), ("retention.ms", "-1")])) == [OK]
    assert await own(house, TOPIC, "orders", 1) == {"segment.ms": "10", "retention.ms": "-1"}
    assert await replaced(house, replacement(TOPIC, "orders", [])) == [OK]
    assert await own(house, TOPIC, "orders", 1) == {}


async def test_a_broker_has_what_is_named_and_nothing_else(house: House) -> None:
    wanted = [("max.connections", "30"), ("log.roll.ms", "1h")]
    assert await replaced(house, replacement(BROKER, NODE, wanted)) == [OK]
    assert await own(house, BROKER, NODE, 2) == {"max.connections": "30", "log.roll.ms": "3600000"}
    assert await replaced(house, replacement(BROKER, NODE, [("log.roll.ms", "2h")])) == [OK]
    assert await own(house, BROKER, NODE, 2) == {"log.roll.ms": "7200000"}
    assert await own(house, BROKER, ALL_BROKERS, 3) == {}


async def test_validating_changes_nothing(house: House) -> None:
    assert await replaced(house, replacement(TOPIC, "orders", []), validate_only=True) == [OK]
    assert await own(house, TOPIC, "orders", 1) == {"flush.ms": "7", "segment.ms": "9"}


@pytest.mark.parametrize(
    ("kind", "name", "configs", "code", "words"),
    [
        (TOPIC, "orders", [("a", "1")], ErrorCode.INVALID_CONFIG, "Unknown topic config name: a"),
        (TOPIC, "orders", [("flush.ms", "x")], ErrorCode.INVALID_CONFIG, "Invalid value x for configuration flush.ms"),
        (TOPIC, "orders", [("flush.ms", None)], ErrorCode.INVALID_REQUEST, "Null value not supported for : flush.ms"),
        (TOPIC, "orders", [("a", "1"), ("a", "2")], ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys"),
        (TOPIC, "other", [], ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'other' does not exist."),
        (BROKER, "7", [], ErrorCode.INVALID_REQUEST, "Unexpected broker id, expected 1, but received 7"),
        (BROKER, NODE, [("node.id", "2")], ErrorCode.INVALID_REQUEST, "Cannot update these configs dynamically"),
        (LOGGER, NODE, [("root", "INFO")], ErrorCode.INVALID_REQUEST, "Unknown resource type 8"),
    ],
)
async def test_what_cannot_be_is_refused_and_leaves_everything_as_it_was(
    house: House, *, kind: int, name: str, configs: list[tuple[str, str | None]], code: ErrorCode, words: str
) -> None:
    [(refusal, message)] = await replaced(house, replacement(kind, name, configs))
    assert refusal == code
    assert (message or "").startswith(words)
    assert await own(house, TOPIC, "orders", 1) == {"flush.ms": "7", "segment.ms": "9"}


async def test_a_resource_that_stands_twice_in_a_request_is_refused_each_time(house: House) -> None:
    twice = replacement(TOPIC, "orders", [])
    refusal = (ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
    assert await replaced(house, twice, replacement(BROKER, NODE, []), twice) == [refusal, OK, refusal]
