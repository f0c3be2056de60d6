"""Clients outside of the machine, at work through every power cut, which keep what they were told.

None of them knows that there is a machine. Producers write on Kafka's wire and on our own, idempotent and not; one of
them does not wait for the disk (acks=1), so that each cut finds something to tear. A reader reads what they write and
commits how far it came. `look` reads everything that is there.
"""

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import tidelog

from .promises import ACKS_ALL, PARTITIONS, Place, Promises, Records, Told, broken

TOPIC: Final = "orders"
GROUP: Final = "billing"
UNANSWERED_MAX: Final = 300
"""Records under way, of each producer."""
PATIENCE_S: Final = 120.0
"""Generous: the machine is emulated, and its power is off for most of the time."""
DELIVERED_WITHIN_S: Final = 900.0
POLL_S: Final = 0.1
PARTITION_EOF: Final = -191
"""librdkafka's own code for: nothing more here."""
OUT_OF_RANGE: Final = -140
"""And for: the position is none that the partition has."""
IMPATIENT: Final[Mapping[str, str | int | float | bool]] = {
    "retry.backoff.ms": 20,
    "retry.backoff.max.ms": 100,
    "reconnect.backoff.max.ms": 200,
    "log_level": 0,
}
UNDETERRED: Final = {**IMPATIENT, "message.timeout.ms": int(1000 * DELIVERED_WITHIN_S)}
"""Of a producer."""


