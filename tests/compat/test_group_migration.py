"""Consumers move from one group protocol to the other and back, one by one, while records arrive [C-8]."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from confluent_kafka import Consumer, ConsumerGroupType, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from support.clients.confluent import ConfluentClient
from support.clients.features import CLIENTS
from support.clients.house import Clients, fresh_name, write
from support.clients.kcat import KcatClient
from support.clients.membership import eventually
from support.clients.model import Client, Joining, Member, Position, Protocols, Sent
from support.process import BrokerProcess

TOPIC, GROUP = "moving", "movers"
PARTITIONS, MEMBERS = 6, 3
PAUSE_S = 0.005
PATIENCE_S = 60.0
CLASSIC: dict[str, object] = {"heartbeat.interval.ms": 300, "session.timeout.ms": 30_000}
CONSUMER: dict[str, object] = {"group.protocol": "consumer"}


@dataclass
class Ledger:
    """What all members together have read and committed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    read: dict[int, set[int]] = field(default_factory=lambda: {number: set() for number in range(PARTITIONS)})
    ends: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    """Up to where it is committed."""
    owners: dict[int, "Mover"] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def note(self, message: Message) -> None:
        """It is read."""
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        with self.lock:
            if offset < self.ends[partition]:
                self.complaints.append(f"{partition}@{offset} comes again though {self.ends[partition]} is committed")
            self.read[partition].add(offset)

    def commit(self, ends: dict[int, int]) -> None:
        """It was committed."""
        with self.lock:
            for partition, end in ends.items():
                if end < self.ends[partition]:
                    self.complaints.append(f"{partition} goes back from {self.ends[partition]} to {end}")
                self.ends[partition] = max(end, self.ends[partition])

    def take(self, partition: int, owner: "Mover") -> None:
        """A member begins to read."""
        with self.lock:
            if partition in self.owners:
                self.complaints.append(
                    f"{partition} is given to {owner.name} while {self.owners[partition].name} has it"
                )
            self.owners[partition] = owner

    def give(self, partition: int, owner: "Mover") -> None:
        """A member reads no more."""
        with self.lock:
            if self.owners.get(partition) is owner:
                del self.owners[partition]


class Mover:
    """A member: it reads, then commits what it has read."""

    def __init__(self, server: str, name: str, ledger: Ledger, how: dict[str, object]) -> None:
        self.name = name
        self.held: frozenset[int] = frozenset()
        self._ledger = ledger
        self._stopping = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": server,
                "group.id": GROUP,
                "client.id": name,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 50,
                "log_level": 0,
                **how,
            }
        )
        self._consumer.subscribe([TOPIC], on_assign=self._begin, on_revoke=self._end, on_lost=self._lost)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave in order."""
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _begin(self, consumer: object, places: list[TopicPartition]) -> None:
        del consumer
        for place in places:
            self._ledger.take(place.partition, self)

    def _end(self, consumer: object, places: list[TopicPartition]) -> None:
        del consumer
        for place in places:
            self._ledger.give(place.partition, self)

    def _lost(self, consumer: object, places: list[TopicPartition]) -> None:
        if places:
            with self._ledger.lock:
                self._ledger.complaints.append(f"{self.name} has lost {[place.partition for place in places]}")
        self._end(consumer, places)

    def _run(self) -> None:
        while not self._stopping.is_set():
            messages = [one for one in self._consumer.consume(50, 0.05) if one.error() is None]
            for message in messages:
                self._ledger.note(message)
            self._commit(messages)
            self.held = frozenset(place.partition for place in self._consumer.assignment())
        self._consumer.close()
        self.held = frozenset()

    def _commit(self, messages: Sequence[Message]) -> None:
        ends: dict[int, int] = {}
        for message in messages:
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            ends[partition] = max(offset + 1, ends.get(partition, 0))
        if not ends:
            return
        try:
            self._consumer.commit(offsets=[TopicPartition(TOPIC, *end) for end in ends.items()], asynchronous=False)
        except KafkaException:
            return  # not committed: whoever reads the partition next reads it again
        self._ledger.commit(ends)


class Writer:
    """Records without end."""

    def __init__(self, server: str) -> None:
        self.sent = dict.fromkeys(range(PARTITIONS), 0)
        self._producer = Producer({"bootstrap.servers": server, "linger.ms": 5, "log_level": 0})
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more."""
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        assert self._producer.flush(PATIENCE_S) == 0

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(PAUSE_S):
            self._producer.produce(TOPIC, b"%d" % number, partition=number % PARTITIONS)
            self.sent[number % PARTITIONS] += 1
            number += 1
            self._producer.poll(0)


