"""The command tree: every page has help and examples, and every example runs as it stands."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from support.command_line import Tidelog
from support.process import BrokerProcess
from tidelog.cli.commands import Command, Group
from tidelog.cli.tree import root

GIVEN = """
tidelog topic create orders -p 2
seq 20 | tidelog produce orders -q
tidelog group reset billing -t orders --to start --yes
tidelog group reset staging -t orders --to end --yes
cp -r "$DATA_DIR" tidelog-data
"""
"""What the examples take for granted: a topic with records, two groups that have read it, a data directory."""


def pages(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command | Group]]:
    """Every command and group, with the words that lead to it."""
    assert isinstance(command, Command | Group)
    yield path, command
    if isinstance(command, Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from pages(child, (*path, name))


PAGES = dict(pages(root))
EXAMPLES = [(path, example) for path, page in PAGES.items() for example in page.examples]


def test_the_tree_is_what_the_documents_describe() -> None:
    assert {" ".join(path) for path in PAGES} == {
        "", "serve", "produce", "consume", "health", "version",
        "topic", "topic ls", "topic describe", "topic create", "topic alter", "topic rm",
        "group", "group ls", "group describe", "group lag", "group reset", "group rm", "group rm-offsets", "group kick",
        "log", "log dump", "log recreate", "log stat", "log verify",
    }  # fmt: skip


@pytest.mark.parametrize("path", PAGES, ids=" ".join)
def test_every_page_explains_itself_and_ends_with_examples(tidelog: Tidelog, path: tuple[str, ...]) -> None:
    page = tidelog(*path, "--help").out
    text, _, examples = page.partition("\nExamples:\n")
    assert PAGES[path].help
    assert 2 <= len(examples.splitlines()) <= 4
    assert all(line.startswith("  ") and "tidelog " in line for line in examples.splitlines())
    assert all(len(line) <= 80 for line in text.splitlines())


def test_every_option_says_what_it_does() -> None:
    for path, page in PAGES.items():
        for option in page.get_params(click.Context(page)):
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, f"{' '.join(path)}: {option.opts}"


def test_the_line_in_the_list_of_commands_fits_the_page() -> None:
    assert isinstance(root, Group)
    for name, (_, line) in root.lazy.items():
        assert line.endswith("."), name
        assert len(line) <= 60, name


def environment(broker: BrokerProcess) -> dict[str, str]:
    """In which the examples' defaults lead to the test's broker, and a broker of their own finds free ports."""
    return {
        **broker.environment(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TIDELOG_HTTP": broker.http,
        "TIDELOG_SERVE_LISTEN": "127.0.0.1:0",
        "TIDELOG_SERVE_HTTP": "127.0.0.1:0",
        "DATA_DIR": str(broker.data_dir),
    }


def is_a_broker(example: str) -> bool:
    """Whether it runs until it is told to stop."""
    return example.startswith("tidelog serve") and "--check-config" not in example


def test_every_example_runs(broker: BrokerProcess, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for _, example in [((), line) for line in GIVEN.strip().splitlines()] + EXAMPLES:
        if is_a_broker(example):
            continue
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", example],
            cwd=here,
            env=environment(broker),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{example}\n{done.stderr.decode()}"
        assert "error" not in done.stderr.decode(), example


@pytest.mark.parametrize("example", [example for _, example in EXAMPLES if is_a_broker(example)])
def test_every_example_of_a_broker_serves_until_it_is_told_to_stop(
    broker: BrokerProcess, tmp_path: Path, example: str
) -> None:
    with subprocess.Popen(
        ["bash", "-c", f"exec {example}"],
        cwd=tmp_path,
        env=environment(broker),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert b" ready in " in running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 0, err.decode()
