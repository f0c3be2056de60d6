"""Heartbeat (12): a member says that it lives, and learns whether the group is being rebalanced.

v1: throttle_time_ms. v2 is like v1. v3: group_instance_id (KIP-345). v4: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import error, int32, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatRequest:
    """A sign of life."""

    group_id: str = string()
    generation_id: int = int32()
    member_id: str = string()
    group_instance_id: str | None = nullable_string(nullable="3+", versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatResponse:
    """Whether the member may go on as it is."""

    throttle_time_ms: int = int32(versions="1+")
    error_code: int = error()
