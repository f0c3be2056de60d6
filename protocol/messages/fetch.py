"""Fetch (1): record batches from partitions, waiting for them if need be.

Served from v4 on, where record batches have their present shape. v5: log_start_offset. v7: sessions (KIP-227). v9:
current_leader_epoch (KIP-320). v10: zstd allowed. v11: rack_id. v12: flexible, diverging epochs. v13: topics by id.
v15: replica_state instead of replica_id. v16: the leader's address when it is another (KIP-951). v17: directory ids.
v18: the follower's high watermark (KIP-1166).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import (
    array,
    batches,
    error,
    int8,
    int32,
    int32_array,
    int64,
    nullable_array,
    nullable_string,
    string,
    struct,
    uuid,
)
from ..primitives import INT32_MAX, INT64_MAX, Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """Which follower fetches; consumers leave it alone."""

    replica_id: int = int32(-1, versions="15+")
    replica_epoch: int = int64(-1, versions="15+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPartition:
    """From where in a partition to read."""

    partition: int = int32()
    current_leader_epoch: int = int32(-1, versions="9+")
    fetch_offset: int = int64()
    last_fetched_epoch: int = int32(-1, versions="12+")
    log_start_offset: int = int64(-1, versions="5+")
    """Of the follower; consumers send -1."""
    partition_max_bytes: int = int32()
    replica_directory_id: UUID = uuid(versions="17+", tag=0)
    high_watermark: int = int64(INT64_MAX, versions="18+", tag=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchTopic:
    """A topic to read from."""

    topic: str = string(versions="0-12")
    topic_id: UUID = uuid(versions="13+")
    partitions: tuple[FetchPartition, ...] = array(FetchPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenTopic:
    """Partitions that leave the fetch session."""

    topic: str = string(versions="7-12")
    topic_id: UUID = uuid(versions="13+")
    partitions: tuple[int, ...] = int32_array(versions="7+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """Reads from partitions, in the order in which they are named."""

    cluster_id: str | None = nullable_string(nullable="12+", versions="12+", tag=0)
    replica_id: int = int32(-1, versions="0-14")
    replica_state: ReplicaState = struct(ReplicaState, versions="15+", tag=1)
    max_wait_ms: int = int32()
    min_bytes: int = int32()
    max_bytes: int = int32(INT32_MAX, versions="3+")
    isolation_level: int = int8(versions="4+")
    """0: up to the high watermark; 1: up to the last stable offset."""
    session_id: int = int32(versions="7+")
    session_epoch: int = int32(-1, versions="7+")
    topics: tuple[FetchTopic, ...] = array(FetchTopic)
    forgotten_topics_data: tuple[ForgottenTopic, ...] = array(ForgottenTopic, versions="7+")
    rack_id: str = string(versions="11+")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEndOffset:
    """The largest epoch that the reader shares with the log, and where it ended."""

    epoch: int = int32(-1, versions="12+")
    end_offset: int = int64(-1, versions="12+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderIdAndEpoch:
    """Who leads the partition instead."""

    leader_id: int = int32(-1, versions="12+")
    leader_epoch: int = int32(-1, versions="12+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotId:
    """The snapshot to fetch instead; only KRaft's own topic has one."""

    end_offset: int = int64(-1)
    epoch: int = int32(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortedTransaction:
    """Records of this producer from this offset on are to be dropped, up to its abort marker."""

    producer_id: int = int64(versions="4+")
    first_offset: int = int64(versions="4+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionData:
    """What was read from a partition."""

    partition_index: int = int32()
    error_code: int = error()
    high_watermark: int = int64()
    last_stable_offset: int = int64(-1, versions="4+")
    log_start_offset: int = int64(-1, versions="5+")
    diverging_epoch: EpochEndOffset = struct(EpochEndOffset, versions="12+", tag=0)
    current_leader: LeaderIdAndEpoch = struct(LeaderIdAndEpoch, versions="12+", tag=1)
    snapshot_id: SnapshotId = struct(SnapshotId, versions="12+", tag=2)
    aborted_transactions: tuple[AbortedTransaction, ...] | None = nullable_array(
        AbortedTransaction, nullable="4+", versions="4+"
    )
    """Null when uncommitted records may be read."""
    preferred_read_replica: int = int32(-1, versions="11+")
    records: Buffer | None = batches()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchableTopicResponse:
    """What was read from a topic."""

    topic: str = string(versions="0-12")
    topic_id: UUID = uuid(versions="13+")
    partitions: tuple[PartitionData, ...] = array(PartitionData)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEndpoint:
    """The address of a node that `current_leader` names."""

    node_id: int = int32(versions="16+")
    host: str = string(versions="16+")
    port: int = int32(versions="16+")
    rack: str | None = nullable_string(nullable="16+", versions="16+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchResponse:
    """What was read; within a session only what changed."""

    throttle_time_ms: int = int32(versions="1+")
    error_code: int = error(versions="7+")
    session_id: int = int32(versions="7+")
    responses: tuple[FetchableTopicResponse, ...] = array(FetchableTopicResponse)
    node_endpoints: tuple[NodeEndpoint, ...] = array(NodeEndpoint, versions="16+", tag=0)
