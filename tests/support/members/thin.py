"""A member: tidelog's own client."""

import asyncio
import signal
from collections.abc import Iterable

import tidelog
from support.members.command import POLL_MAX, POLL_S, Command
from support.members.journal import Journal


class Held:
    """What the member holds."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._held: frozenset[int] = frozenset()
        self.consumer: tidelog.Consumer[bytes, bytes] | None = None

    def assigned(self, names: Iterable[tidelog.TopicPartition]) -> None:
        """Given, besides what it has."""
        self._hold(self._held | {name.partition for name in names})

    def revoked(self, names: Iterable[tidelog.TopicPartition]) -> None:
        """Given back, or taken away."""
        self._hold(self._held - {name.partition for name in names})

    def _hold(self, held: frozenset[int]) -> None:
        assert self.consumer is not None
        self._held = held
        epoch = self.consumer._session.membership.epoch  # noqa: SLF001
        self._journal.assigned(epoch, sorted(held), kept=True)


async def take(batch: "tidelog.Batch[bytes, bytes]", journal: Journal) -> None:
    """Write down what came, and commit it."""
    values: dict[int, list[bytes]] = {}
    first: dict[int, int] = {}
    for record in batch:
        assert record.value is not None
        offset = first.setdefault(record.partition, record.offset) + len(values.get(record.partition, ()))
        assert record.offset == offset, "a gap within one batch"
        values.setdefault(record.partition, []).append(record.value)
    for partition, found in values.items():
        journal.read(partition, first[partition], found)
    try:
        with journal.committing({partition: first[partition] + len(found) for partition, found in values.items()}):
            await batch.commit()
    except tidelog.TidelogError as refused:
        journal.note(f"commit: {refused!r}")


async def main() -> None:
    """Take part until told to end."""
    command = Command.read()
    held = Held(command.journal)
    async with tidelog.connect(command.server) as client:
        consumer = client.consumer(
            command.topic,
            group=command.group,
            commit="manual",
            on_assign=held.assigned,
            on_revoke=held.revoked,
            on_lost=held.revoked,
        )
        held.consumer = consumer
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with consumer:
            async for batch in consumer.batches(max_records=POLL_MAX, max_wait=POLL_S):
                await take(batch, command.journal)


try:
    asyncio.run(main())
except asyncio.CancelledError:
    pass
