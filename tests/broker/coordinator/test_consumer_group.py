"""Consumer groups, as the broker runs them (KIP-848) [C-1 … C-9]."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from support.consumer_world import (
    GROUP,
    REBALANCE_TIMEOUT_MS,
    MemberForTests,
    TopicsForTests,
    World,
    gathered,
    settle,
    snapshot,
    spread,
)
from tidelog.broker.coordinator.consumer_group import MOVED_MAX
from tidelog.broker.coordinator.group_record_bytes import encode
from tidelog.broker.coordinator.rebalances import Reason
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)


def a_world(**topics: int) -> World:
    return World(TopicsForTests(**topics))


def a_member(world: World, member_id: str, *names: str, regex: str = "", instance: str | None = None) -> MemberForTests:
    return MemberForTests(world, member_id, names, regex, instance)


def refusal(ask: Callable[[], object]) -> ErrorCode:
    with pytest.raises(RequestRefused) as refused:
        ask()
    return refused.value.code


# -- since when it is empty [G-12] --


def test_it_is_empty_since_its_last_member_left_or_the_start() -> None:
    world = a_world(a=1)
    first, second, third = (a_member(world, f"m{number}", "a") for number in range(3))
    seen = []
    settle([first, second])
    began = world.at.wall_ms
    for member in (first, second):
        world.now_ms += 1000
        world.ask(member.request(epoch=-1))
        seen.append(world.group.empty_since_ms)
    world.now_ms += 1000
    world.group.loaded(world.at)
    seen.append(world.group.empty_since_ms)
    settle([third])
    seen.append(world.group.empty_since_ms)
    world.group.loaded(world.at)
    seen.append(world.group.empty_since_ms)
    assert seen == [None, began + 2000, began + 3000, None, None]


# -- joining and the epochs [C-1] [C-2] [C-4] --


def test_the_first_member_gets_everything_at_once() -> None:
    world = a_world(a=3, b=2, other=1)
    member = a_member(world, "m", "a", "b", "missing")
    response = world.ask(member.request())
    assert (response.member_id, response.member_epoch, response.heartbeat_interval_ms) == ("m", 1, 5000)
    assert response.assignment is not None
    assert len(spread(response.assignment.topic_partitions)) == 5
    assert world.group.state == "Stable"


def test_a_member_without_an_id_is_given_one() -> None:
    world = a_world(a=1)
    response = world.ask(a_member(world, "", "a").request())
    assert response.member_id == "generated-1"
    assert list(world.group.roster.members) == ["generated-1"]


def test_a_heartbeat_that_changes_nothing_writes_nothing_and_tells_no_assignment() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a")
    settle([member])
    written = len(world.log)
    response = world.ask(ConsumerGroupHeartbeatRequest(group_id=GROUP, member_id="m", member_epoch=1))
    assert (response.member_epoch, response.assignment) == (1, None)
    assert len(world.log) == written


def test_a_full_request_is_told_the_assignment_again_and_writes_nothing() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a")
    settle([member])
    written = len(world.log)
    member.full = True
    response = world.ask(member.request())
    assert response.assignment is not None
    assert spread(response.assignment.topic_partitions) == member.owned
    assert len(world.log) == written


def test_an_epoch_that_is_too_great_is_fenced() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a")
    settle([member])
    assert refusal(lambda: world.ask(member.request(epoch=2))) is ErrorCode.FENCED_MEMBER_EPOCH


def test_the_epoch_before_is_accepted_of_whom_the_answer_may_not_have_reached() -> None:
    world = a_world(a=4)
    first, second = a_member(world, "m1", "a"), a_member(world, "m2", "a")
    settle([first])
    second.heartbeat()
    first.heartbeat()
    first.obey()
    assert first.heartbeat(lost=True) is ErrorCode.NONE
    assert (first.epoch, world.group.roster.members["m1"].epoch) == (1, 2)
    everything = {(topic, number) for topic, _ in first.owned for number in range(4)}
    assert refusal(lambda: world.ask(replace(first.request(), topic_partitions=gathered(everything)))) is (
        ErrorCode.FENCED_MEMBER_EPOCH
    )
    assert refusal(lambda: world.ask(replace(first.request(), topic_partitions=None))) is ErrorCode.FENCED_MEMBER_EPOCH
    assert first.heartbeat() is ErrorCode.NONE
    assert first.epoch == 2


def test_who_joins_anew_under_its_id_is_taken_in_again_with_what_it_had() -> None:
    world = a_world(a=2)
    member = a_member(world, "m", "a")
    settle([member])
    had = set(member.owned)
    member.forget()
    assert member.heartbeat() is ErrorCode.NONE
    assert (member.told, member.epoch) == (had, 1)


def test_unknown_members_are_refused() -> None:
    world = a_world(a=1)
    settle([a_member(world, "m", "a")])
    for epoch in (1, -1):
        request = ConsumerGroupHeartbeatRequest(group_id=GROUP, member_id="who", member_epoch=epoch)
        assert refusal(lambda: world.ask(request)) is ErrorCode.UNKNOWN_MEMBER_ID  # noqa: B023


def test_a_full_group_takes_nobody_else() -> None:
    world = a_world(a=1)
    world.settings.consumer_max_size = 1
    member = a_member(world, "m", "a", instance="i")
    settle([member])
    assert a_member(world, "m2", "a").heartbeat() is ErrorCode.GROUP_MAX_SIZE_REACHED
    member.leave(-2)
    assert a_member(world, "m3", "a", instance="i").heartbeat() is ErrorCode.NONE


def test_what_cannot_be_written_changes_nothing() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a", regex="b.*")
    assert member.heartbeat(writable=False) is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert snapshot(world.group) == snapshot(World(world.topics).group)
    assert member.heartbeat() is ErrorCode.NONE


# -- from one member to another [C-3] --


def test_a_partition_is_given_away_only_after_its_owner_has_let_go() -> None:
    world = a_world(a=2)
    first, second = a_member(world, "m1", "a"), a_member(world, "m2", "a")
    settle([first])
    second.heartbeat()
    assert (second.epoch, second.told) == (2, set())
    first.heartbeat()
    assert (first.epoch, len(first.told), len(first.owned)) == (1, 1, 2), "it stays at its epoch until it has revoked"
    first.heartbeat()
    second.heartbeat()
    assert second.told == set(), "to say nothing is not to confirm"
    first.obey()
    second.heartbeat()
    assert second.told == set()
    first.heartbeat()
    assert first.epoch == 2
    second.heartbeat()
    assert len(second.told) == 1
    assert world.group.state == "Stable"


def test_who_does_not_let_go_within_its_rebalance_timeout_is_removed() -> None:
    world = a_world(a=2)
    first, second = a_member(world, "m1", "a"), a_member(world, "m2", "a")
    settle([first])
    second.heartbeat()
    for _ in range(2):
        first.heartbeat()
        world.pass_time(REBALANCE_TIMEOUT_MS // 2)
    assert list(world.group.roster.members) == ["m2"]
    second.heartbeat()
    assert len(second.told) == 2
    assert first.heartbeat() is ErrorCode.UNKNOWN_MEMBER_ID
    assert world.group.rebalances.begun[Reason.REVOCATION_OVERDUE] == 1


@pytest.mark.parametrize("timeout_ms", [0, -2])
def test_who_names_no_time_to_let_go_is_removed_at_once(timeout_ms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.consumer_world.REBALANCE_TIMEOUT_MS", timeout_ms)
    world = a_world(a=2)
    first, second = a_member(world, "m1", "a"), a_member(world, "m2", "a")
    settle([first])
    second.heartbeat()
    first.heartbeat()
    world.pass_time(0)
    assert list(world.group.roster.members) == ["m2"]


def test_a_crash_gives_anew_the_time_to_let_go() -> None:
    world = a_world(a=2)
    first, second = a_member(world, "m1", "a"), a_member(world, "m2", "a")
    settle([first])
    second.heartbeat()
    first.heartbeat()
    world.pass_time(REBALANCE_TIMEOUT_MS - 1)
    world.crash()
    world.pass_time(REBALANCE_TIMEOUT_MS - 1)
    assert "m1" in world.group.roster.members
    world.pass_time(1)
    assert "m1" not in world.group.roster.members


# -- sessions [C-4] --


def test_who_is_silent_for_its_session_is_removed_and_who_is_not_stays() -> None:
    world = a_world(a=2)
    silent, loud = a_member(world, "silent", "a"), a_member(world, "loud", "a")
    settle([silent, loud])
    for _ in range(5):
        world.pass_time(10_000)
        loud.heartbeat()
    assert list(world.group.roster.members) == ["loud"]
    settle([loud])
    assert len(loud.owned) == 2


def test_a_heartbeat_moves_the_end_of_a_session_without_a_timer_of_its_own() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a")
    settle([member])
    world.pass_time(44_999)
    member.heartbeat()
    timers = dict(world.timers)
    world.pass_time(1)
    assert list(world.group.roster.members) == ["m"]
    assert set(world.timers) == set(timers)
    world.pass_time(44_998)
    assert list(world.group.roster.members) == ["m"]
    world.pass_time(1)
    assert world.group.is_empty


def test_the_groups_own_settings_are_heeded() -> None:
    world = a_world(a=1)
    world.settings.session_timeouts_ms = {GROUP: 7000}
    world.settings.heartbeat_intervals_ms = {GROUP: 700}
    member = a_member(world, "m", "a")
    assert world.ask(member.request()).heartbeat_interval_ms == 700
    member.epoch = 1
    steady = ConsumerGroupHeartbeatRequest(group_id=GROUP, member_id="m", member_epoch=1)
    assert world.ask(steady).heartbeat_interval_ms == 700
    world.settings.heartbeat_intervals_ms = {GROUP: 900}
    assert world.ask(steady).heartbeat_interval_ms == 900
    world.pass_time(7000)
    assert world.group.is_empty


def test_sessions_begin_anew_after_a_crash() -> None:
    world = a_world(a=1)
    settle([a_member(world, "m", "a")])
    world.pass_time(44_000)
    world.crash()
    world.pass_time(44_000)
    assert not world.group.is_empty
    world.pass_time(1000)
    assert world.group.is_empty


# -- static members [C-6] --


def test_an_instance_id_that_is_in_use_is_not_released() -> None:
    world = a_world(a=2)
    member = a_member(world, "m1", "a", instance="i")
    settle([member])
    other = a_member(world, "m2", "a", instance="i")
    assert other.heartbeat() is ErrorCode.UNRELEASED_INSTANCE_ID
    other.epoch = 1
    assert other.heartbeat() is ErrorCode.FENCED_INSTANCE_ID
    assert a_member(world, "m1", "a", instance="i").heartbeat() is ErrorCode.NONE, "itself may join anew"
    request = ConsumerGroupHeartbeatRequest(group_id=GROUP, member_id="m", member_epoch=1, instance_id="nobody's")
    assert refusal(lambda: world.ask(request)) is ErrorCode.UNKNOWN_MEMBER_ID


def test_a_static_member_that_comes_back_inherits_and_nobody_rebalances() -> None:
    world = a_world(a=4)
    static, other = a_member(world, "m1", "a", instance="i"), a_member(world, "m2", "a")
    settle([static, other])
    had, epoch = set(static.owned), world.group.roster.epoch
    static.leave(-2)
    assert world.group.roster.members["m1"].epoch == -2
    settle_other = other.heartbeat()
    assert settle_other is ErrorCode.NONE
    heir = a_member(world, "m3", "a", instance="i")
    heir.heartbeat()
    assert (heir.told, heir.epoch) == (had, epoch)
    assert world.group.roster.epoch == epoch
    assert set(world.group.roster.members) == {"m2", "m3"}
    assert world.group.roster.static == {"i": "m3"}
    assert world.group.state == "Stable"


def test_a_static_member_that_does_not_come_back_is_removed_after_its_session() -> None:
    world = a_world(a=4)
    static = a_member(world, "m1", "a", instance="i")
    settle([static])
    static.leave(-2)
    world.pass_time(44_000)
    assert not world.group.is_empty
    world.pass_time(1000)
    assert world.group.is_empty


def test_what_a_static_member_was_to_give_up_is_free_when_it_leaves() -> None:
    world = a_world(a=2)
    static, other = a_member(world, "m1", "a", instance="i"), a_member(world, "m2", "a")
    settle([static])
    other.heartbeat()
    static.heartbeat()
    static.leave(-2)
    other.heartbeat()
    assert len(other.told) == 1
    world.pass_time(REBALANCE_TIMEOUT_MS + 1)
    assert "m1" in world.group.roster.members, "there is nothing more that it could give up"


# -- those who go --


def test_who_leaves_is_forgotten_and_the_others_are_assigned_anew_by_their_heartbeat() -> None:
    world = a_world(a=2)
    first, second = a_member(world, "m1", "a"), a_member(world, "m2", "a")
    settle([first, second])
    request = first.request(epoch=-1)
    assert world.ask(request) == ConsumerGroupHeartbeatResponse(member_id="m1", member_epoch=-1)
    assert world.group.state == "Assigning"
    settle([second])
    assert len(second.owned) == 2


def test_the_last_one_leaves_an_empty_group_behind() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a", regex="b.*")
    settle([member])
    member.leave()
    assert world.group.state == "Empty"
    roster = world.group.roster
    assert (roster.targets, roster.owners, roster.subscriptions, roster.regexes, roster.static) == ({}, {}, {}, {}, {})


def test_tombstones_take_everything_back() -> None:
    world = a_world(a=2, b=1)
    settle([a_member(world, "m1", "a", regex="b.*"), a_member(world, "m2", "a", instance="i")])
    empty = snapshot(World(world.topics).group)
    for record in world.group.tombstones():
        world.log.append(record)
    assert snapshot(world.replayed(world.log)) == empty
    last = {encode(record)[0]: encode(record)[1] for record in world.log}
    assert set(last.values()) == {None}, "no record is left after compaction"


# -- topics and patterns --


def test_topics_that_come_grow_and_go_are_heeded_at_the_next_heartbeat() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a", "b")
    settle([member])
    topic = world.topics.create("b", 2)
    world.group.topics_changed(["b"])
    assert world.group.state == "Stable"
    settle([member])
    assert len(member.owned) == 3
    world.topics.grow("b", 4)
    world.group.topics_changed(["b"])
    settle([member])
    assert len(member.owned) == 5
    world.topics.delete("b")
    world.group.topics_changed(["b"])
    member.heartbeat()
    assert not any(one == topic for one, _ in member.told)
    settle([member])
    assert world.group.rebalances.begun[Reason.TOPICS_CHANGED] == 3


def test_topics_that_nobody_reads_do_not_matter() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a", regex="a.*")
    settle([member])
    written = len(world.log)
    world.topics.create("other", 1)
    world.group.topics_changed(["other"])
    member.heartbeat()
    assert len(world.log) == written
    world.group.topics_changed([f"many-{number}" for number in range(MOVED_MAX + 1)])
    member.heartbeat()
    assert len(world.log) == written


def test_a_pattern_and_names_are_read_together() -> None:
    world = a_world(a=1, **{"log-1": 1, "xlog-1": 1})
    member = a_member(world, "m", "a", regex="log-.*")
    settle([member])
    names = {world.topics.name_of(topic) for topic, _ in member.owned}
    assert names == {"a", "log-1"}
    assert world.group.subscribed_to("log-1")
    assert not world.group.subscribed_to("xlog-1")
    world.topics.create("log-2", 1)
    world.group.topics_changed(["log-2"])
    settle([member])
    assert {world.topics.name_of(topic) for topic, _ in member.owned} == {"a", "log-1", "log-2"}
    world.topics.delete("log-1")
    world.group.topics_changed(["log-1"])
    settle([member])
    assert {world.topics.name_of(topic) for topic, _ in member.owned} == {"a", "log-2"}


def test_a_bad_pattern_is_refused_and_changes_nothing() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a", regex="(a")
    assert member.heartbeat() is ErrorCode.INVALID_REGULAR_EXPRESSION
    assert world.log == []


def test_topics_that_changed_while_the_broker_was_away_are_heeded_after_its_start() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a", regex="log-.*")
    settle([member])
    world.topics.grow("a", 2)
    world.topics.create("log-1", 1)
    world.crash()
    settle([member])
    assert len(member.owned) == 3


def test_what_is_no_longer_subscribed_to_is_given_up_even_while_other_things_are() -> None:
    world = a_world(a=2, b=2)
    first, second = a_member(world, "m1", "a", "b"), a_member(world, "m2", "a", "b")
    settle([first])
    second.heartbeat()
    first.heartbeat()
    assert len(first.told) == 2
    first.names, first.full = ("a",), True
    first.heartbeat()
    assert {world.topics.name_of(topic) for topic, _ in first.told} <= {"a"}


# -- what others ask [C-7] [C-9] --


def test_commits_want_the_members_own_epoch() -> None:
    world = a_world(a=1)
    group = world.group
    group.check_commit("", -1)
    member = a_member(world, "m", "a")
    settle([member])
    group.check_commit("m", 1)
    assert refusal(lambda: group.check_commit("m", 0)) is ErrorCode.STALE_MEMBER_EPOCH
    assert refusal(lambda: group.check_commit("", -1)) is ErrorCode.UNKNOWN_MEMBER_ID
    assert refusal(lambda: group.check_commit("m", 1, version=8)) is ErrorCode.UNSUPPORTED_VERSION
    group.check_fetch(None, -1)
    group.check_fetch("m", 1)
    assert refusal(lambda: group.check_fetch("m", 2)) is ErrorCode.STALE_MEMBER_EPOCH
    assert refusal(lambda: group.check_fetch("who", 1)) is ErrorCode.UNKNOWN_MEMBER_ID


def test_the_group_is_described() -> None:
    world = a_world(a=1)
    member = a_member(world, "m", "a", instance="i")
    member.assignor = "range"
    settle([member])
    described = world.group.describe()
    assert (described.group_id, described.group_state, described.group_epoch) == (GROUP, "Stable", 1)
    assert (described.assignment_epoch, described.assignor_name) == (1, "range")
    [one] = described.members
    assert (one.member_id, one.instance_id, one.member_epoch, one.member_type) == ("m", "i", 1, 1)
    [part] = one.assignment.topic_partitions
    assert (part.topic_name, part.partitions) == ("a", (0,))
    assert one.assignment == one.target_assignment


def test_how_long_rebalances_take_is_measured_until_everybody_has_arrived() -> None:
    world = a_world(a=2)
    first, second = a_member(world, "m1", "a"), a_member(world, "m2", "a")
    settle([first])
    second.heartbeat()
    world.pass_time(1000)
    first.heartbeat()
    first.obey()
    world.pass_time(1000)
    first.heartbeat()
    world.pass_time(500)
    second.heartbeat()
    figures = world.group.rebalances
    assert (figures.completed, figures.duration_ms_last) == (2, 2500)
    assert figures.begun == {Reason.MEMBER_JOINED: 2}
    world.crash()
    assert world.group.rebalances.begun == {}


def test_a_stranger_s_words_are_shown_in_the_log_so_that_they_cannot_be_taken_for_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(TopicsForTests(a=2))
    member = MemberForTests(world, "m\n2026 ERROR forged", ("a",))
    with caplog.at_level("INFO"):
        member.heartbeat()
        member.leave()
    assert any("forged" in record.getMessage() for record in caplog.records)
    assert all("\n" not in record.getMessage() for record in caplog.records)
