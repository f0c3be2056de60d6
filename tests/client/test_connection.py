"""One connection: answers find who asked, calls have deadlines, nothing is left behind."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from support.fake_broker import HOST, PORT, FakeCluster, Fault, played
from support.loop import SimLoop
from tidelog.client.config import Address, ClientConfig
from tidelog.client.connection import CALLS_MAX, Connection
from tidelog.client.errors import ClientClosed, ConnectionLost, Refused, TimedOut, Unavailable
from tidelog.protocol.apis import ApiKey
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse

ADDRESS = Address(HOST, PORT)
CONFIG = ClientConfig(servers=(ADDRESS,))
ASK = DescribeClusterRequest()


async def connected(changes: list[None] | None = None) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(
            ADDRESS,
            CONFIG,
            receive_buffer=bytearray(65536),
            changed=lambda: changes.append(None) if changes is not None else None,
        ),
        HOST,
        PORT,
    )
    return connection


def with_connection(scenario: Callable[[FakeCluster, Connection], Awaitable[None]], *, seed: int = 1) -> None:
    async def play(cluster: FakeCluster) -> None:
        connection = await connected()
        try:
            await scenario(cluster, connection)
        finally:
            connection.close()
            await connection.wait_closed()

    played(play, seed=seed)


@pytest.mark.parametrize("seed", range(10))
def test_many_calls_at_once_each_get_their_own_answer(seed: int) -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        async def ask(name: str) -> None:
            request = MetadataRequest(topics=(MetadataRequestTopic(name=name),))
            response = await connection.call(request, MetadataResponse, timeout=10)
            assert [topic.name for topic in response.topics] == [name]

        await asyncio.gather(*(ask(f"topic-{number}") for number in range(50)))

    with_connection(scenario, seed=seed)


def test_a_cancelled_calls_late_answer_is_dropped_and_the_connection_goes_on() -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        cluster.fail(ApiKey.DESCRIBE_CLUSTER, Fault(delay=5.0))
        call = asyncio.create_task(connection.call(ASK, DescribeClusterResponse, timeout=30))
        await asyncio.sleep(1.0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await connection.call(ASK, DescribeClusterResponse, timeout=30)).controller_id == 1

    with_connection(scenario)


def test_a_call_that_is_not_answered_in_time_takes_the_connection_with_it() -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        cluster.fail(ApiKey.DESCRIBE_CLUSTER, Fault(silent=True))
        loop = asyncio.get_running_loop()
        began = loop.time()
        first = connection.submit(ASK, timeout=2.0)
        second = connection.submit(ASK, timeout=9.0)
        with pytest.raises(TimedOut, match="did not answer DescribeCluster within 2 s"):
            await first
        assert loop.time() - began == pytest.approx(2.0, abs=0.01)
        with pytest.raises(ConnectionLost, match="given up"):
            await second
        with pytest.raises(ConnectionLost):
            connection.submit(ASK, timeout=1.0)

    with_connection(scenario)


def test_a_lost_connection_fails_what_is_under_way() -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        cluster.fail(ApiKey.DESCRIBE_CLUSTER, Fault(drop=True))
        with pytest.raises(ConnectionLost, match=f"{HOST}:{PORT}"):
            await connection.call(ASK, DescribeClusterResponse, timeout=30)
        assert connection.lost is not None
        assert not connection.writable

    with_connection(scenario)


def test_nobody_hears_of_a_failure_that_nobody_waits_for() -> None:
    # The simulated loop fails the test if "exception was never retrieved" is reported.
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        cluster.fail(ApiKey.DESCRIBE_CLUSTER, Fault(drop=True))
        connection.submit(ASK, timeout=30)
        await asyncio.sleep(5.0)

    with_connection(scenario)


def test_an_answer_that_cannot_be_read_ends_the_connection() -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        cluster.fail(ApiKey.DESCRIBE_CLUSTER, Fault(garbage=True))
        with pytest.raises(ConnectionLost, match="cannot be read"):
            await connection.call(ASK, DescribeClusterResponse, timeout=30)

    with_connection(scenario)


@pytest.mark.parametrize(
    ("code", "kind"), [(ErrorCode.INVALID_REQUEST, Refused), (ErrorCode.COORDINATOR_NOT_AVAILABLE, Unavailable)]
)
def test_a_request_that_is_refused_as_a_whole_raises_its_code(code: ErrorCode, kind: type[Exception]) -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        cluster.fail(ApiKey.DESCRIBE_CLUSTER, Fault(refuse=code, whole=True))
        with pytest.raises(kind, match="as told") as raised:
            await connection.call(ASK, DescribeClusterResponse, timeout=30)
        assert raised.value.code is code  # type: ignore[attr-defined]
        await connection.call(ASK, DescribeClusterResponse, timeout=30)

    with_connection(scenario)


def test_closing_fails_what_is_under_way() -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        answer = connection.submit(ASK, timeout=30)
        connection.close()
        with pytest.raises(ClientClosed):
            await answer
        await connection.wait_closed()

    with_connection(scenario)


def test_there_are_never_more_calls_under_way_than_may_be() -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        cluster.fail(ApiKey.DESCRIBE_CLUSTER, Fault(delay=3.0))
        calls = [
            asyncio.create_task(connection.call(ASK, DescribeClusterResponse, timeout=30))
            for _ in range(CALLS_MAX + 50)
        ]
        await asyncio.sleep(1.0)
        assert len(cluster.seen(ApiKey.DESCRIBE_CLUSTER)) == CALLS_MAX
        calls[CALLS_MAX + 3].cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, DescribeClusterResponse) for result in done) == CALLS_MAX + 49

    with_connection(scenario)


def test_who_waits_for_room_waits_no_longer_than_its_time() -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        cluster.fail(ApiKey.DESCRIBE_CLUSTER, Fault(delay=9.0))
        under_way = [connection.submit(ASK, timeout=30) for _ in range(CALLS_MAX)]
        with pytest.raises(TimedOut, match="takes no more requests"):
            await connection.call(ASK, DescribeClusterResponse, timeout=2.0)
        await asyncio.gather(*under_way)

    with_connection(scenario)


def test_the_owner_is_told_when_the_connection_is_lost() -> None:
    async def scenario(cluster: FakeCluster) -> None:
        changes: list[None] = []
        connection = await connected(changes)
        await connection.call(ASK, DescribeClusterResponse, timeout=30)
        assert changes == []
        cluster.brokers[0].drop_connections()
        await connection.wait_closed()
        assert changes == [None]
        assert connection.answered

    played(scenario)


def test_time_is_the_loops() -> None:
    async def scenario(cluster: FakeCluster, connection: Connection) -> None:
        assert isinstance(asyncio.get_running_loop(), SimLoop)
        cluster.fail(ApiKey.DESCRIBE_CLUSTER, Fault(delay=3600.0))
        await connection.call(ASK, DescribeClusterResponse, timeout=7200)

    with_connection(scenario)
