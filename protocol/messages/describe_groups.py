"""DescribeGroups (15): classic groups with their members.

v1: throttle_time_ms. v2 is like v1. v3: authorized operations (KIP-430). v4: group_instance_id (KIP-345). v5:
flexible. v6: GROUP_ID_NOT_FOUND with a message where there used to be a dead group (KIP-1043).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int32, nullable_string, octets, string, string_array
from .metadata import OPERATIONS_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeGroupsRequest:
    """Asks about groups."""

    groups: tuple[str, ...] = string_array()
    include_authorized_operations: bool = boolean(versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedGroupMember:
    """A member."""

    member_id: str = string()
    group_instance_id: str | None = nullable_string(nullable="4+", versions="4+")
    client_id: str = string()
    client_host: str = string()
    member_metadata: bytes = octets()
    """What it said of the protocol chosen; empty unless the group is stable."""
    member_assignment: bytes = octets()
    """Its part; empty unless the group is stable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedGroup:
    """A group."""

    error_code: int = error()
    error_message: str | None = nullable_string(nullable="6+", versions="6+")
    group_id: str = string()
    group_state: str = string()
    protocol_type: str = string()
    protocol_data: str = string()
    """The name of the protocol chosen; empty unless the group is stable."""
    members: tuple[DescribedGroupMember, ...] = array(DescribedGroupMember)
    authorized_operations: int = int32(OPERATIONS_UNKNOWN, versions="3+")
    """Bits of what the asking principal may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeGroupsResponse:
    """The groups."""

    throttle_time_ms: int = int32(versions="1+")
    groups: tuple[DescribedGroup, ...] = array(DescribedGroup)
