"""From one group protocol to the other [C-8]."""

import pytest

from support.consumer_world import GROUP, MemberForTests, TopicsForTests, World, spread_assignment
from support.group_settings import SettingsForTests
from tidelog.broker.coordinator.classic_members import ClassicMember
from tidelog.broker.coordinator.consumer_protocol import assigned_partitions
from tidelog.broker.coordinator.group_conversion import (
    assignment_bytes,
    staying_classic,
    to_classic,
    to_consumer_records,
)
from tidelog.broker.coordinator.group_records import MemberState
from tidelog.broker.coordinator.group_settings import MigrationPolicy
from tidelog.protocol.errors import RequestRefused
from tidelog.protocol.primitives import write_int16, write_int32, write_nullable_bytes, write_string

TOPICS = TopicsForTests(a=4, b=2)
A, B = TOPICS.by_name["a"][0], TOPICS.by_name["b"][0]


def words(*topics: str) -> bytes:
    """What a consumer says in JoinGroup."""
    return b"".join((write_int16(0), write_int32(len(topics)), *map(write_string, topics), write_int32(-1)))


def a_classic(member_id: str, assignment: bytes = b"", **protocols: bytes) -> ClassicMember:
    return ClassicMember(
        member_id=member_id,
        instance_id=None,
        client_id="client",
        client_host="/127.0.0.1",
        rebalance_timeout_ms=60_000,
        session_timeout_ms=10_000,
        protocols=protocols or {"range": words("a", "b")},
        assignment=assignment,
    )


def an_upgraded_world(*members: ClassicMember) -> World:
    world = World(TOPICS)
    for record in to_consumer_records(GROUP, members, TOPICS, generation=7, protocol="range"):
        world.log.append(record)
        world.group.apply(record)
    world.crash()
    return world


def test_members_keep_what_they_have_and_the_generation_becomes_the_epoch() -> None:
    world = an_upgraded_world(
        a_classic("m1", assignment_bytes({A: (0, 1), B: (0,)}, TOPICS)),
        a_classic("m2", assignment_bytes({A: (2, 3), B: (1,)}, TOPICS)),
    )
    roster = world.group.roster
    assert (roster.epoch, roster.target_epoch, world.group.state) == (7, 7, "Stable")
    member = roster.members["m1"]
    assert (member.epoch, member.current.state) == (7, MemberState.STABLE)
    assert spread_assignment(member.current.assigned) == {(A, 0), (A, 1), (B, 0)}
    assert roster.targets["m1"] == member.current.assigned
    assert member.value.subscribed_topics == ("a", "b")
    assert member.value.classic is not None
    assert member.value.classic.session_timeout_ms == 10_000
    assert [one.member_type for one in world.group.describe().members] == [0, 0]


def test_whoever_joins_after_that_gets_only_what_the_others_have_given_up() -> None:
    world = an_upgraded_world(a_classic("m1", assignment_bytes({A: (0, 1, 2, 3), B: (0, 1)}, TOPICS)))
    newcomer = MemberForTests(world, "m2", ("a", "b"), "")
    newcomer.heartbeat()
    assert (newcomer.epoch, newcomer.told) == (8, set())
    assert len(spread_assignment(world.group.roster.targets["m2"])) == 3


def test_what_an_assignor_that_errs_has_given_out_twice_or_made_up_is_dropped() -> None:
    topics = TopicsForTests(a=4, b=2, gone=1)
    gone = topics.by_name["gone"][0]
    assignment = assignment_bytes({A: (0, 9), gone: (0,)}, topics)
    world = an_upgraded_world(a_classic("m1", assignment), a_classic("m2", assignment))
    assert spread_assignment(world.group.roster.members["m1"].current.assigned) == {(A, 0)}
    assert world.group.roster.members["m2"].current.assigned == {}


def test_words_that_nobody_understands_are_not_converted() -> None:
    with pytest.raises(RequestRefused, match="malformed"):
        to_consumer_records(GROUP, [a_classic("m", range=b"\x00")], TOPICS, generation=1, protocol="range")
    with pytest.raises(RequestRefused, match="malformed"):
        to_consumer_records(GROUP, [a_classic("m", b"\x00\x00\xff")], TOPICS, generation=1, protocol="range")


def test_a_group_goes_there_and_back() -> None:
    first = a_classic("m1", assignment_bytes({A: (0, 1)}, TOPICS), sticky=words("x"), range=words("a"))
    second = a_classic("m2", assignment_bytes({A: (2, 3)}, TOPICS), range=words("a"))
    roster = an_upgraded_world(first, second).group.roster
    staying = staying_classic(roster, (), None, SettingsForTests())
    assert staying is not None
    downgrade = to_classic(roster, staying, TOPICS, wall_ms=5, bytes_max=10_000)
    assert downgrade is not None
    value = downgrade.record.value
    assert value is not None
    assert (value.generation, value.protocol, value.leader) == (7, "range", "m1")
    assert [(one.member_id, one.subscription, one.assignment) for one in value.members] == [
        ("m1", words("a"), first.assignment),
        ("m2", words("a"), second.assignment),
    ]
    assert [one.protocols for one in downgrade.members] == [first.protocols, second.protocols]
    assert to_classic(roster, staying, TOPICS, wall_ms=5, bytes_max=100) is None


def test_only_a_group_in_which_classic_members_stay_can_be_classic() -> None:
    world = an_upgraded_world(a_classic("m1"))
    roster, settings = world.group.roster, SettingsForTests()
    assert staying_classic(roster, (), None, settings) is not None
    assert staying_classic(roster, list(roster.members.values()), None, settings) is None
    newcomer = MemberForTests(world, "m2", ("a",), "")
    newcomer.heartbeat()
    assert staying_classic(roster, (), None, settings) is None
    assert staying_classic(roster, [roster.members["m2"]], None, settings) is not None
    settings.migration_policy = MigrationPolicy.UPGRADE
    assert staying_classic(roster, [roster.members["m2"]], None, settings) is None


def test_what_an_assignor_of_its_own_has_written_is_not_thrown_away() -> None:
    """C-8: as in Kafka, but for those that need not find it again; librdkafka's cooperative-sticky writes it, too."""
    said = assignment_bytes({A: (0,)}, TOPICS)[:-4] + write_nullable_bytes(b"mine")
    for protocol in ("mine", "cooperative-sticky"):
        member = a_classic("m", said, **{protocol: words("a")})
        if protocol == "mine":
            with pytest.raises(RequestRefused, match="custom assignor"):
                to_consumer_records(GROUP, [member], TOPICS, generation=1, protocol=protocol)
        else:
            assert to_consumer_records(GROUP, [member], TOPICS, generation=1, protocol=protocol)


def test_assignments_are_read_again_as_they_were_written() -> None:
    assert assigned_partitions(assignment_bytes({A: (0, 3), B: (1,)}, TOPICS)) == {"a": (0, 3), "b": (1,)}
    assert assigned_partitions(assignment_bytes({}, TOPICS)) == {}
