"""OffsetForLeaderEpoch v2-4: where an epoch of a partition's log ended (KIP-320) [L-15].

v3 says who asks; v4 is flexible. A consumer asks after an epoch has changed whether the log has lost what it has read.
Everybody gets a consumer's answer, which ends at the high watermark: there are no followers.
"""

from ...protocol.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
    OffsetForLeaderTopicResult,
)
from ...protocol.primitives import ZERO_UUID
from ..errors import ANSWERABLE, code_of
from ..request import RequestContext
from ..services import Services


def offset_for_leader_epoch(
    context: RequestContext, services: Services, request: OffsetForLeaderEpochRequest
) -> OffsetForLeaderEpochResponse:
    """Answer partition by partition."""
    del context
    return OffsetForLeaderEpochResponse(
        topics=tuple(
            OffsetForLeaderTopicResult(
                topic=topic.topic,
                partitions=tuple(_answer(services, topic, asked) for asked in topic.partitions),
            )
            for topic in request.topics
        )
    )


def _answer(services: Services, topic: OffsetForLeaderTopic, asked: OffsetForLeaderPartition) -> EpochEndOffset:
    topics = services.topics
    try:
        partition = topics.partition(topics.find(topic.topic, ZERO_UUID), asked.partition)
        partition.check_leader_epoch(asked.current_leader_epoch)
        end = partition.end_of_epoch(asked.leader_epoch)
    except ANSWERABLE as error:
        return EpochEndOffset(partition=asked.partition, error_code=code_of(error))
    if end is None:
        return EpochEndOffset(partition=asked.partition)
    return EpochEndOffset(partition=asked.partition, leader_epoch=end.epoch, end_offset=end.end_offset)
