"""ListPartitionReassignments (46): which partitions are on their way to other brokers (KIP-455).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, int32_array, nullable_array, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPartitionReassignmentsTopics:
    """Partitions that are asked for."""

    name: str = string()
    partition_indexes: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPartitionReassignmentsRequest:
    """Asks for reassignments in progress."""

    timeout_ms: int = int32(60000)
    topics: tuple[ListPartitionReassignmentsTopics, ...] | None = nullable_array(ListPartitionReassignmentsTopics, None)
    """Null: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OngoingPartitionReassignment:
    """A partition on its way."""

    partition_index: int = int32()
    replicas: tuple[int, ...] = int32_array()
    """Where it is now, or is becoming: those being added and removed count."""
    adding_replicas: tuple[int, ...] = int32_array()
    removing_replicas: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class OngoingTopicReassignment:
    """A topic with partitions on their way."""

    name: str = string()
    partitions: tuple[OngoingPartitionReassignment, ...] = array(OngoingPartitionReassignment)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPartitionReassignmentsResponse:
    """The reassignments in progress."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string("")
    topics: tuple[OngoingTopicReassignment, ...] = array(OngoingTopicReassignment)
