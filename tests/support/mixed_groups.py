"""A coordinator of groups with members of both protocols, for tests: what the runtime and clients do, without them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from tidelog.broker.coordinator.classic_group import ClassicGroup
from tidelog.broker.coordinator.consumer_group import ConsumerGroup
from tidelog.broker.coordinator.consumer_protocol import Words, assigned_partitions, read_words
from tidelog.broker.coordinator.decision import Caller, Decision, Instant, Timer, TimerKey
from tidelog.broker.coordinator.group_coordinator import GroupCoordinator
from tidelog.broker.coordinator.group_record_bytes import decode, encode
from tidelog.broker.coordinator.group_records import Record
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tidelog.protocol.primitives import write_int16, write_int32, write_nullable_bytes, write_string

from .classic_groups import Answer
from .consumer_world import GROUP, MemberForTests, TopicsForTests, snapshot
from .group_settings import SettingsForTests

SESSION_MS, REBALANCE_MS, RETRY_MS = 10_000, 15_000, 1000
RANGE, COOPERATIVE = "range", "cooperative-sticky"

Places = set[tuple[str, int]]
Decide = Callable[[GroupCoordinator, Answer, Instant], Decision[Record]]


class CountersForTests:
    """Counts nothing."""

    def offsets_committed(self, group_id: str) -> None:
        """See `Counters`."""

    def rebalanced(self, group_id: str, reason: str) -> None:
        """See `Counters`."""

    def rebalance_ended(self, duration_ms: int) -> None:
        """See `Counters`."""

    def forget_group(self, group_id: str) -> None:
        """See `Counters`."""


class MixedWorld:
    """The coordinator with what surrounds it."""

    def __init__(self, topics: TopicsForTests, settings: SettingsForTests | None = None) -> None:
        self.topics = topics
        self.settings = settings or SettingsForTests(session_timeout_ms=SESSION_MS)
        self.now_ms = 1_000_000
        self.log: list[Record] = []
        self.timers: dict[TimerKey, int] = {}
        self.skew_ms = 0
        """How far the wall clock has been set forward."""
        self.is_full = False
        """Records cannot be written."""
        self._ids = count()
        self.coordinator = self._fresh()

    def _fresh(self) -> GroupCoordinator:
        return GroupCoordinator(
            self.settings, self.topics, new_member_id=lambda: f"id{next(self._ids)}", counters=CountersForTests()
        )

    @property
    def at(self) -> Instant:
        """Now."""
        return Instant(self.now_ms, 1_700_000_000_000 + self.now_ms + self.skew_ms)

    @property
    def group(self) -> ClassicGroup | ConsumerGroup | None:
        """The group, if there is one."""
        return self.coordinator.groups.get(GROUP)

    @property
    def kind(self) -> type[object]:
        """Of which protocol the group is."""
        return type(self.group)

    @property
    def consumers(self) -> ConsumerGroup:
        """The group, which is of the consumer protocol."""
        assert isinstance(self.group, ConsumerGroup), self.group
        return self.group

    @property
    def classic(self) -> ClassicGroup:
        """The group, which is of the classic protocol."""
        assert isinstance(self.group, ClassicGroup), self.group
        return self.group

    @property
    def member_ids(self) -> set[str]:
        """Who is a member."""
        group = self.group
        if isinstance(group, ConsumerGroup):
            return set(group.roster.members)
        return set() if group is None else set(group.members.by_id)

    # -- as the runtime does it --

    def tell(self, decide: Decide) -> Answer:
        """A request, and the answer to it; it may come later."""
        answer = Answer()
        try:
            self.perform(decide(self.coordinator, answer, self.at), answer)
        except RequestRefused as refused:
            answer.refuse(refused)
        return answer

    def perform(self, decision: Decision[Record], waiter: Answer | None = None) -> bool:
        """Write, apply, answer, set timers; false if it cannot be written."""
        is_written = not (decision.records and self.is_full)
        for record in decision.records if is_written else ():
            self.log.append(record)
            self.coordinator.apply(record)
        for timer in decision.timers:
            self.timers[timer.key] = timer.at_ms
        if is_written:
            for reply in decision.replies:
                reply.waiter(reply.response)
        elif waiter is not None:
            waiter.refuse(RequestRefused(ErrorCode.COORDINATOR_NOT_AVAILABLE))
        return is_written

    def pass_time(self, ms: int) -> None:
        """Let time pass, and timers come due in their order."""
        end = self.now_ms + ms
        while due := [Timer(key, at_ms) for key, at_ms in self.timers.items() if at_ms <= end]:
            key, at_ms = min(due, key=lambda timer: timer.at_ms)
            self.now_ms = max(self.now_ms, at_ms)
            del self.timers[key]
            for decision in self.coordinator.timer_due(key, self.at):
                if not self.perform(decision):
                    self.timers[key] = self.now_ms + RETRY_MS
        self.now_ms = end

    def crash(self) -> None:
        """Start again from what was written."""
        self.coordinator = self.replayed(self.log)
        self.timers = {}
        for decision in self.coordinator.loaded(self.at):
            self.perform(decision)

    def replayed(self, log: Iterable[Record]) -> GroupCoordinator:
        """The groups as records make them, by way of their bytes."""
        coordinator = self._fresh()
        for record in log:
            read = decode(*encode(record))
            assert read is not None
            coordinator.apply(read)
        return coordinator

    def compacted(self, *, tombstones: bool = True) -> list[Record]:
        """The last record of every key, in the order of the log; after a while without tombstones."""
        last = {encode(record)[0]: number for number, record in enumerate(self.log)}
        keep = set(last.values())
        records = [record for number, record in enumerate(self.log) if number in keep]
        return [record for record in records if tombstones or encode(record)[1] is not None]

    # -- as clients do it --

    def ask(
        self, request: ConsumerGroupHeartbeatRequest, client_id: str = "client", *, writable: bool = True
    ) -> ConsumerGroupHeartbeatResponse:
        """A heartbeat of the consumer protocol and its answer."""
        del writable
        caller = Caller(client_id, "/127.0.0.1", 1)
        answer = self.tell(lambda groups, waiter, at: groups.consumer_group_heartbeat(request, caller, waiter, at))
        if answer.refused is not None:
            raise answer.refused
        assert isinstance(answer.response, ConsumerGroupHeartbeatResponse)
        return answer.response

    def commit_code(self, member_id: str, epoch: int) -> int:
        """What a commit of this member would be told; 0 is no error. Nothing is committed."""
        group = self.group
        try:
            if isinstance(group, ConsumerGroup):
                group.check_commit(member_id, epoch)
            elif isinstance(group, ClassicGroup):
                group.check_commit(member_id, None, epoch)
        except RequestRefused as refused:
            return refused.code
        return 0


def remembered(coordinator: GroupCoordinator) -> object:
    """All that is remembered of the group, in one way for what is the same."""
    group = coordinator.groups.get(GROUP)
    if isinstance(group, ConsumerGroup):
        return snapshot(group)
    return None if group is None else group.facts.remembered


def words(topics: Iterable[str], owned: Places | None = None) -> bytes:
    """What a consumer says in JoinGroup; in version 1 if it says what it holds."""
    names = sorted(topics)
    parts = [write_int16(0 if owned is None else 1), write_int32(len(names)), *map(write_string, names)]
    parts.append(write_nullable_bytes(None))
    if owned is not None:
        parts.append(_partitions(owned))
    return b"".join(parts)


def assignment(places: Places) -> bytes:
    """What a leader gives a consumer."""
    return write_int16(0) + _partitions(places) + write_nullable_bytes(None)


def _partitions(places: Places) -> bytes:
    by_topic: dict[str, list[int]] = {}
    for topic, number in sorted(places):
        by_topic.setdefault(topic, []).append(number)
    parts = [write_int32(len(by_topic))]
    for topic, numbers in by_topic.items():
        parts += [write_string(topic), write_int32(len(numbers)), *map(write_int32, numbers)]
    return b"".join(parts)


def _spread(assigned: bytes) -> Places:
    found = assigned_partitions(assigned)
    assert found is not None
    return {(topic, number) for topic, numbers in found.items() for number in numbers}


@dataclass(eq=False)
class Classic:
    """An honest consumer of the classic protocol, eager or cooperative."""

    world: MixedWorld
    name: str
    topics: tuple[str, ...]
    instance_id: str | None = None
    assignors: tuple[str, ...] = (RANGE,)
    member_id: str = ""
    generation: int = -1
    protocol: str = ""
    owned: Places = field(default_factory=set)
    """What it reads."""
    is_behind: bool = True
    """It has to join anew."""
    dealt: int = 0
    """How many places there were when it dealt them out, if it leads."""
    is_fenced: bool = False
    does_not_fit: bool = False
    """It has no assignor in common with the others."""
    hesitates: bool = False
    """It does not sync as soon as it has joined, once."""
    waits_for: Answer | None = None
    waits_to_join: bool = False
    asked_ms: int = 0
    codes: list[int] = field(default_factory=list)
    """All errors that it was told."""

    @property
    def is_cooperative(self) -> bool:
        """Whether it goes on reading while it joins."""
        return self.assignors == (COOPERATIVE,)

    def act(self) -> None:
        """Whatever comes next."""
        if self.waits_for is not None:
            self.hear()
        elif self.is_behind or self.dealt not in (0, len(places(self.world.topics))):
            self.join()
        else:
            self.beat()

    def join(self, *, version: int = 9) -> None:
        """Ask for a generation."""
        if not self.is_cooperative:
            self.owned = set()
        self.is_behind, self.waits_to_join = True, True
        metadata = words(self.topics, self.owned if self.is_cooperative else None)
        request = JoinGroupRequest(
            group_id=GROUP,
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            protocol_type="consumer",
            protocols=tuple(JoinGroupRequestProtocol(name=one, metadata=metadata) for one in self.assignors),
        )
        caller = Caller(self.name, "/127.0.0.1", version)
        self.asked_ms = self.world.now_ms
        self.waits_for = self.world.tell(lambda groups, waiter, at: groups.join_group(request, caller, waiter, at))
        self.hear()

    def hear(self) -> None:
        """Go on when there is an answer."""
        answer = self.waits_for
        if answer is None or not answer.is_there:
            return
        if self.hesitates and self.waits_to_join and not answer.code:
            self.hesitates = False
            return
        self.waits_for = None
        if answer.code == ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = answer.join.member_id
            self.join()
        elif answer.code:
            self.told(answer.code)
        elif self.waits_to_join:
            self._sync(answer.join)
        else:
            given = _spread(answer.sync.assignment)
            gives_up = self.owned - given
            self.owned, self.is_behind = given, False
            if self.is_cooperative and gives_up:
                self.join()

    def _sync(self, joined: JoinGroupResponse) -> None:
        self.member_id, self.generation, self.waits_to_join = joined.member_id, joined.generation_id, False
        self.protocol = joined.protocol_name or ""
        parts: tuple[SyncGroupRequestAssignment, ...] = ()
        self.dealt = 0
        if joined.leader == self.member_id and not joined.skip_assignment:
            self.dealt = len(places(self.world.topics))
            parts = self._dealt_out({one.member_id: one.metadata for one in joined.members})
        request = SyncGroupRequest(
            group_id=GROUP,
            generation_id=self.generation,
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            protocol_type=joined.protocol_type,
            protocol_name=joined.protocol_name,
            assignments=parts,
        )
        caller = Caller(self.name, "/127.0.0.1", 5)
        self.asked_ms = self.world.now_ms
        self.waits_for = self.world.tell(lambda groups, waiter, at: groups.sync_group(request, caller, waiter, at))
        self.hear()

    def _dealt_out(self, said: dict[str, bytes]) -> tuple[SyncGroupRequestAssignment, ...]:
        """In turn; what another one holds is given to nobody, if they go on reading what they hold."""
        heard: dict[str, Words] = {}
        for member_id, metadata in said.items():
            read = read_words(metadata)
            assert read is not None
            heard[member_id] = read
        parts: dict[str, Places] = {member_id: set() for member_id in heard}
        for number, place in enumerate(places(self.world.topics)):
            takers = sorted(member_id for member_id, one in heard.items() if place[0] in one.topics)
            if takers:
                taker = takers[number % len(takers)]
                holders = [one for one in heard if place[1] in heard[one].owned.get(place[0], ())]
                if set(holders) <= {taker}:
                    parts[taker].add(place)
        return tuple(
            SyncGroupRequestAssignment(member_id=member_id, assignment=assignment(part))
            for member_id, part in parts.items()
        )

    def beat(self) -> int:
        """A heartbeat; the code it was told."""
        request = HeartbeatRequest(
            group_id=GROUP,
            generation_id=self.generation,
            member_id=self.member_id,
            group_instance_id=self.instance_id,
        )
        answer = self.world.tell(lambda groups, waiter, at: groups.heartbeat(request, waiter, at))
        if answer.code:
            self.told(answer.code)
        return answer.code

    def told(self, code: int) -> None:
        """Do as clients do."""
        self.codes.append(code)
        if code == ErrorCode.COORDINATOR_NOT_AVAILABLE:
            return
        self.is_behind = True
        if code == ErrorCode.REBALANCE_IN_PROGRESS:
            return
        self.owned, self.generation = set(), -1
        if code == ErrorCode.UNKNOWN_MEMBER_ID:
            self.member_id = ""
        elif code == ErrorCode.FENCED_INSTANCE_ID:
            self.is_fenced = True
        elif code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL:
            self.does_not_fit = True
        else:
            assert code == ErrorCode.ILLEGAL_GENERATION, ErrorCode(code).name

    def ask_again(self) -> None:
        """Its connection is lost, and with it any answer."""
        self.waits_for = None

    def leave(self, *, version: int = 5) -> int:
        """Stop reading, and say so; the code it was told."""
        self.owned = set()
        identity = MemberIdentity(member_id=self.member_id, group_instance_id=self.instance_id)
        request = LeaveGroupRequest(group_id=GROUP, members=(identity,))
        if version < 3:
            request = LeaveGroupRequest(group_id=GROUP, member_id=self.member_id)
        caller = Caller(self.name, "/127.0.0.1", version)
        answer = self.world.tell(lambda groups, waiter, at: groups.leave_group(request, caller, waiter, at))
        return answer.code


class Consumer(MemberForTests[MixedWorld]):
    """An honest consumer of the consumer protocol."""

    def act(self) -> ErrorCode:
        """Whatever comes next; the code that it was told."""
        code = self.heartbeat()
        self.obey()
        return code

    @property
    def places(self) -> Places:
        """What it reads, by name."""
        topics = self.world.topics
        return {(topics.name_of(topic) or "", number) for topic, number in self.owned}


def places(topics: TopicsForTests) -> list[tuple[str, int]]:
    """All that can be read."""
    return [(name, number) for name, (_, numbers) in sorted(topics.by_name.items()) for number in range(numbers)]


def held(member: Classic | Consumer) -> Places:
    """What it reads, by name."""
    return member.owned if isinstance(member, Classic) else member.places


def settle(world: MixedWorld, members: Sequence[Classic | Consumer], *, rounds: int = 40) -> None:
    """Let everybody act until all is shared out and nobody is told to move any more."""
    for _ in range(rounds):
        for member in members:
            member.act()
        world.pass_time(500)
        parts = [held(member) for member in members]
        if sum(map(len, parts)) == len(set().union(*parts)) == len(places(world.topics)) and is_at_rest(world):
            return
    raise AssertionError(f"after {rounds} rounds: {[(type(one).__name__, held(one)) for one in members]}")


def is_at_rest(world: MixedWorld) -> bool:
    """Whether the group has arrived."""
    return world.group is not None and world.group.state_name == "Stable"
