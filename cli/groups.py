"""`tidelog group`: list and describe groups, remove them or what they have committed, take members out.

`lag` and `reset` have files of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from ..client import (
    Client,
    GroupDescription,
    GroupLag,
    GroupListing,
    GroupMember,
    GroupNotFound,
    GroupsMissing,
    PartitionLag,
    TidelogError,
)
from .commands import Group, Settings, command, group
from .confirm import confirm
from .errors import Code, CommandFailed, raise_all
from .group_lag import lag, lags_of_all, total
from .group_names import Selection, groups_named, not_empty, parse_selection
from .group_reset import reset
from .output import Column, human_seconds, output_option, plural, print_json, print_rows
from .session import failure_of, run

STATES = (
    "Empty", "Stable", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling", "Dead",
)  # fmt: skip
KINDS = ("classic", "consumer", "share")


@dataclass(frozen=True, slots=True)
class ListRow:
    """A group in the list; how it fares where that was asked for."""

    group: GroupListing
    lag: GroupLag | None = None

    def as_json(self) -> dict[str, object]:
        """A line of the list."""
        line: dict[str, object] = {
            "group": self.group.group_id,
            "type": self.group.kind,
            "protocol": self.group.protocol_type,
            "state": self.group.state,
        }
        if self.lag is not None:
            line |= {"members": self.lag.member_count, "lag": total(self.lag.partitions)}
        return line


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetRow:
    """A partition that a group reads or has read; or a member without one."""

    group: str
    at: PartitionLag | None
    member: GroupMember | None

    def as_json(self) -> dict[str, object]:
        """All of it; there is a partition."""
        assert self.at is not None
        return {
            "topic": self.at.topic,
            "partition": self.at.partition,
            "current_offset": self.at.committed,
            "log_end_offset": self.at.end_offset,
            "lag": self.at.lag,
            "lag_seconds": None if self.at.lag_ms is None else self.at.lag_ms / 1000,
            "last_commit_ms": self.at.commit_ms,
            "member_id": None if self.member is None else self.member.member_id,
        }


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member of a group."""

    group: str
    member: GroupMember

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return {
            "member_id": self.member.member_id,
            "instance_id": self.member.instance_id,
            "client_id": self.member.client_id,
            "host": self.member.host,
            "epoch": self.member.epoch,
            "assignment": _as_json(self.member.assignment),
            "target": None if self.member.target is None else _as_json(self.member.target),
        }


@dataclass(frozen=True, slots=True)
class Description:
    """A group, its members, and how far it came."""

    group: GroupDescription
    rows: Sequence[OffsetRow]

    def as_json(self) -> dict[str, object]:
        """All of it."""
        group = self.group
        return {
            "group": group.group_id,
            "type": group.kind,
            "protocol": group.protocol_type,
            "state": group.state,
            "assignor": group.assignor,
            "coordinator": str(group.coordinator),
            "epoch": group.epoch,
            "target_epoch": group.target_epoch,
            "members": [MemberRow(group.group_id, member).as_json() for member in group.members],
            "offsets": [row.as_json() for row in self.rows if row.at is not None],
        }


def _dash(value: object) -> object:
    """As Kafka's tool says that there is nothing; a column must not be empty for who splits lines at spaces."""
    return "-" if value in (None, "") else value


