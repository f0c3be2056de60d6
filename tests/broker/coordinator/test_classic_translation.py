"""Members of the classic protocol in a group of the consumer protocol [C-8]."""

import pytest

from support.consumer_world import TopicsForTests
from support.group_settings import SettingsForTests
from support.mixed_groups import (
    COOPERATIVE,
    RANGE,
    REBALANCE_MS,
    SESSION_MS,
    Classic,
    Consumer,
    MixedWorld,
    held,
    remembered,
    settle,
    words,
)
from tidelog.broker.coordinator.decision import Caller
from tidelog.broker.coordinator.group_records import MemberState
from tidelog.broker.coordinator.group_settings import MigrationPolicy
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.sync_group import SyncGroupRequest

UNKNOWN, FENCED = ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID
ILLEGAL, ANEW = ErrorCode.ILLEGAL_GENERATION, ErrorCode.REBALANCE_IN_PROGRESS


def a_world(**settings: object) -> tuple[MixedWorld, Consumer]:
    """A group of one consumer of the consumer protocol."""
    topics = TopicsForTests(a=4)
    world = MixedWorld(topics, SettingsForTests(session_timeout_ms=60_000, **settings))  # type: ignore[arg-type]
    consumer = Consumer(world, "modern", ("a",), "")
    settle(world, [consumer])
    return world, consumer


def a_classic(world: MixedWorld, name: str = "old", instance: str | None = None, assignor: str = RANGE) -> Classic:
    return Classic(world, name, ("a",), instance, (assignor,))


def join(
    world: MixedWorld,
    *,
    member_id: str = "m",
    instance: str | None = None,
    protocols: dict[str, bytes] | None = None,
    protocol_type: str = "consumer",
    session_ms: int = SESSION_MS,
    version: int = 9,
) -> int:
    """A JoinGroup; the code it was told."""
    protocols = {RANGE: words(["a"])} if protocols is None else protocols
    request = JoinGroupRequest(
        group_id="group",
        session_timeout_ms=session_ms,
        rebalance_timeout_ms=REBALANCE_MS,
        member_id=member_id,
        group_instance_id=instance,
        protocol_type=protocol_type,
        protocols=tuple(JoinGroupRequestProtocol(name=name, metadata=said) for name, said in protocols.items()),
    )
    caller = Caller("c", "/127.0.0.1", version)
    return world.tell(lambda groups, waiter, at: groups.join_group(request, caller, waiter, at)).code


def sync(world: MixedWorld, member_id: str, generation: int, named: tuple[str | None, str | None]) -> int:
    """A SyncGroup; the code it was told."""
    request = SyncGroupRequest(
        group_id="group",
        generation_id=generation,
        member_id=member_id,
        protocol_type=named[0],
        protocol_name=named[1],
    )
    caller = Caller("c", "/127.0.0.1", 5)
    return world.tell(lambda groups, waiter, at: groups.sync_group(request, caller, waiter, at)).code


def beat(world: MixedWorld, member_id: str, generation: int, instance: str | None = None) -> int:
    """A Heartbeat; the code it was told."""
    request = HeartbeatRequest(
        group_id="group", generation_id=generation, member_id=member_id, group_instance_id=instance
    )
    return world.tell(lambda groups, waiter, at: groups.heartbeat(request, waiter, at)).code


def leave(world: MixedWorld, *identities: MemberIdentity, version: int = 5) -> tuple[int, list[int]]:
    """A LeaveGroup; the codes it was told, of the whole and of each."""
    request = LeaveGroupRequest(group_id="group", members=identities)
    if version < 3:
        request = LeaveGroupRequest(group_id="group", member_id=identities[0].member_id)
    caller = Caller("c", "/127.0.0.1", version)
    answer = world.tell(lambda groups, waiter, at: groups.leave_group(request, caller, waiter, at))
    if answer.refused is not None:
        return answer.code, []
    return answer.code, [one.error_code for one in answer.leave.members]


# -- JoinGroup --


