"""What consumers write into the opaque bytes of the classic protocol, as far as a broker wants to know it.

Protocol type "consumer" (ConsumerProtocolSubscription and ConsumerProtocolAssignment in Kafka). Every version begins
with the fields of the one before, and what follows those that are known is not looked at. The bytes are a stranger's: a
reader answers None to whatever it cannot read, and does not read what is larger than any honest consumer's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ...protocol.errors import MalformedMessage
from ...protocol.primitives import read_int16, read_int32, read_nullable_bytes, read_nullable_string, read_string

PROTOCOL_TYPE = "consumer"
OWNED_SINCE, RACK_SINCE = 1, 3
"""Versions of the subscription from which on it says what the consumer holds, and where it is."""
COUNT_MAX = 100_000
"""Of topics in a subscription, and of partitions in an assignment; reading more would take noticeable time."""


def subscribed_topics(subscription: bytes) -> frozenset[str] | None:
    """The topics of a subscription; None if it is none."""
    try:
        position = _after_version(subscription)
        count, position = _count(subscription, position)
        topics = set()
        for _ in range(count):
            topic, position = read_string(subscription, position)
            topics.add(topic)
    except MalformedMessage:
        return None
    return frozenset(topics)


@dataclass(frozen=True, slots=True)
class Words:
    """A subscription."""

    topics: frozenset[str]
    owned: Mapping[str, tuple[int, ...]]
    """What the consumer holds and goes on reading while it joins: nothing if it has let go of everything, as those do
    whose version cannot say it."""
    rack_id: str | None


def read_words(subscription: bytes) -> Words | None:
    """What a consumer says of itself; None if it is no subscription."""
    topics = subscribed_topics(subscription)
    if topics is None:
        return None
    owned: Mapping[str, tuple[int, ...]] = {}
    rack_id = None
    try:
        version, position = read_int16(subscription, 0)
        count, position = _count(subscription, position)
        for _ in range(count):
            _, position = read_string(subscription, position)
        # Some write a newer version than they have fields for.
        if position < len(subscription):
            _, position = read_nullable_bytes(subscription, position)
        if version >= OWNED_SINCE and position < len(subscription):
            owned, position = _partitions(subscription, position)
        if version >= RACK_SINCE and position < len(subscription):
            _, position = read_int32(subscription, position)  # the generation
            rack_id, _ = read_nullable_string(subscription, position)
    except MalformedMessage:
        return None
    return Words(topics, owned, rack_id or None)


def has_user_data(assignment: bytes) -> bool:
    """Whether an assignment says more than partitions; what cannot be read says nothing."""
    try:
        _, position = _partitions(assignment, _after_version(assignment))
        data, _ = read_nullable_bytes(assignment, position)
    except MalformedMessage:
        return False
    return bool(data)


def assigned_partitions(assignment: bytes) -> Mapping[str, tuple[int, ...]] | None:
    """The partitions of an assignment by topic, nothing for empty bytes; None if it is none."""
    if not assignment:
        return {}
    try:
        return _partitions(assignment, _after_version(assignment))[0]
    except MalformedMessage:
        return None


def _partitions(data: bytes, position: int) -> tuple[Mapping[str, tuple[int, ...]], int]:
    partitions: dict[str, tuple[int, ...]] = {}
    left = COUNT_MAX
    topics, position = _count(data, position)
    for _ in range(topics):
        topic, position = read_string(data, position)
        count, position = _count(data, position)
        left -= count
        if left < 0:
            raise MalformedMessage(f"more than {COUNT_MAX} partitions")
        numbers = []
        for _ in range(count):
            number, position = read_int32(data, position)
            numbers.append(number)
        partitions[topic] = (*partitions.get(topic, ()), *numbers)
    return partitions, position


def _after_version(data: bytes) -> int:
    version, position = read_int16(data, 0)
    if version < 0:
        raise MalformedMessage(f"version {version} of the consumer protocol")
    return position


def _count(data: bytes, position: int) -> tuple[int, int]:
    count, position = read_int32(data, position)
    if not 0 <= count <= COUNT_MAX:
        raise MalformedMessage(f"{count} elements announced at position {position}")
    return count, position
