"""Reading a segment and believing nothing."""

import pytest

from support.builders import a_batch, batches, some_value
from support.disk import SimulatedDisk
from tidelog.storage.disk import File
from tidelog.storage.errors import CorruptLog
from tidelog.storage.leader_epochs import EpochStart, LeaderEpochs
from tidelog.storage.scan import WINDOW_SIZE, scan


def a_file(data: bytes | bytearray) -> File:
    file = SimulatedDisk().open("s", create=True)
    file.append([data])
    return file


def where_it_stops(data: bytes | bytearray, base_offset: int = 0) -> int | None:
    try:
        for _ in scan(a_file(data), base_offset):
            pass
    except CorruptLog as corrupt:
        return corrupt.position
    return None


def test_every_batch_is_found_across_windows_and_when_larger_than_one() -> None:
    groups = [[some_value(n, 400_000)] for n in range(4)] + [[some_value(9, WINDOW_SIZE + 7)], [b"last"]]
    data = batches(groups, base_offset=100)
    found = list(scan(a_file(data), 100))
    assert [header.base_offset for _, header in found] == [100, 101, 102, 103, 104, 105]
    position = 0
    for at, header in found:
        assert at == position
        position += header.size
    assert position == len(data)


def test_an_empty_file_is_sound() -> None:
    assert where_it_stops(b"") is None


def test_it_stops_at_what_is_torn_changed_or_out_of_place() -> None:
    data = batches([[b"a"], [b"b"], [b"c"]])
    size = len(data) // 3
    assert where_it_stops(data) is None
    assert where_it_stops(data, base_offset=1) == 0
    assert where_it_stops(data[:-1]) == 2 * size
    assert where_it_stops(data + b"\0" * 200) == 3 * size
    assert where_it_stops(data[: size + 5] + bytes(len(data))) == size
    assert where_it_stops(data[:size] + data[2 * size :]) == size, "a batch is missing"
    assert where_it_stops(data[:size] + data) == size, "a batch is there twice"


@pytest.mark.parametrize(
    ("position", "end"),
    [(0, True), (15, True), (17, True), (61, True), (16, False), (8, False), (9, False)],
    ids=["base offset", "leader epoch", "checksum", "record", "magic", "no length", "length beyond the file"],
)
def test_damage_ends_with_its_batch_if_that_can_say_where_it_ends(position: int, end: bool) -> None:
    """House rule 1.6: by file and byte range."""
    data = batches([[b"a"], [b"b"], [b"c"]])
    size = len(data) // 3
    data[size + position] ^= 0x80
    epochs = LeaderEpochs(SimulatedDisk(), "", [EpochStart(0, 0)])
    with pytest.raises(CorruptLog) as caught:
        list(scan(a_file(data), 0, epochs=epochs))
    assert (caught.value.position, caught.value.end) == (size, 2 * size if end else None)


def test_a_smaller_window_finds_the_same() -> None:
    data = batches([[some_value(n, 700)] for n in range(20)])
    assert list(scan(a_file(data), 0, window_size=1000)) == list(scan(a_file(data), 0))


def test_no_flipped_bit_goes_unnoticed() -> None:
    """A8. The leader epoch lies outside the checksum: only who knows the epochs can tell."""
    data = batches([[b"a"], [b"b"]])
    epochs = LeaderEpochs(SimulatedDisk(), "", [EpochStart(0, 0)])
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptLog):
            list(scan(a_file(changed), 0, epochs=epochs))


def test_leader_epochs_must_be_known_or_at_least_ascend() -> None:
    data = a_batch([b"a"], leader_epoch=3) + a_batch([b"b"], base_offset=1, leader_epoch=5)
    epochs = LeaderEpochs(SimulatedDisk(), "", [EpochStart(3, 0), EpochStart(5, 1)])
    assert [header.leader_epoch for _, header in scan(a_file(data), 0, epochs=epochs)] == [3, 5]
    assert len(list(scan(a_file(data), 0, epoch_min=3))) == 2
    with pytest.raises(CorruptLog):
        list(scan(a_file(data), 0, epoch_min=4))
    with pytest.raises(CorruptLog):
        list(scan(a_file(data), 0, epochs=LeaderEpochs(SimulatedDisk(), "", [EpochStart(3, 0)])))
    backwards = a_batch([b"a"], leader_epoch=5) + a_batch([b"b"], base_offset=1, leader_epoch=3)
    assert where_it_stops(backwards) == len(backwards) // 2


class LargeFile:
    """Zeros behind the bytes that are given. Knows what was asked of it."""

    path = "s"
    size = 1 << 40

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = bytes(data)
        self.asked_at: list[int] = []
        self.asked_max = 0

    def read(self, position: int, size: int) -> bytes:
        self.asked_at.append(position)
        self.asked_max = max(self.asked_max, size)
        return self._data[position : position + size].ljust(size, b"\0")


def test_no_more_than_a_window_is_held_of_a_batch_that_says_to_be_larger() -> None:
    """A8: one bit of a length makes hundreds of mebibytes of it."""
    data = a_batch([b"a"])
    data[8] ^= 0x01
    file = LargeFile(data)
    with pytest.raises(CorruptLog, match="the checksum does not hold") as caught:
        list(scan(file, 0, window_size=1 << 20))
    assert caught.value.end == len(data) + (1 << 24)
    assert file.asked_max == 1 << 20
    assert file.asked_at == list(range(0, 1 + (1 << 24), 1 << 20))


def test_a_file_that_becomes_shorter_meanwhile_is_damaged_there() -> None:
    file = a_file(batches([[b"a"], [some_value(0, 3000)]]))
    batches_of = scan(file, 0, window_size=1000)
    next(batches_of)
    file.truncate(1000)
    with pytest.raises(CorruptLog, match="has become shorter"):
        next(batches_of)
