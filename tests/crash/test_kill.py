"""kill -9 while clients of every kind write and groups read: what was acknowledged is there, where it was said to be.

The oracle is outside of the broker: what the producers were told and what the consumers read, in this process.
Reliability plan A2.
"""

import asyncio
import contextlib
import random
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import tidelog
from support.process import BrokerProcess
from support.proofs import IS_PROOF, record

KILLS = 500 if IS_PROOF else 20
KILLS_OF_THE_IDEMPOTENT = 500 if IS_PROOF else 6
SEGMENT_BYTES = 1 << (21 if IS_PROOF else 18)
PROGRESS = 100
UNANSWERED_MAX = 2000
"""Records under way."""
PARTITIONS = 3
TOPIC = "orders"
PATIENCE_S = 60.0
POLL_S = 0.1
COMMIT_EVERY = 500
PARTITION_EOF = -191
"""librdkafka's own code for: nothing more here."""
OFFSET_BITS = 40


def value_of(name: str, number: int) -> bytes:
    """What a producer sends as its so manyth record."""
    return b"%s %09d " % (name.encode(), number) + b"x" * (number % 400)


@dataclass(kw_only=True)
class Told:
    """What one producer was told: the place of each acknowledged record. Millions of them, so numbers in an array."""

    name: str
    acks: str | int = "all"
    sent: int = 0
    acknowledged: int = 0
    places: "array[int]" = field(default_factory=lambda: array("q"))
    """By number - 1: partition and offset in one; -1 for what was not acknowledged."""

    def value(self) -> bytes:
        """The next value to send."""
        self.sent += 1
        self.places.append(-1)
        return value_of(self.name, self.sent)

    def placed(self, value: bytes, partition: int, offset: int) -> None:
        """A record was acknowledged."""
        self.acknowledged += 1
        if self.acks != 0:  # which tells nobody where it led to
            assert offset >= 0
            self.places[number_in(value) - 1] = partition << OFFSET_BITS | offset

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """confluent-kafka's delivery report."""
        if error is None:
            value, partition, offset = message.value(), message.partition(), message.offset()
            assert isinstance(value, bytes)
            assert partition is not None
            self.placed(value, partition, -1 if offset is None else offset)


@dataclass
class Stored:
    """What lies in one partition: of each offset the producer, as a number of `names`, and the number of the record."""

    names: Sequence[str]
    records: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, value: bytes) -> None:
        """The next record; it must be one that somebody sent, byte for byte."""
        name, number = value[: value.index(b" ")].decode(), number_in(value)
        assert value == value_of(name, number), "bytes that nobody sent"
        self.records.append(self.names.index(name) << OFFSET_BITS | number)

    def numbers_of(self, name: str) -> list[int]:
        """The records of one producer, in the order in which they lie there."""
        first = self.names.index(name) << OFFSET_BITS
        return [one - first for one in self.records if one >> OFFSET_BITS == first >> OFFSET_BITS]


def number_in(value: bytes) -> int:
    """Which record of its producer it is."""
    return int(value.split(b" ", 2)[1])


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
                    told.placed(value, place.partition, place.offset)

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
        told.placed(value, place.partition, place.offset)

    asyncio.run(write())


Writer = tuple[str, Callable[..., None], dict[str, object]]
"""The producer's name, what it does, and its settings."""

