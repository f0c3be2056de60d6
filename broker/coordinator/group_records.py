"""The records of `__consumer_offsets`: what group coordinators remember.

They are Kafka's own; `group_record_bytes` has their keys and values. A record whose value is None takes back what was
remembered under its key: a tombstone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from ...protocol.fields import (
    array,
    int32,
    int64,
    nullable_string,
    nullable_struct,
    octets,
    string,
    string_array,
    uuid,
)

NO_LEADER_EPOCH = -1
NEVER = -1
"""The `expire_ms` of an offset that was committed without a time of its own."""

Partitions = Mapping[UUID, tuple[int, ...]]
"""Of topics by id."""


# -- the values --


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedOffset:
    """How far a group has read a partition."""

    offset: int = int64()
    """The next to be read."""
    leader_epoch: int = int32(NO_LEADER_EPOCH, versions="3+")
    """Of the last record read, if known."""
    metadata: str = string()
    """Whatever the member wants to find again."""
    commit_ms: int = int64()
    """When it was committed."""
    expire_ms: int = int64(NEVER, versions="1")
    """When it is to be forgotten, if the request said so (its versions 2 to 4). Such a record keeps neither the leader
    epoch nor the topic id: only version 1 of the value has this field, and those came later."""
    topic_id: UUID = uuid(versions="4+", tag=0)
    """Which topic of that name; zero if the record does not say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicMemberValue:
    """A member of a classic group."""

    member_id: str = string()
    instance_id: str | None = nullable_string(None, nullable="3+", versions="3+")
    client_id: str = string()
    client_host: str = string()
    rebalance_timeout_ms: int = int32(-1, versions="1+")
    """-1 if the record is too old to say it: then it is as long as the session."""
    session_timeout_ms: int = int32()
    subscription: bytes = octets()
    """What it said to the protocol that was chosen."""
    assignment: bytes = octets()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicGroupValue:
    """A classic group as of a generation."""

    protocol_type: str = string()
    """Empty if there is none."""
    generation: int = int32()
    protocol: str | None = nullable_string(None)
    leader: str | None = nullable_string(None)
    state_since_ms: int = int64(-1, versions="2+")
    """When it came into its state; -1 if the record does not say it."""
    members: tuple[ClassicMemberValue, ...] = array(ClassicMemberValue)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicProtocolFacts:
    """A protocol that a classic member of a consumer group supports, and what it said to it."""

    name: str = string()
    metadata: bytes = octets()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicMemberFacts:
    """What is remembered besides of a member of a consumer group that speaks the classic protocol."""

    session_timeout_ms: int = int32()
    protocols: tuple[ClassicProtocolFacts, ...] = array(ClassicProtocolFacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerMemberValue:
    """What a member of a consumer group said of itself."""

    instance_id: str | None = nullable_string(None)
    rack_id: str | None = nullable_string(None)
    client_id: str = string()
    client_host: str = string()
    subscribed_topics: tuple[str, ...] = string_array()
    subscribed_regex: str | None = nullable_string(None)
    rebalance_timeout_ms: int = int32(-1)
    server_assignor: str | None = nullable_string(None)
    """None: it does not care."""
    classic: ClassicMemberFacts | None = nullable_struct(ClassicMemberFacts, tag=0)
    """None: it speaks the consumer protocol."""


class MemberState(IntEnum):
    """Where a member of a consumer group stands between its target and what it has, in Kafka's numbers."""

    STABLE = 0
    """It has its target."""
    UNREVOKED_PARTITIONS = 1
    """It must give up partitions first."""
    UNRELEASED_PARTITIONS = 2
    """It waits for partitions that others have yet to give up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentAssignmentValue:
    """What a member of a consumer group has."""

    member_epoch: int
    previous_epoch: int
    state: MemberState
    assigned: Partitions
    pending_revocation: Partitions
    """What it was told to give up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRegexValue:
    """The topics that a pattern was found to match."""

    topics: tuple[str, ...] = string_array()
    version: int = int64()
    """Of the topics, when they were looked through."""
    wall_ms: int = int64()


# -- the records --


@dataclass(frozen=True, slots=True)
class OffsetCommitted:
    """A group has read a partition so far."""

    group_id: str
    topic: str
    partition: int
    offset: CommittedOffset | None
    """None: that is forgotten."""


@dataclass(frozen=True, slots=True)
class ClassicGroupMetadata:
    """A classic group is so."""

    group_id: str
    value: ClassicGroupValue | None
    """None: there is no such group."""


@dataclass(frozen=True, slots=True)
class ConsumerGroupEpoch:
    """A consumer group has this epoch."""

    group_id: str
    epoch: int | None
    """None: there is no such group."""
    metadata_hash: int = 0
    """Of all that the assignment depends on about topics; signed, 64 bits."""


@dataclass(frozen=True, slots=True)
class ConsumerGroupMember:
    """A consumer group has this member."""

    group_id: str
    member_id: str
    value: ConsumerMemberValue | None
    """None: it has not."""


@dataclass(frozen=True, slots=True)
class TargetAssignmentEpoch:
    """The target assignment of a consumer group is that for this epoch."""

    group_id: str
    epoch: int | None
    """None: there is no assignment."""


@dataclass(frozen=True, slots=True)
class TargetAssignment:
    """What a member of a consumer group shall have."""

    group_id: str
    member_id: str
    partitions: Partitions | None
    """None: it is no member any more."""


@dataclass(frozen=True, slots=True)
class CurrentAssignment:
    """What a member of a consumer group has."""

    group_id: str
    member_id: str
    value: CurrentAssignmentValue | None
    """None: it is no member any more."""


@dataclass(frozen=True, slots=True)
class ResolvedRegex:
    """A pattern by which members of a consumer group subscribe matches these topics."""

    group_id: str
    regex: str
    value: ResolvedRegexValue | None
    """None: nobody subscribes by it any more."""


Record = (
    OffsetCommitted
    | ClassicGroupMetadata
    | ConsumerGroupEpoch
    | ConsumerGroupMember
    | TargetAssignmentEpoch
    | TargetAssignment
    | CurrentAssignment
    | ResolvedRegex
)
