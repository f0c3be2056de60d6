"""What members of a classic group are told: SyncGroup, Heartbeat, LeaveGroup, static members, commits [G-6 … G-10]."""

import pytest

from support.classic_groups import World
from tidelog.broker.coordinator.rebalances import Reason
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.leave_group import MemberIdentity

STICKY = (("cooperative-sticky", b"s"), ("range", b"r"))


# -- SyncGroup [G-6] --


def test_everybody_gets_the_part_that_the_leader_has_for_it() -> None:
    """[G-6]"""
    world = World()
    ids = [world.join().join.member_id for _ in range(3)]
    for member_id in ids:
        world.join(member_id)
    world.advance(0)
    early = world.sync(ids[1])
    assert not early.is_there
    leader = world.sync(ids[0], [(ids[0], b"0"), (ids[1], b"1"), ("stranger", b"9")])
    late = world.sync(ids[2])
    assert [answer.sync.assignment for answer in (leader, early, late)] == [b"0", b"1", b""]
    assert {answer.sync.protocol_name for answer in (leader, early, late)} == {"range"}


def test_a_sync_is_refused_to_whom_it_is_not_due() -> None:
    """[G-6]"""
    world = World()
    one, two = world.stable(2)
    assert world.sync("nobody").code == ErrorCode.UNKNOWN_MEMBER_ID
    assert world.sync(one, generation=0).code == ErrorCode.ILLEGAL_GENERATION
    assert world.sync(one, generation=2).code == ErrorCode.ILLEGAL_GENERATION
    assert world.sync(one, named=("connect", "range")).code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert world.sync(one, named=("consumer", "x")).code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert world.sync(one, named=(None, None)).code == 0
    world.leave(two)
    assert world.sync(one).code == ErrorCode.REBALANCE_IN_PROGRESS


def test_who_never_syncs_is_removed() -> None:
    """[G-6]"""
    world = World()
    ids = [world.join().join.member_id for _ in range(2)]
    for member_id in ids:
        world.join(member_id)
    world.advance(0)
    assert world.sync(ids[0]).code == 0
    for _ in range(12):
        world.advance(5000)
        codes = [world.beat(member_id) for member_id in ids]
    assert codes == [ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.UNKNOWN_MEMBER_ID]
    assert world.group.rebalances.begun[Reason.SYNC_OVERDUE] == 1


def test_a_leader_that_never_syncs_does_not_hold_the_others() -> None:
    """[G-6]"""
    world = World()
    ids = [world.join().join.member_id for _ in range(2)]
    for member_id in ids:
        world.join(member_id)
    world.advance(0)
    waiting = world.sync(ids[1])
    for _ in range(12):
        world.advance(5000)
        world.beat(ids[0])
    assert waiting.code == ErrorCode.REBALANCE_IN_PROGRESS
    assert world.join(ids[1]).join.leader == ids[1]


def test_who_has_synced_is_not_removed_when_the_time_for_it_is_up() -> None:
    world = World()
    ids = world.stable(2)
    for _ in range(20):
        world.advance(5000)
        assert [world.beat(member_id) for member_id in ids] == [0, 0]


# -- Heartbeat [G-7] --


def test_a_heartbeat_says_whether_to_join_anew() -> None:
    """[G-7]"""
    world = World()
    assert world.beat("c-0") == ErrorCode.UNKNOWN_MEMBER_ID
    ids = [world.join().join.member_id for _ in range(2)]
    for member_id in ids:
        world.join(member_id)
    world.advance(0)
    assert world.state == "CompletingRebalance"
    assert world.beat(ids[0]) == 0
    world.sync(ids[0])
    assert world.beat(ids[0]) == 0
    assert world.beat(ids[0], generation=0) == ErrorCode.ILLEGAL_GENERATION
    assert world.beat(ids[0], instance="i") == ErrorCode.UNKNOWN_MEMBER_ID
    world.join(ids[0])
    assert world.beat(ids[1]) == ErrorCode.REBALANCE_IN_PROGRESS


def test_a_heartbeat_prolongs_the_session_also_when_it_is_told_to_join_anew() -> None:
    """[G-7]"""
    world = World()
    one, two = world.stable(2)
    world.join(one)
    for _ in range(10):
        world.advance(5000)
        assert world.beat(two) == ErrorCode.REBALANCE_IN_PROGRESS
    assert world.join(two).code == 0


def test_who_waits_for_an_answer_needs_no_heartbeat() -> None:
    """[G-7]"""
    world = World()
    one, two = world.stable(2)
    waiting = world.join(one)
    for _ in range(11):
        world.advance(5000)
        world.beat(two)
    assert not waiting.is_there
    world.join(two)
    assert waiting.join.generation_id == 2
    waiting = world.sync(two)
    for _ in range(11):
        world.advance(5000)
        world.beat(one)
    world.sync(one)
    assert waiting.code == 0


