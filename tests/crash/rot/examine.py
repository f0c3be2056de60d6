"""Opens the log in a damaged directory as a broker would, reads all of it, writes on, and opens it once more.

What is promised [A8, house rule 1.6]: wrong bytes, a wrong offset, a wrong time are never served; what was acknowledged
is there, or its reader is told of the damage, or it was cut above the durable mark with a warning and a new leader
epoch; a log that is quarantined, or cannot be opened, has not been changed; damage to what is derived from the batches
is as if it had not been; the scrubber finds what readers find; and only the errors that storage names are ever raised.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from support.builders import a_batch
from support.flat_disk import FlatDisk, Tree
from tidelog.protocol.batch import check, walk
from tidelog.storage.errors import CorruptLog, DiskFailed, OffsetOutOfRange, StorageError
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogName

from .damage import Damage, kind_of
from .specimens import (
    CLUSTER_ID,
    HOME,
    NOW_MS,
    TOPIC,
    TOPIC_ID,
    Batch,
    Specimen,
    Stop,
    open_directory,
    producers_of,
)

DERIVED: Final = frozenset(
    {
        ".kafka_cleanshutdown",
        "*.digest",
        "*.index",
        "*.snapshot",
        "*.timeindex",
        "durable-mark",
        "leader-epoch-checkpoint",
    }
)
"""Of what these say nothing may be lost, nor anything be refused."""
SCRUBBED: Final = frozenset({"*.digest", "*.log"})
"""In these the scrubber finds damage just when readers do; it reads nothing else."""
OPENING: Final = frozenset({".lock", ".kafka_cleanshutdown"})
"""What changes when a data directory is opened, whatever comes of it."""
REBUILT: Final = (".digest", ".index", ".timeindex")
"""What a reader that doubts them builds anew, be the log quarantined or not, and what goes when its segment is gone."""
NAME: Final = LogName(TOPIC, 0, TOPIC_ID)
READ_SIZE: Final = 1 << 20
ONE_MORE: Final = bytes(a_batch([b"one more"], base_timestamp=10))


class Wrong(AssertionError):
    """The promise was broken."""


class Outcome(StrEnum):
    """What a damage came to."""

    HARMLESS = "harmless"
    """Everything is as if nothing had happened."""
    FOUND = "found by a reader"
    """Whoever reads there gets an error; all else is right."""
    CUT = "cut"
    """Above the durable mark, with a warning and a new leader epoch."""
    QUARANTINED = "quarantined"
    """No appends, nothing changed; what is sound is served."""
    UNOPENED = "not opened"
    """The log, with an error that says why, and nothing changed."""
    REFUSED = "refused"
    """The whole directory, with nothing changed."""


def examine(specimen: Specimen, damage: Damage) -> Outcome:
    """What the damage comes to. Raises Wrong."""
    tree = dict(specimen.tree)
    if damage.data is None:
        del tree[damage.path]
    else:
        tree[damage.path] = damage.data
    disk = FlatDisk(tree)
    try:
        directory = open_directory(disk)
    except StorageError:
        _expect(damage, not disk.changed_since(tree), "refused, and yet changed")
        return Outcome.REFUSED
    _expect(damage, directory.cluster_id == CLUSTER_ID, "another cluster's id")
    if NAME not in directory.logs():
        _expect(damage, damage.path == HOME + "partition.metadata", "the log is not found any more")
        return _unopened(disk, tree, damage)
    try:
        log = directory.open_log(TOPIC, 0, specimen.config, now_ms=NOW_MS)
    except StorageError:
        return _unopened(disk, tree, damage)
    outcome = _examine_opened(specimen, damage, log)
    _expect(damage, outcome is Outcome.HARMLESS or kind_of(damage.path) not in DERIVED, f"{outcome}, and is derived")
    if log.offline:
        changed = {path for path in disk.changed_since(tree) - OPENING if not path.endswith(REBUILT)}
        _expect(damage, not changed, f"quarantined, and yet changed: {changed}")
    else:
        outside = {path for path in disk.changed_since(tree) if not path.startswith(HOME)} - OPENING
        _expect(damage, not outside, f"changed outside of its partition: {outside}")
        _live_on(specimen, damage, disk, log)
    return outcome


def _unopened(disk: FlatDisk, tree: Tree, damage: Damage) -> Outcome:
    changed = disk.changed_since(tree) - OPENING
    _expect(damage, not changed, f"not opened, and yet changed: {changed}")
    _expect(damage, kind_of(damage.path) not in DERIVED, "not opened for the sake of what is derived")
    return Outcome.UNOPENED


def _examine_opened(specimen: Specimen, damage: Damage, log: Log) -> Outcome:
    end = log.end_offset
    if log.offline:
        outcome = Outcome.QUARANTINED
    elif end < specimen.end_offset and _is_as_if_unwritten(specimen, damage):
        outcome = Outcome.CUT
    elif end < specimen.end_offset:
        _expect(damage, end >= specimen.mark, f"ends at {end}, durable mark {specimen.mark}")
        _expect(damage, specimen.stop is Stop.BEHIND, "cut after a stop that left nothing to cut")
        _expect(damage, log.recovered.truncated_bytes > 0, "cut silently")
        _expect(damage, log.leader_epoch > specimen.leader_epoch, "cut, and the leader epoch is the old one")
        outcome = Outcome.CUT
    else:
        _expect(damage, end == specimen.end_offset, f"ends at {end} instead of {specimen.end_offset}")
        outcome = Outcome.HARMLESS
    _expect(damage, log.start_offset == 0 or log.offline, f"begins at {log.start_offset}")
    _expect(damage, log.leader_epoch >= specimen.leader_epoch or log.offline, "the leader epoch went back")
    found = _read_each(specimen, damage, log, reversed(specimen.batches))
    found |= _find_times(specimen, damage, log)
    if not log.offline and kind_of(damage.path) in SCRUBBED:
        _expect(damage, _scrub(log) == found, f"readers found {found}, the scrubber {not found}")
    if not log.offline:
        _expect(damage, producers_of(log) == specimen.producers_at(end), "other producers than its batches'")
    return Outcome.FOUND if found and outcome is Outcome.HARMLESS else outcome


def _is_as_if_unwritten(specimen: Specimen, damage: Damage) -> bool:
    """Whether what is missing is whole batches above the durable mark, at the end of a file: nobody can tell that."""
    if specimen.stop is not Stop.BEHIND or kind_of(damage.path) != "*.log":
        return False
    left = damage.data or b""
    ends = [batch.header.next_offset for batch in specimen.batches if left.endswith(batch.data)]
    end = ends[-1] if left and ends else int(damage.path[len(HOME) :].removesuffix(".log"))
    return specimen.tree[damage.path].startswith(left) and bool(ends or not left) and end >= specimen.mark


def _read_each(specimen: Specimen, damage: Damage, log: Log, batches: Iterable[Batch]) -> bool:
    """Read each batch by its last offset; whether there was an error."""
    end, found = log.end_offset, False
    for batch in batches:
        offset = batch.header.last_offset
        if offset >= end:
            continue
        try:
            fetched = log.read(offset, size_max=1, up_to=end, at_least_one=True)
        except OffsetOutOfRange:
            _expect(damage, log.offline, f"offset {offset} is called out of range")
            found = True
        except (CorruptLog, DiskFailed):
            found = True
        else:
            _expect(damage, bytes(fetched.records) == batch.data, f"offset {offset}: other bytes than were written")
            _expect(damage, fetched.base_offset == batch.offset, f"offset {offset}: begins at {fetched.base_offset}")
            _expect(
                damage, fetched.next_offset == batch.header.next_offset, f"offset {offset}: to {fetched.next_offset}"
            )
    return found


def _find_times(specimen: Specimen, damage: Damage, log: Log) -> bool:
    """Look for records by time; whether there was an error."""
    up_to, found = min(log.end_offset, specimen.end_offset), False
    for timestamp in specimen.probes:
        try:
            answer = log.find_timestamp(timestamp, up_to=up_to)
        except StorageError:
            found = True
            continue
        offset = None if answer is None else answer.offset
        expected = specimen.find_timestamp(timestamp, up_to)
        _expect(damage, offset == expected, f"time {timestamp} is said to be at {offset}, it is at {expected}")
    try:
        newest = log.find_max_timestamp(up_to=up_to)
    except StorageError:
        return True
    expected = specimen.find_timestamp(max((time for time, at in specimen.times if at < up_to), default=0), up_to)
    offset = None if newest is None else newest.offset
    _expect(damage, offset == expected, f"the greatest time is said to be at {offset}, it is at {expected}")
    return found


def _scrub(log: Log) -> bool:
    """Whether the scrubber would find damage."""
    for segment in log.segments:
        inspection = log.inspection_of(segment)
        if inspection is None:
            continue
        try:
            inspection.begin()
            while inspection.step():
                pass
            if inspection.is_sealed and inspection.differs(inspection.result(now_ms=NOW_MS)) is not None:
                return True
        except CorruptLog:
            return True
        finally:
            inspection.close()
    return False


def _live_on(specimen: Specimen, damage: Damage, disk: FlatDisk, log: Log) -> None:
    """Write a batch, die, come back, and read all of it in a row."""
    before = log.end_offset
    batch = memoryview(bytearray(ONE_MORE))
    log.append(batch, check(batch), now_ms=NOW_MS)
    log.write_out()
    flush = log.begin_flush()
    assert flush is not None
    flush.sync()
    log.end_flush(flush)
    disk.kill()
    directory = open_directory(disk)
    if NAME not in directory.logs():
        raise Wrong(f"{damage.path}: {damage.how}: the log is gone after a life")
    try:
        log = directory.open_log(TOPIC, 0, specimen.config, now_ms=NOW_MS)
    except StorageError:
        _expect(damage, kind_of(damage.path) not in DERIVED, "not opened after a life")
        return
    _expect(damage, not log.recovered.truncated_bytes, f"the next start cut, down to {log.end_offset}")
    if log.offline:
        _expect(damage, kind_of(damage.path) not in DERIVED, "quarantined by the next start")
    else:
        _expect(damage, log.end_offset == before + 1, f"the next start ends at {log.end_offset}, not {before + 1}")
    expected = specimen.whole[: specimen.positions[before]] + bytes(batch)
    _read_on(damage, log, expected, before + 1)


def _read_on(damage: Damage, log: Log, expected: bytes, end_offset: int) -> None:
    """Read from the beginning to the end; at an error go on behind that batch."""
    offset, position = log.start_offset if log.offline else 0, 0
    if offset:
        return  # the beginning is gone, and it is offline
    for at, header in walk(expected):
        if at < position:
            continue
        try:
            fetched = log.read(offset, size_max=READ_SIZE, up_to=log.end_offset, at_least_one=True)
        except (CorruptLog, DiskFailed, OffsetOutOfRange):
            _expect(damage, kind_of(damage.path) not in DERIVED, f"offset {offset} cannot be read")
            offset, position = header.next_offset, at + header.size
            continue
        records = bytes(fetched.records)
        _expect(damage, bool(records) or log.offline, f"nothing is served at {offset}")
        _expect(damage, expected.startswith(records, position), f"from {offset} on other bytes than were written")
        offset, position = fetched.next_offset, position + len(records)
        if not records:
            return
    _expect(damage, offset == end_offset, f"read to {offset} instead of {end_offset}")


def _expect(damage: Damage, is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise Wrong(f"{damage.path}: {damage.how}: {otherwise}")
