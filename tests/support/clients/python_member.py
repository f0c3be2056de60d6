"""kafka-python as a member of a group."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import BrokerResponseError, KafkaConnectionError, KafkaError

from .membership import HEARTBEAT_MS, METADATA_AGE_MS, SESSION_MS, ThreadedMember
from .model import FETCH_WAIT_MS, ClientFailed, Joining, Place, Position, Read, Refused

Answer = TypeVar("Answer")
POLL_MS = 1_000
"""Where a poll ends while the client waits for the answer to SyncGroup, it forgets that it has asked, and hangs."""


class PythonMember(ThreadedMember, ConsumerRebalanceListener):  # type: ignore[misc]
    """A KafkaConsumer that has subscribed."""

    def __init__(self, server: str, how: Joining, read: Callable[[ConsumerRecord], Read]) -> None:
        super().__init__()
        self._read = read
        self._is_incremental = how.is_cooperative
        self._held: frozenset[Place] = frozenset()
        self._consumer = KafkaConsumer(
            bootstrap_servers=server,
            group_id=how.group,
            group_instance_id=how.instance_id,
            enable_auto_commit=how.commits_by_itself,
            auto_offset_reset="latest" if how.from_the_end else "earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            metadata_max_age_ms=METADATA_AGE_MS,
            reconnect_backoff_max_ms=500,
            partition_assignment_strategy=[
                CooperativeStickyAssignor if how.is_cooperative else RangePartitionAssignor,
            ],
        )
        self._consumer.subscribe(list(how.topics), pattern=how.pattern, listener=self)
        self.start()

    def poll(self) -> list[Read]:
        """What came; that the broker is away may be told in the middle of something, and is no reason to end."""
        try:
            batches = self._consumer.poll(POLL_MS)
        except KafkaConnectionError:
            return []
        return [self._read(one) for batch in batches.values() for one in batch]

    def leave(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def commit(self, positions: Mapping[Place, Position]) -> None:
        """By commit(offsets)."""
        offsets = {
            TopicPartition(*place): OffsetAndMetadata(position.offset, position.metadata, -1)
            for place, position in positions.items()
        }
        self._ask(lambda: self._consumer.commit(offsets))

    def committed(self, place: Place) -> Position | None:
        """By committed(metadata=True)."""
        found = self._ask(lambda: self._consumer.committed(TopicPartition(*place), metadata=True))
        return None if found is None or found.offset < 0 else Position(found.offset, found.metadata)

    def seek(self, place: Place, offset: int) -> None:
        """By seek()."""

        def go() -> None:
            self._consumer.seek(TopicPartition(*place), offset)
            self.inbox.forget(place)

        self._ask(go)

    def pause(self, place: Place) -> None:
        """By pause()."""
        self._ask(lambda: self._consumer.pause(TopicPartition(*place)))

    def resume(self, place: Place) -> None:
        """By resume()."""
        self._ask(lambda: self._consumer.resume(TopicPartition(*place)))

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Given."""
        given = frozenset((place.topic, place.partition) for place in assigned)
        self._held = self._held | given if self._is_incremental else given
        self.inbox.hold(self._held)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Given back."""
        self._held -= frozenset((place.topic, place.partition) for place in revoked)
        self.inbox.hold(self._held)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Taken away."""
        self.on_partitions_revoked(lost)

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        try:
            return self.do(call)
        except BrokerResponseError as error:
            raise Refused(error.errno, str(error)) from None
        except KafkaError as error:
            raise ClientFailed(repr(error)) from None
