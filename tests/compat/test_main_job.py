"""The main job, on real events: produce by the command line, read by everybody, in order, and see it in the scrape."""

import json
import subprocess
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from support.events import event_lines, key_of
from support.process import BrokerProcess

PARTITIONS = 6
PATIENCE_S = 60.0
PARTITION_EOF = -191
"""librdkafka's own code for: nothing more here."""


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """The events, a line each."""
    return event_lines()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> Iterator[BrokerProcess]:
    """A broker that has been given all events."""
    process = BrokerProcess(tmp_path_factory.mktemp("main-job") / "data")
    process.start()
    try:
        tidelog(process, "topic", "create", "commits", "-p", str(PARTITIONS))
        summary = tidelog(process, "produce", "commits", "--key-field", "module", given=b"\n".join(lines) + b"\n")
        assert f"{len(lines):,}" in summary.stderr.decode() or str(len(lines)) in summary.stderr.decode()
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log_text(), process.log_text()


def tidelog(process: BrokerProcess, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command line against the broker."""
    done = subprocess.run(
        [sys.executable, "-m", "tidelog", *words],
        input=given,
        capture_output=True,
        env=process.environment(),
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done


def by_key(lines: list[bytes]) -> dict[str, list[bytes]]:
    """The lines of each key, in their order."""
    keyed: defaultdict[str, list[bytes]] = defaultdict(list)
    for line in lines:
        keyed[key_of(line)].append(line)
    return dict(keyed)


def test_the_command_line_gives_back_every_event_in_the_order_of_its_key(
    loaded: BrokerProcess, lines: list[bytes]
) -> None:
    read = tidelog(loaded, "consume", "commits", "-e").stdout.splitlines()
    assert len(read) == len(lines)
    assert by_key(read) == by_key(lines)


def test_a_key_lives_in_one_partition_the_one_that_kafkas_murmur2_says(
    loaded: BrokerProcess, lines: list[bytes]
) -> None:
    from tidelog.client.partitioner import murmur2

    read = tidelog(loaded, "consume", "commits", "-e", "-f", "%p\t%k\n").stdout.decode().splitlines()
    assert len(read) == len(lines)
    for row in set(read):
        partition, key = row.split("\t")
        assert (murmur2(key.encode()) & 0x7FFFFFFF) % PARTITIONS == int(partition)


def test_kcat_reads_the_same_events(loaded: BrokerProcess, lines: list[bytes]) -> None:
    command = ["kcat", "-b", loaded.server, "-t", "commits", "-C", "-e", "-q", "-o", "beginning"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=True)
    read = done.stdout.splitlines()
    assert len(read) == len(lines)
    assert by_key(read) == by_key(lines)


def test_confluent_kafka_reads_the_same_events(loaded: BrokerProcess, lines: list[bytes]) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": loaded.server,
            "group.id": "unused: partitions are assigned by hand",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition("commits", partition, 0) for partition in range(PARTITIONS)])
    read: list[bytes] = []
    ended = 0
    while ended < PARTITIONS:
        message = consumer.poll(PATIENCE_S)
        assert message is not None, f"nothing more after {len(read)} records"
        error = message.error()
        if error is None:
            value = message.value()
            assert isinstance(value, bytes)
            assert message.key() == key_of(value).encode()
            read.append(value)
        else:
            assert error.code() == PARTITION_EOF, error
            ended += 1
    consumer.close()
    assert len(read) == len(lines)
    assert by_key(read) == by_key(lines)


def test_the_scrape_shows_them(loaded: BrokerProcess, lines: list[bytes]) -> None:
    with urllib.request.urlopen(f"http://{loaded.http}/metrics", timeout=PATIENCE_S) as answer:
        scrape = answer.read().decode()
    shown = [row for row in scrape.splitlines() if row.startswith("kafka_topic_partition_current_offset{")]
    offsets = [float(row.rsplit(" ", 1)[1]) for row in shown if 'topic="commits"' in row]
    assert len(offsets) == PARTITIONS
    assert sum(offsets) == len(lines)
    taken = [row for row in scrape.splitlines() if row.startswith('tidelog_topic_records_in_total{topic="commits"}')]
    assert float(taken[0].rsplit(" ", 1)[1]) == len(lines)


def test_json_output_carries_what_was_produced(loaded: BrokerProcess, lines: list[bytes]) -> None:
    read = tidelog(loaded, "consume", "commits", "-n", "10", "--json").stdout.splitlines()
    assert len(read) == 10
    for row in read:
        record = json.loads(row)
        assert record["topic"] == "commits"
        assert record["key"] == json.loads(record["value"])["module"]


def test_the_data_directory_verifies_offline(tmp_path: Path, lines: list[bytes]) -> None:
    process = BrokerProcess(tmp_path / "data")
    process.start()
    tidelog(process, "produce", "commits", "--key-field", "module", given=b"\n".join(lines[:500]) + b"\n")
    process.kill()
    done = subprocess.run(
        [sys.executable, "-m", "tidelog", "log", "verify", str(process.data_dir)],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
