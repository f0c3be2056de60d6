"""Lists as tables for people, columns for pipes, JSON for programs."""

import io
import json
import sys
from collections.abc import Sequence

import pytest

from tidelog.cli.output import Column, LiveTable, grouped, human_seconds, human_size, plural, print_json, print_rows

COLUMNS: Sequence[Column[tuple[str, int]]] = (
    Column("NAME", lambda row: row[0]),
    Column("COUNT", lambda row: row[1]),
    Column("NOTE", lambda row: None, wide=True),
)
ROWS = [("a", 14012), ("[red]b[/red]", 7)]


class Terminal(io.StringIO):
    """Somewhere a person looks."""

    def isatty(self) -> bool:
        return True


def test_off_a_terminal_rows_are_plain_columns_with_raw_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, COLUMNS, output=None)
    assert capsys.readouterr().out == "NAME\tCOUNT\na\t14012\n[red]b[/red]\t7\n"


@pytest.mark.parametrize("output", [None, "table"])
def test_what_a_stranger_named_neither_breaks_a_line_nor_commands_a_terminal(
    capsys: pytest.CaptureFixture[str], output: str | None
) -> None:
    print_rows([("\x1b[31mred\nb\tc\u202e über \u2603", 7)], COLUMNS, output=output)
    printed = capsys.readouterr().out
    assert "\\x1b[31mred\\nb\\tc\\u202e über \u2603" in printed
    assert "\x1b" not in printed


def test_wide_shows_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS[:1], COLUMNS, output="wide")
    assert capsys.readouterr().out == "NAME\tCOUNT\tNOTE\na\t14012\t\n"


def test_a_table_that_is_asked_for_off_a_terminal_has_no_escape_codes_and_is_not_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows([("x" * 200, 14012)], COLUMNS, output="table")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "x" * 200 in printed
    assert "14,012" in printed


def test_on_a_terminal_rows_are_a_table_and_markup_in_them_is_only_text(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_rows(ROWS, COLUMNS, output=None)
    assert "14,012" in terminal.getvalue()
    assert "[red]b[/red]" in terminal.getvalue()


def test_a_column_of_numbers_stands_to_the_right_even_if_some_are_missing_and_may_be_written_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    columns: Sequence[Column[object]] = (
        Column("LAG", lambda row: row),
        Column("TIME", lambda row: row, human=human_seconds),
    )
    print_rows([14012, "-", 0.5], columns, output="table")
    assert [line.split() for line in capsys.readouterr().out.splitlines()[3:-1]] == [
        ["14,012", "3h", "53m"], ["-", "-"], ["0.5", "500", "ms"],
    ]  # fmt: skip
    print_rows([14012], columns, output=None)
    assert capsys.readouterr().out == "LAG\tTIME\n14012\t14012\n"


def test_a_live_table_is_drawn_in_its_own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with LiveTable() as live:
        live.show(ROWS, COLUMNS, title="first")
        live.show(ROWS[:1], COLUMNS, title="second")
    shown = terminal.getvalue()
    assert shown.index("first") < shown.index("\x1b[1A") < shown.index("second")


def test_json_is_one_array_and_jsonl_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"a": "é"}, {"a": 14012}], output="json")
    assert json.loads(capsys.readouterr().out) == [{"a": "é"}, {"a": 14012}]
    print_json([{"a": "é"}, {"a": 14012}], output="jsonl")
    assert capsys.readouterr().out == '{"a":"é"}\n{"a":14012}\n'


def test_numbers_for_people() -> None:
    assert grouped(14012) == "14,012"
    assert [human_size(size) for size in (0, 999, 1000, 2_870_000, 3e9, 5e12)] == [
        "0 B", "999 B", "1.0 kB", "2.9 MB", "3.0 GB", "5.0 TB",
    ]  # fmt: skip
    assert [human_seconds(seconds) for seconds in (0, 0.25, 4.2, 65, 12_000, 180_000)] == [
        "0 s", "250 ms", "4.2 s", "1m 05s", "3h 20m", "2d 02h",
    ]  # fmt: skip
    assert (plural(0), plural(1), plural(2)) == ("s", "", "s")
