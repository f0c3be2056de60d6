"""Mends a log that no broker has open, where that cannot cost an acknowledged record.

What follows from the batches is made again from them, once all of them were read and found sound: indexes, digests, the
file of the leader epochs, the durable mark, a topic's id that somebody else knows. Snapshots that cannot be read are
removed, they only save reading. A tail above the durable mark is cut, as the next start would, and by the same code;
that also writes epochs and mark.

What is damaged below the mark is not touched, whatever else is mended: there is nothing to make it from.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final
from uuid import UUID

from .checkpoint import replace_file
from .config import LogConfig
from .digests import SUFFIX as DIGEST_SUFFIX
from .disk import Disk, Lock
from .durable_mark import FILE_NAME as DURABLE_MARK
from .durable_mark import DurableMark
from .errors import CorruptLog, UnknownFormat
from .handles import Handles
from .leader_epochs import FILE_NAME as LEADER_EPOCHS
from .log import Log
from .log_directory import (
    CLEAN_SHUTDOWN,
    CLEAN_SHUTDOWN_CONTENTS,
    LOCK,
    PARTITION_METADATA,
    check_format,
    encode_partition_metadata,
)
from .offset_index import SUFFIX as OFFSET_INDEX_SUFFIX
from .producer_snapshots import SUFFIX as SNAPSHOT_SUFFIX
from .recovery import open_log
from .salvage import Gap, read_through
from .segment import SUFFIX
from .segment_indexes import Tally, replace_indexes
from .survey import Finding, Grade, Survey, make_digest
from .time_index import SUFFIX as TIME_INDEX_SUFFIX

INDEX_SUFFIXES: Final = (OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX)


class Act(Enum):
    """What can be done for a log, in the order in which it is done."""

    NAME = "write the topic's id"
    INDEXES = "build the indexes anew"
    DIGEST = "make the digest anew"
    FORGET = "remove the snapshot"
    EPOCHS = "write the leader epochs that the batches tell of"
    RECOVER = "cut the tail, and write the durable mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """One thing to be done, and why."""

    act: Act
    directory: str
    path: str
    """The file that changes; of indexes their segment."""
    reason: str
    topic_id: UUID | None = None
    """For NAME."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done for a log, and what will not."""

    repairs: Sequence[Repair]
    beyond: Sequence[Finding]
    """What cannot be mended without losing what was acknowledged, or without guessing."""


TopicIds = Callable[[str], UUID | None]
"""The id of the topic that a log's directory must belong to; None if nobody can be sure."""


def plan_repairs(found: Survey, *, topic_id: TopicIds) -> Plan:
    """What can be done about the findings in a log."""
    repairs: dict[tuple[Act, str], Repair] = {}
    beyond: list[Finding] = []
    for finding in found.findings:
        repair = None if finding.grade is Grade.DAMAGE else _repair_of(finding, found, topic_id)
        if repair is None or _is_guess(repair, found):
            beyond.append(finding)
        else:
            repairs.setdefault((repair.act, repair.path), repair)
    order = list(Act)
    return Plan(repairs=sorted(repairs.values(), key=lambda repair: order.index(repair.act)), beyond=beyond)


def _is_guess(repair: Repair, found: Survey) -> bool:
    """Whether it would be made from what is itself in doubt."""
    damaged = {finding.path for finding in found.graded(Grade.DAMAGE)}
    tails = {finding.path for finding in found.graded(Grade.TAIL)}
    if repair.act in (Act.EPOCHS, Act.RECOVER):
        # An older mark may stand below what was acknowledged: what looks like a tail need not be one.
        return bool(damaged) or (found.mark_is_torn and bool(tails))
    return repair.act in (Act.INDEXES, Act.DIGEST) and _segment_of(repair.path) in damaged | tails


def _repair_of(finding: Finding, found: Survey, topic_id: TopicIds) -> Repair | None:
    directory, name = found.directory, finding.path.rpartition("/")[2]
    path, act = finding.path, None
    identity: UUID | None = None
    if finding.grade is Grade.TAIL or name == DURABLE_MARK:
        act = Act.RECOVER
    elif name == PARTITION_METADATA:
        identity = topic_id(directory)
        act = None if identity is None else Act.NAME
    elif name == LEADER_EPOCHS:
        act = Act.EPOCHS
    elif name.endswith(INDEX_SUFFIXES):
        act, path = Act.INDEXES, _segment_of(path)
    elif name.endswith(DIGEST_SUFFIX):
        act = Act.DIGEST
    elif name.endswith(SNAPSHOT_SUFFIX):
        act = Act.FORGET
    if act is None:
        return None
    return Repair(act=act, directory=directory, path=path, reason=finding.reason, topic_id=identity)


