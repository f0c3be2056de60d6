"""`tidelog log`: looks into log files without a broker. The only file of the command line that knows the storage.

Nothing is changed and nothing is locked, so a running broker's files may be looked at too: what lies above a log's
durable mark may then be half written. That is reported as a tail and is no damage; the next start would cut it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from ..protocol.batch import HEADER_SIZE, BatchHeader, check, read_header
from ..protocol.compression import Codec
from ..protocol.errors import ProtocolError
from ..protocol.records import iterate
from ..storage.disk import Disk, File, RealDisk
from ..storage.durable_mark import DurableMark
from .commands import Group, command, group
from .errors import Code, CommandFailed
from .output import Column, human_size, output_option, print_json, print_rows
from .record_format import json_bytes

SEGMENT_SUFFIX = ".log"


@group("log", examples=("tidelog log verify tidelog-data", "tidelog log dump tidelog-data/orders-0 -n 10 -o jsonl"))
def log() -> None:
    """Look into log files, without a broker."""


assert isinstance(log, Group)


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
            "compression": codec_name(header),
            "producer_id": header.producer_id,
            "producer_epoch": header.producer_epoch,
            "base_sequence": header.base_sequence,
            "transactional": header.is_transactional,
            "control": header.is_control,
            "crc": header.crc,
            "valid": self.damage is None,
        }


@dataclass(frozen=True, slots=True)
class Unreadable:
    """From here on a segment holds no whole batch."""

    segment: str
    position: int
    size: int
    reason: str


@dataclass(slots=True, kw_only=True)
class Report:
    """What `verify` found in one log."""

    name: str
    durable: int | None
    """The durable mark; None when it cannot be read."""
    segments: int = 0
    batches: int = 0
    records: int = 0
    size: int = 0
    start_offset: int = 0
    end_offset: int = 0
    tail: str = ""
    """Bytes above the durable mark that are not whole."""
    damage: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """One word, or what is wrong."""
        return "; ".join(self.damage) or self.tail or "ok"

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return {
            "log": self.name,
            "segments": self.segments,
            "batches": self.batches,
            "records": self.records,
            "size_bytes": self.size,
            "start_offset": self.start_offset,
            "end_offset": self.end_offset,
            "durable_offset": self.durable,
            "tail": self.tail,
            "damage": self.damage,
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
    Column("CODEC", lambda batch: codec_name(batch.header)),
    Column("PRODUCER", lambda batch: batch.header.producer_id, wide=True),
    Column("SEQUENCE", lambda batch: batch.header.base_sequence, wide=True),
    Column("CRC", lambda batch: f"{batch.header.crc:#010x}", wide=True),
    Column("STATUS", lambda batch: batch.damage or "ok"),
)
REPORT_COLUMNS: Sequence[Column[Report]] = (
    Column("LOG", lambda report: report.name),
    Column("SEGMENTS", lambda report: report.segments),
    Column("BATCHES", lambda report: report.batches),
    Column("RECORDS", lambda report: report.records),
    Column("SIZE", lambda report: human_size(report.size)),
    Column("START", lambda report: report.start_offset),
    Column("END", lambda report: report.end_offset),
    Column("DURABLE", lambda report: report.durable),
    Column("STATUS", lambda report: report.status),
)


@command(
    "dump",
    examples=(
        "tidelog log dump tidelog-data/orders-0",
        "tidelog log dump tidelog-data/orders-0 --records -n 5 -o jsonl",
        "tidelog log dump tidelog-data/orders-0/00000000000000000000.log -o wide",
    ),
    remote=False,
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--records", is_flag=True, help="Print the records inside the batches, as JSON lines.")
@click.option("-n", "--count", "count_max", type=click.IntRange(min=1), help="Stop after so many batches.")
@output_option
def dump(path: Path, records: bool, count_max: int | None, output: str | None) -> None:
    """Print the batches of a segment, or of a log: a directory of segments."""
    disk, segments = _segments_at(path)
    batches: list[FoundBatch] = []
    ends: list[Unreadable] = []
    for segment in segments:
        for found in read_segment(disk, segment):
            if isinstance(found, Unreadable):
                ends.append(found)
            elif records:
                print_json(list(_records_of(found)), output="jsonl")
                batches.append(found)
            elif output == "jsonl":
                print_json([found.as_json()], output=output)
                batches.append(found)
            else:
                batches.append(found)
            if count_max is not None and len(batches) >= count_max:
                break
        if count_max is not None and len(batches) >= count_max:
            break
    if not records and output == "json":
        print_json([batch.as_json() for batch in batches], output=output)
    elif not records and output != "jsonl":
        print_rows(batches, BATCH_COLUMNS, output=output)
    for end in ends:
        click.echo(f"{end.segment} at {end.position}: {end.reason}, {end.size} bytes are left", err=True)


@command(
    "verify",
    examples=("tidelog log verify tidelog-data", "tidelog log verify tidelog-data/orders-0 -o json"),
    remote=False,
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--records", is_flag=True, help="Decode every record as well; slower.")
@output_option
def verify(path: Path, records: bool, output: str | None) -> None:
    """Check every batch of a data directory, of a log or of a segment.

    Checksums, lengths, and that offsets and leader epochs go on where the batch before ended. Ends with 1 if anything
    below a log's durable mark is damaged; an unfinished tail above it is only reported.
    """
    disk, logs = _logs_at(path)
    reports = [verify_log(disk, name, segments, decode=records) for name, segments in logs]
    if output in ("json", "jsonl"):
        print_json([report.as_json() for report in reports], output=output)
    else:
        print_rows(reports, REPORT_COLUMNS, output=output)
    damaged = [report for report in reports if report.damage]
    if damaged:
        raise CommandFailed(
            Code.LOG_CORRUPT,
            "; ".join(f"{report.name}: {report.status}" for report in damaged),
            "nothing was changed; the broker opens such a partition for reading only",
        )


log.add_command(dump)
log.add_command(verify)


def read_segment(disk: Disk, path: str) -> Iterator[FoundBatch | Unreadable]:
    """The batches of one segment file, then where it stops making sense, if it does."""
    file = disk.open(path)
    try:
        position = 0
        while position < file.size:
            found = _read_batch(file, position)
            yield found
            if isinstance(found, Unreadable):
                return
            position += found.header.size
    finally:
        file.close()


def verify_log(disk: Disk, name: str, segments: Sequence[str], *, decode: bool) -> Report:
    """Check one log: each batch by itself, and that it follows the one before."""
    directory = segments[0].rpartition("/")[0]
    report = Report(name=name, durable=DurableMark.read(disk, directory).offset)
    report.start_offset = report.end_offset = base_offset_of(segments[0])
    epoch = -1
    for segment in segments:
        report.segments += 1
        report.size += disk.size(segment)
        if base_offset_of(segment) != report.end_offset:
            report.damage.append(f"{segment} should begin at offset {report.end_offset}")
            report.end_offset = base_offset_of(segment)
        for found in read_segment(disk, segment):
            problem = _problem_of(found, next_offset=report.end_offset, epoch=epoch, decode=decode)
            if problem is not None:
                if report.durable is not None and report.end_offset >= report.durable:
                    report.tail = f"unfinished tail, {problem}"
                else:
                    report.damage.append(problem)
                return report
            assert isinstance(found, FoundBatch)
            report.batches += 1
            report.records += found.header.record_count
            report.end_offset = found.header.next_offset
            epoch = found.header.leader_epoch
    return report


def base_offset_of(segment: str) -> int:
    """The offset in a segment's file name."""
    return int(segment.rpartition("/")[2].removesuffix(SEGMENT_SUFFIX))


