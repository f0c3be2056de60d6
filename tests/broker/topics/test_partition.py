"""A partition: what is answered when, what may be seen, what a failing disk does to it [L-1, L-14, L-15, B-20]."""

import asyncio
import random
from collections.abc import Callable

import pytest

from support.bench import TOPIC_ID, Append, Bench, on_the_bench, readable
from support.builders import BASE_TIMESTAMP, a_batch, values_of
from tidelog.broker.errors import code_of
from tidelog.broker.topics.delayed_fetch import ParkedFetch
from tidelog.broker.topics.partition import Partition
from tidelog.protocol import batch as batches
from tidelog.protocol.errors import CorruptBatch, ErrorCode, RequestRefused
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import DiskFailed, DiskFull, LogOffline, OffsetOutOfRange
from tidelog.storage.leader_epochs import EpochEnd
from tidelog.storage.log_directory import LogDirectory

CACHING = {"write_caching": "true"}


def offsets(partition: Partition) -> list[int]:
    """Base offsets of the batches that a consumer sees."""
    records = partition.read(0, size_max=1 << 24, at_least_one=True).records
    return [header.base_offset for _, header in batches.walk(records)]


# When producers are answered


@on_the_bench
async def test_acks_one_is_answered_by_the_page_cache_and_acks_all_by_the_disk(bench: Bench) -> None:
    """B-20, and house rule 1.6."""
    partition = bench.partition()
    none, one, all_ = (bench.stage(partition, acks=acks) for acks in (0, 1, -1))
    assert [append.base_offset for append in (none, one, all_)] == [0, 1, 2]
    assert (none.answers, one.answers, all_.answers) == ([], [], [])
    partition.write_out()
    assert (none.answers, one.answers, all_.answers) == ([None], [None], [])
    assert (partition.log.written_offset, partition.log.recovery_point) == (3, 0)
    await bench.settle()
    assert (none.answers, one.answers, all_.answers) == ([None], [None], [None])
    assert partition.log.recovery_point == 3


@on_the_bench
async def test_waiters_are_answered_in_the_order_of_their_offsets(bench: Bench) -> None:
    partition = bench.partition()
    answered: list[int] = []

    def note(number: int) -> Callable[[Exception | None], None]:
        return lambda error: answered.append(number)

    for number in range(10):
        partition.append(memoryview(a_batch()), acks=-1, now_ms=BASE_TIMESTAMP, waiter=note(number))
        if number % 3 == 0:
            partition.write_out()
            await asyncio.sleep(0)
    partition.write_out()
    await bench.settle()
    assert answered == list(range(10))


@on_the_bench
async def test_one_read_of_a_socket_touches_a_partition_with_one_write(bench: Bench) -> None:
    partition = bench.partition()
    bench.disk.appended.clear()
    for _ in range(50):
        bench.stage(partition)
    assert bench.disk.appended == []
    assert set(bench.touched) == {partition}, "whoever writes out knows that there is something to write"
    partition.write_out()
    assert [path for path in bench.disk.appended if path.endswith(".log")] == [f"orders-0/{0:020d}.log"]


def idempotent(sequence: int) -> bytearray:
    return a_batch(producer_id=5, producer_epoch=0, base_sequence=sequence)


@on_the_bench
async def test_a_duplicate_waits_until_the_first_attempt_is_durable(bench: Bench) -> None:
    """I-2: success says what acks=all says, whichever attempt it answers."""
    partition = bench.partition()
    first = bench.stage(partition, batch=idempotent(0))
    partition.write_out()
    retry = bench.stage(partition, batch=idempotent(0))
    partition.write_out()
    assert (retry.base_offset, first.answers, retry.answers) == (0, [], [])
    await bench.settle()
    assert (first.answers, retry.answers) == ([None], [None])
    late = bench.stage(partition, batch=idempotent(0))
    partition.write_out()
    assert late.answers == [None], "what is durable already needs no further round"
    assert partition.log.end_offset == 1


