"""DescribeTransactions (65): the state of transactional ids (KIP-664).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int16, int32, int32_array, int64, string, string_array


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTransactionsRequest:
    """Asks about transactional ids."""

    transactional_ids: tuple[str, ...] = string_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicData:
    """Partitions of a topic that a transaction has written to."""

    topic: str = string()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionState:
    """A transactional id and its transaction."""

    error_code: int = error()
    transactional_id: str = string()
    transaction_state: str = string()
    transaction_timeout_ms: int = int32()
    transaction_start_time_ms: int = int64()
    """-1 if none is open."""
    producer_id: int = int64()
    producer_epoch: int = int16()
    topics: tuple[TopicData, ...] = array(TopicData)
    """While it is being ended, only those that have no marker yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeTransactionsResponse:
    """The states."""

    throttle_time_ms: int = int32()
    transaction_states: tuple[TransactionState, ...] = array(TransactionState)
