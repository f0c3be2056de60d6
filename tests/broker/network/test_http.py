"""The HTTP side through a real socket: what it answers, and what it does not put up with."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

import tidelog
from support.scrape import FACTS, OPENMETRICS_ACCEPT, busy_metrics, busy_topics
from tidelog.broker.environment import RealEnvironment
from tidelog.broker.exposition import render
from tidelog.broker.network.http import HttpLimits, HttpServer
from tidelog.broker.turns import at_once


@dataclass
class ABroker:
    """A broker in whatever state a test needs."""

    is_well: bool = True
    busy: Sequence[str] = ()
    body: bytes | None = None

    def live(self) -> bool:
        return self.is_well

    def not_ready_because(self) -> Sequence[str]:
        return self.busy

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        if self.body is not None:
            return self.body, "text/plain"
        return at_once(render(busy_metrics(), busy_topics(), FACTS, accept=accept))


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A socket that speaks HTTP/1.1 as a test needs it spoken."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, path: str, *, method: str = "GET", headers: str = "") -> Answer:
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode())
        return await self.answer(has_body=method != "HEAD")

    async def answer(self, *, has_body: bool = True) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", "0")) if has_body else 0
        return Answer(int(first.split()[1]), headers, await self.reader.readexactly(size))

    async def closed(self) -> bytes:
        """What still came before the server closed."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def served(state: ABroker | None = None, *, limits: HttpLimits | None = None) -> AsyncIterator[tuple[str, int]]:
    listener = RealEnvironment().bind("127.0.0.1", 0)
    address: tuple[str, int] = listener.getsockname()
    server = HttpServer(listener, state or ABroker(), limits=limits)
    await server.start()
    try:
        yield address
    finally:
        await server.stop()


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def a_client(state: ABroker | None = None, *, limits: HttpLimits | None = None) -> AsyncIterator[Client]:
    async with asyncio.timeout(10), served(state, limits=limits) as address, connected(address) as client:
        yield client


# -- answers --


async def test_metrics_are_served_in_prometheus_text_format() -> None:
    async with a_client() as client:
        answer = await client.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert {"tidelog_build_info", "kafka_brokers", "process_open_fds"} <= names


async def test_metrics_are_served_as_openmetrics_to_who_asks_for_it() -> None:
    async with a_client() as client:
        answer = await client.ask("/metrics", headers=f"Accept: {OPENMETRICS_ACCEPT}\r\n")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.body.endswith(b"# EOF\n")


async def test_a_healthy_broker_says_so() -> None:
    async with a_client() as client:
        live, ready = await client.ask("/live"), await client.ask("/ready")
    assert (live.status, json.loads(live.body)) == (200, {"live": True})
    assert (ready.status, json.loads(ready.body)) == (200, {"ready": True, "reasons": []})


async def test_a_broker_that_is_not_ready_says_why() -> None:
    async with a_client(ABroker(busy=["starting", "recovering orders-0"])) as client:
        ready, live = await client.ask("/ready"), await client.ask("/live")
    assert ready.status == 503
    assert json.loads(ready.body) == {"ready": False, "reasons": ["starting", "recovering orders-0"]}
    assert live.status == 200


async def test_a_broker_that_should_be_restarted_says_so() -> None:
    async with a_client(ABroker(is_well=False)) as client:
        answer = await client.ask("/live")
    assert (answer.status, json.loads(answer.body)) == (503, {"live": False})


async def test_the_version_is_told() -> None:
    async with a_client() as client:
        assert json.loads((await client.ask("/version")).body) == {"version": tidelog.__version__}


