"""DescribeCluster (60): the cluster's id, its controller and its brokers.

Flexible from the start. v1: endpoint_type (KIP-919). v2: fenced brokers (KIP-1073).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import array, boolean, error, int8, int32, nullable_string, string
from .metadata import OPERATIONS_UNKNOWN

ENDPOINT_BROKERS = 1
ENDPOINT_CONTROLLERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeClusterRequest:
    """Asks about the cluster."""

    include_cluster_authorized_operations: bool = boolean()
    endpoint_type: int = int8(ENDPOINT_BROKERS, versions="1+")
    include_fenced_brokers: bool = boolean(versions="2+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeClusterBroker:
    """A broker and the address at which the asking client finds it."""

    broker_id: int = int32()
    host: str = string()
    port: int = int32()
    rack: str | None = nullable_string()
    is_fenced: bool = boolean(versions="2+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeClusterResponse:
    """The cluster."""

    throttle_time_ms: int = int32()
    error_code: int = error()
    error_message: str | None = nullable_string()
    endpoint_type: int = int8(ENDPOINT_BROKERS, versions="1+")
    cluster_id: str = string()
    controller_id: int = int32(-1)
    brokers: tuple[DescribeClusterBroker, ...] = array(DescribeClusterBroker)
    cluster_authorized_operations: int = int32(OPERATIONS_UNKNOWN)
