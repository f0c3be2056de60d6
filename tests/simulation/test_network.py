"""The in-memory TCP: bytes in order, faults as TCP has them, transports as asyncio has them."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from support.environment import network_of, simulate
from support.loop import Process, SimLoop
from support.network import BufferReused, Endpoint, SimNetwork

PORT = 9092


class Recorder(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.pieces: list[int] = []
        self.events: list[str] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: Endpoint

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Endpoint)
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.received += data
        self.pieces.append(len(data))

    def eof_received(self) -> bool:
        self.events.append("eof")
        return False

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(f"lost {type(exc).__name__}")
        self.lost.set_result(exc)


class StayingOpen(Recorder):
    """Goes on after the other end's last byte."""

    def eof_received(self) -> bool:
        self.events.append("eof")
        return True


class BufferedEcho(asyncio.BufferedProtocol):
    """Sends back what comes, through a small buffer of its own."""

    def __init__(self, size: int = 64) -> None:
        self.buffer = bytearray(size)
        self.sizes: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Endpoint)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        assert sizehint == -1
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.sizes.append(nbytes)
        self.transport.write(bytes(self.buffer[:nbytes]))


class Pair:
    """A client and a server, connected."""

    def __init__(self, client: Recorder, server: Recorder) -> None:
        self.client, self.server = client, server


async def connected(loop: SimLoop, *, kind: type[Recorder] = Recorder) -> Pair:
    """A connected pair."""
    servers: list[Recorder] = []

    def factory() -> Recorder:
        servers.append(kind())
        return servers[-1]

    await loop.create_server(factory, "127.0.0.1", PORT)
    _, client = await loop.create_connection(kind, "localhost", PORT)
    assert isinstance(client, Recorder)
    while not servers or "made" not in servers[0].events:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.001)
    return Pair(client, servers[0])


def over_seeds(count: int, program: Callable[[SimLoop], Awaitable[object]]) -> list[object]:
    """Runs a program under many seeds."""
    return [simulate(program, seed=seed) for seed in range(count)]  # type: ignore[arg-type]


def test_bytes_arrive_in_order_in_other_pieces_than_they_were_sent_in() -> None:
    async def program(loop: SimLoop) -> list[int]:
        pair = await connected(loop)
        sent = bytearray()
        for number in range(100):
            data = bytes([number]) * (number + 1)
            sent += data
            pair.client.transport.write(data)
            if number % 10 == 0:
                await asyncio.sleep(0.001)
        await asyncio.sleep(5)
        assert pair.server.received == sent
        return pair.server.pieces

    pieces = [piece for run in over_seeds(20, program) for piece in run]  # type: ignore[attr-defined]
    assert min(pieces) == 1
    assert max(pieces) > 500


def test_a_buffered_protocol_gets_its_bytes_through_its_own_buffer() -> None:
    async def program(loop: SimLoop) -> None:
        echoes: list[BufferedEcho] = []

        def factory() -> BufferedEcho:
            echoes.append(BufferedEcho())
            return echoes[-1]

        await loop.create_server(factory, "127.0.0.1", PORT)
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        message = random.Random(1).randbytes(10_000)
        writer.writelines([message[:4_000], memoryview(message)[4_000:]])
        assert await reader.readexactly(10_000) == message
        assert max(echoes[0].sizes) == 64
        writer.close()
        await writer.wait_closed()

    over_seeds(20, program)


def test_streams_work_on_both_sides() -> None:
    async def program(loop: SimLoop) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        for word in (b"one\n", b"two\n", b"three\n" * 1000):
            writer.write(word)
            assert await reader.readexactly(len(word)) == word.upper()
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        server.close()
        await server.wait_closed()
        assert not network_of(loop).connections

    over_seeds(20, program)


