"""Opens the log that lies in a directory, after a clean stop or after any other.

After a clean stop the last segment's tail is walked and must end exactly at the durable mark; nothing else is read.
In every other case, and whenever that does not fit (L-9):

1. Leftovers of what was interrupted are removed (leftovers.py).
2. Every batch from the segment that holds the durable mark on is read and checked (scan.py), and its indexes are built
   anew. Segments wholly below the mark were synced together with their indexes and are trusted.
3. At the first bad batch it depends. *Above* the mark, a power cut may have torn or reordered what nobody had been told
   was safe: that batch and all that follows is cut. Since consumers may have seen some of it (acks=1 under
   `write.caching`), a new leader epoch begins there, on the disk before the first byte goes. *Below* the mark, or if
   the mark cannot be read, it is corruption: the log is quarantined, nothing is cut, and what is sound can be read.
4. What survived above the mark is written again in its place, and synced. Written again, because after a failed sync
   the page cache may show bytes that the platter does not have, and a second sync would not write them. (The mark may
   follow later, as after any flush.)

Every step may be the last before the power goes: doing all of them again leads to the same log.
"""

import logging
from dataclasses import dataclass
from typing import Final

from .config import LogConfig
from .disk import Disk
from .durable_mark import DurableMark
from .errors import CorruptLog
from .handles import Handles
from .leader_epochs import LeaderEpochs
from .leftovers import remove_leftovers, segment_bases
from .producer_snapshots import ProducerSnapshots
from .producer_state import ProducerState
from .scan import scan
from .segment import Boundary, Room, Segment
from .segment_indexes import Tally

