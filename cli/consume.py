"""`tidelog consume`: a topic's records on stdout.

Output is collected and written in large pieces while records come in a row, and at once when the reader has to wait for
more: a flush is a callback of the loop, and the loop gets to its callbacks exactly when nothing else is to be done.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import click

from ..client import Client, Reader, Record
from ..client.config import wall_clock_ms
from .commands import Settings, command
from .offsets import UNTIL_NOW, Anchor, Bound, Span, parse_span
from .record_format import Render, compile_format, render_json, render_value
from .session import run

WRITE_SIZE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be read, and how it is printed."""

    topic: str
    span: Span
    exits: bool
    partitions: tuple[int, ...] | None
    count_max: int | None
    render: Render


@command(
    "consume",
    examples=(
        "tidelog consume orders -e",
        "tidelog consume orders -o -10 -e -f '%p %o %k %v\\n'",
        "tidelog consume orders -o @-1h:end --json",
        "tidelog consume orders -p 0,1 -o 0:100 -e | sort | uniq -c",
    ),
)
@click.argument("topic")
@click.option(
    "-o",
    "--offset",
    "offsets",
    multiple=True,
    metavar="OFFSET",
    help="Where to begin, and end: beginning (the default), end, 42, -10, +10, 100:200, :end, @-1h, @T1:T2, s@T e@T.",
)
@click.option("-p", "--partitions", metavar="N[,N…]", help="Read only these partitions.")
@click.option("-e", "--exit", "exits", is_flag=True, help="End at what is the end now, instead of following.")
@click.option("-n", "--count", "count_max", type=click.IntRange(min=0), help="End after so many records.")
@click.option("-f", "--format", "format_text", metavar="FORMAT", help="%t %p %o %T %k %v %h %K %S %%, \\n \\t …")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; `produce -F json` reads it back.")
@click.pass_obj
def consume(
    settings: Settings,
    /,
    *,
    topic: str,
    offsets: Sequence[str],
    partitions: str | None,
    exits: bool,
    count_max: int | None,
    format_text: str | None,
    as_json: bool,
) -> None:
    """Print the records of TOPIC, their values a line each unless told otherwise, and follow it until Ctrl-C.

    A time T is 2026-02-14, 2026-02-14T10:00:00Z, milliseconds, seconds, or a duration: -1h is an hour ago. Records of
    one partition come in their order.
    """
    if as_json and format_text is not None:
        raise click.UsageError("-f and --json are two formats: choose one")
    job = Job(
        topic=topic,
        span=_span(offsets),
        exits=exits,
        partitions=_partitions(partitions),
        count_max=count_max,
        render=render_json if as_json else _render(format_text),
    )
    out = Output(sys.stdout.buffer)
    try:
        run(settings, lambda client: _consume(client, job, out))
    except asyncio.CancelledError:
        # The output cancels the reading when nobody reads what is printed; whoever else cancelled is not our concern.
        if out.broken is None:
            raise
    if out.broken is not None:
        raise out.broken


class Output:
    """Collects what is printed; writes when there is much of it, or when the loop has nothing else to do."""

    def __init__(self, stream: BinaryIO) -> None:
        self.broken: BrokenPipeError | None = None
        self._stream = stream
        self._pieces: list[bytes] = []
        self._size = 0
        self._reader: asyncio.Task[object] | None = None

    def begin(self) -> None:
        """Name the running task as the one to cancel when nobody reads any more."""
        self._reader = asyncio.current_task()

    def add(self, pieces: list[bytes]) -> None:
        """Print pieces, soon."""
        if pieces and not self._pieces:
            asyncio.get_running_loop().call_soon(self._flush_when_idle)
        self._pieces += pieces
        self._size += sum(map(len, pieces))
        if self._size >= WRITE_SIZE:
            self.flush()

    def flush(self) -> None:
        """Print everything now. Raises BrokenPipeError."""
        if not self._pieces:
            return
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._stream.write(data)
        self._stream.flush()

    def _flush_when_idle(self) -> None:
        try:
            self.flush()
        except BrokenPipeError as error:
            self.broken = error
            if self._reader is not None:
                self._reader.cancel()


async def _consume(client: Client, job: Job, out: Output) -> None:
    """Print records until the span, the count or the user ends it."""
    out.begin()
    left = job.count_max
    if left == 0:
        return
    start, end = job.span.start, job.span.end
    ceiling: int | None = None
    placed = start.anchor in (Anchor.OFFSET, Anchor.START)
    if job.exits and (end is None or end.anchor is Anchor.OFFSET):
        # An end offset that some partition has not reached would be waited for.
        ceiling = None if end is None else end.value
        end = UNTIL_NOW
    reader = client.read(
        job.topic,
        start="earliest" if placed else _client_form(start),
        end=None if end is None else _client_form(end),
        partition=job.partitions,
    )
    try:
        async with reader:
            floors = await _place(client, reader, start) if placed else {}
            async for records in reader.batches():
                taken = _between(records, floors, ceiling)[:left]
                out.add([job.render(record) for record in taken])
                if left is not None:
                    left -= len(taken)
                    if left == 0:
                        return
    finally:
        if out.broken is None:
            out.flush()


async def _place(client: Client, reader: Reader, start: Bound) -> Mapping[int, int]:
    """Begin at an offset in each partition that holds it, at the nearest one in the others.

    Partitions differ in length, so that an offset good in one may lie beyond another's end; what follows there below it
    must not be printed. Returns the lowest offset wanted of such partitions.
    """
    partitions = reader.partitions
    earliest = await client.admin.list_offsets(reader.topic, dict.fromkeys(partitions, "earliest"))
    latest = await client.admin.list_offsets(reader.topic, dict.fromkeys(partitions, "latest"))
    floors: dict[int, int] = {}
    for partition in partitions:
        first, end = earliest[partition].offset, latest[partition].offset
        wanted = start.value + (first if start.anchor is Anchor.START else 0)
        await reader.seek(partition, min(max(wanted, first), end))
        if wanted > end:
            floors[partition] = wanted
    return floors


def _between(records: list[Record], floors: Mapping[int, int], ceiling: int | None) -> list[Record]:
    """Records of one partition without what lies below its floor, or at the ceiling and above."""
    floor = floors.get(records[0].partition)
    if floor is not None:
        records = [record for record in records if record.offset >= floor]
    if ceiling is not None:
        records = [record for record in records if record.offset < ceiling]
    return records


def _client_form(bound: Bound) -> str | int:
    """How the client library spells a bound."""
    if bound.anchor is Anchor.TIME:
        return f"@{bound.value}"
    if bound.anchor is Anchor.END:
        return "latest" if bound.value == 0 else bound.value
    return "earliest" if bound.anchor is Anchor.START else bound.value


def _span(offsets: Sequence[str]) -> Span:
    try:
        return parse_span(offsets, now_ms=wall_clock_ms())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="-o") from None


def _partitions(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    numbers = text.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise click.BadParameter(f"{text!r} is not a list of partitions such as 0,1,2", param_hint="-p")
    return tuple(map(int, numbers))


def _render(format_text: str | None) -> Render:
    try:
        return render_value if format_text is None else compile_format(format_text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="-f") from None
