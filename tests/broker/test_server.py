"""The broker from start to stop: what it locks, where it listens, whom it answers before it goes, what it leaves."""

import asyncio
import base64
import logging
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.bench import Bench, on_the_bench, readable
from support.builders import BASE_TIMESTAMP, a_batch
from support.caller import Caller, a_caller
from support.house import House, a_config, a_house
from tidelog.broker.environment import RealEnvironment
from tidelog.broker.errors import code_of
from tidelog.broker.server import Server
from tidelog.broker.topics.internal_topics import METADATA_TOPIC
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest, CreateTopicsResponse
from tidelog.protocol.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataResponse
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from tidelog.storage.errors import CorruptLog, DirectoryLocked, UnknownFormat
from tidelog.storage.log_directory import CLEAN_SHUTDOWN

ADDRESS = "127.0.0.1:9092"
BY_NAME = 12
"""The last version in which Produce and Fetch name topics."""


@asynccontextmanager
async def a_taken_port() -> AsyncIterator[int]:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def partition_of(house: House, name: str = "orders") -> Partition:
    topic = house.server.topics.by_name(name)
    assert topic is not None
    return topic.partitions[0]


def a_fetch(*, max_wait_ms: int = 60_000, min_bytes: int = 1, offset: int = 0) -> FetchRequest:
    partition = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 24)
    topics = (FetchTopic(topic="orders", partitions=(partition,)),)
    return FetchRequest(topics=topics, max_wait_ms=max_wait_ms, min_bytes=min_bytes, max_bytes=1 << 24)


def a_produce(value: bytes = b"value", *, acks: int = -1) -> ProduceRequest:
    data = PartitionProduceData(index=0, records=a_batch([value]))
    return ProduceRequest(
        acks=acks, timeout_ms=1000, topic_data=(TopicProduceData(name="orders", partition_data=(data,)),)
    )


async def brokers_told(address: str) -> list[tuple[str, int]]:
    async with a_caller(address) as caller:
        response = await caller.ask(MetadataRequest(topics=()))
    assert isinstance(response, MetadataResponse)
    return [(broker.host, broker.port) for broker in response.brokers]


# Start


async def test_a_port_of_zero_is_any_free_one_and_it_is_said_which(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data", "http.listen=127.0.0.1:0") as house:
        [address] = house.server.addresses
        assert house.server.http_address is not None
        ports = [int(text.removeprefix("127.0.0.1:")) for text in (address, house.server.http_address)]
        assert 0 not in ports
        assert await brokers_told(address) == [("127.0.0.1", ports[0])]
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[1])
        writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_each_listener_tells_its_own_clients_what_to_dial(tmp_path: Path) -> None:
    """House rule 1.11: the advertised address where there is one, else what the client dialled."""
    listeners = "listeners=127.0.0.1:0,127.0.0.1:0@kafka.example:19092"
    async with a_house(tmp_path / "data", listeners) as house:
        plain, advertised = house.server.addresses
        assert await brokers_told(plain) == [("127.0.0.1", int(plain.split(":")[1]))]
        assert await brokers_told(advertised) == [("kafka.example", 19092)]


async def test_a_directory_that_another_broker_has_is_refused(tmp_path: Path) -> None:
    async with a_house(tmp_path / "data") as house:
        await house.create("orders")
        second = Server(a_config(tmp_path / "data"), RealEnvironment())
        with pytest.raises(DirectoryLocked):
            await second.start()
        await second.stop()
        result = await house.produce("orders", a_batch())
        assert result.error_code == 0  # type: ignore[union-attr]
    assert (tmp_path / "data" / CLEAN_SHUTDOWN).exists()


@pytest.mark.parametrize("what", ["second listener", "http"])
async def test_a_start_that_fails_lets_go_of_everything(tmp_path: Path, what: str) -> None:
    """The lock and the sockets: whoever repairs the cause can start at once, in the same process even."""
    async with a_taken_port() as taken:
        async with a_house(tmp_path / "other") as house:
            [free] = house.server.addresses
        setting = f"listeners={free},127.0.0.1:{taken}" if what == "second listener" else f"listeners={free}"
        http = [f"http.listen=127.0.0.1:{taken}"] if what == "http" else []
        failing = Server(a_config(tmp_path / "data", setting, *http), RealEnvironment())
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            await failing.start()
        assert failing.not_ready_because() == ["starting"]
        await failing.stop()
        async with a_house(tmp_path / "data", f"listeners={free}") as house:
            assert house.server.addresses == [free]
            await house.create("orders")


