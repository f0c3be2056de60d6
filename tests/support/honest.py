"""An honest client of a real broker process, who notices every loss and every delay."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from .process import BrokerProcess

TOPIC = "orders"
PATIENCE_S = 60.0
PARTITION_EOF = -191
"""librdkafka's own code for: nothing more here."""


@contextmanager
def a_broker(tmp_path: Path, *settings: str, descriptors_max: int | None = None) -> Iterator[BrokerProcess]:
    """A broker process, and no traceback in its log at the end."""
    process = BrokerProcess(tmp_path / "data", *settings, descriptors_max=descriptors_max)
    process.start()
    try:
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log_text(), process.log_text()


@dataclass
class Honest:
    """A client that writes with acks=all, one record at a time in flight, and remembers what it was told."""

    server: str
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    value_size: int = 100

    def __post_init__(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.server})
        for future in admin.create_topics([NewTopic(TOPIC, 1, 1)]).values():
            future.result(PATIENCE_S)
        self._producer = Producer(
            {
                "bootstrap.servers": self.server,
                "acks": "all",
                "max.in.flight": 1,
                "linger.ms": 0,
                "message.max.bytes": 10_000_000,
                "log_level": 0,
            }
        )

    def write(self, count: int) -> None:
        """So many records, each when the one before it is acknowledged."""
        for _ in range(count):
            value = b"%09d " % len(self.latencies_s) + b"x" * self.value_size
            began = time.monotonic()
            self._producer.produce(TOPIC, value, on_delivery=self._delivered)
            assert self._producer.flush(PATIENCE_S) == 0
            self.latencies_s.append(time.monotonic() - began)

    def write_until(self, over: Event) -> None:
        """The same, for as long as it takes."""
        while not over.wait(0.002):
            self.write(1)

    def lost(self) -> set[bytes]:
        """What was acknowledged and is not where it was said to be."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.server,
                "group.id": "honest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        found: dict[bytes, int] = {}
        while True:
            message = consumer.poll(PATIENCE_S)
            assert message is not None
            error = message.error()
            if error is not None:
                assert error.code() == PARTITION_EOF, error
                break
            value, offset = message.value(), message.offset()
            assert isinstance(value, bytes)
            assert offset is not None
            found[value] = offset
        consumer.close()
        return {value for value, offset in self.acknowledged.items() if found.get(value) != offset}

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.errors.append(str(error))
            return
        value, offset = message.value(), message.offset()
        assert isinstance(value, bytes)
        assert offset is not None
        self.acknowledged[value] = offset

    def check(self, least: int) -> None:
        """It has written at least so much, and nothing of it is lost."""
        assert self.errors == []
        assert len(self.acknowledged) >= least
        assert self.lost() == set()
