"""Groups that feed each other rebalance all at once: nobody who is alive is told that nobody knows it. [G-15]"""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from support.clients.membership import eventually
from support.process import BrokerProcess

TOPICS = ("a", "b", "c", "d")
PROTOCOLS: Sequence[dict[str, object]] = (
    {"partition.assignment.strategy": "range", "heartbeat.interval.ms": 300},
    {"partition.assignment.strategy": "cooperative-sticky", "heartbeat.interval.ms": 300},
    {"group.protocol": "consumer"},
)
"""Of the groups a to b, b to c, and c to d."""
PARTITIONS = 6
ROUNDS = 4
PATIENCE_S = 60.0
UNKNOWN_MEMBER = re.compile(r"(?i)unknown.member")


class Link(logging.Handler):
    """One member of a group of the chain: what it reads it writes into the next topic, then it commits."""

    def __init__(self, server: str, number: int, protocol: dict[str, object]) -> None:
        super().__init__()
        self.complaints: list[str] = []
        self._topic, self._next = TOPICS[number], TOPICS[number + 1]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        logger = logging.getLogger(f"link-{id(self)}")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)
        self._producer = Producer({"bootstrap.servers": server, "linger.ms": 5, "log_level": 0})
        settings: dict[str, object] = {
            "bootstrap.servers": server,
            "group.id": f"{self._topic} to {self._next}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "debug": "cgrp",
            **protocol,
        }
        self._consumer = Consumer(settings, logger=logger)
        self._consumer.subscribe([self._topic])
        self.held: set[int] = set()
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """A line of librdkafka about the group."""
        text = record.getMessage()
        if UNKNOWN_MEMBER.search(text) and not self._stopping.is_set():
            self.complaints.append(text)

    def close(self) -> None:
        """Leave; what it does from now on is not judged."""
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        super().close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            messages = [one for one in self._consumer.consume(100, 0.1) if one.error() is None]
            self.held = {place.partition for place in self._consumer.assignment()}
            if messages:
                self._pass_on(messages)
        self._consumer.close()
        self.held = set()

    def _pass_on(self, messages: list[Message]) -> None:
        ends: dict[int, int] = {}
        for message in messages:
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            self._producer.produce(self._next, message.value(), partition=partition)
            ends[partition] = max(offset + 1, ends.get(partition, 0))
        assert self._producer.flush(PATIENCE_S) == 0
        try:
            self._consumer.commit(
                offsets=[TopicPartition(self._topic, *end) for end in ends.items()], asynchronous=False
            )
        except KafkaException as refused:
            if UNKNOWN_MEMBER.search(str(refused)) and not self._stopping.is_set():
                self.complaints.append(str(refused))


class Chain:
    """All groups, and records that go through all of them."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.groups: list[list[Link]] = [[] for _ in PROTOCOLS]
        self.complaints: list[str] = []
        self.sent = 0

    def grow(self) -> None:
        """One more member in each group, all at once."""
        with ThreadPoolExecutor(len(PROTOCOLS)) as pool:
            made = pool.map(Link, [self._server] * len(PROTOCOLS), range(len(PROTOCOLS)), PROTOCOLS)
        for group, link in zip(self.groups, made, strict=True):
            group.append(link)

    def shrink(self) -> None:
        """One fewer in each group, all at once."""
        leaving = [group.pop(0) for group in self.groups]
        with ThreadPoolExecutor(len(leaving)) as pool:
            list(pool.map(Link.close, leaving))
        self.complaints += [text for link in leaving for text in link.complaints]

    def send(self, count: int) -> None:
        """So many records into the first topic."""
        producer = Producer({"bootstrap.servers": self._server, "log_level": 0})
        for _ in range(count):
            producer.produce(TOPICS[0], b"%d" % self.sent, partition=self.sent % PARTITIONS)
            self.sent += 1
        assert producer.flush(PATIENCE_S) == 0

    def is_settled(self) -> bool:
        """Whether each group shares all partitions."""
        return all(
            sorted(part for link in group for part in link.held) == list(range(PARTITIONS))
            and all(link.held for link in group)
            for group in self.groups
        )

    def close(self) -> None:
        """End everything."""
        while any(self.groups):
            self.shrink()


@pytest.fixture
def chain(lively: BrokerProcess) -> Iterator[Chain]:
    """A chain without members yet."""
    admin = AdminClient({"bootstrap.servers": lively.server})
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in TOPICS]).values():
        future.result(PATIENCE_S)
    made = Chain(lively.server)
    yield made
    made.close()


def everything(server: str, count: int) -> set[bytes]:
    """The values that came out at the end, as soon as they are so many."""
    consumer = Consumer({"bootstrap.servers": server, "group.id": "x", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPICS[-1], partition, 0) for partition in range(PARTITIONS)])
    found: set[bytes] = set()

    def is_complete() -> bool:
        found.update(value for one in consumer.consume(1_000, 0.1) if isinstance(value := one.value(), bytes))
        return len(found) >= count

    eventually(f"{count} values come through", is_complete)
    consumer.close()
    return found


def test_chained_groups_rebalance_at_once(lively: BrokerProcess, chain: Chain) -> None:
    chain.grow()
    chain.grow()
    chain.send(300)
    for _ in range(ROUNDS):
        chain.grow()
        chain.send(300)
        eventually("all groups settle", chain.is_settled)
        chain.send(300)
        chain.shrink()
        eventually("all groups settle", chain.is_settled)
    assert everything(lively.server, chain.sent) == {b"%d" % number for number in range(chain.sent)}
    assert chain.complaints + [text for group in chain.groups for link in group for text in link.complaints] == []
