"""OffsetCommit v2-10: how far a group has read, all of it or nothing, and durable before the answer [G-10].

v2 to v4 say how long the offsets are kept; v6 leader epochs (KIP-320); v7 static members (KIP-345); v8 flexible; v9
members of consumer groups; v10 topics by id (KIP-848).
"""

from ...protocol.errors import RequestRefused
from ...protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from ..request import Pending, RequestContext
from ..services import Services


def offset_commit(
    context: RequestContext, services: Services, request: OffsetCommitRequest
) -> Pending[OffsetCommitResponse] | OffsetCommitResponse:
    """Ask the group's coordinator."""
    version = context.version
    return services.groups.submit(
        request.group_id,
        lambda groups, waiter, at: groups.commit_offsets(request, waiter, at, version=version),
        refused=lambda error: _refused(request, error),
    )


def _refused(request: OffsetCommitRequest, error: RequestRefused) -> OffsetCommitResponse:
    """There is no code for the whole: each partition has it."""
    topics = []
    for topic in request.topics:
        partitions = tuple(
            OffsetCommitResponsePartition(partition_index=partition.partition_index, error_code=error.code)
            for partition in topic.partitions
        )
        topics.append(OffsetCommitResponseTopic(name=topic.name, topic_id=topic.topic_id, partitions=partitions))
    return OffsetCommitResponse(topics=tuple(topics))
