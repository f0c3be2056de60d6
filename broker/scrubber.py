"""Scrubber: reads every segment again from time to time, so that rot is found before a consumer finds it.

One segment after the other, one slice at a time in the pool (`storage/inspection.py`), and between two slices as long a
pause as `log.scrub.bytes.per.second` asks for; longer on a disk or a loop that is slow just now. A segment that was
sealed has its turn soon, and gets its digest. The others come when they have not been read for
`log.scrub.interval.ms`: of a sealed one its digest remembers when that was, so that a restart begins nothing anew; the
last one of a log is read as far as it is durable, for the first time at some moment of the first interval, so that not
all come at once.

What it finds damaged is quarantined by its partition; it reads on in the next segment. What the disk does not give is
damage only if it does not give it `TRIES` times, some seconds apart: paths to a disk fail for moments. What a consumer
could not read it reads before all else, for the same reason. The log of the cluster's facts is read as well, but not
quarantined: all it says is in memory, and who hears of it now can act before the next start.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from crc32c import crc32c

from ..storage.digests import Digest
from ..storage.errors import CorruptLog, DiskFailed, Unreadable
from ..storage.inspection import Inspection
from ..storage.log import NEVER_MS, Log
from ..storage.segment import Segment
from .dynamic_configs import DynamicConfigs
from .environment import Environment
from .metrics import DamagedPlace, Metrics
from .topics.registry import Topics
from .turns import InTurns

LOOK_INTERVAL_S = 10.0
"""How often to look for work when there was none."""
PAUSE_S_MIN = 0.01
"""Between two segments, however little there is to read: ten thousand digests are looked at in two minutes."""
OWNERS_A_TURN = 64
"""So many logs are looked through in one turn of the loop, for what there is to read."""
REST = 4
"""A slice is followed by so many times the time that it took: at most a fifth of a thread is the scrubber's."""

DEFECT_PAUSE_S = 600.0
"""How long it rests after an exception that nobody foresaw: the next one may be the same."""

TRIES = 4
"""So often a segment is read from its beginning before what the disk does not give is taken for lost."""
RETRY_S = 15.0
"""The pause between two tries."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Owner(Protocol):
    """Whose log is read: a partition, or who stands for the cluster's facts."""

    log: Log
    deleted: bool

    def damaged(self, damage: CorruptLog) -> None:
        """Bytes of the log are not what was written."""

    def report(self, damage: CorruptLog) -> None:
        """Say so, and no more."""

    def sound(self, path: str) -> None:
        """All of that file was read, and is what was written."""


class Metadata:
    """The owner of the cluster's facts."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self.log = log
        self.deleted = False
        self._metrics = metrics

    def damaged(self, damage: CorruptLog) -> None:
        """See `Owner`."""
        self.report(damage)

    def report(self, damage: CorruptLog) -> None:
        """See `Owner`."""
        place = DamagedPlace(
            topic=self.log.topic,
            partition=self.log.partition,
            file=damage.path,
            begin=damage.position,
            end=damage.end,
        )
        if place not in self._metrics.damage:
            self._metrics.damaged(place)
            logger.error("the cluster's metadata is damaged, and a start would be refused error=%s", damage)

    def sound(self, path: str) -> None:
        """See `Owner`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A segment, and whose it is."""

    owner: Owner
    segment: Segment

    @property
    def is_there(self) -> bool:
        """Neither the topic was deleted, nor is this segment gone."""
        return not self.owner.deleted and self.segment in self.owner.log.segments

    @property
    def is_last(self) -> bool:
        """The log's last segment, which has no digest."""
        return self.segment is self.owner.log.segments[-1]

    @property
    def is_unsynced(self) -> bool:
        """It was sealed just now, and is not durable yet."""
        return self.segment.pinned and not self.is_last


