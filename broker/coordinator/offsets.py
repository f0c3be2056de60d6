"""Committed offsets: how far the groups of a shard have read which partition.

What a request asks for becomes records, all of them in one decision, so that a commit is kept whole or not at all; and
`apply` alone changes what is remembered.

An offset says which topic it is for by name, as its record's key does, and by id, as far as it was known. One whose
topic has gone, or was made anew under the same name, is no offset of the topic that is there now: it is not told to
anybody, and forgotten as soon as somebody looks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

from ...protocol.errors import ErrorCode
from ...protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from ...protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)
from ...protocol.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)
from ...protocol.primitives import INT64_MAX, ZERO_UUID
from .decision import Instant
from .group_memory import OFFSET_BYTES, text_bytes
from .group_records import NEVER, NO_LEADER_EPOCH, CommittedOffset, OffsetCommitted
from .topics_view import TopicsView

NO_OFFSET = -1
"""What a fetch is told where nothing is committed [G-11]."""
BROKERS_RETENTION = -1
"""The `retention_time_ms` of a request that leaves it to the broker."""

_NONE: Mapping[str, Mapping[int, CommittedOffset]] = MappingProxyType({})
_NO_PARTITIONS: Mapping[int, CommittedOffset] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit would do."""

    records: Sequence[OffsetCommitted]
    response: OffsetCommitResponse
    names_topics: bool
    """Some partition of it exists. Else the group is not even asked whether it allows the commit, as in Kafka."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion of offsets would do."""

    records: Sequence[OffsetCommitted]
    response: OffsetDeleteResponse