LIST_COLUMNS: Sequence[Column[ListRow]] = (
    Column("GROUP", lambda row: row.group.group_id),
    Column("TYPE", lambda row: row.group.kind),
    Column("PROTOCOL", lambda row: _dash(row.group.protocol_type)),
    Column("STATE", lambda row: row.group.state),
)
DETAIL_COLUMNS: Sequence[Column[ListRow]] = (
    *LIST_COLUMNS,
    Column("MEMBERS", lambda row: _dash(None if row.lag is None else row.lag.member_count)),
    Column("LAG", lambda row: _dash(None if row.lag is None else total(row.lag.partitions))),
)
OFFSET_COLUMNS: Sequence[Column[OffsetRow]] = (
    Column("GROUP", lambda row: row.group),
    Column("TOPIC", lambda row: _dash(row.at and row.at.topic)),
    Column("PARTITION", lambda row: _dash(None if row.at is None else row.at.partition)),
    Column("CURRENT-OFFSET", lambda row: _dash(None if row.at is None else row.at.committed)),
    Column("LOG-END-OFFSET", lambda row: _dash(None if row.at is None else row.at.end_offset)),
    Column("LAG", lambda row: _dash(None if row.at is None else row.at.lag)),
    Column("CONSUMER-ID", lambda row: _dash(row.member and row.member.member_id)),
    Column("HOST", lambda row: _dash(row.member and row.member.host)),
    Column("CLIENT-ID", lambda row: _dash(row.member and row.member.client_id)),
    Column(
        "TIME",
        lambda row: _dash(None if row.at is None or row.at.lag_ms is None else row.at.lag_ms / 1000),
        wide=True,
        human=human_seconds,
    ),
)
MEMBER_COLUMNS: Sequence[Column[MemberRow]] = (
    Column("GROUP", lambda row: row.group),
    Column("CONSUMER-ID", lambda row: row.member.member_id),
    Column("HOST", lambda row: row.member.host),
    Column("CLIENT-ID", lambda row: _dash(row.member.client_id)),
    Column("#PARTITIONS", lambda row: row.member.partition_count),
    Column("INSTANCE-ID", lambda row: _dash(row.member.instance_id), wide=True),
    Column("EPOCH", lambda row: _dash(row.member.epoch), wide=True),
    Column("ASSIGNMENT", lambda row: _dash(_as_text(row.member.assignment)), wide=True),
    Column("TARGET", lambda row: _dash(_as_text(row.member.target or {})), wide=True),
)
SUMMARY_COLUMNS: Sequence[Column[Description]] = (
    Column("GROUP", lambda row: row.group.group_id),
    Column("COORDINATOR", lambda row: row.group.coordinator),
    Column("ASSIGNMENT-STRATEGY", lambda row: _dash(row.group.assignor)),
    Column("STATE", lambda row: row.group.state),
    Column("#MEMBERS", lambda row: len(row.group.members)),
    Column("TYPE", lambda row: row.group.kind, wide=True),
    Column("GROUP-EPOCH", lambda row: _dash(row.group.epoch), wide=True),
    Column("TARGET-EPOCH", lambda row: _dash(row.group.target_epoch), wide=True),
)
REMOVAL_COLUMNS: Sequence[Column[Description]] = (
    Column("GROUP", lambda row: row.group.group_id),
    Column("STATE", lambda row: row.group.state),
    Column("OFFSETS", lambda row: sum(line.at is not None for line in row.rows)),
)


@group("group", examples=("tidelog group ls", "tidelog group describe billing", "tidelog group lag --time"))
def group_commands() -> None:
    """Look at consumer groups and how far they are behind; move, empty and remove them."""


assert isinstance(group_commands, Group)


@command(
    "ls",
    examples=("tidelog group ls", "tidelog group ls -d", "tidelog group ls --state Empty -o json"),
)
@click.option("-d", "--details", is_flag=True, help="Also members and lag; -o wide says that too.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES, case_sensitive=False),
    metavar="STATE",
    help=f"Only those in this state: {', '.join(STATES)}; repeatable.",
)
@click.option(
    "--type",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS, case_sensitive=False),
    help="Only groups of this type; repeatable.",
)
@output_option
@click.pass_obj
def ls(
    settings: Settings,
    /,
    *,
    details: bool,
    states: Sequence[str],
    kinds: Sequence[str],
    output: str | None,
) -> None:
    """List the groups."""
    details = details or output == "wide"

    async def work(client: Client) -> None:
        missing: GroupsMissing | None = None
        try:
            listed = await client.admin.groups.list_all(states=states, kinds=kinds)
        except GroupsMissing as error:
            listed, missing = error.listed, error
        lags, _ = await lags_of_all(client) if details else ({}, None)
        rows = [ListRow(one, lags.get(one.group_id)) for one in listed]
        if output in ("json", "jsonl"):
            print_json([row.as_json() for row in rows], output=output)
        else:
            print_rows(rows, DETAIL_COLUMNS if details else LIST_COLUMNS, output=output)
        if missing is not None:
            raise missing

    run(settings, work)


