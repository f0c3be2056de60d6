"""kill -9 while producers write: whatever was acknowledged is there afterwards, where it was said to be, in order.

The oracle is outside of the broker: what the producers were told, in this process. Reliability plan A2.
"""

import asyncio
import os
import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import tidelog
from support.process import BrokerProcess

KILLS = 200 if os.environ.get("TIDELOG_PROOF") else 20
KILLS_OF_THE_IDEMPOTENT = 200 if os.environ.get("TIDELOG_PROOF") else 6
PROGRESS = 100
UNANSWERED_MAX = 2000
"""Records under way."""
PARTITIONS = 3
TOPIC = "orders"
PATIENCE_S = 60.0
POLL_S = 0.1
PARTITION_EOF = -191
"""librdkafka's own code for: nothing more here."""


@dataclass
class Told:
    """What one producer was told: the place of each acknowledged value."""

    name: str
    acknowledged: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    sent: int = 0

    def value(self) -> bytes:
        """The next value to send."""
        self.sent += 1
        return b"%s %09d " % (self.name.encode(), self.sent) + b"x" * (self.sent % 400)

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """confluent-kafka's delivery report."""
        if error is None:
            value, partition, offset = message.value(), message.partition(), message.offset()
            assert isinstance(value, bytes)
            assert partition is not None
            assert offset is not None
            self.acknowledged[value] = (partition, offset)


def confluent(told: Told, server: str, stop: threading.Event, **settings: object) -> None:
    """Write until told to stop; by default one request in flight, so that retries cannot overtake each other."""
    producer = Producer(
        {
            "bootstrap.servers": server,
            "acks": "all",
            "max.in.flight": 1,
            "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 50,
            "reconnect.backoff.max.ms": 100,
            "log_level": 0,
            **settings,
        }
    )
    while not stop.is_set():
        if len(producer) < UNANSWERED_MAX:
            producer.produce(TOPIC, told.value(), partition=told.sent % PARTITIONS, on_delivery=told.delivered)
            producer.poll(0)
        else:
            producer.poll(0.01)
    assert producer.flush(PATIENCE_S) == 0


def thin(told: Told, server: str, stop: threading.Event) -> None:
    """The same with our own client; a record is sent when those before it are acknowledged."""

    async def write() -> None:
        async with tidelog.connect(server) as client, client.producer(idempotent=False) as producer:
            while not stop.is_set():
                values = [(told.value(), told.sent % PARTITIONS) for _ in range(50)]
                placed = await asyncio.gather(
                    *(producer.send(TOPIC, value, partition=partition) for value, partition in values)
                )
                for (value, _), place in zip(values, placed, strict=True):
                    told.acknowledged[value] = (place.partition, place.offset)

    asyncio.run(write())


def idempotent_thin(told: Told, server: str, stop: threading.Event, **settings: object) -> None:
    """Write on, whatever is acknowledged: several small batches of a partition are under way at any time."""

    async def write() -> None:
        async with (
            tidelog.connect(server, backoff=(0.02, 0.05)) as client,
            client.producer(max_batch="4KiB", **settings) as producer,  # type: ignore[arg-type]
        ):
            unanswered: deque[asyncio.Future[tidelog.RecordMetadata]] = deque()
            while not stop.is_set():
                value = told.value()
                future = producer.send_nowait(TOPIC, value, partition=told.sent % PARTITIONS)
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


Writer = tuple[str, Callable[..., None], dict[str, object]]
"""The producer's name, what it does, and its settings."""

WRITERS: list[Writer] = [
    ("plain", confluent, {}),
    ("zstd", confluent, {"compression.type": "zstd"}),
    ("thin", thin, {}),
]
NUMBERED: dict[str, object] = {"enable.idempotence": True, "max.in.flight": 5, "batch.num.messages": 20, "linger.ms": 0}
IDEMPOTENT_WRITERS: list[Writer] = [
    ("plain", confluent, NUMBERED),
    ("lz4", confluent, {**NUMBERED, "compression.type": "lz4"}),
    ("thin", idempotent_thin, {}),
    ("thin-zstd", idempotent_thin, {"compression": "zstd"}),
]


