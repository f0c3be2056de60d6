"""CreatePartitions: who may grow, by what, and that a topic answered for has grown [L-17, B-19]."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from support.house import House, a_house
from tidelog.broker.config import PARTITIONS_MAX
from tidelog.broker.request import Pending
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Node 7 with the topics `orders`, of two partitions, and `payments`, of one."""
    async with a_house(tmp_path / "data", "node.id=7") as house:
        await house.create("orders", 2)
        await house.create("payments")
        yield house


def to(name: str, count: int, *assignments: tuple[int, ...]) -> CreatePartitionsTopic:
    """A topic that is to grow to so many; on these nodes where any are named."""
    chosen = tuple(CreatePartitionsAssignment(broker_ids=nodes) for nodes in assignments)
    return CreatePartitionsTopic(name=name, count=count, assignments=chosen or None)


async def grown(
    house: House, *topics: CreatePartitionsTopic, validate_only: bool = False, version: int = 3
) -> list[CreatePartitionsTopicResult]:
    response = await house.ask(CreatePartitionsRequest(topics=topics, validate_only=validate_only), version)
    assert isinstance(response, CreatePartitionsResponse)
    return list(response.results)


async def refused(house: House, topic: CreatePartitionsTopic) -> CreatePartitionsTopicResult:
    """The refusal, which is the same when it is only tried, and changes nothing."""
    before = counts(house)
    [tried] = await grown(house, topic, validate_only=True)
    [result] = await grown(house, topic)
    assert result == tried
    assert (result.name, counts(house)) == (topic.name, before)
    return result


def counts(house: House) -> dict[str, int]:
    return {topic.name: len(topic.partitions) for topic in house.server.topics}


@pytest.mark.parametrize("version", range(4))
async def test_a_topic_that_is_answered_for_has_its_partitions(house: House, version: int) -> None:
    [result] = await grown(house, to("orders", 4), version=version)
    assert result == CreatePartitionsTopicResult(name="orders")
    asked = MetadataRequest(topics=(MetadataRequestTopic(name="orders"),))
    told = await house.ask(asked)
    assert isinstance(told, MetadataResponse)
    assert [partition.partition_index for partition in told.topics[0].partitions] == [0, 1, 2, 3]
    produced = await house.produce("orders", a_batch(), partition=3)
    assert produced.error_code == ErrorCode.NONE  # type: ignore[union-attr]


async def test_partitions_outlive_the_broker(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data") as house:
        await house.create("orders")
        await grown(house, to("orders", 3))
    async with a_house(tmp_path / "data") as house:
        assert counts(house) == {"orders": 3}


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (2, "Topic already has 2 partition(s)."),
        (1, "The topic orders currently has 2 partition(s); 1 would not be an increase."),
        (-1, "The topic orders currently has 2 partition(s); -1 would not be an increase."),
        (PARTITIONS_MAX + 1, f"Number of partitions must not be larger than {PARTITIONS_MAX}."),
        (PARTITIONS_MAX + 2, f"Number of partitions must not be larger than {PARTITIONS_MAX}."),
    ],
)
async def test_partitions_are_only_ever_added_and_not_without_end(house: House, count: int, said: str) -> None:
    """L-17."""
    result = await refused(house, to("orders", count))
    assert (result.error_code, result.error_message) == (ErrorCode.INVALID_PARTITIONS, said)


@pytest.mark.parametrize(
    "topics",
    [
        [to("orders", 2**31 - 1)],
        [to("orders", 10_003)],
        [to("orders", 6_002), to("payments", 4_002)],
        [to("orders", 10_003), to("nowhere", 1), to("payments", 1)],
    ],
    ids=["without end", "one", "together", "others"],
)
@pytest.mark.parametrize("validate_only", [False, True])
async def test_a_request_for_too_many_partitions_is_refused_as_a_whole(
    house: House, topics: list[CreatePartitionsTopic], *, validate_only: bool
) -> None:
    """What counts is what would be added."""
    results = await grown(house, *topics, validate_only=validate_only)
    assert [result.name for result in results] == [topic.name for topic in topics]
    for result in results:
        assert result.error_code == ErrorCode.POLICY_VIOLATION
        assert result.error_message == "Excessively large number of partitions per request."
    assert counts(house) == {"orders": 2, "payments": 1}


async def test_ten_thousand_partitions_of_a_request_are_not_too_many(house: House) -> None:
    wanted = (to("orders", 6_002), to("payments", 4_001), to("nowhere", 9_000))
    results = await grown(house, *wanted, validate_only=True)
    assert [result.error_code for result in results] == [0, 0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]


