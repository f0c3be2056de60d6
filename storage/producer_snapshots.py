"""The snapshots of a log's producers on the disk: `<offset>.snapshot`, the state that all batches below it lead to.

One is written at every roll, at the new segment's base offset, one with every checkpoint of a log that has producers,
and one at every clean stop, at the log's end. Opening the log takes the newest that can be read and replays the batches
behind it. A snapshot saves reading; it is never the only place of anything. So a damaged one is passed over for an
older one, one that cannot be written is a warning, nobody waits until its name is durable, and without any the log is
replayed from its start, or from where a checkpoint says that there were no producers yet.

Recovery cuts a log nowhere below its durable mark: the newest two at or below the mark are all that can be wanted (the
second in case the first is damaged), and those above it.
"""

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from .checkpoint import put_in_place, read_file
from .disk import Disk
from .errors import NotIndexedYet, StorageError
from .producer_state import BadSnapshot, ProducerState
from .segment import Segment

SUFFIX: Final = ".snapshot"
KEPT_BELOW_MARK: Final = 2

_SNAPSHOT = re.compile(r"(\d{20})\.snapshot")

logger = logging.getLogger(__name__)

SIZE_MAX: Final = 1 << 28
"""More than a million producers. What claims to be larger is passed over, as what cannot be read is."""


class Snapshot:
    """One that is to be written; that may be done in another thread."""

    __slots__ = ("_data", "_disk", "_path", "is_written", "offset")

    def __init__(self, disk: Disk, path: str, offset: int, data: bytes) -> None:
        self._disk, self._path, self._data = disk, path, data
        self.offset = offset
        self.is_written = False

    def write(self) -> None:
        """Write it, if that can be done."""
        try:
            put_in_place(self._disk, self._path, self._data)
        except StorageError as error:
            logger.warning("producer snapshot not written path=%s error=%s", self._path, error)
        else:
            self.is_written = True


class ProducerSnapshots:
    """The snapshots of one log."""

    def __init__(self, disk: Disk, directory: str) -> None:
        """`directory` may not exist yet, if nothing is read before something was written."""
        self._disk = disk
        self._directory = directory
        self.offsets: list[int] = []
        """Of those that are there, ascending."""
        self._begun: int | None = None

    @classmethod
    def read(cls, disk: Disk, directory: str) -> "ProducerSnapshots":
        """Those that lie in a log's directory."""
        snapshots = cls(disk, directory)
        snapshots.offsets = sorted(
            int(match[1]) for name in disk.list(directory) if (match := _SNAPSHOT.fullmatch(name))
        )
        return snapshots

    def load(
        self, segments: Sequence[Segment], end_offset: int, *, none_below: int, none_from: int, now_ms: int
    ) -> ProducerState:
        """The state at the log's end: of the newest snapshot that can be read, and of the batches behind it.

        No producer is to be looked for below `none_below`, nor from `none_from` on. Removes, when all is read, the
        snapshots that are none, and those of offsets that the log no longer has; StorageError if that cannot be done.
        """
        foreign = [offset for offset in self.offsets if offset > end_offset]
        damaged: list[int] = []
        start_offset, state = max(segments[0].base_offset, none_below), ProducerState()
        for offset in reversed([offset for offset in self.offsets if start_offset < offset <= end_offset]):
            try:
                data = read_file(self._disk, self._path(offset), size_max=SIZE_MAX)
                state = ProducerState.decode(data, now_ms=now_ms)
            except (BadSnapshot, StorageError) as damage:
                logger.warning("producer snapshot passed over path=%s because=%s", self._path(offset), damage)
                if isinstance(damage, BadSnapshot):
                    damaged.append(offset)
                continue
            start_offset = offset
            break
        if start_offset < none_from:
            _replay(state, segments, start_offset, none_from, now_ms=now_ms)
        for offset in damaged:
            self._remove(offset)
        for offset in foreign:
            self._disk.remove(self._path(offset))
            self.offsets.remove(offset)
        if foreign:
            # Durably: the log will grow over these offsets again, with other batches.
            self._disk.sync_directory(self._directory)
        return state

    def begin(self, offset: int, state: ProducerState) -> Snapshot | None:
        """The state at `offset`, to be written and then given to `end`; None if it is there, or is being written."""
        if offset in self.offsets or offset == self._begun:
            return None
        self._begun = offset
        return Snapshot(self._disk, self._path(offset), offset, state.encode())

    def end(self, snapshot: Snapshot, *, mark: int) -> None:
        """It is written, or could not be; what is no longer wanted goes, now that the durable mark is at `mark`."""
        self._begun = None
        if not snapshot.is_written:
            return
        self.offsets = sorted([*self.offsets, snapshot.offset])
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


def _replay(
    state: ProducerState, segments: Sequence[Segment], start_offset: int, end_offset: int, *, now_ms: int
) -> None:
    """Follow the batches from `start_offset` on, at least to `end_offset`."""
    for segment in segments:
        # Safe without: what is before has no batch from there on, and what is behind none of a producer.
        if segment.next_offset <= start_offset or segment.base_offset >= end_offset:
            continue
        for _, header in segment.headers(_position_of(start_offset, segment), checked=True):
            if header.producer_id >= 0:
                state.update(header, header.base_offset, timestamp=header.max_timestamp, now_ms=now_ms)
            state.commit()


def _position_of(offset: int, segment: Segment) -> int:
    """Where its batch begins, however long that takes: nobody is served yet."""
    while True:
        with suppress(NotIndexedYet):
            return segment.locate(offset).position