def test_who_has_never_heard_of_a_generation_may_wait_for_five_minutes() -> None:
    """[G-7] Such a member may have died with its first JoinGroup, and has no heartbeat by which one could know."""
    world = World()
    (one,) = world.stable(1)
    world.settings.classic_session_timeout_max_ms = 10**7
    world.join(one, rebalance_ms=10**7)
    world.sync(one)
    new = world.enter()
    for _ in range(59):
        world.advance(5000)
        world.beat(one)
    assert not new.is_there
    world.advance(5000)
    assert new.code == ErrorCode.UNKNOWN_MEMBER_ID
    assert len(world.group.members) == 1


def test_heartbeats_set_no_timers() -> None:
    world = World()
    (one,) = world.stable(1)
    before = dict(world.timers)
    world.advance(1000)
    world.beat(one)
    assert world.timers == before


def test_a_commit_is_a_sign_of_life() -> None:
    """[G-10]"""
    world = World()
    (one,) = world.stable(1)
    for _ in range(5):
        world.advance(5000)
        assert not world.group.touch(one, world.at)
    assert world.beat(one) == 0
    assert not world.group.touch("nobody", world.at)


# -- LeaveGroup [G-8] --


def test_many_leave_at_once_each_with_an_answer() -> None:
    """[G-8]"""
    world = World()
    one, two, _ = world.stable(3)
    left = world.leave(one, "nobody", two, one)
    codes = [member.error_code for member in left.leave.members]
    assert (left.code, codes) == (0, [0, ErrorCode.UNKNOWN_MEMBER_ID, 0, ErrorCode.UNKNOWN_MEMBER_ID])
    assert len(world.group.members) == 1
    assert world.group.rebalances.begun[Reason.MEMBER_LEFT] == 1


def test_a_static_member_leaves_by_its_instance_id_too() -> None:
    """[G-8]"""
    world = World()
    one = world.join(instance="i")
    world.advance(0)
    wrong = [
        MemberIdentity(group_instance_id="j"),
        MemberIdentity(),
        MemberIdentity(member_id="other", group_instance_id="i"),
        MemberIdentity(member_id=one.join.member_id, group_instance_id="j"),
    ]
    codes = [member.error_code for member in world.leave_as(*wrong).leave.members]
    assert codes == [25, 25, 82, 25]
    left = world.leave_as(MemberIdentity(group_instance_id="i"))
    assert [(m.error_code, m.group_instance_id) for m in left.leave.members] == [(0, "i")]
    assert world.state == "Empty"


@pytest.mark.parametrize("version", [0, 1, 2])
def test_before_v3_the_one_member_has_the_answer_to_itself(version: int) -> None:
    """[G-8]"""
    world = World()
    (one,) = world.stable(1)
    assert world.leave("nobody", version=version).code == ErrorCode.UNKNOWN_MEMBER_ID
    assert world.leave(one, version=version).code == 0
    assert world.state == "Empty"


def test_who_is_made_to_leave_while_it_waits_is_told() -> None:
    world = World()
    one, two = world.stable(2)
    waiting = world.join(one)
    world.leave(one)
    assert waiting.code == ErrorCode.UNKNOWN_MEMBER_ID
    third = world.enter()
    world.join(two)
    syncing = world.sync(third.join.member_id)
    world.leave(third.join.member_id)
    assert syncing.code == ErrorCode.UNKNOWN_MEMBER_ID


def test_who_is_left_when_the_last_missing_one_leaves_need_wait_no_longer() -> None:
    world = World()
    one, two = world.stable(2)
    waiting = world.join(one)
    world.leave(two)
    assert waiting.join.generation_id == 2


# -- static members [G-9] --


def test_a_static_member_comes_back_without_a_rebalance() -> None:
    """[G-9]"""
    world = World()
    leader, old = world.static()
    new = world.join(instance="i1")
    assert (new.code, new.join.generation_id, new.join.leader, new.join.skip_assignment) == (0, 1, leader, False)
    assert new.join.member_id != old
    assert (world.state, world.group.generation) == ("Stable", 1)
    assert world.sync(new.join.member_id, instance="i1").sync.assignment == old.encode()
    assert world.sync(old, instance="i1").code == ErrorCode.FENCED_INSTANCE_ID
    assert world.beat(old, instance="i1") == ErrorCode.FENCED_INSTANCE_ID
    assert world.join(old, instance="i1").code == ErrorCode.FENCED_INSTANCE_ID
    assert world.refusal(old, "i1", 1) is ErrorCode.FENCED_INSTANCE_ID
    assert world.beat(old) == ErrorCode.UNKNOWN_MEMBER_ID
    assert world.beat(new.join.member_id, instance="i1") == 0
    for _ in range(3):
        world.advance(5000)
        assert [world.beat(leader), world.beat(new.join.member_id)] == [0, 0]
    world.advance(10_000)
    assert world.state != "Stable"


@pytest.mark.parametrize(("version", "skips"), [(5, False), (8, False), (9, True)])
def test_a_static_leader_that_comes_back_need_not_assign(version: int, skips: bool) -> None:
    """[G-9] Before v9 it does not learn that it leads."""
    world = World()
    old, _ = world.static()
    new = world.join(instance="i0", version=version)
    assert world.group.leader == new.join.member_id
    assert new.join.skip_assignment is skips
    assert new.join.leader == (new.join.member_id if skips else old)
    assert len(new.join.members) == (2 if skips else 0)
    assert world.state == "Stable"


