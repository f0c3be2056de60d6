"""ApiVersions (18): which APIs, in which versions, a broker serves. The first request of every connection.

v1: throttle_time_ms. v3: flexible, client software, features. v4: a feature's min_version may be 0 (KAFKA-17011).
A broker that does not know the version asked for answers with v0 and UNSUPPORTED_VERSION (KIP-511).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int16, int32, int64, string


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiVersionsRequest:
    """Asks what the broker serves, and says who asks."""

    client_software_name: str = string(versions="3+")
    client_software_version: str = string(versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiVersion:
    """One API and the range of versions in which it is served."""

    api_key: int = int16()
    min_version: int = int16()
    max_version: int = int16()


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportedFeatureKey:
    """A feature that the broker knows, and between which levels."""

    name: str = string(versions="3+")
    min_version: int = int16(versions="3+")
    max_version: int = int16(versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizedFeatureKey:
    """A feature that the cluster has switched on, and at which level."""

    name: str = string(versions="3+")
    max_version_level: int = int16(versions="3+")
    min_version_level: int = int16(versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiVersionsResponse:
    """What the broker serves."""

    error_code: int = error()
    api_keys: tuple[ApiVersion, ...] = array(ApiVersion)
    throttle_time_ms: int = int32(versions="1+")
    supported_features: tuple[SupportedFeatureKey, ...] = array(SupportedFeatureKey, versions="3+", tag=0)
    """In versions below 4 without those whose min_version is 0: older Java clients refuse them."""
    finalized_features_epoch: int = int64(-1, versions="3+", tag=1)
    """-1: unknown, and then finalized_features means nothing."""
    finalized_features: tuple[FinalizedFeatureKey, ...] = array(FinalizedFeatureKey, versions="3+", tag=2)
    zk_migration_ready: bool = boolean(versions="3+", tag=3)
