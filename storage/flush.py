"""One commit round of one log: which files must be synced so that everything up to an offset is durable."""

from collections.abc import Sequence

from .disk import Disk, Syncable
from .segment import Boundary, Segment


class Flush:
    """Made by `Log.begin_flush`, ended by `end_flush` or `fail_flush`; `sync` may run in another thread meanwhile.

    The files stay open until then. What is appended meanwhile is not covered.
    """

    __slots__ = ("_directory", "_disk", "_files", "end", "sealed", "segment")

    def __init__(
        self, disk: Disk, *, sealed: Sequence[Segment], active: Segment, end: Boundary, directory: str | None
    ) -> None:
        """`sealed` are closed segments not yet synced; `directory` is synced as well if its names have changed."""
        self._disk = disk
        self._directory = directory
        self._files: list[Syncable] = [file for segment in (*sealed, active) for file in segment.syncables()]
        self.sealed = tuple(sealed)
        self.segment = active
        self.end = end

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
