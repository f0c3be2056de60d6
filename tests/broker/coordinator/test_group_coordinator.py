"""A group that changes its protocol while it has members, and one that has none [C-8]."""

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
    remembered,
    settle,
)
from tidelog.broker.coordinator import classic_state
from tidelog.broker.coordinator.classic_group import ClassicGroup
from tidelog.broker.coordinator.consumer_group import ConsumerGroup
from tidelog.broker.coordinator.group_settings import MigrationPolicy
from tidelog.protocol.errors import ErrorCode, RequestRefused


def a_world(**settings: object) -> MixedWorld:
    return MixedWorld(TopicsForTests(a=6), SettingsForTests(session_timeout_ms=SESSION_MS, **settings))  # type: ignore[arg-type]


def classics(world: MixedWorld, count: int, assignor: str = RANGE, *, static: bool = False) -> list[Classic]:
    """So many, in a group that has settled."""
    members = [
        Classic(world, f"c{number}", ("a",), f"i{number}" if static else None, (assignor,)) for number in range(count)
    ]
    settle(world, members)
    assert world.kind is ClassicGroup
    return members


def modern(world: MixedWorld, name: str = "modern", instance: str | None = None) -> Consumer:
    return Consumer(world, name, ("a",), "", instance_id=instance)


def replays_alike(world: MixedWorld) -> None:
    """A start at this point finds what is remembered now, whether the log was compacted or not."""
    now = remembered(world.coordinator)
    assert remembered(world.replayed(world.log)) == now
    assert remembered(world.replayed(world.compacted())) == now


# -- from the classic protocol to the consumer protocol --


@pytest.mark.parametrize("assignor", [RANGE, COOPERATIVE])
def test_the_first_member_of_the_consumer_protocol_takes_the_others_along(assignor: str) -> None:
    world = a_world()
    old = classics(world, 2, assignor)
    generation, before = world.classic.generation, [set(one.owned) for one in old]
    new = modern(world)
    new.act()
    roster = world.consumers.roster
    assert (set(roster.members), roster.epoch) == ({one.member_id for one in old} | {"modern"}, generation + 1)
    assert new.places == set(), "nothing is free yet"
    assert [one.owned for one in old] == before
    assert [world.commit_code(one.member_id, one.generation) for one in old] == [0, 0]
    replays_alike(world)
    settle(world, [*old, new])
    assert [len(one.owned) for one in old] == [2, 2]
    assert len(new.owned) == 2
    replays_alike(world)


def test_sessions_of_the_others_go_on_by_their_own_timeouts() -> None:
    world = a_world()
    world.settings.session_timeout_ms = 10 * SESSION_MS
    old = classics(world, 2)
    modern(world).act()
    world.pass_time(SESSION_MS - 1)
    assert world.member_ids == {*(one.member_id for one in old), "modern"}
    world.pass_time(1)
    assert world.member_ids == {"modern"}


def test_who_waits_in_a_join_or_a_sync_is_told_to_join_anew() -> None:
    world = a_world()
    [first] = classics(world, 1)
    second = Classic(world, "second", ("a",))
    second.act()
    assert second.waits_for is not None
    new = modern(world)
    new.act()
    second.hear()
    assert second.codes == [ErrorCode.REBALANCE_IN_PROGRESS]
    settle(world, [first, second, new])
    assert first.codes == [ErrorCode.REBALANCE_IN_PROGRESS] * len(first.codes)


def test_a_group_that_is_only_forming_is_converted_too() -> None:
    world = a_world(initial_rebalance_delay_ms=3000)
    old = Classic(world, "old", ("a",))
    old.act()
    new = modern(world)
    new.act()
    assert world.kind is ConsumerGroup
    settle(world, [old, new])


