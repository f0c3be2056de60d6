"""Looks at the images of a story: recovers each, holds it against the promises, and lets the power fail once more.

An image is judged once for each state of the promises in which it can be left. What recovery has made of it is judged
again: it must be the same after another power cut, at the latest then durable, and it must be possible to work with
it. Of some images, which the digest chooses, the recovery itself is cut at each of its calls, and after its last.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .choices import GLANCE, Choice, Extent, choices
from .disk import CrashDisk
from .model import Digests, Step, Tree, image
from .promises import Broken
from .recording import Moment, Recorder, Story, World

P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which moments are looked at: one part of so many. All with the same promises are in one part."""

    number: int = 0
    count: int = 1

    def has(self, version: bytes) -> bool:
        """Whether the moments with these promises are among them."""
        return int.from_bytes(version, "big") % self.count == self.number


@dataclass(slots=True)
class Tally:
    """What was done."""

    moments: int = 0
    images: set[bytes] = field(default_factory=set)
    """Digests of all that were recovered; of distinct disks, whatever story they are from."""
    seen: set[bytes] = field(default_factory=set)
    """Images with the promises for which they were judged."""
    recoveries: int = 0
    cut_again: int = 0
    """Recoveries that were cut themselves."""
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquest:
    """How thoroughly it is looked."""

    extent: Extent
    cut_again_every: int
    """The recovery of one image in so many is cut at each of its calls."""
    live_on_every: int = 1
    """One in so many of what was recovered is worked with."""
    violations_max: int = 1
    is_brief: bool = False
    """Moments are passed over behind which more has been done and nothing synced or promised: what may be left at them
    may be left then, too, as a beginning of the changes."""
    share: Share = field(default_factory=Share)
    ignores: tuple[tuple[str, str], ...] = ()
    """Calls that do nothing, also in recoveries: planted bugs."""
    variants: int = 1
    """Of each script."""

    def examine(self, story: Story[P], tally: Tally) -> None:
        """All moments of one story; ends when there are enough violations."""
        _Examination[P](self, story, tally).run()


class _Examination(Generic[P]):
    def __init__(self, inquest: Inquest, story: Story[P], tally: Tally) -> None:
        self._inquest, self._story, self._tally = inquest, story, tally
        self._world: World[P] = story.world
        self._digests = Digests()
        self._rested: set[bytes] = set()

    def run(self) -> None:
        for number, moment in enumerate(self._story.moments):
            if not self._inquest.share.has(moment.version) or (self._inquest.is_brief and self._is_covered(number)):
                continue
            self._tally.moments += 1
            rng = random.Random(f"{self._story.name} {self._story.variant} {number}")
            where = f"{self._story.name}.{self._story.variant}, moment {number}, before {moment.before!r}"
            if not self._images(moment, self._inquest.extent, rng, where=where, version=moment.version):
                return

    def _is_covered(self, number: int) -> bool:
        moment, *after = self._story.moments[number : number + 2]
        return bool(after) and (
            moment.version == after[0].version
            and moment.instant.changes == after[0].instant.changes[: len(moment.instant.changes)]
        )

    def _images(
        self,
        moment: Moment[P],
        extent: Extent,
        rng: random.Random,
        *,
        where: str,
        version: bytes,
        deep: bool = True,
        once: Tree | None = None,
    ) -> bool:
        """Look at what may be left at one moment, of a recovery if it was `once` something else; whether to go on."""
        for choice in choices(moment.instant.changes, extent, rng):
            tree = image(moment.instant, choice)
            digest = self._digests.of(tree)
            key = digest + version
            if key in self._tally.seen:
                continue
            self._tally.seen.add(key)
            self._tally.images.add(digest)
            is_cut_again = deep and _number(digest) % self._inquest.cut_again_every == 0
            try:
                later = self._recover(tree, moment.promises, is_cut_again=is_cut_again, once=once or tree)
            except Exception as error:  # noqa: BLE001 - a start that fails in whatever way breaks the promise
                said = str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
                self._tally.violations.append(f"{where}; arrived: {described(choice)}\n    {said}")
                if len(self._tally.violations) >= self._inquest.violations_max:
                    return False
                continue
            for number, inner in enumerate(later):
                self._tally.cut_again += number == 0
                again = f"{where}; arrived: {described(choice)}; again in the recovery, before {inner.before!r}"
                is_over = number == len(later) - 1
                # What the first image held is part of the promise while recovery has not come to its end.
                then = inner.version if is_over else version + digest
                before = None if is_over else tree
                if not self._images(inner, GLANCE, rng, where=again, version=then, deep=False, once=before):
                    return False
        return True

    def _recover(self, tree: Tree, promises: P, *, is_cut_again: bool, once: Tree) -> list[Moment[P]]:
        """Recover and judge one image; the moments at which the power may fail meanwhile, if that is wanted."""
        disk = CrashDisk(tree, ignores=self._inquest.ignores)
        recorder = Recorder(disk, promises) if is_cut_again else None
        self._tally.recoveries += 1
        rest = self._world.recover(disk, once, promises)
        disk.before_call = None
        if recorder is not None:
            recorder.promises = rest
            recorder.note("the end")
        after = disk.synced()
        digest = self._digests.of(after)
        if digest not in self._rested:
            self._rested.add(digest)
            if self._world.recover(CrashDisk(after), after, rest) != rest:
                raise Broken("the next start found something else than the one before")
            if _number(digest) % self._inquest.live_on_every == 0:
                self._world.live_on(CrashDisk(after), rest)
        return [] if recorder is None else recorder.moments


def _number(digest: bytes) -> int:
    """By which one image in so many is chosen, whatever the share that it is in."""
    return int.from_bytes(digest[4:8], "big")


def described(choice: Choice) -> str:
    """What arrived, for a person to read."""
    if not choice:
        return "nothing"
    return ", ".join(_described(choice))


def _described(choice: Choice) -> Iterable[str]:
    for change, part in choice:
        if isinstance(change, Step):
            what = "made" if change.node is not None else f"renamed {change.target}" if change.target else "removed"
            yield f"{change.name} {what} [{change.number}]"
        else:
            pieces = "+".join(f"{begin}:{end}" for begin, end in part.pieces)
            yield f"{type(change).__name__.lower()} {pieces} [{change.number}]"
