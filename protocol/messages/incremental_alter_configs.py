"""IncrementalAlterConfigs (44): changes single settings of resources and leaves the others as they are (KIP-339).

v1: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int8, int32, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterableConfig:
    """A change of one setting."""

    name: str = string()
    config_operation: int = int8()
    """0 sets it, 1 puts it back to its default, 2 appends to a list, 3 takes away from a list."""
    value: str | None = nullable_string("")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterConfigsResource:
    """The changes of a resource."""

    resource_type: int = int8()
    """As in DescribeConfigs."""
    resource_name: str = string()
    configs: tuple[AlterableConfig, ...] = array(AlterableConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalAlterConfigsRequest:
    """Changes settings, of each resource all or none."""

    resources: tuple[AlterConfigsResource, ...] = array(AlterConfigsResource)
    validate_only: bool = boolean()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterConfigsResourceResponse:
    """What became of the changes of a resource."""

    error_code: int = error()
    error_message: str | None = nullable_string("")
    resource_type: int = int8()
    resource_name: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalAlterConfigsResponse:
    """What became of the changes."""

    throttle_time_ms: int = int32()
    responses: tuple[AlterConfigsResourceResponse, ...] = array(AlterConfigsResourceResponse)
