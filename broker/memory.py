"""Memory that clients can make the broker hold, counted over all connections: requests on their way in, answers on
their way out.

Both are budgets, not pools: nothing is allocated here. A connection counts what it holds, asks before it takes more,
and waits its turn, first come first served, while there is none. Nothing is dropped for want of memory.

Requests. A large frame holds more memory the more of it has come in. Half-received frames could so come to hold the
whole budget among them and none of them ever be complete; therefore whoever waits first, when nobody else does so
already, may go beyond the limit until its frame is whole: the *overdraft*. What the broker holds is the limit and one
frame at the most, and the few kilobytes that every connection may have unasked.

Answers. One that may be large is not begun while the budget is used up, and gets no larger than what is left of it:
what is held is the limit and one record batch at the most, for a reader is given one whole batch in any case. While
others wait it gets a small share, so that many are served and not the first who asks for everything.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

UNLIMITED = 1 << 62
SHARES = 32
"""Into how many the response memory is divided while somebody waits for it."""


class Grower(Protocol):
    """A connection with a frame that is not whole."""

    def memory_granted(self, size: int) -> None:
        """What was asked for is there, and counted."""


class RequestMemory:
    """What requests hold: frames that are not whole, and requests that are not answered."""

    __slots__ = ("_overdrawn", "_waiting", "_was_pressed", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit if limit >= 0 else UNLIMITED
        self.used = 0
        self._waiting: dict[Grower, int] = {}
        self._overdrawn: Grower | None = None
        self._was_pressed = False

    @property
    def is_exhausted(self) -> bool:
        """Nobody should begin anything that needs memory."""
        return self.used >= self.limit

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def count(self, size: int) -> None:
        """So much is held, whether there is room for it or not; less than 0: so much is not held any more."""
        self.used += size
        if size < 0 and self._waiting:
            self._serve()

    def ask(self, grower: Grower, size: int) -> bool:
        """Whether `grower` may hold so much more, which is then counted; else it is told when it may."""
        assert grower not in self._waiting
        if grower is not self._overdrawn and (self._waiting or self.used + size > self.limit):
            if self._waiting or self._overdrawn is not None:
                self._waiting[grower] = size
                return False
            self._overdrawn = grower
        self.used += size
        return True

    def finished(self, grower: Grower) -> None:
        """Its frame is whole, or will never be."""
        self._waiting.pop(grower, None)
        if self._overdrawn is grower:
            self._overdrawn = None
        if self._waiting:
            self._serve()

    def is_pressing(self) -> bool:
        """Asked at regular times: whether somebody waits, and did so the last time."""
        pressed, self._was_pressed = self._was_pressed, bool(self._waiting)
        return pressed and self._was_pressed

    def _serve(self) -> None:
        while self._waiting:
            grower, size = next(iter(self._waiting.items()))
            if self.used + size > self.limit:
                if self._overdrawn is not None:
                    return
                self._overdrawn = grower
            del self._waiting[grower]
            self.used += size
            grower.memory_granted(size)


class ResponseMemory:
    """What answers hold that are made and not taken."""

    __slots__ = ("_serving", "_waiting", "_was_pressed", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit if limit >= 0 else UNLIMITED
        self.used = 0
        self._waiting: dict[Callable[[], None], None] = {}
        self._was_pressed = False
        self._serving = False

    @property
    def is_exhausted(self) -> bool:
        """No answer that may be large should be begun."""
        return self.used >= self.limit

    @property
    def answer_size_max(self) -> int:
        """How large the next answer may be."""
        return max(0, min(self.limit - self.used, self.limit // SHARES if self._waiting else self.limit))

    @property
    def waiting(self) -> int:
        """How many answers wait to be begun."""
        return len(self._waiting)

    def count(self, size: int) -> None:
        """So much is held; less than 0: so much is not held any more."""
        self.used += size
        if size < 0 and self._waiting:
            self._schedule()

    def when_free(self, begin: Callable[[], None]) -> None:
        """Make an answer now, or when there is room for it."""
        if self._waiting or self.used >= self.limit:
            self._waiting[begin] = None
        else:
            begin()

    def is_pressing(self) -> bool:
        """Asked at regular times: whether somebody waits, and did so the last time."""
        pressed, self._was_pressed = self._was_pressed, bool(self._waiting)
        return pressed and self._was_pressed

    def _schedule(self) -> None:
        if not self._serving and self.used < self.limit:
            self._serving = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        """One at a time: each is counted before the next, and the loop is not held up for all of them."""
        self._serving = False
        if self._waiting and self.used < self.limit:
            begin = next(iter(self._waiting))
            del self._waiting[begin]
            begin()
            if self._waiting:
                self._schedule()
