"""ListConfigResources v0-1: v0 client metrics alone, of which there are none; v1 every type (KIP-1142)."""

from ...protocol.errors import ErrorCode
from ...protocol.messages.list_config_resources import (
    ConfigResource,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)
from ..metadata.records import ResourceType
from ..request import RequestContext
from ..services import Services


def list_config_resources(
    context: RequestContext, services: Services, request: ListConfigResourcesRequest
) -> ListConfigResourcesResponse:
    """Which resources have settings: of groups those that say something. Metrics of clients are not built."""
    wanted = frozenset(request.resource_types) or frozenset(ResourceType)
    if context.version == 0:
        wanted = frozenset({ResourceType.CLIENT_METRICS})
    if not wanted <= frozenset(ResourceType):
        return ListConfigResourcesResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
    node_id = str(services.cluster.node_id)
    names = {
        ResourceType.BROKER_LOGGER: [node_id],
        ResourceType.BROKER: [node_id],
        ResourceType.TOPIC: [topic.name for topic in services.topics],
        ResourceType.GROUP: services.configs.groups.names(),
    }
    return ListConfigResourcesResponse(
        config_resources=tuple(
            ConfigResource(resource_name=name, resource_type=kind)
            for kind, found in names.items()
            if kind in wanted
            for name in found
        )
    )
