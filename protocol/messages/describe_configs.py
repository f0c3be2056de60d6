"""DescribeConfigs (32): the settings of topics, brokers and other resources, with where each value is from (KIP-133).

v0, with is_default in place of a source, is dropped. v1: config_source, synonyms (KIP-226). v2 is like v1. v3: types
and documentation (KIP-569). v4: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int8, int32, nullable_string, nullable_string_array, string


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeConfigsResource:
    """A resource whose settings are wanted."""

    resource_type: int = int8()
    """2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group."""
    resource_name: str = string()
    configuration_keys: tuple[str, ...] | None = nullable_string_array()
    """Which settings; null: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeConfigsRequest:
    """Asks for settings."""

    resources: tuple[DescribeConfigsResource, ...] = array(DescribeConfigsResource)
    include_synonyms: bool = boolean(versions="1+")
    include_documentation: bool = boolean(versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeConfigsSynonym:
    """A place that a setting's value can come from, and what it says."""

    name: str = string(versions="1+")
    value: str | None = nullable_string("", versions="1+")
    source: int = int8(versions="1+")
    """Numbered as config_source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeConfigsResourceResult:
    """A setting."""

    name: str = string()
    value: str | None = nullable_string("")
    """Null when it is secret, or has none."""
    read_only: bool = boolean()
    config_source: int = int8(-1, versions="1+")
    """1 the topic, 2 the broker at run time, 3 all brokers at run time, 4 the file at start, 5 the default, 6 a
    broker's loggers, 7 client metrics, 8 the group; 0 and -1 unknown.
    """
    is_sensitive: bool = boolean()
    synonyms: tuple[DescribeConfigsSynonym, ...] = array(DescribeConfigsSynonym, versions="1+")
    """All places with a value, the one that holds first."""
    config_type: int = int8(versions="3+")
    """1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password; 0 unknown."""
    documentation: str | None = nullable_string("", versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeConfigsResult:
    """The settings of a resource."""

    error_code: int = error()
    error_message: str | None = nullable_string("")
    resource_type: int = int8()
    resource_name: str = string()
    configs: tuple[DescribeConfigsResourceResult, ...] = array(DescribeConfigsResourceResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeConfigsResponse:
    """The settings of the resources."""

    throttle_time_ms: int = int32()
    results: tuple[DescribeConfigsResult, ...] = array(DescribeConfigsResult)
