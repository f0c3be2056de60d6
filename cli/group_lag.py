"""`tidelog group lag`: how far groups are behind, once or again and again, and as a gate for scripts."""

import asyncio
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import click

from ..client import Client, GroupLag, GroupNotFound, GroupsMissing, PartitionLag
from ..client.config import wall_clock_ms
from .commands import Settings, command, duration, seconds_of
from .errors import Code, CommandFailed
from .group_names import Selection, groups_named, parse_selection
from .output import Column, LiveTable, human_seconds, output_option, plural, print_json, print_rows
from .session import run

VIEWS = ("group", "topic", "partition")


@dataclass(frozen=True, slots=True)
class Limit:
    """What the gate allows: so many records, or so many seconds."""

    value: float
    is_time: bool

    def __str__(self) -> str:
        return human_seconds(self.value) if self.is_time else f"{self.value:.0f} record{plural(int(self.value))}"


@dataclass(frozen=True, slots=True)
class LagRow:
    """Some partitions of a group: all, those of a topic, or one."""

    group: GroupLag
    partitions: Sequence[PartitionLag]

    @property
    def lag(self) -> int | None:
        """Records in all of them together; None if nobody knows."""
        return total(self.partitions)

    @property
    def seconds(self) -> float | None:
        """Of the one whose first unread record is the oldest."""
        return None if (most := _most(at.lag_ms for at in self.partitions)) is None else most / 1000

    @property
    def never_committed(self) -> int:
        """Partitions of which nothing was ever committed."""
        return sum(at.committed is None for at in self.partitions)

    def is_over(self, limit: Limit) -> bool:
        """Whether it is further behind than that; what nobody knows is not."""
        value = self.seconds if limit.is_time else self.lag
        return value is not None and value > limit.value


@dataclass(frozen=True, slots=True)
class View:
    """How partitions are put together into rows."""

    columns: Sequence[Column[LagRow]]
    rows: Callable[[GroupLag], Iterator[LagRow]]
    as_json: Callable[[LagRow], dict[str, object]]


def total(partitions: Sequence[PartitionLag]) -> int | None:
    """Records in all of them together; None if it is known of none."""
    known = [at.lag for at in partitions if at.lag is not None]
    return sum(known) if known else None


