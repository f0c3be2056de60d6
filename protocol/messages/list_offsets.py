"""ListOffsets (2): the offset that belongs to a timestamp, or to one of the special positions below.

v2: isolation level. v4: leader epochs. v6: flexible. v7: MAX_TIMESTAMP (KIP-734). v8: EARLIEST_LOCAL (KIP-405).
v9: LATEST_TIERED (KIP-1005). v10: timeout_ms (KIP-1075). v11: EARLIEST_PENDING_UPLOAD (KIP-1023).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int8, int32, int64, string

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOffsetsPartition:
    """What is sought in a partition."""

    partition_index: int = int32()
    current_leader_epoch: int = int32(-1, versions="4+")
    timestamp: int = int64()
    """Milliseconds, or one of the constants above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOffsetsTopic:
    """What is sought in a topic."""

    name: str = string()
    partitions: tuple[ListOffsetsPartition, ...] = array(ListOffsetsPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOffsetsRequest:
    """Seeks offsets in partitions."""

    replica_id: int = int32()
    """Consumers send -1; Kafka's default is nevertheless 0."""
    isolation_level: int = int8(versions="2+")
    topics: tuple[ListOffsetsTopic, ...] = array(ListOffsetsTopic)
    timeout_ms: int = int32(versions="10+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOffsetsPartitionResponse:
    """What was found in a partition; -1 where nothing was."""

    partition_index: int = int32()
    error_code: int = error()
    timestamp: int = int64(-1, versions="1+")
    offset: int = int64(-1, versions="1+")
    leader_epoch: int = int32(-1, versions="4+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOffsetsTopicResponse:
    """What was found in a topic."""

    name: str = string()
    partitions: tuple[ListOffsetsPartitionResponse, ...] = array(ListOffsetsPartitionResponse)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOffsetsResponse:
    """What was found."""

    throttle_time_ms: int = int32(versions="2+")
    topics: tuple[ListOffsetsTopicResponse, ...] = array(ListOffsetsTopicResponse)
