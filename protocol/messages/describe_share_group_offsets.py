"""DescribeShareGroupOffsets (90): how far share groups have read (KIP-932).

Flexible from the start. v1: lag (KIP-1226).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, error, int32, int32_array, int64, nullable_array, nullable_string, string, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeShareGroupOffsetsRequestTopic:
    """Partitions of a topic."""

    topic_name: str = string()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeShareGroupOffsetsRequestGroup:
    """A group that is asked for."""

    group_id: str = string()
    topics: tuple[DescribeShareGroupOffsetsRequestTopic, ...] | None = nullable_array(
        DescribeShareGroupOffsetsRequestTopic
    )
    """Null: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeShareGroupOffsetsRequest:
    """Asks about groups."""

    groups: tuple[DescribeShareGroupOffsetsRequestGroup, ...] = array(DescribeShareGroupOffsetsRequestGroup)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeShareGroupOffsetsResponsePartition:
    """How far a partition was read."""

    partition_index: int = int32()
    start_offset: int = int64()
    """The first that is not done with; -1 if there is none."""
    leader_epoch: int = int32()
    lag: int = int64(-1, versions="1+")
    """How many records are left to deliver; -1 if unknown."""
    error_code: int = error()
    error_message: str | None = nullable_string()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeShareGroupOffsetsResponseTopic:
    """How far a topic was read."""

    topic_name: str = string()
    topic_id: UUID = uuid()
    partitions: tuple[DescribeShareGroupOffsetsResponsePartition, ...] = array(
        DescribeShareGroupOffsetsResponsePartition
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeShareGroupOffsetsResponseGroup:
    """How far a group has read."""

    group_id: str = string()
    topics: tuple[DescribeShareGroupOffsetsResponseTopic, ...] = array(DescribeShareGroupOffsetsResponseTopic)
    error_code: int = error()
    error_message: str | None = nullable_string()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeShareGroupOffsetsResponse:
    """How far the groups have read."""

    throttle_time_ms: int = int32()
    groups: tuple[DescribeShareGroupOffsetsResponseGroup, ...] = array(DescribeShareGroupOffsetsResponseGroup)
