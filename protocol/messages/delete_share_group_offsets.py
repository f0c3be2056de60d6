"""DeleteShareGroupOffsets (92): forgets how far a share group without members has read in topics (KIP-932).

Flexible from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, error, int32, nullable_string, string, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteShareGroupOffsetsRequestTopic:
    """A topic to forget."""

    topic_name: str = string()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteShareGroupOffsetsRequest:
    """Deletes offsets."""

    group_id: str = string()
    topics: tuple[DeleteShareGroupOffsetsRequestTopic, ...] = array(DeleteShareGroupOffsetsRequestTopic)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteShareGroupOffsetsResponseTopic:
    """What became of a topic's offsets."""

    topic_name: str = string()
    topic_id: UUID = uuid()
    error_code: int = error()
    error_message: str | None = nullable_string()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteShareGroupOffsetsResponse:
    """What became of the offsets."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    responses: tuple[DeleteShareGroupOffsetsResponseTopic, ...] = array(DeleteShareGroupOffsetsResponseTopic)
