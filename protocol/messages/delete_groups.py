"""DeleteGroups (42): deletes groups without members, with their offsets (KIP-229).

v1 is like v0. v2: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, string, string_array


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteGroupsRequest:
    """Deletes groups, each for itself."""

    groups_names: tuple[str, ...] = string_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletableGroupResult:
    """What became of one group."""

    group_id: str = string()
    error_code: int = error()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteGroupsResponse:
    """What became of the groups."""

    throttle_time_ms: int = int32()
    results: tuple[DeletableGroupResult, ...] = array(DeletableGroupResult)
