"""Reads a segment file past its damage: every sound batch, and between them the gaps, as ranges of bytes.

`scan` ends at the first batch that is not sound, for recovery must not trust what lies behind. Whoever looks into a
log wants to know how far the damage reaches: so here the next sound batch is searched for, first where the bad one says
that it ends, then byte by byte. Sound means what it means to `scan`: checksum, length, and an offset and a leader
epoch that may stand there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..protocol.batch import HEADER_SIZE, MAGIC, MAGIC_POSITION, BatchHeader, CorruptBatch, crc_of, read_header
from .disk import File
from .leader_epochs import LeaderEpochs
from .offset_index import RELATIVE_OFFSET_MAX

WINDOW_SIZE: Final = 1 << 20
_MAGIC = bytes([MAGIC])


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


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of the batch that should come next."""

    offset: int
    offset_max: int
    """No segment holds greater ones (L-3)."""
    epoch_min: int


def read_through(
    file: File, base_offset: int, *, epochs: LeaderEpochs | None = None, epoch_min: int = -1
) -> Iterator[Sound | Gap]:
    """The batches of a segment that begins at `base_offset`, and the gaps between them.

    `epochs` tells which leader epoch belongs to an offset; if nobody knows they must ascend from `epoch_min`.
    """
    window = _Window(file)
    offset_max = base_offset + RELATIVE_OFFSET_MAX
    position, due = 0, Place(base_offset, offset_max, epoch_min)
    while position < file.size:
        try:
            header = _checked(window, position)
            _check_place(header, due, epochs)
            if header.base_offset != due.offset:
                raise CorruptBatch(f"offset {header.base_offset} where {due.offset} should be")
        except CorruptBatch as error:
            begin = position
            found = _next_sound(window, begin, due, epochs)
            position = file.size if found is None else found.position
            yield Gap(
                begin=begin,
                end=position,
                offset=due.offset,
                next_offset=None if found is None else found.header.base_offset,
                reason=str(error),
            )
            if found is not None:
                due = Place(found.header.base_offset, offset_max, due.epoch_min)
            continue
        yield Sound(position, header)
        position += header.size
        due = Place(header.next_offset, offset_max, header.leader_epoch)


class _Window:
    """A part of a file, held for as long as it is read in order."""

    def __init__(self, file: File) -> None:
        self.size = file.size
        self._file = file
        self._data = memoryview(b"")
        self._begin = 0

    def view(self, position: int, size: int) -> memoryview:
        """So many bytes from there; fewer at the end of the file."""
        at = position - self._begin
        if at < 0 or at + size > len(self._data):
            self._data = memoryview(self._file.read(position, max(size, WINDOW_SIZE)))
            self._begin, at = position, 0
        return self._data[at : at + size]


def _checked(window: _Window, position: int) -> BatchHeader:
    """The batch at a position, wherever it belongs; CorruptBatch if there is none."""
    header = read_header(window.view(position, HEADER_SIZE))
    if position + header.size > window.size:
        raise CorruptBatch(f"a batch of {header.size} bytes, of which {window.size - position} are there")
    if crc_of(window.view(position, header.size), 0, header.size) != header.crc:
        raise CorruptBatch("the checksum does not hold")
    return header


def _check_place(header: BatchHeader, due: Place, epochs: LeaderEpochs | None) -> None:
    """Whether a batch may stand somewhere behind what was due; CorruptBatch."""
    if not due.offset <= header.base_offset <= header.last_offset <= due.offset_max:
        raise CorruptBatch(f"offset {header.base_offset} where {due.offset} should be")
    known = None if epochs is None else epochs.epoch_at(header.base_offset)
    if header.leader_epoch < due.epoch_min or (known is not None and header.leader_epoch != known):
        wanted = f"{due.epoch_min} or more" if known is None else f"{known}"
        raise CorruptBatch(f"leader epoch {header.leader_epoch} where {wanted} should be")


def _next_sound(window: _Window, begin: int, due: Place, epochs: LeaderEpochs | None) -> Sound | None:
    """The first sound batch behind the bad one at `begin`.

    One that nothing follows in turn may be a copy that was written to the wrong place: it is believed only if the log
    goes on behind it.
    """
    alone: Sound | None = None
    for position in _candidates(window, begin):
        try:
            found = Sound(position, _checked(window, position))
            _check_place(found.header, due, epochs)
        except CorruptBatch:
            continue
        if not _is_followed(window, found):
            alone = alone or found
        elif alone is None or alone.end > found.position or alone.header.next_offset > found.header.base_offset:
            return found
        else:
            return alone
    return alone


def _is_followed(window: _Window, batch: Sound) -> bool:
    """Whether the file ends behind a batch, or goes on with the next offset."""
    if batch.end == window.size:
        return True
    try:
        return read_header(window.view(batch.end, HEADER_SIZE)).base_offset == batch.header.next_offset
    except CorruptBatch:
        return False


def _candidates(window: _Window, begin: int) -> Iterator[int]:
    """Where a batch might begin: behind the bad one, if its length can be believed; else wherever the magic fits."""
    try:
        yield begin + read_header(window.view(begin, HEADER_SIZE)).size
    except CorruptBatch:
        pass
    position = begin + 1
    while position + HEADER_SIZE <= window.size:
        data = bytes(window.view(position + MAGIC_POSITION, WINDOW_SIZE))
        at = data.find(_MAGIC)
        while at >= 0:
            yield position + at
            at = data.find(_MAGIC, at + 1)
        position += len(data)
