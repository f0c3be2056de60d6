"""`tidelog group reset`: where a group shall go on reading; shown as a plan, then done."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

import click

from ..client import Client, GroupDescription, GroupNotFound, GroupOffset, TopicPartition
from ..client.config import wall_clock_ms
from .commands import Settings, command, seconds_of
from .confirm import confirm
from .errors import Code, CommandFailed
from .group_names import Selection, groups_named, not_empty, parse_selection
from .offsets import Anchor, Bound, parse_span
from .offsets_file import parse_offsets, render_offsets
from .output import Column, output_option, plural, print_json, print_rows
from .session import run

CURRENT = "current"
ISO_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Where to go: a place in every partition, what the group has, or what was given."""

    bound: Bound | None = None
    """None: what the group has committed."""
    shift: int = 0
    given: Mapping[TopicPartition, int] | None = None
    other: str | None = None
    """The group whose offsets are meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What becomes of one partition."""

    group: str
    topic: str
    partition: int
    current: int | None
    wanted: int
    start: int
    end: int

    @property
    def target(self) -> int:
        """What is committed: what was wanted, as far as the log reaches."""
        return min(max(self.wanted, self.start), self.end)

    @property
    def note(self) -> str:
        """Why it is not what was wanted."""
        if self.wanted < self.start:
            return f"{self.wanted} lies before the log's start"
        return f"{self.wanted} lies beyond the log's end" if self.wanted > self.end else ""

    @property
    def change(self) -> int | None:
        """Records to be read again (below zero) or skipped."""
        return None if self.current is None else self.target - self.current

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return {
            "group": self.group,
            "topic": self.topic,
            "partition": self.partition,
            "current_offset": self.current,
            "new_offset": self.target,
            "wanted_offset": self.wanted,
            "log_start_offset": self.start,
            "log_end_offset": self.end,
        }


COLUMNS: Sequence[Column[Move]] = (
    Column("GROUP", lambda move: move.group),
    Column("TOPIC", lambda move: move.topic),
    Column("PARTITION", lambda move: move.partition),
    Column("CURRENT-OFFSET", lambda move: "-" if move.current is None else move.current),
    Column("NEW-OFFSET", lambda move: move.target),
    Column("CHANGE", lambda move: "-" if move.change is None else move.change),
    Column("LOG-START-OFFSET", lambda move: move.start, wide=True),
    Column("LOG-END-OFFSET", lambda move: move.end, wide=True),
)


@command(
    "reset",
    examples=(
        "tidelog group reset billing --to start --dry-run",
        "tidelog group reset billing -t orders:0 --to @-1h --yes",
        "tidelog group reset billing --shift-by -10 --yes",
        "tidelog group reset billing --export billing.csv",
    ),
)
@groups_named("GROUP", at_most=1)
@click.option(
    "--to",
    metavar="WHERE",
    help="start, end, current, an offset, +N after the start, -N before the end, or a time: @2026-02-14T10:00Z, @-1h.",
)
@click.option("--by-duration", metavar="D", help="To what came in so long ago and later: 1h30m, or Kafka's PT1H30M.")
@click.option("--to-group", "other", metavar="GROUP", help="To where that group is.")
@click.option(
    "--from-file", "source", type=click.File(), metavar="FILE", help="To what a CSV file says; - is standard input."
)
@click.option("--shift-by", "shift", type=int, default=0, metavar="N", help="Then so many on, or back if below zero.")
@click.option(
    "-t",
    "--topic",
    "topics",
    multiple=True,
    type=parse_selection,
    metavar="TOPIC[:N,…]",
    help="Only this topic, or these partitions of it; repeatable. All that the group has committed otherwise.",
)
@click.option(
    "--export",
    "export",
    type=click.File("w", lazy=True),
    metavar="FILE",
    help="Write the new offsets as CSV; without a target the current ones, and change nothing.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the plan, and change nothing.")
