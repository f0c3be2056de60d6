"""A member of a consumer group, as it speaks with the group (KIP-848). Sans-I/O: makes heartbeats, reads answers.

    state          what happens                             then           which means
    -------------  ---------------------------------------  -------------  -----------------------------------------
    JOINING        it is welcomed                           STABLE         a member with an epoch
                   refused: the instance id is in use       JOINING        tried again for REFUSED_MAX seconds
    STABLE         it is told another assignment            RECONCILING    what is not in it has to be given up
    RECONCILING    `reconciled`: all that was given up      ACKNOWLEDGING  a heartbeat at once says what is left
                   it is told the assignment before         STABLE         until what was begun is `reconciled` all the
                                                                           same: then ACKNOWLEDGING
    ACKNOWLEDGING  that heartbeat is answered               STABLE         or RECONCILING, if told another again
    JOINING and    `failed`, or refused for a reason that   the same       a heartbeat that says everything, later
      these three    may pass
    these three    refused as one who is no member          FENCED         all that it had is lost: no heartbeats
                   (unknown, fenced epoch, no such group)                    until that is seen to (`dropped`)
    FENCED         `dropped`                                JOINING        with the same member id, at epoch 0
    all            refused for good                         FAILED         `error` says why
    all            `leave`                                  LEFT

A heartbeat is answered before the next one leaves. It says only what has changed, so one that may not have arrived is
followed by one that says everything. What the member has is said when it joins, in the acknowledgement of an assignment
and after a failure; until `reconciled` it includes what is being given up.

Times are seconds on the clock that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from ..protocol.errors import ErrorCode
from ..protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from .errors import TidelogError, error_for

INTERVAL = 5.0
"""Between heartbeats, until the group has said its own."""
SILENCES_MAX = 3
"""So many intervals without an answer, and it cannot be sure any more that it is still a member."""
REFUSED_WAIT = 1.0
REFUSED_MAX = 90.0
"""How often and for how long a new member tries again to join: longer than a session, which a member that was killed
still has, and with it the instance id."""

JOIN_EPOCH = 0
LEAVE_EPOCH = -1
LEAVE_STATIC_EPOCH = -2

FENCING = frozenset(
    {
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.FENCED_MEMBER_EPOCH,
        ErrorCode.ILLEGAL_GENERATION,
        ErrorCode.GROUP_ID_NOT_FOUND,
    }
)
"""Codes that say to a member that it is none any more."""

WORTH_WAITING = frozenset(
    {ErrorCode.UNRELEASED_INSTANCE_ID, ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_MEMBER_EPOCH}
)
"""Codes that to a new member say that somebody's time has to pass first."""


class Place(NamedTuple):
    """A partition as a group names it."""

    topic_id: UUID
    partition: int


Places = frozenset[Place]


class State(Enum):
    """See the table above."""

    JOINING = "joining"
    STABLE = "stable"
    RECONCILING = "reconciling"
    ACKNOWLEDGING = "acknowledging"
    FENCED = "fenced"
    FAILED = "failed"
    LEFT = "left"


