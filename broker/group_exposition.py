"""The Prometheus metrics of groups, and how a scrape shows what was measured of them.

They are written by hand like those of topics. A group's id may be any text, so its labels are escaped, once a group.
Names and labels of the `kafka_` families are those of kafka_exporter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from ..protocol.messages.describe_lag import GroupLag, PartitionLag, TopicLag
from .families import COUNTER, GAUGE, Family, header
from .metrics import GroupMetrics
from .turns import InTurns

T = TypeVar("T")

PARTITIONS_MAX = 10_000
"""Of all groups together: beyond, the families of single partitions would be most of a scrape, and are left out."""
LINES_PER_TURN = 2000
"""A few milliseconds."""
LEFT_OUT = f"Left out while the groups have more than {PARTITIONS_MAX:,} partitions in all; the sums stay."

Labelled = Iterable[tuple[str, float]]
OfGroup = Family[Callable[[GroupLag, GroupMetrics], Labelled]]
"""With a second label, empty if the family has but one."""
OfGroupTopic = Family[Callable[["TopicSums"], float | None]]
"""None: unknown, so there is no series."""
OfGroupPartition = Family[Callable[[PartitionLag], int]]


def _one(value: float) -> Labelled:
    return [("", value)]


class TopicSums:
    """What is known of all partitions of a topic together."""

    __slots__ = ("current_offset", "lag", "lag_max", "lag_ms")

    def __init__(self, topic: TopicLag) -> None:
        self.current_offset = self.lag = self.lag_max = 0
        self.lag_ms = -1
        for partition in topic.partitions:
            if partition.lag >= 0:
                self.current_offset += partition.committed_offset
                self.lag += partition.lag
                self.lag_max = max(self.lag_max, partition.lag)
                self.lag_ms = max(self.lag_ms, partition.lag_ms)


GROUPS: tuple[OfGroup, ...] = (
    Family(
        name="tidelog_group_members",
        kind=GAUGE,
        labels=("group",),
        text="Members of the group.",
        read=lambda group, _: _one(group.member_count),
    ),
    Family(
        name="tidelog_group_state",
        kind=GAUGE,
        labels=("group", "state"),
        text="Always 1; its label tells the state that the group is in, in Kafka's words.",
        read=lambda group, _: [(group.group_state, 1)],
    ),
    Family(
        name="tidelog_group_rebalances_total",
        kind=COUNTER,
        labels=("group", "reason"),
        text="Rebalances of the group, by what began them.",
        read=lambda _, counts: counts.rebalances.items(),
    ),
    Family(
        name="tidelog_group_commits_total",
        kind=COUNTER,
        labels=("group",),
        text="Requests by which offsets of the group were committed.",
        read=lambda _, counts: _one(counts.commits),
    ),
    Family(
        name="tidelog_group_last_commit_timestamp_seconds",
        kind=GAUGE,
        labels=("group",),
        text="When an offset of the group was last committed, in seconds since 1970.",
        read=lambda group, _: _one(group.last_commit_ms / 1000) if group.last_commit_ms >= 0 else (),
    ),
    Family(
        name="kafka_consumergroup_members",
        kind=GAUGE,
        labels=("consumergroup",),
        text="Members of the group.",
        read=lambda group, _: _one(group.member_count),
    ),
)

GROUP_TOPICS: tuple[OfGroupTopic, ...] = (
    Family(
        name="tidelog_group_lag",
        kind=GAUGE,
        labels=("group", "topic"),
        text="Records of the topic that the group has not consumed, over all partitions in which it has committed.",
        read=lambda topic: topic.lag,
    ),
    Family(
        name="tidelog_group_lag_max",
        kind=GAUGE,
        labels=("group", "topic"),
        text="Records that the group has not consumed, in the partition where they are the most.",
        read=lambda topic: topic.lag_max,
    ),
    Family(
        name="tidelog_group_lag_seconds",
        kind=GAUGE,
        labels=("group", "topic"),
        text="Age of the oldest record of the topic that the group has not consumed, by the time of "
        "the first record of its batch; 0 when all are consumed.",
        read=lambda topic: topic.lag_ms / 1000 if topic.lag_ms >= 0 else None,
    ),
    Family(
        name="kafka_consumergroup_current_offset_sum",
        kind=GAUGE,
        labels=("consumergroup", "topic"),
        text="Sum of the offsets that the group has committed.",
        read=lambda topic: topic.current_offset,
    ),
    Family(
        name="kafka_consumergroup_lag_sum",
        kind=GAUGE,
        labels=("consumergroup", "topic"),
        text="The same as tidelog_group_lag.",
        read=lambda topic: topic.lag,
    ),
)

GROUP_PARTITIONS: tuple[OfGroupPartition, ...] = (
    Family(
        name="kafka_consumergroup_current_offset",
        kind=GAUGE,
        labels=("consumergroup", "topic", "partition"),
        text="The offset that the group has committed, which is that of the next record to read; -1 where it has "
        f"committed none. {LEFT_OUT}",
        read=lambda partition: partition.committed_offset,
    ),
    Family(
        name="kafka_consumergroup_lag",
        kind=GAUGE,
        labels=("consumergroup", "topic", "partition"),
        text="Records of the partition that the group has not consumed; -1 where it has not committed an offset, so "
        f"that nobody can know. {LEFT_OUT}",
        read=lambda partition: partition.lag,
    ),
)

_UNCOUNTED = GroupMetrics()


def rendering(groups: Sequence[GroupLag], counts: Mapping[str, GroupMetrics], *, strip_total: bool) -> InTurns[bytes]:
    """The families above, of groups that exist and of topics that exist."""
    parts: list[str] = []
    names = [_escaped(group.group_id) for group in groups]
    for family in GROUPS:
        parts.append(header(family.name, family.kind, family.text, strip_total=strip_total))
        first, second = (*family.labels, "")[:2]
        for group, name in zip(groups, names, strict=True):
            for label, value in family.read(group, counts.get(group.group_id, _UNCOUNTED)):
                further = f',{second}="{label}"' if second else ""
                parts.append(f'{family.name}{{{first}="{name}"{further}}} {value}\n')
        yield
    of_topics: list[tuple[str, TopicSums]] = []
    of_partitions: list[tuple[str, PartitionLag]] = []
    for group, name in zip(groups, names, strict=True):
        for topic in group.topics:
            if topic.topic_id.int:  # else it is gone
                labels = f'="{name}",topic="{topic.name}"'
                of_topics.append((labels, TopicSums(topic)))
                of_partitions += [(labels, partition) for partition in topic.partitions]
    yield
    for each in GROUP_TOPICS:
        parts.append(header(each.name, each.kind, each.text, strip_total=strip_total))
        start, of_topic = f"{each.name}{{{each.labels[0]}", each.read
        for some in _slices(of_topics):
            told = [(labels, of_topic(sums)) for labels, sums in some]
            parts += [f"{start}{labels}}} {value}\n" for labels, value in told if value is not None]
            yield
    for of_each in GROUP_PARTITIONS:
        parts.append(header(of_each.name, of_each.kind, of_each.text, strip_total=strip_total))
        start, read = f"{of_each.name}{{{of_each.labels[0]}", of_each.read
        for few in _slices(of_partitions if len(of_partitions) <= PARTITIONS_MAX else []):
            parts += [f'{start}{labels},partition="{one.partition_index}"}} {read(one)}\n' for labels, one in few]
            yield
    return "".join(parts).encode()


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[first : first + LINES_PER_TURN] for first in range(0, len(items), LINES_PER_TURN))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
