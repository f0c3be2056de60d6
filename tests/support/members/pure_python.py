"""A member: kafka-python. Word: an assignor, `range` if none is given, or `cooperative-sticky`."""

from collections.abc import Iterable, Mapping

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError

from support.members.command import HEARTBEAT_MS, POLL_MAX, SESSION_MS, Command, Stop
from support.members.journal import Journal

ASSIGNORS = {"range": RangePartitionAssignor, "cooperative-sticky": CooperativeStickyAssignor}

POLL_MS = 60_000
"""Where a poll ends while the client waits for the answer to SyncGroup, it forgets that it has asked, and hangs."""


class Held(ConsumerRebalanceListener):
    """What the member holds."""

    def __init__(self, consumer: KafkaConsumer, journal: Journal, *, is_incremental: bool) -> None:
        self._consumer = consumer
        self._journal = journal
        self._is_incremental = is_incremental
        self._held: set[int] = set()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Given back."""
        self._held -= {place.partition for place in revoked}
        self._journal.assigned(self._generation(), sorted(self._held), kept=True)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Taken away."""
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Given."""
        given = {place.partition for place in assigned}
        self._held = self._held | given if self._is_incremental else given
        self._journal.assigned(self._generation(), sorted(self._held), kept=self._is_incremental)

    def _generation(self) -> int:
        generation: int = self._consumer._coordinator._generation.generation_id  # noqa: SLF001
        return generation


def take(consumer: KafkaConsumer, stop: Stop, topic: str, journal: Journal) -> None:
    """Read some records and commit them."""
    offsets: dict[int, int] = {}
    batches: Mapping[TopicPartition, list[ConsumerRecord]] = {}
    try:
        with stop.interrupting():
            batches = consumer.poll(POLL_MS, max_records=POLL_MAX)
    except KafkaError as failure:  # the broker went away in the middle of something
        journal.note(f"poll: {failure!r}")
    for place, records in batches.items():
        journal.read(place.partition, records[0].offset, [record.value for record in records])
        offsets[place.partition] = records[-1].offset + 1
    if not offsets:
        return
    places = {TopicPartition(topic, partition): OffsetAndMetadata(at, "", -1) for partition, at in offsets.items()}
    try:
        with journal.committing(offsets):
            consumer.commit(places)
    except KafkaError as refused:
        journal.note(f"commit: {refused!r}")


def main() -> None:
    """Take part until told to end."""
    stop = Stop()
    command = Command.read()
    [assignor] = command.words or ("range",)
    consumer = KafkaConsumer(
        bootstrap_servers=command.server,
        group_id=command.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        reconnect_backoff_max_ms=500,
        partition_assignment_strategy=[ASSIGNORS[assignor]],
    )
    held = Held(consumer, command.journal, is_incremental=assignor == "cooperative-sticky")
    consumer.subscribe([command.topic], listener=held)
    while not stop.is_set:
        take(consumer, stop, command.topic, command.journal)
    consumer.close(autocommit=False)


main()
