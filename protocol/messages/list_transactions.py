"""ListTransactions (66): which transactional ids there are (KIP-664).

Flexible from the start. v1: duration_filter (KIP-994). v2: transactional_id_pattern (KIP-1152).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, error, int32, int64, int64_array, nullable_string, string, string_array


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTransactionsRequest:
    """Asks for the transactional ids that all filters let through."""

    state_filters: tuple[str, ...] = string_array()
    """None: any state."""
    producer_id_filters: tuple[int, ...] = int64_array()
    """None: any producer id."""
    duration_filter: int = int64(-1, versions="1+")
    """Open for longer than so many ms; negative: no matter how long."""
    transactional_id_pattern: str | None = nullable_string(nullable="2+", versions="2+")
    """A regular expression; null or empty: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionState:
    """A transactional id and the state of its transaction."""

    transactional_id: str = string()
    producer_id: int = int64()
    transaction_state: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTransactionsResponse:
    """The transactional ids that this broker coordinates."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    unknown_state_filters: tuple[str, ...] = string_array()
    """States asked for that do not exist."""
    transaction_states: tuple[TransactionState, ...] = array(TransactionState)
