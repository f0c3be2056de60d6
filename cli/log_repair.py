"""`tidelog log verify --repair`: the plan, the question, and the deed."""

from collections.abc import Callable, Sequence

import click

from ..client.config import wall_clock_ms
from ..storage.disk import Disk, Lock, RealDisk
from ..storage.errors import DirectoryLocked, StorageError, UnknownFormat
from ..storage.repair import Act, Plan, Repair, lock_directory, perform, plan_repairs
from ..storage.survey import Survey
from .confirm import confirm
from .errors import Code, CommandFailed
from .log_facts import read_facts
from .log_files import Target
from .output import Column, plural, print_json, print_rows

ACTIONS = {
    Act.NAME: "name",
    Act.EPOCHS: "epochs",
    Act.INDEXES: "indexes",
    Act.DIGEST: "digest",
    Act.FORGET: "forget",
    Act.RECOVER: "recover",
}
"""The words for programs."""

COLUMNS: Sequence[Column[Repair]] = (
    Column("LOG", lambda repair: repair.directory),
    Column("WHAT", lambda repair: repair.act.value),
    Column("FILE", lambda repair: repair.path.rpartition("/")[2]),
    Column("BECAUSE", lambda repair: repair.reason),
)


def repair_logs(
    target: Target, survey: Callable[[], list[Survey]], *, yes: bool, dry_run: bool, output: str | None
) -> list[Survey]:
    """Plan, ask and perform; what is found afterwards. Raises CommandFailed."""
    if dry_run:
        surveys = survey()
        _show(_plans(target, surveys), output)
        return surveys
    disk = RealDisk(str(target.root))
    lock = _locked(disk, target)
    try:
        surveys = survey()
        plans = _plans(target, surveys)
        repairs = [repair for plan in plans for repair in plan.repairs]
        _show(plans, output)
        if not repairs:
            return surveys
        what = f"{len(repairs)} repair{plural(len(repairs))}"
        if not yes:
            confirm(target.root.name, act="change files in", warning=f"This makes {what} in {target.root}.")
        try:
            perform(disk, repairs, now_ms=wall_clock_ms())
        except StorageError as error:
            raise CommandFailed(
                Code.FAILED, str(error), "a part of the plan may be done; see to that file, then plan again"
            ) from None
        if output not in ("json", "jsonl"):
            click.echo(f"{what} made")
        return survey()
    finally:
        lock.release()


def _locked(disk: Disk, target: Target) -> Lock:
    try:
        return lock_directory(disk)
    except DirectoryLocked:
        text = f"a broker has {target.root}"
        raise CommandFailed(Code.LOG_IN_USE, text, "stop it, or see the plan with --dry-run") from None
    except UnknownFormat as error:
        raise CommandFailed(Code.LOG_FORMAT, str(error), "only a log in its data directory can be repaired") from None


def _plans(target: Target, surveys: Sequence[Survey]) -> list[Plan]:
    topic_id = read_facts(target.disk).topic_id
    return [plan_repairs(survey, topic_id=topic_id) for survey in surveys]


def _show(plans: Sequence[Plan], output: str | None) -> None:
    """What will be done on stdout, what will not beside it."""
    repairs = [repair for plan in plans for repair in plan.repairs]
    if output in ("json", "jsonl"):
        print_json([_as_json(repair) for repair in repairs], output=output)
    elif repairs:
        print_rows(repairs, COLUMNS, output=output)
    else:
        click.echo("nothing to repair")
    for plan in plans:
        for finding in plan.beyond:
            click.echo(f"note: not touched: {finding}", err=True)


def _as_json(repair: Repair) -> dict[str, object]:
    return {
        "log": repair.directory,
        "action": ACTIONS[repair.act],
        "path": repair.path,
        "reason": repair.reason,
    }