async def test_a_directory_of_somebody_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    server = Server(a_config(tmp_path), RealEnvironment())
    with pytest.raises(UnknownFormat):
        await server.start()
    await server.stop()
    assert RealEnvironment().disk(str(tmp_path)).list("") == ["thesis.txt"]


@on_the_bench
async def test_what_a_start_shows_is_durable_first(bench: Bench) -> None:
    """House rule 1.6, after a kill: what was only in the page cache is synced before anybody may read it."""
    house = await bench.serve()
    await house.create("orders")
    partition = partition_of(house)
    partition.append(memoryview(a_batch([b"cached"])), acks=1, now_ms=BASE_TIMESTAMP, waiter=lambda _: None)
    partition.write_out()
    bench.disk.kill()
    house = await bench.serve("listeners=127.0.0.1:9093")
    assert readable(partition_of(house)) == [b"cached"]
    bench.disk.crash()
    house = await bench.serve("listeners=127.0.0.1:9094")
    assert readable(partition_of(house)) == [b"cached"]


async def test_the_cluster_keeps_its_id_for_life_and_no_two_have_the_same(tmp_path: Path) -> None:
    async def cluster_id(data_dir: Path) -> str:
        async with a_house(data_dir) as house, a_caller(house.server.addresses[0]) as caller:
            response = await caller.ask(DescribeClusterRequest())
            assert isinstance(response, DescribeClusterResponse)
            assert response.cluster_id == house.server.services.cluster.cluster_id
            return response.cluster_id

    first, again, other = [await cluster_id(tmp_path / name) for name in ("a", "a", "b")]
    assert first == again != other
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", first)
    assert len(base64.urlsafe_b64decode(first + "==")) == 16


@on_the_bench
async def test_it_says_whether_clients_should_come(bench: Bench) -> None:
    house = await bench.serve()
    server = house.server
    assert (server.live(), server.not_ready_because()) == (True, [])
    await house.create("orders")
    async with a_caller(ADDRESS) as caller:
        bench.loop.pool_delay_s_max = 2.0
        await caller.send(a_produce(), BY_NAME)
        await asyncio.sleep(0.05)
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0)
        assert server.not_ready_because() == ["draining"]
        await stopping
    assert server.not_ready_because() == ["stopped"]


# Stop


