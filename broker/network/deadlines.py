"""Deadlines: how long a client may take to ask something, to finish asking, and to take its answer.

Pure: time arrives. All connections are looked at in *rounds*, about two a second, so that ten thousand of them need no
timer each. A round that comes late judges nobody: what came in meanwhile has not been read yet, which is our own fault.

While others wait for memory, whoever holds some of it must be quick about it, or make room.
"""

from dataclasses import dataclass
from typing import Final

RATE_MIN: Final = 1 << 10
"""Bytes a second that a request must come in at."""
RATE_MIN_WHEN_SCARCE: Final = 64 << 10
"""Bytes a second that a request must come in at, or an answer be taken at, while others wait for memory."""

NO_REQUEST = "no request"
SLOW_REQUEST = "slow request"
ANSWERS_NOT_TAKEN = "answers not taken"
MEMORY_NEEDED = "memory needed"
IDLE = "idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One look at all connections; times are the loop's, in seconds."""

    now: float
    elapsed_s: float
    """Since the round before."""
    handshake_s: float
    frame_s: float
    send_s: float
    idle_s: float
    requests_press: bool
    """Somebody has waited for request memory since the round before."""
    responses_press: bool
    """Somebody has waited for response memory since the round before."""


class SenderClock:
    """How a client sends its requests."""

    __slots__ = ("_held_before", "_is_new", "_mark", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        """From when the request that is being sent is judged; 0 when there is none."""
        self._is_new = True
        self._mark = 0
        self._held_before = -1
        """At the round before; -1 if that was before `since`."""

    def began(self, now: float, held: int) -> None:
        """A request came in part; or we read on, having paused. `held` bytes of it are there."""
        self.since = now
        self._mark = held
        self._held_before = -1

    def finished(self) -> None:
        """A request came whole."""
        self.since = 0.0
        self._is_new = False

    def judge(self, round_: Round, held: int, *, holds_memory: bool) -> str:
        """Why the connection must end; empty if it may go on."""
        if not self.since:
            return ""
        took = round_.now - self.since
        if self._is_new and took > round_.handshake_s:
            return NO_REQUEST
        if held and took > round_.frame_s:
            if held - self._mark < RATE_MIN * took:
                return SLOW_REQUEST
            # By stretches, or whoever begins fast could be as slow as he likes for hours.
            if not self._is_new:
                self.began(round_.now, held)
        before, self._held_before = self._held_before, held
        is_asked_to_hurry = round_.requests_press and holds_memory and before >= 0
        if is_asked_to_hurry and held - before < RATE_MIN_WHEN_SCARCE * round_.elapsed_s:
            return MEMORY_NEEDED
        return ""


class ReaderClock:
    """How a client takes its answers; there is one while some bytes of them are left."""

    __slots__ = ("_is_seen", "_left", "_since")

    def __init__(self, now: float) -> None:
        self._since = now
        self._left = 0
        self._is_seen = False

    def wrote(self, size: int) -> None:
        """More was written, and not taken at once."""
        self._left += size

    def judge(self, round_: Round, left: int, *, holds_memory: bool) -> str:
        """Why the connection must end; empty if it may go on. `left` bytes are not taken.

        As long as it takes no answers nothing is read from it, so what it holds of request memory hangs on that, too.
        """
        taken, self._left = self._left - left, left
        seen, self._is_seen = self._is_seen, True
        if taken > 0:
            self._since = round_.now
        elif round_.now - self._since > round_.send_s:
            return ANSWERS_NOT_TAKEN
        is_asked_to_hurry = seen and (round_.responses_press or (round_.requests_press and holds_memory))
        if is_asked_to_hurry and taken < RATE_MIN_WHEN_SCARCE * round_.elapsed_s:
            return MEMORY_NEEDED
        return ""
