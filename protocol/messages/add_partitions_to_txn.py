"""AddPartitionsToTxn (24): partitions that a transaction is going to write to (KIP-98).

v1 is like v0. v2: PRODUCER_FENCED may be answered. v3: flexible. v4: many transactions at once, verify_only; from here
on only brokers speak it to each other (KIP-890). v5: TRANSACTION_ABORTABLE may be answered (KIP-890).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int16, int32, int32_array, int64, string


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPartitionsToTxnTopic:
    """Partitions of a topic."""

    name: str = string()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPartitionsToTxnTransaction:
    """A transaction and its partitions."""

    transactional_id: str = string(versions="4+")
    producer_id: int = int64(versions="4+")
    producer_epoch: int = int16(versions="4+")
    verify_only: bool = boolean(versions="4+")
    """Adds nothing, only tells whether they have been added."""
    topics: tuple[AddPartitionsToTxnTopic, ...] = array(AddPartitionsToTxnTopic, versions="4+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPartitionsToTxnRequest:
    """Adds partitions to one transaction, or from v4 on to several."""

    transactions: tuple[AddPartitionsToTxnTransaction, ...] = array(AddPartitionsToTxnTransaction, versions="4+")
    v3_and_below_transactional_id: str = string(versions="0-3")
    v3_and_below_producer_id: int = int64(versions="0-3")
    v3_and_below_producer_epoch: int = int16(versions="0-3")
    v3_and_below_topics: tuple[AddPartitionsToTxnTopic, ...] = array(AddPartitionsToTxnTopic, versions="0-3")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPartitionsToTxnPartitionResult:
    """What became of one partition."""

    partition_index: int = int32()
    partition_error_code: int = error()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPartitionsToTxnTopicResult:
    """What became of a topic's partitions."""

    name: str = string()
    results_by_partition: tuple[AddPartitionsToTxnPartitionResult, ...] = array(AddPartitionsToTxnPartitionResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPartitionsToTxnResult:
    """What became of a transaction's partitions."""

    transactional_id: str = string(versions="4+")
    topic_results: tuple[AddPartitionsToTxnTopicResult, ...] = array(AddPartitionsToTxnTopicResult, versions="4+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPartitionsToTxnResponse:
    """What became of the partitions."""

    throttle_time_ms: int = int32()
    error_code: int = error(versions="4+")
    results_by_transaction: tuple[AddPartitionsToTxnResult, ...] = array(AddPartitionsToTxnResult, versions="4+")
    results_by_topic_v3_and_below: tuple[AddPartitionsToTxnTopicResult, ...] = array(
        AddPartitionsToTxnTopicResult, versions="0-3"
    )
