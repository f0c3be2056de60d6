"""Snapshots of producers on the disk: which are kept, which is believed, what a lost or foreign one does [I-7, I-8]."""

import errno
from uuid import UUID

import pytest

from support.builders import a_batch
from support.disk import SimulatedDisk
from tidelog.protocol.batch import check
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import DiskFull, OutOfOrderSequence
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory
from tidelog.storage.producer_snapshots import ProducerSnapshots
from tidelog.storage.producer_state import ProducerState

SMALL = LogConfig(segment_bytes=4096)
PRODUCER = 9


class Place:
    """A data directory with one log, opened again and again."""

    def __init__(self, disk: SimulatedDisk | None = None) -> None:
        self.disk = disk or SimulatedDisk()
        self.directory = self._open_directory()
        self.log = self.directory.create_log("t", 0, UUID(int=7), SMALL, now_ms=0)
        self.sequence = 0

    def _open_directory(self) -> LogDirectory:
        return LogDirectory.open(self.disk, cluster_id=lambda: "c" * 22, now_ms=0)

    def send(self, sequence: int | None = None, *, size: int = 10) -> None:
        """One record of the producer, the next one unless told otherwise."""
        number = self.sequence if sequence is None else sequence
        batch = memoryview(a_batch([b"v" * size], producer_id=PRODUCER, producer_epoch=0, base_sequence=number))
        self.log.append(batch, check(batch), now_ms=0)
        self.log.write_out()
        self.sequence = number + 1

    def flush(self) -> None:
        flush = self.log.begin_flush()
        if flush is not None:
            flush.sync()
            self.log.end_flush(flush)

    def stop(self) -> None:
        self.log.close()
        self.directory.close()

    def kill(self) -> None:
        self.disk.kill()

    def start(self) -> Log:
        self.directory = self._open_directory()
        self.log = self.directory.open_log("t", 0, SMALL, now_ms=0)
        return self.log

    def snapshots(self) -> list[int]:
        return [int(name[:20]) for name in self.disk.list("t-0") if name.endswith(".snapshot")]

    def path(self, offset: int) -> str:
        return f"t-0/{offset:020d}.snapshot"

    def remembered(self) -> list[int]:
        """The offsets of the producer's batches that are known."""
        producer = self.log.producers.get(PRODUCER)
        return [] if producer is None else [batch.first_offset for batch in producer.batches]


def test_a_clean_stop_leaves_a_snapshot_and_the_next_start_reads_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    for _ in range(8):
        place.send()
    place.stop()
    assert place.snapshots() == [8]
    # Nothing is replayed: the only way to the state is the snapshot.
    monkeypatch.setattr(ProducerState, "update", None)
    place.start()
    assert place.remembered() == [3, 4, 5, 6, 7]


def test_a_retry_after_kill_9_is_recognised_from_the_log() -> None:
    place = Place()
    for _ in range(8):
        place.send()
    place.kill()
    place.start()
    assert place.remembered() == [3, 4, 5, 6, 7]
    with pytest.raises(OutOfOrderSequence):
        place.send(9)
    place.send(8)


def test_a_roll_leaves_a_snapshot_from_which_the_replay_begins() -> None:
    place = Place()
    while place.log.segment_count < 3:
        place.send(size=500)
    bases = [segment.base_offset for segment in place.log.segments]
    assert place.snapshots() == bases[1:]
    place.send(size=500)
    place.kill()
    place.start()
    assert place.remembered() == list(range(place.log.end_offset - 5, place.log.end_offset))


def test_snapshots_far_below_the_mark_are_removed() -> None:
    place = Place()
    while place.log.segment_count < 7:
        place.send(size=500)
        place.flush()
    bases = [segment.base_offset for segment in place.log.segments]
    assert place.snapshots() == bases[-2:], "two to begin from, should one of them be damaged"
    place.stop()
    assert len(place.snapshots()) == 2


