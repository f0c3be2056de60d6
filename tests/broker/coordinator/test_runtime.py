"""The runtime of group coordinators: what is answered is durable, what fails has not happened [G-10, G-13]."""

import asyncio
import logging
from collections.abc import Mapping

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from support.groups import Joined, commit, join_alone
from support.house import House
from tidelog.broker.coordinator.group_partition import partition_for
from tidelog.broker.coordinator.runtime import LATE_MS, READ_SIZE, CoordinatorRuntime, caller_of
from tidelog.broker.request import Pending, RequestContext
from tidelog.broker.topics.internal_topics import METADATA_TOPIC, OFFSETS_TOPIC
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.apis import APIS, ApiKey
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.find_coordinator import FindCoordinatorRequest
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse
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
from tidelog.protocol.records import build_batch
from tidelog.protocol.wire import RequestHeader

NONE = ErrorCode.NONE
NOT_AVAILABLE = ErrorCode.COORDINATOR_NOT_AVAILABLE
LOADING = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
UNKNOWN_MEMBER_ID = ErrorCode.UNKNOWN_MEMBER_ID

ANOTHER_PORT = "listeners=127.0.0.1:9093"
"""For a second broker, while the first one, which is thought dead, holds its port still."""
ONE_SHARD = "offsets.topic.num.partitions=1"


class Answers:
    """What came of requests that were not waited for, in order of the answers."""

    def __init__(self, house: House) -> None:
        self.given: list[object] = []
        self._house = house
        self._news = asyncio.Event()

    def ask(self, request: object, version: int | None = None) -> None:
        def take(response: object) -> None:
            self.given.append(response)
            self._news.set()

        result = self._house.call(request, version)
        if isinstance(result, Pending):
            result.attach(take)
        else:
            take(result)

    async def until(self, count: int) -> list[object]:
        async with asyncio.timeout(60):
            while len(self.given) < count:
                self._news.clear()
                await self._news.wait()
        return self.given


async def serve(bench: Bench, *overrides: str) -> House:
    """A broker with a topic that groups can have read, and with its coordinators."""
    house = await bench.serve(*overrides)
    if house.server.topics.by_name("orders") is None:
        await house.create("orders")
    await house.ask(FindCoordinatorRequest(coordinator_keys=("any",)))
    return house


async def after_a_power_cut(bench: Bench, *overrides: str) -> House:
    """Its successor on the same disk."""
    bench.disk.crash()
    return await bench.serve(ANOTHER_PORT, *overrides)


def a_commit(group_id: str, offsets: Mapping[int, int], metadata: str = "") -> OffsetCommitRequest:
    """Of partitions of `orders`, by who is no member."""
    partitions = tuple(
        OffsetCommitRequestPartition(partition_index=index, committed_offset=offset, committed_metadata=metadata)
        for index, offset in offsets.items()
    )
    return OffsetCommitRequest(
        group_id=group_id, topics=(OffsetCommitRequestTopic(name="orders", partitions=partitions),)
    )


def codes_of(response: object) -> set[int]:
    assert isinstance(response, OffsetCommitResponse)
    return {partition.error_code for topic in response.topics for partition in topic.partitions}


def a_fetch(group_id: str) -> OffsetFetchRequest:
    wanted = OffsetFetchRequestTopics(name="orders", partition_indexes=(0,))
    return OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id=group_id, topics=(wanted,)),))


def offset_in(response: object) -> int:
    assert isinstance(response, OffsetFetchResponse)
    return response.groups[0].topics[0].partitions[0].committed_offset


async def committed(house: House, group_id: str) -> int:
    return offset_in(await house.ask(a_fetch(group_id), 8))


def a_heartbeat(member: Joined) -> HeartbeatRequest:
    return HeartbeatRequest(group_id=member.group_id, generation_id=member.generation, member_id=member.member_id)


async def heartbeat(house: House, member: Joined) -> int:
    response = await house.ask(a_heartbeat(member))
    assert isinstance(response, HeartbeatResponse)
    return response.error_code


