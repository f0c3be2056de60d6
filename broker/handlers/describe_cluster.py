"""DescribeCluster v0-2: the nodes and who controls them (KIP-700). v1 endpoint type (KIP-919); v2 fenced brokers."""

from ...protocol.errors import ErrorCode
from ...protocol.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)
from ...protocol.messages.metadata import OPERATIONS_UNKNOWN
from ..metadata.cluster import OPERATIONS_ON_CLUSTER
from ..request import RequestContext
from ..services import Services

BROKERS = 1
CONTROLLERS = 2


def describe_cluster(
    context: RequestContext, services: Services, request: DescribeClusterRequest
) -> DescribeClusterResponse:
    """Answer with this node."""
    if request.endpoint_type != BROKERS:
        # This listener speaks to clients of brokers; there are no controllers to connect to.
        known = request.endpoint_type == CONTROLLERS
        return DescribeClusterResponse(
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE if known else ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
            error_message=f"endpoint type {request.endpoint_type} is not served here",
            endpoint_type=BROKERS,
        )
    cluster = services.cluster
    return DescribeClusterResponse(
        endpoint_type=BROKERS,
        cluster_id=cluster.cluster_id,
        controller_id=cluster.controller,
        brokers=tuple(
            DescribeClusterBroker(broker_id=node.node_id, host=node.address.host, port=node.address.port)
            for node in cluster.nodes(context)
        ),
        cluster_authorized_operations=(
            OPERATIONS_ON_CLUSTER if request.include_cluster_authorized_operations else OPERATIONS_UNKNOWN
        ),
    )
