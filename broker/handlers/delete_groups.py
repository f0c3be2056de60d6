"""DeleteGroups v0-2: groups without members, with all that they have committed (KIP-229). v2 flexible."""

from ...protocol.messages.delete_groups import DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse
from ..request import Pending, RequestContext, gather
from ..services import Services


def delete_groups(
    context: RequestContext, services: Services, request: DeleteGroupsRequest
) -> Pending[DeleteGroupsResponse] | DeleteGroupsResponse:
    """Delete each group, once; answered when all that can be are gone for good."""
    del context

    def one(group_id: str) -> Pending[DeletableGroupResult] | DeletableGroupResult:
        return services.groups.submit(
            group_id,
            lambda groups, waiter, at: groups.delete_group(group_id, waiter, at),
            refused=lambda error: DeletableGroupResult(group_id=group_id, error_code=error.code),
        )

    names = dict.fromkeys(request.groups_names)
    return gather([one(name) for name in names], lambda results: DeleteGroupsResponse(results=results))
