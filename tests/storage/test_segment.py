"""One segment: what lies in its files, when it is full, how it is read."""

import pytest

from support.builders import a_batch, batches, some_value
from support.disk import SimulatedDisk
from tidelog.protocol.batch import read_header
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import CorruptLog, DiskFailed, DiskFull
from tidelog.storage.handles import Handles
from tidelog.storage.leader_epochs import EpochStart, LeaderEpochs
from tidelog.storage.offset_index import ENTRY_SIZE, OffsetIndex
from tidelog.storage.segment import Boundary, Room, Segment
from tidelog.storage.segment_indexes import Tally
from tidelog.storage.time_index import TimeEntry

CONFIG = LogConfig(segment_bytes=10_000, segment_ms=1000, index_interval_bytes=256, segment_index_bytes=800)
BASE = 1000


def a_room(disk: SimulatedDisk | None = None, config: LogConfig = CONFIG, *, handles: int = 10) -> Room:
    if disk is None:
        disk = SimulatedDisk()
    if not disk.exists("t-0"):
        disk.make_directory("t-0")
    return Room(disk, "t-0", config, Handles(handles), LeaderEpochs(disk, "t-0", [EpochStart(0, 0)]))


def fill(segment: Segment, count: int, *, records: int = 2, size: int = 50, timestamp: int = 5000) -> bytes:
    """Write so many batches of so many records; all their bytes."""
    written = bytearray()
    offset = segment.next_offset
    for number in range(count):
        batch = a_batch(
            [some_value(n, size) for n in range(records)],
            base_offset=offset,
            leader_epoch=0,
            base_timestamp=timestamp + number,
        )
        offset += records
        segment.stage(memoryview(batch), last_offset=offset - 1, timestamp=read_header(batch).max_timestamp)
        written += batch
    segment.write_out(offset)
    return bytes(written)


def sealed(room: Room, count: int = 30) -> tuple[Segment, bytes]:
    """A segment that lies on the disk, not opened."""
    segment = Segment.create(room, BASE, now_ms=0)
    data = fill(segment, count)
    segment.finish()
    end = segment.next_offset
    segment.close()
    return Segment.load(room, BASE, next_offset=end), data


def test_batches_lie_in_the_file_as_they_were_staged() -> None:
    """L-2, L-3: twenty digits; indexes beside it; nothing before, between or behind the batches."""
    room = a_room()
    segment, data = sealed(room, 8)
    files = room.disk.tree() if isinstance(room.disk, SimulatedDisk) else {}
    stem = "t-0/00000000000000001000"
    assert sorted(files) == [f"{stem}.index", f"{stem}.log", f"{stem}.timeindex"]
    assert files[f"{stem}.log"] == data
    size = len(data) // 8
    assert size == 175
    # An entry once 256 bytes have gone by, here for every second batch: last offset less the base, and position.
    assert files[f"{stem}.index"].hex() == "00000005" + f"{2 * size:08x}" + "00000009" + f"{4 * size:08x}" + (
        "0000000d" + f"{6 * size:08x}"
    )
    # The greatest time so far and its batch's last offset, less the base; and once more when it is closed.
    assert files[f"{stem}.timeindex"].hex() == "".join(
        f"{5000 + number + 1:016x}{2 * number + 1:08x}" for number in (2, 4, 6, 7)
    )
    assert segment.greatest == TimeEntry(5008, BASE + 15)


@pytest.mark.parametrize(
    ("size", "timestamp", "now_ms", "due"),
    [
        (100, 5001, 0, False),
        (10_000 - 175, 5001, 0, False),
        (10_000 - 174, 5001, 0, True),
        (100, 6001, 0, False),
        (100, 6002, 0, True),
        (100, -1, 1000, False),
        (100, -1, 1001, True),
        (100, 1, 999_999, False),
    ],
)
def test_a_segment_is_due_by_size_and_by_the_age_of_its_first_batch(
    size: int, timestamp: int, now_ms: int, due: bool
) -> None:
    """L-4. Without a timestamp the time since it was made counts."""
    segment = Segment.create(a_room(), BASE, now_ms=0)
    assert not segment.is_due(99_999, BASE, 99_999, 99_999), "never while it is empty"
    fill(segment, 1)
    assert segment.is_due(size, BASE + 2, timestamp, now_ms) is due


