"""A classic group, criterion by criterion [G-1 … G-9, G-13 … G-15]."""

import pytest

from support.classic_groups import RANGE, WALL_MS, World
from support.group_settings import SettingsForTests
from tidelog.broker.coordinator.rebalances import Reason
from tidelog.protocol.errors import ErrorCode

STICKY = (("cooperative-sticky", b"s"), ("range", b"r"))


# -- a group's life [G-1, G-5] --


def test_a_group_goes_from_empty_over_a_join_and_a_sync_to_stable() -> None:
    world = World()
    seen = [world.state]
    first = world.enter()
    seen.append(world.state)
    world.advance(0)
    seen.append(world.state)
    world.sync(first.join.member_id)
    seen.append(world.state)
    world.leave(first.join.member_id)
    seen.append(world.state)
    assert seen == ["Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Empty"]


@pytest.mark.parametrize("protocol_type", ["consumer", "connect", "sr"])
def test_the_protocol_type_is_opaque(protocol_type: str) -> None:
    """[G-1]"""
    world = World()
    answer = world.join(version=3, protocol_type=protocol_type, protocols=(("x", b"\xff\x00"),))
    world.advance(0)
    assert (answer.join.protocol_type, answer.join.protocol_name) == (protocol_type, "x")
    assert answer.join.members[0].metadata == b"\xff\x00"
    synced = world.sync(answer.join.member_id, [(answer.join.member_id, b"\xfe")])
    assert synced.sync.assignment == b"\xfe"


def test_only_the_leader_hears_of_the_others_and_the_first_one_leads() -> None:
    """[G-5]"""
    world = World()
    ids = [world.join(protocols=((("range", bytes([n])),))).join.member_id for n in range(3)]
    answers = [world.join(member_id, protocols=(("range", bytes([n])),)) for n, member_id in enumerate(ids)]
    world.advance(0)
    assert [answer.join.leader for answer in answers] == [ids[0]] * 3
    assert [(m.member_id, m.metadata) for m in answers[0].join.members] == [(ids[n], bytes([n])) for n in range(3)]
    assert [answer.join.members for answer in answers[1:]] == [(), ()]


def test_the_leader_stays_while_it_is_there() -> None:
    """[G-5]"""
    world = World()
    one, two = world.stable(2)
    three = world.enter()
    again = [world.join(two), world.join(one)]
    assert [answer.join.leader for answer in (three, *again)] == [one] * 3


def test_one_that_has_joined_leads_when_the_leader_has_not() -> None:
    """[G-4, G-5] A static leader keeps its place, though not its task."""
    world = World()
    one = world.join(instance="i1")
    two = world.join(instance="i2")
    world.advance(0)
    leader, other = one.join.member_id, two.join.member_id
    assert world.sync(leader, []).code == 0
    again = world.join(other, instance="i2", protocols=(("range", b"new"),))
    world.advance(9_000)
    assert world.beat(leader, instance="i1") == ErrorCode.REBALANCE_IN_PROGRESS
    world.advance(9_000)
    assert world.beat(leader, instance="i1") == ErrorCode.REBALANCE_IN_PROGRESS
    assert not again.is_there
    for _ in range(6):
        world.advance(8_000)
        world.beat(leader, instance="i1")
    assert again.join.leader == other
    assert {member.member_id for member in again.join.members} == {leader, other}


def test_every_completed_join_is_a_new_generation() -> None:
    """[G-5]"""
    world = World()
    (one,) = world.stable(1)
    generations = []
    for _ in range(4):
        generations.append(world.join(one).join.generation_id)
        world.sync(one)
    assert generations == [2, 3, 4, 5]


def test_the_protocol_is_the_one_that_most_like_best_among_those_that_all_know() -> None:
    """[G-5]"""
    world = World()
    a, b, c = (("a", b""),), (("b", b""),), (("c", b""),)
    ids = [world.join(protocols=a + b + c).join.member_id for _ in range(4)]
    wishes = [a + b + c, b + c, c + b, b + c]
    answers = [world.join(member_id, protocols=wish) for member_id, wish in zip(ids, wishes, strict=True)]
    world.advance(0)
    assert {answer.join.protocol_name for answer in answers} == {"b"}


# -- JoinGroup is refused [G-2] --


@pytest.mark.parametrize(("session_ms", "code"), [(5999, 26), (6000, 79), (1_800_000, 79), (1_800_001, 26), (-1, 26)])
def test_a_session_is_neither_too_short_nor_too_long(session_ms: int, code: int) -> None:
    """[G-2]"""
    assert World().join(session_ms=session_ms).code == code


