"""InitProducerId (22): gives a producer the id and the epoch under which it numbers its batches (KIP-98).

v1 is like v0. v2: flexible. v3: a producer may name the id it has, to have its epoch raised instead of beginning anew
(KIP-360). v4: PRODUCER_FENCED may be answered. v5: TRANSACTION_ABORTABLE may be answered (KIP-890). v6, two-phase
commit (KIP-939), is unfinished in Kafka and not spoken here.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import error, int16, int32, int64, nullable_string


@dataclass(frozen=True, slots=True, kw_only=True)
class InitProducerIdRequest:
    """Asks for a producer id."""

    transactional_id: str | None = nullable_string("")
    """Null: the producer is idempotent, not transactional."""
    transaction_timeout_ms: int = int32()
    """How long a transaction may stay open; nothing without a transactional id."""
    producer_id: int = int64(-1, versions="3+")
    """The id the producer has; -1 for none."""
    producer_epoch: int = int16(-1, versions="3+")


@dataclass(frozen=True, slots=True, kw_only=True)
class InitProducerIdResponse:
    """The id and its epoch."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    producer_id: int = int64(-1)
    producer_epoch: int = int16()
