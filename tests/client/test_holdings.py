"""What is in hand, what is done, and what happens to both when partitions go."""

import uuid

from support.builders import batches
from tidelog.client.config import ReaderConfig
from tidelog.client.fetcher import Fetcher
from tidelog.client.holdings import Holding, Holdings
from tidelog.client.membership import Place
from tidelog.client.records import TopicPartition
from tidelog.protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData

TOPIC_ID = uuid.UUID(int=7)


class World:
    """Holdings of two partitions, with three batches of two records each in both."""

    def __init__(self, *, hands_out_whole: bool = False) -> None:
        self.fetcher = Fetcher(ReaderConfig())
        self.holdings = Holdings(self.fetcher, hands_out_whole=hands_out_whole)
        self.first, self.second = self.add(0), self.add(1)
        self.fetch()

    def add(self, partition: int, *, offset: int = 0) -> Holding:
        name = TopicPartition("orders", partition)
        holding = self.holdings.add(name, Place(TOPIC_ID, partition), offset, committed=-1)
        assert self.fetcher.wanted(0.0) == [] or holding.cursor not in self.fetcher.wanted(0.0), (
            "not before it is ready"
        )
        holding.is_ready = True
        holding.update()
        return holding

    def fetch(self) -> None:
        """Everything from where each cursor stands."""
        wanted = sorted(self.fetcher.wanted(0.0), key=lambda cursor: cursor.partition)
        asked = self.fetcher.ask(wanted)
        self.fetcher.unask(asked)
        log = bytes(batches([[b"x", b"x"]] * 3))
        answers = tuple(
            PartitionData(partition_index=cursor.partition, high_watermark=6, records=log)
            for cursor in wanted
            if cursor.fetch_offset < 6
        )
        response = FetchResponse(responses=(FetchableTopicResponse(topic="orders", partitions=answers),))
        assert self.fetcher.accept(asked, response) == []

    def take(self, count: int = 1) -> list[tuple[int, int]]:
        taken: list[tuple[int, int]] = []
        while len(taken) < count and self.holdings.load():
            record = self.holdings.take()
            assert record is not None
            taken.append((record.partition, record.offset))
        return taken


def test_a_record_in_hand_is_not_done_before_it_is_finished() -> None:
    world = World()
    assert world.take() == [(0, 0)]
    assert (world.holdings.done(world.first), world.holdings.position(world.first)) == (0, 1)
    world.holdings.finish()
    assert world.holdings.done(world.first) == 1


def test_several_in_hand_are_done_together() -> None:
    world = World()
    world.take(8)
    assert (world.holdings.done(world.first), world.holdings.done(world.second)) == (0, 0)
    assert world.holdings.is_busy(world.second)
    world.holdings.finish()
    assert (world.holdings.done(world.first), world.holdings.done(world.second)) == (6, 2)
    assert not world.holdings.is_busy(world.second)


def test_what_is_put_back_comes_again() -> None:
    world = World()
    world.take(3)
    world.holdings.finish()
    world.take(2)
    world.holdings.put_back()
    assert world.holdings.done(world.first) == world.holdings.position(world.first) == 3
    world.fetch()
    assert sorted(world.take(20))[:3] == [(0, 3), (0, 4), (0, 5)]


def test_one_that_is_untaken_is_the_next() -> None:
    world = World()
    world.take(2)
    world.holdings.untake()
    assert (world.holdings.done(world.first), world.holdings.position(world.first)) == (0, 1)
    world.holdings.finish()
    world.take()
    world.holdings.untake()
    assert not world.holdings.in_hand
    assert world.take() == [(0, 1)]


def test_a_partition_that_stops_hands_nothing_more_out_but_what_is_in_hand_counts() -> None:
    world = World()
    world.take()
    world.holdings.stop(world.first)
    assert (world.holdings.done(world.first), world.holdings.is_busy(world.first)) == (0, True)
    assert world.take() == [(1, 0)]
    world.holdings.finish()
    assert (world.holdings.done(world.first), world.holdings.is_busy(world.first)) == (1, False)
    assert [cursor.partition for cursor in world.fetcher.wanted(0.0)] == [1]


def test_where_batches_are_handed_out_whole_one_that_was_begun_is() -> None:
    world = World(hands_out_whole=True)
    world.take()
    world.holdings.finish()
    world.holdings.stop(world.first)
    assert world.holdings.is_busy(world.first)
    assert world.take(2) == [(0, 1), (1, 0)]
    world.holdings.finish()
    assert not world.holdings.is_busy(world.first)


def test_a_partition_that_is_removed_takes_what_is_in_hand_along() -> None:
    world = World()
    world.take()
    gone = world.first
    world.holdings.remove(gone)
    assert (gone.is_held, world.holdings.in_hand) == (False, {})
    again = world.add(0, offset=4)
    assert world.holdings.done(again) == 4
    world.holdings.finish()
    assert world.holdings.done(again) == 4, "what an earlier assignment had in hand says nothing about this one"
    assert world.take() == [(1, 0)]


def test_a_pause_keeps_the_place_and_drops_what_was_fetched() -> None:
    world = World()
    world.take()
    world.holdings.pause(world.first, is_paused=True)
    assert world.take(20) == [(1, offset) for offset in range(6)]
    world.holdings.pause(world.first, is_paused=False)
    assert world.take() == []
    world.fetch()
    assert world.take() == [(0, 1)]


def test_after_a_seek_less_may_be_committed() -> None:
    world = World()
    world.first.committed = 5
    world.holdings.place(world.first, 2)
    assert (world.first.committed, world.holdings.done(world.first)) == (-1, 2)


def test_what_is_left_of_a_batch_can_be_handed_out_later() -> None:
    world = World()
    assert world.holdings.load()
    world.holdings.put_back_batch()
    assert world.holdings.position(world.first) == 0
    world.fetch()
    assert (0, 0) in world.take(20)
