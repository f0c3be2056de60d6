"""Groups of every client at once, while members come, go, are killed and freeze, and the broker is killed twice.

G-1 to G-13, C-2, C-3. The judge is outside of the broker: what the producer was told, and the members' journals
(`support.group_history`). Each group is harassed by a thread of its own, which waits for what has to follow before it
goes on: a frozen member's partitions go to others, who commit records of them, and only then is it thawed.
"""

import os
import random
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from support.events import COUNT, event_lines
from support.fleet import (
    AIOKAFKA,
    CONFLUENT,
    CONFLUENT_COOPERATIVE,
    CONFLUENT_KIP_848,
    KAFKA_PYTHON,
    KAFKA_PYTHON_COOPERATIVE,
    KAFKAJS,
    PATIENCE_S,
    THIN,
    Group,
    eventually,
)
from support.group_history import violations
from support.process import BrokerProcess

PROOF = bool(os.environ.get("TIDELOG_PROOF"))
KINDS = (
    CONFLUENT,
    CONFLUENT_KIP_848,
    AIOKAFKA,
    KAFKA_PYTHON,
    KAFKAJS,
    THIN,
    *((CONFLUENT_COOPERATIVE, KAFKA_PYTHON_COOPERATIVE) if PROOF else ()),
)
ROUNDS = 6 if PROOF else 1
BROKER_KILLS = 10 if PROOF else 2
TOPIC = "commits"
PARTITIONS = 12
LATE = 6_000
"""How many of the events arrive while the members are harassed, and not before."""
RECORDS_A_SECOND = 200
BEAT_S = 0.1
QUICK = (
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=6000",
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=500",
)


class Supply:
    """All events and, as long as it takes, more: a part of them at once, the others so many a second."""

    def __init__(self, server: str) -> None:
        self.told: dict[tuple[int, int], int] = {}
        """The CRC-32 of each acknowledged value, by partition and offset."""
        self.sent = 0
        self._errors: list[KafkaError] = []
        self._values = self._endless()
        self._producer = Producer(
            {
                "bootstrap.servers": server,
                "enable.idempotence": True,
                "linger.ms": 5,
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
            }
        )

    def send(self, count: int) -> None:
        """So many more."""
        for _ in range(count):
            partition = self.sent % PARTITIONS
            self._producer.produce(TOPIC, next(self._values), partition=partition, on_delivery=self._delivered)
            self.sent += 1
        self._producer.poll(0)

    def send_slowly(self, stop: threading.Event) -> None:
        """So many a second, until told to stop; all events in any case."""
        while not stop.wait(BEAT_S) or self.sent < COUNT:
            self.send(int(RECORDS_A_SECOND * BEAT_S))

    def flush(self) -> dict[int, list[int]]:
        """Wait until all are acknowledged; returns what lies in each partition."""
        assert self._producer.flush(PATIENCE_S) == 0
        assert not self._errors, self._errors
        assert len(self.told) == self.sent, "two records were said to lie in one place"
        ends = [sum(1 for one, _ in self.told if one == partition) for partition in range(PARTITIONS)]
        return {partition: [self.told[partition, at] for at in range(end)] for partition, end in enumerate(ends)}

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._errors.append(error)
            return
        partition, offset, value = message.partition(), message.offset(), message.value()
        assert partition is not None
        assert offset is not None
        assert isinstance(value, bytes)
        self.told[partition, offset] = zlib.crc32(value)

    @staticmethod
    def _endless() -> Iterator[bytes]:
        lines = event_lines()
        yield from lines
        for number in count():
            yield b"%d " % number + lines[number % len(lines)]


def add(group: Group, dice: random.Random) -> None:
    """One more member."""
    member = group.add()
    group.await_given(member)
    group.await_settled()


def stop(group: Group, dice: random.Random) -> None:
    """One fewer, that says goodbye."""
    group.stop(dice.choice(group.members))
    group.await_settled()


