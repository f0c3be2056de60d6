"""Where each leader epoch of a log began: `leader-epoch-checkpoint`, in Kafka's text format.

    0           format version
    2           number of entries
    0 0         epoch, first offset written in it
    1 1042

Invariants: epochs and start offsets both strictly increase from entry to entry, but that the last one may start at the
log's end. A consumer that saw records which an unclean stop took away learns of it by its epoch (KIP-101, KIP-320), so
an epoch is durable before anything is written in it.

The text has no checksum: that of its entries stands in the durable mark. If they differ, the file is not believed, for
all that it says stands in the batches as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from crc32c import crc32c

from .checkpoint import encode_checkpoint, read_checkpoint, replace_file
from .disk import Disk
from .errors import CorruptLog

FILE_NAME: Final = "leader-epoch-checkpoint"
OFFSET_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class EpochStart:
    """An epoch and the first offset that was, or will be, written in it."""

    epoch: int
    start_offset: int

    def __str__(self) -> str:
        """For a line of text."""
        return f"leader epoch {self.epoch} from offset {self.start_offset} on"


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """An epoch and the offset behind its last record."""

    epoch: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class KnownEpochs:
    """The epochs of a log, as its durable mark knows them."""

    latest: int
    crc: int
    """CRC-32C of the file, as it is written here."""

    def __str__(self) -> str:
        """For a line of text."""
        return f"leader epochs up to {self.latest} with the CRC-32C {self.crc:#010x}"


class LeaderEpochs:
    """The epochs of one log, on disk and in memory."""

    def __init__(self, disk: Disk, directory: str, entries: Iterable[EpochStart] = ()) -> None:
        """`entries` stand in the file already, or will with the next `assign`."""
        self._disk = disk
        self.path = f"{directory}/{FILE_NAME}"
        self.entries: list[EpochStart] = list(entries)

    @classmethod
    def read(cls, disk: Disk, directory: str, *, known: KnownEpochs | None = None) -> "LeaderEpochs":
        """What the file says, at least one entry; `CorruptLog` if it is missing, damaged, or not the `known` one."""
        path = f"{directory}/{FILE_NAME}"
        if not disk.exists(path):
            raise CorruptLog(path, 0, "missing")
        entries = [EpochStart(epoch, start) for epoch, start in read_checkpoint(disk, path, fields=2)]
        for before, after in pairwise(entries):
            if before.epoch >= after.epoch or before.start_offset >= after.start_offset:
                raise CorruptLog(path, 0, f"{after} stands behind {before}")
        if not entries or entries[0].epoch < 0 or entries[0].start_offset < 0:
            raise CorruptLog(path, 0, "no entry, or a negative one")
        epochs = cls(disk, directory, entries)
        if known is not None and epochs.known != known:
            raise CorruptLog(path, 0, f"it holds {epochs.known}; the durable mark knows {known}")
        return epochs

    @property
    def known(self) -> KnownEpochs:
        """What the durable mark is to know."""
        return KnownEpochs(self.latest, crc32c(encode_epochs(self.entries)))

    @property
    def latest(self) -> int:
        """The current epoch; -1 before the first."""
        return self.entries[-1].epoch if self.entries else -1

    def epoch_at(self, offset: int) -> int:
        """The epoch in which the record at `offset` was, or will be, written; -1 if that is not known."""
        return next((entry.epoch for entry in reversed(self.entries) if entry.start_offset <= offset), -1)

    def span_at(self, offset: int) -> EpochEnd:
        """The epoch of `epoch_at`, and where the next one begins."""
        end_offset = OFFSET_MAX
        for entry in reversed(self.entries):
            if entry.start_offset <= offset:
                return EpochEnd(entry.epoch, end_offset)
            end_offset = entry.start_offset
        return EpochEnd(-1, end_offset)

    @property
    def is_known(self) -> bool:
        """Not so while the log is damaged and the file is in doubt."""
        return bool(self.entries)

    def allows(self, epoch: int, offset: int) -> bool:
        """Whether a batch at `offset` may be of that epoch: any, if nobody knows."""
        return not self.is_known or epoch == self.epoch_at(offset)

    def assign(self, epoch: int, start_offset: int) -> None:
        """Let `epoch` begin at `start_offset`, durably. Entries at or beyond that offset describe nothing any more."""
        assert epoch > self.latest, f"epoch {epoch} after {self.latest}"
        kept = [entry for entry in self.entries if entry.start_offset < start_offset]
        entries = [*kept, EpochStart(epoch, start_offset)]
        replace_file(self._disk, self.path, encode_epochs(entries))
        self.entries = entries

    def note(self, epoch: int, start_offset: int) -> None:
        """Add an epoch in memory that a batch tells of, while the file is in doubt: the next `assign` writes it."""
        assert epoch > self.latest
        self.entries.append(EpochStart(epoch, start_offset))

    def forget(self) -> None:
        """Know nothing any more, for what batches have told is a part only."""
        self.entries.clear()

    def end_of(self, epoch: int, *, end_offset: int) -> EpochEnd | None:
        """The largest epoch at or before `epoch` and the offset behind its last record (L-15); None when unknown.

        `end_offset` is the log's, which is where the current epoch ends so far.
        """
        if epoch < 0 or epoch > self.latest:
            return None
        end = end_offset
        for entry in reversed(self.entries):
            if entry.epoch <= epoch:
                return EpochEnd(entry.epoch, end)
            end = entry.start_offset
        return EpochEnd(epoch, end)


def encode_epochs(entries: Iterable[EpochStart]) -> bytes:
    """The contents of the file."""
    return encode_checkpoint((entry.epoch, entry.start_offset) for entry in entries)
