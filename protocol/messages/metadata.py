"""Metadata (3): which brokers there are, and who leads the partitions of which topic.

v0: an empty list of topics means all of them; from v1 on null does, and an empty list means none. v1: rack, controller,
internal topics. v2: cluster id. v3: throttle_time_ms. v4: allow_auto_topic_creation. v5: offline replicas. v7: leader
epoch. v8: authorised operations. v9: flexible. v10: topic ids. v11: cluster operations moved to DescribeCluster.
v12: topics may be asked for by id. v13: top-level error (KIP-1102).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ..fields import (
    array,
    boolean,
    error,
    int32,
    int32_array,
    nullable_array,
    nullable_string,
    string,
    uuid,
)

OPERATIONS_UNKNOWN = -(1 << 31)
"""The authorised operations when nobody asked for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataRequestTopic:
    """A topic by name, or (v12+) by id."""

    topic_id: UUID = uuid(versions="10+")
    name: str | None = nullable_string("", nullable="10+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataRequest:
    """Asks about some topics, or about all of them."""

    topics: tuple[MetadataRequestTopic, ...] | None = nullable_array(MetadataRequestTopic, nullable="1+")
    allow_auto_topic_creation: bool = boolean(True, versions="4+")
    include_cluster_authorized_operations: bool = boolean(versions="8-10")
    include_topic_authorized_operations: bool = boolean(versions="8+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataResponseBroker:
    """A broker and the address at which the asking client finds it."""

    node_id: int = int32()
    host: str = string()
    port: int = int32()
    rack: str | None = nullable_string(nullable="1+", versions="1+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataResponsePartition:
    """A partition and its leader."""

    error_code: int = error()
    partition_index: int = int32()
    leader_id: int = int32()
    leader_epoch: int = int32(-1, versions="7+")
    replica_nodes: tuple[int, ...] = int32_array()
    isr_nodes: tuple[int, ...] = int32_array()
    offline_replicas: tuple[int, ...] = int32_array(versions="5+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataResponseTopic:
    """A topic; its name is null only if an unknown id was asked for."""

    error_code: int = error()
    name: str | None = nullable_string("", nullable="12+")
    topic_id: UUID = uuid(versions="10+")
    is_internal: bool = boolean(versions="1+")
    partitions: tuple[MetadataResponsePartition, ...] = array(MetadataResponsePartition)
    topic_authorized_operations: int = int32(OPERATIONS_UNKNOWN, versions="8+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataResponse:
    """The brokers and the topics asked for."""

    throttle_time_ms: int = int32(versions="3+")
    brokers: tuple[MetadataResponseBroker, ...] = array(MetadataResponseBroker)
    cluster_id: str | None = nullable_string(nullable="2+", versions="2+")
    controller_id: int = int32(-1, versions="1+")
    topics: tuple[MetadataResponseTopic, ...] = array(MetadataResponseTopic)
    cluster_authorized_operations: int = int32(OPERATIONS_UNKNOWN, versions="8-10")
    error_code: int = error(versions="13+")
