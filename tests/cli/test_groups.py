"""Groups: listed, described, removed, and their members sent away."""

import pytest

from support.command_line import Stub, Tidelog, run_on_a_terminal
from support.fake_broker import Fault
from support.golden import assert_golden
from support.group_scene import three_groups
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode

NOBODY = "-\t-\t-"


@pytest.fixture
def scene(stub: Stub) -> Stub:
    three_groups(stub)
    return stub


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("group-ls.json", "ls -o json"),
        ("group-ls-details.json", "ls -d -o json"),
        ("group-ls.jsonl", "ls -o jsonl"),
        ("group-describe.json", "describe billing reports search -o json"),
        ("group-lag.json", "lag -o json"),
        ("group-lag-by-topic.json", "lag --by topic -o json"),
        ("group-lag-by-partition.json", "lag --by partition -o json"),
        ("group-reset.json", "reset billing --shift-by 5 --dry-run -o json"),
    ],
)
def test_what_programs_read_has_a_stable_shape(tidelog: Tidelog, scene: Stub, file: str, line: str) -> None:
    ended = tidelog("group", *line.split(), server=scene.server)
    assert ended.code == 0, ended.err
    assert_golden(file, ended.out, server=scene.server)


def test_the_list_is_sorted_and_may_be_filtered(tidelog: Tidelog, scene: Stub) -> None:
    assert tidelog("group", "ls", server=scene.server).out.splitlines() == [
        "GROUP\tTYPE\tPROTOCOL\tSTATE",
        "billing\tclassic\tconsumer\tEmpty",
        "reports\tclassic\tconsumer\tStable",
        "search\tconsumer\tconsumer\tStable",
    ]
    assert tidelog("group", "ls", "--state", "empty", server=scene.server).out.splitlines()[1:] == [
        "billing\tclassic\tconsumer\tEmpty"
    ]
    assert "billing" not in tidelog("group", "ls", "--type", "consumer", server=scene.server).out
    assert tidelog("group", "ls", "--state", "happy", server=scene.server).code == 2


def test_groups_that_cannot_be_told_of_hide_no_others(tidelog: Tidelog, scene: Stub) -> None:
    scene.cluster.unavailable_partitions = (3,)
    for options in ((), ("-d",)):
        ended = tidelog("group", "ls", *options, server=scene.server)
        assert [line.split("\t")[0] for line in ended.out.splitlines()] == ["GROUP", "billing", "reports", "search"]
        assert ended.code == 3
        assert ended.err.startswith("error[TL-0607]: groups are missing: those of __consumer_offsets-3")


def test_details_tell_members_and_lag(tidelog: Tidelog, scene: Stub) -> None:
    wide = tidelog("group", "ls", "-o", "wide", server=scene.server).out.splitlines()
    assert wide[0] == "GROUP\tTYPE\tPROTOCOL\tSTATE\tMEMBERS\tLAG"
    assert [line.split("\t")[4:] for line in wide[1:]] == [["0", "6"], ["2", "7"], ["1", "-"]]


def test_no_groups_is_an_empty_list(tidelog: Tidelog, stub: Stub) -> None:
    assert tidelog("group", "ls", "-d", "-o", "json", server=stub.server).out == "[]\n"
    assert tidelog("group", "lag", "-o", "json", server=stub.server).out == "[]\n"


def test_a_description_has_kafkas_columns_and_a_line_for_each_partition_and_idle_member(
    tidelog: Tidelog, scene: Stub
) -> None:
    ended = tidelog("group", "describe", "billing", "reports", "search", server=scene.server)
    assert ended.out.splitlines() == [
        "GROUP\tTOPIC\tPARTITION\tCURRENT-OFFSET\tLOG-END-OFFSET\tLAG\tCONSUMER-ID\tHOST\tCLIENT-ID",
        f"billing\torders\t0\t4\t10\t6\t{NOBODY}",
        f"billing\torders\t1\t20\t20\t0\t{NOBODY}",
        "reports\torders\t0\t3\t10\t7\tapp-1\t/127.0.0.1\tapp",
        "reports\torders\t1\t-\t20\t-\tapp-1\t/127.0.0.1\tapp",
        "reports\t-\t-\t-\t-\t-\tapp-2\t/10.0.0.2\tapp",
        "search\tclicks\t0\t-\t100\t-\ts-1\t/127.0.0.1\tsearch",
    ]
    assert ended.err == "billing has no members now\n"
    assert "\tTIME\n" in tidelog("group", "describe", "billing", "-o", "wide", server=scene.server).out


