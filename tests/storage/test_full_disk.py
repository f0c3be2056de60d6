"""No space, at each call at which there may be none [A7]: what was acknowledged is there, and the log goes on.

A script writes, rolls, makes durable and closes; at its n-th call on the disk, for every n, the space is gone, for that
call alone or for good. Afterwards the power fails, or only the process dies.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import a_batch, values_of
from support.disk import SimulatedDisk
from tidelog.protocol.batch import read_header
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import RealDisk, failure
from tidelog.storage.errors import DiskFailed, DiskFull, LogExists, StorageError
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

CONFIG = LogConfig(segment_bytes=2048, index_interval_bytes=100, segment_index_bytes=4096)
TOPIC_ID = UUID(int=5)
NOW_MS = 1_750_000_000_000
TAKING_SPACE = frozenset({"append", "write", "open", "make_directory", "rename"})
"""Calls that the operating system may refuse for want of space; a sync may too, which is another matter [A5]."""
PRODUCER = 7
BATCHES = 40


class FullDisk(SimulatedDisk):
    """At one call, or from it on, there is no space."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.full_at: int | None = None
        """Counted in calls that take space."""
        self.stays_full = False
        self.space_calls = 0
        self.refused = 0

    def before(self, call: str, path: str) -> None:
        """See `SimulatedDisk`."""
        super().before(call, path)
        if call not in TAKING_SPACE:
            return
        self.space_calls += 1
        if self.full_at is not None and (
            self.space_calls == self.full_at or (self.stays_full and self.space_calls > self.full_at)
        ):
            self.refused += 1
            raise failure(path, OSError(errno.ENOSPC, "No space left on device"))


@dataclass
class Script:
    """What is done to one log, as often as it has to be, and what became of it."""

    disk: FullDisk
    written: list[bytes] = field(default_factory=list)
    """By offset."""
    acknowledged: int = 0
    """So many of them are durable."""
    log: Log | None = None
    directory: LogDirectory | None = None

    def run(self) -> None:
        """Each step may fail for want of space; then the next one is taken all the same, as the broker does."""
        steps: list[Callable[[], None]] = [self.open, self.create]
        for number in range(BATCHES):
            steps += [self.append, self.flush] + [self.mark] * (number % 4 == 0)
        steps += [self.close]
        for step in steps:
            try:
                step()
            except DiskFull:  # anything else would be a defect
                if step in (self.open, self.create, self.close):
                    return
                assert self.log is not None
                assert not self.log.offline, "nothing was lost, so nothing is given up"

    def open(self) -> None:
        self.directory = LogDirectory.open(self.disk, cluster_id=lambda: "c", now_ms=NOW_MS)

    def create(self) -> None:
        assert self.directory is not None
        self.log = self.directory.create_log("orders", 0, TOPIC_ID, CONFIG, now_ms=NOW_MS)

    def append(self) -> None:
        """By a producer that numbers its batches: what was refused it sends again."""
        assert self.log is not None
        sequence = len(self.written)
        value = (b"value %d " % sequence).ljust(300, b".")
        batch = a_batch([value], producer_id=PRODUCER, producer_epoch=0, base_sequence=sequence)
        self.log.append(memoryview(batch), read_header(batch), now_ms=NOW_MS)
        self.log.write_out()
        self.written.append(value)

    def flush(self) -> None:
        assert self.log is not None
        flush = self.log.begin_flush()
        if flush is not None:
            flush.sync()
            self.log.end_flush(flush)
            self.acknowledged = len(self.written)

    def mark(self) -> None:
        assert self.log is not None
        self.log.write_mark()

    def close(self) -> None:
        assert self.log is not None
        assert self.directory is not None
        self.log.close()
        self.directory.close()


def records(log: Log) -> list[bytes]:
    """Everything that can be read."""
    found: list[bytes] = []
    offset = log.start_offset
    while offset < log.written_offset:
        fetched = log.read(offset, size_max=1 << 20, up_to=log.written_offset, at_least_one=True)
        found += [value for value in values_of(fetched.records) if value is not None]
        offset = fetched.next_offset
    return found


def reopened(disk: FullDisk) -> Log | None:
    """The log after a restart with space enough; None if it was never made."""
    directory = LogDirectory.open(disk, cluster_id=lambda: "c", now_ms=NOW_MS)
    if not directory.has_log("orders", 0):
        return None
    return directory.open_log("orders", 0, CONFIG, now_ms=NOW_MS)


def calls_of_the_script() -> int:
    disk = FullDisk(0)
    Script(disk).run()
    assert disk.space_calls > 100, "it rolls, and its indexes grow"
    return disk.space_calls


