"""What a log is after a crash. The first half is a seeded world that loses power again and again; see `World`."""

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import a_batch, some_value, with_header
from support.disk import PowerCut, SimulatedDisk, SimulatedFile
from support.indexes import indexes, rebuilt
from support.logs import DiskOfTheDead
from tidelog.protocol.batch import Buffer, check, read_header, walk
from tidelog.protocol.compression import Codec
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import Disk
from tidelog.storage.errors import CorruptLog, DiskFailed, LogOffline, StorageError
from tidelog.storage.leader_epochs import EpochStart
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

PROOF = os.environ.get("TIDELOG_PROOF") == "1"
SEEDS = range(3000 if PROOF else 240)
SMALL = LogConfig(segment_bytes=4096, index_interval_bytes=256, segment_index_bytes=160)
TOPIC_ID = UUID(int=7)
FIRST_LOG = "t-0/00000000000000000000.log"
PRODUCERS = (4000, 4001)
BATCH_SIZE = 270
"""Of the batches of `append`."""


class Lost(AssertionError):
    """The checker found that the log broke its promise."""


@dataclass
class World:
    """A machine with one log, a writer that remembers what it was promised, and a power supply that fails.

    After every power cut, and every one during the recovery from it: what was below the last `end_flush` is there byte
    for byte; what is there beyond is what was appended, without a gap; what a recovered log shows can not be lost by
    the next power cut; the leader epoch grew if anything was cut; and the producers are those of the batches [I-7].
    """

    disk: SimulatedDisk
    rng: random.Random
    batches: list[bytes] = field(default_factory=list)
    """As they must lie in the log, one behind the other from offset 0; staged ones included."""
    durable_end: int = 0
    epoch: int = 0
    created: bool = False
    indexes_survive: bool = True
    """A clean stop leaves nothing to do."""
    cuts: int = 0
    directory: LogDirectory | None = None
    log: Log | None = None

    def live(self, steps: int) -> None:
        """One life: start, work, and most of the time lose power somewhere."""
        if self.rng.random() < 0.9:
            self.disk.crash_at(self.rng.randint(1, 60))
        try:
            self._start()
            for _ in range(steps):
                self._step()
            if self.rng.random() < 0.5:
                self._stop()
        except PowerCut:
            self.cuts += 1
        if self.rng.random() < 0.85:
            self.disk.crash()
        else:
            self.disk.kill()
        self.log = self.directory = None

    def settle(self) -> None:
        """A life without misfortune, in which everything is looked at; and then one more, and it is the same."""
        for _ in range(2):
            self._start()
            self._look_everywhere()
            self.disk.crash()
        self._start()
        end_offset = self._log.end_offset
        self._append(3)
        self._stop()
        self.disk.crash()
        self._start()
        if self._log.end_offset <= end_offset or (self.indexes_survive and not self._log.recovered.is_clean):
            raise Lost(f"a clean stop left {self._log.recovered}")
        self._look_everywhere()
        self._log.close()
        if self.indexes_survive and indexes(self.disk) != rebuilt(self.disk, interval_bytes=SMALL.index_interval_bytes):
            raise Lost("the indexes are not those of the batches")

    @property
    def _log(self) -> Log:
        assert self.log is not None
        return self.log

    def _start(self) -> None:
        self.directory = LogDirectory.open(self.disk, cluster_id=lambda: "c" * 22, now_ms=0)
        there = [name.topic for name in self.directory.logs()]
        if self.directory.damaged or (self.created and there != ["t"]):
            raise Lost(f"the log is gone: {there} {self.directory.damaged}")
        if there:
            self.log = self.directory.open_log("t", 0, SMALL, now_ms=0)
        else:
            self.log = self.directory.create_log("t", 0, TOPIC_ID, SMALL, now_ms=0)
        self.created = True
        self._check()

    def _check(self) -> None:
        """The log was opened just now."""
        log = self._log
        if log.recovered.quarantined is not None:
            raise Lost(f"quarantined: {log.recovered.quarantined}")
        if log.end_offset < self.durable_end:
            raise Lost(f"ends at {log.end_offset}, was durable up to {self.durable_end}")
        if log.leader_epoch < self.epoch or (log.recovered.truncated_bytes and log.leader_epoch == self.epoch):
            raise Lost(f"the leader epoch went from {self.epoch} to {log.leader_epoch}, {log.recovered}")
        self.epoch = log.leader_epoch
        found = read_all(log)
        expected = b"".join(self.batches)
        if found != expected[: len(found)]:
            raise Lost("what is there is not what was appended")
        kept = [batch for batch in self.batches if read_header(batch).next_offset <= log.end_offset]
        if b"".join(kept) != found:
            raise Lost(f"the log ends at {log.end_offset}, its bytes elsewhere")
        self.batches = kept
        # From here on consumers may see all of it.
        self.durable_end = log.recovery_point
        if log.recovery_point != log.end_offset:
            raise Lost("what was recovered is not durable")
        if {number: producer_in(log, number) for number in PRODUCERS} != self._producers():
            raise Lost("the producers are not those of the batches that are left")

    def _producers(self) -> dict[int, tuple[int, list[tuple[int, int]]] | None]:
        """Epoch and last five batches (base offset, base sequence) of each, as the batches tell (I-1)."""
        found: dict[int, tuple[int, list[tuple[int, int]]] | None] = dict.fromkeys(PRODUCERS)
        for header in map(read_header, self.batches):
            if header.producer_id < 0:
                continue
            known = found[header.producer_id]
            earlier = known[1] if known is not None and known[0] == header.producer_epoch else []
            found[header.producer_id] = (
                header.producer_epoch,
                [*earlier, (header.base_offset, header.base_sequence)][-5:],
            )
        return found

    def _stamp(self) -> dict[str, int]:
        """Producer id, epoch and sequence for the next batch."""
        number = self.rng.choice((-1, *PRODUCERS))
        if number < 0:
            return {}
        known = producer_in(self._log, number)
        if known is None or self.rng.random() < 0.05:
            epoch = 0 if known is None else known[0] + 1
            return {"producer_id": number, "producer_epoch": epoch, "base_sequence": 0}
        state = self._log.producers.get(number)
        assert state is not None
        sequence = state.batches[-1].last_sequence + 1
        return {"producer_id": number, "producer_epoch": known[0], "base_sequence": sequence}

    def _step(self) -> None:
        log, dice = self._log, self.rng.random()
        if dice < 0.5:
            self._append(self.rng.randint(1, 5))
        elif dice < 0.6:
            log.write_out()
        elif dice < 0.9:
            log.write_out()
            self._flush()
        elif dice < 0.95:
            if self.rng.random() < 0.5:
                log.checkpoint()
                log.write_out()
                self._flush()
            log.write_mark()
        else:
            self._stop()
            self._start()

    def _append(self, count: int) -> None:
        log = self._log
        for _ in range(count):
            values = [some_value(n, self.rng.randint(1, 300)) for n in range(self.rng.randint(1, 4))]
            codec = self.rng.choice((Codec.NONE, Codec.NONE, Codec.ZSTD))
            time = 1000 + self.rng.randint(0, 500)
            batch = memoryview(with_header(a_batch(values, codec=codec, base_timestamp=time), **self._stamp()))
            header = check(batch)
            # Remembered first: if the power goes while a segment is rolled, the batches before are written or not.
            base_offset = log.append(batch, header, now_ms=0)
            assert base_offset == sum(read_header(one).record_count for one in self.batches)
            self.batches.append(bytes(batch))

    def _flush(self) -> None:
        log = self._log
        flush = log.begin_flush()
        if flush is None:
            return
        if self.rng.random() < 0.3:
            self._append(2)  # while the disk is busy
            log.write_out()
        flush.sync()
        log.end_flush(flush)
        self.durable_end = flush.end_offset

    def _stop(self) -> None:
        assert self.directory is not None
        self._log.close()
        self.durable_end = self._log.end_offset
        self.directory.close()

    def _look_everywhere(self) -> None:
        log = self._log
        for _ in range(20):
            if log.end_offset == 0:
                return
            offset = self.rng.randrange(log.end_offset)
            size_max = self.rng.choice((1, 500, 3000, 100_000))
            fetched = log.read(offset, size_max=size_max, up_to=log.end_offset, at_least_one=True)
            if not fetched.base_offset <= offset < fetched.next_offset:
                raise Lost(f"asked for {offset}, got {fetched.base_offset} to {fetched.next_offset}")
            between = [one for one in self.batches if fetched.base_offset <= read_header(one).base_offset]
            if bytes(fetched.records) != b"".join(between)[: len(fetched.records)]:
                raise Lost(f"reading from {offset} gave other bytes")


