"""Offsets of a group: fetched once, committed in order, never less and never for others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.builders import a_batch
from support.fake_broker import FakeCluster, Fault, a_client, played
from tidelog.client import Consumer, PartitionsLost, Refused, Retriable, TopicPartition
from tidelog.client.group_offsets import GroupOffsets
from tidelog.client.holdings import Holding
from tidelog.client.membership import Place
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.offset_commit import OffsetCommitRequest


class World:
    """A consumer of three partitions that commits nothing by itself, and what it commits with."""

    def __init__(self, fake: FakeCluster, consumer: Consumer[bytes, bytes]) -> None:
        self.fake = fake
        self.member_id = consumer.member_id
        session = consumer._session  # noqa: SLF001
        self.offsets: GroupOffsets = session._offsets  # noqa: SLF001
        self.holdings: list[Holding] = [session.holdings.by_name[name] for name in consumer.assignment]

    def committed(self) -> list[int]:
        places = self.fake.coordinator["g"].offsets
        return [places.get(holding.place, -1) for holding in self.holdings]

    def requests(self) -> list[int]:
        """How many partitions each commit was for."""
        seen = [body for body in self.fake.seen(ApiKey.OFFSET_COMMIT) if isinstance(body, OffsetCommitRequest)]
        return [sum(len(topic.partitions) for topic in body.topics) for body in seen]


@asynccontextmanager
async def world(fake: FakeCluster, *, timeout: float = 10.0) -> AsyncIterator[World]:
    for log in fake.create("orders", 3).partitions:
        log.append(a_batch([b"x"] * 9))
    async with (
        a_client(fake, timeout=timeout) as client,
        client.consumer("orders", group="g", commit="manual") as consumer,
    ):
        await asyncio.sleep(1.0)
        yield World(fake, consumer)


def test_only_what_is_more_than_before_is_committed_in_one_request() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with world(fake) as found:
            first, second, third = found.holdings
            await found.offsets.commit({first: 3, second: 0, third: 5})
            await found.offsets.commit({first: 2, second: 0, third: 6})
            await found.offsets.commit({first: 3, third: 6})
            assert found.committed() == [3, 0, 6]
            assert found.requests() == [3, 1]

    played(scenario)


def test_commits_leave_one_after_the_other() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with world(fake) as found:
            first = found.holdings[0]
            fake.fail(ApiKey.OFFSET_COMMIT, Fault(drop=True))
            await asyncio.gather(found.offsets.commit({first: 3}), found.offsets.commit({first: 5}))
            assert [commit.offset for commit in fake.coordinator["g"].commits] == [3, 5]

    played(scenario)


def test_what_was_given_to_others_is_said_to_be_lost() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with world(fake) as found:
            first, second, _ = found.holdings
            fake.coordinator["g"].expire(found.member_id)
            with pytest.raises(PartitionsLost, match=r"orders\[0\], orders\[1\]") as raised:
                await found.offsets.commit({first: 3, second: 3})
            assert raised.value.partitions == [TopicPartition("orders", 0), TopicPartition("orders", 1)]
            assert found.committed() == [-1, -1, -1]

    played(scenario)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(refuse=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
        Fault(refuse=ErrorCode.STALE_MEMBER_EPOCH),
        Fault(drop=True),
        Fault(drop_answer=True),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again_and_raised_when_it_lasts(fault: Fault) -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with world(fake) as found:
            first = found.holdings[0]
            fake.fail(ApiKey.OFFSET_COMMIT, fault, fault)
            await found.offsets.commit({first: 3})
            assert found.committed()[0] == 3
            fake.fail(ApiKey.OFFSET_COMMIT, *[fault] * 1000)
            with pytest.raises(Retriable):
                await found.offsets.commit({first: 4})
            fake.brokers[0].faults.clear()

    played(scenario)


def test_what_is_refused_for_good_is_raised() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with world(fake) as found:
            fake.fail(ApiKey.OFFSET_COMMIT, Fault(refuse=ErrorCode.TOPIC_AUTHORIZATION_FAILED))
            with pytest.raises(Refused, match=r"offset 3 of orders\[0\].*TOPIC_AUTHORIZATION_FAILED"):
                await found.offsets.commit({found.holdings[0]: 3})

    played(scenario)


def test_a_topic_that_is_gone_has_nothing_to_commit_to() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with world(fake) as found:
            del fake.topics["orders"]
            await found.offsets.commit({found.holdings[0]: 3})
            assert found.committed()[0] == -1

    played(scenario)


def test_offsets_are_fetched_as_a_member_whatever_passes() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with world(fake) as found:
            first, second, third = found.holdings
            await found.offsets.commit({first: 3, third: 4})
            fake.fail(
                ApiKey.OFFSET_FETCH,
                Fault(refuse=ErrorCode.UNSTABLE_OFFSET_COMMIT),
                Fault(refuse=ErrorCode.STALE_MEMBER_EPOCH),
                Fault(drop=True),
            )
            names: dict[Place, TopicPartition] = {holding.place: holding.name for holding in found.holdings}
            assert await found.offsets.fetch(names) == {first.place: 3, second.place: -1, third.place: 4}

    played(scenario)
