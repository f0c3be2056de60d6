"""What a reader of a log is told when the disk does not give its bytes, and what a rotten length costs [A6, A8]."""

import errno
import struct
from uuid import UUID

import pytest

from support.builders import BASE_TIMESTAMP, a_batch, some_value
from support.disk import SimulatedDisk
from tidelog.protocol.batch import check
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import File
from tidelog.storage.errors import CorruptLog, DiskFailed, LogOffline, OutOfDescriptors, OutOfMemory, Unreadable
from tidelog.storage.log import Fetched, Log
from tidelog.storage.log_directory import LogDirectory
from tidelog.storage.segment import WINDOW_SIZE

SETTINGS = LogConfig(segment_bytes=8192, index_interval_bytes=256, segment_index_bytes=400)
VALUE_SIZE = 100
BATCH_SIZE = len(a_batch([some_value(0, VALUE_SIZE)]))
PER_SEGMENT = 8192 // BATCH_SIZE
FIRST = "t-0/00000000000000000000.log"


class CountingDisk(SimulatedDisk):
    """Knows the largest read."""

    def __init__(self) -> None:
        super().__init__()
        self.largest_read = 0

    def check_read(self, path: str, begin: int, end: int) -> None:
        """See `SimulatedDisk`."""
        self.largest_read = max(self.largest_read, end - begin)
        super().check_read(path, begin, end)


def a_log(disk: SimulatedDisk, settings: LogConfig = SETTINGS, *, value_size: int = VALUE_SIZE) -> Log:
    """Two closed segments and a last one, after a clean stop: nothing was read yet."""
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, UUID(int=7), settings, now_ms=0)
    while log.segment_count < 3:
        batch = memoryview(a_batch([some_value(0, value_size)]))
        log.append(batch, check(batch), now_ms=0)
        log.write_out()
    log.close()
    directory.close()
    disk.kill()
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    return directory.open_log("t", 0, settings, now_ms=0)


def read(log: Log, offset: int, *, size_max: int = 1 << 20) -> Fetched:
    """From there to the end."""
    return log.read(offset, size_max=size_max, up_to=log.end_offset, at_least_one=True)


@pytest.mark.parametrize("has_read_before", [False, True])
def test_what_lies_around_unreadable_bytes_is_served_and_who_comes_to_them_hears_which_they_are(
    *, has_read_before: bool
) -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    if has_read_before:
        read(log, 0)
    bad = 20 * BATCH_SIZE + 70
    disk.spoil(FIRST, bad, bad + 10)
    assert read(log, 0).next_offset == 20
    assert read(log, 19).next_offset == 20
    for _ in range(2):
        with pytest.raises(Unreadable) as caught:
            read(log, 20)
        damage = caught.value.damage
        assert (damage.path, damage.position) == (FIRST, bad)
        assert damage.end is not None
        assert damage.end >= bad + 10
        assert str(caught.value) == str(damage)
    assert read(log, 21).next_offset == log.end_offset
    disk.spoil(FIRST, 0, 0)
    assert read(log, 20).next_offset == log.end_offset, "it was the path to the disk"


def test_a_read_that_reaches_into_a_segment_that_cannot_be_read_ends_before_it() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    second = log.segments[1]
    disk.spoil(second.path, 0, second.size)
    assert read(log, 0).next_offset == PER_SEGMENT
    with pytest.raises(Unreadable):
        read(log, PER_SEGMENT)
    assert read(log, second.next_offset).next_offset == log.end_offset


def test_a_closed_segment_whose_file_is_gone_is_damage_from_its_beginning_to_its_end() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    disk.remove(FIRST)
    before = disk.tree()
    for offset in (0, 7):
        with pytest.raises(CorruptLog, match="missing") as caught:
            read(log, offset)
        assert (caught.value.path, caught.value.position, caught.value.end) == (FIRST, 0, PER_SEGMENT * BATCH_SIZE)
        assert log.was_durable(caught.value)
    with pytest.raises(CorruptLog, match="missing"):
        log.find_timestamp(0, up_to=log.end_offset)
    assert disk.tree() == before, "nothing is made anew without it"
    assert read(log, PER_SEGMENT).next_offset == log.end_offset


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        ("open", errno.EACCES, Unreadable),
        ("open", errno.EMFILE, OutOfDescriptors),
        ("read", errno.EIO, Unreadable),
        ("read", errno.ENOMEM, OutOfMemory),
    ],
)
def test_what_says_nothing_of_the_bytes_is_told_apart_and_passes(
    call: str, error: int, expected: type[DiskFailed]
) -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    disk.fail_next(call, error, path=FIRST)
    with pytest.raises(DiskFailed) as caught:
        read(log, 0)
    assert type(caught.value) is expected
    assert read(log, 0).next_offset == log.end_offset


