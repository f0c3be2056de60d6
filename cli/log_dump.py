"""`tidelog log dump`: what stands in one file of a log, whichever of its kinds it is, or in all segments of a log."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

import click

from ..protocol.batch import HEADER_SIZE, BatchHeader, check, read_header
from ..protocol.errors import ProtocolError
from ..protocol.records import iterate
from ..storage.checkpoint import read_file, read_head
from ..storage.digests import BLOCK_SIZE, BadDigest, Digest
from ..storage.digests import SUFFIX as DIGEST_SUFFIX
from ..storage.disk import Disk, File, RealDisk
from ..storage.durable_mark import FILE_NAME as DURABLE_MARK
from ..storage.durable_mark import FILE_SIZE, SLOT_DISTANCE, SLOT_SIZE, Checkpoint, Slot, decode_slot
from ..storage.errors import CorruptLog
from ..storage.index import SIZE_MAX as INDEX_SIZE_MAX
from ..storage.leader_epochs import FILE_NAME as LEADER_EPOCHS
from ..storage.leader_epochs import EpochStart, LeaderEpochs
from ..storage.leftovers import segment_bases
from ..storage.log_directory import PARTITION_METADATA, encode_id, read_partition_metadata
from ..storage.offset_index import ENTRY_SIZE as OFFSET_ENTRY_SIZE
from ..storage.offset_index import SUFFIX as OFFSET_INDEX_SUFFIX
from ..storage.offset_index import OffsetEntry, OffsetIndex
from ..storage.producer_snapshots import SIZE_MAX as SNAPSHOT_SIZE_MAX
from ..storage.producer_snapshots import SUFFIX as SNAPSHOT_SUFFIX
from ..storage.producer_state import BadSnapshot, Producer, ProducerState
from ..storage.segment import SUFFIX
from ..storage.time_index import ENTRY_SIZE as TIME_ENTRY_SIZE
from ..storage.time_index import SUFFIX as TIME_INDEX_SUFFIX
from ..storage.time_index import TimeEntry, TimeIndex
from .commands import command
from .errors import Code, CommandFailed
from .log_files import codec_name, files_may_fail, target_at
from .output import Column, output_option, print_json, print_rows
from .record_format import json_bytes

Row = TypeVar("Row")

CRC_SIZE: Final = 4
"""Of a slot: its last bytes."""


@command(
    "dump",
    examples=(
        "tidelog log dump tidelog-data/orders-0",
        "tidelog log dump tidelog-data/orders-0 --records -n 5 -o jsonl",
        "tidelog log dump tidelog-data/orders-0/00000000000000000000.index",
        "tidelog log dump tidelog-data/orders-0/durable-mark -o json",
    ),
    remote=False,
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--records", is_flag=True, help="Print the records inside the batches, as JSON lines.")
@click.option("-n", "--count", "count_max", type=click.IntRange(min=1), help="Stop after so many batches, or rows.")
@output_option
@files_may_fail()
def dump(path: Path, records: bool, count_max: int | None, output: str | None) -> None:
    """Print the batches of a segment, or of a log: a directory of segments.

    Or what stands in another file of a log: .index, .timeindex, .digest, .snapshot, durable-mark,
    leader-epoch-checkpoint, partition.metadata. What is damaged in a file is told on stderr, behind what could be read.
    """
    kind = _KINDS.get(path.name) or _KINDS.get(path.suffix)
    if kind is not None and path.is_file():
        if records:
            raise click.UsageError("--records is for segments")
        absolute = path.absolute()
        kind(
            RealDisk(str(absolute.parent.parent), read_only=True),
            f"{absolute.parent.name}/{absolute.name}",
            count_max,
            output,
        )
        return
    target = target_at(path)
    if len(target.logs) != 1:
        raise CommandFailed(Code.LOG_NOT_FOUND, f"{path} holds {len(target.logs)} logs", "name one of them")
    [directory] = target.logs
    bases = segment_bases(target.disk, directory) if target.only is None else [target.only]
    printing = _Batches(records=records, count_max=count_max, output=output)
    for base in bases:
        if not printing.add(target.disk, f"{directory}/{base:020d}{SUFFIX}"):
            break
    printing.end()


# Batches


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBatch:
    """One batch, where it lies and whether it is what it claims to be."""

    segment: str
    position: int
    header: BatchHeader
    data: bytes
    damage: str | None

    def as_json(self) -> dict[str, object]:
        """Its header, in Kafka's words."""
        header = self.header
        return {
            "segment": self.segment,
            "position": self.position,
            "size": header.size,
            "base_offset": header.base_offset,
            "last_offset": header.last_offset,
            "record_count": header.record_count,
            "leader_epoch": header.leader_epoch,
            "base_timestamp": header.base_timestamp,
            "max_timestamp": header.max_timestamp,
            "timestamp_type": "LogAppendTime" if header.is_log_append_time else "CreateTime",
            "compression": codec_name(header.codec),
            "producer_id": header.producer_id,
            "producer_epoch": header.producer_epoch,
            "base_sequence": header.base_sequence,
            "transactional": header.is_transactional,
            "control": header.is_control,
            "crc": header.crc,
            "valid": self.damage is None,
        }


