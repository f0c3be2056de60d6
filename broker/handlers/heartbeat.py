"""Heartbeat v0-4: a member of a classic group lives, and learns whether to join anew [G-7].

v3 static members (KIP-345); v4 flexible.
"""

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from ..request import Pending, RequestContext
from ..services import Services


def heartbeat(
    context: RequestContext, services: Services, request: HeartbeatRequest
) -> Pending[HeartbeatResponse] | HeartbeatResponse:
    """Ask the group's coordinator."""
    del context
    if not request.group_id:
        return HeartbeatResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    return services.groups.submit(
        request.group_id,
        lambda groups, waiter, at: groups.heartbeat(request, waiter, at),
        refused=_refused,
    )


def _refused(error: RequestRefused) -> HeartbeatResponse:
    if error.code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
        # As Kafka does: sessions begin anew when the group is loaded, and until then there is nothing to tell.
        return HeartbeatResponse()
    return HeartbeatResponse(error_code=error.code)
