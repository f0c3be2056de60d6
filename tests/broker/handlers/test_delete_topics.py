"""DeleteTopics: by name or by id, once, and for good [L-14, 1b.11]."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from support.builders import a_batch
from support.house import House, a_house
from tidelog.broker.request import Pending
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A broker with the topics `orders` and `payments`."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 2)
        await house.create("payments")
        yield house


def by_name(name: str) -> DeleteTopicState:
    return DeleteTopicState(name=name)


def by_id(topic_id: UUID) -> DeleteTopicState:
    return DeleteTopicState(name=None, topic_id=topic_id)


def id_of(house: House, name: str) -> UUID:
    topic = house.server.topics.by_name(name)
    assert topic is not None
    return topic.topic_id


def names(house: House) -> list[str]:
    return [topic.name for topic in house.server.topics]


async def deleted(house: House, *states: DeleteTopicState) -> list[DeletableTopicResult]:
    response = await house.ask(DeleteTopicsRequest(topics=states))
    assert isinstance(response, DeleteTopicsResponse)
    return list(response.responses)


async def test_a_topic_is_deleted_by_its_name(house: House) -> None:
    topic_id = id_of(house, "orders")
    [result] = await deleted(house, by_name("orders"))
    assert result == DeletableTopicResult(name="orders", topic_id=topic_id)
    assert names(house) == ["payments"]
    assert house.server.topics.by_id(topic_id) is None


async def test_a_topic_is_deleted_by_its_id(house: House) -> None:
    """v6."""
    topic_id = id_of(house, "orders")
    [result] = await deleted(house, by_id(topic_id))
    assert result == DeletableTopicResult(name="orders", topic_id=topic_id)
    assert names(house) == ["payments"]


@pytest.mark.parametrize("version", range(6))
async def test_older_versions_name_topics_in_a_list_of_their_own(house: House, version: int) -> None:
    response = await house.ask(DeleteTopicsRequest(topic_names=("payments", "nowhere")), version)
    assert isinstance(response, DeleteTopicsResponse)
    assert [(one.name, one.error_code) for one in response.responses] == [
        ("payments", ErrorCode.NONE),
        ("nowhere", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    assert names(house) == ["orders"]


async def test_each_topic_is_answered_for_itself_in_the_order_asked(house: House) -> None:
    unknown = UUID(int=77)
    results = await deleted(house, by_id(unknown), by_name("payments"), by_name("nowhere"), by_name(""))
    assert [(one.name, one.topic_id, one.error_code) for one in results] == [
        (None, unknown, ErrorCode.UNKNOWN_TOPIC_ID),
        ("payments", results[1].topic_id, ErrorCode.NONE),
        ("nowhere", UUID(int=0), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("", UUID(int=0), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    assert names(house) == ["orders"]


async def test_a_topic_is_meant_by_name_or_by_id_but_not_by_both(house: House) -> None:
    both = DeleteTopicState(name="orders", topic_id=id_of(house, "orders"))
    [result, neither] = await deleted(house, both, by_id(UUID(int=0)))
    assert (result.error_code, result.error_message) == (
        ErrorCode.INVALID_REQUEST,
        "You may not specify both topic name and topic id.",
    )
    assert (neither.error_code, neither.error_message) == (
        ErrorCode.INVALID_REQUEST,
        "Neither topic name nor id were specified.",
    )
    assert names(house) == ["orders", "payments"]


async def test_a_topic_that_is_meant_twice_is_not_deleted(house: House) -> None:
    """Also when it is meant by its name here and by its id there."""
    results = await deleted(house, by_name("orders"), by_name("payments"), by_id(id_of(house, "orders")))
    codes = [result.error_code for result in results]
    assert codes == [ErrorCode.INVALID_REQUEST, ErrorCode.NONE, ErrorCode.INVALID_REQUEST]
    assert results[0].error_message == "Duplicate topic name."
    assert results[2].error_message == "Duplicate topic id."
    assert names(house) == ["orders"]


async def test_of_two_who_delete_a_topic_at_once_one_does(house: House) -> None:
    first = house.call(DeleteTopicsRequest(topics=(by_name("orders"),)))
    assert isinstance(first, Pending)
    answers: list[DeleteTopicsResponse] = []
    first.attach(answers.append)
    [second] = await deleted(house, by_name("orders"))
    assert second.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    [response] = answers
    assert response.responses[0].error_code == ErrorCode.NONE


async def test_internal_topics_cannot_be_deleted(house: House) -> None:
    [result] = await deleted(house, by_name("__cluster_metadata"))
    assert result.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    [by_its_id] = await deleted(house, by_id(UUID(int=1)))
    assert by_its_id.error_code == ErrorCode.UNKNOWN_TOPIC_ID
    await house.create("still.possible")


async def test_what_was_deleted_stays_deleted_over_a_restart(tmp_path: Path) -> None:
    """L-14: answered once the fact is durable."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 3)
        await house.produce("orders", a_batch())
        await deleted(house, by_name("orders"))
    async with a_house(tmp_path / "data") as house:
        assert names(house) == []
    assert list((tmp_path / "data").glob("orders*")) == []


async def test_a_topic_of_the_same_name_is_another_one_and_empty(house: House) -> None:
    """1b.11, L-14: the old id leads nowhere."""
    await house.produce("orders", a_batch())
    old_id = id_of(house, "orders")
    await deleted(house, by_name("orders"))
    await house.create("orders")
    assert id_of(house, "orders") != old_id
    produced = await house.produce("orders", a_batch())
    assert (produced.error_code, produced.base_offset) == (ErrorCode.NONE, 0)  # type: ignore[union-attr]
    data = TopicProduceData(topic_id=old_id, partition_data=(PartitionProduceData(index=0),))
    stale = await house.ask(ProduceRequest(acks=-1, topic_data=(data,)), 13)
    assert isinstance(stale, ProduceResponse)
    assert stale.responses[0].partition_responses[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


async def test_a_producer_that_waits_for_the_disk_is_not_left_waiting(house: House) -> None:
    """L-14: it hears the truth, whichever came first."""
    records = memoryview(a_batch())
    data = TopicProduceData(name="orders", partition_data=(PartitionProduceData(index=0, records=records),))
    waiting = house.call(ProduceRequest(acks=-1, topic_data=(data,)), 12)
    assert isinstance(waiting, Pending)
    answers: list[ProduceResponse] = []
    waiting.attach(answers.append)
    await deleted(house, by_name("orders"))
    [response] = answers
    [result] = response.responses[0].partition_responses
    assert result.error_code in {ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
