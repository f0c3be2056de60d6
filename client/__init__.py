"""The thin client library: programs import `tidelog` and meet what this folder exports."""

from .admin import Admin, ClusterDescription, CreatedTopic
from .client import Client, connect
from .cluster import Broker, Partition, Topic
from .consumer import Batch, Consumer
from .errors import (
    BufferFull,
    ClientClosed,
    ConnectionLost,
    CorruptRecords,
    GroupNotEmpty,
    GroupNotFound,
    MessageTooLarge,
    NotRetriable,
    OffsetOutOfRange,
    PartitionNotFound,
    PartitionsLost,
    Refused,
    Retriable,
    TidelogError,
    TimedOut,
    TopicExists,
    TopicNotFound,
    Unavailable,
    UndecodableRecord,
)
from .groups import (
    GroupAdmin,
    GroupDescription,
    GroupLag,
    GroupListing,
    GroupMember,
    GroupOffset,
    GroupsMissing,
    PartitionLag,
)
from .lookup import OffsetAt
from .offsets import OffsetSpec
from .producer import Producer
from .reader import Reader
from .records import ConsumerRecord, PartitionSummary, Record, RecordMetadata, Summary, TopicPartition

__all__ = [
    "Admin",
    "Batch",
    "Broker",
    "BufferFull",
    "Client",
    "ClientClosed",
    "ClusterDescription",
    "ConnectionLost",
    "Consumer",
    "ConsumerRecord",
    "CorruptRecords",
    "CreatedTopic",
    "GroupAdmin",
    "GroupDescription",
    "GroupLag",
    "GroupListing",
    "GroupMember",
    "GroupNotEmpty",
    "GroupNotFound",
    "GroupOffset",
    "GroupsMissing",
    "MessageTooLarge",
    "NotRetriable",
    "OffsetAt",
    "OffsetOutOfRange",
    "OffsetSpec",
    "Partition",
    "PartitionLag",
    "PartitionNotFound",
    "PartitionSummary",
    "PartitionsLost",
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
    "TopicPartition",
    "Unavailable",
    "UndecodableRecord",
    "connect",
]
