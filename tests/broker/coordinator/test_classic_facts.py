"""A classic group's facts: what a record makes of them, whatever was before."""

import pytest

from tidelog.broker.coordinator.classic_facts import ClassicFacts
from tidelog.broker.coordinator.classic_state import COMPLETING, DEAD, EMPTY, PREPARING, STABLE
from tidelog.broker.coordinator.group_records import ClassicGroupValue, ClassicMemberValue
from tidelog.protocol.errors import ErrorCode, RequestRefused

ONE = ClassicMemberValue(
    member_id="m1",
    instance_id="i1",
    client_id="c",
    client_host="/h",
    rebalance_timeout_ms=-1,
    session_timeout_ms=7000,
    subscription=b"s",
    assignment=b"a",
)
STABLE_VALUE = ClassicGroupValue(
    protocol_type="connect", generation=4, protocol="p", leader="m1", state_since_ms=9, members=(ONE,)
)


def test_a_record_with_members_is_a_stable_group() -> None:
    facts = ClassicFacts("g")
    facts.restore(STABLE_VALUE, {})
    assert (facts.state, facts.generation, facts.protocol_type, facts.protocol) == (STABLE, 4, "connect", "p")
    member = facts.members.by_id["m1"]
    assert (member.protocols, member.assignment, member.instance_id) == ({"p": b"s"}, b"a", "i1")
    assert member.rebalance_timeout_ms == 7000
    assert facts.members.leader == "m1"


def test_what_is_remembered_is_written_as_it_was() -> None:
    facts = ClassicFacts("g")
    facts.restore(STABLE_VALUE, {})
    members = [(member, member.assignment) for member in facts.members.by_id.values()]
    value = facts.stable_record(members, leader=facts.members.leader, since_ms=facts.state_since_ms).value
    again = ClassicFacts("g")
    again.restore(value, {})
    assert again.describe() == facts.describe()


def test_a_record_without_members_is_an_empty_group() -> None:
    facts = ClassicFacts("g")
    facts.restore(STABLE_VALUE, {})
    facts.restore(facts.empty_record(12).value, {})
    assert (facts.state, facts.generation, facts.protocol, len(facts.members)) == (EMPTY, 5, None, 0)
    assert (facts.state_since_ms, facts.protocol_type, facts.members.leader) == (12, "connect", None)


def test_a_tombstone_ends_it() -> None:
    facts = ClassicFacts("g")
    facts.restore(STABLE_VALUE, {})
    facts.restore(None, {})
    assert (facts.state, facts.is_written, len(facts.members)) == (DEAD, False, 0)


def test_states_follow_each_other_as_in_the_table() -> None:
    facts = ClassicFacts("g")
    facts.turn(PREPARING)
    facts.turn(COMPLETING)
    with pytest.raises(AssertionError):
        facts.turn(DEAD)


@pytest.mark.parametrize(
    ("member_id", "instance_id", "code"),
    [
        ("m1", None, ErrorCode.NONE),
        ("m1", "i1", ErrorCode.NONE),
        ("m2", None, ErrorCode.UNKNOWN_MEMBER_ID),
        ("m2", "i1", ErrorCode.FENCED_INSTANCE_ID),
        ("", "i1", ErrorCode.FENCED_INSTANCE_ID),
        ("m1", "i2", ErrorCode.UNKNOWN_MEMBER_ID),
    ],
)
def test_a_member_is_named_by_its_id_and_its_instance_id_must_fit(
    member_id: str, instance_id: str | None, code: ErrorCode
) -> None:
    """[G-9]"""
    facts = ClassicFacts("g")
    facts.restore(STABLE_VALUE, {})
    if code is ErrorCode.NONE:
        assert facts.member(member_id, instance_id).member_id == "m1"
    else:
        with pytest.raises(RequestRefused, match=code.name):
            facts.member(member_id, instance_id)
