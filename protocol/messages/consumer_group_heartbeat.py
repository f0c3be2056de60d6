"""ConsumerGroupHeartbeat (68): all that a member and its group say to each other when the broker assigns (KIP-848).

Flexible from the start. v1: subscribed_topic_regex; the member makes its own member_id (KIP-1082).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import (
    array,
    error,
    int32,
    int32_array,
    nullable_array,
    nullable_string,
    nullable_string_array,
    nullable_struct,
    string,
    uuid,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPartitions:
    """Partitions of a topic."""

    topic_id: UUID = uuid()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerGroupHeartbeatRequest:
    """Joins, stays or leaves; what has not changed since the last heartbeat is null or -1."""

    group_id: str = string()
    member_id: str = string()
    member_epoch: int = int32()
    """0: joins; -1: leaves; -2: leaves as a static member that comes back."""
    instance_id: str | None = nullable_string()
    rack_id: str | None = nullable_string()
    rebalance_timeout_ms: int = int32(-1)
    """For how long the coordinator waits for the member to give partitions up."""
    subscribed_topic_names: tuple[str, ...] | None = nullable_string_array(None)
    subscribed_topic_regex: str | None = nullable_string(nullable="1+", versions="1+")
    server_assignor: str | None = nullable_string()
    topic_partitions: tuple[TopicPartitions, ...] | None = nullable_array(TopicPartitions, None)
    """What the member has now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the member shall have."""

    topic_partitions: tuple[TopicPartitions, ...] = array(TopicPartitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerGroupHeartbeatResponse:
    """The member's epoch, and its assignment if that has changed."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    member_id: str | None = nullable_string()
    member_epoch: int = int32()
    heartbeat_interval_ms: int = int32()
    """How often to send heartbeats."""
    assignment: Assignment | None = nullable_struct(Assignment)
