"""Behind a consumer: what is told to whom, who waits for whom, and what is raised where."""

import asyncio
import logging

import pytest

from support.builders import a_batch
from support.fake_broker import FakeCluster, Fault, a_client, played
from tidelog.client import Client, ClientClosed, ConnectionLost, Refused, TopicPartition
from tidelog.client.config import ConsumerConfig, ReaderConfig
from tidelog.client.group_session import GroupSession, Listeners
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode


def filled(fake: FakeCluster, *, partitions: int = 2) -> None:
    for log in fake.create("orders", partitions).partitions:
        log.append(a_batch([b"x"] * 5))


async def opened(client: Client, listeners: Listeners | None = None, *, commit: str = "after") -> GroupSession:
    config = ConsumerConfig(
        group="g", topics=("orders",), pattern=None, commit=commit, fetch=ReaderConfig(on_out_of_range="earliest")
    )
    session = GroupSession(client._entered(), config, listeners or Listeners())  # noqa: SLF001
    await session.open()
    return session


async def take(session: GroupSession, count: int) -> list[tuple[int, int]]:
    """Records, each finished when the next is taken."""
    taken: list[tuple[int, int]] = []
    while len(taken) < count:
        session.finish()
        record = session.take()
        if record is None:
            await session.load()
        else:
            session.working()
            taken.append((record.partition, record.offset))
    return taken


def test_listeners_may_be_plain_or_asynchronous_and_are_told_in_order() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        told: list[tuple[str, list[int]]] = []

        async def assigned(names: list[TopicPartition]) -> None:
            await asyncio.sleep(2.0)
            told.append(("assign", [name.partition for name in names]))

        def revoked(names: list[TopicPartition]) -> None:
            told.append(("revoke", [name.partition for name in names]))

        async with a_client(fake) as client:
            session = await opened(client, Listeners(on_assign=assigned, on_revoke=revoked))
            await take(session, 1)
            assert told == [("assign", [0, 1])], "before anything of them is handed out"
            await session.close()
            assert told[1:] == [("revoke", [0, 1])]

    played(scenario)


@pytest.mark.parametrize("has_on_lost", [False, True])
def test_a_loss_is_told_as_such_or_as_a_revocation(has_on_lost: bool) -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        lost: list[TopicPartition] = []
        revoked: list[TopicPartition] = []
        listeners = Listeners(on_revoke=revoked.extend, on_lost=lost.extend if has_on_lost else None)
        async with a_client(fake) as client:
            session = await opened(client, listeners)
            await take(session, 1)
            fake.coordinator["g"].expire(session.membership.identity.member_id)
            await asyncio.sleep(6.0)
            assert (len(lost), len(revoked)) == ((2, 0) if has_on_lost else (0, 2))
            await session.close()

    played(scenario)


def test_commits_in_the_background_that_fail_for_good_are_raised_where_the_program_reads() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            session = await opened(client)
            fake.fail(ApiKey.OFFSET_COMMIT, Fault(refuse=ErrorCode.GROUP_AUTHORIZATION_FAILED))
            await take(session, 3)
            await asyncio.sleep(2.0)
            with pytest.raises(Refused, match="GROUP_AUTHORIZATION_FAILED"):
                session.check()
            session.check()
            await session.close()
            with pytest.raises(ClientClosed):
                session.check()

    played(scenario)


def test_commits_in_the_background_that_may_come_through_later_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake, partitions=1)
        async with a_client(fake, timeout=5.0) as client:
            session = await opened(client)
            fake.fail(ApiKey.OFFSET_COMMIT, *[Fault(refuse=ErrorCode.NOT_COORDINATOR)] * 20)
            await take(session, 3)
            await asyncio.sleep(60.0)
            assert "not committed" in caplog.text
            assert list(fake.coordinator["g"].offsets.values()) == [2]
            await session.close()

    with caplog.at_level(logging.WARNING, "tidelog"):
        played(scenario)


def test_a_group_that_is_silent_is_said_to_be_and_heard_again_later() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake, timeout=10.0) as client:
            session = await opened(client)
            await take(session, 1)
            fake.fail(ApiKey.CONSUMER_GROUP_HEARTBEAT, *[Fault(refuse=ErrorCode.COORDINATOR_NOT_AVAILABLE)] * 100)
            await asyncio.sleep(25.0)
            for _ in range(2):
                with pytest.raises(ConnectionLost, match=r"group 'g' does not answer.*COORDINATOR_NOT_AVAILABLE"):
                    await take(session, 1)
            fake.brokers[0].faults.clear()
            assert len(await take(session, 9)) == 9
            await session.close()

    played(scenario)


def test_closing_waits_neither_for_ever_nor_twice() -> None:
    async def scenario(fake: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        filled(fake)

        async def forever(names: list[TopicPartition]) -> None:
            await asyncio.sleep(1e6)

        async with a_client(fake) as client:
            session = await opened(client, Listeners(on_assign=forever))
            await asyncio.sleep(1.0)
            began = loop.time()
            await session.close()
            assert loop.time() - began < 10.0
            await session.close()

    played(scenario)


def test_nothing_is_committed_for_a_program_that_does_so_itself() -> None:
    async def scenario(fake: FakeCluster) -> None:
        filled(fake)
        async with a_client(fake) as client:
            session = await opened(client, commit="manual")
            await take(session, 5)
            await asyncio.sleep(5.0)
            await session.close()
        assert fake.seen(ApiKey.OFFSET_COMMIT) == []

    played(scenario)
