"""How lists and descriptions are printed: a table for people, JSON for programs, plain columns for pipes.

Numbers are raw in JSON and grouped in tables. A table is drawn on a terminal, or where `-o table` asks for it;
elsewhere the same columns are tab-separated text without a single escape code. rich is imported only for a table.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import click

from .commands import Settings

FORMATS = ("table", "wide", "json", "jsonl")

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column of a table: its heading, and what stands in it for a row."""

    name: str
    value: Callable[[Row], object]
    wide: bool = False
    """Shown only with `-o wide`."""


def _chosen(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """Let errors take the form of the answer."""
    context.ensure_object(Settings).output = value
    return value


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(FORMATS),
    callback=_chosen,
    help="How to print the answer; a table on a terminal, plain columns elsewhere.",
)


def print_rows(rows: Sequence[Row], columns: Sequence[Column[Row]], *, output: str | None, title: str = "") -> None:
    """Print rows as a table, or as tab-separated columns where no table is wanted."""
    shown = [column for column in columns if output == "wide" or not column.wide]
    cells = [[column.value(row) for column in shown] for row in rows]
    if output == "table" or sys.stdout.isatty():
        _print_table(shown, cells, title)
        return
    click.echo("\t".join(column.name for column in shown))
    for line in cells:
        click.echo("\t".join("" if cell is None else str(cell) for cell in line))


def print_json(items: Sequence[object], *, output: str) -> None:
    """Print items as one JSON array, or as a line each."""
    if output == "jsonl":
        for item in items:
            click.echo(json.dumps(item, ensure_ascii=False, separators=(",", ":")))
    else:
        click.echo(json.dumps(list(items), ensure_ascii=False, indent=2))


def grouped(number: int) -> str:
    """A number for people: 14,012."""
    return f"{number:,}"


def plural(count: int) -> str:
    """The s behind a noun, where there is one."""
    return "" if count == 1 else "s"


def human_size(size: float) -> str:
    """Bytes for people: 2.9 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _print_table(columns: Sequence[Column[Row]], cells: Sequence[Sequence[object]], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for position, column in enumerate(columns):
        numeric = all(isinstance(line[position], int) for line in cells)
        table.add_column(column.name, justify="right" if numeric else "left", no_wrap=True)
    for line in cells:
        table.add_row(*(_cell(cell) for cell in line))
    # Off a terminal a table has no width to obey: it must not be cut at 80 columns.
    width = None if sys.stdout.isatty() else 500
    Console(file=sys.stdout, highlight=False, markup=False, width=width).print(table)


def _cell(cell: object) -> str:
    if cell is None:
        return "-"
    return grouped(cell) if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
