"""Memory of groups: strangers take no more than they may, and groups that are there go on [Q-3]."""

import gc
import logging
import tracemalloc
from uuid import UUID

import pytest

from support.bench import Bench, on_the_bench
from support.groups import commit, join_alone
from support.house import House
from tidelog.broker.coordinator.consumer_members import NO_ASSIGNMENT, NO_VALUE
from tidelog.broker.coordinator.group_memory import GroupMemory, RecordSizes
from tidelog.broker.coordinator.group_records import (
    ConsumerGroupEpoch,
    ConsumerGroupMember,
    CurrentAssignment,
    ResolvedRegex,
    ResolvedRegexValue,
    TargetAssignment,
)
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from tidelog.protocol.messages.delete_groups import DeleteGroupsRequest
from tidelog.protocol.messages.find_coordinator import FindCoordinatorRequest
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)

NOT_AVAILABLE = ErrorCode.COORDINATOR_NOT_AVAILABLE
SMALL = "group.memory.max.bytes=400000"


async def serve(bench: Bench, *overrides: str) -> House:
    house = await bench.serve(*overrides)
    await house.create("orders", partitions=40)
    return house


async def fill(house: House) -> list[str]:
    """Commit for ever new groups; the names of those that it could be done for."""
    names = []
    for number in range(200):
        name = f"stranger-{number}"
        if await commit(house, name, "orders") == NOT_AVAILABLE:
            break
        names.append(name)
    return names


async def join(house: House, group_id: str, version: int = 3, words: bytes = b"") -> int:
    protocol = JoinGroupRequestProtocol(name="p", metadata=words)
    request = JoinGroupRequest(
        group_id=group_id, session_timeout_ms=10_000, protocol_type="mine", protocols=(protocol,)
    )
    response = await house.ask(request, version)
    assert isinstance(response, JoinGroupResponse)
    return response.error_code


async def consume(house: House, group_id: str, member_id: str, epoch: int = 0) -> int:
    joins = epoch == 0
    request = ConsumerGroupHeartbeatRequest(
        group_id=group_id,
        member_id=member_id,
        member_epoch=epoch,
        rebalance_timeout_ms=60_000 if joins else -1,
        subscribed_topic_names=("orders",) if joins else None,
        topic_partitions=() if joins else None,
    )
    response = await house.ask(request)
    assert isinstance(response, ConsumerGroupHeartbeatResponse)
    return response.error_code


@on_the_bench
async def test_nothing_new_begins_while_three_quarters_are_used_and_what_is_there_goes_on(bench: Bench) -> None:
    house = await serve(bench, SMALL)
    member = await join_alone(house, "honest")
    assert await consume(house, "consumers", "m1") == ErrorCode.NONE
    names = await fill(house)
    assert 20 < len(names) < 100
    for version in (3, 9):
        assert await join(house, "another", version) == NOT_AVAILABLE
        assert await join(house, "honest", version) == NOT_AVAILABLE
    assert await consume(house, "another", "m1") == NOT_AVAILABLE
    assert await consume(house, "consumers", "m2") == NOT_AVAILABLE
    assert await consume(house, "consumers", "m1") == ErrorCode.NONE, "it is a member"
    beat = HeartbeatRequest(group_id="honest", member_id=member.member_id, generation_id=member.generation)
    assert (await house.ask(beat)).error_code == ErrorCode.NONE  # type: ignore[attr-defined]
    assert await commit(house, names[0], "orders", partition=1) == ErrorCode.NONE
    await house.ask(DeleteGroupsRequest(groups_names=tuple(names)))
    assert await join(house, "another") == ErrorCode.NONE


@on_the_bench
async def test_when_all_is_used_offsets_are_committed_only_where_there_are_some(bench: Bench) -> None:
    house = await serve(bench, SMALL)
    names = await fill(house)
    codes = set()
    for name in names:
        for partition in range(40):
            codes.add(await commit(house, name, "orders", partition, offset=7))
    assert codes == {ErrorCode.NONE, NOT_AVAILABLE}
    assert await commit(house, names[0], "orders", offset=8) == ErrorCode.NONE


