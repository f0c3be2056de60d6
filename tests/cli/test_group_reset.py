"""Reset: a plan of where a group goes on, confirmed, and done."""

from pathlib import Path

import pytest

from support.builders import BASE_TIMESTAMP
from support.command_line import Stub, Tidelog, run_on_a_terminal
from support.fake_broker import Fault
from support.group_scene import fill, three_groups
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode

HEADING = "GROUP\tTOPIC\tPARTITION\tCURRENT-OFFSET\tNEW-OFFSET\tCHANGE"


@pytest.fixture
def scene(stub: Stub) -> Stub:
    three_groups(stub)
    for log in stub.cluster.topics["orders"].partitions:
        log.start_offset = 2
    return stub


def committed(scene: Stub, group: str = "billing", topic: str = "orders") -> list[int]:
    offsets = scene.cluster.groups[group].offsets
    return [offsets[place][0] for place in sorted(offsets) if place[0] == topic]


def reset(tidelog: Tidelog, scene: Stub, line: str, given: bytes | None = None) -> list[int]:
    """What `billing` has committed of `orders` after a reset by such a line; it was 4 and 20 of 2 to 10 and 20."""
    ended = tidelog("group", "reset", "billing", *line.split(), "--yes", given=given, server=scene.server)
    assert ended.code == 0, ended.err
    return committed(scene)


@pytest.mark.parametrize(
    ("line", "offsets"),
    [
        ("--to start", [2, 2]),
        ("--to earliest", [2, 2]),
        ("--to end", [10, 20]),
        ("--to 5", [5, 5]),
        ("--to +3", [5, 5]),
        ("--to -3", [7, 17]),
        ("--to current", [4, 20]),
        (f"--to @{BASE_TIMESTAMP + 6}", [6, 6]),
        (f"--to @{BASE_TIMESTAMP + 12}", [10, 12]),
        ("--to @-1h", [10, 20]),
        ("--by-duration 1h", [10, 20]),
        ("--by-duration PT1H30M", [10, 20]),
        ("--by-duration P36500D", [2, 2]),
        ("--shift-by -2", [2, 18]),
        ("--to current --shift-by -1", [3, 19]),
        ("--to end --shift-by -1", [9, 19]),
        ("--to start -t orders:1", [4, 2]),
        ("--to 5 -t orders:0 -t orders:1", [5, 5]),
    ],
)
def test_a_place_is_found_in_every_partition(tidelog: Tidelog, scene: Stub, line: str, offsets: list[int]) -> None:
    assert reset(tidelog, scene, line) == offsets


def test_without_topics_only_what_was_committed_is_set(tidelog: Tidelog, scene: Stub) -> None:
    del scene.cluster.groups["billing"].offsets["orders", 1]
    assert reset(tidelog, scene, "--to start") == [2]
    assert reset(tidelog, scene, "--to start -t orders") == [2, 2]


def test_what_the_log_does_not_hold_becomes_the_nearest_that_it_does_and_that_is_said(
    tidelog: Tidelog, scene: Stub
) -> None:
    ended = tidelog("group", "reset", "billing", "--to", "15", "--yes", server=scene.server)
    assert (ended.code, committed(scene)) == (0, [10, 15])
    assert ended.err == "note: orders[0]: 15 lies beyond the log's end; 10 is taken\n"
    ended = tidelog("group", "reset", "billing", "--shift-by", "-9", "--yes", server=scene.server)
    assert (ended.code, committed(scene)) == (0, [2, 6])
    assert ended.err == "note: orders[0]: 1 lies before the log's start; 2 is taken\n"


def test_the_plan_is_shown_and_nothing_is_done_where_nobody_can_be_asked(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "reset", "billing", "--to", "start", server=scene.server)
    assert (ended.code, ended.err[:16]) == (2, "error[TL-0003]: ")
    assert ended.out.splitlines() == [HEADING, "billing\torders\t0\t4\t2\t-2", "billing\torders\t1\t20\t2\t-18"]
    assert committed(scene) == [4, 20]
    dry = tidelog("group", "reset", "billing", "--to", "start", "--dry-run", server=scene.server)
    assert (dry.code, dry.out) == (0, ended.out)
    assert committed(scene) == [4, 20]
    done = tidelog("group", "reset", "billing", "--to", "start", "--yes", server=scene.server)
    assert done.out == f"{ended.out}2 offsets of billing set\n"


@pytest.mark.parametrize(("answer", "code", "offsets"), [(b"billing\n", 0, [2, 2]), (b"yes\n", 1, [4, 20])])
def test_on_a_terminal_the_groups_name_must_be_typed(scene: Stub, answer: bytes, code: int, offsets: list[int]) -> None:
    ended, shown = run_on_a_terminal(scene, answer, "group", "reset", "billing", "--to", "start")
    assert ended == code, shown
    assert "NEW-OFFSET" in shown
    assert committed(scene) == offsets


def test_a_group_in_use_is_refused_and_may_still_be_planned(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "reset", "reports", "--to", "start", "--yes", server=scene.server)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error[TL-0602]: group 'reports' is Stable with 2 members: it can be reset when")
    ended = tidelog("group", "reset", "reports", "--to", "start", "--dry-run", server=scene.server)
    assert (ended.code, ended.out.splitlines()[1:]) == (0, ["reports\torders\t0\t3\t2\t-1"])
    assert ended.err.startswith("note: group 'reports' is Stable with 2 members")


