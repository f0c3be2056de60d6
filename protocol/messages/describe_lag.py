"""DescribeLag (tide wire only): how far groups are behind, as the broker knows it.

Kafka's clients must ask three questions for this (OffsetFetch, ListOffsets, DescribeGroups), see three moments, and
never learn how old the first unread record is.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, error, int32, int32_array, int64, nullable_string, nullable_string_array, string, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeLagRequest:
    """Asks for the lag of groups."""

    group_ids: tuple[str, ...] | None = nullable_string_array(None)
    """None: every group of this broker."""
    topics: tuple[str, ...] | None = nullable_string_array(None)
    """None: every topic of which the group has committed an offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """How far a group is behind in a partition."""

    partition_index: int = int32()
    committed_offset: int = int64(-1)
    """The next record that the group would read; -1 if it has committed none here."""
    commit_ms: int = int64(-1)
    """When that was committed, in milliseconds since 1970; -1 if never."""
    log_start_offset: int = int64(-1)
    """The oldest record that is kept: above the committed offset, records between them were never read. -1: no such
    partition any more."""
    end_offset: int = int64(-1)
    """The high watermark, where consumers see the end; -1: no such partition any more."""
    lag: int = int64(-1)
    """Offsets from the committed one, or from the oldest that is kept, to the end; -1 unknown."""
    lag_ms: int = int64(-1)
    """The age of the first record not consumed, by its own timestamp: 0 if all are consumed, -1 unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLag:
    """Every partition of a topic of which the group has committed an offset, consumed or not."""

    name: str = string()
    topic_id: UUID = uuid()
    """Zero if the topic is gone."""
    partitions: tuple[PartitionLag, ...] = array(PartitionLag)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLag:
    """A group and its lag."""

    error_code: int = error()
    """GROUP_ID_NOT_FOUND; COORDINATOR_NOT_AVAILABLE if the group is of an unavailable partition."""
    error_message: str | None = nullable_string()
    group_id: str = string()
    group_state: str = string()
    """As ListGroups has it: Empty, PreparingRebalance, Stable, ..."""
    group_type: str = string()
    """As ListGroups has it: classic or consumer."""
    member_count: int = int32()
    last_commit_ms: int = int64(-1)
    """When any of its offsets was last committed, in milliseconds since 1970; -1 if there is none."""
    topics: tuple[TopicLag, ...] = array(TopicLag)
    """By name in ascending order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeLagResponse:
    """The groups."""

    error_code: int = error()
    """COORDINATOR_LOAD_IN_PROGRESS, and no groups, shortly after a start, as long as any group is not loaded;
    COORDINATOR_NOT_AVAILABLE when all were asked for and some are missing: no gate may let pass because of those."""
    groups: tuple[GroupLag, ...] = array(GroupLag)
    """All that exist, by id in ascending order; or those that were asked for, in that order, each once."""
    unavailable_partitions: tuple[int, ...] = int32_array()
    """Of `__consumer_offsets`, ascending: their log has failed or is damaged, and their groups are missing."""
