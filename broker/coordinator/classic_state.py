"""The states of a classic group, its bounds, and what one call of its machine gathers."""

from collections.abc import Mapping
from enum import Enum

from .decision import Decision, Instant, Reply, Timer, Waiter
from .group_records import Record
from .group_settings import GroupSettings

NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60_000
"""For how long a member that knows no generation yet may wait for one without asking again, as in Kafka."""
PENDING_MAX = 10_000
"""Ids that were given out and not used yet. Beyond, the oldest is forgotten; who comes with it begins anew."""
PENDING_SWEEP_MS = 100
"""Ids that were not used are forgotten in steps no finer than this."""
JOIN_PAUSE_MS = 1000
"""For how long at least a join in which nobody has joined is not looked at again: static members may name no time."""
ID_PREFIX_LENGTH_MAX = 255
"""How much of the client's id stands in a member's id, which has to fit into a string of the old wire formats."""
MEMBER_BYTES_MAX = 8 << 20
"""What a member may say of itself. Kafka has no bound but that of the record."""
GROUP_BYTES_MAX = 32 << 20
"""What all members of a group may say of themselves together: the leader is told all of it at once, and it stands in
one record."""
GROUP_RECORD_BYTES_MAX = 64 << 20
"""Of that record, in which their assignments stand besides. It has to be smaller than a segment."""
SEGMENT_SLACK = 64 << 10
"""By how much it has to be smaller."""
SHOWN_LENGTH_MAX = 100
"""How much of a stranger's text goes into a line of the log."""

SESSION, JOIN, SYNC, PENDING = "session", "join", "sync", "pending"
"""The kinds of timers: a member's session; the end of a join; of a sync; of ids that were not used."""

GroupDecision = Decision[Record]


class ClassicState(Enum):
    """In Kafka's words."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


EMPTY, PREPARING, COMPLETING = ClassicState.EMPTY, ClassicState.PREPARING_REBALANCE, ClassicState.COMPLETING_REBALANCE
STABLE, DEAD = ClassicState.STABLE, ClassicState.DEAD

TRANSITIONS: Mapping[ClassicState, frozenset[ClassicState]] = {
    EMPTY: frozenset({PREPARING, STABLE, DEAD}),  # the first member joins; it was a consumer group; it is deleted
    PREPARING: frozenset({COMPLETING, EMPTY}),  # all have joined, or time is up; nobody is left
    COMPLETING: frozenset({STABLE, PREPARING, EMPTY}),  # the leader syncs; [G-3]; nobody is left
    STABLE: frozenset({STABLE, PREPARING, EMPTY}),  # a static member is replaced; [G-3]; nobody is left
    DEAD: frozenset(),
}
"""Which state follows which. At a start the records alone say what is, and any may follow any."""


class Step:
    """One call of the machine: when it is, and what has been decided so far."""

    __slots__ = ("at", "replies", "timers")

    def __init__(self, at: Instant) -> None:
        self.at = at
        self.replies: list[Reply] = []
        self.timers: list[Timer] = []

    def answer(self, waiter: Waiter | None, response: object) -> None:
        """Answer it, if there is one."""
        if waiter is not None:
            self.replies.append(Reply(waiter, response))

    def decision(self, *records: Record) -> GroupDecision:
        """What was decided."""
        return Decision(records, self.replies, self.timers)


def record_bytes_max(settings: GroupSettings) -> int:
    """What the record of a group may take."""
    return min(GROUP_RECORD_BYTES_MAX, settings.offsets_topic_segment_bytes - SEGMENT_SLACK)


def shown(text: str) -> str:
    """The text as it may stand in a line of the log."""
    return ascii(text[:SHOWN_LENGTH_MAX])[1:-1]
