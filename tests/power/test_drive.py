"""The drive of the power cuts: what was flushed survives, and of the rest anything may."""

import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.power.drive import ATOM, SECTOR, Drive

SIZE = 64 * ATOM
OLD, NEW = b"o" * ATOM, b"n" * ATOM
SEEDS = range(300)


def atoms(found: bytes) -> bytes:
    """The first byte of each, all of whose bytes must be the same."""
    for at in range(0, len(found), ATOM):
        assert found[at : at + ATOM] in (OLD, NEW)
    return found[::ATOM]


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    drive = Drive(tmp_path / "platter", SIZE)
    yield drive
    drive.close()


def test_what_was_flushed_survives_every_power_cut(drive: Drive) -> None:
    """A3."""
    drive.write(0, OLD * 4)
    drive.flush()
    for seed in SEEDS:
        drive.cut(random.Random(seed))
        assert drive.read(0, 4 * ATOM) == OLD * 4


def test_what_was_not_flushed_may_be_kept_lost_or_torn_each_write_for_itself(drive: Drive) -> None:
    """A3, A4: the second may be there without the first, and a part of one without the rest."""
    outcomes: set[bytes] = set()
    for seed in SEEDS:
        drive.write(0, OLD * 4)
        drive.flush()
        drive.write(0, NEW * 2)
        drive.write(2 * ATOM, NEW * 2)
        assert drive.read(0, 4 * ATOM) == NEW * 4
        drive.cut(random.Random(seed))
        outcomes.add(atoms(drive.read(0, 4 * ATOM)))
    assert {b"nnnn", b"nnoo", b"oonn", b"oooo"} < outcomes
    assert {b"nooo", b"onoo", b"oono", b"ooon"} & outcomes


def test_a_physical_sector_is_never_torn(drive: Drive) -> None:
    """A3: of those that a write fills in part, the part is there or not."""
    half = ATOM // 2
    outcomes: set[bytes] = set()
    for seed in SEEDS:
        drive.write(0, OLD * 3)
        drive.flush()
        drive.write(half, NEW * 2)
        drive.cut(random.Random(seed))
        found = drive.read(0, 3 * ATOM)
        assert all(len(set(found[at : at + half])) == 1 for at in range(0, 3 * ATOM, half))
        outcomes.add(found[::half])
    assert outcomes == {b"oooooo", b"onoooo", b"oonnoo", b"oooono", b"onnnoo", b"onoono", b"oonnno", b"onnnno"}


def test_a_cut_counts_what_became_of_each_write(drive: Drive) -> None:
    """A3."""
    for number in range(50):
        drive.write(number * ATOM, NEW)
    aftermath = drive.cut(random.Random(1))
    assert aftermath.kept + aftermath.torn + aftermath.lost == 50
    assert drive.cut(random.Random(1)).lost == 0


def test_of_two_writes_to_a_sector_the_older_never_wins_over_a_kept_newer_one(drive: Drive) -> None:
    """A3: a cache holds a sector once."""
    for seed in SEEDS:
        drive.write(0, OLD)
        drive.write(0, NEW)
        if drive.cut(random.Random(seed)).kept == 2:
            assert drive.read(0, ATOM) == NEW


class Machine:
    """What QEMU says to a drive."""

    def __init__(self, drive: Drive) -> None:
        self.socket = drive.attach()
        assert self.socket.recv(18) == b"NBDMAGICIHAVEOPT\0\3"
        self.socket.sendall(struct.pack(">I", 3))

    def option(self, number: int, data: bytes = b"") -> tuple[int, bytes]:
        """Ask for it; the kind of the answer, and what stands in it."""
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
        _, _, kind, size = struct.unpack(">QIII", self.socket.recv(20))
        return kind, self.socket.recv(size) if size else b""

    def begin(self) -> None:
        """Agree on the export."""
        kind, export = self.option(7)
        assert (kind, struct.unpack(">HQH", export)) == (3, (0, SIZE, 5))
        assert struct.unpack(">QIII", self.socket.recv(20))[2] == 1

    def ask(self, kind: int, position: int = 0, size: int = 0, data: bytes = b"") -> bytes:
        """One request and its answer."""
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 77, position, size) + data)
        assert struct.unpack(">IIQ", self.socket.recv(16, socket.MSG_WAITALL)) == (0x67446698, 0, 77)
        return self.socket.recv(size, socket.MSG_WAITALL) if kind == 0 else b""


def test_a_machine_writes_flushes_and_reads_through_nbd(drive: Drive) -> None:
    """A3."""
    machine = Machine(drive)
    assert machine.option(8) == (0x80000001, b""), "structured replies are not offered"
    machine.begin()
    machine.ask(1, SECTOR, ATOM, OLD)
    assert machine.ask(0, 0, 2 * ATOM) == bytes(SECTOR) + OLD + bytes(ATOM - SECTOR)
    machine.ask(3)
    machine.ask(1, 2 * ATOM, ATOM, NEW)
    machine.socket.close()
    aftermath = drive.cut(random.Random(3))
    assert (drive.flushes, aftermath.kept + aftermath.torn + aftermath.lost) == (1, 1)
    assert drive.read(SECTOR, ATOM) == OLD


def test_a_drive_that_is_about_to_lose_power_answers_no_more(drive: Drive) -> None:
    """A3: the power goes between two writes of a recovery, at a write that chance names."""
    machine = Machine(drive)
    machine.begin()
    drive.fail_after(1)
    machine.ask(1, 0, ATOM, OLD)
    assert not drive.failed.is_set()
    machine.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 3, 78, 0, 0))
    assert drive.failed.wait(10)
    machine.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        machine.socket.recv(1)
    machine.socket.close()
    assert drive.flushes == 0
