"""Committed offsets: what is written for a request, what is remembered, and what is forgotten."""

from collections.abc import Mapping
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from support.consumer_world import TopicsForTests
from tidelog.broker.coordinator.decision import Instant
from tidelog.broker.coordinator.group_record_bytes import decode, encode
from tidelog.broker.coordinator.group_records import NEVER, CommittedOffset, OffsetCommitted
from tidelog.broker.coordinator.offsets import NO_OFFSET, Commit, Offsets
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponseGroup,
)
from tidelog.protocol.primitives import INT64_MAX, ZERO_UUID

AT = Instant(now_ms=5, wall_ms=1_700_000_000_000)
DAY_MS = 86_400_000
METADATA_MAX = 4096

Asked = Mapping[str, Mapping[int, int | tuple[int, int, str | None]]]
"""Offsets, with or without leader epoch and metadata, by topic and partition."""


def a_topic(
    name: str, partitions: Mapping[int, int | tuple[int, int, str | None]], topic_id: UUID = ZERO_UUID
) -> OffsetCommitRequestTopic:
    wanted = []
    for index, asked in partitions.items():
        offset, epoch, metadata = (asked, -1, "") if isinstance(asked, int) else asked
        wanted.append(
            OffsetCommitRequestPartition(
                partition_index=index,
                committed_offset=offset,
                committed_leader_epoch=epoch,
                committed_metadata=metadata,
            )
        )
    return OffsetCommitRequestTopic(name=name, topic_id=topic_id, partitions=tuple(wanted))


def a_commit(asked: Asked, group_id: str = "g", retention_ms: int = -1) -> OffsetCommitRequest:
    topics = tuple(a_topic(name, partitions) for name, partitions in asked.items())
    return OffsetCommitRequest(group_id=group_id, topics=topics, retention_time_ms=retention_ms)


def a_fetch(asked: Mapping[str, tuple[int, ...]] | None, group_id: str = "g") -> OffsetFetchRequestGroup:
    topics = None
    if asked is not None:
        topics = tuple(OffsetFetchRequestTopics(name=name, partition_indexes=some) for name, some in asked.items())
    return OffsetFetchRequestGroup(group_id=group_id, topics=topics)


def a_deletion(asked: Mapping[str, tuple[int, ...]], group_id: str = "g") -> OffsetDeleteRequest:
    topics = []
    for name, indexes in asked.items():
        partitions = tuple(OffsetDeleteRequestPartition(partition_index=index) for index in indexes)
        topics.append(OffsetDeleteRequestTopic(name=name, partitions=partitions))
    return OffsetDeleteRequest(group_id=group_id, topics=tuple(topics))


class Shard:
    """Offsets among topics; what is decided is written, and applied as it would be read back."""

    def __init__(self, **topics: int) -> None:
        self.topics = TopicsForTests(**topics)
        self.offsets = Offsets()
        self.log: list[tuple[bytes, bytes | None]] = []

    def decide(self, request: OffsetCommitRequest, *, at: Instant = AT, by_id: bool = False) -> Commit:
        return self.offsets.commit(request, topics=self.topics, at=at, by_id=by_id, metadata_max=METADATA_MAX)

    def commit(self, asked: Asked, group_id: str = "g", *, at: Instant = AT, retention_ms: int = -1) -> list[int]:
        """The codes."""
        commit = self.decide(a_commit(asked, group_id, retention_ms), at=at)
        self.write(commit.records)
        return codes_of(commit.response)

    def write(self, records: object) -> None:
        assert isinstance(records, list)
        for record in records:
            self.log.append(encode(record))
            self.offsets.apply(record)

    def fetch(self, request: OffsetFetchRequestGroup, *, by_id: bool = False) -> OffsetFetchResponseGroup:
        return self.offsets.fetch(request, topics=self.topics, by_id=by_id)

    def told(
        self, asked: Mapping[str, tuple[int, ...]] | None = None, group_id: str = "g"
    ) -> dict[str, dict[int, int]]:
        return {
            topic.name: {partition.partition_index: partition.committed_offset for partition in topic.partitions}
            for topic in self.fetch(a_fetch(asked, group_id)).topics
        }

    def expire(
        self, *, after_ms: int, group_id: str = "g", empty_since_ms: int | None = None, reads: tuple[str, ...] = ()
    ) -> None:
        self.write(
            self.offsets.expired(
                group_id,
                wall_ms=AT.wall_ms + after_ms,
                retention_ms=7 * DAY_MS,
                empty_since_ms=empty_since_ms,
                is_subscribed=lambda topic: topic in reads,
            )
        )


