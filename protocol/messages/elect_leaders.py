"""ElectLeaders (43): has the leaders of partitions elected anew (KIP-183).

v1: kinds of election, a top-level error_code (KIP-460). v2: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int8, int32, int32_array, nullable_array, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPartitions:
    """A topic's partitions."""

    topic: str = string()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectLeadersRequest:
    """Elects leaders."""

    election_type: int = int8(versions="1+")
    """0: the preferred replica; 1: a live replica, even one that lacks records."""
    topic_partitions: tuple[TopicPartitions, ...] | None = nullable_array(TopicPartitions)
    """Null: all partitions."""
    timeout_ms: int = int32(60000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionResult:
    """What became of one partition."""

    partition_id: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string("")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaElectionResult:
    """What became of a topic's partitions."""

    topic: str = string()
    partition_result: tuple[PartitionResult, ...] = array(PartitionResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectLeadersResponse:
    """What became of the elections."""

    throttle_time_ms: int = int32()
    error_code: int = error(versions="1+")
    replica_election_results: tuple[ReplicaElectionResult, ...] = array(ReplicaElectionResult)
