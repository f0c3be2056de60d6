"""Lag: the distance from what was committed to what can be read, and its age, for every group, a slice at a time."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import BASE_TIMESTAMP, a_batch
from support.house import House, a_house
from tidelog.broker import group_lag
from tidelog.broker.first_unread import FirstUnread
from tidelog.broker.group_lag import EVERYTHING, Measurement, Wanted
from tidelog.broker.turns import at_once
from tidelog.protocol.messages.describe_lag import GroupLag, PartitionLag, TopicLag
from tidelog.protocol.primitives import ZERO_UUID

NOW_MS = BASE_TIMESTAMP + 60_000


@dataclass
class ACommit:
    """What a group has committed."""

    offset: int
    commit_ms: int = 1
    topic_id: UUID = ZERO_UUID


@dataclass
class AGroup:
    """A group of a shard."""

    state_name: str = "Stable"
    type_name: str = "consumer"
    member_count: int = 1


@dataclass
class AShard:
    """A shard: its groups, and itself as their offsets."""

    committed: dict[str, dict[str, dict[int, ACommit]]]
    groups: dict[str, AGroup] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for group_id in self.committed:
            self.groups.setdefault(group_id, AGroup())

    @property
    def offsets(self) -> "AShard":
        return self

    def of(self, group_id: str) -> Mapping[str, Mapping[int, ACommit]]:
        return self.committed.get(group_id, {})


def shard(**groups: dict[str, dict[int, int]]) -> AShard:
    """Groups by name, with the offsets that they have committed by topic and partition."""
    return AShard(
        {
            group: {
                topic: {index: ACommit(offset) for index, offset in offsets.items()}
                for topic, offsets in topics.items()
            }
            for group, topics in groups.items()
        }
    )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with ten records, ten seconds apart, in each of two partitions of `orders`."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", partitions=2)
        for index in range(2):
            for number in range(10):
                batch = a_batch(base_timestamp=BASE_TIMESTAMP + number * 10_000)
                await house.produce("orders", batch, partition=index)
        yield house


def turns(house: House, *shards: AShard, times: FirstUnread, wanted: Wanted = EVERYTHING) -> Iterator[None]:
    return Measurement(shards, house.server.topics, times, now_ms=NOW_MS, wanted=wanted).run()


def measured(
    house: House, *shards: AShard, times: FirstUnread | None = None, wanted: Wanted = EVERYTHING
) -> Sequence[GroupLag]:
    """The whole measurement."""
    known = FirstUnread() if times is None else times
    return at_once(Measurement(shards, house.server.topics, known, now_ms=NOW_MS, wanted=wanted).run())


def partitions(house: House, *shards: AShard) -> tuple[PartitionLag, ...]:
    """Of the only topic of the only group."""
    [group] = measured(house, *shards)
    [topic] = group.topics
    return topic.partitions


async def test_lag_is_the_way_from_the_committed_offset_to_the_high_watermark(house: House) -> None:
    behind, done = partitions(house, shard(billing={"orders": {0: 4, 1: 10}}))
    assert behind == PartitionLag(
        partition_index=0,
        committed_offset=4,
        commit_ms=1,
        log_start_offset=0,
        end_offset=10,
        lag=6,
        lag_ms=20_000,
    )
    assert (done.lag, done.lag_ms) == (0, 0)


async def test_a_group_is_told_with_its_state_its_members_and_its_last_commit(house: House) -> None:
    one = AShard({"billing": {"orders": {0: ACommit(4, commit_ms=70), 1: ACommit(4, commit_ms=90)}}})
    one.groups["billing"] = AGroup("Empty", "classic", 0)
    [group] = measured(house, one)
    assert (group.group_state, group.group_type, group.member_count) == ("Empty", "classic", 0)
    assert group.last_commit_ms == 90


async def test_a_partition_without_a_commit_is_unknown_and_not_free_of_lag(house: House) -> None:
    _, other = partitions(house, shard(billing={"orders": {0: 4}}))
    assert other == PartitionLag(partition_index=1, log_start_offset=0, end_offset=10)
    assert (other.committed_offset, other.lag, other.lag_ms) == (-1, -1, -1)


async def test_what_lies_before_the_logs_start_is_not_counted_for_nobody_can_read_it(house: House) -> None:
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    topic.partitions[0].log.start_offset = 7
    overtaken, _ = partitions(house, shard(billing={"orders": {0: 2}}))
    assert (overtaken.committed_offset, overtaken.log_start_offset) == (2, 7)
    assert (overtaken.lag, overtaken.lag_ms) == (3, 0)


async def test_an_offset_beyond_the_end_has_nothing_to_read(house: House) -> None:
    beyond, _ = partitions(house, shard(billing={"orders": {0: 99}}))
    assert (beyond.lag, beyond.lag_ms) == (0, 0)


async def test_the_age_is_that_of_the_batch_of_the_first_unread_record(house: House) -> None:
    values = [b"value %d" % number for number in range(5)]
    await house.create("batched")
    await house.produce("batched", a_batch(values, base_timestamp=BASE_TIMESTAMP, timestamp_step=100))
    [partition] = partitions(house, shard(billing={"batched": {0: 3}}))
    assert (partition.lag, partition.lag_ms) == (2, 60_000)


async def test_under_log_append_time_it_is_the_time_of_the_append(house: House) -> None:
    await house.create("appended", message_timestamp_type="LogAppendTime")
    await house.produce("appended", a_batch(base_timestamp=BASE_TIMESTAMP))
    [partition] = partitions(house, shard(billing={"appended": {0: 0}}))
    assert (partition.lag, partition.lag_ms) == (1, 0), "it was appended after NOW_MS"


async def test_a_topic_that_is_gone_is_told_as_such(house: House) -> None:
    [group] = measured(house, shard(billing={"gone": {3: 5}}))
    gone = PartitionLag(partition_index=3, committed_offset=5, commit_ms=1)
    assert group.topics == (TopicLag(name="gone", partitions=(gone,)),)
    assert (gone.end_offset, gone.lag) == (-1, -1)


async def test_an_offset_of_an_earlier_topic_of_that_name_is_none(house: House) -> None:
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    earlier, own = ACommit(4, topic_id=UUID(int=5)), ACommit(4, topic_id=topic.topic_id)
    [group] = measured(house, AShard({"billing": {"orders": {0: earlier}}}))
    assert group.topics == ()
    first, second = partitions(house, AShard({"billing": {"orders": {0: earlier, 1: own}}}))
    assert (first.committed_offset, second.committed_offset) == (-1, 4)


async def test_groups_and_topics_are_sorted_over_all_shards(house: House) -> None:
    await house.create("apples")
    shards = shard(zebra={}, billing={"orders": {0: 0}, "apples": {0: 0}}), shard(audit={})
    groups = measured(house, *shards)
    assert [group.group_id for group in groups] == ["audit", "billing", "zebra"]
    assert [topic.name for topic in groups[1].topics] == ["apples", "orders"]


async def test_only_what_is_wanted_is_told(house: House) -> None:
    await house.create("apples")
    one = shard(billing={"orders": {0: 0}, "apples": {0: 0}}, audit={"orders": {0: 0}})
    [group] = measured(house, one, wanted=Wanted(group_ids=["billing", "missing"], topics=["apples"]))
    assert (group.group_id, [topic.name for topic in group.topics]) == ("billing", ["apples"])


async def test_a_record_is_looked_up_once_and_forgotten_when_it_is_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = FirstUnread()
    one = shard(billing={"orders": {0: 4, 1: 5}})
    measured(house, one, times=times)
    monkeypatch.setattr(group_lag, "LOOKS_MAX", 0)
    [again] = measured(house, one, times=times)
    assert [partition.lag_ms for partition in again.topics[0].partitions] == [20_000, 10_000]
    one.committed["billing"]["orders"][0].offset = 10
    measured(house, one, times=times)
    assert times.count == 1
    del one.groups["billing"], one.committed["billing"]
    measured(house, one, wanted=Wanted(group_ids=["billing"]), times=times)
    assert times.count == 1, "who asks for a part does not know the whole"
    measured(house, one, times=times)
    assert times.count == 0


async def test_beyond_so_many_looks_the_others_are_a_little_too_old_and_the_next_in_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_lag, "LOOKS_MAX", 2)
    times = FirstUnread()
    one = shard(**{f"group{number}": {"orders": {0: 0}} for number in range(4)})
    seen = []
    for offset in range(4):
        for group in one.committed.values():
            group["orders"][0].offset = offset
        seen.append([group.topics[0].partitions[0].lag_ms for group in measured(house, one, times=times)])
    assert seen == [
        [60_000, 60_000, -1, -1],
        [60_000, 60_000, 50_000, 50_000],
        [40_000, 40_000, 50_000, 50_000],
        [40_000, 40_000, 30_000, 30_000],
    ]


async def test_the_loop_is_given_back_between_slices(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    one = shard(**{f"group{number}": {"orders": {0: 0}} for number in range(30)})
    assert len(list(turns(house, one, times=FirstUnread()))) == 1, "after twenty looks"
    monkeypatch.setattr(group_lag, "PARTITIONS_PER_TURN", 10)
    monkeypatch.setattr(group_lag, "LOOKS_PER_TURN", 10)
    assert len(list(turns(house, one, times=FirstUnread()))) > 10


async def test_a_group_that_goes_between_two_slices_is_not_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_lag, "PARTITIONS_PER_TURN", 1)
    one = shard(audit={"orders": {0: 0}}, billing={"orders": {0: 0}})
    run = Measurement([one], house.server.topics, FirstUnread(), now_ms=NOW_MS).run()
    next(run)
    del one.groups["billing"], one.committed["billing"]
    assert [group.group_id for group in at_once(run)] == ["audit"]
