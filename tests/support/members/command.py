"""What the programs of the members share: their command line, and how they are told to end."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .journal import Journal

SESSION_MS = 6_000
"""The shortest that Kafka allows by default."""
HEARTBEAT_MS = 500
POLL_MAX = 100
"""Records between two commits."""
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Command:
    """SERVER GROUP TOPIC JOURNAL [WORD...]"""

    server: str
    group: str
    topic: str
    journal: Journal
    words: tuple[str, ...]
    """What this kind of member may be told besides."""

    @classmethod
    def read(cls) -> "Command":
        """The process's own."""
        server, group, topic, journal, *words = sys.argv[1:]
        return cls(server, group, topic, Journal(Path(journal)), tuple(words))


class Told(BaseException):
    """The process was told to end."""


class Stop:
    """Whether the process was told to end."""

    def __init__(self) -> None:
        self.is_set = False
        self._interrupts = False
        signal.signal(signal.SIGTERM, self._set)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """The block ends where it stands when the process is told to end."""
        self._interrupts = True
        try:
            yield
        except Told:
            pass
        finally:
            self._interrupts = False

    def _set(self, *_: object) -> None:
        self.is_set = True
        if self._interrupts:
            raise Told
