"""OffsetDelete v0: forgets offsets of topics that the group does not read (KIP-496)."""

from ...protocol.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
from ..request import Pending, RequestContext
from ..services import Services


def offset_delete(
    context: RequestContext, services: Services, request: OffsetDeleteRequest
) -> Pending[OffsetDeleteResponse] | OffsetDeleteResponse:
    """Ask the group's coordinator."""
    del context
    return services.groups.submit(
        request.group_id,
        lambda groups, waiter, _: groups.delete_offsets(request, waiter),
        refused=lambda error: OffsetDeleteResponse(error_code=error.code),
    )
