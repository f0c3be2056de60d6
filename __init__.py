"""tidelog: a standalone log broker that speaks Kafka, and its thin client library.

The client's names are here (`tidelog.connect`, `tidelog.Record`, …) and are loaded when one of them is first used
(PEP 562), so that neither the broker nor `tidelog version` pays for what only programs need.
"""

import typing

__version__ = "0.1.0"

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

if typing.TYPE_CHECKING:
    # Type checkers do not look into __getattr__. No circle hides here: the client never imports this file's names.
    from .client import (
        Admin,
        Batch,
        Broker,
        BufferFull,
        Client,
        ClientClosed,
        ClusterDescription,
        ConnectionLost,
        Consumer,
        ConsumerRecord,
        CorruptRecords,
        CreatedTopic,
        GroupAdmin,
        GroupDescription,
        GroupLag,
        GroupListing,
        GroupMember,
        GroupNotEmpty,
        GroupNotFound,
        GroupOffset,
        GroupsMissing,
        MessageTooLarge,
        NotRetriable,
        OffsetAt,
        OffsetOutOfRange,
        OffsetSpec,
        Partition,
        PartitionLag,
        PartitionNotFound,
        PartitionsLost,
        PartitionSummary,
        Producer,
        Reader,
        Record,
        RecordMetadata,
        Refused,
        Retriable,
        Summary,
        TidelogError,
        TimedOut,
        Topic,
        TopicExists,
        TopicNotFound,
        TopicPartition,
        Unavailable,
        UndecodableRecord,
        connect,
    )
else:

    def __getattr__(name: str) -> object:
        """Load the client when a name of its is first asked for."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import client

        return getattr(client, name)


def __dir__() -> list[str]:
    """What completion offers."""
    return sorted({*globals(), *__all__})
