"""The gate of mutants: what keeps records safe is taken out of the code, one piece at a time, and is missed [A1].

See `crash.mutants`. `python -m crash.mutants --only TEXT --tell`, from tests/, shows what became of single ones.
"""

import ast
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from crash.mutants import SCOPE, Kind, Mutant, find, mutants_of
from support.proofs import record

PROCESSES = 2
EXCUSED_MAX = 25
MUTANTS_MIN = 200
TESTS = Path(__file__).resolve().parents[1]


def test_no_mutant_survives() -> None:
    """A1: every sync, rename and check."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": "0"}
    environment.pop("TIDELOG_PROOF", None)  # the tests that have to notice are those of every build
    command = [sys.executable, "-m", "crash.mutants", "--part"]
    running = [
        subprocess.Popen([*command, f"{n}/{PROCESSES}"], env=environment, cwd=TESTS, stdout=subprocess.PIPE, text=True)
        for n in range(PROCESSES)
    ]
    killed, survivors = 0, []
    for process in running:
        told, _ = process.communicate()
        assert process.returncode in (0, 1), f"ended with {process.returncode}"
        found = json.loads(told.splitlines()[-1])
        survivors.extend(found["survivors"])
        killed += sum(found["killed"].values()) - len(found["survivors"])
    record("mutants", size=killed + len(survivors), lost=len(survivors))
    assert not survivors, "\n".join(survivors)
    assert killed >= MUTANTS_MIN


def test_few_are_excused_and_each_with_a_reason() -> None:
    excused = [mutant for mutant in find() if mutant.excuse]
    assert len(excused) <= EXCUSED_MAX, [mutant.name for mutant in excused]
    assert all(len(mutant.excuse) > 20 for mutant in excused)


def test_the_scope_is_there() -> None:
    found = {mutant.file for mutant in find()}
    assert {"protocol/batch.py", "storage/checkpoint.py", "storage/recovery.py", "storage/segment.py"} <= found
    assert all(list((TESTS.parent).glob(pattern)) for pattern in SCOPE)


# What is found in a piece of code.


def found_in(text: str, file: str = "storage/planted.py") -> list[Mutant]:
    return list(mutants_of(file, textwrap.dedent(text)))


def test_a_sync_is_found_wherever_it_stands() -> None:
    found = found_in(
        """
        class File:
            def close(self):
                for one in self.files:
                    one.sync()
                self.disk.sync_directory("")
        def synced(descriptor):
            return os.fdatasync(descriptor)
        """
    )
    assert [(one.function, one.kind, one.what) for one in found] == [
        ("File.close", Kind.SYNC, "one.sync()"),
        ("File.close", Kind.SYNC, "self.disk.sync_directory('')"),
        ("synced", Kind.SYNC, "os.fdatasync(descriptor)"),
    ]


def test_without_the_rename_the_file_is_written_in_place() -> None:
    [mutant] = found_in(
        """
        def replace(disk, path):
            temporary = path + ".tmp"
            write(disk, temporary)
            disk.rename(temporary, path)
        """
    )
    assert mutant.kind is Kind.RENAME
    assert "temporary = path\n" in source_of(mutant)
    assert "rename" not in source_of(mutant)


def test_each_reason_of_a_check_is_taken_out_by_itself() -> None:
    found = found_in(
        """
        def check(header, crc):
            if header.magic != 2 or (header.crc != crc and header.size):
                raise CorruptLog("no")
            if header.is_old:
                return 1
        """
    )
    assert [one.what for one in found] == ["header.magic != 2", "header.crc != crc and header.size"]
    assert "if header.magic != 2 or False:" in source_of(found[1])


def test_a_check_that_ends_well_is_passed_always() -> None:
    [mutant] = found_in(
        """
        def resume(entries, known):
            if entries.known == known:
                return entries
            raise CorruptLog("others")
        """
    )
    assert "if True:" in source_of(mutant)


def test_every_refusal_is_a_check_however_it_is_said() -> None:
    found = found_in(
        """
        def check(batches, end):
            if not batches:
                return
            for batch in batches:
                if batch.is_gone:
                    continue
                if batch.end > end:
                    break
                if batch.crc != 7:
                    raise BadBatch("no")
                if batch.is_last:
                    return batch
                if batch.epoch > 9:
                    return False
                if batch.is_old:
                    end += 1
        """
    )
    assert [one.what for one in found] == [
        "not batches",
        "batch.is_gone",
        "batch.end > end",
        "batch.crc != 7",
        "batch.epoch > 9",
    ]


def test_of_what_the_broker_refuses_only_what_it_refuses_for_the_disks_sake_is_a_check() -> None:
    text = """
        def append(log, request):
            if request.size > 9:
                raise RequestRefused("large")
            if log.recovered.lost:
                return None
        """
    assert [one.what for one in found_in(text, file="broker/topics/planted.py")] == ["log.recovered.lost"]


def test_an_excuse_stands_beside_what_it_excuses() -> None:
    [mutant] = found_in(
        """
        def close(file):
            # Safe without: what it makes durable is read by nobody,
            # and made again.
            file.sync()
        """
    )
    assert mutant.excuse == "what it makes durable is read by nobody, and made again."


def source_of(mutant: Mutant) -> str:
    return ast.unparse(mutant.tree)
