"""A log that strangers cannot fill: of each kind of line, one a second is written; the others are counted.

The kind is the line's format. How many were left out is told with the next line of that kind, or when the flood is
over.
"""

import logging
from collections.abc import Callable

INTERVAL_S = 1.0


class SparingLog:
    """Lines that connections cause."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}
        """When the next line of a kind may be written."""
        self._left_out: dict[str, int] = {}
        self._loggers: dict[str, logging.Logger] = {}

    def say(self, logger: logging.Logger, level: int, line: str, *facts: object, traceback: bool = False) -> None:
        """Write it, or count it."""
        now = self._clock()
        if now < self._next.get(line, 0.0):
            self._left_out[line] = self._left_out.get(line, 0) + 1
            self._loggers[line] = logger
            return
        self._next[line] = now + INTERVAL_S
        left_out = self._left_out.pop(line, 0)
        if left_out:
            line, facts = f"{line} left_out=%d", (*facts, left_out)
        logger.log(level, line, *facts, exc_info=traceback or None)

    def flush(self) -> None:
        """Tell what was left out of floods that are over."""
        now = self._clock()
        for line in [line for line in self._left_out if now >= self._next[line]]:
            kind = line.partition("%")[0].rpartition(" ")[0] or line
            self._loggers.pop(line).warning("%s: left_out=%d", kind, self._left_out.pop(line))
