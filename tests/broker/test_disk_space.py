"""A full disk: clients are refused before it is one, and what must go on goes on [A7]. In virtual time."""

import asyncio
import errno
import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from support.bench import Bench, BenchEnvironment, a_simulated_config, on_the_bench
from support.builders import a_batch, values_of
from support.disk import SIZE, SimulatedDisk
from support.groups import commit
from support.house import House
from support.loop import SimLoop
from tidelog.broker.disk_space import (
    MARGIN_PARTS,
    PARTITION_SIZE,
    PORTIONS,
    RESERVE,
    DiskSpace,
    min_free_bytes,
)
from tidelog.broker.metrics import Metrics
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
)
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest, CreateTopicsResponse
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopicState
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from tidelog.protocol.messages.produce import PartitionProduceResponse
from tidelog.storage.log_directory import CLEAN_SHUTDOWN

MIB = 1 << 20
GIB = 1 << 30
MIN_FREE = 100 * MIB
RESERVED = 64 * MIB
FULL = ErrorCode.KAFKA_STORAGE_ERROR
ANOTHER_PORT = "listeners=127.0.0.1:9093"
VALUE = b"v" * 100_000


async def serve(bench: Bench, *overrides: str) -> House:
    """A broker that keeps 100 MiB free, holds a reserve of 64 MiB, and has the topic `orders`."""
    house = await bench.serve(f"log.min.free.bytes={MIN_FREE}", *overrides)
    if house.server.topics.by_name("orders") is None:
        await house.create("orders")
    await asyncio.sleep(1)
    assert house.server.metrics.disk_reserve_bytes == RESERVED
    return house


async def leave(bench: Bench, free: int) -> None:
    """Others fill the disk, or make room, and the broker has had the time to see it."""
    bench.disk.full(free)
    await asyncio.sleep(1.1)


async def produce(house: House, value: bytes = VALUE, topic: str = "orders") -> int:
    result = await house.produce(topic, a_batch([value]))
    assert isinstance(result, PartitionProduceResponse)
    return result.error_code


async def create(house: House, name: str, partitions: int = 1, *, validate_only: bool = False) -> int:
    topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1)
    response = await house.ask(CreateTopicsRequest(topics=(topic,), validate_only=validate_only))
    assert isinstance(response, CreateTopicsResponse)
    return response.topics[0].error_code


async def delete(house: House, name: str) -> int:
    response = await house.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name=name),)))
    assert isinstance(response, DeleteTopicsResponse)
    return response.responses[0].error_code


def readable(house: House, topic: str = "orders") -> Sequence[bytes | None]:
    found = house.server.topics.by_name(topic)
    assert found is not None
    partition = found.partitions[0]
    return values_of(partition.read(0, size_max=1 << 30, at_least_one=True).records)


# What is kept free


