"""The topics as group coordinators see them."""

from uuid import UUID

from support.bench import Bench, on_the_bench
from tidelog.broker.coordinator.topics_view import TopicsView
from tidelog.broker.topics.internal_topics import OFFSETS_TOPIC
from tidelog.broker.topics.view import RegistryView


@on_the_bench
async def test_it_shows_what_is_there_now(bench: Bench) -> None:
    house = await bench.serve()
    view: TopicsView = RegistryView(house.server.topics)
    assert view.partitions_of("orders") is None
    await house.create("orders", 3)
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    assert view.partitions_of("orders") == (topic.topic_id, 3)
    assert view.name_of(topic.topic_id) == "orders"
    assert view.name_of(UUID(int=5)) is None


@on_the_bench
async def test_the_broker_s_own_topics_are_shown_to_those_who_ask_for_them(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    house.server.topics.create_internal(OFFSETS_TOPIC, partitions=1, configs={}, waiter=lambda _: None)
    await house.create("bills")
    view = RegistryView(house.server.topics)
    assert set(view.names()) == {"orders", "bills"}
    assert set(view.names(internal=True)) == {"orders", "bills", OFFSETS_TOPIC}
    assert view.partitions_of(OFFSETS_TOPIC) is not None
