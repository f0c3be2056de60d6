"""AlterPartitionReassignments: to stay is granted, to go is refused, and there is nothing to cancel (KIP-455)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.house import House, a_house
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignablePartitionResponse,
    ReassignableTopic,
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Node 7 with the topic `orders` of two partitions."""
    async with a_house(tmp_path / "data", "node.id=7") as house:
        await house.create("orders", 2)
        yield house


def altered(
    house: House, name: str, *wanted: tuple[int, tuple[int, ...] | None], version: int = 1
) -> list[ReassignablePartitionResponse]:
    topic = ReassignableTopic(
        name=name,
        partitions=tuple(ReassignablePartition(partition_index=index, replicas=replicas) for index, replicas in wanted),
    )
    request = AlterPartitionReassignmentsRequest(topics=(topic,), allow_replication_factor_change=False)
    response = house.call(request, version)
    assert isinstance(response, AlterPartitionReassignmentsResponse)
    assert (response.error_code, response.error_message) == (ErrorCode.NONE, None)
    assert response.allow_replication_factor_change is False, "as it was asked"
    [answered] = response.responses
    assert answered.name == name
    return list(answered.partitions)


@pytest.mark.parametrize("version", range(2))
async def test_each_partition_is_answered_for_itself(house: House, version: int) -> None:
    stays, cancelled, missing = altered(house, "orders", (1, (7,)), (0, None), (2, (7,)), version=version)
    assert stays == ReassignablePartitionResponse(partition_index=1, error_message=None)
    assert (cancelled.error_code, cancelled.error_message) == (
        ErrorCode.NO_REASSIGNMENT_IN_PROGRESS,
        "No partition reassignment is in progress.",
    )
    assert (missing.partition_index, missing.error_code, missing.error_message) == (
        2,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        "Unable to find partition orders:2.",
    )


@pytest.mark.parametrize(
    ("replicas", "said"),
    [
        ((8,), "broker 8, but no such broker is registered."),
        ((7, 8), "broker 8, but no such broker is registered."),
        ((7, 7), "the broker 7 more than once."),
        ((), "an empty replica list."),
    ],
)
async def test_there_is_nowhere_to_go(house: House, replicas: tuple[int, ...], said: str) -> None:
    [result] = altered(house, "orders", (0, replicas))
    assert result.error_code == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert result.error_message == f"The manual partition assignment includes {said}"


async def test_a_topic_that_is_not_there_goes_nowhere(house: House) -> None:
    for replicas in (None, (7,)):
        [result] = altered(house, "nowhere", (0, replicas))
        assert result.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert result.error_message == "Unable to find a topic named nowhere."
    [negative] = altered(house, "orders", (-1, (7,)))
    assert negative.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_nothing_asked_is_nothing_answered(house: House) -> None:
    response = house.call(AlterPartitionReassignmentsRequest())
    assert response == AlterPartitionReassignmentsResponse(error_message=None)
