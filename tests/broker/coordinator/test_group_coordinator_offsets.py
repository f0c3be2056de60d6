"""What becomes of groups and offsets: simple groups, deletion, expiry, topics that go, writes that fail [G-12]."""

import logging
from collections.abc import Sequence

import pytest

from support.classic_groups import Answer
from support.consumer_world import GROUP, TopicsForTests
from support.group_settings import SettingsForTests
from support.mixed_groups import SESSION_MS, Classic, Consumer, MixedWorld, remembered, settle
from tidelog.broker.coordinator import group_coordinator
from tidelog.broker.coordinator.classic_group import ClassicGroup
from tidelog.broker.coordinator.consumer_group import ConsumerGroup
from tidelog.broker.coordinator.decision import Caller, Instant, TimerKey
from tidelog.broker.coordinator.group_coordinator import EXPIRY, Group, GroupCoordinator
from tidelog.broker.coordinator.group_records import OffsetCommitted, Record
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.delete_groups import DeletableGroupResult
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)

RETENTION_MS, CHECK_MS = 100_000, 10_000


def a_world() -> MixedWorld:
    settings = SettingsForTests(
        session_timeout_ms=SESSION_MS,
        offsets_retention_ms=RETENTION_MS,
        offsets_retention_check_interval_ms=CHECK_MS,
    )
    world = MixedWorld(TopicsForTests(a=2, b=1), settings)
    world.crash()  # a start, from which on old offsets are looked for
    return world


def commit(
    world: MixedWorld, topic: str = "a", *, member_id: str = "", generation: int = -1, group_id: str = GROUP
) -> int:
    """Commit offset 5 of partition 0; the code."""
    parts = (OffsetCommitRequestPartition(partition_index=0, committed_offset=5),)
    request = OffsetCommitRequest(
        group_id=group_id,
        member_id=member_id,
        generation_id_or_member_epoch=generation,
        topics=(OffsetCommitRequestTopic(name=topic, partitions=parts),),
    )
    answer = world.tell(lambda groups, waiter, at: groups.commit_offsets(request, waiter, at, version=9))
    if answer.refused is not None:
        return answer.refused.code
    assert isinstance(answer.response, OffsetCommitResponse)
    return answer.response.topics[0].partitions[0].error_code


def delete(world: MixedWorld) -> Answer:
    return world.tell(lambda groups, waiter, at: groups.delete_group(GROUP, waiter, at))


def committed(world: MixedWorld) -> dict[str, int]:
    """By topic, what there is of partition 0."""
    return {topic: offsets[0].offset for topic, offsets in world.coordinator.offsets.of(GROUP).items()}


def members(world: MixedWorld, protocol: str) -> list[Classic] | list[Consumer]:
    """One member of a settled group that reads topic a."""
    one = Classic(world, "c", ("a", "b")) if protocol == "classic" else Consumer(world, "m", ("a", "b"))
    settle(world, [one])
    return [one]  # type: ignore[return-value]


def replays_alike(world: MixedWorld) -> None:
    for log in (world.log, world.compacted()):
        replayed = world.replayed(log)
        assert remembered(replayed) == remembered(world.coordinator)
        assert replayed.offsets.of(GROUP) == world.coordinator.offsets.of(GROUP)
        assert set(replayed.groups) == set(world.coordinator.groups)


# -- simple groups --


def test_a_commit_makes_a_group_that_nobody_has_joined() -> None:
    world = a_world()
    assert commit(world) == 0
    assert world.classic.protocol_type is None
    [listed] = world.coordinator.list_groups()
    assert (listed.group_id, listed.protocol_type, listed.group_state, listed.group_type) == (
        GROUP,
        "",
        "Empty",
        "classic",
    )
    replays_alike(world)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_whoever_joins_a_simple_group_takes_its_offsets_over(protocol: str) -> None:
    world = a_world()
    commit(world)
    [one] = members(world, protocol)
    assert committed(world) == {"a": 5}
    assert world.group is not None
    assert world.group.type_name == protocol
    one.leave()
    assert committed(world) == {"a": 5}
    replays_alike(world)