@contextmanager
def writing(server: str, writers: Sequence[Writer]) -> Iterator[list[Told]]:
    """Producers at work; afterwards they have written all that they began to."""
    tolds = [Told(name) for name, _, _ in writers]
    stop = threading.Event()
    failures: list[BaseException] = []

    def run(write: object, *arguments: object, **settings: object) -> None:
        assert callable(write)
        try:
            write(*arguments, **settings)
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [
        threading.Thread(target=run, args=(write, told, server, stop), kwargs=settings)
        for told, (_, write, settings) in zip(tolds, writers, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield tolds
    finally:
        stop.set()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
    assert not failures, failures
    assert not any(thread.is_alive() for thread in threads)


def everything(server: str) -> dict[tuple[int, int], bytes]:
    """All records, by partition and offset; offsets without a gap."""
    consumer = Consumer(
        {"bootstrap.servers": server, "group.id": "x", "enable.auto.commit": False, "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    records: dict[tuple[int, int], bytes] = {}
    expected: defaultdict[int, int] = defaultdict(int)
    ended = 0
    deadline = time.monotonic() + PATIENCE_S
    while ended < PARTITIONS:
        messages = consumer.consume(10_000, POLL_S)
        assert messages or time.monotonic() < deadline, "the broker does not answer"
        for message in messages:
            error = message.error()
            if error is not None:
                assert error.code() == PARTITION_EOF, error
                ended += 1
                continue
            partition, offset, value = message.partition(), message.offset(), message.value()
            assert partition is not None
            assert isinstance(value, bytes)
            assert offset == expected[partition], "a gap in the offsets"
            expected[partition] += 1
            records[partition, offset] = value
    consumer.close()
    return records


def wait_for_progress(tolds: Sequence[Told], count: int) -> None:
    """Until each producer was told of so many more records."""
    before = [len(told.acknowledged) for told in tolds]
    deadline = time.monotonic() + PATIENCE_S
    while any(len(told.acknowledged) < known + count for told, known in zip(tolds, before, strict=True)):
        assert time.monotonic() < deadline, f"no progress: {[(told.name, len(told.acknowledged)) for told in tolds]}"
        time.sleep(0.01)


def killed(
    directory: Path, writers: Sequence[Writer], kills: int, *, progress: int = 0
) -> tuple[list[Told], dict[tuple[int, int], bytes], float]:
    """What producers were told by a broker that was killed so often, what it holds, and its slowest start.

    `progress`: records that each producer is told of between two kills, at least; some take their time to come back.
    """
    dice = random.Random(9)
    broker = BrokerProcess(directory / "data", "log.segment.bytes=262144")
    broker.start()
    slowest_s = 0.0
    try:
        admin = AdminClient({"bootstrap.servers": broker.server})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(PATIENCE_S)
        with writing(broker.server, writers) as tolds:
            for _ in range(kills):
                wait_for_progress(tolds, progress)
                time.sleep(dice.uniform(0.05, 1.0))
                broker.kill()
                broker.restart()
                slowest_s = max(slowest_s, broker.ready_after_s)
            time.sleep(0.5)
        records = everything(broker.server)
    finally:
        broker.stop()
    assert "Traceback" not in broker.log_text(), broker.log_text()
    return tolds, records, slowest_s


def assert_told_the_truth(told: Told, records: dict[tuple[int, int], bytes], kills: int) -> None:
    """What a producer was told is there is there."""
    assert len(told.acknowledged) > kills * 10, f"{told.name} hardly got to write"
    for value, place in told.acknowledged.items():
        assert records.get(place) == value, f"acknowledged record of {told.name} lost at {place}"


def test_what_an_idempotent_producer_sends_through_kill_9_is_there_once_and_in_order(tmp_path: Path) -> None:
    """I-2, I-3, I-7, I-10, B-21: five requests are under way, the kills swallow their answers, all are sent again."""
    tolds, records, _ = killed(tmp_path, IDEMPOTENT_WRITERS, KILLS_OF_THE_IDEMPOTENT, progress=PROGRESS)
    stored: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for (partition, _), value in sorted(records.items()):
        name, number, _ = value.decode().split(" ")
        stored[name, partition].append(int(number))
    for told in tolds:
        assert_told_the_truth(told, records, KILLS_OF_THE_IDEMPOTENT)
        assert len(told.acknowledged) == told.sent
        for partition in range(PARTITIONS):
            sent = [number for number in range(1, told.sent + 1) if number % PARTITIONS == partition]
            assert stored[told.name, partition] == sent, f"{told.name} in partition {partition}"
    count = sum(len(told.acknowledged) for told in tolds)
    print(f"{KILLS_OF_THE_IDEMPOTENT} kills, {count} records, each of them once")  # noqa: T201


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """L-10, L-11."""
    tolds, records, slowest_s = killed(tmp_path, WRITERS, KILLS)
    for told in tolds:
        assert_told_the_truth(told, records, KILLS)
        for partition in range(PARTITIONS):
            offsets = [offset for where, offset in told.acknowledged.values() if where == partition]
            assert offsets == sorted(offsets), f"{told.name} was reordered in partition {partition}"
    acknowledged = sum(len(told.acknowledged) for told in tolds)
    print(f"{KILLS} kills, {acknowledged} acknowledged, 0 lost, slowest start {slowest_s:.3f} s")  # noqa: T201


def test_a_clean_stop_leaves_nothing_to_recover(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path / "data")
    broker.start()
    producer = Producer({"bootstrap.servers": broker.server, "acks": "all"})
    producer.produce(TOPIC, b"kept")
    assert producer.flush(PATIENCE_S) == 0
    assert broker.stop() == 0
    assert (broker.data_dir / ".kafka_cleanshutdown").exists()
    broker.restart()
    assert not (broker.data_dir / ".kafka_cleanshutdown").exists()
    consumer = Consumer({"bootstrap.servers": broker.server, "group.id": "x", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    message = consumer.poll(PATIENCE_S)
    assert message is not None
    assert message.value() == b"kept"
    consumer.close()
    assert broker.stop() == 0


def test_a_second_broker_does_not_touch_the_data_of_the_first(broker: BrokerProcess) -> None:
    twin = BrokerProcess(broker.data_dir)
    twin.log_path = broker.data_dir.with_suffix(".twin.log")
    before = {path: path.stat().st_mtime_ns for path in broker.data_dir.rglob("*")}
    with pytest.raises(AssertionError, match="did not start"):
        twin.start()
    after = {path: path.stat().st_mtime_ns for path in broker.data_dir.rglob("*")}
    # The first one's own durable marks may move meanwhile; nothing else does.
    assert {path for path in before if before[path] != after.get(path)} <= set(broker.data_dir.rglob("durable-mark"))
