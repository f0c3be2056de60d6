"""Looks through the files of one log and changes nothing: what is there, and what is wrong with it.

Each thing that is wrong is a `Finding`: a range of bytes in a file, and how bad that is (`Grade`). Below the durable
mark a bad batch is damage, above it the tail that a crash leaves. Everything else (indexes, digests, snapshots, the
epochs' file) follows from the batches and can be made again from them.

A broker may have the log open: what lies above its mark is then being written, and its last indexes are not finished.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from ..protocol.batch import BatchHeader, ProtocolError
from ..protocol.records import iterate
from .checkpoint import read_file, read_part
from .digests import BLOCK_SIZE, BadDigest, Digest, Digester
from .digests import SUFFIX as DIGEST_SUFFIX
from .disk import Disk, File
from .durable_mark import FILE_NAME as DURABLE_MARK
from .durable_mark import SLOT_SIZE, SLOTS, DurableMark, decode_slot
from .errors import CorruptLog, DiskFailed, StorageError, Unreadable
from .index_check import IndexCheck
from .leader_epochs import FILE_NAME as LEADER_EPOCHS
from .leader_epochs import EpochStart, LeaderEpochs
from .leftovers import segment_bases, went_on
from .log_directory import PARTITION_METADATA, read_partition_metadata
from .producer_snapshots import SIZE_MAX as SNAPSHOT_SIZE_MAX
from .producer_snapshots import SUFFIX as SNAPSHOT_SUFFIX
from .producer_snapshots import ProducerSnapshots
from .producer_state import BadSnapshot, ProducerState
from .quarantine import Durable, is_noted, known_durable
from .salvage import Gap, Sound, read_through
from .segment import SUFFIX
from .segment_indexes import SUFFIXES as INDEX_SUFFIXES
from .time_index import NO_TIMESTAMP

CHUNK_SIZE: Final = 1 << 20


class Grade(Enum):
    """How bad it is."""

    DAMAGE = "damage"
    """Below the durable mark: records that were acknowledged are not what was written."""
    TAIL = "tail"
    """Above the mark: nobody was told that it is safe. The next start cuts it."""
    DERIVED = "derived"
    """It can be made again from what is sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong, and in which bytes of which file."""

    grade: Grade
    path: str
    begin: int
    end: int
    """Behind the last byte; the same as `begin` where bytes are missing."""
    reason: str
    first_offset: int | None = None
    next_offset: int | None = None
    """The records that lie there, or should, are those from `first_offset` on and before this one, if it is known."""

    def __str__(self) -> str:
        """For a line of text."""
        where = f" at {self.begin}" if self.begin == self.end else f" from {self.begin} to {self.end}"
        offsets = ""
        if self.first_offset is not None:
            offsets = f", offsets {self.first_offset} to {'…' if self.next_offset is None else self.next_offset - 1}"
        return f"{self.path}{where}{offsets}: {self.reason}"


@dataclass(slots=True, kw_only=True)
class SegmentFacts:
    """What one segment holds, as far as it is sound."""

    path: str
    base_offset: int
    next_offset: int
    size: int
    index_size: int = 0
    """Of both indexes together."""
    batches: int = 0
    records: int = 0
    batch_size_max: int = 0
    first_timestamp: int = NO_TIMESTAMP
    max_timestamp: int = NO_TIMESTAMP
    codecs: dict[int, int] = field(default_factory=dict)
    """Codec number to how many batches have it."""
    has_digest: bool = False

    def add(self, header: BatchHeader) -> None:
        """Count a batch."""
        if self.first_timestamp == NO_TIMESTAMP:
            self.first_timestamp = header.base_timestamp
        self.batches += 1
        self.records += header.record_count
        self.batch_size_max = max(self.batch_size_max, header.size)
        self.max_timestamp = max(self.max_timestamp, header.max_timestamp)
        self.codecs[header.codec] = self.codecs.get(header.codec, 0) + 1
        self.next_offset = header.next_offset


@dataclass(slots=True, kw_only=True)
class Survey:
    """One log, looked through."""

    directory: str
    durable_offset: int | None
    """The durable mark, or what the note of a quarantine says if that is more; None if the mark cannot be read: then
    everything counts as durable."""
    mark_is_torn: bool = False
    """One of the mark's slots cannot be read: it was being written when the power failed, or it was the newer one."""
    is_noted: bool = False
    """The broker has found it damaged while it was in use, and not seen it sound since."""
    segments: list[SegmentFacts] = field(default_factory=list)
    epochs: list[EpochStart] = field(default_factory=list)
    """As the batches tell them."""
    producers: set[int] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    @property
    def start_offset(self) -> int:
        """Of the first segment."""
        return self.segments[0].base_offset if self.segments else 0

    @property
    def end_offset(self) -> int:
        """Behind the last sound batch."""
        return self.segments[-1].next_offset if self.segments else 0

    def graded(self, grade: Grade) -> list[Finding]:
        """The findings of that grade."""
        return [finding for finding in self.findings if finding.grade is grade]


