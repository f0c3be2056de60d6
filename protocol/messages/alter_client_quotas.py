"""AlterClientQuotas (49): sets how much users and clients may use (KIP-546).

v1: flexible. Where request and response give two structs the same name, the response's begins with Response here.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, float64, int32, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityData:
    """A part of an entity's name."""

    entity_type: str = string()
    """user, client-id or ip."""
    entity_name: str | None = nullable_string("")
    """Null: the default entity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpData:
    """A quota to set or to remove."""

    key: str = string()
    value: float = float64()
    """Means nothing when the quota is removed."""
    remove: bool = boolean()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryData:
    """An entity and the changes of its quotas."""

    entity: tuple[EntityData, ...] = array(EntityData)
    ops: tuple[OpData, ...] = array(OpData)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterClientQuotasRequest:
    """Changes quotas, of each entity for itself."""

    entries: tuple[EntryData, ...] = array(EntryData)
    validate_only: bool = boolean()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseEntryData:
    """What became of an entity's quotas."""

    error_code: int = error()
    error_message: str | None = nullable_string("")
    entity: tuple[EntityData, ...] = array(EntityData)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterClientQuotasResponse:
    """What became of the quotas."""

    throttle_time_ms: int = int32()
    entries: tuple[ResponseEntryData, ...] = array(ResponseEntryData)
