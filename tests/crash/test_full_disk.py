"""A disk that is filled to the brim, round after round: nothing that was acknowledged is lost, and commits, deletions,
reads and both ways of ending go on [A7].

The oracle is outside of the broker: what the producers were told, in this process.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from support.process import BrokerProcess
from support.proofs import IS_PROOF, record
from support.small_disk import SmallDisk, a_small_disk, filesystems

ROUNDS = 20
ROUNDS_OF_EACH = ROUNDS if IS_PROOF else ROUNDS // len(filesystems())
DISK_SIZE = 32 << 20
VALUE_SIZE = 8_000
ORDERS, BALLAST = "orders", "ballast"
PATIENCE_S = 60.0
PARTITION_EOF = -191
"""librdkafka's own code for: nothing more here."""
STORAGE_ERROR = 56
GROUP = "billing"
SETTINGS = ("offsets.topic.num.partitions=4", "log.segment.bytes=4MiB")
UNANSWERED_MAX = 200


@dataclass
class Told:
    """What a producer was told, by topic: the value at each offset; and what else it heard."""

    acknowledged: dict[str, dict[int, bytes]] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    sent: int = 0

    def value(self) -> bytes:
        """The next one to send."""
        self.sent += 1
        return (b"%d " % self.sent).ljust(VALUE_SIZE, b".")

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """confluent-kafka's delivery report."""
        if error is not None:
            self.refused[error.code()] = self.refused.get(error.code(), 0) + 1
            return
        topic, offset, value = message.topic(), message.offset(), message.value()
        assert topic is not None
        assert offset is not None
        assert isinstance(value, bytes)
        assert self.acknowledged.setdefault(topic, {}).setdefault(offset, value) is value, "an offset given twice"