class Move:
    """The group, with all that happens to it."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.admin = AdminClient({"bootstrap.servers": server, "log_level": 0})
        self.admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(PATIENCE_S)
        self.ledger = Ledger()
        self.members: list[Mover] = []
        self.names = 0

    def enter(self, how: dict[str, object]) -> None:
        """One more."""
        self.names += 1
        self.members.append(Mover(self.server, f"m{self.names}", self.ledger, how))

    def settle(self) -> None:
        """All partitions are shared out, and everybody has a part."""

        def is_shared() -> bool:
            parts = [member.held for member in self.members]
            return all(parts) and sorted(part for held in parts for part in held) == list(range(PARTITIONS))

        eventually("the members share all partitions", is_shared)

    def replace(self, how: dict[str, object], *, leaves_first: bool) -> None:
        """The oldest one goes and a new one comes."""
        oldest = self.members.pop(0)
        if leaves_first:
            oldest.close()
            self.enter(how)
        else:
            self.enter(how)
            oldest.close()
        self.settle()

    @property
    def kind(self) -> ConsumerGroupType:
        """Of which protocol the group is."""
        listed = self.admin.list_consumer_groups(request_timeout=PATIENCE_S).result()
        [found] = [one.type for one in listed.valid if one.group_id == GROUP]
        return found

    def close(self) -> None:
        """End everything."""
        for member in self.members:
            member.close()


@pytest.fixture
def move(lively: BrokerProcess) -> Iterator[Move]:
    """Nobody is there yet."""
    made = Move(lively.server)
    yield made
    made.close()


@pytest.mark.parametrize("leaves_first", [True, False], ids=["leaving first", "coming first"])
@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
def test_members_move_one_by_one(move: Move, assignor: str, leaves_first: bool) -> None:
    classic = {**CLASSIC, "partition.assignment.strategy": assignor}
    for _ in range(MEMBERS):
        move.enter(classic)
    writer = Writer(move.server)
    move.settle()
    assert move.kind is ConsumerGroupType.CLASSIC
    for how in (CONSUMER, classic):
        for moved in range(MEMBERS):
            move.replace(how, leaves_first=leaves_first)
            assert move.kind is (
                ConsumerGroupType.CLASSIC if how is classic and moved == MEMBERS - 1 else ConsumerGroupType.CONSUMER
            )
    writer.close()
    ledger = move.ledger
    eventually("all is read", lambda: all(len(ledger.read[part]) == count for part, count in writer.sent.items()))
    assert {part: sorted(found) for part, found in ledger.read.items()} == {
        part: list(range(count)) for part, count in writer.sent.items()
    }
    eventually("all is committed", lambda: ledger.ends == writer.sent)
    assert ledger.complaints == []


@pytest.mark.parametrize("kind", [kind for kind in CLIENTS if kind is not KcatClient])
def test_members_of_any_client_share_a_group_with_one_of_the_consumer_protocol(
    own: Clients, kind: type[Client]
) -> None:
    """C-8: as one of the classic protocol, alone, then beside one of the consumer protocol, and alone again.

    Not kcat, which is librdkafka, too, and cannot commit.
    """
    topic = own.topic(partitions=4)
    how = Joining(group=fresh_name(), topics=(topic,))
    old = own.join(kind, how)
    everything = frozenset((topic, partition) for partition in range(4))

    def share(*members: Member) -> None:
        """Wait until each has a part, and have all of it read."""
        eventually(
            "the members share all partitions",
            lambda: (
                all(member.assigned() for member in members)
                and sum(len(member.assigned()) for member in members) == len(everything)
                and frozenset().union(*(member.assigned() for member in members)) == everything
            ),
        )
        for member in members:
            mine = sorted(partition for _, partition in member.assigned())
            records = [
                Sent(key=b"k", value=b"%d" % number, partition=partition) for partition in mine for number in (1, 2)
            ]
            write(own.open(ConfluentClient), topic, records)
            found = member.read(len(records))
            assert sorted(one.partition for one in found) == sorted(record.partition or 0 for record in records)
            ends = {partition: max(one.offset for one in found if one.partition == partition) for partition in mine}
            member.commit({(topic, partition): Position(end + 1) for partition, end in ends.items()})

    share(old)
    new = own.join(ConfluentClient, replace(how, protocol=Protocols.CONSUMER))
    share(old, new)
    new.close()
    share(old)
