"""Reading on behind damage: what is sound is found again, wherever the damage ends."""

import random
from itertools import pairwise

import pytest

from support.builders import a_batch, batches
from support.disk import SimulatedDisk
from tidelog.protocol.batch import HEADER_SIZE, read_header
from tidelog.storage.leader_epochs import EpochStart, LeaderEpochs
from tidelog.storage.salvage import Gap, Sound, read_through

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


def test_a_sound_segment_has_no_gap() -> None:
    parts = read(SOUND)
    assert all(isinstance(part, Sound) for part in parts)
    assert [part.position for part in parts if isinstance(part, Sound)] == BEGINS[:-1]
    assert read(b"") == []


def damaged_by(seed: int) -> tuple[bytes, bool]:
    """The segment with zeros, noise or bytes of its own over a stretch of it; whether they are its own."""
    rng = random.Random(seed)
    begin = rng.randrange(len(SOUND))
    end = min(len(SOUND), begin + rng.randint(1, 300))
    other = rng.randrange(len(SOUND) - (end - begin))
    stretches = [bytes(end - begin), rng.randbytes(end - begin), SOUND[other : other + end - begin]]
    which = rng.randrange(3)
    return SOUND[:begin] + stretches[which] + SOUND[end:], which == 2


@pytest.mark.parametrize("seed", range(150))
def test_what_is_found_was_written_so_and_what_was_not_touched_is_found(seed: int) -> None:
    """A8. Of stale bytes in a wrong place the last may not hold: they are sound, and hide the ones behind them."""
    damaged, is_stale = damaged_by(seed)
    parts = read(damaged)
    found = [part.position for part in parts if isinstance(part, Sound)]
    batches_found = {damaged[at : at + read_header(damaged, at).size] for at in found}
    assert batches_found <= {SOUND[at:stop] for at, stop in pairwise(BEGINS)}
    assert len(batches_found) == len(found), "none of them twice"
    if not is_stale:
        assert found == [at for at, stop in pairwise(BEGINS) if damaged[at:stop] == SOUND[at:stop]]
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


def test_a_stretch_without_records_is_searched_through_quickly() -> None:
    """Megabytes of zeros, as a torn write of the filesystem leaves them."""
    hole = bytes(3 << 20)
    parts = read(SOUND[: BEGINS[2]] + hole + SOUND[BEGINS[3] :])
    [gap] = [part for part in parts if isinstance(part, Gap)]
    assert (gap.begin, gap.end, gap.next_offset) == (BEGINS[2], BEGINS[2] + len(hole), 19)
