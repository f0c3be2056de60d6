"""Topic patterns: RE2, matched as a whole, and bounded."""

import time

import pytest

from tidelog.broker.coordinator.topic_patterns import LENGTH_MAX, TopicPattern
from tidelog.protocol.errors import ErrorCode, RequestRefused


def test_a_pattern_matches_names_as_a_whole() -> None:
    assert TopicPattern("orders-.*|b").matching(["orders-1", "xorders-1", "orders", "b", "bb"]) == {"orders-1", "b"}


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", r"missing \)"),
        ("(?=a)", "invalid perl operator"),
        (r"(a)\1", "invalid escape sequence"),
        ("a{1001}", "invalid repetition size"),
        ("x" * (LENGTH_MAX + 1), "longer than"),
        ("(.{1000}){9}", "regular expression"),
        ("\udc80", "valid Unicode"),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(RequestRefused, match=why) as refused:
        TopicPattern(pattern)
    assert refused.value.code is ErrorCode.INVALID_REGULAR_EXPRESSION


def test_a_pattern_that_would_cost_too_much_is_refused() -> None:
    names = [f"{'ab' * 100}{number}" for number in range(1000)]
    with pytest.raises(RequestRefused, match="too large"):
        TopicPattern("|".join(f"[ab]*a[ab]{{{number}}}" for number in range(100, 200, 10))).check_affordable(names)
    TopicPattern("orders-.*").check_affordable(names)


def test_what_makes_other_engines_explode_takes_no_time() -> None:
    began = time.monotonic()
    assert TopicPattern("(a+)+b").matching(["a" * 249]) == set()
    assert time.monotonic() - began < 1
