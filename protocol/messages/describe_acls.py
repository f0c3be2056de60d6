"""DescribeAcls (29): who may do what (KIP-140).

v0 is dropped. v1: types of pattern (KIP-290). v2: flexible. v3: users as resources (KIP-373).

The numbers: resource type 1 any, 2 topic, 3 group, 4 cluster, 5 transactional id, 6 delegation token, 7 user; pattern
type 1 any, 2 whatever matches, 3 literal, 4 prefixed; operation 1 any, 2 all, 3 read, 4 write, 5 create, 6 delete, 7
alter, 8 describe, 9 cluster action, 10 describe configs, 11 alter configs, 12 idempotent write, 13 create tokens, 14
describe tokens, 15 two-phase commit; permission type 1 any, 2 deny, 3 allow.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int8, int32, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeAclsRequest:
    """Asks for the ACLs that all filters match."""

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
class AclDescription:
    """What a principal may do from a host, or may not."""

    principal: str = string()
    host: str = string()
    operation: int = int8()
    permission_type: int = int8()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeAclsResource:
    """The ACLs of a pattern of resources."""

    resource_type: int = int8()
    resource_name: str = string()
    pattern_type: int = int8(3, versions="1+")
    acls: tuple[AclDescription, ...] = array(AclDescription)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeAclsResponse:
    """The ACLs."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string("")
    resources: tuple[DescribeAclsResource, ...] = array(DescribeAclsResource)
