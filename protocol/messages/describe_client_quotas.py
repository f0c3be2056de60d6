"""DescribeClientQuotas (48): how much users and clients may use (KIP-546).

v1: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, float64, int8, int32, nullable_array, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentData:
    """A part of the filter: one type of entity."""

    entity_type: str = string()
    """user, client-id or ip."""
    match_type: int = int8()
    """0: the entity named; 1: the default entity; 2: any that has a name."""
    match: str | None = nullable_string("")
    """The name, for match type 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeClientQuotasRequest:
    """Asks for the quotas of entities that every part of the filter matches."""

    components: tuple[ComponentData, ...] = array(ComponentData)
    strict: bool = boolean()
    """Leaves out entities that have types which the filter does not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityData:
    """A part of an entity's name."""

    entity_type: str = string()
    entity_name: str | None = nullable_string("")
    """Null: the default entity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueData:
    """A quota."""

    key: str = string()
    value: float = float64()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryData:
    """An entity and its quotas."""

    entity: tuple[EntityData, ...] = array(EntityData)
    values: tuple[ValueData, ...] = array(ValueData)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeClientQuotasResponse:
    """The quotas."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string("")
    entries: tuple[EntryData, ...] | None = nullable_array(EntryData)
