"""Listener: one port. Accepts connections up to a limit, ends those that must go, drains all of them at the end."""

import asyncio
import contextlib
import logging
import socket

from ..acceptor import Acceptor
from ..config import ListenerAddress, join_address
from ..environment import Environment, Listening
from ..request import Address
from .commons import Commons
from .connection import Connection
from .deadlines import IDLE, NO_REQUEST, SLOW_REQUEST, Round

logger = logging.getLogger(__name__)

UNSENT_IN_KERNEL_MAX = 512 << 10


class Listener:
    """Everything that came in through one address."""

    def __init__(self, address: ListenerAddress, *, commons: Commons, environment: Environment) -> None:
        self.name = address.name
        self.advertised: Address | None = None
        self.bound = Address(address.host, address.port)
        self._address = address
        self._commons = commons
        self._metrics = commons.metrics
        self._environment = environment
        # In order of arrival: a set would go by memory address, and a simulated run would not repeat.
        self._connections: dict[Connection, None] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._server: Listening | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """Bind and accept. Raises OSError."""
        server = await self._environment.listen(self._address.host, self._address.port, self._connection)
        self._server = server
        if isinstance(server, Acceptor):
            server.on_pause = self._paused
        sockets = getattr(server, "sockets", ())
        for listening in sockets:
            # Its connections inherit it: without it megabytes go into the kernel at once, and a reader that takes its
            # answers steadily seems to take nothing for half a minute.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_IN_KERNEL_MAX)
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

    def judge(self, round_: Round) -> None:
        """End connections that are past a deadline."""
        for connection in list(self._connections):
            reason = connection.judge(round_)
            if reason == IDLE:
                connection.close(IDLE)
                if round_.now - connection.last_active > 2 * round_.idle_s:
                    # It does not even take what was written to it before.
                    connection.abort(IDLE)
            elif reason:
                line = "connection closed, %s peer=%s"
                self._commons.log.say(logger, logging.WARNING, line, reason, connection.peer)
                if reason in (NO_REQUEST, SLOW_REQUEST):
                    connection.close(reason)
                else:
                    connection.abort(reason)

    # What connections report

    def opened(self, connection: Connection) -> bool:
        """A socket was accepted; false when there are too many."""
        self._metrics.connections_opened += 1
        limit = self._commons.limits.admit(connection.host)
        if limit is not None:
            self._metrics.connections_rejected[limit] = self._metrics.connections_rejected.get(limit, 0) + 1
            line = "connection refused, %s reached peer=%s"
            self._commons.log.say(logger, logging.WARNING, line, limit, connection.peer)
            return False
        self._connections[connection] = None
        self._empty.clear()
        self._metrics.connections_active[self.name] = len(self._connections)
        if self._is_stopping:
            # It was accepted in the turn of the loop in which the listener stopped.
            connection.close("drained")
        return True

    def closed(self, connection: Connection, reason: str) -> None:
        """A connection is gone."""
        if connection in self._connections:
            del self._connections[connection]
            self._commons.limits.leave(connection.host)
            if not self._connections:
                self._empty.set()
            self._metrics.connections_active[self.name] = len(self._connections)
        self._metrics.connections_closed[reason] = self._metrics.connections_closed.get(reason, 0) + 1

    def _paused(self, why: OSError) -> None:
        self._metrics.accept_pauses += 1
        line = "no connection can be accepted for the moment, %s listener=%s"
        self._commons.log.say(logger, logging.WARNING, line, why.strerror, self.name)

    def _connection(self) -> Connection:
        return Connection(home=self, commons=self._commons)
