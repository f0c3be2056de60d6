"""LeaveGroup v0-5: members go, or are made to go [G-8].

Before v3 it is one member that goes. v3 takes many, also by their instance ids (KIP-345); v4 flexible; v5 reasons.
"""

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberResponse
from ..coordinator.runtime import caller_of
from ..request import Pending, RequestContext
from ..services import Services

MANY_SINCE = 3


def leave_group(
    context: RequestContext, services: Services, request: LeaveGroupRequest
) -> Pending[LeaveGroupResponse] | LeaveGroupResponse:
    """Ask the group's coordinator."""
    if not request.group_id:
        return LeaveGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    caller = caller_of(context)
    return services.groups.submit(
        request.group_id,
        lambda groups, waiter, at: groups.leave_group(request, caller, waiter, at),
        refused=lambda error: _refused(request, error, version=caller.version),
    )


def _refused(request: LeaveGroupRequest, error: RequestRefused, *, version: int) -> LeaveGroupResponse:
    if version < MANY_SINCE or error.code is not ErrorCode.UNKNOWN_MEMBER_ID:
        return LeaveGroupResponse(error_code=error.code)
    # There is no such group: so there is none of these members, and that stands beside each.
    members = tuple(
        MemberResponse(member_id=one.member_id, group_instance_id=one.group_instance_id, error_code=error.code)
        for one in request.members
    )
    return LeaveGroupResponse(members=members)
