"""A client: one connection budget, one memory budget, and from it producers, readers and the admin."""

from __future__ import annotations

import random as randomness
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from .admin import Admin
from .budget import Budget
from .cluster import Cluster
from .config import (
    ClientConfig,
    ProducerConfig,
    ReaderConfig,
    fresh_random,
    parse_acks,
    parse_codec,
    parse_size,
    servers_from,
    wall_clock_ms,
)
from .errors import ClientClosed
from .offsets import OffsetSpec
from .producer import Producer
from .reader import Reader, Span


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
        self._producers: WeakValueDictionary[int, Producer] = WeakValueDictionary()
        self._producers_made = 0

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
        for producer in list(self._producers.values()):
            await producer.close()
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
        self._producers[self._producers_made] = producer
        self._producers_made += 1
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

    def _entered(self) -> Cluster:
        if self._cluster is None:
            raise ClientClosed("enter the client first: async with tidelog.connect(...) as client")
        return self._cluster
