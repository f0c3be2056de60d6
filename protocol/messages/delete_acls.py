"""DeleteAcls (31): takes away what was allowed or forbidden (KIP-140).

v0 is dropped. v1: types of pattern (KIP-290). v2: flexible. v3: users as resources (KIP-373). The numbers are told in
`describe_acls`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int8, int32, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAclsFilter:
    """Which ACLs to delete."""

    resource_type_filter: int = int8()
    resource_name_filter: str | None = nullable_string("")
    """Null: any."""
    pattern_type_filter: int = int8(3, versions="1+")
    principal_filter: str | None = nullable_string("")
    """Null: any."""
    host_filter: str | None = nullable_string("")
    """Null: any."""
    operation: int = int8()
    permission_type: int = int8()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAclsRequest:
    """Deletes the ACLs that match any of the filters."""

    filters: tuple[DeleteAclsFilter, ...] = array(DeleteAclsFilter)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAclsMatchingAcl:
    """What became of one ACL."""

    error_code: int = error()
    error_message: str | None = nullable_string("")
    resource_type: int = int8()
    resource_name: str = string()
    pattern_type: int = int8(3, versions="1+")
    principal: str = string()
    host: str = string()
    operation: int = int8()
    permission_type: int = int8()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAclsFilterResult:
    """What a filter matched."""

    error_code: int = error()
    error_message: str | None = nullable_string("")
    matching_acls: tuple[DeleteAclsMatchingAcl, ...] = array(DeleteAclsMatchingAcl)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAclsResponse:
    """What the filters matched, in their order."""

    throttle_time_ms: int = int32()
    filter_results: tuple[DeleteAclsFilterResult, ...] = array(DeleteAclsFilterResult)
