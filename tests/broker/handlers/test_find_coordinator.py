"""FindCoordinator: the one node coordinates every group, and the first who asks waits for the topic of offsets."""

import pytest

from support.bench import Bench, on_the_bench
from support.house import House
from tidelog.broker.request import Pending
from tidelog.broker.topics.internal_topics import METADATA_TOPIC, OFFSETS_TOPIC
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.find_coordinator import Coordinator, FindCoordinatorRequest, FindCoordinatorResponse

GROUP, TRANSACTION, SHARE = range(3)
MANY_KEYS_SINCE = 4


async def found(house: House, *keys: str, version: int = 6, key_type: int = GROUP) -> list[Coordinator]:
    """The coordinators, as newer versions tell them."""
    if version >= MANY_KEYS_SINCE:
        request = FindCoordinatorRequest(key_type=key_type, coordinator_keys=keys)
    else:
        [key] = keys
        request = FindCoordinatorRequest(key_type=key_type, key=key)
    response = await house.ask(request, version)
    assert isinstance(response, FindCoordinatorResponse)
    if version >= MANY_KEYS_SINCE:
        return list(response.coordinators)
    return [
        Coordinator(
            key=keys[0],
            node_id=response.node_id,
            host=response.host,
            port=response.port,
            error_code=response.error_code,
            error_message=response.error_message,
        )
    ]


@pytest.mark.parametrize("version", range(7))
@on_the_bench
async def test_groups_are_coordinated_here_under_the_address_that_was_dialled(bench: Bench, version: int) -> None:
    house = await bench.serve("node.id=7")
    assert await found(house, "billing", version=version) == [
        Coordinator(key="billing", node_id=7, host="dialled.example", port=9092)
    ]


@on_the_bench
async def test_each_of_many_keys_is_answered_also_the_empty_one(bench: Bench) -> None:
    """G-11: the group without a name is a legal one."""
    house = await bench.serve()
    coordinators = await found(house, "a", "", "b", "a")
    assert [(one.key, one.node_id, one.error_code) for one in coordinators] == [
        ("a", 1, 0),
        ("", 1, 0),
        ("b", 1, 0),
        ("a", 1, 0),
    ]
    assert await found(house) == []


@on_the_bench
async def test_the_first_who_asks_waits_until_the_topic_of_offsets_is_there(bench: Bench) -> None:
    house = await bench.serve("offsets.topic.num.partitions=3", "offsets.topic.segment.bytes=1048576")
    assert house.server.topics.by_name(OFFSETS_TOPIC) is None
    assert isinstance(house.call(FindCoordinatorRequest(coordinator_keys=("a",))), Pending)
    [coordinator] = await found(house, "b")
    assert coordinator.error_code == ErrorCode.NONE
    topic = house.server.topics.by_name(OFFSETS_TOPIC)
    assert topic is not None
    assert (len(topic.partitions), topic.config.segment_bytes) == (3, 1048576)
    assert isinstance(house.call(FindCoordinatorRequest(coordinator_keys=("a",))), FindCoordinatorResponse)


@pytest.mark.parametrize("version", range(7))
@on_the_bench
async def test_while_that_topic_cannot_be_made_there_is_no_coordinator_at_the_moment(
    bench: Bench, version: int
) -> None:
    house = await bench.serve()
    bench.disk.fail_next("append", path=METADATA_TOPIC)
    [coordinator] = await found(house, "a", version=version)
    assert coordinator.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert (coordinator.node_id, coordinator.host, coordinator.port) == (-1, "", -1)
    [coordinator] = await found(house, "a", version=version)
    assert coordinator.error_code == ErrorCode.NONE, "the next one finds it"


@pytest.mark.parametrize("version", range(1, 7))
@on_the_bench
async def test_a_transactional_producer_hears_for_good_that_there_are_no_transactions(
    bench: Bench, version: int
) -> None:
    """With this code, as with InitProducerId, every client gives up; with others some come back until they time out."""
    house = await bench.serve()
    [coordinator] = await found(house, "payments", version=version, key_type=TRANSACTION)
    assert coordinator.error_code == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert coordinator.error_message == "Transactions are not built yet."
    assert house.server.topics.by_name(OFFSETS_TOPIC) is None


@pytest.mark.parametrize(
    ("key_type", "words"),
    [
        (SHARE, "Share groups are not built yet."),
        (3, "Unknown coordinator type in FindCoordinator request: 3"),
        (-1, "Unknown coordinator type in FindCoordinator request: -1"),
    ],
)
@pytest.mark.parametrize("version", [3, 6])
@on_the_bench
async def test_other_types_of_keys_are_refused(bench: Bench, key_type: int, words: str, version: int) -> None:
    house = await bench.serve()
    [coordinator] = await found(house, "g:topic:0", version=version, key_type=key_type)
    assert (coordinator.error_code, coordinator.error_message) == (ErrorCode.INVALID_REQUEST, words)
    assert (coordinator.key, coordinator.node_id) == ("g:topic:0", -1)


@on_the_bench
async def test_who_cannot_wait_for_the_topic_is_told_so_at_once_and_not_twice(bench: Bench) -> None:
    house = await bench.serve()
    pending = house.call(FindCoordinatorRequest(coordinator_keys=("a",)))
    assert isinstance(pending, Pending)
    pending.hurry()
    assert isinstance(pending.response, FindCoordinatorResponse)
    [coordinator] = pending.response.coordinators
    assert coordinator.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
    [coordinator] = await found(house, "a")
    assert coordinator.error_code == ErrorCode.NONE
