"""DescribeUserScramCredentials (50): which users can log in by SCRAM (KIP-554).

Flexible from the start. Mechanism 1 is SCRAM-SHA-256, 2 is SCRAM-SHA-512.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int8, int32, nullable_array, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class UserName:
    """A user."""

    name: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeUserScramCredentialsRequest:
    """Asks about users."""

    users: tuple[UserName, ...] | None = nullable_array(UserName)
    """Null or none: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialInfo:
    """What is told of a credential; nothing that would help to guess it."""

    mechanism: int = int8()
    iterations: int = int32()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeUserScramCredentialsResult:
    """A user's credentials."""

    user: str = string()
    error_code: int = error()
    error_message: str | None = nullable_string("")
    credential_infos: tuple[CredentialInfo, ...] = array(CredentialInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeUserScramCredentialsResponse:
    """The users."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string("")
    results: tuple[DescribeUserScramCredentialsResult, ...] = array(DescribeUserScramCredentialsResult)
