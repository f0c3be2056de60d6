"""ListConfigResources (74): which resources have settings of their own (KIP-1142).

Flexible from the start. v0, then called ListClientMetricsResources, lists client metrics only (KIP-714). v1: resource
types.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int8, int8_array, int32, string


@dataclass(frozen=True, slots=True, kw_only=True)
class ListConfigResourcesRequest:
    """Asks for resources."""

    resource_types: tuple[int, ...] = int8_array(versions="1+")
    """As in DescribeConfigs; none: every type that is supported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigResource:
    """A resource."""

    resource_name: str = string()
    resource_type: int = int8(16, versions="1+")
    """As in DescribeConfigs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListConfigResourcesResponse:
    """The resources."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    config_resources: tuple[ConfigResource, ...] = array(ConfigResource)