def producer_in(log: Log, number: int) -> tuple[int, list[tuple[int, int]]] | None:
    """Epoch and batches (base offset, base sequence) that the log remembers of a producer."""
    producer = log.producers.get(number)
    if producer is None:
        return None
    return producer.epoch, [(batch.first_offset, batch.first_sequence) for batch in producer.batches]


def read_all(log: Log, *, size_max: int = 1500) -> bytes:
    """Everything up to the end, as a consumer gets it; fails if the offsets have a gap."""
    found, offset = bytearray(), log.start_offset
    while offset < log.end_offset:
        fetched = log.read(offset, size_max=size_max, up_to=log.end_offset, at_least_one=True)
        for _, header in walk(fetched.records):
            assert header.base_offset == offset, "a gap"
            offset = header.next_offset
        assert offset == fetched.next_offset
        found += fetched.records
    return bytes(found)


def run_world(seed: int, *, ignores: Iterable[tuple[str, str]] = (), lives: int = 8) -> World:
    world = World(SimulatedDisk(seed, ignores=ignores), random.Random(seed), indexes_survive=not ignores)
    for _ in range(lives):
        world.live(steps=25)
    world.settle()
    return world


@pytest.mark.parametrize("first", range(0, len(SEEDS), 20))
def test_what_was_flushed_survives_any_number_of_power_cuts(first: int) -> None:
    """L-9, L-10, A1."""
    cuts = sum(run_world(seed).cuts for seed in SEEDS[first : first + 20])
    assert cuts > 60, "the power must fail in the middle of things for this to prove anything"