@command(
    "describe",
    examples=(
        "tidelog group describe billing",
        "tidelog group describe billing --summary -o wide",
        "tidelog group describe billing -m -o wide",
        "tidelog group describe billing -o json",
    ),
)
@groups_named("GROUP…")
@click.option("-m", "--members", "by_member", is_flag=True, help="A line for each member instead.")
@click.option("--summary", "in_short", is_flag=True, help="A line for each group instead.")
@output_option
@click.pass_obj
def describe(
    settings: Settings, /, *, names: Sequence[str], by_member: bool, in_short: bool, output: str | None
) -> None:
    """Show how far groups came in each partition, and who reads it."""
    if by_member and in_short:
        raise click.UsageError("--members and --summary are two views: choose one")

    async def work(client: Client) -> None:
        described = [await _describe(client, name) for name in names]
        if output in ("json", "jsonl"):
            print_json([one.as_json() for one in described], output=output)
        elif in_short:
            print_rows(described, SUMMARY_COLUMNS, output=output)
        elif by_member:
            members = [MemberRow(one.group.group_id, member) for one in described for member in one.group.members]
            print_rows(members, MEMBER_COLUMNS, output=output)
        else:
            print_rows([row for one in described for row in one.rows], OFFSET_COLUMNS, output=output)
        if not in_short and output not in ("json", "jsonl"):
            for one in described:
                if not one.group.members:
                    click.echo(f"{one.group.group_id} has no members now", err=True)

    run(settings, work)


@command("rm", examples=("tidelog group rm staging --dry-run", "tidelog group rm staging --yes"))
@groups_named("GROUP…")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.pass_obj
def rm(settings: Settings, /, *, names: Sequence[str], yes: bool, dry_run: bool) -> None:
    """Remove groups that have no members.

    What they have committed goes, too. Shows what will go and asks for the name to be typed; where nobody can be asked
    it needs --yes.
    """
    found: list[Description] = []
    failures: list[CommandFailed] = []

    async def plan(client: Client) -> None:
        for name in names:
            try:
                one = await _describe(client, name)
            except TidelogError as error:
                failures.append(failure_of(error))
                continue
            if one.group.members:
                failures.append(not_empty(one.group, "removed"))
            else:
                found.append(one)

    async def perform(client: Client) -> None:
        for one in found:
            try:
                await client.admin.groups.delete(one.group.group_id)
                click.echo(f"{one.group.group_id} removed")
            except TidelogError as error:
                failures.append(failure_of(error))

    run(settings, plan)
    if found and (dry_run or not yes):
        print_rows(found, REMOVAL_COLUMNS, output=None)
    if found and not dry_run:
        if not yes:
            what = found[0].group.group_id if len(found) == 1 else f"{len(found)} groups"
            confirm(what, act="remove", warning=f"This removes {what} and what was committed, for good.")
        run(settings, perform)
    raise_all(failures, asked=len(names))


@command(
    "rm-offsets",
    examples=(
        "tidelog group rm-offsets billing -t orders --dry-run",
        "tidelog group rm-offsets billing -t orders:0 --yes",
    ),
)
@groups_named("GROUP", at_most=1)
@click.option(
    "-t",
    "--topic",
    "selections",
    required=True,
    multiple=True,
    type=parse_selection,
    metavar="TOPIC[:N,…]",
    help="Of this topic, or of these partitions of it; repeatable.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be forgotten, and forget nothing.")
@click.pass_obj
def rm_offsets(
    settings: Settings, /, *, names: Sequence[str], selections: Sequence[Selection], yes: bool, dry_run: bool
) -> None:
    """Forget offsets that a group has committed.

    Of topics that none of its members reads. Shows what will go and asks for the group's name to be typed; where nobody
    can be asked it needs --yes.
    """
    [name] = names
    rows: list[OffsetRow] = []

    async def plan(client: Client) -> None:
        one = await _describe(client, name)
        chosen = [row for row in one.rows if row.at is not None and row.at.committed is not None]
        rows.extend(
            row for row in chosen if row.at and any(wanted.has(row.at.topic, row.at.partition) for wanted in selections)
        )
        if not rows:
            raise CommandFailed(Code.NO_OFFSETS, f"group {name!r} has committed nothing there")

    async def perform(client: Client) -> None:
        await client.admin.groups.delete_offsets(name, [(row.at.topic, row.at.partition) for row in rows if row.at])
        click.echo(f"{len(rows)} offset{plural(len(rows))} of {name} removed")

    run(settings, plan)
    if dry_run or not yes:
        print_rows(rows, OFFSET_COLUMNS[:6], output=None)
    if not dry_run:
        if not yes:
            warning = f"This removes {len(rows)} committed offset{plural(len(rows))} of {name}, for good."
            confirm(name, act="remove offsets of", warning=warning)
        run(settings, perform)


