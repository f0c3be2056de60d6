"""Where to read from and to: the forms that a program may write, and what they mean.

    "earliest" / "latest" / "now"     the oldest record held; after the newest ("now" is another word for "latest")
    42                                the record with this offset
    -10                               ten before the end (as many as there are, if there are fewer)
    "@1700000000000"                  the first record at or after this time, in milliseconds since 1970
    "@-1h"                            the same, an hour ago; ms, s, m, h, d and w, also together: "@-1h30m"
    "2024-05-01T10:00:00Z", "@2024-05-01"   the same, in ISO 8601; without a time zone it is UTC
    datetime                          the same; it must carry its time zone

Where there is no record at or after a time, the end is meant. This file only reads the forms; the broker is asked
by the answer's `query`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

OffsetSpec = int | str | datetime
"""What a program may write."""

QUERY_LATEST = -1
QUERY_EARLIEST = -2

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(?:\d+(?:ms|[smhdw]))+")
_DURATION_PART = re.compile(r"(\d+)(ms|[smhdw])")


@dataclass(frozen=True, slots=True)
class OffsetQuery:
    """An offset that is known (`offset`), or what to ask the broker for (`query`) and how far to step `back`."""

    offset: int | None = None
    query: int = QUERY_LATEST
    back: int = 0


EARLIEST = OffsetQuery(query=QUERY_EARLIEST)
LATEST = OffsetQuery(query=QUERY_LATEST)


def parse_offset(spec: OffsetSpec, *, now_ms: int) -> OffsetQuery:
    """What `spec` asks for; `now_ms` is the moment that "@-1h" counts from."""
    if isinstance(spec, bool):
        raise TypeError("an offset is not a bool")
    if isinstance(spec, int):
        return OffsetQuery(offset=spec) if spec >= 0 else OffsetQuery(back=-spec)
    if isinstance(spec, datetime):
        if spec.tzinfo is None:
            raise ValueError("the datetime carries no time zone; say which, for example tzinfo=datetime.UTC")
        return OffsetQuery(query=_milliseconds(spec))
    if not isinstance(spec, str):
        raise TypeError(f"an offset is a number, a text or a datetime, not {spec!r}")
    text = spec.strip()
    if text == "earliest":
        return EARLIEST
    if text in ("latest", "now"):
        return LATEST
    return OffsetQuery(query=_parse_time(text, now_ms))


def _parse_time(text: str, now_ms: int) -> int:
    body = text.removeprefix("@")
    if body != text and body.isascii() and body.isdigit():
        return int(body)
    if body != text and body.startswith("-") and _DURATION.fullmatch(body[1:]):
        parts = _DURATION_PART.findall(body[1:])
        return max(0, now_ms - sum(int(count) * _UNITS_MS[unit] for count, unit in parts))
    try:
        moment = datetime.fromisoformat(body)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an offset: write earliest, latest, a number, '@-1h', '@1700000000000' or a date and time"
        ) from None
    return _milliseconds(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _milliseconds(moment: datetime) -> int:
    # Whole milliseconds by integer arithmetic: `timestamp()` is a float and loses the last digit now and then.
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if milliseconds < 0:
        raise ValueError(f"{moment.isoformat()} lies before 1970")
    return milliseconds
