"""DescribeQuorum v0-2: who votes on the cluster's metadata (KIP-595). One voter, which leads: us.

v1 when a replica was last heard of (KIP-836), which of the leader itself is always now; v2 the voters' addresses
(KIP-853). Directory ids stay zero, as in every quorum whose voters cannot be changed.
"""

from ...protocol.errors import ErrorCode
from ...protocol.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    Listener,
    Node,
    ReplicaState,
    ResponsePartitionData,
    ResponseTopicData,
)
from ..request import RequestContext
from ..services import Services
from ..topics.internal_topics import METADATA_TOPIC

LISTENER = "CONTROLLER"
"""What Kafka's documentation calls the listener of its controllers; ours is any that clients use."""


def describe_quorum(
    context: RequestContext, services: Services, request: DescribeQuorumRequest
) -> DescribeQuorumResponse:
    """Answer for the metadata log; for nothing else."""
    asked = [(topic.topic_name, part.partition_index) for topic in request.topics for part in topic.partitions]
    if asked != [(METADATA_TOPIC, 0)]:
        return _refusal(request)
    log, cluster = services.metadata_log, services.cluster
    now_ms = services.environment.now_ms()
    voter = ReplicaState(
        replica_id=cluster.node_id,
        log_end_offset=log.end_offset,
        last_fetch_timestamp=now_ms,
        last_caught_up_timestamp=now_ms,
    )
    partition = ResponsePartitionData(
        leader_id=cluster.controller,
        leader_epoch=log.leader_epoch,
        high_watermark=log.recovery_point,
        current_voters=(voter,),
    )
    return DescribeQuorumResponse(
        topics=(ResponseTopicData(topic_name=METADATA_TOPIC, partitions=(partition,)),),
        nodes=tuple(
            Node(
                node_id=node.node_id,
                listeners=(Listener(name=LISTENER, host=node.address.host, port=node.address.port),),
            )
            for node in cluster.nodes(context)
        ),
    )


def _refusal(request: DescribeQuorumRequest) -> DescribeQuorumResponse:
    """Whatever else was asked for stands beside it: all of it is refused, as Kafka does."""
    code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return DescribeQuorumResponse(
        topics=tuple(
            ResponseTopicData(
                topic_name=topic.topic_name,
                partitions=tuple(
                    ResponsePartitionData(
                        partition_index=partition.partition_index, error_code=code, error_message=code.description
                    )
                    for partition in topic.partitions
                ),
            )
            for topic in request.topics
        )
    )
