"""The offset grammar of `consume -o`: where to begin and, perhaps, where to end, as kcat and rpk spell it.

    beginning earliest start    the log's start     N        that offset         @T        first record at or after T
    end latest                  the log's end       N:  N:M  from N, up to M     @T1:T2    between two times
    +N                          N after the start   :end     up to now           s@T e@T   kcat's two halves
    -N                          N before the end    -N:end   any two halves
T is `2026-02-14`, `2026-02-14T10:00:00Z`, 13 digits (ms), 9 or 10 digits (s), or a duration: `-1h` is an hour ago, and
behind a colon `1h` is an hour after the first time. An end is exclusive. Everything here is pure: now is passed in.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from .commands import seconds_of

WORDS = {"beginning": "start", "earliest": "start", "start": "start", "end": "end", "latest": "end"}


class Anchor(Enum):
    """What a bound is measured from."""

    START = "start"
    END = "end"
    OFFSET = "offset"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Bound:
    """A place in every partition: `value` records after an anchor, or the milliseconds of a time."""

    anchor: Anchor
    value: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """From where to where; no end means to follow the log."""

    start: Bound
    end: Bound | None = None


FROM_START = Bound(Anchor.START)
UNTIL_NOW = Bound(Anchor.END)


def parse_span(texts: Sequence[str], *, now_ms: int) -> Span:
    """The span of one `-o`, or of kcat's pair `-o s@T -o e@T`. Raises ValueError with words for the user."""
    if not texts:
        return Span(FROM_START)
    if len(texts) == 1:
        return _parse(texts[0], now_ms)
    if sorted(text[:2] for text in texts) == ["e@", "s@"]:
        halves = {text[0]: _parse(text, now_ms) for text in texts}
        return Span(halves["s"].start, halves["e"].end)
    raise ValueError("several offsets can be given only as s@TIME and e@TIME")


def _parse(text: str, now_ms: int) -> Span:
    if text.startswith("s@"):
        return Span(Bound(Anchor.TIME, _time(text[2:], now_ms)))
    if text.startswith("e@"):
        return Span(FROM_START, Bound(Anchor.TIME, _time(text[2:], now_ms)))
    read = _time_span if text.startswith("@") else _offset_span
    span = read(text.removeprefix("@"), now_ms)
    if span is None:
        raise ValueError(f"{text!r} is no offset: try beginning, end, 42, -10, +10, 100:200, :end, @-1h or @2026-02-14")
    return span


def _offset_span(text: str, now_ms: int) -> Span | None:
    """`A`, `A:`, `:B` or `A:B` in offsets; the end may also be a time (`0:@-1h`)."""
    first, _, last = text.partition(":")
    start = _offset(first) if first else FROM_START
    end = None
    if last.startswith("@"):
        end = Bound(Anchor.TIME, _time(last[1:], now_ms))
    elif last:
        end = _offset(last)
        if end is None or end.anchor is Anchor.START:
            return None
    if start is None or not (first or last):
        return None
    return Span(start, end)


def _offset(text: str) -> Bound | None:
    if text in WORDS:
        return Bound(Anchor(WORDS[text]))
    if not re.fullmatch(r"[+-]?\d{1,19}", text):
        return None
    if text[0] == "+":
        return Bound(Anchor.START, int(text))
    # "-0" is kcat's way of saying the end.
    return Bound(Anchor.END, int(text)) if text[0] == "-" else Bound(Anchor.OFFSET, int(text))


def _time_span(text: str, now_ms: int) -> Span | None:
    """`T`, `T:`, `:T` or `T1:T2`; a time may contain colons itself, so every split is tried, the whole first."""
    for first, last in _splits(text):
        start_ms = _milliseconds(first, now_ms) if first else None
        if first and start_ms is None:
            continue
        start = FROM_START if start_ms is None else Bound(Anchor.TIME, start_ms)
        if last in WORDS and WORDS[last] == "end":
            return Span(start, UNTIL_NOW)
        if not last:
            return Span(start) if first else None
        end_ms = _milliseconds(last, now_ms, after_ms=start_ms)
        if end_ms is not None:
            return Span(start, Bound(Anchor.TIME, end_ms))
    return None


def _splits(text: str) -> Iterator[tuple[str, str]]:
    yield text, ""
    for position, character in enumerate(text):
        if character == ":":
            yield text[:position], text[position + 1 :]


def _time(text: str, now_ms: int) -> int:
    milliseconds = _milliseconds(text, now_ms)
    if milliseconds is None:
        raise ValueError(f"{text!r} is no time: try 2026-02-14, 2026-02-14T10:00:00Z, 1771063200000 or -1h")
    return milliseconds


def _milliseconds(text: str, now_ms: int, *, after_ms: int | None = None) -> int | None:
    """A point in time; a negative duration counts from now, a positive one from `after_ms`, if there is one."""
    if re.fullmatch(r"\d{13}", text):
        return int(text)
    if re.fullmatch(r"\d{9,10}", text):
        return int(text) * 1000
    if re.match(r"\d{4}-\d{2}-\d{2}", text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    seconds = None if text.isdigit() else seconds_of(text.lstrip("+-"))
    if seconds is None:
        return None
    if text.startswith("-"):
        return now_ms - round(seconds * 1000)
    return (now_ms if after_ms is None else after_ms) + round(seconds * 1000)