MEMBER_STATES = frozenset({State.STABLE, State.RECONCILING, State.ACKNOWLEDGING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who wants to be a member, and of what."""

    group_id: str
    member_id: str
    instance_id: str | None = None
    topics: tuple[str, ...] | None = None
    pattern: str | None = None
    """For the names of topics, in RE2's syntax."""
    rebalance_timeout: float = 300.0


class Membership:
    """One member's part of the conversation with its group."""

    def __init__(self, identity: Identity, *, backoff: Callable[[int], float]) -> None:
        self.identity = identity
        self.state = State.JOINING
        self.epoch = JOIN_EPOCH
        self.interval = INTERVAL
        self.target: Places = frozenset()
        """What the group wants the member to have."""
        self.owned: Places = frozenset()
        """What the member says that it has."""
        self.problem: TidelogError | None = None
        """Why the last heartbeat came to nothing, if it is to be tried again."""
        self.confirmed_at = -math.inf
        """When the last heartbeat left that was answered well."""
        self._backoff = backoff
        self._next_at = -math.inf
        self._sent_at: float | None = None
        self._settled: Places | None = frozenset()
        """The target that was reconciled last; None: whichever it was, it has to be looked at again."""
        self._says_all = True
        self._acknowledged = False
        """The heartbeat that is under way acknowledges."""
        self._has_asked = False
        self._failures = 0
        self._refused_since: float | None = None
        self.error: Exception | None = None

    # Heartbeats

    @property
    def due_at(self) -> float:
        """When to ask for the next `heartbeat`; infinite while one is under way and where none is to be sent."""
        if self._sent_at is not None or self.state in (State.FENCED, State.FAILED, State.LEFT):
            return math.inf
        return self._next_at

    def heartbeat(self, now: float) -> ConsumerGroupHeartbeatRequest:
        """The heartbeat to send now; then `answered` or `failed` is called."""
        assert self._sent_at is None, "one heartbeat at a time"
        identity = self.identity
        is_joining = self.state is State.JOINING
        self._sent_at = now
        self._has_asked = True
        self._acknowledged = self.state is State.ACKNOWLEDGING
        request = ConsumerGroupHeartbeatRequest(
            group_id=identity.group_id,
            member_id=identity.member_id,
            member_epoch=JOIN_EPOCH if is_joining else self.epoch,
            instance_id=identity.instance_id,
            topic_partitions=_grouped(self.owned) if self._says_all or self._acknowledged else None,
        )
        if not self._says_all:
            return request
        return ConsumerGroupHeartbeatRequest(
            group_id=request.group_id,
            member_id=request.member_id,
            member_epoch=request.member_epoch,
            instance_id=request.instance_id,
            rebalance_timeout_ms=int(identity.rebalance_timeout * 1000),
            subscribed_topic_names=identity.topics,
            subscribed_topic_regex=identity.pattern,
            topic_partitions=request.topic_partitions,
        )

    def failed(self, now: float, problem: TidelogError | None) -> None:
        """The heartbeat was not answered, or nothing came of it; it may have been heard all the same."""
        self._sent_at = None
        self.problem = problem
        self._says_all = True
        self._failures += 1
        self._next_at = now + self._backoff(self._failures)

    def answered(self, response: ConsumerGroupHeartbeatResponse, now: float) -> None:
        """Take in the answer; `state` says what has come of it."""
        if self.state in (State.FAILED, State.LEFT):
            return
        code = ErrorCode.of(response.error_code)
        if code == ErrorCode.NONE:
            self._welcomed(response, now)
            return
        refusal = error_for(code, response.error_message, about=f"group {self.identity.group_id!r}")
        is_joining = self.state is State.JOINING
        if code in FENCING and not is_joining:
            self._fenced()
        elif code.retriable:
            self.failed(now, refusal)
        elif is_joining and code in WORTH_WAITING and self._may_wait(now):
            self.failed(now, None)
            self._next_at = now + REFUSED_WAIT
        else:
            self.give_up(refusal)

    def give_up(self, error: Exception) -> None:
        """There is no way on."""
        self._sent_at = None
        self.state = State.FAILED
        self.error = error

    def hurry(self) -> None:
        """Something said that the group may see things differently: ask it as soon as possible."""
        self._next_at = -math.inf

    # What the owner has done

    def reconciled(self, target: Places, owned: Places) -> None:
        """All that is not in `target` is given up, and `owned` of it can be read: say so at once."""
        assert self.is_member
        self._settled = target
        self.owned = owned
        self.state = State.ACKNOWLEDGING
        self.hurry()

    def reconsider(self) -> None:
        """Look again at what could not be read of the assignment, though it has not changed."""
        self._settled = None
        if self.state is State.STABLE:
            self.state = State.RECONCILING

    def dropped(self) -> None:
        """Nothing is left of what the member had before it was fenced: it joins again."""
        assert self.state is State.FENCED
        self.state = State.JOINING
        self._says_all = True
        self.hurry()

    def leave(self) -> ConsumerGroupHeartbeatRequest | None:
        """The farewell, unless nobody would miss it."""
        was = self.state
        self.state = State.LEFT
        if not self._has_asked or was in (State.FENCED, State.FAILED, State.LEFT):
            return None
        identity = self.identity
        epoch = LEAVE_EPOCH if identity.instance_id is None else LEAVE_STATIC_EPOCH
        return ConsumerGroupHeartbeatRequest(
            group_id=identity.group_id,
            member_id=identity.member_id,
            member_epoch=epoch,
            instance_id=identity.instance_id,
        )

    # What is known

    @property
    def is_member(self) -> bool:
        """It may commit, as far as it knows."""
        return self.state in MEMBER_STATES

    @property
    def certain_until(self) -> float:
        """Up to when it may take what it has for its own without having heard from the group."""
        return self.confirmed_at + SILENCES_MAX * self.interval if self.is_member else -math.inf

    # Inside

    def _welcomed(self, response: ConsumerGroupHeartbeatResponse, now: float) -> None:
        assert self._sent_at is not None
        self.confirmed_at, self._sent_at = self._sent_at, None
        self._failures = 0
        self.problem = None
        self._refused_since = None
        self._says_all = False
        self.epoch = response.member_epoch
        if response.heartbeat_interval_ms > 0:
            self.interval = response.heartbeat_interval_ms / 1000
        self._next_at = now + self.interval
        if response.assignment is not None:
            self.target = frozenset(
                Place(topic.topic_id, partition)
                for topic in response.assignment.topic_partitions
                for partition in topic.partitions
            )
        if self.state is State.ACKNOWLEDGING and not self._acknowledged:
            self.hurry()  # this was the answer to an earlier one
        else:
            self.state = State.STABLE if self.target == self._settled else State.RECONCILING

    def _fenced(self) -> None:
        self._sent_at = None
        self.state = State.FENCED
        self.epoch = JOIN_EPOCH
        self.target = self.owned = frozenset()
        self._settled = frozenset()

    def _may_wait(self, now: float) -> bool:
        if self._refused_since is None:
            self._refused_since = now
        return now - self._refused_since < REFUSED_MAX


def _grouped(places: Iterable[Place]) -> tuple[TopicPartitions, ...]:
    topics: dict[UUID, list[int]] = {}
    for topic_id, partition in sorted(places):
        topics.setdefault(topic_id, []).append(partition)
    return tuple(
        TopicPartitions(topic_id=topic_id, partitions=tuple(partitions)) for topic_id, partitions in topics.items()
    )
