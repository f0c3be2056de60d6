"""WriteTxnMarkers (27): writes into partitions how a transaction ended (KIP-98).

Among brokers, and by admins to end a transaction that hangs (KIP-664). v0 is dropped. v1: flexible. v2:
transaction_version (KIP-1228).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int8, int16, int32, int32_array, int64, string


@dataclass(frozen=True, slots=True, kw_only=True)
class WritableTxnMarkerTopic:
    """Partitions of a topic that get the marker."""

    name: str = string()
    partition_indexes: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class WritableTxnMarker:
    """A marker."""

    producer_id: int = int64()
    producer_epoch: int = int16()
    transaction_result: bool = boolean()
    """True: committed; false: aborted."""
    topics: tuple[WritableTxnMarkerTopic, ...] = array(WritableTxnMarkerTopic)
    coordinator_epoch: int = int32()
    """A marker of an older epoch than one seen is refused."""
    transaction_version: int = int8(versions="2+")
    """2: the marker's epoch must be above that of the records; 0 or 1: it may equal it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTxnMarkersRequest:
    """Writes markers."""

    markers: tuple[WritableTxnMarker, ...] = array(WritableTxnMarker)


@dataclass(frozen=True, slots=True, kw_only=True)
class WritableTxnMarkerPartitionResult:
    """What became of a marker in one partition."""

    partition_index: int = int32()
    error_code: int = error()


@dataclass(frozen=True, slots=True, kw_only=True)
class WritableTxnMarkerTopicResult:
    """What became of a marker in a topic."""

    name: str = string()
    partitions: tuple[WritableTxnMarkerPartitionResult, ...] = array(WritableTxnMarkerPartitionResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class WritableTxnMarkerResult:
    """What became of a marker."""

    producer_id: int = int64()
    topics: tuple[WritableTxnMarkerTopicResult, ...] = array(WritableTxnMarkerTopicResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTxnMarkersResponse:
    """What became of the markers."""

    markers: tuple[WritableTxnMarkerResult, ...] = array(WritableTxnMarkerResult)