def survey_log(
    disk: Disk, directory: str, *, was_closed: bool, decode: bool = False, only: int | None = None
) -> Survey:
    """Look through a log's directory; of its segments through `only` this one, if it is given by its base offset.

    `was_closed`: its last process closed it, and nobody has opened it since. `decode` looks at every record as well.
    What the disk refuses to read is a finding too.
    """
    surveyor = _Surveyor(disk, directory, was_closed=was_closed, decode=decode)
    try:
        surveyor.survey(only)
    except StorageError as error:
        path = error.path if isinstance(error, DiskFailed) else directory
        surveyor.find(Grade.DAMAGE, path, reason=error.reason if isinstance(error, DiskFailed) else str(error))
    if not disk.is_directory(directory):
        surveyor.found.findings.clear()  # its topic was deleted meanwhile
    return surveyor.found


class _Surveyor:
    def __init__(self, disk: Disk, directory: str, *, was_closed: bool, decode: bool) -> None:
        self._disk, self._directory, self._was_closed, self._decode = disk, directory, was_closed, decode
        self._epochs: LeaderEpochs | None = None
        self._epoch = -1
        """Of the last sound batch."""
        self._ends_in_damage = False
        """Nobody can tell where the log ends."""
        self._mark, self._durable = DurableMark(disk, directory), Durable(offset=0, cuts_nothing=True)
        try:
            self._mark = DurableMark.read(disk, directory)
            self._durable = known_durable(disk, directory, self._mark, was_closed=was_closed)
        except StorageError:
            pass  # as if it were not there, which `survey` says
        self.found = Survey(
            directory=directory,
            durable_offset=None if self._mark.offset is None else self._durable.offset,
            mark_is_torn=self._torn_slot() is not None,
        )

    def _torn_slot(self) -> int | None:
        """Where a slot of the mark lies that was written and cannot be read. The first write makes room for both."""
        path = f"{self._directory}/{DURABLE_MARK}"
        for at in SLOTS:
            try:
                slot = read_part(self._disk, path, at, SLOT_SIZE)
            except Unreadable:
                return at
            except StorageError:
                return None
            if decode_slot(slot) is None and (any(slot) or len(slot) < SLOT_SIZE):
                return at
        return None

    def find(
        self,
        grade: Grade,
        path: str,
        span: tuple[int, int] = (0, 0),
        *,
        reason: str,
        offsets: tuple[int, int | None] | tuple[None, None] = (None, None),
    ) -> None:
        """Note something that is wrong in a span of bytes."""
        begin, end = span
        first, following = offsets
        self.found.findings.append(
            Finding(
                grade=grade, path=path, begin=begin, end=end, reason=reason, first_offset=first, next_offset=following
            )
        )

    def survey(self, only: int | None) -> None:
        """Everything in the directory, or one segment."""
        bases = segment_bases(self._disk, self._directory)
        self._read_epochs(bases)
        if only is not None:
            self._survey_segments([only], last=bases[-1])
            return
        self.found.is_noted = is_noted(self._disk, self._directory)
        self._survey_names()
        if not bases:
            mark = self.found.durable_offset
            self.find(Grade.DAMAGE, self._directory, reason=f"no segment is left; the durable mark is {mark}")
            return
        if self._survey_segments(bases, last=bases[-1]):
            self._check_end()
        self._survey_snapshots()

    def _survey_names(self) -> None:
        mark, torn = f"{self._directory}/{DURABLE_MARK}", self._torn_slot()
        if self.found.durable_offset is None:
            self._find_whole(mark, "no slot of the durable mark can be read")
        elif torn is not None and not self._mark.may_cut(was_closed=self._was_closed):
            span = (torn, torn + SLOT_SIZE)
            self.find(Grade.DERIVED, mark, span, reason="a slot of the durable mark cannot be read")
        try:
            read_partition_metadata(self._disk, self._directory)
        except (CorruptLog, DiskFailed) as damage:
            self._find_whole(f"{self._directory}/{PARTITION_METADATA}", damage.reason)

    def _read_epochs(self, bases: list[int]) -> None:
        """What the file says is held against the log's beginning and against the mark, as at recovery."""
        try:
            epochs = LeaderEpochs.read(self._disk, self._directory, known=self._mark.epochs)
            begins = epochs.entries[0].start_offset
            if bases and begins > bases[0]:
                raise CorruptLog(self._directory, 0, "it does not tell of every epoch that there was")
        except (CorruptLog, DiskFailed) as damage:
            self._find_whole(f"{self._directory}/{LEADER_EPOCHS}", damage.reason)
            if bases and bases[0] > 0:
                path, reason = f"{self._directory}/{bases[0]:020d}{SUFFIX}", "nobody can tell what was before it"
                self.find(Grade.DAMAGE, path, reason=reason, offsets=(0, bases[0]))
            return
        self._epochs = epochs
        if bases and begins < bases[0]:
            path = f"{self._directory}/{begins:020d}{SUFFIX}"
            self.find(Grade.DAMAGE, path, reason="missing, says the first leader epoch", offsets=(begins, bases[0]))

    def _find_whole(self, path: str, reason: str) -> None:
        self.find(Grade.DERIVED, path, (0, self._size(path)), reason=reason)

    def _size(self, path: str) -> int:
        """As far as the disk tells."""
        try:
            return self._disk.size(path)
        except DiskFailed:
            return 0

    # Segments

    def _survey_segments(self, bases: list[int], *, last: int) -> bool:
        """One after the other; false if they end in a tail."""
        expected = bases[0]
        for base in bases:
            path = f"{self._directory}/{base:020d}{SUFFIX}"
            size = self._size(path)
            if base < expected and size == 0:
                continue  # a segment that could not be made, nor unmade: recovery removes it
            if base != expected and not self._note_break(path, base, expected):
                return False
            facts = SegmentFacts(path=path, base_offset=base, next_offset=base, size=size)
            self.found.segments.append(facts)
            following = next((other for other in bases if other > base), None)
            if not self._survey_segment(facts, following, is_sealed=base != last):
                return False
            expected = facts.next_offset
        return True

    def _note_break(self, path: str, base: int, expected: int) -> bool:
        """Whether a segment counts that does not begin where the one before ends."""
        grade, before = self._grade(expected), self.found.segments[-1]
        if grade is Grade.DAMAGE and base > expected:
            span, reason = (
                (before.size, before.size),
                f"the next segment begins at {base}, what was before it is missing",
            )
            self.find(grade, before.path, span, reason=reason, offsets=(expected, base))
        else:
            between = (min(base, expected), max(base, expected))
            self.find(grade, path, reason=f"the segment begins where {expected} should be", offsets=between)
        return grade is not Grade.TAIL

    def _end_offset(self, following: int | None) -> int | None:
        """Where a segment must end, for the next one begins there: if that is sure, and so is what it holds."""
        mark = self.found.durable_offset
        if following is None or (mark is not None and following > mark):
            return None
        return following if self._size(f"{self._directory}/{following:020d}{SUFFIX}") else None

    def _survey_segment(self, facts: SegmentFacts, following: int | None, *, is_sealed: bool) -> bool:
        """False if it ends in a tail. `following` is where the next segment begins."""
        stem = facts.path.removesuffix(SUFFIX)
        check = IndexCheck(self._disk, stem, facts.base_offset) if is_sealed or self._was_closed else None
        is_whole = True
        try:
            file = self._disk.open(facts.path)
        except DiskFailed as error:
            return self._note_gap(facts, _all_of(facts, error.reason), following)
        try:
            for part in read_through(
                file,
                facts.base_offset,
                end_offset=self._end_offset(following),
                epochs=self._epochs,
                epoch_min=self._epoch,
            ):
                if isinstance(part, Sound):
                    self._note_batch(facts, file, part)
                    if check is not None:
                        check.add(part.position, part.header)
                elif self._note_gap(facts, part, following):
                    is_whole = False
                else:
                    return False
        finally:
            file.close()
        indexes = [stem + suffix for suffix in INDEX_SUFFIXES if self._disk.exists(stem + suffix)]
        facts.index_size = sum(map(self._size, indexes))
        if check is not None and is_whole:
            for fault in check.faults():
                self.find(Grade.DERIVED, fault.path, (fault.begin, fault.end), reason=fault.reason)
        if is_sealed:
            self._check_digest(facts, is_whole=is_whole)
        return True

    def _note_batch(self, facts: SegmentFacts, file: File, batch: Sound) -> None:
        header = batch.header
        facts.add(header)
        if header.producer_id >= 0:
            self.found.producers.add(header.producer_id)
        self._epoch = header.leader_epoch
        if not self.found.epochs or header.leader_epoch > self.found.epochs[-1].epoch:
            self.found.epochs.append(EpochStart(header.leader_epoch, header.base_offset))
        if self._decode:
            problem = _problem_of_records(header, file.read(batch.position, header.size))
            if problem:
                offsets = (header.base_offset, header.next_offset)
                self.find(Grade.DAMAGE, facts.path, (batch.position, batch.end), reason=problem, offsets=offsets)

    def _note_gap(self, facts: SegmentFacts, gap: Gap, following: int | None) -> bool:
        """Whether what follows counts."""
        grade, span, goes_on_at = self._grade(gap.offset), (gap.begin, gap.end), gap.next_offset
        if gap.is_unreadable:
            grade = Grade.DAMAGE  # nobody can tell that it is a tail
        if grade is Grade.TAIL:
            reason = f"unfinished tail, {gap.reason}"
            self.find(grade, facts.path, (gap.begin, facts.size), reason=reason, offsets=(gap.offset, None))
            return False
        if goes_on_at is None:
            goes_on_at = following
            self._ends_in_damage = following is None
        if goes_on_at is not None:
            facts.next_offset = goes_on_at
        else:
            goes_on_at = self.found.durable_offset
        if goes_on_at is not None and goes_on_at <= gap.offset:
            self.find(grade, facts.path, span, reason=f"{gap.reason}; no record is missing")
        else:
            self.find(grade, facts.path, span, reason=gap.reason, offsets=(gap.offset, goes_on_at))
        return True

    def _grade(self, offset: int) -> Grade:
        """Of what is wrong at an offset."""
        return Grade.DAMAGE if self._durable.cuts_nothing or offset < self._durable.offset else Grade.TAIL

    def _check_end(self) -> None:
        mark, last = self._durable.offset, self.found.segments[-1]
        if last.next_offset < mark and not self._ends_in_damage:
            reason = f"the log ends at {last.next_offset}, below the durable mark {mark}"
            self.find(Grade.DAMAGE, last.path, (last.size, last.size), reason=reason, offsets=(last.next_offset, mark))
        elif not self._ends_in_damage and self._durable.cuts_nothing:
            trace = went_on(self._disk, self._directory, last.next_offset)
            if trace is not None:
                reason = f"the log went on, and ends at {last.next_offset}: what should follow is missing"
                self.find(Grade.DAMAGE, trace.path, reason=reason, offsets=(last.next_offset, None))

    def _check_digest(self, facts: SegmentFacts, *, is_whole: bool) -> None:
        """Compare a sealed segment with its digest, if it has one. The batches are believed rather than the digest."""
        path = facts.path.removesuffix(SUFFIX) + DIGEST_SUFFIX
        if not self._disk.exists(path):
            return
        facts.has_digest = True
        try:
            digest = Digest.decode(read_file(self._disk, path))
        except (BadDigest, CorruptLog, DiskFailed) as bad:
            self._find_whole(path, _reason_of(bad))
            return
        if not is_whole:
            return
        if not digest.describes(facts.base_offset, facts.next_offset, facts.size):
            self._find_whole(path, "it is the digest of another segment")
            return
        blocks = ", ".join(f"{begin} to {end}" for begin, end in _differing_blocks(self._disk, facts.path, digest))
        if blocks:
            self._find_whole(path, f"it does not fit bytes {blocks} of the segment, whose batches are sound")

    def _survey_snapshots(self) -> None:
        for offset in ProducerSnapshots.read(self._disk, self._directory).offsets:
            path = f"{self._directory}/{offset:020d}{SNAPSHOT_SUFFIX}"
            try:
                ProducerState.decode(read_file(self._disk, path, size_max=SNAPSHOT_SIZE_MAX), now_ms=0)
            except (BadSnapshot, CorruptLog, DiskFailed) as bad:
                if self._disk.exists(path):  # else the broker that has it needs it no more
                    self._find_whole(path, _reason_of(bad))