def codes_of(response: OffsetCommitResponse) -> list[int]:
    return [partition.error_code for topic in response.topics for partition in topic.partitions]


def test_what_is_committed_is_told_with_epoch_and_metadata() -> None:
    """[G-10]"""
    shard = Shard(orders=2, bills=1)
    assert shard.commit({"orders": {0: (5, 3, "half way"), 1: (7, -1, None)}, "bills": {0: 9}}) == [0, 0, 0]
    response = shard.fetch(a_fetch({"orders": (1, 0), "bills": (0,)}))
    orders, bills = response.topics
    assert (response.group_id, response.error_code) == ("g", 0)
    assert [
        (p.partition_index, p.committed_offset, p.committed_leader_epoch, p.metadata, p.error_code)
        for p in orders.partitions
    ] == [(1, 7, -1, "", 0), (0, 5, 3, "half way", 0)]
    assert bills.partitions[0].committed_offset == 9


def test_nothing_is_remembered_before_the_records_are_applied() -> None:
    shard = Shard(orders=1)
    commit = shard.decide(a_commit({"orders": {0: 5}}))
    assert "g" not in shard.offsets
    assert shard.offsets.count("g") == 0
    shard.write(commit.records)
    assert "g" in shard.offsets
    assert shard.offsets.get("g", "orders", 0) == CommittedOffset(
        offset=5, commit_ms=AT.wall_ms, topic_id=shard.topics.by_name["orders"][0]
    )


def test_a_partition_that_cannot_be_committed_does_not_hinder_the_others() -> None:
    shard = Shard(orders=2)
    asked: Asked = {"orders": {0: 1, 2: 1, -1: 1, 1: (1, -1, "x" * 4097)}, "nothing": {0: 1}}
    assert shard.commit(asked) == [
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.OFFSET_METADATA_TOO_LARGE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]
    assert shard.told() == {"orders": {0: 1}}


def test_metadata_may_be_as_long_as_the_setting_says_in_characters() -> None:
    shard = Shard(orders=1)
    assert shard.commit({"orders": {0: (1, -1, "ü" * METADATA_MAX)}}) == [ErrorCode.NONE]
    [topic] = shard.fetch(a_fetch(None)).topics
    assert topic.partitions[0].metadata == "ü" * METADATA_MAX


def test_the_last_of_several_offsets_for_one_partition_holds() -> None:
    shard = Shard(orders=1)
    topics = (a_topic("orders", {0: 5}), a_topic("orders", {0: 9}), a_topic("orders", {0: 7}))
    commit = shard.decide(OffsetCommitRequest(group_id="g", topics=topics))
    shard.write(commit.records)
    assert codes_of(commit.response) == [0, 0, 0]
    assert shard.told() == {"orders": {0: 7}}


@pytest.mark.parametrize(
    ("asked", "names_topics"),
    [
        ({}, False),
        ({"nothing": {0: 1}}, False),
        ({"orders": {1: 1}}, False),
        ({"orders": {0: 1}}, True),
        ({"orders": {0: (1, -1, "x" * 5000)}}, True),
    ],
)
def test_a_commit_knows_whether_it_is_about_anything(asked: Asked, names_topics: bool) -> None:
    assert Shard(orders=1).decide(a_commit(asked)).names_topics is names_topics


def test_topics_are_committed_by_id() -> None:
    shard = Shard(orders=1)
    orders, strange = shard.topics.by_name["orders"][0], UUID(int=999)
    request = OffsetCommitRequest(
        group_id="g",
        topics=(a_topic("", {0: 5, 1: 5}, orders), a_topic("", {0: 5, 1: 5}, strange), a_topic("", {0: 5})),
    )
    commit = shard.decide(request, by_id=True)
    assert codes_of(commit.response) == [
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        *[ErrorCode.UNKNOWN_TOPIC_ID] * 3,
    ]
    assert [topic.topic_id for topic in commit.response.topics] == [orders, strange, ZERO_UUID]
    shard.write(commit.records)
    assert shard.told() == {"orders": {0: 5}}


