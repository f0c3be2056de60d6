"""A classic group in adversity: crashes, full disks, lost answers, strangers; what others see of it [G-13, G-15]."""

from support.classic_groups import World
from support.group_settings import SettingsForTests
from tidelog.broker.coordinator.classic_state import (
    GROUP_BYTES_MAX,
    GROUP_RECORD_BYTES_MAX,
    MEMBER_BYTES_MAX,
    PENDING_MAX,
    ClassicState,
)
from tidelog.broker.coordinator.decision import TimerKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.join_group import JoinGroupResponse
from tidelog.protocol.primitives import write_int16, write_int32, write_string

STICKY = (("cooperative-sticky", b"s"), ("range", b"r"))


# -- what is remembered [G-13] --


def test_members_go_on_after_a_start_as_if_nothing_had_been() -> None:
    """[G-13]"""
    world = World()
    ids = world.stable(3)
    before = world.group.describe()
    world.advance(9999)
    world.restart()
    assert world.group.describe() == before
    world.advance(9999)
    assert [world.beat(member_id) for member_id in ids] == [0, 0, 0]
    assert [world.sync(member_id).sync.assignment for member_id in ids] == [f"part of c-{n}".encode() for n in range(3)]
    assert [world.refusal(member_id, None, 1) for member_id in ids] == [ErrorCode.NONE] * 3
    world.advance(10_000)
    assert (world.state, len(world.group.members)) == ("Empty", 0)


def test_a_join_under_way_is_not_remembered_and_its_members_join_anew() -> None:
    """[G-13]"""
    world = World()
    (one,) = world.stable(1)
    new = world.enter()
    world.join(one)
    world.restart()
    assert world.beat(one, generation=2) == ErrorCode.ILLEGAL_GENERATION
    assert world.join(new.join.member_id).code == ErrorCode.UNKNOWN_MEMBER_ID
    assert world.join(one).join.generation_id == 2


def test_a_group_is_empty_only_when_that_is_written() -> None:
    world = World()
    (one,) = world.stable(1)
    waiting = world.join(one)
    assert waiting.is_there
    world.is_full = True
    refused = world.leave(one)
    assert refused.refused is not None
    assert (world.state, len(world.group.members), world.beat(one)) == ("CompletingRebalance", 1, 0)
    world.advance(10_000)
    assert (world.state, len(world.group.members)) == ("CompletingRebalance", 1)
    world.is_full = False
    world.advance(1000)
    assert (world.state, world.group.generation) == ("Empty", 3)


def test_an_assignment_that_cannot_be_written_changes_nothing() -> None:
    world = World()
    ids = [world.join().join.member_id for _ in range(2)]
    for member_id in ids:
        world.join(member_id)
    world.advance(0)
    waiting = world.sync(ids[1])
    world.is_full = True
    assert world.sync(ids[0], [(ids[1], b"x")]).refused is not None
    assert (world.state, waiting.is_there) == ("CompletingRebalance", False)
    world.is_full = False
    assert world.sync(ids[0], [(ids[1], b"y")]).code == 0
    assert waiting.sync.assignment == b"y"


def test_a_static_member_that_cannot_be_written_changes_nothing() -> None:
    world = World()
    _, old = world.static()
    world.is_full = True
    assert world.join(instance="i1").refused is not None
    assert world.beat(old, instance="i1") == 0
    world.is_full = False
    assert world.join(instance="i1").code == 0
    assert world.beat(old, instance="i1") == ErrorCode.FENCED_INSTANCE_ID


def test_what_was_planned_and_not_written_does_not_happen_later() -> None:
    world = World()
    one, two = world.stable(2)
    pending = world.join().join.member_id
    world.is_full = True
    world.leave(one, two, pending)
    world.is_full = False
    world.perform(world.group.loaded(world.at))
    assert [world.beat(one), world.beat(two)] == [0, 0]
    assert not world.join(pending).is_there


