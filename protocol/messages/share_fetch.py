"""ShareFetch (78): acquires records for a member of a share group, and acknowledges those it had (KIP-932).

Flexible from the start. v0 was for early access and is dropped. v2: share_acquire_mode (KIP-1206), locks may be
renewed (KIP-1222).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import (
    array,
    boolean,
    error,
    int8,
    int8_array,
    int16,
    int32,
    int32_array,
    int64,
    nullable_string,
    required_batches,
    string,
    struct,
    uuid,
)
from ..primitives import INT32_MAX, Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgementBatch:
    """What became of the records from one offset to another, both included."""

    first_offset: int = int64()
    last_offset: int = int64()
    acknowledge_types: tuple[int, ...] = int8_array()
    """One for all records, or one for each: 0 a gap, 1 accepted, 2 released, 3 rejected, 4 lock renewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPartition:
    """A partition to read from, and what became of records from it."""

    partition_index: int = int32()
    acknowledgement_batches: tuple[AcknowledgementBatch, ...] = array(AcknowledgementBatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchTopic:
    """A topic to read from."""

    topic_id: UUID = uuid()
    partitions: tuple[FetchPartition, ...] = array(FetchPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenTopic:
    """Partitions that leave the share session."""

    topic_id: UUID = uuid()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareFetchRequest:
    """Asks for records."""

    group_id: str | None = nullable_string()
    member_id: str | None = nullable_string("")
    share_session_epoch: int = int32()
    """0: opens a session; -1: closes it; otherwise one more than in the last request."""
    max_wait_ms: int = int32()
    min_bytes: int = int32()
    max_bytes: int = int32(INT32_MAX)
    max_records: int = int32()
    """May be exceeded to the end of a batch."""
    batch_size: int = int32()
    """How many records one entry of `acquired_records` should have."""
    share_acquire_mode: int = int8(versions="2+")
    """0: whole batches; 1: never more than max_records."""
    is_renew_ack: bool = boolean(versions="2+")
    """Some locks are to be renewed; then nothing is fetched."""
    topics: tuple[FetchTopic, ...] = array(FetchTopic)
    forgotten_topics_data: tuple[ForgottenTopic, ...] = array(ForgottenTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderIdAndEpoch:
    """Who leads the partition instead."""

    leader_id: int = int32()
    leader_epoch: int = int32()


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquiredRecords:
    """Records that the member has now, from one offset to another, both included."""

    first_offset: int = int64()
    last_offset: int = int64()
    delivery_count: int = int16()
    """How often they have been delivered, this time included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionData:
    """What was read from a partition, and what became of its acknowledgements."""

    partition_index: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    acknowledge_error_code: int = error()
    acknowledge_error_message: str | None = nullable_string()
    current_leader: LeaderIdAndEpoch = struct(LeaderIdAndEpoch)
    records: Buffer = required_batches()
    """Batches may hold records that were not acquired."""
    acquired_records: tuple[AcquiredRecords, ...] = array(AcquiredRecords)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareFetchableTopicResponse:
    """What was read from a topic."""

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
class ShareFetchResponse:
    """What was acquired."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    acquisition_lock_timeout_ms: int = int32()
    """For how long the member has the records."""
    responses: tuple[ShareFetchableTopicResponse, ...] = array(ShareFetchableTopicResponse)
    node_endpoints: tuple[NodeEndpoint, ...] = array(NodeEndpoint)
