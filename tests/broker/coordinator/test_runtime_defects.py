"""A defect in one group's machine is that group's: it ends neither timers, nor the start, nor the place of others."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from support.bench import Bench, on_the_bench
from support.groups import commit, join_alone
from support.house import House
from tidelog.broker.coordinator.classic_group import ClassicGroup
from tidelog.broker.coordinator.decision import Decision, Instant, TimerKey
from tidelog.broker.coordinator.group_partition import partition_for
from tidelog.broker.coordinator.offsets import Offsets
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.find_coordinator import FindCoordinatorRequest
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
)

NONE = ErrorCode.NONE
NOT_AVAILABLE = ErrorCode.COORDINATOR_NOT_AVAILABLE
ONE_SHARD = "offsets.topic.num.partitions=1"
GROUPS = tuple(f"g{number}" for number in range(8))


@pytest.fixture(autouse=True)
def are_reported(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No defect goes by without a line, and a traceback."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno == logging.ERROR and record.exc_info]


async def serve(bench: Bench, *overrides: str) -> House:
    house = await bench.serve(*overrides)
    await house.create("orders")
    await house.ask(FindCoordinatorRequest(coordinator_keys=("any",)))
    return house


async def after_a_power_cut(bench: Bench, port: int, *overrides: str) -> House:
    bench.disk.crash()
    house = await bench.serve(f"listeners=127.0.0.1:{port}", *overrides)
    await asyncio.sleep(1)
    return house


async def committed(house: House, group_id: str) -> tuple[int, int]:
    """The code and the offset."""
    wanted = OffsetFetchRequestTopics(name="orders", partition_indexes=(0,))
    request = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id=group_id, topics=(wanted,)),))
    response = await house.ask(request, 8)
    assert isinstance(response, OffsetFetchResponse)
    [group] = response.groups
    offsets = [partition.committed_offset for topic in group.topics for partition in topic.partitions]
    return group.error_code, offsets[0] if offsets else -1


@on_the_bench
async def test_a_group_that_breaks_at_a_start_sends_no_other_to_another_partition(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed then would be looked for elsewhere after the next start."""
    house = await serve(bench)
    for group_id in GROUPS:
        assert await commit(house, group_id, "orders", offset=3) == NONE
    bad = next(group_id for group_id in GROUPS if partition_for(group_id, 4) == 0)
    other = next(group_id for group_id in GROUPS if partition_for(group_id, 4) == 3)
    real = ClassicGroup.loaded

    def breaks(group: ClassicGroup, at: Instant) -> Decision:
        assert group.group_id != bad
        return real(group, at)

    monkeypatch.setattr(ClassicGroup, "loaded", breaks)
    again = await after_a_power_cut(bench, 9093)
    assert await committed(again, bad) == (NOT_AVAILABLE, -1)
    assert await committed(again, other) == (NONE, 3)
    assert await commit(again, other, "orders", offset=9) == NONE
    monkeypatch.setattr(ClassicGroup, "loaded", real)
    third = await after_a_power_cut(bench, 9094)
    assert await committed(third, other) == (NONE, 9)
    assert await committed(third, bad) == (NONE, 3)


@on_the_bench
async def test_a_record_on_which_a_machine_breaks_is_no_endless_load(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await serve(bench, ONE_SHARD)
    assert await commit(house, "a", "orders", offset=3) == NONE

    def breaks(offsets: Offsets, record: object) -> None:
        raise KeyError(record)

    monkeypatch.setattr(Offsets, "apply", breaks)
    again = await after_a_power_cut(bench, 9093, ONE_SHARD)
    assert await committed(again, "a") == (NOT_AVAILABLE, -1)


@on_the_bench
async def test_a_timer_that_broke_comes_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a member whose session nobody looks at would never die."""
    house = await serve(bench, ONE_SHARD)
    member = await join_alone(house, "a")
    calls: list[TimerKey] = []
    real = ClassicGroup.timer_due

    def breaks_once(group: ClassicGroup, key: TimerKey, at: Instant) -> Decision:
        calls.append(key)
        assert len(calls) != 1
        return real(group, key, at)

    monkeypatch.setattr(ClassicGroup, "timer_due", breaks_once)
    await asyncio.sleep(600)
    request = HeartbeatRequest(group_id="a", generation_id=member.generation, member_id=member.member_id)
    response = await house.ask(request)
    assert isinstance(response, HeartbeatResponse)
    assert response.error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert len(calls) > 1
