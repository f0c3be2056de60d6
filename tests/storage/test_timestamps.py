"""Records by their time, compared with a list that is searched from the beginning."""

import random
import tracemalloc

import pytest

from crash.rot.damage import flipped
from support.builders import with_header
from support.disk import SimulatedDisk
from support.flat_disk import FlatDisk
from support.logs import append, flush, open_directory, open_log
from tidelog.protocol.batch import BatchHeader, Buffer, check, read_header
from tidelog.protocol.compression import Codec
from tidelog.protocol.records import build_batch
from tidelog.storage.config import LogConfig
from tidelog.storage.log import Log, TimestampOffset
from tidelog.storage.segment import Segment
from tidelog.storage.time_index import ENTRY_SIZE, TimeEntry, TimeIndex
from tidelog.storage.timestamps import find_max_timestamp, find_timestamp

SMALL = LogConfig(segment_bytes=2048, index_interval_bytes=200)


def a_log(config: LogConfig = SMALL) -> Log:
    return open_log(open_directory(SimulatedDisk()), config)


def batch_of(timestamps: list[int], codec: Codec = Codec.NONE) -> bytearray:
    return build_batch([(None, b"v" * 20, (), timestamp) for timestamp in timestamps], codec=codec)


@pytest.mark.parametrize("seed", range(25))
def test_the_first_record_that_is_late_enough_is_found_exactly(seed: int) -> None:
    """L-6: times in any order, compressed or not, over several segments, never at or above the limit."""
    rng = random.Random(seed)
    log, model = a_log(), list[int]()
    spread = rng.choice((0, 3, 60))
    for number in range(150):
        timestamps = [max(-1, 10 * number + rng.randint(-spread, spread)) for _ in range(rng.randint(1, 4))]
        append(log, batch_of(timestamps, rng.choice((Codec.NONE, Codec.GZIP, Codec.ZSTD))))
        model += timestamps
    assert log.segment_count > 3
    for _ in range(150):
        up_to = rng.choice((len(model), rng.randrange(len(model))))
        # The limit is always where a batch begins, as high watermarks are.
        up_to = log.read(up_to, size_max=1, up_to=len(model), at_least_one=True).base_offset
        wanted = rng.randint(-1, 1600)
        expected = next((offset for offset in range(up_to) if model[offset] >= wanted), None)
        found = log.find_timestamp(wanted, up_to=up_to)
        assert found == (None if expected is None else TimestampOffset(model[expected], expected, 0))
        times = [time for time in model[:up_to] if time >= 0]
        newest = log.find_max_timestamp(up_to=up_to)
        if times:
            assert newest == TimestampOffset(max(times), model.index(max(times)), 0)
        else:
            assert newest is None


def test_an_empty_log_has_no_record_of_any_time() -> None:
    log = a_log()
    assert log.find_timestamp(0, up_to=0) is None
    assert log.find_max_timestamp(up_to=0) is None


def test_under_log_append_time_every_record_of_a_batch_has_the_brokers_time() -> None:
    """L-6, B-15."""
    log = a_log(LogConfig(message_timestamp_type="LogAppendTime"))
    append(log, batch_of([5, 6, 7]), now_ms=1000)
    append(log, batch_of([1, 2, 3]), now_ms=2000)
    assert log.find_timestamp(7, up_to=6) == TimestampOffset(1000, 0, 0)
    assert log.find_timestamp(1001, up_to=6) == TimestampOffset(2000, 3, 0)
    assert log.find_max_timestamp(up_to=6) == TimestampOffset(2000, 3, 0)


def test_the_leader_epoch_is_the_records_own() -> None:
    log = a_log()
    append(log, batch_of([10]))
    log.leader_epochs.assign(4, 1)
    append(log, batch_of([20]))
    assert log.find_timestamp(10, up_to=2) == TimestampOffset(10, 0, 0)
    assert log.find_timestamp(11, up_to=2) == TimestampOffset(20, 1, 4)


def test_a_batch_whose_records_lie_is_found_by_its_header() -> None:
    """Its checksum holds, so no broker looked inside; the seek must neither fail nor skip it."""
    log = a_log()
    append(log, batch_of([10]))
    batch = bytearray(build_batch([(None, b"v", (), 20), (None, b"v", (), 21)]))
    batch[61] = 0x7F
    batch = with_header(batch)
    log.append(memoryview(batch), read_header(batch), now_ms=0)
    log.write_out()
    assert log.find_timestamp(15, up_to=3) == TimestampOffset(21, 1, 0)


def test_what_lies_before_the_start_has_no_part_in_it() -> None:
    """L-6: be it the latest of all."""
    log, model = a_log(), [9000, *range(100, 200)]
    for timestamp in model:
        append(log, batch_of([timestamp]))
    start, end = log.segments[1].base_offset, len(model)
    assert log.find_max_timestamp(up_to=end) == TimestampOffset(9000, 0, 0)
    assert find_max_timestamp(log.segments, start_offset=start, up_to=end) == TimestampOffset(199, end - 1, 0)
    assert find_timestamp(log.segments, 9000, start_offset=start, up_to=end) is None