@on_the_bench
async def test_what_members_say_and_ids_that_are_given_out_count(bench: Bench) -> None:
    house = await serve(bench, SMALL)
    assert await join(house, "a", words=bytes(290_000)) == ErrorCode.NONE
    ids = 0
    while await join(house, "b", version=9) == ErrorCode.MEMBER_ID_REQUIRED:
        ids += 1
        assert ids < 100
    assert ids > 0
    assert await join(house, "c") == NOT_AVAILABLE


@on_the_bench
async def test_what_was_there_before_a_start_counts_after_it(bench: Bench) -> None:
    house = await serve(bench, SMALL)
    await fill(house)
    await house.server.stop()
    again = await bench.serve(SMALL)
    assert await commit(again, "new", "orders") == NOT_AVAILABLE


@pytest.mark.parametrize("limit", [0, -1])
@on_the_bench
async def test_those_who_are_refused_leave_nothing_behind(bench: Bench, limit: int) -> None:
    """An exception that is raised again and again remembers each time, with the request."""
    house = await serve(bench, f"group.memory.max.bytes={limit}", "log.reserve.bytes=0")
    await house.ask(FindCoordinatorRequest(coordinator_keys=("a",)))
    bench.disk.full(0)

    async def refused(count: int) -> None:
        for number in range(count):
            assert await consume(house, "a", f"{number:030000}") == NOT_AVAILABLE
        gc.collect()

    logging.disable()  # what is said is kept by the tests' own handler
    tracemalloc.start()
    try:
        await refused(3)
        before, _ = tracemalloc.get_traced_memory()
        await refused(50)
        after, _ = tracemalloc.get_traced_memory()
        assert after - before < 200_000
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)


@on_the_bench
async def test_timers_of_members_that_have_left_do_not_pile_up(bench: Bench) -> None:
    """Each has the member's name in it, which a stranger chooses, for as long as a session."""
    house = await serve(bench, "offsets.topic.num.partitions=1")
    for number in range(1500):
        assert await consume(house, "g", f"m{number}") == ErrorCode.NONE
        assert await consume(house, "g", f"m{number}", epoch=-1) == ErrorCode.NONE
    [shard] = house.server.services.groups._shards  # noqa: SLF001
    assert len(shard.timers) < 1100
    member = await join_alone(house, "honest")
    gone = LeaveGroupRequest(group_id="honest", members=(MemberIdentity(member_id=member.member_id),))
    await house.ask(gone)
    assert len(shard.timers) < 1100


@on_the_bench
async def test_a_commit_that_could_not_be_written_is_not_counted(bench: Bench) -> None:
    house = await serve(bench, "log.reserve.bytes=0")
    parts = tuple(OffsetCommitRequestPartition(partition_index=index, committed_offset=1) for index in (0, 1))
    request = OffsetCommitRequest(group_id="g", topics=(OffsetCommitRequestTopic(name="orders", partitions=parts),))
    await house.ask(request, 8)
    bench.disk.full(0)
    await house.ask(request, 8)
    await commit(house, "never", "orders")
    bench.disk.full(None)
    groups = house.server.metrics.groups
    assert {name: counts.commits for name, counts in groups.items()} == {"g": 1}


def test_what_a_record_takes_is_given_back_by_its_tombstone() -> None:
    sizes, topic = RecordSizes(), UUID(int=1)
    value = {topic: (0, 1, 2)}
    member = ConsumerGroupMember("g", "m", NO_VALUE)
    sizes.apply(ConsumerGroupEpoch("g", 1))
    assert sizes.bytes_used == 0
    for record in (
        member,
        TargetAssignment("g", "m", value),
        CurrentAssignment("g", "m", NO_ASSIGNMENT),
        ResolvedRegex("g", "r", ResolvedRegexValue(topics=("a", "b"))),
    ):
        before = sizes.bytes_used
        sizes.apply(record)
        assert sizes.bytes_used > before or record.value is NO_ASSIGNMENT  # type: ignore[union-attr]
        once = sizes.bytes_used
        sizes.apply(record)
        assert sizes.bytes_used == once
    for tombstone in (
        ConsumerGroupMember("g", "m", None),
        TargetAssignment("g", "m", None),
        CurrentAssignment("g", "m", None),
        ResolvedRegex("g", "r", None),
    ):
        sizes.apply(tombstone)
    assert sizes.bytes_used == 0


def test_without_a_limit_there_is_always_room() -> None:
    memory = GroupMemory(-1)
    memory.used = 1 << 50
    assert memory.has_room
    assert memory.has_room_for_new
