"""ApiVersions: the ranges that clients negotiate by, and who may ask [1b.1, 1b.3…1b.6]."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.house import House, a_house
from tidelog.broker.handlers.api_versions import unsupported
from tidelog.protocol.apis import KAFKA_APIS, ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker."""
    async with a_house(tmp_path / "data") as house:
        yield house


def served(house: House, version: int = 4) -> ApiVersionsResponse:
    asked = ApiVersionsRequest(client_software_name="librdkafka", client_software_version="2.16.0")
    response = house.call(asked, version)
    assert isinstance(response, ApiVersionsResponse)
    assert response.error_code == ErrorCode.NONE
    return response


def ranges(response: ApiVersionsResponse) -> dict[int, range]:
    return {entry.api_key: range(entry.min_version, entry.max_version + 1) for entry in response.api_keys}


@pytest.mark.parametrize("version", range(5))
async def test_every_version_is_told_all_that_is_served_in_ascending_order(house: House, version: int) -> None:
    told = ranges(served(house, version))
    assert list(told) == sorted(KAFKA_APIS)
    assert {key: versions[-1] for key, versions in told.items()} == {
        api.key: api.versions.max for api in KAFKA_APIS.values()
    }


async def test_produce_is_advertised_from_0_though_served_from_3(house: House) -> None:
    """1b.3: or older librdkafka turns compression off."""
    told = ranges(served(house))
    assert told[ApiKey.PRODUCE][0] == 0
    assert KAFKA_APIS[ApiKey.PRODUCE].versions.min == 3
    assert all(told[key][0] == api.versions.min for key, api in KAFKA_APIS.items() if key is not ApiKey.PRODUCE)


@pytest.mark.parametrize(
    ("key", "version"),
    [
        (ApiKey.PRODUCE, 3),
        (ApiKey.PRODUCE, 7),
        (ApiKey.FETCH, 4),
        (ApiKey.FETCH, 10),
        (ApiKey.LIST_OFFSETS, 1),
        (ApiKey.METADATA, 0),
        (ApiKey.API_VERSIONS, 0),
        (ApiKey.API_VERSIONS, 3),
    ],
)
async def test_the_points_at_which_librdkafka_looks_are_inside_the_ranges(
    house: House, key: ApiKey, version: int
) -> None:
    """1b.4: its feature map wants exactly these."""
    assert version in ranges(served(house))[key]


async def test_topic_ids_are_advertised_everywhere_or_nowhere(house: House) -> None:
    """1b.5."""
    told = ranges(served(house))
    assert 13 in told[ApiKey.PRODUCE]
    assert 13 in told[ApiKey.FETCH]
    assert 12 in told[ApiKey.METADATA]


async def test_no_feature_is_promised_that_is_not_there(house: House) -> None:
    """1b.6: `transaction.version`, above all, would change how every client does transactions."""
    response = served(house)
    assert [feature.name for feature in response.finalized_features] == ["metadata.version", "group.version"]
    assert [feature.name for feature in response.supported_features] == ["metadata.version", "group.version"]


@pytest.mark.parametrize("version", [3, 4])
async def test_a_feature_that_is_supported_is_switched_on(house: House, version: int) -> None:
    """1b.7. Below v4 no supported feature may begin at level 0 (1b.1, KAFKA-17011)."""
    response = house.call(ApiVersionsRequest(client_software_name="a", client_software_version="1"), version)
    assert isinstance(response, ApiVersionsResponse)
    assert response.finalized_features_epoch >= 0
    supported = {feature.name: (feature.min_version, feature.max_version) for feature in response.supported_features}
    assert supported
    for feature in response.finalized_features:
        least, most = supported[feature.name]
        assert 0 < least <= feature.min_version_level <= feature.max_version_level <= most


@pytest.mark.parametrize("name", ["kafka-python", "a", "Z9", "apache.kafka-java", "x" * 200])
async def test_a_client_may_call_itself_what_a_label_may_be(house: House, name: str) -> None:
    """1b.1."""
    for asked in (
        ApiVersionsRequest(client_software_name=name, client_software_version="1.0"),
        ApiVersionsRequest(client_software_name="x", client_software_version=name),
    ):
        response = house.call(asked, 3)
        assert isinstance(response, ApiVersionsResponse)
        assert response.error_code == ErrorCode.NONE


@pytest.mark.parametrize("name", ["", "-a", "a-", ".", "a b", "a\n", "ä", "a/b", 'a"', "x" * 200 + "!"])
@pytest.mark.parametrize("version", [3, 4])
async def test_a_client_that_calls_itself_anything_else_is_refused(house: House, name: str, version: int) -> None:
    """1b.1: name and version alike; older versions of the request have neither."""
    for asked in (
        ApiVersionsRequest(client_software_name=name, client_software_version="1.0"),
        ApiVersionsRequest(client_software_name="x", client_software_version=name),
    ):
        assert house.call(asked, version) == ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
        older = house.call(asked, 2)
        assert isinstance(older, ApiVersionsResponse)
        assert older.error_code == ErrorCode.NONE


async def test_who_asks_in_a_newer_version_is_told_which_ones_there_are() -> None:
    """1b.1, KIP-511."""
    response = unsupported()
    assert response.error_code == ErrorCode.UNSUPPORTED_VERSION
    [entry] = response.api_keys
    assert (entry.api_key, entry.min_version, entry.max_version) == (18, 0, 4)
