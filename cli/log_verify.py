"""`tidelog log verify`: whether the files of a data directory are what was written, and what can be done if not."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from ..storage.log_directory import META
from ..storage.survey import Finding, Grade, Survey, survey_log
from .commands import command
from .errors import Code, CommandFailed
from .log_facts import Facts, read_facts
from .log_files import METADATA_LOG, Target, files_may_fail, target_at
from .log_repair import repair_logs
from .output import Column, human_size, output_option, plural, print_json, print_rows


@command(
    "verify",
    examples=(
        "tidelog log verify tidelog-data",
        "tidelog log verify tidelog-data/orders-0 -o json",
        "tidelog log verify tidelog-data --repair --dry-run",
    ),
    remote=False,
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--records", is_flag=True, help="Decode every record as well; slower.")
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing an acknowledged record.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the plan of --repair, and change nothing.")
@output_option
@files_may_fail()
def verify(path: Path, *, records: bool, repair: bool, yes: bool, dry_run: bool, output: str | None) -> None:
    """Check everything in a data directory, in a log or in a segment.

    Of every batch the checksum, the length, and that offsets and leader epochs go on where the batch before ended; then
    indexes, digests, snapshots of producers, the durable mark, leader epochs and the cluster's metadata. What is wrong
    is told by ranges of bytes. Ends with 1 if anything is; an unfinished tail above a log's durable mark is only told.

    --repair makes again what follows from sound records, and cuts tails. It shows its plan and asks; it needs the
    directory's lock, so no broker may run. What was acknowledged and is damaged is never touched.
    """
    target = target_at(path)
    if not repair:
        if yes or dry_run:
            raise click.UsageError("--yes and --dry-run belong to --repair")
        surveys = survey_all(target, decode=records)
        _show(surveys, output)
        raise_findings(surveys)
        return
    if target.only is not None:
        raise click.UsageError("--repair takes a log or a data directory, for a segment alone does not tell enough")
    surveys = repair_logs(target, lambda: survey_all(target, decode=records), yes=yes, dry_run=dry_run, output=output)
    if not dry_run:
        raise_findings(surveys)


def status_of(survey: Survey) -> str:
    """One word; what the broker has noted, too."""
    for grade in (Grade.DAMAGE, Grade.DERIVED, Grade.TAIL):
        if survey.graded(grade):
            return "damaged" if grade is Grade.DAMAGE else grade.value
    return "quarantined, but sound" if survey.is_noted else "ok"


def _offsets_of(finding: Finding) -> str | None:
    if finding.first_offset is None:
        return None
    return f"{finding.first_offset} to {'…' if finding.next_offset is None else finding.next_offset - 1}"


REPORT_COLUMNS: Sequence[Column[Survey]] = (
    Column("LOG", lambda survey: survey.directory),
    Column("SEGMENTS", lambda survey: len(survey.segments)),
    Column("BATCHES", lambda survey: sum(segment.batches for segment in survey.segments)),
    Column("RECORDS", lambda survey: sum(segment.records for segment in survey.segments)),
    Column("SIZE", lambda survey: human_size(sum(segment.size for segment in survey.segments))),
    Column("START", lambda survey: survey.start_offset),
    Column("END", lambda survey: survey.end_offset),
    Column("DURABLE", lambda survey: survey.durable_offset),
    Column("STATUS", status_of),
)
FINDING_COLUMNS: Sequence[Column[Finding]] = (
    Column("FINDING", lambda finding: finding.grade.value),
    Column("FILE", lambda finding: finding.path),
    Column("FROM", lambda finding: finding.begin),
    Column("TO", lambda finding: finding.end),
    Column("OFFSETS", _offsets_of),
    Column("REASON", lambda finding: finding.reason),
)


def survey_all(target: Target, *, decode: bool) -> list[Survey]:
    """Look through all that is meant; the metadata of a data directory tells whose logs they are, and of others."""
    surveys = [
        survey_log(target.disk, name, was_closed=target.was_closed, decode=decode, only=target.only)
        for name in target.logs
    ]
    if target.only is not None:
        return surveys
    facts = read_facts(target.disk)
    for survey in surveys:
        misnamed = facts.misnamed(target.disk, survey.directory)
        survey.findings += [] if misnamed is None else [misnamed]
        survey.findings += facts.findings if survey.directory == METADATA_LOG else []
    return [*surveys, *_missing(target, facts)] if target.is_whole else surveys


def _missing(target: Target, facts: Facts) -> Iterator[Survey]:
    """What a data directory should have, and has not."""
    if not target.disk.exists(META):
        yield _nothing_of(META, "missing")
    if METADATA_LOG not in target.logs and (target.logs or target.was_closed):  # else its first start was cut short
        yield _nothing_of(METADATA_LOG, "missing, so no topic is known")
    absent = [name for name in facts.directories() if not target.disk.is_directory(name)]
    told = read_facts(target.disk) if absent else facts  # again: a broker may have deleted their topics meanwhile
    for name in sorted(set(absent) & set(told.directories())) if told.is_whole else ():
        yield _nothing_of(name, "missing, though the cluster's metadata tells of it")


def _nothing_of(path: str, reason: str) -> Survey:
    finding = Finding(grade=Grade.DAMAGE, path=path, begin=0, end=0, reason=reason)
    return Survey(directory=path, durable_offset=None, findings=[finding])


def raise_findings(surveys: Sequence[Survey]) -> None:
    """Raise CommandFailed if something is wrong, with the first finding of each log."""
    damaged = {survey.directory for survey in surveys if survey.graded(Grade.DAMAGE)}
    way_on = "docs/operating.md tells what a broker serves of such a partition, and what to do"
    if damaged & {METADATA_LOG, META}:
        way_on = "no broker starts on it; put it back from a backup, and see docs/operating.md"
    for grade, code, hint in (
        (Grade.DAMAGE, Code.LOG_CORRUPT, way_on),
        (Grade.DERIVED, Code.LOG_DERIVED, "tidelog log verify --repair makes them again"),
    ):
        texts = []
        for survey in surveys:
            findings = survey.graded(grade)
            if findings:
                more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
                texts.append(f"{survey.directory}: {findings[0]}{more}")
        if texts:
            raise CommandFailed(code, "; ".join(texts), hint)


def _show(surveys: Sequence[Survey], output: str | None) -> None:
    if output in ("json", "jsonl"):
        print_json([_as_json(survey) for survey in surveys], output=output)
        return
    print_rows(surveys, REPORT_COLUMNS, output=output)
    findings = [finding for survey in surveys for finding in survey.findings]
    if findings:
        click.echo(f"\n{len(findings)} finding{plural(len(findings))}")
        print_rows(findings, FINDING_COLUMNS, output=output)


def _as_json(survey: Survey) -> dict[str, object]:
    return {
        "log": survey.directory,
        "status": status_of(survey),
        "segments": len(survey.segments),
        "batches": sum(segment.batches for segment in survey.segments),
        "records": sum(segment.records for segment in survey.segments),
        "size_bytes": sum(segment.size for segment in survey.segments),
        "start_offset": survey.start_offset,
        "end_offset": survey.end_offset,
        "durable_offset": survey.durable_offset,
        "quarantine_noted": survey.is_noted,
        "findings": [finding_as_json(finding) for finding in survey.findings],
    }


def finding_as_json(finding: Finding) -> dict[str, object]:
    """All of it."""
    return {
        "finding": finding.grade.value,
        "path": finding.path,
        "from": finding.begin,
        "to": finding.end,
        "first_offset": finding.first_offset,
        "next_offset": finding.next_offset,
        "reason": finding.reason,
    }