@pytest.mark.parametrize(
    ("disk", "kept"),
    [
        (32 * MIB, 32 * MIB * 5 // 100),
        (10 * GIB, 512 * MIB),
        (20 * GIB + 10 * MIB, GIB),
        (50 * GIB, GIB),
        (100 * GIB, 2 * GIB),
        (4096 * GIB, 4096 * GIB // 50),
    ],
)
def test_by_default_a_gibibyte_or_two_percent_is_kept_free_and_of_a_small_disk_five(disk: int, kept: int) -> None:
    assert min_free_bytes(-1, disk) == kept
    assert min_free_bytes(7, disk) == 7, "unless something was set"


@on_the_bench
async def test_the_default_holds_for_the_disk_that_is_there(bench: Bench) -> None:
    house = await bench.serve()
    assert house.server.metrics.disk_min_free_bytes == SIZE // 50
    await leave(bench, SIZE // 50)
    assert await create(house, "orders") == FULL


# Clients


@on_the_bench
async def test_records_are_refused_before_the_disk_is_full_and_retriably(bench: Bench) -> None:
    """A7: at the limit, not at the disk's end; and nobody who was told that all is well is wrong."""
    house = await serve(bench)
    await leave(bench, MIN_FREE + 5 * MIB)
    codes = [await produce(house, b"%d " % number + VALUE) for number in range(100)]
    assert set(codes) == {ErrorCode.NONE, FULL}
    assert ErrorCode.of(FULL).retriable
    accepted = codes.count(ErrorCode.NONE)
    assert 40 < accepted <= 53, "what fitted, and one that began there"
    assert MIN_FREE - len(VALUE) < bench.disk.free_bytes() < MIN_FREE + 2 * len(VALUE)
    expected = [b"%d " % number + VALUE for number, code in enumerate(codes) if code == ErrorCode.NONE]
    assert readable(house) == expected
    assert house.server.metrics.disk_full_refusals == 100 - accepted


@on_the_bench
async def test_as_many_as_come_within_a_second_do_not_get_past_the_limit(bench: Bench) -> None:
    """The timer looks once a second; what was admitted since counts all the same."""
    house = await serve(bench)
    await leave(bench, MIN_FREE + 5 * MIB)
    results = await asyncio.gather(*(house.produce("orders", a_batch([VALUE])) for _ in range(200)))
    assert {result.error_code for result in results} == {ErrorCode.NONE, FULL}  # type: ignore[union-attr]
    assert bench.disk.free_bytes() > MIN_FREE - len(VALUE)


@on_the_bench
async def test_no_batch_is_too_large_for_a_disk_that_is_called_writable(bench: Bench) -> None:
    """Whoever writes large batches alone would be refused for good, and nobody would be told."""
    house = await serve(bench)
    await leave(bench, MIN_FREE + MIB)
    assert await produce(house, b"x" * (MIB - 65_536)) == ErrorCode.NONE
    assert house.server.metrics.disk_writable
    assert await produce(house, VALUE) == ErrorCode.NONE
    assert await produce(house, b"small") == FULL
    assert not house.server.metrics.disk_writable


@on_the_bench
async def test_writable_again_within_five_seconds_after_space_was_freed(bench: Bench) -> None:
    house = await serve(bench)
    for _ in range(20):
        bench.disk.full(0)
        await asyncio.sleep(1.5)
        assert await produce(house) == FULL
        assert not house.server.metrics.disk_writable
        bench.disk.full(GIB)
        await asyncio.sleep(1.01)
        assert await produce(house) == ErrorCode.NONE
        assert house.server.metrics.disk_writable


@on_the_bench
async def test_at_the_limit_nobody_is_let_in_and_thrown_out_by_turns(bench: Bench) -> None:
    house = await serve(bench)
    await leave(bench, MIN_FREE)
    assert await produce(house, b"x") == FULL
    await leave(bench, MIN_FREE + MIN_FREE // MARGIN_PARTS)
    assert await produce(house, b"x") == FULL
    await leave(bench, MIN_FREE + MIN_FREE // MARGIN_PARTS + 1)
    assert await produce(house, b"x") == ErrorCode.NONE


@on_the_bench
async def test_topics_and_partitions_are_refused_as_well(bench: Bench) -> None:
    """Each is a handful of files: a loop that makes them would use the reserve up."""
    house = await serve(bench)
    await leave(bench, MIN_FREE + MIB)
    count = MIB // PARTITION_SIZE + 1
    assert await create(house, "many", partitions=count) == FULL
    assert house.server.metrics.disk_writable, "for records there is space"
    assert await create(house, "few", partitions=2) == ErrorCode.NONE
    await leave(bench, MIN_FREE)
    assert await create(house, "events") == FULL
    assert await create(house, "events", validate_only=True) == ErrorCode.NONE
    growth = CreatePartitionsTopic(name="orders", count=2, assignments=None)
    grown = await house.ask(CreatePartitionsRequest(topics=(growth,)))
    assert isinstance(grown, CreatePartitionsResponse)
    assert grown.results[0].error_code == FULL
    asked = MetadataRequest(topics=(MetadataRequestTopic(name="auto"),), allow_auto_topic_creation=True)
    described = await house.ask(asked, 9)
    assert isinstance(described, MetadataResponse)
    assert described.topics[0].error_code == FULL
    assert house.server.metrics.disk_full_refusals == 4


@on_the_bench
async def test_the_limit_can_be_changed_while_the_broker_runs(bench: Bench) -> None:
    house = await serve(bench)
    await leave(bench, MIB)
    assert await produce(house, b"x") == FULL
    change = AlterableConfig(name="log.min.free.bytes", config_operation=0, value="0")
    resource = AlterConfigsResource(resource_type=4, resource_name="1", configs=(change,))
    await house.ask(IncrementalAlterConfigsRequest(resources=(resource,)))
    assert await produce(house, b"x") == ErrorCode.NONE


@on_the_bench
async def test_a_disk_that_does_not_say_how_full_it_is_is_written_to(bench: Bench) -> None:
    house = await serve(bench)
    for _ in range(3):
        bench.disk.fail_next("free_bytes")
        await asyncio.sleep(1)
        assert await produce(house) == ErrorCode.NONE


def test_that_records_are_refused_is_said_once_and_so_is_the_end_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await serve(bench)
        await leave(bench, MIN_FREE)
        for _ in range(50):
            await asyncio.sleep(0.2)
            assert await produce(house) == FULL
        bench.disk.full(None)
        await asyncio.sleep(5)

    play()
    said = [record.getMessage() for record in caplog.records if record.name.endswith("disk_space")]
    assert said == [
        f"disk full, records are refused free={MIN_FREE} min_free={MIN_FREE}",
        f"disk has space again, records are accepted free={SIZE} min_free={MIN_FREE}",
    ]


# What goes on


@on_the_bench
async def test_offset_commits_deletions_and_reads_go_on_when_others_have_filled_the_disk(bench: Bench) -> None:
    house = await serve(bench)
    await house.create("old")
    assert await produce(house, b"kept") == ErrorCode.NONE
    assert await commit(house, "billing", "orders", offset=1) == ErrorCode.NONE
    bench.disk.full(0)
    assert await commit(house, "billing", "orders", offset=2) == ErrorCode.NONE
    assert house.server.metrics.disk_reserve_bytes == RESERVED - RESERVED // PORTIONS
    assert await delete(house, "old") == ErrorCode.NONE
    assert house.server.topics.by_name("old") is None
    assert readable(house) == [b"kept"]
    assert await produce(house) == FULL, "the reserve is not for records"


@on_the_bench
async def test_a_deletion_alone_finds_room_too(bench: Bench) -> None:
    house = await serve(bench)
    bench.disk.full(0)
    assert await delete(house, "orders") == ErrorCode.NONE
    await asyncio.sleep(1)
    assert not bench.disk.exists("orders-0")


@on_the_bench
async def test_the_new_name_of_a_directory_that_is_deleted_may_need_a_block(bench: Bench) -> None:
    house = await serve(bench)
    bench.disk.fail_next("rename", path="orders-0", error=errno.ENOSPC)
    assert await delete(house, "orders") == ErrorCode.NONE
    await asyncio.sleep(1)
    assert not bench.disk.exists("orders-0")


@on_the_bench
async def test_want_of_descriptors_costs_nothing_of_the_reserve(bench: Bench) -> None:
    """No space mends it."""
    house = await serve(bench)
    bench.disk.fail_next("rename", path="orders-0", error=errno.EMFILE)
    assert await delete(house, "orders") == ErrorCode.NONE
    await asyncio.sleep(1)
    assert bench.disk.exists("orders-0"), "the next start deletes it"
    assert bench.disk.size(RESERVE) == RESERVED


@on_the_bench
async def test_who_takes_what_was_given_back_does_not_get_all_of_it(bench: Bench) -> None:
    house = await serve(bench)
    assert await commit(house, "billing", "orders", offset=0) == ErrorCode.NONE
    codes = []
    for number in range(PORTIONS + 1):
        bench.disk.full(0)
        codes.append(await commit(house, "billing", "orders", offset=number))
    assert codes == [ErrorCode.NONE] * PORTIONS + [ErrorCode.COORDINATOR_NOT_AVAILABLE]
    assert house.server.metrics.disk_reserve_bytes == 0
    assert not bench.disk.exists(RESERVE)


@on_the_bench
async def test_room_is_made_before_somebody_has_to_ask_for_it(bench: Bench) -> None:
    house = await serve(bench)
    await leave(bench, MIB)
    assert house.server.metrics.disk_reserve_bytes == RESERVED - RESERVED // PORTIONS
    assert bench.disk.free_bytes() == RESERVED // PORTIONS + MIB
    await asyncio.sleep(10)
    assert house.server.metrics.disk_reserve_bytes == RESERVED - RESERVED // PORTIONS, "no more than is wanted"


@on_the_bench
async def test_what_was_given_back_lets_no_client_in_and_is_taken_again(bench: Bench) -> None:
    house = await serve(bench)
    await leave(bench, 0)
    given = RESERVED // PORTIONS
    await leave(bench, MIN_FREE + given)
    assert await produce(house, b"x") == FULL, "that space is the reserve's"
    await leave(bench, MIN_FREE + given + 2 * MIN_FREE // MARGIN_PARTS)
    assert await produce(house, b"x") == ErrorCode.NONE
    assert house.server.metrics.disk_reserve_bytes == RESERVED
    assert bench.disk.free_bytes() <= MIN_FREE + 2 * MIN_FREE // MARGIN_PARTS


# Stop and start


def test_a_clean_stop_and_a_start_on_a_full_disk_lose_nothing(caplog: pytest.LogCaptureFixture) -> None:
    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await serve(bench)
        assert await produce(house, b"kept") == ErrorCode.NONE
        assert await commit(house, "billing", "orders", offset=1) == ErrorCode.NONE
        bench.disk.full(0)
        await house.server.stop()
        assert bench.disk.exists(CLEAN_SHUTDOWN)
        assert bench.disk.exists(RESERVE), "what is left of it, for there is none to be had"
        bench.disk.full(0)
        again = await bench.serve(f"log.min.free.bytes={MIN_FREE}", ANOTHER_PORT)
        assert readable(again) == [b"kept"]
        assert await produce(again) == FULL
        assert await commit(again, "billing", "orders", offset=1) == ErrorCode.NONE
        await again.server.stop()

    play()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@on_the_bench
async def test_a_stop_without_any_space_leaves_no_marker_and_loses_nothing(bench: Bench) -> None:
    house = await serve(bench)
    assert await produce(house, b"kept") == ErrorCode.NONE
    while house.server.services.disk_space.make_room():
        pass
    bench.disk.full(0)
    await house.server.stop()
    assert not bench.disk.exists(CLEAN_SHUTDOWN)
    bench.disk.full(None)
    again = await bench.serve(ANOTHER_PORT)
    assert readable(again) == [b"kept"]


@on_the_bench
async def test_after_a_crash_on_a_full_disk_the_logs_have_the_reserve_to_be_opened_with(bench: Bench) -> None:
    """To recover is to build indexes anew, which takes space; without it the logs could not be opened."""
    house = await serve(bench)
    for number in range(50):
        assert await produce(house, b"%d" % number + VALUE) == ErrorCode.NONE
    bench.disk.full(0)
    bench.disk.crash()
    again = await bench.serve(f"log.min.free.bytes={MIN_FREE}", ANOTHER_PORT)
    [topic] = [topic for topic in again.server.topics if topic.name == "orders"]
    assert not topic.partitions[0].log.offline
    assert len(readable(again)) == 50
    assert await commit(again, "billing", "orders", offset=1) == ErrorCode.NONE


@on_the_bench
async def test_a_broker_that_does_not_run_takes_up_no_more_than_its_data(bench: Bench) -> None:
    house = await serve(bench)
    assert bench.disk.exists(RESERVE)
    await house.server.stop()
    assert not bench.disk.exists(RESERVE)


@on_the_bench
async def test_a_stop_waits_for_the_reserve_that_is_being_taken(bench: Bench) -> None:
    house = await bench.serve()
    bench.loop.pool_delay_s_min = 30.0
    await house.server.stop()
    assert not bench.disk.exists(RESERVE)


@on_the_bench
async def test_a_reserve_can_be_done_without(bench: Bench) -> None:
    house = await bench.serve("log.reserve.bytes=0", f"log.min.free.bytes={MIN_FREE}")
    await house.create("orders")
    await asyncio.sleep(2)
    assert not bench.disk.exists(RESERVE)
    bench.disk.full(0)
    assert await delete(house, "orders") == FULL


@on_the_bench
async def test_a_reserve_that_is_no_longer_wanted_is_given_back(bench: Bench) -> None:
    house = await serve(bench)
    bench.disk.kill()
    bench.disk.full(10 * GIB)
    house = await bench.serve("log.reserve.bytes=0", ANOTHER_PORT)
    assert not bench.disk.exists(RESERVE)
    await house.server.stop()
    bench.disk.full(10 * GIB)
    house = await serve(bench, "listeners=127.0.0.1:9094")
    config = house.server.services.configs.current
    house.server.services.disk_space.reconfigure(replace(config, log_reserve_bytes=RESERVED // 2))
    assert bench.disk.size(RESERVE) == RESERVED // 2


@on_the_bench
async def test_a_reserve_is_given_back_in_a_handful_of_portions_whatever_is_wanted_by_now(bench: Bench) -> None:
    """Else the loop would stand still for as many calls as it has bytes."""
    house = await serve(bench)
    space = house.server.services.disk_space
    bench.disk.full(0)
    assert space.make_room()
    assert bench.disk.size(RESERVE) == RESERVED * (PORTIONS - 1) // PORTIONS
    for _ in range(5):
        bench.disk.fail_next("free_bytes")  # and a disk that does not say what is left stops nobody
    given = 1
    while space.make_room() and given < 100:
        given += 1
    assert given == PORTIONS


def test_a_reserve_that_was_taken_with_other_settings_is_given_back_in_a_handful_of_portions() -> None:
    disk = SimulatedDisk()
    disk.allocate(RESERVE, RESERVED + 1)
    loop, config = SimLoop(1), a_simulated_config("log.reserve.bytes=0")
    space = DiskSpace(disk, config, environment=BenchEnvironment(loop, disk), metrics=Metrics())
    disk.fail_next("remove", path=RESERVE)
    space.prepare()  # which gives nothing back, for the disk refuses
    assert disk.size(RESERVE) == RESERVED + 1
    disk.full(0)
    given = 0
    while space.make_room() and given < 100:
        given += 1
    assert given == PORTIONS
    loop.close()


@on_the_bench
async def test_a_filesystem_that_holds_no_space_is_done_without(bench: Bench) -> None:
    bench.disk.fail_next("allocate")
    house = await bench.serve()
    assert await create(house, "orders") == ErrorCode.NONE
    await asyncio.sleep(3)
    assert house.server.metrics.disk_reserve_bytes == RESERVED, "it was only that one time"
