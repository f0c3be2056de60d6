"""DescribeLag: what is asked for and no more, of groups as they are, a turn of the loop at a time [G-10]."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from support.bench import Bench, on_the_bench
from support.builders import BASE_TIMESTAMP, a_batch
from support.house import House, a_house
from tidelog.broker import group_lag
from tidelog.broker.coordinator.group_partition import partition_for
from tidelog.broker.request import Pending
from tidelog.broker.topics.internal_topics import OFFSETS_TOPIC
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.delete_groups import DeleteGroupsRequest
from tidelog.protocol.messages.describe_lag import DescribeLagRequest, DescribeLagResponse, GroupLag
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)

BY_NAME = 9
"""The last version of OffsetCommit that names topics."""


async def commit(house: House, group_id: str, topic: str, offsets: Mapping[int, int]) -> None:
    """As somebody who is no member."""
    partitions = tuple(
        OffsetCommitRequestPartition(partition_index=index, committed_offset=offset)
        for index, offset in offsets.items()
    )
    topics = (OffsetCommitRequestTopic(name=topic, partitions=partitions),)
    response = await house.ask(OffsetCommitRequest(group_id=group_id, topics=topics), BY_NAME)
    assert not any(one.error_code for named in response.topics for one in named.partitions)  # type: ignore[attr-defined]


async def describe(house: House, *group_ids: str, topics: tuple[str, ...] | None = None) -> tuple[GroupLag, ...]:
    """All groups, or these."""
    response = await house.ask(DescribeLagRequest(group_ids=group_ids or None, topics=topics))
    assert isinstance(response, DescribeLagResponse)
    assert response.error_code == ErrorCode.NONE
    return response.groups


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with five old records in `orders`, in one of two partitions."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", partitions=2)
        for _ in range(5):
            await house.produce("orders", a_batch(base_timestamp=BASE_TIMESTAMP))
        yield house


async def test_a_group_is_behind_by_what_it_has_not_committed(house: House) -> None:
    await commit(house, "billing", "orders", {0: 2})
    [group] = await describe(house)
    assert (group.group_id, group.error_code) == ("billing", ErrorCode.NONE)
    assert (group.group_state, group.group_type, group.member_count) == ("Empty", "classic", 0)
    [topic] = group.topics
    behind, unknown = topic.partitions
    now_ms = house.server.services.environment.now_ms()
    assert (behind.committed_offset, behind.log_start_offset, behind.end_offset, behind.lag) == (2, 0, 5, 3)
    assert 0 <= now_ms - BASE_TIMESTAMP - behind.lag_ms < 60_000
    assert 0 <= now_ms - behind.commit_ms < 60_000
    assert group.last_commit_ms == behind.commit_ms
    assert (unknown.committed_offset, unknown.lag, unknown.lag_ms) == (-1, -1, -1)


async def test_there_are_no_groups_before_there_is_one(house: House) -> None:
    assert await describe(house) == ()


async def test_groups_come_as_they_were_asked_for_and_each_once(house: House) -> None:
    for group_id in ("a", "b", "c"):
        await commit(house, group_id, "orders", {0: 2})
    assert [group.group_id for group in await describe(house)] == ["a", "b", "c"]
    found = await describe(house, "c", "missing", "a", "c")
    assert [(group.group_id, group.error_code) for group in found] == [
        ("c", ErrorCode.NONE),
        ("missing", ErrorCode.GROUP_ID_NOT_FOUND),
        ("a", ErrorCode.NONE),
    ]
    assert found[1].error_message == "Group missing not found."


async def test_who_asks_for_no_group_is_told_of_none(house: House) -> None:
    await commit(house, "billing", "orders", {0: 2})
    assert await house.ask(DescribeLagRequest(group_ids=())) == DescribeLagResponse()


async def test_only_the_topics_that_were_asked_for_are_told(house: House) -> None:
    await house.create("other")
    await commit(house, "billing", "orders", {0: 2})
    await commit(house, "billing", "other", {0: 0})
    [group] = await describe(house, "billing", topics=("other", "missing"))
    assert [topic.name for topic in group.topics] == ["other"]


async def test_a_deleted_group_is_told_no_more(house: House) -> None:
    await commit(house, "billing", "orders", {0: 2})
    await house.ask(DeleteGroupsRequest(groups_names=("billing",)))
    assert await describe(house) == ()
    [group] = await describe(house, "billing")
    assert group.error_code == ErrorCode.GROUP_ID_NOT_FOUND


async def test_while_groups_are_loaded_nothing_is_told(tmp_path: Path) -> None:
    """Half of the groups would pass for all of them."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders")
        await commit(house, "billing", "orders", {0: 0})
    async with a_house(tmp_path / "data", "offsets.topic.num.partitions=1") as house:
        deadline = asyncio.get_running_loop().time() + 10
        answers: list[int] = []
        while ErrorCode.NONE not in answers and asyncio.get_running_loop().time() < deadline:
            response = await house.ask(DescribeLagRequest())
            assert isinstance(response, DescribeLagResponse)
            answers.append(response.error_code)
            assert bool(response.groups) == (response.error_code == ErrorCode.NONE)
            await asyncio.sleep(0)
        assert set(answers) <= {ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NONE}