@pytest.mark.parametrize("number", [0, 100])
def test_a_rotten_length_is_found_without_reading_as_much_as_it_says(number: int) -> None:
    """A8: it may say anything up to the segment's end, and each reader would fetch that, on the loop."""
    disk = CountingDisk()
    log = a_log(disk, LogConfig(segment_bytes=1 << 20), value_size=3000)
    size = len(a_batch([some_value(0, 3000)]))
    disk.corrupt(FIRST, number * size + 8, struct.pack(">i", 500_000))
    assert read(log, number + 2).next_offset > number + 2
    if number:
        assert read(log, 0).next_offset == number
    disk.largest_read = 0
    for size_max in (1000, 10_000):
        with pytest.raises(CorruptLog, match="no batch of 500012 bytes") as caught:
            read(log, number, size_max=size_max)
        assert (caught.value.position, caught.value.end) == (number * size, (number + 2) * size)
    with pytest.raises(CorruptLog):
        log.find_timestamp(BASE_TIMESTAMP, up_to=log.end_offset)
    with pytest.raises(CorruptLog):
        read(log, number + 1)  # nobody knows where it begins
    assert disk.largest_read <= WINDOW_SIZE
    assert read(log, number + 50).next_offset > number + 50, "the index still knows what lies behind"


def test_the_index_still_knows_what_lies_behind_a_batch_of_which_nothing_is_left() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    disk.corrupt(FIRST, 20 * BATCH_SIZE, b"\xff" * BATCH_SIZE)
    with pytest.raises(CorruptLog, match="magic"):
        read(log, 20)
    with pytest.raises(CorruptLog, match="magic"):
        log.find_timestamp(BASE_TIMESTAMP, up_to=log.end_offset)
    assert read(log, 0).next_offset == 20
    assert read(log, 24).next_offset == log.end_offset


def test_a_large_batch_is_read_whole_though_its_index_is_wrong() -> None:
    disk = SimulatedDisk()
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.create_log("t", 0, UUID(int=7), SETTINGS, now_ms=0)
    for size in (4000, 100, 4000, 100):
        batch = memoryview(a_batch([some_value(0, size)]))
        log.append(batch, check(batch), now_ms=0)
    log.write_out()
    log.close()
    directory.close()
    index = FIRST.replace(".log", ".index")
    [first, *_] = struct.unpack(">ii", disk.tree()[index][:8])
    disk.corrupt(index, 0, struct.pack(">ii", first, 500))
    disk.kill()
    directory = LogDirectory.open(disk, cluster_id=lambda: "c" * 22, now_ms=0)
    log = directory.open_log("t", 0, SETTINGS, now_ms=0)
    assert read(log, 0, size_max=100).next_offset == 1


def test_a_file_says_from_where_on_it_cannot_be_read() -> None:
    disk = SimulatedDisk()
    file: File = disk.open("x", create=True)
    file.append([b"x" * 1000])
    disk.spoil("x", 600, 700)
    assert file.read(0, 600) == b"x" * 600
    with pytest.raises(Unreadable, match="from 600 to 900"):
        file.read(100, 800)


def test_what_lies_before_the_end_of_a_file_that_was_cut_is_served() -> None:
    disk = SimulatedDisk()
    log = a_log(disk)
    disk.cut(FIRST, 20 * BATCH_SIZE + 100)
    assert read(log, 0).next_offset == 20
    with pytest.raises(CorruptLog, match="the file ends here") as caught:
        read(log, 20)
    assert log.was_durable(caught.value)
    assert read(log, PER_SEGMENT).next_offset == log.end_offset


def test_a_log_whose_last_file_was_removed_goes_offline_with_the_next_mark() -> None:
    """No call fails: what is appended from then on is gone when the file is closed."""
    disk = SimulatedDisk()
    log = a_log(disk)
    batch = memoryview(a_batch())
    log.append(batch, check(batch), now_ms=0)
    log.write_out()
    flush = log.begin_flush()
    assert flush is not None
    flush.sync()
    log.end_flush(flush)
    path = log.segments[-1].path
    disk.remove(path)
    with pytest.raises(DiskFailed, match="removed"):
        log.write_mark()
    with pytest.raises(LogOffline, match=f"{path} was removed"):
        log.append(batch, check(batch), now_ms=0)
    log.write_mark()  # an offline log has none to write