def test_a_static_member_that_comes_back_is_remembered() -> None:
    """[G-9, G-13]"""
    world = World()
    world.static()
    new = world.join(instance="i1")
    world.restart()
    assert world.beat(new.join.member_id, instance="i1") == 0
    assert world.group.describe() == world.replayed().describe()


def test_a_static_member_that_comes_back_with_other_protocols_may_cause_a_rebalance() -> None:
    """[G-9]"""
    world = World()
    both = (("x", b""), ("y", b""))
    answers = [world.join(instance="i0", protocols=both), world.join(instance="i1", protocols=both)]
    world.advance(0)
    for n, answer in enumerate(answers):
        world.sync(answer.join.member_id, instance=f"i{n}")
    new = world.join(instance="i1", protocols=(("y", b""),))
    assert (world.state, new.is_there) == ("PreparingRebalance", False)
    again = world.join(answers[0].join.member_id, instance="i0", protocols=both)
    assert (again.join.protocol_name, new.join.protocol_name) == ("y", "y")


def test_a_static_member_that_comes_back_before_the_sync_causes_a_rebalance() -> None:
    """[G-9]"""
    world = World()
    answers = [world.join(instance=f"i{n}") for n in range(3)]
    world.advance(0)
    fenced = world.sync(answers[1].join.member_id, instance="i1")
    other = world.sync(answers[2].join.member_id, instance="i2")
    new = world.join(instance="i1")
    assert (fenced.code, other.code) == (ErrorCode.FENCED_INSTANCE_ID, ErrorCode.REBALANCE_IN_PROGRESS)
    assert (world.state, new.is_there) == ("PreparingRebalance", False)


def test_a_static_member_that_comes_back_during_a_join_takes_the_others_place() -> None:
    """[G-9]"""
    world = World()
    one, _ = world.static()
    world.enter()
    first = world.join(instance="i1")
    second = world.join(instance="i1")
    assert first.code == ErrorCode.FENCED_INSTANCE_ID
    world.join(one, instance="i0")
    assert second.join.generation_id == 2


@pytest.mark.parametrize("leaves", [False, True])
def test_a_static_member_that_comes_back_during_a_join_is_remembered_by_its_new_id(leaves: bool) -> None:
    """Else a start would bring the old one back, and fence who lives."""
    world = World()
    old = world.static()
    world.join(old[0], instance="i0", protocols=STICKY)
    assert world.state == "PreparingRebalance"
    if leaves:
        world.leave_as(MemberIdentity(member_id="", group_instance_id="i1"))
    world.join(instance="i1")
    world.restart()
    member = world.group.members.of_instance("i1")
    assert member is not None
    assert member.member_id not in old
    assert world.beat(member.member_id, instance="i1") == 0
    assert world.beat(old[1], instance="i1") == ErrorCode.FENCED_INSTANCE_ID
    assert world.state == "Stable"


def test_a_static_member_whose_new_id_cannot_be_written_has_not_come() -> None:
    world = World()
    old = world.static()
    world.join(old[0], instance="i0", protocols=STICKY)
    world.is_full = True
    assert world.join(instance="i1").code == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert set(world.group.members.by_id) == set(old)
    world.is_full = False
    assert world.join(instance="i1").code == 0
    assert world.state == "CompletingRebalance"


def test_a_static_member_that_had_not_synced_must_still_do_so_by_its_new_name() -> None:
    world = World()
    answers = [world.join(instance=f"i{n}") for n in range(2)]
    world.advance(0)
    world.sync(answers[0].join.member_id, instance="i0")
    new = world.join(instance="i1").join.member_id
    for _ in range(12):
        world.advance(5000)
        codes = [world.beat(answers[0].join.member_id), world.beat(new)]
    assert codes == [ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.UNKNOWN_MEMBER_ID]


# -- commits [G-10] --


def test_commits_are_the_members_own_and_of_this_generation() -> None:
    """[G-10]"""
    world = World()
    assert world.refusal("", None, -1) is ErrorCode.NONE
    assert world.refusal("x", None, 0) is ErrorCode.UNKNOWN_MEMBER_ID
    (one,) = world.stable(1)
    assert world.refusal(one, None, 1) is ErrorCode.NONE
    assert world.refusal(one, None, 0) is ErrorCode.ILLEGAL_GENERATION
    assert world.refusal(one, "i", 1) is ErrorCode.UNKNOWN_MEMBER_ID
    assert world.refusal("x", None, 1) is ErrorCode.UNKNOWN_MEMBER_ID
    assert world.refusal("", None, -1) is ErrorCode.UNKNOWN_MEMBER_ID
    world.enter()
    assert world.refusal(one, None, 1) is ErrorCode.NONE
    world.join(one)
    assert world.refusal(one, None, 2) is ErrorCode.REBALANCE_IN_PROGRESS
    assert world.refusal(one, None, 1) is ErrorCode.ILLEGAL_GENERATION
