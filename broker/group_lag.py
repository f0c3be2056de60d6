"""Lag: how far every group is behind, from the coordinators' committed offsets and the partitions' high watermarks.

Nobody is asked and nothing is sent: both are in this process, so the answer is of one moment, and exact. It is made in
slices, for there may be a hundred thousand partitions to count, and others want the loop meanwhile: `measure` is a
generator that gives it back now and then. What changed between two slices shows, or does not; each partition's numbers
belong together.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappush, heapreplace
from typing import Final, Protocol
from uuid import UUID

from ..protocol.messages.describe_lag import GroupLag, PartitionLag, TopicLag
from ..protocol.primitives import ZERO_UUID
from .first_unread import NEVER, UNKNOWN, FirstUnread, Reader, Times, age_ms
from .topics.partition import Partition
from .topics.registry import Topic
from .turns import InTurns

PARTITIONS_PER_TURN: Final = 500
"""A few milliseconds."""
LOOKS_PER_TURN: Final = 20
"""About two milliseconds, if none must wait for the disk."""
LOOKS_MAX: Final = 500
"""For one measurement: a scrape shall not read a disk's worth of batches."""


class Commit(Protocol):
    """An offset that a group has committed."""

    @property
    def offset(self) -> int:
        """The next record to read."""

    @property
    def commit_ms(self) -> int:
        """When, in milliseconds since 1970."""

    @property
    def topic_id(self) -> UUID:
        """Of the topic that had this name then; zero if that is not known."""


class Commits(Protocol):
    """The offsets that groups have committed."""

    def of(self, group_id: str) -> Mapping[str, Mapping[int, Commit]]:
        """Those of one group, by topic and partition."""


class Group(Protocol):
    """A group, as far as its lag's readers want to know it."""

    @property
    def state_name(self) -> str:
        """As ListGroups has it: Empty, Stable, ..."""

    @property
    def type_name(self) -> str:
        """As ListGroups has it: classic or consumer."""

    @property
    def member_count(self) -> int:
        """Its members."""


class Shard(Protocol):
    """The groups of one partition of `__consumer_offsets`."""

    @property
    def groups(self) -> Mapping[str, Group]:
        """By id."""

    @property
    def offsets(self) -> Commits:
        """Theirs."""


class TopicsByName(Protocol):
    """The registry."""

    def by_name(self, name: str) -> Topic | None:
        """The topic of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Of what the lag is asked for; None: of everything."""

    group_ids: Collection[str] | None = None
    topics: Collection[str] | None = None

    @property
    def is_everything(self) -> bool:
        """Nothing is left out."""
        return self.group_ids is None and self.topics is None


EVERYTHING: Final = Wanted()

Lags = Sequence[GroupLag]

_Look = tuple[int, int, Times, Partition, int]
"""How long it can wait, as a number below zero; which one it is, so that no two are equal; and where to look."""


class _Looks:
    """The looks at logs that have waited longest, as many as one measurement can afford."""

    def __init__(self) -> None:
        self._heap: list[_Look] = []
        self._count = 0

    def __iter__(self) -> Iterator[_Look]:
        return iter(self._heap)

    def add(self, times: Times, partition: Partition, offset: int) -> None:
        """Look there, unless others have waited longer."""
        self._count += 1
        look = (-times.get(partition.index, NEVER).look, -self._count, times, partition, offset)
        if len(self._heap) < LOOKS_MAX:
            heappush(self._heap, look)
        elif self._heap and look > self._heap[0]:
            heapreplace(self._heap, look)


