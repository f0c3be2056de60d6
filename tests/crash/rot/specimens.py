"""Data directories with one log, small enough for every bit of them to be flipped, and the truth about them."""

import random
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final
from uuid import UUID

from support.builders import a_batch, records_of, with_header
from support.flat_disk import FlatDisk, Tree
from tidelog.protocol.batch import BatchHeader, check, read_header, walk
from tidelog.protocol.compression import Codec
from tidelog.storage.config import LogConfig
from tidelog.storage.durable_mark import DurableMark
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

TOPIC: Final = "t"
HOME: Final = "t-0/"
TOPIC_ID: Final = UUID(int=7)
CLUSTER_ID: Final = "AAECAwQFBgcICQoLDA0ODw"
PRODUCERS: Final = (4000, 4001)
CODECS: Final = (Codec.NONE, Codec.NONE, Codec.NONE, Codec.ZSTD, Codec.LZ4, Codec.SNAPPY, Codec.GZIP)
BASE_TIMESTAMP: Final = 1000
NEW_TIME: Final = 0.3
"""So often a batch has another time than the one before, earlier perhaps; else the same: an index may mix them up."""
NOW_MS: Final = 5_000
BATCHES: Final = 9


class Stop(StrEnum):
    """How the last process ended."""

    CLEAN = "clean"
    MARKED = "marked"
    """It was killed, and everything lies below the durable mark."""
    BEHIND = "behind"
    """It was killed, and about half of what was acknowledged lies above the durable mark."""