def test_a_join_is_answered_at_once_by_a_generation_without_a_leader() -> None:
    world, _ = a_world()
    old = a_classic(world)
    request_count = len(world.log)
    old.act()
    member = world.consumers.roster.members[old.member_id]
    assert (old.generation, old.protocol, old.waits_for) == (member.epoch, RANGE, None)
    assert member.value.classic is not None
    assert (member.value.classic.session_timeout_ms, member.value.rebalance_timeout_ms) == (SESSION_MS, REBALANCE_MS)
    assert (member.value.subscribed_topics, member.value.client_id) == (("a",), "old")
    assert len(world.log) > request_count


def test_who_joins_gets_what_the_others_have_given_up() -> None:
    world, modern = a_world()
    old = a_classic(world)
    old.act()
    assert old.owned == set()
    assert world.consumers.roster.members[old.member_id].current.state == MemberState.UNRELEASED_PARTITIONS
    modern.act()
    assert not world.consumers.roster.is_called(world.consumers.roster.members[old.member_id])
    assert old.beat() == 0, "the modern one has not said yet that it has let go"
    modern.act()
    assert old.beat() == ANEW
    old.act()
    assert len(old.owned) == 2
    assert not old.owned & modern.places


def test_a_new_member_without_an_id_is_given_one_first() -> None:
    world, _ = a_world()
    count = len(world.log)
    assert join(world, member_id="", version=4) == ErrorCode.MEMBER_ID_REQUIRED
    assert len(world.log) == count
    assert join(world, member_id="", version=3) == 0, "older ones are let in at once"
    assert join(world, member_id="", instance="i", version=9) == 0, "static ones, too"
    assert len(world.consumers.roster.members) == 3


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"protocol_type": "connect"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocols": {}}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocols": {RANGE: b"\x00"}}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocols": {"mine": words(["a"])}}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocols": {RANGE: words(["a"]), "x": bytes(9 << 20)}}, ErrorCode.MESSAGE_TOO_LARGE),
        ({"session_ms": 10}, ErrorCode.INVALID_SESSION_TIMEOUT),
        ({"member_id": "x", "instance": "unheard of"}, UNKNOWN),
    ],
)
def test_who_is_refused_changes_nothing(wrong: dict[str, object], code: ErrorCode) -> None:
    world, modern = a_world()
    settle(world, [modern, a_classic(world)])
    count = len(world.log)
    assert join(world, **wrong) == code  # type: ignore[arg-type]
    assert len(world.log) == count


def test_a_full_group_takes_in_nobody_but_its_members() -> None:
    world, modern = a_world(consumer_max_size=2)
    old = a_classic(world)
    settle(world, [modern, old])
    assert join(world) == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert join(world, member_id=old.member_id) == 0


def test_a_cooperative_member_reads_on_while_it_learns_what_to_give_up() -> None:
    world, modern = a_world()
    old = a_classic(world, assignor=COOPERATIVE)
    settle(world, [modern, old])
    modern.leave()
    old.codes.clear()
    settle(world, [old])
    assert len(old.owned) == 4
    modern = Consumer(world, "modern 2", ("a",), "")
    modern.act()
    before, generation = set(old.owned), old.generation
    assert old.beat() == ANEW
    old.join()
    member = world.consumers.roster.members[old.member_id]
    assert len(old.owned) == 2
    assert old.owned < before
    assert old.generation > generation, "it has joined twice: it has let go in between"
    assert member.current.state == MemberState.STABLE


def test_what_a_cooperative_member_says_that_it_holds_is_nobody_elses() -> None:
    world, modern = a_world()
    modern.leave()
    old = a_classic(world, assignor=COOPERATIVE)
    settle(world, [old])
    modern = Consumer(world, "modern 2", ("a",), "")
    modern.act()
    old.hesitates = True
    old.beat()
    old.act()
    modern.act()
    assert (len(old.owned), modern.places) == (4, set()), "it has joined, and not heard yet what to give up"
    old.act()
    modern.act()
    assert len(modern.places) == 2
    assert not old.owned & modern.places