def test_a_newcomer_must_speak_the_groups_type_and_a_protocol_that_all_know() -> None:
    """[G-2]"""
    world = World()
    assert world.join(protocols=()).code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert world.join(protocol_type="").code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    world.stable(1)
    assert world.join(protocol_type="connect").code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert world.join(protocols=(("roundrobin", b""),)).code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert world.join(protocols=()).code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert world.join(protocols=(("roundrobin", b""), *RANGE)).code == ErrorCode.MEMBER_ID_REQUIRED


def test_an_emptied_group_may_change_its_type() -> None:
    world = World()
    (one,) = world.stable(1)
    world.leave(one)
    answer = world.join(version=3, protocol_type="connect")
    world.advance(0)
    assert answer.join.protocol_type == "connect"


def test_an_unknown_member_id_is_refused() -> None:
    """[G-2]"""
    world = World()
    assert world.join("nobody").code == ErrorCode.UNKNOWN_MEMBER_ID
    world.stable(1)
    assert world.join("nobody").code == ErrorCode.UNKNOWN_MEMBER_ID
    assert world.join("nobody", instance="i").code == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_full_group_takes_nobody_but_its_own() -> None:
    """[G-2]"""
    world = World(settings=SettingsForTests(classic_max_size=2))
    one, two = world.stable(2)
    refused = world.join()
    assert (refused.code, refused.join.member_id) == (ErrorCode.GROUP_MAX_SIZE_REACHED, "")
    assert world.join(two).code == 0
    again = world.join(one)
    assert world.join(two).code == 0
    assert again.code == 0


def test_a_static_member_comes_back_to_a_full_group() -> None:
    world = World(settings=SettingsForTests(classic_max_size=1))
    one = world.join(instance="i")
    world.advance(0)
    world.sync(one.join.member_id, instance="i")
    assert world.join(instance="i").code == 0


def test_the_last_to_join_are_left_out_of_a_group_that_has_become_too_large() -> None:
    world = World()
    ids = world.stable(3)
    world.settings.classic_max_size = 2
    world.restart()
    assert world.state == "PreparingRebalance"
    assert world.group.rebalances.begun == {Reason.OVER_CAPACITY: 1}
    answers = [world.join(member_id) for member_id in ids]
    assert [answer.code for answer in answers] == [0, 0, ErrorCode.GROUP_MAX_SIZE_REACHED]
    assert len(world.group.members) == 2


# -- ids [G-2] --


@pytest.mark.parametrize("version", range(10))
def test_a_dynamic_member_must_use_the_id_it_is_given_from_v4_on(version: int) -> None:
    """[G-2]"""
    world = World()
    answer = world.join(version=version, client="app")
    if version < 4:
        world.advance(0)
        assert (answer.code, answer.join.member_id, answer.join.generation_id) == (0, "app-0", 1)
        return
    assert (answer.code, answer.join.member_id) == (ErrorCode.MEMBER_ID_REQUIRED, "app-0")
    assert world.state == "Empty"
    answer = world.join("app-0", version=version)
    world.advance(0)
    assert answer.join.generation_id == 1


def test_a_static_member_needs_no_second_round() -> None:
    """[G-9]"""
    world = World()
    answer = world.join(instance="i")
    world.advance(0)
    assert (answer.code, answer.join.member_id) == (0, "i-0")


def test_an_id_that_is_not_used_lapses_with_the_session() -> None:
    """[G-2]"""
    world = World()
    one, two = (world.join(session_ms=ms).join.member_id for ms in (10_000, 20_000))
    world.advance(10_000)
    assert world.join(one).code == ErrorCode.UNKNOWN_MEMBER_ID
    used = [len(world.group.members), world.group.is_unused]
    world.advance(10_000)
    assert [*used, world.group.is_unused] == [0, False, True]
    assert world.join(two).code == ErrorCode.UNKNOWN_MEMBER_ID
    assert world.timers == {}


def test_a_rebalance_waits_for_those_who_have_got_an_id() -> None:
    world = World()
    (one,) = world.stable(1)
    pending = world.join(session_ms=7000).join.member_id
    again = world.join(one)
    assert not again.is_there
    new = world.join(pending)
    assert (again.code, new.code) == (0, 0)
    world.sync(one)
    world.join(session_ms=7000)
    again = world.join(one)
    world.join(pending)
    assert not again.is_there
    world.advance(7000)
    assert again.code == 0


def test_an_id_that_was_given_out_can_be_handed_back() -> None:
    """[G-8]"""
    world = World()
    (one,) = world.stable(1)
    pending = world.join().join.member_id
    again = world.join(one)
    left = world.leave(pending, pending)
    assert [member.error_code for member in left.leave.members] == [0, ErrorCode.UNKNOWN_MEMBER_ID]
    assert again.code == 0


