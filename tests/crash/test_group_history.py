"""The judge of groups finds what is planted, and nothing in what is right."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from support.group_history import RULES, Assigned, Committed, Committing, Event, Read, events_of, violations
from support.members.journal import Journal

SUMS = tuple(range(100, 110))
PRODUCED = {0: SUMS, 1: ()}


def read(generation: int, first: int, end: int) -> Read:
    """What is read of partition 0."""
    return Read(generation, 0, first, SUMS[first:end])


def commit(generation: int, offset: int) -> list[Event]:
    """An offset of partition 0 that is committed."""
    return [Committing(generation, 0, offset), Committed(generation, 0, offset)]


def given(generation: int, *partitions: int) -> Assigned:
    """An assignment."""
    return Assigned(generation, frozenset(partitions))


FIRST: Sequence[Event] = [given(1, 0, 1), read(1, 0, 3), *commit(1, 3), read(1, 3, 5)]
"""Reads five, commits three, and dies."""
SECOND: Sequence[Event] = [given(2, 0), read(2, 3, 8), *commit(2, 8), given(3), given(4, 0), read(4, 9, 10)]
"""Goes on, loses the partition and gets it back."""
THIRD: Sequence[Event] = [given(3, 0, 1), read(3, 8, 9), *commit(3, 9)]
"""Has it between."""


def test_what_is_right_is_found_right() -> None:
    assert violations({"a": FIRST, "b": SECOND, "c": THIRD}, PRODUCED) == []


def test_what_a_frozen_member_had_fetched_is_its_own() -> None:
    """It reads on in its old generation while others are far ahead, and its commit is refused."""
    frozen: list[Event] = [*FIRST, read(1, 5, 7), Committing(1, 0, 7), given(5)]
    assert violations({"a": frozen, "b": SECOND, "c": THIRD}, PRODUCED) == []


def test_who_sleeps_before_it_asks_where_to_begin_is_told_where_others_are() -> None:
    """And reads there, but commits nothing: its generation is over."""
    late: list[Event] = [given(2, 0), read(2, 9, 10), Committing(2, 0, 10), given(4)]
    second: list[Event] = [given(3, 0), read(3, 3, 9), *commit(3, 9), read(3, 9, 10)]
    assert violations({"a": FIRST, "b": second, "late": late}, PRODUCED) == []
    found = violations({"a": FIRST, "b": second, "late": [*late[:-1], Committed(2, 0, 10)]}, PRODUCED)
    assert any(text.startswith("skipped: late") for text in found), found


def test_a_commit_whose_answer_was_lost_may_hold() -> None:
    first: list[Event] = [given(1, 0), read(1, 0, 5), Committing(1, 0, 5)]
    for begin in (0, 5):
        assert violations({"a": first, "b": [given(2, 0), read(2, begin, 10)]}, PRODUCED) == []


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("two owners", [given(3, 1)]),
        ("not owned", [given(9), read(9, 9, 10)]),
        ("not owned", [given(9), Committing(9, 0, 9)]),
        ("altered", [given(9, 0), Read(9, 0, 9, (999,))]),
        ("torn", [given(9, 0), read(9, 9, 10), read(9, 9, 10)]),
        ("torn", [given(9, 0), read(9, 9, 10), *commit(9, 9)]),
        ("torn", [given(9, 0), *commit(9, 9)]),
        ("skipped", [given(9, 0), read(9, 7, 10)]),
        ("skipped", [given(3, 0), read(3, 9, 10)]),
        ("delivered again", [given(9, 0), read(9, 8, 10)]),
        ("delivered again", [given(9, 0), read(9, 0, 10)]),
    ],
)
def test_what_is_planted_is_found(name: str, planted: Sequence[Event]) -> None:
    found = violations({"a": FIRST, "b": SECOND, "c": THIRD, "planted": planted}, PRODUCED)
    assert any(text.startswith(f"{name}: ") for text in found), found


def test_what_nobody_read_is_found() -> None:
    assert violations({"a": FIRST}, PRODUCED) == ["unread: 5 records of partition 0, the first of them at 5"]
    assert violations({"a": FIRST}, {**PRODUCED, 1: (7,)})[1:] == [
        "unread: 1 records of partition 1, the first of them at 0"
    ]


def test_a_zombies_commit_that_is_accepted_is_found() -> None:
    """The broker may not take the commit of a member that it has put out."""
    zombie: list[Event] = [*FIRST, Committing(1, 0, 5), Committed(1, 0, 5)]
    found = violations({"a": zombie, "b": SECOND, "c": THIRD}, PRODUCED)
    assert [text.split(":")[0] for text in found] == ["delivered again"]


def test_each_rule_has_its_plant() -> None:
    assert set(RULES) == {"two owners", "not owned", "altered", "torn", "skipped", "delivered again", "unread"}


def test_a_journal_says_what_was_written_into_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "member")
    journal.assigned(4, [1, 0])
    journal.read(0, 7, [b"a", b"b"])
    with journal.committing({0: 9}):
        pass
    with pytest.raises(ZeroDivisionError), journal.committing({0: 9}):
        raise ZeroDivisionError
    journal.assigned(5, [0], kept=True)
    journal.read(0, 9, [b"c"])
    with (tmp_path / "member").open("ab") as torn:
        torn.write(b'["read", 5')
    assert events_of(tmp_path / "member") == [
        Assigned(4, frozenset({0, 1})),
        Read(4, 0, 7, (3904355907, 1908338681)),
        Committing(4, 0, 9),
        Committed(4, 0, 9),
        Committing(4, 0, 9),
        Assigned(5, frozenset({0})),
        Read(4, 0, 9, (112844655,)),
    ]