def test_both_ends_know_their_addresses() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop)
        client, server = pair.client.transport, pair.server.transport
        assert client.get_extra_info("peername") == server.get_extra_info("sockname") == ("127.0.0.1", PORT)
        assert client.get_extra_info("sockname") == server.get_extra_info("peername")
        assert server.get_extra_info("nothing", 7) == 7
        server.get_extra_info("socket").setsockopt(6, 1, 1)

    simulate(program, seed=1)


def test_a_reader_that_pauses_makes_its_writer_pause() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop)
        pair.server.transport.pause_reading()
        pair.client.transport.set_write_buffer_limits(high=1000)
        pair.client.transport.write(b"x" * 1000)
        assert pair.client.events == ["made"]
        pair.client.transport.write(b"y")
        assert pair.client.events == ["made", "pause"]
        await asyncio.sleep(10)
        assert pair.server.received == b""
        assert pair.client.transport.get_write_buffer_size() == 1001
        pair.server.transport.resume_reading()
        await asyncio.sleep(10)
        assert pair.client.events == ["made", "pause", "resume"]
        assert len(pair.server.received) == 1001

    over_seeds(10, program)


def test_close_sends_what_was_written_first() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop)
        pair.client.transport.write(b"x" * 5000)
        pair.client.transport.close()
        assert pair.client.transport.is_closing()
        pair.client.transport.write(b"too late")
        assert await pair.client.lost is None
        assert await pair.server.lost is None
        assert pair.server.received == b"x" * 5000
        assert pair.server.events == ["made", "eof", "lost NoneType"]
        assert not network_of(loop).connections

    over_seeds(20, program)


def test_abort_resets_the_other_end() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop)
        pair.client.transport.write(b"x" * 5000)
        pair.client.transport.abort()
        assert await pair.client.lost is None
        assert isinstance(await pair.server.lost, ConnectionResetError)
        assert pair.client.events.count("lost NoneType") == 1

    over_seeds(20, program)


def test_half_a_close_leaves_the_other_direction_open() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop, kind=StayingOpen)
        pair.client.transport.write(b"question")
        pair.client.transport.write_eof()
        with pytest.raises(RuntimeError):
            pair.client.transport.write(b"more")
        await asyncio.sleep(1)
        assert pair.server.events == ["made", "eof"]
        pair.server.transport.write(b"answer")
        await asyncio.sleep(1)
        assert pair.client.received == b"answer"
        pair.server.transport.close()
        await asyncio.sleep(1)
        pair.client.transport.close()
        await pair.client.lost
        assert pair.server.events.count("eof") == 1

    over_seeds(10, program)


def test_bytes_for_an_end_that_is_closed_are_answered_with_a_reset() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop, kind=StayingOpen)
        pair.server.transport.close()
        await pair.server.lost
        await asyncio.sleep(1)
        assert pair.client.events == ["made", "eof"]
        pair.client.transport.write(b"are you there?")
        assert isinstance(await pair.client.lost, ConnectionResetError)

    over_seeds(10, program)


def test_closing_with_unread_bytes_resets_the_connection() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop)
        pair.server.transport.pause_reading()
        pair.client.transport.write(b"unread")
        pair.server.transport.write(b"last words")
        await asyncio.sleep(1)
        pair.server.transport.close()
        assert isinstance(await pair.client.lost, ConnectionResetError)
        assert pair.client.received == b"last words"

    over_seeds(10, program)


def test_a_connection_that_breaks_delivers_a_prefix_and_tells_both_ends() -> None:
    async def program(loop: SimLoop) -> int:
        pair = await connected(loop)
        pair.client.transport.write(bytes(range(200)))
        pair.server.transport.write(bytes(range(200)))
        pair.client.transport.connection.drop()
        pair.client.transport.write(b"swallowed")
        for end in (pair.client, pair.server):
            assert isinstance(await end.lost, ConnectionResetError)
            assert bytes(range(200)).startswith(bytes(end.received))
        assert not network_of(loop).connections
        return len(pair.server.received)

    sizes = over_seeds(60, program)
    assert len(set(sizes)) > 20