def test_who_waits_for_partitions_is_called_when_they_are_free() -> None:
    world, modern = a_world()
    old = a_classic(world)
    old.act()
    member = world.consumers.roster.members[old.member_id]
    assert (member.epoch, old.beat()) == (world.consumers.roster.epoch, 0)
    modern.act()
    modern.act()
    assert old.beat() == ANEW


def test_a_subscription_that_changes_has_all_assigned_anew() -> None:
    world, modern = a_world()
    world.topics.create("b", 3)
    old = a_classic(world)
    members: list[Classic | Consumer] = [modern, old]
    settle_round(world, members)
    epoch = world.consumers.roster.epoch
    old.topics = ("a", "b")
    old.join()
    assert world.consumers.roster.epoch == epoch + 1
    settle_round(world, members)
    assert {place for place in old.owned if place[0] == "b"} == {("b", 0), ("b", 1), ("b", 2)}


def settle_round(world: MixedWorld, members: list[Classic | Consumer]) -> None:
    """Let everybody act for a while."""
    for _ in range(8):
        for member in members:
            member.act()
        world.pass_time(500)
    assert world.consumers.state_name == "Stable"


def test_a_lost_answer_is_told_again() -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    count = len(world.log)
    old.join()
    old.join()
    assert held(old)
    assert len(world.log) == count


# -- static members --


def test_a_static_member_comes_back_under_another_id() -> None:
    world, modern = a_world()
    old = a_classic(world, instance="i")
    settle(world, [modern, old])
    epoch, owned = world.consumers.roster.epoch, set(old.owned)
    again = a_classic(world, "again", instance="i")
    again.act()
    assert (again.owned, world.consumers.roster.epoch) == (owned, epoch), "without a rebalance"
    assert beat(world, old.member_id, old.generation, "i") == FENCED
    assert beat(world, old.member_id, old.generation) == UNKNOWN
    assert world.commit_code(old.member_id, old.generation) == UNKNOWN


def test_a_static_member_takes_the_place_of_one_of_the_other_protocol() -> None:
    world, modern = a_world()
    static = Consumer(world, "static", ("a",), "", instance_id="i")
    settle(world, [modern, static])
    owned = set(static.places)
    old = a_classic(world, instance="i")
    old.act()
    assert old.owned == owned
    assert "static" not in world.consumers.roster.members
    back = Consumer(world, "back", ("a",), "", instance_id="i")
    back.act()
    assert back.places == owned
    assert beat(world, old.member_id, old.generation, "i") == FENCED


# -- SyncGroup and Heartbeat --


def test_who_does_not_fit_is_refused() -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    generation = old.generation
    assert sync(world, "nobody", generation, (None, None)) == UNKNOWN
    assert sync(world, "modern", modern.epoch, (None, None)) == UNKNOWN
    assert sync(world, old.member_id, generation - 1, (None, None)) == ILLEGAL
    assert sync(world, old.member_id, generation, ("connect", RANGE)) == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert sync(world, old.member_id, generation, ("consumer", "x")) == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert sync(world, old.member_id, generation, ("consumer", RANGE)) == 0
    assert beat(world, "nobody", generation) == UNKNOWN
    assert beat(world, "modern", modern.epoch) == UNKNOWN
    assert beat(world, old.member_id, generation + 1) == ILLEGAL
    assert beat(world, old.member_id, generation, "i") == UNKNOWN
    assert beat(world, old.member_id, generation) == 0


def test_an_epoch_that_rises_between_join_and_sync_is_told_by_the_sync() -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    Consumer(world, "another", ("a",), "").act()
    assert sync(world, old.member_id, old.generation, (None, None)) == ANEW


def test_a_commit_names_the_generation() -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    assert world.commit_code(old.member_id, old.generation) == 0
    assert world.commit_code(old.member_id, old.generation - 1) == ILLEGAL


def test_offsets_are_told_whether_it_names_the_generation_or_not() -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    group = world.consumers
    group.check_fetch(old.member_id, -1)
    group.check_fetch(old.member_id, old.generation)
    with pytest.raises(RequestRefused, match="epoch"):
        group.check_fetch(old.member_id, old.generation - 1)
    with pytest.raises(RequestRefused, match="epoch"):
        group.check_fetch("modern", -1)