@on_the_bench
async def test_a_duplicate_of_what_the_disk_refused_is_refused_with_it(bench: Bench) -> None:
    partition = bench.partition()
    bench.disk.fail_next("append")
    first, retry = bench.stage(partition, batch=idempotent(0)), bench.stage(partition, batch=idempotent(0))
    partition.write_out()
    assert all(isinstance(one.answers[0], DiskFailed) for one in (first, retry))
    again = bench.stage(partition, batch=idempotent(0))
    partition.write_out()
    await bench.settle()
    assert (again.base_offset, again.answers) == (0, [None])


@on_the_bench
async def test_a_duplicate_of_what_was_never_synced_fails_like_it(bench: Bench) -> None:
    partition = bench.partition()
    first = bench.stage(partition, batch=idempotent(0))
    partition.write_out()
    bench.disk.fail_next("sync", path=".log")
    await bench.settle()
    assert isinstance(first.answers[0], DiskFailed)
    retry = bench.stage(partition, batch=idempotent(0))
    partition.write_out()
    await bench.settle()
    assert isinstance(retry.answers[0], LogOffline)


@pytest.mark.parametrize(("settings", "acks"), [({}, 1), (CACHING, 1), (CACHING, -1)])
def test_a_duplicate_of_what_may_be_lost_is_no_success_whatever_it_asks_for(
    settings: dict[str, str], acks: int
) -> None:
    """I-2: the log takes nothing more, and what it took last is forgotten by the kernel."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        partition = bench.partition(**settings)
        first = bench.stage(partition, batch=idempotent(0), acks=acks)
        partition.write_out()
        assert first.answers == [None]
        bench.disk.fail_next("sync", path=".log")
        await asyncio.sleep(1.1)
        await bench.settle()
        assert partition.is_offline
        retry = bench.stage(partition, batch=idempotent(0), acks=acks)
        partition.write_out()
        assert isinstance(retry.error, LogOffline)

    play()


# What consumers see


@pytest.mark.parametrize("seed", range(25))
def test_the_high_watermark_is_the_durable_end_and_survives_a_power_cut(seed: int) -> None:
    """L-1 and house rule 1.6: after any work, what was seen, or answered to acks=all, is there when the power fails."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        dice = random.Random(seed)
        bench.disk.rng.seed(seed)
        bench.disk.sync_s = 0.001
        partition = bench.partition(segment_bytes="2048")
        sent: list[bytes] = []
        safe: list[tuple[bytes, Append]] = []
        for number in range(dice.randint(1, 60)):
            value = b"value %d" % number
            sent.append(value)
            if dice.random() < 0.5:
                bench.stage(partition, value, acks=1)
            else:
                safe.append((value, bench.stage(partition, value, acks=-1)))
            if dice.random() < 0.6:
                partition.write_out()
            if dice.random() < 0.4:
                await asyncio.sleep(dice.random() * 0.004)
            assert 0 <= partition.high_watermark <= partition.log.recovery_point <= partition.log.end_offset
            assert readable(partition) == sent[: partition.high_watermark]
        partition.write_out()
        seen = readable(partition)
        assert {value for value, append in safe if append.answers} <= set(seen)
        bench.disk.crash()
        again = LogDirectory.open(bench.disk, cluster_id=lambda: "never asked", now_ms=0)
        log = again.open_log("orders", 0, partition.log.config, now_ms=0)
        records = log.read(0, size_max=1 << 24, up_to=log.end_offset, at_least_one=True).records
        assert values_of(records)[: len(seen)] == seen

    play()


@on_the_bench
async def test_between_the_high_watermark_and_the_end_there_is_nothing_beyond_it_an_error(bench: Bench) -> None:
    """L-1."""
    partition = bench.partition()
    bench.produce(partition)
    await bench.settle()
    bench.produce(partition)
    for offset in (1, 2):
        fetched = partition.read(offset, size_max=1000, at_least_one=True)
        assert (len(fetched.records), fetched.next_offset) == (0, offset)
    for offset in (3, -1):
        with pytest.raises(OffsetOutOfRange):
            partition.read(offset, size_max=1000, at_least_one=True)


