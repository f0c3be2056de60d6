"""The snapshots of a log's producers on the disk: `<offset>.snapshot`, the state that all batches below it lead to.

One is written at every roll, at the new segment's base offset, and one at every clean stop, at the log's end. Opening
the log takes the newest that can be read and replays the batches behind it. A snapshot saves reading; it is never the
only place of anything. So a damaged one is passed over for an older one, one that cannot be written is a warning, and
without any the log is replayed from its start.

Recovery cuts a log nowhere below its durable mark: the newest two at or below the mark are all that can be wanted (the
second in case the first is damaged), and those above it.
"""

import logging
import re
from collections.abc import Sequence
from typing import Final

from .checkpoint import read_file, replace_file
from .disk import Disk
from .errors import CorruptLog, StorageError
from .producer_state import BadSnapshot, ProducerState
from .segment import Segment

SUFFIX: Final = ".snapshot"
KEPT_BELOW_MARK: Final = 2

_SNAPSHOT = re.compile(r"(\d{20})\.snapshot")

logger = logging.getLogger(__name__)


class ProducerSnapshots:
    """The snapshots of one log."""

    def __init__(self, disk: Disk, directory: str) -> None:
        """`directory` may not exist yet, if nothing is read before something was written."""
        self._disk = disk
        self._directory = directory
        self.offsets: list[int] = []
        """Of those that are there, ascending."""

    @classmethod
    def read(cls, disk: Disk, directory: str) -> "ProducerSnapshots":
        """Those that lie in a log's directory."""
        snapshots = cls(disk, directory)
        snapshots.offsets = sorted(
            int(match[1]) for name in disk.list(directory) if (match := _SNAPSHOT.fullmatch(name))
        )
        return snapshots

    def load(self, segments: Sequence[Segment], end_offset: int, *, now_ms: int) -> ProducerState:
        """The state at the log's end: of the newest snapshot that can be read, and of the batches behind it.

        Removes those of offsets that the log no longer has; StorageError if that cannot be done.
        """
        foreign = [offset for offset in self.offsets if offset > end_offset]
        for offset in foreign:
            self._disk.remove(self._path(offset))
            self.offsets.remove(offset)
        if foreign:
            # Durably: the log will grow over these offsets again, with other batches.
            self._disk.sync_directory(self._directory)
        start_offset, state = segments[0].base_offset, ProducerState()
        for offset in reversed([offset for offset in self.offsets if offset > start_offset]):
            try:
                state = ProducerState.decode(read_file(self._disk, self._path(offset)), now_ms=now_ms)
            except (BadSnapshot, StorageError) as damage:
                logger.warning("producer snapshot passed over path=%s because=%s", self._path(offset), damage)
                if isinstance(damage, BadSnapshot):
                    self._remove(offset)
                continue
            start_offset = offset
            break
        if start_offset < end_offset:
            _replay(state, segments, start_offset, now_ms=now_ms)
        return state

    def write(self, offset: int, state: ProducerState, *, mark: int) -> None:
        """Keep the state at `offset`; drop what is no longer wanted, now that the durable mark stands at `mark`."""
        if offset not in self.offsets:
            try:
                replace_file(self._disk, self._path(offset), state.encode())
            except StorageError as error:
                logger.warning("producer snapshot not written path=%s error=%s", self._path(offset), error)
                return
            self.offsets = sorted([*self.offsets, offset])
        below = [known for known in self.offsets if known <= mark]
        for known in below[:-KEPT_BELOW_MARK]:
            self._remove(known)

    def _remove(self, offset: int) -> None:
        self.offsets.remove(offset)
        try:
            self._disk.remove(self._path(offset))
        except StorageError as error:
            logger.warning("producer snapshot not removed path=%s error=%s", self._path(offset), error)

    def _path(self, offset: int) -> str:
        return f"{self._directory}/{offset:020d}{SUFFIX}"


def _replay(state: ProducerState, segments: Sequence[Segment], start_offset: int, *, now_ms: int) -> None:
    """Follow the batches from `start_offset` to the end."""
    for segment in segments:
        if segment.next_offset <= start_offset:
            continue
        try:
            for _, header in segment.headers(segment.locate(start_offset).position):
                if header.producer_id >= 0:
                    state.update(header, header.base_offset, timestamp=header.max_timestamp, now_ms=now_ms)
                state.commit()
        except CorruptLog as damage:
            # Whoever reads there will stumble over it; the producers that wrote there may be taken for new ones.
            logger.error("producers not replayed to the end segment=%s because=%s", segment.path, damage)
