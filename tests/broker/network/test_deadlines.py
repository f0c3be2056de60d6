"""Deadlines: who is sent away, when, and for what [reliability 3.5]."""

from dataclasses import replace

import pytest

from tidelog.broker.network.deadlines import (
    ANSWERS_NOT_TAKEN,
    MEMORY_NEEDED,
    NO_REQUEST,
    RATE_MIN,
    RATE_MIN_OVER_ALL_WHEN_SCARCE,
    RATE_MIN_WHEN_SCARCE,
    SCARCE_WINDOW_S,
    SLOW_REQUEST,
    ReaderClock,
    Round,
    SenderClock,
)

ROUND = Round(
    now=0.0,
    elapsed_s=1.0,
    handshake_s=10.0,
    frame_s=10.0,
    send_s=60.0,
    idle_s=600.0,
    requests_press=False,
    responses_press=False,
)


def at(now: float, **changes: bool) -> Round:
    return replace(ROUND, now=now, **changes)


def an_old_hand(now: float = 100.0) -> SenderClock:
    """Of a connection that has asked before, and has begun to ask again."""
    clock = SenderClock(0.0001)
    clock.finished()
    clock.began(now, 0)
    return clock


def verdicts(clock: SenderClock, held: dict[float, int], **changes: bool) -> list[str]:
    return [clock.judge(at(now, **changes), size, holds_memory=True) for now, size in held.items()]


def test_a_new_connection_has_its_time_to_ask_something() -> None:
    clock = SenderClock(100.0)
    assert verdicts(clock, {110.0: 0, 110.1: 0}) == ["", NO_REQUEST]


def test_a_new_connection_that_asks_slowly_has_no_more_time() -> None:
    clock = SenderClock(100.0)
    clock.began(100.0, 0)
    assert verdicts(clock, {105.0: 100_000, 110.1: 200_000}) == ["", NO_REQUEST]


def test_who_has_asked_once_may_be_silent() -> None:
    clock = SenderClock(100.0)
    clock.finished()
    assert verdicts(clock, {1000.0: 0}) == [""]


@pytest.mark.parametrize("rate", [0, 1, RATE_MIN - 1])
def test_a_request_that_comes_too_slowly_is_not_waited_for(rate: int) -> None:
    """The slow loris."""
    clock = an_old_hand()
    assert verdicts(clock, {110.0: 10 * rate + 1, 110.5: int(10.5 * rate) + 1}) == ["", SLOW_REQUEST]


def test_a_request_that_comes_fast_enough_may_take_its_time() -> None:
    clock = an_old_hand()
    sizes = {100.0 + second: 1 + RATE_MIN * second for second in range(1, 1000)}
    assert set(verdicts(clock, sizes)) == {""}


def test_who_begins_fast_must_go_on() -> None:
    """An average over the whole request would let it be slow for hours."""
    clock = an_old_hand()
    sizes = {100.0 + second: 50_000_000 + second for second in range(1, 30)}
    assert SLOW_REQUEST in verdicts(clock, sizes)


def test_time_in_which_we_did_not_read_does_not_count() -> None:
    clock = an_old_hand()
    clock.began(500.0, 7)
    assert verdicts(clock, {509.0: 7, 510.1: 7}) == ["", SLOW_REQUEST]


def sizes_of(*gained: int, start: int = 50_000) -> dict[float, int]:
    """What is held from second to second, when so much comes in each."""
    sizes, held = {}, start
    for second, size in enumerate(gained):
        held += size
        sizes[101.0 + second] = held
    return sizes