@on_the_bench
async def test_what_is_written_is_counted_and_what_is_shown_is_the_high_watermark(bench: Bench) -> None:
    """Monitoring sees what consumers see."""
    partition = bench.partition()
    bench.produce(partition, b"a", b"b")
    size = partition.size_bytes
    assert (partition.log_start_offset, partition.log_end_offset) == (0, 0)
    await bench.settle()
    assert (partition.log_end_offset, partition.last_stable_offset) == (2, 2)
    assert (partition.leader_epoch, partition.segment_count) == (0, 1)
    assert (partition.records_in, partition.batches_in, partition.bytes_in) == (2, 1, size)


@on_the_bench
async def test_an_old_leader_epoch_is_fenced_and_a_newer_one_unknown(bench: Bench) -> None:
    """L-15, KIP-320."""
    partition = bench.partition()
    partition.log.leader_epochs.assign(3, 0)
    for epoch in (-1, 3):
        partition.check_leader_epoch(epoch)
    for epoch, code in ((2, ErrorCode.FENCED_LEADER_EPOCH), (4, ErrorCode.UNKNOWN_LEADER_EPOCH)):
        with pytest.raises(RequestRefused) as refused:
            partition.check_leader_epoch(epoch)
        assert refused.value.code is code


@on_the_bench
async def test_an_epoch_ends_where_the_next_begins_the_last_one_at_the_high_watermark(bench: Bench) -> None:
    """L-15."""
    partition = bench.partition()
    bench.produce(partition, b"a", b"b")
    await bench.settle()
    partition.log.leader_epochs.assign(3, 2)
    bench.produce(partition, b"c")
    assert [partition.end_of_epoch(epoch) for epoch in (-1, 0, 2, 3, 4)] == [
        None,
        EpochEnd(0, 2),
        EpochEnd(0, 2),
        EpochEnd(3, 2),
        None,
    ]
    await bench.settle()
    assert partition.end_of_epoch(3) == EpochEnd(3, 3)


@on_the_bench
async def test_a_read_without_room_still_knows_what_is_out_of_range(bench: Bench) -> None:
    partition = bench.partition()
    bench.produce(partition, b"a")
    await bench.settle()
    assert partition.read(0, size_max=0, at_least_one=False).records == b""
    for offset in (-1, 2):
        with pytest.raises(OffsetOutOfRange):
            partition.read(offset, size_max=0, at_least_one=False)


# What is refused


@on_the_bench
async def test_what_is_refused_leaves_no_trace(bench: Bench) -> None:
    partition = bench.partition(max_message_bytes="500")
    torn = a_batch([b"value"])
    torn[-1] ^= 1
    for batch, error in (
        (a_batch([b"x" * 1000]), RequestRefused),
        (a_batch(base_offset=1), RequestRefused),
        (torn, CorruptBatch),
    ):
        with pytest.raises(error):
            partition.append(memoryview(batch), acks=-1, now_ms=0, waiter=lambda _: pytest.fail("it was never staged"))
    partition.write_out()
    await bench.settle()
    assert (partition.log.end_offset, partition.records_in, bench.touched) == (0, 0, [])


@on_the_bench
async def test_log_append_time_is_told_to_the_producer_and_stamped(bench: Bench) -> None:
    """B-15."""
    stamped, created = (
        bench.partition("stamped", message_timestamp_type="LogAppendTime"),
        bench.partition("created"),
    )
    times = [
        partition.append(memoryview(a_batch()), acks=1, now_ms=1_750_000_000_123, waiter=lambda _: None)[1]
        for partition in (stamped, created)
    ]
    assert times == [1_750_000_000_123, -1]
    stamped.write_out()
    await bench.settle()
    header = batches.check(stamped.read(0, size_max=1000, at_least_one=True).records)
    assert (header.is_log_append_time, header.max_timestamp) == (True, 1_750_000_000_123)


# A disk that fails