def test_a_member_that_comes_in_between_is_noticed_by_the_coordinator(tidelog: Tidelog, scene: Stub) -> None:
    scene.cluster.fail(ApiKey.OFFSET_COMMIT, Fault(refuse=ErrorCode.UNKNOWN_MEMBER_ID))
    ended = tidelog("group", "reset", "billing", "--to", "start", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (1, "error[TL-0602]: ")


def test_a_group_that_does_not_exist_is_made_for_topics_that_are_named(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "reset", "new", "-t", "orders", "--to", "end", "--yes", server=scene.server)
    assert (ended.code, ended.out.splitlines()[1]) == (0, "new\torders\t0\t-\t10\t-")
    assert committed(scene, "new") == [10, 20]
    assert tidelog("group", "reset", "newer", "--to", "end", "--yes", server=scene.server).code == 5
    ended = tidelog("group", "reset", "newer", "-t", "nope", "--to", "end", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (5, "error[TL-0201]: ")
    ended = tidelog("group", "reset", "newer", "-t", "orders:7", "--to", "end", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (5, "error[TL-0203]: ")


def test_where_nothing_was_committed_current_is_the_end_and_cannot_be_shifted(tidelog: Tidelog, scene: Stub) -> None:
    assert reset(tidelog, scene, "--to current -t clicks") == [4, 20]
    assert committed(scene, topic="clicks") == [100, 0]
    ended = tidelog("group", "reset", "new", "-t", "orders", "--shift-by", "1", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (1, "error[TL-0605]: ")


def test_offsets_of_another_group_are_taken_over(tidelog: Tidelog, scene: Stub) -> None:
    line = ("group", "reset", "fresh", "--to-group", "billing", "--yes")
    assert tidelog(*line, server=scene.server).code == 0
    assert committed(scene, "fresh") == [4, 20]
    assert tidelog(*line, "--shift-by", "-1", "-t", "orders:1", server=scene.server).code == 0
    assert committed(scene, "fresh") == [4, 19]
    assert tidelog("group", "reset", "fresh", "--to-group", "nope", "--yes", server=scene.server).code == 5
    ended = tidelog("group", "reset", "fresh", "--to-group", "search", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (1, "error[TL-0605]: ")


def test_what_is_exported_can_be_given_back(tidelog: Tidelog, scene: Stub, tmp_path: Path) -> None:
    saved = tmp_path / "billing.csv"
    ended = tidelog("group", "reset", "billing", "--export", str(saved), server=scene.server)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert saved.read_text() == "orders,0,4\norders,1,20\n"
    assert reset(tidelog, scene, "--to start") == [2, 2]
    assert reset(tidelog, scene, f"--from-file {saved}") == [4, 20]
    assert reset(tidelog, scene, "--from-file -", b"billing,orders,0,3\nreports,orders,1,3\n") == [3, 20]


def test_the_offsets_of_a_group_in_use_can_be_saved(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "reset", "reports", "--export", "-", server=scene.server)
    assert (ended.code, ended.out, ended.err) == (0, "orders,0,3\n", "")


def test_a_plan_can_be_exported_and_carried_out_later(tidelog: Tidelog, scene: Stub, tmp_path: Path) -> None:
    saved = tmp_path / "plan.csv"
    line = ("group", "reset", "billing", "--to", "15", "--dry-run", "--export", str(saved))
    assert tidelog(*line, server=scene.server).code == 0
    assert saved.read_text() == "orders,0,10\norders,1,15\n"
    assert committed(scene) == [4, 20]


@pytest.mark.parametrize(
    ("given", "code"), [(b"orders;0;1\n", "TL-0606"), (b"", "TL-0605"), (b"reports,orders,0,1\n", "TL-0605")]
)
def test_a_file_that_says_nothing_is_refused(tidelog: Tidelog, scene: Stub, given: bytes, code: str) -> None:
    ended = tidelog("group", "reset", "billing", "--from-file", "-", "--yes", given=given, server=scene.server)
    assert (ended.code, ended.err[6:13]) == (1, code)


def test_a_group_that_has_committed_nothing_is_told_to_name_topics(tidelog: Tidelog, scene: Stub) -> None:
    scene.cluster.groups["billing"].offsets.clear()
    ended = tidelog("group", "reset", "billing", "--to", "start", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (1, "error[TL-0605]: ")
    assert "-t TOPIC" in ended.err


def test_a_topic_that_is_gone_is_named(tidelog: Tidelog, scene: Stub) -> None:
    scene.cluster.groups["billing"].commit("gone", 1)
    ended = tidelog("group", "reset", "billing", "--to", "start", "--yes", server=scene.server)
    assert (ended.code, "'gone'" in ended.err) == (5, True)


@pytest.mark.parametrize(
    "line",
    [
        "billing",
        "--to start",
        "billing other --to start",
        "billing --to start --by-duration 1h",
        "billing --to-group a --from-file -",
        "billing --to middle",
        "billing --to 1:2",
        "billing --to :end",
        "billing --by-duration soon",
        "billing --by-duration P",
        "billing --by-duration PT",
        "billing --to start -t orders:x",
        "billing --from-file /no/such/file",
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(tidelog: Tidelog, scene: Stub, line: str) -> None:
    ended = tidelog("group", "reset", *line.split(), "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (2, "error[TL-0002]: ")
    assert committed(scene) == [4, 20]


def test_many_topics_are_looked_at_in_one_visit(tidelog: Tidelog, scene: Stub) -> None:
    for number in range(5):
        fill(scene, f"t{number}", 3)
    topics = [word for number in range(5) for word in ("-t", f"t{number}")]
    ended = tidelog("group", "reset", "billing", *topics, "--to", "end", "--yes", server=scene.server)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "5 offsets of billing set")
    assert len(scene.cluster.seen(ApiKey.OFFSET_COMMIT)) == 1