def test_a_segment_is_due_when_an_index_is_full_or_an_offset_too_far() -> None:
    """L-4."""
    room = a_room(config=LogConfig(index_interval_bytes=0, segment_index_bytes=64))
    segment = Segment.create(room, BASE, now_ms=0)
    fill(segment, 1)
    assert not segment.is_due(100, BASE + (1 << 31) - 1, 5000, 0)
    assert segment.is_due(100, BASE + (1 << 31), 5000, 0)
    fill(segment, 3, timestamp=5010)
    assert not segment.is_due(100, BASE + 50, 5000, 0)
    fill(segment, 1, timestamp=5020)
    assert segment.is_due(100, BASE + 50, 5000, 0)


def test_what_could_not_be_written_is_forgotten() -> None:
    """A6, A7: file, indexes and tally are as they were."""
    disk = SimulatedDisk()
    room = a_room(disk)
    segment = Segment.create(room, BASE, now_ms=0)
    data = fill(segment, 5)
    greatest = segment.greatest
    for error in (DiskFailed, DiskFull):
        disk.fail_next("append") if error is DiskFailed else disk.full(1000)
        with pytest.raises(error):
            fill(segment, 40, timestamp=99_000)
        disk.full(None)
        assert (segment.size, segment.staged_size, segment.next_offset) == (len(data), len(data), BASE + 10)
        assert segment.greatest == greatest
    data += fill(segment, 25)
    segment.finish()
    segment.close()
    reference = a_room()
    fill(other := Segment.create(reference, BASE, now_ms=0), 5)
    fill(other, 25)
    other.finish()
    other.close()
    assert isinstance(reference.disk, SimulatedDisk)
    assert disk.tree() == reference.disk.tree()


def test_any_offset_of_a_batch_leads_to_its_beginning() -> None:
    """L-5."""
    segment, data = sealed(a_room())
    size = len(data) // 30
    for offset in range(BASE, BASE + 60):
        number = (offset - BASE) // 2
        assert segment.locate(offset) == Boundary(number * size, BASE + 2 * number)
    assert segment.locate(BASE - 5) == Boundary(0, BASE)
    assert segment.locate(BASE + 60) == segment.locate(BASE + 99) == Boundary(len(data), BASE + 60)


