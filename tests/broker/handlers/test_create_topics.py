"""CreateTopics: names, numbers, settings, and that a topic answered for is there [L-16, L-17, 1b.11, B-19]."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import UUID

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch
from support.house import House, a_house
from tidelog.broker.errors import MESSAGE_LENGTH_MAX
from tidelog.broker.request import Pending
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from tidelog.storage.config import LogConfig

DEFAULT_CONFIG, DYNAMIC_TOPIC_CONFIG = 5, 1


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with the topic `orders` and three partitions where nobody says how many."""
    async with a_house(tmp_path / "data", "num.partitions=3") as house:
        await house.create("orders")
        yield house


def a_topic(
    name: str,
    *,
    partitions: int = 1,
    replication_factor: int = 1,
    assignments: dict[int, tuple[int, ...]] | None = None,
    configs: Mapping[str, str | None] | None = None,
) -> CreatableTopic:
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=replication_factor,
        assignments=tuple(
            CreatableReplicaAssignment(partition_index=index, broker_ids=brokers)
            for index, brokers in (assignments or {}).items()
        ),
        configs=tuple(CreatableTopicConfig(name=key, value=value) for key, value in (configs or {}).items()),
    )


async def created(house: House, *topics: CreatableTopic, validate_only: bool = False) -> list[CreatableTopicResult]:
    response = await house.ask(CreateTopicsRequest(topics=topics, validate_only=validate_only))
    assert isinstance(response, CreateTopicsResponse)
    return list(response.topics)


async def refused(house: House, topic: CreatableTopic) -> CreatableTopicResult:
    """The refusal, which is the same when it is only tried, and leaves nothing behind."""
    before = [known.name for known in house.server.topics]
    [tried] = await created(house, topic, validate_only=True)
    [result] = await created(house, topic)
    assert result == tried
    assert result.error_code != ErrorCode.NONE
    assert (result.num_partitions, result.replication_factor, result.configs) == (-1, -1, None)
    assert result.topic_id == UUID(int=0)
    assert result.error_message
    assert [known.name for known in house.server.topics] == before
    return result


async def test_a_topic_that_is_answered_for_takes_records(house: House) -> None:
    [result] = await created(house, a_topic("new", partitions=2))
    assert (result.name, result.error_code, result.error_message) == ("new", ErrorCode.NONE, None)
    assert (result.num_partitions, result.replication_factor) == (2, 1)
    produced = await house.produce("new", a_batch(), partition=1)
    assert produced.error_code == ErrorCode.NONE  # type: ignore[union-attr]


