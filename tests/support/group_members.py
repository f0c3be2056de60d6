"""Members of groups for simulated worlds: they keep to the protocol, and write down what they do and see.

`ClassicMember` joins, syncs (the leader deals the partitions out in ranges), and rejoins when it is told to.
`ModernMember` speaks the consumer protocol (KIP-848) through the thin client's `Membership`, and nothing else of that
client. Both begin where the group is, read, commit now and then, and sometimes try to commit what they no longer may.
"""

import asyncio
import random
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from tidelog.broker.coordinator.consumer_protocol import PROTOCOL_TYPE, assigned_partitions
from tidelog.client.errors import TidelogError
from tidelog.client.membership import Identity, Membership, State
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatResponse
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse

from .group_lines import Cut, Line, Source
from .group_timeline import GroupHistory

BACKOFF_S = 0.1
RANGE = "range"
UNKNOWN_COUNT = -1
PROBE_RATE = 0.5
"""How often a member that has come to a new generation tries a commit of the one before."""
UNCERTAIN = frozenset({ErrorCode.REQUEST_TIMED_OUT, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR})
"""Codes after which a commit may have been written all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """Who a member is."""

    group_id: str
    name: str
    """Another one for each life."""
    topic: str
    instance_id: str | None = None
    session_s: float = 6.0
    rebalance_s: float = 8.0
    heartbeat_s: float = 0.5
    commit_rate: float = 0.3
    """How often what was read is committed at once."""

    @property
    def who(self) -> str:
        """Its name in the history: a static member is the same one in each of its lives."""
        return self.instance_id or self.name


class Refused(Exception):
    """The group has something against it."""

    def __init__(self, code: int) -> None:
        super().__init__(ErrorCode.of(code).name)
        self.code = ErrorCode.of(code)


class Hands:
    """What a member has of its topic, and how it comes by it."""

    def __init__(self, persona: Persona, line: Line, source: Source, history: GroupHistory) -> None:
        self.persona = persona
        self.line = line
        self.source = source
        self.history = history
        self.positions: dict[int, int] = {}
        self.generations: dict[int, int] = {}
        """In which each was given."""

    async def begin(self, partitions: Collection[int], generation: int, *, member_id: str | None, epoch: int) -> None:
        """Find where to begin with what was given. Raises Cut, Refused."""
        wanted = tuple(sorted(partitions))
        topics = (OffsetFetchRequestTopics(name=self.persona.topic, partition_indexes=wanted),)
        group = OffsetFetchRequestGroup(
            group_id=self.persona.group_id, member_id=member_id, member_epoch=epoch, topics=topics
        )
        invoked = self.history.now()
        response = await self.line.ask(OffsetFetchRequest(groups=(group,), require_stable=True), OffsetFetchResponse)
        [answer] = response.groups
        codes = [answer.error_code] + [one.error_code for topic in answer.topics for one in topic.partitions]
        if code := next(filter(None, codes), 0):
            raise Refused(code)
        told = {one.partition_index: one.committed_offset for topic in answer.topics for one in topic.partitions}
        self.history.told(self.persona.group_id, self.persona.who, told, invoked=invoked)
        for partition in wanted:
            self.positions[partition] = max(told[partition], 0)
            self.generations[partition] = generation

    def give_up(self, partitions: Collection[int]) -> None:
        """These are no longer its own."""
        for partition in partitions:
            self.positions.pop(partition, None)
            self.generations.pop(partition, None)

    async def read(self) -> None:
        """Have more records delivered. Raises Cut."""
        for partition, sums in (await self.source.read(self.positions)).items():
            first = self.positions[partition]
            if sums:
                persona = self.persona
                self.history.delivered(
                    persona.group_id,
                    persona.who,
                    self.generations[partition],
                    partition=partition,
                    first=first,
                    sums=sums,
                )
                self.positions[partition] = first + len(sums)

    async def commit(
        self, member_id: str, generation: int, offsets: Mapping[int, int], *, is_known_stale: bool = False
    ) -> int:
        """Commit so far; the code of the answer. Raises Cut."""
        if not offsets:
            return 0
        persona, history = self.persona, self.history
        commits = history.committing(persona.group_id, persona.who, generation, offsets, is_known_stale=is_known_stale)
        parts = tuple(
            OffsetCommitRequestPartition(partition_index=partition, committed_offset=offset)
            for partition, offset in offsets.items()
        )
        request = OffsetCommitRequest(
            group_id=persona.group_id,
            generation_id_or_member_epoch=generation,
            member_id=member_id,
            group_instance_id=persona.instance_id,
            topics=(OffsetCommitRequestTopic(name=persona.topic, partitions=parts),),
        )
        try:
            response = await self.line.ask(request, OffsetCommitResponse)
        except Cut:
            history.committed(commits, "info")
            raise
        codes = {one.partition_index: one.error_code for topic in response.topics for one in topic.partitions}
        for commit in commits:
            code = codes[commit.partition]
            history.committed([commit], "info" if code in UNCERTAIN else "fail" if code else "ok")
        return max(codes.values())


class ClassicMember:
    """A member of a classic group."""

    def __init__(self, hands: Hands, chance: random.Random) -> None:
        self.is_leaving = False
        """It is to leave in order, when it comes to it."""
        self.hands = hands
        self._chance = chance
        self._persona = hands.persona
        self._line = hands.line
        self._loop = asyncio.get_running_loop()
        self.member_id = ""
        self.generation = -1
        self._leads_over = 0
        """How many partitions it has dealt out, if it leads."""

    async def live(self) -> None:
        """Until it has left, or another one of its instance id has come."""
        while True:
            try:
                await self._join()
                await self._work()
                if self.is_leaving:
                    return
            except Cut:
                self._line.drop()
                await asyncio.sleep(BACKOFF_S)
            except Refused as refused:
                if refused.code == ErrorCode.FENCED_INSTANCE_ID:
                    return
                if refused.code == ErrorCode.UNKNOWN_MEMBER_ID:
                    self.member_id = ""
                elif refused.code != ErrorCode.REBALANCE_IN_PROGRESS:
                    await asyncio.sleep(BACKOFF_S)

    async def _join(self) -> None:
        hands, persona, before = self.hands, self._persona, (self.member_id, self.generation)
        stale = dict(hands.positions)
        hands.give_up(list(hands.positions))
        self.generation = -1
        joined = await self._ask_to_join()
        if joined.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = joined.member_id
            joined = await self._ask_to_join()
        _check(joined.error_code)
        self.member_id = joined.member_id
        parts: tuple[SyncGroupRequestAssignment, ...] = ()
        self._leads_over = 0
        if joined.leader == self.member_id:
            # KIP-814: a static leader that has come back is not to deal out; it looks soon whether that was right.
            self._leads_over = UNKNOWN_COUNT if joined.skip_assignment else await hands.source.partitions()
            if not joined.skip_assignment:
                parts = _dealt_out(joined, persona.topic, self._leads_over)
        request = SyncGroupRequest(
            group_id=persona.group_id,
            generation_id=joined.generation_id,
            member_id=self.member_id,
            group_instance_id=persona.instance_id,
            protocol_type=joined.protocol_type,
            protocol_name=joined.protocol_name,
            assignments=parts,
        )
        synced = await self._line.ask(request, SyncGroupResponse, timeout=persona.rebalance_s + 5)
        _check(synced.error_code)
        self.generation = joined.generation_id
        mine = (assigned_partitions(synced.assignment) or {}).get(persona.topic, ())
        hands.history.given(persona.group_id, persona.who, self.generation, mine)
        if stale and -1 < before[1] < self.generation and self._chance.random() < PROBE_RATE:
            await hands.commit(before[0], before[1], stale, is_known_stale=True)
        await hands.begin(mine, self.generation, member_id=None, epoch=-1)

    async def _ask_to_join(self) -> JoinGroupResponse:
        persona = self._persona
        request = JoinGroupRequest(
            group_id=persona.group_id,
            session_timeout_ms=int(persona.session_s * 1000),
            rebalance_timeout_ms=int(persona.rebalance_s * 1000),
            member_id=self.member_id,
            group_instance_id=persona.instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocols=(JoinGroupRequestProtocol(name=RANGE, metadata=_subscription(persona.topic)),),
        )
        return await self._line.ask(request, JoinGroupResponse, timeout=persona.rebalance_s + 5)

    async def _work(self) -> None:
        """Until it is to join anew. Raises Refused."""
        hands, beat_at = self.hands, self._loop.time() + self._persona.heartbeat_s
        while True:
            try:
                if self.is_leaving:
                    await self._leave()
                    return
                if self._loop.time() >= beat_at:
                    beat_at = self._loop.time() + self._persona.heartbeat_s
                    if await self._beat():
                        return
                await (hands.read() if hands.positions else asyncio.sleep(self._persona.heartbeat_s))
                if self._chance.random() < self._persona.commit_rate:
                    code = await hands.commit(self.member_id, self.generation, dict(hands.positions))
                    if code not in UNCERTAIN and code != ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
                        _check(code)
            except Cut:
                self._line.drop()
                await asyncio.sleep(BACKOFF_S)

    async def _beat(self) -> bool:
        """Whether it is to join anew."""
        request = HeartbeatRequest(
            group_id=self._persona.group_id,
            generation_id=self.generation,
            member_id=self.member_id,
            group_instance_id=self._persona.instance_id,
        )
        code = (await self._line.ask(request, HeartbeatResponse)).error_code
        if code == ErrorCode.REBALANCE_IN_PROGRESS:
            await self.hands.commit(self.member_id, self.generation, dict(self.hands.positions))
            return True
        if code not in (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE):
            _check(code)
        return bool(self._leads_over) and await self.hands.source.partitions() != self._leads_over

    async def _leave(self) -> None:
        await self.hands.commit(self.member_id, self.generation, dict(self.hands.positions))
        identity = MemberIdentity(member_id=self.member_id, group_instance_id=self._persona.instance_id)
        if self._persona.instance_id is None:
            await self._line.ask(
                LeaveGroupRequest(group_id=self._persona.group_id, members=(identity,)), LeaveGroupResponse
            )
        self.hands.give_up(list(self.hands.positions))


class ModernMember:
    """A member of a group of the consumer protocol."""

    def __init__(self, hands: Hands, chance: random.Random) -> None:
        self.is_leaving = False
        self.hands = hands
        self._chance = chance
        self._persona = hands.persona
        self._line = hands.line
        self._loop = asyncio.get_running_loop()
        identity = Identity(
            group_id=hands.persona.group_id,
            member_id=str(UUID(int=chance.getrandbits(128), version=4)),
            instance_id=hands.persona.instance_id,
            topics=(hands.persona.topic,),
            rebalance_timeout=hands.persona.rebalance_s,
        )
        self.membership = Membership(identity, backoff=lambda failures: BACKOFF_S)
        self._to_begin: dict[int, int] = {}
        """Partitions that were given, and at which epoch, and are not read yet."""
        self._stale: tuple[int, dict[int, int]] | None = None
        """An epoch that is over, and what could have been committed in it."""

    @property
    def member_id(self) -> str:
        """Its id, which it has chosen."""
        return self.membership.identity.member_id

    async def live(self) -> None:
        """Until it has left, or another one of its instance id has come."""
        while self.membership.state is not State.LEFT:
            try:
                await self._step()
            except TidelogError as error:
                if error.code == ErrorCode.FENCED_INSTANCE_ID:
                    return
                raise
            except Cut:
                self._line.drop()
                await asyncio.sleep(BACKOFF_S)
            except Refused:
                self.membership.hurry()
                await asyncio.sleep(BACKOFF_S)

    async def _step(self) -> None:
        membership, hands = self.membership, self.hands
        if membership.state is State.FENCED:
            hands.give_up(list(hands.positions))
            self._to_begin.clear()
            membership.dropped()
        elif membership.state is State.FAILED:
            assert membership.error is not None
            raise membership.error
        elif self.is_leaving:
            await self._leave()
        elif membership.due_at <= self._loop.time():
            await self._beat()
        elif membership.state is State.RECONCILING:
            await self._reconcile()
        elif not membership.is_member:
            await asyncio.sleep(BACKOFF_S)
        else:
            await self._work()

    async def _beat(self) -> None:
        membership = self.membership
        epoch, positions = membership.epoch, dict(self.hands.positions)
        request = membership.heartbeat(self._loop.time())
        try:
            response = await self._line.ask(request, ConsumerGroupHeartbeatResponse)
        except Cut:
            membership.failed(self._loop.time(), None)
            raise
        membership.answered(response, self._loop.time())
        if membership.is_member and 0 < epoch < membership.epoch and positions:
            self._stale = epoch, positions

    async def _reconcile(self) -> None:
        membership, hands, persona = self.membership, self.hands, self._persona
        target, owned = membership.target, membership.owned
        if revoked := {place.partition for place in owned - target}:
            kept = {one: offset for one, offset in hands.positions.items() if one in revoked}
            hands.give_up(revoked)
            for partition in revoked:
                self._to_begin.pop(partition, None)
            await hands.commit(self.member_id, membership.epoch, kept)
        new = [place.partition for place in target - owned]
        hands.history.given(persona.group_id, persona.who, membership.epoch, sorted(new))
        self._to_begin |= dict.fromkeys(new, membership.epoch)
        membership.reconciled(target, frozenset(target))

    async def _work(self) -> None:
        hands, membership = self.hands, self.membership
        if self._stale is not None:
            (epoch, positions), self._stale = self._stale, None
            if self._chance.random() < PROBE_RATE:
                await hands.commit(self.member_id, epoch, positions, is_known_stale=True)
        if self._to_begin:
            generations = dict(self._to_begin)
            await hands.begin(generations, membership.epoch, member_id=self.member_id, epoch=membership.epoch)
            hands.generations |= generations
            self._to_begin.clear()
        await (hands.read() if hands.positions else asyncio.sleep(self._persona.heartbeat_s))
        if self._chance.random() < self._persona.commit_rate:
            _check(await hands.commit(self.member_id, membership.epoch, dict(hands.positions)))

    async def _leave(self) -> None:
        if self.membership.is_member:
            await self.hands.commit(self.member_id, self.membership.epoch, dict(self.hands.positions))
        self.hands.give_up(list(self.hands.positions))
        farewell = self.membership.leave()
        if farewell is not None:
            await self._line.ask(farewell, ConsumerGroupHeartbeatResponse)


def _check(code: int) -> None:
    if code:
        raise Refused(code)


def _subscription(topic: str) -> bytes:
    name = topic.encode()
    return struct.pack(f">hih{len(name)}si", 0, 1, len(name), name, -1)


def _dealt_out(joined: JoinGroupResponse, topic: str, partitions: int) -> tuple[SyncGroupRequestAssignment, ...]:
    """Ranges of all partitions, one for each member in the order of who they are."""
    members = sorted(joined.members, key=lambda member: (member.group_instance_id or "", member.member_id))
    each, more = divmod(partitions, len(members))
    name, parts, first = topic.encode(), [], 0
    for index, member in enumerate(members):
        mine = range(first, first + each + (index < more))
        first = mine.stop
        numbers = struct.pack(f">{len(mine)}i", *mine)
        data = struct.pack(f">hih{len(name)}si", 0, 1, len(name), name, len(mine)) + numbers + struct.pack(">i", -1)
        parts.append(SyncGroupRequestAssignment(member_id=member.member_id, assignment=data))
    return tuple(parts)