@pytest.mark.parametrize(("rate", "is_enough"), [(RATE_MIN_WHEN_SCARCE, True), (RATE_MIN_WHEN_SCARCE // 3, False)])
def test_while_memory_is_scarce_who_holds_some_must_hurry(rate: int, is_enough: bool) -> None:
    sizes = sizes_of(*[rate] * 10)
    assert (MEMORY_NEEDED not in verdicts(an_old_hand(), sizes, requests_press=True)) == is_enough
    assert MEMORY_NEEDED not in verdicts(an_old_hand(), sizes)


def test_who_says_nothing_while_memory_is_scarce_is_not_waited_for_longer_than_the_window() -> None:
    told = verdicts(an_old_hand(), sizes_of(*[0] * 9), requests_press=True)
    assert told.index(MEMORY_NEEDED) == SCARCE_WINDOW_S + 1, "the first look is no measure"


def test_bytes_may_come_in_gusts_while_memory_is_scarce() -> None:
    gusts = [0, 0, 0, 4 * RATE_MIN_WHEN_SCARCE] * 3
    assert set(verdicts(an_old_hand(), sizes_of(*gusts), requests_press=True)[:10]) == {""}


def test_a_large_request_may_not_trickle_in_while_memory_is_scarce() -> None:
    """Far above the least rate: but others wait for all that it holds."""
    trickle = [3 << 20, *[160_000] * 30]
    told = verdicts(an_old_hand(), sizes_of(*trickle), requests_press=True)
    assert told.index(MEMORY_NEEDED) in range(13, 18)
    assert set(verdicts(an_old_hand(), sizes_of(*trickle))) == {""}
    brisk = [RATE_MIN_OVER_ALL_WHEN_SCARCE] * 99
    assert set(verdicts(an_old_hand(), sizes_of(*brisk), requests_press=True)) == {""}


def test_each_request_has_its_time_while_memory_is_scarce() -> None:
    clock = an_old_hand()
    for turn in range(20):
        began = 100.0 + 5 * turn
        clock.began(began, 0)
        sizes = {began + second: 100_000 * second for second in range(1, 5)}
        assert set(verdicts(clock, sizes, requests_press=True)) == {""}
        clock.finished()


def test_who_holds_no_memory_need_not_hurry() -> None:
    clock = an_old_hand()
    pressing = [clock.judge(at(now, requests_press=True), 100, holds_memory=False) for now in (101.0, 102.0, 103.0)]
    assert pressing == ["", "", ""]


# Answers


def take(clock: ReaderClock, round_: Round, left: int, *, holds_memory: bool = False) -> str:
    return clock.judge(round_, left, holds_memory=holds_memory)


def test_a_reader_that_takes_nothing_is_not_waited_for_longer_than_its_time() -> None:
    clock = ReaderClock(100.0)
    clock.wrote(1000)
    assert take(clock, at(160.0), 1000) == ""
    assert take(clock, at(161.0), 1000) == ANSWERS_NOT_TAKEN


def test_a_reader_that_takes_little_by_little_is_waited_for() -> None:
    clock = ReaderClock(100.0)
    clock.wrote(1000)
    for step in range(1, 20):
        assert take(clock, at(100.0 + 50 * step), 1000 - step) == ""


def test_what_is_written_meanwhile_is_not_taken_for_what_was_left() -> None:
    clock = ReaderClock(100.0)
    clock.wrote(1000)
    assert take(clock, at(150.0), 999) == ""
    clock.wrote(1000)
    assert take(clock, at(200.0), 1999) == ""
    assert take(clock, at(211.0), 1999) == ANSWERS_NOT_TAKEN


def looks(clock: ReaderClock, taken: list[int], **changes: bool) -> list[str]:
    """What is said from second to second to a reader that takes so much in each."""
    left = 100 << 20
    clock.wrote(left)
    told = []
    for second, size in enumerate(taken):
        left -= size
        told.append(take(clock, at(101.0 + second, **changes), left, holds_memory=True))
    return told


def test_while_memory_is_scarce_readers_must_hurry() -> None:
    for rate in (0, RATE_MIN_WHEN_SCARCE // 2):
        assert MEMORY_NEEDED in looks(ReaderClock(100.0), [rate] * 20, responses_press=True)
        assert set(looks(ReaderClock(100.0), [rate] * 20)) == {""}
    assert looks(ReaderClock(100.0), [0] * 9, responses_press=True).index(MEMORY_NEEDED) == SCARCE_WINDOW_S + 1
    assert set(looks(ReaderClock(100.0), [RATE_MIN_WHEN_SCARCE] * 100, responses_press=True)) == {""}


def test_readers_may_take_their_answers_in_gusts_while_memory_is_scarce() -> None:
    """The kernel takes some from us when it has got rid of some: that says little of how steadily the peer reads."""
    gusts = [0, 0, 0, 0, 5 * RATE_MIN_WHEN_SCARCE] * 20
    assert set(looks(ReaderClock(100.0), gusts, responses_press=True)) == {""}


def test_who_takes_no_answers_cannot_hold_memory_for_requests_either() -> None:
    """Nothing is read from it meanwhile, so its half request would stay for as long as it likes."""
    for holds_memory in (True, False):
        clock = ReaderClock(100.0)
        clock.wrote(1 << 20)
        told = [
            take(clock, at(101.0 + second, requests_press=True), 1 << 20, holds_memory=holds_memory)
            for second in range(9)
        ]
        assert (MEMORY_NEEDED in told) == holds_memory
