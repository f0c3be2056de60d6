"""`tidelog produce`: records from stdin, a file or the command line into a topic.

Records go to the client as they are read, and the client's memory budget holds the reading back, so an endless pipe
takes no more memory than a short one. Input that makes no sense ends the command there: what came before it is sent.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from ..client import Client, Summary, TidelogError
from ..client.config import wall_clock_ms
from .commands import Settings, command, key_value
from .errors import Code, CommandFailed
from .input import RecordTooLong, read_records, size_of
from .output import grouped, human_size, plural
from .record_format import Draft, InputFormat, compile_input, key_from
from .session import failure_of, run

DELIVERY_TIMEOUT = 30.0
"""A broker may be without space for a while, or start anew: longer than other commands wait, unless told otherwise."""
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@dataclass(slots=True, kw_only=True)
class Job:
    """What is to be sent, and how far it has come."""

    topic: str
    format: InputFormat
    key: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    partition: int | None = None
    codec: str = "none"
    acks: str = "all"
    delivery_timeout: float = DELIVERY_TIMEOUT
    quiet: bool = False
    read_count: int = 0
    sent_count: int = 0
    """Records handed to the client: fewer than were read where blank lines were skipped."""
    report: str = ""
    """The summary line, once everything is sent."""
    problem: str = ""
    """Why the input ended early."""
    advance: Callable[[int], None] | None = None
    """Told the bytes that were read, for the progress bar."""


@command(
    "produce",
    examples=(
        "echo 'hello' | tidelog produce greetings",
        'printf \'{"user":"anna","n":1}\\n\' | tidelog produce clicks --key-field user -z zstd',
        "printf 'anna:1\\nbert:2\\n' | tidelog produce clicks -F '%k:%v\\n' -H source=import",
        "tidelog produce greetings -k anna -v 'good morning'",
    ),
)
@click.argument("topic")
@click.option("-k", "--key", help="The key of every record.")
@click.option("--key-field", metavar="FIELD", help="Records are JSON objects, and this field of theirs is the key.")
@click.option("-v", "--value", help="Send this one record instead of reading any.")
@click.option("--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read this file.")
@click.option("-F", "--format", "format_text", metavar="FORMAT", help="json, or %k %v %T as in '%k\\t%v\\n'.")
@click.option("-H", "--header", "headers", type=key_value, multiple=True, help="A header for all records; repeatable.")
@click.option("-p", "--partition", type=click.IntRange(min=0), help="Send to this partition, whatever the key.")
@click.option("-z", "--compression", "codec", type=click.Choice(CODECS), default="none", help="How to compress.")
@click.option("--acks", type=click.Choice(("all", "1", "0")), default="all", help="What to wait for: all is the disk.")
@click.option("-q", "--quiet", is_flag=True, help="Neither progress nor summary.")
@click.pass_obj
def produce(
    settings: Settings,
    /,
    *,
    topic: str,
    key: str | None,
    key_field: str | None,
    value: str | None,
    path: Path | None,
    format_text: str | None,
    headers: Sequence[tuple[str, str]],
    partition: int | None,
    codec: str,
    acks: str,
    quiet: bool,
) -> None:
    """Send records to TOPIC, one from each line of stdin, of a file, or one from the command line.

    With -F, json lines are those of `consume --json`; a format's literals separate fields and end a record. The summary
    goes to stderr. Ends with 3 when only the first part of the input could be sent.
    """
    if key_field is not None and (key is not None or format_text is not None):
        raise click.UsageError("--key-field already says what the key is: leave out -k and -F")
    if value is not None and (path is not None or format_text is not None or key_field is not None):
        raise click.UsageError("-v is the record itself: leave out --file, -F and --key-field")
    job = Job(
        topic=topic,
        format=_input_format(key_field, format_text),
        key=None if key is None else key.encode(),
        headers=tuple(headers),
        partition=partition,
        codec=codec,
        acks=acks,
        delivery_timeout=DELIVERY_TIMEOUT if settings.timeout_given is None else settings.timeout_given,
        quiet=quiet,
    )
    try:
        if value is not None:
            one = Draft(value=value.encode())
            run(settings, lambda client: _send(client, job, _one(one, job)))
        else:
            _produce_stream(settings, job, path)
    finally:
        # Not before the progress bar is gone, which takes the lines around it along.
        if job.report and not quiet:
            click.echo(job.report, err=True)


def _produce_stream(settings: Settings, job: Job, path: Path | None) -> None:
    with ExitStack() as open_things:
        stream = sys.stdin.buffer if path is None else open_things.enter_context(path.open("rb"))
        open_things.enter_context(_progress(job, size_of(stream)))
        run(settings, lambda client: _send(client, job, _drafts(stream, job)))


async def _send(client: Client, job: Job, drafts: AsyncIterator[Draft]) -> None:
    """Send all drafts, then say what became of them."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    producer = client.producer(acks=job.acks, compression=job.codec, delivery_timeout=job.delivery_timeout)
    try:
        async with producer:
            summary = await producer.send_many(
                job.topic,
                drafts,
                key=lambda draft: job.key if draft.key is None else draft.key,
                value=lambda draft: draft.value,
                headers=lambda draft: (*job.headers, *draft.headers),
                partition=job.partition,
                timestamp_ms=lambda draft: wall_clock_ms() if draft.timestamp_ms is None else draft.timestamp_ms,
            )
    except (TidelogError, ValueError) as error:
        failure = failure_of(error) if isinstance(error, TidelogError) else CommandFailed(Code.BAD_RECORD, str(error))
        # The producer counts what it gave up; a record that it would not even take is not among them.
        raise _partly(failure, job.sent_count - max(1, producer.failed)) from error
    if summary.count or not job.problem:
        job.report = describe(summary, loop.time() - began)
    if job.problem:
        raise _partly(CommandFailed(Code.BAD_RECORD, job.problem), summary.count)


