"""OffsetDelete (47): forgets how far a group has read (KIP-496).

Never flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, string


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetDeleteRequestPartition:
    """A partition to forget."""

    partition_index: int = int32()


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetDeleteRequestTopic:
    """Partitions of a topic to forget."""

    name: str = string()
    partitions: tuple[OffsetDeleteRequestPartition, ...] = array(OffsetDeleteRequestPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetDeleteRequest:
    """Deletes committed offsets, each for itself."""

    group_id: str = string()
    topics: tuple[OffsetDeleteRequestTopic, ...] = array(OffsetDeleteRequestTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetDeleteResponsePartition:
    """What became of one partition's offset."""

    partition_index: int = int32()
    error_code: int = error()


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetDeleteResponseTopic:
    """What became of a topic's offsets."""

    name: str = string()
    partitions: tuple[OffsetDeleteResponsePartition, ...] = array(OffsetDeleteResponsePartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetDeleteResponse:
    """What became of the offsets."""

    error_code: int = error()
    throttle_time_ms: int = int32()
    topics: tuple[OffsetDeleteResponseTopic, ...] = array(OffsetDeleteResponseTopic)
