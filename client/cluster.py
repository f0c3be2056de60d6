"""What a client knows of the brokers: their addresses, the topics, the leaders; and the connections to them.

A `Lane` is one user's set of connections (a producer's, a reader's, the admin's), at most one to a broker. Lanes keep
a fetch that the broker holds back from delaying somebody else's produce request, since answers come in order.
A lane connects once for all who ask at the same time, and after a failure waits before it tries again: doubling,
jittered, per address and over all lanes.

Metadata is read when it is needed: at first use, when an answer says that it is stale, and when it is old.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from ..protocol.errors import ErrorCode
from ..protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseTopic,
)
from .config import Address, ClientConfig
from .connection import Connection
from .errors import ClientClosed, ConnectionLost, Retriable, TidelogError, TimedOut, TopicNotFound, error_for
from .tasks import Tasks

Response = TypeVar("Response")
Result = TypeVar("Result")

CLOSE_TIMEOUT = 2.0
"""How long a closing connection may take to write what it still holds."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker and where it is."""

    node_id: int
    address: Address
    rack: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition as the metadata tell."""

    index: int
    leader_id: int
    """-1: none at the moment."""
    leader_epoch: int
    replicas: tuple[int, ...] = ()
    in_sync: tuple[int, ...] = ()
    offline: tuple[int, ...] = ()
    """Replicas that cannot be served: their log could not be opened, for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic as the metadata tell."""

    name: str
    topic_id: UUID
    is_internal: bool
    partitions: tuple[Partition, ...]
    """In the order of their numbers, without gaps."""
    available: tuple[int, ...]
    """Those that have a leader, or all of them if none has."""
    read_at: float
    """When this was learnt, by the loop's clock."""


@dataclass(slots=True)
class Health:
    """How connections to an address have fared lately."""

    failures: int = 0
    """In a row."""
    retry_at: float = 0.0
    """Not before this moment, by the loop's clock."""
    problem: ConnectionLost | None = None
    """Why the last one failed; None once there is one again."""