@on_the_bench
async def test_a_stop_answers_who_waits_and_closes_their_connections(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    began = bench.loop.time()
    async with a_caller(ADDRESS) as reader, a_caller(ADDRESS) as writer, a_caller(ADDRESS) as idle:
        await idle.ask(MetadataRequest(topics=()))
        await reader.send(a_fetch(min_bytes=1 << 20), BY_NAME)
        await asyncio.sleep(0.1)
        assert len(house.server.services.delayed_fetches) == 1
        partition = partition_of(house)
        bench.loop.pool_delay_s_max = 2.0
        for number in range(3):
            await writer.send(a_produce(b"value %d" % number), BY_NAME)
        await asyncio.sleep(0.05)
        assert (partition.log.written_offset, partition.high_watermark) == (3, 0), "they are in flight"
        await house.server.stop()
        fetched = await reader.receive()
        produced = [await writer.receive() for _ in range(3)]
        assert isinstance(fetched, FetchResponse)
        assert fetched.responses[0].partitions[0].error_code == 0
        assert [
            (
                answer.responses[0].partition_responses[0].error_code,
                answer.responses[0].partition_responses[0].base_offset,
            )
            for answer in produced
            if isinstance(answer, ProduceResponse)
        ] == [(0, 0), (0, 1), (0, 2)]
        assert [await caller.closed() for caller in (reader, writer, idle)] == [b"", b"", b""]
    assert bench.loop.time() - began < 5, "nobody's patience was tried"
    assert bench.disk.exists(CLEAN_SHUTDOWN)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", 9092)


@on_the_bench
async def test_who_does_not_take_his_answer_is_cut_off_at_the_deadline(bench: Bench) -> None:
    house = await bench.serve("shutdown.grace.ms=3000")
    await house.create("orders")
    for _ in range(8):
        await house.produce("orders", a_batch([b"x" * 1_000_000]))

    class Deaf(asyncio.Protocol):
        """Asks, and reads nothing."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()

    transport, _ = await bench.loop.create_connection(Deaf, "127.0.0.1", 9092)
    deaf = Caller(asyncio.StreamReader(), FrameWriter(transport))  # type: ignore[arg-type]
    await deaf.send(a_fetch(), BY_NAME)
    await asyncio.sleep(1)
    began = bench.loop.time()
    await house.server.stop()
    assert 3.0 <= bench.loop.time() - began < 3.5
    assert house.server.metrics.connections_closed == {"shutdown": 1}
    assert bench.disk.exists(CLEAN_SHUTDOWN)


class FrameWriter:
    """As much of a stream's writer as a caller needs."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.writelines = transport.writelines

    async def drain(self) -> None:
        """It fits."""


@on_the_bench
async def test_stopping_twice_or_unstarted_does_no_harm(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    await asyncio.gather(house.server.stop(), house.server.stop())
    await house.server.stop()
    assert bench.disk.exists(CLEAN_SHUTDOWN)
    second = await bench.serve()
    await house.server.stop()
    assert not bench.disk.exists(CLEAN_SHUTDOWN), "the stopped one has no say any more"
    assert second.server.not_ready_because() == []
    await second.server.stop()


@on_the_bench
async def test_after_a_clean_stop_nothing_is_checked_and_after_a_kill_everything(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    value = bytes(4096)
    for _ in range(2):  # the second one has an entry in the index
        await house.produce("orders", a_batch([value]))
    await house.server.stop()
    assert bench.disk.exists(CLEAN_SHUTDOWN)
    house = await bench.serve()
    assert not bench.disk.exists(CLEAN_SHUTDOWN), "it holds for one start"
    assert partition_of(house).log.recovered.is_clean
    bench.disk.kill()
    bench.disk.cut("orders-0/00000000000000000000.index", 0)
    house = await bench.serve("listeners=127.0.0.1:9093")
    assert partition_of(house).log.recovered.rebuilt_indexes == 1
    assert readable(partition_of(house)) == [value, value]


@on_the_bench
async def test_a_stop_makes_durable_what_nobody_had_to_wait_for(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", write_caching="true", flush_ms="3600000")
    await house.produce("orders", a_batch([b"cached"]))
    assert partition_of(house).log.recovery_point == 0
    await house.server.stop()
    bench.disk.crash()
    house = await bench.serve()
    assert readable(partition_of(house)) == [b"cached"]


@on_the_bench
async def test_a_stop_waits_for_the_sync_that_is_under_way(bench: Bench) -> None:
    """Whoever asked for it was answered long ago (acks=1)."""
    house = await bench.serve()
    await house.create("orders")
    bench.loop.pool_delay_s_max = 2.0
    await house.produce("orders", a_batch([b"kept"]), acks=1)
    await asyncio.sleep(0)
    log = partition_of(house).log
    assert (log.written_offset, log.recovery_point) == (1, 0)
    await house.server.stop()
    assert bench.disk.exists(CLEAN_SHUTDOWN)
    bench.disk.crash()
    assert readable(partition_of(await bench.serve())) == [b"kept"]


@on_the_bench
async def test_a_stop_whose_marker_cannot_be_written_lets_go_all_the_same(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    bench.disk.fail_next("sync", path=CLEAN_SHUTDOWN)
    await house.server.stop()
    assert not bench.disk.exists(CLEAN_SHUTDOWN)
    assert not partition_of(await bench.serve()).log.offline


async def with_marks_in_the_pool(bench: Bench, flush_ms: int) -> House:
    """A broker that has just begun a round of marks, which takes a while; a log has what is only cached."""
    house = await bench.serve()
    await house.create("orders", write_caching="true", flush_ms=str(flush_ms))
    await house.produce("orders", a_batch([b"cached"]))
    bench.loop.pool_delay_s_min = 5.0
    await asyncio.sleep(1.1)
    return house


@on_the_bench
async def test_a_stop_waits_for_the_marks_that_are_being_written(bench: Bench) -> None:
    """Else the directory would be another process's while this one still writes to it."""
    house = await with_marks_in_the_pool(bench, flush_ms=3_600_000)
    began = bench.loop.time()
    await house.server.stop()
    assert bench.loop.time() - began > 3.0
    assert bench.disk.exists(CLEAN_SHUTDOWN)


@on_the_bench
async def test_a_flush_that_becomes_due_while_a_stop_waits_for_others_is_waited_for(bench: Bench) -> None:
    house = await with_marks_in_the_pool(bench, flush_ms=2000)
    log = partition_of(house).log
    stopping = asyncio.ensure_future(house.server.stop())
    await asyncio.sleep(2.0)
    assert (log.recovery_point, stopping.done()) == (0, False), "its round is under way"
    await stopping
    assert bench.disk.exists(CLEAN_SHUTDOWN)
    bench.disk.crash()
    assert readable(partition_of(await bench.serve())) == [b"cached"]


@on_the_bench
async def test_a_stop_settles_many_logs_at_a_time(bench: Bench) -> None:
    """Each takes a handful of syncs."""
    house = await bench.serve()
    await house.create("orders", 20)
    for index in range(20):
        await house.produce("orders", a_batch([b"kept"]), partition=index)
    bench.disk.slow = {"durable-mark": 1.0}
    began, pooled = bench.loop.time(), bench.environment.pooled
    await house.server.stop()
    assert bench.environment.pooled - pooled >= 20
    assert bench.loop.time() - began < 5.0
    bench.disk.crash()
    house = await bench.serve()
    [topic] = house.server.topics
    assert all(partition.log.recovered.is_clean for partition in topic.partitions)
    assert [readable(partition) for partition in topic.partitions] == [[b"kept"]] * 20


@on_the_bench
async def test_a_log_that_cannot_be_settled_is_told_of_and_leaves_no_marker(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    house = await bench.serve()
    await house.create("orders", 3)
    for index in range(3):
        await house.produce("orders", a_batch([b"kept"]), partition=index)
    bench.disk.fail_next("sync", path="orders-1/durable-mark")
    await house.server.stop()
    assert "log could not be settled topic=orders partition=1" in caplog.text
    assert not bench.disk.exists(CLEAN_SHUTDOWN)
    house = await bench.serve()
    [topic] = house.server.topics
    assert [readable(partition) for partition in topic.partitions] == [[b"kept"]] * 3


@on_the_bench
async def test_a_stop_that_cannot_sync_leaves_no_marker_and_lets_go(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders", write_caching="true", flush_ms="3600000")
    await house.produce("orders", a_batch())
    bench.disk.fail_next("sync", path="orders-0/")
    await house.server.stop()
    assert not bench.disk.exists(CLEAN_SHUTDOWN)
    house = await bench.serve()
    assert not partition_of(house).log.offline


def test_what_was_found_damaged_is_not_trusted_after_a_clean_stop(caplog: pytest.LogCaptureFixture) -> None:
    """House rule 1.6: quarantine ends when the damage does, not with a restart."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await bench.serve()
        await house.create("orders")
        for _ in range(20):
            await house.produce("orders", a_batch([b"x" * 1000]))
        await house.server.stop()
        bench.disk.corrupt("orders-0/00000000000000000000.log", 5000, b"rot")
        for life in range(4):
            house = await bench.serve()
            partition = partition_of(house)
            if life == 0:
                assert not partition.is_quarantined, "far below the mark nothing was read"
                with pytest.raises(CorruptLog):
                    partition.read(4, size_max=1, at_least_one=True)
            assert partition.is_quarantined
            result = await house.produce("orders", a_batch())
            assert result.error_code == 56  # type: ignore[union-attr]
            caplog.clear()
            await house.server.stop()
            assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
                "data directory left without the clean-shutdown marker offline=['orders-0']"
            ]

    play()


@on_the_bench
async def test_a_torn_tail_is_cut_counted_and_starts_a_new_epoch(bench: Bench) -> None:
    """House rule 1.6."""
    house = await bench.serve()
    await house.create("orders")
    await house.produce("orders", a_batch([b"kept"]))
    partition = partition_of(house)
    partition.log.write_mark()
    partition.append(memoryview(a_batch([b"torn"])), acks=1, now_ms=BASE_TIMESTAMP, waiter=lambda _: None)
    partition.write_out()
    size = bench.disk.size("orders-0/00000000000000000000.log")
    bench.disk.kill()
    bench.disk.cut("orders-0/00000000000000000000.log", size - 1)
    house = await bench.serve("listeners=127.0.0.1:9093")
    assert readable(partition_of(house)) == [b"kept"]
    assert partition_of(house).leader_epoch == 1
    assert house.server.metrics.recovery_truncated_bytes == len(a_batch([b"torn"])) - 1


# The rest


@on_the_bench
async def test_a_scrape_shows_the_topics_but_not_the_brokers_own(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    body, content_type = await house.server.scrape("")
    assert content_type.startswith("text/plain")
    assert b'topic="orders"' in body
    assert METADATA_TOPIC.encode() not in body


@on_the_bench
async def test_a_broker_leaves_nothing_running(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("orders")
    await house.produce("orders", a_batch())
    async with a_caller(ADDRESS) as caller:
        await caller.send(a_fetch(offset=1), BY_NAME)
        await asyncio.sleep(0.1)
        await house.server.stop()
    await asyncio.sleep(5)
    assert len(bench.loop.living_tasks()) == 1, "this one"
    events = bench.loop.trace.count
    await asyncio.sleep(3600)
    assert bench.loop.trace.count == events + 1, "this test's own timer, and no other"


async def test_bytes_that_rotted_while_it_was_down_are_an_error_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Never wrong bytes, and never in silence: clients get a code, the operator one line and a count."""
    async with a_house(tmp_path / "data") as house:
        await house.create("orders")
        await house.produce("orders", a_batch([b"some value"]))
    [log] = (tmp_path / "data" / "orders-0").glob("*.log")
    rotten = bytearray(log.read_bytes())
    rotten[-3] ^= 1
    log.write_bytes(rotten)
    caplog.clear()
    async with a_house(tmp_path / "data") as house:
        for _ in range(3):
            with pytest.raises(CorruptLog) as damage:
                partition_of(house).read(0, size_max=1 << 20, at_least_one=True)
            assert code_of(damage.value) is ErrorCode.CORRUPT_MESSAGE
        assert [record.getMessage()[:24] for record in caplog.records if record.levelno == logging.ERROR] == [
            "damaged bytes in the log"
        ]
        assert house.server.metrics.topic_errors["orders", "corrupt"] == 3


async def test_a_log_that_somebody_removed_is_lost_and_its_place_stays_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_house(tmp_path / "data") as house:
        await house.create("orders", 2)
    shutil.move(tmp_path / "data" / "orders-1", tmp_path / "elsewhere")
    caplog.clear()
    async with a_house(tmp_path / "data") as house:
        [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert line == (
            "log cannot be opened, quarantined topic=orders partition=1 error=orders-1 at 0: missing, with all its "
            "records: put the directory back and start again, or delete the topic"
        )
        assert house.server.metrics.topic_errors == {("orders", "quarantined"): 1}
        [place] = house.server.metrics.damage
        assert place.file == "orders-1"
        result = await house.produce("orders", a_batch([b"value"]), partition=1)
        assert result.error_code == ErrorCode.KAFKA_STORAGE_ERROR  # type: ignore[union-attr]
    assert not (tmp_path / "data" / "orders-1").exists()
    shutil.move(tmp_path / "elsewhere", tmp_path / "data" / "orders-1")
    async with a_house(tmp_path / "data") as house:
        result = await house.produce("orders", a_batch([b"value"]), partition=1)
        assert result.base_offset == 0  # type: ignore[union-attr]


@on_the_bench
async def test_it_does_not_live_without_its_metadata(bench: Bench) -> None:
    house = await bench.serve()
    assert house.server.live()
    bench.disk.fail_next("sync", path=f"{METADATA_TOPIC}-0/")
    topic = CreatableTopic(name="orders", num_partitions=1, replication_factor=1)
    response = await house.ask(CreateTopicsRequest(topics=(topic,)))
    assert isinstance(response, CreateTopicsResponse)
    assert response.topics[0].error_code == ErrorCode.KAFKA_STORAGE_ERROR
    assert not house.server.live()