async def test_no_answer_is_to_be_kept_by_a_cache() -> None:
    async with a_client() as client:
        for path in ("/metrics", "/live", "/ready"):
            assert (await client.ask(path)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/metrics", "/live", "/ready", "/version"])
async def test_head_is_get_without_the_body(path: str) -> None:
    async with a_client(ABroker(body=b"steady\n")) as client:
        head = await client.ask(path, method="HEAD")
        got = await client.ask(path)
    assert head.status == got.status == 200
    assert head.headers == got.headers
    assert got.body


@pytest.mark.parametrize("path", ["/", "/metrics/", "/nothing", "/../live", "//live"])
async def test_other_paths_are_not_found(path: str) -> None:
    async with a_client() as client:
        assert (await client.ask(path)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed(method: str) -> None:
    async with a_client() as client:
        assert (await client.ask("/live", method=method)).status == 405


async def test_a_connection_serves_one_request_after_another() -> None:
    async with a_client() as client:
        assert [(await client.ask("/live")).status for _ in range(5)] == [200] * 5


async def test_requests_that_come_together_are_answered_in_order() -> None:
    async with a_client() as client:
        client.writer.write(
            b"".join(f"GET /{p} HTTP/1.1\r\nHost: t\r\n\r\n".encode() for p in ("live", "ready", "version"))
        )
        bodies = [json.loads((await client.answer()).body) for _ in range(3)]
    assert [next(iter(body)) for body in bodies] == ["live", "ready", "version"]


# -- what it does not put up with --


@pytest.mark.parametrize("headers", ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_a_request_with_a_body_is_refused_and_the_connection_closed(headers: str) -> None:
    async with a_client() as client:
        answer = await client.ask("/live", headers=headers)
        assert answer.status == 413
        assert await client.closed() == b""


async def test_a_body_of_no_bytes_is_none() -> None:
    async with a_client() as client:
        assert (await client.ask("/live", headers="Content-Length: 0\r\n")).status == 200


async def test_what_is_not_http_is_refused_and_the_connection_closed() -> None:
    async with a_client() as client:
        client.writer.write(b"\x00\x00\x00\x12\x00\x12\x00\x03 not http at all\r\n\r\n")
        assert (await client.closed()).startswith(b"HTTP/1.1 400 ")


async def test_an_endless_head_is_refused_and_the_connection_closed() -> None:
    async with a_client() as client:
        client.writer.write(b"GET /live HTTP/1.1\r\nx: " + b"x" * 100_000)
        rest = await client.closed()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")


HASTY = HttpLimits(head_timeout_s=0.05, response_timeout_s=0.1, keep_alive_s=0)


@pytest.mark.parametrize("sent", [b"", b"GET /live HTTP/1.1\r\nHost:"])
async def test_who_does_not_finish_the_head_is_disconnected(sent: bytes) -> None:
    async with a_client(limits=HASTY) as client:
        client.writer.write(sent)
        assert await client.closed() == b""


async def test_who_trickles_the_head_is_disconnected() -> None:
    async with a_client(limits=HASTY) as client:
        client.writer.write(b"GET /live HTTP/1.1\r\n")
        ended = asyncio.ensure_future(client.closed())
        while not ended.done():
            client.writer.write(b"x: y\r\n")
            await asyncio.wait([ended], timeout=0.01)
        assert await ended == b""


async def test_who_does_not_take_the_answer_is_disconnected() -> None:
    state, limits = ABroker(body=b"x" * (32 << 20)), HttpLimits(response_timeout_s=0.1, connections_max=2)
    async with asyncio.timeout(10), served(state, limits=limits) as address, connected(address) as greedy:
        greedy.writer.write(b"GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n")
        # Its place is given to another.
        status = 503
        while status == 503:
            async with connected(address) as other:
                status = (await other.ask("/live")).status
        assert status == 200
        assert len(await greedy.closed()) < 32 << 20


async def test_an_idle_connection_is_closed() -> None:
    async with a_client(limits=HASTY) as client:
        assert (await client.ask("/live")).status == 200
        assert await client.closed() == b""


async def test_a_connection_outlives_the_time_for_a_head_between_two_requests() -> None:
    limits = HttpLimits(head_timeout_s=0.02, response_timeout_s=0.02, keep_alive_s=5)
    async with a_client(limits=limits) as client:
        assert (await client.ask("/live")).status == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.read(1)
        assert (await client.ask("/live")).status == 200


async def test_too_many_connections_are_told_to_come_back() -> None:
    limits = HttpLimits(connections_max=2)
    async with asyncio.timeout(10), served(limits=limits) as address, connected(address) as first:
        assert (await first.ask("/live")).status == 200
        async with connected(address) as second:
            assert (await second.ask("/live")).status == 503


# -- life --


async def test_signals_stay_with_their_owner() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    async with a_client() as client:
        await client.ask("/live")
        assert {number: signal.getsignal(number) for number in before} == before
    assert {number: signal.getsignal(number) for number in before} == before


async def test_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with a_client() as client:
            await client.ask("/live")
            await client.ask("/nothing")
    assert caplog.records == []


async def test_after_stop_nobody_listens_and_no_connection_is_left() -> None:
    async with asyncio.timeout(10):
        async with served() as address:
            reader, writer = await asyncio.open_connection(*address)
            client = Client(reader, writer)
            assert (await client.ask("/live")).status == 200
        assert await client.closed() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)


async def test_a_server_that_was_never_started_gives_its_socket_back() -> None:
    listener = RealEnvironment().bind("127.0.0.1", 0)
    await HttpServer(listener, ABroker()).stop()
    assert listener.fileno() == -1


async def test_nothing_wakes_an_idle_server() -> None:
    async with asyncio.timeout(10), served():
        loop = asyncio.get_running_loop()
        assert [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()] == []


async def test_the_same_port_can_be_served_again_at_once() -> None:
    async with asyncio.timeout(10):
        async with served() as address, connected(address) as client:
            await client.ask("/live")
        listener = RealEnvironment().bind(*address)
        assert listener.getsockname() == address
        listener.close()


async def test_a_defect_costs_one_request_with_one_traceback(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ABroker):
        async def scrape(self, accept: str) -> tuple[bytes, str]:
            raise RuntimeError("a defect")

    async with asyncio.timeout(10), served(Broken()) as address:
        async with connected(address) as client:
            assert (await client.ask("/metrics")).status == 500
        async with connected(address) as client:
            assert (await client.ask("/live")).status == 200
    assert len(caplog.records) == 1