def _partly(failure: CommandFailed, sent_count: int) -> CommandFailed:
    """The failure, or that only a part was sent."""
    if sent_count <= 0:
        return failure
    sent = f"{grouped(sent_count)} record{plural(sent_count)} {'was' if sent_count == 1 else 'were'} sent"
    return CommandFailed(Code.PARTIAL, f"{failure.text}; {sent} before", failure.hint)


def describe(summary: Summary, seconds: float) -> str:
    """The summary line: records, bytes, seconds, rate, partitions."""
    count, partitions = summary.count, len(summary.partitions)
    return " · ".join(
        (
            f"{grouped(count)} record{plural(count)}",
            human_size(summary.bytes),
            f"{seconds:.2f} s",
            f"{grouped(round(count / max(seconds, 1e-6)))} records/s",
            f"{partitions} partition{plural(partitions)}",
        )
    )


def _input_format(key_field: str | None, format_text: str | None) -> InputFormat:
    if key_field is not None:
        return InputFormat(parse=key_from(key_field), skips_blank=True)
    try:
        return InputFormat() if format_text is None else compile_input(format_text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="-F") from None


async def _one(draft: Draft, job: Job) -> AsyncIterator[Draft]:
    job.sent_count = 1
    yield draft


async def _drafts(stream: BinaryIO, job: Job) -> AsyncIterator[Draft]:
    """The input's records. Ends at the first that cannot be understood, which is then `job.problem`."""
    parse, skips_blank = job.format.parse, job.format.skips_blank
    end_size = len(job.format.end)
    try:
        async for records in read_records(stream, job.format.end):
            size = 0
            for record in records:
                job.read_count += 1
                size += len(record) + end_size
                if skips_blank and not record.strip():
                    continue
                draft = parse(record)
                job.sent_count += 1
                yield draft
            if job.advance is not None:
                job.advance(size)
    except ValueError as error:
        job.problem = f"record {grouped(job.read_count)} of the input: {error}"
    except RecordTooLong as error:
        job.problem = f"after record {grouped(job.read_count)} of the input: {error}"


def _progress(job: Job, size: int | None) -> AbstractContextManager[object]:
    """A bar on stderr for a person who waits; nothing where nobody looks."""
    # What a person types on a terminal would only be disturbed.
    if job.quiet or not sys.stderr.isatty() or (size is None and sys.stdin.isatty()):
        return nullcontext()
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = progress.add_task(job.topic, total=size)
    job.advance = lambda done: progress.advance(task, done)
    return progress
