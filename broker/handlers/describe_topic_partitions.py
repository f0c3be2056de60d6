"""DescribeTopicPartitions v0: topics and their partitions by name, page by page (KIP-966).

A page holds no more partitions than the request and the broker allow, and ends where the next one begins: in the
middle of a topic if need be. Eligible leader replicas are replicas out of sync: where there is one replica, none is.
"""

from collections.abc import Iterator

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)
from ..metadata.cluster import OPERATIONS_ON_TOPIC
from ..request import RequestContext
from ..services import Services
from ..topics.registry import Topic, check_legal_name

PARTITIONS_OF_A_PAGE_MAX = 2000
"""Kafka's max.request.partition.size.limit."""


def describe_topic_partitions(
    context: RequestContext, services: Services, request: DescribeTopicPartitionsRequest
) -> DescribeTopicPartitionsResponse:
    """Answer with a page."""
    del context
    if not _cursor_is_sound(request):
        # There is no error of the whole request in this response: each topic that was asked for says so.
        return DescribeTopicPartitionsResponse(
            topics=tuple(
                DescribeTopicPartitionsResponseTopic(error_code=ErrorCode.INVALID_REQUEST, name=topic.name)
                for topic in request.topics
            )
        )
    room = max(min(request.response_partition_limit, PARTITIONS_OF_A_PAGE_MAX), 1)
    described: list[DescribeTopicPartitionsResponseTopic] = []
    for name, first in _wanted(services, request):
        if room == 0:
            return DescribeTopicPartitionsResponse(
                topics=tuple(described), next_cursor=Cursor(topic_name=name, partition_index=first)
            )
        topic = services.topics.by_name(name)
        if topic is None:
            described.append(_missing(name))
            continue
        end = min(first + room, len(topic.partitions))
        described.append(_described(services, topic, first, end))
        room -= max(end - first, 0)
        if end < len(topic.partitions):
            return DescribeTopicPartitionsResponse(
                topics=tuple(described), next_cursor=Cursor(topic_name=name, partition_index=end)
            )
    return DescribeTopicPartitionsResponse(topics=tuple(described))


def _cursor_is_sound(request: DescribeTopicPartitionsRequest) -> bool:
    cursor = request.cursor
    if cursor is None:
        return True
    # Of all topics the cursor's may have been deleted between two pages; of a list it must be one.
    is_among = not request.topics or any(topic.name == cursor.topic_name for topic in request.topics)
    return is_among and cursor.partition_index >= 0


def _wanted(services: Services, request: DescribeTopicPartitionsRequest) -> Iterator[tuple[str, int]]:
    """Names in order from the cursor on, and the first partition of each."""
    names = {topic.name for topic in request.topics} or {topic.name for topic in services.topics}
    cursor = request.cursor or Cursor()
    for name in sorted(names):
        if name >= cursor.topic_name:
            yield name, cursor.partition_index if name == cursor.topic_name else 0


def _missing(name: str) -> DescribeTopicPartitionsResponseTopic:
    code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    try:
        check_legal_name(name)
    except RequestRefused as refused:
        code = refused.code
    # As in Kafka also of a topic that is not there: the rights to a name do not hang on it.
    return DescribeTopicPartitionsResponseTopic(
        error_code=code, name=name, topic_authorized_operations=OPERATIONS_ON_TOPIC
    )


def _described(services: Services, topic: Topic, first: int, end: int) -> DescribeTopicPartitionsResponseTopic:
    replicas = (services.cluster.node_id,)
    return DescribeTopicPartitionsResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.is_internal,
        partitions=tuple(
            DescribeTopicPartitionsResponsePartition(
                partition_index=partition.index,
                leader_id=services.cluster.leader(topic.name, partition.index),
                leader_epoch=partition.leader_epoch,
                replica_nodes=replicas,
                isr_nodes=replicas,
                eligible_leader_replicas=(),
                last_known_elr=(),
                offline_replicas=replicas if partition.is_lost else (),
            )
            for partition in topic.partitions[first:end]
        ),
        topic_authorized_operations=OPERATIONS_ON_TOPIC,
    )
