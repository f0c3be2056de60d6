"""ListPartitionReassignments: nothing is ever on its way (KIP-455)."""

from pathlib import Path

from support.house import a_house
from tidelog.protocol.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    ListPartitionReassignmentsTopics,
)


async def test_no_partition_is_on_its_way(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 2)
        some = tuple(ListPartitionReassignmentsTopics(name=name, partition_indexes=(0, 9)) for name in ("orders", "no"))
        for topics in (None, (), some):
            response = house.call(ListPartitionReassignmentsRequest(topics=topics))
            assert response == ListPartitionReassignmentsResponse(error_message=None)
