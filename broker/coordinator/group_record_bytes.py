"""The bytes of the records of `__consumer_offsets`, which are Kafka's: tools that read Kafka's topic read ours.

A key is an int16 that says of what kind the record is, and then strings; it is never flexible. A value is an int16, its
version, and then a struct that is read and written like a message of the protocol.

Written are the versions that Kafka 4.1 and later write; read is every version that there ever was. Of a kind that is
not known here nothing is held: `decode` says None. What is of a known kind and cannot be read is `UnreadableRecord`: to
pass over it would be to guess.

Offsets are by far the most frequent records, hundreds at a time, so their writing alone is by hand.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple, TypeVar
from uuid import UUID

from ...protocol.codegen import UNREADABLE, decoder, encoder
from ...protocol.fields import array, int8, int32, int32_array, int64, uuid
from ...protocol.primitives import (
    ZERO_UUID,
    Buffer,
    read_int16,
    read_int32,
    read_string,
    write_int16,
    write_string,
    write_unsigned_varint,
)
from .decision import UnreadableRecord, UnwritableRecord
from .group_partition import KNOWN_LENGTH_MAX
from .group_records import (
    NEVER,
    ClassicGroupMetadata,
    ClassicGroupValue,
    CommittedOffset,
    ConsumerGroupEpoch,
    ConsumerGroupMember,
    ConsumerMemberValue,
    CurrentAssignment,
    CurrentAssignmentValue,
    MemberState,
    OffsetCommitted,
    Partitions,
    Record,
    ResolvedRegex,
    ResolvedRegexValue,
    TargetAssignment,
    TargetAssignmentEpoch,
)

T = TypeVar("T")


class RecordKind(IntEnum):
    """The numbers at the beginning of keys, Kafka's."""

    OLD_OFFSET = 0
    """Like OFFSET; of before 2015."""
    OFFSET = 1
    CLASSIC_GROUP = 2
    CONSUMER_GROUP_EPOCH = 3
    CONSUMER_GROUP_MEMBER = 5
    TARGET_ASSIGNMENT_EPOCH = 6
    TARGET_ASSIGNMENT = 7
    CURRENT_ASSIGNMENT = 8
    RESOLVED_REGEX = 16


# -- values whose struct on the wire is another one --


