"""DescribeDelegationToken (41): which delegation tokens there are (KIP-48).

v0 is dropped. v1 is like it. v2: flexible. v3: who asked for a token (KIP-373).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, int64, nullable_array, octets, string


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeDelegationTokenOwner:
    """An owner of tokens."""

    principal_type: str = string()
    principal_name: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeDelegationTokenRequest:
    """Asks for tokens."""

    owners: tuple[DescribeDelegationTokenOwner, ...] | None = nullable_array(DescribeDelegationTokenOwner)
    """Null: of any owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedDelegationTokenRenewer:
    """Somebody who may prolong the token."""

    principal_type: str = string()
    principal_name: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedDelegationToken:
    """A token; times are in ms since 1970."""

    principal_type: str = string()
    principal_name: str = string()
    token_requester_principal_type: str = string(versions="3+")
    token_requester_principal_name: str = string(versions="3+")
    issue_timestamp: int = int64()
    expiry_timestamp: int = int64()
    """Until when it is valid unless it is prolonged."""
    max_timestamp: int = int64()
    """Beyond which it cannot be prolonged."""
    token_id: str = string()
    hmac: bytes = octets()
    """The secret, in effect the token's password."""
    renewers: tuple[DescribedDelegationTokenRenewer, ...] = array(DescribedDelegationTokenRenewer)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeDelegationTokenResponse:
    """The tokens."""

    error_code: int = error()
    tokens: tuple[DescribedDelegationToken, ...] = array(DescribedDelegationToken)
    throttle_time_ms: int = int32()
