"""Reads a segment from its beginning to its end, a slice at a time, and finds it sound or says where it is not.

Every batch is checked as at recovery (scan.py); on the way the digest is made of what was read, and held against the
one that lies beside the segment. Made for a thread of its own: it opens the file itself, reads nothing that belongs to
the log's owner, and writes nothing but a temporary file. What is to become of a finding is for the owner to say.
"""

import logging
from collections.abc import Iterator
from typing import Final

from crc32c import crc32c

from ..protocol.batch import HEADER_SIZE, BatchHeader
from .checkpoint import TEMPORARY_SUFFIX, create_file
from .digests import BLOCK_SIZE, Digest, Digester, read_digest
from .digests import SUFFIX as DIGEST_SUFFIX
from .disk import Disk, File
from .errors import CorruptLog, DiskFailed, Unreadable
from .leader_epochs import LeaderEpochs
from .scan import scan
from .segment import Boundary, Segment

SLICE_SIZE: Final = 2 * BLOCK_SIZE
"""What one step reads, unless a batch is larger: even of the smallest batches not many milliseconds' work."""

logger = logging.getLogger(__name__)


class Inspection:
    """One segment being read. Its owner makes it; then one thread at a time may `begin`, `step` and `write`."""

    def __init__(self, disk: Disk, segment: Segment, *, end: Boundary, epochs: LeaderEpochs, is_sealed: bool) -> None:
        """What lies below `end` is durable; of a segment that `is_sealed` that is all of it, and it gets a digest."""
        self.base_offset = segment.base_offset
        self.path = segment.path
        self.end = end
        self.is_sealed = is_sealed
        self.old: Digest | None = None
        """The digest that lies beside it, once it has begun."""
        self.bytes_read = 0
        self._disk = disk
        self._digest_path = segment.stem + DIGEST_SUFFIX
        self._epochs = LeaderEpochs(disk, "", epochs.entries)
        self._file: File | None = None
        self._digester = Digester()
        self._next_offset = segment.base_offset
        self._batches: Iterator[tuple[int, BatchHeader]] | None = None

    def begin(self) -> None:
        """Open the file, and read the digest; `CorruptLog` if the file is missing, or is not as long as it should be.

        DiskFailed if it could not be opened, which says nothing of it.
        """
        try:
            self._file = self._disk.open(self.path)
        except DiskFailed as error:
            if self._disk.exists(self.path):
                raise
            raise CorruptLog(self.path, 0, "missing", end=self.end.position) from error
        size = self._file.size
        if size < self.end.position:
            raise CorruptLog(self.path, size, f"{self.end.position - size} bytes are missing", end=self.end.position)
        if self.is_sealed and size > self.end.position:
            raise CorruptLog(
                self.path, self.end.position, f"{size - self.end.position} bytes lie behind the last batch", end=size
            )
        if self.is_sealed:
            self.old = self._read_old()

    def step(self) -> bool:
        """Read the next slice; whether there is more. `CorruptLog` with the range of the first damage.

        `Unreadable` if the disk fails: a path to it, or a network, may do so for a moment. It has to begin anew then.
        """
        if self._batches is None:
            self._batches = self._scan()
        before = self._digester.position
        try:
            for _, header in self._batches:
                self._next_offset = header.next_offset
                if self._digester.position > before:
                    return True  # the batches in what was read come with the next step
        except CorruptLog as damage:
            raise self._measured(damage) from None
        except Unreadable as error:
            raise Unreadable(self._measured(error.damage)) from error
        finally:
            self.bytes_read += self._digester.position - before
        if self._next_offset != self.end.offset:
            reason = f"the batches end at offset {self._next_offset} instead of {self.end.offset}"
            raise CorruptLog(self.path, self.end.position, reason, end=self.end.position)
        return False

    def differs(self, new: Digest) -> CorruptLog | None:
        """Where the file is not what its digest says, though every batch in it is sound; None if nowhere."""
        if self.old is None or self.old.sha256 == new.sha256:
            return None
        bad = [number for number, crc in enumerate(self.old.blocks) if crc != new.blocks[number]] or [0]
        end = min((bad[-1] + 1) * BLOCK_SIZE, self.end.position)
        return CorruptLog(self.path, bad[0] * BLOCK_SIZE, "the bytes are sound, but were others once", end=end)

    def result(self, *, now_ms: int) -> Digest:
        """The digest of what was read to the end."""
        assert self._digester.position == self.end.position
        return self._digester.digest(base_offset=self.base_offset, next_offset=self.end.offset, verified_ms=now_ms)

    def write(self, digest: Digest) -> None:
        """Write the digest under a temporary name, durably; `DiskFailed`."""
        temporary = self._digest_path + TEMPORARY_SUFFIX
        if self._disk.exists(temporary):
            self._disk.remove(temporary)
        create_file(self._disk, temporary, digest.encode())

    def publish(self) -> None:
        """Give the digest its name. For the owner, who knows whether the segment is still there.

        Nothing is synced: if a crash undoes this, it is made again.
        """
        self._disk.rename(self._digest_path + TEMPORARY_SUFFIX, self._digest_path)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _scan(self) -> Iterator[tuple[int, BatchHeader]]:
        assert self._file is not None, "not begun"
        window = _Window(self._file, self.end.position, self._digester)
        if self.old is not None or not self.is_sealed:
            window.go_past_cache()  # else it was written just now: no need to fetch it, nor to spoil it for readers
        epochs = self._epochs if self._epochs.is_known else None
        return scan(window, self.base_offset, epochs=epochs, window_size=SLICE_SIZE)

    def _read_old(self) -> Digest | None:
        digest = read_digest(self._disk, self._digest_path)
        if digest is None or digest.describes(self.base_offset, self.end.offset, self.end.position):
            return digest
        logger.warning("the digest is of another segment, and counts for nothing path=%s", self._digest_path)
        return None

    def _measured(self, damage: CorruptLog) -> CorruptLog:
        """The damage with its end, if the digest can tell: it says of each block whether it has changed."""
        if self.old is None or self._file is None:
            return damage
        blocks = range(damage.position // BLOCK_SIZE, len(self.old.blocks))
        search_end = damage.end or damage.position + HEADER_SIZE
        first = next((n for n in blocks if n * BLOCK_SIZE < search_end and self._has_changed(n)), None)
        if first is None:
            return damage  # it was so when the digest was made
        end = next((n * BLOCK_SIZE for n in blocks if n > first and not self._has_changed(n)), self.end.position)
        return CorruptLog(self.path, damage.position, damage.reason, end=end)

    def _has_changed(self, number: int) -> bool:
        """Whether a block is not what the digest says."""
        assert self.old is not None
        assert self._file is not None
        begin = number * BLOCK_SIZE
        try:
            data = self._file.read(begin, min(BLOCK_SIZE, self.end.position - begin))
        except DiskFailed:
            return True
        return crc32c(data) != self.old.blocks[number]


class _Window:
    """The file as the scan sees it: it ends where it should, and what goes by is digested once, in order."""

    def __init__(self, file: File, size: int, digester: Digester) -> None:
        self.path, self.size = file.path, size
        self._file = file
        self._digester = digester
        self._kept_from: int | None = None

    def go_past_cache(self) -> None:
        """Read what is on the disk, not what is remembered of it, and leave nothing behind in memory."""
        self._file.drop_cache(0, self.size)
        self._kept_from = 0

    def read(self, position: int, size: int) -> bytes:
        """See `Readable`."""
        size = min(size, self.size - position)
        self._drop(position)
        data = self._file.read(position, size)
        known = self._digester.position - position
        assert known >= 0, "the scan leaves nothing out"
        self._digester.add(memoryview(data)[known:])
        return data

    def _drop(self, position: int) -> None:
        """The scan comes back for the rest of a batch, never for what lies before it."""
        if self._kept_from is not None and position > self._kept_from:
            self._file.drop_cache(self._kept_from, position - self._kept_from)
            self._kept_from = position