BATCH_COLUMNS: Sequence[Column[FoundBatch]] = (
    Column("SEGMENT", lambda batch: batch.segment.rpartition("/")[2], wide=True),
    Column("POSITION", lambda batch: batch.position),
    Column("SIZE", lambda batch: batch.header.size),
    Column("FIRST", lambda batch: batch.header.base_offset),
    Column("LAST", lambda batch: batch.header.last_offset),
    Column("RECORDS", lambda batch: batch.header.record_count),
    Column("EPOCH", lambda batch: batch.header.leader_epoch),
    Column("MAX TIMESTAMP", lambda batch: batch.header.max_timestamp),
    Column("CODEC", lambda batch: codec_name(batch.header.codec)),
    Column("PRODUCER", lambda batch: batch.header.producer_id, wide=True),
    Column("SEQUENCE", lambda batch: batch.header.base_sequence, wide=True),
    Column("CRC", lambda batch: f"{batch.header.crc:#010x}", wide=True),
    Column("STATUS", lambda batch: batch.damage or "ok"),
)


class _Batches:
    """Prints batches, or their records, as they come; a table at the end."""

    def __init__(self, *, records: bool, count_max: int | None, output: str | None) -> None:
        self._records, self._count_max, self._output = records, count_max, output
        self._count = 0
        self._kept: list[FoundBatch] = []
        self._ends: list[str] = []

    def add(self, disk: Disk, path: str) -> bool:
        """Those of a segment; whether more are wanted."""
        file = disk.open(path)
        try:
            position = 0
            while position < file.size:
                try:
                    batch = _read_batch(file, position)
                except ProtocolError as error:
                    self._ends.append(f"{path} at {position}: {error}, {file.size - position} bytes are left")
                    break
                position += batch.header.size
                self._count += 1
                if self._records:
                    print_json(list(_records_of(batch)), output="jsonl")
                elif self._output == "jsonl":
                    print_json([batch.as_json()], output=self._output)
                else:
                    self._kept.append(batch)
                if self._count == self._count_max:
                    return False
            return True
        finally:
            file.close()

    def end(self) -> None:
        """No more come."""
        if not self._records and self._output == "json":
            print_json([batch.as_json() for batch in self._kept], output=self._output)
        elif not self._records and self._output != "jsonl":
            print_rows(self._kept, BATCH_COLUMNS, output=self._output)
        for end in self._ends:
            click.echo(end, err=True)


def _read_batch(file: File, position: int) -> FoundBatch:
    """The batch at a position, sound or not. Raises ProtocolError where there is none, or a part of one."""
    header = read_header(file.read(position, HEADER_SIZE))
    data = file.read(position, header.size)
    if len(data) < header.size:
        raise ProtocolError(f"the batch of {header.size} bytes is cut short")
    damage = None
    try:
        check(data)
    except ProtocolError as error:
        damage = str(error)
    return FoundBatch(segment=file.path, position=position, header=header, data=data, damage=damage)


def _records_of(batch: FoundBatch) -> Iterator[dict[str, object]]:
    try:
        for record in iterate(batch.data):
            yield {
                "offset": record.offset,
                "timestamp": record.timestamp,
                **json_bytes("key", record.key),
                **json_bytes("value", record.value),
                "headers": [{"key": name, **json_bytes("value", value)} for name, value in record.headers],
            }
    except ProtocolError as error:
        raise CommandFailed(Code.LOG_CORRUPT, f"{batch.segment} at {batch.position}: {error}") from None


# The other files


class OffsetRow(NamedTuple):
    """An entry of an offset index."""

    number: int
    entry: OffsetEntry


class TimeRow(NamedTuple):
    """An entry of a time index."""

    number: int
    entry: TimeEntry