class Offsets:
    """The committed offsets of a shard's groups."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, dict[int, CommittedOffset]]] = {}
        """By group, topic and partition; nothing in it is empty."""
        self._bytes: dict[str, int] = {}
        """What each group's take."""

    def __contains__(self, group_id: str) -> bool:
        return group_id in self._groups

    def of(self, group_id: str) -> Mapping[str, Mapping[int, CommittedOffset]]:
        """A group's offsets, by topic and partition."""
        return self._groups.get(group_id, _NONE)

    def get(self, group_id: str, topic: str, partition: int) -> CommittedOffset | None:
        """A group's offset for a partition."""
        return self.of(group_id).get(topic, _NO_PARTITIONS).get(partition)

    def count(self, group_id: str) -> int:
        """For how many partitions the group has an offset."""
        return sum(map(len, self.of(group_id).values()))

    def apply(self, record: OffsetCommitted) -> None:
        """Remember it, or forget it."""
        if record.offset is not None:
            topics = self._groups.setdefault(record.group_id, {})
            partitions = topics.setdefault(record.topic, {})
            self._weigh(record, partitions.get(record.partition))
            partitions[record.partition] = record.offset
            return
        topics = self._groups.get(record.group_id, {})
        partitions = topics.get(record.topic, {})
        self._weigh(record, partitions.pop(record.partition, None))
        if not partitions:
            topics.pop(record.topic, None)
        if not topics:
            self._groups.pop(record.group_id, None)
            self._bytes.pop(record.group_id, None)

    def has_one_for(self, record: object) -> bool:
        """Whether the record takes the place of an offset that is there."""
        return isinstance(record, OffsetCommitted) and record.partition in self.of(record.group_id).get(
            record.topic, _NO_PARTITIONS
        )

    def bytes_of(self, group_id: str) -> int:
        """What a group's offsets take in memory, roughly."""
        return self._bytes.get(group_id, 0)

    def _weigh(self, record: OffsetCommitted, before: CommittedOffset | None) -> None:
        change = _bytes_of(record.offset) - _bytes_of(before)
        if change:
            self._bytes[record.group_id] = self._bytes.get(record.group_id, 0) + change

    # Requests

    def commit(
        self, request: OffsetCommitRequest, *, topics: TopicsView, at: Instant, by_id: bool, metadata_max: int
    ) -> Commit:
        """What to write for a commit; whether the group allows it is not looked at.

        Of several offsets for one partition the last one holds. `metadata_max` counts characters, as in Kafka.
        """
        retention_ms = request.retention_time_ms
        expire_ms = NEVER if retention_ms == BROKERS_RETENTION else min(at.wall_ms + retention_ms, INT64_MAX)
        records: list[OffsetCommitted] = []
        answers = []
        names_topics = False
        for topic in request.topics:
            name, topic_id, count, unknown = _find(topics, topic, by_id=by_id)
            partitions = []
            for partition in topic.partitions:
                index = partition.partition_index
                if not 0 <= index < count:
                    code = unknown
                elif len(partition.committed_metadata or "") > metadata_max:
                    code = ErrorCode.OFFSET_METADATA_TOO_LARGE
                    names_topics = True
                else:
                    code = ErrorCode.NONE
                    offset = _committed(partition, topic_id, at.wall_ms, expire_ms)
                    records.append(OffsetCommitted(request.group_id, name, index, offset))
                partitions.append(OffsetCommitResponsePartition(partition_index=index, error_code=code))
            answers.append(
                OffsetCommitResponseTopic(name=topic.name, topic_id=topic.topic_id, partitions=tuple(partitions))
            )
        return Commit(records, OffsetCommitResponse(topics=tuple(answers)), names_topics or bool(records))

    def fetch(self, request: OffsetFetchRequestGroup, *, topics: TopicsView, by_id: bool) -> OffsetFetchResponseGroup:
        """What a group has committed [G-11]; whether it may be told is not looked at."""
        asked = self._all(request.group_id, topics, by_id=by_id) if request.topics is None else request.topics
        answers = tuple(self._fetch_topic(request.group_id, topic, topics, by_id=by_id) for topic in asked)
        return OffsetFetchResponseGroup(group_id=request.group_id, topics=answers)

    def _all(self, group_id: str, topics: TopicsView, *, by_id: bool) -> Iterator[OffsetFetchRequestTopics]:
        for name, partitions in self.of(group_id).items():
            found = topics.partitions_of(name)
            if found is None and by_id:
                continue  # it has no id to be called by
            topic_id = ZERO_UUID if found is None else found[0]
            present = tuple(index for index, offset in partitions.items() if _is_for(offset, topic_id))
            if present:
                yield OffsetFetchRequestTopics(name=name, topic_id=topic_id, partition_indexes=present)

    def _fetch_topic(
        self, group_id: str, topic: OffsetFetchRequestTopics, topics: TopicsView, *, by_id: bool
    ) -> OffsetFetchResponseTopics:
        name, topic_id, _, unknown = _find(topics, topic, by_id=by_id)
        # Of a topic that is called by its name Kafka tells what it has, whether there is such a topic or not.
        code = unknown if unknown is ErrorCode.UNKNOWN_TOPIC_ID else ErrorCode.NONE
        committed = self.of(group_id).get(name, _NO_PARTITIONS)
        partitions = []
        for index in topic.partition_indexes:
            offset = committed.get(index)
            if code or offset is None or not _is_for(offset, topic_id):
                answer = OffsetFetchResponsePartitions(
                    partition_index=index, committed_offset=NO_OFFSET, error_code=code
                )
            else:
                answer = OffsetFetchResponsePartitions(
                    partition_index=index,
                    committed_offset=offset.offset,
                    committed_leader_epoch=offset.leader_epoch,
                    metadata=offset.metadata,
                )
            partitions.append(answer)
        return OffsetFetchResponseTopics(name=topic.name, topic_id=topic.topic_id, partitions=tuple(partitions))

    def delete(
        self, request: OffsetDeleteRequest, *, topics: TopicsView, is_subscribed: Callable[[str], bool]
    ) -> Deletion:
        """What to write so that the offsets are forgotten; not those of topics that the group reads [G-12]."""
        records: list[OffsetCommitted] = []
        answers = []
        for topic in request.topics:
            found = topics.partitions_of(topic.name)
            count = 0 if found is None else found[1]
            code = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if is_subscribed(topic.name) else ErrorCode.NONE
            partitions = []
            for partition in topic.partitions:
                index = partition.partition_index
                outcome = code if 0 <= index < count else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                if not outcome and self.get(request.group_id, topic.name, index) is not None:
                    records.append(OffsetCommitted(request.group_id, topic.name, index, None))
                partitions.append(OffsetDeleteResponsePartition(partition_index=index, error_code=outcome))
            answers.append(OffsetDeleteResponseTopic(name=topic.name, partitions=tuple(partitions)))
        return Deletion(records, OffsetDeleteResponse(topics=tuple(answers)))

    # Forgetting

    def forget(self, group_id: str) -> list[OffsetCommitted]:
        """What to write when the group is deleted."""
        return [record for topic in self.of(group_id) for record in self._forget_topic(group_id, topic)]

    def topic_deleted(self, name: str) -> list[OffsetCommitted]:
        """What to write when a topic is deleted [G-12]."""
        return [record for group_id in self._groups for record in self._forget_topic(group_id, name)]

    def of_lost_topics(self, topics: TopicsView) -> list[OffsetCommitted]:
        """What to write for topics that were deleted while nobody could write it: before a crash, mostly."""
        records = []
        for group_id, committed in self._groups.items():
            for name, partitions in committed.items():
                found = topics.partitions_of(name)
                for index, offset in partitions.items():
                    if found is None or not _is_for(offset, found[0]):
                        records.append(OffsetCommitted(group_id, name, index, None))
        return records

    def expired(
        self,
        group_id: str,
        *,
        wall_ms: int,
        retention_ms: int,
        empty_since_ms: int | None,
        is_subscribed: Callable[[str], bool],
    ) -> list[OffsetCommitted]:
        """What to write for offsets that nobody has cared about for so long [G-12].

        The time runs from the commit, or from when the group lost its last member if that was later. Kafka lets it run
        from the latter alone, so that an offset which is set by hand on a group that has long been empty is gone by the
        next look; nobody wants that. An offset that brought a time of its own goes by that.
        """
        records = []
        for name, partitions in self.of(group_id).items():
            if is_subscribed(name):
                continue
            for index, offset in partitions.items():
                end_ms = offset.expire_ms
                if end_ms == NEVER:
                    end_ms = max(offset.commit_ms, empty_since_ms or 0) + retention_ms
                if wall_ms >= end_ms:
                    records.append(OffsetCommitted(group_id, name, index, None))
        return records

    def _forget_topic(self, group_id: str, name: str) -> Iterator[OffsetCommitted]:
        for index in self.of(group_id).get(name, _NO_PARTITIONS):
            yield OffsetCommitted(group_id, name, index, None)


