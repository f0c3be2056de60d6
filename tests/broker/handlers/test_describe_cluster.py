"""DescribeCluster: the one node, at the address that was dialled (KIP-700, KIP-919) [1b.13, house 1.11]."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.house import House, a_house
from tidelog.broker.metadata.cluster import OPERATIONS_ON_CLUSTER
from tidelog.broker.request import Address
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)
from tidelog.protocol.messages.metadata import OPERATIONS_UNKNOWN, MetadataRequest, MetadataResponse


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with a number of its own."""
    async with a_house(tmp_path / "data", "node.id=7") as house:
        yield house


def described(house: House, request: DescribeClusterRequest, version: int = 2) -> DescribeClusterResponse:
    response = house.call(request, version)
    assert isinstance(response, DescribeClusterResponse)
    return response


@pytest.mark.parametrize("version", range(3))
async def test_the_cluster_is_this_node_where_the_client_found_it(house: House, version: int) -> None:
    house.client.advertised = Address("found.example", 29092)
    response = described(house, DescribeClusterRequest(), version)
    assert response.error_code == ErrorCode.NONE
    assert response.brokers == (DescribeClusterBroker(broker_id=7, host="found.example", port=29092),)
    assert response.controller_id == 7
    assert response.endpoint_type == 1


async def test_it_is_the_same_cluster_as_in_metadata(house: House) -> None:
    metadata = house.call(MetadataRequest(topics=()))
    assert isinstance(metadata, MetadataResponse)
    response = described(house, DescribeClusterRequest())
    assert response.cluster_id == metadata.cluster_id
    assert len(response.cluster_id) == 22
    assert response.controller_id == metadata.controller_id


async def test_the_cluster_keeps_its_id_over_a_restart(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        async with a_house(tmp_path / "data") as house:
            ids.append(described(house, DescribeClusterRequest()).cluster_id)
    assert ids[0] == ids[1]
    async with a_house(tmp_path / "another") as house:
        assert described(house, DescribeClusterRequest()).cluster_id != ids[0]


@pytest.mark.parametrize("version", range(3))
async def test_who_asks_what_they_may_do_may_do_everything(house: House, version: int) -> None:
    """1b.13: as Kafka without an authorizer."""
    for asked, told in ((False, OPERATIONS_UNKNOWN), (True, OPERATIONS_ON_CLUSTER)):
        response = described(house, DescribeClusterRequest(include_cluster_authorized_operations=asked), version)
        assert response.cluster_authorized_operations == told


@pytest.mark.parametrize(
    ("endpoint_type", "code"),
    [
        (2, ErrorCode.MISMATCHED_ENDPOINT_TYPE),
        (0, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE),
        (3, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE),
        (-1, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE),
    ],
)
async def test_controllers_are_not_to_be_found_here(house: House, endpoint_type: int, code: ErrorCode) -> None:
    """KIP-919."""
    response = described(house, DescribeClusterRequest(endpoint_type=endpoint_type))
    assert response.error_code == code
    assert response.error_message == f"endpoint type {endpoint_type} is not served here"
    assert response.brokers == ()
