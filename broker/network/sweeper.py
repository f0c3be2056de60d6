"""Sweeper: one look at all connections every now and then, by which deadlines are kept. See `deadlines.py`."""

from collections.abc import Sequence

from ..config import BrokerConfig
from .commons import Commons
from .deadlines import Round
from .listener import Listener

ROUND_S_MIN, ROUND_S_MAX = 0.1, 0.5
ROUNDS_PER_DEADLINE = 10
LATE = 2.0
"""How many times longer than due a round may have taken to come before it judges nobody."""


def round_s(config: BrokerConfig) -> float:
    """How often to sweep, so that no deadline is missed by much."""
    deadlines_ms = (
        config.connections_max_idle_ms,
        config.connections_handshake_timeout_ms,
        config.connections_frame_timeout_ms,
        config.connections_send_timeout_ms,
    )
    return min(ROUND_S_MAX, max(ROUND_S_MIN, min(deadlines_ms) / 1000 / ROUNDS_PER_DEADLINE))


class Sweeper:
    """Of all listeners."""

    def __init__(self, listeners: Sequence[Listener], commons: Commons, *, interval_s: float) -> None:
        self._listeners = listeners
        self._commons = commons
        self._interval_s = interval_s
        self._last = 0.0
        self._was_late = False

    def sweep(self, *, now: float) -> None:
        """Close whoever must go. `now` is the loop's time."""
        elapsed_s = now - self._last if self._last else self._interval_s
        self._last = now
        commons, config = self._commons, self._commons.config
        requests_press, responses_press = commons.requests.is_pressing(), commons.responses.is_pressing()
        # Not twice in a row, or a broker that is always late would judge nobody ever.
        self._was_late = elapsed_s > LATE * self._interval_s and not self._was_late
        if not self._was_late:
            round_ = Round(
                now=now,
                elapsed_s=elapsed_s,
                handshake_s=config.connections_handshake_timeout_ms / 1000,
                frame_s=config.connections_frame_timeout_ms / 1000,
                send_s=config.connections_send_timeout_ms / 1000,
                idle_s=config.connections_max_idle_ms / 1000,
                requests_press=requests_press,
                responses_press=responses_press,
            )
            for listener in self._listeners:
                listener.judge(round_)
        commons.log.flush()