async def listed(house: House) -> list[str] | ErrorCode:
    response = await house.ask(ListGroupsRequest())
    assert isinstance(response, ListGroupsResponse)
    if response.error_code:
        return ErrorCode(response.error_code)
    return sorted(group.group_id for group in response.groups)


async def loaded(house: House) -> list[str] | ErrorCode:
    """What is listed once everything is read."""
    for _ in range(100):
        await asyncio.sleep(0.001)
        found = await listed(house)
        if found != LOADING:
            return found
    raise AssertionError("it is still being read")


def partitions_of(house: House) -> list[Partition]:
    topic = house.server.topics.by_name(OFFSETS_TOPIC)
    assert topic is not None
    return topic.partitions


def a_join(group_id: str, member_id: str = "") -> JoinGroupRequest:
    return JoinGroupRequest(
        group_id=group_id,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=60_000,
        member_id=member_id,
        protocol_type="connect",
        protocols=(JoinGroupRequestProtocol(name="compatible", metadata=b""),),
    )


# The topic


@on_the_bench
async def test_the_topic_is_made_when_it_is_first_needed_and_whoever_needs_it_waits(bench: Bench) -> None:
    house = await bench.serve("offsets.topic.num.partitions=3")
    await house.create("orders")
    assert house.server.topics.by_name(OFFSETS_TOPIC) is None
    answers = Answers(house)
    for name in ("a", "b", "c"):
        answers.ask(a_commit(name, {0: 1}), 8)
    assert answers.given == []
    assert [codes_of(answer) for answer in await answers.until(3)] == [{NONE}] * 3
    topic = house.server.topics.by_name(OFFSETS_TOPIC)
    assert topic is not None
    assert len(topic.partitions) == 3
    assert topic.config.segment_bytes == 104_857_600
    assert topic.config.write_caching is False


@on_the_bench
async def test_what_topics_are_content_with_is_not_enough_for_groups(bench: Bench) -> None:
    """A commit that was answered outlives a power cut, also where records are acknowledged from the page cache."""
    house = await serve(bench, "write.caching=true")
    assert await commit(house, "billing", "orders", offset=3) == NONE
    again = await after_a_power_cut(bench, "write.caching=true")
    assert await committed(again, "billing") == 3