@output_option
@click.pass_obj
def reset(
    settings: Settings,
    /,
    *,
    names: Sequence[str],
    to: str | None,
    by_duration: str | None,
    other: str | None,
    source: TextIO | None,
    shift: int,
    topics: Sequence[Selection],
    export: TextIO | None,
    yes: bool,
    dry_run: bool,
    output: str | None,
) -> None:
    """Set where a group without members goes on reading.

    Shows the plan and asks for the group's name to be typed; where nobody can be asked it needs --yes. An offset that
    the log does not hold becomes the nearest that it does. A group that does not exist is made.
    """
    [name] = names
    targets = [target for target in (to, by_duration, other, source) if target is not None]
    if len(targets) > 1:
        raise click.UsageError("--to, --by-duration, --to-group and --from-file are several targets: choose one")
    only_exports = not targets and not shift
    if only_exports and export is None:
        raise click.UsageError("say where to: --to, --shift-by, --by-duration, --to-group or --from-file")
    bound = _bound(to) if to is not None else None if by_duration is None else _back(by_duration)
    given = None if source is None else _read(source, name)
    job = Job(name, Aim(bound=bound, shift=shift, given=given, other=other), topics)
    moves: list[Move] = []

    async def plan(client: Client) -> None:
        described = await job.described(client)
        if described is not None and described.members and not only_exports:
            refusal = not_empty(described, "reset")
            if not dry_run:
                raise refusal
            click.echo(f"note: {refusal.text}", err=True)
        moves.extend(await job.moves(client))

    async def perform(client: Client) -> None:
        offsets = {(move.topic, move.partition): GroupOffset(move.target) for move in moves}
        await client.admin.groups.alter_offsets(name, offsets)

    run(settings, plan)
    if export is not None:
        export.write(render_offsets({(move.topic, move.partition): move.target for move in moves}))
        export.flush()
    if only_exports:
        return
    _show(moves, output)
    if not dry_run:
        what = f"{len(moves)} offset{plural(len(moves))} of {name}"
        if not yes:
            confirm(name, act="set offsets of", warning=f"This sets {what}.")
        run(settings, perform)
        if output not in ("json", "jsonl"):
            click.echo(f"{what} set")


def _show(moves: Sequence[Move], output: str | None) -> None:
    if output in ("json", "jsonl"):
        print_json([move.as_json() for move in moves], output=output)
    else:
        print_rows(moves, COLUMNS, output=output)
    for move in moves:
        if move.note:
            click.echo(f"note: {move.topic}[{move.partition}]: {move.note}; {move.target} is taken", err=True)


