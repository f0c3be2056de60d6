"""Reading on behind damage: what is sound is found again, wherever the damage ends."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from crc32c import crc32c

from support.builders import a_batch, batches
from support.disk import SimulatedDisk
from tidelog.protocol.batch import HEADER_SIZE, LENGTH_END, MAGIC, read_header, restamp
from tidelog.storage import salvage
from tidelog.storage.leader_epochs import EpochStart, LeaderEpochs
from tidelog.storage.salvage import BLOCK_SIZE, PAGE_SIZE, Gap, Sound, read_through

VALUES = [[b"%d of %d" % (index, number) for index in range(3)] for number in range(8)]


def a_segment(data: bytes) -> tuple[SimulatedDisk, str]:
    disk = SimulatedDisk()
    disk.make_directory("t-0")
    path = f"t-0/{10:020d}.log"
    file = disk.open(path, create=True)
    file.append([data])
    return disk, path


def read(data: bytes, *, epochs: list[EpochStart] | None = None) -> list[Sound | Gap]:
    disk, path = a_segment(data)
    known = None if epochs is None else LeaderEpochs(disk, "t-0", epochs)
    return list(read_through(disk.open(path), 10, epochs=known))


def begins_of(data: bytes) -> list[int]:
    begins = [0]
    while begins[-1] < len(data):
        begins.append(begins[-1] + read_header(data, begins[-1]).size)
    return begins


SOUND = bytes(batches(VALUES, base_offset=10))
BEGINS = begins_of(SOUND)
LARGE = bytes(batches([[value * 700 for value in values] for values in VALUES], base_offset=10))
"""Several blocks of checksums each."""


def test_a_sound_segment_has_no_gap() -> None:
    parts = read(SOUND)
    assert all(isinstance(part, Sound) for part in parts)
    assert [part.position for part in parts if isinstance(part, Sound)] == BEGINS[:-1]
    assert read(b"") == []


def damaged_by(sound: bytes, seed: int) -> tuple[bytes, bool]:
    """The segment with zeros, noise or bytes of its own over a stretch of it; whether they are its own."""
    rng = random.Random(seed)
    begin = rng.randrange(len(sound))
    end = min(len(sound), begin + rng.randint(1, len(sound) // 3))
    other = rng.randrange(len(sound) - (end - begin))
    stretches = [bytes(end - begin), rng.randbytes(end - begin), sound[other : other + end - begin]]
    which = rng.randrange(3)
    return sound[:begin] + stretches[which] + sound[end:], which == 2


@pytest.mark.parametrize("sound", [SOUND, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("seed", range(150))
def test_what_is_found_was_written_so_and_what_was_not_touched_is_found(sound: bytes, seed: int) -> None:
    """A8. Of stale bytes in a wrong place the last may not hold: they are sound, and hide the ones behind them."""
    begins = begins_of(sound)
    damaged, is_stale = damaged_by(sound, seed)
    parts = read(damaged)
    found = [part.position for part in parts if isinstance(part, Sound)]
    batches_found = {damaged[at : at + read_header(damaged, at).size] for at in found}
    assert batches_found <= {sound[at:stop] for at, stop in pairwise(begins)}
    assert len(batches_found) == len(found), "none of them twice"
    if not is_stale:
        assert found == [at for at, stop in pairwise(begins) if damaged[at:stop] == sound[at:stop]]
    edges = [(part.begin, part.end) if isinstance(part, Gap) else (part.position, part.end) for part in parts]
    assert [edge[0] for edge in edges] == [0, *(edge[1] for edge in edges[:-1])], "nothing is left out"
    assert edges[-1][1] == len(damaged)


@pytest.mark.parametrize("cut", range(len(SOUND) - BEGINS[-2]))
def test_a_file_that_was_cut_ends_in_a_gap_that_nothing_follows(cut: int) -> None:
    parts = read(SOUND[: len(SOUND) - cut])
    if cut == 0:
        assert isinstance(parts[-1], Sound)
        return
    assert parts[-1] == Gap(
        begin=BEGINS[-2],
        end=len(SOUND) - cut,
        offset=10 + 7 * 3,
        next_offset=None,
        reason=parts[-1].reason if isinstance(parts[-1], Gap) else "",
    )
    left = len(SOUND) - cut - BEGINS[-2]
    if left >= HEADER_SIZE:
        assert parts[-1].reason == f"a batch of {BEGINS[-1] - BEGINS[-2]} bytes, of which {left} are there"


def test_a_batch_that_is_missing_between_two_is_a_gap() -> None:
    """A8: both are sound, and an acknowledged one was between them."""
    parts = read(SOUND[: BEGINS[2]] + SOUND[BEGINS[3] :])
    [gap] = [part for part in parts if isinstance(part, Gap)]
    assert (gap.begin, gap.offset) == (BEGINS[2], 16)


def test_a_batch_inside_a_value_is_not_taken_for_one_of_the_log() -> None:
    """Its own length tells where a bad batch ends, so what it holds is not searched while that can be believed."""
    inner = bytes(a_batch([b"x"], base_offset=13, leader_epoch=0))
    data = bytearray(batches([[b"a"], [inner], [b"z"]], base_offset=10))
    begins = begins_of(bytes(data))
    data[begins[1] + HEADER_SIZE - 1] ^= 1  # the record count's last byte: the checksum fails, the length holds
    parts = read(bytes(data))
    assert [part.position for part in parts if isinstance(part, Sound)] == [0, begins[2]]


def test_epochs_that_are_known_must_fit_and_unknown_ones_ascend() -> None:
    first, second = batches([[b"a"]], base_offset=10, leader_epoch=2), batches([[b"b"]], base_offset=11, leader_epoch=1)
    assert [type(part) for part in read(bytes(first + second))] == [Sound, Gap]
    assert [type(part) for part in read(bytes(first), epochs=[EpochStart(1, 0)])] == [Gap]
    assert [type(part) for part in read(bytes(first), epochs=[EpochStart(2, 10)])] == [Sound]


@pytest.mark.parametrize("size", [1, PAGE_SIZE, 3 * PAGE_SIZE + 7])
@pytest.mark.parametrize("begin", [0, 1, BLOCK_SIZE - 5, 2 * PAGE_SIZE, len(LARGE) - 100])
def test_what_the_disk_does_not_give_is_a_gap_of_the_batches_there_and_no_others(begin: int, size: int) -> None:
    """A6: and it is told which bytes those are, in the pages of a disk."""
    disk, path = a_segment(LARGE)
    end = min(begin + size, len(LARGE))
    disk.spoil(path, begin, end)
    parts = list(read_through(disk.open(path), 10))
    first, last = begin - begin % PAGE_SIZE, min(-(-end // PAGE_SIZE) * PAGE_SIZE, len(LARGE))
    [gap] = [part for part in parts if isinstance(part, Gap)]
    lost = [(at, stop) for at, stop in pairwise(begins_of(LARGE)) if at < last and stop > first]
    assert (gap.begin, gap.end) == (lost[0][0], lost[-1][1])
    assert gap.reason.startswith("bytes ")
    assert gap.reason.endswith("cannot be read: Input/output error")
    if len(lost) == 1:
        assert gap.reason.startswith(f"bytes {first} to {last} ")


class CountedFile:
    """Knows how many bytes were read of it, and how many went into a checksum."""

    path = "t-0/a.log"

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.bytes_read = self.bytes_summed = 0

    def read(self, position: int, size: int) -> bytes:
        data = self._data[position : position + size]
        self.bytes_read += len(data)
        return data

    def crc32c(self, data: bytes | memoryview, value: int = 0) -> int:
        self.bytes_summed += len(data)
        return crc32c(data, value)


def headers_in_each_other(size: int) -> bytes:
    """As a producer may write them: at every place where a header fits one begins, and claims all that is left."""
    data = bytearray(size)
    for at in range(0, size - HEADER_SIZE, HEADER_SIZE):
        data[at : at + HEADER_SIZE] = a_batch([b""], leader_epoch=0)[:HEADER_SIZE]
        restamp(data, at, base_offset=10 + at, leader_epoch=0)
        data[at + 8 : at + LENGTH_END] = (size - at - LENGTH_END).to_bytes(4)
    return bytes(data)


def every_other_batch_is_bad(size: int) -> bytes:
    """And no sound one is followed by anything that tells its offset."""
    one = len(a_batch([b"x"]))
    data = bytearray(batches([[b"x"]] * (size // one), base_offset=10))
    data[0 :: 2 * one] = b"\x7f" * len(data[0 :: 2 * one])
    return bytes(data)


ADVERSE = [lambda size: bytes([MAGIC]) * size, headers_in_each_other, every_other_batch_is_bad, bytes, random.randbytes]


@pytest.mark.parametrize("bytes_of", ADVERSE, ids=["magic", "nested", "every-other", "zeros", "noise"])
def test_whatever_stands_there_the_work_grows_with_the_size_alone(
    bytes_of: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one flipped bit would keep whoever looks at a large segment busy for days."""
    for size in (1 << 18, 1 << 20):
        file = CountedFile(bytes_of(size))
        monkeypatch.setattr(salvage, "crc32c", file.crc32c)
        list(read_through(file, 10))
        assert file.bytes_summed <= size * (1 + 2 * BLOCK_SIZE / HEADER_SIZE), "a header costs two blocks at the most"
        assert file.bytes_read <= size * (3 + 3 * BLOCK_SIZE / HEADER_SIZE)


