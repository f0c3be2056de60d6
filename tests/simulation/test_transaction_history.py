"""The judge of transactions finds what is planted, and nothing in what is right."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from support.history import Entry, Place
from support.transaction_history import (
    RULES,
    Found,
    Outcome,
    Polled,
    Sent,
    Start,
    Transaction,
    TransactionHistory,
    violations,
)

INPUT, A, B = Place("input", 0), Place("a", 0), Place("b", 0)


class Story:
    """Two producers and a reader over two partitions; each test breaks one thing.

    Offset 2 of both partitions is a marker of the first transaction; that of the second, which is aborted, is 4.
    """

    def __init__(self) -> None:
        self.first = transaction("p", 10, "committed", Sent(A, b"a0", 0), Sent(A, b"a1", 1), Sent(B, b"b0", 0))
        self.first.offsets = {INPUT: 5}
        self.aborted = transaction("q", 20, "aborted", Sent(A, b"gone", 3))
        self.second = transaction("p", 30, "committed", Sent(A, b"a5", 5), Sent(B, b"b2", 2))
        self.second.offsets = {INPUT: 8}
        self.second.polled = [Polled(31, A, 0, b"a0")]
        self.unknown = transaction("q", 40, "unknown", Sent(A, b"a7", 7), Sent(B, b"b4", 4))
        self.history = TransactionHistory(
            [self.first, self.aborted, self.second, self.unknown],
            [Start("p", 0, 1), Start("q", 0, 2)],
            {"r": [Polled(21, A, 0, b"a0"), Polled(22, A, 1, b"a1"), Polled(23, B, 0, b"b0"), Polled(39, A, 5, b"a5")]},
        )
        self.visible = {
            A: [Entry(0, None, b"a0"), Entry(1, None, b"a1"), Entry(5, None, b"a5"), Entry(7, None, b"a7")],
            B: [Entry(0, None, b"b0"), Entry(2, None, b"b2"), Entry(4, None, b"b4")],
        }
        self.offsets = {INPUT: 8}

    @property
    def reader(self) -> list[Polled]:
        """What the reader got."""
        return self.history.readers["r"]

    def kinds(self) -> set[str]:
        """Of what is found to be broken."""
        return {violation.kind for violation in violations(self.history, Found(self.visible, self.offsets))}


def transaction(producer: str, began: int, outcome: Outcome, *sent: Sent) -> Transaction:
    """One that lasts for nine ticks, and asks for its commit, unless it is aborted, after five."""
    asked = None if outcome == "aborted" else began + 5
    return Transaction(
        producer=producer, instance=0, began=began, sent=[*sent], commit_asked=asked, ended=began + 9, outcome=outcome
    )


def test_what_is_right_is_found_right() -> None:
    assert Story().kinds() == set()


def test_of_an_unknown_end_nothing_may_be_visible() -> None:
    story = Story()
    del story.visible[A][-1], story.visible[B][-1]
    story.unknown.offsets = {INPUT: 9}
    assert story.kinds() == set()


def test_of_an_unknown_end_all_may_be_visible_with_its_offsets() -> None:
    story = Story()
    story.unknown.offsets = {INPUT: 9}
    assert story.kinds() == {"torn offsets"}
    story.offsets = {INPUT: 9}
    assert story.kinds() == set()


def test_a_transaction_of_offsets_alone_may_hold_or_not() -> None:
    story = Story()
    only = transaction("q", 50, "unknown")
    only.offsets = {INPUT: 11}
    story.history.transactions.append(only)
    assert story.kinds() == set()
    story.offsets = {INPUT: 11}
    assert story.kinds() == set()


def test_partitions_may_show_transactions_in_different_orders() -> None:
    """Kafka allows G0: of two that run at once, each may be first in one of two partitions."""
    story = Story()
    story.second.producer = "s"
    story.second.polled = []
    story.second.sent = [Sent(A, b"a5", 8), Sent(B, b"b2", 2)]
    story.visible[A][2:] = [Entry(7, None, b"a7"), Entry(8, None, b"a5")]
    story.reader[-1] = Polled(47, A, 7, b"a7")
    assert story.kinds() == set()


PLANTS: dict[str, tuple[str, Callable[[Story], object]]] = {
    "a value of nobody": ("invented", lambda story: story.visible[B].append(Entry(9, None, b"who?"))),
    "a value elsewhere": ("invented", lambda story: story.visible.update({INPUT: [Entry(0, None, b"a0")]})),
    "aborted, in the end": ("aborted read", lambda story: story.visible[A].insert(2, Entry(3, None, b"gone"))),
    "aborted, for a reader": ("aborted read", lambda story: story.reader.insert(3, Polled(24, A, 3, b"gone"))),
    "too early": ("precommitted read", lambda story: story.reader.__setitem__(0, Polled(14, A, 0, b"a0"))),
    "never asked": ("precommitted read", lambda story: setattr(story.unknown, "commit_asked", None)),
    "two values": ("inconsistent offsets", lambda story: story.visible[B].__setitem__(1, Entry(2, None, b"b4"))),
    "an offset given away": (
        "inconsistent offsets",
        lambda story: story.unknown.sent.__setitem__(0, Sent(A, b"a7", 3)),
    ),
    "twice": ("duplicate", lambda story: story.visible[A].append(Entry(9, None, b"a7"))),
    "lost": ("lost write", lambda story: story.visible[A].pop(1)),
    "unseen": ("unseen", lambda story: story.visible.update({B: story.visible[B][:1]})),
    "torn": ("torn transaction", lambda story: story.visible[B].pop()),
    "offsets behind": ("torn offsets", lambda story: story.offsets.update({INPUT: 5})),
    "offsets of nobody": ("torn offsets", lambda story: story.offsets.update({INPUT: 9})),
    "offsets without records": (
        "torn offsets",
        lambda story: (
            setattr(story.aborted, "offsets", {INPUT: 9}),
            story.offsets.update({INPUT: 9}),
        ),
    ),
    "sent in disorder": ("nonmonotonic send", lambda story: story.first.sent.reverse()),
    "read backwards": ("nonmonotonic poll", lambda story: story.reader.append(Polled(50, A, 1, b"a1"))),
    "read with a gap": ("poll skip", lambda story: story.reader.pop(1)),
    "a zombie": ("zombie", lambda story: story.history.starts.append(Start("p", 1, 32))),
    "a zombie without an answer": ("zombie", lambda story: story.history.starts.append(Start("q", 1, 44))),
    "from its own future": ("cycle", lambda story: story.first.polled.append(Polled(18, A, 5, b"a5"))),
    "from each other": (
        "cycle",
        lambda story: (
            story.first.polled.append(Polled(48, B, 4, b"b4")),
            story.unknown.polled.append(Polled(48, B, 0, b"b0")),
        ),
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_found(name: str) -> None:
    kind, plant = PLANTS[name]
    story = Story()
    plant(story)
    assert kind in story.kinds()


def test_each_rule_has_its_plant() -> None:
    assert {kind for kind, _ in PLANTS.values()} == set(RULES)


def test_two_records_of_one_value_are_no_history() -> None:
    story = Story()
    story.second.sent.append(replace(story.first.sent[0], offset=9))
    with pytest.raises(AssertionError, match="differ"):
        story.kinds()
