"""ListGroups v0-5: which groups there are. v3 flexible; v4 states (KIP-518); v5 types (KIP-848)."""

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse
from ..request import RequestContext
from ..services import Services


def list_groups(context: RequestContext, services: Services, request: ListGroupsRequest) -> ListGroupsResponse:
    """All groups that are in one of the states and of one of the types, whatever case these are written in.

    As in Kafka it is refused while some are still being loaded, for a part would pass for all; and groups whose
    partition has failed are left out, for the others must not be hidden until somebody has mended that; if all have
    failed it is refused. DescribeLag tells of which partitions these are.
    """
    del context
    states = _folded(request.states_filter)
    types = _folded(request.types_filter)

    def is_wanted(group: ListedGroup) -> bool:
        is_in_state = not states or group.group_state.lower() in states
        return is_in_state and (not types or group.group_type.lower() in types)

    try:
        shards = services.groups.shards()
    except RequestRefused as error:
        return ListGroupsResponse(error_code=error.code)
    if not shards and services.groups.unavailable():
        return ListGroupsResponse(error_code=ErrorCode.COORDINATOR_NOT_AVAILABLE)
    return ListGroupsResponse(
        groups=tuple(group for shard in shards for group in shard.list_groups() if is_wanted(group))
    )


def _folded(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.lower() for word in words)
