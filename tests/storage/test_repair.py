"""What is mended, and what is left alone: after a repair every acknowledged record is where it was."""

import random
from collections.abc import Callable
from uuid import UUID

import pytest

from support.builders import BASE_TIMESTAMP
from support.data_directory import BATCHES, CONFIG, RECORDS, id_of, make_directory
from support.disk import PowerCut, SimulatedDisk
from tidelog.protocol.batch import walk
from tidelog.storage.durable_mark import DurableMark
from tidelog.storage.errors import CorruptLog, DirectoryLocked, UnknownFormat
from tidelog.storage.leader_epochs import EpochStart, LeaderEpochs
from tidelog.storage.log import Log
from tidelog.storage.log_directory import CLEAN_SHUTDOWN, LogDirectory
from tidelog.storage.repair import Act, Plan, lock_directory, perform, plan_repairs
from tidelog.storage.salvage import Sound, read_through
from tidelog.storage.survey import Grade, survey_log

LOG = "orders-0"
CALLS_MAX = 400


def a_disk(*, closed: bool = True, seed: int = 0) -> SimulatedDisk:
    disk = SimulatedDisk(seed)
    make_directory(disk, [LOG], closed=closed)
    return disk


def path_of(base_offset: int, suffix: str = ".log") -> str:
    return f"{LOG}/{base_offset:020d}{suffix}"


def nobody_knows(directory: str) -> UUID | None:
    del directory
    return None


def plan(disk: SimulatedDisk, topic_id: Callable[[str], UUID | None] = nobody_knows) -> Plan:
    survey = survey_log(disk, LOG, was_closed=disk.exists(CLEAN_SHUTDOWN))
    return plan_repairs(survey, topic_id=topic_id)


def repair(disk: SimulatedDisk, topic_id: Callable[[str], UUID | None] = nobody_knows) -> list[Act]:
    """Carry out the plan; what was done. Afterwards there is nothing left to do."""
    planned = plan(disk, topic_id)
    assert not planned.beyond
    lock = lock_directory(disk)
    perform(disk, planned.repairs, now_ms=BASE_TIMESTAMP)
    lock.release()
    assert survey_log(disk, LOG, was_closed=disk.exists(CLEAN_SHUTDOWN)).findings == []
    return [one.act for one in planned.repairs]


def opened(disk: SimulatedDisk) -> Log:
    directory = LogDirectory.open(disk, cluster_id=lambda: "another", now_ms=0)
    return directory.open_log("orders", 0, CONFIG, now_ms=0)


def batches_in(log: Log) -> int:
    offset = count = 0
    while offset < log.end_offset:
        fetched = log.read(offset, size_max=1 << 20, up_to=log.end_offset, at_least_one=True)
        count += len(list(walk(fetched.records)))
        offset = fetched.next_offset
    return count


def damage_everything_derived(disk: SimulatedDisk) -> None:
    disk.corrupt(path_of(0, ".index"), 3, b"\x7f")
    disk.remove(path_of(40, ".timeindex"))
    disk.corrupt(path_of(75, ".timeindex"), 3, b"\x7f")
    disk.corrupt(path_of(40, ".digest"), 50, b"rot")
    disk.corrupt(path_of(75, ".snapshot"), 50, b"rot")
    disk.corrupt(f"{LOG}/leader-epoch-checkpoint", 0, b"?")
    for at in (0, 4096):
        disk.corrupt(f"{LOG}/durable-mark", at, b"rot")
    disk.corrupt(f"{LOG}/partition.metadata", 0, b"rot")


def test_a_sound_log_needs_nothing() -> None:
    assert plan(a_disk()) == Plan(repairs=[], beyond=[])


