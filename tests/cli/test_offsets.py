"""The offset grammar of `consume -o`: what kcat and rpk users type."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.cli.offsets import FROM_START, UNTIL_NOW, Anchor, Bound, Span, parse_span

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
VALENTINE_MS = round(datetime(2022, 2, 14, tzinfo=UTC).timestamp() * 1000)


def at(milliseconds: int) -> Bound:
    return Bound(Anchor.TIME, milliseconds)


def offset(value: int) -> Bound:
    return Bound(Anchor.OFFSET, value)


def parsed(*texts: str) -> Span:
    return parse_span(texts, now_ms=NOW_MS)


def test_nothing_said_means_from_the_start() -> None:
    assert parsed() == Span(FROM_START)


@pytest.mark.parametrize("word", ["beginning", "earliest", "start"])
def test_three_words_mean_the_start(word: str) -> None:
    assert parsed(word) == Span(FROM_START)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("end", Span(UNTIL_NOW)),
        ("latest", Span(UNTIL_NOW)),
        ("42", Span(offset(42))),
        ("42:", Span(offset(42))),
        ("0", Span(offset(0))),
        ("+2", Span(Bound(Anchor.START, 2))),
        ("-3", Span(Bound(Anchor.END, -3))),
        (":end", Span(FROM_START, UNTIL_NOW)),
        (":100", Span(FROM_START, offset(100))),
        ("100:200", Span(offset(100), offset(200))),
        ("-10:end", Span(Bound(Anchor.END, -10), UNTIL_NOW)),
        ("5:@-1h", Span(offset(5), at(NOW_MS - HOUR_MS))),
    ],
)
def test_offsets_count_from_the_log_or_from_either_of_its_ends(text: str, span: Span) -> None:
    assert parsed(text) == span


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("@1644796800000", Span(at(VALENTINE_MS))),
        ("@1644796800", Span(at(VALENTINE_MS))),
        ("@2022-02-14", Span(at(VALENTINE_MS))),
        ("@2022-02-14T00:00:00Z", Span(at(VALENTINE_MS))),
        ("@2022-02-14T00:00:00.250Z", Span(at(VALENTINE_MS + 250))),
        ("@2022-02-14T01:00:00+01:00", Span(at(VALENTINE_MS))),
        ("@2022-02-14:", Span(at(VALENTINE_MS))),
        ("@-1h", Span(at(NOW_MS - HOUR_MS))),
        ("@-1h30m", Span(at(NOW_MS - HOUR_MS * 3 // 2))),
        ("@:-1h", Span(FROM_START, at(NOW_MS - HOUR_MS))),
        ("@-48h:-24h", Span(at(NOW_MS - 48 * HOUR_MS), at(NOW_MS - 24 * HOUR_MS))),
        ("@-2d:24h", Span(at(NOW_MS - 48 * HOUR_MS), at(NOW_MS - 24 * HOUR_MS))),
        ("@2022-02-14:1h", Span(at(VALENTINE_MS), at(VALENTINE_MS + HOUR_MS))),
        ("@2022-02-14T00:00:00Z:2022-02-14T01:00:00Z", Span(at(VALENTINE_MS), at(VALENTINE_MS + HOUR_MS))),
        ("@-1m:end", Span(at(NOW_MS - 60_000), UNTIL_NOW)),
        ("@:end", Span(FROM_START, UNTIL_NOW)),
        ("s@1644796800000", Span(at(VALENTINE_MS))),
        ("e@1644796800000", Span(FROM_START, at(VALENTINE_MS))),
    ],
)
def test_a_time_may_be_a_number_a_date_or_a_duration(text: str, span: Span) -> None:
    assert parsed(text) == span


def test_kcats_pair_of_times_makes_one_span() -> None:
    assert parsed("e@1644800400000", "s@1644796800000") == Span(at(VALENTINE_MS), at(VALENTINE_MS + HOUR_MS))


@pytest.mark.parametrize(
    "texts",
    [
        ("",),
        (":",),
        ("@",),
        ("@:",),
        ("middle",),
        ("1:2:3",),
        ("0:+5",),
        ("1.5",),
        ("--1",),
        ("@yesterday",),
        ("@2022-02-30",),
        ("@12345",),
        ("s@x",),
        ("1:@x",),
        ("1", "2"),
        ("s@1644796800000", "s@1644796800000"),
    ],
)
def test_anything_else_is_refused_in_words(texts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"is no offset|is no time|several offsets"):
        parsed(*texts)


@given(st.text(alphabet="0123456789:@-+hmsdTZ.end", max_size=25))
def test_every_text_is_a_span_or_a_value_error(text: str) -> None:
    try:
        span = parsed(text)
    except ValueError:
        return
    assert isinstance(span, Span)