def test_an_id_without_an_instance_cannot_become_static() -> None:
    world = World()
    member_id = world.join().join.member_id
    assert world.join(member_id, instance="i").code == ErrorCode.UNKNOWN_MEMBER_ID


def test_v0_waits_for_a_member_as_long_as_for_its_heartbeat() -> None:
    world = World()
    world.join(version=0, session_ms=7000, rebalance_ms=1)
    assert world.group.members.rebalance_timeout_ms == 7000


# -- what begins a rebalance, and nothing else [G-3] --


def test_a_new_member_begins_a_rebalance() -> None:
    world = World()
    (one,) = world.stable(1)
    new = world.enter()
    assert world.beat(one) == ErrorCode.REBALANCE_IN_PROGRESS
    assert world.join(one).join.generation_id == new.join.generation_id == 2
    assert world.group.rebalances.begun == {Reason.MEMBER_JOINED: 2}


def test_the_leader_begins_one_by_joining_again() -> None:
    """[G-3]"""
    world = World()
    one, _ = world.stable(2)
    assert not world.join(one).is_there
    assert world.state == "PreparingRebalance"
    assert world.group.rebalances.begun[Reason.LEADER_REJOINED] == 1


def test_a_follower_that_joins_again_unchanged_hears_of_the_generation_it_has() -> None:
    """[G-3]"""
    world = World()
    one, two = world.stable(2)
    again = world.join(two)
    assert (again.join.generation_id, again.join.leader, again.join.members) == (1, one, ())
    assert world.state == "Stable"
    assert world.sync(two).sync.assignment == b"part of c-1"


@pytest.mark.parametrize("protocols", [(("range", b"b"),), (*RANGE, ("x", b"")), (("x", b""), *RANGE)])
def test_a_follower_that_says_something_else_begins_one(protocols: tuple[tuple[str, bytes], ...]) -> None:
    """[G-3]"""
    world = World()
    _, two = world.stable(2)
    assert not world.join(two, protocols=protocols).is_there
    assert world.group.rebalances.begun[Reason.SUBSCRIPTION_CHANGED] == 1


def test_leaving_begins_one() -> None:
    world = World()
    one, two = world.stable(2)
    world.leave(two)
    assert world.beat(one) == ErrorCode.REBALANCE_IN_PROGRESS
    assert world.group.rebalances.begun[Reason.MEMBER_LEFT] == 1


def test_silence_begins_one() -> None:
    world = World()
    one, two = world.stable(2)
    world.advance(5000)
    assert world.beat(one) == 0
    world.advance(4999)
    assert world.beat(one) == 0
    world.advance(1)
    assert world.beat(one) == ErrorCode.REBALANCE_IN_PROGRESS
    assert world.beat(two) == ErrorCode.UNKNOWN_MEMBER_ID
    assert world.group.rebalances.begun[Reason.MEMBER_EXPIRED] == 1


def test_a_lost_join_answer_is_told_again_before_the_sync() -> None:
    """[G-3]"""
    world = World()
    ids = [world.join().join.member_id for _ in range(2)]
    first = [world.join(member_id) for member_id in ids]
    world.advance(0)
    again = [world.join(member_id) for member_id in ids]
    assert [answer.response for answer in again] == [answer.response for answer in first]
    assert world.state == "CompletingRebalance"


def test_changed_words_before_the_sync_begin_one_and_those_who_sync_join_anew() -> None:
    """[G-3, G-6]"""
    world = World()
    ids = [world.join().join.member_id for _ in range(2)]
    for member_id in ids:
        world.join(member_id)
    world.advance(0)
    waiting = world.sync(ids[1])
    world.join(ids[0], protocols=(("range", b"other"),))
    assert waiting.code == ErrorCode.REBALANCE_IN_PROGRESS


def test_two_rebalances_in_a_row_move_what_is_to_be_moved() -> None:
    """[G-14] Cooperative: give up and join again, and commit in between."""
    world = World()
    one, *_ = world.stable(1, protocols=STICKY)
    new = world.enter(protocols=STICKY)
    assert world.refusal(one, None, 1) is ErrorCode.NONE
    again = world.join(one, protocols=STICKY)
    assert (again.join.generation_id, new.join.generation_id) == (2, 2)
    assert world.refusal(one, None, 2) is ErrorCode.REBALANCE_IN_PROGRESS
    waiting = world.sync(new.join.member_id)
    assert world.sync(one, [(one, b"less")]).sync.assignment == b"less"
    assert (waiting.code, waiting.sync.assignment) == (0, b"")
    changed = (("cooperative-sticky", b"owns less"), ("range", b"r"))
    world.join(one, protocols=changed)
    again = world.join(new.join.member_id, protocols=STICKY)
    assert again.join.generation_id == 3


