"""PushTelemetry (72): a client's metrics (KIP-714).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import boolean, error, int8, int32, octets, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTelemetryRequest:
    """Pushes metrics."""

    client_instance_id: UUID = uuid()
    subscription_id: int = int32()
    terminating: bool = boolean()
    """The client's last push."""
    compression_type: int = int8()
    """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
    metrics: bytes = octets()
    """In OpenTelemetry's protobuf, compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTelemetryResponse:
    """Whether they were taken."""

    throttle_time_ms: int = int32()
    error_code: int = error()
