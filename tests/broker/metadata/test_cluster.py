"""One node, and it is us."""

import pytest

from support.house import Client
from tidelog.broker.metadata.cluster import OPERATIONS_ON_CLUSTER, OPERATIONS_ON_TOPIC, Cluster, Node
from tidelog.broker.request import Address, RequestContext
from tidelog.protocol.apis import APIS, ApiKey
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.wire import RequestHeader


def a_cluster() -> Cluster:
    return Cluster(cluster_id="abc", node_id=7)


def asked_over(advertised: Address) -> RequestContext:
    header = RequestHeader(api=APIS[ApiKey.METADATA], version=12, correlation_id=1, client_id=None)
    return RequestContext(header, Client(advertised=advertised))


def test_this_node_leads_everything_and_changes_the_metadata() -> None:
    cluster = a_cluster()
    assert {cluster.leader(topic, partition) for topic in ("orders", "events") for partition in range(3)} == {7}
    assert (cluster.controller, cluster.node_id, cluster.cluster_id) == (7, 7, "abc")


def test_who_asks_is_told_to_dial_what_is_advertised_to_them() -> None:
    cluster = a_cluster()
    for address in (Address("localhost", 9092), Address("kafka.example", 19_092)):
        assert cluster.nodes(asked_over(address)) == [Node(7, address)]


def test_what_may_be_done_is_what_kafka_tells_without_an_authorizer() -> None:
    """1b.13: AclOperation's numbers as bits."""
    assert (OPERATIONS_ON_TOPIC, OPERATIONS_ON_CLUSTER) == (3576, 8096)


def test_replicas_can_be_on_this_node_alone_and_once() -> None:
    cluster = a_cluster()
    cluster.check_replicas((7,))
    for node_ids, said in (
        ((), "an empty replica list."),
        ((8,), "broker 8, but no such broker is registered."),
        ((7, -1), "broker -1, but no such broker is registered."),
        ((7, 7), "the broker 7 more than once."),
    ):
        with pytest.raises(RequestRefused) as refused:
            cluster.check_replicas(node_ids)
        assert refused.value.code is ErrorCode.INVALID_REPLICA_ASSIGNMENT
        assert refused.value.message == f"The manual partition assignment includes {said}"