FORGOTTEN = [
    ("sync", ".log"),
    ("sync", "durable-mark"),
    ("sync", "partition.metadata"),
    ("sync", "meta.properties.tmp"),
    ("sync_directory", "t-0"),
    ("sync_directory", "t-0-create"),
    ("sync_directory", ""),
]


@pytest.mark.parametrize("forgotten", FORGOTTEN, ids="-".join)
def test_a_forgotten_sync_is_caught_by_the_same_checker(forgotten: tuple[str, str]) -> None:
    """The mutation gate of A1: were the call missing, the test above would fail."""

    def is_caught(seed: int) -> bool:
        try:
            run_world(seed, ignores=[forgotten])
        except (Lost, StorageError):
            return True
        return False

    assert any(is_caught(seed) for seed in range(200))


def test_indexes_are_a_cache_that_may_be_lost_at_any_time() -> None:
    """L-9: were they never synced, nobody would notice but by the time that building them again takes."""
    for seed in range(60):
        run_world(seed, ignores=[("sync", "index"), ("sync", "index.tmp")])


@pytest.mark.parametrize("seed", range(20))
def test_a_process_that_dies_loses_nothing_that_it_wrote(seed: int, tmp_path: Path) -> None:
    """House rule 1.6, on a real disk: the page cache survives `kill -9`, flushed or not."""
    rng = random.Random(seed)
    disk = DiskOfTheDead(str(tmp_path))
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, TOPIC_ID, SMALL, now_ms=0)
    written = b""
    for _ in range(6):
        for _ in range(rng.randint(0, 30)):
            batch = memoryview(a_batch([some_value(0, rng.randint(0, 400))]))
            log.append(batch, check(batch), now_ms=0)
            log.write_out()
            written += bytes(batch)
            flush = log.begin_flush() if rng.random() < 0.3 else None
            if flush is not None:
                flush.sync()
                log.end_flush(flush)
        batch = memoryview(a_batch([b"staged and never written"]))
        log.append(batch, check(batch), now_ms=0)
        directory.release()
        log = reopened(disk)  # nobody closed the last one; its descriptors are not used any more
        assert read_all(log) == written
        assert log.recovery_point == log.end_offset
        directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    directory.release()
    disk.bury()