@pytest.mark.parametrize("base_offset", [0, 40, 75])
@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_indexes_are_built_again_byte_for_byte(base_offset: int, suffix: str) -> None:
    """The log has every entry for which its setting asks; here those of the default, which are fewer."""
    disk = a_disk()
    disk.corrupt(path_of(base_offset, suffix), 2, b"rot")
    log_before = disk.tree()[path_of(base_offset)]
    assert repair(disk) == [Act.INDEXES]
    assert disk.tree()[path_of(base_offset)] == log_before
    log = opened(disk)
    assert (log.end_offset, batches_in(log), log.recovered.quarantined) == (BATCHES * RECORDS, BATCHES, None)


def test_a_digest_is_made_again_as_it_was() -> None:
    disk = a_disk()
    before = disk.tree()[path_of(40, ".digest")]
    disk.corrupt(path_of(40, ".digest"), 50, b"rot")
    assert repair(disk) == [Act.DIGEST]
    after = disk.tree()[path_of(40, ".digest")]
    assert after[38:] == before[38:]
    assert int.from_bytes(after[30:38], "big") == BASE_TIMESTAMP


def test_a_snapshot_that_cannot_be_read_is_removed_and_producers_are_known_all_the_same() -> None:
    """I-7."""
    disk = a_disk()
    disk.corrupt(path_of(100, ".snapshot"), 50, b"rot")
    assert repair(disk) == [Act.FORGET]
    producer = opened(disk).producers.get(7)
    assert producer is not None
    assert producer.batches[-1].last_offset == 99


@pytest.mark.parametrize("seed", range(8))
def test_a_snapshot_that_was_removed_does_not_come_back(seed: int) -> None:
    """A1: behind the marker of a clean stop nobody would look at it again."""
    disk = a_disk(seed=seed)
    disk.corrupt(path_of(100, ".snapshot"), 50, b"rot")
    assert repair(disk) == [Act.FORGET]
    disk.crash()
    assert disk.exists(CLEAN_SHUTDOWN)
    assert not disk.exists(path_of(100, ".snapshot"))


@pytest.mark.parametrize("suffix", [".index", ".digest"])
def test_nothing_is_made_from_a_segment_that_has_rotted_since_it_was_looked_at(suffix: str) -> None:
    disk = a_disk()
    disk.corrupt(path_of(40, suffix), 3, b"rot")
    planned = plan(disk)
    assert len(planned.repairs) == 1
    disk.corrupt(path_of(40), 100, b"rot")
    before = files_of_log(disk)
    with pytest.raises(CorruptLog):
        perform(disk, planned.repairs, now_ms=0)
    assert files_of_log(disk) == before


def test_a_log_that_has_rotted_since_it_was_looked_at_is_not_called_mended() -> None:
    disk = a_disk()
    disk.remove(f"{LOG}/leader-epoch-checkpoint")
    planned = plan(disk)
    assert [one.act for one in planned.repairs] == [Act.EPOCHS]
    disk.corrupt(path_of(40), 100, b"rot")
    with pytest.raises(CorruptLog):
        perform(disk, planned.repairs, now_ms=0)


@pytest.mark.parametrize(("latest", "text"), [(0, b"0\n2\n0 0\n1 100\n"), (1, b"0\n2\n0 0\n2 100\n")])
def test_epochs_are_written_as_the_batches_tell_them_and_a_new_one_begins(latest: int, text: bytes) -> None:
    """L-15: one that had begun after a cut, and had no batch yet, is not forgotten: a later one begins."""
    disk = a_disk()
    if latest:
        begun = LeaderEpochs(disk, LOG, [EpochStart(0, 0), EpochStart(latest, 100)])
        DurableMark.read(disk, LOG).write(100, DurableMark.read(disk, LOG).checkpoint, epochs=begun.known)
    disk.remove(f"{LOG}/leader-epoch-checkpoint")
    assert repair(disk) == [Act.EPOCHS]
    assert disk.tree()[f"{LOG}/leader-epoch-checkpoint"] == text
    assert batches_in(opened(disk)) == BATCHES
    assert plan(disk) == Plan(repairs=[], beyond=[])


