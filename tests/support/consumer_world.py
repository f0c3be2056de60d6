"""A consumer group, its topics, its log and its members, for tests: what the runtime and clients do, without them.

Members are honest: they do what they are told, in their own time, and forget everything when they are fenced.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from tidelog.broker.coordinator.consumer_group import ConsumerGroup
from tidelog.broker.coordinator.decision import Caller, Decision, Instant, Timer, TimerKey
from tidelog.broker.coordinator.group_record_bytes import decode, encode
from tidelog.broker.coordinator.group_records import Record
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)

from .group_settings import SettingsForTests

GROUP = "group"
REBALANCE_TIMEOUT_MS = 20_000


class TopicsForTests:
    """Topics that a test makes, lets grow and deletes."""

    def __init__(self, **partitions: int) -> None:
        self._next_id = 1
        self.by_name: dict[str, tuple[UUID, int]] = {}
        for name, count in partitions.items():
            self.create(name, count)

    def create(self, name: str, partitions: int) -> UUID:
        """A new topic."""
        topic_id = UUID(int=self._next_id)
        self._next_id += 1
        self.by_name[name] = (topic_id, partitions)
        return topic_id

    def grow(self, name: str, partitions: int) -> None:
        """Have so many."""
        self.by_name[name] = (self.by_name[name][0], partitions)

    def delete(self, name: str) -> None:
        """It is no more."""
        del self.by_name[name]

    def partitions_of(self, name: str) -> tuple[UUID, int] | None:
        """See `TopicsView`."""
        return self.by_name.get(name)

    def name_of(self, topic_id: UUID) -> str | None:
        """See `TopicsView`."""
        return next((name for name, (found, _) in self.by_name.items() if found == topic_id), None)

    def names(self, *, internal: bool = False) -> Iterable[str]:
        """See `TopicsView`."""
        del internal
        return list(self.by_name)


class Answer:
    """Who waits."""

    def __call__(self, response: object) -> None:
        raise AssertionError("machines do not call waiters")

    def refuse(self, error: RequestRefused) -> None:
        raise AssertionError("machines do not call waiters")


class World:
    """The group with what surrounds it."""

    def __init__(self, topics: TopicsForTests, settings: SettingsForTests | None = None) -> None:
        self.topics = topics
        self.settings = settings or SettingsForTests()
        self.now_ms = 1_000_000
        self.log: list[Record] = []
        self.timers: dict[TimerKey, int] = {}
        self._ids = 0
        self.group = self._fresh()

    def _fresh(self) -> ConsumerGroup:
        return ConsumerGroup(GROUP, self.settings, self.topics, self._new_member_id)

    def _new_member_id(self) -> str:
        self._ids += 1
        return f"generated-{self._ids}"

    @property
    def at(self) -> Instant:
        """Now."""
        return Instant(self.now_ms, 1_700_000_000_000 + self.now_ms)

    def perform(self, decision: Decision[Record]) -> object | None:
        """What the runtime does; the answer, if there is one."""
        for record in decision.records:
            self.log.append(record)
            self.group.apply(record)
        for timer in decision.timers:
            self.timers[timer.key] = timer.at_ms
        assert len(decision.replies) <= 1
        return decision.replies[0].response if decision.replies else None

    def ask(
        self, request: ConsumerGroupHeartbeatRequest, client_id: str = "client", *, writable: bool = True
    ) -> ConsumerGroupHeartbeatResponse:
        """A heartbeat and its answer. Not `writable`: what it decides cannot be written."""
        decision = self.group.heartbeat(request, Caller(client_id, "/127.0.0.1", 1), Answer(), self.at)
        if not writable and decision.records:
            raise RequestRefused(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        response = self.perform(decision)
        assert isinstance(response, ConsumerGroupHeartbeatResponse)
        return response

    def pass_time(self, ms: int) -> None:
        """Let time pass, and timers come due in their order."""
        end = self.now_ms + ms
        while due := [Timer(key, at_ms) for key, at_ms in self.timers.items() if at_ms <= end]:
            key, at_ms = min(due, key=lambda timer: timer.at_ms)
            self.now_ms = max(self.now_ms, at_ms)
            del self.timers[key]
            self.perform(self.group.timer_due(key, self.at))
        self.now_ms = end

    def crash(self) -> None:
        """Start again from what was written."""
        self.group = self.replayed(self.log)
        self.timers = {}
        self.perform(self.group.loaded(self.at))

    def replayed(self, log: Iterable[Record]) -> ConsumerGroup:
        """The group as records make it, by way of their bytes."""
        group = self._fresh()
        for record in log:
            read = decode(*encode(record))
            assert read is not None
            group.apply(read)
        return group

    def compacted(self) -> list[Record]:
        """The last record of every key, in the order of the log."""
        last = {encode(record)[0]: number for number, record in enumerate(self.log)}
        keep = set(last.values())
        return [record for number, record in enumerate(self.log) if number in keep]


def snapshot(group: ConsumerGroup) -> dict[str, object]:
    """All that is remembered of a group."""
    roster = group.roster
    return {
        "epoch": (roster.epoch, roster.metadata_hash, roster.target_epoch),
        "targets": dict(roster.targets),
        "members": {member.member_id: (member.value, member.current) for member in roster.members.values()},
        "static": dict(roster.static),
        "subscriptions": dict(roster.subscriptions),
        "assignors": dict(roster.assignors),
        "regexes": dict(roster.regexes),
        "owners": {topic: dict(owners) for topic, owners in roster.owners.items()},
        "moving": set(roster.moving),
    }


def spread(parts: Iterable[TopicPartitions]) -> set[tuple[UUID, int]]:
    """Partitions, one by one."""
    return {(one.topic_id, partition) for one in parts for partition in one.partitions}


def gathered(places: Iterable[tuple[UUID, int]]) -> tuple[TopicPartitions, ...]:
    """Partitions by topic, as they stand in requests."""
    by_topic: dict[UUID, list[int]] = {}
    for topic, partition in sorted(places):
        by_topic.setdefault(topic, []).append(partition)
    return tuple(TopicPartitions(topic_id=topic, partitions=tuple(numbers)) for topic, numbers in by_topic.items())


def spread_assignment(partitions: Mapping[UUID, tuple[int, ...]]) -> set[tuple[UUID, int]]:
    """Partitions, one by one."""
    return {(topic, number) for topic, numbers in partitions.items() for number in numbers}


class Asked(Protocol):
    """What answers heartbeats."""

    def ask(
        self, request: ConsumerGroupHeartbeatRequest, client_id: str = "client", *, writable: bool = True
    ) -> ConsumerGroupHeartbeatResponse:
        """See `World`."""


W = TypeVar("W", bound=Asked)


@dataclass
class MemberForTests(Generic[W]):
    """An honest member."""

    world: W
    member_id: str
    names: tuple[str, ...] | None = ()
    regex: str | None = None
    instance_id: str | None = None
    assignor: str | None = None
    epoch: int = 0
    owned: set[tuple[UUID, int]] = field(default_factory=set)
    """What it reads."""
    told: set[tuple[UUID, int]] = field(default_factory=set)
    """What it shall read."""
    said: set[tuple[UUID, int]] | None = None
    """What it said last that it reads; None: nobody may have heard of it."""
    full: bool = True
    """Whether its next heartbeat says everything: it may have missed an answer."""

    def request(self, epoch: int | None = None) -> ConsumerGroupHeartbeatRequest:
        """Its next heartbeat."""
        joins = self.epoch == 0
        says_all = joins or self.full
        return ConsumerGroupHeartbeatRequest(
            group_id=GROUP,
            member_id=self.member_id,
            member_epoch=self.epoch if epoch is None else epoch,
            instance_id=self.instance_id,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS if says_all else -1,
            subscribed_topic_names=self.names if says_all else None,
            subscribed_topic_regex=self.regex if says_all else None,
            server_assignor=self.assignor if says_all else None,
            topic_partitions=gathered(self.owned) if says_all or self.said != self.owned else None,
        )

    def heartbeat(self, *, lost: bool = False, writable: bool = True) -> ErrorCode:
        """Send one; the answer may get lost on the way, or what it decides may not be writable."""
        request = self.request()
        try:
            response = self.world.ask(request, writable=writable)
        except RequestRefused as refused:
            self._refused(refused.code, lost=lost)
            return refused.code
        if lost:
            self._missed_an_answer()
            return ErrorCode.NONE
        self.full, self.said = False, spread(request.topic_partitions or ()) if request.topic_partitions else self.said
        if request.topic_partitions == ():
            self.said = set()
        self.epoch = response.member_epoch
        if response.assignment is not None:
            self.told = spread(response.assignment.topic_partitions)
        return ErrorCode.NONE

    def _missed_an_answer(self) -> None:
        """What it was told before may no longer hold: it takes nothing more until it is told again."""
        self.full = True
        self.told &= self.owned

    def _refused(self, code: ErrorCode, *, lost: bool) -> None:
        self._missed_an_answer()
        if not lost and code in (ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.UNKNOWN_MEMBER_ID):
            self.forget()

    def forget(self) -> None:
        """Give everything up and begin anew."""
        self.epoch, self.owned, self.told, self.said, self.full = 0, set(), set(), None, True

    def obey(self) -> None:
        """Give up what it shall not have, and take what it shall."""
        self.owned = set(self.told)

    def leave(self, epoch: int = -1) -> None:
        """Stop reading, and say so."""
        self.owned = set()
        self.world.ask(self.request(epoch))
        self.forget()


def settle(members: Iterable[MemberForTests[World]], rounds: int = 30) -> None:
    """Let everybody send heartbeats and obey until nothing moves any more."""
    members = list(members)
    for _ in range(rounds):
        for member in members:
            member.heartbeat()
            member.obey()
        world = members[0].world
        if world.group.state == "Stable" and all(member.said == member.owned for member in members):
            return
    raise AssertionError(f"after {rounds} rounds the group is {members[0].world.group.state}")
