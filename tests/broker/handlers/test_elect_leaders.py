"""ElectLeaders: the one replica leads already (KIP-183, KIP-460)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.house import House, a_house
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    ReplicaElectionResult,
    TopicPartitions,
)

PREFERRED, UNCLEAN = 0, 1


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with `orders`, of two partitions, and `payments`."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 2)
        await house.create("payments")
        yield house


def elected(house: House, request: ElectLeadersRequest, version: int = 2) -> ElectLeadersResponse:
    response = house.call(request, version)
    assert isinstance(response, ElectLeadersResponse)
    return response


ASKED = (TopicPartitions(topic="orders", partitions=(1, 2, -1)), TopicPartitions(topic="nowhere", partitions=(0,)))


@pytest.mark.parametrize(("version", "election_type"), [(0, PREFERRED), (1, PREFERRED), (2, PREFERRED), (2, UNCLEAN)])
async def test_no_partition_needs_an_election(house: House, version: int, election_type: int) -> None:
    response = elected(house, ElectLeadersRequest(election_type=election_type, topic_partitions=ASKED), version)
    assert response.error_code == ErrorCode.NONE
    told = [
        (topic.topic, result.partition_id, result.error_code, result.error_message)
        for topic in response.replica_election_results
        for result in topic.partition_result
    ]
    assert told == [
        ("orders", 1, ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition."),
        ("orders", 2, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "No such partition as orders-2"),
        ("orders", -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "No such partition as orders--1"),
        ("nowhere", 0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "No such topic as nowhere"),
    ]


@pytest.mark.parametrize("election_type", [PREFERRED, UNCLEAN])
async def test_of_all_partitions_those_that_need_none_are_left_out(house: House, election_type: int) -> None:
    response = elected(house, ElectLeadersRequest(election_type=election_type, topic_partitions=None))
    assert response == ElectLeadersResponse(
        replica_election_results=(ReplicaElectionResult(topic="orders"), ReplicaElectionResult(topic="payments"))
    )


@pytest.mark.parametrize("election_type", [2, -1])
async def test_an_election_of_no_known_kind_is_refused(house: House, election_type: int) -> None:
    response = elected(house, ElectLeadersRequest(election_type=election_type, topic_partitions=ASKED))
    assert response.error_code == ErrorCode.INVALID_REQUEST
    codes = [result.error_code for topic in response.replica_election_results for result in topic.partition_result]
    assert codes == [ErrorCode.INVALID_REQUEST] * 4
    of_all = elected(house, ElectLeadersRequest(election_type=election_type, topic_partitions=None))
    assert of_all == ElectLeadersResponse(error_code=ErrorCode.INVALID_REQUEST)
