"""The table in the documents is what the tests are, and its columns name the clients that were run."""

import subprocess
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from support.clients.features import CLIENTS, READS_BACK, Mark
from support.clients.kcat import KcatClient
from support.clients.model import Client

ROOT = Path(__file__).resolve().parents[2]

_spec = spec_from_file_location("compat_grid", Path(__file__).with_name("grid.py"))
assert _spec is not None
assert _spec.loader is not None
grid = module_from_spec(_spec)
_spec.loader.exec_module(grid)


def test_the_page_says_what_the_tests_do() -> None:
    assert (ROOT / "docs" / grid.PAGE).read_text() == grid.page(), "run `make docs`"


def test_no_feature_stands_there_twice() -> None:
    labels = [row.label for row in grid.rows()]
    assert len(labels) == len(set(labels))


def test_what_a_client_cannot_do_is_a_feature_that_others_can() -> None:
    known = {row.label: row for row in grid.rows()}
    for kind in CLIENTS:
        for label in kind.cannot:
            assert Mark.TESTED in known[label].marks, f"{kind.name}: {label}"


@pytest.mark.parametrize("kind", CLIENTS, ids=lambda kind: kind.name)
def test_each_verb_of_a_client_is_used_by_a_test(kind: type[Client]) -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    verbs = [name for name in vars(Client) if not name.startswith("_") and callable(getattr(Client, name))]
    own = [verb for verb in verbs if getattr(kind, verb) is not getattr(Client, verb)]
    assert [verb for verb in own if f'"{verb}"' not in text and f".{verb}(" not in text] == []


def test_what_a_client_writes_is_read_by_another_one() -> None:
    assert set(READS_BACK) == set(CLIENTS)
    assert all(writer is not reader for writer, reader in READS_BACK.items())


def test_kcat_is_the_one_that_the_table_names() -> None:
    said = subprocess.run(["kcat", "-V"], capture_output=True, text=True, check=True).stdout
    assert f"Version {KcatClient.version}." in said
