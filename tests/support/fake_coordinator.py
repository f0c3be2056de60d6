"""Consumer groups as a client sees them: a small coordinator of KIP-848, for the client's own tests.

It balances, keeps what members have where it can, gives a partition to nobody before whoever had it has said that it
has not any more, and fences whom it does not know. Sessions end when somebody else's heartbeat, or the member's own,
finds them over.
"""

import asyncio
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import (
    Assignment,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)

Place = tuple[uuid.UUID, int]
TopicSizes = dict[str, tuple[uuid.UUID, int]]
"""Name to id and number of partitions."""


@dataclass(slots=True)
class Member:
    """A member as its group knows it."""

    member_id: str
    instance_id: str | None
    heard_at: float
    epoch: int = 0
    previous_epoch: int = -1
    topics: tuple[str, ...] = ()
    pattern: str | None = None
    target: set[Place] = field(default_factory=set)
    held: set[Place] = field(default_factory=set)
    """What it may be reading."""
    told: set[Place] | None = None
    is_away: bool = False


@dataclass(slots=True)
class Commit:
    """A commit that was accepted."""

    member_id: str
    epoch: int
    topic: str
    partition: int
    offset: int


class ConsumerGroup:
    """A group and its offsets."""

    def __init__(self, *, interval_s: float = 5.0, session_s: float = 45.0) -> None:
        self.members: dict[str, Member] = {}
        self.offsets: dict[Place, int] = {}
        self.commits: list[Commit] = []
        self.fenced: list[str] = []
        self.left: list[tuple[str, int]] = []
        self.epoch = 0
        self.interval_s = interval_s
        self.session_s = session_s
        self._seen: TopicSizes = {}

    def expire(self, member_id: str) -> None:
        """The member's session is over."""
        self.fenced.append(member_id)
        del self.members[member_id]
        self.epoch += 1

    def holder(self, place: Place) -> str | None:
        """Who may be reading a partition."""
        holders = [member.member_id for member in self.members.values() if place in member.held]
        assert len(holders) <= 1, f"{place} is held by {holders}"
        return holders[0] if holders else None

    # Heartbeats

    def heartbeat(
        self, request: ConsumerGroupHeartbeatRequest, topics: TopicSizes, *, now: float
    ) -> ConsumerGroupHeartbeatResponse:
        """The answer to a member; `now` in seconds."""
        for member in list(self.members.values()):
            if now - member.heard_at > self.session_s:
                self.expire(member.member_id)
        if request.member_epoch < 0:
            return self._leave(request)
        member_or_code = self._join(request, now) if request.member_epoch == 0 else self._known(request)
        if isinstance(member_or_code, ErrorCode):
            return ConsumerGroupHeartbeatResponse(error_code=member_or_code)
        member = member_or_code
        member.heard_at = now
        if request.subscribed_topic_names is not None or request.subscribed_topic_regex is not None:
            subscription = (tuple(request.subscribed_topic_names or ()), request.subscribed_topic_regex)
            if subscription != (member.topics, member.pattern):
                member.topics, member.pattern = subscription
                self.epoch += 1
        if topics != self._seen:
            self._seen = dict(topics)
            self.epoch += 1
        self._assign(topics)
        return self._reconcile(member, request)

    def _join(self, request: ConsumerGroupHeartbeatRequest, now: float) -> Member | ErrorCode:
        assert request.topic_partitions == ()
        assert request.rebalance_timeout_ms > 0
        held: set[Place] = set()
        if request.instance_id is not None:
            for other in list(self.members.values()):
                if other.instance_id == request.instance_id and other.member_id != request.member_id:
                    if not other.is_away:
                        return ErrorCode.UNRELEASED_INSTANCE_ID
                    held = other.held
                    del self.members[other.member_id]
        member = Member(request.member_id, request.instance_id, now, held=held)
        self.members[request.member_id] = member
        if not held:
            self.epoch += 1
        return member

    def _known(self, request: ConsumerGroupHeartbeatRequest) -> Member | ErrorCode:
        member = self.members.get(request.member_id)
        if member is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        if request.member_epoch == member.epoch:
            return member
        owned = _places(request.topic_partitions)
        if request.member_epoch == member.previous_epoch and owned is not None and owned <= member.held:
            return member
        self.expire(request.member_id)
        return ErrorCode.FENCED_MEMBER_EPOCH

    def _leave(self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse:
        member = self.members.get(request.member_id)
        if member is None:
            return ConsumerGroupHeartbeatResponse(error_code=ErrorCode.UNKNOWN_MEMBER_ID)
        self.left.append((request.member_id, request.member_epoch))
        if request.member_epoch == -2:
            member.is_away = True
        else:
            del self.members[request.member_id]
            self.epoch += 1
        return ConsumerGroupHeartbeatResponse(member_id=request.member_id, member_epoch=request.member_epoch)

    def _assign(self, topics: TopicSizes) -> None:
        members = sorted(self.members.values(), key=lambda member: member.member_id)
        wanted: dict[Place, list[Member]] = {}
        for name, (topic_id, count) in sorted(topics.items()):
            readers = [
                one for one in members if name in one.topics or (one.pattern and re.fullmatch(one.pattern, name))
            ]
            for partition in range(count):
                if readers:
                    wanted[topic_id, partition] = readers
        for member in members:
            member.target = set()
        quota = -(-len(wanted) // len(members)) if members else 0
        for place, readers in wanted.items():
            for member in readers:
                if place in member.held and len(member.target) < quota:
                    member.target.add(place)
        taken = {place for member in members for place in member.target}
        for place, readers in wanted.items():
            if place not in taken:
                min(readers, key=lambda member: (len(member.target), member.member_id)).target.add(place)

    def _reconcile(self, member: Member, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse:
        owned = _places(request.topic_partitions)
        to_revoke = member.held - member.target
        if owned is not None and not owned & to_revoke:
            member.held -= to_revoke
            to_revoke = set()
        if not to_revoke:
            if member.epoch != self.epoch:
                member.previous_epoch, member.epoch = member.epoch, self.epoch
            member.held |= {place for place in member.target if self.holder(place) is None}
        assert all(self.holder(place) for place in member.held)
        tell = member.held - to_revoke
        is_news = tell != member.told or request.rebalance_timeout_ms > 0
        member.told = tell
        return ConsumerGroupHeartbeatResponse(
            member_id=member.member_id,
            member_epoch=member.epoch,
            heartbeat_interval_ms=int(self.interval_s * 1000),
            assignment=Assignment(topic_partitions=_grouped(tell)) if is_news else None,
        )

    # Offsets

    def commit(self, request: OffsetCommitRequest, topics: TopicSizes) -> OffsetCommitResponse:
        code = self._may(request.member_id, request.generation_id_or_member_epoch)
        ids = {topic_id: (name, count) for name, (topic_id, count) in topics.items()}
        answered = []
        for topic in request.topics:
            partitions = []
            for asked in topic.partitions:
                verdict = code
                if not verdict and topic.topic_id not in ids:
                    verdict = ErrorCode.UNKNOWN_TOPIC_ID
                if not verdict:
                    place, epoch = (topic.topic_id, asked.partition_index), request.generation_id_or_member_epoch
                    assert self.holder(place) == request.member_id, "committed what it has not"
                    self.offsets[place] = asked.committed_offset
                    name = ids[topic.topic_id][0]
                    self.commits.append(
                        Commit(request.member_id, epoch, name, asked.partition_index, asked.committed_offset)
                    )
                partitions.append(
                    OffsetCommitResponsePartition(partition_index=asked.partition_index, error_code=verdict)
                )
            answered.append(
                OffsetCommitResponseTopic(name=topic.name, topic_id=topic.topic_id, partitions=tuple(partitions))
            )
        return OffsetCommitResponse(topics=tuple(answered))

    def fetch(self, asked: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup:
        assert asked.member_id is not None
        code = self._may(asked.member_id, asked.member_epoch)
        if code:
            return OffsetFetchResponseGroup(group_id=asked.group_id, error_code=code)
        topics = tuple(
            OffsetFetchResponseTopics(
                name=topic.name,
                topic_id=topic.topic_id,
                partitions=tuple(
                    OffsetFetchResponsePartitions(
                        partition_index=index, committed_offset=self.offsets.get((topic.topic_id, index), -1)
                    )
                    for index in topic.partition_indexes
                ),
            )
            for topic in asked.topics or ()
        )
        return OffsetFetchResponseGroup(group_id=asked.group_id, topics=topics)

    def _may(self, member_id: str, epoch: int) -> ErrorCode:
        member = self.members.get(member_id)
        if member is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        return ErrorCode.NONE if member.epoch == epoch else ErrorCode.STALE_MEMBER_EPOCH


class FakeCoordinator:
    """The groups whose members are real."""

    def __init__(self) -> None:
        self.by_id: dict[str, ConsumerGroup] = {}

    def __getitem__(self, group_id: str) -> ConsumerGroup:
        return self.by_id.setdefault(group_id, ConsumerGroup())

    def respond(self, body: object, topics: TopicSizes, refuse: ErrorCode | None) -> object:
        """The answer to a request of a member; None: it is something else, or nobody's."""
        if isinstance(body, ConsumerGroupHeartbeatRequest):
            if refuse is not None:
                return ConsumerGroupHeartbeatResponse(error_code=refuse)
            return self[body.group_id].heartbeat(body, topics, now=asyncio.get_running_loop().time())
        if isinstance(body, OffsetCommitRequest) and body.member_id:
            return _refused_commit(body, refuse) if refuse is not None else self[body.group_id].commit(body, topics)
        if isinstance(body, OffsetFetchRequest) and all(one.member_id for one in body.groups):
            if refuse is not None:
                groups = [OffsetFetchResponseGroup(group_id=one.group_id, error_code=refuse) for one in body.groups]
            else:
                groups = [self[one.group_id].fetch(one) for one in body.groups]
            return OffsetFetchResponse(groups=tuple(groups))
        return None


def _refused_commit(body: OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse:
    return OffsetCommitResponse(
        topics=tuple(
            OffsetCommitResponseTopic(
                name=topic.name,
                topic_id=topic.topic_id,
                partitions=tuple(
                    OffsetCommitResponsePartition(partition_index=one.partition_index, error_code=code)
                    for one in topic.partitions
                ),
            )
            for topic in body.topics
        )
    )


def _places(told: tuple[TopicPartitions, ...] | None) -> set[Place] | None:
    if told is None:
        return None
    return {(topic.topic_id, partition) for topic in told for partition in topic.partitions}


def _grouped(places: Iterable[Place]) -> tuple[TopicPartitions, ...]:
    topics: dict[uuid.UUID, list[int]] = {}
    for topic_id, partition in sorted(places):
        topics.setdefault(topic_id, []).append(partition)
    return tuple(TopicPartitions(topic_id=one, partitions=tuple(found)) for one, found in topics.items())
