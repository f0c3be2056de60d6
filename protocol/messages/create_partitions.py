"""CreatePartitions (37): more partitions for topics that exist (KIP-195).

v1 is like v0. v2: flexible. v3: THROTTLING_QUOTA_EXCEEDED may be answered (KIP-599).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int32, int32_array, nullable_array, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartitionsAssignment:
    """On which brokers one of the new partitions should be."""

    broker_ids: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartitionsTopic:
    """A topic that is to grow."""

    name: str = string()
    count: int = int32()
    """How many partitions it shall have in the end."""
    assignments: tuple[CreatePartitionsAssignment, ...] | None = nullable_array(CreatePartitionsAssignment)
    """One per new partition; null leaves the choice to the broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartitionsRequest:
    """Adds partitions to topics, to each for itself."""

    topics: tuple[CreatePartitionsTopic, ...] = array(CreatePartitionsTopic)
    timeout_ms: int = int32()
    validate_only: bool = boolean()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartitionsTopicResult:
    """What became of one topic."""

    name: str = string()
    error_code: int = error()
    error_message: str | None = nullable_string()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartitionsResponse:
    """What became of the topics."""

    throttle_time_ms: int = int32()
    results: tuple[CreatePartitionsTopicResult, ...] = array(CreatePartitionsTopicResult)
