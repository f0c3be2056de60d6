"""All scripts, all their images: one share of them in this process, or all shares in processes of their own."""

import gc
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tidelog.storage import index

from . import brokers, logs
from .choices import BUILD, QUICK, RELEASE
from .clients import BrokerPromises
from .inquest import Inquest, Share, Tally
from .model import DIGEST_SIZE
from .owner import LogPromises
from .recording import Story
from .world import ALARM

TESTS = Path(__file__).resolve().parents[2]
OBJECTS_BEFORE_COLLECTION = 50_000
ENTRIES_KEPT_SIZE = 16

Ignores = tuple[tuple[str, str], ...]
P = TypeVar("P")

PLANS = {
    "quick": Inquest(extent=QUICK, cut_again_every=200, live_on_every=16, is_brief=True),
    "build": Inquest(extent=BUILD, cut_again_every=50, live_on_every=8, violations_max=5, variants=2),
    "release": Inquest(extent=RELEASE, cut_again_every=50, live_on_every=8, violations_max=5, variants=14),
}


@dataclass(slots=True, kw_only=True)
class Figures:
    """What a campaign, or a share of it, has found."""

    moments: int = 0
    recoveries: int = 0
    cut_again: int = 0
    violations: list[str] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)

    @property
    def images(self) -> int:
        """How many different disks were recovered."""
        return len(self.digests)

    def add(self, other: "Figures") -> None:
        """Another share's."""
        self.moments += other.moments
        self.recoveries += other.recoveries
        self.cut_again += other.cut_again
        self.violations += other.violations
        self.digests |= other.digests

    def to_json(self) -> str:
        """For another process."""
        told = {"moments": self.moments, "recoveries": self.recoveries, "cut_again": self.cut_again}
        return json.dumps({**told, "violations": self.violations, "digests": b"".join(self.digests).hex()})

    @classmethod
    def from_json(cls, text: str) -> "Figures":
        """What another process has told."""
        told = json.loads(text)
        joined = bytes.fromhex(told.pop("digests"))
        return cls(**told, digests={joined[at : at + DIGEST_SIZE] for at in range(0, len(joined), DIGEST_SIZE)})

    def __str__(self) -> str:
        return (
            f"{self.images:,} distinct images of {self.moments:,} moments, {self.recoveries:,} recoveries, "
            f"{self.cut_again:,} of them cut again at each call: {len(self.violations)} violations"
        )


def names() -> list[str]:
    """Of all scripts."""
    return [script.__name__ for script in (*logs.SCRIPTS, *brokers.SCRIPTS)]


@contextmanager
def indexes_are_written_early() -> Iterator[None]:
    """Segments are small here: else no entry would be in a file before its segment is closed, or a checkpoint made."""
    before = index.TAIL_SIZE
    vars(index)["TAIL_SIZE"] = ENTRIES_KEPT_SIZE
    try:
        yield
    finally:
        vars(index)["TAIL_SIZE"] = before


def log_stories(
    wanted: Sequence[str] = (), ignores: Ignores = (), *, variants: int = 1
) -> Iterator[Story[LogPromises]]:
    """Those of logs alone, each told when its turn comes."""
    for variant in range(variants):
        for script in logs.SCRIPTS:
            if not wanted or script.__name__ in wanted:
                with indexes_are_written_early():
                    story = logs.told(script, ignores, variant=variant)
                yield story


def broker_stories(
    wanted: Sequence[str] = (), ignores: Ignores = (), *, variants: int = 1
) -> Iterator[Story[BrokerPromises]]:
    """Those of a whole broker."""
    for variant in range(variants):
        for script in brokers.SCRIPTS:
            if not wanted or script.__name__ in wanted:
                with indexes_are_written_early():
                    broker_story = brokers.told(script, ignores, variant=variant)
                yield broker_story


def run(inquest: Inquest, *, wanted: Sequence[str] = ()) -> Figures:
    """One share of the images, in this process."""
    tally = Tally()
    with Quiet():
        _examine(inquest, log_stories(wanted, inquest.ignores, variants=inquest.variants), tally)
        _examine(inquest, broker_stories(wanted, inquest.ignores, variants=inquest.variants), tally)
    return Figures(
        moments=tally.moments,
        recoveries=tally.recoveries,
        cut_again=tally.cut_again,
        violations=tally.violations,
        digests=tally.images,
    )


def _examine(inquest: Inquest, stories: Iterator[Story[P]], tally: Tally) -> None:
    while len(tally.violations) < inquest.violations_max and (story := next(stories, None)) is not None:
        inquest.examine(story, tally)


def run_in_processes(plan: str, count: int) -> Figures:
    """All the images, in so many processes at a time."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "crash.images", "--plan", plan, "--json", "--share"]
    running = [
        subprocess.Popen([*command, f"{number}/{count}"], env=environment, cwd=TESTS, stdout=subprocess.PIPE, text=True)
        for number in range(count)
    ]
    total = Figures()
    for process in running:
        told, _ = process.communicate()
        if process.returncode not in (0, 1):
            raise RuntimeError(f"a share of the images ended with {process.returncode}")
        total.add(Figures.from_json(told))
    return total


def with_share(inquest: Inquest, text: str) -> Inquest:
    """For one share, `NUMBER/COUNT`."""
    number, _, count = text.partition("/")
    return replace(inquest, share=Share(number=int(number), count=int(count)))


class Quiet:
    """Recoveries say much; only their errors matter. And what they leave behind is collected now and then."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("tidelog")
        self._level, self._propagates = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.ERROR)
        self._logger.propagate = False
        self._logger.addHandler(ALARM)
        self._threshold = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(OBJECTS_BEFORE_COLLECTION, 20, 100)

    def __exit__(self, *exception: object) -> None:
        gc.set_threshold(*self._threshold)
        gc.unfreeze()
        self._logger.removeHandler(ALARM)
        self._logger.setLevel(self._level)
        self._logger.propagate = self._propagates
