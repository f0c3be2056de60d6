"""AlterConfigs (33): replaces all settings of a resource; what is not named goes back to its default (KIP-133).

The older way, see IncrementalAlterConfigs. v1 is like v0. v2: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int8, int32, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterableConfig:
    """A setting and its new value."""

    name: str = string()
    value: str | None = nullable_string("")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterConfigsResource:
    """All settings that a resource shall have of its own."""

    resource_type: int = int8()
    """As in DescribeConfigs."""
    resource_name: str = string()
    configs: tuple[AlterableConfig, ...] = array(AlterableConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterConfigsRequest:
    """Replaces the settings of resources, of each for itself."""

    resources: tuple[AlterConfigsResource, ...] = array(AlterConfigsResource)
    validate_only: bool = boolean()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterConfigsResourceResponse:
    """What became of a resource's settings."""

    error_code: int = error()
    error_message: str | None = nullable_string("")
    resource_type: int = int8()
    resource_name: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterConfigsResponse:
    """What became of the settings."""

    throttle_time_ms: int = int32()
    responses: tuple[AlterConfigsResourceResponse, ...] = array(AlterConfigsResourceResponse)
