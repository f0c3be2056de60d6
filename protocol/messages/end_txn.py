"""EndTxn (26): commits a transaction or aborts it (KIP-98).

v1 is like v0. v2: PRODUCER_FENCED may be answered. v3: flexible. v4: TRANSACTION_ABORTABLE may be answered (KIP-890).
v5: every transaction has its own epoch, so the answer tells the next one (KIP-890).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import boolean, error, int16, int32, int64, string


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTxnRequest:
    """Ends a transaction."""

    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    committed: bool = boolean()
    """False: aborted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTxnResponse:
    """Whether it is decided, and under which id and epoch the next one runs."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    producer_id: int = int64(-1, versions="5+")
    producer_epoch: int = int16(-1, versions="5+")