def test_a_batch_that_is_packed_absurdly_well_is_found_by_its_header() -> None:
    """Nobody who asks for a time makes the broker unpack a bomb; below a mebibyte it is none."""
    log = a_log(LogConfig())
    for timestamps, size in (([10, 11], 100_000), ([20, 21], 5 << 20)):
        batch = build_batch([(None, bytes(size), (), timestamp) for timestamp in timestamps], codec=Codec.ZSTD)
        assert len(batch) < 2000
        log.append(memoryview(batch), check(batch), now_ms=0)
    log.write_out()
    assert log.find_timestamp(11, up_to=4) == TimestampOffset(11, 1, 0)
    tracemalloc.start()
    try:
        assert log.find_timestamp(21, up_to=4) == TimestampOffset(21, 2, 0)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()


def test_a_batch_of_very_many_records_is_found_by_its_header() -> None:
    """Nobody who asks for a time makes the broker decode for seconds."""
    log = a_log(LogConfig())
    batch = with_header(build_batch([(None, b"", (), 20)]), record_count=200_001, last_offset_delta=200_000)
    log.append(memoryview(batch), check(batch), now_ms=0)
    log.write_out()
    assert log.find_timestamp(15, up_to=200_001) == TimestampOffset(20, 0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_no_flipped_bit_of_a_time_index_leads_elsewhere(seed: int) -> None:
    """A8: also if it names another batch of the same time, of which there are many, with later ones between them."""
    rng, disk, model = random.Random(seed), FlatDisk(), list[int]()
    log = open_log(open_directory(disk), SMALL)
    time = 0
    while log.segment_count < 2:
        time += rng.choice((0, 0, 0, 1))
        model.append(max(0, time - rng.choice((0, 0, 1, 2))))
        append(log, batch_of(model[-1:]))
    flush(log)
    log.write_mark()
    disk.kill()
    tree = disk.tree()
    path = f"t-0/{0:020d}.timeindex"
    assert len(tree[path]) >= 3 * ENTRY_SIZE
    first_of = {wanted: next(at for at, one in enumerate(model) if one >= wanted) for wanted in set(model)}
    for bit in range(8 * len(tree[path])):
        log = open_log(open_directory(FlatDisk({**tree, path: flipped(tree[path], bit)})), SMALL)
        for up_to in (len(model), len(model) * 2 // 3):
            newest = log.find_max_timestamp(up_to=up_to)
            assert newest is not None
            assert newest.offset == model.index(max(model[:up_to]))
        for wanted, offset in first_of.items():
            found = log.find_timestamp(wanted, up_to=len(model))
            assert found is not None
            assert found.offset == offset, f"bit {bit}, time {wanted}"


@pytest.mark.parametrize(
    "model",
    [
        [10, 5, 5, 5, 5, 5, 5, 5, 10, 30],
        [10, 5, 5, 5, 5, 5, 5, 20, 10, 30],
        [10, 5, 5, 5, 20, 5, 5, 5, 10, 30],
    ],
    ids=["first of its time", "a later time between", "another entry between"],
)
def test_an_entry_that_names_a_later_batch_of_its_time_leads_nowhere_else(model: list[int]) -> None:
    """A8: of the batches 3, 6 and 9 there are entries, if the time grew; the first of them says 0, and then 8."""
    disk = SimulatedDisk()
    directory = open_directory(disk)
    log = open_log(directory, SMALL)
    for time in model:
        append(log, batch_of([time]))
    while log.segment_count < 2:
        append(log, batch_of([5]))
    log.close()
    directory.close()
    disk.kill()
    path = f"t-0/{0:020d}.timeindex"
    assert disk.tree()[path][:ENTRY_SIZE] == TimeIndex.encode(TimeEntry(10, 0), 0)
    disk.corrupt(path, ENTRY_SIZE - 1, b"\x08")
    for wanted in (10, 15, 30):
        log = open_log(open_directory(disk), SMALL)
        expected = next((TimestampOffset(time, at, 0) for at, time in enumerate(model) if time >= wanted), None)
        assert log.find_timestamp(wanted, up_to=10) == expected
        for up_to in (9, 10):
            assert log.find_max_timestamp(up_to=up_to) == TimestampOffset(
                max(model[:up_to]), model.index(max(model[:up_to])), 0
            )
        disk.kill()


def walked(log: Log, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many headers it takes to look for a time that no record has."""
    parsed = list[int]()
    real = Segment._parse  # noqa: SLF001 - where every header goes by

    def counted(segment: Segment, data: Buffer, at: int, position: int) -> BatchHeader:
        parsed.append(position)
        return real(segment, data, at, position)

    with monkeypatch.context() as counting:
        counting.setattr(Segment, "_parse", counted)
        assert log.find_timestamp(1, up_to=log.end_offset) is None
    return len(parsed)


def test_segments_without_any_time_are_walked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a time must not hold up the broker each time."""
    disk = SimulatedDisk()
    log = open_log(open_directory(disk), SMALL)
    while log.segment_count < 4:
        append(log, batch_of([-1]))
    flush(log)
    log.write_mark()
    disk.kill()
    log = open_log(open_directory(disk), SMALL)
    assert walked(log, monkeypatch) > 0
    assert walked(log, monkeypatch) == 0
