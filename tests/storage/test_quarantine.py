"""A log that was found damaged in use is looked at from its beginning at every start, until it is sound."""

import errno
import logging

import pytest

from support.builders import a_batch
from support.disk import SimulatedDisk
from support.logs import append, flush, open_directory, open_log
from tidelog.storage.config import LogConfig
from tidelog.storage.durable_mark import DurableMark
from tidelog.storage.errors import CorruptLog, DiskFailed, DiskFull, LogOffline
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory
from tidelog.storage.quarantine import (
    FILE_NAME,
    Durable,
    forget_damage,
    is_noted,
    known_durable,
    note_damage,
    noted_durable,
)

CONFIG = LogConfig(segment_bytes=4096, index_interval_bytes=256, segment_index_bytes=400)
FIRST = "t-0/00000000000000000000.log"
SIZE = len(a_batch())


def start(disk: SimulatedDisk) -> tuple[LogDirectory, Log]:
    directory = open_directory(disk)
    return directory, open_log(directory, CONFIG)


def three_segments(disk: SimulatedDisk) -> Log:
    """Durable and marked to the end, so that recovery would read next to nothing."""
    _, log = start(disk)
    while log.segment_count < 3:
        append(log, a_batch())
    flush(log)
    log.write_mark()
    return log


def damage_of(log: Log, offset: int) -> CorruptLog:
    with pytest.raises(CorruptLog) as caught:
        log.read(offset, size_max=1 << 20, up_to=log.end_offset, at_least_one=True)
    return caught.value


def restarted(disk: SimulatedDisk) -> Log:
    disk.kill()
    return start(disk)[1]


def test_the_note_is_for_people() -> None:
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    assert not is_noted(disk, "t-0")
    note_damage(disk, "t-0", CorruptLog(FIRST, 61, "why", end=122), durable=912)
    assert is_noted(disk, "t-0")
    assert disk.tree() == {
        f"t-0/{FILE_NAME}": b"version: 0\ndurable: 912\nfile: 00000000000000000000.log\nposition: 61\nend: 122\n"
        b"reason: why\n"
    }
    note_damage(disk, "t-0", CorruptLog(FIRST, 61, "why"), durable=912)
    assert noted_durable(disk, "t-0") == 912
    assert b"\nend: unknown\n" in disk.tree()[f"t-0/{FILE_NAME}"]
    forget_damage(disk, "t-0")
    assert not is_noted(disk, "t-0")
    assert noted_durable(disk, "t-0") is None


def test_damage_far_below_the_mark_is_still_known_after_a_restart_until_it_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """House rule 1.6: nothing is cut, nothing is deleted; quarantine ends when the damage does."""
    disk = SimulatedDisk()
    log = three_segments(disk)
    log = restarted(disk)
    sound = disk.tree()[FIRST]
    disk.corrupt(FIRST, 2 * SIZE + 70, b"rot")
    damage = damage_of(log, 2)
    assert (damage.path, damage.position, damage.end) == (FIRST, 2 * SIZE, 3 * SIZE)
    assert log.was_durable(damage)
    log.quarantine(damage)
    assert log.quarantined is damage
    with pytest.raises(LogOffline):
        append(log, a_batch())
    assert len(log.read(0, size_max=2 * SIZE, up_to=log.end_offset, at_least_one=True).records) == 2 * SIZE
    files = disk.tree()
    for _ in range(3):
        log = restarted(disk)
        assert log.quarantined is not None
        assert (log.quarantined.path, log.quarantined.position) == (FIRST, 2 * SIZE)
        assert log.offline
    assert {path: data for path, data in disk.tree().items() if path.startswith("t-0")} == {
        path: data for path, data in files.items() if path.startswith("t-0")
    }
    disk.corrupt(FIRST, 0, sound)
    log = restarted(disk)
    assert log.quarantined is None
    assert not is_noted(disk, "t-0")
    append(log, a_batch())
    assert "sound again" in [record.getMessage() for record in caplog.records][-1]


