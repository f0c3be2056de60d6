"""Lag: once, again and again, and as a gate."""

import json
import os
import pty
import subprocess
import sys

import click
import pytest

from support.command_line import Stub, Tidelog, press_ctrl_c
from support.group_scene import three_groups
from tidelog.cli.group_lag import Limit, limit


@pytest.fixture
def scene(stub: Stub) -> Stub:
    three_groups(stub)
    return stub


def test_a_line_stands_for_a_group_a_topic_or_a_partition(tidelog: Tidelog, scene: Stub) -> None:
    assert tidelog("group", "lag", server=scene.server).out.splitlines() == [
        "GROUP\tSTATE\tMEMBERS\tPARTITIONS\tNEVER-COMMITTED\tLAG",
        "billing\tEmpty\t0\t2\t0\t6",
        "reports\tStable\t2\t2\t1\t7",
        "search\tStable\t1\t0\t0\t-",
    ]
    assert tidelog("group", "lag", "--by", "topic", server=scene.server).out.splitlines() == [
        "GROUP\tTOPIC\tPARTITIONS\tNEVER-COMMITTED\tLAG",
        "billing\torders\t2\t0\t6",
        "reports\torders\t2\t1\t7",
    ]
    assert tidelog("group", "lag", "reports", "--by", "partition", server=scene.server).out.splitlines() == [
        "GROUP\tTOPIC\tPARTITION\tCURRENT-OFFSET\tLOG-END-OFFSET\tLAG",
        "reports\torders\t0\t3\t10\t7",
        "reports\torders\t1\t-\t20\t-",
    ]


def test_the_age_of_the_first_unread_record_is_told_if_it_is_wanted(tidelog: Tidelog, scene: Stub) -> None:
    told = tidelog("group", "lag", "--time", server=scene.server).out.splitlines()
    assert [line.split("\t")[-1] for line in told] == ["TIME", "5.0", "90.0", "-"]
    assert "1m 30s" in tidelog("group", "lag", "--time", "-o", "table", server=scene.server).out


def test_lag_may_be_narrowed_to_topics_and_partitions(tidelog: Tidelog, scene: Stub) -> None:
    scene.cluster.groups["billing"].commit("clicks", 0, 0)
    line = ("group", "lag", "billing", "--by", "partition", "-t", "orders:0", "-t", "clicks")
    told = tidelog(*line, server=scene.server).out.splitlines()[1:]
    assert [row.split("\t")[1:3] for row in told] == [["clicks", "0"], ["clicks", "1"], ["orders", "0"]]


def test_groups_that_have_nothing_of_a_topic_are_left_out(tidelog: Tidelog, scene: Stub) -> None:
    told = tidelog("group", "lag", "-t", "orders", server=scene.server).out.splitlines()[1:]
    assert [row.split("\t")[0] for row in told] == ["billing", "reports"]


@pytest.mark.parametrize(
    ("words", "who"),
    [
        ("-t ordres", "no group"),
        ("billing -t ordres", "group 'billing'"),
        ("billing search -t orders", "group 'search'"),
    ],
)
def test_a_gate_on_a_topic_that_nobody_reads_does_not_stand_open(
    tidelog: Tidelog, scene: Stub, words: str, who: str
) -> None:
    done = tidelog("group", "lag", *words.split(), "--over", "1000", server=scene.server)
    assert done.code == 1
    assert f"{who} has committed" in done.err


def test_the_gate_says_what_it_does_not_know(tidelog: Tidelog, scene: Stub) -> None:
    done = tidelog("group", "lag", "reports", "--over", "7", server=scene.server)
    assert done.code == 0
    assert "note: reports: 1 partition never committed, lag not known" in done.err
    assert "note" not in tidelog("group", "lag", "billing", "--over", "7", server=scene.server).err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--over 7", 0),
        ("--over 6", 4),
        ("billing --over 6", 0),
        ("billing --over 5", 4),
        ("--over 2m", 0),
        ("--over 1m", 4),
        ("billing --over 5 --by partition -t orders:1", 0),
        ("search --over 0", 0),
    ],
)
def test_the_gate_ends_with_four_when_a_line_is_over_it(tidelog: Tidelog, scene: Stub, words: str, code: int) -> None:
    ended = tidelog("group", "lag", *words.split(), server=scene.server)
    assert ended.code == code, ended.err
    assert ended.out.startswith("GROUP")
    assert ended.err.startswith("error[TL-0604]: ") == (code == 4)


def test_the_gate_names_who_is_furthest_behind(tidelog: Tidelog, scene: Stub) -> None:
    told = tidelog("group", "lag", "--over", "5", server=scene.server).err
    assert "reports is 7 records behind, over the 5 records allowed, and 1 more" in told
    told = tidelog("group", "lag", "--over", "3s", server=scene.server).err
    assert "reports is 1m 30s behind, over the 3.0 s allowed, and 1 more" in told


def test_a_limit_is_a_number_of_records_or_a_duration() -> None:
    assert limit("1000") == Limit(1000, is_time=False)
    assert limit("90s") == Limit(90.0, is_time=True)
    assert limit("1m30s") == Limit(90.0, is_time=True)
    for text in ("", "1.5", "-1", "many", "."):
        with pytest.raises(click.BadParameter):
            limit(text)


def test_off_a_terminal_a_watch_prints_a_json_object_a_line(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "lag", "billing", "-w", "-n", "2", "--every", "10ms", server=scene.server)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["lag"] for line in lines] == [6, 6]
    assert lines[0]["at_ms"] <= lines[1]["at_ms"]
    assert set(lines[0]) - {"at_ms"} == set(
        json.loads(tidelog("group", "lag", "billing", "-o", "json", server=scene.server).out)[0]
    )


def test_groups_that_cannot_be_told_of_hide_no_others(tidelog: Tidelog, scene: Stub) -> None:
    """But no gate lets them pass."""
    scene.cluster.unavailable_partitions = (3,)
    for options in ((), ("--over", "1000"), ("-w", "--over", "1000"), ("-w", "-n", "2", "--every", "10ms")):
        ended = tidelog("group", "lag", *options, server=scene.server)
        assert ended.out.count("reports") == (2 if "-n" in options else 1)
        assert (ended.code, "__consumer_offsets-3" in ended.err) == (3, True)
    assert tidelog("group", "lag", "billing", "--over", "1000", server=scene.server).code == 0


def test_the_gate_ends_a_watch(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "lag", "billing", "-w", "--over", "5", server=scene.server)
    assert (ended.code, len(ended.out.splitlines())) == (4, 1)


def test_looks_are_counted_in_a_watch_only(tidelog: Tidelog, scene: Stub) -> None:
    assert tidelog("group", "lag", "-n", "2", server=scene.server).code == 2


def test_on_a_terminal_a_watch_is_a_table_in_its_place_until_ctrl_c(scene: Stub) -> None:
    master, terminal = pty.openpty()
    environment = {**os.environ, "TIDELOG_SERVER": scene.server, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "tidelog", "group", "lag", "-w", "--every", "50ms"]
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    ) as running:
        os.close(terminal)
        shown = b""
        while shown.count(b"billing") < 3:
            chunk = os.read(master, 4096)
            assert chunk, shown
            shown += chunk
        press_ctrl_c(running)
    os.close(master)
    assert running.returncode == 130
    assert b"\x1b[1A" in shown
    assert b"Ctrl-C ends" in shown
