"""Drafts: what a decision about a consumer group would make of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from support.consumer_world import GROUP, MemberForTests, TopicsForTests, World, settle, snapshot
from tidelog.broker.coordinator.consumer_draft import PATTERNS_MAX, PLACES_MAX, Draft, preferred_assignor
from tidelog.broker.coordinator.consumer_members import NO_VALUE, Subscription, subscription_of
from tidelog.broker.coordinator.group_records import (
    ConsumerGroupEpoch,
    ConsumerGroupMember,
    CurrentAssignment,
    ResolvedRegex,
    ResolvedRegexValue,
    TargetAssignment,
    TargetAssignmentEpoch,
)
from tidelog.protocol.errors import RequestRefused

ASSIGNORS = ("uniform", "range")


def a_world() -> World:
    world = World(TopicsForTests(a=2, b=2))
    settle([MemberForTests(world, "m1", ("a",), "b.*"), MemberForTests(world, "m2", ("a",), "b.*")])
    return world


def test_a_draft_changes_nothing() -> None:
    world = a_world()
    before = snapshot(world.group)
    draft = Draft(world.group.roster, world.topics)
    draft.remove(world.group.roster.members["m1"])
    value = replace(NO_VALUE, subscribed_topics=("a",), subscribed_regex="a")
    draft.put("m3", value, subscription_of(value), None)
    draft.resolve(None, 0)
    draft.bump(draft.metadata_hash())
    draft.assign(ASSIGNORS)
    assert snapshot(world.group) == before
    assert [type(record) for record in draft.records[:4]] == [
        CurrentAssignment,
        TargetAssignment,
        ConsumerGroupMember,
        ConsumerGroupMember,
    ]
    assert ConsumerGroupEpoch(GROUP, draft.epoch, draft.metadata_hash()) in draft.records
    assert draft.records[-1] == TargetAssignmentEpoch(GROUP, draft.epoch)


def test_an_heir_inherits_the_target_and_only_what_changes_is_written() -> None:
    world = a_world()
    roster = world.group.roster
    target = roster.targets["m1"]
    draft = Draft(roster, world.topics)
    member = roster.members["m1"]
    draft.put("m9", member.value, member.subscription, member)
    assert TargetAssignment(GROUP, "m9", target) in draft.records
    draft = Draft(roster, world.topics)
    draft.put("m1", member.value, member.subscription, member)
    assert draft.records == []
    assert draft.assign(ASSIGNORS)["m1"] is target
    assert draft.records == [TargetAssignmentEpoch(GROUP, roster.epoch)]


def test_patterns_are_looked_through_only_where_topics_have_changed() -> None:
    world = a_world()
    world.topics.create("b2", 1)
    draft = Draft(world.group.roster, world.topics)
    assert not draft.resolve((), 0)
    assert not draft.resolve(["other"], 0)
    assert draft.resolve(["b2"], 0)
    [record] = draft.records
    assert isinstance(record, ResolvedRegex)
    assert record.value is not None
    assert record.value.topics == ("b", "b2")


def test_a_pattern_of_nobody_is_forgotten_and_a_new_one_must_be_valid() -> None:
    world = a_world()
    draft = Draft(world.group.roster, world.topics)
    for member in world.group.roster.members.values():
        draft.remove(member)
    draft.resolve((), 0)
    assert draft.records[-1] == ResolvedRegex(GROUP, "b.*", None)
    value = replace(NO_VALUE, subscribed_regex="(")
    draft.put("m", value, subscription_of(value), None)
    with pytest.raises(RequestRefused, match="INVALID_REGULAR_EXPRESSION"):
        draft.resolve((), 0)


def test_a_remembered_pattern_that_is_no_longer_valid_matches_nothing_more() -> None:
    world = a_world()
    roster = world.group.roster
    roster.apply(ResolvedRegex(GROUP, "(", ResolvedRegexValue(topics=("a", "b"))))
    member = roster.members["m1"]
    draft = Draft(roster, world.topics)
    draft.put("m1", replace(member.value, subscribed_regex="("), Subscription(("a",), "("), member)
    assert draft.resolve(["b"], 0)
    assert [record.value and record.value.topics for record in draft.records if isinstance(record, ResolvedRegex)] == [
        ("a",)
    ]


def test_the_hash_tells_every_change_of_topics_that_are_subscribed_to() -> None:
    world = a_world()
    seen = {world.group.roster.metadata_hash}

    def now() -> int:
        return Draft(world.group.roster, world.topics).metadata_hash()

    assert now() in seen
    world.topics.create("c", 1)
    assert now() in seen
    for change in (
        lambda: world.topics.grow("a", 3),
        lambda: world.topics.delete("a"),
        lambda: world.topics.create("a", 3),
        lambda: world.topics.delete("b"),
    ):
        change()
        assert now() not in seen
        seen.add(now())
    world.topics.delete("a")
    assert now() == 0


def test_the_assignor_is_the_one_that_most_prefer() -> None:
    assert preferred_assignor({}, ASSIGNORS) == "uniform"
    assert preferred_assignor({"range": 1}, ASSIGNORS) == "range"
    assert preferred_assignor({"range": 1, "uniform": 1}, ASSIGNORS) == "uniform"
    assert preferred_assignor({"range": 1}, ("uniform",)) == "uniform", "it may have been struck off the list"


def a_draft_of(patterns: int, topics: int, partitions: int) -> Callable[[int], None]:
    """A group whose members subscribe to different patterns and to a topic of their own beside the common ones."""
    world = World(TopicsForTests(**{f"t{number}": partitions for number in range(topics)}))
    draft = Draft(world.group.roster, world.topics)
    common = tuple(f"t{number}" for number in range(topics))

    def join(number: int) -> None:
        regex = f"p{number}" if number < patterns else None
        value = replace(NO_VALUE, subscribed_topics=(*common, f"x{number}"), subscribed_regex=regex)
        draft.put(f"m{number}", value, subscription_of(value), None)

    return join


def test_members_that_want_too_many_different_things_are_refused() -> None:
    """Q-3: to assign that takes long, and everybody waits meanwhile."""
    join = a_draft_of(patterns=0, topics=10, partitions=1000)
    for number in range(PLACES_MAX // 10_001):
        join(number)
    with pytest.raises(RequestRefused, match="differ too much"):
        join(1000)


def test_members_that_subscribe_by_too_many_patterns_are_refused() -> None:
    join = a_draft_of(patterns=100, topics=0, partitions=0)
    for number in range(PATTERNS_MAX + 1):
        join(number)
    with pytest.raises(RequestRefused, match="too many patterns"):
        join(PATTERNS_MAX + 1)