def test_a_topic_that_grows_is_noticed_by_a_heartbeat_of_the_classic_protocol() -> None:
    world, modern = a_world(migration_policy=MigrationPolicy.UPGRADE)
    old = a_classic(world)
    settle(world, [modern, old])
    modern.leave()
    settle(world, [old])
    world.topics.grow("a", 6)
    assert old.beat() == 0
    for decision in world.coordinator.topic_changed("a", is_deleted=False):
        world.perform(decision)
    assert old.beat() == ANEW
    old.act()
    assert len(old.owned) == 6


# -- who is gone --


def test_the_session_is_as_long_as_the_member_says() -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    for _ in range(3):
        world.pass_time(SESSION_MS - 1)
        old.act()
    world.pass_time(SESSION_MS)
    assert old.member_id not in world.member_ids
    assert "modern" in world.member_ids


def test_sessions_begin_anew_at_a_start() -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    old.act()
    world.pass_time(SESSION_MS - 1)
    world.crash()
    world.pass_time(SESSION_MS - 1)
    assert old.member_id in world.member_ids
    world.pass_time(1)
    assert old.member_id not in world.member_ids


def test_who_is_told_to_join_anew_and_only_sends_heartbeats_is_removed() -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    Consumer(world, "another", ("a",), "").act()
    for _ in range(REBALANCE_MS // 5000):
        assert beat(world, old.member_id, old.generation) == ANEW
        world.pass_time(5000)
    assert beat(world, old.member_id, old.generation) == UNKNOWN


def test_who_joins_and_never_asks_for_its_part_is_removed() -> None:
    world, modern = a_world()
    assert join(world, member_id="m") == 0
    generation = world.consumers.roster.members["m"].epoch
    for _ in range(3):
        modern.act()
    for _ in range(REBALANCE_MS // 5000):
        assert beat(world, "m", generation) in {0, ANEW}
        world.pass_time(5000)
    assert beat(world, "m", generation) == UNKNOWN


@pytest.mark.parametrize("version", [2, 5])
def test_a_member_leaves(version: int) -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    assert old.leave(version=version) == 0
    assert list(world.consumers.roster.members) == ["modern"]
    assert old.leave(version=version) == (UNKNOWN if version < 3 else 0)
    settle(world, [modern])


def test_an_operator_sends_members_away() -> None:
    """G-8: of whichever protocol, static ones by their instance ids alone."""
    world, modern = a_world()
    static = Consumer(world, "static", ("a",), "", instance_id="i")
    old = a_classic(world)
    settle(world, [modern, static, old])
    codes = leave(
        world,
        MemberIdentity(member_id="nobody"),
        MemberIdentity(member_id=""),
        MemberIdentity(member_id="other", group_instance_id="i"),
        MemberIdentity(member_id="", group_instance_id="unheard of"),
        MemberIdentity(member_id="", group_instance_id="i"),
        MemberIdentity(member_id=old.member_id),
    )
    assert codes == (0, [UNKNOWN, UNKNOWN, FENCED, UNKNOWN, 0, 0])
    assert list(world.consumers.roster.members) == ["modern"]
    count = len(world.log)
    assert leave(world, MemberIdentity(member_id="nobody")) == (0, [UNKNOWN])
    assert len(world.log) == count


# -- what is remembered --


def test_a_decision_that_cannot_be_written_changes_nothing() -> None:
    world, modern = a_world()
    old = a_classic(world)
    settle(world, [modern, old])
    before = remembered(world.coordinator)
    world.is_full = True
    assert join(world, member_id="new") == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert old.leave() == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert remembered(world.coordinator) == before


def test_what_a_member_holds_that_is_no_topic_any_more_is_passed_over() -> None:
    world, modern = a_world()
    old = a_classic(world, assignor=COOPERATIVE)
    settle(world, [modern, old])
    old.owned.add(("gone", 0))
    old.join()
    assert ("gone", 0) not in old.owned