@dataclass(frozen=True, slots=True, kw_only=True)
class _EpochValue:
    epoch: int = int32()
    metadata_hash: int = int64(tag=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TargetEpochValue:
    epoch: int = int32()


@dataclass(frozen=True, slots=True, kw_only=True)
class _TopicPartitions:
    topic_id: UUID = uuid()
    partitions: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class _TargetValue:
    topics: tuple[_TopicPartitions, ...] = array(_TopicPartitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CurrentValue:
    member_epoch: int = int32()
    previous_epoch: int = int32()
    state: int = int8()
    assigned: tuple[_TopicPartitions, ...] = array(_TopicPartitions)
    pending_revocation: tuple[_TopicPartitions, ...] = array(_TopicPartitions)


def _topics(partitions: Partitions) -> tuple[_TopicPartitions, ...]:
    return tuple(_TopicPartitions(topic_id=topic_id, partitions=tuple(some)) for topic_id, some in partitions.items())


def _partitions(topics: tuple[_TopicPartitions, ...]) -> Partitions:
    return {topic.topic_id: topic.partitions for topic in topics}


class _Versions(NamedTuple):
    newest: int
    first_flexible: int
    written: int


_ONLY_0 = _Versions(newest=0, first_flexible=0, written=0)
_VERSIONS: Mapping[type, _Versions] = {
    CommittedOffset: _Versions(newest=4, first_flexible=4, written=4),
    ClassicGroupValue: _Versions(newest=4, first_flexible=4, written=3),
    _EpochValue: _ONLY_0,
    ConsumerMemberValue: _ONLY_0,
    _TargetEpochValue: _ONLY_0,
    _TargetValue: _ONLY_0,
    _CurrentValue: _ONLY_0,
    ResolvedRegexValue: _ONLY_0,
}


# -- reading --


def decode(key: bytes, value: bytes | None) -> Record | None:
    """The record of these bytes; None for a kind that we do not know. Raises UnreadableRecord."""
    try:
        number, position = read_int16(key, 0)
        if number <= RecordKind.OFFSET:
            return _decode_offset(key, position, value) if number >= 0 else None
        make = _DECODE.get(number)
        if make is None:
            return None
        group_id, position = read_string(key, position)
        second = None
        if number in _OF_TWO_STRINGS:
            second, position = read_string(key, position)
        _check_end(key, position)
        return make(group_id, second or "", value)
    except UNREADABLE as error:
        raise UnreadableRecord(f"record with key {key[:100].hex()}: {error}") from error


def _decode_offset(key: bytes, position: int, value: bytes | None) -> OffsetCommitted:
    group_id, position = read_string(key, position)
    topic, position = read_string(key, position)
    partition, position = read_int32(key, position)
    _check_end(key, position)
    return OffsetCommitted(group_id, topic, partition, _read(CommittedOffset, value))


def _decode_epoch(group_id: str, _: str, value: bytes | None) -> ConsumerGroupEpoch:
    read = _read(_EpochValue, value)
    return ConsumerGroupEpoch(group_id, None) if read is None else ConsumerGroupEpoch(group_id, *_epoch_of(read))


def _epoch_of(value: _EpochValue) -> tuple[int, int]:
    return value.epoch, value.metadata_hash


def _decode_target_epoch(group_id: str, _: str, value: bytes | None) -> TargetAssignmentEpoch:
    read = _read(_TargetEpochValue, value)
    return TargetAssignmentEpoch(group_id, None if read is None else read.epoch)


def _decode_target(group_id: str, member_id: str, value: bytes | None) -> TargetAssignment:
    read = _read(_TargetValue, value)
    return TargetAssignment(group_id, member_id, None if read is None else _partitions(read.topics))


def _decode_current(group_id: str, member_id: str, value: bytes | None) -> CurrentAssignment:
    read = _read(_CurrentValue, value)
    if read is None:
        return CurrentAssignment(group_id, member_id, None)
    current = CurrentAssignmentValue(
        member_epoch=read.member_epoch,
        previous_epoch=read.previous_epoch,
        state=MemberState(read.state),
        assigned=_partitions(read.assigned),
        pending_revocation=_partitions(read.pending_revocation),
    )
    return CurrentAssignment(group_id, member_id, current)


_DECODE: Mapping[int, Callable[[str, str, bytes | None], Record]] = {
    RecordKind.CLASSIC_GROUP: lambda group, _, value: ClassicGroupMetadata(group, _read(ClassicGroupValue, value)),
    RecordKind.CONSUMER_GROUP_EPOCH: _decode_epoch,
    RecordKind.CONSUMER_GROUP_MEMBER: lambda group, member, value: ConsumerGroupMember(
        group, member, _read(ConsumerMemberValue, value)
    ),
    RecordKind.TARGET_ASSIGNMENT_EPOCH: _decode_target_epoch,
    RecordKind.TARGET_ASSIGNMENT: _decode_target,
    RecordKind.CURRENT_ASSIGNMENT: _decode_current,
    RecordKind.RESOLVED_REGEX: lambda group, regex, value: ResolvedRegex(
        group, regex, _read(ResolvedRegexValue, value)
    ),
}
_OF_TWO_STRINGS = frozenset(
    {
        RecordKind.CONSUMER_GROUP_MEMBER,
        RecordKind.TARGET_ASSIGNMENT,
        RecordKind.CURRENT_ASSIGNMENT,
        RecordKind.RESOLVED_REGEX,
    }
)
"""The kinds whose key says more than the group."""


def _read(kind: type[T], value: bytes | None) -> T | None:
    if value is None:
        return None
    version, position = read_int16(value, 0)
    message: type = kind
    versions = _VERSIONS[message]
    if not 0 <= version <= versions.newest:
        raise ValueError(f"version {version} of the value, known are those up to {versions.newest}")
    read, position = decoder(message, version, version >= versions.first_flexible)(memoryview(value), position)
    _check_end(value, position)
    assert isinstance(read, kind), "a decoder reads what it was made for"
    return read


def _check_end(data: bytes, position: int) -> None:
    if position != len(data):
        raise ValueError(f"{len(data) - position} bytes too many")


# -- writing --


def encode(record: Record) -> tuple[bytes, bytes | None]:
    """The record's key and value. Raises UnwritableRecord."""
    try:
        if isinstance(record, OffsetCommitted):
            return _encode_offset(record)
        return _encode(record)
    except (struct.error, ValueError, OverflowError) as error:
        raise UnwritableRecord(f"{type(record).__name__} of group {record.group_id[:100]!r}: {error}") from error


def _encode(record: Record) -> tuple[bytes, bytes | None]:
    group_id = record.group_id
    match record:
        case ClassicGroupMetadata():
            return _key(RecordKind.CLASSIC_GROUP, group_id), _write(record.value)
        case ConsumerGroupEpoch():
            epoch, metadata_hash = record.epoch, record.metadata_hash
            value = None if epoch is None else _EpochValue(epoch=epoch, metadata_hash=metadata_hash)
            return _key(RecordKind.CONSUMER_GROUP_EPOCH, group_id), _write(value)
        case ConsumerGroupMember():
            return _key(RecordKind.CONSUMER_GROUP_MEMBER, group_id, record.member_id), _write(record.value)
        case TargetAssignmentEpoch():
            target = None if record.epoch is None else _TargetEpochValue(epoch=record.epoch)
            return _key(RecordKind.TARGET_ASSIGNMENT_EPOCH, group_id), _write(target)
        case TargetAssignment():
            topics = None if record.partitions is None else _TargetValue(topics=_topics(record.partitions))
            return _key(RecordKind.TARGET_ASSIGNMENT, group_id, record.member_id), _write(topics)
        case CurrentAssignment():
            return _key(RecordKind.CURRENT_ASSIGNMENT, group_id, record.member_id), _write(_current(record.value))
        case ResolvedRegex():
            return _key(RecordKind.RESOLVED_REGEX, group_id, record.regex), _write(record.value)
        case OffsetCommitted():
            return _encode_offset(record)


def _current(value: CurrentAssignmentValue | None) -> _CurrentValue | None:
    if value is None:
        return None
    return _CurrentValue(
        member_epoch=value.member_epoch,
        previous_epoch=value.previous_epoch,
        state=value.state,
        assigned=_topics(value.assigned),
        pending_revocation=_topics(value.pending_revocation),
    )


def _key(kind: RecordKind, *strings: str) -> bytes:
    return b"".join((write_int16(kind), *map(write_string, strings)))


def _write(value: object) -> bytes | None:
    if value is None:
        return None
    message: type = type(value)
    versions = _VERSIONS[message]
    version = versions.written
    parts: list[Buffer] = [write_int16(version)]
    encoder(message, version, version >= versions.first_flexible)(value, parts, [])
    return b"".join(parts)


_PARTITION = struct.Struct(">i")
_WRITTEN_VERSION = _VERSIONS[CommittedOffset].written
_OFFSET_HEAD = struct.Struct(">hqi")
_OFFSET_TAIL = struct.Struct(">q")
_OLD_OFFSET_HEAD = struct.Struct(">hq")
_OLD_OFFSET_TAIL = struct.Struct(">qq")
_VERSION_WITH_EXPIRY = 1


def _encode_offset(record: OffsetCommitted) -> tuple[bytes, bytes | None]:
    prefix = _known_prefix if len(record.group_id) <= KNOWN_LENGTH_MAX else _offset_prefix
    key = prefix(record.group_id, record.topic) + _PARTITION.pack(record.partition)
    committed = record.offset
    if committed is None:
        return key, None
    metadata = committed.metadata.encode()
    if committed.expire_ms != NEVER:
        head = _OLD_OFFSET_HEAD.pack(_VERSION_WITH_EXPIRY, committed.offset)
        tail = _OLD_OFFSET_TAIL.pack(committed.commit_ms, committed.expire_ms)
        return key, head + write_string(committed.metadata) + tail
    head = _OFFSET_HEAD.pack(_WRITTEN_VERSION, committed.offset, committed.leader_epoch)
    size = write_unsigned_varint(len(metadata) + 1)
    tail = _OFFSET_TAIL.pack(committed.commit_ms)
    return key, b"".join((head, size, metadata, tail, _topic_tag(committed.topic_id)))


@lru_cache(maxsize=1024)
def _known_prefix(group_id: str, topic: str) -> bytes:
    return _offset_prefix(group_id, topic)


def _offset_prefix(group_id: str, topic: str) -> bytes:
    """What the keys of a topic's partitions have in common."""
    return b"".join((write_int16(RecordKind.OFFSET), write_string(group_id), write_string(topic)))


@lru_cache(maxsize=1024)
def _topic_tag(topic_id: UUID) -> bytes:
    """The section of tagged fields with nothing but the topic's id."""
    return b"\x00" if topic_id == ZERO_UUID else b"\x01\x00\x10" + topic_id.bytes
