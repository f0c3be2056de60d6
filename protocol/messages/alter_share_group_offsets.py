"""AlterShareGroupOffsets (91): has a share group without members read on from other offsets (KIP-932).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, error, int32, int64, nullable_string, string, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterShareGroupOffsetsRequestPartition:
    """From where to read a partition."""

    partition_index: int = int32()
    start_offset: int = int64()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterShareGroupOffsetsRequestTopic:
    """From where to read a topic."""

    topic_name: str = string()
    partitions: tuple[AlterShareGroupOffsetsRequestPartition, ...] = array(AlterShareGroupOffsetsRequestPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterShareGroupOffsetsRequest:
    """Sets offsets."""

    group_id: str = string()
    topics: tuple[AlterShareGroupOffsetsRequestTopic, ...] = array(AlterShareGroupOffsetsRequestTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterShareGroupOffsetsResponsePartition:
    """What became of one partition's offset."""

    partition_index: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterShareGroupOffsetsResponseTopic:
    """What became of a topic's offsets."""

    topic_name: str = string()
    topic_id: UUID = uuid()
    partitions: tuple[AlterShareGroupOffsetsResponsePartition, ...] = array(AlterShareGroupOffsetsResponsePartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterShareGroupOffsetsResponse:
    """What became of the offsets."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    responses: tuple[AlterShareGroupOffsetsResponseTopic, ...] = array(AlterShareGroupOffsetsResponseTopic)
