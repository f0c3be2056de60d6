"""An in-memory TCP for `SimLoop`: bytes arrive late, in other pieces than they were sent in, or not at all.

Legal behaviour, drawn from the seed: any delay; any cut of the byte stream into reads, from single bytes to
everything at once; a connection established before the server has accepted it; a connection that breaks, each end
noticing at its own time, with any prefix of what was under way delivered; a reset instead of an orderly end when
unread bytes are left; a stall. Never: bytes reordered, duplicated, or changed; bytes after an end.

A transport keeps references to what is written until it is delivered, as uvloop and Python 3.12 do, and copies only
then: whoever reuses a buffer too early is found out (`BufferReused` among the loop's failures). There is no kernel
buffer between the two ends, so flow control sets in as early as it ever could.
"""

import asyncio
import contextvars
import errno
import random
from collections.abc import Callable

from .loop import PROCESS, WORLD, SimLoop
from .transport import BufferReused, Endpoint, Pipe, SocketStandIn, set_if_waiting

__all__ = ["BufferReused", "Connection", "Endpoint", "Listener", "SimNetwork"]

LATENCY_S_MAX = 0.004
TINY_PIECE_MAX = 16
NOTICE_RESET_S_MAX = 0.3
REFUSAL_S_MAX = 0.05
PORT_FIRST = 20_000
CLIENT_PORT_FIRST = 50_000