def test_an_end_that_reads_nothing_still_hears_of_the_reset() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop)
        pair.server.transport.pause_reading()
        pair.client.transport.write(b"unread")
        pair.client.transport.connection.drop()
        assert isinstance(await pair.server.lost, ConnectionResetError)

    over_seeds(10, program)


def test_a_stalled_connection_delivers_everything_later() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop)
        pair.client.transport.write(b"before")
        pair.client.transport.connection.stall(5)
        pair.client.transport.write(b"after")
        await asyncio.sleep(4.9)
        assert pair.server.received == b""
        await asyncio.sleep(1)
        assert pair.server.received == b"beforeafter"
        pair.client.transport.connection.stall(1_000)
        pair.client.transport.write(b"!")
        network_of(loop).calm_down()
        await asyncio.sleep(1)
        assert pair.server.received == b"beforeafter!"

    over_seeds(10, program)


def test_nobody_listening_is_a_refusal() -> None:
    async def program(loop: SimLoop) -> None:
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "127.0.0.1", PORT)
        server = await loop.create_server(Recorder, "127.0.0.1", PORT)
        with pytest.raises(OSError, match="in use"):
            await loop.create_server(Recorder, "127.0.0.1", PORT)
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "127.0.0.1", PORT)
        await loop.create_server(Recorder, None, PORT)
        await loop.create_connection(Recorder, "127.0.0.1", PORT)

    over_seeds(10, program)


def test_a_connection_that_is_given_up_leaves_nothing_behind() -> None:
    async def program(loop: SimLoop) -> None:
        await loop.create_server(Recorder, "127.0.0.1", PORT)
        for delay in range(20):
            with pytest.raises(TimeoutError):  # noqa: PT012 - the timeout is what raises
                async with asyncio.timeout(delay / 10_000):
                    await loop.create_connection(Recorder, "127.0.0.1", PORT)
                    await asyncio.sleep(10)
        await asyncio.sleep(10)
        # Those that were established before the time was up are the test's own to close.
        assert all(not c.client.is_closing() for c in network_of(loop).connections)

    over_seeds(10, program)


def test_a_server_that_closes_keeps_its_connections_and_can_be_waited_for() -> None:
    async def program(loop: SimLoop) -> None:
        server = await loop.create_server(Recorder, "127.0.0.1", PORT)
        _, client = await loop.create_connection(Recorder, "127.0.0.1", PORT)
        await asyncio.sleep(1)
        server.close()
        assert not server.is_serving()
        closed = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(1)
        assert not closed.done()
        assert isinstance(client, Recorder)
        client.transport.close()
        await closed

    over_seeds(10, program)


def test_a_buffer_that_is_reused_before_its_delivery_is_found_out() -> None:
    async def program(loop: SimLoop) -> None:
        pair = await connected(loop)
        buffer = bytearray(b"precious bytes")
        pair.client.transport.writelines([b"head", memoryview(buffer)[:8]])
        buffer[:4] = b"junk"
        await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        simulate(program, seed=1)
    assert isinstance(caught.value.exceptions[0].__cause__, BufferReused)


def test_a_protocol_that_fails_loses_its_connection() -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError("on purpose")

    async def program(loop: SimLoop) -> list[str]:
        pair = await connected(loop, kind=Failing)
        pair.client.transport.write(b"x")
        await pair.client.lost
        assert loop.failures.pop()["exception"].args == ("on purpose",)  # type: ignore[attr-defined]
        return pair.client.events + pair.server.events

    assert simulate(program, seed=1) == ["made", "lost ConnectionResetError", "made", "lost ValueError"]


# Processes


