"""A classic group with a clock, timers and a log, as the runtime would give it, without a broker."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from support.group_settings import SettingsForTests
from tidelog.broker.coordinator.classic_group import ClassicGroup
from tidelog.broker.coordinator.decision import Caller, Instant, TimerKey
from tidelog.broker.coordinator.decision import Decision as AnyDecision
from tidelog.broker.coordinator.group_records import ClassicGroupMetadata, Record
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse

Decision = AnyDecision[Record]
Protocols = tuple[tuple[str, bytes], ...]

WALL_MS = 1_700_000_000_000
RETRY_MS = 1000
RANGE: Protocols = (("range", b"a"),)


class Answer:
    """A waiter that keeps what it is told, which is once at most."""

    def __init__(self) -> None:
        self.response: object = None
        self.refused: RequestRefused | None = None

    def __call__(self, response: object) -> None:
        """See `Waiter`."""
        assert not self.is_there, "answered twice"
        self.response = response

    def refuse(self, error: RequestRefused) -> None:
        """See `Waiter`."""
        assert not self.is_there, "answered twice"
        self.refused = error

    @property
    def is_there(self) -> bool:
        """Whether it has been told."""
        return self.response is not None or self.refused is not None

    @property
    def code(self) -> int:
        """The error code it was told; 0 is none."""
        if self.refused is not None:
            return self.refused.code
        response = self.response
        assert isinstance(response, JoinGroupResponse | SyncGroupResponse | HeartbeatResponse | LeaveGroupResponse)
        return response.error_code

    @property
    def join(self) -> JoinGroupResponse:
        """What a JoinGroup was told."""
        assert isinstance(self.response, JoinGroupResponse), self.refused
        return self.response

    @property
    def sync(self) -> SyncGroupResponse:
        """What a SyncGroup was told."""
        assert isinstance(self.response, SyncGroupResponse), self.refused
        return self.response

    @property
    def leave(self) -> LeaveGroupResponse:
        """What a LeaveGroup was told."""
        assert isinstance(self.response, LeaveGroupResponse), self.refused
        return self.response


@dataclass(slots=True, kw_only=True)
class World:
    """A group and what is around it."""

    settings: SettingsForTests = field(default_factory=SettingsForTests)
    now_ms: int = 0
    log: list[ClassicGroupMetadata] = field(default_factory=list)
    is_full: bool = False
    """Records cannot be written."""
    timers: dict[TimerKey, int] = field(default_factory=dict)
    told_generations: list[int] = field(default_factory=list)
    """Of which generations answers told since the last start, in order."""
    group: ClassicGroup = field(init=False)
    _ids: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self.group = self._new_group()

    def _new_group(self) -> ClassicGroup:
        return ClassicGroup("g", self.settings, lambda prefix: f"{prefix}-{next(self._ids)}")

    @property
    def at(self) -> Instant:
        """Now."""
        return Instant(self.now_ms, WALL_MS + self.now_ms)

    @property
    def state(self) -> str:
        """Of the group, in Kafka's words."""
        return self.group.state.value

    def refusal(self, member_id: str, instance: str | None, generation: int) -> ErrorCode:
        """Why a commit would be refused; NONE if it would not."""
        try:
            self.group.check_commit(member_id, instance, generation)
        except RequestRefused as refused:
            return refused.code
        return ErrorCode.NONE

    # -- as the runtime does it --

    def perform(self, decision: Decision, waiter: Answer | None = None) -> bool:
        """Write, apply, answer, set timers; false if it cannot be written."""
        is_written = not (decision.records and self.is_full)
        for record in decision.records if is_written else ():
            assert isinstance(record, ClassicGroupMetadata)
            self.log.append(record)
            self.group.apply(record)
        for timer in decision.timers:
            self.timers[timer.key] = timer.at_ms
        if not is_written:
            if waiter is not None:
                waiter.refuse(RequestRefused(ErrorCode.COORDINATOR_NOT_AVAILABLE))
            return False
        for reply in decision.replies:
            if isinstance(reply.response, JoinGroupResponse) and reply.response.generation_id >= 0:
                self.told_generations.append(reply.response.generation_id)
            reply.waiter(reply.response)
        return True

    def advance(self, ms: int) -> None:
        """Time passes; timers come when they are due."""
        end_ms = self.now_ms + ms
        while self.timers and min(self.timers.values()) <= end_ms:
            key = min(self.timers, key=self.timers.__getitem__)
            self.now_ms = max(self.now_ms, self.timers.pop(key))
            if not self.perform(self.group.timer_due(key, self.at)):
                self.timers[key] = self.now_ms + RETRY_MS
        self.now_ms = end_ms

    def restart(self) -> None:
        """The broker ends without a word and starts again: the records are all there is."""
        self.group = self.replayed()
        self.timers.clear()
        self.told_generations.clear()
        self.perform(self.group.loaded(self.at))

    def replayed(self) -> ClassicGroup:
        """The group as the records tell it."""
        group = self._new_group()
        for record in self.log:
            group.apply(record)
        return group

    # -- as clients do it --

    def join(
        self,
        member_id: str = "",
        *,
        instance: str | None = None,
        protocols: Protocols = RANGE,
        protocol_type: str = "consumer",
        session_ms: int = 10_000,
        rebalance_ms: int = 60_000,
        client: str = "c",
        version: int = 9,
    ) -> Answer:
        """A JoinGroup."""
        request = JoinGroupRequest(
            group_id="g",
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=rebalance_ms,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=protocol_type,
            protocols=tuple(JoinGroupRequestProtocol(name=name, metadata=data) for name, data in protocols),
        )
        answer = Answer()
        try:
            self.perform(self.group.join(request, Caller(client, "/127.0.0.1", version), answer, self.at), answer)
        except RequestRefused as refused:
            answer.refuse(refused)
        return answer

    def enter(self, member_id: str = "", *, protocols: Protocols = RANGE, session_ms: int = 10_000) -> Answer:
        """A dynamic member's JoinGroup with an id, for which it asks first."""
        if not member_id:
            member_id = self.join(protocols=protocols, session_ms=session_ms).join.member_id
        return self.join(member_id, protocols=protocols, session_ms=session_ms)

    def sync(
        self,
        member_id: str,
        parts: Sequence[tuple[str, bytes]] = (),
        *,
        generation: int | None = None,
        instance: str | None = None,
        named: tuple[str | None, str | None] | None = None,
        version: int = 5,
    ) -> Answer:
        """A SyncGroup."""
        protocol_type, protocol = (self.group.protocol_type, self.group.protocol) if named is None else named
        request = SyncGroupRequest(
            group_id="g",
            generation_id=self.group.generation if generation is None else generation,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=protocol_type,
            protocol_name=protocol,
            assignments=tuple(SyncGroupRequestAssignment(member_id=name, assignment=part) for name, part in parts),
        )
        answer = Answer()
        try:
            self.perform(self.group.sync(request, Caller("c", "/127.0.0.1", version), answer, self.at), answer)
        except RequestRefused as refused:
            answer.refuse(refused)
        return answer

    def beat(self, member_id: str, *, generation: int | None = None, instance: str | None = None) -> int:
        """A Heartbeat; the code it was told."""
        generation = self.group.generation if generation is None else generation
        request = HeartbeatRequest(
            group_id="g", generation_id=generation, member_id=member_id, group_instance_id=instance
        )
        answer = Answer()
        try:
            self.perform(self.group.heartbeat(request, answer, self.at), answer)
        except RequestRefused as refused:
            answer.refuse(refused)
        return answer.code

    def leave(self, *member_ids: str, version: int = 5) -> Answer:
        """A LeaveGroup of these members."""
        return self.leave_as(*(MemberIdentity(member_id=member_id) for member_id in member_ids), version=version)

    def leave_as(self, *identities: MemberIdentity, version: int = 5) -> Answer:
        """A LeaveGroup."""
        if version < 3:
            request = LeaveGroupRequest(group_id="g", member_id=identities[0].member_id)
        else:
            request = LeaveGroupRequest(group_id="g", members=identities)
        answer = Answer()
        try:
            self.perform(self.group.leave(request, Caller("c", "/127.0.0.1", version), answer, self.at), answer)
        except RequestRefused as refused:
            answer.refuse(refused)
        return answer

    def stable(self, count: int, *, protocols: Protocols = RANGE) -> list[str]:
        """Make the group a stable one of so many dynamic members; the first leads."""
        ids = [self.join(protocols=protocols).join.member_id for _ in range(count)]
        answers = [self.join(member_id, protocols=protocols) for member_id in ids]
        self.advance(self.settings.initial_rebalance_delay_ms)
        leader = answers[0].join.leader
        parts = [(member_id, f"part of {member_id}".encode()) for member_id in ids]
        synced = [self.sync(member_id, parts if member_id == leader else ()) for member_id in ids]
        assert [answer.code for answer in synced] == [0] * count
        return ids

    def static(self, count: int = 2) -> list[str]:
        """Make the group a stable one of so many static members, i0, i1, …; the first leads."""
        answers = [self.join(instance=f"i{number}") for number in range(count)]
        self.advance(self.settings.initial_rebalance_delay_ms)
        ids = [answer.join.member_id for answer in answers]
        parts = [(member_id, member_id.encode()) for member_id in ids]
        for number, member_id in enumerate(ids):
            assert self.sync(member_id, parts, instance=f"i{number}").code == 0
        return ids
