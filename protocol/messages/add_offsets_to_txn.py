"""AddOffsetsToTxn (25): the group whose offsets a transaction is going to commit (KIP-98).

v1 is like v0. v2: PRODUCER_FENCED may be answered. v3: flexible. v4: TRANSACTION_ABORTABLE may be answered (KIP-890).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import error, int16, int32, int64, string


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOffsetsToTxnRequest:
    """Adds a group's offsets to a transaction."""

    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    group_id: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOffsetsToTxnResponse:
    """Whether they were added."""

    throttle_time_ms: int = int32()
    error_code: int = error()
