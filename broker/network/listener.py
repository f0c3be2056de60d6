"""Listener: one port. Accepts connections up to a limit, closes idle ones, drains them at the end."""

import asyncio
import contextlib
import logging

from ..config import BrokerConfig, ListenerAddress, join_address
from ..environment import Environment
from ..metrics import Metrics
from ..request import Address
from .connection import Connection
from .dispatcher import Dispatcher

logger = logging.getLogger(__name__)


class Listener:
    """Everything that came in through one address."""

    def __init__(
        self,
        address: ListenerAddress,
        *,
        dispatcher: Dispatcher,
        config: BrokerConfig,
        environment: Environment,
        metrics: Metrics,
        receive_buffer: bytearray,
    ) -> None:
        self.name = address.name
        self.advertised: Address | None = None
        self.bound = Address(address.host, address.port)
        self._address = address
        self._dispatcher = dispatcher
        self._config = config
        self._environment = environment
        self._metrics = metrics
        self._receive_buffer = receive_buffer
        # In order of arrival: a set would go by memory address, and a simulated run would not repeat.
        self._connections: dict[Connection, None] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._server: asyncio.AbstractServer | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """Bind and accept. Raises OSError."""
        server = await self._environment.listen(self._address.host, self._address.port, self._connection)
        self._server = server
        sockets = getattr(server, "sockets", ())
        port: int = sockets[0].getsockname()[1] if sockets else self._address.port
        self.bound = Address(self._address.host, port)
        self.name = join_address(self.bound.host, self.bound.port)
        if self._address.advertised_host is not None:
            self.advertised = Address(self._address.advertised_host, self._address.advertised_port or port)

    def stop_accepting(self) -> None:
        """Let nobody new in; whoever is in is answered what he asked, and closed."""
        self._is_stopping = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close("drained")

    async def drain(self, *, deadline: float) -> None:
        """Wait until every connection is closed; at the deadline (loop time) abort those that are left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._empty.wait()
        for connection in list(self._connections):
            connection.abort("shutdown")
        await self._empty.wait()

    def close_idle(self, *, now: float) -> None:
        """Close connections that have said nothing for connections.max.idle.ms and wait for nothing.

        One that does not even take what was written to it cannot be closed; after twice that time it is aborted.
        """
        idle_s = self._config.connections_max_idle_ms / 1000
        for connection in [c for c in self._connections if not c.is_waiting and now - c.last_active > idle_s]:
            connection.close("idle")
            if now - connection.last_active > 2 * idle_s:
                connection.abort("idle")

    # What connections report

    def opened(self, connection: Connection) -> bool:
        """A socket was accepted; false when there are too many."""
        open_now = sum(self._metrics.connections_active.values())
        if open_now >= self._config.max_connections:
            logger.warning("connection refused, max.connections reached peer=%s", connection.peer)
            return False
        self._connections[connection] = None
        self._empty.clear()
        self._metrics.connections_opened += 1
        self._metrics.connections_active[self.name] = len(self._connections)
        if self._is_stopping:
            # It was accepted in the turn of the loop in which the listener stopped.
            connection.close("drained")
        return True

    def closed(self, connection: Connection, reason: str) -> None:
        """A connection is gone."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._empty.set()
        self._metrics.connections_active[self.name] = len(self._connections)
        self._metrics.connections_closed[reason] = self._metrics.connections_closed.get(reason, 0) + 1

    def _connection(self) -> Connection:
        return Connection(
            home=self,
            dispatcher=self._dispatcher,
            receive_buffer=self._receive_buffer,
            frame_size_max=self._config.socket_request_max_bytes,
            in_flight_max=self._config.connections_max_inflight_requests,
        )
