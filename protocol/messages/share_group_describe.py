"""ShareGroupDescribe (77): share groups with their members (KIP-932).

Flexible from the start. v0 was for early access and is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, boolean, error, int32, int32_array, nullable_string, string, string_array, struct, uuid
from .metadata import OPERATIONS_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareGroupDescribeRequest:
    """Asks about groups."""

    group_ids: tuple[str, ...] = string_array()
    include_authorized_operations: bool = boolean()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPartitions:
    """Partitions of a topic."""

    topic_id: UUID = uuid()
    topic_name: str = string()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Partitions of a member."""

    topic_partitions: tuple[TopicPartitions, ...] = array(TopicPartitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member."""

    member_id: str = string()
    rack_id: str | None = nullable_string()
    member_epoch: int = int32()
    client_id: str = string()
    client_host: str = string()
    subscribed_topic_names: tuple[str, ...] = string_array()
    assignment: Assignment = struct(Assignment)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedGroup:
    """A group."""

    error_code: int = error()
    error_message: str | None = nullable_string()
    group_id: str = string()
    group_state: str = string()
    group_epoch: int = int32()
    """Rises with every change of members, subscriptions or topics."""
    assignment_epoch: int = int32()
    """The group epoch that the assignment was made for."""
    assignor_name: str = string()
    members: tuple[Member, ...] = array(Member)
    authorized_operations: int = int32(OPERATIONS_UNKNOWN)
    """Bits of what the asking principal may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareGroupDescribeResponse:
    """The groups."""

    throttle_time_ms: int = int32()
    groups: tuple[DescribedGroup, ...] = array(DescribedGroup)
