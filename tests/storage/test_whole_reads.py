"""Starts that read all of a log, and what they make of one that is damaged somewhere in it [A8, A9]."""

from collections.abc import Callable

import pytest

from support.builders import a_batch
from support.disk import SimulatedDisk
from support.logs import append, flush, open_directory, open_log
from tidelog.storage import recovery
from tidelog.storage.config import LogConfig
from tidelog.storage.digests import SUFFIX as DIGEST_SUFFIX
from tidelog.storage.errors import CorruptLog, LogOffline, OffsetOutOfRange
from tidelog.storage.leader_epochs import EpochEnd
from tidelog.storage.log import Log
from tidelog.storage.quarantine import note_damage
from tidelog.storage.segment_indexes import Tally

CONFIG = LogConfig(segment_bytes=4096, index_interval_bytes=256)
SIZE = len(a_batch())
PER_SEGMENT = 4096 // SIZE
POINTS = 4096 // 256
"""No segment's indexes have more entries."""
MARK, EPOCHS = "t-0/durable-mark", "t-0/leader-epoch-checkpoint"


def path_of(base_offset: int, suffix: str = ".log") -> str:
    return f"t-0/{base_offset:020d}{suffix}"


def start(disk: SimulatedDisk) -> Log:
    disk.kill()
    return open_log(open_directory(disk), CONFIG)


def filled(batches: int, *, marked: int) -> SimulatedDisk:
    """A log of so many batches, all of them acknowledged, after a kill; the mark has come to `marked`."""
    disk = SimulatedDisk()
    log = start(disk)
    mark = b""
    for number in range(1, batches + 1):
        append(log, a_batch())
        if number == marked:
            flush(log)
            log.write_mark()
            mark = disk.tree()[MARK]
    flush(log)
    disk.kill()
    disk.corrupt(MARK, 0, mark)  # as if it had not been moved since, not by a roll either
    return disk


def rot(disk: SimulatedDisk, base_offset: int, number: int) -> Callable[[], None]:
    """In the batch of that number in a segment; what takes it back."""
    path, position = path_of(base_offset), number * SIZE + 70
    before = disk.tree()[path][position : position + 1]
    disk.corrupt(path, position, bytes([before[0] ^ 1]))
    return lambda: disk.corrupt(path, position, before)


