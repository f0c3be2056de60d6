"""Produce (0): record batches for partitions.

Served from v3 on, where record batches have their present shape. v5: log_start_offset. v7: zstd allowed. v8: errors by
record. v9: flexible. v10: the leader's address when it is another (KIP-951). v11: TRANSACTION_ABORTABLE may be
answered. v12: adds partitions to a transaction implicitly (KIP-890). v13: topics by id.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import (
    array,
    batches,
    error,
    int16,
    int32,
    int64,
    nullable_string,
    string,
    struct,
    uuid,
)
from ..primitives import Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProduceData:
    """What goes to one partition: one record batch."""

    index: int = int32()
    records: Buffer | None = batches()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicProduceData:
    """What goes to one topic."""

    name: str = string(versions="0-12")
    topic_id: UUID = uuid(versions="13+")
    partition_data: tuple[PartitionProduceData, ...] = array(PartitionProduceData)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProduceRequest:
    """Appends record batches; with acks=0 it is not answered."""

    transactional_id: str | None = nullable_string(nullable="3+", versions="3+")
    acks: int = int16()
    """0: no answer; 1: when the page cache has it; -1: when it is durable."""
    timeout_ms: int = int32()
    topic_data: tuple[TopicProduceData, ...] = array(TopicProduceData)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchIndexAndErrorMessage:
    """A record that made its whole batch be refused."""

    batch_index: int = int32(versions="8+")
    batch_index_error_message: str | None = nullable_string(nullable="8+", versions="8+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderIdAndEpoch:
    """Who leads the partition instead."""

    leader_id: int = int32(-1, versions="10+")
    leader_epoch: int = int32(-1, versions="10+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProduceResponse:
    """Where a batch went, or why it did not."""

    index: int = int32()
    error_code: int = error()
    base_offset: int = int64()
    log_append_time_ms: int = int64(-1, versions="2+")
    """-1 unless the topic stamps records itself."""
    log_start_offset: int = int64(-1, versions="5+")
    record_errors: tuple[BatchIndexAndErrorMessage, ...] = array(BatchIndexAndErrorMessage, versions="8+")
    error_message: str | None = nullable_string(nullable="8+", versions="8+")
    current_leader: LeaderIdAndEpoch = struct(LeaderIdAndEpoch, versions="10+", tag=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicProduceResponse:
    """The answers for one topic."""

    name: str = string(versions="0-12")
    topic_id: UUID = uuid(versions="13+")
    partition_responses: tuple[PartitionProduceResponse, ...] = array(PartitionProduceResponse)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEndpoint:
    """The address of a node that `current_leader` names."""

    node_id: int = int32(versions="10+")
    host: str = string(versions="10+")
    port: int = int32(versions="10+")
    rack: str | None = nullable_string(nullable="10+", versions="10+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProduceResponse:
    """The answers for all partitions of the request."""

    responses: tuple[TopicProduceResponse, ...] = array(TopicProduceResponse)
    throttle_time_ms: int = int32(versions="1+")
    node_endpoints: tuple[NodeEndpoint, ...] = array(NodeEndpoint, versions="10+", tag=0)
