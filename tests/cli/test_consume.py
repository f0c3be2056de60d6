"""Records out of a topic: from where, to where, in which form, and when they are printed."""

import json

import pytest

from support.builders import a_batch, with_header
from support.command_line import Stub, Tidelog

VALUES = [b"%d" % number for number in range(10)]


@pytest.fixture
def numbers(tidelog: Tidelog, stub: Stub) -> Stub:
    """Partition 0 holds 0 to 9, each a second later than the one before; partition 1 holds nothing."""
    stub.cluster.create("numbers", 2)
    lines = b"".join(b"%d %s\n" % (1_700_000_000_000 + 1000 * int(value), value) for value in VALUES)
    assert tidelog("produce", "numbers", "-F", "%T %v", "-p", "0", "-q", given=lines, server=stub.server).code == 0
    return stub


def printed(tidelog: Tidelog, stub: Stub, *words: str) -> list[int]:
    ended = tidelog("consume", "numbers", "-e", *words, server=stub.server)
    assert (ended.code, ended.err) == (0, "")
    return [int(line) for line in ended.out.splitlines()]


def test_from_the_beginning_to_what_is_the_end_now(tidelog: Tidelog, numbers: Stub) -> None:
    assert printed(tidelog, numbers) == list(range(10))


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        ("beginning", range(10)),
        ("end", range(0)),
        ("7", range(7, 10)),
        ("-3", range(7, 10)),
        ("-30", range(10)),
        ("+8", range(8, 10)),
        ("+80", range(0)),
        ("80", range(0)),
        ("2:5", range(2, 5)),
        ("8:50", range(8, 10)),
        (":4", range(4)),
        (":end", range(10)),
        ("-4:end", range(6, 10)),
        ("@1700000006000", range(6, 10)),
        ("@1700000002000:1700000004000", range(2, 4)),
        ("@1700000002000:3s", range(2, 5)),
        ("@2023-11-14T22:13:28Z", range(8, 10)),
        ("@2100-01-01", range(0)),
        ("s@1700000009000", range(9, 10)),
        ("e@1700000001000", range(1)),
    ],
)
def test_the_offset_says_from_where_to_where(tidelog: Tidelog, numbers: Stub, offset: str, expected: range) -> None:
    assert printed(tidelog, numbers, "-o", offset) == list(expected)


def test_kcats_pair_of_times(tidelog: Tidelog, numbers: Stub) -> None:
    assert printed(tidelog, numbers, "-o", "s@1700000003000", "-o", "e@1700000005000") == [3, 4]


def test_a_span_with_an_end_ends_by_itself(tidelog: Tidelog, numbers: Stub) -> None:
    ended = tidelog("consume", "numbers", "-o", "2:5", "-p", "0", server=numbers.server)
    assert ended.out == "2\n3\n4\n"


def test_an_offset_beyond_the_end_is_waited_for_and_nothing_below_it_is_printed(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("short", 1)
    tidelog("produce", "short", "-q", given=b"a\nb\n", server=stub.server)
    assert tidelog("consume", "short", "-o", "5", "-e", server=stub.server).out == ""


def test_an_offset_that_is_gone_means_the_first_that_is_left(tidelog: Tidelog, numbers: Stub) -> None:
    numbers.cluster.topics["numbers"].partitions[0].start_offset = 4
    assert printed(tidelog, numbers, "-o", "2") == list(range(4, 10))
    assert printed(tidelog, numbers, "-o", "+2") == list(range(6, 10))


def test_a_count_ends_it(tidelog: Tidelog, numbers: Stub) -> None:
    assert printed(tidelog, numbers, "-n", "3") == [0, 1, 2]
    assert printed(tidelog, numbers, "-n", "0") == []
    ended = tidelog("consume", "numbers", "-n", "10", server=numbers.server)
    assert len(ended.out.splitlines()) == 10


def test_only_the_named_partitions_are_read(tidelog: Tidelog, numbers: Stub) -> None:
    assert printed(tidelog, numbers, "-p", "1") == []
    assert printed(tidelog, numbers, "-p", "0,1") == list(range(10))
    assert tidelog("consume", "numbers", "-e", "-p", "2", server=numbers.server).code == 5


def test_a_format_is_kcats(tidelog: Tidelog, numbers: Stub) -> None:
    ended = tidelog("consume", "numbers", "-e", "-o", "-1", "-f", r"%t-%p-%o %k|%v %T\n", server=numbers.server)
    assert ended.out == "numbers-0-9 |9 1700000009000\n"


def test_json_is_a_line_per_record(tidelog: Tidelog, numbers: Stub) -> None:
    ended = tidelog("consume", "numbers", "-e", "-o", "-1", "--json", server=numbers.server)
    assert json.loads(ended.out) == {
        "topic": "numbers",
        "partition": 0,
        "offset": 9,
        "timestamp": 1_700_000_009_000,
        "key": None,
        "value": "9",
        "headers": [],
    }


@pytest.mark.parametrize(
    "line", [("-o", "middle"), ("-o", "1", "-o", "2"), ("-f", "%z"), ("-f", "%v", "--json"), ("-p", "a"), ("-p", "")]
)
def test_what_makes_no_sense_is_a_usage_error(tidelog: Tidelog, line: tuple[str, ...]) -> None:
    ended = tidelog("consume", "t", *line)
    assert ended.code == 2
    assert ended.err.startswith("error[TL-0002]: ")


def test_a_batch_with_false_records_ends_it_and_the_hint_goes_on_behind_it(tidelog: Tidelog, stub: Stub) -> None:
    """The broker takes records as they are; what stands before them is printed."""
    [log] = stub.cluster.create("orders", 1).partitions
    for values in ((b"a", b"b"), (b"c", b"d", b"e"), (b"f",)):
        log.append(a_batch(values))
    log.batches[1] = bytes(with_header(log.batches[1], record_count=2))
    ended = tidelog("consume", "orders", "-e", server=stub.server)
    assert (ended.code, ended.out) == (1, "a\nb\n")
    assert ended.err.startswith("error[TL-0304]: orders[0] at offset 2: ")
    assert ended.err.endswith(" · -p 0 -o 5 goes on behind them\n")
    assert tidelog("consume", "orders", "-e", "-p", "0", "-o", "5", server=stub.server).out == "f\n"


def test_a_topic_that_is_not_there_is_not_made_by_reading_it(tidelog: Tidelog, stub: Stub) -> None:
    assert tidelog("consume", "nope", "-e", server=stub.server).code == 5
    assert "nope" not in stub.cluster.topics