def test_topics_are_fetched_by_id() -> None:
    shard = Shard(orders=1)
    shard.commit({"orders": {0: 5}})
    orders, strange = shard.topics.by_name["orders"][0], UUID(int=999)
    asked = tuple(OffsetFetchRequestTopics(topic_id=key, partition_indexes=(0,)) for key in (orders, strange))
    known, unknown = shard.fetch(OffsetFetchRequestGroup(group_id="g", topics=asked), by_id=True).topics
    assert (known.topic_id, known.partitions[0].committed_offset, known.partitions[0].error_code) == (orders, 5, 0)
    assert (unknown.topic_id, unknown.partitions[0].committed_offset) == (strange, NO_OFFSET)
    assert unknown.partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


def test_all_topics_have_names_and_ids() -> None:
    shard = Shard(orders=1, bills=1)
    shard.commit({"orders": {0: 5}, "bills": {0: 6}})
    for by_id in (False, True):
        topics = shard.fetch(a_fetch(None), by_id=by_id).topics
        assert {topic.name: topic.topic_id for topic in topics} == {
            name: shard.topics.by_name[name][0] for name in ("orders", "bills")
        }


def test_who_calls_topics_by_id_but_gives_a_name_is_understood() -> None:
    """The tide wire's newest version has both."""
    shard = Shard(orders=1)
    commit = shard.decide(a_commit({"orders": {0: 5}}), by_id=True)
    shard.write(commit.records)
    assert commit.response.topics[0].name == "orders"
    [topic] = shard.fetch(a_fetch({"orders": (0,)}), by_id=True).topics
    assert (topic.name, topic.partitions[0].committed_offset) == ("orders", 5)


def test_where_nothing_is_committed_there_is_no_offset_and_no_error() -> None:
    """[G-11]"""
    shard = Shard(orders=2)
    shard.commit({"orders": {0: 5}})
    assert shard.told({"orders": (0, 1, 7), "nothing": (0,)}) == {"orders": {0: 5, 1: -1, 7: -1}, "nothing": {0: -1}}
    assert shard.told({"orders": (0,)}, "another") == {"orders": {0: -1}}
    assert shard.told(None, "another") == {}
    [topic] = shard.fetch(a_fetch({"orders": (1,)})).topics
    [partition] = topic.partitions
    assert (partition.committed_leader_epoch, partition.metadata, partition.error_code) == (-1, "", 0)


def test_an_offset_is_of_the_topic_that_was_there_when_it_was_committed() -> None:
    shard = Shard(orders=1, bills=1)
    shard.commit({"orders": {0: 5}, "bills": {0: 6}})
    shard.topics.delete("orders")
    shard.topics.create("orders", 1)
    assert shard.told({"orders": (0,), "bills": (0,)}) == {"orders": {0: NO_OFFSET}, "bills": {0: 6}}
    assert shard.told() == {"bills": {0: 6}}
    shard.topics.delete("bills")
    assert shard.fetch(a_fetch(None), by_id=True).topics == ()
    shard.commit({"orders": {0: 1}})
    assert shard.told({"orders": (0,)}) == {"orders": {0: 1}}


def test_what_was_left_of_topics_that_are_gone_is_found_and_forgotten() -> None:
    shard = Shard(orders=1, bills=2, wages=1)
    shard.commit({"orders": {0: 5}, "bills": {0: 6}, "wages": {0: 7}})
    shard.commit({"bills": {1: 1}}, "another")
    shard.offsets.apply(OffsetCommitted("old", "wages", 0, CommittedOffset(offset=1)))  # whose record says no id
    shard.topics.delete("bills")
    shard.topics.delete("orders")
    shard.topics.create("orders", 1)
    shard.write(shard.offsets.of_lost_topics(shard.topics))
    assert dict(shard.offsets.of("g")) == {"wages": shard.offsets.of("g")["wages"]}
    assert "another" not in shard.offsets
    assert "old" in shard.offsets
    assert shard.offsets.of_lost_topics(shard.topics) == []