# What is done about which damage, one at a time.


def a_disk_with_a_log(batches: int = 36, *, flushed: int | None = None, close: bool = False) -> SimulatedDisk:
    """A log of so many batches of one record, of which so many (all, unless told) lie below the durable mark."""
    disk = SimulatedDisk()
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, TOPIC_ID, SMALL, now_ms=0)
    for number in range(batches):
        append(log, number)
        if flushed is None or number < flushed:
            flush = log.begin_flush()
            assert flush is not None
            flush.sync()
            log.end_flush(flush)
    log.write_mark()
    if close:
        log.close()
        directory.close()
    disk.kill()
    return disk


def append(log: Log, number: int) -> None:
    batch = memoryview(a_batch([some_value(number, 200)], base_timestamp=1000 + number))
    log.append(batch, check(batch), now_ms=0)
    log.write_out()


def reopened(disk: Disk) -> Log:
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.open_log("t", 0, SMALL, now_ms=0)
    directory.release()
    return log


def expected_bytes() -> bytes:
    return read_all(reopened(a_disk_with_a_log()))


def test_a_clean_stop_leaves_nothing_to_do() -> None:
    disk = a_disk_with_a_log(close=True)
    before = disk.tree()
    log = reopened(disk)
    assert log.recovered.is_clean
    assert log.end_offset == log.recovery_point == 36
    assert log.segment_count > 2
    after = disk.tree()
    assert {name for name in before if before[name] != after.get(name)} == {".kafka_cleanshutdown"}


def test_after_an_unclean_stop_what_is_whole_stays_and_becomes_durable() -> None:
    disk = a_disk_with_a_log(flushed=10)
    log = reopened(disk)
    assert log.recovered.truncated_bytes == 0
    assert log.leader_epoch == 0
    assert log.end_offset == log.recovery_point == 36
    disk.crash()
    assert read_all(reopened(disk)) == expected_bytes()


def test_a_torn_tail_above_the_mark_is_cut_and_the_leader_epoch_bumped() -> None:
    """L-9, L-10, L-15."""
    disk = a_disk_with_a_log(flushed=20)
    last = max(name for name in disk.tree() if name.endswith(".log"))
    disk.cut(last, len(disk.tree()[last]) - 1)
    log = reopened(disk)
    assert log.end_offset == log.recovery_point == 35
    assert log.recovered.truncated_bytes > 200
    assert log.leader_epoch == 1
    assert [(one.epoch, one.start_offset) for one in log.leader_epochs.entries] == [(0, 0), (1, 35)]
    append(log, 35)
    assert read_header(read_tail(log)).leader_epoch == 1


def read_tail(log: Log) -> bytes:
    fetched = log.read(log.end_offset - 1, size_max=1, up_to=log.end_offset, at_least_one=True)
    return bytes(fetched.records)


