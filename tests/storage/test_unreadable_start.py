"""A log is opened, and the disk does not give some of its bytes [A6]: they are named, and the rest is there."""

import logging
from uuid import UUID

import pytest

from support import logs
from support.builders import a_batch, some_value
from support.disk import SimulatedDisk
from support.logs import flush
from tidelog.protocol.batch import HEADER_SIZE
from tidelog.storage.config import LogConfig
from tidelog.storage.durable_mark import SLOT_DISTANCE, DurableMark
from tidelog.storage.errors import LogOffline, Unreadable
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

CONFIG = LogConfig(segment_bytes=4096, index_interval_bytes=256)
VALUE_SIZE = 200
BATCH_SIZE = len(a_batch([some_value(0, VALUE_SIZE)]))
PER_SEGMENT = 4096 // BATCH_SIZE
LAST = f"t-0/{2 * PER_SEGMENT:020d}"
COUNT = 2 * PER_SEGMENT + 10
MARKED = COUNT - 4
SECTOR = 10


def opened(disk: SimulatedDisk) -> Log:
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    return directory.open_log("t", 0, CONFIG, now_ms=0)


def append(log: Log, *, producer_id: int = -1) -> None:
    sequence = log.end_offset if producer_id >= 0 else -1
    value = some_value(log.end_offset, VALUE_SIZE)
    batch = a_batch(
        [value], producer_id=producer_id, producer_epoch=-1 if producer_id < 0 else 0, base_sequence=sequence
    )
    logs.append(log, batch)


def killed(*, producer_id: int = -1) -> SimulatedDisk:
    """Two closed segments and a last one; the mark is before the last four batches, though they were acknowledged."""
    disk = SimulatedDisk()
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, UUID(int=7), CONFIG, now_ms=0)
    for number in range(COUNT):
        append(log, producer_id=producer_id)
        if number in (MARKED - 1, COUNT - 1):
            flush(log)
        if number == MARKED - 1:
            log.write_mark()
    disk.kill()
    return disk


def offsets_served(log: Log) -> list[int]:
    """Of each batch that can be read."""
    served = []
    for offset in range(log.end_offset):
        try:
            log.read(offset, size_max=1, up_to=log.end_offset, at_least_one=True)
        except Unreadable:
            continue
        served.append(offset)
    return served


@pytest.mark.parametrize("number", [0, 3, MARKED - 2 * PER_SEGMENT, COUNT - 2 * PER_SEGMENT - 1])
def test_bytes_that_cannot_be_read_quarantine_the_log_and_nothing_is_cut(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Below the mark or above it: what cannot be read was not torn by a power cut, and may be there another time."""
    disk = killed()
    before = disk.tree()
    bad = number * BATCH_SIZE + SECTOR
    disk.spoil(f"{LAST}.log", bad, bad + SECTOR)
    log = opened(disk)
    damage = log.recovered.quarantined
    assert damage is not None
    assert (damage.path, damage.position, damage.end) == (f"{LAST}.log", bad, number * BATCH_SIZE + HEADER_SIZE)
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"{LAST}.log from {bad} to {damage.end}" in line.getMessage()
    with pytest.raises(LogOffline):
        append(log)
    lost = 2 * PER_SEGMENT + number
    assert log.end_offset == max(MARKED, lost)
    assert offsets_served(log)[:lost] == list(range(lost))
    log.close()
    assert {path: data for path, data in disk.tree().items() if path.endswith(".log")} == {
        path: data for path, data in before.items() if path.endswith(".log")
    }
    disk.kill()
    disk.spoil(f"{LAST}.log", 0, 0)
    log = opened(disk)
    assert (log.offline, log.end_offset, offsets_served(log)) == (False, COUNT, list(range(COUNT)))
    append(log)


@pytest.mark.parametrize(
    "name", ["durable-mark", "leader-epoch-checkpoint", f"{20 * '0'}.index", f"{LAST[4:]}.timeindex"]
)
@pytest.mark.parametrize("is_clean", [True, False])
def test_what_can_be_made_again_costs_no_record_if_it_cannot_be_read(name: str, *, is_clean: bool) -> None:
    disk = killed()
    if is_clean:
        log = opened(disk)
        log.close()
        disk.kill()
    disk.spoil(f"t-0/{name}", 0, 1 << 20)
    log = opened(disk)
    assert (log.offline, log.end_offset) == (False, COUNT)
    assert offsets_served(log) == list(range(COUNT))


def test_producers_that_cannot_be_known_quarantine_the_log() -> None:
    disk = killed(producer_id=7)
    for path in [path for path in disk.tree() if path.endswith(".snapshot")]:
        disk.remove(path)
    bad = 3 * BATCH_SIZE + 100
    disk.spoil(f"t-0/{0:020d}.log", bad, bad + SECTOR)
    log = opened(disk)
    assert log.recovered.quarantined is not None
    assert (log.recovered.quarantined.path, log.recovered.quarantined.position) == (f"t-0/{0:020d}.log", bad)
    assert offsets_served(log) == [offset for offset in range(COUNT) if offset != 3]


@pytest.mark.parametrize(("begin", "end"), [(0, 1), (SLOT_DISTANCE, SLOT_DISTANCE + 1), (0, SLOT_DISTANCE + 1)])
def test_a_mark_of_which_something_could_not_be_read_vouches_for_all_that_was_found(begin: int, end: int) -> None:
    """House rule 1.6: what the disk gives again later is no mark any more that would have safe records cut."""
    disk = killed()
    disk.spoil("t-0/durable-mark", begin, end)
    assert opened(disk).end_offset == COUNT
    disk.spoil("t-0/durable-mark", 0, 0)
    disk.crash()
    assert DurableMark.read(disk, "t-0").offset == COUNT
    disk.corrupt(f"{LAST}.log", (COUNT - 2 * PER_SEGMENT - 1) * BATCH_SIZE + 70, b"rot")
    log = opened(disk)
    assert (log.end_offset, log.recovered.truncated_bytes) == (COUNT, 0)
    assert log.offline
