"""The members of a consumer group, as records make them."""

from dataclasses import replace
from uuid import UUID

from tidelog.broker.coordinator.consumer_members import NO_ASSIGNMENT, NO_VALUE, Roster, Subscription, subscription_of
from tidelog.broker.coordinator.group_records import (
    ConsumerGroupEpoch,
    ConsumerGroupMember,
    CurrentAssignment,
    ResolvedRegex,
    ResolvedRegexValue,
    TargetAssignment,
    TargetAssignmentEpoch,
)

A = UUID(int=1)
HAS = replace(NO_ASSIGNMENT, member_epoch=1, assigned={A: (0, 1)}, pending_revocation={A: (2,)})
SAYS = replace(NO_VALUE, instance_id="i", subscribed_topics=("a",), server_assignor="range")


def a_roster() -> Roster:
    roster = Roster("g")
    for record in (
        ConsumerGroupMember("g", "m", SAYS),
        ConsumerGroupEpoch("g", 1, 7),
        TargetAssignment("g", "m", {A: (0, 1)}),
        TargetAssignmentEpoch("g", 1),
        CurrentAssignment("g", "m", HAS),
    ):
        roster.apply(record)
    return roster


def test_what_a_member_has_and_what_it_has_yet_to_give_up_is_its_own() -> None:
    roster = a_roster()
    assert [roster.owner(A, number) for number in range(4)] == ["m", "m", "m", None]
    roster.apply(CurrentAssignment("g", "m", replace(HAS, pending_revocation={})))
    assert roster.owner(A, 2) is None


def test_members_are_counted_by_subscription_and_assignor() -> None:
    roster = a_roster()
    assert roster.subscriptions == {Subscription(("a",), ""): 1}
    assert (roster.assignors, roster.static) == ({"range": 1}, {"i": "m"})
    roster.apply(ConsumerGroupMember("g", "m", replace(SAYS, instance_id=None, server_assignor=None)))
    assert (roster.assignors, roster.static) == ({}, {})


def test_who_has_not_arrived_at_the_target_is_on_its_way() -> None:
    roster = a_roster()
    assert roster.moving == set()
    roster.apply(TargetAssignmentEpoch("g", 2))
    assert roster.moving == {"m"}


def test_tombstones_leave_nothing_behind_and_may_come_for_nobody() -> None:
    roster = a_roster()
    for member_id in ("m", "nobody"):
        roster.apply(CurrentAssignment("g", member_id, None))
        roster.apply(TargetAssignment("g", member_id, None))
        roster.apply(ConsumerGroupMember("g", member_id, None))
    assert (roster.members, roster.owners, roster.subscriptions, roster.static) == ({}, {}, {}, {})
    assert (roster.targets, roster.moving, roster.assignors) == ({}, set(), {})
    roster.apply(TargetAssignmentEpoch("g", None))
    roster.apply(ConsumerGroupEpoch("g", None))
    assert (roster.epoch, roster.target_epoch, roster.metadata_hash) == (0, 0, 0)


def test_a_member_may_be_met_first_by_its_assignment() -> None:
    """In a compacted log, where it has said anew what it subscribes to."""
    roster = Roster("g")
    roster.apply(CurrentAssignment("g", "m", HAS))
    assert roster.owner(A, 0) == "m"
    roster.apply(ConsumerGroupMember("g", "m", SAYS))
    assert roster.members["m"].current == HAS
    assert roster.subscriptions == {subscription_of(SAYS): 1}


def test_a_partition_that_another_has_taken_meanwhile_stays_with_it() -> None:
    roster = a_roster()
    roster.apply(CurrentAssignment("g", "other", replace(HAS, pending_revocation={})))
    roster.apply(CurrentAssignment("g", "m", NO_ASSIGNMENT))
    assert roster.owner(A, 0) == "other"


def test_patterns_are_remembered_and_forgotten() -> None:
    roster = a_roster()
    value = ResolvedRegexValue(topics=("a",))
    roster.apply(ResolvedRegex("g", "a.*", value))
    assert roster.regexes == {"a.*": value}
    roster.apply(ResolvedRegex("g", "a.*", None))
    assert roster.regexes == {}
