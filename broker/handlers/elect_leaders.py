"""ElectLeaders v0-2: leaders are elected anew (KIP-183). v1 kinds of election (KIP-460); v2 flexible.

Each partition has one replica, which leads it and is the preferred one: no election is ever needed.
"""

from collections.abc import Sequence

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
    TopicPartitions,
)
from ..errors import message_of
from ..request import RequestContext
from ..services import Services

ELECTION_TYPES = (0, 1)
"""The preferred replica; any live one, even one that lacks records."""


def elect_leaders(context: RequestContext, services: Services, request: ElectLeadersRequest) -> ElectLeadersResponse:
    """Say of each partition that it needs none."""
    del context
    if request.election_type not in ELECTION_TYPES:
        return _answer_all(request.topic_partitions or (), ErrorCode.INVALID_REQUEST)
    if request.topic_partitions is None:
        # Of all partitions, those that need no election are left out; their topics stand in the answer nevertheless.
        return ElectLeadersResponse(
            replica_election_results=tuple(ReplicaElectionResult(topic=topic.name) for topic in services.topics)
        )
    return ElectLeadersResponse(
        replica_election_results=tuple(
            ReplicaElectionResult(
                topic=wanted.topic,
                partition_result=tuple(_outcome(services, wanted.topic, index) for index in wanted.partitions),
            )
            for wanted in request.topic_partitions
        )
    )


def _outcome(services: Services, name: str, index: int) -> PartitionResult:
    topic = services.topics.by_name(name)
    if topic is None:
        answer = RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such topic as {name}")
    elif not 0 <= index < len(topic.partitions):
        answer = RequestRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{index}")
    else:
        answer = RequestRefused(ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")
    return PartitionResult(partition_id=index, error_code=answer.code, error_message=message_of(answer))


def _answer_all(asked: Sequence[TopicPartitions], code: ErrorCode) -> ElectLeadersResponse:
    """The whole request is refused; v0 has no place to say so but the partitions."""
    return ElectLeadersResponse(
        error_code=code,
        replica_election_results=tuple(
            ReplicaElectionResult(
                topic=wanted.topic,
                partition_result=tuple(
                    PartitionResult(partition_id=index, error_code=code, error_message=code.description)
                    for index in wanted.partitions
                ),
            )
            for wanted in asked
        ),
    )