def kill(group: Group, dice: random.Random) -> None:
    """One dies, and another one comes."""
    group.kill(dice.choice(group.members))
    add(group, dice)


def freeze(group: Group, dice: random.Random) -> None:
    """One sleeps until the others have its partitions and have committed records of them, and wakes up again."""
    member = dice.choice(group.members)
    generation, held = member.generation, member.holds
    group.freeze(member)
    group.await_settled()
    group.await_commits_beyond(generation, held)
    group.thaw(member)
    group.await_back(member, generation)
    group.await_settled()


def doze(group: Group, dice: random.Random) -> None:
    """All of them sleep for a moment, in which their sessions may go on or end."""
    for member in group.members:
        group.freeze(member)
    threading.Event().wait(dice.uniform(0.1, 2))
    for member in group.members:
        group.thaw(member)
    group.await_settled()


def harass(group: Group, dice: random.Random) -> None:
    """Everything that can happen to members, in some order."""
    for _ in range(group.kind.members):
        group.add()
    group.await_settled()
    for _ in range(ROUNDS):
        deeds: list[Callable[[Group, random.Random], None]] = [freeze, kill, freeze, doze]
        dice.shuffle(deeds)
        for deed in (add, *deeds, stop):
            deed(group, dice)


@contextmanager
def supplied(server: str) -> Iterator[Supply]:
    """While the block runs, records arrive; afterwards all of them have been sent."""
    admin = AdminClient({"bootstrap.servers": server})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(PATIENCE_S)
    supply = Supply(server)
    supply.send(COUNT - LATE)
    supply.flush()
    done = threading.Event()
    thread = threading.Thread(target=supply.send_slowly, args=(done,))
    thread.start()
    try:
        yield supply
    finally:
        done.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def kill_now_and_then(broker: BrokerProcess, groups: list[Group], harassed: "list[Future[None]]") -> None:
    """Kill the broker, each time after all groups have read in new generations since."""
    for _ in range(BROKER_KILLS):
        before = [len(group.generations()) for group in groups]

        def have_moved(before: list[int] = before) -> bool:
            moved = all(len(group.generations()) > known for group, known in zip(groups, before, strict=True))
            return moved or any(one.done() for one in harassed)

        eventually("all groups move on", have_moved, lambda: "\n".join(group.show() for group in groups))
        broker.kill()
        broker.restart()


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker that takes members of the consumer protocol for dead as soon as those of the classic one."""
    process = BrokerProcess(tmp_path / "data", *QUICK)
    process.start()
    try:
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log_text(), process.log_text()


@pytest.fixture
def groups(quick: BrokerProcess, tmp_path: Path) -> Iterator[list[Group]]:
    """A group of each kind, without members yet."""
    made = [Group(kind, quick.server, TOPIC, tmp_path, partitions=PARTITIONS) for kind in KINDS]
    yield made
    for group in made:
        group.close()


def test_groups_under_fire(quick: BrokerProcess, groups: list[Group]) -> None:
    """One owner in each generation, nothing skipped, nothing that was committed delivered again."""
    with supplied(quick.server) as supply, ThreadPoolExecutor(len(groups)) as pool:
        harassed = [
            pool.submit(harass, group, random.Random(f"{number} {group.kind.name}"))
            for number, group in enumerate(groups)
        ]
        kill_now_and_then(quick, groups, harassed)
        for one in harassed:
            one.result()
    supply.send(PARTITIONS)
    produced = supply.flush()
    assert len(supply.told) >= COUNT
    for group in groups:
        group.await_all_committed([len(produced[partition]) for partition in range(PARTITIONS)])
    for group in groups:
        while group.members:
            group.stop(group.members[0])
    found = {group.kind.name: violations(group.histories(), produced) for group in groups}
    assert found == {group.kind.name: [] for group in groups}
    for group in groups:
        print(f"{group.kind.name}: {len(group.all)} members, {len(group.generations())} generations")  # noqa: T201