def test_a_tail_is_cut_as_the_next_start_would_cut_it() -> None:
    """House rule 1.6, L-15."""
    disk = a_disk(closed=False)
    whole = disk.tree()[path_of(75)]
    file = disk.open(path_of(75))
    file.append([whole[:100]])
    file.close()
    assert repair(disk) == [Act.RECOVER]
    assert disk.tree()[path_of(75)] == whole
    log = opened(disk)
    assert (log.leader_epoch, log.end_offset, batches_in(log)) == (1, 100, BATCHES)


def test_a_mark_that_cannot_be_read_is_written_again_where_all_is_sound() -> None:
    disk = a_disk()
    for at in (0, 4096):
        disk.corrupt(f"{LOG}/durable-mark", at, b"rot")
    assert repair(disk) == [Act.RECOVER]
    log = opened(disk)
    assert (log.end_offset, log.recovered.is_clean) == (100, True)


@pytest.mark.parametrize("at", [0, 4096])
def test_half_a_mark_is_made_whole(at: int) -> None:
    disk = a_disk()
    disk.corrupt(f"{LOG}/durable-mark", at + 12, b"rot")
    assert repair(disk) == [Act.RECOVER]
    assert opened(disk).recovered.is_clean


def test_a_topics_id_is_written_only_when_somebody_is_sure_of_it() -> None:
    disk = a_disk()
    before = disk.tree()
    disk.corrupt(f"{LOG}/partition.metadata", 0, b"rot")
    planned = plan(disk)
    assert planned.repairs == []
    assert [finding.path for finding in planned.beyond] == [f"{LOG}/partition.metadata"]
    assert repair(disk, lambda name: id_of(name.rpartition("-")[0])) == [Act.NAME]
    assert disk.tree() == before


def test_everything_that_is_derived_is_mended_at_once_and_every_record_is_there() -> None:
    disk = a_disk()
    damage_everything_derived(disk)
    done = repair(disk, lambda name: id_of(name.rpartition("-")[0]))
    assert done == [Act.NAME, *[Act.INDEXES] * 3, Act.DIGEST, Act.FORGET, Act.EPOCHS, Act.RECOVER]
    assert disk.exists(CLEAN_SHUTDOWN)
    assert batches_in(opened(disk)) == BATCHES


@pytest.mark.parametrize("position", [5, 20, 100, 700])
def test_what_was_acknowledged_and_is_damaged_is_not_touched(position: int) -> None:
    """Nor is anything that would be guessing while it is: epochs, the mark, the tail."""
    disk = a_disk(closed=False)
    disk.corrupt(path_of(40), position, bytes([disk.tree()[path_of(40)][position] ^ 1]))
    disk.remove(f"{LOG}/leader-epoch-checkpoint")
    disk.remove(path_of(0, ".index"))
    planned = plan(disk)
    assert [one.act for one in planned.repairs] == [Act.INDEXES]
    assert {finding.grade for finding in planned.beyond} == {Grade.DAMAGE, Grade.DERIVED}
    before = disk.tree()
    perform(disk, planned.repairs, now_ms=0)
    after = disk.tree()
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert changed == {path_of(0, ".index"), path_of(0, ".timeindex")}
    assert after[path_of(40)] == before[path_of(40)]


def test_it_needs_the_lock_of_a_directory_that_is_ours() -> None:
    disk = a_disk()
    lock = lock_directory(disk)
    with pytest.raises(DirectoryLocked):
        lock_directory(disk)
    lock.release()
    disk.corrupt("meta.properties", disk.tree()["meta.properties"].index(b"format.version=1") + 15, b"2")
    before = disk.tree()
    with pytest.raises(UnknownFormat):
        lock_directory(disk)
    with pytest.raises(UnknownFormat, match="no data directory"):
        lock_directory(SimulatedDisk())
    assert disk.tree() == before


