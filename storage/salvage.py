"""Reads a segment file past its damage: every sound batch, and between them the gaps, as ranges of bytes.

`scan` ends at the first batch that is not sound, for recovery must not trust what lies behind. Whoever looks into a
log wants to know how far the damage reaches: so here the next sound batch is searched for, first where the bad one says
that it ends, then byte by byte. Sound means what it means to `scan`: checksum, length, and an offset and a leader
epoch that may stand there. Bytes that the disk does not give are damage like any other.

What a producer wrote may look like batches of any length, at every byte. So the search never goes back, over all gaps
of a file, and a checksum costs the same for every length (`_Checksums`): the time grows with the file's size.
"""

import re
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from crc32c import crc32c

from ..protocol.batch import CHECKED_FROM, HEADER_SIZE, MAGIC_POSITION, BatchHeader, CorruptBatch, read_header
from .errors import Unreadable
from .leader_epochs import LeaderEpochs
from .offset_index import RELATIVE_OFFSET_MAX
from .scan import Readable

WINDOW_SIZE: Final = 1 << 20
PAGE_SIZE: Final = 4096
"""What is tried by itself when more cannot be read at once."""
BLOCK_SIZE: Final = 1024
"""Of a range whose checksum is asked for, so much is read anew at each end."""
CASTAGNOLI: Final = 0x82F63B78
"""The polynomial of CRC-32C, the lowest power in the highest bit."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A batch, and where it begins."""

    position: int
    header: BatchHeader

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.position + self.header.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Bytes that are no sound batch in its place."""

    begin: int
    end: int
    """Where the next sound batch begins; the end of the file if there is none."""
    offset: int
    """The first offset that should be here."""
    next_offset: int | None
    """Where the log goes on; None if it does not in this file."""
    reason: str
    is_unreadable: bool = False
    """The disk does not give all of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of the batch that should come next."""

    offset: int
    offset_max: int
    """No segment holds greater ones (L-3), and none those of the next."""
    epoch_min: int


def read_through(
    file: Readable,
    base_offset: int,
    *,
    end_offset: int | None = None,
    epochs: LeaderEpochs | None = None,
    epoch_min: int = -1,
) -> Iterator[Sound | Gap]:
    """The batches of a segment that begins at `base_offset`, and the gaps between them.

    None reaches beyond `end_offset`, if that is known. `epochs` tells which leader epoch belongs to an offset; if
    nobody knows they must ascend from `epoch_min`.
    """
    source = _Source(file)
    batches = _Batches(source, epochs)
    offset_max = base_offset + RELATIVE_OFFSET_MAX
    due = Place(base_offset, offset_max if end_offset is None else min(offset_max, end_offset - 1), epoch_min)
    search = _Search(source, batches, due)
    position = 0
    while position < file.size:
        source.hold(position)
        try:
            header = batches.sound_at(position, due)
            if header.base_offset != due.offset:
                raise CorruptBatch(f"offset {header.base_offset} where {due.offset} should be")
        except CorruptBatch as error:
            begin, found = position, search.next_sound(position, due)
            position = file.size if found is None else found.position
            missing = source.missing_in(begin, position)
            yield Gap(
                begin=begin,
                end=position,
                offset=due.offset,
                next_offset=None if found is None else found.header.base_offset,
                reason=missing or str(error),
                is_unreadable=bool(missing),
            )
            if found is not None:
                due = Place(found.header.base_offset, due.offset_max, due.epoch_min)
            continue
        yield Sound(position, header)
        position += header.size
        due = Place(header.next_offset, due.offset_max, header.leader_epoch)


class _Source:
    """A file, of which a part is held for as long as it is read in order."""

    def __init__(self, file: Readable) -> None:
        self.size = file.size
        self._file = file
        self._held = memoryview(b"")
        self.held_from = 0
        self._unreadable: list[int] = []
        """Where the pages begin that the disk did not give."""
        self._refusal = ""

    def hold(self, position: int) -> None:
        """Have at hand what lies there, and for some way behind."""
        at = position - self.held_from
        if at < 0 or at + HEADER_SIZE > len(self._held):
            self._held, self.held_from = memoryview(self._fetch(position, WINDOW_SIZE)), position

    def read(self, position: int, size: int) -> memoryview:
        """So many bytes from there; fewer at the end of the file. Zeros for what the disk does not give."""
        at = position - self.held_from
        if at < 0 or at + size > len(self._held):
            return memoryview(self._fetch(position, size))
        return self._held[at : at + size]

    def missing_in(self, begin: int, end: int) -> str:
        """What the disk did not give of these bytes, which were asked for; nothing if it gave them all."""
        pages = self._unreadable
        first, last = bisect_left(pages, begin - PAGE_SIZE + 1), bisect_left(pages, end) - 1
        if first > last:
            return ""
        return f"bytes {pages[first]} to {min(pages[last] + PAGE_SIZE, self.size)} cannot be read: {self._refusal}"

    def check_readable(self, begin: int, end: int) -> None:
        """CorruptBatch if any of these bytes is missing."""
        missing = self.missing_in(begin, end)
        if missing:
            raise CorruptBatch(missing)

    def _fetch(self, position: int, size: int) -> bytes:
        try:
            return self._file.read(position, size)
        except Unreadable as error:
            self._refusal = error.reason
        first, end = position - position % PAGE_SIZE, min(position + size, self.size)
        if (position, size) == (first, PAGE_SIZE):
            at = bisect_left(self._unreadable, first)
            if self._unreadable[at : at + 1] != [first]:
                self._unreadable.insert(at, first)
            return bytes(end - first)
        pages = [self._fetch(page, PAGE_SIZE) for page in range(first, end, PAGE_SIZE)]
        return b"".join(pages)[position - first : end - first]


class _Checksums:
    """The CRC-32C of any range of a file, for the price of its two ends; all else is read once.

    A CRC is a remainder of polynomials: that of XY is that of X, times x to the bits in Y, plus that of Y. So those of
    all beginnings of the file, a block apart, give that of whatever lies between two of them.
    """

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._first = 0
        """The block at which the beginnings begin: whatever lies before what is held is not asked for any more."""
        self._beginnings = array("I", [0])
        self._powers = array("I", [1 << 31])
        """x to the bits in so many blocks."""

    def of(self, begin: int, end: int) -> int:
        """Of the bytes from `begin` on and before `end`."""
        if end - begin <= 2 * BLOCK_SIZE:
            return crc32c(self._source.read(begin, end - begin))
        first, last = -(-begin // BLOCK_SIZE), end // BLOCK_SIZE
        if len(self._beginnings) == 1:
            self._first = self._source.held_from // BLOCK_SIZE
        self._extend(last)
        head = crc32c(self._source.read(begin, first * BLOCK_SIZE - begin))
        before, whole = self._beginnings[first - self._first], self._beginnings[last - self._first]
        blocks = _times(self._powers[last - first], before ^ head) ^ whole
        return crc32c(self._source.read(last * BLOCK_SIZE, end - last * BLOCK_SIZE), blocks)

    def _extend(self, last: int) -> None:
        while (number := self._first + len(self._beginnings) - 1) < last:
            data = self._source.read(number * BLOCK_SIZE, min((last - number) * BLOCK_SIZE, WINDOW_SIZE))
            if not data:
                raise CorruptBatch("the file has become shorter meanwhile")
            for at in range(0, len(data), BLOCK_SIZE):
                self._beginnings.append(crc32c(data[at : at + BLOCK_SIZE], self._beginnings[-1]))
                self._powers.append(crc32c(_ZEROS, self._powers[-1] ^ _ONES) ^ _ONES)


_ZEROS = bytes(BLOCK_SIZE)
_ONES = 0xFFFFFFFF


def _times(one: int, other: int) -> int:
    """The product of two polynomials, modulo that of CRC-32C."""
    product = 0
    while one:
        if one & (1 << 31):
            product ^= other
        one = (one << 1) & _ONES
        other = (other >> 1) ^ (CASTAGNOLI if other & 1 else 0)
    return product


class _Batches:
    """Tells whether a batch is sound."""

    def __init__(self, source: _Source, epochs: LeaderEpochs | None) -> None:
        self._source = source
        self._epochs = epochs
        self._checksums = _Checksums(source)

    def header_at(self, position: int) -> BatchHeader:
        """CorruptBatch if there is none."""
        data = self._source.read(position, HEADER_SIZE)
        self._source.check_readable(position, position + HEADER_SIZE)
        return read_header(data)

    def sound_at(self, position: int, due: Place) -> BatchHeader:
        """The header of a sound batch that may stand behind what was due; CorruptBatch if there is none."""
        header = self.header_at(position)
        end = position + header.size
        if end > self._source.size:
            raise CorruptBatch(f"a batch of {header.size} bytes, of which {self._source.size - position} are there")
        self.check_place(header, due)
        crc = self._checksums.of(position + CHECKED_FROM, end)
        self._source.check_readable(position, end)
        if crc != header.crc:
            raise CorruptBatch("the checksum does not hold")
        return header

    def check_place(self, header: BatchHeader, due: Place) -> None:
        """Whether a batch may stand somewhere behind what was due; CorruptBatch."""
        if not due.offset <= header.base_offset <= header.last_offset <= due.offset_max:
            raise CorruptBatch(f"offset {header.base_offset} where {due.offset} should be")
        known = None if self._epochs is None else self._epochs.epoch_at(header.base_offset)
        if header.leader_epoch < due.epoch_min or (known is not None and header.leader_epoch != known):
            wanted = f"{due.epoch_min} or more" if known is None else f"{known}"
            raise CorruptBatch(f"leader epoch {header.leader_epoch} where {wanted} should be")

    def is_followed(self, batch: Sound) -> bool:
        """Whether the file ends behind a batch, or goes on with the next offset."""
        if batch.end == self._source.size:
            return True
        try:
            return self.header_at(batch.end).base_offset == batch.header.next_offset
        except CorruptBatch:
            return False


class _Search:
    """Finds sound batches behind bad ones. Whatever did not fit once never will: what is due only ever grows."""

    def __init__(self, source: _Source, batches: _Batches, due: Place) -> None:
        self._source = source
        self._batches = batches
        self._pattern = _pattern_of_headers(due)
        self._searched = 0
        """No batch that begins before this position is left to find."""
        self._chunk, self._chunk_from = memoryview(b""), 0
        self._alone: deque[int] = deque()
        """Where those begin that nothing follows, up to the next one that is followed."""
        self._followed: Sound | None = None

    def next_sound(self, begin: int, due: Place) -> Sound | None:
        """The first sound batch behind the bad one at `begin`.

        One that nothing follows in turn may be a copy that was written to the wrong place: it is believed only if the
        log goes on behind it. What is inside a bad batch is not looked at if its length can be believed.
        """
        named = self._named(begin, due)
        if named is not None and self._batches.is_followed(named):
            return named
        followed = self._next_followed(begin, due)
        alone = named or self._next_alone(begin, due)
        if alone is None:
            return followed
        if followed is None or (
            alone.end <= followed.position and alone.header.next_offset <= followed.header.base_offset
        ):
            return alone
        return followed

    def _named(self, begin: int, due: Place) -> Sound | None:
        """The batch where the bad one says that it ends."""
        try:
            end = begin + self._batches.header_at(begin).size
            return Sound(end, self._batches.sound_at(end, due))
        except CorruptBatch:
            return None

    def _next_followed(self, begin: int, due: Place) -> Sound | None:
        self._searched = max(self._searched, begin + 1)
        if self._followed is not None and self._fits(self._followed, begin, due):
            return self._followed
        self._followed = None
        while self._followed is None and (position := self._next_candidate()) is not None:
            try:
                found = Sound(position, self._batches.sound_at(position, due))
            except CorruptBatch:
                continue
            if self._batches.is_followed(found):
                self._followed = found
            else:
                self._alone.append(position)
        return self._followed

    def _next_alone(self, begin: int, due: Place) -> Sound | None:
        while self._alone:
            position = self._alone[0]
            batch = Sound(position, self._batches.header_at(position))
            if self._fits(batch, begin, due):
                return batch
            self._alone.popleft()
        return None

    def _fits(self, batch: Sound, begin: int, due: Place) -> bool:
        """Whether one that was found sound may be the next."""
        try:
            self._batches.check_place(batch.header, due)
        except CorruptBatch:
            return False
        return batch.position > begin

    def _next_candidate(self) -> int | None:
        """Where the next batch might begin, by its fixed bytes."""
        while self._searched + HEADER_SIZE <= self._source.size:
            at = self._searched - self._chunk_from
            if at + HEADER_SIZE > len(self._chunk):
                self._chunk, self._chunk_from = self._source.read(self._searched, WINDOW_SIZE), self._searched
                at = 0
                if len(self._chunk) < HEADER_SIZE:
                    break  # the file has become shorter meanwhile
            found = self._pattern.search(self._chunk, at + MAGIC_POSITION)
            if found is not None:
                position = self._chunk_from + found.start() - MAGIC_POSITION
                self._searched = position + 1
                return position
            # What is left of the chunk is too short for a header.
            self._searched += len(self._chunk) - at - HEADER_SIZE + 1
        return None


def _pattern_of_headers(due: Place) -> re.Pattern[bytes]:
    """Finds the magic of whatever `read_header` would take, and the bounds of the offsets, without reading each."""
    upper = {offset >> 32 for offset in (due.offset, due.offset_max)}
    offsets = b"|".join(re.escape(number.to_bytes(4)) for number in upper)
    before = b"(?:" + offsets + b").{4}[\x00-\x7f].{7}"  # base offset, batch length, leader epoch
    after = b".{6}[\x00-\x7f].{33}[\x00-\x7f]"  # CRC, attributes, last offset delta, and as far as the record count
    return re.compile(b"\x02(?<=" + before + b"\x02)(?=" + after + b")", re.DOTALL)
