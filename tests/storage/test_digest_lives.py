"""Digests beside the segments of a log that lives, crashes and is recovered: none of them is ever believed wrongly."""

import hashlib
import random
from uuid import UUID

import pytest

from support.builders import a_batch, some_value
from support.disk import SimulatedDisk
from tidelog.protocol.batch import check
from tidelog.storage.config import LogConfig
from tidelog.storage.digests import SUFFIX, read_digest
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory
from tidelog.storage.segment import Segment

SMALL = LogConfig(segment_bytes=2048, index_interval_bytes=256, segment_index_bytes=400)
SIZE = len(a_batch([some_value(0)]))
PER_SEGMENT = 2048 // SIZE


def start(disk: SimulatedDisk) -> Log:
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    if directory.has_log("t", 0):
        return directory.open_log("t", 0, SMALL, now_ms=0)
    return directory.create_log("t", 0, UUID(int=7), SMALL, now_ms=0)


def append(log: Log, number: int = 0) -> None:
    batch = memoryview(a_batch([some_value(number)]))
    log.append(batch, check(batch), now_ms=0)
    log.write_out()


def flush(log: Log) -> None:
    began = log.begin_flush()
    if began is not None:
        began.sync()
        log.end_flush(began)


def give_digest(log: Log, segment: Segment) -> None:
    """As the scrubber does."""
    inspection = log.inspection_of(segment)
    if inspection is None or not inspection.is_sealed:
        return
    inspection.begin()
    while inspection.step():
        pass
    inspection.write(inspection.result(now_ms=1))
    inspection.publish()
    inspection.close()


def check_digests(disk: SimulatedDisk, log: Log) -> int:
    """That each is true of its segment, or says itself that it is of another; how many are true."""
    tree, true = disk.tree(), 0
    for segment in log.segments:
        digest = read_digest(disk, segment.stem + SUFFIX)
        if digest is not None and digest.describes(segment.base_offset, segment.next_offset, segment.size):
            assert digest.sha256 == hashlib.sha256(tree[segment.path]).digest()
            true += 1
    assert not disk.exists(log.segments[-1].stem + SUFFIX), "the last one takes appends"
    return true


@pytest.mark.parametrize("seed", range(60))
def test_no_crash_leaves_a_digest_that_is_not_true(seed: int) -> None:
    """A1: rolls, syncs, checkpoints, digests, power cuts and kills, in any order."""
    rng, disk, found = random.Random(seed), SimulatedDisk(seed), 0
    for _ in range(8):
        log = start(disk)
        found += check_digests(disk, log)
        for _ in range(rng.randrange(60)):
            dice = rng.random()
            if dice < 0.6:
                append(log, rng.randrange(1000))
            elif dice < 0.8:
                flush(log)
            elif dice < 0.9:
                give_digest(log, rng.choice(log.segments))
            elif dice < 0.95:
                log.checkpoint()
            else:
                log.write_mark()
        check_digests(disk, log)
        if rng.random() < 0.3:
            log.close()
        disk.crash() if rng.random() < 0.7 else disk.kill()
    assert found or seed % 7, "most lives have some"


def test_a_segment_that_was_cut_has_no_digest_and_gets_a_true_one() -> None:
    """Even if it becomes as long as it was: what it says then is of other records."""
    for seed in range(30):
        disk = SimulatedDisk(seed)
        log = start(disk)
        for number in range(PER_SEGMENT + 3):
            append(log, number)
        flush(log)
        first = log.segments[0]
        give_digest(log, first)
        disk.sync_directory("t-0")
        assert check_digests(disk, log) == 1
        disk.corrupt(first.path, 5 * SIZE + 70, b"not what any power cut leaves, for it was synced")
        disk.kill()
        log = start(disk)
        assert (log.segment_count, log.end_offset) == (1, 5), "cut, for the mark was never written"
        assert check_digests(disk, log) == 0
        disk.crash()  # the removal was not synced
        log = start(disk)
        for number in range(PER_SEGMENT + 3):
            append(log, 1000 + number)
        assert log.segments[0].size == first.size
        flush(log)
        assert check_digests(disk, log) == 0
        disk.crash()
        log = start(disk)
        assert check_digests(disk, log) == 0
        give_digest(log, log.segments[0])
        assert check_digests(disk, log) == 1


def test_a_digest_goes_with_its_segment() -> None:
    disk = SimulatedDisk()
    log = start(disk)
    for number in range(PER_SEGMENT + 3):
        append(log, number)
    flush(log)
    give_digest(log, log.segments[0])
    assert [path for path in disk.tree() if path.endswith(SUFFIX)]
    log.segments[0].remove()
    assert not [path for path in disk.tree() if path.endswith(SUFFIX)]


def test_what_is_not_synced_yet_gets_no_digest() -> None:
    disk = SimulatedDisk()
    log = start(disk)
    for number in range(PER_SEGMENT + 3):
        append(log, number)
    assert log.inspection_of(log.segments[0]) is None
    assert log.inspection_of(log.segments[1]) is None, "nothing in it is durable"
    flush(log)
    sealed, last = log.inspection_of(log.segments[0]), log.inspection_of(log.segments[1])
    assert sealed is not None
    assert sealed.is_sealed
    assert last is not None
    assert (last.is_sealed, last.end.position) == (False, log.segments[1].size)
