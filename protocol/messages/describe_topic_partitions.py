"""DescribeTopicPartitions (75): topics and their partitions, page by page (KIP-966).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import (
    array,
    boolean,
    error,
    int32,
    int32_array,
    nullable_int32_array,
    nullable_string,
    nullable_struct,
    string,
    uuid,
)
from .metadata import OPERATIONS_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRequest:
    """A topic to describe."""

    name: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """From which partition of which topic on to describe."""

    topic_name: str = string()
    partition_index: int = int32()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTopicPartitionsRequest:
    """Asks for a page."""

    topics: tuple[TopicRequest, ...] = array(TopicRequest)
    """None: all topics."""
    response_partition_limit: int = int32(2000)
    """How many partitions a page may hold; the broker may allow fewer."""
    cursor: Cursor | None = nullable_struct(Cursor)
    """Null: from the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTopicPartitionsResponsePartition:
    """A partition."""

    error_code: int = error()
    partition_index: int = int32()
    leader_id: int = int32()
    """-1 if it has none."""
    leader_epoch: int = int32(-1)
    replica_nodes: tuple[int, ...] = int32_array()
    isr_nodes: tuple[int, ...] = int32_array()
    eligible_leader_replicas: tuple[int, ...] | None = nullable_int32_array()
    """Replicas out of sync that are known to have all committed records."""
    last_known_elr: tuple[int, ...] | None = nullable_int32_array()
    """Replicas that were eligible before they stopped uncleanly."""
    offline_replicas: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTopicPartitionsResponseTopic:
    """A topic."""

    error_code: int = error()
    name: str | None = nullable_string("")
    topic_id: UUID = uuid()
    is_internal: bool = boolean()
    partitions: tuple[DescribeTopicPartitionsResponsePartition, ...] = array(DescribeTopicPartitionsResponsePartition)
    topic_authorized_operations: int = int32(OPERATIONS_UNKNOWN)
    """Bits of what the asking principal may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTopicPartitionsResponse:
    """A page of partitions, topics in the order of their names."""

    throttle_time_ms: int = int32()
    topics: tuple[DescribeTopicPartitionsResponseTopic, ...] = array(DescribeTopicPartitionsResponseTopic)
    next_cursor: Cursor | None = nullable_struct(Cursor)
    """Where the next page begins; null after the last one."""
