"""ListGroups: every group, by state and by type, in any case (KIP-518, KIP-848) [C-9]."""

import pytest

from support.bench import Bench, on_the_bench
from support.groups import PROTOCOL_TYPE, commit, join_alone, leave
from support.house import House
from tidelog.broker.coordinator.group_partition import partition_for
from tidelog.broker.topics.internal_topics import OFFSETS_TOPIC
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse

STABLE = ListedGroup(group_id="stable", protocol_type=PROTOCOL_TYPE, group_state="Stable", group_type="classic")
LEFT = ListedGroup(group_id="left", protocol_type=PROTOCOL_TYPE, group_state="Empty", group_type="classic")
SIMPLE = ListedGroup(group_id="simple", protocol_type="", group_state="Empty", group_type="classic")


async def serve(bench: Bench) -> House:
    """A broker with three groups, whose partitions differ."""
    house = await bench.serve()
    await house.create("orders")
    await join_alone(house, "stable")
    await leave(house, await join_alone(house, "left"))
    assert await commit(house, "simple", "orders") == ErrorCode.NONE
    return house


async def listed(house: House, *, states: tuple[str, ...] = (), types: tuple[str, ...] = ()) -> set[ListedGroup]:
    response = await house.ask(ListGroupsRequest(states_filter=states, types_filter=types))
    assert isinstance(response, ListGroupsResponse)
    assert response.error_code == ErrorCode.NONE
    assert len(set(response.groups)) == len(response.groups)
    return set(response.groups)


@on_the_bench
async def test_before_anybody_wanted_a_group_there_is_none(bench: Bench) -> None:
    assert await listed(await bench.serve()) == set()


@on_the_bench
async def test_a_partition_that_has_failed_hides_no_groups_but_its_own(bench: Bench) -> None:
    """As in Kafka: else all groups of the broker could not be seen until one log is mended."""
    house = await serve(bench)
    partition = partition_for("left", house.server.services.configs.groups.offsets_topic_num_partitions)
    bench.disk.fail_next("sync", path=f"{OFFSETS_TOPIC}-{partition}/")
    assert await commit(house, "left", "orders") == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert await listed(house) == {STABLE, SIMPLE}


@on_the_bench
async def test_nothing_to_list_is_not_an_empty_list(bench: Bench) -> None:
    house = await bench.serve("offsets.topic.num.partitions=1")
    await house.create("orders")
    assert await commit(house, "simple", "orders") == ErrorCode.NONE
    bench.disk.fail_next("sync", path=OFFSETS_TOPIC)
    assert await commit(house, "simple", "orders") == ErrorCode.COORDINATOR_NOT_AVAILABLE
    response = await house.ask(ListGroupsRequest())
    assert isinstance(response, ListGroupsResponse)
    assert (response.error_code, response.groups) == (ErrorCode.COORDINATOR_NOT_AVAILABLE, ())


@on_the_bench
async def test_every_group_is_listed(bench: Bench) -> None:
    house = await serve(bench)
    assert await listed(house) == {STABLE, LEFT, SIMPLE}
    for version in range(6):
        response = await house.ask(ListGroupsRequest(), version)
        assert isinstance(response, ListGroupsResponse)
        assert {group.group_id for group in response.groups} == {"stable", "left", "simple"}


@pytest.mark.parametrize(
    ("states", "found"),
    [
        (("Stable",), {STABLE}),
        (("stable",), {STABLE}),
        (("EMPTY",), {LEFT, SIMPLE}),
        (("Empty", "Stable"), {STABLE, LEFT, SIMPLE}),
        (("PreparingRebalance",), set()),
        (("Nonsense",), set()),
        (("",), set()),
    ],
)
@on_the_bench
async def test_states_are_matched_in_any_case(bench: Bench, states: tuple[str, ...], found: set[ListedGroup]) -> None:
    assert await listed(await serve(bench), states=states) == found


@pytest.mark.parametrize(
    ("types", "found"),
    [
        (("classic",), {STABLE, LEFT, SIMPLE}),
        (("Classic", "consumer"), {STABLE, LEFT, SIMPLE}),
        (("consumer",), set()),
        (("share",), set()),
        (("nonsense",), set()),
    ],
)
@on_the_bench
async def test_types_are_matched_in_any_case(bench: Bench, types: tuple[str, ...], found: set[ListedGroup]) -> None:
    assert await listed(await serve(bench), types=types) == found


@on_the_bench
async def test_a_group_must_be_of_a_state_and_of_a_type(bench: Bench) -> None:
    house = await serve(bench)
    assert await listed(house, states=("Stable",), types=("classic",)) == {STABLE}
    assert await listed(house, states=("Stable",), types=("consumer",)) == set()
