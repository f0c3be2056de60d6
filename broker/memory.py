"""Memory that clients can make the broker hold, counted over all connections: requests on their way in, answers on
their way out.

Both are budgets, not pools: nothing is allocated here. A connection counts what it holds, asks before it takes more,
and waits its turn, first come first served, while there is none. Nothing is dropped for want of memory.

Requests. A large frame holds more memory the more of it has come in. Half-received frames could so come to hold the
whole budget among them and none of them ever be complete; therefore whoever waits first, when nobody else does so
already, may go beyond the limit until its frame is whole: the *overdraft*.

Large frames and small ones wait in two queues, each with an overdraft of its own, and some of the limit is for small
ones only: who claims a large frame and lets it trickle in takes time from other large ones, not from everybody. What
the broker holds is the limit, one large and one small frame at the most, and the few kilobytes that every connection
may have unasked.

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


RESERVE_RATIO = 4
"""What part of the request memory is for small frames only."""


class Grower(Protocol):
    """A connection with a frame that is not whole."""

    def memory_granted(self, size: int) -> None:
        """What was asked for is there, and counted."""


class _Queue:
    """Who waits for memory for frames of one kind."""

    __slots__ = ("limit", "overdraft", "overdrawn", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: dict[Grower, int] = {}
        self.overdrawn: Grower | None = None
        self.overdraft = 0
        """What the overdrawn one was given."""


class RequestMemory:
    """What requests hold: frames that are not whole, and requests that are not answered."""

    __slots__ = ("_large", "_small", "_was_pressed", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit if limit >= 0 else UNLIMITED
        self.used = 0
        self._small = _Queue(self.limit)
        self._large = _Queue(self.limit - self.limit // RESERVE_RATIO)
        self._was_pressed = False

    @property
    def is_exhausted(self) -> bool:
        """Nobody should begin anything that needs memory."""
        return self.used >= self.limit

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._small.waiting) + len(self._large.waiting)

    def count(self, size: int) -> None:
        """So much is held, whether there is room for it or not; less than 0: so much is not held any more."""
        self.used += size
        if size < 0:
            self._serve()

    def ask(self, grower: Grower, size: int, *, is_large: bool = False) -> bool:
        """Whether `grower` may hold so much more, which is then counted; else it is told when it may."""
        queue = self._large if is_large else self._small
        assert grower not in queue.waiting
        if grower is not queue.overdrawn and (queue.waiting or not self._has_room(queue, size)):
            if queue.waiting or queue.overdrawn is not None:
                queue.waiting[grower] = size
                return False
            queue.overdrawn = grower
        self._give(queue, grower, size)
        return True

    def finished(self, grower: Grower, freed: int = 0) -> None:
        """Its frame is whole, or will never be; what it held, or some of it, is `freed`."""
        # It leaves before others are served: it might be given what nobody would give back.
        for queue in (self._small, self._large):
            queue.waiting.pop(grower, None)
            if queue.overdrawn is grower:
                queue.overdrawn, queue.overdraft = None, 0
        self.used -= freed
        self._serve()

    def is_pressing(self) -> bool:
        """Asked at regular times: whether somebody waits, and did so the last time."""
        pressed, self._was_pressed = self._was_pressed, self.waiting > 0
        return pressed and self._was_pressed

    def _has_room(self, queue: _Queue, size: int) -> bool:
        # What the other queue's overdraft goes beyond the limit by is no fault of this one.
        other = self._large if queue is self._small else self._small
        return self.used - other.overdraft + size <= queue.limit

    def _give(self, queue: _Queue, grower: Grower, size: int) -> None:
        self.used += size
        if grower is queue.overdrawn:
            queue.overdraft += size

    def _serve(self) -> None:
        for queue in (self._small, self._large):
            while queue.waiting:
                grower, size = next(iter(queue.waiting.items()))
                if not self._has_room(queue, size):
                    if queue.overdrawn is not None:
                        break
                    queue.overdrawn = grower
                del queue.waiting[grower]
                self._give(queue, grower, size)
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

    def when_free(self, begin: Callable[[], None]) -> Callable[[], None] | None:
        """Make an answer now, or when there is room for it: then what is returned cancels it."""
        if self._waiting or self.used >= self.limit:
            self._waiting[begin] = None
            return lambda: self._forget(begin)
        begin()
        return None

    def is_pressing(self) -> bool:
        """Asked at regular times: whether somebody waits, and did so the last time."""
        pressed, self._was_pressed = self._was_pressed, bool(self._waiting)
        return pressed and self._was_pressed

    def _forget(self, begin: Callable[[], None]) -> None:
        self._waiting.pop(begin, None)

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