class Measurement:
    """One measurement: who is asked, and what is known of the first unread records."""

    def __init__(
        self,
        shards: Iterable[Shard],
        topics: TopicsByName,
        first_unread: FirstUnread,
        *,
        now_ms: int,
        wanted: Wanted = EVERYTHING,
    ) -> None:
        """`now_ms`: since 1970."""
        self._shards = {
            group_id: shard
            for shard in shards
            for group_id in shard.groups
            if wanted.group_ids is None or group_id in wanted.group_ids
        }
        self._topics = topics
        self._first_unread = first_unread
        self._now_ms = now_ms
        self._wanted = wanted

    def run(self) -> InTurns[Lags]:
        """What it returns at the end is sorted by group and topic."""
        yield from self._look()
        measured: list[GroupLag] = []
        count = 0
        for group_id in sorted(self._shards):
            lag = self._group(group_id)
            if lag is None:
                continue  # it has gone meanwhile
            measured.append(lag)
            count += 1 + sum(len(topic.partitions) for topic in lag.topics)
            if count >= PARTITIONS_PER_TURN:
                count = 0
                yield
        return measured

    # The times of the first unread records

    def _look(self) -> Iterator[None]:
        readers: set[Reader] = set()
        looks = _Looks()
        count = counted_before = 0
        for group_id in self._shards:
            count += 1
            for name, commits in self._committed(group_id):
                topic = self._topics.by_name(name)
                if topic is None:
                    continue
                reader = group_id, topic.topic_id
                readers.add(reader)
                times = self._first_unread.times_of(reader)
                for index, commit in _of_topic(topic, commits).items():
                    count += 1
                    _plan(topic.partitions[index], commit, times, looks)
            if count >= counted_before + PARTITIONS_PER_TURN:
                counted_before = count
                yield
        if self._wanted.is_everything:
            self._first_unread.keep(readers)
        for number, (_, _, times, partition, offset) in enumerate(looks, 1):
            self._first_unread.look(times, partition, offset)
            if number % LOOKS_PER_TURN == 0:
                yield

    def _committed(self, group_id: str) -> Iterator[tuple[str, Mapping[int, Commit]]]:
        for name, commits in self._shards[group_id].offsets.of(group_id).items():
            if self._wanted.topics is None or name in self._wanted.topics:
                yield name, commits

    # The answer

    def _group(self, group_id: str) -> GroupLag | None:
        shard = self._shards[group_id]
        group = shard.groups.get(group_id)
        if group is None:
            return None
        all_commits = shard.offsets.of(group_id).values()
        return GroupLag(
            group_id=group_id,
            group_state=group.state_name,
            group_type=group.type_name,
            member_count=group.member_count,
            last_commit_ms=max(
                (commit.commit_ms for commits in all_commits for commit in commits.values()), default=UNKNOWN
            ),
            topics=tuple(self._topics_of(group_id)),
        )

    def _topics_of(self, group_id: str) -> Iterator[TopicLag]:
        for name, commits in sorted(self._committed(group_id)):
            topic = self._topics.by_name(name)
            if topic is None:
                gone = tuple(
                    PartitionLag(partition_index=index, committed_offset=commit.offset, commit_ms=commit.commit_ms)
                    for index, commit in sorted(commits.items())
                )
                yield TopicLag(name=name, partitions=gone)
            elif own := _of_topic(topic, commits):
                times = self._first_unread.times_of((group_id, topic.topic_id))
                partitions = [
                    self._partition(partition, own.get(partition.index), times) for partition in topic.partitions
                ]
                yield TopicLag(name=name, topic_id=topic.topic_id, partitions=tuple(partitions))

    def _partition(self, partition: Partition, commit: Commit | None, times: Times) -> PartitionLag:
        start, end = partition.log_start_offset, partition.high_watermark
        if commit is None:
            return PartitionLag(partition_index=partition.index, log_start_offset=start, end_offset=end)
        unread = _first_unread(partition, commit)
        return PartitionLag(
            partition_index=partition.index,
            committed_offset=commit.offset,
            commit_ms=commit.commit_ms,
            log_start_offset=start,
            end_offset=end,
            lag=0 if unread is None else end - unread,
            lag_ms=0 if unread is None else age_ms(times, partition.index, now_ms=self._now_ms),
        )


def _plan(partition: Partition, commit: Commit, times: Times, looks: _Looks) -> None:
    """Look there, unless it is known."""
    offset = _first_unread(partition, commit)
    if offset is None:
        times.pop(partition.index, None)
    elif times.get(partition.index, NEVER).offset != offset:
        looks.add(times, partition, offset)


def _first_unread(partition: Partition, commit: Commit) -> int | None:
    """The offset of the first record that is not consumed, of those that are kept; None if there is none."""
    offset = max(commit.offset, partition.log_start_offset)
    return offset if offset < partition.high_watermark else None


def _of_topic(topic: Topic, commits: Mapping[int, Commit]) -> Mapping[int, Commit]:
    """Without what was committed for an earlier topic of the same name."""
    count, own = len(topic.partitions), (topic.topic_id, ZERO_UUID)
    return {index: commit for index, commit in commits.items() if index < count and commit.topic_id in own}