def codec_name(header: BatchHeader) -> str:
    """The compression of a batch, in words."""
    return Codec(header.codec).name.lower() if header.codec in set(Codec) else f"codec {header.codec}"


def _read_batch(file: File, position: int) -> FoundBatch | Unreadable:
    left = file.size - position
    try:
        header = read_header(file.read(position, HEADER_SIZE))
    except ProtocolError as error:
        return Unreadable(file.path, position, left, str(error))
    if header.size > left:
        return Unreadable(file.path, position, left, f"the batch of {header.size} bytes is cut short")
    data = file.read(position, header.size)
    try:
        check(data)
    except ProtocolError as error:
        return FoundBatch(segment=file.path, position=position, header=header, data=data, damage=str(error))
    return FoundBatch(segment=file.path, position=position, header=header, data=data, damage=None)


def _problem_of(batch: FoundBatch | Unreadable, *, next_offset: int, epoch: int, decode: bool) -> str | None:
    """What is wrong with a batch, given what stands before it. Neither offset nor epoch is covered by its checksum."""
    where = f"{batch.segment} at {batch.position}"
    if isinstance(batch, Unreadable):
        return f"{where}: {batch.reason}"
    header = batch.header
    if batch.damage is not None:
        return f"{where}: {batch.damage}"
    if header.base_offset != next_offset:
        return f"{where}: offset {header.base_offset} where {next_offset} is due"
    if header.leader_epoch < epoch:
        return f"{where}: leader epoch {header.leader_epoch} after {epoch}"
    if decode:
        try:
            count = sum(1 for _ in iterate(batch.data))
        except ProtocolError as error:
            return f"{where}: {error}"
        if count != header.record_count:
            return f"{where}: {count} records where the header says {header.record_count}"
    return None


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


def _segments_at(path: Path) -> tuple[Disk, list[str]]:
    """The disk, and the segments that a path names: itself, or those in it."""
    path = path.absolute()
    if path.is_file() and path.suffix == SEGMENT_SUFFIX:
        return RealDisk(str(path.parent.parent)), [f"{path.parent.name}/{path.name}"]
    disk = RealDisk(str(path.parent))
    segments = _segments_in(disk, path.name) if path.is_dir() else []
    if not segments:
        raise CommandFailed(Code.LOG_NOT_FOUND, f"{path} is neither a {SEGMENT_SUFFIX} file nor a log")
    return disk, segments


def _segments_in(disk: Disk, directory: str) -> list[str]:
    names = [name for name in disk.list(directory) if name.endswith(SEGMENT_SUFFIX) and name[:-4].isdigit()]
    return [f"{directory}/{name}" for name in names]


def _logs_at(path: Path) -> tuple[Disk, list[tuple[str, list[str]]]]:
    """The disk, and the logs that a path names, each with its segments."""
    path = path.absolute()
    if path.is_dir() and not any(path.glob(f"*{SEGMENT_SUFFIX}")):
        disk = RealDisk(str(path))
        directories = [name for name in disk.list("") if disk.is_directory(name) and not name.endswith("-delete")]
        logs = [(name, segments) for name in directories if (segments := _segments_in(disk, name))]
        if logs:
            return disk, logs
    segments_disk, segments = _segments_at(path)
    return segments_disk, [(segments[0].rpartition("/")[0], segments)]