WRITERS: list[Writer] = [
    ("plain", confluent, {}),
    ("zstd", confluent, {"compression.type": "zstd"}),
    ("thin", thin, {}),
    ("gzip-acks-1", confluent, {"compression.type": "gzip", "acks": 1}),
    ("snappy-acks-0", confluent, {"compression.type": "snappy", "acks": 0}),
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
    tolds = [Told(name=name, acks=settings.get("acks", "all")) for name, _, settings in writers]  # type: ignore[arg-type]
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


def everything(server: str, names: Sequence[str]) -> list[Stored]:
    """All records, by partition; offsets without a gap."""
    consumer = Consumer(
        {"bootstrap.servers": server, "group.id": "x", "enable.auto.commit": False, "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    stored = [Stored(names) for _ in range(PARTITIONS)]
    ended = 0
    deadline = time.monotonic() + PATIENCE_S
    while ended < PARTITIONS:
        messages = consumer.consume(10_000, POLL_S)
        assert messages or time.monotonic() < deadline, "the broker does not answer"
        deadline = time.monotonic() + PATIENCE_S if messages else deadline
        for message in messages:
            error = message.error()
            if error is not None:
                assert error.code() == PARTITION_EOF, error
                ended += 1
                continue
            partition, offset, value = message.partition(), message.offset(), message.value()
            assert partition is not None
            assert isinstance(value, bytes)
            assert offset == len(stored[partition].records), "a gap in the offsets"
            stored[partition].add(value)
    consumer.close()
    return stored


class Reader:
    """A group of one consumer that follows, whatever happens to the broker."""

    def __init__(self, server: str, names: Sequence[str], group: str, protocol: str) -> None:
        self._names = names
        self.seen = [array("q") for _ in range(PARTITIONS)]
        """By offset, as in `Stored`."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": server,
                "group.id": group,
                "group.protocol": protocol,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "reconnect.backoff.max.ms": 100,
                "log_level": 0,
            }
        )
        self._consumer.subscribe([TOPIC])

    def follow(self, stop: threading.Event) -> None:
        """Read and commit until told to stop."""
        read = 0
        while not stop.is_set():
            for message in self._consumer.consume(1_000, POLL_S):
                if message.error() is None:
                    self._see(message)
                    read += 1
            if read >= COMMIT_EVERY:
                read = 0
                with contextlib.suppress(KafkaException):  # the broker is dead just now
                    self._consumer.commit(asynchronous=False)
        self._consumer.close()

    def _see(self, message: Message) -> None:
        partition, offset, value = message.partition(), message.offset(), message.value()
        assert partition is not None
        assert offset is not None
        assert isinstance(value, bytes)
        seen, one = self.seen[partition], Stored(self._names)
        one.add(value)
        assert offset <= len(seen), f"offsets {len(seen)} to {offset} of partition {partition} were skipped"
        if offset == len(seen):
            seen.append(one.records[0])
        assert seen[offset] == one.records[0], f"offset {offset} of partition {partition} has changed"


@contextmanager
def reading(server: str, names: Sequence[str]) -> Iterator[list[Reader]]:
    """Groups of either protocol at work."""
    readers = [Reader(server, names, f"{protocol} readers", protocol) for protocol in ("classic", "consumer")]
    stop = threading.Event()
    with ThreadPoolExecutor(len(readers)) as pool:
        followed = [pool.submit(reader.follow, stop) for reader in readers]
        try:
            yield readers
        finally:
            stop.set()
        for one in followed:
            one.result(PATIENCE_S)


def wait_for_progress(tolds: Sequence[Told], count: int) -> None:
    """Until each producer was told of so many more records."""
    before = [told.acknowledged for told in tolds]
    deadline = time.monotonic() + PATIENCE_S
    while any(told.acknowledged < known + count for told, known in zip(tolds, before, strict=True)):
        assert time.monotonic() < deadline, f"no progress: {[(told.name, told.acknowledged) for told in tolds]}"
        time.sleep(0.01)


@dataclass
class Outcome:
    """What came of a broker that was killed again and again."""

    tolds: list[Told]
    readers: list[Reader]
    stored: list[Stored]
    slowest_s: float
    """Its slowest start."""

    @property
    def acknowledged(self) -> int:
        """Records, of those whom that promised something."""
        return sum(told.acknowledged for told in self.tolds if told.acks != 0)


def killed(directory: Path, writers: Sequence[Writer], kills: int, *, progress: int = 0) -> Outcome:
    """Kill a broker so often.

    `progress`: records that each producer is told of between two kills, at least; some take their time to come back.
    """
    dice = random.Random(9)
    broker = BrokerProcess(directory / "data", f"log.segment.bytes={SEGMENT_BYTES}")
    broker.start()
    slowest_s = 0.0
    names = [name for name, _, _ in writers]
    try:
        admin = AdminClient({"bootstrap.servers": broker.server})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(PATIENCE_S)
        with reading(broker.server, names) as readers:
            with writing(broker.server, writers) as tolds:
                for _ in range(kills):
                    wait_for_progress(tolds, progress)
                    time.sleep(dice.uniform(0.05, 1.0))
                    broker.kill()
                    broker.restart()
                    slowest_s = max(slowest_s, broker.ready_after_s)
                time.sleep(0.5)
            stored = everything(broker.server, names)
            wait_for_readers(readers, stored)
    finally:
        broker.stop()
    assert "Traceback" not in broker.log_text(), broker.log_text()
    return Outcome(tolds, readers, stored, slowest_s)


def wait_for_readers(readers: Sequence[Reader], stored: Sequence[Stored]) -> None:
    """Until they have read everything, which must be what lies there."""
    deadline = time.monotonic() + PATIENCE_S
    for seen, one in ((seen, one) for reader in readers for seen, one in zip(reader.seen, stored, strict=True)):
        while len(seen) < len(one.records):
            assert time.monotonic() < deadline, "a group has not read what is there"
            time.sleep(0.01)
        assert seen[: len(one.records)] == one.records, "a group has read what is not there"


def count_lost(told: Told, stored: Sequence[Stored]) -> int:
    """How many acknowledged records are not where they were said to be."""
    names, lost = stored[0].names, 0
    first = names.index(told.name) << OFFSET_BITS
    for number, place in enumerate(told.places, 1):
        if place >= 0:
            records, offset = stored[place >> OFFSET_BITS].records, place & ((1 << OFFSET_BITS) - 1)
            lost += offset >= len(records) or records[offset] != first + number
    return lost


def judge(part: str, outcome: Outcome, kills: int) -> None:
    """What a producer was told is there is there; the figures are taken down."""
    lost = {told.name: count_lost(told, outcome.stored) for told in outcome.tolds}
    acknowledged = outcome.acknowledged
    record("kill -9", part=part, size=kills, lost=sum(lost.values()), details={"records acknowledged": acknowledged})
    print(f"{kills} kills, {acknowledged} acknowledged, slowest start {outcome.slowest_s:.3f} s")  # noqa: T201
    for told in outcome.tolds:
        assert told.acknowledged > kills * 10, f"{told.name} hardly got to write"
        if told.acks == 0:
            there = sum(len(one.numbers_of(told.name)) for one in outcome.stored)
            print(f"{told.name}: {told.sent - there} of {told.sent} are not there")  # noqa: T201
    assert not any(lost.values()), lost


def test_what_an_idempotent_producer_sends_through_kill_9_is_there_once_and_in_order(tmp_path: Path) -> None:
    """I-2, I-3, I-7, I-10, B-21: five requests are under way, the kills swallow their answers, all are sent again."""
    outcome = killed(tmp_path, IDEMPOTENT_WRITERS, KILLS_OF_THE_IDEMPOTENT, progress=PROGRESS)
    judge("idempotent", outcome, KILLS_OF_THE_IDEMPOTENT)
    for told in outcome.tolds:
        assert told.acknowledged == told.sent
        for partition in range(PARTITIONS):
            sent = [number for number in range(1, told.sent + 1) if number % PARTITIONS == partition]
            assert outcome.stored[partition].numbers_of(told.name) == sent, f"{told.name} in partition {partition}"


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """L-10, L-11: with acks=all and acks=1; what groups have read is there, and they skip nothing."""
    outcome = killed(tmp_path, WRITERS, KILLS)
    judge("plain", outcome, KILLS)
    for told in outcome.tolds:
        places = [place for place in told.places if place >= 0]
        for partition in range(PARTITIONS):
            offsets = [place for place in places if place >> OFFSET_BITS == partition]
            assert offsets == sorted(offsets), f"{told.name} was reordered in partition {partition}"


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
    # The first one's own durable marks may move meanwhile, and its reserve may come; nothing else does.
    its_own = {*broker.data_dir.rglob("durable-mark"), broker.data_dir / ".reserve"}
    assert {path for path in before if before[path] != after.get(path)} <= its_own