def test_a_clean_start_does_not_trust_it_either() -> None:
    disk = SimulatedDisk()
    three_segments(disk).close()
    note_damage(disk, "t-0", CorruptLog(FIRST, 61, "why"), durable=912)
    disk.corrupt(FIRST, SIZE + 70, b"rot")
    disk.kill()
    directory, log = start(disk)
    assert not directory.was_clean
    assert log.quarantined is not None
    directory.close()
    disk.kill()
    directory, log = start(disk)
    assert directory.was_clean
    assert log.quarantined is not None


def test_damage_in_what_is_durable_and_not_yet_marked_is_never_cut() -> None:
    """House rule 1.6: found while it ran, it is below the mark for every start to come."""
    disk = SimulatedDisk()
    _, log = start(disk)
    for _ in range(5):
        append(log, a_batch())
    flush(log)
    assert log.mark_is_behind
    damage = CorruptLog(FIRST, 3 * SIZE, "why")
    disk.corrupt(FIRST, 3 * SIZE + 70, b"rot")
    assert log.was_durable(damage)
    log.quarantine(damage)
    log = restarted(disk)
    assert log.quarantined is not None
    assert disk.size(FIRST) == 5 * SIZE


def test_what_is_not_durable_yet_is_no_matter_for_quarantine() -> None:
    """Above the durable end nothing was promised; and an index is made anew."""
    disk = SimulatedDisk()
    _, log = start(disk)
    for _ in range(2):
        append(log, a_batch())
    flush(log)
    append(log, a_batch())
    assert log.was_durable(CorruptLog(FIRST, SIZE, "why"))
    assert not log.was_durable(CorruptLog(FIRST, 2 * SIZE, "why"))
    assert not log.was_durable(CorruptLog(FIRST.replace(".log", ".index"), 0, "why"))
    while log.segment_count == 1:
        append(log, a_batch())
    assert not log.was_durable(CorruptLog(FIRST, SIZE, "why")), "sealed, and about to be synced"
    flush(log)
    assert log.was_durable(CorruptLog(FIRST, 2 * SIZE, "why"))


def test_a_sync_that_is_under_way_when_damage_is_found_answers_for_nothing() -> None:
    """House rule 1.6: neither mark nor note will say that it went well, and the next start goes by them."""
    disk = SimulatedDisk()
    _, log = start(disk)
    for _ in range(2):
        append(log, a_batch())
    flush(log)
    append(log, a_batch())
    began = log.begin_flush()
    assert began is not None
    disk.corrupt(FIRST, 70, b"rot")
    log.quarantine(CorruptLog(FIRST, 0, "why"))
    began.sync()
    with pytest.raises(LogOffline):
        log.end_flush(began)
    assert log.recovery_point == 2 == noted_durable(disk, "t-0")
    with pytest.raises(LogOffline):
        log.begin_flush()
    assert restarted(disk).end_offset == 3, "it is there, and it is sound; nobody was told that it is durable"


@pytest.mark.parametrize(("call", "path"), [("rename", FILE_NAME), ("write", "durable-mark")])
def test_a_quarantine_that_cannot_be_noted_down_holds_all_the_same(call: str, path: str) -> None:
    disk = SimulatedDisk()
    log = three_segments(disk)
    append(log, a_batch())
    flush(log)
    disk.fail_next(call, path=path)
    with pytest.raises(DiskFailed):
        log.quarantine(CorruptLog(FIRST, 0, "why"))
    assert log.offline
    with pytest.raises(LogOffline):
        append(log, a_batch())


