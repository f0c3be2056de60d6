"""CreateTopics (19).

v0 and v1, which Kafka 4 dropped, are served for old Go clients. v1: validate_only, error messages. v2:
throttle_time_ms. v4: partitions and replication factor may be -1 for the default (KIP-464). v5: flexible, answers with
the topic's configs (KIP-525). v6: THROTTLING_QUOTA_EXCEEDED may be answered. v7: answers with the topic id.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import (
    array,
    boolean,
    error,
    int8,
    int16,
    int32,
    int32_array,
    nullable_array,
    nullable_string,
    string,
    uuid,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatableReplicaAssignment:
    """On which brokers a partition should be."""

    partition_index: int = int32()
    broker_ids: tuple[int, ...] = int32_array()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatableTopicConfig:
    """A setting of the new topic."""

    name: str = string()
    value: str | None = nullable_string("")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatableTopic:
    """A topic to create."""

    name: str = string()
    num_partitions: int = int32()
    """-1: the broker's default, or as `assignments` say."""
    replication_factor: int = int16()
    """-1: the broker's default, or as `assignments` say."""
    assignments: tuple[CreatableReplicaAssignment, ...] = array(CreatableReplicaAssignment)
    configs: tuple[CreatableTopicConfig, ...] = array(CreatableTopicConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTopicsRequest:
    """Creates topics, each for itself."""

    topics: tuple[CreatableTopic, ...] = array(CreatableTopic)
    timeout_ms: int = int32(60000)
    validate_only: bool = boolean(versions="1+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatableTopicConfigs:
    """A setting that the new topic has."""

    name: str = string(versions="5+")
    value: str | None = nullable_string("", nullable="5+", versions="5+")
    read_only: bool = boolean(versions="5+")
    config_source: int = int8(-1, versions="5+")
    is_sensitive: bool = boolean(versions="5+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatableTopicResult:
    """What became of one topic."""

    name: str = string()
    topic_id: UUID = uuid(versions="7+")
    error_code: int = error()
    error_message: str | None = nullable_string("", nullable="0+", versions="1+")
    topic_config_error_code: int = error(versions="5+", tag=0)
    """Why `configs` is null."""
    num_partitions: int = int32(-1, versions="5+")
    replication_factor: int = int16(-1, versions="5+")
    configs: tuple[CreatableTopicConfigs, ...] | None = nullable_array(
        CreatableTopicConfigs, nullable="5+", versions="5+"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTopicsResponse:
    """What became of the topics."""

    throttle_time_ms: int = int32(versions="2+")
    topics: tuple[CreatableTopicResult, ...] = array(CreatableTopicResult)
