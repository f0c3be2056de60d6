"""The client as a whole: entering, leaving, and a small program on real sockets."""

import asyncio

import pytest

import tidelog
from support.fake_broker import FakeCluster, a_client, played
from tidelog.client import ClientClosed, ConnectionLost


async def test_a_small_program_works_on_real_sockets() -> None:
    fake = FakeCluster(partitions=3)
    fake.brokers[0].port = 0
    async with fake:
        async with tidelog.connect(fake.url, client_id="test") as client:
            async with client.producer(compression="zstd", linger=0.001) as producer:
                summary = await producer.send_many("orders", (b"%d" % n for n in range(10_000)), key=lambda v: v[-2:])
                where = await producer.send("orders", "the last", key=b"00")
            assert summary.count == 10_000
            values = [record.value async for record in client.read("orders", end="now")]
            assert len(values) == 10_001
            reader = client.read("orders", start=-1, end="now", partition=where.partition)
            assert [(record.offset, record.text) async for record in reader] == [(where.offset, "the last")]
        before = asyncio.all_tasks()
        assert before == {asyncio.current_task()}


def test_a_broker_that_is_not_there_is_named() -> None:
    async def scenario(fake: FakeCluster) -> None:
        fake.brokers[0].stop()
        client = a_client(fake, timeout=5.0)
        with pytest.raises(ConnectionLost, match=r"cannot connect to 127\.0\.0\.1:9092: Connection refused"):
            await client.__aenter__()
        await client.close()

    played(scenario)


def test_a_client_has_to_be_entered() -> None:
    client = tidelog.connect("127.0.0.1:9092")
    with pytest.raises(ClientClosed, match="async with"):
        client.read("orders")
    with pytest.raises(ClientClosed, match="async with"):
        _ = client.admin


def test_the_environment_names_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELOG_SERVER", "elsewhere:1234")
    assert str(tidelog.connect().config.servers[0]) == "elsewhere:1234"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"compression": "rar"}, "compression"),
        ({"acks": "some"}, "acks"),
        ({"max_batch": "big"}, "size"),
        ({"linger": -1.0}, "linger"),
    ],
)
def test_wrong_options_of_a_producer_are_refused_by_name(options: dict[str, object], complaint: str) -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            with pytest.raises(ValueError, match=complaint):
                client.producer(**options)  # type: ignore[arg-type]

    played(scenario)


def test_wrong_options_of_a_reader_are_refused_before_anything_is_asked() -> None:
    async def scenario(fake: FakeCluster) -> None:
        async with a_client(fake) as client:
            with pytest.raises(ValueError, match="not an offset"):
                client.read("orders", start="sometime")
            with pytest.raises(ValueError, match="on_out_of_range"):
                client.read("orders", on_out_of_range="guess")

    played(scenario)


def test_leaving_twice_does_no_harm() -> None:
    async def scenario(fake: FakeCluster) -> None:
        client = a_client(fake)
        async with client:
            await client.close()

    played(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_gives_the_same_course(seed: int) -> None:
    async def scenario(fake: FakeCluster) -> list[int]:
        async with a_client(fake) as client, client.producer() as producer:
            return [(await producer.send("orders", b"x")).partition for _ in range(20)]

    assert played(scenario, seed=seed, partitions=6) == played(scenario, seed=seed, partitions=6)
