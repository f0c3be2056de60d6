"""ConsumerGroupHeartbeat v0-1: members of groups that the broker assigns for (KIP-848). v1: subscription by pattern;
members make their own id (KIP-1082)."""

from ...protocol.errors import RequestRefused
from ...protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from ..coordinator.runtime import caller_of
from ..errors import message_of
from ..request import Pending, RequestContext
from ..services import Services


def consumer_group_heartbeat(
    context: RequestContext, services: Services, request: ConsumerGroupHeartbeatRequest
) -> Pending[ConsumerGroupHeartbeatResponse] | ConsumerGroupHeartbeatResponse:
    """Join, stay or leave; answered when what changes by that is durable."""
    caller = caller_of(context)
    return services.groups.submit(
        request.group_id,
        lambda groups, waiter, at: groups.consumer_group_heartbeat(request, caller, waiter, at),
        refused=_refused,
    )


def _refused(error: RequestRefused) -> ConsumerGroupHeartbeatResponse:
    return ConsumerGroupHeartbeatResponse(error_code=error.code, error_message=message_of(error))
