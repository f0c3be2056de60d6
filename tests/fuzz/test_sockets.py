"""Inputs at a real broker process, over real sockets: many at a time, an honest client beside them."""

import asyncio
import os
import random
from collections.abc import Iterator

from fuzz.generator import TOPICS, Palette
from fuzz.honest import HonestClient
from fuzz.inputs import Input, Inputs
from fuzz.play import memory_of
from support.process import BrokerProcess

IS_PROOF = os.environ.get("TIDELOG_PROOF") == "1"
SEED = int(os.environ.get("TIDELOG_SEED", "1"))
INPUTS = 500_000 if IS_PROOF else 20_000
ROUND = 1_000
WARM_UP = 4 * ROUND
AT_A_TIME = 32
PATIENCE_S = 5.0
"""How long an input is waited for before its client is gone without a word: long fetches are legal."""
LEFT_MAX = 0.01
MEMORY_GROWTH_MAX = 64 << 20


class SocketLine(asyncio.Protocol):
    """A connection to a real broker."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.is_gone = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self.heard += data

    def connection_lost(self, exc: Exception | None) -> None:
        """The broker has closed it."""
        self.is_gone = True

    def say(self, data: bytes) -> None:
        """Send."""
        assert self._transport is not None
        self._transport.write(data)


class Crowd:
    """Strangers who come through the front door."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._palette = Palette()
        self._inputs = Inputs(SEED, self._palette)
        self._rng = random.Random(SEED)
        self.answered = self.left = 0

    async def line(self) -> SocketLine:
        """For the honest client."""
        _, line = await asyncio.get_running_loop().create_connection(SocketLine, self._host, self._port)
        return line

    async def rounds(self, honest: HonestClient, count: int) -> None:
        """So many inputs, with fresh topics for each thousand, and the honest client at work all the while."""
        for _ in range(count // ROUND):
            await honest.delete_others()
            await honest.create(TOPICS, partitions=2)
            self._palette.topic_ids[:] = [topic.topic_id for topic in await honest.others()]
            group = [self._inputs.next() for _ in range(ROUND)]
            waiting = iter(group)
            visits = [asyncio.ensure_future(self._visits(waiting)) for _ in range(AT_A_TIME)]
            while not all(visit.done() for visit in visits):
                await honest.acknowledge(honest.send_record())
                await honest.consume()
            await asyncio.gather(*visits)

    async def _visits(self, waiting: Iterator[Input]) -> None:
        for entry in waiting:
            await self._visit(entry)

    async def _visit(self, entry: Input) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            async with asyncio.timeout(PATIENCE_S):
                for piece in entry.pieces():
                    writer.write(piece)
                    await writer.drain()
                writer.write_eof()
                heard = await reader.read()
            self.answered += bool(heard)
        except TimeoutError:
            self.left += 1
        except OSError:
            # It was sent away while it was still talking.
            pass
        finally:
            writer.transport.abort()


async def test_no_bytes_from_a_socket_hurt_the_broker_or_an_honest_client(broker: BrokerProcess) -> None:
    """A14 on a real process: the `broker` fixture looks for a traceback in its log."""
    crowd = Crowd(broker.server)
    line = await crowd.line()
    honest = HonestClient(lambda: line)
    await honest.create_own()
    await crowd.rounds(honest, WARM_UP)
    before = memory_of(broker.pid)
    await crowd.rounds(honest, INPUTS - WARM_UP)
    assert memory_of(broker.pid) - before < MEMORY_GROWTH_MAX
    assert len(honest.acknowledged) >= INPUTS / ROUND
    assert crowd.answered >= INPUTS / 3
    assert crowd.left <= INPUTS * LEFT_MAX
    assert " ERROR " not in broker.log_text()

    broker.restart()
    line = await crowd.line()
    honest.reconnect()
    await honest.consume_again()
