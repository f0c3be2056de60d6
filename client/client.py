"""A client: one connection budget, one memory budget, and from it producers, readers and the admin."""

from __future__ import annotations

import random as randomness
import re
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self, TypedDict, TypeVar, Unpack, overload
from weakref import WeakValueDictionary

from .admin import Admin
from .budget import Budget
from .cluster import Cluster
from .config import (
    ClientConfig,
    ConsumerConfig,
    ProducerConfig,
    ReaderConfig,
    fresh_random,
    parse_acks,
    parse_codec,
    parse_size,
    parse_topics,
    servers_from,
    wall_clock_ms,
)
from .consumer import Consumer, OnDecodeError
from .deserializers import Deserializer, Deserializers
from .errors import ClientClosed
from .group_session import GroupSession, Listeners, OnPartitions
from .offsets import OffsetSpec
from .producer import Producer
from .reader import Reader, Span

K = TypeVar("K")
V = TypeVar("V")

Topics = str | Iterable[str] | re.Pattern[str] | None


class ConsumerOptions(TypedDict, total=False):
    """What `Client.consumer` takes beside topics, group and deserializers."""

    pattern: str | re.Pattern[str] | None
    start: OffsetSpec
    on_decode_error: OnDecodeError | str
    commit: str
    commit_interval: float
    on_assign: OnPartitions | None
    on_revoke: OnPartitions | None
    on_lost: OnPartitions | None
    on_out_of_range: str
    instance_id: str | None
    rebalance_timeout: float
    prefetch: int | str
    max_wait: float


def connect(
    url: str | None = None,
    *,
    client_id: str = "tidelog",
    timeout: float = 30.0,
    max_buffer: int | str = "32MiB",
    connect_timeout: float = 10.0,
    backoff: tuple[float, float] = (0.05, 2.0),
    now_ms: Callable[[], int] = wall_clock_ms,
    random: randomness.Random | None = None,
) -> Client:
    """A client of the broker at `url`, to be entered with `async with`.

    `tidelog://HOST:PORT[,HOST:PORT]` or the same without the scheme; by default what TIDELOG_SERVER says, or
    127.0.0.1:9092. `timeout` bounds every call, retries included; `max_buffer` what producers hold unacknowledged;
    `backoff` is the shortest and the longest pause between attempts.
    """
    return Client(
        ClientConfig(
            servers=servers_from(url),
            client_id=client_id,
            timeout=timeout,
            connect_timeout=connect_timeout,
            max_buffer=parse_size(max_buffer),
            backoff_min=backoff[0],
            backoff_max=backoff[1],
            now_ms=now_ms,
            random=random or fresh_random(),
        )
    )


