"""UpdateFeatures (57): sets the levels of the cluster's features (KIP-584).

Flexible from the start. v1: kinds of downgrade, validate_only (KIP-778). v2: one result for all features instead of
one for each.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int8, int16, int32, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureUpdateKey:
    """A feature's new level."""

    feature: str = string()
    max_version_level: int = int16()
    """Below 1: the feature is to be switched off."""
    allow_downgrade: bool = boolean(versions="0")
    """See upgrade_type."""
    upgrade_type: int = int8(1, versions="1+")
    """1 up only, 2 also down if nothing is lost by it, 3 also down if something is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFeaturesRequest:
    """Sets features, all or none."""

    timeout_ms: int = int32(60000)
    feature_updates: tuple[FeatureUpdateKey, ...] = array(FeatureUpdateKey)
    validate_only: bool = boolean(versions="1+")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatableFeatureResult:
    """What became of one feature."""

    feature: str = string()
    error_code: int = error()
    error_message: str | None = nullable_string("")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFeaturesResponse:
    """What became of the features."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string("")
    results: tuple[UpdatableFeatureResult, ...] = array(UpdatableFeatureResult, versions="0-1")
