"""Which handler answers which API."""

from collections.abc import Callable, Mapping

from ...protocol.apis import ApiKey
from .api_versions import api_versions
from .create_topics import create_topics
from .delete_topics import delete_topics
from .describe_cluster import describe_cluster
from .fetch import fetch
from .list_offsets import list_offsets
from .metadata import metadata
from .produce import produce

HANDLERS: Mapping[ApiKey, Callable[..., object]] = {
    ApiKey.PRODUCE: produce,
    ApiKey.FETCH: fetch,
    ApiKey.LIST_OFFSETS: list_offsets,
    ApiKey.METADATA: metadata,
    ApiKey.API_VERSIONS: api_versions,
    ApiKey.CREATE_TOPICS: create_topics,
    ApiKey.DELETE_TOPICS: delete_topics,
    ApiKey.DESCRIBE_CLUSTER: describe_cluster,
}
