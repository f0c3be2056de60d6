"""ListConfigResources: which resources there are (KIP-1142)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.configs import BROKER, LOGGER, NODE, TOPIC
from support.house import House, a_house
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.list_config_resources import ListConfigResourcesRequest, ListConfigResourcesResponse

CLIENT_METRICS, GROUP = 16, 32


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path / "data") as house:
        await house.create("orders")
        await house.create("bills")
        yield house


async def listed(house: House, *types: int, version: int = 1) -> list[tuple[int, str]]:
    response = await house.ask(ListConfigResourcesRequest(resource_types=types), version)
    assert isinstance(response, ListConfigResourcesResponse)
    assert response.error_code == ErrorCode.NONE
    return [(resource.resource_type, resource.resource_name) for resource in response.config_resources]


async def test_without_a_type_everything_is_listed(house: House) -> None:
    assert await listed(house) == [(LOGGER, NODE), (BROKER, NODE), (TOPIC, "orders"), (TOPIC, "bills")]


@pytest.mark.parametrize(
    ("types", "found"),
    [
        ((TOPIC,), [(TOPIC, "orders"), (TOPIC, "bills")]),
        ((BROKER, LOGGER), [(LOGGER, NODE), (BROKER, NODE)]),
        ((GROUP, CLIENT_METRICS), []),
        ((TOPIC, TOPIC, GROUP), [(TOPIC, "orders"), (TOPIC, "bills")]),
    ],
)
async def test_of_a_type_all_are_listed_once(house: House, types: list[int], found: list[tuple[int, str]]) -> None:
    assert await listed(house, *types) == found


async def test_the_first_version_lists_client_metrics_of_which_there_are_none(house: House) -> None:
    assert await listed(house, version=0) == []


async def test_a_type_that_nobody_knows_is_refused(house: House) -> None:
    response = await house.ask(ListConfigResourcesRequest(resource_types=(TOPIC, 3)))
    assert isinstance(response, ListConfigResourcesResponse)
    assert (response.error_code, response.config_resources) == (ErrorCode.UNSUPPORTED_VERSION, ())
