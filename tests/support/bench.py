"""Parts of a broker on a workbench: a simulated loop and disk, on which they are put together and watched one by one.

Time is virtual and stands still unless the test lets it pass; a sync takes `disk.sync_s`, and is on record. What is
logged as an error is no failure here, for these tests provoke it; what nobody handles still is.
"""

import asyncio
import inspect
import random
import socket
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Concatenate, ParamSpec, TypeVar
from uuid import UUID

from tidelog.broker.config import BrokerConfig
from tidelog.broker.metrics import Metrics
from tidelog.broker.server import Server
from tidelog.broker.topics.delayed_fetch import DelayedFetches
from tidelog.broker.topics.flusher import Flusher
from tidelog.broker.topics.partition import ACKS_ALL, Partition
from tidelog.storage.config import LogConfig
from tidelog.storage.disk import Volume
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

from .builders import a_batch, values_of
from .disk import SimulatedDisk
from .environment import raise_failures, wall_clock_ms
from .house import House
from .loop import SimLoop
from .network import SimNetwork

T = TypeVar("T")
P = ParamSpec("P")

TOPIC_ID = UUID(int=77)
SEED = 1


class WatchedDisk(SimulatedDisk):
    """Notes what is appended to and synced, and lets a sync take its time."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        super().__init__(seed)
        self.synced: list[str] = []
        """Paths, in order; the empty one is all of them at once."""
        self.appended: list[str] = []
        self.sync_s = self.sync_all_s = 0.0
        self.slow: dict[str, float] = {}
        """How long a call of the pool is held up by the sync of a path that holds this; the loop goes on meanwhile."""
        self.environment: BenchEnvironment | None = None
        self._loop = loop

    def before(self, call: str, path: str) -> None:
        """See `SimulatedDisk`."""
        if call in ("sync", "sync_all"):
            self.synced.append(path)
            self._loop.spend(self.sync_s if call == "sync" else self.sync_all_s)
            if self.environment is not None:
                for part, seconds in self.slow.items():
                    self.environment.held_s += seconds if part in path or call == "sync_all" else 0.0
        elif call == "append":
            self.appended.append(path)
        super().before(call, path)

    def syncs_of(self, directory: str) -> int:
        """How often a segment file in this directory was synced."""
        return sum(path.startswith(f"{directory}/") and path.endswith(".log") for path in self.synced)


class BenchEnvironment:
    """The world on the bench."""

    def __init__(self, loop: SimLoop, disk: SimulatedDisk) -> None:
        self.random = random.Random(SEED)
        self.pooled = 0
        """Calls that were given to the pool."""
        self.held_s = 0.0
        """How long the one that is running is held up."""
        self._loop = loop
        self._disk = disk

    def now_ms(self) -> int:
        """See `Environment`."""
        return wall_clock_ms(self._loop)

    def monotonic(self) -> float:
        """See `Environment`."""
        return self._loop.time() + self.held_s

    def disk(self, directory: str) -> Volume:
        """The one disk."""
        del directory
        return self._disk

    def run_blocking(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Later, and counted."""
        self.pooled += 1
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def held_up() -> float:
            self.held_s = 0.0
            try:
                result = function()
            finally:
                seconds, self.held_s = self.held_s, 0.0
            results.append(result)
            return seconds

        def ran(future: asyncio.Future[float]) -> None:
            if answer.done():
                return
            error = future.exception()
            if error is not None:
                answer.set_exception(error)
            elif future.result():
                self._loop.call_later(future.result(), lambda: answer.set_result(results[0]))
            else:
                answer.set_result(results[0])

        results: list[T] = []
        self._loop.run_in_executor(None, held_up).add_done_callback(ran)
        return answer

    async def listen(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.AbstractServer:
        """In the simulated network."""
        return await self._loop.create_server(factory, host, port)

    def descriptors_max(self) -> int:
        """More than any test opens."""
        return 1 << 20

    def bind(self, host: str, port: int) -> socket.socket:
        """There are no sockets."""
        raise NotImplementedError("configure no HTTP")


class Append:
    """A batch that was given to a partition, and what its producer heard."""

    def __init__(self) -> None:
        self.base_offset = -1
        self.answers: list[Exception | None] = []

    @property
    def error(self) -> Exception | None:
        """The one answer."""
        [answer] = self.answers
        return answer


class Bench:
    """A loop, a disk, a flusher, and what a test puts on them. Also the partitions' `Touched`."""

    def __init__(self, loop: SimLoop, *, seed: int = SEED) -> None:
        self.loop = loop
        self.disk = WatchedDisk(loop, seed)
        self.environment = self.disk.environment = BenchEnvironment(loop, self.disk)
        self.metrics = Metrics()
        self.fetches = DelayedFetches(lambda answer: answer())
        self.flusher = Flusher(self.environment, self.metrics, inline_max_s=0.0)
        """Which never syncs on the loop."""
        self.touched: list[Partition] = []

    @cached_property
    def directory(self) -> LogDirectory:
        """The data directory, opened for those who want it."""
        return LogDirectory.open(self.disk, cluster_id=lambda: "bench", now_ms=self.environment.now_ms())

    def log(self, topic: str = "orders", index: int = 0, /, **settings: str) -> Log:
        """A new log; `segment_bytes="2048"` stands for segment.bytes."""
        config = LogConfig().with_overrides({name.replace("_", "."): text for name, text in settings.items()})
        return self.directory.create_log(topic, index, TOPIC_ID, config, now_ms=self.environment.now_ms())

    def partition(self, topic: str = "orders", index: int = 0, /, **settings: str) -> Partition:
        """A partition on a new log."""
        return Partition(
            self.log(topic, index, **settings),
            topic=topic,
            topic_id=TOPIC_ID,
            index=index,
            flusher=self.flusher,
            touched=self,
            fetch_waiters=self.fetches,
            metrics=self.metrics,
        )

    def touch(self, partition: Partition) -> None:
        """See `Touched`."""
        self.touched.append(partition)

    def stage(
        self, partition: Partition, *values: bytes, acks: int = ACKS_ALL, batch: bytearray | None = None
    ) -> Append:
        """Append a batch; `write_out` is still to come."""
        append = Append()
        append.base_offset, _ = partition.append(
            memoryview(a_batch(values or (b"value",)) if batch is None else batch),
            acks=acks,
            now_ms=self.environment.now_ms(),
            waiter=append.answers.append,
        )
        return append

    def produce(self, partition: Partition, *values: bytes, acks: int = ACKS_ALL) -> Append:
        """Append a batch and write it to the page cache, as at the end of a socket read."""
        append = self.stage(partition, *values, acks=acks)
        partition.write_out()
        return append

    async def settle(self) -> None:
        """Until nothing is dirty."""
        await self.flusher.drain()

    async def end_of_sync(self, partition: Partition) -> None:
        """Until the sync of this one that is in the pool is over, and the next one has not begun."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flusher.when_free(partition, lambda: over.set_result(None))
        await over

    async def serve(self, *overrides: str, inline_sync_max_s: float = 0.0) -> House:
        """A whole broker on this disk, at 127.0.0.1:9092 of the simulated network."""
        server = Server(a_simulated_config(*overrides), self.environment, inline_sync_max_s=inline_sync_max_s)
        await server.start()
        return House(server)


def a_simulated_config(*overrides: str) -> BrokerConfig:
    """A broker without HTTP at a known address."""
    base = ["listeners=127.0.0.1:9092", "http.listen=off", "data.dir=data"]
    return BrokerConfig.load(environ={}, overrides=[*base, *overrides])


def readable(partition: Partition) -> list[bytes | None]:
    """The values that a consumer gets who reads from the start."""
    return values_of(partition.read(partition.log_start_offset, size_max=1 << 24, at_least_one=True).records)


def on_the_bench(test: Callable[Concatenate[Bench, P], Coroutine[object, object, None]]) -> Callable[P, None]:
    """Run a test in a simulated loop; its first argument is the bench."""

    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = SimLoop(SEED)
        SimNetwork(loop)
        try:
            loop.run_until_complete(test(Bench(loop), *args, **kwargs))
        finally:
            loop.close()
        raise_failures(loop)

    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(run, name, getattr(test, name))
    signature = inspect.signature(test)
    parameters = list(signature.parameters.values())[1:]
    run.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    return run
