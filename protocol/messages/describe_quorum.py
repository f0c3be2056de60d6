"""DescribeQuorum (55): who leads and who votes in the cluster's own metadata log (KIP-595).

Flexible from the start. v1: when a replica last fetched and last was caught up (KIP-836). v2: nodes with their
addresses, directory ids, error messages (KIP-853). Where request and response give two structs the same name, the
response's begins with Response here.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, error, int32, int64, nullable_string, string, uint16, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionData:
    """A partition to describe."""

    partition_index: int = int32()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicData:
    """A topic to describe."""

    topic_name: str = string()
    partitions: tuple[PartitionData, ...] = array(PartitionData)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeQuorumRequest:
    """Asks about the quorum."""

    topics: tuple[TopicData, ...] = array(TopicData)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """How far a replica is."""

    replica_id: int = int32()
    replica_directory_id: UUID = uuid(versions="2+")
    log_end_offset: int = int64()
    """-1 if unknown."""
    last_fetch_timestamp: int = int64(-1, versions="1+")
    """By the leader's clock, in ms; for the leader itself the present; -1 if unknown."""
    last_caught_up_timestamp: int = int64(-1, versions="1+")
    """When the leader wrote what the replica fetched last, in ms; for the leader itself the present; -1 if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsePartitionData:
    """Who leads a partition, and its replicas."""

    partition_index: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string("", nullable="2+", versions="2+")
    leader_id: int = int32()
    """-1 if unknown."""
    leader_epoch: int = int32()
    high_watermark: int = int64()
    current_voters: tuple[ReplicaState, ...] = array(ReplicaState)
    observers: tuple[ReplicaState, ...] = array(ReplicaState)
    """Replicas that do not vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseTopicData:
    """A topic of the quorum."""

    topic_name: str = string()
    partitions: tuple[ResponsePartitionData, ...] = array(ResponsePartitionData)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """An address of a node."""

    name: str = string(versions="2+")
    host: str = string(versions="2+")
    port: int = uint16(versions="2+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the quorum."""

    node_id: int = int32(versions="2+")
    listeners: tuple[Listener, ...] = array(Listener, versions="2+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeQuorumResponse:
    """The quorum."""

    error_code: int = error()
    error_message: str | None = nullable_string("", nullable="2+", versions="2+")
    topics: tuple[ResponseTopicData, ...] = array(ResponseTopicData)
    nodes: tuple[Node, ...] = array(Node, versions="2+")