def test_what_was_held_before_a_join_that_failed_is_not_given_to_others() -> None:
    """The leader of the next generation never syncs, and another join begins: cooperative members still read on."""
    world = a_world()
    old = classics(world, 2, COOPERATIVE)
    leader = next(one for one in old if one.member_id == world.classic.leader)
    follower = next(one for one in old if one is not leader)
    owned = set(follower.owned)
    for one in (leader, follower):
        one.is_behind = True
    before = leader.topics
    leader.topics = ("a", "other")
    leader.join()  # its answer gets lost
    follower.act()
    leader.waits_for = None
    assert world.classic.state_name == "CompletingRebalance"
    Classic(world, "third", ("a",), None, (COOPERATIVE,)).act()
    assert world.classic.state_name == "PreparingRebalance"
    new = modern(world)
    new.act()
    assert follower.owned == owned
    assert not owned & new.places
    leader.topics = before


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"migration_policy": MigrationPolicy.DISABLED}, "disabled"),
        ({"migration_policy": MigrationPolicy.DOWNGRADE}, "disabled"),
        ({"consumer_max_size": 1}, "maximum size"),
    ],
)
def test_a_group_that_cannot_be_converted_stays(settings: dict[str, object], why: str) -> None:
    world = a_world(**settings)
    classics(world, 2)
    count = len(world.log)
    with pytest.raises(RequestRefused, match=why) as refused:
        world.ask(modern(world).request())
    assert refused.value.code == ErrorCode.GROUP_ID_NOT_FOUND
    assert len(world.log) == count
    assert world.classic.state_name == "Stable"


def test_a_group_of_something_else_than_consumers_stays() -> None:
    world = a_world()
    classics(world, 1)
    world.classic.facts.protocol_type = "connect"
    with pytest.raises(RequestRefused, match="embedded protocol"):
        world.ask(modern(world).request())


def test_what_cannot_be_written_leaves_the_group_classic_and_who_waits_waiting() -> None:
    world = a_world()
    [first] = classics(world, 1)
    second = Classic(world, "second", ("a",))
    second.act()
    world.is_full = True
    assert modern(world).heartbeat() == ErrorCode.COORDINATOR_NOT_AVAILABLE
    second.hear()
    assert second.waits_for is not None
    world.is_full = False
    settle(world, [first, second])
    assert world.kind is ClassicGroup


# -- and back --