def _reason_of(bad: BadDigest | BadSnapshot | CorruptLog | DiskFailed) -> str:
    """Without the file, which the finding names."""
    return bad.reason if isinstance(bad, CorruptLog | DiskFailed) else str(bad)


def _all_of(facts: SegmentFacts, reason: str) -> Gap:
    """A segment that is not to be had."""
    return Gap(begin=0, end=facts.size, offset=facts.base_offset, next_offset=None, reason=reason, is_unreadable=True)


def make_digest(disk: Disk, path: str, base_offset: int, next_offset: int, *, verified_ms: int = 0) -> Digest:
    """The digest of a segment's file as it is."""
    digester = Digester()
    file = disk.open(path)
    try:
        for position in range(0, file.size, CHUNK_SIZE):
            digester.add(file.read(position, CHUNK_SIZE))
    finally:
        file.close()
    return digester.digest(base_offset=base_offset, next_offset=next_offset, verified_ms=verified_ms)


def _differing_blocks(disk: Disk, path: str, digest: Digest) -> Iterator[tuple[int, int]]:
    """The ranges of bytes in which a segment is not what its digest says, adjacent blocks as one."""
    made = make_digest(disk, path, digest.base_offset, digest.next_offset)
    begin: int | None = None
    for number, (one, other) in enumerate(zip(digest.blocks, made.blocks, strict=True)):
        if one != other and begin is None:
            begin = number * BLOCK_SIZE
        elif one == other and begin is not None:
            yield begin, number * BLOCK_SIZE
            begin = None
    if begin is not None:
        yield begin, digest.size


def _problem_of_records(header: BatchHeader, batch: bytes) -> str:
    """What is wrong with the records of a batch whose checksum holds; nothing if they are what the header says."""
    try:
        count = sum(1 for _ in iterate(batch))
    except ProtocolError as error:
        return str(error)
    return "" if count == header.record_count else f"{count} records where the header says {header.record_count}"
