"""Cluster: who leads what. One node today, and it is us; handlers ask here all the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...protocol.errors import ErrorCode, RequestRefused
from ..request import Address, RequestContext

OPERATIONS_ON_TOPIC = sum(1 << operation for operation in (3, 4, 5, 6, 7, 8, 10, 11))
"""What may be done with a topic, as a set of bits: read, write, create, delete, alter, describe, describe its settings,
alter them. Nobody is forbidden anything here, so that whoever asks for their rights is told all there are [1b.13]."""

OPERATIONS_ON_CLUSTER = sum(1 << operation for operation in (5, 7, 8, 9, 10, 11, 12))
"""The same of the cluster: create, alter, describe, act as a broker, describe its settings, alter them, write with a
producer id."""

OPERATIONS_ON_GROUP = sum(1 << operation for operation in (3, 6, 8, 10, 11))
"""The same of a group: read, delete, describe, describe its settings, alter them."""


@dataclass(frozen=True, slots=True)
class Node:
    """A broker as a client sees it."""

    node_id: int
    address: Address


class Cluster:
    """The nodes and their parts."""

    def __init__(self, *, cluster_id: str, node_id: int) -> None:
        self.cluster_id = cluster_id
        self.node_id = node_id

    def nodes(self, context: RequestContext) -> list[Node]:
        """Every node, with the address that this requester should dial."""
        return [Node(self.node_id, context.requester.advertised)]

    def leader(self, topic: str, partition: int) -> int:
        """The node that leads a partition."""
        del topic, partition
        return self.node_id

    def check_replicas(self, node_ids: Sequence[int]) -> None:
        """Whether a partition can be on these nodes. Raises RequestRefused in Kafka's words."""
        if not node_ids:
            raise _invalid_replicas("an empty replica list.")
        for node_id in sorted(node_ids):
            if node_id != self.node_id:
                raise _invalid_replicas(f"broker {node_id}, but no such broker is registered.")
        if len(node_ids) > 1:
            raise _invalid_replicas(f"the broker {self.node_id} more than once.")

    @property
    def controller(self) -> int:
        """The node that changes metadata."""
        return self.node_id


def _invalid_replicas(reason: str) -> RequestRefused:
    return RequestRefused(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"The manual partition assignment includes {reason}")
