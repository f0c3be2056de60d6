"""`Pending`: the one mechanism of waiting."""

import pytest

from tidelog.broker.request import Pending, gather


def test_whoever_attached_hears_the_answer_when_it_comes() -> None:
    heard: list[str] = []
    pending: Pending[str] = Pending()
    pending.attach(heard.append)
    assert heard == []
    pending("answer")
    assert heard == ["answer"]


def test_an_answer_that_came_before_anyone_listened_is_heard_at_once() -> None:
    heard: list[str] = []
    pending: Pending[str] = Pending()
    pending("answer")
    pending.attach(heard.append)
    assert heard == ["answer"]


def test_an_abandoned_wait_tells_its_owner_once_and_swallows_a_late_answer() -> None:
    heard: list[str] = []
    forgotten: list[bool] = []
    pending: Pending[str] = Pending(on_abandon=lambda: forgotten.append(True))
    pending.attach(heard.append)
    pending.abandon()
    pending.abandon()
    pending("too late")
    assert heard == []
    assert forgotten == [True]


def test_an_answered_wait_cannot_be_abandoned() -> None:
    forgotten: list[bool] = []
    pending: Pending[str] = Pending(on_abandon=lambda: forgotten.append(True))
    pending("answer")
    pending.abandon()
    assert forgotten == []


def test_answering_twice_is_a_programmers_mistake() -> None:
    pending: Pending[str] = Pending()
    pending("one")
    with pytest.raises(AssertionError):
        pending("two")


def test_a_wait_that_fails_tells_its_listener_and_gets_no_answer() -> None:
    heard: list[str] = []
    pending: Pending[str] = Pending()
    assert not pending.fail(), "nobody listens"
    pending.attach(heard.append, lambda: heard.append("failed"))
    assert pending.fail()
    assert not pending.fail()
    pending("too late")
    assert heard == ["failed"]


def test_a_wait_that_is_hurried_is_answered_with_what_is_there() -> None:
    pending: Pending[str] = Pending(on_hurry=lambda: pending("so far"))
    assert pending.response is None
    pending.hurry()
    assert pending.response == "so far"


# Answers made of several


def joined(parts: tuple[str, ...]) -> str:
    return " ".join(parts)


def test_what_is_gathered_of_nothing_or_of_what_is_there_is_there() -> None:
    there: Pending[str] = Pending()
    there("b")
    parts: list[Pending[str] | str] = ["a", there, "c"]
    assert gather(parts, joined) == "a b c"
    assert gather(parts[:0], joined) == ""


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_is_gathered_is_there_when_its_last_part_is_and_in_the_parts_order(order: tuple[int, int]) -> None:
    first: Pending[str] = Pending()
    last: Pending[str] = Pending()
    parts: list[Pending[str] | str] = [first, "b", last]
    whole = gather(parts, joined)
    assert isinstance(whole, Pending)
    heard: list[str] = []
    whole.attach(heard.append)
    for position in order:
        assert heard == []
        (first, last)[position]("ac"[position])
    assert heard == ["a b c"]


def test_who_abandons_the_whole_abandons_the_parts_that_are_still_to_come() -> None:
    forgotten: list[str] = []
    parts: list[Pending[str]] = [
        Pending(on_abandon=lambda: forgotten.append("first")),
        Pending(on_abandon=lambda: forgotten.append("second")),
    ]
    whole = gather(parts, joined)
    assert isinstance(whole, Pending)
    parts[0]("a")
    whole.abandon()
    assert forgotten == ["second"]


def test_the_whole_fails_with_any_of_its_parts() -> None:
    parts: list[Pending[str]] = [Pending(), Pending()]
    whole = gather(parts, joined)
    assert isinstance(whole, Pending)
    heard: list[str] = []
    whole.attach(heard.append, lambda: heard.append("failed"))
    assert parts[0].fail()
    parts[1]("b")
    assert heard == ["failed"]
