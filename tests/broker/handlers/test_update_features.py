"""UpdateFeatures: what is so may be asked for, what would be a change is refused as Kafka does (KIP-584, KIP-778)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.house import House, a_house
from tidelog.broker.errors import MESSAGE_LENGTH_MAX
from tidelog.broker.features import FEATURES
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.update_features import (
    FeatureUpdateKey,
    UpdatableFeatureResult,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)

LEVEL = FEATURES[0].level
METADATA = "metadata.version"
UP, SAFELY_DOWN, DOWN = 1, 2, 3


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Node 7."""
    async with a_house(tmp_path / "data", "node.id=7") as house:
        yield house


def to(name: str, level: int, upgrade_type: int = UP) -> FeatureUpdateKey:
    return FeatureUpdateKey(feature=name, max_version_level=level, upgrade_type=upgrade_type)


def updated(
    house: House, *updates: FeatureUpdateKey, version: int = 2, validate_only: bool = False
) -> UpdateFeaturesResponse:
    request = UpdateFeaturesRequest(feature_updates=updates, validate_only=validate_only)
    response = house.call(request, version)
    assert isinstance(response, UpdateFeaturesResponse)
    return response


@pytest.mark.parametrize("version", range(3))
@pytest.mark.parametrize("upgrade_type", [UP, SAFELY_DOWN, DOWN])
@pytest.mark.parametrize("validate_only", [False, True])
async def test_the_present_level_is_granted(house: House, version: int, upgrade_type: int, validate_only: bool) -> None:
    response = updated(house, to(METADATA, LEVEL, upgrade_type), version=version, validate_only=validate_only)
    assert response == UpdateFeaturesResponse(
        error_message=None, results=(UpdatableFeatureResult(feature=METADATA, error_message=None),)
    )


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (to(METADATA, LEVEL + 1), f"Local controller 7 only supports versions {LEVEL}"),
        (to(METADATA, LEVEL - 1, DOWN), f"Local controller 7 only supports versions {LEVEL}"),
        (to(METADATA, 0), f"Local controller 7 only supports versions {LEVEL}"),
        (to(METADATA, -1), "A feature version cannot be less than 0."),
        (to("transaction.version", 2), "Local controller 7 does not support this feature."),
        (to("nonsense", 1), "Local controller 7 does not support this feature."),
        (to(METADATA, LEVEL, 0), "The controller does not support the given upgrade type."),
        (to(METADATA, LEVEL, 4), "The controller does not support the given upgrade type."),
    ],
)
@pytest.mark.parametrize("version", range(3))
@pytest.mark.parametrize("validate_only", [False, True])
async def test_one_change_is_one_refusal_of_all(
    house: House, update: FeatureUpdateKey, reason: str, *, version: int, validate_only: bool
) -> None:
    response = updated(house, to(METADATA, LEVEL), update, version=version, validate_only=validate_only)
    assert response.error_code == ErrorCode.INVALID_UPDATE_VERSION
    assert response.error_message == (
        "The update failed for all features since the following feature had an error: "
        f"Invalid update version {update.max_version_level} for feature {update.feature}. {reason}"
    )
    assert response.results == ()


async def test_what_is_said_of_an_endless_name_ends(house: House) -> None:
    assert len(updated(house, to("x" * 30_000, 1)).error_message or "") == MESSAGE_LENGTH_MAX


async def test_nothing_asked_is_nothing_refused(house: House) -> None:
    assert updated(house) == UpdateFeaturesResponse(error_message=None)
