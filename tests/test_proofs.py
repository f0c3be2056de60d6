"""The README's table of what we tried to break is what the proofs found."""

from pathlib import Path

import pytest

from support import proofs
from support.proofs import BUILD, PROOFS, README, RELEASE, ROOT, Figures

KEPT = proofs.read()


def test_the_table_says_what_the_proofs_found() -> None:
    assert proofs.with_table(README.read_text(), KEPT) == README.read_text(), "run `make docs`"


@pytest.mark.parametrize("name", PROOFS)
def test_nothing_was_lost_and_nothing_was_spared(name: str) -> None:
    assert (ROOT / PROOFS[name].where).exists()
    assert BUILD in KEPT[name], "each build carries out every proof"
    for run, figures in KEPT[name].items():
        assert figures.lost == 0
        assert figures.size >= proofs.demanded(name, run)


# -- the collection itself --


def test_the_parts_of_a_proof_are_summed(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    for part, size in (("ext4", 1), ("ext4", 2), ("xfs", 2)):
        proofs.record(
            "power cuts", part=part, size=size, lost=0, details={"records": 7}, is_release=False, folder=tmp_path
        )
    assert proofs.collect(tmp_path, kept) == []
    assert proofs.read(kept) == {"power cuts": {BUILD: Figures(size=4, lost=0, details={"records": 14})}}


def test_a_run_that_is_too_small_is_taken_only_if_it_lost_something(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    proofs.record("kill -9", size=19, lost=0, is_release=False, folder=tmp_path)
    proofs.record("kill -9", size=1_000, lost=0, is_release=True, folder=tmp_path)
    proofs.record("power cuts", size=1, lost=3, is_release=False, folder=tmp_path)
    assert proofs.collect(tmp_path, kept) == ["kill -9: 19 is too small for a build"]
    known = proofs.read(kept)
    assert known == {
        "kill -9": {RELEASE: Figures(size=1_000, lost=0)},
        "power cuts": {BUILD: Figures(size=1, lost=3)},
    }
    rows = proofs.table(known).splitlines()[2:]
    assert [row.split(" | ")[1:] for row in rows] == [
        ["not yet", "1,000 kills", "nothing |"],
        ["1 power cuts", "not yet", "**3 lost** |"],
    ]


def test_what_was_kept_stays_until_there_is_something_newer(tmp_path: Path) -> None:
    first, second, kept = tmp_path / "1", tmp_path / "2", tmp_path / "kept.json"
    proofs.record("kill -9", size=20, lost=0, is_release=False, folder=first)
    proofs.record("full disk", size=20, lost=0, is_release=False, folder=first)
    proofs.record("kill -9", size=26, lost=0, is_release=False, folder=second)
    for folder in (first, second):
        assert proofs.collect(folder, kept) == []
    assert {name: runs[BUILD].size for name, runs in proofs.read(kept).items()} == {"kill -9": 26, "full disk": 20}


def test_a_proof_without_a_row_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no row for"):
        proofs.record("prayers", size=1, lost=0, folder=tmp_path)


def test_only_the_table_of_the_readme_changes() -> None:
    readme = f"# before\n\n{proofs.BEGIN}\nold\n\n{proofs.END}\nafter\n"
    changed = proofs.with_table(readme, {"full disk": {BUILD: Figures(size=20, lost=0, details={"refused": 1_234})}})
    assert changed.startswith(f"# before\n\n{proofs.BEGIN}\n| what")
    assert "| 20 rounds, 1,234 refused | not yet | nothing |\n" in changed
    assert changed.endswith(f"|\n\n{proofs.END}\nafter\n")
    assert proofs.with_table(changed, {}).count("\n") == readme.count("\n") + 1
