"""FindCoordinator (10): which broker coordinates a group or a transactional id.

v1: key_type, throttle_time_ms, error messages (KIP-98). v2 is like v1. v3: flexible. v4: many keys at once (KIP-699).
v5: TRANSACTION_ABORTABLE may be answered (KIP-890). v6: keys of share groups (KIP-932).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int8, int32, nullable_string, string, string_array


@dataclass(frozen=True, slots=True, kw_only=True)
class FindCoordinatorRequest:
    """Asks for coordinators of one type."""

    key: str = string(versions="0-3")
    key_type: int = int8(versions="1+")
    """0: groups; 1: transactional ids; 2: partitions of share groups, as group:topic id:partition."""
    coordinator_keys: tuple[str, ...] = string_array(versions="4+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """The coordinator of one key."""

    key: str = string(versions="4+")
    node_id: int = int32(versions="4+")
    host: str = string(versions="4+")
    port: int = int32(versions="4+")
    error_code: int = error(versions="4+")
    error_message: str | None = nullable_string("", nullable="4+", versions="4+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FindCoordinatorResponse:
    """The coordinator up to v3, from then on the coordinators."""

    throttle_time_ms: int = int32(versions="1+")
    error_code: int = error(versions="0-3")
    error_message: str | None = nullable_string("", nullable="1-3", versions="1-3")
    node_id: int = int32(versions="0-3")
    host: str = string(versions="0-3")
    port: int = int32(versions="0-3")
    coordinators: tuple[Coordinator, ...] = array(Coordinator, versions="4+")
