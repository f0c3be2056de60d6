"""DeleteRecords (21): deletes all records below an offset (KIP-107).

v1 is like v0. v2: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, int64, string


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecordsPartition:
    """From where on a partition is to keep its records."""

    partition_index: int = int32()
    offset: int = int64()
    """The first that stays; -1: the high watermark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecordsTopic:
    """Partitions of a topic."""

    name: str = string()
    partitions: tuple[DeleteRecordsPartition, ...] = array(DeleteRecordsPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecordsRequest:
    """Deletes records, of each partition for itself."""

    topics: tuple[DeleteRecordsTopic, ...] = array(DeleteRecordsTopic)
    timeout_ms: int = int32()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecordsPartitionResult:
    """What became of one partition."""

    partition_index: int = int32()
    low_watermark: int = int64()
    """The first offset that is left; -1 with an error."""
    error_code: int = error()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecordsTopicResult:
    """What became of a topic's partitions."""

    name: str = string()
    partitions: tuple[DeleteRecordsPartitionResult, ...] = array(DeleteRecordsPartitionResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecordsResponse:
    """What became of the partitions."""

    throttle_time_ms: int = int32()
    topics: tuple[DeleteRecordsTopicResult, ...] = array(DeleteRecordsTopicResult)
