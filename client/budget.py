"""A client's memory budget: bytes of records that were sent and are not settled yet.

Whoever waits is served in the order of asking, and nobody overtakes: a small record does not slip past a large one,
so that records of one task keep their order. Cancel-safe: room that was granted to a task which was cancelled in the
same moment is given back.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """So many bytes, and the queue of those who wait for some of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def short(self) -> bool:
        """Somebody waits for room: what can be sent should be sent now."""
        return bool(self._waiting)

    def try_take(self, size: int) -> bool:
        """Take `size` bytes if they are free and nobody waits before us."""
        if self._waiting or self.used + size > self.limit:
            return False
        self.used += size
        return True

    async def take(self, size: int) -> None:
        """Take `size` bytes, waiting for them; `size` must not exceed the limit."""
        assert size <= self.limit, "this would wait for ever"
        if self.try_take(size):
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self.give(size)
            else:
                self._serve()  # the one behind may fit where this one did not
            raise

    def give(self, size: int) -> None:
        """Give back `size` bytes."""
        self.used -= size
        assert self.used >= 0, "more given back than taken"
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            size, granted = self._waiting[0]
            if granted.done():
                self._waiting.popleft()
                continue
            if self.used + size > self.limit:
                return
            self._waiting.popleft()
            self.used += size
            granted.set_result(None)
