"""Rot in every kind of file: what is served is what was written, or an error [A8].

The damages are those of `crash.rot`: every bit flipped, a cut at every byte, blocks swapped, emptied or old, files that
are old or gone; in segments, indexes, durable marks, leader epochs, snapshots, digests, partition.metadata,
meta.properties, the marker of a clean stop, and the logs of the metadata and of committed offsets. CI examines half a
million, TIDELOG_PROOF=1 five million. `python -m crash.rot --only NAME` shows one of them again.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
from crc32c import crc32c

from crash.plants import Believed
from crash.rot.damage import Damage, damages, flipped
from crash.rot.examine import Outcome, Wrong, examine
from crash.rot.specimens import HOME, Specimen, Stop, specimens
from support.proofs import record
from tidelog.protocol.batch import read_header
from tidelog.storage.durable_mark import DurableMark
from tidelog.storage.segment import Segment

IS_PROOF = os.environ.get("TIDELOG_PROOF") == "1"
EXAMINED_MIN = 5_000_000 if IS_PROOF else 500_000
PROCESSES = 2
TESTS = Path(__file__).resolve().parents[1]
KINDS = {
    ".kafka_cleanshutdown",
    "*.digest",
    "*.index",
    "*.log",
    "*.snapshot",
    "*.timeindex",
    "durable-mark",
    "leader-epoch-checkpoint",
    "meta.properties",
    "partition.metadata",
}


def test_no_damage_is_served_nor_loses_anything_silently() -> None:
    """A8: all of it is detected or harmless, and stays within its partition."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "crash.rot", "--plan", "release" if IS_PROOF else "build", "--part"]
    running = [
        subprocess.Popen([*command, f"{n}/{PROCESSES}"], env=environment, cwd=TESTS, stdout=subprocess.PIPE, text=True)
        for n in range(PROCESSES)
    ]
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for process in running:
        told, _ = process.communicate()
        assert process.returncode in (0, 1), f"ended with {process.returncode}"
        found = json.loads(told)
        counts.update(found["counts"])
        wrong.extend(found["wrong"])
    bad = sum(count for what, count in counts.items() if what.endswith("WRONG"))
    record("bit flips", size=counts.total(), lost=bad)
    print(dict(sorted(counts.items())))  # noqa: T201
    assert not wrong, "\n".join(wrong)
    assert {what.partition(": ")[0] for what in counts} >= KINDS
    assert counts.total() >= EXAMINED_MIN


# Would it notice? A bug of each kind, planted.


def examine_each(stop: Stop, kinds: tuple[str, ...], *, how: str = "flip") -> None:
    """Some damages of the first specimens of that stop. Raises Wrong."""
    for specimen in specimens(range(2)):
        if specimen.stop is stop:
            for path in specimen.files:
                if path.endswith(kinds):
                    for damage in damages(specimen, path, step=7):
                        if damage.how.startswith(how):
                            examine(specimen, damage)


def announced(data: bytes, at: int, size: int) -> int:
    """The checksum as the header states it."""
    del size
    return read_header(data, at).crc


def test_an_unchecked_checksum_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By readers of a log that was closed, and by those of one that was recovered."""
    with monkeypatch.context() as planted:
        planted.setattr("tidelog.storage.segment.crc_of", announced)
        with pytest.raises(Wrong):
            examine_each(Stop.CLEAN, (".log",))
    with monkeypatch.context() as planted:
        planted.setattr("tidelog.storage.scan.crc32c", lambda *of: Believed(crc32c(*of)))
        with pytest.raises(Wrong):
            examine_each(Stop.BEHIND, (".log",))


def test_an_unchecked_order_of_offsets_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base offset stands outside of the checksum."""
    real = Segment._why_unsound  # noqa: SLF001 - the bug is planted there

    def believing(segment: Segment, data: bytes, at: int, header: object, offset: int) -> str | None:
        why = real(segment, data, at, header, offset)  # type: ignore[arg-type]
        return None if why is not None and why.startswith("offset") else why

    monkeypatch.setattr(Segment, "_why_unsound", believing)
    with pytest.raises(Wrong):
        examine_each(Stop.CLEAN, (".log",))


def test_cutting_below_the_durable_mark_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that is never believed makes rot look like a torn tail."""
    real = DurableMark.read.__func__  # type: ignore[attr-defined]

    def forgetful(kind: type[DurableMark], *where: object) -> DurableMark:
        mark = cast(DurableMark, real(kind, *where))
        mark.offset, mark.checkpoint = 0, None
        return mark

    monkeypatch.setattr(DurableMark, "read", classmethod(forgetful))
    with pytest.raises(Wrong):
        examine_each(Stop.MARKED, (".log",))


def test_an_unchecked_snapshot_of_producers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry would be taken for a new batch, or a new batch for a retry."""
    monkeypatch.setattr("tidelog.storage.producer_state.crc32c", lambda data: Believed(crc32c(data)))
    with pytest.raises(Wrong):
        examine_each(Stop.CLEAN, (".snapshot",))


# The examiner itself.


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    """One that was stopped cleanly."""
    return next(iter(specimens([0])))


def test_what_is_not_damaged_is_harmless(specimen: Specimen) -> None:
    for path in specimen.files:
        assert examine(specimen, Damage(path=path, how="none", data=specimen.tree[path])) is Outcome.HARMLESS


def test_other_records_would_be_noticed(specimen: Specimen) -> None:
    """A batch of its own checksum, but not the one that was written."""
    path = max(path for path in specimen.files if path.endswith(".log"))
    other = next(one for one in specimens([3]) if one.stop is Stop.CLEAN)
    with pytest.raises(Wrong):
        examine(other, Damage(path=path, how="another log's", data=specimen.tree[path]))


def test_a_flip_turns_one_bit(specimen: Specimen) -> None:
    data = specimen.tree[HOME + "partition.metadata"]
    found = flipped(data, 13)
    assert [at for at in range(len(data)) if data[at] != found[at]] == [1]
    assert data[1] ^ found[1] == 1 << 5
    assert flipped(found, 13) == data
