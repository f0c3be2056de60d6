"""Records into a topic, from lines, JSON, formats and the command line itself."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.command_line import Ended, Stub, Tidelog, run_on_a_terminal
from support.fake_broker import Fault
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.records import Record


def records_of(stub: Stub, topic: str = "t") -> list[Record]:
    """Everything in the topic, partition after partition."""
    return [record for log in stub.cluster.topics[topic].partitions for record in log.records()]


def test_a_line_is_a_record(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("produce", "t", "-p", "1", given=b"one\n\nthree", server=stub.server)
    assert ended.code == 0
    assert stub.cluster.values("t", 1) == [b"one", b"", b"three"]


def test_nothing_to_send_is_no_error(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("produce", "t", given=b"", server=stub.server)
    assert ended.code == 0
    assert ended.err.startswith("0 records · ")


def test_the_summary_on_stderr_tells_records_bytes_seconds_rate_and_partitions(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("produce", "t", "-k", "k", given=b"12345\n" * 1200, server=stub.server)
    counted, size, seconds, rate, partitions = ended.err.rstrip("\n").split(" · ")
    assert (counted, size, partitions) == ("1,200 records", "7.2 kB", "1 partition")
    assert seconds.endswith(" s")
    assert rate.endswith(" records/s")
    assert ended.out == ""


def test_quiet_says_nothing(tidelog: Tidelog, stub: Stub) -> None:
    assert tidelog("produce", "t", "-q", given=b"a\n", server=stub.server) == Ended(0, "", "")


def test_a_key_a_value_and_headers_from_the_line(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("produce", "t", "-k", "é", "-v", "a\nb", "-H", "x=1", "-H", "x=2=3", server=stub.server)
    assert ended.code == 0
    (record,) = records_of(stub)
    assert (record.key, record.value) == ("é".encode(), b"a\nb")
    assert record.headers == (("x", b"1"), ("x", b"2=3"))


def test_a_field_of_json_lines_is_the_key_and_the_line_stays_as_it_is(tidelog: Tidelog, stub: Stub) -> None:
    lines = [b'{"module": "core",  "n": 1}', b"", b'{"n": 2, "module": "docs"}']
    ended = tidelog("produce", "t", "--key-field", "module", given=b"\n".join(lines), server=stub.server)
    assert ended.code == 0
    assert sorted((record.key, record.value) for record in records_of(stub)) == [
        (b"core", lines[0]),
        (b"docs", lines[2]),
    ]


def test_records_of_one_key_keep_their_order(tidelog: Tidelog, stub: Stub) -> None:
    lines = [json.dumps({"k": f"key-{number % 7}", "n": number}).encode() for number in range(5000)]
    tidelog("produce", "t", "--key-field", "k", "-z", "zstd", given=b"\n".join(lines), server=stub.server)
    by_key: dict[bytes | None, list[bytes | None]] = {}
    for record in records_of(stub):
        by_key.setdefault(record.key, []).append(record.value)
    assert len(by_key) == 7
    for key, values in by_key.items():
        assert values == [line for line in lines if json.loads(line)["k"].encode() == key]


def test_a_format_tells_fields_apart(tidelog: Tidelog, stub: Stub) -> None:
    tidelog("produce", "t", "-p", "0", "-F", r"%T %k\t%v\n", given=b"1700000000000 a\t1\t2\n", server=stub.server)
    (record,) = records_of(stub)
    assert (record.key, record.value, record.timestamp) == (b"a", b"1\t2", 1_700_000_000_000)


def test_what_consume_prints_as_json_can_be_produced_again(tidelog: Tidelog, stub: Stub) -> None:
    tidelog("produce", "t", "-k", "k", "-v", "v", "-H", "a=b", server=stub.server)
    lines = tidelog("consume", "t", "-e", "--json", server=stub.server).out
    tidelog("produce", "copy", "-F", "json", given=lines.encode(), server=stub.server)
    assert records_of(stub, "copy") == records_of(stub, "t")


def test_a_file_is_read_instead_of_stdin(tidelog: Tidelog, stub: Stub, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a\nb\n")
    tidelog("produce", "t", "--file", str(path), "-p", "0", given=b"stdin\n", server=stub.server)
    assert stub.cluster.values("t") == [b"a", b"b"]


@pytest.mark.parametrize(
    "line",
    [
        ("--key-field", "a", "-k", "b"),
        ("--key-field", "a", "-F", "json"),
        ("-v", "x", "-F", "json"),
        ("-v", "x", "--key-field", "a"),
        ("-F", "%o"),
        ("--acks", "2"),
        ("-z", "rar"),
        ("--file", "/nowhere"),
    ],
)
def test_options_that_contradict_each_other_or_make_no_sense_are_usage_errors(
    tidelog: Tidelog, line: tuple[str, ...]
) -> None:
    ended = tidelog("produce", "t", *line)
    assert ended.code == 2
    assert ended.err.startswith("error[TL-0002]: ")


def test_input_that_makes_no_sense_is_named_by_its_number_and_what_came_before_is_sent(
    tidelog: Tidelog, stub: Stub
) -> None:
    ended = tidelog("produce", "t", "--key-field", "k", given=b'{"k":"a"}\n{"k":"b"}\nno\n', server=stub.server)
    assert ended.code == 3
    assert "error[TL-0005]: record 3 of the input: it is not JSON" in ended.err
    assert "2 records were sent before" in ended.err
    assert len(records_of(stub)) == 2


def test_input_that_makes_no_sense_from_the_first_record_on_is_a_plain_failure(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("produce", "t", "--key-field", "k", given=b"[]\n", server=stub.server)
    assert ended.code == 1
    assert ended.err == "error[TL-0301]: record 1 of the input: it is not a JSON object\n"


def test_a_record_that_the_topic_does_not_take_is_a_failure(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("t").max_message_bytes = 100
    ended = tidelog("produce", "t", "-v", "x" * 200, server=stub.server)
    assert ended.code == 1
    assert ended.err.startswith("error[TL-0302]: ")


def test_a_broker_that_refuses_later_is_a_part(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("t")
    stub.cluster.fail(ApiKey.PRODUCE, Fault(), Fault(refuse=ErrorCode.TOPIC_AUTHORIZATION_FAILED))
    ended = tidelog("produce", "t", "-p", "0", given=b"x" * 100_000 + b"\n" + b"y" * 1_100_000, server=stub.server)
    assert ended.code == 3
    assert "1 record was sent before" in ended.err


def test_a_timeout_is_the_time_that_a_record_has(tidelog: Tidelog, stub: Stub) -> None:
    """Not half a minute: a broker whose disk is full refuses for as long as it is."""
    stub.cluster.create("t")
    stub.cluster.fail(ApiKey.PRODUCE, *[Fault(refuse=ErrorCode.KAFKA_STORAGE_ERROR)] * 1000)
    ended = tidelog("produce", "t", "-v", "x", "--timeout", "300ms", server=stub.server)
    assert ended.code == 6
    assert "not delivered within 0.3 s" in ended.err
    assert ended.err.endswith("wait longer with --timeout\n")


def test_without_acks_nobody_is_waited_for(tidelog: Tidelog, stub: Stub) -> None:
    ended = tidelog("produce", "t", "--acks", "0", "-p", "0", given=b"a\nb\n", server=stub.server)
    assert ended.code == 0
    assert "2 records" in ended.err


def test_a_partition_that_is_not_there_is_five(tidelog: Tidelog, stub: Stub) -> None:
    assert tidelog("produce", "t", "-p", "9", given=b"a\n", server=stub.server).code == 5


def test_on_a_terminal_a_bar_shows_the_progress_and_only_the_summary_stays(stub: Stub, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"line\n" * 200_000)
    code, shown = run_on_a_terminal(stub, None, "produce", "t", "--file", str(path))
    assert code == 0
    assert "1.0/1.0 MB" in shown
    assert re.search(r"\x1b\[2K200,000 records · .*\s*$", shown), shown


def test_a_record_goes_out_when_it_comes_in_and_not_when_the_pipe_ends(tidelog: Tidelog, stub: Stub) -> None:
    stub.cluster.create("t", 1)
    here = [sys.executable, "-m", "tidelog"]
    environment = {**os.environ, "TIDELOG_SERVER": stub.server}
    with (
        subprocess.Popen([*here, "consume", "t"], stdout=subprocess.PIPE, env=environment) as reader,
        subprocess.Popen([*here, "produce", "t", "-q"], stdin=subprocess.PIPE, env=environment) as writer,
    ):
        assert reader.stdout is not None
        assert writer.stdin is not None
        for line in (b"first\n", b"second\n"):
            writer.stdin.write(line)
            writer.stdin.flush()
            assert reader.stdout.readline() == line
        writer.stdin.close()
        assert writer.wait(30) == 0
        reader.terminate()
