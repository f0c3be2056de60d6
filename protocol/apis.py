"""The table of APIs: key, name, messages, versions. An API is added by one row here and one file of messages.

`versions` is what is served. `advertised_min` may be lower: Produce 0-2 are advertised though refused, because older
librdkafka switches compression off when the range does not begin at 0 (KAFKA-18659).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from .fields import VersionRange
from .messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from .messages.create_topics import CreateTopicsRequest, CreateTopicsResponse
from .messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from .messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from .messages.fetch import FetchRequest, FetchResponse
from .messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse
from .messages.metadata import MetadataRequest, MetadataResponse
from .messages.produce import ProduceRequest, ProduceResponse


class ApiKey(IntEnum):
    """Kafka's numbers of the APIs that are served."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DESCRIBE_CLUSTER = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API."""

    key: ApiKey
    name: str
    """As in Kafka's documentation: "ListOffsets"; the tide wire calls APIs by it."""
    request: type
    response: type
    versions: VersionRange
    """Which versions are served."""
    advertised_min: int
    """From which version on it claims to be served."""
    flexible_from: int | None
    """The first version with compact lengths and tagged fields (KIP-482)."""

    def is_flexible(self, version: int) -> bool:
        """Whether this version has compact lengths and tagged fields."""
        return self.flexible_from is not None and version >= self.flexible_from


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    key: ApiKey
    request: type
    response: type
    versions: str
    flexible_from: int | None
    advertised_min: int | None = None

    def api(self) -> Api:
        versions = VersionRange.parse(self.versions)
        return Api(
            key=self.key,
            name=self.request.__name__.removesuffix("Request"),
            request=self.request,
            response=self.response,
            versions=versions,
            advertised_min=versions.min if self.advertised_min is None else self.advertised_min,
            flexible_from=self.flexible_from,
        )


_ROWS = (
    _Row(
        key=ApiKey.PRODUCE,
        request=ProduceRequest,
        response=ProduceResponse,
        versions="3-13",
        flexible_from=9,
        advertised_min=0,
    ),
    _Row(key=ApiKey.FETCH, request=FetchRequest, response=FetchResponse, versions="4-18", flexible_from=12),
    _Row(
        key=ApiKey.LIST_OFFSETS,
        request=ListOffsetsRequest,
        response=ListOffsetsResponse,
        versions="1-11",
        flexible_from=6,
    ),
    _Row(key=ApiKey.METADATA, request=MetadataRequest, response=MetadataResponse, versions="0-13", flexible_from=9),
    _Row(
        key=ApiKey.API_VERSIONS,
        request=ApiVersionsRequest,
        response=ApiVersionsResponse,
        versions="0-4",
        flexible_from=3,
    ),
    _Row(
        key=ApiKey.CREATE_TOPICS,
        request=CreateTopicsRequest,
        response=CreateTopicsResponse,
        versions="0-7",
        flexible_from=5,
    ),
    _Row(
        key=ApiKey.DELETE_TOPICS,
        request=DeleteTopicsRequest,
        response=DeleteTopicsResponse,
        versions="0-6",
        flexible_from=4,
    ),
    _Row(
        key=ApiKey.DESCRIBE_CLUSTER,
        request=DescribeClusterRequest,
        response=DescribeClusterResponse,
        versions="0-2",
        flexible_from=0,
    ),
)

APIS: Mapping[ApiKey, Api] = MappingProxyType({row.key: row.api() for row in _ROWS})
BY_NAME: Mapping[str, Api] = MappingProxyType({api.name: api for api in APIS.values()})
