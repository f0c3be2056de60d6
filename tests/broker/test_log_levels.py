"""The levels of loggers in Kafka's words (KIP-412)."""

import logging
from collections.abc import Iterator

import pytest

from tidelog.broker.log_levels import LEVELS, check_level, levels, set_level
from tidelog.protocol.errors import ErrorCode, RequestRefused

VALID = "Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
NAME = "tidelog.broker.log_levels.tested"


@pytest.fixture(autouse=True)
def the_logger() -> Iterator[logging.Logger]:
    """One of ours that nobody uses; what is done to it and to the root is undone."""
    root, ours = logging.getLogger(), logging.getLogger(NAME)
    before = root.level
    yield ours
    root.setLevel(before)
    ours.setLevel(logging.NOTSET)


def test_the_root_and_our_own_loggers_are_listed_and_no_others() -> None:
    logging.getLogger("somebody.else")
    listed = levels()
    assert {"root", "tidelog", NAME, "tidelog.broker"} <= listed.keys()
    assert all(name == "root" or name.split(".")[0] == "tidelog" for name in listed)
    assert set(listed.values()) <= set(LEVELS)


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_that_is_set_is_listed(level: str) -> None:
    set_level(NAME, level)
    assert levels()[NAME] == level


def test_a_logger_shows_what_its_level_says(the_logger: logging.Logger) -> None:
    set_level(NAME, "WARN")
    assert (the_logger.isEnabledFor(logging.INFO), the_logger.isEnabledFor(logging.WARNING)) == (False, True)
    set_level(NAME, "TRACE")
    assert the_logger.isEnabledFor(logging.DEBUG)


def test_without_a_level_of_its_own_a_logger_has_that_of_the_one_above() -> None:
    set_level("root", "ERROR")
    set_level(NAME, "DEBUG")
    set_level(NAME, None)
    assert levels()[NAME] == levels()["root"] == "ERROR"


@pytest.mark.parametrize(("number", "name"), [(0, "TRACE"), (15, "INFO"), (25, "WARN"), (99, "FATAL")])
def test_a_level_that_kafka_has_no_word_for_is_listed_as_one_that_shows_no_more(number: int, name: str) -> None:
    logging.getLogger(NAME).setLevel(number or 1)
    assert levels()[NAME] == name


@pytest.mark.parametrize(
    ("name", "level", "code", "words"),
    [
        ("tidelog.nobody", "INFO", ErrorCode.INVALID_CONFIG, "Logger tidelog.nobody does not exist!"),
        ("tidelog.nobody", None, ErrorCode.INVALID_CONFIG, "Logger tidelog.nobody does not exist!"),
        ("root", None, ErrorCode.INVALID_REQUEST, "Removing the log level of the root logger is not allowed"),
        (
            NAME,
            "LOUD",
            ErrorCode.INVALID_CONFIG,
            f"Cannot set the log level of {NAME} to LOUD as it is not a supported log level. {VALID}",
        ),
    ],
)
def test_what_cannot_be_set_is_refused_in_kafkas_words(
    name: str, level: str | None, code: ErrorCode, words: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        check_level(name, level)
    assert (refused.value.code, refused.value.message) == (code, words)


def test_what_can_be_set_is_not_refused() -> None:
    check_level("root", "INFO")
    check_level(NAME, "TRACE")
    check_level(NAME, None)
