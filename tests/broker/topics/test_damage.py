"""What a partition does when bytes of its log are found damaged while it runs [house.md 1.6, A8]."""

import asyncio
import errno

import pytest

from support.bench import TOPIC_ID, Bench, on_the_bench
from support.builders import BASE_TIMESTAMP, a_batch
from tidelog.broker.errors import code_of
from tidelog.broker.topics.failed_reads import PAUSE_S
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.storage.errors import CorruptLog, DiskFailed, LogOffline, OffsetOutOfRange, OutOfDescriptors, Unreadable
from tidelog.storage.log import Log
from tidelog.storage.log_directory import LogDirectory

FIRST_LOG = "orders-0/00000000000000000000.log"
BATCH_SIZE = len(a_batch([b"value"]))


def reopened(bench: Bench, partition: Partition) -> Partition:
    """As after a clean stop: nothing is in doubt, and nothing was read yet."""
    partition.log.close()
    bench.directory.was_clean = True
    return a_partition(bench, bench.directory.open_log("orders", 0, partition.log.config, now_ms=0))


def a_partition(bench: Bench, log: Log) -> Partition:
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


async def filled(bench: Bench, **settings: str) -> Partition:
    """Five durable batches."""
    partition = bench.partition(**settings)
    for number in range(5):
        bench.stage(partition, batch=a_batch([b"value"], base_timestamp=BASE_TIMESTAMP + number))
    partition.write_out()
    await bench.settle()
    return partition


async def with_rot(bench: Bench) -> Partition:
    """Five durable batches, the third of them rotten, and nobody has noticed."""
    partition = await filled(bench)
    bench.disk.corrupt(FIRST_LOG, 2 * BATCH_SIZE + 65, b"rot")
    return reopened(bench, partition)


async def with_a_closed_segment(bench: Bench) -> Partition:
    """Five durable batches in it, whose file is not open just now, and one behind it."""
    partition = await filled(bench, segment_bytes="1024")
    bench.produce(partition, b"x" * 900)
    await bench.settle()
    assert partition.segment_count == 2
    partition.log.segments[0].evict()
    return partition


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


def test_bytes_that_the_disk_does_not_give_are_told_of_once_and_cost_nobody_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A6: they may be there all the same; Kafka's readers ask again."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        partition = await filled(bench)
        begin, end = 2 * BATCH_SIZE + 65, 5 * BATCH_SIZE
        bench.disk.spoil(FIRST_LOG, begin, begin + 5)
        assert partition.read(0, size_max=1 << 20, at_least_one=True).next_offset == 2
        for _ in range(3):
            with pytest.raises(Unreadable) as refused:
                partition.read(2, size_max=1 << 20, at_least_one=True)
            assert code_of(refused.value) == ErrorCode.KAFKA_STORAGE_ERROR
        [line] = caplog.records
        assert line.levelname == "ERROR"
        assert line.getMessage() == (
            "bytes of the log cannot be read now topic=orders partition=0 "
            f"error={FIRST_LOG} from {begin} to {end}: Input/output error"
        )
        [place] = bench.metrics.damage
        assert (place.file, place.begin, place.end) == (FIRST_LOG, begin, end)
        assert bench.metrics.topic_errors == {("orders", "read"): 3}
        assert not partition.is_offline
        assert bench.produce(partition).answers == []
        await bench.settle()
        assert partition.read(3, size_max=1 << 20, at_least_one=True).next_offset == 6
        partition.sound("orders-0/00000000000000000009.log")
        assert bench.metrics.damage, "that is another one"
        partition.sound(FIRST_LOG)
        assert not bench.metrics.damage

    play()


