"""Where a simulated play takes place: a broker on its machine, clients' connections to it, and what breaks.

A `Stage` keeps the broker running: whenever it died it is booted again on what it left. `chaos` breaks things, drawn
from the seed, until the play has come far enough; `heal` ends that, and then everything has to come to its end.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

from support.disk import SimulatedDisk
from tidelog.broker.config import BrokerConfig
from tidelog.broker.server import Server
from tidelog.client.client import Client, connect
from tidelog.client.errors import Retriable

from .environment import Machine, network_of, raise_failures, wall_clock_ms
from .loop import Process, ProcessDied, SimLoop

HOST, PORT = "127.0.0.1", 9092
HEALING_S_MAX = 120.0
CLOCK_JUMP_MS_MAX = 3_600_000
RECOVERY_CUT_RATE = 0.2
"""How often the power fails again while a broker starts."""

Fault = Callable[[], None]


class Stuck(AssertionError):
    """After everything was healed something did not come to its end."""


class Unsound(AssertionError):
    """The broker found what it had synced damaged."""


class Stage:
    """See above."""

    def __init__(
        self,
        loop: SimLoop,
        chance: random.Random,
        *,
        power_cuts: bool = True,
        deaths: bool = True,
        clock_jump_ms_max: int = CLOCK_JUMP_MS_MAX,
    ) -> None:
        self.loop = loop
        self.random = chance
        self.network = network_of(loop)
        self.machine = Machine(loop, SimulatedDisk(loop.seed))
        self.config: BrokerConfig | None = None
        self.server: Server | None = None
        """The one that runs and has started."""
        self.is_working = True
        """Not healed yet."""
        self._power_cuts = power_cuts
        self._deaths = deaths
        self._clock_jump_ms_max = clock_jump_ms_max
        self.clock_jumps = 0
        """So far."""
        self._restarts: list[asyncio.Future[None]] = []

    # The broker

    async def supervise(self) -> None:
        """Boot it whenever it is dead."""
        assert self.config is not None
        while True:
            environment = self.machine.boot()
            server = Server(self.config, environment)
            if self.is_working and self._power_cuts and self.random.random() < RECOVERY_CUT_RATE:
                self.machine.cut_power_at_call(self.random.randint(1, 150))  # somewhere in the recovery
            try:
                await environment.process.start(server.start())
                self.server = server
                _check_sound(server)
                await environment.process.start(_for_ever())
            except ProcessDied:
                self.server = None
            await asyncio.sleep(self.random.random() * (0.5 if self.is_working else 0.05))

    def _restart_in_order(self) -> None:
        self._restarts.append(asyncio.ensure_future(self._stop_in_order()))

    async def _stop_in_order(self) -> None:
        server, process = self.server, self.machine.process
        if server is None or process is None or process.is_dead:
            return
        self.server = None
        try:
            await process.start(server.stop())
        except ProcessDied:
            return
        left = [task for task in self.loop.living_tasks() if task.owner is process]
        assert len(left) == 1, f"tasks outlive the broker: {left}"  # the one that waits for its death
        assert not process.belongings, f"sockets outlive the broker: {list(process.belongings)}"
        self.machine.kill()

    # The chaos

    async def chaos(
        self, *, every_s: float, seconds_max: float, is_over: Callable[[], bool], more: list[Fault]
    ) -> None:
        """Break something every now and then, `more` among it."""
        draw = self.random
        ends_at = self.loop.time() + seconds_max
        while self.loop.time() < ends_at and not is_over():
            raise_failures(self.loop)  # what follows a failure tells nothing
            await asyncio.sleep(draw.expovariate(1 / every_s))
            draw.choice(self._faults(more))()
        await asyncio.gather(*self._restarts)

    def heal(self) -> None:
        """Nothing breaks any more."""
        self.is_working = False
        self.network.calm_down()
        self.machine.cut_power_at_call(None)

    def _faults(self, more: list[Fault]) -> list[Fault]:
        faults: list[Fault] = [
            *[self._drop_one] * 4,
            self._drop_all,
            *[self._stall_one] * 3,
            *more,
            self.jump_clock,
        ]
        if self._deaths:
            faults += [self.machine.kill, self.machine.kill, self._restart_in_order]
        if self._power_cuts:
            faults += [self.machine.cut_power, *[self._cut_power_soon] * 4]
        return faults

    def _cut_power_soon(self) -> None:
        if self.random.random() < 0.5:
            self.machine.cut_power_at_call(self.random.randint(1, 40))
        else:
            self.machine.cut_power_at_call(self.random.randint(1, 10), in_sync=True)

    def _drop_one(self) -> None:
        if connections := list(self.network.connections):
            self.random.choice(connections).drop()

    def _drop_all(self) -> None:
        for connection in list(self.network.connections):
            connection.drop()

    def _stall_one(self) -> None:
        if connections := list(self.network.connections):
            self.random.choice(connections).stall(self.random.random() * 3)

    def jump_clock(self) -> None:
        """Set the machine's clock."""
        self.machine.skew_ms += self.random.randint(-self._clock_jump_ms_max, self._clock_jump_ms_max)
        self.clock_jumps += 1

    # The clients

    @contextlib.asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[Client]:
        """A thin client that has connected, however long that took."""
        draw = self.loop.random_for(f"client {name}")
        while True:
            client = connect(
                f"tidelog://{HOST}:{PORT}",
                client_id=name,
                timeout=draw.choice((2.0, 60.0)) if self.is_working else 60.0,
                max_buffer=draw.choice(("64KiB", "32MiB")),
                now_ms=lambda: wall_clock_ms(self.loop),
                random=draw,
            )
            try:
                await client.__aenter__()
            except Retriable:
                continue
            break
        try:
            yield client
        finally:
            await client.close()

    def actor(self, name: str, work: Coroutine[object, object, None]) -> asyncio.Future[None]:
        """Somebody in a process of its own."""
        return Process(self.loop, name).start(work)

    async def within(self, seconds: float, work: Awaitable[None], what: str) -> None:
        """Wait for it; raises Stuck with what is the matter."""
        task = asyncio.ensure_future(work)
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            stacks = "\n".join(self.loop.stacks())
            raise Stuck(f"{what} after {seconds} s; the living wait in\n{stacks}")
        task.result()


def _check_sound(server: Server) -> None:
    """No fault played here damages what was synced: a log that comes up quarantined is a bug."""
    for topic in server.topics:
        for partition in topic.partitions:
            if partition.log.offline:
                raise Unsound(f"{topic.name}-{partition.index} came up offline: {partition.log.recovered}")


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()
