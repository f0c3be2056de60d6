"""ConsumerGroupDescribe: groups of the consumer protocol, and what is said of those that are not [C-9]."""

import pytest

from support.bench import Bench, on_the_bench
from support.groups import join_alone
from support.house import House
from tidelog.broker.metadata.cluster import OPERATIONS_ON_GROUP
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.consumer_group_describe import (
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
    DescribedGroup,
)
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from tidelog.protocol.messages.metadata import OPERATIONS_UNKNOWN


async def join(house: House, group_id: str) -> None:
    await house.create("orders", 2)
    await house.ask(
        ConsumerGroupHeartbeatRequest(
            group_id=group_id,
            member_id="m1",
            rebalance_timeout_ms=60_000,
            subscribed_topic_names=("orders",),
            topic_partitions=(),
        )
    )


async def described(house: House, *group_ids: str, version: int = 1, operations: bool = False) -> list[DescribedGroup]:
    request = ConsumerGroupDescribeRequest(group_ids=group_ids, include_authorized_operations=operations)
    response = await house.ask(request, version)
    assert isinstance(response, ConsumerGroupDescribeResponse)
    return list(response.groups)


@pytest.mark.parametrize("version", [0, 1])
@on_the_bench
async def test_a_group_is_described_with_its_members(bench: Bench, version: int) -> None:
    house = await bench.serve()
    await join(house, "billing")
    [group] = await described(house, "billing", "billing", version=version)
    assert (group.error_code, group.group_state, group.group_epoch, group.assignment_epoch) == (0, "Stable", 1, 1)
    assert (group.assignor_name, group.authorized_operations) == ("uniform", OPERATIONS_UNKNOWN)
    [member] = group.members
    assert (member.member_id, member.client_id, member.client_host) == ("m1", "test", "/127.0.0.1")
    [part] = member.assignment.topic_partitions
    assert (part.topic_name, part.partitions) == ("orders", (0, 1))
    await house.server.stop()


@on_the_bench
async def test_groups_that_are_not_there_and_classic_ones_are_not_found(bench: Bench) -> None:
    house = await bench.serve()
    await join_alone(house, "classic")
    for group_id in ("classic", "nobody's"):
        [group] = await described(house, group_id, operations=True)
        assert (group.group_id, group.error_code) == (group_id, ErrorCode.GROUP_ID_NOT_FOUND)
        assert group.error_message
        assert group.authorized_operations == OPERATIONS_UNKNOWN
    await house.server.stop()


@on_the_bench
async def test_what_may_be_done_is_told_when_asked(bench: Bench) -> None:
    house = await bench.serve()
    await join(house, "billing")
    [group] = await described(house, "billing", operations=True)
    assert group.authorized_operations == OPERATIONS_ON_GROUP
    await house.server.stop()
