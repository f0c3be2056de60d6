"""StreamsGroupDescribe (89): Kafka Streams groups with their members (KIP-1071).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import (
    array,
    boolean,
    error,
    int16,
    int32,
    int32_array,
    int64,
    nullable_array,
    nullable_string,
    nullable_struct,
    string,
    string_array,
    struct,
    uint16,
)
from .metadata import OPERATIONS_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsGroupDescribeRequest:
    """Asks about groups."""

    group_ids: tuple[str, ...] = string_array()
    include_authorized_operations: bool = boolean()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """A name and its value."""

    key: str = string()
    value: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """A topic that the application needs."""

    name: str = string()
    partitions: int = int32()
    replication_factor: int = int16()
    topic_configs: tuple[KeyValue, ...] = array(KeyValue)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtopology:
    """A part of the topology whose tasks are independent of the others."""

    subtopology_id: str = string()
    source_topics: tuple[str, ...] = string_array()
    repartition_sink_topics: tuple[str, ...] = string_array()
    state_changelog_topics: tuple[TopicInfo, ...] = array(TopicInfo)
    repartition_source_topics: tuple[TopicInfo, ...] = array(TopicInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What the application reads and writes."""

    epoch: int = int32()
    subtopologies: tuple[Subtopology, ...] | None = nullable_array(Subtopology, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an instance answers interactive queries."""

    host: str = string()
    port: int = uint16()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOffset:
    """How far a task's changelog goes."""

    subtopology_id: str = string()
    partition: int = int32()
    offset: int = int64()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskIds:
    """Tasks of a subtopology, one per partition."""

    subtopology_id: str = string()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Tasks of a member."""

    active_tasks: tuple[TaskIds, ...] = array(TaskIds)
    standby_tasks: tuple[TaskIds, ...] = array(TaskIds)
    warmup_tasks: tuple[TaskIds, ...] = array(TaskIds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member."""

    member_id: str = string()
    member_epoch: int = int32()
    instance_id: str | None = nullable_string()
    rack_id: str | None = nullable_string()
    client_id: str = string()
    client_host: str = string()
    topology_epoch: int = int32()
    process_id: str = string()
    user_endpoint: Endpoint | None = nullable_struct(Endpoint)
    client_tags: tuple[KeyValue, ...] = array(KeyValue)
    task_offsets: tuple[TaskOffset, ...] = array(TaskOffset)
    task_end_offsets: tuple[TaskOffset, ...] = array(TaskOffset)
    assignment: Assignment = struct(Assignment)
    """What it has."""
    target_assignment: Assignment = struct(Assignment)
    """What it shall have."""
    is_classic: bool = boolean()
    """It speaks the classic protocol."""


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
    """The group epoch that the target assignment was made for."""
    topology: Topology | None = nullable_struct(Topology)
    """Null until a member has told it."""
    members: tuple[Member, ...] = array(Member)
    authorized_operations: int = int32(OPERATIONS_UNKNOWN)
    """Bits of what the asking principal may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsGroupDescribeResponse:
    """The groups."""

    throttle_time_ms: int = int32()
    groups: tuple[DescribedGroup, ...] = array(DescribedGroup)