def test_a_group_is_unused_until_somebody_comes_or_a_record_speaks_of_it() -> None:
    world = World()
    seen = [(world.group.is_unused, world.group.protocol_type is None)]
    member_id = world.join().join.member_id
    seen.append((world.group.is_unused, world.group.protocol_type is None))
    world.leave(member_id)
    seen.append((world.group.is_unused, world.group.protocol_type is None))
    world.stable(1)
    seen.append((world.group.is_unused, world.group.protocol_type is None))
    assert seen == [(True, True), (False, True), (True, True), (False, False)]


def test_a_deleted_group_is_dead() -> None:
    world = World()
    (one,) = world.stable(1)
    world.leave(one)
    world.log.append(world.group.tombstone())
    world.group.apply(world.log[-1])
    assert world.group.state is ClassicState.DEAD
    assert world.join().code == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert world.refusal("", None, -1) is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert world.group.is_unused


def test_nobody_is_left_waiting_when_the_group_moves_away() -> None:
    world = World()
    one, two = world.stable(2)
    waiting = world.join(one)
    world.perform(world.group.resign(ErrorCode.NOT_COORDINATOR))
    assert waiting.code == ErrorCode.NOT_COORDINATOR
    world.restart()
    world.join(one)
    world.join(two)
    waiting = world.sync(two)
    world.perform(world.group.resign(ErrorCode.NOT_COORDINATOR))
    assert waiting.code == ErrorCode.NOT_COORDINATOR


# -- who asks again before it was answered --


def test_who_joins_again_before_it_was_answered_waits_once() -> None:
    world = World()
    one, two = world.stable(2)
    first = world.join(one)
    second = world.join(one)
    assert (first.code, first.join.member_id) == (ErrorCode.REBALANCE_IN_PROGRESS, one)
    world.join(two)
    assert second.join.generation_id == 2


def test_who_syncs_again_before_it_was_answered_waits_once() -> None:
    world = World()
    ids = [world.join().join.member_id for _ in range(2)]
    for member_id in ids:
        world.join(member_id)
    world.advance(0)
    first, second = world.sync(ids[1]), world.sync(ids[1])
    assert first.code == ErrorCode.REBALANCE_IN_PROGRESS
    world.sync(ids[0], [(ids[1], b"x")])
    assert second.sync.assignment == b"x"


def test_chained_groups_that_rebalance_at_once_do_not_lose_a_live_member() -> None:
    """[G-15] Each group's members join, sync and commit while those of the next are in the middle of the same."""
    worlds = [World() for _ in range(3)]
    members = [world.stable(3) for world in worlds]
    seen: set[int] = set()
    for turn in range(20):
        newcomers = [world.enter() for world in worlds]
        for step in range(3):
            for world, ids in zip(worlds, members, strict=True):
                member_id = ids[(turn + step) % 3]
                seen |= {world.beat(member_id), world.refusal(member_id, None, world.group.generation)}
                world.join(member_id)
        for world, ids, new in zip(worlds, members, newcomers, strict=True):
            assert world.state == "CompletingRebalance"
            assert new.code == 0
            seen |= {world.sync(member_id).code for member_id in reversed(ids) if member_id == world.group.leader}
            seen |= {world.sync(member_id).code for member_id in ids} | {world.leave(new.join.member_id).code}
        for world, ids in zip(worlds, members, strict=True):
            answers = [world.join(member_id) for member_id in ids]
            seen |= {answer.code for answer in answers}
            seen |= {world.sync(member_id).code for member_id in ids}
            assert world.state == "Stable"
        for world in worlds:
            world.advance(2000)
    assert seen == {0, ErrorCode.REBALANCE_IN_PROGRESS}