@dataclass(frozen=True, slots=True)
class Job:
    """A plan to be made."""

    group: str
    aim: Aim
    topics: Sequence[Selection]

    async def described(self, client: Client) -> GroupDescription | None:
        """The group; None if one will be made. Raises GroupNotFound when nothing says of what."""
        try:
            return await client.admin.groups.describe(self.group)
        except GroupNotFound:
            if self.topics or self.aim.given is not None or self.aim.other is not None:
                return None
            raise

    async def moves(self, client: Client) -> list[Move]:
        """Every partition that is to be set. Raises CommandFailed."""
        current = {place: at.offset for place, at in (await client.admin.groups.offsets(self.group)).items()}
        given = await self._given(client)
        moves: list[Move] = []
        by_topic: dict[str, list[int]] = {}
        for topic, partition in await self._places(client, current if given is None else given):
            by_topic.setdefault(topic, []).append(partition)
        for topic, partitions in sorted(by_topic.items()):
            starts = await client.admin.list_offsets(topic, dict.fromkeys(partitions, "earliest"))
            ends = await client.admin.list_offsets(topic, dict.fromkeys(partitions, "latest"))
            times = await self._times(client, topic, partitions)
            for partition in sorted(partitions):
                place = TopicPartition(topic, partition)
                start, end = starts[partition].offset, ends[partition].offset
                if given is not None:
                    wanted = given[place]
                elif self.aim.bound is None:
                    wanted = self._from_current(place, current, end)
                else:
                    wanted = _wanted(self.aim.bound, start=start, end=end, timed=times.get(partition, end))
                moves.append(
                    Move(
                        group=self.group,
                        topic=topic,
                        partition=partition,
                        current=current.get(place),
                        wanted=wanted + self.aim.shift,
                        start=start,
                        end=end,
                    )
                )
        return moves

    async def _given(self, client: Client) -> Mapping[TopicPartition, int] | None:
        if self.aim.other is None:
            return self.aim.given
        offsets = await client.admin.groups.offsets(self.aim.other)
        if not offsets:
            await client.admin.groups.describe(self.aim.other)  # for who mistyped its name
            raise CommandFailed(Code.NO_OFFSETS, f"group {self.aim.other!r} has committed nothing")
        return {place: at.offset for place, at in offsets.items()}

    async def _places(self, client: Client, known: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """The partitions that are meant: those that are known, or all of the topics that were named."""
        has_targets = self.aim.given is not None or self.aim.other is not None
        if has_targets or not self.topics:
            chosen = [place for place in known if not self.topics or any(one.has(*place) for one in self.topics)]
            if not chosen:
                what = "none of its offsets is of those topics" if has_targets else "it has committed nothing"
                raise CommandFailed(Code.NO_OFFSETS, f"group {self.group!r}: {what}", "name topics with -t TOPIC")
            return chosen
        chosen = []
        for selection in self.topics:
            topic = await client.admin.describe_topic(selection.topic)
            indexes = selection.partitions or [partition.index for partition in topic.partitions]
            chosen += [TopicPartition(selection.topic, index) for index in indexes]
        return list(dict.fromkeys(chosen))

    async def _times(self, client: Client, topic: str, partitions: Sequence[int]) -> Mapping[int, int]:
        """The first offset at or after the time that was asked for, if one was, where there is one."""
        bound = self.aim.bound
        if bound is None or bound.anchor is not Anchor.TIME:
            return {}
        found = await client.admin.list_offsets(topic, dict.fromkeys(partitions, f"@{bound.value}"))
        return {partition: at.offset for partition, at in found.items() if at.offset >= 0}

    def _from_current(self, place: TopicPartition, current: Mapping[TopicPartition, int], end: int) -> int:
        """Kafka's rule: where nothing was committed, `current` means the end, and there is nothing to shift."""
        if place in current:
            return current[place]
        if self.aim.shift:
            text = f"{place[0]}[{place[1]}] cannot be shifted: group {self.group!r} has committed nothing there"
            raise CommandFailed(Code.NO_OFFSETS, text, "say where to with --to")
        return end


def _wanted(bound: Bound, *, start: int, end: int, timed: int) -> int:
    """The offset that a bound means in a log."""
    if bound.anchor is Anchor.START:
        return start + bound.value
    if bound.anchor is Anchor.END:
        return end + bound.value
    return timed if bound.anchor is Anchor.TIME else bound.value


def _bound(text: str) -> Bound | None:
    """What `--to` says; None for `current`."""
    if text == CURRENT:
        return None
    try:
        span = parse_span([text], now_ms=wall_clock_ms())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--to") from None
    if span.end is not None:
        raise click.BadParameter(f"{text!r} is a span, and one place is wanted", param_hint="--to")
    return span.start


def _back(text: str) -> Bound:
    """What `--by-duration` says."""
    parts = ISO_DURATION.fullmatch(text.upper())
    if parts is not None and any(parts.groups()):
        days, hours, minutes, seconds = (float(part or 0) for part in parts.groups())
        back = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    elif (found := seconds_of(text)) is not None:
        back = found
    else:
        raise click.BadParameter(f"{text!r} is not a duration such as 1h30m or PT1H30M", param_hint="--by-duration")
    return Bound(Anchor.TIME, max(0, wall_clock_ms() - round(back * 1000)))


def _read(source: TextIO, group_id: str) -> Mapping[TopicPartition, int]:
    try:
        found = parse_offsets(source.read(), group_id)
    except ValueError as error:
        raise CommandFailed(Code.BAD_OFFSETS_FILE, str(error), "a line is topic,partition,offset") from None
    if not found:
        raise CommandFailed(Code.NO_OFFSETS, f"the file has no offset of group {group_id!r}")
    return found
