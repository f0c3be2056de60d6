"""Digests beside the segments of a log that lives, crashes and is recovered: none of them is ever believed wrongly."""

import hashlib
import random

import pytest

from support.builders import a_batch, some_value
from support.disk import SimulatedDisk
from support.logs import append, flush, open_directory, open_log
from tidelog.storage.config import LogConfig
from tidelog.storage.digests import SUFFIX, read_digest
from tidelog.storage.log import PLACES_MAX, Log
from tidelog.storage.segment import Segment

SMALL = LogConfig(segment_bytes=2048, index_interval_bytes=256, segment_index_bytes=400)
SIZE = len(a_batch([some_value(0)]))
PER_SEGMENT = 2048 // SIZE


def start(disk: SimulatedDisk) -> Log:
    return open_log(open_directory(disk), SMALL)


def one(number: int = 0) -> bytearray:
    return a_batch([some_value(number)])


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


def test_what_is_not_durable_is_not_inspected() -> None:
    """Its digest would outlive it."""
    log = start(SimulatedDisk())
    assert log.inspection_of(log.segments[0]) is None, "nothing is there"
    for number in range(2 * PER_SEGMENT):
        append(log, one(number))
    sealed, *_, last = log.segments
    assert sealed is not last
    assert [log.inspection_of(segment) for segment in log.segments] == [None] * len(log.segments)
    flush(log)
    assert log.inspection_of(sealed) is not None
    assert log.inspection_of(last) is not None


def test_what_ends_nobody_knows_where_is_not_inspected() -> None:
    disk = SimulatedDisk()
    log = start(disk)
    while log.end_offset < PLACES_MAX + 2 or log.end_offset < log.segments[-1].base_offset + 2:
        append(log, one())
    flush(log)
    append(log, one())
    for offset in range(log.recovery_point - 1):  # until the log no longer remembers where the durable end is
        log.read(offset, size_max=1, up_to=offset + 1, at_least_one=True)
    last = log.segments[-1]
    assert log.inspection_of(last) is not None
    disk.corrupt(last.path, 0, bytes(last.size))
    assert log.inspection_of(last) is None


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
                append(log, one(rng.randrange(1000)))
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
            append(log, one(number))
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
            append(log, one(1000 + number))
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
        append(log, one(number))
    flush(log)
    give_digest(log, log.segments[0])
    assert [path for path in disk.tree() if path.endswith(SUFFIX)]
    log.segments[0].remove()
    assert not [path for path in disk.tree() if path.endswith(SUFFIX)]


def test_what_is_not_synced_yet_gets_no_digest() -> None:
    disk = SimulatedDisk()
    log = start(disk)
    for number in range(PER_SEGMENT + 3):
        append(log, one(number))
    assert log.inspection_of(log.segments[0]) is None
    assert log.inspection_of(log.segments[1]) is None, "nothing in it is durable"
    flush(log)
    sealed, last = log.inspection_of(log.segments[0]), log.inspection_of(log.segments[1])
    assert sealed is not None
    assert sealed.is_sealed
    assert last is not None
    assert (last.is_sealed, last.end.position) == (False, log.segments[1].size)