def lock_directory(disk: Disk) -> Lock:
    """Keep brokers out of a data directory. Raises DirectoryLocked; UnknownFormat of one that is not ours."""
    if check_format(disk) is None:
        raise UnknownFormat("it is no data directory: there is no meta.properties")
    return disk.lock(LOCK)


def perform(disk: Disk, repairs: Iterable[Repair], *, now_ms: int) -> None:
    """Do it, in a directory that is locked. Raises StorageError; then the next start looks at everything.

    It does so too if the power fails in between, for the marker of a clean stop is away meanwhile.
    """
    was_clean = disk.exists(CLEAN_SHUTDOWN)
    if was_clean:
        disk.remove(CLEAN_SHUTDOWN)
        disk.sync_directory("")
    for repair in repairs:
        _ACTS[repair.act](disk, repair, now_ms)
    if was_clean:
        replace_file(disk, CLEAN_SHUTDOWN, CLEAN_SHUTDOWN_CONTENTS)


def _name(disk: Disk, repair: Repair, now_ms: int) -> None:
    del now_ms
    assert repair.topic_id is not None
    replace_file(disk, repair.path, encode_partition_metadata(repair.topic_id))


def _build_indexes(disk: Disk, repair: Repair, now_ms: int) -> None:
    del now_ms
    tally, base_offset = Tally(LogConfig().index_interval_bytes), _base_offset(repair.path)
    _read_sound(disk, repair, tally)
    replace_indexes(disk, repair.path.removesuffix(SUFFIX), base_offset, tally)


def _make_digest(disk: Disk, repair: Repair, now_ms: int) -> None:
    path, base_offset = _segment_of(repair.path), _base_offset(repair.path)
    next_offset = _read_sound(disk, repair, Tally(LogConfig().index_interval_bytes))
    digest = make_digest(disk, path, base_offset, next_offset, verified_ms=now_ms)
    replace_file(disk, repair.path, digest.encode())


def _forget(disk: Disk, repair: Repair, now_ms: int) -> None:
    del now_ms
    disk.remove(repair.path)
    disk.sync_directory(repair.directory)


def _recover(disk: Disk, repair: Repair, now_ms: int) -> None:
    config, handles = LogConfig(), Handles(1)
    opened = open_log(disk, repair.directory, config=config, handles=handles, trusted=False, now_ms=now_ms)
    Log(disk, repair.directory, opened=opened, config=config, handles=handles).close()
    if opened.recovered.quarantined is not None:
        raise opened.recovered.quarantined
    mark = DurableMark.read(disk, repair.directory)
    assert mark.offset is not None
    mark.write(mark.offset, mark.checkpoint)  # over the slot that could not be read, if that is why


def _read_sound(disk: Disk, repair: Repair, tally: Tally) -> int:
    """The offset behind a segment's last batch. Raises CorruptLog if they are not sound, whatever was seen before."""
    path = _segment_of(repair.path)
    next_offset = base_offset = _base_offset(path)
    file = disk.open(path)
    try:
        for part in read_through(file, base_offset):
            if isinstance(part, Gap):
                raise CorruptLog(path, part.begin, part.reason, end=part.end)
            header = part.header
            tally.add(part.position, header.size, header.last_offset, header.max_timestamp)
            next_offset = header.next_offset
    finally:
        file.close()
    return next_offset


def _segment_of(path: str) -> str:
    """The segment to which a file belongs."""
    return path.rpartition(".")[0] + SUFFIX


def _base_offset(path: str) -> int:
    return int(path.rpartition("/")[2].partition(".")[0])


_ACTS: Final = {
    Act.NAME: _name,
    Act.EPOCHS: _recover,
    Act.INDEXES: _build_indexes,
    Act.DIGEST: _make_digest,
    Act.FORGET: _forget,
    Act.RECOVER: _recover,
}
