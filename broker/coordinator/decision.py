"""Decision: what a coordinator's state machine wants to happen, said and not done.

A coordinator is a state machine on a partition of an internal topic. It is pure: it is told of a request or of a timer
and of the time, and answers with a `Decision`. `runtime` performs it: records are appended, given to the machine's
`apply` at once, and every reply leaves when the records are durable. At a start the same records go through the same
`apply`. So what a machine must remember is written in `apply` and nowhere else.

Rules for machines:

1. A decision *with* records has changed nothing yet: the records may turn out not to be writable. Then nobody hears of
   it but the waiter whose request it was, who is refused, and all is as it was before; timers are set in any case.
2. A decision *without* records may have changed what need not be remembered (who waits, when a session ends).
3. Whoever is refused without further ado is refused by raising `RequestRefused`; nothing has changed then.
4. Timers are named, and set anew by their name. They are not cancelled: one that has lost its meaning decides nothing.
   What is renewed all the time, as a session is by heartbeats, only moves its deadline; the timer, when it is due, sees
   that it came too early and sets itself anew.
5. What is answered, and which timers are set, may come out only when the records are applied: `apply` may add to the
   replies and timers of the decision that it carries out, which are read after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from ...protocol.errors import RequestRefused

R = TypeVar("R")


class Instant(NamedTuple):
    """A moment on two clocks."""

    now_ms: int
    """Milliseconds on a clock that never goes back: for whatever is waited for."""
    wall_ms: int
    """Milliseconds since 1970, which may jump: for what is remembered and shown."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as a group shows or heeds it."""

    client_id: str
    host: str
    """As Kafka shows it: "/127.0.0.1"."""
    version: int
    """Of the request."""


class Waiter(Protocol):
    """Who waits for the answer to a request. Machines keep it and pass it on in replies; they never call it."""

    def __call__(self, response: object) -> None:
        """The answer, once."""

    def refuse(self, error: RequestRefused) -> None:
        """An answer that says why there is none."""


class Reply(NamedTuple):
    """An answer, for when the decision's records are durable."""

    waiter: Waiter
    response: object


class TimerKey(NamedTuple):
    """The name of a timer."""

    group_id: str
    kind: str
    member_id: str = ""


class Timer(NamedTuple):
    """To be called back at a time on the clock `Instant.now_ms`; replaces the timer of that name."""

    key: TimerKey
    at_ms: int


@dataclass(frozen=True, slots=True)
class Decision(Generic[R]):
    """What a machine wants to happen; R is the type of its records."""

    records: Sequence[R] = ()
    """All of them are written, in one batch, or none."""
    replies: Sequence[Reply] = ()
    timers: Sequence[Timer] = ()


class UnreadableRecord(Exception):
    """A record of a kind that we know whose bytes are not what they should be."""


class UnwritableRecord(Exception):
    """A record that has no bytes: a string in it is longer than Kafka's format can say (32767)."""
