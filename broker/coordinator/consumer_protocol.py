"""What consumers write into the opaque bytes of the classic protocol, as far as a broker wants to know it.

Protocol type "consumer" (ConsumerProtocolSubscription and ConsumerProtocolAssignment in Kafka). Every version begins
with the fields of version 0, and what follows them is not looked at. The bytes are a stranger's: a reader answers None
to whatever it cannot read, and does not read what is larger than any honest consumer's.
"""

from collections.abc import Mapping

from ...protocol.errors import MalformedMessage
from ...protocol.primitives import read_int16, read_int32, read_string

PROTOCOL_TYPE = "consumer"
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


def assigned_partitions(assignment: bytes) -> Mapping[str, tuple[int, ...]] | None:
    """The partitions of an assignment by topic, nothing for empty bytes; None if it is none."""
    if not assignment:
        return {}
    assigned: dict[str, tuple[int, ...]] = {}
    left = COUNT_MAX
    try:
        position = _after_version(assignment)
        topics, position = _count(assignment, position)
        for _ in range(topics):
            topic, position = read_string(assignment, position)
            count, position = _count(assignment, position)
            left -= count
            if left < 0:
                return None
            partitions = []
            for _ in range(count):
                partition, position = read_int32(assignment, position)
                partitions.append(partition)
            assigned[topic] = (*assigned.get(topic, ()), *partitions)
    except MalformedMessage:
        return None
    return assigned


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
