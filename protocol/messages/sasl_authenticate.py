"""SaslAuthenticate (36): one step of the exchange that a SASL mechanism prescribes (KIP-152).

v1: session_lifetime_ms (KIP-368). v2: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import error, int64, nullable_string, octets


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslAuthenticateRequest:
    """The client's token."""

    auth_bytes: bytes = octets()


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslAuthenticateResponse:
    """The broker's token."""

    error_code: int = error()
    error_message: str | None = nullable_string("")
    auth_bytes: bytes = octets()
    session_lifetime_ms: int = int64(versions="1+")
    """After so long the client must authenticate again; 0: never."""
