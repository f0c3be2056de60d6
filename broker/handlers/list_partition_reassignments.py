"""ListPartitionReassignments v0: partitions on their way to other nodes (KIP-455). With one node, none is."""

from ...protocol.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)
from ..request import RequestContext
from ..services import Services


def list_partition_reassignments(
    context: RequestContext, services: Services, request: ListPartitionReassignmentsRequest
) -> ListPartitionReassignmentsResponse:
    """Answer with nothing; topics that are unknown are left out as well, and are no error."""
    del context, services, request
    return ListPartitionReassignmentsResponse(error_message=None)
