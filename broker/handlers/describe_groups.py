"""DescribeGroups v0-6: classic groups with their members. v3 authorised operations (KIP-430); v4 instance ids
(KIP-345); v5 flexible; v6 GROUP_ID_NOT_FOUND, with a message, where there used to be a dead group (KIP-1043)."""

from dataclasses import replace

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.describe_groups import DescribedGroup, DescribeGroupsRequest, DescribeGroupsResponse
from ..errors import message_of
from ..metadata.cluster import OPERATIONS_ON_GROUP
from ..request import Pending, RequestContext, gather
from ..services import Services

NOT_FOUND_SINCE = 6
DEAD = "Dead"


def describe_groups(
    context: RequestContext, services: Services, request: DescribeGroupsRequest
) -> Pending[DescribeGroupsResponse] | DescribeGroupsResponse:
    """Ask the coordinator of each group; of a group that is named twice once."""
    version = context.version

    def one(group_id: str) -> Pending[DescribedGroup] | DescribedGroup:
        return services.groups.submit(
            group_id,
            lambda groups, waiter, at: groups.describe_classic(group_id, waiter, at),
            refused=lambda error: _refused(group_id, error, version),
        )

    def answer(described: tuple[DescribedGroup, ...]) -> DescribeGroupsResponse:
        if request.include_authorized_operations:
            described = tuple(_with_operations(group) for group in described)
        return DescribeGroupsResponse(groups=described)

    return gather([one(group_id) for group_id in dict.fromkeys(request.groups)], answer)


def _refused(group_id: str, error: RequestRefused, version: int) -> DescribedGroup:
    if error.code is not ErrorCode.GROUP_ID_NOT_FOUND:
        return DescribedGroup(group_id=group_id, error_code=error.code, error_message=message_of(error))
    if version < NOT_FOUND_SINCE:
        return DescribedGroup(group_id=group_id, group_state=DEAD)
    return DescribedGroup(group_id=group_id, group_state=DEAD, error_code=error.code, error_message=message_of(error))


def _with_operations(group: DescribedGroup) -> DescribedGroup:
    return group if group.error_code else replace(group, authorized_operations=OPERATIONS_ON_GROUP)