class Bump(StrEnum):
    """Where an earlier unclean stop has begun a second leader epoch."""

    NONE = "none"
    MIDDLE = "middle"
    END = "end"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was acknowledged."""

    data: bytes
    header: BatchHeader

    @property
    def offset(self) -> int:
        """Its first."""
        return self.header.base_offset


Remembered = tuple[int, tuple[tuple[int, int], ...]]
"""Of a producer: its epoch, and first offset and first sequence of its last batches."""


@dataclass(kw_only=True)
class Specimen:
    """A data directory and the truth about it."""

    name: str
    stop: Stop
    tree: Tree
    earlier: tuple[Tree, ...]
    """What the directory was before; the last one first."""
    batches: tuple[Batch, ...]
    mark: int
    """Of the durable mark's file."""
    leader_epoch: int
    config: LogConfig
    _producers: dict[int, dict[int, Remembered]] = field(default_factory=dict)

    @property
    def end_offset(self) -> int:
        """Behind the last batch."""
        return self.batches[-1].header.next_offset

    @cached_property
    def files(self) -> tuple[str, ...]:
        """All of them, but the lock, which is empty."""
        return tuple(sorted(path for path in self.tree if path != ".lock"))

    @cached_property
    def times(self) -> tuple[tuple[int, int], ...]:
        """Timestamp and offset of each record."""
        return tuple((record.timestamp, record.offset) for batch in self.batches for record in records_of(batch.data))

    @cached_property
    def whole(self) -> bytes:
        """All batches, one behind the other."""
        return b"".join(batch.data for batch in self.batches)

    @cached_property
    def positions(self) -> dict[int, int]:
        """Where in `whole` the batch of a base offset begins; also where the last one ends."""
        positions, position = {}, 0
        for batch in self.batches:
            positions[batch.offset] = position
            position += len(batch.data)
        return {**positions, self.end_offset: position}

    def producers_at(self, end_offset: int) -> dict[int, Remembered]:
        """What is to be remembered of the producers when the log ends there."""
        known = self._producers.get(end_offset)
        if known is None:
            known = self._producers[end_offset] = dict(_remembered(self.batches, end_offset))
        return known

    @cached_property
    def probes(self) -> tuple[int, ...]:
        """Times to look for: the first record's, one in between, most batches', the greatest, and a later one."""
        times = sorted({time for time, _ in self.times})
        of_most = statistics.mode(batch.header.max_timestamp for batch in self.batches)
        return (self.times[0][0], times[len(times) // 2], of_most, times[-1], times[-1] + 1)

    def find_timestamp(self, timestamp: int, up_to: int) -> int | None:
        """Offset of the first record of at least that time."""
        return next((offset for time, offset in self.times if offset < up_to and time >= timestamp), None)


def _remembered(batches: tuple[Batch, ...], end_offset: int) -> Iterator[tuple[int, Remembered]]:
    headers = [batch.header for batch in batches if batch.offset < end_offset]
    for number in PRODUCERS:
        mine = [header for header in headers if header.producer_id == number]
        if mine:
            epoch = mine[-1].producer_epoch
            last = [one for one in mine if one.producer_epoch == epoch][-5:]
            yield number, (epoch, tuple((one.base_offset, one.base_sequence) for one in last))


def producers_of(log: Log) -> dict[int, Remembered]:
    """What an open log remembers of its producers."""
    states = {number: log.producers.get(number) for number in PRODUCERS}
    return {
        number: (state.epoch, tuple((batch.first_offset, batch.first_sequence) for batch in state.batches))
        for number, state in states.items()
        if state is not None
    }


def open_directory(disk: FlatDisk) -> LogDirectory:
    """As the broker does."""
    return LogDirectory.open(disk, cluster_id=lambda: CLUSTER_ID, now_ms=NOW_MS)


class Writer:
    """Makes one specimen. Nothing here depends on anything but the seed."""

    def __init__(self, seed: int, stop: Stop, bump: Bump, *, batches: int) -> None:
        self._random = random.Random(f"{seed} {stop} {bump}")
        self._seed, self._stop, self._bump, self._count = seed, stop, bump, batches
        self._config = LogConfig(
            segment_bytes=self._random.choice((700, 1000, 1500)),
            index_interval_bytes=self._random.choice((100, 250)),
            segment_index_bytes=160,
        )
        self._time = BASE_TIMESTAMP
        self._disk = FlatDisk()
        self._earlier: list[Tree] = []
        self._directory = open_directory(self._disk)
        self._log = self._directory.create_log(TOPIC, 0, TOPIC_ID, self._config, now_ms=NOW_MS)

    def write(self) -> Specimen:
        """One."""
        half = self._count // 2
        self._append(half)
        if self._bump is Bump.MIDDLE:
            self._tear()
        self._commit()
        self._log.write_mark()
        self._keep()
        self._append(self._count - half)
        if self._bump is Bump.END:
            self._tear()
        self._commit()
        self._scrub()
        epoch, end_offset = self._log.leader_epoch, self._log.end_offset
        mark = self._end()
        tree = self._disk.tree()
        batches = _batches_in(tree)
        assert batches[-1].header.next_offset == end_offset
        return Specimen(
            name=f"{self._stop} {self._bump} {self._seed}",
            stop=self._stop,
            tree=tree,
            earlier=tuple(reversed(self._earlier)),
            batches=batches,
            mark=mark,
            leader_epoch=epoch,
            config=self._config,
        )

    def _append(self, count: int) -> None:
        for _ in range(count):
            values = [self._random.randbytes(self._random.randint(0, 40)) for _ in range(self._random.randint(1, 3))]
            if self._random.random() < NEW_TIME:
                self._time += self._random.randint(-100, 400)
            codec = self._random.choice(CODECS)
            plain = a_batch(
                values, codec=codec, base_timestamp=self._time, timestamp_step=self._random.choice((0, 0, 1))
            )
            batch = memoryview(with_header(plain, **self._stamp()))
            self._log.append(batch, check(batch), now_ms=NOW_MS)
            self._log.write_out()

    def _stamp(self) -> dict[str, int]:
        number = self._random.choice((-1, *PRODUCERS))
        if number < 0:
            return {}
        known = self._log.producers.get(number)
        if known is None:
            return {"producer_id": number, "producer_epoch": 0, "base_sequence": 0}
        if self._random.random() < 0.1:
            return {"producer_id": number, "producer_epoch": known.epoch + 1, "base_sequence": 0}
        sequence = known.batches[-1].last_sequence + 1
        return {"producer_id": number, "producer_epoch": known.epoch, "base_sequence": sequence}

    def _commit(self) -> None:
        flush = self._log.begin_flush()
        if flush is not None:
            flush.sync()
            self._log.end_flush(flush)

    def _scrub(self) -> None:
        """Give each sealed segment its digest."""
        for segment in self._log.segments[:-1]:
            inspection = self._log.inspection_of(segment)
            assert inspection is not None
            inspection.begin()
            while inspection.step():
                pass
            inspection.write(inspection.result(now_ms=NOW_MS))
            inspection.publish()

    def _tear(self) -> None:
        """The power fails in the middle of a batch that nobody was told of, and comes back."""
        self._commit()
        self._log.write_mark()
        self._append(1)
        last = max(path for path, data in self._disk.tree().items() if path.endswith(".log") and data)
        self._disk.damage(last, self._disk.tree()[last][:-1])
        self._disk.kill()
        self._keep()
        self._directory = open_directory(self._disk)
        self._log = self._directory.open_log(TOPIC, 0, self._config, now_ms=NOW_MS)
        assert self._log.recovered.truncated_bytes

    def _end(self) -> int:
        """The process ends; what its durable mark says then."""
        if self._stop is Stop.CLEAN:
            self._keep()
            self._log.close()
            self._directory.close()
        else:
            if self._stop is Stop.MARKED:
                self._log.write_mark()
            self._directory.release()
        self._disk.kill()
        reread = open_mark(self._disk)
        assert reread is not None
        return reread

    def _keep(self) -> None:
        self._earlier.append(self._disk.tree())


def open_mark(disk: FlatDisk) -> int | None:
    """What the durable mark's file says."""
    return DurableMark.read(disk, HOME.rstrip("/")).offset


def _batches_in(tree: Tree) -> tuple[Batch, ...]:
    logs = b"".join(tree[path] for path in sorted(tree) if path.startswith(HOME) and path.endswith(".log"))
    return tuple(
        Batch(logs[position : position + header.size], read_header(logs, position)) for position, header in walk(logs)
    )


def specimens(seeds: Iterable[int]) -> Iterator[Specimen]:
    """One of every stop for each seed."""
    for seed in seeds:
        for stop in Stop:
            yield Writer(seed, stop, tuple(Bump)[seed % len(Bump)], batches=BATCHES).write()
