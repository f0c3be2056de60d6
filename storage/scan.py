"""Reads every batch of a segment file and believes nothing: checksum, length, order of offsets and epochs.

What the disk does not give is `Unreadable`, when all that lies before it was handed out.

The base offset, the length, the leader epoch and the magic byte are outside the checksum; they are held against the
batch before. Used by recovery, and by whoever wants to verify a log that is not open.
"""

from collections.abc import Iterator
from typing import Final, Protocol

from crc32c import crc32c

from ..protocol.batch import CHECKED_FROM, HEADER_SIZE, BatchHeader, CorruptBatch, read_header
from .errors import CorruptLog, Unreadable
from .leader_epochs import EpochEnd, LeaderEpochs

WINDOW_SIZE: Final = 1 << 20


class Readable(Protocol):
    """What is asked of a file that is read."""

    path: str

    @property
    def size(self) -> int:
        """Where it ends."""

    def read(self, position: int, size: int) -> bytes:
        """Up to `size` bytes; fewer at the end of the file."""


def scan(
    file: Readable,
    base_offset: int,
    *,
    epochs: LeaderEpochs | None = None,
    epoch_min: int = -1,
    position: int = 0,
    window_size: int = WINDOW_SIZE,
) -> Iterator[tuple[int, BatchHeader]]:
    """Position and header of each batch; `CorruptLog` at the first that is not sound or not in its place.

    The first batch must begin at `base_offset`, which is at `position` in the file, and each must be of the leader
    epoch that `epochs` knows for its offset; if nobody knows, they must ascend from `epoch_min`. Not for compacted
    logs, which have gaps.

    No more than a window is held: a length of which one bit is wrong may say that a batch is the rest of the file.
    """
    window, window_start = memoryview(b""), 0
    expected, size, span = base_offset, file.size, EpochEnd(-1, base_offset)
    while position < size:
        at = position - window_start
        end = None
        try:
            if at + HEADER_SIZE > len(window):
                window, window_start, at = memoryview(_read(file, position, HEADER_SIZE, window_size)), position, 0
            header = read_header(window, at)
            if position + header.size > size:
                raise CorruptBatch(f"a batch of {header.size} bytes, of which {size - position} are there")
            end = position + header.size
            crc = crc32c(window[at + CHECKED_FROM : end - window_start])
            while (reached := window_start + len(window)) < end:
                window = memoryview(_read(file, reached, min(end - reached, window_size), window_size))
                window_start = reached
                if not window:
                    raise CorruptBatch("the file has become shorter meanwhile")
                crc = crc32c(window[: end - window_start], crc)
            if crc != header.crc:
                raise CorruptBatch("the checksum does not hold")
        except CorruptBatch as error:
            raise CorruptLog(file.path, position, str(error), end=end) from error
        if header.base_offset != expected:
            reason = f"offset {header.base_offset} where {expected} should be"
            raise CorruptLog(file.path, position, reason, end=end)
        if epochs is not None and expected >= span.end_offset:
            span = epochs.span_at(expected)
        if header.leader_epoch < epoch_min or (epochs is not None and header.leader_epoch != span.epoch):
            raise CorruptLog(file.path, position, f"leader epoch {header.leader_epoch} does not belong here", end=end)
        yield position, header
        position += header.size
        expected, epoch_min = header.next_offset, header.leader_epoch


def _read(file: Readable, position: int, needed: int, wanted: int) -> bytes:
    """As many bytes as are wanted; or only as many as the disk gives, if that is what is needed."""
    try:
        return file.read(position, max(needed, wanted))
    except Unreadable as error:
        return file.read(position, max(needed, error.damage.position - position))