@on_the_bench
async def test_who_asks_again_for_what_could_not_be_read_is_refused_without_a_look_for_a_while(bench: Bench) -> None:
    """A bad sector keeps who reads it waiting for seconds, and the loop with him."""
    partition = reopened(bench, await filled(bench))
    bench.disk.spoil(FIRST_LOG, 3 * BATCH_SIZE, 3 * BATCH_SIZE + 10)

    def asks() -> None:
        with pytest.raises(Unreadable):
            partition.read(3, size_max=1 << 20, at_least_one=True)
        with pytest.raises(Unreadable):
            partition.find_timestamp(BASE_TIMESTAMP + 4)
        assert partition.time_at(3) is None

    asks()
    bench.disk.spoil(FIRST_LOG, 0, 0)
    asks()
    await asyncio.sleep(PAUSE_S - 1)
    asks()
    await asyncio.sleep(1)
    assert partition.read(3, size_max=1 << 20, at_least_one=True).next_offset == 5
    assert partition.find_timestamp(BASE_TIMESTAMP + 4) is not None
    assert partition.time_at(3) == BASE_TIMESTAMP + 3


@pytest.mark.parametrize(("call", "error"), [("read", errno.ENOMEM), ("open", errno.EMFILE)])
def test_want_of_memory_or_descriptors_is_no_word_on_the_bytes(call: str, error: int) -> None:
    @on_the_bench
    async def play(bench: Bench) -> None:
        partition = await with_a_closed_segment(bench)
        bench.disk.fail_next(call, error, path=FIRST_LOG)
        with pytest.raises(DiskFailed) as refused:
            partition.read(0, size_max=1 << 20, at_least_one=True)
        assert call == "read" or isinstance(refused.value, OutOfDescriptors)
        assert bench.metrics.topic_errors == {}
        assert partition.read(0, size_max=1 << 20, at_least_one=True).next_offset == 6

    play()


def test_a_closed_segment_whose_file_is_gone_quarantines_the_log(caplog: pytest.LogCaptureFixture) -> None:
    @on_the_bench
    async def play(bench: Bench) -> None:
        partition = await with_a_closed_segment(bench)
        bench.disk.remove(FIRST_LOG)
        with pytest.raises(CorruptLog):
            partition.read(0, size_max=1 << 20, at_least_one=True)
        assert partition.is_quarantined
        assert caplog.records[0].getMessage().endswith(f"{FIRST_LOG} from 0 to {5 * BATCH_SIZE}: missing")
        assert partition.read(5, size_max=1 << 20, at_least_one=True).next_offset == 6

    play()


@on_the_bench
async def test_a_search_for_a_time_that_meets_damage_ends_the_appends_too(bench: Bench) -> None:
    partition = await with_rot(bench)
    with pytest.raises(CorruptLog):
        partition.find_timestamp(BASE_TIMESTAMP + 2)
    assert partition.is_quarantined


@on_the_bench
async def test_whoever_waits_when_damage_is_found_is_answered(bench: Bench) -> None:
    """Nothing is acknowledged any more, not even what was being synced: the next start could not tell that it was."""
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
    assert all(isinstance(append.error, LogOffline) for append in (synced, late, staged))
    assert partition.high_watermark == 5


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


@on_the_bench
async def test_no_reader_is_sent_away_from_a_log_of_which_nobody_knows_the_end(bench: Bench) -> None:
    """Decision 0013: not by its offset, and not by its leader epoch, which a start could not find out."""
    partition = await filled(bench)
    partition.log.write_mark()
    bench.disk.kill()
    bench.disk.corrupt("orders-0/leader-epoch-checkpoint", 0, b"rot")
    bench.disk.corrupt(FIRST_LOG, 2 * BATCH_SIZE + 65, b"rot")
    log = LogDirectory.open(bench.disk, cluster_id=lambda: "never asked", now_ms=0).open_log(
        "orders", 0, partition.log.config, now_ms=0
    )
    partition = a_partition(bench, log)
    assert (partition.is_quarantined, partition.high_watermark, partition.leader_epoch) == (True, 5, -1)
    assert partition.read(3, size_max=1, at_least_one=True).base_offset == 3
    with pytest.raises(LogOffline, match="the checksum does not hold"):
        partition.read(6, size_max=1, at_least_one=True)
    with pytest.raises(OffsetOutOfRange, match=r"outside \[0, 5\]"):
        partition.read(-1, size_max=1, at_least_one=True)
    partition.check_leader_epoch(-1)
    with pytest.raises(LogOffline):
        partition.check_leader_epoch(0)
    with pytest.raises(LogOffline):
        partition.end_of_epoch(0)
