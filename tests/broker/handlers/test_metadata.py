"""Metadata: which topics there are, who leads them, and which come into being when asked for [L-16, 1b.5, 1b.11]."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import a_batch
from support.house import House, a_house
from tidelog.broker.metadata.cluster import OPERATIONS_ON_CLUSTER, OPERATIONS_ON_TOPIC
from tidelog.broker.request import Address, Pending
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tidelog.protocol.messages.metadata import (
    OPERATIONS_UNKNOWN,
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponseTopic,
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with the topics `orders` and `payments`."""
    async with a_house(tmp_path / "data", "num.partitions=3", "node.id=7") as house:
        await house.create("orders", 2)
        await house.create("payments")
        yield house


def about(*names: str, create: bool = False) -> MetadataRequest:
    topics = tuple(MetadataRequestTopic(name=name) for name in names)
    return MetadataRequest(topics=topics, allow_auto_topic_creation=create)


async def told(house: House, request: MetadataRequest, version: int = 13) -> MetadataResponse:
    response = await house.ask(request, version)
    assert isinstance(response, MetadataResponse)
    assert response.error_code == ErrorCode.NONE
    return response


async def topics_of(house: House, request: MetadataRequest, version: int = 13) -> list[MetadataResponseTopic]:
    return list((await told(house, request, version)).topics)


def names(topics: list[MetadataResponseTopic]) -> list[str | None]:
    return [topic.name for topic in topics]


def id_of(house: House, name: str) -> UUID:
    topic = house.server.topics.by_name(name)
    assert topic is not None
    return topic.topic_id


async def test_the_broker_is_where_the_client_found_it(house: House) -> None:
    """House rule 1.11: advertise what was dialled."""
    house.client.advertised = Address("found.example", 29092)
    response = await told(house, about())
    assert response.brokers == (MetadataResponseBroker(node_id=7, host="found.example", port=29092),)
    assert response.controller_id == 7
    assert len(response.cluster_id or "") == 22


async def test_a_topic_is_told_with_its_partitions_and_their_leader(house: House) -> None:
    [topic] = await topics_of(house, about("orders"))
    assert (topic.name, topic.topic_id, topic.error_code) == ("orders", id_of(house, "orders"), ErrorCode.NONE)
    assert not topic.is_internal
    assert [partition.partition_index for partition in topic.partitions] == [0, 1]
    for partition in topic.partitions:
        assert (partition.error_code, partition.leader_id, partition.leader_epoch) == (ErrorCode.NONE, 7, 0)
        assert (partition.replica_nodes, partition.isr_nodes, partition.offline_replicas) == ((7,), (7,), ())


@pytest.mark.parametrize("version", range(1, 14))
async def test_null_means_all_topics_and_an_empty_list_none(house: House, version: int) -> None:
    assert names(await topics_of(house, MetadataRequest(topics=None), version)) == ["orders", "payments"]
    assert await topics_of(house, about(), version) == []


async def test_in_version_0_an_empty_list_means_all_topics(house: House) -> None:
    assert names(await topics_of(house, about(), 0)) == ["orders", "payments"]
    assert names(await topics_of(house, about("payments"), 0)) == ["payments"]


async def test_a_topic_that_is_named_twice_is_told_once(house: House) -> None:
    """As in Kafka; a small request must not be answered with gigabytes."""
    request = about("orders", "payments", "orders", "nowhere", "nowhere")
    assert names(await topics_of(house, request)) == ["orders", "payments", "nowhere"]


