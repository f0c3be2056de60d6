"""Crowds of sockets that mean no good, and what they cost the broker: for `tests/hostile` and `benchmarks`."""

import random
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

ASK_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""A whole request: version 0, no client id."""
PATIENCE_S = 60.0
GARBAGE_SIZE = 200


def produce_start(size: int) -> bytes:
    """The beginning of a Produce request that announces `size` bytes."""
    return struct.pack(">ihhih", size, 0, 7, 1, -1)


def resident_mib(pid: int) -> float:
    """The process's memory that is in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def sockets_allowed() -> int:
    """How many sockets this process may open, and a broker that it starts will let in, to be on the safe side."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return int(hard * 0.75) - 500


class Crowd:
    """Many connections to one broker."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._address = host, int(port)
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave()

    def grow(self, count: int, say: bytes = b"") -> None:
        """So many more, each of which says something at once."""
        for _ in range(count):
            one = socket.create_connection(self._address, PATIENCE_S)
            # So that the close is a reset, and leaves no port waiting.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if say:
                one.sendall(say)
            self.sockets.append(one)

    def say(self, words: bytes) -> None:
        """All of them, as far as the broker still takes it."""
        for one in self.sockets:
            one.setblocking(False)
            try:
                one.send(words)
            except OSError:
                pass

    def hear(self) -> None:
        """One whole answer each."""
        for one in self.sockets:
            size = struct.unpack(">i", _read(one, 4))[0]
            _read(one, size)

    def closed(self) -> int:
        """How many the broker has closed by now."""
        return sum(map(_is_closed, self.sockets))

    def leave(self) -> None:
        """All of them."""
        for one in self.sockets:
            one.close()
        self.sockets.clear()


def _is_closed(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def _read(one: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = one.recv(size - len(data))
        assert more, "closed by the broker"
        data += more
    return data


def garbage(rng: random.Random) -> bytes:
    """Bytes of several kinds of nonsense."""
    kinds = (
        rng.randbytes(GARBAGE_SIZE),
        struct.pack(">i", 50) + rng.randbytes(50),
        struct.pack(">ihhih", 14, rng.randrange(100), rng.randrange(20), 1, -1) + rng.randbytes(4),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + rng.randbytes(60),
        b"TIDE\x01" + struct.pack(">II", 40, 36) + rng.randbytes(36),
        struct.pack(">i", -1) + b"more",
    )
    return rng.choice(kinds)


@contextmanager
def attacking(address: str, *, slow: int, garbage_senders: int) -> Iterator[Crowd]:
    """Slow senders, who say a byte now and then, and garbage senders, who come again whenever they are sent away."""
    over = threading.Event()
    with Crowd(address) as dawdlers:
        dawdlers.grow(slow, ASK_API_VERSIONS[:4])
        threads = [
            threading.Thread(target=_dawdle, args=(dawdlers, over)),
            threading.Thread(target=_babble, args=(address, garbage_senders, over)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield dawdlers
        finally:
            over.set()
            for thread in threads:
                thread.join()


def _dawdle(crowd: Crowd, over: threading.Event) -> None:
    position = 4
    while not over.wait(1.0) and position < len(ASK_API_VERSIONS) - 1:
        crowd.say(ASK_API_VERSIONS[position : position + 1])
        position += 1


def _babble(address: str, count: int, over: threading.Event) -> None:
    rng = random.Random("babble")
    with Crowd(address) as crowd:
        while not over.is_set():
            try:
                crowd.grow(min(100, count - len(crowd.sockets)), garbage(rng))
            except OSError:
                pass  # the queue of those who want to connect is full: they come again
            if len(crowd.sockets) >= count:
                crowd.leave()
            over.wait(0.02)
