"""ShareAcknowledge (79): a member of a share group says what became of records (KIP-932).

Flexible from the start. v0 was for early access and is dropped. v2: locks may be renewed, and the answer tells for how
long (KIP-1222).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, boolean, error, int8_array, int32, int64, nullable_string, string, struct, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgementBatch:
    """What became of the records from one offset to another, both included."""

    first_offset: int = int64()
    last_offset: int = int64()
    acknowledge_types: tuple[int, ...] = int8_array()
    """One for all records, or one for each: 0 a gap, 1 accepted, 2 released, 3 rejected, 4 lock renewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgePartition:
    """What became of a partition's records."""

    partition_index: int = int32()
    acknowledgement_batches: tuple[AcknowledgementBatch, ...] = array(AcknowledgementBatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeTopic:
    """What became of a topic's records."""

    topic_id: UUID = uuid()
    partitions: tuple[AcknowledgePartition, ...] = array(AcknowledgePartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareAcknowledgeRequest:
    """Acknowledges records."""

    group_id: str | None = nullable_string()
    member_id: str | None = nullable_string("")
    share_session_epoch: int = int32()
    """-1: closes the session; otherwise one more than in the last request."""
    is_renew_ack: bool = boolean(versions="2+")
    """Some locks are to be renewed."""
    topics: tuple[AcknowledgeTopic, ...] = array(AcknowledgeTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderIdAndEpoch:
    """Who leads the partition instead."""

    leader_id: int = int32()
    leader_epoch: int = int32()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionData:
    """Whether a partition's acknowledgements were taken."""

    partition_index: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    current_leader: LeaderIdAndEpoch = struct(LeaderIdAndEpoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareAcknowledgeTopicResponse:
    """Whether a topic's acknowledgements were taken."""

    topic_id: UUID = uuid()
    partitions: tuple[PartitionData, ...] = array(PartitionData)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEndpoint:
    """The address of a node that `current_leader` names."""

    node_id: int = int32()
    host: str = string()
    port: int = int32()
    rack: str | None = nullable_string()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareAcknowledgeResponse:
    """Whether the acknowledgements were taken."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    acquisition_lock_timeout_ms: int = int32(versions="2+")
    """For how long the member has the records whose locks it renewed."""
    responses: tuple[ShareAcknowledgeTopicResponse, ...] = array(ShareAcknowledgeTopicResponse)
    node_endpoints: tuple[NodeEndpoint, ...] = array(NodeEndpoint)
