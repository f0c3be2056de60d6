"""What can go wrong for a program that uses the client.

    TidelogError                .code: the broker's error code, where there is one
    ├── Retriable               the same call may succeed later without anybody changing anything
    │   ├── ConnectionLost      no connection to the broker, or it broke before the answer came
    │   ├── TimedOut            not answered, or not delivered, in the time that was given
    │   ├── BufferFull          `send_nowait` found no room in the client's memory budget
    │   └── Unavailable         the broker refused for now: every other retriable code
    └── NotRetriable            the call will fail again until something is changed
        ├── ClientClosed        the client, producer or reader was left
        ├── TopicNotFound       no such topic (or it was deleted, or deleted and created anew, while it was read)
        ├── TopicExists         it was to be created
        ├── PartitionNotFound   the topic has no partition of this number
        ├── MessageTooLarge     a record or batch is larger than the buffer, the request or the topic allows
        ├── OffsetOutOfRange    the log does not, or does no longer, hold this offset
        ├── CorruptRecords      what came from the broker is not what it claims to be
        ├── UndecodableRecord   a deserializer of the consumer cannot read a record
        ├── PartitionsLost      the group has given them to others before what was read of them was committed
        ├── GroupNotFound       no such group
        ├── GroupNotEmpty       the group has members, and what was asked wants it without
        ├── GroupsMissing       the broker cannot tell of all groups; it has those of which it can
        └── Refused             every other code

The client itself retries what is retriable until the call's own deadline; what arrives here has outlasted that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..protocol.errors import ErrorCode
from .records import Record, TopicPartition


class TidelogError(Exception):
    """The root of all errors of the client."""

    summary: object = None
    """The `Summary` of what was acknowledged, if it was a `send_many` that failed."""

    def __init__(self, message: str, *, code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.code = code


class Retriable(TidelogError):
    """The same call may succeed later without anybody changing anything."""


class NotRetriable(TidelogError):
    """The call will fail again until something is changed."""


class ConnectionLost(Retriable):
    """There is no connection to the broker, or it broke before the answer came."""


class TimedOut(Retriable):
    """Not answered, or not delivered, within the time that was given."""


class BufferFull(Retriable):
    """The client's memory budget (`max_buffer`) has no room for the record; `send` would have waited."""


class Unavailable(Retriable):
    """The broker refused for now."""


class ClientClosed(NotRetriable):
    """The client, producer, reader or consumer was left, or is being left."""


class TopicNotFound(NotRetriable):
    """There is no such topic."""


class TopicExists(NotRetriable):
    """There is a topic of this name already."""


class PartitionNotFound(NotRetriable):
    """The topic has no partition of this number."""


class MessageTooLarge(NotRetriable):
    """A record or a batch is larger than the buffer, the request or the topic allows."""


class OffsetOutOfRange(NotRetriable):
    """The log does not, or does no longer, hold this offset."""


class CorruptRecords(NotRetriable):
    """Bytes from the broker are not what they claim to be: a reader stops before them, and each time it is read again.

    `Reader.seek(error.partition, error.next_offset)` leaves them out.
    """

    topic: str
    partition: int
    offset: int
    """Where the reader stands."""
    next_offset: int | None
    """Behind the batch that cannot be read; None if not even that can be told."""


class UndecodableRecord(NotRetriable):
    """A consumer's deserializer cannot read this record. It is raised again when the consumer is read again.

    `Consumer.seek(error.topic, error.partition, error.offset + 1)` leaves it out.
    """

    def __init__(self, part: str, record: Record, reason: BaseException) -> None:
        where = f"{record.topic}[{record.partition}] at offset {record.offset}"
        super().__init__(f"{where}: the {part} cannot be decoded: {reason!r}")
        self.part = part
        """"key" or "value"."""
        self.record = record
        """With the bytes of both."""

    @property
    def topic(self) -> str:
        """Of the record."""
        return self.record.topic

    @property
    def partition(self) -> int:
        """Of the record."""
        return self.record.partition

    @property
    def offset(self) -> int:
        """Of the record."""
        return self.record.offset


class PartitionsLost(NotRetriable):
    """The group has given partitions to others, so what was read of them cannot be committed; others will read it."""

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = sorted(partitions)
        names = ", ".join(f"{topic}[{partition}]" for topic, partition in self.partitions)
        super().__init__(f"no longer assigned to this consumer: {names}")


class GroupNotFound(NotRetriable):
    """There is no such group."""


class GroupNotEmpty(NotRetriable):
    """The group has members, or members that read that topic; what was asked can be done only without them."""


class Refused(NotRetriable):
    """The broker refused, and will refuse again."""


_CLASSES: Mapping[ErrorCode, type[TidelogError]] = {
    ErrorCode.OFFSET_OUT_OF_RANGE: OffsetOutOfRange,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: TopicNotFound,
    ErrorCode.UNKNOWN_TOPIC_ID: TopicNotFound,
    ErrorCode.INCONSISTENT_TOPIC_ID: TopicNotFound,
    ErrorCode.TOPIC_ALREADY_EXISTS: TopicExists,
    ErrorCode.MESSAGE_TOO_LARGE: MessageTooLarge,
    ErrorCode.RECORD_LIST_TOO_LARGE: MessageTooLarge,
    ErrorCode.GROUP_ID_NOT_FOUND: GroupNotFound,
    ErrorCode.NON_EMPTY_GROUP: GroupNotEmpty,
    ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC: GroupNotEmpty,
    ErrorCode.REQUEST_TIMED_OUT: TimedOut,
    ErrorCode.NETWORK_EXCEPTION: ConnectionLost,
}

STALE_METADATA: frozenset[ErrorCode] = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
    }
)
"""Codes that mean: what the client knows about the topic may be out of date."""


def error_for(code: int, message: str | None = None, *, about: str = "") -> TidelogError:
    """The exception for a code in a response.

    `message` is what the broker said, the code's own description if it said nothing; `about` (a topic, a partition)
    goes in front.
    """
    known = ErrorCode.of(code)
    kind = _CLASSES.get(known, Unavailable if known.retriable else Refused)
    text = message or known.description
    name = known.name if known == code else f"code {int(code)}"
    return kind(f"{about}: {text} [{name}]" if about else f"{text} [{name}]", code=known)
