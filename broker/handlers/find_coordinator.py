"""FindCoordinator v0-6: who coordinates a group. v1 key types; v3 flexible; v4 many keys at once (KIP-699); v6 share
groups (KIP-932).

It is the leader of the group's partition of `__consumer_offsets`. The first who asks waits until that topic is there.
"""

from enum import IntEnum

from ...protocol.errors import ErrorCode, RequestRefused
from ...protocol.messages.find_coordinator import Coordinator, FindCoordinatorRequest, FindCoordinatorResponse
from ..coordinator.group_partition import partition_for
from ..coordinator.runtime import NOT_AVAILABLE
from ..errors import message_of
from ..request import Pending, RequestContext
from ..services import Services
from ..topics.internal_topics import OFFSETS_TOPIC

MANY_KEYS_SINCE = 4
NOBODY = -1


class KeyType(IntEnum):
    """What keys are, in Kafka's numbers."""

    GROUP = 0
    TRANSACTION = 1
    SHARE = 2


def find_coordinator(
    context: RequestContext, services: Services, request: FindCoordinatorRequest
) -> Pending[FindCoordinatorResponse] | FindCoordinatorResponse:
    """Answer for every key; all keys of a request are of one type."""
    search = _Search(context, services, request)
    refusal = _refusal(request.key_type)
    if refusal is not None:
        return search.refused(refusal)

    def ready(error: RequestRefused | None) -> None:
        if pending.response is None:  # else it was hurried away
            pending(search.found() if error is None else search.refused(error))

    pending: Pending[FindCoordinatorResponse] = Pending(on_hurry=lambda: ready(NOT_AVAILABLE))

    services.groups.when_ready(ready)
    return pending if pending.response is None else pending.response


def _refusal(key_type: int) -> RequestRefused | None:
    match key_type:
        case KeyType.GROUP:
            return None
        case KeyType.TRANSACTION:
            # There are no transactions yet. Of all codes, this is the one that every client takes for final, as in
            # InitProducerId: with others librdkafka comes back until its time is over.
            return RequestRefused(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "Transactions are not built yet.")
        case KeyType.SHARE:
            # Between brokers alone; as in Kafka where share groups are switched off.
            return RequestRefused(ErrorCode.INVALID_REQUEST, "Share groups are not built yet.")
        case _:
            return RequestRefused(
                ErrorCode.INVALID_REQUEST, f"Unknown coordinator type in FindCoordinator request: {key_type}"
            )


class _Search:
    """One request."""

    def __init__(self, context: RequestContext, services: Services, request: FindCoordinatorRequest) -> None:
        self._context = context
        self._services = services
        self._has_many = context.version >= MANY_KEYS_SINCE
        self._keys = request.coordinator_keys if self._has_many else (request.key,)

    def found(self) -> FindCoordinatorResponse:
        """The topic is there."""
        cluster = self._services.cluster
        nodes = {node.node_id: node.address for node in cluster.nodes(self._context)}
        topic = self._services.topics.by_name(OFFSETS_TOPIC)
        assert topic is not None, "nobody but the broker deletes it, and it does not"
        coordinators = []
        for key in self._keys:
            leader = cluster.leader(OFFSETS_TOPIC, partition_for(key, len(topic.partitions)))
            address = nodes[leader]
            coordinators.append(Coordinator(key=key, node_id=leader, host=address.host, port=address.port))
        return self._response(coordinators)

    def refused(self, error: RequestRefused) -> FindCoordinatorResponse:
        """None of the keys has a coordinator."""
        return self._response(
            [
                Coordinator(
                    key=key, node_id=NOBODY, port=NOBODY, error_code=error.code, error_message=message_of(error)
                )
                for key in self._keys
            ]
        )

    def _response(self, coordinators: list[Coordinator]) -> FindCoordinatorResponse:
        if self._has_many:
            return FindCoordinatorResponse(coordinators=tuple(coordinators))
        [one] = coordinators
        return FindCoordinatorResponse(
            error_code=one.error_code,
            error_message=one.error_message,
            node_id=one.node_id,
            host=one.host,
            port=one.port,
        )
