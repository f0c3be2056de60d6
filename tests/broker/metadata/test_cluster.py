"""One node, and it is us."""

from support.house import Client
from tidelog.broker.metadata.cluster import Cluster, Node
from tidelog.broker.request import Address, RequestContext
from tidelog.protocol.apis import APIS, ApiKey
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