@on_the_bench
async def test_a_full_disk_is_told_to_all_who_staged_and_the_log_goes_on(bench: Bench) -> None:
    """Nothing was written: offsets continue where they were, and nobody waits for ever."""
    partition = bench.partition()
    first = bench.produce(partition, b"first")
    await bench.settle()
    bench.disk.full(0)
    lost = [bench.stage(partition, b"lost", acks=acks) for acks in (-1, 1, 0)]
    partition.write_out()
    assert [type(append.error) for append in lost] == [DiskFull] * 3
    assert [code_of(append.error) for append in lost if append.error] == [ErrorCode.KAFKA_STORAGE_ERROR] * 3
    assert bench.metrics.topic_errors == {("orders", "write"): 1}
    bench.disk.full(None)
    second, third = bench.produce(partition, b"second", acks=1), bench.produce(partition, b"third")
    await bench.settle()
    assert [append.answers for append in (first, second, third)] == [[None]] * 3
    assert offsets(partition) == [0, 1, 2]
    assert readable(partition) == [b"first", b"second", b"third"]


@on_the_bench
async def test_a_disk_that_is_full_when_a_segment_ends_is_told_to_those_before_it_too(bench: Bench) -> None:
    partition = bench.partition(segment_bytes="1024")
    bench.disk.full(0)
    before = bench.stage(partition, b"x" * 800)
    with pytest.raises(DiskFull):
        bench.stage(partition, b"y" * 800)
    partition.write_out()
    assert isinstance(before.error, DiskFull)
    bench.disk.full(None)
    bench.produce(partition, b"x" * 800)
    bench.produce(partition, b"y" * 800)
    await bench.settle()
    assert offsets(partition) == [0, 1]


@on_the_bench
async def test_a_failed_sync_ends_the_appends_and_shows_no_more_than_was_durable(bench: Bench) -> None:
    partition = bench.partition()
    bench.produce(partition, b"kept")
    await bench.settle()
    lost = [bench.produce(partition, b"lost"), bench.produce(partition, b"lost")]
    bench.disk.fail_next("sync", path="orders-0/")
    await bench.settle()
    assert [type(append.error) for append in lost] == [DiskFailed] * 2
    assert (partition.high_watermark, readable(partition)) == (1, [b"kept"])
    with pytest.raises(LogOffline):
        bench.stage(partition)
    assert partition.read(2, size_max=1000, at_least_one=True).records == b""


@on_the_bench
async def test_a_round_that_was_under_way_does_not_answer_for_what_came_after_it(bench: Bench) -> None:
    """The log goes offline for another reason while a sync that will succeed is being done."""
    partition = bench.partition()
    covered = bench.produce(partition, b"covered")
    await asyncio.sleep(0)
    late = bench.produce(partition, b"late")
    bench.disk.fail_next("write", path="durable-mark")
    await bench.end_of_sync(partition)
    with pytest.raises(DiskFailed):
        partition.log.write_mark()
    await bench.settle()
    assert covered.error is None
    assert isinstance(late.error, LogOffline)
    assert readable(partition) == [b"covered"]


# write.caching


@on_the_bench
async def test_write_caching_answers_and_shows_from_the_page_cache(bench: Bench) -> None:
    partition = bench.partition(**CACHING)
    bench.disk.synced.clear()
    append = bench.produce(partition, b"cached")
    assert append.answers == [None]
    assert readable(partition) == [b"cached"]
    assert (partition.log.recovery_point, bench.disk.synced) == (0, [])


