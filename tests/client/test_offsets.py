"""The forms in which a program says where to read."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.client.offsets import EARLIEST, LATEST, OffsetQuery, OffsetSpec, parse_offset

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("spec", "query"),
    [
        ("earliest", EARLIEST),
        ("latest", LATEST),
        ("now", LATEST),
        (0, OffsetQuery(offset=0)),
        (42, OffsetQuery(offset=42)),
        (-10, OffsetQuery(back=10)),
        ("@1600000000123", OffsetQuery(query=1600000000123)),
        ("@-1h", OffsetQuery(query=NOW_MS - HOUR_MS)),
        ("@-1h30m", OffsetQuery(query=NOW_MS - HOUR_MS * 3 // 2)),
        ("@-250ms", OffsetQuery(query=NOW_MS - 250)),
        ("@-2w1d", OffsetQuery(query=NOW_MS - 15 * 24 * HOUR_MS)),
        ("@-9999w", OffsetQuery(query=0)),
        ("2023-11-14T22:13:20Z", OffsetQuery(query=NOW_MS)),
        ("@2023-11-14T23:13:20+01:00", OffsetQuery(query=NOW_MS)),
        ("2023-11-14T22:13:20.5", OffsetQuery(query=NOW_MS + 500)),
        ("2023-11-14", OffsetQuery(query=NOW_MS - 80_000_000)),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), OffsetQuery(query=NOW_MS)),
        (datetime(2023, 11, 15, 0, 13, 20, tzinfo=timezone(timedelta(hours=2))), OffsetQuery(query=NOW_MS)),
    ],
)
def test_a_form_means_this(spec: OffsetSpec, query: OffsetQuery) -> None:
    assert parse_offset(spec, now_ms=NOW_MS) == query


@pytest.mark.parametrize("spec", ["", "soon", "@", "@-", "@-1y", "-5", "1h", "@+1h", "12", "@-1h 30m"])
def test_anything_else_is_refused_with_the_forms_there_are(spec: str) -> None:
    with pytest.raises(ValueError, match="write earliest, latest, a number"):
        parse_offset(spec, now_ms=NOW_MS)


def test_a_datetime_without_a_time_zone_is_refused_because_nobody_knows_whose_it_is() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse_offset(datetime(2024, 1, 1), now_ms=NOW_MS)  # noqa: DTZ001


@pytest.mark.parametrize("spec", [None, 1.5, b"latest"])
def test_another_type_is_no_offset(spec: object) -> None:
    with pytest.raises(TypeError, match="an offset is a number, a text or a datetime"):
        parse_offset(spec, now_ms=NOW_MS)  # type: ignore[arg-type]


def test_a_bool_is_no_offset() -> None:
    with pytest.raises(TypeError):
        parse_offset(True, now_ms=NOW_MS)


def test_a_time_before_1970_is_refused() -> None:
    with pytest.raises(ValueError, match="before 1970"):
        parse_offset("1969-12-31", now_ms=NOW_MS)


@given(st.integers(0, 4_000_000_000_000))
def test_a_datetime_is_exact_to_the_millisecond(milliseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    assert parse_offset(moment, now_ms=NOW_MS).query == milliseconds
    assert parse_offset(moment.isoformat(), now_ms=NOW_MS).query == milliseconds
