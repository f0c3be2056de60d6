"""The real environment: the clock, the dice, the disk, the pool and the sockets are the machine's."""

import asyncio
import resource
import socket
import threading
import time
from pathlib import Path

import pytest

from tidelog.broker.environment import BLOCKING_THREADS, Environment, RealEnvironment

PATIENCE_S = 20.0


class Greeter(asyncio.Protocol):
    """Says hello and goodbye."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        transport.close()


def a_port_in_use() -> socket.socket:
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.listen()
    return holder


def test_it_is_an_environment() -> None:
    environment: Environment = RealEnvironment()
    assert environment.now_ms() > 1_700_000_000_000


def test_the_clock_is_the_wall_clock_in_milliseconds() -> None:
    before = time.time()
    now_ms = RealEnvironment().now_ms()
    assert before * 1000 - 1 <= now_ms <= time.time() * 1000


def test_the_other_clock_never_goes_back() -> None:
    environment = RealEnvironment()
    times = [environment.monotonic() for _ in range(1000)]
    assert times == sorted(times)
    assert times[-1] > times[0]


def test_no_two_environments_draw_the_same_numbers() -> None:
    """What is drawn becomes ids: a seed that two processes share would give two topics one id."""
    drawn = {RealEnvironment().random.getrandbits(128) for _ in range(100)}
    assert len(drawn) == 100
    with pytest.raises(NotImplementedError):
        RealEnvironment().random.getstate()


def test_its_disk_lies_below_the_directory(tmp_path: Path) -> None:
    disk = RealEnvironment().disk(str(tmp_path / "data"))
    disk.make_directory("")
    disk.open("file", create=True).close()
    assert (tmp_path / "data" / "file").exists()


async def test_blocking_calls_run_beside_the_loop() -> None:
    environment = RealEnvironment()
    everybody = threading.Barrier(BLOCKING_THREADS + 1)

    def meet() -> str:
        everybody.wait(PATIENCE_S)
        return threading.current_thread().name

    # That many at the same time, or the barrier breaks; and the loop goes on, or it would never be passed.
    calls = [environment.run_blocking(meet) for _ in range(BLOCKING_THREADS)]
    assert not any(call.done() for call in calls)
    last = asyncio.get_running_loop().run_in_executor(None, everybody.wait, PATIENCE_S)
    threads = await asyncio.gather(*calls)
    await last
    assert sorted(threads) == [f"tidelog-blocking_{number}" for number in range(BLOCKING_THREADS)]


async def test_what_a_blocking_call_raises_arrives() -> None:
    with pytest.raises(ZeroDivisionError):
        await RealEnvironment().run_blocking(lambda: 1 // 0)


async def test_it_listens_where_it_was_told() -> None:
    server = await RealEnvironment().listen("127.0.0.1", 0, Greeter)
    try:
        [listener] = server.sockets
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b"hello"
        writer.close()
    finally:
        server.close()


async def test_an_address_that_is_taken_cannot_be_listened_to() -> None:
    with a_port_in_use() as holder:
        port = holder.getsockname()[1]
        with pytest.raises(OSError, match="Address already in use"):
            await RealEnvironment().listen("127.0.0.1", port, Greeter)
        with pytest.raises(OSError, match="Address already in use"):
            RealEnvironment().bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_bound_socket_listens_and_never_blocks(host: str) -> None:
    with RealEnvironment().bind(host, 0) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert not listener.getblocking()
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        with socket.create_connection((host, port), PATIENCE_S):
            pass


def test_a_port_can_be_bound_again_at_once() -> None:
    """A restart must not wait for the connections of the last process to be forgotten."""
    environment = RealEnvironment()
    with environment.bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            listener.setblocking(True)
            accepted, _ = listener.accept()
            accepted.close()  # first, so that it is this side that remembers
            assert client.recv(1) == b""
    environment.bind("127.0.0.1", port).close()


def test_it_knows_how_many_files_may_be_open() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert RealEnvironment().descriptors_max() == soft
