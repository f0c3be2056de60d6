"""SyncGroup v0-5: the leader of a classic group hands in the assignment, and every member gets its part [G-6].

v3 static members (KIP-345); v4 flexible; v5 protocol type and name, which must be the group's (KIP-559).
"""

from ...protocol.errors import ErrorCode
from ...protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from ..coordinator.runtime import caller_of
from ..request import Pending, RequestContext
from ..services import Services

PROTOCOL_NAMED_SINCE = 5


def sync_group(
    context: RequestContext, services: Services, request: SyncGroupRequest
) -> Pending[SyncGroupResponse] | SyncGroupResponse:
    """Ask the group's coordinator."""
    if not request.group_id:
        return SyncGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    if context.version >= PROTOCOL_NAMED_SINCE and None in (request.protocol_type, request.protocol_name):
        return SyncGroupResponse(error_code=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    caller = caller_of(context)
    return services.groups.submit(
        request.group_id,
        lambda groups, waiter, at: groups.sync_group(request, caller, waiter, at),
        refused=lambda error: SyncGroupResponse(error_code=error.code),
    )
