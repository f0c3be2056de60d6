"""JoinGroup (11): a member enters a group, or a new generation of it, and waits until all have.

v1: rebalance_timeout_ms (KIP-62). v2: throttle_time_ms. v3 is like v2. v4: a new member is first sent back with the id
it shall have (KIP-394). v5: group_instance_id (KIP-345). v6: flexible. v7: the answer says the protocol type and may
have no protocol name (KIP-559). v8: reason (KIP-800). v9: skip_assignment (KIP-814).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int32, nullable_string, octets, string


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinGroupRequestProtocol:
    """A protocol that the member can follow: for consumers an assignor, with their subscription."""

    name: str = string()
    metadata: bytes = octets()
    """Only members read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinGroupRequest:
    """Joins a group."""

    group_id: str = string()
    session_timeout_ms: int = int32()
    """Without a heartbeat for so long the member counts as dead."""
    rebalance_timeout_ms: int = int32(-1, versions="1+")
    """For how long others wait for the member; v0 takes the session timeout."""
    member_id: str = string()
    """Empty for a new member."""
    group_instance_id: str | None = nullable_string(nullable="5+", versions="5+")
    """Makes the member static: it keeps its place over a restart."""
    protocol_type: str = string()
    protocols: tuple[JoinGroupRequestProtocol, ...] = array(JoinGroupRequestProtocol)
    """The most wanted first."""
    reason: str | None = nullable_string(nullable="8+", versions="8+")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinGroupResponseMember:
    """A member, for the leader to assign to."""

    member_id: str = string()
    group_instance_id: str | None = nullable_string(nullable="5+", versions="5+")
    metadata: bytes = octets()


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinGroupResponse:
    """The new generation."""

    throttle_time_ms: int = int32(versions="2+")
    error_code: int = error()
    generation_id: int = int32(-1)
    protocol_type: str | None = nullable_string(nullable="7+", versions="7+")
    protocol_name: str | None = nullable_string("", nullable="7+")
    leader: str = string()
    """The id of the member that computes the assignment."""
    skip_assignment: bool = boolean(versions="9+")
    """The leader may leave the assignment as it was."""
    member_id: str = string()
    members: tuple[JoinGroupResponseMember, ...] = array(JoinGroupResponseMember)
    """Filled in for the leader only."""
