"""StreamsGroupHeartbeat (88): all that a Kafka Streams instance and its group say to each other (KIP-1071).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import (
    array,
    boolean,
    error,
    int8,
    int16,
    int16_array,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """A name and its value."""

    key: str = string()
    value: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """A topic that the application needs and the broker creates."""

    name: str = string()
    partitions: int = int32()
    """0: as many as it follows from the topics that are read."""
    replication_factor: int = int16()
    """0: the broker's default."""
    topic_configs: tuple[KeyValue, ...] = array(KeyValue)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopartitionGroup:
    """Topics that must have the same number of partitions, as positions in the subtopology's lists."""

    source_topics: tuple[int, ...] = int16_array()
    source_topic_regex: tuple[int, ...] = int16_array()
    repartition_source_topics: tuple[int, ...] = int16_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtopology:
    """A part of the topology whose tasks are independent of the others."""

    subtopology_id: str = string()
    source_topics: tuple[str, ...] = string_array()
    source_topic_regex: tuple[str, ...] = string_array()
    """Regular expressions for further topics to read from."""
    state_changelog_topics: tuple[TopicInfo, ...] = array(TopicInfo)
    repartition_sink_topics: tuple[str, ...] = string_array()
    repartition_source_topics: tuple[TopicInfo, ...] = array(TopicInfo)
    copartition_groups: tuple[CopartitionGroup, ...] = array(CopartitionGroup)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What the application reads and writes; sent when it joins."""

    epoch: int = int32()
    subtopologies: tuple[Subtopology, ...] = array(Subtopology)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskIds:
    """Tasks of a subtopology, one per partition."""

    subtopology_id: str = string()
    partitions: tuple[int, ...] = int32_array()


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
class StreamsGroupHeartbeatRequest:
    """Joins, stays or leaves; what has not changed since the last heartbeat is null or -1."""

    group_id: str = string()
    member_id: str = string()
    member_epoch: int = int32()
    """0: joins; -1: leaves; -2: leaves as a static member that comes back."""
    endpoint_information_epoch: int = int32()
    """Of the endpoints that the member knows."""
    instance_id: str | None = nullable_string()
    rack_id: str | None = nullable_string()
    rebalance_timeout_ms: int = int32(-1)
    topology: Topology | None = nullable_struct(Topology)
    active_tasks: tuple[TaskIds, ...] | None = nullable_array(TaskIds, None)
    standby_tasks: tuple[TaskIds, ...] | None = nullable_array(TaskIds, None)
    warmup_tasks: tuple[TaskIds, ...] | None = nullable_array(TaskIds, None)
    process_id: str | None = nullable_string()
    """The same for all members in one process."""
    user_endpoint: Endpoint | None = nullable_struct(Endpoint)
    client_tags: tuple[KeyValue, ...] | None = nullable_array(KeyValue, None)
    """For assignments that keep racks apart."""
    task_offsets: tuple[TaskOffset, ...] | None = nullable_array(TaskOffset, None)
    """How far the member has restored."""
    task_end_offsets: tuple[TaskOffset, ...] | None = nullable_array(TaskOffset, None)
    """How far there is to restore."""
    shutdown_application: bool = boolean()
    """All instances shall stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Something that hinders the group."""

    status_code: int = int8()
    """0 stale topology, 1 source topics missing, 2 topics partitioned wrongly, 3 internal topics missing, 4 the
    application shall stop.
    """
    status_detail: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPartition:
    """Partitions of a topic."""

    topic: str = string()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointToPartitions:
    """The partitions whose state an instance can be asked for."""

    user_endpoint: Endpoint = struct(Endpoint)
    active_partitions: tuple[TopicPartition, ...] = array(TopicPartition)
    standby_partitions: tuple[TopicPartition, ...] = array(TopicPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsGroupHeartbeatResponse:
    """The member's epoch, and its tasks if they have changed."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    member_id: str = string()
    member_epoch: int = int32()
    heartbeat_interval_ms: int = int32()
    """How often to send heartbeats."""
    acceptable_recovery_lag: int = int32()
    """How many offsets a warm-up task may be behind and count as caught up."""
    task_offset_interval_ms: int = int32()
    """How often to send task offsets."""
    status: tuple[Status, ...] | None = nullable_array(Status, None)
    active_tasks: tuple[TaskIds, ...] | None = nullable_array(TaskIds, None)
    standby_tasks: tuple[TaskIds, ...] | None = nullable_array(TaskIds, None)
    warmup_tasks: tuple[TaskIds, ...] | None = nullable_array(TaskIds, None)
    endpoint_information_epoch: int = int32()
    partitions_by_user_endpoint: tuple[EndpointToPartitions, ...] | None = nullable_array(EndpointToPartitions, None)
