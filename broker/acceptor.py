"""Acceptor: lets connections in at listening sockets, and waits a moment when the process can open no more files.

The event loops' own servers do worse then: uvloop's accepts whoever waits and hangs up without a word, asyncio's writes
a traceback each time. Here those who wait stay in the kernel's queue, and are let in when a descriptor is free. The
last ones are not for connections at all: a log that cannot open a file refuses records.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

PAUSE_S: Final = 0.2
ARRIVING_MAX: Final = 16
"""So many may stand on the doorstep: each holds a descriptor, though it may be refused for want of them."""
KEPT_MAX: Final = 64
KEPT_PARTS: Final = 16
"""A sixteenth of the descriptors is kept for files, but no more than that many."""
LET_GO: Final = (BlockingIOError, InterruptedError, ConnectionAbortedError)
"""What only says that nobody waits, or does so no longer."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What passes."""


class Acceptor:
    """Gives each connection a protocol. Made, used and closed in a running loop; it owns the sockets."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], asyncio.BaseProtocol],
        *,
        descriptors_max: int,
    ) -> None:
        """`sockets` are bound, and never block; `descriptors_max`: what the process may have open."""
        self.sockets = tuple(sockets)
        self.on_pause: Callable[[OSError], None] = _ignore
        """Told when it begins to wait, and why; not again before somebody was let in."""
        self._factory = factory
        self._descriptors_max = descriptors_max - min(KEPT_MAX, descriptors_max // KEPT_PARTS)
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._is_closed = self._is_exhausted = False

    def start(self, backlog: int) -> None:
        """Accept from now on; so many may wait in the kernel's queue."""
        for listening in self.sockets:
            listening.listen(backlog)
            self._loop.add_reader(listening, self._accept, listening)

    def close(self) -> None:
        """Accept nobody any more. Those that are in stay, and those on the doorstep still come in.

        To cancel their arrival would, under uvloop, leave transports behind that never report their end.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for timer in self._pauses.values():
            timer.cancel()
        for listening in self.sockets:
            self._loop.remove_reader(listening)
            listening.close()

    async def wait_closed(self) -> None:
        """Until those on the doorstep are gone, too."""
        if self._arriving:
            await asyncio.wait(self._arriving)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ARRIVING_MAX - len(self._arriving)):
            try:
                self._check_descriptors(listening)
                accepted, _ = listening.accept()
            except LET_GO:
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._pause(listening, error)
                return
            self._is_exhausted = False
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._let_in(accepted))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    def _check_descriptors(self, listening: socket.socket) -> None:
        """Raises OSError(EMFILE) when too few are left. The kernel gives out the lowest number that is free."""
        lowest_free = os.dup(listening.fileno())
        os.close(lowest_free)
        if lowest_free >= self._descriptors_max:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def _let_in(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, accepted)
        except OSError:
            accepted.close()  # it went before it was quite here
        except BaseException:
            accepted.close()
            raise

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        self._loop.remove_reader(listening)
        self._pauses[listening] = self._loop.call_later(PAUSE_S, partial(self._resume, listening))
        if not self._is_exhausted:
            self._is_exhausted = True
            self.on_pause(error)

    def _resume(self, listening: socket.socket) -> None:
        del self._pauses[listening]
        self._loop.add_reader(listening, self._accept, listening)
        self._accept(listening)


def _ignore(error: OSError) -> None:
    pass
