"""Assignors: balanced, sticky, and side by side [C-5]."""

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.broker.coordinator.assignors import ASSIGNORS, Assignment, Subscriber, range_, uniform

A, B, C = (UUID(int=number) for number in (1, 2, 3))
TOPICS = (A, B, C)


def members_of(subscriptions: Mapping[str, tuple[UUID, ...]], old: Mapping[str, Assignment]) -> dict[str, Subscriber]:
    return {
        member_id: Subscriber(frozenset(topics), old.get(member_id, {})) for member_id, topics in subscriptions.items()
    }


def places(assignment: Assignment) -> set[tuple[UUID, int]]:
    return {(topic, number) for topic, numbers in assignment.items() for number in numbers}


def moved(old: Mapping[str, Assignment], new: Mapping[str, Assignment]) -> int:
    """How many partitions somebody loses who is still there."""
    return sum(len(places(old[member_id]) - places(new[member_id])) for member_id in old.keys() & new.keys())


def check_complete(
    new: Mapping[str, Assignment], members: Mapping[str, Subscriber], counts: Mapping[UUID, int]
) -> None:
    """Every partition of every topic that is subscribed to has exactly one reader, who subscribes to it."""
    readers = Counter(place for assignment in new.values() for place in places(assignment))
    topics = frozenset().union(*(member.topics for member in members.values()))
    assert readers == Counter((topic, number) for topic in topics for number in range(counts[topic]))
    for member_id, assignment in new.items():
        assert assignment.keys() <= members[member_id].topics
        assert all(numbers and list(numbers) == sorted(numbers) for numbers in assignment.values())


def is_even(new: Mapping[str, Assignment], members: Mapping[str, Subscriber]) -> bool:
    """No partition could move to a subscriber that has two fewer."""
    sizes = {member_id: len(places(assignment)) for member_id, assignment in new.items()}
    return all(
        sizes[owner] <= sizes[other] + 1
        for owner, assignment in new.items()
        for topic in assignment
        for other, member in members.items()
        if topic in member.topics
    )


worlds = st.tuples(
    st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 12), min_size=3),
    st.lists(
        st.dictionaries(
            st.integers(0, 7).map("m{}".format), st.sets(st.sampled_from(TOPICS)).map(lambda one: tuple(sorted(one)))
        ),
        min_size=1,
        max_size=5,
    ),
)


@given(worlds)
def test_uniform_gives_everything_out_evenly_whatever_came_before(
    world: tuple[dict[UUID, int], list[dict[str, tuple[UUID, ...]]]],
) -> None:
    counts, history = world
    old: dict[str, Assignment] = {}
    for subscriptions in history:
        members = members_of(subscriptions, old)
        new = uniform(members, counts)
        check_complete(new, members, counts)
        assert is_even(new, members)
        again = uniform(members_of(subscriptions, new), counts)
        assert all(again[member_id] is new[member_id] for member_id in new), "nothing moves when nothing changes"
        old = new


@given(worlds)
def test_range_gives_the_same_numbers_of_topics_that_are_alike(
    world: tuple[dict[UUID, int], list[dict[str, tuple[UUID, ...]]]],
) -> None:
    counts, history = world
    old: dict[str, Assignment] = {}
    for subscriptions in history:
        members = members_of(subscriptions, old)
        new = range_(members, counts)
        check_complete(new, members, counts)
        subscribers = {
            topic: frozenset(member_id for member_id, member in members.items() if topic in member.topics)
            for topic in TOPICS
        }
        for assignment in new.values():
            for one in assignment:
                for other in TOPICS:
                    if counts[one] == counts[other] and subscribers[one] == subscribers[other]:
                        assert assignment[one] == assignment.get(other)
        for topic in TOPICS:
            sizes = [len(new[member_id].get(topic, ())) for member_id in subscribers[topic]]
            assert not sizes or max(sizes) - min(sizes) <= 1
        again = range_(members_of(subscriptions, new), counts)
        assert again == new
        old = new


@given(
    st.integers(1, 40), st.integers(1, 12), st.lists(st.booleans(), max_size=12), st.sampled_from(("uniform", "range"))
)
def test_a_join_moves_only_what_the_newcomer_needs(
    partitions: int, size: int, leave: list[bool], assignor: str
) -> None:
    assign = ASSIGNORS[assignor]
    subscriptions = {f"m{number}": (A,) for number in range(size)}
    old = assign(members_of(subscriptions, {}), {A: partitions})
    subscriptions["newcomer"] = (A,)
    new = assign(members_of(subscriptions, old), {A: partitions})
    assert (
        moved(old, new)
        == len(places(new["newcomer"]))
        == partitions // (size + 1)
        + (0 if partitions % (size + 1) == 0 or len(places(new["newcomer"])) == partitions // (size + 1) else 1)
    )
    staying = [member_id for member_id, gone in zip(sorted(subscriptions), leave, strict=False) if not gone]
    if staying:
        after = assign(members_of(dict.fromkeys(staying, (A,)), new), {A: partitions})
        kept = {member_id: new[member_id] for member_id in staying}
        assert moved(kept, after) == 0, "who stays loses nothing when others leave"


def test_uniform_spreads_each_topic_over_the_members() -> None:
    new = uniform(members_of({"m1": (A, B), "m2": (A, B)}, {}), {A: 2, B: 2})
    assert new == {"m1": {A: (0,), B: (0,)}, "m2": {A: (1,), B: (1,)}}


def test_uniform_balances_members_that_differ_in_what_they_may_have() -> None:
    """Only m2 may have B, so m1 gets all of A."""
    new = uniform(members_of({"m1": (A,), "m2": (A, B)}, {}), {A: 3, B: 3})
    assert new == {"m1": {A: (0, 1, 2)}, "m2": {B: (0, 1, 2)}}


def test_uniform_takes_what_came_last_when_it_must_take() -> None:
    old: dict[str, Assignment] = {"m1": {A: (0, 1, 2, 3)}}
    new = uniform(members_of({"m1": (A,), "m2": (A, B)}, old), {A: 4, B: 1})
    assert len(places(new["m1"])) == 3
    assert new["m2"] == {A: (3,), B: (0,)}


def test_range_gives_neighbours_and_the_first_members_the_extra_ones() -> None:
    new = range_(members_of({"m1": (A, B), "m2": (A, B), "m3": (A,)}, {}), {A: 7, B: 3})
    assert [new[member_id][A] for member_id in ("m1", "m2", "m3")] == [(0, 1, 2), (3, 4), (5, 6)]
    assert [new[member_id].get(B) for member_id in ("m1", "m2", "m3")] == [(0, 1), (2,), None]


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_what_is_no_more_is_dropped_and_what_is_claimed_twice_goes_to_one(assignor: str) -> None:
    old: dict[str, Assignment] = {"m1": {A: (0, 1, 9), B: (0,)}, "m2": {A: (1,), C: (5,)}}
    members = members_of({"m1": (A,), "m2": (A,)}, old)
    new = ASSIGNORS[assignor](members, {A: 2})
    check_complete(new, members, {A: 2})


@pytest.mark.parametrize("assignor", ASSIGNORS)
def test_without_members_or_topics_there_is_nothing_to_do(assignor: str) -> None:
    assert ASSIGNORS[assignor]({}, {}) == {}
    assert ASSIGNORS[assignor](members_of({"m1": (), "m2": ()}, {"m1": {A: (0,)}}), {}) == {"m1": {}, "m2": {}}