def test_a_tail_above_a_mark_of_which_a_half_is_lost_is_left_to_the_next_start() -> None:
    """The half that is lost may have stood above it."""
    disk = a_disk(closed=False)
    file = disk.open(path_of(75))
    file.append([b"torn"])
    file.close()
    assert [one.act for one in plan(disk).repairs] == [Act.RECOVER]
    [at] = [at for at in (0, 4096) if int.from_bytes(disk.tree()[f"{LOG}/durable-mark"][at : at + 8], "big") == 1]
    disk.corrupt(f"{LOG}/durable-mark", at + 12, b"rot")
    planned = plan(disk)
    assert planned.repairs == []
    assert [finding.grade for finding in planned.beyond] == [Grade.TAIL]


def spoil(disk: SimulatedDisk, rng: random.Random) -> None:
    """Damage of any kind, in any file of the log."""
    path = rng.choice([path for path in disk.tree() if path.startswith(f"{LOG}/")])
    size = disk.size(path)
    what = rng.choice(["flip", "flip", "noise", "zeros", "cut", "append", "remove"])
    if what == "remove":
        disk.remove(path)
    elif what == "append":
        file = disk.open(path)
        file.append([rng.randbytes(rng.randrange(1, 200))])
        file.close()
    elif size and what == "cut":
        disk.cut(path, rng.randrange(size))
    elif size:
        position = rng.randrange(size)
        length = 1 if what == "flip" else rng.randrange(1, 300)
        old = disk.tree()[path][position : position + length]
        new = {"flip": bytes([old[0] ^ 1 << rng.randrange(8)]), "zeros": bytes(len(old))}
        disk.corrupt(path, position, new.get(what, rng.randbytes(len(old))))


def sound_batches(disk: SimulatedDisk) -> set[bytes]:
    """All that can still be found in any segment, its neighbours aside."""
    found = set()
    for path, data in disk.tree().items():
        if path.startswith(f"{LOG}/") and path.endswith(".log"):
            file = disk.open(path)
            for part in read_through(file, int(path[-24:-4])):
                if isinstance(part, Sound):
                    found.add(data[part.position : part.end])
            file.close()
    return found


@pytest.mark.parametrize("seed", range(150))
def test_whatever_is_damaged_a_repair_loses_no_record_that_was_left(seed: int) -> None:
    """A8: and it ends, with files that a start takes or quarantines, never with an error nobody foresaw."""
    rng = random.Random(seed)
    disk = a_disk(closed=rng.random() < 0.5)
    for _ in range(rng.randint(1, 4)):
        spoil(disk, rng)
    before = sound_batches(disk)
    planned = plan(disk, lambda name: id_of(name.rpartition("-")[0]))
    lock = lock_directory(disk)
    perform(disk, planned.repairs, now_ms=0)
    lock.release()
    assert before <= sound_batches(disk)
    left = plan(disk, lambda name: id_of(name.rpartition("-")[0]))
    assert left.repairs == [], "once is enough"
    if not planned.beyond:
        assert batches_in(opened(disk)) == len(before)


def files_of_log(disk: SimulatedDisk) -> dict[str, bytes]:
    return {path: data for path, data in disk.tree().items() if path.startswith(f"{LOG}/")}


def test_wherever_the_power_fails_during_a_repair_no_record_is_lost_and_it_can_be_done_again() -> None:
    """A1."""
    for call in range(1, CALLS_MAX):
        disk = a_disk(seed=call)
        damage_everything_derived(disk)
        disk.sync_directory(LOG)
        planned = plan(disk, lambda name: id_of(name.rpartition("-")[0]))
        before = files_of_log(disk)
        disk.crash_at(call)
        try:
            perform(disk, planned.repairs, now_ms=0)
        except PowerCut:
            disk.crash()
        else:
            break
        if disk.exists(CLEAN_SHUTDOWN) and files_of_log(disk) != before:
            assert not plan(disk).repairs, "half a repair, and the next start would look at nothing"
        survey = survey_log(disk, LOG, was_closed=disk.exists(CLEAN_SHUTDOWN))
        assert sum(segment.batches for segment in survey.segments) == BATCHES
        repair(disk, lambda name: id_of(name.rpartition("-")[0]))
        assert batches_in(opened(disk)) == BATCHES
    else:
        pytest.fail("more calls than anybody thought")
    assert call > 20
