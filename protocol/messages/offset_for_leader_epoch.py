"""OffsetForLeaderEpoch (23): where an epoch of a partition's leadership ended (KIP-101, KIP-320).

By it a reader finds out which of the records it has read the log has lost since. v2: the reader's
current_leader_epoch, throttle_time_ms. v3: replica_id. v4: flexible.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, int64, string


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetForLeaderPartition:
    """An epoch of a partition."""

    partition: int = int32()
    current_leader_epoch: int = int32(-1, versions="2+")
    """The epoch the reader knows to be the current one; -1: do not compare."""
    leader_epoch: int = int32()
    """The epoch whose end is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetForLeaderTopic:
    """A topic's partitions."""

    topic: str = string()
    partitions: tuple[OffsetForLeaderPartition, ...] = array(OffsetForLeaderPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetForLeaderEpochRequest:
    """Asks for the ends of epochs."""

    replica_id: int = int32(-2, versions="3+")
    """The follower that asks; -1 is a consumer, -2 a consumer that may see beyond the high watermark."""
    topics: tuple[OffsetForLeaderTopic, ...] = array(OffsetForLeaderTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEndOffset:
    """Where the epoch ended."""

    error_code: int = error()
    partition: int = int32()
    leader_epoch: int = int32(-1, versions="1+")
    """The largest epoch that is not above the one asked for; -1 if none is known."""
    end_offset: int = int64(-1)
    """The first offset after that epoch; -1 if none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetForLeaderTopicResult:
    """Where the epochs of a topic's partitions ended."""

    topic: str = string()
    partitions: tuple[EpochEndOffset, ...] = array(EpochEndOffset)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetForLeaderEpochResponse:
    """The ends of epochs."""

    throttle_time_ms: int = int32(versions="2+")
    topics: tuple[OffsetForLeaderTopicResult, ...] = array(OffsetForLeaderTopicResult)
