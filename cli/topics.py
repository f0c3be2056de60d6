"""`tidelog topic`: list, describe, create, alter and remove topics."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import click

from ..client import Client, Partition, TidelogError, Topic, TopicExists
from .commands import Group, Settings, command, group, key_value
from .confirm import confirm
from .errors import CommandFailed, raise_all
from .output import Column, output_option, plural, print_json, print_rows
from .session import failure_of, run

QUESTIONS_MAX = 16
"""Topics whose offsets are asked for at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRow:
    """A partition and what its log holds."""

    topic: str
    partition: Partition
    start_offset: int | None = None
    end_offset: int | None = None

    @property
    def record_count(self) -> int | None:
        """Records between its first and its next offset; None if those are not known."""
        return None if self.start_offset is None or self.end_offset is None else self.end_offset - self.start_offset

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return {
            "partition": self.partition.index,
            "leader": self.partition.leader_id,
            "leader_epoch": self.partition.leader_epoch,
            "replicas": list(self.partition.replicas),
            "in_sync_replicas": list(self.partition.in_sync),
            "offline_replicas": list(self.partition.offline),
            "start_offset": self.start_offset,
            "end_offset": self.end_offset,
            "records": self.record_count,
        }


@dataclass(frozen=True, slots=True)
class TopicRow:
    """A topic; its partitions' offsets where they were asked for."""

    topic: Topic
    partitions: Sequence[PartitionRow] | None = None

    @property
    def record_count(self) -> int | None:
        """Records in all partitions of which that is known."""
        return None if self.partitions is None else sum(row.record_count or 0 for row in self.partitions)

    def as_json(self) -> dict[str, object]:
        """A line of the list."""
        line: dict[str, object] = {
            "topic": self.topic.name,
            "topic_id": str(self.topic.topic_id),
            "internal": self.topic.is_internal,
            "partitions": len(self.topic.partitions),
        }
        return line if self.partitions is None else {**line, "records": self.record_count}


LIST_COLUMNS: Sequence[Column[TopicRow]] = (
    Column("TOPIC", lambda row: row.topic.name),
    Column("PARTITIONS", lambda row: len(row.topic.partitions)),
)
DETAIL_COLUMNS: Sequence[Column[TopicRow]] = (
    *LIST_COLUMNS,
    Column("RECORDS", lambda row: row.record_count),
    Column("TOPIC ID", lambda row: row.topic.topic_id, wide=True),
)
PARTITION_COLUMNS: Sequence[Column[PartitionRow]] = (
    Column("TOPIC", lambda row: row.topic),
    Column("PARTITION", lambda row: row.partition.index),
    Column("LEADER", lambda row: row.partition.leader_id),
    Column("START", lambda row: row.start_offset),
    Column("END", lambda row: row.end_offset),
    Column("RECORDS", lambda row: row.record_count),
    Column("STATUS", lambda row: "lost" if _is_lost(row.partition) else "ok"),
    Column("EPOCH", lambda row: row.partition.leader_epoch, wide=True),
    Column("REPLICAS", lambda row: ",".join(map(str, row.partition.replicas)), wide=True),
    Column("IN SYNC", lambda row: ",".join(map(str, row.partition.in_sync)), wide=True),
)


@group("topic", examples=("tidelog topic create clicks -p 4", "tidelog topic ls", "tidelog topic describe clicks"))
def topic() -> None:
    """List, describe, create, alter and remove topics."""


assert isinstance(topic, Group)


@command("ls", examples=("tidelog topic ls", "tidelog topic ls -d", "tidelog topic ls -o json"))
@click.option("-d", "--details", is_flag=True, help="Also how many records each holds; -o wide says that too.")
@click.option("--internal", is_flag=True, help="Also the broker's own topics.")
@output_option
@click.pass_obj
def ls(settings: Settings, /, *, details: bool, internal: bool, output: str | None) -> None:
    """List the topics."""
    details = details or output == "wide"

    async def work(client: Client) -> None:
        topics = await client.admin.list_topics(internal=internal)
        rows = await _with_offsets(client, topics) if details else [TopicRow(topic) for topic in topics]
        if output in ("json", "jsonl"):
            print_json([row.as_json() for row in rows], output=output)
        else:
            print_rows(rows, DETAIL_COLUMNS if details else LIST_COLUMNS, output=output)

    run(settings, work)


@command(
    "describe",
    examples=(
        "tidelog topic describe orders",
        "tidelog topic describe orders clicks -o wide",
        "tidelog topic describe orders -o json",
    ),
)
@click.argument("names", metavar="TOPIC…", nargs=-1, required=True)
@output_option
@click.pass_obj
def describe(settings: Settings, /, *, names: Sequence[str], output: str | None) -> None:
    """Show the partitions of topics: their leaders, and the offsets at which their logs start and end."""

    async def work(client: Client) -> None:
        topics = [await client.admin.describe_topic(name) for name in names]
        rows = await _with_offsets(client, topics)
        if output in ("json", "jsonl"):
            print_json([_description(row) for row in rows], output=output)
        else:
            print_rows([line for row in rows for line in row.partitions or ()], PARTITION_COLUMNS, output=output)

    run(settings, work)


