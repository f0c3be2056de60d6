"""How much memory groups take, about, and how much they may: a stranger could begin any number of them.

Nothing is taken from anybody when there is too much. But what is new has to wait until groups are deleted, or expire:
a group, a member, an id that is given out. What groups that are there commit may take more than that, so that they can
go on where somebody else begins ever new ones.
"""

from collections.abc import Iterable, Sized

from .group_records import (
    ConsumerGroupMember,
    CurrentAssignment,
    Record,
    ResolvedRegex,
    TargetAssignment,
)

GROUP_BYTES = 4000
"""What an object of each kind takes beside its texts, about."""
MEMBER_BYTES = 2500
"""With its timer, and with what it waits for."""
PENDING_ID_BYTES = 1200
OFFSET_BYTES = 300
TEXT_BYTES = 60
PARTITION_BYTES = 120
"""Of an assigned one, in the tables of its group."""
NEW_RATIO = 4
"""What part of the memory is for groups that are there only."""


class GroupMemory:
    """What all groups of a broker take together."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        """`limit`: -1 for none."""
        self.limit = limit
        self.used = 0

    @property
    def has_room(self) -> bool:
        """Whether groups that are there may commit more."""
        return self.limit < 0 or self.used < self.limit

    @property
    def has_room_for_new(self) -> bool:
        """Whether anything may begin."""
        return self.limit < 0 or self.used < self.limit - self.limit // NEW_RATIO


def text_bytes(text: str | None) -> int:
    """What a text takes: Python keeps all characters of it in as many bytes as the widest needs."""
    return 0 if text is None else text.__sizeof__()


class RecordSizes:
    """What the records of a consumer group take that hold now."""

    __slots__ = ("_sizes", "bytes_used")

    def __init__(self) -> None:
        self.bytes_used = 0
        self._sizes: dict[tuple[type, str], int] = {}

    def apply(self, record: Record) -> None:
        """The record takes the place of the one before it of its key."""
        match record:
            case ConsumerGroupMember(_, key, value):
                size = 0
                if value is not None:
                    texts = (key, value.instance_id, value.rack_id, value.client_id, value.subscribed_regex)
                    classic = () if value.classic is None else value.classic.protocols
                    size = (
                        MEMBER_BYTES
                        + sum(map(text_bytes, texts))
                        + sum(map(text_bytes, value.subscribed_topics))
                        + sum(TEXT_BYTES + text_bytes(one.name) + len(one.metadata) for one in classic)
                    )
            case TargetAssignment(_, key, partitions):
                size = _partitions_bytes((partitions or {}).values())
            case CurrentAssignment(_, key, current):
                size = 0
                if current is not None:
                    size = _partitions_bytes((*current.assigned.values(), *current.pending_revocation.values()))
            case ResolvedRegex(_, key, resolved):
                size = 0 if resolved is None else text_bytes(key) + sum(map(text_bytes, resolved.topics))
            case _:
                return
        name = (type(record), key)
        self.bytes_used += size - self._sizes.pop(name, 0)
        if size:
            self._sizes[name] = size


def _partitions_bytes(topics: Iterable[Sized]) -> int:
    return sum(PARTITION_BYTES * len(numbers) for numbers in topics)
