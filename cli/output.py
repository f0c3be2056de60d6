"""How lists and descriptions are printed: a table for people, JSON for programs, plain columns for pipes.

Numbers are raw in JSON and grouped in tables. A table is drawn on a terminal, or where `-o table` asks for it;
elsewhere the same columns are tab-separated text without a single escape code. What a client has called itself, or its
group, may hold anything: it neither breaks a line nor commands a terminal. rich is imported only for a table.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import click

from .commands import Settings

FORMATS = ("table", "wide", "json", "jsonl")
NOTHING = (None, "-")
"""What stands in a column of numbers where there is none."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column of a table: its heading, and what stands in it for a row."""

    name: str
    value: Callable[[Row], object]
    wide: bool = False
    """Shown only with `-o wide`."""
    human: Callable[[float], str] | None = None
    """How a number is written in a table; with its thousands grouped otherwise."""


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
    if output == "table" or sys.stdout.isatty():
        from rich.console import Console

        # Off a terminal a table has no width to obey: it must not be cut at 80 columns.
        width = None if sys.stdout.isatty() else 500
        Console(file=sys.stdout, highlight=False, markup=False, width=width).print(_table(rows, shown, title))
        return
    click.echo("\t".join(column.name for column in shown))
    for row in rows:
        cells = [column.value(row) for column in shown]
        click.echo("\t".join("" if cell is None else printable(str(cell)) for cell in cells))


def print_json(items: Sequence[object], *, output: str) -> None:
    """Print items as one JSON array, or as a line each."""
    if output == "jsonl":
        for item in items:
            click.echo(json.dumps(item, ensure_ascii=False, separators=(",", ":")))
    else:
        click.echo(json.dumps(list(items), ensure_ascii=False, indent=2))


def printable(text: str) -> str:
    """The text with whatever is not to be seen written out: a line break is \\n."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def human_seconds(seconds: float) -> str:
    """A duration for people: 250 ms, 4.2 s, 1m 05s, 3h 20m, 2d 04h."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes}m {int(seconds) % 60:02}s"
    hours = minutes // 60
    return f"{hours}h {minutes % 60:02}m" if hours < 24 else f"{hours // 24}d {hours % 24:02}h"


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


class LiveTable:
    """A table on a terminal that is drawn anew in its place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(file=sys.stdout, highlight=False, markup=False), auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def show(self, rows: Sequence[Row], columns: Sequence[Column[Row]], *, title: str) -> None:
        """Draw these rows instead of those before."""
        from rich.table import Table

        table = _table(rows, columns, title)
        assert isinstance(table, Table)
        self._live.update(table, refresh=True)


def _table(rows: Sequence[Row], columns: Sequence[Column[Row]], title: str) -> object:
    """The rows for a terminal; columns of numbers stand to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    cells = [[column.value(row) for row in rows] for column in columns]
    for column, values in zip(columns, cells, strict=True):
        numeric = set(map(type, values)) & {int, float} and all(
            isinstance(value, int | float) or value in NOTHING for value in values
        )
        table.add_column(column.name, justify="right" if numeric else "left", no_wrap=True)
    for position in range(len(rows)):
        table.add_row(*(_cell(values[position], column) for column, values in zip(columns, cells, strict=True)))
    return table


def _cell(cell: object, column: Column[Row]) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return printable(str(cell))
    if column.human is not None:
        return column.human(cell)
    return grouped(cell) if isinstance(cell, int) else f"{cell:g}"
