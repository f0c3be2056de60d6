"""A script's run, written down: at each call on the disk what a power cut may take, and what has been promised so far.

A script runs once. Its images are made from the moments afterwards, as many as are wanted.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, NamedTuple, Protocol, TypeVar

from .disk import CrashDisk
from .model import Instant, Tree

P = TypeVar("P")


class Moment(NamedTuple, Generic[P]):
    """The power may fail now: the last call has had its effect, the one that is named has not begun."""

    before: str
    """The call that comes next."""
    instant: Instant
    promises: P
    version: bytes
    """Of the promises: moments of one version have the same, also in other scripts."""


class Recorder(Generic[P]):
    """Collects the moments of one run on one disk."""

    def __init__(self, disk: CrashDisk, promises: P) -> None:
        self.promises = promises
        """What holds now; replaced whenever more was sent or promised."""
        self.moments: list[Moment[P]] = []
        self._disk = disk
        self._noted: P | None = None
        self._version = b""
        disk.before_call = self.note

    def note(self, before: str) -> None:
        """Take down this moment."""
        if self.promises is not self._noted:
            self._noted = self.promises
            self._version = blake2b(repr(self.promises).encode(), digest_size=8).digest()
        self.moments.append(Moment(before, self._disk.instant(), self.promises, self._version))


class World(Protocol[P]):
    """How a disk is started on and looked at. All raise Broken."""

    def recover(self, disk: CrashDisk, tree: Tree, promises: P) -> P:
        """Start on the disk, and hold it against the promises; what must hold from then on.

        `tree` is what lay there when the power came back: on this disk, or, if the power failed in the recovery and it
        is the second one, on the one that the first had begun with.
        """

    def live_on(self, disk: CrashDisk, promises: P) -> None:
        """Start on what was recovered, work, stop, start again."""


@dataclass(frozen=True, slots=True)
class Story(Generic[P]):
    """A script that has run."""

    name: str
    variant: int
    """Of the same script: the same calls with other sizes."""
    world: World[P]
    moments: list[Moment[P]]
