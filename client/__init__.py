"""The thin client library: programs import `tidelog` and meet what this folder exports."""

from .admin import Admin, ClusterDescription, CreatedTopic
from .client import Client, connect
from .cluster import Broker, Partition, Topic
from .errors import (
    BufferFull,
    ClientClosed,
    ConnectionLost,
    CorruptRecords,
    MessageTooLarge,
    NotRetriable,
    OffsetOutOfRange,
    PartitionNotFound,
    Refused,
    Retriable,
    TidelogError,
    TimedOut,
    TopicExists,
    TopicNotFound,
    Unavailable,
)
from .lookup import OffsetAt
from .offsets import OffsetSpec
from .producer import Producer
from .reader import Reader
from .records import PartitionSummary, Record, RecordMetadata, Summary

__all__ = [
    "Admin",
    "Broker",
    "BufferFull",
    "Client",
    "ClientClosed",
    "ClusterDescription",
    "ConnectionLost",
    "CorruptRecords",
    "CreatedTopic",
    "MessageTooLarge",
    "NotRetriable",
    "OffsetAt",
    "OffsetOutOfRange",
    "OffsetSpec",
    "Partition",
    "PartitionNotFound",
    "PartitionSummary",
    "Producer",
    "Reader",
    "Record",
    "RecordMetadata",
    "Refused",
    "Retriable",
    "Summary",
    "TidelogError",
    "TimedOut",
    "Topic",
    "TopicExists",
    "TopicNotFound",
    "Unavailable",
    "connect",
]