@command(
    "create",
    examples=(
        "tidelog topic create invoices",
        "tidelog topic create invoices receipts -p 4 --if-not-exists",
        "tidelog topic create audit -c segment.bytes=67108864 -c message.timestamp.type=LogAppendTime",
    ),
)
@click.argument("names", metavar="TOPIC…", nargs=-1, required=True)
@click.option("-p", "--partitions", type=click.IntRange(min=1), help="How many; the broker's num.partitions otherwise.")
@click.option("-c", "--config", "configs", type=key_value, multiple=True, help="A topic setting; repeatable.")
@click.option("--if-not-exists", "lenient", is_flag=True, help="A topic that is there already is no error.")
@click.option("--dry-run", is_flag=True, help="Let the broker check everything, and create nothing.")
@click.pass_obj
def create(
    settings: Settings,
    /,
    *,
    names: Sequence[str],
    partitions: int | None,
    configs: Sequence[tuple[str, str]],
    lenient: bool,
    dry_run: bool,
) -> None:
    """Create topics."""

    async def one(client: Client, name: str) -> str:
        try:
            created = await client.admin.create_topic(
                name, -1 if partitions is None else partitions, dict(configs), validate_only=dry_run
            )
        except TopicExists:
            if not lenient:
                raise
            return f"{name} exists already"
        verb = "would be created" if dry_run else "created"
        return f"{name} {verb} with {created.partitions} partition{plural(created.partitions)}"

    async def work(client: Client) -> None:
        failures: list[CommandFailed] = []
        for name in names:
            try:
                click.echo(await one(client, name))
            except TidelogError as error:
                failures.append(failure_of(error))
        raise_all(failures, asked=len(names))

    run(settings, work)


@command(
    "alter",
    examples=("tidelog topic alter orders -p 8 --dry-run", "tidelog topic alter orders -p 5"),
)
@click.argument("name", metavar="TOPIC")
@click.option("-p", "--partitions", type=click.IntRange(min=1), required=True, help="How many it shall have in all.")
@click.option("--dry-run", is_flag=True, help="Let the broker check it, and change nothing.")
@click.pass_obj
def alter(settings: Settings, /, *, name: str, partitions: int, dry_run: bool) -> None:
    """Give a topic more partitions.

    There is no way back. A key may go to another partition from then on, so that the order of its records is kept on
    either side of the change, and not across it.
    """

    async def work(client: Client) -> None:
        await client.admin.create_partitions(name, partitions, validate_only=dry_run)
        verb = "would be given" if dry_run else "was given"
        click.echo(f"{name} {verb} {partitions} partition{plural(partitions)} in all")

    run(settings, work)


@command(
    "rm",
    examples=("tidelog topic rm invoices --dry-run", "tidelog topic rm invoices receipts --yes"),
)
@click.argument("names", metavar="TOPIC…", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.pass_obj
def rm(settings: Settings, /, *, names: Sequence[str], yes: bool, dry_run: bool) -> None:
    """Remove topics and all their records, for good.

    Shows what will go and asks for the name to be typed; where nobody can be asked it needs --yes.
    """
    names = list(dict.fromkeys(names))
    rows: list[TopicRow] = []
    failures: list[CommandFailed] = []

    async def plan(client: Client) -> None:
        for name in names:
            try:
                rows.extend(await _with_offsets(client, [await client.admin.describe_topic(name)]))
            except TidelogError as error:
                failures.append(failure_of(error))

    async def perform(client: Client) -> None:
        for row in rows:
            try:
                await client.admin.delete_topic(row.topic.name)
                click.echo(f"{row.topic.name} removed")
            except TidelogError as error:
                failures.append(failure_of(error))

    run(settings, plan)
    if rows and (dry_run or not yes):
        print_rows(rows, DETAIL_COLUMNS, output=None)
    if rows and not dry_run:
        # Between two visits: a prompt would stop the loop, and Ctrl-C could not end it.
        if not yes:
            what = rows[0].topic.name if len(rows) == 1 else f"{len(rows)} topics"
            confirm(what, act="remove", warning=f"This removes {what} and every record, for good.")
        run(settings, perform)
    raise_all(failures, asked=len(names))


for member in (ls, describe, create, alter, rm):
    topic.add_command(member)


def _is_lost(partition: Partition) -> bool:
    """No replica can be served, and no offset of it is told."""
    return bool(partition.offline) and set(partition.offline) >= set(partition.replicas)


async def _with_offsets(client: Client, topics: Sequence[Topic]) -> list[TopicRow]:
    """Topics with what their logs hold; several are asked about at a time."""
    limit = asyncio.Semaphore(QUESTIONS_MAX)

    async def one(topic: Topic) -> TopicRow:
        there = [partition.index for partition in topic.partitions if not _is_lost(partition)]
        async with limit:
            earliest = await client.admin.list_offsets(topic.name, dict.fromkeys(there, "earliest"))
            latest = await client.admin.list_offsets(topic.name, dict.fromkeys(there, "latest"))
        return TopicRow(
            topic,
            [
                PartitionRow(
                    topic=topic.name,
                    partition=partition,
                    start_offset=earliest[partition.index].offset if partition.index in earliest else None,
                    end_offset=latest[partition.index].offset if partition.index in latest else None,
                )
                for partition in topic.partitions
            ],
        )

    return list(await asyncio.gather(*map(one, topics)))


def _description(row: TopicRow) -> dict[str, object]:
    return {**row.as_json(), "partitions": [line.as_json() for line in row.partitions or ()]}