def test_members_are_shown_with_what_they_have(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "describe", "reports", "search", "-m", "-o", "wide", server=scene.server)
    assert ended.out.splitlines() == [
        "GROUP\tCONSUMER-ID\tHOST\tCLIENT-ID\t#PARTITIONS\tINSTANCE-ID\tEPOCH\tASSIGNMENT\tTARGET",
        "reports\tapp-1\t/127.0.0.1\tapp\t2\t-\t-\torders(0,1)\t-",
        "reports\tapp-2\t/10.0.0.2\tapp\t0\ttwo\t-\t-\t-",
        "search\ts-1\t/127.0.0.1\tsearch\t1\t-\t5\tclicks(0)\tclicks(0), orders(1)",
    ]


def test_a_summary_is_a_line_for_each_group(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "describe", "billing", "search", "--summary", server=scene.server)
    assert ended.out.splitlines() == [
        "GROUP\tCOORDINATOR\tASSIGNMENT-STRATEGY\tSTATE\t#MEMBERS",
        f"billing\t{scene.server}\t-\tEmpty\t0",
        f"search\t{scene.server}\tuniform\tStable\t1",
    ]
    assert tidelog("group", "describe", "billing", "--summary", "-m", server=scene.server).code == 2


def test_a_group_that_is_not_there_is_five(tidelog: Tidelog, scene: Stub) -> None:
    for line in ("describe nope", "lag nope", "reset nope --to start", "rm nope --yes", "kick nope --all --yes"):
        ended = tidelog("group", *line.split(), server=scene.server)
        assert (ended.code, ended.err[:16]) == (5, "error[TL-0601]: "), line
    assert tidelog("group", "rm-offsets", "nope", "-t", "orders", "--yes", server=scene.server).code == 5


def test_kafkas_spelling_of_the_group_is_understood(tidelog: Tidelog, scene: Stub) -> None:
    ours = tidelog("group", "describe", "billing", server=scene.server)
    theirs = tidelog("group", "describe", "--bootstrap-server", scene.server, "--group", "billing", server="x:1")
    assert theirs == ours
    ended = tidelog("group", "rm-offsets", "--group", "billing", "--topic", "orders", "--dry-run", server=scene.server)
    assert ended.code == 0
    assert "--group" not in tidelog("group", "describe", "--help").out.replace("tidelog group", "")


def test_a_group_without_members_is_removed(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "rm", "billing", "--dry-run", server=scene.server)
    assert (ended.code, ended.out) == (0, "GROUP\tSTATE\tOFFSETS\nbilling\tEmpty\t2\n")
    ended = tidelog("group", "rm", "billing", server=scene.server)
    assert (ended.code, ended.err[:16]) == (2, "error[TL-0003]: ")
    assert "billing" in scene.cluster.groups
    ended = tidelog("group", "rm", "billing", "billing", "--yes", server=scene.server)
    assert (ended.code, ended.out) == (0, "billing removed\n")
    assert "billing" not in scene.cluster.groups


def test_a_group_in_use_is_not_removed_and_says_so(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "rm", "reports", "--yes", server=scene.server)
    assert ended.code == 1
    assert ended.err.startswith("error[TL-0602]: group 'reports' is Stable with 2 members: ")
    ended = tidelog("group", "rm", "reports", "billing", "--yes", server=scene.server)
    assert (ended.code, ended.out) == (3, "billing removed\n")