@on_the_bench
async def test_a_partition_that_has_failed_hides_no_groups_but_its_own(bench: Bench) -> None:
    house = await bench.serve("offsets.topic.num.partitions=4")
    await house.create("orders")
    good, bad, nobody = (next(name for name in map(str, range(99)) if partition_for(name, 4) == n) for n in (0, 1, 2))
    for group_id in (good, bad):
        await commit(house, group_id, "orders", {0: 0})
    bench.disk.fail_next("sync", path=f"{OFFSETS_TOPIC}-1/")
    with pytest.raises(AssertionError):
        await commit(house, bad, "orders", {0: 0})
    response = await house.ask(DescribeLagRequest())
    assert isinstance(response, DescribeLagResponse)
    assert (response.error_code, response.unavailable_partitions) == (ErrorCode.COORDINATOR_NOT_AVAILABLE, (1,))
    assert [group.group_id for group in response.groups] == [good]
    assert [(group.group_id, group.error_code) for group in await describe(house, good, bad, nobody)] == [
        (good, ErrorCode.NONE),
        (bad, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (nobody, ErrorCode.GROUP_ID_NOT_FOUND),
    ]


@on_the_bench
async def test_where_all_partitions_have_failed_all_are_named(bench: Bench) -> None:
    house = await bench.serve("offsets.topic.num.partitions=2")
    await house.create("orders")
    for partition in (0, 1):
        group_id = next(name for name in map(str, range(99)) if partition_for(name, 2) == partition)
        await commit(house, group_id, "orders", {0: 0})
        bench.disk.fail_next("sync", path=f"{OFFSETS_TOPIC}-{partition}/")
        with pytest.raises(AssertionError):
            await commit(house, group_id, "orders", {0: 0})
    for group_ids, code in ((None, ErrorCode.COORDINATOR_NOT_AVAILABLE), ((), ErrorCode.NONE)):
        response = await house.ask(DescribeLagRequest(group_ids=group_ids))
        assert isinstance(response, DescribeLagResponse)
        assert (response.error_code, response.groups, response.unavailable_partitions) == (code, (), (0, 1))
    assert [group.error_code for group in await describe(house, "any")] == [ErrorCode.COORDINATOR_NOT_AVAILABLE]


async def test_what_takes_longer_leaves_the_loop_to_others(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        await commit(house, f"group{number}", "orders", {0: number})
    monkeypatch.setattr(group_lag, "PARTITIONS_PER_TURN", 1)
    pending = house.call(DescribeLagRequest())
    assert isinstance(pending, Pending)
    turns = 0
    while (response := pending.response) is None:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 5
    assert [group.topics[0].partitions[0].lag for group in response.groups] == [5, 4, 3, 2, 1]


async def test_who_went_away_is_measured_for_no_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        await commit(house, f"group{number}", "orders", {0: number})
    monkeypatch.setattr(group_lag, "PARTITIONS_PER_TURN", 1)
    pending = house.call(DescribeLagRequest())
    assert isinstance(pending, Pending)
    pending.abandon()
    for _ in range(20):
        await asyncio.sleep(0)
    assert pending.response is None
