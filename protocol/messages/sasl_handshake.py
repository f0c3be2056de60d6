"""SaslHandshake (17): chooses how to authenticate (KIP-43).

Never flexible. v0: what follows are bare tokens, each behind its length. v1: what follows is SaslAuthenticate
(KIP-152).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import error, string, string_array


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslHandshakeRequest:
    """Chooses a mechanism."""

    mechanism: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslHandshakeResponse:
    """Whether it may be used."""

    error_code: int = error()
    mechanisms: tuple[str, ...] = string_array()
    """Those that may be used."""
