"""OffsetCommit (8): stores how far a group has read.

v0 and v1 are dropped. v3: throttle_time_ms. v4 is like v3. v5: no retention_time_ms any more (KIP-211). v6:
committed_leader_epoch (KIP-320). v7: group_instance_id (KIP-345). v8: flexible. v9: for members of consumer groups
too, and GROUP_ID_NOT_FOUND or STALE_MEMBER_EPOCH may be answered (KIP-848). v10: topics by id (KIP-848).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, error, int32, int64, nullable_string, string, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitRequestPartition:
    """How far a partition was read."""

    partition_index: int = int32()
    committed_offset: int = int64()
    """The next to be read."""
    committed_leader_epoch: int = int32(-1, versions="6+")
    """Of the last record read; -1 if unknown."""
    committed_metadata: str | None = nullable_string("")
    """Whatever the member wants to find again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitRequestTopic:
    """How far a topic was read."""

    name: str = string(versions="0-9")
    topic_id: UUID = uuid(versions="10+")
    partitions: tuple[OffsetCommitRequestPartition, ...] = array(OffsetCommitRequestPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitRequest:
    """Commits offsets, all or none."""

    group_id: str = string()
    generation_id_or_member_epoch: int = int32(-1, versions="1+")
    """-1: no member of the group commits, and the group must be empty."""
    member_id: str = string(versions="1+")
    group_instance_id: str | None = nullable_string(nullable="7+", versions="7+")
    retention_time_ms: int = int64(-1, versions="2-4")
    """-1: as the broker is configured."""
    topics: tuple[OffsetCommitRequestTopic, ...] = array(OffsetCommitRequestTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitResponsePartition:
    """What became of one partition's offset."""

    partition_index: int = int32()
    error_code: int = error()


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitResponseTopic:
    """What became of a topic's offsets."""

    name: str = string(versions="0-9")
    topic_id: UUID = uuid(versions="10+")
    partitions: tuple[OffsetCommitResponsePartition, ...] = array(OffsetCommitResponsePartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetCommitResponse:
    """What became of the offsets."""

    throttle_time_ms: int = int32(versions="3+")
    topics: tuple[OffsetCommitResponseTopic, ...] = array(OffsetCommitResponseTopic)