def test_a_member_that_comes_in_between_is_noticed_by_the_coordinator(tidelog: Tidelog, scene: Stub) -> None:
    scene.cluster.fail(ApiKey.DELETE_GROUPS, Fault(refuse=ErrorCode.NON_EMPTY_GROUP))
    ended = tidelog("group", "rm", "billing", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (1, "error[TL-0602]: ")


@pytest.mark.parametrize(("answer", "code", "is_there"), [(b"billing\n", 0, False), (b"yes\n", 1, True)])
def test_on_a_terminal_the_groups_name_must_be_typed(scene: Stub, answer: bytes, code: int, is_there: bool) -> None:
    ended, shown = run_on_a_terminal(scene, answer, "group", "rm", "billing")
    assert ended == code, shown
    assert ("billing" in scene.cluster.groups) == is_there


def test_offsets_are_forgotten_by_topic_and_partition(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "rm-offsets", "billing", "-t", "orders:1", "--dry-run", server=scene.server)
    assert ended.out.splitlines()[1:] == ["billing\torders\t1\t20\t20\t0"]
    assert tidelog("group", "rm-offsets", "billing", "-t", "orders:1", server=scene.server).code == 2
    ended = tidelog("group", "rm-offsets", "billing", "-t", "orders:1", "--yes", server=scene.server)
    assert (ended.code, ended.out) == (0, "1 offset of billing removed\n")
    assert set(scene.cluster.groups["billing"].offsets) == {("orders", 0)}
    ended = tidelog("group", "rm-offsets", "billing", "-t", "orders:1", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (1, "error[TL-0605]: ")


def test_offsets_of_a_topic_that_is_read_are_kept(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "rm-offsets", "reports", "-t", "orders", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (1, "error[TL-0602]: ")
    assert scene.cluster.groups["reports"].offsets


def test_offsets_of_a_topic_that_is_gone_can_be_forgotten(tidelog: Tidelog, scene: Stub) -> None:
    scene.cluster.groups["billing"].commit("gone", 3)
    ended = tidelog("group", "rm-offsets", "billing", "-t", "gone", "--yes", server=scene.server)
    assert (ended.code, ended.out) == (0, "1 offset of billing removed\n")


def test_members_are_taken_out_by_either_of_their_names(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "kick", "reports", "app-1", "two", "--dry-run", server=scene.server)
    assert [line.split("\t")[1] for line in ended.out.splitlines()] == ["CONSUMER-ID", "app-1", "app-2"]
    assert tidelog("group", "kick", "reports", "two", server=scene.server).code == 2
    assert len(scene.cluster.groups["reports"].members) == 2
    ended = tidelog("group", "kick", "--group", "reports", "two", "--yes", server=scene.server)
    assert (ended.code, ended.out) == (0, "1 member taken out of reports\n")
    assert [member.member_id for member in scene.cluster.groups["reports"].members] == ["app-1"]
    ended = tidelog("group", "kick", "search", "--all", "--yes", server=scene.server)
    assert (ended.code, ended.out) == (0, "1 member taken out of search\n")


def test_a_member_that_is_not_there_is_five_and_does_not_save_the_others(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "kick", "reports", "nobody", "--yes", server=scene.server)
    assert (ended.code, ended.err[:16]) == (5, "error[TL-0603]: ")
    ended = tidelog("group", "kick", "reports", "nobody", "app-1", "--yes", server=scene.server)
    assert (ended.code, ended.out) == (3, "1 member taken out of reports\n")


def test_a_member_that_goes_by_itself_in_between_is_told(tidelog: Tidelog, scene: Stub) -> None:
    scene.cluster.fail(ApiKey.LEAVE_GROUP, Fault(drop_answer=True))
    ended = tidelog("group", "kick", "search", "--all", "--yes", server=scene.server)
    assert (ended.code, ended.out) == (5, "0 members taken out of search\n")
    assert "'s-1' is no member any more" in ended.err


@pytest.mark.parametrize("line", ["kick reports", "kick reports app-1 --all", "kick", "describe", "rm"])
def test_who_is_meant_must_be_said(tidelog: Tidelog, scene: Stub, line: str) -> None:
    assert tidelog("group", *line.split(), "--yes", server=scene.server).code == 2


def test_a_group_that_has_nobody_to_take_out_is_no_error(tidelog: Tidelog, scene: Stub) -> None:
    ended = tidelog("group", "kick", "billing", "--all", "--yes", server=scene.server)
    assert (ended.code, ended.out, ended.err) == (0, "", "billing has no members now\n")


def test_a_group_that_is_not_ones_own_is_seven(tidelog: Tidelog, scene: Stub) -> None:
    scene.cluster.fail(ApiKey.CONSUMER_GROUP_DESCRIBE, Fault(refuse=ErrorCode.GROUP_AUTHORIZATION_FAILED))
    assert tidelog("group", "describe", "billing", server=scene.server).code == 7