def test_what_follows_a_bad_batch_above_the_mark_is_cut_too_with_its_segments() -> None:
    """L-9: all later segments go."""
    disk = a_disk_with_a_log(flushed=5)
    disk.corrupt(FIRST_LOG, 10 * BATCH_SIZE + 100, b"!")
    assert len([name for name in disk.tree() if name.endswith(".log")]) > 2
    log = reopened(disk)
    assert log.end_offset == 10
    assert log.segment_count == 1
    assert sorted(name for name in disk.tree() if name.endswith(("log", "index"))) == [
        FIRST_LOG.replace(".log", suffix) for suffix in (".index", ".log", ".timeindex")
    ]
    assert expected_bytes().startswith(read_all(log))


def test_damage_below_the_mark_is_quarantined_and_nothing_is_changed() -> None:
    """House rule 1.6, A8: sound records are served, bad ones never, and nobody may append."""
    disk = a_disk_with_a_log()
    marked = max(name for name in disk.tree() if name.endswith(".log"))
    disk.corrupt(marked, 2 * BATCH_SIZE + 100, b"!")
    before = disk.tree()
    log = reopened(disk)
    assert log.offline
    assert log.recovered.quarantined is not None
    assert log.recovered.quarantined.position == 2 * BATCH_SIZE
    assert {name for name, data in disk.tree().items() if before.get(name) != data} <= {".lock"}
    assert log.end_offset == 36
    with pytest.raises(CorruptLog):
        read_all(log)
    found, offset = b"", 0
    while offset < 36:
        try:
            fetched = log.read(offset, size_max=1, up_to=36, at_least_one=True)
        except CorruptLog:
            break
        found, offset = found + bytes(fetched.records), fetched.next_offset
    assert found == expected_bytes()[: len(found)]
    assert offset == int(marked[4:24]) + 2
    batch = memoryview(a_batch())
    with pytest.raises(LogOffline):
        log.append(batch, check(batch), now_ms=0)
    log.close()
    assert reopened(disk).offline, "it stays so until somebody mends it"


def test_a_log_that_ends_below_its_mark_is_quarantined() -> None:
    disk = a_disk_with_a_log()
    last = max(name for name in disk.tree() if name.endswith(".log"))
    disk.cut(last, BATCH_SIZE)
    log = reopened(disk)
    assert log.offline
    with pytest.raises(CorruptLog):
        log.read(35, size_max=1000, up_to=36, at_least_one=True)


def test_without_a_readable_mark_nothing_is_cut() -> None:
    """Unreadable metadata is no reason to delete data."""
    disk = a_disk_with_a_log(flushed=5)
    disk.cut("t-0/durable-mark", 0)
    disk.corrupt(FIRST_LOG, 10 * BATCH_SIZE + 100, b"!")
    assert reopened(disk).offline
    disk = a_disk_with_a_log(flushed=5)
    disk.cut("t-0/durable-mark", 0)
    log = reopened(disk)
    assert not log.offline
    assert read_all(log) == expected_bytes()


def test_an_offline_log_is_looked_at_again_even_after_a_clean_stop() -> None:
    disk = a_disk_with_a_log(close=True)
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.open_log("t", 0, SMALL, now_ms=0)
    append(log, 36)
    flush = log.begin_flush()
    assert flush is not None
    disk.fail_next("sync", path=".log")
    with pytest.raises(DiskFailed):
        flush.sync()
    log.fail_flush(flush)
    log.close()
    directory.close()
    disk.kill()
    log = reopened(disk)
    assert log.recovered.rebuilt_indexes
    assert log.recovery_point == 37


def test_what_a_failed_sync_left_in_the_page_cache_alone_is_written_again() -> None:
    """A5: the kernel believes those pages clean; only writing them makes a later sync mean something."""
    disk = a_disk_with_a_log(batches=5)
    log = reopened(disk)
    append(log, 5)
    flush = log.begin_flush()
    assert flush is not None
    disk.fail_next("sync", path=".log")
    with pytest.raises(DiskFailed):
        flush.sync()
    log.fail_flush(flush)
    disk.kill()
    assert reopened(disk).recovery_point == 6
    disk.crash()
    assert reopened(disk).end_offset == 6