async def test_a_topic_outlives_the_broker_with_its_id_and_settings(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data") as house:
        [result] = await created(house, a_topic("lasting", partitions=2, configs={"segment.bytes": "2048"}))
    async with a_house(tmp_path / "data") as house:
        topic = house.server.topics.by_id(result.topic_id)
        assert topic is not None
        assert (topic.name, len(topic.partitions), topic.config.segment_bytes) == ("lasting", 2, 2048)


async def test_every_topic_has_a_random_id_of_its_own(house: House) -> None:
    """1b.11."""
    results = await created(house, a_topic("one"), a_topic("two"))
    ids = {result.topic_id for result in results}
    assert len(ids) == 2
    assert all(topic_id.version == 4 for topic_id in ids)


# Numbers


async def test_minus_one_stands_for_the_brokers_defaults(house: House) -> None:
    """L-17, KIP-464."""
    [result] = await created(house, a_topic("new", partitions=-1, replication_factor=-1))
    assert (result.error_code, result.num_partitions, result.replication_factor) == (ErrorCode.NONE, 3, 1)
    topic = house.server.topics.by_name("new")
    assert topic is not None
    assert len(topic.partitions) == 3


@pytest.mark.parametrize("partitions", [0, -2, -(2**31)])
async def test_a_topic_has_a_possible_number_of_partitions(house: House, partitions: int) -> None:
    result = await refused(house, a_topic("new", partitions=partitions))
    assert result.error_code == ErrorCode.INVALID_PARTITIONS
    assert result.error_message == "Number of partitions was set to an invalid non-positive value."


@pytest.mark.parametrize(
    "topics",
    [
        [a_topic("new", partitions=10_001)],
        [a_topic("new", partitions=2**31 - 1), a_topic("orders", partitions=-5)],
        [a_topic("a", partitions=5_000), a_topic("b", partitions=5_000), a_topic("c")],
        [a_topic("a", partitions=9_998), a_topic("b", partitions=-1)],
        [
            a_topic("a", partitions=9_999),
            a_topic("b", partitions=-1, replication_factor=-1, assignments={0: (1,), 1: (1,)}),
        ],
        [a_topic("orders", partitions=9_999), a_topic("no way", partitions=2)],
    ],
    ids=["one", "overflow", "together", "default", "assigned", "not to be created"],
)
@pytest.mark.parametrize("validate_only", [False, True])
async def test_a_request_for_too_many_partitions_is_refused_as_a_whole(
    house: House, topics: list[CreatableTopic], *, validate_only: bool
) -> None:
    """Kafka's rule comes before every other, and counts what is asked for, be it legal or not."""
    results = await created(house, *topics, validate_only=validate_only)
    assert [result.name for result in results] == [topic.name for topic in topics]
    for result in results:
        assert result.error_code == ErrorCode.POLICY_VIOLATION
        assert result.error_message == "Excessively large number of partitions per request."
        assert (result.num_partitions, result.configs) == (-1, None)
    assert [topic.name for topic in house.server.topics] == ["orders"]


async def test_ten_thousand_partitions_are_not_too_many_and_what_stands_twice_does_not_count(house: House) -> None:
    twice = a_topic("twice", partitions=9_000)
    results = await created(
        house, a_topic("a", partitions=9_997), a_topic("b", partitions=-1), twice, twice, validate_only=True
    )
    assert [(result.name, result.error_code) for result in results] == [
        ("a", ErrorCode.NONE),
        ("b", ErrorCode.NONE),
        ("twice", ErrorCode.INVALID_REQUEST),
    ]


@pytest.mark.parametrize("replication_factor", [2, 3, 0, -2])
async def test_there_are_no_more_replicas_than_nodes(house: House, replication_factor: int) -> None:
    """L-17."""
    result = await refused(house, a_topic("new", replication_factor=replication_factor))
    assert result.error_code == ErrorCode.INVALID_REPLICATION_FACTOR
    assert result.error_message == (
        f"Unable to replicate the partition {replication_factor} time(s): The target replication factor of "
        f"{replication_factor} cannot be reached because only 1 broker(s) are registered."
        if replication_factor > 0
        else "Replication factor must be larger than 0, or -1 to use the default value."
    )


async def test_partitions_may_be_assigned_by_hand_to_the_one_node(house: House) -> None:
    topic = a_topic("new", partitions=-1, replication_factor=-1, assignments={1: (1,), 0: (1,)})
    [result] = await created(house, topic)
    assert (result.error_code, result.num_partitions) == (ErrorCode.NONE, 2)


@pytest.mark.parametrize(
    ("assignments", "numbers", "code"),
    [
        ({0: (1,)}, (1, -1), ErrorCode.INVALID_REQUEST),
        ({0: (1,)}, (-1, 1), ErrorCode.INVALID_REQUEST),
        ({1: (1,), 2: (1,)}, (-1, -1), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({0: (2,)}, (-1, -1), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({0: (1, 1)}, (-1, -1), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({0: ()}, (-1, -1), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (dict.fromkeys(range(10_001), (1,)), (-1, -1), ErrorCode.POLICY_VIOLATION),
    ],
    ids=["and a number", "and a factor", "gap", "other node", "twice", "nowhere", "too many"],
)
async def test_an_impossible_assignment_is_refused(
    house: House, assignments: dict[int, tuple[int, ...]], numbers: tuple[int, int], code: ErrorCode
) -> None:
    partitions, replication_factor = numbers
    topic = a_topic("new", partitions=partitions, replication_factor=replication_factor, assignments=assignments)
    assert (await refused(house, topic)).error_code == code


# Names


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "_", "-", "...", "x" * 249, "0"])
async def test_a_legal_name_is_taken(house: House, name: str) -> None:
    """L-16."""
    [result] = await created(house, a_topic(name))
    assert result.error_code == ErrorCode.NONE


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 250, "a b", "a/b", "ä", "a\n", "a\x00", "../a", "٣"])
async def test_an_illegal_name_is_refused(house: House, name: str) -> None:
    """L-16: names are directories, too."""
    assert (await refused(house, a_topic(name))).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


@pytest.mark.parametrize("name", ["__consumer_offsets", "__transaction_state", "__cluster_metadata"])
async def test_internal_topics_are_not_for_clients_to_create(house: House, name: str) -> None:
    """B-19."""
    assert (await refused(house, a_topic(name))).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


async def test_names_that_differ_by_dot_and_underscore_collide(house: House) -> None:
    """L-16."""
    await house.create("a.b_c")
    result = await refused(house, a_topic("a_b.c"))
    assert result.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert "a.b_c" in (result.error_message or "")


async def test_a_name_is_taken_once(house: House) -> None:
    """L-17."""
    assert (await refused(house, a_topic("orders"))).error_code == ErrorCode.TOPIC_ALREADY_EXISTS


async def test_who_creates_what_exists_hears_that_whatever_else_is_wrong(house: House) -> None:
    """L-17: programs create their topics at each start, with the numbers that another cluster needs."""
    for topic in (
        a_topic("orders", replication_factor=3),
        a_topic("orders", partitions=0),
        a_topic("orders", configs={"no.such": "setting"}),
        a_topic("orders", assignments={0: (9,)}),
    ):
        assert (await refused(house, topic)).error_code == ErrorCode.TOPIC_ALREADY_EXISTS


async def test_a_partition_is_assigned_once(house: House) -> None:
    assignment = CreatableReplicaAssignment(partition_index=0, broker_ids=(1,))
    topic = CreatableTopic(name="new", num_partitions=-1, replication_factor=-1, assignments=(assignment, assignment))
    result = await refused(house, topic)
    assert result.error_code == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert result.error_message == "Found multiple manual partition assignments for partition 0"


async def test_of_two_who_create_a_topic_at_once_one_does(house: House) -> None:
    """A name is taken, and collides, from the moment its creation begins."""
    first = house.call(CreateTopicsRequest(topics=(a_topic("a.b", partitions=2),)))
    assert isinstance(first, Pending)
    answers: list[CreateTopicsResponse] = []
    first.attach(answers.append)
    assert answers == []
    second, colliding = await created(house, a_topic("a.b"), a_topic("a_b"))
    assert second.error_code == ErrorCode.TOPIC_ALREADY_EXISTS
    assert colliding.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    await created(house, a_topic("one more"), a_topic("another"))
    [response] = answers
    assert response.topics[0].error_code == ErrorCode.NONE


async def test_a_name_that_stands_twice_in_a_request_is_answered_once_with_a_refusal(house: House) -> None:
    """L-17."""
    first, second = await created(house, a_topic("new"), a_topic("other"), a_topic("new", partitions=2))
    assert (first.name, first.error_code) == ("new", ErrorCode.INVALID_REQUEST)
    assert (second.name, second.error_code) == ("other", ErrorCode.NONE)
    assert house.server.topics.by_name("new") is None


async def test_topics_are_answered_each_for_itself_in_the_order_asked(house: House) -> None:
    results = await created(house, a_topic("c", partitions=4), a_topic("no way"), a_topic("b"), a_topic("orders"))
    assert [(result.name, result.error_code) for result in results] == [
        ("c", ErrorCode.NONE),
        ("no way", ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("b", ErrorCode.NONE),
        ("orders", ErrorCode.TOPIC_ALREADY_EXISTS),
    ]


async def test_a_request_for_nothing_is_answered_with_nothing(house: House) -> None:
    assert await created(house) == []


@on_the_bench
async def test_when_it_is_not_known_whether_a_topics_fact_is_durable_its_logs_stay(bench: Bench) -> None:
    """The next start finds a topic that is whole, or logs that nothing needs."""

    def logs() -> list[str]:
        return [name for name in bench.disk.list("") if name.startswith(("orders-", "events-"))]

    house = await bench.serve()
    bench.disk.fail_next("sync", path="__cluster_metadata-0/")
    for name in ("orders", "events"):
        response = await house.ask(CreateTopicsRequest(topics=(a_topic(name, partitions=2),)))
        assert isinstance(response, CreateTopicsResponse)
        assert response.topics[0].error_code == ErrorCode.KAFKA_STORAGE_ERROR
        await asyncio.sleep(1)
        assert logs() == ["orders-0", "orders-1"], "once no fact can follow, no log is made"
    await house.server.stop()
    house = await bench.serve()
    assert [len(topic.partitions) for topic in house.server.topics] in ([], [2])
    assert len(logs()) == 2 * len(house.server.topics)


# Time


@on_the_bench
async def test_who_waits_no_longer_is_told_so_and_the_topic_is_created_all_the_same(bench: Bench) -> None:
    house = await bench.serve()
    heard: list[tuple[float, list[tuple[str, int]]]] = []
    asked_at = bench.loop.time()

    def hear(response: object) -> None:
        assert isinstance(response, CreateTopicsResponse)
        results = [(result.name, int(result.error_code)) for result in response.topics]
        heard.append((bench.loop.time() - asked_at, results))

    bench.disk.sync_s = 0.1
    wishes = (a_topic("great", partitions=100), a_topic("no way"), a_topic("small"))
    pending = house.call(CreateTopicsRequest(topics=wishes, timeout_ms=4000))
    assert isinstance(pending, Pending)
    pending.attach(hear)
    await asyncio.sleep(5)
    [(after_s, results)] = heard
    assert after_s == pytest.approx(4, abs=0.7), "a log that is being made is made first"
    assert results == [
        ("great", ErrorCode.REQUEST_TIMED_OUT),
        ("no way", ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("small", ErrorCode.NONE),
    ]
    assert house.server.topics.by_name("great") is None
    [again] = await created(house, a_topic("great"))
    assert again.error_code == ErrorCode.TOPIC_ALREADY_EXISTS
    await asyncio.sleep(600)
    great = house.server.topics.by_name("great")
    assert great is not None
    assert len(great.partitions) == 100
    assert len(heard) == 1
    await house.server.stop()


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_who_gives_no_time_is_told_what_became_of_it(timeout_ms: int) -> None:
    @on_the_bench
    async def creates(bench: Bench) -> None:
        house = await bench.serve()
        bench.disk.sync_s = 0.1
        response = await house.ask(CreateTopicsRequest(topics=(a_topic("new", partitions=3),), timeout_ms=timeout_ms))
        assert isinstance(response, CreateTopicsResponse)
        assert response.topics[0].error_code == ErrorCode.NONE
        await house.server.stop()

    creates()


# Settings


async def test_a_setting_that_is_given_holds_and_all_others_are_told(house: House) -> None:
    """L-17: v5, KIP-525."""
    [result] = await created(house, a_topic("new", configs={"segment.bytes": "2048"}))
    assert result.configs is not None
    told = {config.name: config for config in result.configs}
    assert set(told) == set(LogConfig().entries())
    assert (told["segment.bytes"].value, told["segment.bytes"].config_source) == ("2048", DYNAMIC_TOPIC_CONFIG)
    assert told["max.message.bytes"].config_source == DEFAULT_CONFIG
    topic = house.server.topics.by_name("new")
    assert topic is not None
    assert topic.config.segment_bytes == 2048


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ({"segment.bites": "2048"}, "segment.bytes"),
        ({"segment.bytes": "many"}, "segment.bytes"),
        ({"segment.bytes": "1"}, "segment.bytes"),
        ({"segment.bytes": None}, "segment.bytes"),
        ({"cleanup.policy": "compact"}, "cleanup.policy"),
        ({"min.insync.replicas": "2"}, "min.insync.replicas"),
    ],
    ids=["unknown", "no number", "too small", "null", "not built", "one node"],
)
async def test_a_setting_that_would_not_hold_is_refused_by_name(
    house: House, configs: dict[str, str | None], said: str
) -> None:
    """L-17, B-20."""
    result = await refused(house, a_topic("new", configs=configs))
    assert result.error_code == ErrorCode.INVALID_CONFIG
    assert said in (result.error_message or "")


async def test_what_is_said_of_an_endless_name_ends(house: House) -> None:
    result = await refused(house, a_topic("x" * 30_000))
    assert len(result.error_message or "") == MESSAGE_LENGTH_MAX


# Trying


async def test_validating_answers_as_creating_would_and_creates_nothing(house: House) -> None:
    """L-17."""
    topic = a_topic("new", partitions=-1, configs={"segment.bytes": "2048"})
    [tried] = await created(house, topic, validate_only=True)
    assert house.server.topics.by_name("new") is None
    [result] = await created(house, topic)
    assert (tried.error_code, tried.num_partitions, tried.configs) == (ErrorCode.NONE, 3, result.configs)
    assert tried.topic_id == UUID(int=0)
