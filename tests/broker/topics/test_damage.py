"""What a partition does when bytes of its log are found damaged while it runs [house.md 1.6, A8]."""

import asyncio

import pytest

from support.bench import TOPIC_ID, Bench, on_the_bench
from support.builders import BASE_TIMESTAMP, a_batch
from tidelog.broker.errors import code_of
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.storage.errors import CorruptLog, LogOffline

FIRST_LOG = "orders-0/00000000000000000000.log"
BATCH_SIZE = len(a_batch([b"value"]))


def reopened(bench: Bench, partition: Partition) -> Partition:
    """As after a clean stop: nothing is in doubt, and nothing was read yet."""
    partition.log.close()
    bench.directory.was_clean = True
    log = bench.directory.open_log("orders", 0, partition.log.config, now_ms=0)
    return Partition(
        log,
        topic="orders",
        topic_id=TOPIC_ID,
        index=0,
        flusher=bench.flusher,
        touched=bench,
        fetch_waiters=bench.fetches,
        metrics=bench.metrics,
    )


async def with_rot(bench: Bench, **settings: str) -> Partition:
    """Five durable batches, the third of them rotten, and nobody has noticed."""
    partition = bench.partition(**settings)
    for number in range(5):
        bench.stage(partition, batch=a_batch([b"value"], base_timestamp=BASE_TIMESTAMP + number))
    partition.write_out()
    await bench.settle()
    bench.disk.corrupt(FIRST_LOG, 2 * BATCH_SIZE + 65, b"rot")
    return reopened(bench, partition)


def test_damage_that_a_consumer_meets_ends_the_appends_and_hides_nothing_sound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """House rule 1.6, A8: one line and one series name file and byte range."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        partition = await with_rot(bench)
        assert bench.metrics.topic_errors == {}, "nobody knows yet"
        assert partition.read(0, size_max=1 << 20, at_least_one=True).next_offset == 2
        for _ in range(3):
            with pytest.raises(CorruptLog):
                partition.read(2, size_max=1 << 20, at_least_one=True)
        assert partition.read(3, size_max=1 << 20, at_least_one=True).next_offset == 5
        assert partition.is_quarantined
        assert partition.is_offline
        with pytest.raises(LogOffline) as refused:
            bench.stage(partition)
        assert code_of(refused.value) == ErrorCode.KAFKA_STORAGE_ERROR
        [record] = caplog.records
        assert record.getMessage() == (
            "damaged bytes in the log topic=orders partition=0 "
            f"error={FIRST_LOG} from {2 * BATCH_SIZE} to {3 * BATCH_SIZE}: the checksum does not hold"
        )
        [place] = bench.metrics.damage
        assert (place.file, place.begin, place.end) == (FIRST_LOG, 2 * BATCH_SIZE, 3 * BATCH_SIZE)
        assert bench.metrics.topic_errors == {("orders", "corrupt"): 3, ("orders", "quarantined"): 1}
        bench.metrics.forget_topic("orders")
        assert not bench.metrics.damage

    play()


@on_the_bench
async def test_a_search_for_a_time_that_meets_damage_ends_the_appends_too(bench: Bench) -> None:
    partition = await with_rot(bench)
    with pytest.raises(CorruptLog):
        partition.find_timestamp(BASE_TIMESTAMP + 2)
    assert partition.is_quarantined


@on_the_bench
async def test_whoever_waits_when_damage_is_found_is_answered(bench: Bench) -> None:
    """What was being synced may become durable; what came after it is refused."""
    partition = await with_rot(bench)
    bench.disk.sync_s = 1.0
    synced = bench.produce(partition)
    await asyncio.sleep(0)
    assert not bench.flusher.is_idle
    late, staged = bench.produce(partition), bench.stage(partition)
    with pytest.raises(CorruptLog):
        partition.read(2, size_max=1, at_least_one=True)
    partition.write_out()
    await bench.settle()
    assert synced.error is None
    assert isinstance(late.error, LogOffline)
    assert isinstance(staged.error, LogOffline)
    assert partition.high_watermark == 6


@on_the_bench
async def test_damage_in_what_was_never_promised_is_told_and_no_more(bench: Bench) -> None:
    """Under write caching consumers see what a power cut may take."""
    partition = bench.partition(write_caching="true")
    for _ in range(3):
        bench.produce(partition, acks=1)
    partition.damaged(CorruptLog(FIRST_LOG, BATCH_SIZE, "why"))
    assert bench.metrics.topic_errors == {("orders", "corrupt"): 1}
    assert not partition.is_offline
    bench.produce(partition, acks=1)


def test_a_quarantine_that_cannot_be_noted_down_is_said_so(caplog: pytest.LogCaptureFixture) -> None:
    @on_the_bench
    async def play(bench: Bench) -> None:
        partition = await with_rot(bench)
        bench.disk.fail_next("open", path="quarantined")
        with pytest.raises(CorruptLog):
            partition.read(2, size_max=1, at_least_one=True)
        assert partition.is_offline
        assert "the next start will not know" in caplog.records[-1].getMessage()

    play()
