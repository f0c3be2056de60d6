"""ShareGroupHeartbeat (76): all that a member and its share group say to each other (KIP-932).

Flexible from the start. v0 was for early access and is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import (
    array,
    error,
    int32,
    int32_array,
    nullable_string,
    nullable_string_array,
    nullable_struct,
    string,
    uuid,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareGroupHeartbeatRequest:
    """Joins, stays or leaves; what has not changed since the last heartbeat is null."""

    group_id: str = string()
    member_id: str = string()
    member_epoch: int = int32()
    """0: joins; -1: leaves."""
    rack_id: str | None = nullable_string()
    subscribed_topic_names: tuple[str, ...] | None = nullable_string_array(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPartitions:
    """Partitions of a topic."""

    topic_id: UUID = uuid()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The partitions that the member shall read from."""

    topic_partitions: tuple[TopicPartitions, ...] = array(TopicPartitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareGroupHeartbeatResponse:
    """The member's epoch, and its assignment if that has changed."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    member_id: str | None = nullable_string()
    member_epoch: int = int32()
    heartbeat_interval_ms: int = int32()
    """How often to send heartbeats."""
    assignment: Assignment | None = nullable_struct(Assignment)