class Scrubber:
    """Starts with the broker, stops before it."""

    def __init__(
        self,
        *,
        configs: DynamicConfigs,
        environment: Environment,
        topics: Topics,
        metadata_log: Log,
        metrics: Metrics,
    ) -> None:
        self._configs = configs
        self._environment = environment
        self._topics = topics
        self._metadata = Metadata(metadata_log, metrics)
        self._metrics = metrics
        self._started_ms = environment.now_ms()
        self._due: deque[Place] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._reading: Inspection | None = None
        self._tries = 0
        """Of the segment that is being read."""
        self._is_in_pool = self._is_stopped = self._new_first = False

    def start(self) -> None:
        """Begin."""
        self._after(LOOK_INTERVAL_S, self._next)

    def stop(self) -> None:
        """Read no more; what the pool is doing it ends."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_in_pool:
            self._close()

    # What is next

    def _next(self) -> None:
        if self._configs.current.log_scrub_bytes_per_second:
            self._search(self._find(self._environment.now_ms()))
        else:
            self._after(LOOK_INTERVAL_S, self._next)

    def _search(self, finding: InTurns[Place | None]) -> None:
        try:
            next(finding)
        except StopIteration as end:
            self._found(end.value)
        else:
            self._after(0, lambda: self._search(finding))

    def _found(self, place: Place | None) -> None:
        if place is None:
            self._after(LOOK_INTERVAL_S, self._next)
            return
        self._tries = 0
        self._read(place)

    def _read(self, place: Place) -> None:
        if not place.is_there:
            self._done()
            return
        self._tries += 1
        inspection = place.owner.log.inspection_of(place.segment)
        if inspection is None:
            place.segment.verified_ms = self._environment.now_ms()  # there is nothing in it
            self._after(PAUSE_S_MIN, self._next)
            return
        self._reading = inspection
        self._run(place, inspection.begin, lambda _: self._begun(place, inspection))

    def _find(self, now_ms: int) -> InTurns[Place | None]:
        """One in doubt, for somebody waits for it. Else one that is new and one that is due by turns, lest the one kind
        keep the other waiting for ever.
        """
        owners: list[Owner] = [self._metadata]
        for topic in self._topics:
            owners += [partition for partition in topic.partitions if not partition.log.recovered.lost]
        place = yield from self._find_doubted(owners)
        if place is not None:
            return place
        self._new_first = not self._new_first
        place = (yield from self._find_new(owners)) if self._new_first else None
        if place is None:
            place = yield from self._find_due(owners, now_ms)
        if place is None and not self._new_first:
            place = yield from self._find_new(owners)
        return place

    def _find_doubted(self, owners: list[Owner]) -> InTurns[Place | None]:
        for number, owner in enumerate(owners, 1):
            while owner.log.doubted:
                place = Place(owner, owner.log.doubted.popleft())
                if place.is_there and not place.is_unsynced:  # else it comes when it is due
                    return place
            if number % OWNERS_A_TURN == 0:
                yield
        return None

    def _find_new(self, owners: list[Owner]) -> InTurns[Place | None]:
        for number, owner in enumerate(owners, 1):
            for segment in reversed(owner.log.segments[:-1]):
                if segment.verified_ms is not None:
                    break  # what lies before it is no news
                if not segment.pinned and not owner.deleted:
                    return Place(owner, segment)
            if number % OWNERS_A_TURN == 0:
                yield
        return None

    def _find_due(self, owners: list[Owner], now_ms: int) -> InTurns[Place | None]:
        if not self._due:
            self._due = yield from self._all_due(owners, now_ms)
        while self._due:
            place = self._due.popleft()
            if place.is_there and self._is_due(place.segment.verified_ms, now_ms):
                return place
        return None

    def _all_due(self, owners: list[Owner], now_ms: int) -> InTurns[deque[Place]]:
        due: deque[Place] = deque()
        oldest_ms = now_ms
        for number, owner in enumerate(owners, 1):
            segments = owner.log.segments
            if segments[-1].verified_ms is None:
                segments[-1].verified_ms = now_ms - self._head_start_ms(segments[-1])
            for segment in segments:
                place = Place(owner, segment)
                if place.is_unsynced:
                    continue
                if self._is_due(segment.verified_ms, now_ms):
                    due.append(place)
                if segment.verified_ms != NEVER_MS:  # which says nothing of when that was
                    oldest_ms = min(oldest_ms, segment.verified_ms or 0)
            if number % OWNERS_A_TURN == 0:
                yield
        self._metrics.scrub_oldest_ms = oldest_ms
        return due

    def _is_due(self, verified_ms: int | None, now_ms: int) -> bool:
        # Either way, for the clock may have been wrong when that was noted down.
        return verified_ms is None or abs(now_ms - verified_ms) >= self._configs.current.log_scrub_interval_ms

    def _head_start_ms(self, segment: Segment) -> int:
        """Another one at each start, so that each has its turn even if the broker never runs for a whole interval."""
        seed = f"{segment.path} {self._started_ms}".encode()
        return crc32c(seed) % self._configs.current.log_scrub_interval_ms

    # One segment

    def _begun(self, place: Place, inspection: Inspection) -> None:
        is_known = place.segment.verified_ms is not None  # then it may be in doubt, whatever its digest says
        old = inspection.old
        if not is_known and old is not None and not self._is_due(old.verified_ms, self._environment.now_ms()):
            place.segment.verified_ms = old.verified_ms
            self._done()
        else:
            self._step(place, inspection)

    def _step(self, place: Place, inspection: Inspection) -> None:
        loop, rate = asyncio.get_running_loop(), self._configs.current.log_scrub_bytes_per_second
        began, before = loop.time(), inspection.bytes_read

        def stepped(more: bool) -> None:
            size, elapsed_s = inspection.bytes_read - before, loop.time() - began
            self._metrics.scrubbed_bytes += size
            pause_s = max(size / rate - elapsed_s, REST * elapsed_s)
            self._after(pause_s, lambda: (self._step if more else self._read_to_end)(place, inspection))

        if not place.is_there:
            self._done()
        elif not rate:
            self._after(LOOK_INTERVAL_S, lambda: self._step(place, inspection))
        else:
            self._run(place, inspection.step, stepped)

    def _read_to_end(self, place: Place, inspection: Inspection) -> None:
        """It is sound."""
        if not place.is_there:
            self._done()
            return
        now_ms = self._environment.now_ms()
        place.owner.sound(place.segment.path)
        if not inspection.is_sealed:
            if place.is_last:
                place.segment.verified_ms = now_ms
            self._done()
            return
        place.segment.verified_ms = now_ms
        digest = inspection.result(now_ms=now_ms)
        difference = inspection.differs(digest)
        if difference is not None:
            # The batches have the last word: all of them are sound, each in its place.
            place.owner.report(difference)
        if place.owner.log.offline:
            self._done()  # nothing is written any more
        else:
            self._write(place, inspection, digest)

    def _write(self, place: Place, inspection: Inspection, digest: Digest) -> None:
        def written(_: None) -> None:
            if place.is_there:
                inspection.publish()
            self._done()

        self._run(place, lambda: inspection.write(digest), written)

    def _run(self, place: Place, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do it in the pool, and go on, unless all is over meanwhile."""

        def ran(future: asyncio.Future[T]) -> None:
            self._is_in_pool = False
            if future.cancelled() or self._is_stopped:
                self._close()
                return
            try:
                self._go_on(place, lambda: then(future.result()))
            except Exception:
                # Nobody knows what this is, but other segments have a right to be read.
                logger.exception("segment not verified now path=%s", place.segment.path)
                place.segment.verified_ms = self._environment.now_ms()
                self._done()

        self._is_in_pool = True
        self._environment.run_blocking(work).add_done_callback(ran)

    def _go_on(self, place: Place, then: Callable[[], None]) -> None:
        try:
            then()
        except CorruptLog as damage:
            self._damaged(place, damage)
        except Unreadable as error:
            if self._tries < TRIES:
                self._try_again(place, error)
            else:
                self._damaged(place, error.damage)
        except DiskFailed as error:
            self._failed(place, error)

    def _try_again(self, place: Place, error: Unreadable) -> None:
        logger.warning("segment cannot be read, tried again path=%s error=%s", place.segment.path, error.damage)
        self._close()
        self._after(RETRY_S, lambda: self._read(place))

    def _damaged(self, place: Place, damage: CorruptLog) -> None:
        if place.is_there:
            self._metrics.scrub_damage += 1
            place.segment.verified_ms = self._environment.now_ms()
            place.owner.damaged(damage)
        self._done()

    def _failed(self, place: Place, error: DiskFailed) -> None:
        """There was no descriptor or memory for it, or no space for its digest: that says nothing of the segment."""
        if place.is_there:
            logger.warning("segment not verified now path=%s error=%s", place.segment.path, error)
            place.segment.verified_ms = self._environment.now_ms()
        self._done()

    def _done(self) -> None:
        self._close()
        self._after(PAUSE_S_MIN, self._next)

    def _close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        def due() -> None:
            try:
                action()
            except Exception:
                # Nobody knows what this is, but it must not be the end of all reading.
                logger.exception("scrubber failed, and begins anew after seconds=%d", DEFECT_PAUSE_S)
                self._close()
                self._after(DEFECT_PAUSE_S, self._next)

        self._timer = asyncio.get_running_loop().call_later(seconds, due)
