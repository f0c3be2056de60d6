"""The tally, and both indexes made from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.disk import SimulatedDisk
from tidelog.storage.errors import CorruptLog, DiskFull
from tidelog.storage.offset_index import OffsetEntry, OffsetIndex
from tidelog.storage.segment_indexes import IndexPoint, SegmentIndexes, Tally, replace_indexes
from tidelog.storage.time_index import TimeEntry, TimeIndex

Batches = list[tuple[int, int, int]]
some_batches = st.lists(st.tuples(st.integers(61, 900), st.integers(1, 9), st.integers(-1, 40)), max_size=80)


def tallied(batches: Batches, *, interval: int = 256) -> Tally:
    tally, position, offset = Tally(interval), 0, 100
    for size, count, timestamp in batches:
        offset += count
        tally.add(position, size, offset - 1, timestamp)
        position += size
    return tally


def test_a_batch_gets_an_entry_when_the_interval_has_gone_by_since_the_last() -> None:
    """L-3: the last offset of the batch, where it begins, and the greatest time so far with its batch's last offset."""
    tally = tallied([(200, 1, 50), (200, 1, 70), (200, 2, 60), (100, 1, 70), (200, 1, 80), (61, 1, 10)])
    assert tally.points == [
        IndexPoint(OffsetEntry(103, 400), TimeEntry(70, 101)),
        IndexPoint(OffsetEntry(105, 700), TimeEntry(80, 105)),
    ]
    assert tally.greatest == TimeEntry(80, 105)


def test_what_was_not_written_is_rewound() -> None:
    tally = tallied([(200, 1, 50), (200, 1, 70)])
    tally.commit()
    tally.add(400, 300, 102, 90)
    tally.add(700, 300, 103, 95)
    tally.rewind()
    tally.add(400, 300, 102, 60)
    assert tally.points == [IndexPoint(OffsetEntry(102, 400), TimeEntry(70, 101))]


@given(some_batches, st.integers(1, 10))
def test_an_index_built_again_is_the_one_that_grew(batches: Batches, step: int) -> None:
    disk = SimulatedDisk()
    indexes = SegmentIndexes.create(disk, "s", 100, size_max=1 << 20)
    whole, grown = tallied(batches), Tally(256)
    position, offset = 0, 100
    for number, (size, count, timestamp) in enumerate(batches):
        offset += count
        grown.add(position, size, offset - 1, timestamp)
        position += size
        if number % step == 0:
            indexes.append(grown.points)
            indexes.write_out_if_due()
            grown.commit()
    indexes.append(grown.points)
    grown.commit()
    indexes.finish(grown.greatest)
    indexes.finish(grown.greatest)
    before = disk.tree()
    indexes.rewrite(whole.points)
    indexes.finish(whole.greatest)
    assert disk.tree() == before
    indexes.close()
    replace_indexes(disk, "s", 100, whole)
    assert disk.tree() == before
    SegmentIndexes.load(disk, "s", 100, size_max=1 << 20).close()


def test_full_means_that_one_more_would_not_fit_beside_the_entry_that_closing_adds() -> None:
    """L-4."""
    indexes = SegmentIndexes.create(SimulatedDisk(), "s", 0, size_max=64)
    assert (indexes.offsets.entries.capacity, indexes.times.entries.capacity) == (8, 5)
    assert not indexes.is_full(3)
    assert indexes.is_full(4)
    points = [IndexPoint(OffsetEntry(n, n), TimeEntry(n, n)) for n in range(1, 5)]
    indexes.append(points)
    assert indexes.is_full(0)
    indexes.finish(TimeEntry(9, 9))
    assert indexes.times.entries.count == 5


def test_what_finds_no_space_stays_in_memory_and_is_written_when_there_is_some() -> None:
    """A7: closing a segment may be tried again, and neither adds nor leaves out an entry."""
    disk = SimulatedDisk()
    indexes = SegmentIndexes.create(disk, "s", 0, size_max=1 << 20)
    disk.full(0)
    indexes.append([IndexPoint(OffsetEntry(1, 1), TimeEntry(1, 1))])
    for _ in range(2):
        with pytest.raises(DiskFull):
            indexes.finish(TimeEntry(2, 2))
    assert (indexes.offsets.last, indexes.times.last) == (OffsetEntry(1, 1), TimeEntry(2, 2))
    disk.full(None)
    indexes.finish(TimeEntry(2, 2))
    assert disk.tree() == {
        "s.index": OffsetIndex.encode(OffsetEntry(1, 1), 0),
        "s.timeindex": TimeIndex.encode(TimeEntry(1, 1), 0) + TimeIndex.encode(TimeEntry(2, 2), 0),
    }


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_one_that_is_missing_is_doubted(suffix: str) -> None:
    disk = SimulatedDisk()
    replace_indexes(disk, "s", 0, Tally(1))
    disk.remove("s" + suffix)
    with pytest.raises(CorruptLog, match="missing"):
        SegmentIndexes.load(disk, "s", 0, size_max=64)
