"""Heartbeats, and that what they bring is done: one thing at a time, and they go on meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from support.fake_broker import FakeCluster, Fault, a_client, played
from support.fake_coordinator import ConsumerGroup
from tidelog.client import Refused, TopicPartition
from tidelog.client.member import Member
from tidelog.client.membership import Identity, Place, Places, State
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode


class Hands:
    """A holder that writes down what it is told, and is as slow as a test wants."""

    def __init__(self) -> None:
        self.held: dict[Place, TopicPartition] = {}
        self.events: list[tuple[str, list[int]]] = []
        self.slow_for = 0.0
        self.stumbles = False
        self.absent: Places = frozenset()
        self.error: Exception | None = None

    def note(self, what: str, places: Mapping[Place, TopicPartition] | Places | list[Place]) -> None:
        self.events.append((what, sorted(place.partition for place in places)))

    async def revoke(self, places: Places, *, deadline: float) -> None:
        self.note("revoke", places)
        await asyncio.sleep(self.slow_for)
        for place in places:
            del self.held[place]
        self.note("revoked", places)

    async def assign(self, names: Mapping[Place, TopicPartition]) -> Places:
        if self.stumbles:
            raise ZeroDivisionError
        absent = self.absent & names.keys()
        self.held |= {place: name for place, name in names.items() if place not in absent}
        self.note("assign", names)
        return absent

    def lose(self) -> list[TopicPartition]:
        names, self.held = list(self.held.values()), {}
        return names

    async def lost(self, names: list[TopicPartition]) -> None:
        self.events.append(("lost", sorted(name.partition for name in names)))

    def changed(self) -> None:
        pass

    def failed(self, error: Exception) -> None:
        self.error = error


def group(fake: FakeCluster) -> ConsumerGroup:
    return fake.coordinator["g"]


@asynccontextmanager
async def at_work(fake: FakeCluster, hands: Hands, name: str = "a") -> AsyncIterator[Member]:
    async with a_client(fake) as client:
        identity = Identity(group_id="g", member_id=name, topics=("orders",))
        member = Member(client._entered(), identity, hands)  # noqa: SLF001
        member.start()
        await asyncio.sleep(1.0)
        yield member
        await member.settle()
        await member.leave()


def test_what_is_assigned_is_begun_and_what_is_taken_away_given_up_before_another_has_it() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 2)
        first, second = Hands(), Hands()
        async with at_work(fake, first):
            assert first.events == [("assign", [0, 1])]
            async with at_work(fake, second, "b"):
                await asyncio.sleep(20.0)
                assert first.events[1:] == [("revoke", [1]), ("revoked", [1])]
                assert second.events == [("assign", [1])]
            await asyncio.sleep(20.0)
            assert first.events[3:] == [("assign", [1])]
        assert group(fake).left == [("b", -1), ("a", -1)]

    played(scenario)


def test_heartbeats_go_on_while_something_is_given_up_slowly() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 2)
        first, second = Hands(), Hands()
        first.slow_for = 200.0
        async with at_work(fake, first), at_work(fake, second, "b"):
            await asyncio.sleep(150.0)
            assert not group(fake).fenced
            assert ("revoked", [1]) not in first.events
            assert not second.events
            await asyncio.sleep(100.0)
            assert second.events == [("assign", [1])]

    played(scenario)


def test_one_that_is_fenced_meanwhile_is_cut_short_and_joins_again_when_its_loss_was_told() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 2)
        first, second = Hands(), Hands()
        first.slow_for = 1000.0
        async with at_work(fake, first), at_work(fake, second, "b"):
            await asyncio.sleep(20.0)
            group(fake).expire("a")
            await asyncio.sleep(30.0)
            assert first.events[:3] == [("assign", [0, 1]), ("revoke", [1]), ("lost", [0, 1])]
            assert len(first.held) == len(second.held) == 1
            assert not first.held.keys() & second.held.keys()

    played(scenario)


def test_what_is_not_there_yet_is_tried_again() -> None:
    async def scenario(fake: FakeCluster) -> None:
        topic = fake.create("orders", 2)
        hands = Hands()
        hands.absent = frozenset({Place(topic.topic_id, 1)})
        async with at_work(fake, hands):
            await asyncio.sleep(12.0)
            assert list(hands.held.values()) == [("orders", 0)]
            hands.absent = frozenset()
            await asyncio.sleep(6.0)
            assert sorted(hands.held.values()) == [("orders", 0), ("orders", 1)]

    played(scenario)


def test_a_refusal_for_good_and_a_holder_that_stumbles_end_it_and_are_told() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 2)
        refused, stumbling = Hands(), Hands()
        stumbling.stumbles = True
        fake.fail(ApiKey.CONSUMER_GROUP_HEARTBEAT, Fault(refuse=ErrorCode.INVALID_REGULAR_EXPRESSION))
        async with at_work(fake, refused) as member, at_work(fake, stumbling, "b") as other:
            assert isinstance(refused.error, Refused)
            assert isinstance(stumbling.error, ZeroDivisionError)
            assert member.membership.state is other.membership.state is State.FAILED
            count = len(fake.seen(ApiKey.CONSUMER_GROUP_HEARTBEAT))
            await asyncio.sleep(60.0)
            assert len(fake.seen(ApiKey.CONSUMER_GROUP_HEARTBEAT)) == count

    played(scenario)


def test_a_lost_connection_and_a_silent_broker_cost_no_membership() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders", 2)
        hands = Hands()
        async with at_work(fake, hands) as member:
            fake.fail(ApiKey.CONSUMER_GROUP_HEARTBEAT, Fault(silent=True), Fault(drop=True), Fault(drop_answer=True))
            await asyncio.sleep(30.0)
            assert fake.brokers[0].accepted > 4, "it had to connect again"
            assert member.membership.problem is None
            assert hands.events == [("assign", [0, 1])]
            assert not group(fake).fenced

    played(scenario)


def test_a_farewell_is_not_insisted_on() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        fake.create("orders")
        async with at_work(fake, Hands()):
            fake.brokers[0].stop()
            began = loop.time()
        assert loop.time() - began < 10.0

    played(scenario)


def test_leaving_in_the_middle_of_joining_is_said_all_the_same() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.create("orders")
        fake.fail(ApiKey.CONSUMER_GROUP_HEARTBEAT, Fault(delay=5.0))
        async with at_work(fake, Hands()):
            pass
        assert group(fake).left == [("a", -1)]
        assert not group(fake).members

    played(scenario)