@command(
    "kick",
    examples=("tidelog group kick billing --all --dry-run", "tidelog group kick billing --all --yes"),
)
@groups_named("GROUP [MEMBER…]", distinct=False)
@click.option("--all", "everybody", is_flag=True, help="Every member.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show who would have to go, and let them stay.")
@click.pass_obj
def kick(settings: Settings, /, *, names: Sequence[str], everybody: bool, yes: bool, dry_run: bool) -> None:
    """Take members out of a group.

    They are named by their member ids or instance ids. A consumer that hangs loses its partitions to the others at
    once. One that is alive notices, and joins again.
    """
    name, *wanted = names
    if bool(wanted) == everybody:
        raise click.UsageError("say which members shall go: their ids, or --all")
    chosen: list[MemberRow] = []
    missing: list[CommandFailed] = []

    async def plan(client: Client) -> None:
        members = (await client.admin.groups.describe(name)).members
        for word in wanted:
            if not any(word in (member.member_id, member.instance_id) for member in members):
                hint = f"tidelog group describe {name} -m shows those there are"
                missing.append(CommandFailed(Code.MEMBER_NOT_FOUND, f"group {name!r} has no member {word!r}", hint))
        chosen.extend(
            MemberRow(name, member)
            for member in members
            if everybody or member.member_id in wanted or member.instance_id in wanted
        )

    async def perform(client: Client) -> None:
        static = [row.member.instance_id for row in chosen if row.member.instance_id is not None]
        dynamic = [row.member.member_id for row in chosen if row.member.instance_id is None]
        gone = await client.admin.groups.remove_members(name, dynamic, instance_ids=static)
        click.echo(f"{len(gone)} member{plural(len(gone))} taken out of {name}")
        left = [word for word in (*static, *dynamic) if word not in gone]
        missing.extend(CommandFailed(Code.MEMBER_NOT_FOUND, f"{word!r} is no member any more") for word in left)

    run(settings, plan)
    if everybody and not chosen:
        click.echo(f"{name} has no members now", err=True)
    if chosen and (dry_run or not yes):
        print_rows(chosen, MEMBER_COLUMNS, output=None)
    if chosen and not dry_run:
        if not yes:
            warning = f"This takes {len(chosen)} member{plural(len(chosen))} out of {name}."
            confirm(name, act="take members out of", warning=warning)
        run(settings, perform)
    raise_all(missing, asked=len(wanted) or len(chosen))


for member in (ls, describe, lag, reset, rm, rm_offsets, kick):
    group_commands.add_command(member)


async def _describe(client: Client, name: str) -> Description:
    """A group with a row for every partition that it reads or has read, and for every member that reads none."""
    described = await client.admin.groups.describe(name)
    owners = {
        (topic, partition): member
        for member in described.members
        for topic, partitions in member.assignment.items()
        for partition in partitions
    }
    try:
        lags = (await client.admin.groups.lag([name]))[name].partitions
    except KeyError:
        raise GroupNotFound(f"there is no group {name!r}") from None
    told = {(at.topic, at.partition): at for at in lags}
    for topic in sorted({topic for topic, _ in owners} - {topic for topic, _ in told}):
        told |= await _never_committed(client, topic)
    rows = [
        OffsetRow(group=name, at=at, member=owners.get(place))
        for place, at in sorted(told.items())
        if at.committed is not None or place in owners
    ]
    idle = [member for member in described.members if not member.assignment]
    return Description(described, [*rows, *(OffsetRow(group=name, at=None, member=member) for member in idle)])


async def _never_committed(client: Client, topic: str) -> Mapping[tuple[str, int], PartitionLag]:
    """The partitions of a topic of which the group has committed nothing at all."""
    latest = await client.admin.list_offsets(topic, "latest")
    return {
        (topic, partition): PartitionLag(
            topic=topic,
            partition=partition,
            committed=None,
            commit_ms=None,
            start_offset=None,
            end_offset=at.offset,
            lag=None,
            lag_ms=None,
        )
        for partition, at in latest.items()
    }


def _as_json(assignment: Mapping[str, Sequence[int]]) -> list[dict[str, object]]:
    return [{"topic": topic, "partitions": list(partitions)} for topic, partitions in assignment.items()]


def _as_text(assignment: Mapping[str, Sequence[int]]) -> str:
    """As Kafka's tool writes it: clicks(0,1), orders(2)."""
    return ", ".join(f"{topic}({','.join(map(str, partitions))})" for topic, partitions in assignment.items())
