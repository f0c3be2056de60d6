"""GetTelemetrySubscriptions (71): which metrics a client shall push (KIP-714).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import boolean, error, int8_array, int32, string_array, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTelemetrySubscriptionsRequest:
    """Asks what to push."""

    client_instance_id: UUID = uuid()
    """Zero at the first time: the broker makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTelemetrySubscriptionsResponse:
    """What to push, and how often."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    client_instance_id: UUID = uuid()
    subscription_id: int = int32()
    """Changes with what is asked for; a push names it."""
    accepted_compression_types: tuple[int, ...] = int8_array()
    """The most wanted first; 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
    push_interval_ms: int = int32()
    telemetry_max_bytes: int = int32()
    """Of the metrics in one push."""
    delta_temporality: bool = boolean()
    """Counters are told as what was added since the last push."""
    requested_metrics: tuple[str, ...] = string_array()
    """Prefixes of names; an empty one is all metrics, no prefix at all is none."""