def test_a_frozen_member_that_comes_back_is_told_so_and_begins_anew() -> None:
    world = World()
    one, two = world.stable(2)
    for _ in range(5):
        world.advance(4000)
        world.beat(one)
        if world.state == "PreparingRebalance":
            world.join(one)
            world.sync(one)
    assert world.state == "Stable"
    assert world.beat(two, generation=1) == ErrorCode.UNKNOWN_MEMBER_ID
    assert world.refusal(two, None, 1) is ErrorCode.UNKNOWN_MEMBER_ID
    assert world.sync(two, generation=1).code == ErrorCode.UNKNOWN_MEMBER_ID
    new = world.enter()
    world.join(one)
    assert new.join.generation_id == 3


# -- strangers --


def test_a_member_cannot_say_too_much_of_itself() -> None:
    world = World()
    huge = (("range", bytes(MEMBER_BYTES_MAX)),)
    assert world.join(protocols=huge).code == ErrorCode.MESSAGE_TOO_LARGE
    many = tuple((str(n), b"") for n in range(MEMBER_BYTES_MAX // 100))
    assert world.join(protocols=many).code == ErrorCode.MESSAGE_TOO_LARGE
    assert world.group.is_unused


def test_members_cannot_say_too_much_of_themselves_together() -> None:
    world = World()
    large = (("range", bytes(MEMBER_BYTES_MAX - 200)),)
    answers = [world.join(version=3, protocols=large) for _ in range(GROUP_BYTES_MAX // MEMBER_BYTES_MAX + 1)]
    assert answers[-1].code == ErrorCode.GROUP_MAX_SIZE_REACHED
    world.advance(0)
    assert [answer.code for answer in answers[:-1]] == [0] * (len(answers) - 1)
    member_id = answers[0].join.member_id
    world.join(member_id)
    assert world.group.members.bytes_used < GROUP_BYTES_MAX - MEMBER_BYTES_MAX + 1000


def test_an_assignment_that_no_record_can_say_is_refused_to_all() -> None:
    """No client asks again for what is too large, so nobody tries for ever."""
    world = World()
    ids = world.stable(2)
    count = len(world.log)
    for member_id in ids:
        world.join(member_id, protocols=(("range", b"new"),))
    leader = world.group.leader
    [follower] = [member_id for member_id in ids if member_id != leader]
    assert leader is not None
    waits = world.sync(follower)
    assert world.sync(leader, [(leader, bytes(GROUP_RECORD_BYTES_MAX))]).code == ErrorCode.MESSAGE_TOO_LARGE
    assert waits.code == ErrorCode.MESSAGE_TOO_LARGE
    assert (world.state, len(world.log)) == ("PreparingRebalance", count)
    assert world.beat(follower) == ErrorCode.REBALANCE_IN_PROGRESS
    for member_id in ids:
        world.join(member_id, protocols=(("range", b"new"),))
    assert world.sync(leader, [(leader, b"less")]).code == 0
    assert world.state == "Stable"


def test_segments_bound_the_record_too() -> None:
    world = World(settings=SettingsForTests(offsets_topic_segment_bytes=1 << 20))
    answer = world.join(version=3)
    world.advance(0)
    member_id = answer.join.member_id
    assert world.sync(member_id, [(member_id, bytes(1 << 20))]).code == ErrorCode.MESSAGE_TOO_LARGE


def test_a_protocol_that_is_named_twice_counts_once() -> None:
    world = World()
    answer = world.join(version=3, protocols=(("range", b"1"), ("range", b"2"), ("x", b"3")))
    world.join(version=3, protocols=(("range", b"4"),))
    world.advance(0)
    assert (answer.join.protocol_name, answer.join.members[0].metadata) == ("range", b"1")


def test_ids_that_are_given_out_and_never_used_are_few() -> None:
    world = World()
    ids = [world.join(session_ms=1_800_000).join.member_id for _ in range(PENDING_MAX + 1)]
    assert len(world.timers) == 1
    assert world.join(ids[0]).code == ErrorCode.UNKNOWN_MEMBER_ID
    answer = world.join(ids[1])
    world.advance(0)
    assert answer.code == 0


def test_an_id_has_room_in_every_version_of_the_protocol() -> None:
    world = World()
    long = "ä" * 32_000
    assert len(world.join(client=long).join.member_id) < 300
    static = world.join(instance=long)
    world.advance(0)
    assert len(static.join.member_id) < 300


def test_a_timer_that_has_lost_its_meaning_decides_nothing() -> None:
    world = World()
    world.stable(1)
    for kind in ("session", "join", "sync", "pending"):
        decision = world.group.timer_due(TimerKey("g", kind, "nobody"), world.at)
        assert (decision.records, decision.replies) == ((), [])


def test_a_join_with_no_time_at_all_ends_at_once_with_those_who_are_there() -> None:
    world = World()
    (one,) = world.stable(1)
    world.leave(one)
    answers = [world.join(version=3, rebalance_ms=0) for _ in range(2)]
    world.advance(0)
    assert [answer.code for answer in answers] == [0, 0]
    assert world.state == "Empty"
    world.join(version=3, rebalance_ms=-1)
    assert world.group.members.rebalance_timeout_ms == 10_000


# -- what others see --


def test_a_description_shows_protocol_and_metadata_of_a_stable_group_only() -> None:
    world = World()
    one, two = world.stable(2)
    shown = world.group.describe()
    assert (shown.group_state, shown.protocol_type, shown.protocol_data) == ("Stable", "consumer", "range")
    assert [(m.member_id, m.member_metadata, m.member_assignment) for m in shown.members] == [
        (one, b"a", b"part of c-0"),
        (two, b"a", b"part of c-1"),
    ]
    assert {(m.client_id, m.client_host) for m in shown.members} == {("c", "/127.0.0.1")}
    world.join(one)
    shown = world.group.describe()
    assert (shown.group_state, shown.protocol_data, shown.members[0].member_metadata) == ("PreparingRebalance", "", b"")


def subscription(*topics: str) -> bytes:
    return write_int16(3) + write_int32(len(topics)) + b"".join(map(write_string, topics)) + write_int32(-1) + b"rest"


def test_a_topic_is_subscribed_to_when_any_member_reads_it() -> None:
    """[G-12]"""
    world = World()
    assert not world.group.subscribed_to("a")
    protocols = [(("range", subscription("a", "b")),), (("range", subscription("c")),)]
    answers = [world.join(version=3, protocols=said) for said in protocols]
    world.advance(0)
    assert [world.group.subscribed_to(topic) for topic in "abcd"] == [True, True, True, False]
    world.sync(answers[0].join.member_id)
    world.restart()
    assert [world.group.subscribed_to(topic) for topic in "abcd"] == [True, True, True, False]
    world.join(answers[0].join.member_id, protocols=(("range", subscription("d")),))
    world.join(answers[1].join.member_id, protocols=protocols[1])
    assert [world.group.subscribed_to(topic) for topic in "abcd"] == [False, False, True, True]


def test_consumers_whose_words_cannot_be_read_may_be_subscribed_to_anything() -> None:
    world = World()
    world.stable(1)
    assert world.group.subscribed_to("a")


def test_what_is_no_consumer_is_not_subscribed_to_anything() -> None:
    world = World()
    world.join(version=3, protocol_type="connect")
    world.advance(0)
    assert not world.group.subscribed_to("a")


def test_rebalances_are_counted_and_timed() -> None:
    world = World()
    one, _ = world.stable(2)
    assert (world.group.rebalances.completed, world.group.rebalances.duration_ms_sum) == (1, 0)
    again = world.join(one)
    world.advance(10_000)
    assert again.is_there
    world.sync(one)
    assert (world.group.rebalances.completed, world.group.rebalances.duration_ms_sum) == (2, 10_000)
    assert isinstance(again.response, JoinGroupResponse)
