"""Deadlines: how long a client may take to ask something, to finish asking, and to take its answer.

Pure: time arrives. All connections are looked at in *rounds*, about two a second, so that ten thousand of them need no
timer each. A round that comes late judges nobody: what came in meanwhile has not been read yet, which is our own fault.

While others wait for memory, whoever holds some of it must be quick about it, or make room. Only the time in which they
wait counts, and it counts by seconds, not by rounds: the kernel takes bytes from us, and gives us some, in gusts.
"""

from dataclasses import dataclass
from typing import Final

RATE_MIN: Final = 1 << 10
"""Bytes a second that a request must come in at."""
RATE_MIN_WHEN_SCARCE: Final = 64 << 10
"""Bytes a second that a request must come in at, or an answer be taken at, while others wait for memory."""
SCARCE_WINDOW_S: Final = 5.0
"""Over how long that is measured."""
OWED_MAX: Final = RATE_MIN_WHEN_SCARCE * SCARCE_WINDOW_S
RATE_MIN_OVER_ALL_WHEN_SCARCE: Final = 1 << 20
SCARCE_GRACE_S: Final = 10.0
"""Bytes a second that a whole request must come in at, but for so many seconds, while others wait for memory: else one
could claim much and be given it, and all the others would have to wait for its trickle."""

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


def still_owed(owed: float, round_: Round, moved: int) -> float:
    """Bytes that should have moved while others waited, and have not: a bucket that time fills and bytes empty."""
    # Whoever was faster may be slower, for as long as the window is.
    return max(-OWED_MAX, owed + RATE_MIN_WHEN_SCARCE * round_.elapsed_s - moved)


class SenderClock:
    """How a client sends its requests."""

    __slots__ = ("_held_before", "_is_new", "_mark", "_owed", "_pressed_s", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        """From when the request that is being sent is judged; 0 when there is none."""
        self._is_new = True
        self._mark = 0
        self._held_before = -1
        """At the round before; -1 if that was before `since`."""
        self._pressed_s = 0.0
        """For how long others have waited for the memory that this request holds."""
        self._owed = 0.0

    def began(self, now: float, held: int) -> None:
        """A request came in part; or we read on, having paused. `held` bytes of it are there."""
        self.since = now
        self._mark = held
        self._held_before = -1

    def finished(self) -> None:
        """A request came whole."""
        self.since = 0.0
        self._is_new = False
        self._pressed_s = 0.0
        self._owed = 0.0

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
        if round_.requests_press and holds_memory and before >= 0:
            self._pressed_s += round_.elapsed_s
            self._owed = still_owed(self._owed, round_, held - before)
            allowed_s = SCARCE_GRACE_S + held / RATE_MIN_OVER_ALL_WHEN_SCARCE
            if self._owed > OWED_MAX or self._pressed_s > allowed_s:
                return MEMORY_NEEDED
        return ""


class ReaderClock:
    """How a client takes its answers; there is one while some bytes of them are left."""

    __slots__ = ("_is_seen", "_left", "_owed", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        """When it last was seen to have taken something."""
        self._left = 0
        self._is_seen = False
        self._owed = 0.0

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
            self.since = round_.now
        elif round_.now - self.since > round_.send_s:
            return ANSWERS_NOT_TAKEN
        is_asked_to_hurry = seen and (round_.responses_press or (round_.requests_press and holds_memory))
        if is_asked_to_hurry:
            self._owed = still_owed(self._owed, round_, taken)
            if self._owed > OWED_MAX:
                return MEMORY_NEEDED
        return ""
