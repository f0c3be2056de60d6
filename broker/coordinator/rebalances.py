"""Rebalances of consumer groups: how often they share their partitions out anew, why, and how long that takes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class Reason(Enum):
    """Why a group rebalances."""

    MEMBER_JOINED = "member joined"
    MEMBER_LEFT = "member left"
    MEMBER_EXPIRED = "member expired"
    REVOCATION_OVERDUE = "revocation overdue"
    """A member did not give up its partitions within its rebalance timeout, and was removed."""
    SUBSCRIPTION_CHANGED = "subscription changed"
    TOPICS_CHANGED = "topics changed"
    """Topics that are subscribed to came, went or grew."""
    LEADER_REJOINED = "leader rejoined"
    """The leader of a classic group asked for it."""
    JOIN_OVERDUE = "join overdue"
    """A member of a consumer group that speaks the classic protocol did not join anew in time, and was removed."""
    SYNC_OVERDUE = "sync overdue"
    """A member that speaks the classic protocol did not ask for its part in time, and was removed."""
    ASSIGNMENT_TOO_LARGE = "assignment too large"
    """The leader of a classic group handed in more than a record can say."""
    PROTOCOL_CHANGED = "protocol changed"
    """A consumer group became a classic one, for nobody else is left in it."""
    OVER_CAPACITY = "over capacity"
    """A classic group was found to have more members than it may have."""


@dataclass(slots=True, kw_only=True)
class ConsumerRebalances:
    """What metrics tell of a group's rebalances since the broker started."""

    begun: dict[Reason, int] = field(default_factory=dict)
    """One that begins while another is under way counts, too."""
    completed: int = 0
    """How often all members had arrived at what they shall have."""
    duration_ms_sum: int = 0
    """How long it took, from the first that had begun."""
    duration_ms_last: int = 0
    on_begin: Callable[[Reason], None] | None = None
    on_complete: Callable[[int], None] | None = None
    """Told of each, with how long it took in milliseconds."""

    def begin(self, reason: Reason) -> None:
        """One more began."""
        self.begun[reason] = self.begun.get(reason, 0) + 1
        if self.on_begin is not None:
            self.on_begin(reason)

    def complete(self, duration_ms: int) -> None:
        """The group is done with it."""
        self.completed += 1
        self.duration_ms_sum += duration_ms
        self.duration_ms_last = duration_ms
        if self.on_complete is not None:
            self.on_complete(duration_ms)


class Counters(Protocol):
    """What is counted of groups."""

    def offsets_committed(self, group_id: str) -> None:
        """Offsets were committed by one request."""

    def rebalanced(self, group_id: str, reason: str) -> None:
        """A rebalance began."""

    def rebalance_ended(self, duration_ms: int) -> None:
        """A rebalance ended."""

    def forget_group(self, group_id: str) -> None:
        """The group is no more."""
