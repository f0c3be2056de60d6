"""CreateDelegationToken (38): a token by which others may act for its owner (KIP-48).

v0 is dropped. v1 is like it. v2: flexible. v3: a token for another owner than the one who asks (KIP-373).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, int64, nullable_string, octets, string


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatableRenewers:
    """Somebody who may prolong the token."""

    principal_type: str = string()
    principal_name: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDelegationTokenRequest:
    """Asks for a token."""

    owner_principal_type: str | None = nullable_string("", nullable="3+", versions="3+")
    """Null or empty: the owner is who asks."""
    owner_principal_name: str | None = nullable_string("", nullable="3+", versions="3+")
    renewers: tuple[CreatableRenewers, ...] = array(CreatableRenewers)
    max_lifetime_ms: int = int64()
    """-1: the broker's maximum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDelegationTokenResponse:
    """The token; times are in ms since 1970."""

    error_code: int = error()
    principal_type: str = string()
    principal_name: str = string()
    token_requester_principal_type: str = string(versions="3+")
    token_requester_principal_name: str = string(versions="3+")
    issue_timestamp_ms: int = int64()
    expiry_timestamp_ms: int = int64()
    """Until when it is valid unless it is prolonged."""
    max_timestamp_ms: int = int64()
    """Beyond which it cannot be prolonged."""
    token_id: str = string()
    hmac: bytes = octets()
    """The secret, in effect the token's password."""
    throttle_time_ms: int = int32()