def test_a_snapshot_above_the_mark_does_not_push_out_those_below() -> None:
    """What is not durable may be cut, and the snapshots of it are void then."""
    place = Place()
    place.send(size=500)
    place.flush()
    while place.log.segment_count < 6:
        place.send(size=500)  # never flushed
    bases = [segment.base_offset for segment in place.log.segments]
    assert place.snapshots() == bases[1:]


@pytest.mark.parametrize("damage", [b"", b"\0" * 10, b"nonsense" * 20])
def test_a_damaged_snapshot_is_passed_over(damage: bytes) -> None:
    place = Place()
    while place.log.segment_count < 3:
        place.send(size=500)
        place.flush()
    place.stop()
    newest = place.snapshots()[-1]
    file = place.disk.open(place.path(newest))
    file.truncate(0)
    file.append([damage])
    file.close()
    place.start()
    assert place.remembered() == list(range(newest - 5, newest))


def test_a_snapshot_that_the_disk_does_not_give_is_passed_over() -> None:
    """It is never the only place of anything; a start must not fail for it."""
    place = Place()
    for _ in range(8):
        place.send()
    place.stop()
    place.disk.fail_next("read", path=".snapshot")
    place.start()
    assert place.remembered() == [3, 4, 5, 6, 7]


def test_a_log_without_snapshots_is_replayed_from_its_start() -> None:
    place = Place()
    while place.log.segment_count < 4:
        place.send(size=500)
    end = place.log.end_offset
    place.stop()
    for offset in place.snapshots():
        place.disk.remove(place.path(offset))
    place.start()
    assert place.remembered() == list(range(end - 5, end))


def test_a_snapshot_of_offsets_that_were_cut_is_gone_for_good() -> None:
    """I-8: else it would come back when the log has grown over these offsets again, with other batches."""
    for seed in range(40):
        place = Place(SimulatedDisk(seed))
        place.send(size=500)
        place.flush()
        while place.log.segment_count < 3:
            place.send(size=500)
        place.disk.crash()
        log = place.start()
        assert all(offset <= log.end_offset for offset in place.snapshots())
        place.sequence = log.end_offset
        place.disk.crash()
        log = place.start()
        assert all(offset <= log.end_offset for offset in place.snapshots())
        assert place.remembered() == list(range(max(0, log.end_offset - 5), log.end_offset))


def test_a_snapshot_is_written_once() -> None:
    """Else one of those that are to be kept would be counted twice, and the other removed."""
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    snapshots = ProducerSnapshots(disk, "t-0")
    for offset in (4, 9):
        snapshot = snapshots.begin(offset, ProducerState())
        assert snapshot is not None
        assert snapshots.begin(offset, ProducerState()) is None, "it is being written"
        snapshot.write()
        snapshots.end(snapshot, mark=9)
        assert snapshots.begin(offset, ProducerState()) is None, "it is there"
    assert snapshots.offsets == ProducerSnapshots.read(disk, "t-0").offsets == [4, 9]


def test_a_full_disk_does_not_stop_the_roll() -> None:
    """A snapshot saves time, nothing else."""
    place = Place()
    place.send(size=500)
    place.disk.fail_next("open", errno.ENOSPC, path=".snapshot.tmp")
    while place.log.segment_count < 2:
        place.send(size=500)
    assert place.snapshots() == []
    place.stop()
    place.start()
    assert place.remembered()[-1] == place.log.end_offset - 1


def test_a_write_that_fails_takes_its_sequence_back() -> None:
    place = Place()
    place.send()
    place.disk.fail_next("append", errno.ENOSPC)
    with pytest.raises(DiskFull):
        place.send()
    assert place.remembered() == [0]
    place.send(1)
    assert place.remembered() == [0, 1]


def test_one_that_could_not_be_written_counts_for_nothing_and_is_tried_again() -> None:
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    snapshots = ProducerSnapshots(disk, "t-0")
    disk.fail_next("append", errno.ENOSPC)
    for attempt in range(2):
        snapshot = snapshots.begin(5, ProducerState())
        assert snapshot is not None
        snapshot.write()
        snapshots.end(snapshot, mark=5)
        assert snapshots.offsets == [5] * attempt