@pytest.mark.parametrize("name", ["nowhere", "", "__cluster_metadata"])
async def test_a_topic_that_is_not_there_does_not_grow(house: House, name: str) -> None:
    """B-19: the broker's own log is no topic."""
    assert (await refused(house, to(name, 5))).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_new_partitions_may_be_assigned_to_the_one_node(house: House) -> None:
    [result] = await grown(house, to("orders", 4, (7,), (7,)))
    assert (result.error_code, counts(house)["orders"]) == (ErrorCode.NONE, 4)


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (((7,),), "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."),
        (((7,),) * 3, "Attempted to add 2 additional partition(s), but only 3 assignment(s) were specified."),
        (((7,), (8,)), "The manual partition assignment includes broker 8, but no such broker is registered."),
        (((7,), (7, 8)), "The manual partition assignment includes broker 8, but no such broker is registered."),
        (((7,), (7, 7)), "The manual partition assignment includes the broker 7 more than once."),
        (((7,), ()), "The manual partition assignment includes an empty replica list."),
    ],
    ids=["too few", "too many", "other node", "and another", "twice", "nowhere"],
)
async def test_an_impossible_assignment_is_refused(
    house: House, assignments: tuple[tuple[int, ...], ...], said: str
) -> None:
    result = await refused(house, to("orders", 4, *assignments))
    assert (result.error_code, result.error_message) == (ErrorCode.INVALID_REPLICA_ASSIGNMENT, said)


async def test_no_assignment_at_all_is_not_an_empty_list_of_them(house: House) -> None:
    result = await refused(house, CreatePartitionsTopic(name="orders", count=3, assignments=()))
    assert result.error_code == ErrorCode.INVALID_REPLICA_ASSIGNMENT


async def test_topics_are_answered_each_for_itself_in_the_order_asked(house: House) -> None:
    results = await grown(house, to("payments", 3), to("nowhere", 2), to("orders", 3))
    assert [(result.name, result.error_code) for result in results] == [
        ("payments", ErrorCode.NONE),
        ("nowhere", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("orders", ErrorCode.NONE),
    ]
    assert counts(house) == {"orders": 3, "payments": 3}
    assert await grown(house) == []


async def test_a_name_that_stands_twice_in_a_request_is_answered_once_with_a_refusal(house: House) -> None:
    first, second = await grown(house, to("orders", 3), to("payments", 2), to("orders", 4))
    assert (first.error_code, first.error_message) == (ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
    assert (second.name, second.error_code) == ("payments", ErrorCode.NONE)
    assert counts(house) == {"orders": 2, "payments": 2}


async def test_trying_changes_nothing(house: House) -> None:
    [result] = await grown(house, to("orders", 4), validate_only=True)
    assert (result.error_code, counts(house)["orders"]) == (ErrorCode.NONE, 2)


async def test_of_two_who_ask_for_the_same_at_once_one_is_too_late(house: House) -> None:
    first = house.call(CreatePartitionsRequest(topics=(to("orders", 4),)))
    assert isinstance(first, Pending)
    answers: list[CreatePartitionsResponse] = []
    first.attach(answers.append)
    assert answers == []
    [second] = await grown(house, to("orders", 4))
    assert second.error_message == "Topic already has 4 partition(s)."
    [response] = answers
    assert response.results[0].error_code == ErrorCode.NONE


@on_the_bench
async def test_who_waits_no_longer_is_told_so_and_the_topic_grows_all_the_same(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", 2)
    await house.create("payments")
    heard: list[tuple[float, list[tuple[str, int]]]] = []
    asked_at = bench.loop.time()

    def hear(response: object) -> None:
        assert isinstance(response, CreatePartitionsResponse)
        results = [(result.name, int(result.error_code)) for result in response.results]
        heard.append((bench.loop.time() - asked_at, results))

    bench.disk.sync_s = 0.1
    wishes = (to("orders", 100), to("nowhere", 3), to("payments", 2))
    pending = house.call(CreatePartitionsRequest(topics=wishes, timeout_ms=4000))
    assert isinstance(pending, Pending)
    pending.attach(hear)
    await asyncio.sleep(5)
    [(after_s, results)] = heard
    assert after_s == pytest.approx(4, abs=0.7), "a log that is being made is made first"
    assert results == [
        ("orders", ErrorCode.REQUEST_TIMED_OUT),
        ("nowhere", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("payments", ErrorCode.NONE),
    ]
    assert counts(house) == {"orders": 2, "payments": 2}
    await asyncio.sleep(600)
    assert counts(house) == {"orders": 100, "payments": 2}
    assert len(heard) == 1
    await house.server.stop()


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_who_gives_no_time_is_told_what_became_of_it(timeout_ms: int) -> None:
    @on_the_bench
    async def grows(bench: Bench) -> None:
        house = await bench.serve()
        await house.create("orders")
        bench.disk.sync_s = 0.1
        response = await house.ask(CreatePartitionsRequest(topics=(to("orders", 4),), timeout_ms=timeout_ms))
        assert isinstance(response, CreatePartitionsResponse)
        assert (response.results[0].error_code, counts(house)) == (ErrorCode.NONE, {"orders": 4})
        await house.server.stop()

    grows()
