"""How far a group has come: fetched when partitions are assigned, committed as one of its members.

Commits of a consumer leave one after the other, and never say less than what is known to be committed. A commit for
what is no longer held fails; it is not repeated under a later assignment. An offset that is committed is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from uuid import UUID

from ..protocol.errors import ErrorCode
from ..protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from ..protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
)
from .cluster import Cluster
from .errors import PartitionsLost, Unavailable, error_for
from .holdings import Holding
from .member import Member
from .membership import FENCING, Place
from .records import TopicPartition

Offsets = Mapping[Holding, int]

TOPIC_GONE = frozenset({ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID})
UNSETTLED = FENCING | {ErrorCode.STALE_MEMBER_EPOCH}
"""The group sees the member differently than it does itself: a heartbeat tells what has happened."""

_log = logging.getLogger(__name__)


class GroupOffsets:
    """The offsets of one consumer's group."""

    def __init__(self, cluster: Cluster, member: Member) -> None:
        self._cluster = cluster
        self._member = member
        self._identity = member.membership.identity
        self._committing = asyncio.Lock()

    async def fetch(self, names: Mapping[Place, TopicPartition]) -> dict[Place, int]:
        """The committed offsets of partitions that are assigned; -1 where there is none."""
        found: dict[Place, int] = {}

        async def attempt(timeout: float) -> None:
            response = await self._member.ask(self._fetch_request(names), OffsetFetchResponse, timeout=timeout)
            for group in response.groups:
                self._collect(group, found)
            if len(found) < len(names):
                raise Unavailable(f"OffsetFetch of group {self._identity.group_id!r} leaves partitions out")

        await self._cluster.persist(attempt)
        return found

    async def commit(self, offsets: Offsets) -> None:
        """Commit durably what is not committed yet. Raises PartitionsLost if some of it is held no longer."""
        async with self._committing:
            await self._cluster.persist(lambda timeout: self._commit(offsets, timeout))
        lost = [
            holding.name for holding, offset in offsets.items() if not holding.is_held and offset > holding.committed
        ]
        if lost:
            raise PartitionsLost(lost)

    # Fetching

    def _fetch_request(self, names: Mapping[Place, TopicPartition]) -> OffsetFetchRequest:
        by_topic: dict[UUID, list[TopicPartition]] = {}
        for place, name in names.items():
            by_topic.setdefault(place.topic_id, []).append(name)
        topics = tuple(
            OffsetFetchRequestTopics(
                name=found[0].topic, topic_id=topic_id, partition_indexes=tuple(name.partition for name in found)
            )
            for topic_id, found in by_topic.items()
        )
        membership = self._member.membership
        group = OffsetFetchRequestGroup(
            group_id=self._identity.group_id,
            member_id=self._identity.member_id,
            member_epoch=membership.epoch,
            topics=topics,
        )
        return OffsetFetchRequest(groups=(group,), require_stable=True)

    def _collect(self, group: OffsetFetchResponseGroup, found: dict[Place, int]) -> None:
        self._check(group.error_code, "its offsets")
        for topic in group.topics:
            for partition in topic.partitions:
                if partition.error_code not in TOPIC_GONE:
                    self._check(partition.error_code, f"the offset of {topic.name}[{partition.partition_index}]")
                found[Place(topic.topic_id, partition.partition_index)] = partition.committed_offset

    # Committing

    async def _commit(self, offsets: Offsets, timeout: float) -> None:
        wanted = {
            holding: offset for holding, offset in offsets.items() if holding.is_held and offset > holding.committed
        }
        if not wanted:
            return
        if not self._member.membership.is_member:  # it holds something, so it is about to hear what it is
            raise Unavailable(f"group {self._identity.group_id!r}: joining")
        response = await self._member.ask(self._commit_request(wanted), OffsetCommitResponse, timeout=timeout)
        codes = {
            Place(topic.topic_id, partition.partition_index): partition.error_code
            for topic in response.topics
            for partition in topic.partitions
        }
        refused: dict[Holding, int] = {}
        for holding, offset in wanted.items():
            code = codes.get(holding.place)
            if code is None:
                raise Unavailable(f"OffsetCommit of group {self._identity.group_id!r} leaves partitions out")
            if code in TOPIC_GONE:
                _log.warning("%s[%d] is gone, so offset %d is not committed", *holding.name, offset)
            elif code != ErrorCode.NONE:
                refused[holding] = code
                continue
            holding.committed = max(holding.committed, offset)
        for holding, code in refused.items():
            self._check(code, f"offset {wanted[holding]} of {holding.name.topic}[{holding.name.partition}]")

    def _commit_request(self, offsets: Offsets) -> OffsetCommitRequest:
        return OffsetCommitRequest(
            group_id=self._identity.group_id,
            generation_id_or_member_epoch=self._member.membership.epoch,
            member_id=self._identity.member_id,
            group_instance_id=self._identity.instance_id,
            topics=tuple(_topics(offsets)),
        )

    def _check(self, code: int, what: str) -> None:
        if code == ErrorCode.NONE:
            return
        about = f"group {self._identity.group_id!r}, {what}"
        if code in UNSETTLED:
            # Either the next answer brings a newer epoch, or the member is fenced and what it holds is dropped.
            self._member.hurry()
            raise Unavailable(f"{about}: {ErrorCode.of(code).description}", code=ErrorCode.of(code))
        raise error_for(code, about=about)


def _topics(offsets: Offsets) -> Iterable[OffsetCommitRequestTopic]:
    by_topic: dict[UUID, list[Holding]] = {}
    for holding in offsets:
        by_topic.setdefault(holding.place.topic_id, []).append(holding)
    for topic_id, holdings in by_topic.items():
        partitions = tuple(
            OffsetCommitRequestPartition(partition_index=holding.name.partition, committed_offset=offsets[holding])
            for holding in holdings
        )
        yield OffsetCommitRequestTopic(name=holdings[0].name.topic, topic_id=topic_id, partitions=partitions)