def test_a_stretch_without_records_is_searched_through_quickly() -> None:
    """Megabytes of zeros, as a torn write of the filesystem leaves them."""
    hole = bytes(3 << 20)
    parts = read(SOUND[: BEGINS[2]] + hole + SOUND[BEGINS[3] :])
    [gap] = [part for part in parts if isinstance(part, Gap)]
    assert (gap.begin, gap.end, gap.next_offset) == (BEGINS[2], BEGINS[2] + len(hole), 19)


class ShrinkingFile(CountedFile):
    """Somebody cuts it after it was opened."""

    reads_max = 100

    def __init__(self, data: bytes, cut_to: int) -> None:
        super().__init__(data)
        self._data = data[:cut_to]

    def read(self, position: int, size: int) -> bytes:
        self.reads_max -= 1
        assert self.reads_max, "it is read for ever"
        return super().read(position, size)


@pytest.mark.parametrize("cut_to", [BEGINS[3], BEGINS[3] + 10, BEGINS[3] + HEADER_SIZE])
def test_a_file_that_becomes_shorter_meanwhile_is_read_to_its_new_end(cut_to: int) -> None:
    *sound, gap = read_through(ShrinkingFile(SOUND, cut_to), 10)
    assert [part.position for part in sound if isinstance(part, Sound)] == BEGINS[:3]
    assert isinstance(gap, Gap)
    assert (gap.begin, gap.end, gap.next_offset) == (BEGINS[3], len(SOUND), None)


