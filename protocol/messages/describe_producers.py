"""DescribeProducers (61): who has written to partitions lately, and whether a transaction is open there (KIP-664).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, int32_array, int64, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRequest:
    """Partitions of a topic."""

    name: str = string()
    partition_indexes: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeProducersRequest:
    """Asks for the producers of partitions."""

    topics: tuple[TopicRequest, ...] = array(TopicRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerState:
    """What a partition knows of a producer."""

    producer_id: int = int64()
    producer_epoch: int = int32()
    last_sequence: int = int32(-1)
    last_timestamp: int = int64(-1)
    """Of its last batch, in ms."""
    coordinator_epoch: int = int32()
    """Of the last marker; -1 if there was none."""
    current_txn_start_offset: int = int64(-1)
    """Where its open transaction began; -1 if none is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionResponse:
    """The producers of a partition."""

    partition_index: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    active_producers: tuple[ProducerState, ...] = array(ProducerState)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicResponse:
    """The producers of a topic's partitions."""

    name: str = string()
    partitions: tuple[PartitionResponse, ...] = array(PartitionResponse)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeProducersResponse:
    """The producers."""

    throttle_time_ms: int = int32()
    topics: tuple[TopicResponse, ...] = array(TopicResponse)
