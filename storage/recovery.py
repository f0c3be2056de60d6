"""Opens the log that lies in a directory, after a clean stop or after any other (L-9).

1. Every batch behind the last checkpoint is read and checked (scan.py), and gets its place in the indexes. The
   checkpoint stands in the file of the durable mark; what lies before it is durable, entries in the indexes included,
   and is trusted as far as any segment is that this process has not written: readers check it on their way. What the
   index files hold behind the checkpoint's entries may be zeros, a part of what was added, or what stood there long
   before: it counts for nothing. Without a checkpoint, or if the indexes are not what it says, all of the segment that
   holds the mark is read, and its indexes are built anew. Segments wholly below the mark were synced together with
   their indexes. A clean stop leaves a checkpoint at the log's end: then there is nothing to read.
2. At the first bad batch it depends. *Above* the mark, a power cut may have torn or reordered what nobody had been told
   was safe: that batch and all that follows is cut. Since consumers may have seen some of it (under `write.caching`),
   a new leader epoch begins there, on the disk before the first byte goes. So it does at the end of a log that shows
   nothing bad, if more may have been seen (write_caching.py). *Below* the mark, or if the mark cannot be read, it is
   corruption: the log is quarantined, nothing is cut, and what is sound can be read, also behind the damage, to the
   end of the sound batches of the last segment. Whether the log ended there nobody can say.
   So it is after a clean stop, which tears nothing, if one of the mark's slots cannot be read: it may be the newer one.
3. What survived above the mark is written again in its place, and synced. Written again, because after a failed sync
   the page cache may show bytes that the platter does not have, and a second sync would not write them. (The mark may
   follow later, as after any flush.) A segment that another one follows is done with as soon as it was read: what is to
   go into its indexes would not fit into memory for all of a log.
4. Leftovers of what was interrupted are removed (leftovers.py), now that the log is known to be sound: before, they may
   be all that tells what was there.

The file of the leader epochs must be the one that the mark knows. If it is not, all of the log is read, the epochs are
those that its batches tell of, and a new one begins at the end: there may have been one in which nothing was written.
If damage hides some of the batches, no epoch is known.

Every step may be the last before the power goes: doing all of them again leads to the same log.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from .checkpoint import TEMPORARY_SUFFIX
from .config import LogConfig
from .disk import Disk
from .durable_mark import Checkpoint, DurableMark
from .errors import CorruptLog, DiskFailed, DiskFull, OutOfMemory, Unreadable
from .handles import Handles
from .leader_epochs import LeaderEpochs
from .leftovers import Trace, remove_leftovers, segment_bases, went_on
from .producer_snapshots import ProducerSnapshots
from .producer_state import ProducerState
from .quarantine import forget_damage, is_noted, known_durable
from .salvage import Sound, read_through
from .scan import scan
from .segment import SUFFIX, Boundary, Room, Segment
from .segment_indexes import Tally
from .write_caching import forget_caching, is_caching_noted

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
    lost: bool = False
    """Nothing of the log could be opened (lost_log.py): not even which offsets it holds is known."""

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
    checkpoint: Checkpoint | None = None
    """The last one, if it holds."""


@dataclass(slots=True, kw_only=True)
class _Scanned:
    """One segment, read."""

    segment: Segment
    tally: Tally
    read_from: int
    """Where in the file reading began."""
    end: Boundary
    """Behind the last sound batch."""
    marked_position: int
    """Up to here the file is known to be durable, or, without a mark, taken to be but for a sync."""


def open_log(
    disk: Disk, directory: str, *, config: LogConfig, handles: Handles, trusted: bool, now_ms: int
) -> OpenedLog:
    """Open the log; `trusted` after a clean stop. `CorruptLog` only when nothing is left of it to open."""
    try:
        return _Recovery(disk, directory, config, handles, trusted=trusted).recover(now_ms)
    except DiskFailed as error:
        obstacle = _obstacle(disk, directory, error)
        if obstacle is None:
            raise
    return _Recovery(disk, directory, config, handles, trusted=trusted, obstacle=obstacle).recover(now_ms)


def _obstacle(disk: Disk, directory: str, error: DiskFailed) -> CorruptLog | None:
    """What is in the way of recovery, if it failed for that: a directory, say, or a link that leads nowhere.

    Where a file of the log should be there is something that cannot be opened, now as before.
    """
    for path in (error.path, error.path.removesuffix(TEMPORARY_SUFFIX)):
        if path == directory or not disk.exists(path):
            continue
        try:
            disk.open(path).close()
        except (DiskFull, OutOfMemory):
            return None  # that is no word on the file
        except DiskFailed as refusal:
            return CorruptLog(path, 0, f"cannot be opened: {refusal.reason}")
    return None


class _Recovery:
    """One log being opened."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        config: LogConfig,
        handles: Handles,
        *,
        trusted: bool,
        obstacle: CorruptLog | None = None,
    ) -> None:
        """With an `obstacle` nothing of the log is changed: it is damaged, whatever else is found."""
        self.disk, self.directory, self.config, self.handles = disk, directory, config, handles
        self.obstacle = obstacle
        self.mark = DurableMark.read(disk, directory)
        self.was_quarantined = is_noted(disk, directory)
        if not segment_bases(disk, directory):
            # Before anything is cleared away: whatever is still there may tell what happened.
            raise CorruptLog(directory, 0, f"no segment is left; the durable mark is {self.mark.offset}")
        self.epochs, self.epochs_in_doubt = LeaderEpochs(disk, directory), False
        try:
            self.epochs = self._read_epochs()
        except (CorruptLog, Unreadable) as doubt:
            logger.warning("the leader epochs are read from the batches directory=%s because=%s", directory, doubt)
            self.epochs_in_doubt = True
        durable = known_durable(disk, directory, self.mark, was_closed=trusted)
        self.durable, self.cuts_nothing = durable.offset, durable.cuts_nothing
        self.was_caching = is_caching_noted(disk, directory)
        reads_all = self.mark.offset is None or self.epochs_in_doubt or self.was_quarantined
        self.mark_trusted = None if reads_all else self.mark.offset
        self.checkpoint = None if reads_all else self.mark.checkpoint
        self.segments = self._list_segments()
        self.superseded: list[Segment] = []
        """Empty ones that are none of the log."""
        self.none_from: int | None = None
        """No batch from here on has a producer, as far as that was seen."""
        self.gone = self._missing_beginning()
        self.rebuilt_indexes = 0

    def recover(self, now_ms: int) -> OpenedLog:
        """Read what may be torn, cut or quarantine it, and make the rest durable."""
        try:
            return self._recover(now_ms)
        except BaseException:
            for segment in self.segments:
                segment.close()
            raise

    def _recover(self, now_ms: int) -> OpenedLog:
        first = self._first_in_doubt()
        scanned: list[_Scanned] = []
        bad = self._scan_from(first, scanned)
        end_offset = scanned[-1].end.offset if scanned else self.segments[first].base_offset
        if bad is None and end_offset < self.durable:
            bad = self._missing_end(scanned, end_offset)
        elif bad is None and self.cuts_nothing:
            bad = self._missing_segment(end_offset)
        if self.gone is not None:
            self._stand_in()
        damage = self.gone or self.obstacle
        if damage is None and bad is not None and (self.cuts_nothing or end_offset < self.durable):
            damage = bad
        if damage is not None:
            return self._quarantine(damage, max(self._shown_end(scanned), self.durable), now_ms)
        truncated_bytes = 0
        if bad is not None:
            truncated_bytes = self._cut(bad, scanned)
        elif self.epochs_in_doubt or self.was_caching or self.epochs.entries[-1].start_offset > end_offset:
            # In the last case it was begun behind records that are gone: nobody saw their offsets in it.
            self._begin_epoch(end_offset)
        self._settle(scanned, end_offset, now_ms)
        recovered = Recovered(truncated_bytes=truncated_bytes, rebuilt_indexes=self.rebuilt_indexes)
        return self._opened(end_offset, recovered, now_ms)

    def _opened(self, end_offset: int, recovered: Recovered, now_ms: int) -> OpenedLog:
        snapshots, producers = ProducerSnapshots.read(self.disk, self.directory), ProducerState()
        if recovered.quarantined is None:
            known = self.mark.checkpoint
            none_below = known.offset if known is not None and not known.has_producers else 0
            try:
                producers = snapshots.load(
                    *(self.segments, end_offset),
                    none_below=none_below,
                    none_from=end_offset if self.none_from is None else self.none_from,
                    now_ms=now_ms,
                )
            except (CorruptLog, Unreadable) as error:  # in what was not read just now, so it is durable
                damage = error.damage if isinstance(error, Unreadable) else error
                logger.error("quarantined directory=%s because=%s", self.directory, damage)
                recovered = replace(recovered, quarantined=damage)
            else:
                for segment in self.superseded:
                    segment.remove()
                remove_leftovers(self.disk, self.directory)
                self._forget_quarantine()
                if self.was_caching:
                    forget_caching(self.disk, self.directory)
        return OpenedLog(
            segments=self.segments,
            leader_epochs=self.epochs,
            mark=self.mark,
            producers=producers,
            snapshots=snapshots,
            end_offset=end_offset,
            recovered=recovered,
            checkpoint=self.checkpoint,
        )

    def _forget_quarantine(self) -> None:
        if self.was_quarantined:
            logger.warning("sound again, no longer quarantined directory=%s", self.directory)
            forget_damage(self.disk, self.directory)

    def _read_epochs(self) -> LeaderEpochs:
        epochs = LeaderEpochs.read(self.disk, self.directory, known=self.mark.epochs)
        first, begins = epochs.entries[0], segment_bases(self.disk, self.directory)[0]
        if first.start_offset > begins:
            raise CorruptLog(epochs.path, 0, f"it begins with {first}, and the log begins at {begins}")
        return epochs

    def _missing_beginning(self) -> CorruptLog | None:
        """The damage that it is when segments are gone from the log's beginning, of which the leader epochs know."""
        start, begins = self._start_offset(), self.segments[0].base_offset
        if start == begins:
            return None
        return CorruptLog(f"{self.directory}/{start:020d}{SUFFIX}", 0, f"missing; what is left begins at {begins}")

    def _start_offset(self) -> int:
        """Where the log begins: with its first leader epoch, or, if nobody can tell, where every log is begun."""
        return 0 if self.epochs_in_doubt else self.epochs.entries[0].start_offset

    def _missing_end(self, scanned: list[_Scanned], end_offset: int) -> CorruptLog:
        """The damage that it is when the log ends below its mark: where that is, and what should be there."""
        path, position = (scanned[-1].segment.path, scanned[-1].end.position) if scanned else (self.directory, 0)
        reason = f"the log ends at {end_offset}, below the durable mark {self.durable}: what should follow is missing"
        return CorruptLog(path, position, reason)

    def _missing_segment(self, end_offset: int) -> CorruptLog | None:
        """The damage that it is when the mark cannot say where the log ends, and a file tells that it went on."""
        trace = went_on(self.disk, self.directory, end_offset)
        if not self.epochs_in_doubt and self.epochs.entries[-1].start_offset > end_offset:
            trace = trace or Trace(self.epochs.path, self.epochs.entries[-1].start_offset)
        if trace is None:
            return None
        self.durable = trace.offset
        reason = f"the log went on to {trace.offset} or beyond, and ends at {end_offset}: what should follow is missing"
        return CorruptLog(trace.path, 0, reason)

    def _stand_in(self) -> None:
        """Let an empty segment stand for those that are gone, so that nobody takes the log to begin behind them."""
        begins = self.segments[0].base_offset
        self.segments.insert(0, Segment(self._room(), self._start_offset(), end=Boundary(0, begins)))

    def _room(self) -> Room:
        return Room(self.disk, self.directory, self.config, self.handles, self.epochs)

    def _list_segments(self) -> list[Segment]:
        """The segments by their files' names; each ends where the next begins, the last one not yet anywhere."""
        bases = segment_bases(self.disk, self.directory)
        return [self._load(base, end) for base, end in zip(bases, [*bases[1:], *bases[-1:]], strict=True)]

    def _load(self, base_offset: int, next_offset: int) -> Segment:
        try:
            return Segment.load(self._room(), base_offset, next_offset=next_offset)
        except DiskFailed:
            if self.obstacle is None:
                raise
            return Segment(self._room(), base_offset, end=Boundary(0, next_offset))  # whoever reads there is told

    def _first_in_doubt(self) -> int:
        """Number of the first segment to read.

        A mark exactly between two segments does not vouch for the first one's indexes: it may have been reached before
        that one was closed. Hence `<`. A checkpoint does.
        """
        mark = self.mark_trusted
        if mark is None:
            return 0
        vouched = -1 if self.checkpoint is None else self.checkpoint.base_offset
        for number, segment in reversed(list(enumerate(self.segments))):
            # An empty one below the mark is none of the log, see `_scan_from`.
            # Safe without: more is read then, up to all of the log.
            if segment.base_offset == vouched or (segment.base_offset < mark and segment.size > 0):
                return number
        return 0

    def _begin(self, segment: Segment) -> _Scanned:
        """The segment, to be read from the last checkpoint on if that is in it and holds, else from its beginning."""
        checkpoint = self.checkpoint
        # Safe without: all of the segment is read then.
        if checkpoint is not None and checkpoint.base_offset == segment.base_offset and checkpoint.position > 0:
            try:
                tally = segment.resume_indexes(checkpoint)
                return _unread(segment, tally, Boundary(checkpoint.position, checkpoint.offset))
            except (CorruptLog, Unreadable) as doubt:
                logger.warning("reading from before the checkpoint segment=%s because=%s", segment.path, doubt)
                self.checkpoint = None
        return _unread(segment, Tally(self.config.index_interval_bytes), Boundary(0, segment.base_offset))

    def _scan_from(self, first: int, scanned: list[_Scanned]) -> CorruptLog | None:
        """Read the segments from number `first` on, to the end or to what is bad."""
        expected, epoch = self.segments[first].base_offset, -1
        mark, epochs = self.mark.offset, None if self.epochs_in_doubt else self.epochs
        for segment in self.segments[first:]:
            if segment.base_offset < expected and segment.size == 0:
                # A new segment could not be made, nor quite be unmade, and the log went on in the old one.
                self.segments.remove(segment)
                self.superseded.append(segment)
                scanned[-1].segment.next_offset = segment.next_offset
                continue
            if segment.base_offset != expected:
                if segment.base_offset > expected:
                    path = f"{self.directory}/{expected:020d}{SUFFIX}"
                    return CorruptLog(path, 0, f"missing; the next segment begins at {segment.base_offset}")
                return CorruptLog(segment.path, 0, f"the segment begins where {expected} should be", end=segment.size)
            if scanned:
                self._go_past(scanned[-1])
            one = self._begin(segment)
            scanned.append(one)
            begin, expected = one.end
            # Safe without: batches without a producer are replayed then, to no effect.
            if self.none_from is None:
                self.none_from = expected
            try:
                for position, header in scan(segment.file, expected, epochs=epochs, epoch_min=epoch, position=begin):
                    size, next_offset = header.size, header.next_offset
                    one.tally.add(position, size, next_offset - 1, header.max_timestamp)
                    one.end = Boundary(position + size, next_offset)
                    if mark is None or next_offset <= mark:
                        one.marked_position = position + size
                    if header.producer_id >= 0:
                        self.none_from = next_offset
                    if header.leader_epoch != epoch:
                        epoch = header.leader_epoch
                        if epoch > self.epochs.latest:
                            self.epochs.note(epoch, header.base_offset)
            except CorruptLog as corrupt:
                return corrupt
            except Unreadable as error:
                self.cuts_nothing = True  # another time it may be there
                return error.damage
            expected = one.end.offset
        return None

    def _go_past(self, one: _Scanned) -> None:
        """Another segment follows: have done with this one, so that its tally need not be kept."""
        mark = self.mark.offset
        is_vouched = mark is not None and one.end.offset < mark  # and so are its indexes, see `_first_in_doubt`
        if is_vouched or self.gone is not None or self.obstacle is not None:
            one.tally.commit()
        else:
            self._adopt(one, active=False)

    def _shown_end(self, scanned: list[_Scanned]) -> int:
        """Behind the last sound batch, though there is damage before it: nobody shall be told that there is no more."""
        last, end = self.segments[-1], scanned[-1].end
        # Safe without: the segment is read once more then, to the same end.
        if scanned[-1].segment is last and end.position == last.size:
            return end.offset
        shown = last.base_offset
        try:
            for part in read_through(last.file, shown, epochs=None if self.epochs_in_doubt else self.epochs):
                if isinstance(part, Sound):
                    shown = part.header.next_offset
        except (CorruptLog, Unreadable) as error:  # there is no such file, or it cannot be opened
            logger.warning("nobody can say where the log ends directory=%s because=%s", self.directory, error)
        return max(shown, end.offset)

    def _quarantine(self, bad: CorruptLog, end_offset: int, now_ms: int) -> OpenedLog:
        """Leave everything as it is, for an operator to look at, and for consumers as far as it is sound."""
        logger.error("quarantined directory=%s durable_mark=%s because=%s", self.directory, self.mark.offset, bad)
        if self.epochs_in_doubt:
            self.epochs.forget()
        last = self.segments[-1]
        last.next_offset = end_offset
        if end_offset > self.durable:
            self._sync_what_is_shown()
        last.tally = Tally(self.config.index_interval_bytes)  # what it has seen is not all that there should be
        return self._opened(end_offset, Recovered(quarantined=bad), now_ms)

    def _sync_what_is_shown(self) -> None:
        """As far as a sync can: nothing is written again, for some of it may be damaged."""
        for segment in self.segments:
            if segment.next_offset > self.durable:
                with suppress(CorruptLog, Unreadable):  # there is no such file, or it cannot be opened
                    segment.file.sync()
        self.disk.sync_directory(self.directory)

    def _cut(self, bad: CorruptLog, scanned: list[_Scanned]) -> int:
        """Take away what is bad and all that follows; how many bytes that were."""
        last = scanned[-1]
        later = self.segments[self.segments.index(last.segment) + 1 :]
        cut = last.segment.size - last.end.position + sum(segment.size for segment in later)
        # Durable before anything goes: if the power goes in between, the epoch is bumped once more, which is harmless.
        self._begin_epoch(last.end.offset)
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

    def _begin_epoch(self, start_offset: int) -> None:
        """Let a leader epoch that nobody has seen begin there.

        The mark knows of it at once: a crash in between makes the next start read all of the log.
        """
        known = self.mark.epochs
        self.epochs.assign(max(self.epochs.latest, -1 if known is None else known.latest) + 1, start_offset)
        if self.mark.offset is not None:
            self.mark.write(self.mark.offset, self.mark.checkpoint, epochs=self.epochs.known)

    def _settle(self, scanned: list[_Scanned], end_offset: int, now_ms: int) -> None:
        """Make durable what was found, and the last segment ready for appends."""
        self._adopt(scanned[-1], active=True)
        self.segments[-1].resume(now_ms=now_ms)
        is_unknown = not self.mark.may_cut(was_closed=False)
        # The first one's name was durable before the mark came so far.
        if len(scanned) > 1 or is_unknown:
            self.disk.sync_directory(self.directory)
        if is_unknown:  # at once: without it a torn tail would be taken for damage
            self.mark.write(end_offset, self.checkpoint, epochs=self.epochs.known)

    def _adopt(self, one: _Scanned, *, active: bool) -> None:
        """Make durable what was found in a segment, and its indexes."""
        if self.mark.offset is None or one.end.offset > self.mark.offset:
            _make_durable(one)
        one.segment.adopt(one.tally, one.end, active=active, read_from=one.read_from)
        self.rebuilt_indexes += one.read_from < one.end.position


def _unread(segment: Segment, tally: Tally, begin: Boundary) -> _Scanned:
    """The segment, to be read from there on."""
    position = begin.position
    return _Scanned(segment=segment, tally=tally, read_from=position, end=begin, marked_position=position)


def _make_durable(one: _Scanned) -> None:
    """See step 4 above."""
    file = one.segment.file
    for position in range(one.marked_position, one.end.position, REWRITE_SIZE):
        file.write(position, file.read(position, min(REWRITE_SIZE, one.end.position - position)))
    file.sync()
