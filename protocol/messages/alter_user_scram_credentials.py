"""AlterUserScramCredentials (51): sets and deletes users' passwords for SCRAM (KIP-554).

Flexible from the start. Mechanism 1 is SCRAM-SHA-256, 2 is SCRAM-SHA-512. The password itself never travels.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int8, int32, nullable_string, octets, string


@dataclass(frozen=True, slots=True, kw_only=True)
class ScramCredentialDeletion:
    """A credential to delete."""

    name: str = string()
    mechanism: int = int8()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScramCredentialUpsertion:
    """A credential to set."""

    name: str = string()
    mechanism: int = int8()
    iterations: int = int32()
    """How often the password was hashed."""
    salt: bytes = octets()
    salted_password: bytes = octets()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterUserScramCredentialsRequest:
    """Changes credentials, of each user for itself."""

    deletions: tuple[ScramCredentialDeletion, ...] = array(ScramCredentialDeletion)
    upsertions: tuple[ScramCredentialUpsertion, ...] = array(ScramCredentialUpsertion)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterUserScramCredentialsResult:
    """What became of a user's credentials."""

    user: str = string()
    error_code: int = error()
    error_message: str | None = nullable_string("")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterUserScramCredentialsResponse:
    """What became of the credentials."""

    throttle_time_ms: int = int32()
    results: tuple[AlterUserScramCredentialsResult, ...] = array(AlterUserScramCredentialsResult)