class Witness:
    """Producers and a reader, and all that they were told."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.tolds = [
            Told("plain"),
            Told("zstd", idempotent=True),
            Told("thin", idempotent=True),
            Told("hasty", acks=1),
        ]
        self._seen: Records = {}
        self._commits_tried = [0] * PARTITIONS
        self._commits_told = [0] * PARTITIONS
        self._stop = threading.Event()
        self._failures: list[BaseException] = []

    @property
    def acknowledged_count(self) -> int:
        """Records of which a producer was told that they are on the disk."""
        return sum(len(told.acknowledged) for told in self.tolds if told.acks == ACKS_ALL)

    def create_topic(self) -> None:
        """Before anything else."""
        admin = AdminClient({"bootstrap.servers": self.server, **IMPATIENT})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(PATIENCE_S)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Clients work through all that happens; afterwards the producers were told of all that they sent."""
        plain, zstd, thin, hasty = self.tolds
        numbered: dict[str, object] = {"enable.idempotence": True, "max.in.flight": 5, "batch.num.messages": 50}
        work = [
            partial(_produce_by_confluent, plain, self.server, self._stop, **{"max.in.flight": 1}),
            partial(_produce_by_confluent, zstd, self.server, self._stop, **numbered, **{"compression.type": "zstd"}),
            partial(_produce_by_confluent, hasty, self.server, self._stop),
            partial(_produce_by_tidelog, thin, self.server, self._stop),
            self._read_and_commit,
        ]
        # Daemons: when the test has failed, nobody waits for answers that will not come.
        threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
        assert not self._failures, self._failures
        assert not any(thread.is_alive() for thread in threads)
        assert all(len(told.acknowledged) == told.sent for told in self.tolds)

    def await_progress(self, count: int) -> None:
        """Until so many more records were acknowledged."""
        wanted = self.acknowledged_count + count
        deadline = time.monotonic() + PATIENCE_S
        while self.acknowledged_count < wanted:
            assert not self._failures, self._failures
            assert time.monotonic() < deadline, "no record is acknowledged"
            time.sleep(0.01)

    def promises(self) -> Promises:
        """What was promised up to now."""
        return Promises(
            tolds=[Told(told.name, told.idempotent, told.acks, dict(told.acknowledged)) for told in self.tolds],
            seen=dict(self._seen),
            commits=list(self._commits_told),
        )

    def look(self, promises: Promises) -> list[str]:
        """Read everything; the promises that are broken. What was read counts as seen from now on."""
        settings = {"bootstrap.servers": self.server, "group.id": GROUP, "enable.auto.commit": False, **IMPATIENT}
        consumer = Consumer({**settings, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
        places = [TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)]
        committed = [max(0, place.offset) for place in consumer.committed(places, PATIENCE_S)]
        consumer.assign(places)
        records: Records = {}
        ended: set[int] = set()
        deadline = time.monotonic() + PATIENCE_S
        while len(ended) < PARTITIONS:
            assert time.monotonic() < deadline, "the broker does not answer"
            for message in consumer.consume(10_000, POLL_S):
                partition = message.partition()
                if _is_record(message):
                    place, value = _record(message)
                    records[place] = value
                elif partition is not None and _is_end(message):
                    ended.add(partition)
        consumer.close()
        found = list(broken(promises, records, committed, self._commits_tried))
        self._seen |= records
        return found

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:
            self._failures.append(failure)
            raise

    def _read_and_commit(self) -> None:
        """Read on and on, and commit each step."""
        settings = {"bootstrap.servers": self.server, "group.id": GROUP, "enable.auto.commit": False, **IMPATIENT}
        consumer = Consumer({**settings, "auto.offset.reset": "error"})
        consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
        while not self._stop.is_set():
            ends: defaultdict[int, int] = defaultdict(int)
            for message in consumer.consume(200, POLL_S):
                if _is_record(message):
                    (partition, offset), value = _record(message)
                    self._seen[partition, offset] = value
                    ends[partition] = offset + 1
            for partition, end in ends.items():
                self._commits_tried[partition] = max(self._commits_tried[partition], end)
            try:
                self._commit(consumer, ends)
            except KafkaException:
                pass  # the power is off; what was tried may have been done
        consumer.close()

    def _commit(self, consumer: Consumer, ends: Mapping[int, int]) -> None:
        if not ends:
            return
        places = [TopicPartition(TOPIC, partition, end) for partition, end in ends.items()]
        for place in consumer.commit(offsets=places, asynchronous=False) or ():
            if place.error is None:
                self._commits_told[place.partition] = place.offset


def _produce_by_confluent(told: Told, server: str, stop: threading.Event, **settings: object) -> None:
    """Write until told to stop, with librdkafka on Kafka's wire."""

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        place, value = _record(message)
        told.acknowledged[value] = place

    producer = Producer({"bootstrap.servers": server, "acks": told.acks, **UNDETERRED, **settings})
    while not stop.is_set():
        if len(producer) < UNANSWERED_MAX:
            producer.produce(TOPIC, told.value(), partition=told.partition, on_delivery=delivered)
            producer.poll(0)
        else:
            producer.poll(0.01)
    assert producer.flush(PATIENCE_S) == 0, f"{told.name} was not answered"


def _produce_by_tidelog(told: Told, server: str, stop: threading.Event) -> None:
    """The same with our own client on our own wire: several small batches of a partition are under way at any time."""

    async def write() -> None:
        async with (
            tidelog.connect(server, backoff=(0.02, 0.2)) as client,
            client.producer(max_batch="4KiB", delivery_timeout=DELIVERED_WITHIN_S) as producer,
        ):
            unanswered: deque[asyncio.Future[tidelog.RecordMetadata]] = deque()
            while not stop.is_set():
                value = told.value()
                future = producer.send_nowait(TOPIC, value, partition=told.partition)
                future.add_done_callback(partial(placed, value))
                unanswered.append(future)
                if len(unanswered) > UNANSWERED_MAX:
                    await unanswered.popleft()
                elif told.sent % 20 == 0:
                    await asyncio.sleep(0)

    def placed(value: bytes, future: asyncio.Future[tidelog.RecordMetadata]) -> None:
        place = future.result()
        told.acknowledged[value] = (place.partition, place.offset)

    asyncio.run(write())


def _is_record(message: Message) -> bool:
    """Whether it is one. It may also be the news that a partition has no more, or that the power is off."""
    error = message.error()
    if error is not None and (error.code() >= 0 or error.code() == OUT_OF_RANGE):
        raise AssertionError(f"the broker refuses: {error}")
    return error is None


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == PARTITION_EOF


def _record(message: Message) -> tuple[Place, bytes]:
    partition, offset, value = message.partition(), message.offset(), message.value()
    assert partition is not None
    assert offset is not None
    assert isinstance(value, bytes)
    return (partition, offset), value
