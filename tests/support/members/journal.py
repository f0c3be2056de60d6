"""A member's journal: what it was given, read and committed; a line each, in the file before the member goes on."""

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class Journal:
    """The journal of one process. A line is one write, so that a kill tears at most the last one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._given: dict[int, int] = {}

    def assigned(self, generation: int, partitions: Sequence[int], *, kept: bool = False) -> None:
        """These partitions are the member's, and no others.

        `kept`: what it held before it goes on holding, as cooperative members do; else it is given all of them anew.
        """
        held = self._given if kept else {}
        self._given = {partition: held.get(partition, generation) for partition in partitions}
        self._write("assigned", generation, sorted(partitions))

    def read(self, partition: int, first: int, values: Sequence[bytes]) -> None:
        """The program was given these records."""
        self._write("read", self._given[partition], partition, first, [zlib.crc32(value) for value in values])

    @contextmanager
    def committing(self, offsets: Mapping[int, int]) -> Iterator[None]:
        """The block commits these; when it ends without an exception, the broker has acknowledged them."""
        generations = {partition: self._given[partition] for partition in offsets}
        for partition, offset in offsets.items():
            self._write("committing", generations[partition], partition, offset)
        yield
        for partition, offset in offsets.items():
            self._write("committed", generations[partition], partition, offset)

    def note(self, text: str) -> None:
        """Something for who looks into the journal; the judge passes it over."""
        self._write("note", text)

    def _write(self, *words: object) -> None:
        os.write(self._file, json.dumps(words).encode() + b"\n")