# -- the end of a join [G-4] --


def test_a_join_ends_when_all_have_joined() -> None:
    world = World()
    one, two, three = world.stable(3)
    answers = [world.join(one), world.join(two)]
    assert not any(answer.is_there for answer in answers)
    answers.append(world.join(three))
    assert [answer.join.generation_id for answer in answers] == [2, 2, 2]


def test_a_join_ends_in_the_longest_time_that_any_member_wants_without_the_others() -> None:
    """[G-4]"""
    world = World()
    (one,) = world.stable(1)
    two = world.join(world.join(rebalance_ms=20_000).join.member_id, rebalance_ms=20_000)
    for _ in range(59):
        world.advance(1000)
        assert world.beat(one) == ErrorCode.REBALANCE_IN_PROGRESS
    assert not two.is_there
    world.advance(1000)
    assert (two.join.generation_id, two.join.leader) == (2, two.join.member_id)
    assert world.join(one).code == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_join_in_which_nobody_joins_goes_on_while_static_members_keep_their_places() -> None:
    """[G-4]"""
    world = World()
    one = world.join(instance="i", session_ms=1_000_000)
    world.advance(0)
    member_id = one.join.member_id
    world.sync(member_id, instance="i")
    two = world.enter(world.join(session_ms=1_000_000).join.member_id)
    world.join(member_id, instance="i", session_ms=1_000_000)
    world.sync(member_id, instance="i")
    world.leave(two.join.member_id)
    assert world.state == "PreparingRebalance"
    world.advance(60_000)
    assert (world.state, len(world.group.members)) == ("PreparingRebalance", 1)
    world.advance(60_000)
    assert world.join(member_id, instance="i").join.generation_id == 3


def test_a_join_of_static_members_that_name_no_time_is_looked_at_once_a_second() -> None:
    """[G-4] Kafka's timer would be due again at once."""
    world = World()
    one = world.join(instance="i", session_ms=1_000_000)
    world.advance(0)
    member_id = one.join.member_id
    world.sync(member_id, instance="i")
    two = world.enter(world.join(session_ms=1_000_000).join.member_id)
    world.join(member_id, instance="i", session_ms=1_000_000, rebalance_ms=0)
    world.sync(member_id, instance="i")
    world.leave(two.join.member_id)
    world.advance(60_000)
    assert (world.state, world.group.generation, len(world.group.members)) == ("PreparingRebalance", 2, 1)
    assert world.join(member_id, instance="i", rebalance_ms=0).join.generation_id == 3


def test_a_join_in_which_everybody_is_gone_leaves_an_empty_group() -> None:
    """[G-4]"""
    world = World()
    one, two = world.stable(2)
    world.leave(two)
    for _ in range(12):
        world.advance(5000)
        world.beat(one)
    assert (world.state, world.group.generation) == ("Empty", 2)
    assert world.group.empty_since_ms == WALL_MS + 60_000


def test_the_first_generation_waits_for_more_members_while_some_arrive() -> None:
    """[G-4]"""
    world = World(settings=SettingsForTests(initial_rebalance_delay_ms=3000))
    one = world.join(version=3)
    world.advance(2999)
    two = world.join(version=3)
    world.advance(1)
    assert not one.is_there
    world.advance(2999)
    assert not one.is_there
    world.advance(1)
    assert (one.join.generation_id, two.join.generation_id) == (1, 1)


def test_the_first_generation_waits_no_longer_than_the_rebalance_timeout() -> None:
    """[G-4]"""
    world = World(settings=SettingsForTests(initial_rebalance_delay_ms=3000))
    one = world.join(version=3, rebalance_ms=10_000)
    for _ in range(9):
        world.advance(1000)
        world.join(version=3, rebalance_ms=10_000)
        assert not one.is_there
    world.advance(1000)
    assert one.is_there


def test_newcomers_do_not_put_the_first_generation_off_for_ever() -> None:
    """[G-4] Not even without a delay, where each only waits for those who come at the same time."""
    world = World()
    one = world.join(version=3, rebalance_ms=1000)
    for _ in range(11):
        world.join(version=3, rebalance_ms=1000)
        world.now_ms += 100
        world.advance(0)
    assert one.is_there


def test_without_a_delay_who_comes_at_the_same_time_is_in_the_same_generation() -> None:
    world = World()
    answers = [world.join(version=3) for _ in range(5)]
    world.advance(0)
    assert [answer.join.generation_id for answer in answers] == [1] * 5
