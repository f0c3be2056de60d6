"""ExpireDelegationToken (40): ends a delegation token sooner, or at once (KIP-48).

v0 is dropped. v1 is like it. v2: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import error, int32, int64, octets


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireDelegationTokenRequest:
    """Ends a token."""

    hmac: bytes = octets()
    expiry_time_period_ms: int = int64()
    """From now on; negative: at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireDelegationTokenResponse:
    """Until when it is valid now."""

    error_code: int = error()
    expiry_timestamp_ms: int = int64()
    throttle_time_ms: int = int32()
