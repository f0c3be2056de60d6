"""`tidelog log stat`: how much is in each log of a data directory, or in each segment of one log."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from ..storage.survey import SegmentFacts, Survey, survey_log
from .commands import command
from .log_files import codec_name, files_may_fail, target_at
from .output import Column, human_size, output_option, print_json, print_rows


@command(
    "stat",
    examples=("tidelog log stat tidelog-data", "tidelog log stat tidelog-data/orders-0 -o json"),
    remote=False,
)
@click.argument("path", type=click.Path(path_type=Path))
@output_option
@files_may_fail()
def stat(path: Path, output: str | None) -> None:
    """Show how much is in each log of a data directory, or in each segment of one log.

    Every batch is read for that. What is wrong is counted under FINDINGS, and told by `tidelog log verify`.
    """
    target = target_at(path)
    surveys = [survey_log(target.disk, name, was_closed=target.was_closed, only=target.only) for name in target.logs]
    of_segments = len(surveys) == 1 and not target.is_whole
    if output in ("json", "jsonl"):
        segments = [segment for survey in surveys for segment in survey.segments]
        rows = [_segment_json(one) for one in segments] if of_segments else [_log_json(one) for one in surveys]
        print_json(rows, output=output)
    elif of_segments:
        print_rows(surveys[0].segments, SEGMENT_COLUMNS, output=output)
    else:
        print_rows(surveys, LOG_COLUMNS, output=output)


LOG_COLUMNS: Sequence[Column[Survey]] = (
    Column("LOG", lambda survey: survey.directory),
    Column("SEGMENTS", lambda survey: len(survey.segments)),
    Column("BATCHES", lambda survey: _sum(one.batches for one in survey.segments)),
    Column("RECORDS", lambda survey: _sum(one.records for one in survey.segments)),
    Column("SIZE", lambda survey: _sum(one.size for one in survey.segments), human=human_size),
    Column("INDEXES", lambda survey: _sum(one.index_size for one in survey.segments), human=human_size),
    Column("START", lambda survey: survey.start_offset),
    Column("END", lambda survey: survey.end_offset),
    Column("DURABLE", lambda survey: survey.durable_offset),
    Column("EPOCH", lambda survey: survey.epochs[-1].epoch if survey.epochs else None, wide=True),
    Column("PRODUCERS", lambda survey: len(survey.producers), wide=True),
    Column("FROM", lambda survey: _when(_first_timestamp(survey.segments)), wide=True),
    Column("TO", lambda survey: _when(_max_timestamp(survey.segments)), wide=True),
    Column("CODECS", lambda survey: _told(_codecs(survey.segments))),
    Column("FINDINGS", lambda survey: len(survey.findings)),
)
SEGMENT_COLUMNS: Sequence[Column[SegmentFacts]] = (
    Column("SEGMENT", lambda segment: segment.path.rpartition("/")[2]),
    Column("FIRST", lambda segment: segment.base_offset),
    Column("NEXT", lambda segment: segment.next_offset),
    Column("BATCHES", lambda segment: segment.batches),
    Column("RECORDS", lambda segment: segment.records),
    Column("SIZE", lambda segment: segment.size, human=human_size),
    Column("INDEXES", lambda segment: segment.index_size, human=human_size),
    Column("LARGEST BATCH", lambda segment: segment.batch_size_max, human=human_size),
    Column("FROM", lambda segment: _when(segment.first_timestamp)),
    Column("TO", lambda segment: _when(segment.max_timestamp)),
    Column("CODECS", lambda segment: _told(segment.codecs)),
    Column("DIGEST", lambda segment: "yes" if segment.has_digest else "no"),
)


def _log_json(survey: Survey) -> dict[str, object]:
    segments = survey.segments
    return {
        "log": survey.directory,
        "segments": len(segments),
        "batches": _sum(one.batches for one in segments),
        "records": _sum(one.records for one in segments),
        "size_bytes": _sum(one.size for one in segments),
        "index_size_bytes": _sum(one.index_size for one in segments),
        "start_offset": survey.start_offset,
        "end_offset": survey.end_offset,
        "durable_offset": survey.durable_offset,
        "leader_epochs": [{"epoch": one.epoch, "start_offset": one.start_offset} for one in survey.epochs],
        "producers": len(survey.producers),
        "first_timestamp": _known(_first_timestamp(segments)),
        "max_timestamp": _known(_max_timestamp(segments)),
        "batches_by_codec": {codec_name(codec): count for codec, count in sorted(_codecs(segments).items())},
        "findings": len(survey.findings),
    }


def _segment_json(segment: SegmentFacts) -> dict[str, object]:
    return {
        "segment": segment.path,
        "base_offset": segment.base_offset,
        "next_offset": segment.next_offset,
        "batches": segment.batches,
        "records": segment.records,
        "size_bytes": segment.size,
        "index_size_bytes": segment.index_size,
        "largest_batch_bytes": segment.batch_size_max,
        "first_timestamp": _known(segment.first_timestamp),
        "max_timestamp": _known(segment.max_timestamp),
        "batches_by_codec": {codec_name(codec): count for codec, count in sorted(segment.codecs.items())},
        "digest": segment.has_digest,
    }


def _sum(numbers: Iterable[int]) -> int:
    return sum(numbers)


def _first_timestamp(segments: Sequence[SegmentFacts]) -> int:
    return next((segment.first_timestamp for segment in segments if segment.batches), -1)


def _max_timestamp(segments: Sequence[SegmentFacts]) -> int:
    return max((segment.max_timestamp for segment in segments), default=-1)


def _codecs(segments: Sequence[SegmentFacts]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for segment in segments:
        total.update(segment.codecs)
    return total


def _told(codecs: dict[int, int]) -> str:
    return " ".join(f"{codec_name(codec)}:{count}" for codec, count in sorted(codecs.items()))


def _known(timestamp: int) -> int | None:
    return None if timestamp < 0 else timestamp


def _when(timestamp: int) -> str | None:
    """For people; a producer may have written any number."""
    if timestamp < 0:
        return None
    try:
        return datetime.fromtimestamp(timestamp / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return str(timestamp)
