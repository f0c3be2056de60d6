"""`tidelog log recreate`: an empty log in the place of one that is lost for good.

Only of the broker's own topics, which nobody can delete. A user's topic is deleted instead, and what groups have
committed of it goes with it; else they would go on in the new log where they stood in the lost one, and skip records.
"""

from pathlib import Path
from uuid import UUID

import click

from ..client.config import wall_clock_ms
from ..storage.config import LogConfig
from ..storage.disk import Disk, RealDisk
from ..storage.errors import DirectoryLocked, StorageError
from ..storage.log_directory import META, LogDirectory, log_directories, read_partition_metadata
from .commands import command
from .confirm import confirm
from .errors import Code, CommandFailed
from .log_facts import read_facts
from .log_files import files_may_fail, target_at


@command(
    "recreate",
    examples=(
        "mv tidelog-data/__consumer_offsets-3 . && tidelog log recreate tidelog-data/__consumer_offsets-3 --dry-run",
        "tidelog log recreate tidelog-data/__consumer_offsets-3 --yes",
    ),
    remote=False,
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say whether it can be done, and change nothing.")
@files_may_fail()
def recreate(path: Path, *, yes: bool, dry_run: bool) -> None:
    """Put an empty log where one of __consumer_offsets is lost for good.

    All that the groups of that partition had committed is given up: they begin where their consumers' settings say
    (auto.offset.reset), unless `tidelog group reset` gives them offsets before.

    Nothing may lie at PATH: put the directory back if there is a backup, and move one that is damaged elsewhere. It
    asks for the log's name to be typed, and needs the data directory's lock, so no broker may run.
    """
    path = path.absolute()
    root, name = path.parent, path.name
    target = target_at(root)
    if not target.disk.exists(META):
        raise CommandFailed(Code.LOG_FORMAT, f"there is no {META} in {root}", "put it back from a backup first")
    topic_id = _topic_id(target.disk, name)
    if dry_run:
        click.echo(f"{name} can be made anew, empty")
        return

    def check(disk: Disk) -> None:
        _topic_id(disk, name)  # again: a broker may have run until now
        if not yes:
            warning = f"All that the groups of {name} had committed is given up."
            confirm(name, act="give up", warning=warning)

    try:
        directory = LogDirectory.open(RealDisk(str(root)), cluster_id=str, now_ms=wall_clock_ms(), check=check)
    except DirectoryLocked:
        raise CommandFailed(Code.LOG_IN_USE, f"a broker has {root}", "stop it") from None
    _make(directory, name, topic_id)
    click.echo(f"{name} made, empty")


def _make(directory: LogDirectory, name: str, topic_id: UUID) -> None:
    """Make the log, and leave everything else as it was."""
    topic, _, partition = name.rpartition("-")
    try:
        log = directory.create_log(topic, int(partition), topic_id, LogConfig(), now_ms=wall_clock_ms())
        log.close()
    except StorageError:
        directory.release()
        raise
    if directory.was_clean:
        directory.close()
    else:
        directory.release()


def _topic_id(disk: Disk, name: str) -> UUID:
    """The id of the topic of which this log is missing, and cannot be had otherwise. Raises CommandFailed."""
    facts = read_facts(disk)
    if not facts.is_whole:
        text = f"the cluster's metadata cannot be read, so nobody knows whose log {name} is"
        raise CommandFailed(Code.LOG_CORRUPT, text, "see docs/operating.md")
    if name not in facts.directories():
        raise CommandFailed(Code.LOG_NOT_FOUND, f"the cluster's metadata tells of no log {name}")
    if not facts.is_internal(name):
        topic = name.rpartition("-")[0]
        text = f"{name} is a log of a user's topic, of which groups may have committed offsets"
        raise CommandFailed(Code.FAILED, text, f"delete it instead, and create it again: tidelog topic rm {topic}")
    if disk.exists(name):
        raise CommandFailed(Code.FAILED, f"{name} is not missing", "if it is damaged, move it elsewhere first")
    topic_id = facts.topic_id(name)
    assert topic_id is not None, "all is known, and the broker's own topics are created once"
    for other in log_directories(disk):
        if other.rpartition("-")[2] == name.rpartition("-")[2] and _says(disk, other) == topic_id:
            raise CommandFailed(Code.FAILED, f"{other} says that it is {name}", "rename it, and start the broker")
    return topic_id


def _says(disk: Disk, directory: str) -> UUID | None:
    """The id of the topic that a log says is its own."""
    try:
        return read_partition_metadata(disk, directory)
    except StorageError:
        return None