def test_only_the_first_damage_is_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    disk = SimulatedDisk()
    log = three_segments(disk)
    first, second = CorruptLog(FIRST, 0, "one"), CorruptLog(FIRST, 61, "two")
    log.quarantine(first)
    log.quarantine(second)
    assert log.quarantined is first
    assert b"reason: one\n" in disk.tree()[f"t-0/{FILE_NAME}"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_nothing_durable_is_cut_though_the_mark_could_not_be_written_when_the_damage_was_found() -> None:
    """House rule 1.6: the note says how far it was durable, where the mark is behind."""
    disk = SimulatedDisk()
    _, log = start(disk)
    for count in (3, 5):
        for _ in range(count):
            append(log, a_batch())
        flush(log)
        if count == 3:
            log.write_mark()
    disk.corrupt(FIRST, 4 * SIZE + 70, b"rot")
    disk.fail_next("open", errno.EMFILE, path="durable-mark")
    log.quarantine(CorruptLog(FIRST, 4 * SIZE, "the checksum does not hold"))
    for _ in range(2):
        log = restarted(disk)
        assert log.quarantined is not None
        assert (log.end_offset, log.recovered.truncated_bytes) == (8, 0)
        assert is_noted(disk, "t-0")


def test_a_note_that_says_nothing_has_nothing_cut() -> None:
    disk = SimulatedDisk()
    _, log = start(disk)
    append(log, a_batch())
    flush(log)
    log.write_mark()
    append(log, a_batch())
    disk.corrupt(FIRST, SIZE + 70, b"rot")
    note_damage(disk, "t-0", CorruptLog(FIRST, 61, "why"), durable=2)
    disk.cut(f"t-0/{FILE_NAME}", 11)
    log = restarted(disk)
    assert log.quarantined is not None
    assert log.recovered.truncated_bytes == 0


def test_a_closed_segment_that_ends_too_early_is_not_passed_over() -> None:
    """Reading on in the next one would skip records without a word, to all but the first reader."""
    disk = SimulatedDisk()
    directory, log = start(disk)
    while log.segment_count < 4:
        append(log, a_batch())
    flush(log)
    log.close()
    directory.close()
    second = log.segments[1].base_offset
    disk.cut(f"t-0/{second:020d}.log", 7 * SIZE)
    log = restarted(disk)
    for _ in range(3):
        fetched = log.read(second, size_max=1 << 20, up_to=log.end_offset, at_least_one=True)
        assert (len(fetched.records), fetched.next_offset) == (7 * SIZE, second + 7)
        assert "ends" in damage_of(log, second + 7).reason


def test_a_bad_index_is_no_damage_of_the_log_when_there_is_no_space_for_a_new_one() -> None:
    disk = SimulatedDisk()
    directory, log = start(disk)
    while log.segment_count < 3:
        append(log, a_batch())
    flush(log)
    log.close()
    directory.close()
    index = FIRST.replace(".log", ".index")
    last_but_one = len(disk.tree()[index]) - 16
    offset = int.from_bytes(disk.tree()[index][last_but_one : last_but_one + 4])
    disk.corrupt(index, last_but_one + 7, bytes([disk.tree()[index][last_but_one + 7] ^ 7]))
    log = restarted(disk)
    disk.full(0)
    for _ in range(2):
        with pytest.raises(DiskFull):
            log.read(offset, size_max=4096, up_to=log.end_offset, at_least_one=True)
    disk.full(None)
    assert log.read(offset, size_max=4096, up_to=log.end_offset, at_least_one=True).base_offset == offset


def test_a_note_without_a_mark_has_nothing_cut() -> None:
    """What was durable by then is known, what has become so since is not."""
    disk = SimulatedDisk()
    _, log = start(disk)
    append(log, a_batch())
    append(log, a_batch())
    flush(log)
    note_damage(disk, "t-0", CorruptLog(FIRST, 61, "why"), durable=1)
    disk.cut("t-0/durable-mark", 0)
    disk.corrupt(FIRST, SIZE + 70, b"rot")
    log = restarted(disk)
    assert log.quarantined is not None
    assert log.recovered.truncated_bytes == 0


@pytest.mark.parametrize("seed", range(30))
def test_a_mark_that_was_lost_is_there_again_for_good(seed: int) -> None:
    """Else the next torn tail would be taken for damage."""
    disk = SimulatedDisk(seed)
    _, log = start(disk)
    append(log, a_batch())
    flush(log)
    disk.kill()
    disk.remove("t-0/durable-mark")
    disk.sync_directory("t-0")
    start(disk)
    disk.crash()
    assert DurableMark.read(disk, "t-0").offset == 1


@pytest.mark.parametrize(("which", "is_marked"), [(0, True), (0, False), (1, True), (1, False), (2, True)])
def test_nothing_that_is_left_of_a_missing_segment_is_removed(which: int, is_marked: bool) -> None:
    """House rule 1.6: its indexes may be all that tells what was there."""
    disk = SimulatedDisk()
    log = three_segments(disk)
    stem = log.segments[which].path.removesuffix(".log")
    disk.kill()
    disk.remove(f"{stem}.log")
    if not is_marked:
        disk.remove("t-0/durable-mark")
    left = {path for path in disk.tree() if path.startswith(stem)}
    assert len(left) >= 2
    for _ in range(2):
        start(disk)
        assert left <= set(disk.tree())
        disk.kill()


@pytest.mark.parametrize("which", [1, 2])
def test_what_is_missing_is_named_by_file_and_place(which: int) -> None:
    """House rule 1.6: a line of the log must tell an operator what to look for."""
    disk = SimulatedDisk()
    log = three_segments(disk)
    [_, second, third] = log.segments
    path, size = second.path, second.size
    disk.kill()
    disk.remove(log.segments[which].path)
    note_damage(disk, "t-0", CorruptLog(FIRST, 0, "why"), durable=0)  # so that all of it is read
    damage = start(disk)[1].recovered.quarantined
    assert damage is not None
    if which == 1:
        expected = (path, 0, f"missing; the next segment begins at {third.base_offset}")
    else:
        mark = log.recovery_point
        reason = f"the log ends at {third.base_offset}, below the durable mark {mark}: what should follow is missing"
        expected = (path, size, reason)
    assert (damage.path, damage.position, damage.reason) == expected


@pytest.mark.parametrize("is_marked", [True, False])
def test_nothing_is_removed_before_all_of_the_log_is_judged(*, is_marked: bool) -> None:
    """House rule 1.6: not even an empty segment that was superseded, if what is damaged comes behind it."""
    disk = SimulatedDisk()
    log = three_segments(disk)
    [_, second, third] = log.segments
    disk.kill()
    superseded = f"t-0/{second.base_offset + 3:020d}"
    for suffix in (".log", ".index"):
        disk.open(superseded + suffix, create=True).close()
    sound = disk.tree()[third.path]
    disk.corrupt(third.path, 70, b"rot")
    if is_marked:
        note_damage(disk, "t-0", CorruptLog(FIRST, 0, "why"), durable=0)  # so that all of it is read
    else:
        disk.remove("t-0/durable-mark")
    left = {path: data for path, data in disk.tree().items() if path.startswith("t-0/")}
    for _ in range(2):
        log = restarted(disk)
        assert log.quarantined is not None
        assert log.quarantined.path == third.path
        for offset in range(third.base_offset):
            assert log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True).base_offset == offset
        assert {path: data for path, data in disk.tree().items() if path.startswith("t-0/")} == left
    disk.corrupt(third.path, 0, sound)
    log = restarted(disk)
    assert log.quarantined is None
    assert not any(path.startswith(superseded) for path in disk.tree())


