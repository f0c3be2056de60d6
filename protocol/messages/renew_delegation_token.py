"""RenewDelegationToken (39): prolongs a delegation token (KIP-48).

v0 is dropped. v1 is like it. v2: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import error, int32, int64, octets


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewDelegationTokenRequest:
    """Prolongs a token."""

    hmac: bytes = octets()
    renew_period_ms: int = int64()
    """From now on; -1: the broker's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewDelegationTokenResponse:
    """Until when it is valid now."""

    error_code: int = error()
    expiry_timestamp_ms: int = int64()
    throttle_time_ms: int = int32()