def test_a_group_that_was_never_completed_is_forgotten() -> None:
    world = a_world()
    one = Classic(world, "c", ("a",))
    one.join()
    one.ask_again()  # it never hears of the generation
    world.pass_time(100 * SESSION_MS)
    assert not world.coordinator.groups
    replays_alike(world)


# -- deletion --


def test_a_group_with_members_is_not_deleted_and_one_without_goes_with_its_offsets() -> None:
    for protocol in ("classic", "consumer"):
        world = a_world()
        [one] = members(world, protocol)
        epoch = one.generation if isinstance(one, Classic) else one.epoch
        assert commit(world, member_id=one.member_id, generation=epoch) == 0
        refused = delete(world).refused
        assert refused is not None
        assert refused.code == ErrorCode.NON_EMPTY_GROUP
        one.leave()
        assert delete(world).response == DeletableGroupResult(group_id=GROUP)
        assert world.group is None
        assert committed(world) == {}
        replays_alike(world)
        refused = delete(world).refused
        assert refused is not None
        assert refused.code == ErrorCode.GROUP_ID_NOT_FOUND


def test_a_simple_group_is_deleted_by_its_offsets() -> None:
    world = a_world()
    commit(world)
    assert delete(world).refused is None
    assert world.group is None
    replays_alike(world)


def test_a_deletion_that_cannot_be_written_does_not_happen() -> None:
    world = a_world()
    commit(world)
    world.is_full = True
    refused = delete(world).refused
    assert refused is not None
    assert refused.code == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert committed(world) == {"a": 5}


# -- successors --


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_conversion_that_could_not_be_written_is_no_successor_of_a_group_that_is_deleted_later(protocol: str) -> None:
    world = a_world()
    [one] = members(world, protocol)
    one.leave()
    world.is_full = True
    if protocol == "consumer":
        Classic(world, "c", ("a",)).join()
    else:
        Consumer(world, "m", ("a",)).heartbeat()
    world.is_full = False
    assert delete(world).refused is None
    assert world.group is None
    replays_alike(world)


def test_a_conversion_that_could_not_be_written_is_no_successor_of_a_group_that_expires_later() -> None:
    world = a_world()
    [one] = members(world, "classic")
    one.leave()
    commit(world)
    world.is_full = True
    Consumer(world, "m", ("a",)).heartbeat()
    world.is_full = False
    world.pass_time(RETENTION_MS + 2 * CHECK_MS)
    assert world.group is None
    replays_alike(world)


def test_a_conversion_that_could_not_be_written_is_no_successor_of_a_group_that_expires_in_a_later_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_coordinator, "LOOKED_AT_MAX", 1)
    world = a_world()
    commit(world, group_id="before")
    [one] = members(world, "classic")
    one.leave()
    commit(world)
    world.now_ms += RETENTION_MS
    slices = world.coordinator.timer_due(EXPIRY, world.at)
    world.perform(next(slices))
    assert world.coordinator.groups.keys() == {GROUP}
    world.is_full = True
    Consumer(world, "m", ("a",)).heartbeat()
    world.is_full = False
    for decision in slices:
        world.perform(decision)
    assert not world.coordinator.groups


def test_one_groups_conversion_is_no_successor_of_another_group() -> None:
    world = a_world()
    [one] = members(world, "consumer")
    one.leave()
    world.is_full = True
    Classic(world, "c", ("a",)).join()
    world.is_full = False
    assert commit(world, group_id="another") == 0
    assert isinstance(world.coordinator.groups["another"], ClassicGroup)
    assert isinstance(world.group, ConsumerGroup)


# -- expiry --