def test_a_large_batch_of_a_file_that_becomes_shorter_meanwhile_is_not_sound() -> None:
    large = bytes(a_batch([b"x" * 5 * BLOCK_SIZE], base_offset=10))
    [gap] = read_through(ShrinkingFile(large, HEADER_SIZE), 10)
    assert isinstance(gap, Gap)
    assert (gap.begin, gap.end) == (0, len(large))


def test_zeros_that_the_disk_does_not_give_are_not_taken_for_those_that_it_does() -> None:
    disk, path = a_segment(bytes(a_batch([bytes(3 * PAGE_SIZE)], base_offset=10)))
    disk.spoil(path, PAGE_SIZE, 2 * PAGE_SIZE)
    [gap] = read_through(disk.open(path), 10)
    assert isinstance(gap, Gap)
    assert gap.is_unreadable


def test_a_search_comes_back_to_before_what_was_looked_at_first() -> None:
    """A bad batch names the place behind it, which is bad as well; what it holds itself is searched then."""
    rng = random.Random(1)
    inner = bytes(a_batch([rng.randbytes(6000)], base_offset=10, leader_epoch=0))
    values = [[rng.randbytes(3000) + inner + rng.randbytes(9000)], *([rng.randbytes(5000)] for _ in range(3))]
    data = bytearray(batches(values, base_offset=10))
    begins = begins_of(bytes(data))
    data[0] ^= 0x40
    data[begins[1] + 3000] ^= 1
    found = [part.position for part in read(bytes(data)) if isinstance(part, Sound)]
    assert found == [data.index(inner), begins[2], begins[3]]
