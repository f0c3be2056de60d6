"""Cluster: who leads what. One node today, and it is us; handlers ask here all the same."""

from dataclasses import dataclass

from ..request import Address, RequestContext


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

    @property
    def controller(self) -> int:
        """The node that changes metadata."""
        return self.node_id
