"""The power fails under a broker in a virtual machine; what it acknowledged is there when the power is back.

The machine runs a Debian kernel, emulated in software, with a data disk of ext4 or XFS on a drive that drops, tears
and reorders what was not flushed (support/power/drive.py). The clients are outside of it, and live through every cut.
A cut comes at any time, at any write or flush of the drive, or at any write of a boot, while the broker recovers from
the cut before. Reliability plan A3; `make powercut CUTS=300 SEED=2` for more of them.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.power.guest import build
from support.power.machine import FileSystem, Machine, formatted
from support.power.witness import Witness
from support.process import free_port
from support.proofs import IS_PROOF, record

CUTS_OF_A_RELEASE = 300
CUTS = int(os.environ.get("TIDELOG_POWERCUTS") or (CUTS_OF_A_RELEASE if IS_PROOF else 4))
SEED = int(os.environ.get("TIDELOG_SEED") or 41)
"""With this one, each kind of moment comes among four cuts."""
CUTS_OF_A_DISK = 10
"""Then the next one is made: everything is read after each cut."""
LIFE_S = 4.0
WRITES_OF_A_BOOT = 100
WRITES_OF_A_LIFE = 400
FLUSHES_OF_A_LIFE = 200
PATIENCE_S = 120.0
SETTINGS = ("log.segment.bytes=262144",)
PROGRESS = 100
"""Records acknowledged in each life, at least."""
SYNCS_BEFORE_THE_BUG = 60


@pytest.fixture(scope="session")
def initramfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The system that is booted, with the broker as it is in this tree."""
    path = tmp_path_factory.mktemp("machine") / "initramfs"
    build(path)
    return path


@contextmanager
def a_machine(initramfs: Path, tmp_path: Path, file_system: FileSystem) -> Iterator[Machine]:
    """One with an empty disk, off."""
    drive = formatted(tmp_path / "platter", file_system)
    machine = Machine(initramfs, drive, file_system, port=free_port())
    try:
        yield machine
    finally:
        machine.close()
        (tmp_path / "platter").unlink()


@dataclass(slots=True)
class Endured:
    """What a machine and its clients went through."""

    cuts: int = 0
    acknowledged: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, other: "Endured") -> None:
        """What came after it."""
        self.cuts += other.cuts
        self.acknowledged += other.acknowledged
        self.broken += other.broken


def endure(machine: Machine, seed: str, cuts: int) -> Endured:
    """Clients work while the power fails so often; what was promised to them is looked for after each cut."""
    dice = random.Random(seed)
    witness = Witness(f"127.0.0.1:{machine.port}")
    endured = Endured()
    machine.boot(*SETTINGS)
    witness.create_topic()
    promises = witness.promises()
    with witness.at_work():
        for number in range(cuts):
            began = time.monotonic()
            if not number or machine.boot(*SETTINGS, writes=writes_of_the_boot(dice)):
                endured.broken += witness.look(promises)
                witness.await_progress(PROGRESS)
                await_the_moment(machine, dice)
            aftermath = machine.cut(random.Random(f"{seed} {number}"))
            promises = witness.promises()
            endured.cuts += 1
            told = f"{witness.acknowledged_count} acknowledged; {time.monotonic() - began:.1f} s"
            print(f"cut {number + 1}: {machine}; {aftermath}; {told}")  # noqa: T201
        machine.boot(*SETTINGS)
        endured.broken += witness.look(promises)
    endured.broken += witness.look(witness.promises())
    endured.acknowledged = witness.acknowledged_count
    return endured


def writes_of_the_boot(dice: random.Random) -> int | None:
    """At which of them the power fails, if it does before the broker is ready."""
    return dice.randrange(WRITES_OF_A_BOOT) if dice.random() < 0.25 else None


def await_the_moment(machine: Machine, dice: random.Random) -> None:
    """Whenever the clock says, at some write, or at some flush, which is when a drive's cache is full."""
    match dice.choice(("time", "write", "flush")):
        case "time":
            time.sleep(dice.uniform(0, LIFE_S))
            return
        case "write":
            machine.drive.fail_after(dice.randrange(WRITES_OF_A_LIFE))
        case _:
            machine.drive.fail_after(dice.randrange(FLUSHES_OF_A_LIFE), flushes_only=True)
    assert machine.drive.failed.wait(PATIENCE_S)


@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
def test_what_was_acknowledged_survives_power_cuts(initramfs: Path, file_system: FileSystem, tmp_path: Path) -> None:
    """A3, L-10, L-11, L-15: every record, where it was said to be; every commit; idempotent producers go on."""
    left = max(1, CUTS // 2)
    endured = Endured()
    while left:
        seed = f"{SEED} {file_system} {left}"
        cuts = min(left, CUTS_OF_A_DISK)
        with a_machine(initramfs, tmp_path, file_system) as machine:
            one = endure(machine, seed, cuts)
        endured.add(one)
        left -= cuts
        record(
            "power cuts",
            part=file_system,
            size=endured.cuts,
            lost=len(endured.broken),
            details={"records acknowledged": endured.acknowledged},
            is_release=CUTS >= CUTS_OF_A_RELEASE,
        )
        assert not one.broken, "\n".join([f"seed {seed}", *one.broken[:20]])


def test_a_broker_that_does_not_sync_is_seen_to_lose_records(initramfs: Path, tmp_path: Path) -> None:
    """A3: the rig itself. Everything stands but the syncs, from the sixtieth on."""
    with a_machine(initramfs, tmp_path, "ext4") as machine:
        witness = Witness(f"127.0.0.1:{machine.port}")
        machine.syncs = SYNCS_BEFORE_THE_BUG
        machine.boot(*SETTINGS)
        witness.create_topic()
        with witness.at_work():
            witness.await_progress(10 * PROGRESS)
        machine.cut(random.Random(1))
        machine.syncs = None
        machine.boot(*SETTINGS)
        broken = witness.look(witness.promises())
    lost = [what for what in broken if what.startswith("lost")]
    assert lost
    print(f"{len(lost)} of {witness.acknowledged_count} lost without syncs")  # noqa: T201
