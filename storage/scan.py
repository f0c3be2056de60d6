"""Reads every batch of a segment file and believes nothing: checksum, length, order of offsets and epochs.

The base offset, the length, the leader epoch and the magic byte are outside the checksum; they are held against the
batch before. Used by recovery, and by whoever wants to verify a log that is not open.
"""

from collections.abc import Iterator
from typing import Final

from ..protocol.batch import HEADER_SIZE, BatchHeader, CorruptBatch, crc_of, read_header
from .disk import File
from .errors import CorruptLog
from .leader_epochs import LeaderEpochs

WINDOW_SIZE: Final = 1 << 20


def scan(
    file: File, base_offset: int, *, epochs: LeaderEpochs | None = None, epoch_min: int = -1
) -> Iterator[tuple[int, BatchHeader]]:
    """Position and header of each batch; `CorruptLog` at the first that is not sound or not in its place.

    The first batch must begin at `base_offset`, and each must be of the leader epoch that `epochs` knows for its
    offset; if nobody knows, they must ascend from `epoch_min`. Not for compacted logs, which have gaps.
    """
    window, window_start = memoryview(b""), 0
    position, expected, size = 0, base_offset, file.size
    while position < size:
        at = position - window_start
        try:
            if at + HEADER_SIZE > len(window):
                window, window_start, at = memoryview(file.read(position, WINDOW_SIZE)), position, 0
            header = read_header(window, at)
            if at + header.size > len(window):
                if position + header.size > size:
                    raise CorruptBatch(f"a batch of {header.size} bytes, of which {size - position} are there")
                window, window_start, at = memoryview(file.read(position, max(header.size, WINDOW_SIZE))), position, 0
            if crc_of(window, at, header.size) != header.crc:
                raise CorruptBatch("the checksum does not hold")
        except CorruptBatch as error:
            raise CorruptLog(file.path, position, str(error)) from error
        if header.base_offset != expected:
            raise CorruptLog(file.path, position, f"offset {header.base_offset} where {expected} should be")
        if header.leader_epoch < epoch_min or (
            epochs is not None and header.leader_epoch != epochs.epoch_at(header.base_offset)
        ):
            raise CorruptLog(file.path, position, f"leader epoch {header.leader_epoch} does not belong here")
        yield position, header
        position += header.size
        expected, epoch_min = header.next_offset, header.leader_epoch
