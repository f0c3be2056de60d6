"""A member: confluent-kafka. Words: an assignor of the classic protocol, or `consumer` for KIP-848.

librdkafka tells its generation only to its debug log, in which the line about it comes before the assignment.
"""

import logging
import re
from collections import defaultdict

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from support.members.command import HEARTBEAT_MS, POLL_MAX, POLL_S, SESSION_MS, Command, Stop
from support.members.journal import Journal

JOINED = re.compile(r"JoinGroup response: GenerationId (\d+),")
HEARD = re.compile(r"ConsumerGroupHeartbeat response received .* with epoch (-?\d+)")
TARGET = "received target assignment"


class Listener(logging.Handler):
    """Hears the generation out of the debug log."""

    def __init__(self) -> None:
        super().__init__()
        self.generation = -1
        self._epoch = -1

    def emit(self, record: logging.LogRecord) -> None:
        """A line of librdkafka."""
        text = record.getMessage()
        if joined := JOINED.search(text):
            if int(joined[1]) > 0:
                self.generation = int(joined[1])
        elif heard := HEARD.search(text):
            self._epoch = int(heard[1])
        elif TARGET in text:
            self.generation = self._epoch


class Member:
    """One consumer and what it holds."""

    def __init__(self, command: Command) -> None:
        self._journal = command.journal
        self._listener = Listener()
        self._held: set[int] = set()
        logger = logging.getLogger("librdkafka")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self._listener)
        [protocol] = command.words or ("range",)
        self._is_incremental = protocol in {"consumer", "cooperative-sticky"}
        settings: dict[str, object] = {
            "bootstrap.servers": command.server,
            "group.id": command.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "reconnect.backoff.max.ms": 500,
            "debug": "cgrp",
        }
        if protocol == "consumer":
            settings["group.protocol"] = "consumer"
        else:
            settings["partition.assignment.strategy"] = protocol
            settings["session.timeout.ms"] = SESSION_MS
            settings["heartbeat.interval.ms"] = HEARTBEAT_MS
        self.consumer = Consumer(settings, logger=logger)
        self.consumer.subscribe(
            [command.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def take(self) -> None:
        """Read some records and commit them."""
        messages = self.consumer.consume(POLL_MAX, POLL_S)
        offsets: dict[int, int] = {}
        for partition, first, values in _runs(messages):
            self._journal.read(partition, first, values)
            offsets[partition] = first + len(values)
        if offsets:
            _commit(self.consumer, self._journal, messages, offsets)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        given = {place.partition for place in partitions}
        self._held = self._held | given if self._is_incremental else given
        self._journal.assigned(self._listener.generation, sorted(self._held), kept=self._is_incremental)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._held -= {place.partition for place in partitions}
        self._journal.assigned(self._listener.generation, sorted(self._held), kept=True)


def _runs(messages: list[Message]) -> list[tuple[int, int, list[bytes]]]:
    """By partition: the first offset and the values."""
    values: defaultdict[int, list[bytes]] = defaultdict(list)
    first: dict[int, int] = {}
    for message in messages:
        error, partition, offset, value = message.error(), message.partition(), message.offset(), message.value()
        if error is not None:
            continue  # the broker is away, or the like: librdkafka tries again
        assert partition is not None
        assert offset is not None
        assert isinstance(value, bytes)
        assert offset == first.setdefault(partition, offset) + len(values[partition]), "a gap within one poll"
        values[partition].append(value)
    return [(partition, first[partition], found) for partition, found in values.items() if found]


def _commit(consumer: Consumer, journal: Journal, messages: list[Message], offsets: dict[int, int]) -> None:
    topic = messages[0].topic() or ""
    places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    try:
        with journal.committing(offsets):
            answers = consumer.commit(offsets=places, asynchronous=False)
            for answer in answers or ():
                if answer.error is not None:
                    raise KafkaException(answer.error)
    except KafkaException as refused:
        journal.note(f"commit: {refused}")


def main() -> None:
    """Take part until told to end."""
    stop = Stop()
    member = Member(Command.read())
    while not stop.is_set:
        member.take()
    member.consumer.close()


main()