class Client:
    """Made by `connect`; entering it finds a broker, leaving it closes all that was made with it."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._budget = Budget(config.max_buffer)
        self._cluster: Cluster | None = None
        self._made: WeakValueDictionary[int, Producer | GroupSession] = WeakValueDictionary()
        """What is to be closed with the client, if it is still there."""
        self._count = 0

    async def __aenter__(self) -> Self:
        """Raises ConnectionLost if no broker could be reached within `timeout`."""
        assert self._cluster is None, "a client is entered once"
        cluster = Cluster(self.config)
        try:
            await cluster.start()
        except BaseException:
            await cluster.stop()
            raise
        self._cluster = cluster
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close everything at once; what producers still hold is given up."""
        if self._cluster is None:
            return
        for made in list(self._made.values()):
            await made.close()
        await self._cluster.stop()

    @property
    def admin(self) -> Admin:
        """Topics, offsets, the cluster."""
        return Admin(self._entered())

    @property
    def cluster_id(self) -> str | None:
        """Which cluster this is."""
        return self._entered().cluster_id

    def producer(
        self,
        *,
        linger: float = 0.0,
        max_batch: int | str = "1MiB",
        compression: str | None = None,
        level: int | None = None,
        acks: int | str = "all",
        idempotent: bool | None = None,
        delivery_timeout: float = 120.0,
        auto_create: bool = True,
    ) -> Producer:
        """A producer, to be entered with `async with`; leaving it delivers what was sent.

        `acks`: "all" answers when the record is durable, 1 when the broker has it, 0 not at all. `linger` seconds a
        batch waits for more records; `max_batch` is its size before compression.

        `idempotent`: each record is stored once and in its order, however often it has to be sent; by default wherever
        acks="all" makes that possible. Turned off, a record may be stored twice when a connection breaks.
        """
        config = ProducerConfig(
            linger=linger,
            max_batch=parse_size(max_batch),
            codec=parse_codec(compression),
            level=level,
            acks=parse_acks(acks),
            idempotent=idempotent,
            delivery_timeout=delivery_timeout,
            auto_create=auto_create,
        )
        producer = Producer(self._entered(), self._budget, config)
        self._remember(producer)
        return producer

    def read(
        self,
        topic: str,
        *,
        start: OffsetSpec = "earliest",
        end: OffsetSpec | None = None,
        partition: int | Sequence[int] | None = None,
        prefetch: int | str = "8MiB",
        max_wait: float = 0.5,
        on_out_of_range: str = "raise",
    ) -> Reader:
        """Read a topic without a group: `async for record in client.read("orders", start="@-1h", end="now")`.

        `start` and `end` are "earliest", "latest", "now", an offset, a negative number counted from the end, "@-1h",
        "@" and milliseconds, a date or a datetime. Without an `end` it follows for ever; with one it ends by itself.
        """
        partitions = [partition] if isinstance(partition, int) else partition
        config = ReaderConfig(prefetch=parse_size(prefetch), max_wait=max_wait, on_out_of_range=on_out_of_range)
        return Reader(self._entered(), topic, Span(start=start, end=end, partitions=partitions), config)

    @overload
    def consumer(
        self, topics: Topics = None, *, group: str, **options: Unpack[ConsumerOptions]
    ) -> Consumer[bytes, bytes]:
        """Keys and values are bytes."""

    @overload
    def consumer(
        self, topics: Topics = None, *, group: str, value: Deserializer[V], **options: Unpack[ConsumerOptions]
    ) -> Consumer[bytes, V]:
        """Values are what `value` makes of them."""

    @overload
    def consumer(
        self, topics: Topics = None, *, group: str, key: Deserializer[K], **options: Unpack[ConsumerOptions]
    ) -> Consumer[K, bytes]:
        """Keys are what `key` makes of them."""

    @overload
    def consumer(
        self,
        topics: Topics = None,
        *,
        group: str,
        key: Deserializer[K],
        value: Deserializer[V],
        **options: Unpack[ConsumerOptions],
    ) -> Consumer[K, V]:
        """Both are what is made of them."""

    def consumer(
        self,
        topics: Topics = None,
        *,
        group: str,
        pattern: str | re.Pattern[str] | None = None,
        start: OffsetSpec = "earliest",
        key: Deserializer[K] | None = None,
        value: Deserializer[V] | None = None,
        on_decode_error: OnDecodeError | str = "raise",
        commit: str = "after",
        commit_interval: float = 1.0,
        on_assign: OnPartitions | None = None,
        on_revoke: OnPartitions | None = None,
        on_lost: OnPartitions | None = None,
        on_out_of_range: str = "start",
        instance_id: str | None = None,
        rebalance_timeout: float = 300.0,
        prefetch: int | str = "8MiB",
        max_wait: float = 0.5,
    ) -> Consumer[K, V]:
        """Read topics as a member of a group: `async with client.consumer("orders", group="billing") as consumer`.

        `topics` is a name, several, or a compiled pattern; `pattern` may be text in RE2's syntax. `start` is where to
        begin in a partition of which the group has committed nothing.

        `commit`: "after" commits what is finished, so that each record is read at least once; "before" commits what
        is about to be handed out, so that each is read at most once; "manual" commits where the program calls `commit`.

        `value` and `key` are `json`, `msgpack`, `str`, `bytes` (the default) or a callable that takes bytes. A record
        that they cannot read raises UndecodableRecord, or is left out with one line in the log ("skip"), or is
        given as that error to a callable.

        `on_assign`, `on_revoke` and `on_lost` are called, or awaited, with a list of partitions, in the background.
        """
        names, regex = parse_topics(topics, pattern)
        policy = "raise" if on_out_of_range == "raise" else "earliest"
        config = ConsumerConfig(
            group=group,
            topics=names,
            pattern=regex,
            start=start,
            commit=commit,
            commit_interval=commit_interval,
            instance_id=instance_id,
            rebalance_timeout=rebalance_timeout,
            on_out_of_range=on_out_of_range,
            fetch=ReaderConfig(prefetch=parse_size(prefetch), max_wait=max_wait, on_out_of_range=policy),
        )
        deserializers: Deserializers[K, V] = Deserializers(key, value)
        listeners = Listeners(on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)
        cluster = self._entered()
        session = GroupSession(cluster, config, listeners)
        consumer = Consumer(cluster, session, deserializers=deserializers, on_decode_error=on_decode_error)
        self._remember(session)
        return consumer

    def _remember(self, made: Producer | GroupSession) -> None:
        self._made[self._count] = made
        self._count += 1

    def _entered(self) -> Cluster:
        if self._cluster is None:
            raise ClientClosed("enter the client first: async with tidelog.connect(...) as client")
        return self._cluster
