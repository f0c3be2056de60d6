"""LeaveGroup (13): members go away.

v1: throttle_time_ms. v2 is like v1. v3: many members at once, also by their group_instance_id (KIP-345). v4: flexible.
v5: reason (KIP-800).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberIdentity:
    """Who goes."""

    member_id: str = string(versions="3+")
    """Empty when the instance id says who."""
    group_instance_id: str | None = nullable_string(nullable="3+", versions="3+")
    reason: str | None = nullable_string(nullable="5+", versions="5+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveGroupRequest:
    """Takes members out of a group."""

    group_id: str = string()
    member_id: str = string(versions="0-2")
    members: tuple[MemberIdentity, ...] = array(MemberIdentity, versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberResponse:
    """What became of one member."""

    member_id: str = string(versions="3+")
    group_instance_id: str | None = nullable_string("", nullable="3+", versions="3+")
    error_code: int = error(versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveGroupResponse:
    """What became of the members."""

    throttle_time_ms: int = int32(versions="1+")
    error_code: int = error()
    members: tuple[MemberResponse, ...] = array(MemberResponse, versions="3+")
