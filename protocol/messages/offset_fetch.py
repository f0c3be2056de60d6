"""OffsetFetch (9): tells how far groups have read.

v0, from ZooKeeper, is dropped. v2: null for all topics, error_code. v3: throttle_time_ms. v4 is like v3. v5:
committed_leader_epoch (KIP-320). v6: flexible. v7: require_stable (KIP-447). v8: many groups at once, whose structs
have a plural name (KIP-709). v9: member_id and member_epoch (KIP-848). v10: topics by id (KIP-848).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, boolean, error, int32, int32_array, int64, nullable_array, nullable_string, string, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchRequestTopic:
    """Partitions that are asked for, up to v7."""

    name: str = string(versions="0-7")
    partition_indexes: tuple[int, ...] = int32_array(versions="0-7")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchRequestTopics:
    """Partitions that are asked for."""

    name: str = string(versions="8-9")
    topic_id: UUID = uuid(versions="10+")
    partition_indexes: tuple[int, ...] = int32_array(versions="8+")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchRequestGroup:
    """A group that is asked for."""

    group_id: str = string(versions="8+")
    member_id: str | None = nullable_string(nullable="9+", versions="9+")
    """Null: no member asks."""
    member_epoch: int = int32(-1, versions="9+")
    topics: tuple[OffsetFetchRequestTopics, ...] | None = nullable_array(
        OffsetFetchRequestTopics, nullable="8+", versions="8+"
    )
    """Null: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchRequest:
    """Asks for committed offsets."""

    group_id: str = string(versions="0-7")
    topics: tuple[OffsetFetchRequestTopic, ...] | None = nullable_array(
        OffsetFetchRequestTopic, nullable="2-7", versions="0-7"
    )
    """Null: all."""
    groups: tuple[OffsetFetchRequestGroup, ...] = array(OffsetFetchRequestGroup, versions="8+")
    require_stable: bool = boolean(versions="7+")
    """Better UNSTABLE_OFFSET_COMMIT than an offset that an open transaction is about to replace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchResponsePartition:
    """How far a partition was read, up to v7."""

    partition_index: int = int32(versions="0-7")
    committed_offset: int = int64(versions="0-7")
    """-1 if none was committed."""
    committed_leader_epoch: int = int32(-1, versions="5-7")
    metadata: str | None = nullable_string("", nullable="0-7", versions="0-7")
    error_code: int = error(versions="0-7")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchResponseTopic:
    """How far a topic was read, up to v7."""

    name: str = string(versions="0-7")
    partitions: tuple[OffsetFetchResponsePartition, ...] = array(OffsetFetchResponsePartition, versions="0-7")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchResponsePartitions:
    """How far a partition was read."""

    partition_index: int = int32(versions="8+")
    committed_offset: int = int64(versions="8+")
    """-1 if none was committed."""
    committed_leader_epoch: int = int32(-1, versions="8+")
    metadata: str | None = nullable_string("", nullable="8+", versions="8+")
    error_code: int = error(versions="8+")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchResponseTopics:
    """How far a topic was read."""

    name: str = string(versions="8-9")
    topic_id: UUID = uuid(versions="10+")
    partitions: tuple[OffsetFetchResponsePartitions, ...] = array(OffsetFetchResponsePartitions, versions="8+")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchResponseGroup:
    """How far a group has read."""

    group_id: str = string(versions="8+")
    topics: tuple[OffsetFetchResponseTopics, ...] = array(OffsetFetchResponseTopics, versions="8+")
    error_code: int = error(versions="8+")


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetFetchResponse:
    """The committed offsets."""

    throttle_time_ms: int = int32(versions="3+")
    topics: tuple[OffsetFetchResponseTopic, ...] = array(OffsetFetchResponseTopic, versions="0-7")
    error_code: int = error(versions="2-7")
    groups: tuple[OffsetFetchResponseGroup, ...] = array(OffsetFetchResponseGroup, versions="8+")