class Cluster:
    """The brokers as one client sees them."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self.brokers: dict[int, Broker] = {}
        self.cluster_id: str | None = None
        self.controller_id = -1
        self.receive_buffer = bytearray(config.receive_buffer)
        self.tasks = Tasks()
        self._topics: dict[str, Topic] = {}
        self._health: dict[Address, Health] = {}
        self._lanes: WeakValueDictionary[int, Lane] = WeakValueDictionary()
        self._lanes_made = 0
        self._control = self.lane()

    async def start(self) -> None:
        """Find a broker, patiently: it may be starting, too. ConnectionLost names every address that failed."""
        await self.persist(self._find_broker)

    async def _find_broker(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        problems: list[TidelogError] = []
        for address in self.config.servers:
            try:
                await self._read_metadata((), at=address, timeout=deadline - loop.time())
                return
            except Retriable as error:
                problems.append(error)
        raise problems[0] if len(problems) == 1 else ConnectionLost("; ".join(map(str, problems))) from problems[0]

    async def stop(self) -> None:
        """Close every connection."""
        for lane in list(self._lanes.values()):
            await lane.close()
        await self.tasks.stop()

    def lane(self, changed: Callable[[], None] | None = None) -> Lane:
        """A set of connections of one's own; `changed` is called when one comes, goes, or can be written to again."""
        lane = Lane(self, changed or _nothing)
        self._lanes[self._lanes_made] = lane
        self._lanes_made += 1
        return lane

    # Metadata

    def topic(self, name: str) -> Topic | None:
        """What is known of a topic."""
        return self._topics.get(name)

    def is_old(self, topic: Topic) -> bool:
        """The topic's metadata should be read again some time."""
        return asyncio.get_running_loop().time() - topic.read_at > self.config.metadata_max_age

    def leader(self, topic: str, partition: int) -> Address | None:
        """Where a partition's leader is, if that is known."""
        known = self._topics.get(topic)
        if known is None or not 0 <= partition < len(known.partitions):
            return None
        broker = self.brokers.get(known.partitions[partition].leader_id)
        return None if broker is None else broker.address

    def forget(self, name: str) -> None:
        """Whatever is known of the topic is not true any more."""
        self._topics.pop(name, None)

    async def read_topic(self, name: str, *, create: bool = False) -> Topic:
        """Ask the brokers about a topic; TopicNotFound if there is none and it was not created either."""
        return await self.persist(lambda timeout: self._read_topic(name, create=create, timeout=timeout))

    async def known_topic(self, name: str) -> Topic:
        """What is known of a topic, asking only if nothing is known."""
        return self._topics.get(name) or await self.read_topic(name)

    async def named(self, topic_ids: Iterable[UUID]) -> dict[UUID, str]:
        """The names of topics, asking about those that are not known; without those that do not exist."""
        names = {topic.topic_id: topic.name for topic in self._topics.values()}
        wanted = list(topic_ids)
        unknown = tuple(
            MetadataRequestTopic(topic_id=topic_id, name=None) for topic_id in wanted if topic_id not in names
        )
        if unknown:

            async def attempt(timeout: float) -> None:
                response = await self._read_metadata(unknown, at=self._any_address(), timeout=timeout)
                for topic in response.topics:
                    if topic.error_code == ErrorCode.NONE:
                        known = self._absorb_topic(topic)
                        names[known.topic_id] = known.name

            await self.persist(attempt)
        return {topic_id: names[topic_id] for topic_id in wanted if topic_id in names}

    async def read_all_topics(self) -> list[Topic]:
        """Ask the brokers about every topic."""

        async def attempt(timeout: float) -> list[Topic]:
            response = await self._read_metadata(None, at=self._any_address(), timeout=timeout)
            return [self._absorb_topic(topic) for topic in response.topics if topic.error_code == ErrorCode.NONE]

        return await self.persist(attempt)

    async def _read_topic(self, name: str, *, create: bool, timeout: float) -> Topic:
        response = await self._read_metadata(
            (MetadataRequestTopic(name=name),), at=self._any_address(), timeout=timeout, create=create
        )
        topic = next((topic for topic in response.topics if topic.name == name), None)
        if topic is None or topic.error_code != ErrorCode.NONE:
            self.forget(name)
            code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if topic is None else topic.error_code
            if code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                raise TopicNotFound(f"there is no topic {name!r}", code=ErrorCode.of(code))
            raise error_for(code, about=f"topic {name!r}")
        return self._absorb_topic(topic)

    async def _read_metadata(
        self, topics: tuple[MetadataRequestTopic, ...] | None, *, at: Address, timeout: float, create: bool = False
    ) -> MetadataResponse:
        request = MetadataRequest(topics=topics, allow_auto_topic_creation=create)
        response = await self._control.call(at, request, MetadataResponse, timeout=timeout)
        if response.error_code != ErrorCode.NONE:
            raise error_for(response.error_code, about="Metadata")
        self.brokers = {
            broker.node_id: Broker(broker.node_id, Address(broker.host, broker.port), broker.rack)
            for broker in response.brokers
        }
        self.cluster_id = response.cluster_id
        self.controller_id = response.controller_id
        return response

    def _absorb_topic(self, topic: MetadataResponseTopic) -> Topic:
        assert topic.name is not None
        partitions = tuple(
            Partition(
                index=partition.partition_index,
                leader_id=partition.leader_id,
                leader_epoch=partition.leader_epoch,
                replicas=tuple(partition.replica_nodes),
                in_sync=tuple(partition.isr_nodes),
                offline=tuple(partition.offline_replicas),
            )
            for partition in sorted(topic.partitions, key=lambda partition: partition.partition_index)
        )
        led = tuple(partition.index for partition in partitions if partition.leader_id in self.brokers)
        known = Topic(
            name=topic.name,
            topic_id=topic.topic_id,
            is_internal=topic.is_internal,
            partitions=partitions,
            available=led or tuple(range(len(partitions))),
            read_at=asyncio.get_running_loop().time(),
        )
        self._topics[topic.name] = known
        return known

    # Asking

    async def ask(self, request: object, expected: type[Response]) -> Response:
        """Ask any broker, persistently."""
        return await self.persist(lambda timeout: self.ask_once(request, expected, timeout=timeout))

    async def ask_once(self, request: object, expected: type[Response], *, timeout: float) -> Response:
        """Ask any broker once."""
        return await self._control.call(self._any_address(), request, expected, timeout=timeout)

    async def ask_on(self, lane: Lane, request: object, expected: type[Response], *, timeout: float) -> Response:
        """Ask any broker once, over connections of one's own."""
        connected = lane.connected
        address = connected[0] if connected else self._any_address()
        return await lane.call(address, request, expected, timeout=timeout)

    async def ask_controller(self, request: object, expected: type[Response], *, timeout: float) -> Response:
        """Ask the controller once, or whoever can be reached while it is not known."""
        broker = self.brokers.get(self.controller_id)
        address = self._any_address() if broker is None else broker.address
        return await self._control.call(address, request, expected, timeout=timeout)

    async def ask_at(self, address: Address, request: object, expected: type[Response], *, timeout: float) -> Response:
        """Ask one broker once."""
        return await self._control.call(address, request, expected, timeout=timeout)

    async def persist(self, attempt: Callable[[float], Awaitable[Result]]) -> Result:
        """Repeat what fails for a reason that may pass, until `timeout` is over; `attempt` gets what is left of it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.config.timeout
        failures = 0
        while True:
            try:
                return await attempt(deadline - loop.time())
            except TimedOut:
                raise
            except Retriable:
                failures += 1
                delay = self.config.backoff(failures)
                if loop.time() + delay >= deadline:
                    raise
                await asyncio.sleep(delay)

    def _any_address(self) -> Address:
        """A broker that answers now; else one that has not failed lately, of those that are known or were given."""
        connected = self._control.connected
        if connected:
            return connected[0]
        known = [broker.address for broker in self.brokers.values()]
        candidates = list(dict.fromkeys((*known, *self.config.servers)))
        self.config.random.shuffle(candidates)
        return min(candidates, key=lambda address: self.health(address).retry_at)

    # How brokers fare

    def health(self, address: Address) -> Health:
        """How often in a row connections to an address failed, and when to try again."""
        return self._health.setdefault(address, Health())

    def connection_failed(self, address: Address, problem: ConnectionLost) -> None:
        """A connection to `address` broke or did not come about."""
        health = self.health(address)
        health.failures += 1
        health.problem = problem
        health.retry_at = asyncio.get_running_loop().time() + self.config.backoff(health.failures)


class Lane:
    """One user's connections."""

    def __init__(self, cluster: Cluster, changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._changed = changed
        self._connections: dict[Address, Connection] = {}
        self._connecting: dict[Address, asyncio.Future[Connection]] = {}
        self._attempts: dict[Address, asyncio.Task[None]] = {}
        self._closed = False

    @property
    def connected(self) -> list[Address]:
        """Addresses to which there is a connection."""
        return list(self._connections)

    def connection(self, address: Address) -> Connection | None:
        """The connection to an address, if there is one."""
        return self._connections.get(address)

    def connect(self, address: Address) -> asyncio.Future[Connection]:
        """Connect unless that is under way already; `await` the future only behind `asyncio.shield`."""
        outcome = self._connecting.get(address)
        if outcome is None:
            outcome = asyncio.get_running_loop().create_future()
            if self._closed:
                outcome.set_exception(ClientClosed("the client was closed"))
                outcome.exception()
                return outcome
            self._connecting[address] = outcome
            work = self._connect(address, outcome)
            self._attempts[address] = self._cluster.tasks.start(work, name=f"connect to {address}")
        return outcome

    async def call(self, address: Address, request: object, expected: type[Response], *, timeout: float) -> Response:
        """Connect if need be, ask, wait for the answer."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        connection = self._connections.get(address)
        if connection is None:
            try:
                async with asyncio.timeout_at(deadline):
                    connection = await asyncio.shield(self.connect(address))
            except TimeoutError:
                if (problem := self._cluster.health(address).problem) is not None:
                    raise ConnectionLost(str(problem)) from problem
                raise TimedOut(f"no connection to {address} within {timeout:g} s") from None
        return await connection.call(request, expected, timeout=deadline - loop.time())

    def drop(self) -> None:
        """Close all connections without waiting; the lane may be used again."""
        attempts, self._attempts = self._attempts, {}
        connecting, self._connecting = self._connecting, {}
        for attempt in attempts.values():
            attempt.cancel()
        for outcome in connecting.values():  # here and not in the task, which may not have begun
            outcome.set_exception(ClientClosed("the connection was closed by this side"))
            outcome.exception()
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.close()

    async def close(self) -> None:
        """Close all connections for good and wait until they are closed."""
        self._closed = True
        connections = list(self._connections.values())
        attempts = list(self._attempts.values())
        self.drop()
        if attempts:
            await asyncio.wait(attempts)
        for connection in connections:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await connection.wait_closed()
            except TimeoutError:
                connection.abort()

    async def _connect(self, address: Address, outcome: asyncio.Future[Connection]) -> None:
        try:
            connection = await self._open(address)
        except ConnectionLost as lost:
            self._cluster.connection_failed(address, lost)
            outcome.set_exception(lost)
            outcome.exception()  # nobody may be waiting any more, and that is no news to report
        else:
            self._connections[address] = connection
            self._cluster.health(address).problem = None
            outcome.set_result(connection)
        finally:
            if self._connecting.get(address) is outcome:
                del self._connecting[address]
                del self._attempts[address]
        self._changed()

    async def _open(self, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        config = self._cluster.config
        delay = self._cluster.health(address).retry_at - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        try:
            async with asyncio.timeout(config.connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(
                        address,
                        config,
                        receive_buffer=self._cluster.receive_buffer,
                        changed=lambda: self._connection_changed(address),
                    ),
                    address.host,
                    address.port,
                )
        except OSError as error:  # TimeoutError is one, too
            raise ConnectionLost(f"cannot connect to {address}: {_reason(error)}") from error
        if connection.lost is not None:
            raise ConnectionLost(f"{address} closed the connection at once") from connection.lost
        return connection

    def _connection_changed(self, address: Address) -> None:
        connection = self._connections.get(address)
        if connection is not None and connection.lost is not None:
            del self._connections[address]
            if connection.answered:
                self._cluster.health(address).failures = 0
            if isinstance(connection.lost, ConnectionLost):
                self._cluster.connection_failed(address, connection.lost)
        self._changed()


def _reason(error: OSError) -> str:
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio puts the address, which is known, in its place
    return error.strerror or str(error) or "it takes too long"


def _nothing() -> None:
    """For lanes whose user looks for itself."""