def test_below_the_mark_nothing_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A1: what is durable is not put at risk by a write that the next power cut may tear."""
    disk, written = a_disk_with_a_log(batches=12, flushed=9), []
    write = SimulatedFile.write

    def noted(file: SimulatedFile, position: int, data: Buffer) -> None:
        if file.path == FIRST_LOG:
            written.append((position, len(data)))
        write(file, position, data)

    monkeypatch.setattr(SimulatedFile, "write", noted)
    assert reopened(disk).recovery_point == 12
    assert written == [(9 * BATCH_SIZE, 3 * BATCH_SIZE)]


@pytest.mark.parametrize("damage", [b"", b"0\n2\n0 0\n", b"rubbish"])
def test_lost_leader_epochs_are_read_from_the_batches(damage: bytes) -> None:
    disk = a_disk_with_a_log(flushed=20)
    last = max(name for name in disk.tree() if name.endswith(".log"))
    disk.cut(last, len(disk.tree()[last]) - 1)
    log = reopened(disk)
    append(log, 35)
    log.close()
    epochs = log.leader_epochs.entries
    path = "t-0/leader-epoch-checkpoint"
    if damage:
        disk.cut(path, 0)
        disk.corrupt(path, 0, damage)
    else:
        disk.remove(path)
    disk.kill()
    log = reopened(disk)
    assert log.leader_epochs.entries == [*epochs, EpochStart(2, log.end_offset)]
    disk.kill()
    assert reopened(disk).leader_epochs.entries == log.leader_epochs.entries


def test_an_epoch_in_which_nothing_was_written_outlives_its_file() -> None:
    """L-15: the mark knows of it from the start that began it. Whether it was the last one nobody can tell."""
    disk = a_disk_with_a_log(flushed=20)
    last = max(name for name in disk.tree() if name.endswith(".log"))
    disk.cut(last, len(disk.tree()[last]) - 1)
    assert reopened(disk).leader_epoch == 1
    disk.kill()
    disk.remove("t-0/leader-epoch-checkpoint")
    assert reopened(disk).leader_epoch == 2


def test_an_impossible_leader_epoch_is_damage() -> None:
    """Base offset, length and leader epoch are outside the checksum."""
    disk = a_disk_with_a_log(flushed=5)
    disk.corrupt(FIRST_LOG, 10 * BATCH_SIZE + 12, (77).to_bytes(4, "big"))
    log = reopened(disk)
    assert log.end_offset == 10
    assert log.leader_epoch == 1


@pytest.mark.parametrize("position", range(BATCH_SIZE))
def test_no_flipped_bit_of_a_batch_goes_unnoticed(position: int) -> None:
    """A8: above the mark it is cut, below the mark quarantined; wrong bytes are never served."""
    good = expected_bytes()
    for flushed in (5, None):
        disk = a_disk_with_a_log(batches=12, flushed=flushed)
        path = max(name for name in disk.tree() if name.endswith(".log")) if flushed is None else FIRST_LOG
        first = 0 if flushed is None else 8
        at = first * BATCH_SIZE + position
        disk.corrupt(path, at, bytes([disk.tree()[path][at] ^ (1 << position % 8)]))
        log = reopened(disk)
        if flushed is None:
            assert log.offline
            with pytest.raises(CorruptLog):
                read_all(log)
        else:
            assert log.end_offset == 8
            assert log.recovered.truncated_bytes
            assert good.startswith(read_all(log))


def test_rot_under_a_running_log_is_noticed_by_the_first_reader() -> None:
    """Reads check what this process did not write, so that rot is an error here and not at a client."""
    disk = a_disk_with_a_log(close=True)
    log = reopened(disk)
    disk.corrupt(FIRST_LOG, 3 * BATCH_SIZE + 150, b"!")
    assert log.read(0, size_max=5 * BATCH_SIZE, up_to=36, at_least_one=True).next_offset == 3
    with pytest.raises(CorruptLog) as caught:
        log.read(3, size_max=5 * BATCH_SIZE, up_to=36, at_least_one=True)
    assert caught.value.position == 3 * BATCH_SIZE
    assert log.read(20, size_max=1, up_to=36, at_least_one=True).next_offset == 21


def test_no_flipped_bit_of_an_index_matters() -> None:
    """A8, L-9: an index is compared with the log before it is believed, and built again if they differ."""
    good = expected_bytes()
    files = {name: data for name, data in a_disk_with_a_log(close=True).tree().items() if name.endswith("index")}
    assert sum(map(len, files.values())) > 200
    for name, data in files.items():
        for bit in range(0, 8 * len(data), 1 if PROOF else 5):
            disk = a_disk_with_a_log(close=True)
            disk.corrupt(name, bit // 8, bytes([data[bit // 8] ^ (1 << bit % 8)]))
            log = reopened(disk)
            assert read_all(log, size_max=700) == good
            for number in (0, 3, 17, 35):
                found = log.find_timestamp(1000 + number, up_to=36)
                assert found is not None
                assert found.offset == number
            assert log.find_timestamp(1036, up_to=36) is None
            newest = log.find_max_timestamp(up_to=36)
            assert newest is not None
            assert newest.offset == 35


def test_a_lost_index_is_built_again_byte_for_byte() -> None:
    """L-9."""
    disk = a_disk_with_a_log(close=True)
    before = disk.tree()
    indexes = [name for name in before if name.endswith("index")]
    for name in indexes:
        disk.remove(name)
    log = reopened(disk)
    assert read_all(log) == expected_bytes()
    for number in range(36):
        log.find_timestamp(1000 + number, up_to=36)
    log.close()
    after = disk.tree()
    assert {name: after[name] for name in indexes} == {name: before[name] for name in indexes}


def test_a_truncated_file_of_any_length_is_cut_at_a_batch() -> None:
    good = expected_bytes()
    for size in range(0, 13 * BATCH_SIZE, 1 if PROOF else 37):
        disk = a_disk_with_a_log(batches=13, flushed=0)
        disk.cut(FIRST_LOG, size)
        log = reopened(disk)
        assert log.end_offset == size // BATCH_SIZE
        assert read_all(log) == good[: size - size % BATCH_SIZE]


def test_leftovers_of_an_interrupted_change_are_removed() -> None:
    """L-9."""
    disk = a_disk_with_a_log()
    names = set(disk.tree())
    for name in (
        "00000000000000009999.index",
        "00000000000000009999.timeindex",
        "x.tmp",
        "00000000000000000000.log.deleted",
    ):
        disk.open(f"t-0/{name}", create=True).close()
    log = reopened(disk)
    assert set(disk.tree()) == names
    assert read_all(log) == expected_bytes()


def test_a_segment_that_could_not_be_made_and_is_back_is_none_of_the_log() -> None:
    """L-9: the log went on in the one before; its removal was not yet durable. Nothing is cut for it."""
    disk = a_disk_with_a_log(batches=5)
    disk.open("t-0/00000000000000000003.log", create=True).close()
    log = reopened(disk)
    assert (log.end_offset, log.leader_epoch, log.segment_count) == (5, 0, 1)
    assert not disk.exists("t-0/00000000000000000003.log")


def test_a_log_of_which_no_segment_is_left_cannot_be_opened_and_what_is_left_stays() -> None:
    disk = a_disk_with_a_log()
    for name in disk.tree():
        if name.endswith(".log"):
            disk.remove(name)
    left = disk.tree()
    assert any(name.endswith(".index") for name in left)
    with pytest.raises(CorruptLog, match="no segment"):
        reopened(disk)
    assert disk.tree() == left
