"""Behind the compatibility suite's fixtures: clients that are closed again, fresh topics, and what the disk says."""

import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from support.process import BrokerProcess
from tidelog.protocol.batch import BatchHeader, read_header

from .confluent import ConfluentClient
from .model import PATIENCE_S, Client, Joining, Member, NewTopic, Protocols, Read, Reading, Sent, Start, Writing
from .node import NodeClient, NodeProcess

_names = count(1)


class Node:
    """The processes of the clients in Node.js, started when they are first needed."""

    def __init__(self) -> None:
        self._processes: dict[str, NodeProcess] = {}

    def process(self, script: str) -> NodeProcess:
        """The one of a driver script."""
        if script not in self._processes:
            self._processes[script] = NodeProcess(script)
        return self._processes[script]

    def close(self) -> None:
        """End them."""
        for process in self._processes.values():
            process.end()


class Clients:
    """The clients that one test opens, all against one broker."""

    def __init__(self, broker: BrokerProcess, node: Node) -> None:
        self.broker = broker
        self._node = node
        self._open: list[Client] = []
        self._members: list[Member] = []

    def open(self, kind: type[Client]) -> Client:
        """One of this kind."""
        made: Client
        if issubclass(kind, NodeClient):
            made = kind(self.broker.server, self._node.process(kind.script))
        else:
            made = kind(self.broker.server)  # type: ignore[call-arg]
        self._open.append(made)
        return made

    def join(self, kind: type[Client], how: Joining) -> Member:
        """A member of this kind."""
        client = self.open(kind)
        is_classic = how.protocol is Protocols.CLASSIC
        member = client.join_group(how) if is_classic else client.join_consumer_group(how)
        self._members.append(member)
        return member

    def topic(self, partitions: int = 1, **configs: str) -> str:
        """A new topic, by its name."""
        name = fresh_name()
        settings = {config.replace("_", "."): value for config, value in configs.items()}
        self.open(ConfluentClient).create_topic(NewTopic(name=name, partitions=partitions, configs=settings))
        return name

    def close(self) -> None:
        """Close them all."""
        for member in self._members:
            member.close()
        for client in self._open:
            client.close()


def fresh_name() -> str:
    """A topic name that no other test has."""
    return f"compat-{next(_names)}"


def write(client: Client, topic: str, records: Sequence[Sent], how: Writing | None = None) -> Mapping[int, int]:
    """Write records with a producer that is closed again; returns the first offset of each partition."""
    writer = client.open_writer(how or Writing())
    try:
        return writer.send(topic, records)
    finally:
        writer.close()


def read(client: Client, how: Reading, count: int) -> list[Read]:
    """Read so many records with a consumer that is closed again."""
    reader = client.open_reader(how)
    try:
        return reader.read(count)
    finally:
        reader.close()


def of_partition(topic: str, start: Start, partition: int = 0) -> Reading:
    """A reading of one partition."""
    return Reading(starts={(topic, partition): start})


def batches(broker: BrokerProcess, topic: str, partition: int = 0) -> list[BatchHeader]:
    """The headers of the batches that lie in the partition's log."""
    return list(_headers(broker, f"{topic}-{partition}"))


def requests(broker: BrokerProcess, api: str) -> int:
    """How many requests of an API the broker has answered."""
    with urllib.request.urlopen(f"http://{broker.http}/metrics", timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    shown = [line for line in lines if line.startswith("tidelog_requests_total{") and f'api="{api}"' in line]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in shown)


def _headers(broker: BrokerProcess, log: str) -> Iterator[BatchHeader]:
    for path in sorted((broker.data_dir / log).glob("*.log")):
        data = path.read_bytes()
        position = 0
        while position < len(data):
            header = read_header(data, position)
            yield header
            position += header.size
