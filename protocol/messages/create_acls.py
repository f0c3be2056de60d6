"""CreateAcls (30): allows or forbids (KIP-140).

v0 is dropped. v1: types of pattern (KIP-290). v2: flexible. v3: users as resources (KIP-373). The numbers are told in
`describe_acls`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int8, int32, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class AclCreation:
    """A new ACL."""

    resource_type: int = int8()
    resource_name: str = string()
    resource_pattern_type: int = int8(3, versions="1+")
    principal: str = string()
    host: str = string()
    operation: int = int8()
    permission_type: int = int8()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAclsRequest:
    """Creates ACLs, each for itself."""

    creations: tuple[AclCreation, ...] = array(AclCreation)


@dataclass(frozen=True, slots=True, kw_only=True)
class AclCreationResult:
    """What became of one ACL."""

    error_code: int = error()
    error_message: str | None = nullable_string("")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAclsResponse:
    """What became of the ACLs, in their order."""

    throttle_time_ms: int = int32()
    results: tuple[AclCreationResult, ...] = array(AclCreationResult)
