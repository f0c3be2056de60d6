"""Topics: listed, described, created, removed."""

import json

import pytest

from support.command_line import Stub, Tidelog, run_on_a_terminal
from support.fake_broker import Fault
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode


def a_topic_with_records(tidelog: Tidelog, stub: Stub, name: str = "orders") -> None:
    stub.cluster.create(name, 2)
    assert tidelog("produce", name, "-q", given=b"a\nb\nc\n", server=stub.server).code == 0


def test_the_list_is_sorted_and_leaves_the_brokers_own_topics_out(tidelog: Tidelog, stub: Stub) -> None:
    for name in ("zebra", "__internal", "ant"):
        stub.cluster.create(name, 2)
    assert tidelog("topic", "ls", server=stub.server).out == "TOPIC\tPARTITIONS\nant\t2\nzebra\t2\n"
    assert "__internal" in tidelog("topic", "ls", "--internal", server=stub.server).out


def test_details_tell_the_number_of_records(tidelog: Tidelog, stub: Stub) -> None:
    a_topic_with_records(tidelog, stub)
    assert tidelog("topic", "ls", "-d", server=stub.server).out == "TOPIC\tPARTITIONS\tRECORDS\norders\t2\t3\n"
    assert "TOPIC ID" in tidelog("topic", "ls", "-o", "wide", server=stub.server).out


def test_the_json_of_the_list_has_a_stable_shape(tidelog: Tidelog, stub: Stub) -> None:
    a_topic_with_records(tidelog, stub)
    expected = {
        "topic": "orders",
        "topic_id": "00000000-0000-0000-0000-000000000001",
        "internal": False,
        "partitions": 2,
    }
    assert json.loads(tidelog("topic", "ls", "-o", "json", server=stub.server).out) == [expected]
    detailed = tidelog("topic", "ls", "-d", "-o", "jsonl", server=stub.server).out
    assert json.loads(detailed) == {**expected, "records": 3}


def test_no_topics_is_an_empty_list(tidelog: Tidelog, stub: Stub) -> None:
    assert json.loads(tidelog("topic", "ls", "-o", "json", server=stub.server).out) == []
    assert tidelog("topic", "ls", "-o", "jsonl", server=stub.server).out == ""