@pytest.mark.parametrize("how", ["leaves", "is sent away", "expires"])
@pytest.mark.parametrize("assignor", [RANGE, COOPERATIVE])
def test_when_the_last_one_of_the_consumer_protocol_is_gone_the_others_go_on(assignor: str, how: str) -> None:
    world = a_world()
    old = classics(world, 2, assignor)
    new = modern(world)
    settle(world, [*old, new])
    epoch = world.consumers.roster.epoch
    if how == "leaves":
        new.leave()
    elif how == "is sent away":
        leaver = Classic(world, "operator", (), member_id="modern")
        assert leaver.leave() == 0
    else:
        for _ in range(SESSION_MS // 1000):
            world.pass_time(1000)
            for one in old:
                one.act()
    assert world.classic.generation in {epoch, epoch + 1}
    replays_alike(world)
    settle(world, old)
    assert world.classic.protocol == assignor
    assert [len(one.owned) for one in old] == [3, 3]
    assert all(set(one.codes) <= {ErrorCode.REBALANCE_IN_PROGRESS} for one in old), "nobody has lost what it read"
    replays_alike(world)


def test_who_has_not_caught_up_loses_nothing() -> None:
    """With Kafka its generation is unknown then."""
    world = a_world()
    old = classics(world, 2)
    new = modern(world)
    settle(world, [*old, new])
    another = modern(world, "another")
    another.act()
    another.leave()
    new.leave()
    assert world.classic.generation > old[0].generation
    assert world.commit_code(old[0].member_id, old[0].generation) == 0
    assert old[0].beat() == ErrorCode.REBALANCE_IN_PROGRESS
    stale = old[0].generation
    settle(world, old)
    assert set(old[0].codes + old[1].codes) == {ErrorCode.REBALANCE_IN_PROGRESS}
    assert world.commit_code(old[0].member_id, stale) == ErrorCode.ILLEGAL_GENERATION


def test_the_group_rebalances_at_once() -> None:
    world = a_world()
    old = classics(world, 1)
    new = modern(world)
    settle(world, [*old, new])
    new.leave()
    assert world.classic.state_name == "PreparingRebalance"
    world.pass_time(SESSION_MS)
    assert not world.member_ids, "sessions are those of the members"


def test_members_that_do_not_join_anew_are_removed() -> None:
    world = a_world()
    old = classics(world, 2)
    new = modern(world)
    settle(world, [*old, new])
    new.leave()
    for _ in range(REBALANCE_MS // 5000 + 1):
        old[0].act()
        if old[1].member_id in world.member_ids:
            old[1].beat()
        world.pass_time(5000)
    assert world.member_ids == {old[0].member_id}


def test_members_have_all_their_protocols_again() -> None:
    world = a_world()
    both = [Classic(world, f"c{number}", ("a",), None, (RANGE, "roundrobin")) for number in range(2)]
    new = modern(world)
    settle(world, [*both, new])
    new.leave()
    other = Classic(world, "other", ("a",), None, ("roundrobin",))
    settle(world, [*both, other])
    assert world.classic.protocol == "roundrobin"


def test_a_static_member_that_comes_back_by_the_classic_protocol_takes_the_group_along() -> None:
    world = a_world()
    old = classics(world, 2, static=True)
    new = modern(world, "new", "i1")
    settle(world, [old[0], new])
    back = Classic(world, "back", ("a",), "i1")
    back.act()
    assert world.kind is ClassicGroup
    replays_alike(world)
    settle(world, [old[0], back])
    assert set(back.codes) <= {ErrorCode.REBALANCE_IN_PROGRESS}


def test_a_single_static_member_goes_there_and_back() -> None:
    world = a_world()
    classics(world, 1, static=True)
    new = modern(world, "new", "i0")
    settle(world, [new])
    back = Classic(world, "back", ("a",), "i0")
    settle(world, [back])
    assert world.kind is ClassicGroup
    replays_alike(world)


def test_who_has_left_for_a_while_is_still_there() -> None:
    world = a_world()
    old = classics(world, 1)
    new = modern(world, "new", "i9")
    settle(world, [*old, new])
    new.leave(epoch=-2)
    assert world.kind is ConsumerGroup
    for _ in range(SESSION_MS // 1000):
        world.pass_time(1000)
        old[0].act()
    assert world.kind is ClassicGroup


@pytest.mark.parametrize(
    "settings",
    [
        {"migration_policy": MigrationPolicy.UPGRADE},
        {"classic_max_size": 1},
        {"offsets_topic_segment_bytes": classic_state.SEGMENT_SLACK + 300},
    ],
)
def test_a_group_that_cannot_be_classic_stays_one_of_the_consumer_protocol(settings: dict[str, object]) -> None:
    world = a_world()
    old = classics(world, 2)
    new = modern(world)
    settle(world, [*old, new])
    for name, value in settings.items():
        setattr(world.settings, name, value)
    new.leave()
    assert world.kind is ConsumerGroup
    settle(world, old)
    assert [len(one.owned) for one in old] == [3, 3]


def test_a_conversion_that_cannot_be_written_does_not_happen() -> None:
    world = a_world()
    old = classics(world, 2)
    new = modern(world)
    settle(world, [*old, new])
    before = remembered(world.coordinator)
    world.is_full = True
    with pytest.raises(RequestRefused):
        new.leave()
    assert remembered(world.coordinator) == before
    world.is_full = False
    new.leave()
    settle(world, old)


# -- without members --


def test_an_empty_group_is_converted_by_whoever_comes() -> None:
    world = a_world()
    new = modern(world)
    settle(world, [new])
    new.leave()
    [old] = classics(world, 1)
    world.pass_time(1)
    replays_alike(world)
    assert old.leave() == 0
    settle(world, [modern(world, "another")])
    replays_alike(world)
    world.pass_time(10 * SESSION_MS)
    assert world.consumers.is_empty


def test_timers_of_the_group_that_it_was_mean_nothing() -> None:
    world = a_world()
    new = modern(world)
    settle(world, [new])
    new.leave()
    [old] = classics(world, 1)
    for _ in range(3 * SESSION_MS // 1000):
        world.pass_time(1000)
        old.act()
    assert world.member_ids == {old.member_id}
