"""FailedReads: what could not be read a moment ago is refused again without a look at the disk.

A client that is refused asks again at once, and again. But a sector that cannot be read keeps whoever wants it waiting
for seconds, and with him everyone who waits for the loop. So a failure is an answer for as long as `PAUSE_S`; then the
next reader sees for himself, for paths to a disk fail for moments.
"""

import asyncio
from collections.abc import Hashable
from typing import Final

from ...storage.errors import CorruptLog, StorageError, Unreadable

Failure = CorruptLog | Unreadable

PAUSE_S: Final = 10.0
FAILURES_MAX: Final = 256
"""So many are remembered: clients that read on repeat themselves."""


class FailedReads:
    """Of one partition."""

    def __init__(self) -> None:
        self._failures: dict[Hashable, tuple[Failure, float]] = {}
        """By what was asked for: how it failed, and until when that holds."""

    def check(self, asked: Hashable) -> None:
        """Raise what was raised a moment ago, if that was so."""
        if not self._failures or asked not in self._failures:
            return
        error, until = self._failures[asked]
        if asyncio.get_running_loop().time() < until:
            raise _again(error)
        del self._failures[asked]

    def add(self, asked: Hashable, error: StorageError) -> None:
        """It failed; or was refused for that."""
        if asked in self._failures or not isinstance(error, Failure):
            return  # all else passes as soon as there are descriptors, or memory
        if len(self._failures) >= FAILURES_MAX:
            del self._failures[next(iter(self._failures))]
        self._failures[asked] = _again(error), asyncio.get_running_loop().time() + PAUSE_S

    def clear(self) -> None:
        """The next readers see for themselves."""
        self._failures.clear()


def _again(error: Failure) -> Failure:
    """The same, without those who raised it, and the buffers that they had in hand."""
    if isinstance(error, Unreadable):
        return Unreadable(_again_damage(error.damage))
    return _again_damage(error)


def _again_damage(damage: CorruptLog) -> CorruptLog:
    return CorruptLog(damage.path, damage.position, damage.reason, end=damage.end)