def _most(values: Iterator[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _by_group(group: GroupLag) -> Iterator[LagRow]:
    yield LagRow(group, group.partitions)


def _by_topic(group: GroupLag) -> Iterator[LagRow]:
    for topic in dict.fromkeys(at.topic for at in group.partitions):
        yield LagRow(group, [at for at in group.partitions if at.topic == topic])


def _by_partition(group: GroupLag) -> Iterator[LagRow]:
    for at in group.partitions:
        yield LagRow(group, [at])


def _or_dash(value: object) -> object:
    return "-" if value is None else value


GROUP: Column[LagRow] = Column("GROUP", lambda row: row.group.group_id)
TOPIC: Column[LagRow] = Column("TOPIC", lambda row: row.partitions[0].topic)
COUNTS: Sequence[Column[LagRow]] = (
    Column("PARTITIONS", lambda row: len(row.partitions)),
    Column("NEVER-COMMITTED", lambda row: row.never_committed),
)
LAG: Column[LagRow] = Column("LAG", lambda row: _or_dash(row.lag))
TIME: Column[LagRow] = Column("TIME", lambda row: _or_dash(row.seconds), human=human_seconds)

VIEW: Mapping[str, View] = {
    "group": View(
        columns=(
            GROUP,
            Column("STATE", lambda row: row.group.state),
            Column("MEMBERS", lambda row: row.group.member_count),
            *COUNTS,
            LAG,
        ),
        rows=_by_group,
        as_json=lambda row: {
            "group": row.group.group_id,
            "type": row.group.kind,
            "state": row.group.state,
            "members": row.group.member_count,
            **_sums(row),
            "last_commit_ms": row.group.last_commit_ms,
        },
    ),
    "topic": View(
        columns=(GROUP, TOPIC, *COUNTS, LAG),
        rows=_by_topic,
        as_json=lambda row: {
            "group": row.group.group_id,
            "topic": row.partitions[0].topic,
            **_sums(row),
            "last_commit_ms": _most(at.commit_ms for at in row.partitions),
        },
    ),
    "partition": View(
        columns=(
            GROUP,
            TOPIC,
            Column("PARTITION", lambda row: row.partitions[0].partition),
            Column("CURRENT-OFFSET", lambda row: _or_dash(row.partitions[0].committed)),
            Column("LOG-END-OFFSET", lambda row: _or_dash(row.partitions[0].end_offset)),
            LAG,
        ),
        rows=_by_partition,
        as_json=lambda row: {
            "group": row.group.group_id,
            "topic": row.partitions[0].topic,
            "partition": row.partitions[0].partition,
            "current_offset": row.partitions[0].committed,
            "log_start_offset": row.partitions[0].start_offset,
            "log_end_offset": row.partitions[0].end_offset,
            "lag": row.lag,
            "lag_seconds": row.seconds,
            "last_commit_ms": row.partitions[0].commit_ms,
        },
    ),
}


def _sums(row: LagRow) -> dict[str, object]:
    return {
        "partitions": len(row.partitions),
        "never_committed": row.never_committed,
        "lag": row.lag,
        "lag_seconds": row.seconds,
    }


def limit(value: object) -> Limit:
    """A number of records, or a duration; for click's `type=`."""
    text = str(value)
    if re.fullmatch(r"\d+", text):
        return Limit(int(text), is_time=False)
    seconds = None if re.fullmatch(r"[\d.]*", text) else seconds_of(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is neither a number of records nor a duration such as 30s or 5m")
    return Limit(seconds, is_time=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, how it is shown, and when it ends."""

    names: Sequence[str]
    topics: Sequence[Selection]
    view: View
    columns: Sequence[Column[LagRow]]
    over: Limit | None
    every: float
    looks_max: int | None
    """None: until Ctrl-C, or the gate."""
    output: str | None


@command(
    "lag",
    examples=(
        "tidelog group lag --time",
        "tidelog group lag billing --by partition -o json",
        "tidelog group lag billing -w -n 2",
        "tidelog group lag billing --over 100000",
    ),
)
@groups_named("[GROUP…]", at_least=0)
@click.option(
    "-t",
    "--topic",
    "topics",
    multiple=True,
    type=parse_selection,
    metavar="TOPIC[:N,…]",
    help="Only this topic, or these partitions of it; repeatable.",
)
@click.option(
    "--by", "view", type=click.Choice(VIEWS), default="group", help="What a line stands for; a group by default."
)
@click.option("--time", "with_time", is_flag=True, help="Also how old the first unread record is.")
@click.option("-w", "--watch", is_flag=True, help="Look again and again; off a terminal a JSON object a line.")
@click.option("--every", type=duration, default=1.0, metavar="DURATION", help="How long to wait between two looks.")
@click.option("-n", "--count", "looks_max", type=click.IntRange(min=1), help="End after so many looks.")
@click.option("--over", type=limit, metavar="N|DURATION", help="End with 4 if a line is further behind than that.")
@output_option
@click.pass_obj
def lag(
    settings: Settings,
    /,
    *,
    names: Sequence[str],
    topics: Sequence[Selection],
    view: str,
    with_time: bool,
    watch: bool,
    every: float,
    looks_max: int | None,
    over: Limit | None,
    output: str | None,
) -> None:
    """Show how far groups are behind, and watch over it.

    The lag are the records between what was committed and the end of the log; of all groups, unless some are named.
    With --over it is a gate for scripts: it ends with 4 when one is further behind than so many records, or when its
    first unread record is older than so long; a record's time is that of the first one of its batch.
    """
    if looks_max is not None and not watch:
        raise click.UsageError("-n counts the looks of -w")
    chosen = VIEW[view]
    shows_time = with_time or output == "wide" or (over is not None and over.is_time)
    question = Question(
        names=names,
        topics=topics,
        view=chosen,
        columns=(*chosen.columns, TIME) if shows_time else chosen.columns,
        over=over,
        every=every,
        looks_max=looks_max if watch else 1,
        output=output,
    )
    run(settings, lambda client: _watch(client, question) if watch else _look_once(client, question))


async def _look_once(client: Client, question: Question) -> None:
    rows, missing = await _look(client, question)
    if question.output in ("json", "jsonl"):
        print_json([question.view.as_json(row) for row in rows], output=question.output)
    else:
        print_rows(rows, question.columns, output=question.output)
    _gate(rows, question.over)
    unknown = [row for row in rows if row.never_committed]
    if question.over is not None and unknown:
        names = ", ".join(dict.fromkeys(row.group.group_id for row in unknown))
        count = sum(row.never_committed for row in unknown)
        click.echo(f"note: {names}: {count} partition{plural(count)} never committed, lag not known", err=True)
    if missing is not None:
        raise missing


async def _watch(client: Client, question: Question) -> None:
    """Draw a table anew on a terminal; elsewhere, and where JSON is wanted, print a line for each row each time."""
    with ExitStack() as stack:
        is_drawn = sys.stdout.isatty() and question.output not in ("json", "jsonl")
        live = stack.enter_context(LiveTable()) if is_drawn else None
        looks = 0
        while True:
            rows, missing = await _look(client, question)
            if live is not None:
                live.show(rows, question.columns, title=f"every {human_seconds(question.every)}, Ctrl-C ends")
            else:
                at_ms = wall_clock_ms()
                print_json([{"at_ms": at_ms, **question.view.as_json(row)} for row in rows], output="jsonl")
                sys.stdout.flush()
            _gate(rows, question.over)
            looks += 1
            is_last = looks == question.looks_max
            if missing is not None and (is_last or question.over is not None):
                raise missing
            if is_last:
                return
            await asyncio.sleep(question.every)


async def lags_of_all(client: Client) -> tuple[Mapping[str, GroupLag], GroupsMissing | None]:
    """Those that the broker can tell of, and which are missing."""
    try:
        return await client.admin.groups.lag(), None
    except GroupsMissing as missing:
        return missing.lags, missing


async def _look(client: Client, question: Question) -> tuple[list[LagRow], GroupsMissing | None]:
    missing: GroupsMissing | None = None
    if question.names:
        groups: Mapping[str, GroupLag] = await client.admin.groups.lag(question.names)
    else:
        groups, missing = await lags_of_all(client)
    for name in question.names:
        if name not in groups:
            raise GroupNotFound(f"there is no group {name!r}")
    narrowed = [_narrowed(group, question.topics) for group in groups.values()]
    if question.topics:  # a gate on a topic whose name is mistyped must not stand open
        chosen = [group for group in narrowed if group.partitions]
        empty = [group.group_id for group in narrowed if not group.partitions]
        if not chosen or (question.names and empty):
            who = f"group {empty[0]!r}" if question.names else "no group"
            has = "has committed nothing there" if question.names else "has committed anything there"
            raise CommandFailed(Code.NO_OFFSETS, f"{who} {has}", "tidelog group lag --by topic shows what there is")
        narrowed = chosen
    return [row for group in narrowed for row in question.view.rows(group)], missing


def _narrowed(group: GroupLag, topics: Sequence[Selection]) -> GroupLag:
    """Only what was asked for."""
    if not topics:
        return group
    return GroupLag(
        group_id=group.group_id,
        kind=group.kind,
        state=group.state,
        member_count=group.member_count,
        last_commit_ms=group.last_commit_ms,
        partitions=tuple(
            at for at in group.partitions if any(selection.has(at.topic, at.partition) for selection in topics)
        ),
    )


def _gate(rows: Sequence[LagRow], over: Limit | None) -> None:
    """Raise CommandFailed if a row is further behind than allowed."""
    if over is None:
        return
    behind = [row for row in rows if row.is_over(over)]
    if behind:
        worst = max(behind, key=lambda row: (row.seconds if over.is_time else row.lag) or 0)
        name = worst.group.group_id
        told = human_seconds(worst.seconds or 0) if over.is_time else f"{worst.lag} record{plural(worst.lag or 0)}"
        more = f", and {len(behind) - 1} more" if len(behind) > 1 else ""
        raise CommandFailed(Code.LAG_OVER, f"{name} is {told} behind, over the {over} allowed{more}")
