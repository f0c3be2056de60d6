"""JoinGroup v0-9: a member enters a classic group, or a new generation of it, and waits until all have [G-2 … G-5].

v0 has no rebalance timeout. v4 makes a new member come twice, the second time with the id it was given (KIP-394). v5
static members (KIP-345); v6 flexible; v7 protocol type; v9 a leader may be told to leave the assignment (KIP-814).
"""

from ...protocol.errors import ErrorCode
from ...protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from ..coordinator.runtime import caller_of
from ..request import Pending, RequestContext
from ..services import Services


def join_group(
    context: RequestContext, services: Services, request: JoinGroupRequest
) -> Pending[JoinGroupResponse] | JoinGroupResponse:
    """Ask the group's coordinator."""
    if not request.group_id:
        return _refused(request, ErrorCode.INVALID_GROUP_ID)
    caller = caller_of(context)
    return services.groups.submit(
        request.group_id,
        lambda groups, waiter, at: groups.join_group(request, caller, waiter, at),
        refused=lambda error: _refused(request, error.code),
    )


def _refused(request: JoinGroupRequest, code: ErrorCode) -> JoinGroupResponse:
    return JoinGroupResponse(error_code=code, member_id=request.member_id)