class Play:
    """A broker on a small disk, and its clients."""

    def __init__(self, broker: BrokerProcess, disk: SmallDisk) -> None:
        self.broker, self.disk = broker, disk
        self.told = Told()
        self.lost = self.checked = 0
        self._admin = AdminClient({"bootstrap.servers": broker.server})

    def create(self, topic: str) -> None:
        """Make a topic of one partition."""
        [created] = self._admin.create_topics([NewTopic(topic, 1, 1)]).values()
        created.result(PATIENCE_S)

    def delete(self, topic: str) -> None:
        """Delete it, however full the disk is."""
        [deleted] = self._admin.delete_topics([topic], operation_timeout=PATIENCE_S).values()
        deleted.result(PATIENCE_S)
        self.told.acknowledged.pop(topic, None)

    def write_until_refused(self, topic: str, acks: object) -> None:
        """Every record is tried once, so that each refusal is heard of."""
        producer = Producer(
            {"bootstrap.servers": self.broker.server, "acks": acks, "retries": 0, "linger.ms": 1, "log_level": 0}
        )
        self.told.refused.clear()
        while not self.told.refused:
            if len(producer) < UNANSWERED_MAX:
                producer.produce(topic, self.told.value(), partition=0, on_delivery=self.told.delivered)
            producer.poll(0 if len(producer) < UNANSWERED_MAX else 0.01)
        assert producer.flush(PATIENCE_S) == 0
        assert self.told.refused.keys() == {STORAGE_ERROR}, "refused with a reason to come again, and with no other"

    @contextmanager
    def writing_patiently(self, topic: str) -> Iterator[None]:
        """An idempotent producer with its defaults: what it is refused it sends again, until it is taken."""
        producer = Producer(
            {
                "bootstrap.servers": self.broker.server,
                "enable.idempotence": True,
                "retry.backoff.ms": 50,
                "retry.backoff.max.ms": 100,
                "reconnect.backoff.max.ms": 100,
                "log_level": 0,
            }
        )
        before = self.told.sent
        for _ in range(20):
            producer.produce(topic, self.told.value(), partition=0, on_delivery=self.told.delivered)
        producer.poll(0.1)
        yield
        assert producer.flush(PATIENCE_S) == 0
        assert self.told.sent == before + 20

    def commit(self, offset: int) -> None:
        """Commit it, and see that it is known."""
        consumer = Consumer({"bootstrap.servers": self.broker.server, "group.id": GROUP, "enable.auto.commit": False})
        place = TopicPartition(ORDERS, 0, offset)
        consumer.commit(offsets=[place], asynchronous=False)
        [known] = consumer.committed([TopicPartition(ORDERS, 0)], timeout=PATIENCE_S)
        assert known.offset == offset
        consumer.close()

    def check(self, *topics: str) -> None:
        """Read everything, and compare."""
        for topic in topics:
            stored = self._read(topic)
            acknowledged = self.told.acknowledged.get(topic, {})
            self.lost += sum(stored.get(offset) != value for offset, value in acknowledged.items())
            self.checked += len(acknowledged)
            assert list(stored) == list(range(len(stored))), "a gap in the offsets"

    def _read(self, topic: str) -> dict[int, bytes]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.broker.server,
                "group.id": "x",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
            }
        )
        consumer.assign([TopicPartition(topic, 0, 0)])
        stored: dict[int, bytes] = {}
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for message in consumer.consume(1_000, 0.1):
                error, offset, value = message.error(), message.offset(), message.value()
                if error is None:
                    assert offset is not None
                    assert isinstance(value, bytes)
                    stored[offset] = value
                else:
                    assert error.code() == PARTITION_EOF, error
                    consumer.close()
                    return stored
        raise AssertionError("the broker does not answer")

    def until(self, metric: str, value: float) -> None:
        """Wait until a scrape says so."""
        deadline = time.monotonic() + PATIENCE_S
        while self.broker.metric(metric) != value:
            assert time.monotonic() < deadline, f"{metric} is {self.broker.metric(metric)}\n{self.broker.log_text()}"

    def round(self, number: int) -> None:
        """Fill it up, live with it, and make room again."""
        ballast, said_before = f"{BALLAST}-{number}", len(self.broker.log_text())
        self.create(ballast)
        self.write_until_refused(ballast, acks="all" if number % 2 else 1)
        assert "No space left" not in self.broker.log_text()[said_before:], "refused before the disk was full"
        assert self.disk.free_bytes() > 0
        with self.writing_patiently(ORDERS):
            self.disk.fill()
            self.commit(2 * number)
            self.disk.fill()
            if number % 4 == 1:
                self.broker.kill()
                self.broker.start()
            elif number % 4 == 3:
                assert self.broker.stop() == 0
                self.broker.start()
            self.commit(2 * number + 1)
            self.check(ORDERS, ballast)
            self.delete(ballast)
            self.disk.leave()
        self.until("tidelog_disk_writable", 1)
        self.check(ORDERS)


@pytest.mark.parametrize("filesystem", filesystems())
def test_what_was_acknowledged_outlives_a_full_disk(tmp_path: Path, filesystem: str) -> None:
    with a_small_disk(tmp_path, filesystem=filesystem, size=DISK_SIZE) as disk:
        broker = BrokerProcess(disk.path / "data", *SETTINGS)
        broker.log_path = tmp_path / "broker.log"
        broker.under = disk.under
        broker.start()
        try:
            play = Play(broker, disk)
            play.create(ORDERS)
            play.commit(0)
            for number in range(ROUNDS_OF_EACH):
                play.round(number)
            reserve = broker.metric("tidelog_disk_reserve_bytes")
        finally:
            broker.stop()
        record(
            "full disk", part=filesystem, size=ROUNDS_OF_EACH, lost=play.lost, details={"records checked": play.checked}
        )
        assert play.lost == 0
        assert len(play.told.acknowledged[ORDERS]) == 20 * ROUNDS_OF_EACH, "each once"
        assert reserve > 0, "taken again when there was space"
        assert "Traceback" not in broker.log_text()
        assert "cannot be opened" not in broker.log_text()
