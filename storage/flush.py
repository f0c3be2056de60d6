"""One flush of one log: which files must be synced so that everything up to an offset is durable."""

from collections.abc import Sequence

from .disk import Disk, Syncable
from .durable_mark import Checkpoint
from .producer_snapshots import Snapshot
from .segment import Boundary, Segment


class Flush:
    """Made by `Log.begin_flush`, ended by `end_flush` or `fail_flush`; `sync` may run in another thread meanwhile.

    The files stay open until then. What is appended meanwhile is not covered.
    """

    __slots__ = ("_directory", "_disk", "_files", "checkpoint", "end", "sealed", "segment", "snapshot")

    def __init__(
        self,
        disk: Disk,
        *,
        sealed: Sequence[Segment],
        active: Segment,
        end: Boundary,
        directory: str | None,
        checkpoint: Checkpoint | None,
        snapshot: Snapshot | None,
    ) -> None:
        """`sealed` are closed segments not yet synced; `directory` is synced as well if its names have changed.

        With a `checkpoint` in the active segment its indexes are synced too; the `snapshot` is written at the end.
        """
        self._disk = disk
        self._directory = directory
        with_indexes = checkpoint is not None and checkpoint.position > 0
        self._files: list[Syncable] = [
            *(file for segment in sealed for file in segment.syncables(indexes=True)),
            *active.syncables(indexes=with_indexes),
        ]
        self.sealed = tuple(sealed)
        self.segment = active
        self.end = end
        self.checkpoint = checkpoint
        """Holds once `sync` has returned."""
        self.snapshot = snapshot

    @property
    def end_offset(self) -> int:
        """Everything below is durable once `sync` has returned."""
        return self.end.offset

    def sync(self) -> None:
        """Make it so; `DiskFailed` if that cannot be. Only syncs, in the order in which the bytes were written."""
        for file in self._files:
            file.sync()
        if self._directory is not None:
            self._disk.sync_directory(self._directory)
        if self.snapshot is not None:
            self.snapshot.write()