@pytest.mark.parametrize(("settings", "flush_s"), [({}, 1.0), ({"flush_ms": "50"}, 0.05), ({"flush_ms": "5000"}, 5.0)])
def test_under_write_caching_what_is_written_is_flushed_after_flush_ms(
    settings: dict[str, str], flush_s: float
) -> None:
    """A second unless set; one flush for all that came meanwhile."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        partition = bench.partition(**CACHING, **settings)
        bench.disk.synced.clear()
        for _ in range(9):
            bench.produce(partition)
            await asyncio.sleep(flush_s / 10)
        assert bench.disk.synced == []
        await asyncio.sleep(flush_s / 10 + 0.01)
        await bench.settle()
        assert (bench.disk.syncs_of("orders-0"), partition.log.recovery_point) == (1, 9)
        await asyncio.sleep(10 * flush_s)
        assert bench.disk.syncs_of("orders-0") == 1, "nothing was written, nothing is flushed"
        bench.produce(partition)
        await asyncio.sleep(flush_s + 0.01)
        await bench.settle()
        assert partition.log.recovery_point == 10

    play()


@on_the_bench
async def test_under_write_caching_flush_messages_do_not_wait_for_the_clock(bench: Bench) -> None:
    partition = bench.partition(**CACHING, flush_messages="3", flush_ms="3600000")
    bench.produce(partition, b"a", b"b")
    await asyncio.sleep(1)
    assert partition.log.recovery_point == 0
    bench.produce(partition, b"c")
    await bench.settle()
    assert partition.log.recovery_point == 3
    bench.produce(partition, b"d")
    await asyncio.sleep(1)
    assert partition.log.recovery_point == 3, "counted anew"


@on_the_bench
async def test_without_write_caching_no_setting_delays_a_flush(bench: Bench) -> None:
    partition = bench.partition(flush_ms="3600000", flush_messages="1000000")
    append = bench.produce(partition)
    await bench.settle()
    assert append.answers == [None]
    assert partition.log.recovery_point == 1


@on_the_bench
async def test_a_failed_flush_under_write_caching_takes_nothing_back_and_accepts_no_more(bench: Bench) -> None:
    partition = bench.partition(**CACHING)
    append = bench.produce(partition, b"seen")
    bench.disk.fail_next("sync", path="orders-0/")
    await asyncio.sleep(1.1)
    await bench.settle()
    assert append.answers == [None]
    assert readable(partition) == [b"seen"]
    with pytest.raises(LogOffline):
        bench.produce(partition)


# Other settings


@on_the_bench
async def test_who_turns_write_caching_off_finds_on_the_disk_what_was_shown_before(bench: Bench) -> None:
    partition = bench.partition(**CACHING, flush_ms="3600000")
    shown = bench.produce(partition, b"shown")
    assert (shown.answers, readable(partition), partition.log.recovery_point) == ([None], [b"shown"], 0)
    partition.reconfigure(LogConfig())
    await bench.settle()
    assert partition.log.recovery_point == 1
    waits = bench.produce(partition, b"waits")
    assert (waits.answers, readable(partition)) == ([], [b"shown"])
    await bench.settle()
    assert (waits.answers, readable(partition)) == ([None], [b"shown", b"waits"])


@on_the_bench
async def test_who_turns_write_caching_on_waits_for_the_disk_no_more(bench: Bench) -> None:
    partition = bench.partition()
    before = bench.produce(partition, b"before")
    partition.reconfigure(LogConfig(write_caching=True))
    assert before.answers == [], "it was promised the disk"
    after = bench.produce(partition, b"after")
    assert (before.answers, after.answers) == ([None], [None])
    assert readable(partition) == [b"before", b"after"]
    await bench.settle()
    await asyncio.sleep(1.1)
    await bench.settle()
    assert partition.log.recovery_point == 2


@on_the_bench
async def test_what_waits_for_a_flush_waits_as_long_as_the_newest_settings_say(bench: Bench) -> None:
    partition = bench.partition(**CACHING, flush_ms="3600000")
    bench.produce(partition)
    partition.reconfigure(LogConfig(write_caching=True, flush_ms=100))
    await asyncio.sleep(0.2)
    await bench.settle()
    assert partition.log.recovery_point == 1
    partition.reconfigure(LogConfig(write_caching=True, flush_ms=100, flush_messages=5))
    bench.produce(partition)
    bench.produce(partition)
    partition.reconfigure(LogConfig(write_caching=True, flush_ms=3_600_000, flush_messages=2))
    await bench.settle()
    assert partition.log.recovery_point == 3


@on_the_bench
async def test_new_settings_hold_for_the_next_batch(bench: Bench) -> None:
    partition = bench.partition()
    bench.produce(partition, b"stamped by its producer")
    partition.reconfigure(LogConfig(max_message_bytes=200, message_timestamp_type="LogAppendTime"))
    _, append_time_ms = partition.append(memoryview(a_batch()), acks=1, now_ms=77, waiter=lambda _: None)
    assert append_time_ms == 77
    with pytest.raises(RequestRefused, match=r"max\.message\.bytes=200"):
        bench.stage(partition, b"x" * 300)
    partition.write_out()


@on_the_bench
async def test_nothing_is_flushed_because_of_settings_when_nothing_waits(bench: Bench) -> None:
    partition = bench.partition(**CACHING)
    bench.disk.synced.clear()
    partition.reconfigure(LogConfig())
    partition.detach()
    partition.reconfigure(LogConfig(write_caching=True))
    await bench.settle()
    assert bench.disk.synced == []


# End of life


@on_the_bench
async def test_a_deleted_partition_leaves_nobody_waiting_and_takes_nothing(bench: Bench) -> None:
    """L-14."""
    partition = bench.partition()
    fetches: list[str] = []
    parked = ParkedFetch({partition: 1}, wanted_bytes=1, answer=lambda: fetches.append("answered"))
    bench.fetches.park(parked, wait_s=60)
    waiting = bench.produce(partition)
    partition.detach()
    assert waiting.error is not None
    assert code_of(waiting.error) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert fetches == ["answered"]
    for use in (lambda: bench.stage(partition), lambda: partition.read(0, size_max=1, at_least_one=True)):
        with pytest.raises(RequestRefused) as refused:
            use()
        assert refused.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    await bench.settle()
    assert len(waiting.answers) == 1


@on_the_bench
async def test_a_sync_that_ends_after_the_deletion_shows_nothing_to_anybody(bench: Bench) -> None:
    partition = bench.partition()
    append = bench.produce(partition)
    await asyncio.sleep(0)
    partition.detach()
    await bench.settle()
    assert len(append.answers) == 1
    assert append.error is not None
    assert partition.high_watermark == 0


@pytest.mark.parametrize("settings", [CACHING, {}])
def test_a_deleted_partition_is_not_flushed_any_more(settings: dict[str, str]) -> None:
    @on_the_bench
    async def play(bench: Bench) -> None:
        partition = bench.partition(**settings)
        bench.produce(partition)
        bench.disk.synced.clear()
        partition.detach()
        await asyncio.sleep(10)
        assert bench.disk.synced == []

    play()


@on_the_bench
async def test_a_partition_begins_where_its_log_is_durable(bench: Bench) -> None:
    partition = bench.partition()
    bench.produce(partition, b"a", b"b")
    await bench.settle()
    partition.log.close()
    log = bench.directory.open_log("orders", 0, partition.log.config, now_ms=0)
    again = Partition(
        log,
        topic="orders",
        topic_id=TOPIC_ID,
        index=0,
        flusher=bench.flusher,
        touched=bench,
        fetch_waiters=bench.fetches,
        metrics=bench.metrics,
    )
    assert (again.high_watermark, readable(again)) == (2, [b"a", b"b"])


# How old a record is


@on_the_bench
async def test_a_record_is_as_old_as_the_first_one_of_its_batch(bench: Bench) -> None:
    partition = bench.partition()
    for number in range(3):
        times = BASE_TIMESTAMP + number * 60_000
        bench.stage(partition, batch=a_batch((b"a", b"b"), base_timestamp=times, timestamp_step=1000))
    assert partition.time_at(0) is None, "nobody sees it yet"
    partition.write_out()
    await bench.settle()
    found = [partition.time_at(offset) for offset in range(7)]
    assert found == [BASE_TIMESTAMP + minute * 60_000 for minute in (0, 0, 1, 1, 2, 2)] + [None]


@on_the_bench
async def test_under_log_append_time_it_is_as_old_as_its_append(bench: Bench) -> None:
    partition = bench.partition(message_timestamp_type="LogAppendTime")
    bench.stage(partition, batch=a_batch(base_timestamp=BASE_TIMESTAMP - 1000))
    partition.write_out()
    await bench.settle()
    [header] = [header for _, header in batches.walk(partition.read(0, size_max=1000, at_least_one=True).records)]
    assert partition.time_at(0) == header.max_timestamp > BASE_TIMESTAMP - 1000


@on_the_bench
async def test_a_record_without_a_time_or_that_cannot_be_read_has_no_age(bench: Bench) -> None:
    partition = bench.partition()
    bench.stage(partition, batch=a_batch(base_timestamp=-1, timestamp_step=0))
    bench.stage(partition)
    partition.write_out()
    await bench.settle()
    assert partition.time_at(0) is None
    assert partition.time_at(1) == BASE_TIMESTAMP
    partition.detach()
    assert partition.time_at(1) is None
