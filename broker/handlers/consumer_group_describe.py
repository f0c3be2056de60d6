"""ConsumerGroupDescribe v0-1: groups of the consumer protocol with their members (KIP-848). v1: which protocol a member
speaks (KIP-1099)."""

from dataclasses import replace

from ...protocol.errors import RequestRefused
from ...protocol.messages.consumer_group_describe import (
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
    DescribedGroup,
)
from ..errors import message_of
from ..metadata.cluster import OPERATIONS_ON_GROUP
from ..request import Pending, RequestContext, gather
from ..services import Services


def consumer_group_describe(
    context: RequestContext, services: Services, request: ConsumerGroupDescribeRequest
) -> Pending[ConsumerGroupDescribeResponse] | ConsumerGroupDescribeResponse:
    """Ask the coordinator of each group; of a group that is named twice once."""
    del context

    def one(group_id: str) -> Pending[DescribedGroup] | DescribedGroup:
        return services.groups.submit(
            group_id,
            lambda groups, waiter, at: groups.describe_consumer(group_id, waiter, at),
            refused=lambda error: _refused(group_id, error),
        )

    def answer(described: tuple[DescribedGroup, ...]) -> ConsumerGroupDescribeResponse:
        if request.include_authorized_operations:
            described = tuple(_with_operations(group) for group in described)
        return ConsumerGroupDescribeResponse(groups=described)

    return gather([one(group_id) for group_id in dict.fromkeys(request.group_ids)], answer)


def _refused(group_id: str, error: RequestRefused) -> DescribedGroup:
    return DescribedGroup(group_id=group_id, error_code=error.code, error_message=message_of(error))


def _with_operations(group: DescribedGroup) -> DescribedGroup:
    return group if group.error_code else replace(group, authorized_operations=OPERATIONS_ON_GROUP)
