"""AlterPartitionReassignments (45): moves partitions to other brokers, or stops that (KIP-455).

Flexible from the start. v1: whether the replication factor may change (KIP-860).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int32, nullable_int32_array, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class ReassignablePartition:
    """Where a partition should be."""

    partition_index: int = int32()
    replicas: tuple[int, ...] | None = nullable_int32_array()
    """Null: stop the move that is in progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReassignableTopic:
    """A topic with partitions to move."""

    name: str = string()
    partitions: tuple[ReassignablePartition, ...] = array(ReassignablePartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterPartitionReassignmentsRequest:
    """Moves partitions, each for itself."""

    timeout_ms: int = int32(60000)
    allow_replication_factor_change: bool = boolean(True, versions="1+")
    topics: tuple[ReassignableTopic, ...] = array(ReassignableTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReassignablePartitionResponse:
    """What became of one partition."""

    partition_index: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string("")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReassignableTopicResponse:
    """What became of a topic's partitions."""

    name: str = string()
    partitions: tuple[ReassignablePartitionResponse, ...] = array(ReassignablePartitionResponse)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterPartitionReassignmentsResponse:
    """What became of the partitions."""

    throttle_time_ms: int = int32()
    allow_replication_factor_change: bool = boolean(True, versions="1+")
    error_code: int = error()
    error_message: str | None = nullable_string("")
    responses: tuple[ReassignableTopicResponse, ...] = array(ReassignableTopicResponse)
