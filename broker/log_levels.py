"""The levels of the process's loggers, as Kafka's tools name, list and change them (KIP-412).

They belong to the process, are changed at once and forgotten at the next start, as in Kafka. Kafka has a level below
DEBUG and other words for two: TRACE is everything there is, WARN is Python's WARNING, FATAL its CRITICAL.
"""

import logging
from collections.abc import Mapping

from ..protocol.errors import ErrorCode, RequestRefused

ROOT = "root"
HOUSE = __name__.partition(".")[0]

LEVELS: Mapping[str, int] = {
    "DEBUG": logging.DEBUG,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "INFO": logging.INFO,
    "TRACE": logging.DEBUG // 2,
    "WARN": logging.WARNING,
}
"""By Kafka's name, in its order."""


def levels() -> dict[str, str]:
    """The level in force of the root logger and of each of ours, by the logger's name."""
    ours = {name for name in logging.root.manager.loggerDict if name == HOUSE or name.startswith(f"{HOUSE}.")}
    names = [HOUSE, *sorted(ours - {HOUSE}), ROOT]
    return {name: _name_of(_logger(name).getEffectiveLevel()) for name in names}


def check_level(name: str, level: str | None) -> None:
    """Whether the level of a logger can be set, or with None be forgotten. Raises RequestRefused in Kafka's words."""
    if name not in levels():
        raise RequestRefused(ErrorCode.INVALID_CONFIG, f"Logger {name} does not exist!")
    if level is None:
        if name == ROOT:
            raise RequestRefused(
                ErrorCode.INVALID_REQUEST, f"Removing the log level of the {ROOT} logger is not allowed"
            )
    elif level not in LEVELS:
        raise RequestRefused(
            ErrorCode.INVALID_CONFIG,
            f"Cannot set the log level of {name} to {level} as it is not a supported log level. "
            f"Valid log levels are {', '.join(LEVELS)}",
        )


def set_level(name: str, level: str | None) -> None:
    """Set what `check_level` found possible; without a level of its own, a logger has that of the one above it."""
    _logger(name).setLevel(logging.NOTSET if level is None else LEVELS[level])


def _logger(name: str) -> logging.Logger:
    return logging.getLogger(None if name == ROOT else name)


def _name_of(level: int) -> str:
    """The nearest name that does not promise more than the level shows."""
    known = [(number, name) for name, number in LEVELS.items() if number >= level]
    return min(known)[1] if known else "FATAL"
