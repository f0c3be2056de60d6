"""A request on its way through the broker: who asks, and an answer that may still have to come.

`Pending` is the whole mechanism of waiting (house rule: no task, future or await on produce, fetch and acknowledge).
A handler that cannot answer yet returns one; whoever has the answer calls it, once; the connection learns of it
through the callback it attached. When the connection dies first, it abandons the `Pending`, and the owner of the wait
forgets it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from ..protocol.wire import RequestHeader

R = TypeVar("R")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port that a client can dial."""

    host: str
    port: int


class Requester(Protocol):
    """The connection, as far as a handler may know it."""

    peer: str
    listener: str
    software: str
    """What it says it is, and in which version (KIP-511); empty if it has not said."""

    @property
    def advertised(self) -> Address:
        """What Metadata tells this client to dial: the listener's advertised address, else the one it dialled."""

    def close(self, reason: str) -> None:
        """End the connection: the only answer an acks=0 producer can get."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request's circumstances."""

    header: RequestHeader
    requester: Requester

    @property
    def version(self) -> int:
        """The version of the message as asked; the newest one on the tide wire."""
        return self.header.version


class NoResponse:
    """What a handler returns when the protocol knows no answer (Produce with acks=0)."""


NO_RESPONSE = NoResponse()


class Pending(Generic[R]):
    """An answer that is not there yet."""

    __slots__ = ("_abandoned", "_listener", "_on_abandon", "_on_failure", "_on_hurry", "_response", "holds_connection")

    def __init__(
        self,
        *,
        holds_connection: bool = True,
        on_abandon: Callable[[], None] | None = None,
        on_hurry: Callable[[], None] | None = None,
    ) -> None:
        self.holds_connection = holds_connection
        """No further request of this connection is handled meanwhile. Kafka does so for each; here a Produce lets other
        Produces pass, for their order is settled when they are staged."""
        self._on_abandon = on_abandon
        self._on_hurry = on_hurry
        self._listener: Callable[[R], None] | None = None
        self._on_failure: Callable[[], None] | None = None
        self._response: R | None = None
        self._abandoned = False

    def __call__(self, response: R) -> None:
        """Complete it. Called once; after `abandon` it does nothing."""
        if self._abandoned:
            return
        assert self._response is None, "a pending answer was given twice"
        self._response = response
        self._on_abandon = self._on_hurry = None
        if self._listener is not None:
            self._listener(response)

    @property
    def response(self) -> R | None:
        """The answer; None while it is not there."""
        return self._response

    def fail(self) -> bool:
        """There will be no answer, for making it raised what is being handled; false if nobody wants to know."""
        if self._on_failure is None or self._response is not None or self._abandoned:
            return False
        self._abandoned = True
        self._on_abandon = self._on_hurry = self._listener = None
        self._on_failure()
        return True

    def attach(self, listener: Callable[[R], None], on_failure: Callable[[], None] | None = None) -> None:
        """Be told of the answer, at once if it is already there; or that there will be none."""
        self._listener = listener
        self._on_failure = on_failure
        if self._response is not None:
            listener(self._response)

    def abandon(self) -> None:
        """Nobody waits any more."""
        if self._response is not None or self._abandoned:
            return
        self._abandoned = True
        self._listener = None
        if self._on_abandon is not None:
            self._on_abandon()
            self._on_abandon = self._on_hurry = None

    def hurry(self) -> None:
        """Whoever could answer now, and waits only for a better answer, shall wait no longer."""
        if self._on_hurry is not None:
            self._on_hurry()


def gather(parts: Sequence[Pending[R] | R], answer: Callable[[tuple[R, ...]], A]) -> Pending[A] | A:
    """One answer made of several, in their order; there when all of them are."""
    ready: dict[int, R] = {}
    waiting: dict[int, Pending[R]] = {}
    for position, part in enumerate(parts):
        if not isinstance(part, Pending):
            ready[position] = part
        elif part.response is not None:
            ready[position] = part.response
        else:
            waiting[position] = part

    def result() -> A:
        return answer(tuple(ready[position] for position in range(len(parts))))

    if not waiting:
        return result()

    def abandon() -> None:
        for part in waiting.values():
            part.abandon()

    def hurry() -> None:
        for part in list(waiting.values()):
            part.hurry()

    whole: Pending[A] = Pending(on_abandon=abandon, on_hurry=hurry)

    def take(position: int, response: R) -> None:
        ready[position] = response
        del waiting[position]
        if not waiting:
            whole(result())

    def fail() -> None:
        whole.fail()

    for position, part in list(waiting.items()):
        part.attach(partial(take, position), fail)
    return whole
