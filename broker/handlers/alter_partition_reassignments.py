"""AlterPartitionReassignments v0-1: partitions go to other nodes (KIP-455). v1 whether the number of replicas may
change (KIP-860).

There is nowhere to go: to stay is granted, to go elsewhere refused, and there is never anything to cancel.
"""

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)
from ..errors import code_of, message_of
from ..request import RequestContext
from ..services import Services


def alter_partition_reassignments(
    context: RequestContext, services: Services, request: AlterPartitionReassignmentsRequest
) -> AlterPartitionReassignmentsResponse:
    """Answer each partition for itself."""
    del context
    return AlterPartitionReassignmentsResponse(
        allow_replication_factor_change=request.allow_replication_factor_change,
        error_message=None,
        responses=tuple(
            ReassignableTopicResponse(
                name=topic.name,
                partitions=tuple(_outcome(services, topic.name, wanted) for wanted in topic.partitions),
            )
            for topic in request.topics
        ),
    )


def _outcome(services: Services, name: str, wanted: ReassignablePartition) -> ReassignablePartitionResponse:
    try:
        _check(services, name, wanted)
    except RequestRefused as refused:
        return ReassignablePartitionResponse(
            partition_index=wanted.partition_index, error_code=code_of(refused), error_message=message_of(refused)
        )
    return ReassignablePartitionResponse(partition_index=wanted.partition_index, error_message=None)


def _check(services: Services, name: str, wanted: ReassignablePartition) -> None:
    """Raises RequestRefused in Kafka's words."""
    topic = services.topics.by_name(name)
    if topic is None:
        raise RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find a topic named {name}.")
    if not 0 <= wanted.partition_index < len(topic.partitions):
        raise RequestRefused(
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition {name}:{wanted.partition_index}."
        )
    if wanted.replicas is None:
        raise RequestRefused(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, "No partition reassignment is in progress.")
    services.cluster.check_replicas(wanted.replicas)