def test_a_deleted_topic_takes_its_offsets_along() -> None:
    """[G-12]"""
    shard = Shard(orders=2, bills=1)
    shard.commit({"orders": {0: 5, 1: 6}, "bills": {0: 6}})
    shard.commit({"orders": {1: 1}}, "another")
    shard.write(shard.offsets.topic_deleted("orders"))
    assert shard.told() == {"bills": {0: 6}}
    assert "another" not in shard.offsets
    assert shard.offsets.topic_deleted("orders") == []


def test_offsets_are_deleted_one_by_one() -> None:
    """[G-12]"""
    shard = Shard(orders=3, bills=1)
    shard.commit({"orders": {0: 5, 1: 6}, "bills": {0: 6}})
    deletion = shard.offsets.delete(
        a_deletion({"orders": (0, 2, 3), "bills": (0, 1), "nothing": (0,)}),
        topics=shard.topics,
        is_subscribed=lambda topic: topic == "bills",
    )
    codes = {topic.name: [partition.error_code for partition in topic.partitions] for topic in deletion.response.topics}
    assert codes == {
        "orders": [ErrorCode.NONE, ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
        "bills": [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
        "nothing": [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
    }
    assert deletion.records == [OffsetCommitted("g", "orders", 0, None)]
    shard.write(deletion.records)
    assert shard.told() == {"orders": {1: 6}, "bills": {0: 6}}


def test_a_deleted_group_leaves_nothing_behind() -> None:
    shard = Shard(orders=2, bills=1)
    shard.commit({"orders": {0: 5, 1: 6}, "bills": {0: 6}})
    shard.commit({"orders": {0: 1}}, "another")
    assert shard.offsets.count("g") == 3
    shard.write(shard.offsets.forget("g"))
    assert "g" not in shard.offsets
    assert shard.told(None, "another") == {"orders": {0: 1}}


def test_offsets_expire_when_their_time_is_up() -> None:
    """[G-12]"""
    shard = Shard(orders=1)
    shard.commit({"orders": {0: 5}})
    shard.expire(after_ms=7 * DAY_MS - 1)
    assert "g" in shard.offsets
    shard.expire(after_ms=7 * DAY_MS)
    assert "g" not in shard.offsets


def test_their_time_begins_when_the_group_lost_its_last_member() -> None:
    """[G-12]"""
    shard = Shard(orders=1)
    shard.commit({"orders": {0: 5}})
    shard.expire(after_ms=8 * DAY_MS, empty_since_ms=AT.wall_ms + 2 * DAY_MS)
    assert "g" in shard.offsets
    shard.expire(after_ms=9 * DAY_MS, empty_since_ms=AT.wall_ms + 2 * DAY_MS)
    assert "g" not in shard.offsets


def test_an_offset_that_was_set_on_a_group_long_empty_has_its_own_time() -> None:
    shard = Shard(orders=1)
    shard.commit({"orders": {0: 5}})
    shard.expire(after_ms=1, empty_since_ms=AT.wall_ms - 30 * DAY_MS)
    assert "g" in shard.offsets


def test_what_the_group_reads_never_expires() -> None:
    """[G-12]"""
    shard = Shard(orders=1, bills=1)
    shard.commit({"orders": {0: 5}, "bills": {0: 6}})
    shard.expire(after_ms=700 * DAY_MS, reads=("bills",))
    assert shard.told() == {"bills": {0: 6}}


@pytest.mark.parametrize("retention_ms", [0, 1000, 30 * DAY_MS])
def test_a_request_of_versions_2_to_4_says_how_long(retention_ms: int) -> None:
    shard = Shard(orders=1)
    shard.commit({"orders": {0: 5}}, retention_ms=retention_ms)
    committed = shard.offsets.get("g", "orders", 0)
    assert committed is not None
    assert committed.expire_ms == AT.wall_ms + retention_ms
    shard.expire(after_ms=retention_ms - 1)
    assert "g" in shard.offsets
    shard.expire(after_ms=retention_ms)
    assert "g" not in shard.offsets


def test_a_retention_beyond_all_time_is_for_ever() -> None:
    shard = Shard(orders=1)
    assert shard.commit({"orders": {0: 5}}, retention_ms=INT64_MAX) == [ErrorCode.NONE]
    shard.expire(after_ms=10_000 * DAY_MS)
    assert "g" in shard.offsets


NAMES = st.sampled_from(("orders", "bills", "wages"))
GROUPS = st.sampled_from(("g", "h", ""))
PARTITIONS = st.integers(0, 2)


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens, offsets are what was committed last, and what the log says."""

    def __init__(self) -> None:
        super().__init__()
        self.shard = Shard(orders=3, bills=3, wages=3)
        self.expected: dict[tuple[str, str, int], int] = {}
        self.wall_ms = AT.wall_ms

    def forget(self, **wanted: object) -> None:
        for key in list(self.expected):
            known = dict(zip(("group_id", "topic", "partition"), key, strict=True))
            if all(known[name] == value for name, value in wanted.items()):
                del self.expected[key]

    @rule(
        group_id=GROUPS,
        asked=st.lists(st.tuples(NAMES, PARTITIONS, st.integers(0, 1000)), max_size=6),
        retention_ms=st.sampled_from((-1, 3 * DAY_MS)),
    )
    def commit(self, group_id: str, asked: list[tuple[str, int, int]], retention_ms: int) -> None:
        topics = tuple(a_topic(name, {index: offset}) for name, index, offset in asked)
        request = OffsetCommitRequest(group_id=group_id, topics=topics, retention_time_ms=retention_ms)
        commit = self.shard.decide(request, at=Instant(0, self.wall_ms))
        self.shard.write(commit.records)
        for topic, code in zip(topics, codes_of(commit.response), strict=True):
            [partition] = topic.partitions
            is_there = self.shard.topics.partitions_of(topic.name) is not None
            assert code == (ErrorCode.NONE if is_there else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            if is_there:
                self.expected[group_id, topic.name, partition.partition_index] = partition.committed_offset

    @rule(group_id=GROUPS, name=NAMES, partition=PARTITIONS)
    def delete(self, group_id: str, name: str, partition: int) -> None:
        request = a_deletion({name: (partition,)}, group_id)
        deletion = self.shard.offsets.delete(request, topics=self.shard.topics, is_subscribed=lambda _: False)
        self.shard.write(deletion.records)
        self.forget(group_id=group_id, topic=name, partition=partition)

    @rule(group_id=GROUPS)
    def delete_group(self, group_id: str) -> None:
        self.shard.write(self.shard.offsets.forget(group_id))
        self.forget(group_id=group_id)

    @rule(name=NAMES, crashed=st.booleans())
    def replace_topic(self, name: str, crashed: bool) -> None:
        self.shard.topics.delete(name)
        if not crashed:
            self.shard.write(self.shard.offsets.topic_deleted(name))
        self.shard.topics.create(name, 3)
        self.forget(topic=name)
        for group_id in ("g", "h", ""):
            told = self.shard.told({name: (0, 1, 2)}, group_id)
            # A record that keeps no topic's id is of any topic; a start finds no fault with it either.
            kept = self.shard.offsets.of(group_id).get(name, {})
            self.expected.update(
                ((group_id, name, index), offset) for index, offset in told[name].items() if offset >= 0
            )
            assert all(kept[index].expire_ms != NEVER for index, offset in told[name].items() if offset >= 0)

    @rule(group_id=GROUPS, reads=st.sets(NAMES))
    def expire(self, group_id: str, reads: set[str]) -> None:
        self.wall_ms += 2 * DAY_MS
        before = self.shard.told(None, group_id)
        self.shard.expire(after_ms=self.wall_ms - AT.wall_ms, group_id=group_id, reads=tuple(reads))
        after = self.shard.told(None, group_id)
        assert all(after.get(name) == before.get(name) for name in reads)
        for name, partitions in before.items():
            for index in partitions:
                if index not in after.get(name, {}):
                    self.forget(group_id=group_id, topic=name, partition=index)

    @rule()
    def restart(self) -> None:
        replayed = Offsets()
        for key, value in self.shard.log:
            record = decode(key, value)
            assert isinstance(record, OffsetCommitted)
            replayed.apply(record)
        self.shard.offsets = replayed
        self.shard.write(replayed.of_lost_topics(self.shard.topics))

    @invariant()
    def offsets_are_what_was_committed_last(self) -> None:
        told = {
            (group_id, name, index): offset
            for group_id in ("g", "h", "")
            for name, partitions in self.shard.told(None, group_id).items()
            for index, offset in partitions.items()
        }
        assert told == self.expected


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyHistory = AnyHistory.TestCase
