"""A member: aiokafka, by its range assignor."""

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError

from support.members.command import HEARTBEAT_MS, POLL_MAX, POLL_S, SESSION_MS, Command, Stop
from support.members.journal import Journal


class Held(ConsumerRebalanceListener):
    """What the member holds.

    The client rebalances beside the program: it has to wait while the program has records that it has not committed.
    """

    def __init__(self, consumer: AIOKafkaConsumer, journal: Journal) -> None:
        self._consumer = consumer
        self._journal = journal
        self.busy = asyncio.Lock()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Given back, all of them."""
        async with self.busy:
            self._journal.assigned(self._generation(), [])

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Given, all of them."""
        self._journal.assigned(self._generation(), [place.partition for place in assigned])

    def _generation(self) -> int:
        generation: int = self._consumer._coordinator.generation  # noqa: SLF001
        return generation


async def take(consumer: AIOKafkaConsumer, command: Command, held: Held) -> None:
    """Read some records and commit them."""
    batches = await consumer.getmany(timeout_ms=int(POLL_S * 1000), max_records=POLL_MAX)
    async with held.busy:  # nothing was awaited since the records came
        offsets: dict[int, int] = {}
        for place, records in batches.items():
            command.journal.read(place.partition, records[0].offset, [record.value for record in records])
            offsets[place.partition] = records[-1].offset + 1
        if not offsets:
            return
        try:
            with command.journal.committing(offsets):
                await consumer.commit({TopicPartition(command.topic, part): at for part, at in offsets.items()})
        except (KafkaError, IllegalStateError) as refused:
            command.journal.note(f"commit: {refused!r}")


async def opened(command: Command) -> tuple[AIOKafkaConsumer, Held]:
    """A consumer that has started."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=command.server,
        group_id=command.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
    )
    held = Held(consumer, command.journal)
    consumer.subscribe([command.topic], listener=held)
    try:
        await consumer.start()
    except KafkaConnectionError:
        await consumer.stop()
        raise
    return consumer, held


async def opened_with_patience(command: Command, stop: Stop) -> tuple[AIOKafkaConsumer, Held]:
    """The same; while the broker is away the client gives up at once, so it is made anew."""
    while True:
        try:
            return await opened(command)
        except KafkaConnectionError:
            if stop.is_set:
                raise
            await asyncio.sleep(POLL_S)


async def main() -> None:
    """Take part until told to end."""
    stop = Stop()
    command = Command.read()
    consumer, held = await opened_with_patience(command, stop)
    while not stop.is_set:
        await take(consumer, command, held)
    await consumer.stop()


asyncio.run(main())