def _committed(
    partition: OffsetCommitRequestPartition, topic_id: UUID, wall_ms: int, expire_ms: int
) -> CommittedOffset:
    offset, metadata = partition.committed_offset, partition.committed_metadata or ""
    if expire_ms != NEVER:
        # No more than its record keeps, so that a start finds what was there before.
        return CommittedOffset(offset=offset, metadata=metadata, commit_ms=wall_ms, expire_ms=expire_ms)
    return CommittedOffset(
        offset=offset,
        leader_epoch=max(partition.committed_leader_epoch, NO_LEADER_EPOCH),
        metadata=metadata,
        commit_ms=wall_ms,
        topic_id=topic_id,
    )


def _bytes_of(offset: CommittedOffset | None) -> int:
    if offset is None:
        return 0
    return OFFSET_BYTES + text_bytes(offset.metadata) if offset.metadata else OFFSET_BYTES


def _is_for(offset: CommittedOffset, topic_id: UUID) -> bool:
    """Whether the offset is for the topic of this id, as far as either is known."""
    return offset.topic_id == topic_id or ZERO_UUID in (offset.topic_id, topic_id)


def _find(
    topics: TopicsView, topic: OffsetCommitRequestTopic | OffsetFetchRequestTopics, *, by_id: bool
) -> tuple[str, UUID, int, ErrorCode]:
    """The topic's name and id, how many partitions it has, and the code for partitions that it has not.

    `by_id`: the request's version calls topics by their ids. One that gives a name nevertheless, which only the tide
    wire can, is taken by its word.
    """
    name: str | None = topic.name
    if topic.topic_id != ZERO_UUID or (by_id and not topic.name):
        name = topics.name_of(topic.topic_id)
    found = None if name is None else topics.partitions_of(name)
    if name is None or found is None:
        unknown = ErrorCode.UNKNOWN_TOPIC_ID if name is None else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return name or "", ZERO_UUID, 0, unknown
    return name, *found, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