def unmarked(disk: SimulatedDisk, segments: int = 3) -> tuple[Log, int]:
    """A log that was killed, whose last segment is gone, and whose mark cannot be read; and where it ended."""
    _, log = start(disk)
    while log.segment_count < segments:
        append(log, a_batch())
    for _ in range(3):
        append(log, a_batch())
    flush(log)
    log.write_mark()
    disk.kill()
    disk.remove(log.segments[-1].path)
    disk.cut("t-0/durable-mark", 0)
    return log, log.end_offset


def test_a_last_segment_that_is_gone_with_the_mark_is_known_by_its_indexes() -> None:
    """House rule 1.6: the log went on, and must not be written to as if it had not."""
    disk = SimulatedDisk()
    log, _ = unmarked(disk)
    last = log.segments[-1]
    left = disk.tree()
    for _ in range(2):
        opened = restarted(disk)
        damage = opened.quarantined
        assert damage is not None
        assert damage.path == last.path.replace(".log", ".timeindex")
        assert f"went on to {last.base_offset} or beyond, and ends at {last.base_offset}" in damage.reason
        assert opened.end_offset == last.base_offset
        assert disk.tree() == {**left, ".lock": b""}


def test_so_it_is_by_a_snapshot_and_the_log_is_taken_to_end_there() -> None:
    """Every clean stop leaves one at the log's end."""
    disk = SimulatedDisk()
    log, end_offset = unmarked(disk)
    for path in [path for path in disk.tree() if path.startswith(log.segments[-1].path.removesuffix(".log"))]:
        disk.remove(path)
    disk.open(f"t-0/{end_offset:020d}.snapshot", create=True).close()
    opened = restarted(disk)
    assert opened.quarantined is not None
    assert opened.quarantined.path == f"t-0/{end_offset:020d}.snapshot"
    assert opened.end_offset == end_offset
    assert disk.exists(f"t-0/{end_offset:020d}.snapshot")