class SlotRow(NamedTuple):
    """A slot of the durable mark."""

    at: int
    slot: Slot | None
    crc: int
    counts: bool
    """It is the one of the two that is believed."""


class BlockRow(NamedTuple):
    """A block that a digest knows."""

    begin: int
    end: int
    crc: int


class ProducerRow(NamedTuple):
    """A producer in a snapshot."""

    producer_id: int
    producer: Producer


OFFSET_COLUMNS: Sequence[Column[OffsetRow]] = (
    Column("ENTRY", lambda row: row.number),
    Column("LAST OFFSET", lambda row: row.entry.last_offset),
    Column("POSITION", lambda row: row.entry.position),
)
TIME_COLUMNS: Sequence[Column[TimeRow]] = (
    Column("ENTRY", lambda row: row.number),
    Column("TIMESTAMP", lambda row: row.entry.timestamp),
    Column("LAST OFFSET", lambda row: row.entry.last_offset),
)
EPOCH_COLUMNS: Sequence[Column[EpochStart]] = (
    Column("EPOCH", lambda start: start.epoch),
    Column("START OFFSET", lambda start: start.start_offset),
)
ID_COLUMNS: Sequence[Column[UUID]] = (
    Column("TOPIC ID", encode_id),
    Column("UUID", str, wide=True),
)
BLOCK_COLUMNS: Sequence[Column[BlockRow]] = (
    Column("FROM", lambda block: block.begin),
    Column("TO", lambda block: block.end),
    Column("CRC", lambda block: f"{block.crc:#010x}"),
)
PRODUCER_COLUMNS: Sequence[Column[ProducerRow]] = (
    Column("PRODUCER", lambda row: row.producer_id),
    Column("EPOCH", lambda row: row.producer.epoch),
    Column("BATCHES", lambda row: len(row.producer.batches)),
    Column("LAST SEQUENCE", lambda row: row.producer.batches[-1].last_sequence),
    Column("LAST OFFSET", lambda row: row.producer.batches[-1].last_offset),
    Column("TIMESTAMP", lambda row: row.producer.batches[-1].timestamp),
)


def _slot_column(name: str, value: Callable[[Slot], object], *, wide: bool = False) -> Column[SlotRow]:
    """A field of the slot, if that can be read."""
    return Column(name, lambda row: None if row.slot is None else value(row.slot), wide)


def _checkpoint_column(name: str, value: Callable[[Checkpoint], object], *, wide: bool = True) -> Column[SlotRow]:
    """A field of the slot's checkpoint, if there is one."""
    return _slot_column(name, lambda slot: None if slot.checkpoint is None else value(slot.checkpoint), wide=wide)


SLOT_COLUMNS: Sequence[Column[SlotRow]] = (
    Column("AT", lambda row: row.at),
    _slot_column("SEQUENCE", lambda slot: slot.sequence),
    _slot_column("OFFSET", lambda slot: slot.offset),
    _checkpoint_column("CHECKPOINT SEGMENT", lambda known: known.base_offset, wide=False),
    _checkpoint_column("CHECKPOINT OFFSET", lambda known: known.offset, wide=False),
    _checkpoint_column("CHECKPOINT POSITION", lambda known: known.position, wide=False),
    _checkpoint_column("MAX TIMESTAMP", lambda known: known.greatest.timestamp),
    _checkpoint_column("MAX TIMESTAMP OFFSET", lambda known: known.greatest.last_offset),
    _checkpoint_column("INDEX ENTRIES", lambda known: known.offset_entries.count),
    _checkpoint_column("INDEX CRC", lambda known: f"{known.offset_entries.crc:#010x}"),
    _checkpoint_column("TIMEINDEX ENTRIES", lambda known: known.time_entries.count),
    _checkpoint_column("TIMEINDEX CRC", lambda known: f"{known.time_entries.crc:#010x}"),
    _checkpoint_column("PRODUCERS", lambda known: "yes" if known.has_producers else "none"),
    _slot_column("LEADER EPOCH", lambda slot: None if slot.epochs is None else slot.epochs.latest),
    _slot_column("EPOCHS CRC", lambda slot: None if slot.epochs is None else f"{slot.epochs.crc:#010x}", wide=True),
    Column("CRC", lambda row: None if row.slot is None else f"{row.crc:#010x}", wide=True),
    Column("STATUS", lambda row: "damaged, or empty" if row.slot is None else "holds" if row.counts else "older"),
)


