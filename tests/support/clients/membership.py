"""The thread in which a member of a group reads on.

A member has to go on reading, or it is taken for dead and holds up the others; a test does one thing after the other.
So each member reads in the background into an inbox, and the test takes out of it. What a member has read and what a
test has taken are two things: tests commit what they have taken, by its offset.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from .model import PATIENCE_S, ClientFailed, Member, Place, Read

Answer = TypeVar("Answer")

SESSION_MS = 30_000
"""So long that on a busy machine nobody is taken for dead."""
HEARTBEAT_MS = 300
POLL_S = 0.05
IDLE_S = 0.5
"""How long to wait for what may not come."""
METADATA_AGE_MS = 500
"""How soon a member notices new topics."""


class Inbox:
    """What a member was given: by the thread that reads, to the one that tests."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._read: list[Read] = []
        self._changes: list[frozenset[Place]] = []
        self._failure: BaseException | None = None

    def put(self, records: list[Read]) -> None:
        """They were read."""
        with self._changed:
            self._read += records
            self._changed.notify_all()

    def hold(self, places: frozenset[Place]) -> None:
        """The member holds these now."""
        with self._changed:
            self._changes.append(places)
            self._changed.notify_all()

    def fail(self, failure: BaseException) -> None:
        """Nothing will come any more."""
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def forget(self, place: Place) -> None:
        """Drop what was read of it."""
        with self._changed:
            self._read = [one for one in self._read if (one.topic, one.partition) != place]

    def take(self, count: int) -> list[Read]:
        """So many, when they are there."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._read) >= count or self._failure is not None, PATIENCE_S)
            if self._failure is not None:
                raise self._failure
            if len(self._read) < count:
                raise ClientFailed(f"nothing more came after {len(self._read)} of {count} records")
            taken, self._read = self._read[:count], self._read[count:]
            return taken

    def take_all(self) -> list[Read]:
        """Whatever is there."""
        with self._changed:
            taken, self._read = self._read, []
            return taken

    def changes(self) -> list[frozenset[Place]]:
        """All of them."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            return list(self._changes)


class ThreadedMember(Member):
    """A member whose client wants to be polled: a thread polls it, and does between two polls what the test wants."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self._wanted: queue.Queue[tuple[Callable[[], object], Future[object]]] = queue.Queue()
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def poll(self) -> list[Read]:
        """Ask the client once."""
        raise NotImplementedError

    def leave(self) -> None:
        """Close the client."""
        raise NotImplementedError

    def do(self, call: Callable[[], Answer]) -> Answer:
        """Between two polls."""
        future: Future[object] = Future()
        self._wanted.put((call, future))
        return future.result(PATIENCE_S)  # type: ignore[return-value]

    def read(self, count: int) -> list[Read]:
        """Out of the inbox."""
        return self.inbox.take(count)

    def idle(self) -> list[Read]:
        """Out of the inbox, after a while."""
        time.sleep(IDLE_S)
        return self.inbox.take_all()

    def assigned(self) -> frozenset[Place]:
        """The last change."""
        return (self.changes() or [frozenset()])[-1]

    def changes(self) -> list[frozenset[Place]]:
        """All of them."""
        return self.inbox.changes()

    def close(self) -> None:
        """End the thread, which closes the client."""
        if not self._ended:
            self._ended = True
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive(), "the client does not end"

    def _run(self) -> None:
        try:
            while not self._ended:
                self.inbox.put(self.poll())
                self._do_what_is_wanted()
            self._do_what_is_wanted()
            self.leave()
        except BaseException as failure:  # noqa: BLE001 - the test gets it
            self.inbox.fail(failure)

    def _do_what_is_wanted(self) -> None:
        while not self._wanted.empty():
            call, future = self._wanted.get()
            try:
                future.set_result(call())
            except BaseException as failure:  # noqa: BLE001 - the test gets it
                future.set_exception(failure)


def eventually(what: str, is_so: Callable[[], bool]) -> None:
    """Wait for it, with patience."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise ClientFailed(f"never came: {what}")
        time.sleep(POLL_S)
