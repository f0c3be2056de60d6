"""confluent-kafka as a member of a group."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from .membership import HEARTBEAT_MS, METADATA_AGE_MS, POLL_S, SESSION_MS, ThreadedMember
from .model import FETCH_WAIT_MS, PATIENCE_S, ClientFailed, Joining, Place, Position, Protocols, Read, Refused

Answer = TypeVar("Answer")
AT_ONCE = 500
"""Records of one poll."""


class ConfluentMember(ThreadedMember):
    """A Consumer that has subscribed."""

    def __init__(self, server: str, how: Joining, read: Callable[[Message], Read]) -> None:
        super().__init__()
        self._read = read
        self._is_incremental = how.is_cooperative or how.protocol is Protocols.CONSUMER
        self._held: frozenset[Place] = frozenset()
        settings: dict[str, str | int | bool] = {
            "bootstrap.servers": server,
            "group.id": how.group,
            "group.protocol": how.protocol.value,
            "enable.auto.commit": how.commits_by_itself,
            "auto.offset.reset": "latest" if how.from_the_end else "earliest",
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "topic.metadata.refresh.interval.ms": METADATA_AGE_MS,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
        if how.protocol is Protocols.CLASSIC:
            settings["session.timeout.ms"] = SESSION_MS
            settings["heartbeat.interval.ms"] = HEARTBEAT_MS
            settings["partition.assignment.strategy"] = "cooperative-sticky" if how.is_cooperative else "range"
        if how.instance_id is not None:
            settings["group.instance.id"] = how.instance_id
        self._consumer = Consumer(settings)
        topics = list(how.topics) if how.pattern is None else [how.pattern]
        self._consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        self.start()

    def poll(self) -> list[Read]:
        """What came; while the broker is away the client goes on by itself."""
        messages = self._consumer.consume(AT_ONCE, POLL_S)
        for message in messages:
            error = message.error()
            if error is not None and not error.retriable() and error.code() > 0:
                raise _failure(error)
        return [self._read(message) for message in messages if message.error() is None]

    def leave(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def commit(self, positions: Mapping[Place, Position]) -> None:
        """By commit(offsets=...)."""
        places = [
            TopicPartition(topic, partition, position.offset, metadata=position.metadata)
            for (topic, partition), position in positions.items()
        ]
        answers = self._ask(lambda: self._consumer.commit(offsets=places, asynchronous=False))
        for answer in answers or ():
            if answer.error is not None:
                raise _failure(answer.error)

    def committed(self, place: Place) -> Position | None:
        """By committed()."""
        [found] = self._ask(lambda: self._consumer.committed([TopicPartition(*place)], timeout=PATIENCE_S))
        return None if found.offset < 0 else Position(found.offset, found.metadata or "")

    def seek(self, place: Place, offset: int) -> None:
        """By seek()."""

        def go() -> None:
            self._consumer.seek(TopicPartition(*place, offset))
            self.inbox.forget(place)

        self._ask(go)

    def pause(self, place: Place) -> None:
        """By pause()."""
        self._ask(lambda: self._consumer.pause([TopicPartition(*place)]))

    def resume(self, place: Place) -> None:
        """By resume()."""
        self._ask(lambda: self._consumer.resume([TopicPartition(*place)]))

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        try:
            return self.do(call)
        except KafkaException as error:
            raise _failure(error.args[0]) from None

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        given = _places(partitions)
        self._held = self._held | given if self._is_incremental else given
        self.inbox.hold(self._held)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._held -= _places(partitions)
        self.inbox.hold(self._held)


def _places(partitions: list[TopicPartition]) -> frozenset[Place]:
    return frozenset((place.topic, place.partition) for place in partitions)


def _failure(error: KafkaError) -> Exception:
    if error.code() > 0:
        return Refused(error.code(), error.str())
    return ClientFailed(f"{error.name()}: {error.str()}")
