"""The HTTP side: `/metrics`, `/live`, `/ready`, `/version`, on a socket of its own, inside the broker's event loop.

uvicorn is embedded without its signal handlers, its main loop and its access log: the process has one owner of signals,
and an idle broker does not wake ten times a second. uvicorn and starlette are imported by `start`: they cost tens of
milliseconds, and who turns HTTP off does not pay them.

Whoever can connect may ask, so everything is bounded: the head of a request in size and time, its body (there is none),
the time its answer may take to be read, and the number of connections.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ... import __version__

HEAD_SIZE_MAX = 16 << 10
BODY_HEADERS = (b"content-length", b"transfer-encoding")


class HttpState(Protocol):
    """What the HTTP side shows: the broker."""

    def live(self) -> bool:
        """Whether the process is well; if not, it is to be restarted."""

    def not_ready_because(self) -> Sequence[str]:
        """Why clients should not be sent here now; empty when they may come."""

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """The metrics in a format that `accept` knows, and their content type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one connection may take."""

    head_timeout_s: float = 10.0
    """For the head of a request to be complete."""
    response_timeout_s: float = 30.0
    """For a response to be made and taken."""
    keep_alive_s: int = 75
    """Between two requests: more than Prometheus' default minute between two scrapes."""
    connections_max: int = 64
    """From this many on a request is answered with 503."""


class HttpServer:
    """Serves one listening socket."""

    def __init__(self, listener: socket.socket, state: HttpState, *, limits: HttpLimits | None = None) -> None:
        self._listener = listener
        self._state = state
        self._limits = limits or HttpLimits()
        self._server: _Startable | None = None

    async def start(self) -> None:
        """Serve in the running loop."""
        from uvicorn.config import Config
        from uvicorn.server import Server

        config = Config(
            _application(self._state),
            http=_protocol(self._limits),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            limit_concurrency=self._limits.connections_max,
            timeout_keep_alive=self._limits.keep_alive_s,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=HEAD_SIZE_MAX,
        )
        config.load()
        # uvicorn writes head and body apart, and asyncio sets this only on sockets it made; connections inherit it.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[self._listener])
        self._server = server

    async def stop(self) -> None:
        """Accept no more, finish what is being answered for a second at most, close the socket."""
        if self._server is None:
            self._listener.close()
            return
        server, self._server = self._server, None
        await server.shutdown(sockets=[self._listener])


class _Startable(Protocol):
    """uvicorn's server after its start, as far as it is needed here."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""


def _application(state: HttpState) -> Callable[..., Awaitable[None]]:
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route, Router
    from starlette.types import Receive, Scope, Send

    def report(verdict: Mapping[str, object], *, is_good: bool) -> Response:
        return JSONResponse(verdict, 200 if is_good else 503, headers={"cache-control": "no-store"})

    async def metrics(request: Request) -> Response:
        body, content_type = await state.scrape(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    async def live(_: Request) -> Response:
        is_live = state.live()
        return report({"live": is_live}, is_good=is_live)

    async def ready(_: Request) -> Response:
        reasons = list(state.not_ready_because())
        return report({"ready": not reasons, "reasons": reasons}, is_good=not reasons)

    async def version(_: Request) -> Response:
        return JSONResponse({"version": __version__})

    routes = [Route("/metrics", metrics), Route("/live", live), Route("/ready", ready), Route("/version", version)]
    router = Router(routes, redirect_slashes=False)
    refusal = PlainTextResponse("no request here has a body\n", 413, headers={"connection": "close"})

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        # A body that nobody reads would keep the connection busy for as long as its sender likes.
        has_body = any(name in BODY_HEADERS and value != b"0" for name, value in scope["headers"])
        await (refusal if has_body else router)(scope, receive, send)

    return application


def _protocol(limits: HttpLimits) -> type[asyncio.Protocol]:
    from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

    class BoundedProtocol(H11Protocol):
        """HTTP/1.1 whose peers must get on with it: uvicorn itself bounds only the pause between two requests."""

        _deadline: asyncio.TimerHandle | None = None
        _is_answering = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """A peer connected; its request is due."""
            super().connection_made(transport)
            self._expect(limits.head_timeout_s)

        def data_received(self, data: bytes) -> None:
            """Part of a request, or more than one."""
            if self._deadline is None:
                self._expect(limits.head_timeout_s)
            before = self.cycle
            super().data_received(data)
            self._note_request(before)

        def on_response_complete(self) -> None:
            """The answer was made, though the peer may not have taken it yet."""
            self._is_answering = False
            if self.transport.get_write_buffer_size() == 0:
                self._expect(None)
            before = self.cycle
            super().on_response_complete()
            self._note_request(before)

        def connection_lost(self, exc: Exception | None) -> None:
            """The end."""
            self._expect(None)
            super().connection_lost(exc)

        def _note_request(self, before: RequestResponseCycle) -> None:
            if self.cycle is not before:
                self._is_answering = True
                self._expect(limits.response_timeout_s)

        def _expect(self, within_s: float | None) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = None if within_s is None else self.loop.call_later(within_s, self._overdue)

        def _overdue(self) -> None:
            self._deadline = None
            is_between_requests = self.timeout_keep_alive_task is not None and not self._is_answering
            if not is_between_requests or self.transport.get_write_buffer_size() > 0:
                self.transport.abort()

    return BoundedProtocol