class SimNetwork:
    """All listeners and connections of one loop. Made with it, and found at `loop.network`."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.random = loop.random_for("network")
        self.is_calm = False
        """Short delays and whole pieces from now on: the quiet phase."""
        self.connections: dict[Connection, None] = {}
        """Those of which an end is still open, oldest first."""
        self.on_fault: Callable[[Connection], None] = _ignore
        """Told when an end of a connection resets it, or learns that it was reset."""
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._ports = iter(range(PORT_FIRST, CLIENT_PORT_FIRST))
        self._client_ports = CLIENT_PORT_FIRST
        loop.network = self

    async def listen(self, factory: Callable[[], asyncio.BaseProtocol], host: str | None, port: int) -> "Listener":
        """Accept connections. Raises OSError (EADDRINUSE) when somebody else does."""
        address = (_normalized(host), port or next(self._ports))
        if address in self._listeners:
            raise OSError(errno.EADDRINUSE, f"error while attempting to bind on address {address}: address in use")
        listener = Listener(self, factory, address)
        self._listeners[address] = listener
        self.trace("listen", *address)
        return listener

    async def connect(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple["Endpoint", asyncio.BaseProtocol]:
        """Connect. Raises ConnectionRefusedError when nobody listens."""
        address = (_normalized(host), port)
        await self._pass_time(self.latency())
        listener = self._listeners.get(address) or self._listeners.get(("0.0.0.0", port))  # noqa: S104 - compared, not bound
        if listener is None:
            await self._pass_time(self.random.random() * REFUSAL_S_MAX)
            self.trace("refused", *address)
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed {address}")
        self._client_ports += 1
        connection = Connection(self, ("127.0.0.1", self._client_ports), address)
        self.connections[connection] = None
        self.trace("connect", connection)
        listener.queue(connection.server)
        try:
            protocol = factory()
            connected = self.loop.create_future()
            connection.client.attach(protocol, contextvars.copy_context(), connected)
            await connected
        except BaseException:
            connection.client.abort()
            raise
        return connection.client, protocol

    def forget_listener(self, listener: "Listener") -> None:
        """Nobody listens there any more."""
        if self._listeners.get(listener.address) is listener:
            del self._listeners[listener.address]

    def calm_down(self) -> None:
        """End all stalls, keep delays short, cut no more pieces."""
        self.is_calm = True
        for connection in list(self.connections):
            connection.unstall()

    def latency(self) -> float:
        """How long the next thing takes: mostly little, sometimes long."""
        scale = 0.1 if self.is_calm else 1.0
        return scale * LATENCY_S_MAX * self.random.random() ** 2

    def piece(self, size: int) -> int:
        """How much of `size` bytes the next read gets."""
        if self.is_calm or size <= 1:
            return size
        draw = self.random.random()
        if draw < 0.75:
            return size
        return self.random.randint(1, min(size, TINY_PIECE_MAX) if draw < 0.85 else size)

    def trace(self, what: str, *facts: object) -> None:
        """Note an event."""
        self.loop.trace.add(self.loop.time(), what, *facts)

    async def _pass_time(self, seconds: float) -> None:
        passed = self.loop.create_future()
        event = self.loop.call_io(self.loop.time() + seconds, set_if_waiting, passed)
        try:
            await passed
        finally:
            event.cancel()


class Listener(asyncio.AbstractServer):
    """What `create_server` returns."""

    def __init__(
        self, network: SimNetwork, factory: Callable[[], asyncio.BaseProtocol], address: tuple[str, int]
    ) -> None:
        self.address = address
        self.owner = PROCESS.get()
        self._network = network
        self._factory = factory
        self._context = contextvars.copy_context()
        self._is_serving = True
        self._backlog: dict[Endpoint, asyncio.TimerHandle] = {}
        self._open_count = 0
        self._waiters: list[asyncio.Future[object]] = []
        self._forever: asyncio.Future[object] | None = None
        if self.owner is not None:
            self.owner.belongings[self] = None

    @property
    def sockets(self) -> tuple["SocketStandIn", ...]:
        """The listening socket, as far as one looks at it: its address."""
        return (SocketStandIn(self.address, None),) if self._is_serving else ()

    def queue(self, endpoint: "Endpoint") -> None:
        """A connection is established; this process accepts it in its own time."""
        loop = self._network.loop
        when = loop.time() + self._network.latency()
        self._backlog[endpoint] = loop.call_io(when, self._accept, endpoint, context=WORLD)

    def _accept(self, endpoint: "Endpoint") -> None:
        del self._backlog[endpoint]
        self._network.trace("accept", endpoint.connection)
        self._open_count += 1
        endpoint.listener = self
        context = self._context.copy()
        try:
            protocol = context.run(self._factory)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio: reported, and the connection is gone
            self._network.loop.call_exception_handler(
                {"message": "protocol factory failed", "exception": error, "transport": endpoint}
            )
            endpoint.abort()
            return
        endpoint.attach(protocol, context, None)

    def detach(self) -> None:
        """One of its connections is gone."""
        self._open_count -= 1
        self._wake()

    def close(self) -> None:
        """Stop accepting; connections stay, those that were not accepted yet are reset."""
        if not self._is_serving:
            return
        self._is_serving = False
        self._network.trace("unlisten", *self.address)
        self._network.forget_listener(self)
        if self.owner is not None:
            self.owner.belongings.pop(self, None)
        self._reset_backlog()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._wake()

    def owner_died(self, *, power_cut: bool) -> None:
        """Nobody listens any more."""
        self._is_serving = False
        self._network.forget_listener(self)
        self._reset_backlog()

    async def wait_closed(self) -> None:
        """As from Python 3.12 on: until the last connection is gone."""
        while self._is_serving or self._open_count:
            waiter = self._network.loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return self._is_serving

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        return self._network.loop

    async def start_serving(self) -> None:
        """It does so from the start."""

    async def serve_forever(self) -> None:
        """Until cancelled; then closed."""
        self._forever = self._network.loop.create_future()
        try:
            await self._forever
        finally:
            self.close()

    def _reset_backlog(self) -> None:
        backlog, self._backlog = self._backlog, {}
        for endpoint, event in backlog.items():
            event.cancel()
            endpoint.abort()

    def _wake(self) -> None:
        if not self._is_serving and not self._open_count:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                set_if_waiting(waiter)


class Connection:
    """Two ends and the bytes under way between them; where faults are injected."""

    def __init__(self, network: SimNetwork, client: tuple[str, int], server: tuple[str, int]) -> None:
        self.network = network
        self.name = f"{client[1]}>{server[1]}"
        to_server, to_client = Pipe(self, "to server"), Pipe(self, "to client")
        self.client = Endpoint(self, to_server, to_client, addresses=(client, server))
        self.server = Endpoint(self, to_client, to_server, addresses=(server, client))
        self.is_broken = False

    def __repr__(self) -> str:
        return self.name

    def drop(self) -> None:
        """It breaks: a prefix of what is under way arrives, later bytes vanish, each end is told at its own time."""
        if self.is_broken:
            return
        self.is_broken = True
        self.network.trace("drop", self)
        for pipe in (self.client.outgoing, self.server.outgoing):
            pipe.sever(keep=self._random.randint(0, pipe.size), notice_s=self._random.random() * NOTICE_RESET_S_MAX)

    def stall(self, seconds: float) -> None:
        """Nothing arrives for a while; afterwards everything does."""
        self.network.trace("stall", self, f"{seconds:.6f}")
        for pipe in (self.client.outgoing, self.server.outgoing):
            pipe.stall(self.network.loop.time() + seconds)

    def unstall(self) -> None:
        """What was held back may arrive."""
        for pipe in (self.client.outgoing, self.server.outgoing):
            pipe.stall(0.0)

    def faulted(self) -> None:
        """One of the ends resets it, or learns that it was reset."""
        self.network.on_fault(self)

    def end_closed(self) -> None:
        """One of the ends is gone."""
        if self.client.is_lost and self.server.is_lost:
            self.network.connections.pop(self, None)

    @property
    def _random(self) -> random.Random:
        return self.network.random


def _normalized(host: str | None) -> str:
    if not host:
        return "0.0.0.0"  # noqa: S104 - a name, nothing is bound
    return "127.0.0.1" if host == "localhost" else host


def _ignore(connection: Connection) -> None:
    pass
