"""The members of a classic group: protocols in common, a leader, and ids that lapse."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from support.classic_groups import Answer
from tidelog.broker.coordinator.classic_members import ClassicMember, ClassicMembers, PendingIds
from tidelog.broker.coordinator.classic_state import PENDING_MAX, PENDING_SWEEP_MS


def a_member(name: str, protocols: Mapping[str, bytes], *, instance: str | None = None) -> ClassicMember:
    return ClassicMember(
        member_id=name,
        instance_id=instance,
        client_id="c",
        client_host="/h",
        rebalance_timeout_ms=len(name),
        session_timeout_ms=1,
        protocols=protocols,
    )


def members(*wishes: str) -> ClassicMembers:
    """One member for each word; its letters are the protocols that it knows."""
    group = ClassicMembers()
    for number, word in enumerate(wishes):
        group.add(a_member(f"m{number}", dict.fromkeys(word, b"")))
    return group


def test_most_votes_win_and_the_first_members_wish_breaks_a_tie() -> None:
    """[G-5]"""
    assert members("ab", "ba", "ba").vote() == "b"
    assert members("ab", "ba").vote() == "a"
    assert members("abc", "cb", "b").vote() == "b"
    assert members().vote() is None


def test_a_vote_can_be_tried_with_other_wishes() -> None:
    group = members("ab", "ab")
    assert group.vote(instead=(group.by_id["m1"], {"b": b""})) == "b"
    assert group.vote(instead=(group.by_id["m1"], {"c": b""})) is None
    assert group.vote() == "a"


def test_who_leads_is_one_that_has_joined() -> None:
    """[G-4]"""
    group = members("a", "a", "a")
    assert group.leader == "m0"
    assert not group.elect()
    assert group.park_join(group.by_id["m2"], Answer()) is None
    assert group.elect()
    assert group.leader == "m2"
    group.remove(group.by_id["m2"])
    assert (group.leader, group.joined) == ("m0", 0)


def test_a_static_member_takes_over_its_place_and_its_task() -> None:
    """[G-9]"""
    group = ClassicMembers()
    old, new = a_member("old", {"a": b""}, instance="i"), a_member("new", {"a": b""}, instance="i")
    group.add(old)
    group.add(a_member("other", {"a": b""}))
    group.replace(old, new)
    assert group.of_instance("i") is new
    assert (group.leader, group.get("old"), len(group)) == ("new", None, 2)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.text("ab", min_size=1, max_size=2)), max_size=30))
def test_the_sums_are_those_of_the_members(steps: list[tuple[bool, int, str]]) -> None:
    group = ClassicMembers()
    for parks, number, word in steps:
        member = group.get(f"m{number}")
        if member is None:
            group.add(a_member(f"m{number}", dict.fromkeys("c" + word, b"xy")))
        elif parks:
            group.park_join(member, Answer())
        elif member.join_waiter is not None:
            assert group.take_join(member) is not None
        else:
            group.remove(member)
    there = list(group.by_id.values())
    assert group.joined == sum(member.join_waiter is not None for member in there)
    assert group.bytes_used == sum(103 * len(member.protocols) for member in there)
    assert group.shares_one_of({"c": b""})
    assert group.leader in group.by_id if there else group.leader is None
    for member in there:
        group.take_join(member)
        group.remove(member)
    assert (group.bytes_used, group.joined, group.leader) == (0, 0, None)


def test_ids_lapse_one_by_one_and_are_looked_through_seldom() -> None:
    """[G-2]"""
    ids = PendingIds()
    assert ids.give_out("b", 200) == 200
    assert ids.give_out("c", 201) is None
    assert ids.give_out("a", 100) == 100
    assert ids.sweep(100) == 100 + PENDING_SWEEP_MS
    assert ("a" in ids, "b" in ids, len(ids)) == (False, True, 2)
    assert ids.sweep(200) == 200 + PENDING_SWEEP_MS
    assert ids.sweep(300) is None
    assert len(ids) == 0


def test_of_too_many_ids_the_oldest_is_forgotten() -> None:
    ids = PendingIds()
    for number in range(PENDING_MAX + 1):
        ids.give_out(str(number), 100)
    assert ("0" in ids, "1" in ids, len(ids)) == (False, True, PENDING_MAX)
    ids.drop("1")
    ids.drop("1")
    assert len(ids) == PENDING_MAX - 1