REWRITE_SIZE: Final = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What opening a log had to do."""

    truncated_bytes: int = 0
    """Cut above the durable mark; the leader epoch was bumped."""
    rebuilt_indexes: int = 0
    """Segments whose indexes were built anew."""
    quarantined: CorruptLog | None = None
    """Damage below the durable mark: the log takes no appends, and nothing was cut."""

    @property
    def is_clean(self) -> bool:
        """Nothing had to be done."""
        return not self.truncated_bytes and not self.rebuilt_indexes and self.quarantined is None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLog:
    """The parts of a log that is ready. The last segment is active, unless the log is quarantined."""

    segments: list[Segment]
    leader_epochs: LeaderEpochs
    mark: DurableMark
    producers: ProducerState
    snapshots: ProducerSnapshots
    end_offset: int
    """Everything below is on the platter."""
    recovered: Recovered


@dataclass(slots=True)
class _Scanned:
    """One segment, read."""

    segment: Segment
    tally: Tally
    end: Boundary
    """Behind the last sound batch."""
    marked_position: int
    """Up to here the file is known to be durable, or, without a mark, taken to be but for a sync."""


def open_log(
    disk: Disk, directory: str, *, config: LogConfig, handles: Handles, trusted: bool, now_ms: int
) -> OpenedLog:
    """Open the log; `trusted` after a clean stop. `CorruptLog` only when nothing is left of it to open."""
    recovery = _Recovery(disk, directory, config, handles)
    try:
        opened = recovery.open_clean(now_ms) if trusted else None
        return opened if opened is not None else recovery.recover(now_ms)
    except BaseException:
        for segment in recovery.segments:
            segment.close()
        raise


class _Recovery:
    """One log being opened."""

    def __init__(self, disk: Disk, directory: str, config: LogConfig, handles: Handles) -> None:
        self.disk, self.directory, self.config, self.handles = disk, directory, config, handles
        self.mark = DurableMark.read(disk, directory)
        if not segment_bases(disk, directory):
            # Before anything is cleared away: whatever is still there may tell what happened.
            raise CorruptLog(directory, 0, f"no segment is left; the durable mark is {self.mark.offset}")
        remove_leftovers(disk, directory)
        self.epochs, self.epochs_in_doubt = LeaderEpochs(disk, directory), False
        try:
            self.epochs = LeaderEpochs.read(disk, directory)
        except CorruptLog as doubt:
            logger.warning("the leader epochs are read from the batches directory=%s because=%s", directory, doubt)
            self.epochs_in_doubt = True
        self.segments = self._list_segments()

    def open_clean(self, now_ms: int) -> OpenedLog | None:
        """The log as it was closed; None if it is not quite as it was."""
        if self.epochs_in_doubt:
            return None
        last = self.segments[-1]
        try:
            end = last.load_tail()
        except CorruptLog as doubt:
            logger.warning("reading again in spite of a clean stop directory=%s because=%s", self.directory, doubt)
            return None
        if end.offset != self.mark.offset:
            return None
        last.resume(now_ms=now_ms)
        return self._opened(end.offset, Recovered(), now_ms)

    def recover(self, now_ms: int) -> OpenedLog:
        """Read what may be torn, cut or quarantine it, and make the rest durable."""
        mark = self.mark.offset
        first = self._first_in_doubt()
        scanned: list[_Scanned] = []
        bad = self._scan_from(first, scanned)
        end_offset = scanned[-1].end.offset if scanned else self.segments[first].base_offset
        if bad is None and mark is not None and end_offset < mark:
            bad = CorruptLog(self.directory, 0, f"the log ends at {end_offset}, below the durable mark {mark}")
        if bad is not None and (mark is None or end_offset < mark):
            return self._quarantine(bad, end_offset if mark is None else mark, now_ms)
        truncated_bytes = 0
        if bad is not None:
            truncated_bytes = self._cut(bad, scanned)
        elif self.epochs_in_doubt:
            self._write_epochs(scanned)
        elif self.epochs.entries[-1].start_offset > end_offset:
            # An epoch was begun behind records that are gone: their offsets belong to no epoch that anybody saw.
            self.epochs.assign(self.epochs.latest + 1, end_offset)
        self._settle(scanned, end_offset, now_ms)
        return self._opened(
            end_offset, Recovered(truncated_bytes=truncated_bytes, rebuilt_indexes=len(scanned)), now_ms
        )

    def _opened(self, end_offset: int, recovered: Recovered, now_ms: int) -> OpenedLog:
        snapshots, producers = ProducerSnapshots.read(self.disk, self.directory), ProducerState()
        if recovered.quarantined is None:
            producers = snapshots.load(self.segments, end_offset, now_ms=now_ms)
        return OpenedLog(
            segments=self.segments,
            leader_epochs=self.epochs,
            mark=self.mark,
            producers=producers,
            snapshots=snapshots,
            end_offset=end_offset,
            recovered=recovered,
        )

    def _list_segments(self) -> list[Segment]:
        """The segments by their files' names; each ends where the next begins, the last one not yet anywhere."""
        bases = segment_bases(self.disk, self.directory)
        room = Room(self.disk, self.directory, self.config, self.handles, self.epochs)
        return [
            Segment.load(room, base, next_offset=end)
            for base, end in zip(bases, [*bases[1:], *bases[-1:]], strict=True)
        ]

    def _first_in_doubt(self) -> int:
        """Number of the first segment to read.

        A mark exactly between two segments does not vouch for the first one's indexes: it may have been reached before
        that one was closed. Hence `<`.
        """
        mark = self.mark.offset
        if mark is None or self.epochs_in_doubt:
            return 0
        below = [number for number, segment in enumerate(self.segments) if segment.base_offset < mark]
        return below[-1] if below else 0

    def _scan_from(self, first: int, scanned: list[_Scanned]) -> CorruptLog | None:
        """Read the segments from number `first` on, to the end or to what is bad."""
        expected, epoch = self.segments[first].base_offset, -1
        mark, epochs = self.mark.offset, None if self.epochs_in_doubt else self.epochs
        for segment in self.segments[first:]:
            if segment.base_offset < expected and segment.size == 0:
                # A new segment could not be made, nor quite be unmade, and the log went on in the old one.
                segment.remove()
                self.segments.remove(segment)
                continue
            if segment.base_offset != expected:
                return CorruptLog(segment.path, 0, f"the segment begins where {expected} should be")
            one = _Scanned(segment, Tally(self.config.index_interval_bytes), Boundary(0, expected), 0)
            scanned.append(one)
            try:
                for position, header in scan(segment.file, expected, epochs=epochs, epoch_min=epoch):
                    one.tally.add(position, header.size, header.last_offset, header.max_timestamp)
                    one.end = Boundary(position + header.size, header.next_offset)
                    if mark is None or header.next_offset <= mark:
                        one.marked_position = one.end.position
                    epoch = header.leader_epoch
                    if epoch > self.epochs.latest:
                        self.epochs.note(epoch, header.base_offset)
            except CorruptLog as corrupt:
                return corrupt
            expected = one.end.offset
        return None

    def _quarantine(self, bad: CorruptLog, end_offset: int, now_ms: int) -> OpenedLog:
        """Leave everything as it is, for an operator to look at, and for consumers as far as it is sound."""
        logger.error("quarantined directory=%s durable_mark=%s because=%s", self.directory, self.mark.offset, bad)
        last = self.segments[-1]
        last.next_offset = max(end_offset, last.base_offset)
        return self._opened(end_offset, Recovered(quarantined=bad), now_ms)

    def _cut(self, bad: CorruptLog, scanned: list[_Scanned]) -> int:
        """Take away what is bad and all that follows; how many bytes that were."""
        last = scanned[-1]
        later = self.segments[self.segments.index(last.segment) + 1 :]
        cut = last.segment.size - last.end.position + sum(segment.size for segment in later)
        # Durable before anything goes: if the power goes in between, the epoch is bumped once more, which is harmless.
        self.epochs.assign(self.epochs.latest + 1, last.end.offset)
        logger.warning(
            "cut directory=%s bytes=%d end_offset=%d leader_epoch=%d durable_mark=%s because=%s",
            *(self.directory, cut, last.end.offset, self.epochs.latest, self.mark.offset, bad),
        )
        for segment in reversed(later):
            segment.remove()
            self.segments.remove(segment)
        if last.end.position < last.segment.size:
            last.segment.file.truncate(last.end.position)
            last.segment.file.sync()
        self.disk.sync_directory(self.directory)
        return cut

    def _write_epochs(self, scanned: list[_Scanned]) -> None:
        """Put the epochs that the batches tell of into the file that was missing or in doubt."""
        if self.epochs.entries:
            self.epochs.write()
        else:
            self.epochs.assign(0, scanned[0].segment.base_offset)

    def _settle(self, scanned: list[_Scanned], end_offset: int, now_ms: int) -> None:
        """Make durable what was found, and the last segment ready for appends."""
        for one in scanned:
            if end_offset != self.mark.offset:
                _make_durable(one)
            one.segment.adopt(one.tally, one.end, active=one.segment is self.segments[-1])
        self.segments[-1].resume(now_ms=now_ms)
        if len(scanned) > 1:
            self.disk.sync_directory(self.directory)  # the first one's name was durable before the mark came so far
        if self.mark.offset is None:
            self.mark.write(end_offset)


def _make_durable(one: _Scanned) -> None:
    """See step 4 above."""
    file = one.segment.file
    for position in range(one.marked_position, one.end.position, REWRITE_SIZE):
        file.write(position, file.read(position, min(REWRITE_SIZE, one.end.position - position)))
    file.sync()