class _Table(Generic[Row]):
    """How one kind of file is printed: rows, their columns, and how its bytes become rows."""

    def __init__(self, columns: Sequence[Column[Row]], rows_of: Callable[[Disk, str], Sequence[Row]]) -> None:
        self._columns, self._rows_of = columns, rows_of

    def __call__(self, disk: Disk, path: str, count_max: int | None, output: str | None) -> None:
        try:
            rows = self._rows_of(disk, path)[:count_max]
        except (BadDigest, BadSnapshot, CorruptLog) as error:
            text = str(error) if isinstance(error, CorruptLog) else f"{path}: {error}"
            raise CommandFailed(Code.LOG_DERIVED, text, "tidelog log verify tells what to do") from None
        if output in ("json", "jsonl"):
            names = {column: column.name.lower().replace(" ", "_") for column in self._columns}
            print_json([{name: column.value(row) for column, name in names.items()} for row in rows], output=output)
        else:
            print_rows(rows, self._columns, output=output)


def _offset_rows(disk: Disk, path: str) -> list[OffsetRow]:
    data = _whole_entries(disk, path, OFFSET_ENTRY_SIZE)
    return [OffsetRow(*row) for row in enumerate(OffsetIndex.decode(data, _base_offset(path)))]


def _time_rows(disk: Disk, path: str) -> list[TimeRow]:
    data = _whole_entries(disk, path, TIME_ENTRY_SIZE)
    return [TimeRow(*row) for row in enumerate(TimeIndex.decode(data, _base_offset(path)))]


def _whole_entries(disk: Disk, path: str, entry_size: int) -> bytes:
    """Behind the entries of an index that was not closed a crash may have left zeros: they are left out."""
    data = read_file(disk, path, size_max=INDEX_SIZE_MAX)
    rest = len(data) % entry_size
    used = len(data.rstrip(b"\0"))
    used += -used % entry_size
    if rest and used > len(data) - rest:
        click.echo(f"{path} at {len(data) - rest}: {rest} bytes are no entry", err=True)
    return data[: min(used, len(data) - rest)]


def _epoch_rows(disk: Disk, path: str) -> list[EpochStart]:
    return LeaderEpochs.read(disk, path.rpartition("/")[0]).entries


def _id_rows(disk: Disk, path: str) -> list[UUID]:
    return [read_partition_metadata(disk, path.rpartition("/")[0])]


def _slot_rows(disk: Disk, path: str) -> list[SlotRow]:
    data = read_head(disk, path, FILE_SIZE)
    parts = [(at, data[at : at + SLOT_SIZE]) for at in (0, SLOT_DISTANCE)]
    slots = [(at, decode_slot(part), int.from_bytes(part[-CRC_SIZE:])) for at, part in parts]
    newest = max((slot.sequence for _, slot, _ in slots if slot is not None), default=None)
    return [SlotRow(at, slot, crc, slot is not None and slot.sequence == newest) for at, slot, crc in slots]


def _block_rows(disk: Disk, path: str) -> list[BlockRow]:
    digest = Digest.decode(read_file(disk, path))
    return [
        BlockRow(number * BLOCK_SIZE, min((number + 1) * BLOCK_SIZE, digest.size), crc)
        for number, crc in enumerate(digest.blocks)
    ]


def _producer_rows(disk: Disk, path: str) -> list[ProducerRow]:
    state = ProducerState.decode(read_file(disk, path, size_max=SNAPSHOT_SIZE_MAX), now_ms=0)
    return [ProducerRow(*row) for row in state.items()]


def _base_offset(path: str) -> int:
    name = path.rpartition("/")[2].partition(".")[0]
    if not name.isdigit():
        raise CommandFailed(Code.LOG_NOT_FOUND, f"{path} is not named after a segment")
    return int(name)


_KINDS: Mapping[str, Callable[[Disk, str, int | None, str | None], None]] = {
    OFFSET_INDEX_SUFFIX: _Table(OFFSET_COLUMNS, _offset_rows),
    TIME_INDEX_SUFFIX: _Table(TIME_COLUMNS, _time_rows),
    DIGEST_SUFFIX: _Table(BLOCK_COLUMNS, _block_rows),
    SNAPSHOT_SUFFIX: _Table(PRODUCER_COLUMNS, _producer_rows),
    DURABLE_MARK: _Table(SLOT_COLUMNS, _slot_rows),
    LEADER_EPOCHS: _Table(EPOCH_COLUMNS, _epoch_rows),
    PARTITION_METADATA: _Table(ID_COLUMNS, _id_rows),
}
"""By the file's name, or the end of it."""