def offsets_served(log: Log) -> list[int]:
    served = []
    for offset in range(log.end_offset):
        try:
            log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True)
        except CorruptLog:
            continue
        served.append(offset)
    return served


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries of indexes recovery held at once, whenever it added a batch."""
    tallies: list[Tally] = []
    counts: list[int] = []

    class Counted(Tally):
        def __init__(self, interval_bytes: int) -> None:
            super().__init__(interval_bytes)
            tallies.append(self)

        def add(self, position: int, size: int, last_offset: int, timestamp: int) -> None:
            super().add(position, size, last_offset, timestamp)
            counts.append(sum(len(tally.points) for tally in tallies))

    monkeypatch.setattr(recovery, "Tally", Counted)
    return counts


def lose_the_epochs(disk: SimulatedDisk) -> None:
    disk.corrupt(EPOCHS, 0, b"\xff")


def lose_the_mark(disk: SimulatedDisk) -> None:
    disk.remove(MARK)


def lose_the_mark_and_the_beginning(disk: SimulatedDisk) -> None:
    disk.remove(MARK)
    disk.remove(path_of(0))


def leave_a_note(disk: SimulatedDisk) -> None:
    note_damage(disk, "t-0", CorruptLog(path_of(0), 0, "why"), durable=0)


@pytest.mark.parametrize("spoil", [lose_the_epochs, lose_the_mark, lose_the_mark_and_the_beginning, leave_a_note])
def test_memory_holds_what_belongs_to_one_segment(spoil: Callable[[SimulatedDisk], None], held: list[int]) -> None:
    """A9, however long the log is."""
    count = 8 * PER_SEGMENT
    disk = filled(count, marked=count - 1)
    spoil(disk)
    log = start(disk)
    assert len(held) >= count - PER_SEGMENT, "all of it was read"
    assert max(held) <= POINTS
    assert log.end_offset == count


def test_what_the_mark_vouches_for_is_left_as_it_is() -> None:
    disk = filled(3 * PER_SEGMENT, marked=2 * PER_SEGMENT)
    vouched, others = path_of(0, DIGEST_SUFFIX), [path_of(number * PER_SEGMENT, DIGEST_SUFFIX) for number in (1, 2)]
    for path in (vouched, *others):
        disk.open(path, create=True).close()
    lose_the_epochs(disk)
    log = start(disk)
    assert [path in disk.tree() for path in (vouched, *others)] == [True, False, False]
    assert log.recovered.rebuilt_indexes == 2


def test_nothing_is_made_anew_where_the_damage_is_known_beforehand() -> None:
    disk = filled(3 * PER_SEGMENT, marked=3 * PER_SEGMENT)
    disk.corrupt(path_of(PER_SEGMENT, ".index"), 0, b"rot")
    lose_the_mark_and_the_beginning(disk)
    before = disk.tree()[path_of(PER_SEGMENT, ".index")]
    log = start(disk)
    assert log.quarantined is not None
    assert disk.tree()[path_of(PER_SEGMENT, ".index")] == before


def read(log: Log, offset: int) -> int:
    return log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True).base_offset


@pytest.mark.parametrize("has_mark", [True, False])
@pytest.mark.parametrize(("base_offset", "number"), [(0, 2), (2 * PER_SEGMENT, 2)], ids=["first", "last"])
def test_what_was_acknowledged_behind_damage_and_mark_is_served(
    base_offset: int, number: int, *, has_mark: bool
) -> None:
    """Decision 0013: no reader is told that its offset is out of range."""
    count = 2 * PER_SEGMENT + 10
    disk = filled(count, marked=base_offset + number + 3)
    if not has_mark:
        lose_the_mark(disk)
    mend = rot(disk, base_offset, number)
    log = start(disk)
    assert log.quarantined is not None
    assert log.quarantined.position == number * SIZE
    bad = base_offset + number
    assert (log.end_offset, log.recovery_point) == (count, count)
    assert offsets_served(log) == [offset for offset in range(count) if offset != bad]
    mend()
    log = start(disk)
    assert (log.quarantined, log.end_offset, log.leader_epoch) == (None, count, 0)


@pytest.mark.parametrize("has_mark", [True, False])
def test_what_is_shown_behind_damage_is_durable_first(*, has_mark: bool) -> None:
    """Nothing was flushed but what lies before the mark, which the next power cut would otherwise take."""
    disk = SimulatedDisk()
    log = start(disk)
    for number in range(2 * PER_SEGMENT + 10):
        append(log, a_batch())
        if number == PER_SEGMENT // 2:
            flush(log)
            log.write_mark()
    disk.kill()
    if not has_mark:
        lose_the_mark(disk)
    rot(disk, 0, 2)
    shown = offsets_served(start(disk))
    assert shown == [offset for offset in range(2 * PER_SEGMENT + 10) if offset != 2]
    disk.crash()
    assert offsets_served(start(disk)) == shown


def test_behind_the_end_of_a_log_that_was_opened_with_damage_nothing_is_out_of_range() -> None:
    """Where it ended nobody knows: its last batch may be the bad one."""
    disk = filled(20, marked=10)
    rot(disk, 0, 2)
    mend = rot(disk, 0, 19)
    log = start(disk)
    assert log.end_offset == 19
    with pytest.raises(LogOffline, match="from 150 to 225"):
        read(log, 20)
    with pytest.raises(OffsetOutOfRange):
        read(log, -1)
    assert log.read(19, size_max=1, up_to=19, at_least_one=True).records == b""
    mend()
    log = start(disk)
    assert log.quarantined is not None
    assert log.end_offset == 20


def test_a_last_segment_that_is_gone_leaves_the_end_where_the_mark_is() -> None:
    disk = filled(2 * PER_SEGMENT + 10, marked=2 * PER_SEGMENT + 5)
    disk.remove(path_of(2 * PER_SEGMENT))
    rot(disk, 0, 2)
    lose_the_epochs(disk)
    log = start(disk)
    assert log.end_offset == 2 * PER_SEGMENT + 5


def with_two_epochs() -> tuple[SimulatedDisk, Log]:
    """Ten batches of the first, twenty of the second, after a torn tail."""
    disk = filled(11, marked=10)
    disk.cut(path_of(0), 10 * SIZE + 30)
    log = start(disk)
    for _ in range(20):
        append(log, a_batch())
    flush(log)
    log.write_mark()
    assert log.leader_epochs.end_of(0, end_offset=log.end_offset) == EpochEnd(0, 10)
    return disk, log


def test_no_leader_epoch_is_known_if_neither_the_file_nor_all_batches_tell() -> None:
    """Half of the epochs would tell a consumer that records which are there have been taken back."""
    disk, _ = with_two_epochs()
    lose_the_epochs(disk)
    mend = rot(disk, 0, 3)
    log = start(disk)
    assert log.quarantined is not None
    assert (log.leader_epochs.is_known, log.leader_epoch) == (False, -1)
    assert log.leader_epochs.end_of(0, end_offset=log.end_offset) is None
    assert offsets_served(log) == [offset for offset in range(30) if offset != 3]
    mend()
    log = start(disk)
    assert (log.quarantined, log.leader_epoch) == (None, 2)
    assert log.leader_epochs.end_of(0, end_offset=99) == EpochEnd(0, 10)
    assert log.leader_epochs.end_of(1, end_offset=99) == EpochEnd(1, 30)


def test_epochs_that_the_file_tells_are_known_whatever_is_damaged() -> None:
    disk, _ = with_two_epochs()
    rot(disk, 0, 3)
    log = start(disk)
    assert log.quarantined is not None
    assert log.leader_epochs.end_of(0, end_offset=log.end_offset) == EpochEnd(0, 10)


def test_a_segment_is_inspected_though_no_leader_epoch_is_known() -> None:
    disk = filled(3 * PER_SEGMENT, marked=3 * PER_SEGMENT)
    lose_the_epochs(disk)
    rot(disk, 0, 3)
    log = start(disk)
    assert not log.leader_epochs.is_known
    inspection = log.inspection_of(log.segments[1])
    assert inspection is not None
    inspection.begin()
    while inspection.step():
        pass
    inspection.close()
