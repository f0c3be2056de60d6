"""aiokafka as a member of a group: on a loop in a thread of its own, for it beats while the test waits."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import BrokerResponseError, KafkaError
from aiokafka.structs import ConsumerRecord

from .membership import HEARTBEAT_MS, METADATA_AGE_MS, POLL_S, SESSION_MS, ThreadedMember
from .model import FETCH_WAIT_MS, ClientFailed, Joining, Place, Position, Read, Refused

Answer = TypeVar("Answer")


class AioMember(ThreadedMember, ConsumerRebalanceListener):  # type: ignore[misc]
    """An AIOKafkaConsumer that has subscribed."""

    def __init__(self, server: str, how: Joining, read: Callable[[ConsumerRecord], Read]) -> None:
        super().__init__()
        self._server = server
        self._how = how
        self._read = read
        self._runner = asyncio.Runner()
        self._made: AIOKafkaConsumer | None = None
        self.start()

    def poll(self) -> list[Read]:
        """What came; the loop runs as long as the client waits for records, and so it beats."""
        if self._made is None:
            self._made = self._runner.run(self._open())
        consumer = self._made
        batches = self._runner.run(consumer.getmany(timeout_ms=int(POLL_S * 1000)))
        return [self._read(record) for batch in batches.values() for record in batch]

    def leave(self) -> None:
        """Stop the consumer."""
        if self._made is not None:
            self._runner.run(self._made.stop())
        self._runner.close()

    def commit(self, positions: Mapping[Place, Position]) -> None:
        """By commit(offsets)."""
        offsets = {TopicPartition(*place): (one.offset, one.metadata) for place, one in positions.items()}
        self._ask(lambda consumer: consumer.commit(offsets))

    def committed(self, place: Place) -> Position | None:
        """By committed(), which does not show metadata."""
        offset = self._ask(lambda consumer: consumer.committed(TopicPartition(*place)))
        return None if offset is None else Position(offset)

    def seek(self, place: Place, offset: int) -> None:
        """By seek()."""
        self._between(lambda consumer: consumer.seek(TopicPartition(*place), offset))
        self.inbox.forget(place)

    def pause(self, place: Place) -> None:
        """By pause()."""

        async def pause(consumer: AIOKafkaConsumer) -> None:
            consumer.pause(TopicPartition(*place))

        self._ask(pause)

    def resume(self, place: Place) -> None:
        """By resume()."""

        async def resume(consumer: AIOKafkaConsumer) -> None:
            consumer.resume(TopicPartition(*place))

        self._ask(resume)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Given, all of them."""
        self.inbox.hold(frozenset((place.topic, place.partition) for place in assigned))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Given back, all of them."""
        if revoked:
            self.inbox.hold(frozenset())

    async def _open(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._server,
            group_id=self._how.group,
            group_instance_id=self._how.instance_id,
            enable_auto_commit=self._how.commits_by_itself,
            auto_offset_reset="latest" if self._how.from_the_end else "earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            metadata_max_age_ms=METADATA_AGE_MS,
            partition_assignment_strategy=(RangePartitionAssignor,),
        )
        if self._how.pattern is None:
            consumer.subscribe(list(self._how.topics), listener=self)
        else:
            consumer.subscribe(pattern=self._how.pattern, listener=self)
        await consumer.start()
        return consumer

    def _ask(self, call: Callable[[AIOKafkaConsumer], Coroutine[None, None, Answer]]) -> Answer:
        return self._between(lambda consumer: self._runner.run(call(consumer)))

    def _between(self, call: Callable[[AIOKafkaConsumer], Answer]) -> Answer:
        try:
            return self.do(lambda: call(self._consumer()))
        except BrokerResponseError as error:
            raise Refused(error.errno, str(error)) from None
        except KafkaError as error:
            raise ClientFailed(repr(error)) from None

    def _consumer(self) -> AIOKafkaConsumer:
        assert self._made is not None
        return self._made