def test_offsets_expire_when_nobody_has_cared_about_them_and_the_simple_group_with_them() -> None:
    world = a_world()
    commit(world)
    world.pass_time(RETENTION_MS - 2 * CHECK_MS)
    assert committed(world) == {"a": 5}
    world.pass_time(3 * CHECK_MS)
    assert committed(world) == {}
    assert world.group is None
    replays_alike(world)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_offsets_of_what_is_read_do_not_expire_as_long_as_there_are_members(protocol: str) -> None:
    world = a_world()
    [one] = members(world, protocol)
    epoch = one.generation if isinstance(one, Classic) else one.epoch
    assert commit(world, member_id=one.member_id, generation=epoch) == 0
    for _ in range(3 * RETENTION_MS // 5000):
        world.pass_time(5000)
        one.act()
    assert committed(world) == {"a": 5}
    one.leave()
    world.pass_time(RETENTION_MS + 2 * CHECK_MS)
    assert committed(world) == {}
    assert world.group is None
    replays_alike(world)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_old_offsets_of_a_group_count_from_when_its_last_member_left(protocol: str) -> None:
    """[G-12]: an application whose topics were quiet for long can be started anew."""
    world = a_world()
    commit(world)
    [one] = members(world, protocol)
    for _ in range(3 * RETENTION_MS // 5000):
        world.pass_time(5000)
        one.act()
    one.leave()
    world.pass_time(RETENTION_MS - CHECK_MS)
    assert committed(world) == {"a": 5}
    world.pass_time(3 * CHECK_MS)
    assert committed(world) == {}
    replays_alike(world)


def test_offsets_do_not_grow_old_because_the_wall_clock_is_set_forward() -> None:
    """A16: no more time has passed than a clock tells that is never set."""
    world = a_world()
    world.crash()  # a start
    commit(world)
    world.skew_ms = 100 * RETENTION_MS
    world.pass_time(RETENTION_MS - CHECK_MS)
    assert committed(world) == {"a": 5}
    commit(world, "b")
    world.skew_ms = 0
    world.pass_time(3 * CHECK_MS)
    assert committed(world) == {"b": 5}, "what is old goes all the same"


def test_a_clock_that_is_wrong_at_a_start_has_time_to_be_put_right() -> None:
    """A16: nobody looks for old offsets before the first interval is over."""
    world = a_world()
    commit(world)
    world.skew_ms = 100 * RETENTION_MS
    world.crash()
    world.pass_time(CHECK_MS - 1)
    world.skew_ms = 0
    world.pass_time(RETENTION_MS - 2 * CHECK_MS)
    assert committed(world) == {"a": 5}


def test_after_a_start_old_offsets_of_an_empty_group_count_from_there_as_no_record_says_more() -> None:
    world = a_world()
    commit(world)
    [one] = members(world, "consumer")
    one.leave()
    world.pass_time(RETENTION_MS - 2 * CHECK_MS)
    world.crash()
    world.pass_time(RETENTION_MS - CHECK_MS)
    assert committed(world) == {"a": 5}
    world.pass_time(3 * CHECK_MS)
    assert committed(world) == {}


def test_a_group_that_changes_its_protocol_is_empty_since_its_last_member_left() -> None:
    world = a_world()
    commit(world)
    [one] = members(world, "consumer")
    for _ in range(2 * RETENTION_MS // 5000):
        world.pass_time(5000)
        one.act()
    one.leave()
    left = world.at.wall_ms
    protocols = (JoinGroupRequestProtocol(name="range", metadata=b""),)
    join = JoinGroupRequest(
        group_id=GROUP, session_timeout_ms=SESSION_MS, protocol_type="consumer", protocols=protocols
    )
    caller = Caller("c", "/127.0.0.1", 9)
    world.tell(lambda groups, waiter, at: groups.join_group(join, caller, waiter, at))  # and is never heard of again
    assert world.classic.empty_since_ms == left
    world.pass_time(RETENTION_MS - CHECK_MS)
    assert committed(world) == {"a": 5}
    world.pass_time(3 * CHECK_MS)
    assert committed(world) == {}
    assert world.group is None


def test_a_slice_of_the_look_for_old_offsets_is_bounded_by_how_many_it_looks_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_coordinator, "LOOKED_AT_MAX", 6)
    world = a_world()
    for number in range(5):
        commit(world, "a", group_id=f"g{number}")
        commit(world, "b", group_id=f"g{number}")
    decisions = list(world.coordinator.timer_due(EXPIRY, world.at))
    assert len(decisions) == 3  # two groups with two offsets each, twice, and one
    assert [timer.key for decision in decisions for timer in decision.timers] == [EXPIRY]


def test_a_group_that_breaks_does_not_end_the_look_for_old_offsets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = a_world()
    for group_id in ("bad", "worse", "good"):
        commit(world, group_id=group_id)
    real = GroupCoordinator._expired  # noqa: SLF001

    def expired(self: GroupCoordinator, group: Group, at: Instant) -> Sequence[Record]:
        assert group.group_id == "good", "broken"
        return real(self, group, at)

    monkeypatch.setattr(GroupCoordinator, "_expired", expired)
    caplog.set_level(logging.ERROR)
    world.now_ms += RETENTION_MS
    for decision in world.coordinator.timer_due(EXPIRY, world.at):
        world.perform(decision)
    assert world.coordinator.groups.keys() == {"bad", "worse"}
    assert world.timers[EXPIRY] == world.now_ms + CHECK_MS
    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [
        ("old offsets not looked for group=bad", True),
        ("old offsets not looked for groups=2", False),
    ]


def test_an_expiry_that_cannot_be_written_is_tried_again() -> None:
    world = a_world()
    commit(world)
    world.is_full = True
    world.pass_time(RETENTION_MS + 5 * CHECK_MS)
    assert committed(world) == {"a": 5}
    world.is_full = False
    world.pass_time(CHECK_MS)
    assert committed(world) == {}


def test_old_offsets_are_looked_for_again_and_again() -> None:
    world = a_world()
    for _ in range(5):
        assert TimerKey("", EXPIRY.kind) in world.timers
        world.pass_time(CHECK_MS)


# -- topics --


def change(world: MixedWorld, name: str, *, is_deleted: bool) -> None:
    for decision in world.coordinator.topic_changed(name, is_deleted=is_deleted):
        world.perform(decision)


def test_the_offsets_of_a_topic_go_with_it_and_the_others_stay() -> None:
    world = a_world()
    commit(world, "a")
    commit(world, "b")
    world.topics.delete("a")
    change(world, "a", is_deleted=True)
    assert committed(world) == {"b": 5}
    replays_alike(world)


def test_offsets_of_a_topic_that_went_while_nobody_could_write_it_go_at_the_next_start() -> None:
    world = a_world()
    commit(world, "a")
    world.is_full = True
    world.topics.delete("a")
    change(world, "a", is_deleted=True)
    world.topics.create("a", 2)
    change(world, "a", is_deleted=False)
    world.is_full = False
    assert committed(world) == {"a": 5}
    world.crash()
    assert committed(world) == {}
    world.pass_time(CHECK_MS)
    assert world.group is None
    replays_alike(world)


def test_tombstones_of_many_offsets_are_written_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_coordinator, "RECORDS_MAX", 2)
    world = a_world()
    for number in range(5):
        commit(world, group_id=f"g{number}")
    decisions = list(world.coordinator.topic_changed("a", is_deleted=True))
    assert [len(decision.records) for decision in decisions] == [2, 2, 1]


# -- writes --


def test_a_commit_that_cannot_be_written_has_not_happened() -> None:
    world = a_world()
    world.is_full = True
    assert commit(world) == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert world.group is None
    assert not any(isinstance(record, OffsetCommitted) for record in world.log)


def test_there_is_a_limit_to_how_many_groups_strangers_can_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_coordinator, "GROUPS_MAX", 2)
    world = a_world()
    assert commit(world, group_id="one") == 0
    assert commit(world, group_id="two") == 0
    assert commit(world, group_id="three") == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert commit(world, group_id="one") == 0
