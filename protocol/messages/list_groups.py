"""ListGroups (16): which groups there are.

v1: throttle_time_ms. v2 is like v1. v3: flexible. v4: states (KIP-518). v5: types (KIP-848).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, string, string_array


@dataclass(frozen=True, slots=True, kw_only=True)
class ListGroupsRequest:
    """Asks for groups."""

    states_filter: tuple[str, ...] = string_array(versions="4+")
    """None: groups in any state."""
    types_filter: tuple[str, ...] = string_array(versions="5+")
    """None: groups of any type, such as classic, consumer or share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedGroup:
    """A group."""

    group_id: str = string()
    protocol_type: str = string()
    """What its members call what they do: consumer, connect, ..."""
    group_state: str = string(versions="4+")
    group_type: str = string(versions="5+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListGroupsResponse:
    """The groups that this broker coordinates."""

    throttle_time_ms: int = int32(versions="1+")
    error_code: int = error()
    groups: tuple[ListedGroup, ...] = array(ListedGroup)