def test_the_peers_of_a_killed_process_are_told_and_the_port_is_free_again() -> None:
    async def program(loop: SimLoop) -> tuple[int, str]:
        server_side: list[Recorder] = []

        def factory() -> Recorder:
            server_side.append(Recorder())
            return server_side[-1]

        async def serve() -> None:
            await loop.create_server(factory, "127.0.0.1", PORT)

        first = Process(loop, "first")
        await first.start(serve())
        _, client = await loop.create_connection(Recorder, "127.0.0.1", PORT)
        assert isinstance(client, Recorder)
        await asyncio.sleep(1)
        server_side[0].transport.write(b"x" * 1000)
        client.transport.write(b"never read")
        first.die()
        events = list(server_side[0].events)
        server_side[0].transport.write(b"from the grave")
        await client.lost
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "127.0.0.1", PORT)
        await Process(loop, "second").start(serve())
        await loop.create_connection(Recorder, "127.0.0.1", PORT)
        assert server_side[0].events == events
        assert bytes(client.received) == b"x" * len(client.received)
        return len(client.received), client.events[-1]

    outcomes = over_seeds(60, program)
    assert len({outcome[0] for outcome in outcomes}) > 10  # type: ignore[index]
    assert {outcome[1] for outcome in outcomes} >= {"lost ConnectionResetError"}  # type: ignore[index]


def test_after_a_power_cut_the_peers_notice_late() -> None:
    async def program(loop: SimLoop) -> float:
        machine = Process(loop, "machine")

        async def serve() -> None:
            await loop.create_server(Recorder, "127.0.0.1", PORT)

        await machine.start(serve())
        _, client = await loop.create_connection(Recorder, "127.0.0.1", PORT)
        assert isinstance(client, Recorder)
        await asyncio.sleep(1)
        machine.die(power_cut=True)
        cut_at = loop.time()
        client.transport.write(b"is anybody there?")
        assert isinstance(await client.lost, ConnectionResetError)
        return loop.time() - cut_at

    delays = over_seeds(30, program)
    assert min(delays) < 0.5  # type: ignore[type-var,operator]
    assert max(delays) > 1  # type: ignore[type-var,operator]


def test_protocols_run_in_the_process_of_their_maker() -> None:
    async def program(loop: SimLoop) -> None:
        owners: list[object] = []

        class Owned(Recorder):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                loop.call_soon(owners.append, self)

        server, client = Process(loop, "server"), Process(loop, "client")

        async def serve() -> None:
            await loop.create_server(Owned, "127.0.0.1", PORT)

        async def dial() -> None:
            await loop.create_connection(Owned, "127.0.0.1", PORT)
            await asyncio.sleep(1)

        await server.start(serve())
        await client.start(dial())
        assert [type(endpoint).__name__ for endpoint in server.belongings] == ["Listener", "Endpoint"]
        assert [type(endpoint).__name__ for endpoint in client.belongings] == ["Endpoint"]
        assert len(owners) == 2

    simulate(program, seed=1)


def test_a_client_that_is_killed_while_it_connects_leaves_nothing_behind() -> None:
    async def program(loop: SimLoop) -> None:
        await loop.create_server(Recorder, "127.0.0.1", PORT)
        for number in range(30):
            client = Process(loop, f"client {number}")
            client.start(loop.create_connection(Recorder, "127.0.0.1", PORT))
            await asyncio.sleep(number / 5_000)
            client.die()
        await asyncio.sleep(10)
        assert not network_of(loop).connections

    over_seeds(10, program)


def test_the_same_seed_gives_the_same_traffic() -> None:
    async def program(loop: SimLoop) -> str:
        network = network_of(loop)
        assert isinstance(network, SimNetwork)
        pair = await connected(loop)
        for number in range(50):
            pair.client.transport.write(b"x" * number)
            pair.server.transport.write(b"y" * number)
            await asyncio.sleep(network.random.random() / 1000)
        pair.client.transport.connection.drop()
        await pair.client.lost
        return loop.trace.digest()

    digests = [simulate(program, seed=3, debug=debug) for debug in (False, True)]
    assert digests[0] == digests[1]
    assert digests[0] != simulate(program, seed=4)