def test_so_it_is_by_a_leader_epoch_that_begins_behind_what_is_left() -> None:
    disk = SimulatedDisk()
    log, end_offset = unmarked(disk)
    for path in [path for path in disk.tree() if path.startswith(log.segments[-1].path.removesuffix(".log"))]:
        disk.remove(path)
    log.leader_epochs.assign(1, end_offset)
    opened = restarted(disk)
    assert opened.quarantined is not None
    assert opened.quarantined.path == "t-0/leader-epoch-checkpoint"
    assert opened.end_offset == end_offset


@pytest.mark.parametrize("has_indexes", [True, False])
def test_what_a_crash_left_of_a_segment_is_nothing_if_the_mark_can_be_read(*, has_indexes: bool) -> None:
    """It was never used: where the log ends the mark says."""
    disk = SimulatedDisk()
    log = three_segments(disk)
    disk.kill()
    behind = f"t-0/{log.end_offset:020d}"
    suffixes = (".index", ".timeindex") if has_indexes else (".snapshot",)
    for suffix in suffixes:
        disk.open(behind + suffix, create=True).close()
    opened = restarted(disk)
    assert (opened.quarantined, opened.end_offset) == (None, log.end_offset)


def test_recovery_and_whoever_else_asks_go_by_the_mark_and_by_the_note() -> None:
    """House rule 1.6."""
    disk = SimulatedDisk()
    _, log = start(disk)
    log.close()
    mark = DurableMark.read(disk, "t-0")
    mark.write(5)
    assert known_durable(disk, "t-0", mark, was_closed=False) == Durable(offset=5, cuts_nothing=False)
    note_damage(disk, "t-0", CorruptLog(FIRST, 61, "why"), durable=9)
    assert known_durable(disk, "t-0", mark, was_closed=False) == Durable(offset=9, cuts_nothing=False)
    note_damage(disk, "t-0", CorruptLog(FIRST, 61, "why"), durable=2)
    assert known_durable(disk, "t-0", mark, was_closed=False) == Durable(offset=5, cuts_nothing=False)
    disk.cut(f"t-0/{FILE_NAME}", 11)
    assert known_durable(disk, "t-0", mark, was_closed=False) == Durable(offset=5, cuts_nothing=True)
    forget_damage(disk, "t-0")
    nothing = DurableMark(disk, "t-0")
    assert known_durable(disk, "t-0", nothing, was_closed=False) == Durable(offset=0, cuts_nothing=True)


@pytest.mark.parametrize("at", [7, 26], ids=["base offset", "last offset delta"])
def test_rot_in_a_batch_that_an_index_knows_is_the_logs_and_not_the_indexs(at: int) -> None:
    """A8: else the log would take appends as if nothing had happened."""
    disk = SimulatedDisk()
    log = restarted_clean(disk)
    known = log.segments[0].indexes.offsets.lookup(20)
    assert known is not None
    disk.corrupt(FIRST, known.position + at, bytes([disk.tree()[FIRST][known.position + at] ^ 1]))
    for _ in range(2):
        damage = damage_of(log, known.last_offset)
        assert (damage.path, damage.position) == (FIRST, known.position)
        assert log.was_durable(damage)


def restarted_clean(disk: SimulatedDisk) -> Log:
    """The three segments, of which nothing was read yet."""
    three_segments(disk).close()
    return restarted(disk)
