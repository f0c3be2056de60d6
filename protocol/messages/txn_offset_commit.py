"""TxnOffsetCommit (28): stores how far a group has read, if the transaction is committed (KIP-98).

v1 is like v0. v2: committed_leader_epoch (KIP-320). v3: flexible; who in the group commits, to be fenced like any
other member (KIP-447). v4: TRANSACTION_ABORTABLE may be answered (KIP-890). v5: does AddOffsetsToTxn's work too
(KIP-890).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int16, int32, int64, nullable_string, string


@dataclass(frozen=True, slots=True, kw_only=True)
class TxnOffsetCommitRequestPartition:
    """How far a partition was read."""

    partition_index: int = int32()
    committed_offset: int = int64()
    """The next to be read."""
    committed_leader_epoch: int = int32(-1, versions="2+")
    """Of the last record read; -1 if unknown."""
    committed_metadata: str | None = nullable_string("")
    """Whatever the member wants to find again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TxnOffsetCommitRequestTopic:
    """How far a topic was read."""

    name: str = string()
    partitions: tuple[TxnOffsetCommitRequestPartition, ...] = array(TxnOffsetCommitRequestPartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class TxnOffsetCommitRequest:
    """Commits offsets within a transaction."""

    transactional_id: str = string()
    group_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    generation_id: int = int32(-1, versions="3+")
    """Or the member epoch; -1: no member commits."""
    member_id: str = string(versions="3+")
    group_instance_id: str | None = nullable_string(nullable="3+", versions="3+")
    topics: tuple[TxnOffsetCommitRequestTopic, ...] = array(TxnOffsetCommitRequestTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class TxnOffsetCommitResponsePartition:
    """What became of one partition's offset."""

    partition_index: int = int32()
    error_code: int = error()


@dataclass(frozen=True, slots=True, kw_only=True)
class TxnOffsetCommitResponseTopic:
    """What became of a topic's offsets."""

    name: str = string()
    partitions: tuple[TxnOffsetCommitResponsePartition, ...] = array(TxnOffsetCommitResponsePartition)


@dataclass(frozen=True, slots=True, kw_only=True)
class TxnOffsetCommitResponse:
    """What became of the offsets."""

    throttle_time_ms: int = int32()
    topics: tuple[TxnOffsetCommitResponseTopic, ...] = array(TxnOffsetCommitResponseTopic)
