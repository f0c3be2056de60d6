"""How a family of metrics introduces itself, in either format."""

import pytest

from tidelog.broker.families import COUNTER, GAUGE, header


@pytest.mark.parametrize(
    ("name", "kind", "strip_total", "shown"),
    [
        ("a_total", COUNTER, False, "a_total"),
        ("a_total", COUNTER, True, "a"),
        ("a_bytes", GAUGE, True, "a_bytes"),
    ],
)
def test_openmetrics_calls_a_counter_by_its_name_without_total(
    name: str, kind: str, strip_total: bool, shown: str
) -> None:
    expected = f"# HELP {shown} What it is.\n# TYPE {shown} {kind}\n"
    assert header(name, kind, "What it is.", strip_total=strip_total) == expected
