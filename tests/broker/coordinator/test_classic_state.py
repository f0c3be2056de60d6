"""The table of a classic group's states, and what goes into the log."""

from tidelog.broker.coordinator.classic_state import DEAD, EMPTY, SHOWN_LENGTH_MAX, TRANSITIONS, ClassicState, shown


def test_every_state_stands_in_the_table() -> None:
    assert set(TRANSITIONS) == set(ClassicState)
    assert [state.value for state in ClassicState] == [
        "Empty",
        "PreparingRebalance",
        "CompletingRebalance",
        "Stable",
        "Dead",
    ]


def test_only_an_empty_group_is_deleted_and_nothing_comes_after() -> None:
    assert {state for state in ClassicState if DEAD in TRANSITIONS[state]} == {EMPTY}
    assert not TRANSITIONS[DEAD]


def test_a_strangers_text_is_short_and_plain_in_the_log() -> None:
    assert shown("client-1") == "client-1"
    assert shown("a\nb\x1b[31mä") == "a\\nb\\x1b[31m\\xe4"
    assert len(shown("x" * 32_000)) == SHOWN_LENGTH_MAX