@on_the_bench
async def test_when_the_topic_cannot_be_made_there_is_no_coordinator_and_the_next_one_tries_again(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    bench.disk.fail_next("append", path=METADATA_TOPIC)
    assert await commit(house, "a", "orders") == NOT_AVAILABLE
    assert await commit(house, "a", "orders") == NONE


@on_the_bench
async def test_when_the_topic_cannot_be_made_durable_all_who_wait_hear_so(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    bench.disk.fail_next("sync", path=METADATA_TOPIC)
    answers = Answers(house)
    for name in ("a", "b"):
        answers.ask(a_commit(name, {0: 1}), 8)
    assert answers.given == []
    assert [codes_of(answer) for answer in await answers.until(2)] == [{NOT_AVAILABLE}] * 2


@on_the_bench
async def test_a_group_s_records_are_in_the_partition_that_kafka_would_choose(bench: Bench) -> None:
    house = await serve(bench)
    for name in ("a", "billing", "Übersicht", "x" * 300):
        before = [partition.high_watermark for partition in partitions_of(house)]
        assert await commit(house, name, "orders") == NONE
        grown = [
            index for index, partition in enumerate(partitions_of(house)) if partition.high_watermark > before[index]
        ]
        assert grown == [partition_for(name, 4)]


# Durable before the answer


@on_the_bench
async def test_an_answer_leaves_when_its_records_are_durable(bench: Bench) -> None:
    """G-10."""
    house = await serve(bench)
    bench.disk.sync_s = 1.0
    answers = Answers(house)
    answers.ask(a_commit("billing", {0: 7}), 8)
    await asyncio.sleep(0.5)
    assert answers.given == []
    assert [codes_of(answer) for answer in await answers.until(1)] == [{NONE}]
    again = await after_a_power_cut(bench)
    assert await committed(again, "billing") == 7


@on_the_bench
async def test_who_has_seen_what_is_not_durable_yet_is_answered_when_it_is(bench: Bench) -> None:
    house = await serve(bench)
    bench.disk.sync_s = 1.0
    answers = Answers(house)
    answers.ask(a_commit("billing", {0: 7}), 8)
    answers.ask(a_fetch("billing"), 8)
    assert answers.given == [], "a power cut could take the offset back"
    first, second = await answers.until(2)
    assert codes_of(first) == {NONE}
    assert offset_in(second) == 7


@on_the_bench
async def test_a_request_is_one_append_however_much_it_commits(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 100)
    await house.ask(FindCoordinatorRequest(coordinator_keys=("any",)))
    bench.disk.appended.clear()
    assert codes_of(await house.ask(a_commit("billing", dict.fromkeys(range(100), 5)), 8)) == {NONE}
    assert len([path for path in bench.disk.appended if OFFSETS_TOPIC in path and path.endswith(".log")]) == 1


# What fails has not happened


@on_the_bench
async def test_what_cannot_be_written_leaves_everything_as_it_was(bench: Bench) -> None:
    house = await serve(bench, "log.reserve.bytes=0")
    assert await commit(house, "kept", "orders", offset=1) == NONE
    bench.disk.full(0)
    assert await commit(house, "new", "orders", offset=9) == NOT_AVAILABLE
    assert await commit(house, "kept", "orders", offset=9) == NOT_AVAILABLE
    assert (await committed(house, "kept"), await committed(house, "new")) == (1, -1)
    assert await listed(house) == ["kept"]
    bench.disk.full(None)
    assert await commit(house, "new", "orders", offset=9) == NONE
    assert await committed(house, "new") == 9


@on_the_bench
async def test_a_member_that_cannot_be_written_is_none_and_can_come_again(bench: Bench) -> None:
    house = await serve(bench, "log.reserve.bytes=0")
    bench.disk.full(0)
    joined = await house.ask(a_join("billing"), 3)
    assert isinstance(joined, JoinGroupResponse)
    bench.disk.full(None)
    if joined.error_code == NONE:  # who has joined is written when the leader has said who does what
        assert await heartbeat(house, Joined("billing", joined.member_id, joined.generation_id)) == NONE
    member = await join_alone(house, "another")
    assert await heartbeat(house, member) == NONE


@on_the_bench
async def test_a_refusal_waits_for_what_it_has_seen(bench: Bench) -> None:
    """Of a member that has left nobody hears before it is certain."""
    house = await serve(bench, ONE_SHARD)
    member = await join_alone(house, "billing")
    bench.disk.sync_s = 1.0
    answers = Answers(house)
    answers.ask(LeaveGroupRequest(group_id="billing", members=(MemberIdentity(member_id=member.member_id),)))
    answers.ask(a_heartbeat(member))
    assert answers.given == []
    _, refused = await answers.until(2)
    assert refused == HeartbeatResponse(error_code=UNKNOWN_MEMBER_ID)


@on_the_bench
async def test_when_it_is_unknown_what_lasts_there_is_no_coordinator_until_a_restart(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    house = await serve(bench, ONE_SHARD)
    assert await commit(house, "billing", "orders", offset=1) == NONE
    member = await join_alone(house, "others")
    bench.disk.fail_next("sync", path=OFFSETS_TOPIC)
    with caplog.at_level(logging.ERROR):
        assert await commit(house, "billing", "orders", offset=2) == NOT_AVAILABLE
    assert "groups without coordinator until a restart partition=0" in caplog.text
    assert await commit(house, "billing", "orders", offset=3) == NOT_AVAILABLE
    assert await heartbeat(house, member) == NOT_AVAILABLE
    assert await listed(house) == NOT_AVAILABLE
    again = await after_a_power_cut(bench)
    assert await committed(again, "billing") in (1, 2), "nobody could know"
    assert await heartbeat(again, member) == NONE


@on_the_bench
async def test_who_waits_in_a_group_that_loses_its_coordinator_hears_so(bench: Bench) -> None:
    house = await serve(bench, ONE_SHARD)
    await join_alone(house, "billing")
    answers = Answers(house)
    answers.ask(a_join("billing"), 3)  # waits for the first member to join again
    await asyncio.sleep(0.1)
    assert answers.given == []
    bench.disk.fail_next("sync", path=OFFSETS_TOPIC)
    assert await commit(house, "others", "orders") == NOT_AVAILABLE
    [joined] = await answers.until(1)
    assert isinstance(joined, JoinGroupResponse)
    assert joined.error_code == NOT_AVAILABLE


# A start


@on_the_bench
async def test_members_and_offsets_are_there_again_after_a_power_cut(bench: Bench) -> None:
    """G-13: nobody has to join anew."""
    house = await serve(bench)
    member = await join_alone(house, "billing")
    assert await commit(house, "simple", "orders", offset=4) == NONE
    again = await after_a_power_cut(bench)
    assert await heartbeat(again, member) == NONE
    assert await committed(again, "simple") == 4
    assert await listed(again) == ["billing", "simple"]


@on_the_bench
async def test_sessions_begin_anew_at_a_start(bench: Bench) -> None:
    """G-13: members could not send heartbeats while the broker was away; who does not after it is gone."""
    house = await serve(bench)
    member = await join_alone(house, "billing")
    await house.server.stop()
    await asyncio.sleep(3600)
    again = await bench.serve()
    await asyncio.sleep(9)
    assert await heartbeat(again, member) == NONE
    await asyncio.sleep(12)
    assert await heartbeat(again, member) == UNKNOWN_MEMBER_ID


@on_the_bench
async def test_groups_are_read_in_slices_and_asked_for_meanwhile_in_vain(bench: Bench) -> None:
    """G-13."""
    house = await bench.serve(ONE_SHARD)
    await house.create("orders", 40)
    slices = 5
    for number in range(slices):
        text = "x" * (READ_SIZE // 40 + 1)
        request = a_commit(f"g{number}", dict.fromkeys(range(40), number), text[:4096])
        assert codes_of(await house.ask(request, 8)) == {NONE}
    await house.server.stop()
    house = await bench.serve()
    runtime = CoordinatorRuntime(
        house.server.topics,
        environment=bench.environment,
        settings=house.server.services.configs.groups,
        counters=bench.metrics,
    )
    heard: list[object] = []

    def code(error: object) -> str:
        heard.append(error)
        return "refused"

    def list_them() -> int:
        answer = runtime.submit("g0", lambda _groups, _waiter, _at: pytest.fail("not loaded"), refused=code)
        assert answer == "refused"
        return heard[-1].code  # type: ignore[attr-defined]

    runtime.start()
    await asyncio.sleep(0)
    assert list_them() == LOADING
    turns = 1
    while runtime._shards[0].refusal is not None:  # noqa: SLF001 - how far it is nobody else need know
        assert list_them() == LOADING
        await asyncio.sleep(0)
        turns += 1
        assert turns < 100
    assert turns >= slices
    [machine] = runtime.shards()
    assert len(machine.groups) == slices
    runtime.stop()


@on_the_bench
async def test_groups_that_cannot_be_read_have_no_coordinator_and_all_others_do(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    house = await serve(bench)
    good = next(name for name in map(str, range(99)) if partition_for(name, 4) == 0)
    bad = next(name for name in map(str, range(99)) if partition_for(name, 4) == 1)
    for name in (good, bad):
        assert await commit(house, name, "orders", offset=6) == NONE
    broken = build_batch([(b"\x00\x01\x7f", b"\x00\x01", (), bench.environment.now_ms())])
    partitions_of(house)[1].append(
        memoryview(broken), acks=-1, now_ms=bench.environment.now_ms(), waiter=lambda _: None
    )
    await house.server.stop()
    with caplog.at_level(logging.ERROR):
        again = await bench.serve()
        assert await loaded(again) == [good]
    assert list(again.server.services.groups.unavailable()) == [1]
    assert [again.server.services.groups.is_unavailable(name) for name in (good, bad)] == [False, True]
    assert f"groups cannot be read topic={OFFSETS_TOPIC} partition=1" in caplog.text
    assert await committed(again, good) == 6
    assert await commit(again, bad, "orders") == NOT_AVAILABLE


@on_the_bench
async def test_records_of_a_kind_that_nobody_knows_are_left_out_with_a_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    house = await serve(bench, ONE_SHARD)
    assert await commit(house, "billing", "orders", offset=6) == NONE
    newer = build_batch([(b"\x7f\x00", b"", (), bench.environment.now_ms())])
    partitions_of(house)[0].append(memoryview(newer), acks=-1, now_ms=bench.environment.now_ms(), waiter=lambda _: None)
    await house.server.stop()
    again = await bench.serve()
    assert await loaded(again) == ["billing"]
    assert "record of an unknown kind left out offset=1 key=7f00" in caplog.text
    assert await committed(again, "billing") == 6


@on_the_bench
async def test_a_topic_that_was_deleted_takes_its_offsets_along(bench: Bench) -> None:
    """L-14: also those that are committed while it goes, and another topic of its name has none."""
    house = await serve(bench)
    assert await commit(house, "billing", "orders", offset=6) == NONE
    await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="orders"),)))
    await house.create("orders")
    assert await committed(house, "billing") == -1
    again = await after_a_power_cut(bench)
    assert await committed(again, "billing") == -1


# Timers


@on_the_bench
async def test_a_member_that_is_silent_for_its_session_is_gone(bench: Bench) -> None:
    house = await serve(bench)
    member = await join_alone(house, "billing")
    for _ in range(3):
        await asyncio.sleep(9)
        assert await heartbeat(house, member) == NONE
    await asyncio.sleep(11)
    assert await heartbeat(house, member) == UNKNOWN_MEMBER_ID


@on_the_bench
async def test_a_timer_is_never_early_to_the_millisecond(bench: Bench) -> None:
    """Else whoever comes too early sets it anew, for the same moment, and time stands still."""
    house = await serve(bench)
    for number in range(100):
        await asyncio.sleep(1.0037)
        await join_alone(house, f"g{number}")
    await asyncio.sleep(20)
    for number in range(100):
        assert number >= 0
        machine = next(one for one in house.server.services.groups.shards() if f"g{number}" in one.groups)
        assert machine.groups[f"g{number}"].member_count == 0


@on_the_bench
async def test_who_is_late_because_the_broker_was_held_up_is_not_taken_for_dead(bench: Bench) -> None:
    """Their heartbeats lie in the sockets: those are read first."""
    house = await serve(bench)
    member = await join_alone(house, "billing")
    bench.loop.spend(30)
    await asyncio.sleep(0.1)
    assert await heartbeat(house, member) == NONE
    await asyncio.sleep(LATE_MS / 1000)
    assert await heartbeat(house, member) == NONE


@on_the_bench
async def test_who_is_silent_after_the_broker_was_held_up_is_dead_all_the_same(bench: Bench) -> None:
    house = await serve(bench)
    member = await join_alone(house, "billing")
    bench.loop.spend(30)
    await asyncio.sleep(LATE_MS / 1000 + 0.1)
    assert await heartbeat(house, member) == UNKNOWN_MEMBER_ID


@on_the_bench
async def test_a_timer_whose_decision_cannot_be_written_comes_again(bench: Bench) -> None:
    house = await serve(bench, "log.reserve.bytes=0")
    member = await join_alone(house, "billing")
    bench.disk.full(0)
    await asyncio.sleep(15)
    bench.disk.full(None)
    await asyncio.sleep(2)
    again = await after_a_power_cut(bench)
    assert await heartbeat(again, member) == UNKNOWN_MEMBER_ID


@on_the_bench
async def test_offsets_that_nobody_has_cared_about_for_long_are_forgotten(bench: Bench) -> None:
    """G-12."""
    house = await serve(bench, "offsets.retention.minutes=60", "offsets.retention.check.interval.ms=60000")
    assert await commit(house, "billing", "orders", offset=6) == NONE
    await asyncio.sleep(3500)
    assert await committed(house, "billing") == 6
    await asyncio.sleep(200)
    assert await committed(house, "billing") == -1
    assert await listed(house) == []


# The stop


@on_the_bench
async def test_at_a_stop_nobody_is_kept_waiting(bench: Bench) -> None:
    house = await serve(bench)
    member = await join_alone(house, "billing")
    answers = Answers(house)
    answers.ask(a_join("billing"), 3)
    await asyncio.sleep(0.1)
    began = bench.loop.time()
    await house.server.stop()
    [joined] = answers.given
    assert isinstance(joined, JoinGroupResponse)
    assert joined.error_code == NOT_AVAILABLE
    assert bench.loop.time() - began < 1.0
    again = await bench.serve()
    assert await heartbeat(again, member) in (NONE, ErrorCode.REBALANCE_IN_PROGRESS)


@on_the_bench
async def test_a_clean_stop_loses_nothing(bench: Bench) -> None:
    house = await serve(bench)
    member = await join_alone(house, "billing")
    assert await commit(house, "simple", "orders", offset=4) == NONE
    await house.server.stop()
    again = await bench.serve()
    assert await heartbeat(again, member) == NONE
    assert await committed(again, "simple") == 4


# Small things


@on_the_bench
async def test_a_caller_is_shown_as_kafka_shows_it(bench: Bench) -> None:
    house = await bench.serve()
    header = RequestHeader(api=APIS[ApiKey.JOIN_GROUP], version=5, correlation_id=1, client_id=None)
    for peer, host in (("127.0.0.1:50000", "/127.0.0.1"), ("[::1]:50000", "/[::1]")):
        house.client.peer = peer
        caller = caller_of(RequestContext(header, house.client))
        assert (caller.client_id, caller.host, caller.version) == ("", host, 5)


@on_the_bench
async def test_clients_cannot_forge_a_commit(bench: Bench) -> None:
    """B-19."""
    house = await serve(bench, ONE_SHARD)
    result = await house.produce(OFFSETS_TOPIC, a_batch([b"forged"]))
    assert result.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION  # type: ignore[union-attr]
    assert partitions_of(house)[0].high_watermark == 0


@on_the_bench
async def test_no_group_is_overlooked_before_the_topic_is_taken_up(bench: Bench) -> None:
    house = await serve(bench)
    assert await commit(house, "billing", "orders") == NONE
    groups = CoordinatorRuntime(
        house.server.topics,
        environment=bench.environment,
        settings=house.server.services.groups.settings,
        counters=house.server.metrics,
    )
    with pytest.raises(RequestRefused, match="LOAD_IN_PROGRESS"):
        groups.shards()
    assert list(groups.available()) == []


@on_the_bench
async def test_many_groups_expire_in_few_writes_and_not_all_in_one_turn(bench: Bench) -> None:
    """G-12: strangers may have left any number of them."""
    settings = ("offsets.retention.minutes=1", "offsets.retention.check.interval.ms=120000", ONE_SHARD)
    house = await serve(bench, *settings)
    for number in range(1500):
        assert await commit(house, f"g{number}", "orders") == NONE
    [partition] = partitions_of(house)
    before, appends = partition.high_watermark, len(bench.disk.appended)
    await asyncio.sleep(200)
    assert partition.high_watermark == before + 2 * 1500, "an offset and its group"
    assert len(bench.disk.appended) - appends < 20
    assert await listed(house) == []
