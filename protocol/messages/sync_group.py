"""SyncGroup (14): the leader hands in the assignment of a generation, and every member gets its part.

v1: throttle_time_ms. v2 is like v1. v3: group_instance_id (KIP-345). v4: flexible. v5: protocol type and name, which
must be the group's (KIP-559).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, nullable_string, octets, string


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncGroupRequestAssignment:
    """The part of one member."""

    member_id: str = string()
    assignment: bytes = octets()
    """Only members read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncGroupRequest:
    """Asks for a part of the assignment."""

    group_id: str = string()
    generation_id: int = int32()
    member_id: str = string()
    group_instance_id: str | None = nullable_string(nullable="3+", versions="3+")
    protocol_type: str | None = nullable_string(nullable="5+", versions="5+")
    protocol_name: str | None = nullable_string(nullable="5+", versions="5+")
    assignments: tuple[SyncGroupRequestAssignment, ...] = array(SyncGroupRequestAssignment)
    """Filled in by the leader only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncGroupResponse:
    """The member's part."""

    throttle_time_ms: int = int32(versions="1+")
    error_code: int = error()
    protocol_type: str | None = nullable_string(nullable="5+", versions="5+")
    protocol_name: str | None = nullable_string(nullable="5+", versions="5+")
    assignment: bytes = octets()
