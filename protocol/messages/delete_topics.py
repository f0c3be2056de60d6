"""DeleteTopics (20).

v0, which Kafka 4 dropped, is served for old clients. v1: throttle_time_ms. v3: TOPIC_DELETION_DISABLED may be answered.
v4: flexible. v5: error messages. v6: `topics`, by name or id, instead of `topic_names`.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import array, error, int32, nullable_string, string_array, uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTopicState:
    """A topic by name, or by id with a null name."""

    name: str | None = nullable_string(nullable="6+", versions="6+")
    topic_id: UUID = uuid(versions="6+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTopicsRequest:
    """Deletes topics, each for itself."""

    topics: tuple[DeleteTopicState, ...] = array(DeleteTopicState, versions="6+")
    topic_names: tuple[str, ...] = string_array(versions="0-5")
    timeout_ms: int = int32()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletableTopicResult:
    """What became of one topic."""

    name: str | None = nullable_string("", nullable="6+")
    topic_id: UUID = uuid(versions="6+")
    error_code: int = error()
    error_message: str | None = nullable_string(nullable="5+", versions="5+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTopicsResponse:
    """What became of the topics."""

    throttle_time_ms: int = int32(versions="1+")
    responses: tuple[DeletableTopicResult, ...] = array(DeletableTopicResult)