def test_a_description_has_a_line_per_partition(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("orders", 2)
    tidelog("produce", "orders", "-q", "-p", "1", given=b"a\nb\n", server=stub.server)
    ended = tidelog("topic", "describe", "orders", server=stub.server)
    assert ended.out.splitlines() == [
        "TOPIC\tPARTITION\tLEADER\tSTART\tEND\tRECORDS\tSTATUS",
        "orders\t0\t1\t0\t0\t0\tok",
        "orders\t1\t1\t0\t2\t2\tok",
    ]


def test_a_topic_with_a_lost_partition_is_described_and_can_be_removed(tidelog: Tidelog, stub: Stub) -> None:
    """Of such a partition no offset is told; an operator must be able to see it, and to let it go."""
    a_topic_with_records(tidelog, stub)
    [one, other] = stub.cluster.topics["orders"].partitions
    lost = one if one.next_offset == 0 else other
    left = other if lost is one else one
    lost.is_lost = True
    lines = tidelog("topic", "describe", "orders", server=stub.server).out.splitlines()[1:]
    assert sorted(line.split("\t", 3)[3] for line in lines) == [
        "\t\t\tlost",
        f"0\t{left.next_offset}\t{left.next_offset}\tok",
    ]
    [described] = json.loads(tidelog("topic", "describe", "orders", "-o", "json", server=stub.server).out)
    told = [partition for partition in described["partitions"] if partition["offline_replicas"]]
    assert [(partition["start_offset"], partition["records"]) for partition in told] == [(None, None)]
    assert f"orders\t2\t{left.next_offset}" in tidelog("topic", "ls", "-d", server=stub.server).out
    assert tidelog("topic", "rm", "orders", "--yes", server=stub.server).code == 0
    assert "orders" not in stub.cluster.topics


def test_the_json_of_a_description_has_a_stable_shape(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("orders", 1)
    assert json.loads(tidelog("topic", "describe", "orders", "-o", "json", server=stub.server).out) == [
        {
            "topic": "orders",
            "topic_id": "00000000-0000-0000-0000-000000000001",
            "internal": False,
            "records": 0,
            "partitions": [
                {
                    "partition": 0,
                    "leader": 1,
                    "leader_epoch": -1,
                    "replicas": [1],
                    "in_sync_replicas": [],
                    "offline_replicas": [],
                    "start_offset": 0,
                    "end_offset": 0,
                    "records": 0,
                }
            ],
        }
    ]


def test_topics_are_created_with_partitions_and_settings(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("topic", "create", "a", "b", "-p", "3", "-c", "segment.bytes=1024", server=stub.server)
    assert (ended.code, ended.out) == (0, "a created with 3 partitions\nb created with 3 partitions\n")
    request = stub.cluster.seen(ApiKey.CREATE_TOPICS)[0]
    assert "name='segment.bytes', value='1024'" in repr(request)


def test_a_topic_that_is_there_is_an_error_unless_that_was_allowed(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("orders")
    ended = tidelog("topic", "create", "orders", server=stub.server)
    assert ended.code == 1
    assert ended.err.startswith("error[TL-0202]: ")
    ended = tidelog("topic", "create", "orders", "--if-not-exists", server=stub.server)
    assert (ended.code, ended.out) == (0, "orders exists already\n")


def test_a_part_that_was_done_is_three(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("orders")
    ended = tidelog("topic", "create", "orders", "clicks", server=stub.server)
    assert ended.code == 3
    assert "clicks created" in ended.out
    assert ended.err.startswith("error[TL-0005]: ")


def test_a_dry_run_creates_nothing(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("topic", "create", "orders", "--dry-run", server=stub.server)
    assert ended.out.startswith("orders would be created")
    assert "validate_only=True" in repr(stub.cluster.seen(ApiKey.CREATE_TOPICS)[0])


def test_a_refusal_by_policy_is_seven(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.fail(ApiKey.CREATE_TOPICS, Fault(refuse=ErrorCode.TOPIC_AUTHORIZATION_FAILED))
    assert tidelog("topic", "create", "orders", server=stub.server).code == 7


def test_a_topic_is_given_more_partitions_and_never_fewer(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("orders", 2)
    ended = tidelog("topic", "alter", "orders", "-p", "5", "--dry-run", server=stub.server)
    assert (ended.code, ended.out) == (0, "orders would be given 5 partitions in all\n")
    assert len(stub.cluster.topics["orders"].partitions) == 2
    ended = tidelog("topic", "alter", "orders", "-p", "5", server=stub.server)
    assert (ended.code, ended.out) == (0, "orders was given 5 partitions in all\n")
    assert len(stub.cluster.topics["orders"].partitions) == 5
    assert tidelog("topic", "alter", "orders", "-p", "5", server=stub.server).code == 1
    assert tidelog("topic", "alter", "nope", "-p", "5", server=stub.server).code == 5


def test_removing_where_nobody_can_be_asked_is_refused_after_the_plan(tidelog: Tidelog, stub: Stub) -> None:
    a_topic_with_records(tidelog, stub)
    ended = tidelog("topic", "rm", "orders", server=stub.server)
    assert ended.code == 2
    assert "orders\t2\t3" in ended.out
    assert ended.err.startswith("error[TL-0003]: ")
    assert "--yes" in ended.err
    assert "orders" in stub.cluster.topics


def test_a_dry_run_shows_the_plan_and_removes_nothing(tidelog: Tidelog, stub: Stub) -> None:
    a_topic_with_records(tidelog, stub)
    ended = tidelog("topic", "rm", "orders", "--dry-run", "--yes", server=stub.server)
    assert ended.code == 0
    assert "orders\t2\t3" in ended.out
    assert "orders" in stub.cluster.topics


def test_yes_removes_without_asking(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("orders")
    ended = tidelog("topic", "rm", "orders", "orders", "--yes", server=stub.server)
    assert (ended.code, ended.out) == (0, "orders removed\n")
    assert "orders" not in stub.cluster.topics


def test_what_is_not_there_cannot_be_removed(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("orders")
    assert tidelog("topic", "rm", "nope", "--yes", server=stub.server).code == 5
    ended = tidelog("topic", "rm", "nope", "orders", "--yes", server=stub.server)
    assert (ended.code, ended.out) == (3, "orders removed\n")


@pytest.mark.parametrize(
    ("answer", "code", "is_there"),
    [(b"orders\n", 0, False), (b"yes\n", 1, True), (b"\n", 1, True), (None, 130, True)],
)
def test_on_a_terminal_the_name_must_be_typed(
    tidelog: Tidelog, stub: Stub, answer: bytes | None, code: int, is_there: bool
) -> None:
    a_topic_with_records(tidelog, stub)
    ended, shown = run_on_a_terminal(stub, answer, "topic", "rm", "orders")
    assert ended == code, shown
    assert "This removes orders" in shown
    assert ("orders" in stub.cluster.topics) == is_there