@pytest.mark.parametrize("stays_full", [False, True], ids=["once", "for-good"])
@pytest.mark.parametrize("power_fails", [False, True], ids=["killed", "power-cut"])
def test_no_space_at_any_call_loses_nothing_that_was_acknowledged(stays_full: bool, power_fails: bool) -> None:
    refused = 0
    for call in range(1, calls_of_the_script() + 1):
        disk = FullDisk(call)
        disk.full_at, disk.stays_full = call, stays_full
        script = Script(disk)
        script.run()
        refused += disk.refused
        disk.full_at = None
        disk.crash() if power_fails else disk.kill()
        log = reopened(disk)
        assert log is not None or not script.acknowledged
        if log is None:
            continue
        assert log.quarantined is None, f"call {call}: {log.quarantined}"
        found = records(log)
        assert len(found) >= script.acknowledged, f"call {call}"
        assert found == script.written[: len(found)], f"call {call}"
        script.log, script.written = log, found
        script.append()
        script.flush()
        log.close()
    assert refused > 100


def test_a_log_that_keeps_what_it_could_not_write_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: the proof above would notice."""
    monkeypatch.setattr(Log, "_forget_staged", lambda _: None)
    with pytest.raises((AssertionError, StorageError)):
        test_no_space_at_any_call_loses_nothing_that_was_acknowledged(stays_full=False, power_fails=False)


def test_the_script_goes_on_when_there_is_space_again_as_if_nothing_had_been() -> None:
    """Without a restart: one refused step, and everything else is done."""
    for call in range(30, calls_of_the_script() + 1):
        disk = FullDisk(call)
        disk.full_at = call
        script = Script(disk)
        script.run()
        assert len(script.written) >= BATCHES - 1, f"call {call}: more than one batch was refused"
        disk.full_at = None
        if not disk.exists(".kafka_cleanshutdown"):
            disk.kill()
        log = reopened(disk)
        assert log is not None
        assert records(log) == script.written
        log.close()


def test_a_log_that_could_not_be_made_can_be_made_later() -> None:
    """A7: also when its draft was left half done."""
    for call in range(1, 20):
        disk = FullDisk(call)
        directory = LogDirectory.open(disk, cluster_id=lambda: "c", now_ms=NOW_MS)
        disk.full_at, disk.stays_full, disk.space_calls = call, True, 0
        try:
            directory.create_log("orders", 0, TOPIC_ID, CONFIG, now_ms=NOW_MS)
        except DiskFull:
            disk.full_at = None
            try:
                directory.create_log("orders", 0, TOPIC_ID, CONFIG, now_ms=NOW_MS)
            except LogExists:
                assert [name.topic for name in directory.logs()] == ["orders"]


def test_a_mark_whose_sync_finds_no_space_is_a_failed_sync() -> None:
    """A5: nobody can say that nothing was lost; the log goes offline, and is sound after a restart."""
    disk = FullDisk(1)
    script = Script(disk)
    script.open()
    script.create()
    script.append()
    script.flush()
    disk.fail_next("sync", errno.ENOSPC, path="durable-mark")
    with pytest.raises(DiskFailed):
        script.mark()
    assert script.log is not None
    assert script.log.offline
    disk.crash()
    log = reopened(disk)
    assert log is not None
    assert records(log) == script.written


@pytest.mark.parametrize("ends", ["rolled", "closed"])
def test_bytes_of_a_failed_append_that_could_not_be_cut_off_do_not_outlive_their_segment(
    ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A7: behind a closed segment's last batch nobody could tell that they were never acknowledged."""
    directory = LogDirectory.open(RealDisk(str(tmp_path)), cluster_id=lambda: "c" * 22, now_ms=NOW_MS)
    log = directory.create_log("orders", 0, TOPIC_ID, CONFIG, now_ms=NOW_MS)
    append(log, b"before")
    path = tmp_path / log.segments[0].path

    def half_of_it(descriptor: int, buffers: list[bytes], position: int) -> int:
        os.pwrite(descriptor, bytes(buffers[0])[:20], position)
        raise OSError(errno.ENOSPC, "No space left on device")

    def refused(descriptor: int, size: int) -> None:
        raise OSError(errno.ENOSPC, f"No space left on device: {descriptor}, {size}")

    with monkeypatch.context() as full:
        full.setattr(os, "pwritev", half_of_it)
        full.setattr(os, "ftruncate", refused)
        with pytest.raises(DiskFull):
            append(log, b"lost")
    size = log.segments[0].size
    assert path.stat().st_size == size + 20
    if ends == "rolled":
        append(log, b"y" * (CONFIG.segment_bytes - size))
        assert log.segment_count == 2
    log.close()
    assert path.stat().st_size == size
    directory.close()
    directory = LogDirectory.open(RealDisk(str(tmp_path)), cluster_id=lambda: "c" * 22, now_ms=NOW_MS)
    log = directory.open_log("orders", 0, CONFIG, now_ms=NOW_MS)
    assert log.recovered.is_clean
    log.close()
    directory.close()


def append(log: Log, value: bytes) -> None:
    """One batch of one record."""
    batch = memoryview(a_batch([value]))
    log.append(batch, read_header(batch), now_ms=NOW_MS)
    log.write_out()
