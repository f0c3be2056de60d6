"""OffsetFetch v1-10: how far groups have read [G-11].

Up to v7 a request asks for one group; v2 asks for all its topics by null, and has a code for the whole; v5 leader
epochs (KIP-320); v6 flexible; v7 require_stable (KIP-447); v8 many groups (KIP-709); v9 members; v10 topics by id
(KIP-848).

Without transactions every offset is stable.
"""

from collections.abc import Iterable

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)
from ..coordinator.offsets import NO_OFFSET
from ..request import Pending, RequestContext, gather
from ..services import Services

CODE_OF_THE_WHOLE_SINCE = 2
MANY_GROUPS_SINCE = 8
TOLD_MAX = 100
"""How often a request may ask for one group, in different words."""


def offset_fetch(
    context: RequestContext, services: Services, request: OffsetFetchRequest
) -> Pending[OffsetFetchResponse] | OffsetFetchResponse:
    """Ask the coordinator of each group; what is asked for twice is answered once."""
    version = context.version

    def one(group: OffsetFetchRequestGroup) -> Pending[OffsetFetchResponseGroup] | OffsetFetchResponseGroup:
        return services.groups.submit(
            group.group_id,
            lambda groups, waiter, _: groups.fetch_offsets(group, waiter, version=version),
            refused=lambda error: _refused(group, error, version),
        )

    if version >= MANY_GROUPS_SINCE:
        return gather(
            [one(group) for group in _each(request.groups)], lambda groups: OffsetFetchResponse(groups=groups)
        )
    return gather([one(_only_group(request))], lambda groups: _answer_of_one(*groups))


def _each(groups: Iterable[OffsetFetchRequestGroup]) -> Iterable[OffsetFetchRequestGroup]:
    """What is asked for, each thing once; of one group not as often as there are names that members could have.

    All offsets of a group can be many, and to ask for them takes but a few bytes.
    """
    told: dict[str, int] = {}
    for group in dict.fromkeys(groups):
        told[group.group_id] = told.get(group.group_id, 0) + 1
        if told[group.group_id] > TOLD_MAX:
            raise RequestRefused(ErrorCode.INVALID_REQUEST, f"One group is asked for more than {TOLD_MAX} times.")
        yield group


def _refused(group: OffsetFetchRequestGroup, error: RequestRefused, version: int) -> OffsetFetchResponseGroup:
    topics: tuple[OffsetFetchResponseTopics, ...] = ()
    if version < CODE_OF_THE_WHOLE_SINCE:
        topics = tuple(
            OffsetFetchResponseTopics(
                name=topic.name,
                partitions=tuple(
                    OffsetFetchResponsePartitions(
                        partition_index=index, committed_offset=NO_OFFSET, error_code=error.code
                    )
                    for index in topic.partition_indexes
                ),
            )
            for topic in group.topics or ()
        )
    return OffsetFetchResponseGroup(group_id=group.group_id, topics=topics, error_code=error.code)


def _only_group(request: OffsetFetchRequest) -> OffsetFetchRequestGroup:
    """The request as newer versions say it."""
    topics = None
    if request.topics is not None:
        topics = tuple(
            OffsetFetchRequestTopics(name=topic.name, partition_indexes=topic.partition_indexes)
            for topic in request.topics
        )
    return OffsetFetchRequestGroup(group_id=request.group_id, member_id=None, topics=topics)


def _answer_of_one(group: OffsetFetchResponseGroup) -> OffsetFetchResponse:
    """The answer as older versions say it."""
    topics = []
    for topic in group.topics:
        partitions = tuple(
            OffsetFetchResponsePartition(
                partition_index=partition.partition_index,
                committed_offset=partition.committed_offset,
                committed_leader_epoch=partition.committed_leader_epoch,
                metadata=partition.metadata,
                error_code=partition.error_code,
            )
            for partition in topic.partitions
        )
        topics.append(OffsetFetchResponseTopic(name=topic.name, partitions=partitions))
    return OffsetFetchResponse(topics=tuple(topics), error_code=group.error_code)
