"""Index files that somebody spoils under a running broker: it lives, and answers as if nothing had happened.

A mapped file that is cut short ends the process that looks into it, which is why they are not mapped.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from support.process import BrokerProcess

TOPIC = "orders"
SETTINGS = ("log.segment.bytes=32KiB", "log.index.interval.bytes=0", "offsets.topic.num.partitions=1")
FIRST_TIME = 1_700_000_000_000
STEP_MS = 10
RECORDS = 2_200
"""A batch each: several segments, and in the last one more entries than are kept in memory."""
PATIENCE_S = 30.0
HUGE = 10 << 30


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def cut_in_an_entry(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 1)


def fill_with_zeros(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, size // 3)
    os.truncate(path, size)


def make_huge(path: Path) -> None:
    os.truncate(path, HUGE)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    running = BrokerProcess(tmp_path / "data", *SETTINGS)
    running.start()
    try:
        yield running
    finally:
        running.stop()


class Client:
    """Writes records of which the value and the time follow from the offset, and reads them in every way there is."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._count = 0
        admin = AdminClient({"bootstrap.servers": server})
        [created] = admin.create_topics([NewTopic(TOPIC, 1, 1)]).values()
        created.result(PATIENCE_S)

    def write(self, count: int) -> None:
        producer = Producer({"bootstrap.servers": self._server, "batch.num.messages": 1, "acks": "all"})
        for number in range(self._count, self._count + count):
            time_ms = FIRST_TIME + STEP_MS * number
            producer.produce(TOPIC, b"%d" % number, partition=0, timestamp=time_ms, on_delivery=self._delivered)
            producer.poll(0)
        assert producer.flush(PATIENCE_S) == 0

    def _delivered(self, error: object, message: Message) -> None:
        assert error is None, error
        assert message.offset() == self._count
        self._count += 1

    def check(self) -> None:
        consumer = Consumer(
            {"bootstrap.servers": self._server, "group.id": "g", "enable.auto.commit": False, "fetch.wait.max.ms": 5}
        )
        for offset in (1, self._count // 2, self._count - 1):
            [found] = consumer.offsets_for_times(
                [TopicPartition(TOPIC, 0, FIRST_TIME + STEP_MS * offset - 1)], timeout=PATIENCE_S
            )
            assert found.offset == offset
            consumer.assign([TopicPartition(TOPIC, 0, offset)])
            assert self._values(consumer, 1) == [b"%d" % offset]
        [found] = consumer.offsets_for_times([TopicPartition(TOPIC, 0, FIRST_TIME << 1)], timeout=PATIENCE_S)
        assert found.offset == -1, "the end, as librdkafka says it"
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        assert self._values(consumer, self._count) == [b"%d" % number for number in range(self._count)]
        consumer.close()

    def _values(self, consumer: Consumer, count: int) -> list[object]:
        messages: list[Message] = []
        while len(messages) < count:
            more = consumer.consume(count - len(messages), timeout=PATIENCE_S)
            assert more, "no answer"
            messages += more
        return [message.value() for message in messages]


@pytest.mark.parametrize("spoil", [cut_to_nothing, cut_in_an_entry, fill_with_zeros, make_huge])
@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_a_spoiled_index_is_built_again_and_nobody_dies_of_it(
    broker: BrokerProcess, spoil: Callable[[Path], None], suffix: str
) -> None:
    client = Client(broker.server)
    client.write(RECORDS)
    client.check()
    paths = sorted((broker.data_dir / f"{TOPIC}-0").glob(f"*{suffix}"))
    assert len(paths) > 2
    assert paths[-1].stat().st_size > 0, "of the active segment"
    for path in paths:
        spoil(path)
    client.check()
    client.write(RECORDS)
    client.check()
    assert broker.stop() == 0
    broker.start()
    client.check()
    assert "rebuilding indexes" in broker.log_text()
    assert "ERROR" not in broker.log_text()
    assert max(path.stat().st_size for path in paths) < HUGE
