"""Letting connections in, and waiting when the process can open no more files [A7]."""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tidelog.broker.acceptor import KEPT_MAX, KEPT_PARTS, Acceptor

PATIENCE_S = 20.0
MANY = 1 << 20


class Greeter(asyncio.Protocol):
    """Says hello, and stays."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")


class Exhausted(socket.socket):
    """A listening socket at which accepting fails for as long as the test wants."""

    failures: tuple[int, ...] = ()
    attempts = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.attempts += 1
        if self.failures:
            number, *rest = self.failures
            self.failures = tuple(rest)
            raise OSError(number, os.strerror(number))
        return super().accept()


@asynccontextmanager
async def an_acceptor(
    *,
    factory: Callable[[], asyncio.BaseProtocol] = Greeter,
    descriptors_max: int = MANY,
    failures: tuple[int, ...] = (),
) -> AsyncIterator[Acceptor]:
    """One on a port of its own."""
    listening = Exhausted(socket.AF_INET, socket.SOCK_STREAM)
    listening.failures = failures
    listening.bind(("127.0.0.1", 0))
    listening.setblocking(False)
    acceptor = Acceptor([listening], factory, descriptors_max=descriptors_max)
    acceptor.start(100)
    try:
        yield acceptor
    finally:
        acceptor.close()
        await acceptor.wait_closed()


async def greeted(acceptor: Acceptor) -> asyncio.StreamWriter:
    """A client that was let in."""
    reader, writer = await asyncio.open_connection(*acceptor.sockets[0].getsockname())
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.readexactly(5) == b"hello"
    return writer


async def test_everybody_who_comes_is_let_in() -> None:
    async with an_acceptor() as acceptor:
        async with asyncio.timeout(PATIENCE_S):
            writers = await asyncio.gather(*(greeted(acceptor) for _ in range(200)))
        for writer in writers:
            writer.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_who_comes_when_nothing_can_be_opened_waits_and_is_let_in_later(number: int) -> None:
    """A7: for at most a second; and it is told of once, however long it takes."""
    pauses: list[int | None] = []
    async with an_acceptor(failures=(number, number)) as acceptor:
        acceptor.on_pause = lambda error: pauses.append(error.errno)
        (await greeted(acceptor)).close()
        assert pauses == [number]
        listening = acceptor.sockets[0]
        assert isinstance(listening, Exhausted)
        assert listening.attempts <= 6, "it does not try all the time"
        listening.failures = (number,)
        (await greeted(acceptor)).close()
        assert pauses == [number, number], "the next time is told of again"


async def test_a_client_that_has_given_up_harms_nobody() -> None:
    async with an_acceptor(failures=(errno.ECONNABORTED,)) as acceptor:
        (await greeted(acceptor)).close()
        for _ in range(20):
            with socket.create_connection(acceptor.sockets[0].getsockname()) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        (await greeted(acceptor)).close()


async def test_the_last_descriptors_are_for_files() -> None:
    """A7: a log that cannot open one refuses records; a connection that waits is none the worse."""
    pauses: list[OSError] = []
    limit = max(map(int, os.listdir("/proc/self/fd"))) + 40
    kept = min(KEPT_MAX, limit // KEPT_PARTS)
    async with an_acceptor(descriptors_max=limit) as acceptor:
        acceptor.on_pause = pauses.append
        clients = [socket.socket()]
        while clients[-1].fileno() < limit - kept - 3:  # of the same process, whose descriptors they take
            clients.append(socket.socket())
        before = len(os.listdir("/proc/self/fd"))
        for client in clients:
            client.setblocking(False)
            client.connect_ex(acceptor.sockets[0].getsockname())
        while not pauses:  # noqa: ASYNC110 - a product that sets events for tests would not be the product
            await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) - before <= 3, "so many were left for connections"
        assert pauses[0].errno == errno.EMFILE
        for client in clients:
            client.close()


async def test_after_the_close_nobody_is_let_in_and_nothing_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with an_acceptor(failures=(errno.EMFILE,)) as acceptor:
        client = socket.create_connection(acceptor.sockets[0].getsockname())
        for _ in range(5):
            await asyncio.sleep(0)
        address = acceptor.sockets[0].getsockname()
        acceptor.close()
        acceptor.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        client.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_protocol_that_cannot_be_made_costs_one_connection() -> None:
    made: list[Greeter] = []

    def factory() -> Greeter:
        if not made:
            made.append(Greeter())
            raise ValueError("not this time")
        return Greeter()

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with an_acceptor(factory=factory) as acceptor:
        reader, writer = await asyncio.open_connection(*acceptor.sockets[0].getsockname())
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()
        (await greeted(acceptor)).close()