@pytest.mark.parametrize("checked", [False, True])
def test_a_read_ends_at_a_batch_that_fits(checked: bool) -> None:
    segment, data = sealed(a_room())
    size = len(data) // 30
    end = Boundary(len(data), BASE + 60)
    if checked:
        segment.read(Boundary(0, BASE), end, size_max=1 << 20, at_least_one=False)
    for begin in (0, 1, 7, 29):
        for limit in (begin + 1, begin + 5, 30):
            if limit > 30:
                continue
            for size_max in (1, 60, 61, size - 1, size, size + 1, 3 * size + 61, 5 * size, 99 * size):
                for at_least_one in (False, True):
                    records, stop = segment.read(
                        Boundary(begin * size, BASE + 2 * begin),
                        Boundary(limit * size, BASE + 2 * limit),
                        size_max=size_max,
                        at_least_one=at_least_one,
                    )
                    count = min(limit - begin, max(size_max // size, int(at_least_one)))
                    assert stop == Boundary((begin + count) * size, BASE + 2 * (begin + count))
                    assert bytes(records) == data[begin * size : (begin + count) * size]


def test_what_this_process_wrote_is_not_checked_again_and_what_it_found_is_checked_once() -> None:
    disk = SimulatedDisk()
    room = a_room(disk)
    segment, data = sealed(room)
    size = len(data) // 30
    end = Boundary(len(data), BASE + 60)
    segment.read(Boundary(0, BASE), end, size_max=10 * size, at_least_one=False)
    segment.read(Boundary(10 * size, BASE + 20), end, size_max=5 * size, at_least_one=False)
    disk.corrupt(segment.path, 3 * size + 100, b"!")  # too late to be noticed: that would cost every reader
    assert len(segment.read(Boundary(0, BASE), end, size_max=15 * size, at_least_one=False)[0]) == 15 * size
    disk.corrupt(segment.path, 20 * size + 100, b"!")
    assert len(segment.read(Boundary(15 * size, BASE + 30), end, size_max=9 * size, at_least_one=False)[0]) == 5 * size
    with pytest.raises(CorruptLog):
        segment.read(Boundary(20 * size, BASE + 40), end, size_max=9 * size, at_least_one=False)
    with pytest.raises(CorruptLog):
        segment.batch_at(20 * size)
    assert segment.batch_at(size) == data[size : 2 * size]


def test_a_batch_that_claims_to_reach_beyond_the_end_is_refused_before_it_is_read() -> None:
    disk = SimulatedDisk()
    segment, data = sealed(a_room(disk))
    size = len(data) // 30
    disk.corrupt(segment.path, 29 * size + 8, (2**31 - 1).to_bytes(4, "big"))
    with pytest.raises(CorruptLog, match="reaches beyond the end"):
        segment.read(Boundary(29 * size, BASE + 58), Boundary(len(data), BASE + 60), size_max=1, at_least_one=True)


@pytest.mark.parametrize("at_least_one", [False, True])
def test_a_batch_that_claims_to_reach_beyond_the_limit_is_refused_before_it_is_read(at_least_one: bool) -> None:
    """A8. It is an error for whoever asks for as much as there is, too: nothing at all would look like the end."""
    disk = SimulatedDisk()
    segment, data = sealed(a_room(disk))
    size = len(data) // 30
    disk.corrupt(segment.path, 3 * size + 8, (2 * size).to_bytes(4, "big"))
    begin, limit = Boundary(3 * size, BASE + 6), Boundary(4 * size, BASE + 8)
    with pytest.raises(CorruptLog, match="reaches beyond"):
        segment.read(begin, limit, size_max=1 if at_least_one else 1 << 20, at_least_one=at_least_one)


def test_indexes_that_cannot_be_built_anew_are_not_built_again_for_each_reader(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = SimulatedDisk()
    segment, _ = sealed(a_room(disk))
    disk.corrupt(segment.stem + ".index", 3, b"\x04")  # it was 5
    disk.corrupt(segment.path, 0, bytes(8))
    for _ in range(2):
        with pytest.raises(CorruptLog):
            segment.locate(BASE + 7)
    assert len([one for one in caplog.messages if one.startswith("rebuilding indexes")]) == 1


def test_an_index_that_names_no_place_of_the_file_is_built_again() -> None:
    disk = SimulatedDisk()
    segment, _ = sealed(a_room(disk))
    entries = OffsetIndex.decode(disk.tree()[segment.stem + ".index"], BASE)
    assert len(entries) > 2
    expected = sealed(a_room())[0].locate(entries[1].last_offset)
    disk.corrupt(segment.stem + ".index", ENTRY_SIZE + 4, b"\xff")
    assert segment.locate(entries[1].last_offset) == expected


def test_a_place_within_a_batch_is_not_taken_for_the_beginning_of_one() -> None:
    """Although it looks like one: a value may be a batch."""
    disk, inner = SimulatedDisk(), bytes(a_batch([some_value(0, 50)], base_offset=BASE + 50))
    room = a_room(disk)
    segment, batch = Segment.create(room, BASE, now_ms=0), b""
    for offset in range(BASE, BASE + 10):
        batch = bytes(a_batch([inner * 3], base_offset=offset, leader_epoch=0))
        segment.stage(memoryview(batch), last_offset=offset, timestamp=read_header(batch).max_timestamp)
    segment.write_out(BASE + 10)
    segment.finish()
    segment.close()
    segment = Segment.load(room, BASE, next_offset=BASE + 10)
    begin, limit = Boundary(0, BASE), Boundary(segment.size, BASE + 10)
    segment.read(begin, limit, size_max=1 << 20, at_least_one=True)  # now it is checked
    last = OffsetIndex.decode(disk.tree()[segment.stem + ".index"], BASE)[-1]
    within = last.position + batch.index(inner)
    disk.corrupt(segment.stem + ".index", disk.size(segment.stem + ".index") - 4, within.to_bytes(4, "big"))
    _, end = segment.read(begin, limit, size_max=segment.size - 1, at_least_one=True)
    assert end == Boundary(9 * len(batch), BASE + 9)


def test_what_this_process_wrote_and_is_gone_is_damage() -> None:
    """A8: a file that was cut behind everybody's back."""
    disk = SimulatedDisk()
    segment = Segment.create(a_room(disk), BASE, now_ms=0)
    data = fill(segment, 10)
    disk.cut(segment.path, len(data) - 1)
    limit = Boundary(len(data), BASE + 20)
    _, end = segment.read(Boundary(0, BASE), limit, size_max=1 << 20, at_least_one=True)
    assert end.offset == BASE + 18
    with pytest.raises(CorruptLog, match="the file ends here"):
        segment.read(end, limit, size_max=1 << 20, at_least_one=True)


@pytest.mark.parametrize("last_offset", [BASE - 1, BASE + 58, BASE + 60, BASE + 99])
def test_a_time_that_no_batch_has_is_not_confirmed(last_offset: int) -> None:
    segment, _ = sealed(a_room())
    assert segment.confirms(TimeEntry(5030, BASE + 59))
    assert not segment.confirms(TimeEntry(5030, last_offset))


def test_a_segment_that_takes_appends_again_has_no_digest() -> None:
    """What is written next may have the same offsets and sizes, and other bytes."""
    disk = SimulatedDisk()
    room = a_room(disk)
    segment, data = sealed(room)
    disk.open(segment.stem + ".digest", create=True).close()
    segment.adopt(Tally(256), Boundary(len(data), BASE + 60), active=True, read_from=len(data))
    assert not disk.exists(segment.stem + ".digest")


def test_a_sealed_segment_opens_its_files_when_they_are_wanted_and_gives_them_back() -> None:
    """House rule 1.12."""
    room = a_room(handles=1)
    first, data = sealed(room)
    second = Segment.create(room, BASE + 60, now_ms=0)
    fill(second, 3)
    assert len(room.handles) == 0
    assert first.locate(BASE + 31).position == 15 * len(data) // 30
    assert len(room.handles) == 1
    second.finish()
    second.seal()
    second.unpin()
    assert len(room.handles) == 1, "the first one's files are closed"
    assert first.locate(BASE + 31).position == 15 * len(data) // 30
    assert second.locate(BASE + 61).position == 0
    first.close()
    second.close()
    assert len(room.handles) == 0


@pytest.mark.parametrize("suffix", [".log", ".index"])
def test_files_that_could_not_be_closed_properly_are_opened_again_when_they_are_wanted(suffix: str) -> None:
    disk = SimulatedDisk()
    segment, data = sealed(a_room(disk))
    headers = list(segment.headers(0, checked=True))
    segment.locate(BASE + 31)
    disk.fail_next("close", path=suffix)
    with pytest.raises(DiskFailed):
        segment.evict()
    assert list(segment.headers(0, checked=True)) == headers
    assert segment.locate(BASE + 31).position == 15 * len(data) // 30


def test_a_segment_that_was_closed_can_be_resumed() -> None:
    room = a_room()
    segment = Segment.create(room, BASE, now_ms=0)
    data = fill(segment, 8)
    checkpoint = segment.checkpoint(has_producers=False)
    segment.finish()
    segment.close()
    reopened = Segment.load(room, BASE, next_offset=BASE)
    tally = reopened.resume_indexes(checkpoint)
    reopened.adopt(tally, Boundary(len(data), BASE + 16), active=True, read_from=len(data))
    reopened.resume(now_ms=0)
    assert reopened.greatest == TimeEntry(5008, BASE + 15)
    assert reopened.first_timestamp == 5001
    fill(reopened, 8, timestamp=5008)
    reopened.finish()
    reopened.close()
    reference = a_room()
    sealed(reference, 16)
    assert isinstance(room.disk, SimulatedDisk)
    assert isinstance(reference.disk, SimulatedDisk)
    resumed, at_once = room.disk.tree(), reference.disk.tree()
    for suffix in (".log", ".index", ".timeindex"):
        assert resumed[segment.stem + suffix] == at_once[segment.stem + suffix]


def test_one_that_cannot_be_made_leaves_nothing_behind() -> None:
    disk = SimulatedDisk()
    room = a_room(disk)
    for call, path in (("open", ".log"), ("open", ".index"), ("open", ".timeindex")):
        disk.fail_next(call, path=path)
        with pytest.raises(DiskFailed):
            Segment.create(room, BASE, now_ms=0)
        assert disk.list("t-0") == []


def test_indexes_of_a_sealed_segment_that_was_read_from_a_checkpoint_are_durable() -> None:
    """A1: only those of the segment that takes appends are looked at by the next recovery."""
    for seed in range(10):
        disk = SimulatedDisk(seed)
        room = a_room(disk)
        active = Segment.create(room, BASE, now_ms=0)
        fill(active, 10)
        checkpoint = active.checkpoint(has_producers=False)
        for file in active.syncables(indexes=True):
            file.sync()
        fill(active, 10, timestamp=6000)
        active.file.sync()
        disk.sync_directory("t-0")
        disk.sync_directory("")
        disk.kill()
        segment = Segment.load(room, BASE, next_offset=BASE + 40)
        tally = segment.resume_indexes(checkpoint)
        for position, header in segment.headers(checkpoint.position):
            tally.add(position, header.size, header.last_offset, header.max_timestamp)
        end = Boundary(segment.size, segment.next_offset)
        segment.adopt(tally, end, active=False, read_from=checkpoint.position)
        before = disk.tree()
        disk.crash()
        assert disk.tree() == before


def test_headers_are_walked_across_windows() -> None:
    disk = SimulatedDisk()
    room = a_room(disk)
    data = batches([[some_value(0, 30_000)], *([[b"x"]] * 300), [some_value(0, 16_384)]], base_offset=BASE)
    disk.open("t-0/00000000000000001000.log", create=True).append([data])
    segment = Segment.load(room, BASE, next_offset=BASE + 302)
    found = list(segment.headers(0))
    assert [header.base_offset for _, header in found] == list(range(BASE, BASE + 302))
    assert found[-1][0] + found[-1][1].size == len(data)


def test_a_batch_that_says_to_end_too_early_is_blamed_itself_and_not_the_sound_one_behind_it() -> None:
    """A8: whoever looks for what is behind it."""
    disk = SimulatedDisk()
    segment, data = sealed(a_room(disk))
    size = len(data) // 30
    disk.corrupt(segment.path, 3 * size + 26, bytes([0]))  # the last offset delta was 1
    with pytest.raises(CorruptLog, match="the checksum does not hold") as caught:
        list(segment.headers(0))
    assert (caught.value.position, caught.value.end) == (3 * size, 4 * size)


def test_a_batch_whose_time_has_rotted_away_is_not_taken_for_one_without_a_time() -> None:
    """A8: of a segment whose time index says nothing, as one that was not closed has it."""
    disk = SimulatedDisk()
    segment, _ = sealed(a_room(disk), 1)
    disk.cut(segment.stem + ".timeindex", 0)
    disk.corrupt(segment.path, 35, b"\x80")
    with pytest.raises(CorruptLog, match="the checksum does not hold"):
        _ = segment.greatest


def test_a_segment_of_which_nothing_is_left_is_not_taken_for_one_without_a_time() -> None:
    """A8."""
    disk = SimulatedDisk()
    room = a_room(disk)
    sealed(room, 1)
    disk.cut(f"t-0/{BASE:020d}.log", 0)
    disk.cut(f"t-0/{BASE:020d}.timeindex", 0)
    with pytest.raises(CorruptLog, match="ends before offset 1002"):
        _ = Segment.load(room, BASE, next_offset=BASE + 2).greatest