async def test_topics_are_answered_in_the_order_asked(house: House) -> None:
    topics = await topics_of(house, about("payments", "nowhere", "orders"))
    assert [(topic.name, topic.error_code) for topic in topics] == [
        ("payments", ErrorCode.NONE),
        ("nowhere", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("orders", ErrorCode.NONE),
    ]


async def test_the_brokers_own_log_is_no_topic_of_clients(house: House) -> None:
    """B-19."""
    [topic] = await topics_of(house, about("__cluster_metadata", create=True))
    assert topic.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert "__cluster_metadata" not in names(await topics_of(house, MetadataRequest(topics=None)))


@pytest.mark.parametrize("topics", [None, (MetadataRequestTopic(name="orders"), MetadataRequestTopic(name="nowhere"))])
@pytest.mark.parametrize("cluster", [False, True])
@pytest.mark.parametrize("topic", [False, True])
async def test_who_asks_what_they_may_do_may_do_everything(
    house: House, topics: tuple[MetadataRequestTopic, ...] | None, *, cluster: bool, topic: bool
) -> None:
    """1b.13: as Kafka without an authorizer, of a topic that is not there as well; and nothing to who does not ask."""
    request = MetadataRequest(
        topics=topics,
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=cluster,
        include_topic_authorized_operations=topic,
    )
    response = await told(house, request, 10)
    assert response.cluster_authorized_operations == (OPERATIONS_ON_CLUSTER if cluster else OPERATIONS_UNKNOWN)
    operations = OPERATIONS_ON_TOPIC if topic else OPERATIONS_UNKNOWN
    assert [one.topic_authorized_operations for one in response.topics] == [operations, operations]


async def test_what_may_be_done_is_told_of_a_topic_asked_for_by_id_and_not_of_an_id_that_is_none(house: House) -> None:
    wanted = [MetadataRequestTopic(name=None, topic_id=one) for one in (id_of(house, "orders"), UUID(int=99))]
    request = MetadataRequest(topics=tuple(wanted), include_topic_authorized_operations=True)
    known, unknown = await topics_of(house, request)
    assert known.topic_authorized_operations == OPERATIONS_ON_TOPIC
    assert unknown.topic_authorized_operations == OPERATIONS_UNKNOWN


# By id


@pytest.mark.parametrize("version", [12, 13])
async def test_a_topic_may_be_asked_for_by_its_id(house: House, version: int) -> None:
    """1b.5."""
    known, unknown = id_of(house, "payments"), UUID(int=99)
    wanted = tuple(MetadataRequestTopic(name=None, topic_id=topic_id) for topic_id in (unknown, known))
    missing, payments = await topics_of(house, MetadataRequest(topics=wanted), version)
    assert (payments.name, payments.topic_id, len(payments.partitions)) == ("payments", known, 1)
    assert (missing.error_code, missing.name, missing.topic_id) == (ErrorCode.UNKNOWN_TOPIC_ID, None, unknown)
    assert missing.partitions == ()


async def test_a_name_and_an_id_must_mean_the_same_topic(house: House) -> None:
    """1b.11."""
    wanted = MetadataRequestTopic(name="orders", topic_id=id_of(house, "payments"))
    [topic] = await topics_of(house, MetadataRequest(topics=(wanted,)))
    assert topic.error_code == ErrorCode.INCONSISTENT_TOPIC_ID


@pytest.mark.parametrize("version", [10, 11])
async def test_an_id_is_refused_in_versions_that_only_tell_them(house: House, version: int) -> None:
    wanted = (
        MetadataRequestTopic(name=None, topic_id=id_of(house, "orders")),
        MetadataRequestTopic(name="new", topic_id=UUID(int=5)),
        MetadataRequestTopic(name="orders"),
    )
    topics = await topics_of(house, MetadataRequest(topics=wanted), version)
    assert [(topic.name, topic.error_code) for topic in topics] == [
        ("", ErrorCode.INVALID_REQUEST),
        ("new", ErrorCode.INVALID_REQUEST),
        ("orders", ErrorCode.NONE),
    ]
    assert house.server.topics.by_name("new") is None


async def test_an_unknown_id_creates_nothing(house: House) -> None:
    wanted = MetadataRequestTopic(name="new", topic_id=UUID(int=5))
    [topic] = await topics_of(house, MetadataRequest(topics=(wanted,), allow_auto_topic_creation=True))
    assert topic.error_code == ErrorCode.UNKNOWN_TOPIC_ID
    assert house.server.topics.by_name("new") is None


# Creation by asking


async def test_a_topic_that_is_asked_for_is_created_and_answered_ready(house: House) -> None:
    """L-16: no LEADER_NOT_AVAILABLE first."""
    [topic] = await topics_of(house, about("new", create=True))
    assert (topic.error_code, topic.name, topic.topic_id) == (ErrorCode.NONE, "new", id_of(house, "new"))
    assert [partition.leader_id for partition in topic.partitions] == [7, 7, 7]
    produced = await house.produce("new", a_batch(), partition=2)
    assert produced.error_code == ErrorCode.NONE  # type: ignore[union-attr]


@pytest.mark.parametrize("version", range(14))
async def test_nothing_is_created_for_who_says_so_which_is_possible_from_version_4_on(
    house: House, version: int
) -> None:
    """L-16: the flag is the client's word, and has its default in older versions."""
    asked = MetadataRequest(
        topics=(MetadataRequestTopic(name="new"),),
        # A request of an older version carries no flag; its decoder leaves the default.
        allow_auto_topic_creation=version < 4,
    )
    [topic] = await topics_of(house, asked, version)
    expected = ErrorCode.NONE if version < 4 else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert topic.error_code == expected
    assert (house.server.topics.by_name("new") is not None) == (version < 4)


async def test_nothing_is_created_where_the_broker_is_told_not_to(tmp_path: Path) -> None:
    """L-16."""
    async with a_house(tmp_path / "data", "auto.create.topics.enable=false") as house:
        for version in (0, 13):
            [topic] = await topics_of(house, about("new", create=True), version)
            assert topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert list(house.server.topics) == []


@pytest.mark.parametrize("name", [".", "a b", "x" * 250, "ä", "order.s/", "__consumer_offsets"])
async def test_an_illegal_name_is_not_created(house: House, name: str) -> None:
    """L-16."""
    wrong, right = await topics_of(house, about(name, "new", create=True))
    assert (wrong.name, wrong.error_code) == (name, ErrorCode.INVALID_TOPIC_EXCEPTION)
    assert right.error_code == ErrorCode.NONE


async def test_a_name_that_collides_is_not_created(house: House) -> None:
    """L-16: neither with a topic that is there nor with its neighbour in the request."""
    await house.create("a.b")
    topics = await topics_of(house, about("a_b", "c.d", "c_d", create=True))
    assert [topic.error_code for topic in topics] == [
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        ErrorCode.NONE,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
    ]


@pytest.mark.parametrize("name", ["", "a b", ".."])
async def test_a_name_that_no_topic_can_have_is_not_to_be_waited_for(house: House, name: str) -> None:
    """L-16: whether it would be created or not; of an unknown one, clients ask again and again."""
    for create in (True, False):
        wrong, unknown = await topics_of(house, about(name, "later", create=create and bool(name)))
        assert wrong.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
        assert unknown.error_code in {ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}


async def test_all_who_ask_for_a_new_topic_at_once_are_answered_with_it(house: House) -> None:
    """One creates it, the others wait for it: by Metadata here, by CreateTopics there."""
    creation = house.call(
        CreateTopicsRequest(topics=(CreatableTopic(name="first", num_partitions=2, replication_factor=1),))
    )
    waiting = [house.call(about("first", "second", create=True)) for _ in range(3)]
    answers: list[MetadataResponse] = []
    for pending in waiting:
        assert isinstance(pending, Pending)
        pending.attach(answers.append)
    assert isinstance(creation, Pending)
    assert answers == []
    await topics_of(house, about("last", create=True))
    assert len(answers) == 3
    for answer in answers:
        assert [(topic.name, topic.error_code, len(topic.partitions)) for topic in answer.topics] == [
            ("first", ErrorCode.NONE, 2),
            ("second", ErrorCode.NONE, 3),
        ]
    assert len({topic.topic_id for answer in answers for topic in answer.topics}) == 2


async def test_a_name_that_stands_twice_in_a_request_is_created_once(house: House) -> None:
    [topic] = await topics_of(house, about("new", "new", create=True))
    assert (topic.error_code, topic.topic_id) == (ErrorCode.NONE, id_of(house, "new"))
