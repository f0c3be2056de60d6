"""`tidelog group` beside a consumer that is not ours: it shows what the consumer does, in both protocols."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, Producer

from support.command_line import Ended, run_here
from support.process import BrokerProcess

WITHIN_S = 30.0
PROTOCOLS = ("classic", "consumer")
PARTITIONS = 4
RECORDS = 100


def tidelog(cluster: BrokerProcess, line: str) -> Ended:
    return run_here(*line.split(), server=cluster.server)


def a_topic(cluster: BrokerProcess, topic: str) -> None:
    assert tidelog(cluster, f"topic create {topic} -p {PARTITIONS}").code == 0
    producer = Producer({"bootstrap.servers": cluster.server})
    for number in range(RECORDS):
        producer.produce(topic, str(number), partition=number % PARTITIONS)
    assert producer.flush(WITHIN_S) == 0


@contextmanager
def a_member(cluster: BrokerProcess, group: str, protocol: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.server,
            "group.id": group,
            "group.protocol": protocol,
            "client.id": "witness",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([group])
    try:
        yield consumer
    finally:
        consumer.close()


def read(consumer: Consumer, count: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while count:
        assert time.monotonic() < deadline, f"{count} records are missing"
        message = consumer.poll(0.2)
        if message is not None:
            assert message.error() is None
            count -= 1


def positions(ended: Ended) -> list[list[str]]:
    """Partition, current offset, end and lag of each line of a description."""
    assert ended.code == 0, ended.err
    return [line.split("\t")[2:6] for line in ended.out.splitlines()[1:]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_group_is_seen_moved_and_removed_beside_its_consumers(cluster: BrokerProcess, protocol: str) -> None:
    name = f"group-commands-{protocol}"
    a_topic(cluster, name)
    with a_member(cluster, name, protocol) as consumer:
        read(consumer, RECORDS)
        [listed] = [
            group for group in json.loads(tidelog(cluster, "group ls -d -o json").out) if group["group"] == name
        ]
        assert (listed["type"], listed["protocol"], listed["members"]) == (protocol, "consumer", 1)
        [described] = json.loads(tidelog(cluster, f"group describe {name} -o json").out)
        [member] = described["members"]
        assert (member["client_id"], member["host"]) == ("witness", "/127.0.0.1")
        assert member["assignment"] == [{"topic": name, "partitions": list(range(PARTITIONS))}]
        assert [line["member_id"] for line in described["offsets"]] == [member["member_id"]] * PARTITIONS
        assert [line["lag"] for line in described["offsets"]] == [None] * PARTITIONS, "nothing was committed yet"
        consumer.commit(asynchronous=False)
        assert positions(tidelog(cluster, f"group describe {name}")) == [
            [str(partition), "25", "25", "0"] for partition in range(PARTITIONS)
        ]
        assert tidelog(cluster, f"group lag {name} --over 0").code == 0
        for line in ("reset {} --to start --yes", "rm {} --yes", "rm-offsets {0} -t {0} --yes"):
            refused = tidelog(cluster, f"group {line.format(name)}")
            assert (refused.code, refused.err[:16]) == (1, "error[TL-0602]: "), refused
    moved = tidelog(cluster, f"group reset {name} -t {name}:0,1 --to 20 --yes")
    assert moved.code == 0, moved.err
    assert tidelog(cluster, f"group lag {name} --over 9").code == 4
    assert tidelog(cluster, f"group lag {name} --over 10").code == 0
    with a_member(cluster, name, protocol) as consumer:
        read(consumer, 10)
        consumer.commit(asynchronous=False)
    gone = tidelog(cluster, f"group rm-offsets {name} -t {name}:3 --yes")
    assert (gone.code, gone.out) == (0, f"1 offset of {name} removed\n"), gone
    assert [line[:2] for line in positions(tidelog(cluster, f"group describe {name}"))] == [
        ["0", "25"], ["1", "25"], ["2", "25"],
    ]  # fmt: skip
    assert tidelog(cluster, f"group rm {name} --yes").out == f"{name} removed\n"
    assert tidelog(cluster, f"group describe {name}").code == 5


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_consumer_that_is_sent_away_and_lives_joins_again(cluster: BrokerProcess, protocol: str) -> None:
    name = f"group-kick-{protocol}"
    a_topic(cluster, name)
    with a_member(cluster, name, protocol) as consumer:
        read(consumer, RECORDS)
        consumer.commit(asynchronous=False)
        kicked = tidelog(cluster, f"group kick {name} --all --yes")
        assert (kicked.code, kicked.out) == (0, f"1 member taken out of {name}\n"), kicked
        assert tidelog(cluster, f"group describe {name} --summary").out.splitlines()[1].endswith("\t0")
        deadline = time.monotonic() + WITHIN_S
        while not json.loads(tidelog(cluster, f"group describe {name} -o json").out)[0]["members"]:
            assert time.monotonic() < deadline, "it did not come back"
            assert consumer.poll(0.1) is None, "nothing is new"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_saved_place_of_a_group_can_be_given_to_another(
    cluster: BrokerProcess, protocol: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = f"group-copy-{protocol}"
    saved = tmp_path_factory.mktemp("saved") / "offsets.csv"
    a_topic(cluster, name)
    with a_member(cluster, name, protocol) as consumer:
        read(consumer, RECORDS)
        consumer.commit(asynchronous=False)
        assert tidelog(cluster, f"group reset {name} --export {saved}").code == 0
        assert sorted(saved.read_text().splitlines()) == [f"{name},{number},25" for number in range(PARTITIONS)]
    assert tidelog(cluster, f"group reset {name}-2 --from-file {saved} --shift-by -1 --yes").code == 0
    assert tidelog(cluster, f"group reset {name}-3 --to-group {name}-2 --yes").code == 0
    [told] = json.loads(tidelog(cluster, f"group lag {name}-3 -o json").out)
    assert (told["lag"], told["never_committed"]) == (PARTITIONS, 0)
    assert told["lag_seconds"] >= 0
