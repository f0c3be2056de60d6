"""The scrubber in virtual time: what it reads, how fast, how often, and what it does about what it finds."""

import asyncio
import errno
import logging
from dataclasses import replace

import pytest

from support.bench import Bench, on_the_bench
from support.builders import a_batch, some_value
from support.consuming import until
from support.house import House
from tidelog.broker.scrubber import DEFECT_PAUSE_S, LOOK_INTERVAL_S, OWNERS_A_TURN, RETRY_S, TRIES
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.storage.digests import SUFFIX, Digest, read_digest
from tidelog.storage.errors import CorruptLog, Unreadable
from tidelog.storage.inspection import SLICE_SIZE, Inspection
from tidelog.storage.log import Log
from tidelog.storage.segment import Segment

INTERVAL_S = 700
"""A week in a nutshell: also to a virtual clock a week is long."""
DAY_S = INTERVAL_S / 7
VALUE_SIZE = 20_000
BATCH_SIZE = len(a_batch([some_value(0, VALUE_SIZE)]))
PER_SEGMENT = 50
"""Batches: about a megabyte."""
SEGMENT_BYTES = str(PER_SEGMENT * BATCH_SIZE)
SETTINGS = (f"log.scrub.interval.ms={INTERVAL_S * 1000}",)
FIRST = "orders-0/00000000000000000000.log"
DRAFT = FIRST.replace(".log", ".digest.tmp")
LAST = "orders-0/00000000000000000100.log"


def partition_of(house: House, name: str = "orders") -> Partition:
    topic = house.server.topics.by_name(name)
    assert topic is not None
    return topic.partitions[0]


async def fill(house: House, batches: int, name: str = "orders") -> None:
    for number in range(batches):
        await house.produce(name, a_batch([some_value(number, VALUE_SIZE)]))


async def with_segments(bench: Bench, *settings: str) -> House:
    """A broker with one log of two sealed segments, and ten batches in its last one. Its syncs do not use the pool."""
    house = await bench.serve(*SETTINGS, *settings, inline_sync_max_s=1.0)
    await house.create("orders", segment_bytes=SEGMENT_BYTES)
    await fill(house, 2 * PER_SEGMENT + 10)
    return house


def digests(bench: Bench) -> list[str]:
    return [path for path in bench.disk.tree() if path.endswith(SUFFIX)]


def digest_of(bench: Bench, path: str = FIRST) -> Digest:
    digest = read_digest(bench.disk, path.replace(".log", SUFFIX))
    assert digest is not None
    return digest


def batches_read(house: House) -> int:
    """How many, of the topics' own; the cluster's facts are smaller than one."""
    return house.server.metrics.scrubbed_bytes // BATCH_SIZE


async def restart(bench: Bench, house: House) -> House:
    await house.server.stop()
    return await bench.serve(*SETTINGS)


# What is read, and when


@on_the_bench
async def test_a_sealed_segment_gets_its_digest_soon_and_the_last_one_none(bench: Bench) -> None:
    house = await with_segments(bench)
    assert not digests(bench)
    await asyncio.sleep(LOOK_INTERVAL_S + 5)
    assert digests(bench) == [
        "orders-0/00000000000000000000.digest",
        "orders-0/00000000000000000050.digest",
    ]
    assert digest_of(bench).describes(0, 50, PER_SEGMENT * BATCH_SIZE)
    assert batches_read(house) == 2 * PER_SEGMENT
    await fill(house, PER_SEGMENT)
    await asyncio.sleep(LOOK_INTERVAL_S + 5)
    assert len(digests(bench)) == 3


@on_the_bench
async def test_no_more_is_read_in_a_second_than_the_limit_says(bench: Bench) -> None:
    house = await with_segments(bench, "log.scrub.bytes.per.second=100000")
    await asyncio.sleep(LOOK_INTERVAL_S)
    metrics = house.server.metrics
    began = metrics.scrubbed_bytes
    await asyncio.sleep(10)
    assert 10 * 100_000 - SLICE_SIZE < metrics.scrubbed_bytes - began <= 10 * 100_000 + SLICE_SIZE
    await asyncio.sleep(60)
    assert batches_read(house) == 2 * PER_SEGMENT


@on_the_bench
async def test_a_slow_disk_is_left_in_peace_for_most_of_the_time(bench: Bench) -> None:
    """Whatever the limit is: consumers wait for the same disk."""
    house = await with_segments(bench)
    bench.loop.pool_delay_s_min = 1.0
    await asyncio.sleep(LOOK_INTERVAL_S)
    pooled = bench.environment.pooled
    await asyncio.sleep(100)
    calls = bench.environment.pooled - pooled
    assert 8 <= calls <= 14, "two seconds of work, eight of rest; none around the digest of the one segment it ends"
    assert house.server.metrics.scrubbed_bytes > 0


@on_the_bench
async def test_after_an_interval_all_is_read_again_and_the_digest_remembers_when(bench: Bench) -> None:
    house = await with_segments(bench)
    await asyncio.sleep(60)
    metrics = house.server.metrics
    first, began_ms = digest_of(bench), bench.environment.now_ms()
    assert metrics.scrub_oldest_ms > began_ms - INTERVAL_S * 1000
    await asyncio.sleep(INTERVAL_S - DAY_S / 2)
    assert batches_read(house) in (2 * PER_SEGMENT, 2 * PER_SEGMENT + 10)
    await asyncio.sleep(DAY_S)
    assert batches_read(house) == 4 * PER_SEGMENT + 10, "the last one too, at some time of the week"
    again = digest_of(bench)
    assert again.sha256 == first.sha256
    assert again.verified_ms - first.verified_ms >= INTERVAL_S * 1000
    assert metrics.scrub_oldest_ms > began_ms
    assert metrics.scrub_damage == 0


@on_the_bench
async def test_a_restart_begins_nothing_anew(bench: Bench) -> None:
    house = await with_segments(bench)
    await asyncio.sleep(60)
    files = {path: bench.disk.tree()[path] for path in digests(bench)}
    for _ in range(3):
        house = await restart(bench, house)
        await asyncio.sleep(DAY_S)
        assert batches_read(house) in (0, 10), "the last one has its own time"
    assert {path: bench.disk.tree()[path] for path in digests(bench)} == files
    await asyncio.sleep(4 * DAY_S)
    assert batches_read(house) >= 2 * PER_SEGMENT


@on_the_bench
async def test_what_is_new_and_what_is_due_take_turns(bench: Bench) -> None:
    """Where as much is written as can be read, the old would never be looked at again."""
    house = await with_segments(bench, "log.scrub.interval.ms=60000", "log.scrub.bytes.per.second=100000")
    await asyncio.sleep(50)
    verified_ms = digest_of(bench).verified_ms
    await house.create("busy", segment_bytes=str(10 * BATCH_SIZE))
    for _ in range(75):
        await fill(house, 10, "busy")
        await asyncio.sleep(1)
    new = partition_of(house, "busy").segment_count - 1
    assert 20 < len(digests(bench)) - 2 < new - 20, "not all of the new ones have had their turn"
    assert digest_of(bench).verified_ms > verified_ms, "and one that was due has"


@on_the_bench
async def test_every_last_segment_has_its_own_time_within_the_interval(bench: Bench) -> None:
    """A thousand of them read at once would be a thousand minutes of reading."""
    house = await bench.serve("log.scrub.interval.ms=100000")
    for number in range(20):
        await house.create(f"t{number}")
        await fill(house, 1, f"t{number}")
    seen = []
    for _ in range(12):
        before = batches_read(house)
        await asyncio.sleep(10)
        seen.append(batches_read(house) - before)
    assert sum(seen) >= 20
    assert max(seen) < 12


@on_the_bench
async def test_however_many_logs_there_are_none_is_overlooked(bench: Bench) -> None:
    """They are looked through a few at a time, for the loop has others to serve."""
    house = await bench.serve(*SETTINGS, inline_sync_max_s=1.0)
    await house.create("many", partitions=3 * OWNERS_A_TURN + 1, segment_bytes=str(2 * BATCH_SIZE))
    for index in (0, OWNERS_A_TURN, 3 * OWNERS_A_TURN):
        for _ in range(3):
            await house.produce("many", a_batch([some_value(0, VALUE_SIZE)]), partition=index)
    await asyncio.sleep(2 * LOOK_INTERVAL_S)
    assert [path.split("/")[0] for path in digests(bench)] == ["many-0", "many-192", "many-64"]


@on_the_bench
async def test_a_missing_or_rotten_digest_is_made_again(bench: Bench) -> None:
    """Derived data: the batches say the same."""
    house = await with_segments(bench)
    await asyncio.sleep(60)
    sound = digest_of(bench)
    await house.server.stop()
    bench.disk.corrupt(FIRST.replace(".log", SUFFIX), 50, b"rot")
    bench.disk.remove("orders-0/00000000000000000050.digest")
    house = await bench.serve(*SETTINGS)
    await asyncio.sleep(60)
    assert digest_of(bench).sha256 == sound.sha256
    assert len(digests(bench)) == 2
    assert not partition_of(house).log.offline


@on_the_bench
async def test_nothing_is_read_when_the_limit_is_zero_until_it_is_not(bench: Bench) -> None:
    house = await with_segments(bench, "log.scrub.bytes.per.second=0")
    await asyncio.sleep(2 * INTERVAL_S)
    assert house.server.metrics.scrubbed_bytes == 0
    assert not digests(bench)


@on_the_bench
async def test_the_limit_can_be_lifted_and_lowered_while_a_segment_is_read(bench: Bench) -> None:
    house = await with_segments(bench, "log.scrub.bytes.per.second=100000")
    await asyncio.sleep(LOOK_INTERVAL_S + 2)
    configs = house.server.services.configs
    configs.current = configs.current.with_overrides({"log.scrub.bytes.per.second": "0"})
    await asyncio.sleep(5)
    read = house.server.metrics.scrubbed_bytes
    assert read > 0
    await asyncio.sleep(DAY_S)
    assert house.server.metrics.scrubbed_bytes == read
    configs.current = configs.current.with_overrides({"log.scrub.bytes.per.second": "100000000"})
    await asyncio.sleep(2 * LOOK_INTERVAL_S)
    assert len(digests(bench)) == 2


@on_the_bench
async def test_what_lies_above_the_durable_end_is_not_read(bench: Bench) -> None:
    house = await bench.serve("log.scrub.interval.ms=1000")
    await house.create("orders", write_caching="true", flush_ms="3600000")
    await fill(house, 1)
    await asyncio.sleep(60)
    assert batches_read(house) == 0


# What is found


def test_damage_is_quarantined_named_and_the_rest_is_served(caplog: pytest.LogCaptureFixture) -> None:
    """House rule 1.6, A8: one ERROR line and a metric with file and byte range; the other partitions go on."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await with_segments(bench)
        await house.create("events")
        await house.produce("events", a_batch())
        await asyncio.sleep(60)
        bench.disk.corrupt(FIRST, 20 * BATCH_SIZE + 500, b"rot")
        files = bench.disk.tree()
        caplog.clear()
        await asyncio.sleep(INTERVAL_S)
        partition, metrics = partition_of(house), house.server.metrics
        assert (metrics.scrub_damage, partition.is_quarantined, partition.is_offline) == (1, True, True)
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        block = 20 * BATCH_SIZE // 65536 + 1
        assert record.getMessage() == (
            "damaged bytes in the log topic=orders partition=0 "
            f"error={FIRST} from {20 * BATCH_SIZE} to {block * 65536}: the checksum does not hold"
        )
        [place] = metrics.damage
        assert (place.topic, place.partition, place.file) == ("orders", 0, FIRST)
        assert (place.begin, place.end) == (20 * BATCH_SIZE, block * 65536)
        assert metrics.topic_errors["orders", "quarantined"] == 1
        refused = await house.produce("orders", a_batch())
        assert refused.error_code == ErrorCode.KAFKA_STORAGE_ERROR  # type: ignore[union-attr]
        accepted = await house.produce("events", a_batch())
        assert accepted.error_code == 0  # type: ignore[union-attr]
        assert partition.read(0, size_max=1 << 20, at_least_one=True).next_offset == 20
        with pytest.raises(CorruptLog):
            partition.read(20, size_max=1 << 20, at_least_one=True)
        assert partition.read(21, size_max=1 << 20, at_least_one=True).next_offset > 40
        gone = {path for path in files if path.startswith("orders-0/")} - set(bench.disk.tree())
        assert not gone, "nothing is deleted"
        assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1, "told once"

    play()


@on_the_bench
async def test_damage_in_the_last_segment_is_found_too(bench: Bench) -> None:
    house = await with_segments(bench)
    await asyncio.sleep(60)
    bench.disk.corrupt(LAST, 5 * BATCH_SIZE + 500, b"rot")
    await asyncio.sleep(INTERVAL_S + 60)
    [place] = house.server.metrics.damage
    assert (place.file, place.begin, place.end) == (LAST, 5 * BATCH_SIZE, 6 * BATCH_SIZE)
    assert partition_of(house).is_quarantined


@on_the_bench
async def test_a_quarantined_log_is_read_on_and_its_other_damage_is_named(bench: Bench) -> None:
    house = await with_segments(bench)
    await asyncio.sleep(60)
    second = "orders-0/00000000000000000050.log"
    for path in (FIRST, second):
        bench.disk.corrupt(path, 20 * BATCH_SIZE + 500, b"rot")
    await asyncio.sleep(INTERVAL_S)
    assert {place.file for place in house.server.metrics.damage} == {FIRST, second}
    quarantined = partition_of(house).log.quarantined
    assert quarantined is not None
    read = batches_read(house)
    await asyncio.sleep(DAY_S)
    assert batches_read(house) - read <= 11, "once an interval, like any other"


@on_the_bench
async def test_a_segment_that_is_gone_is_damage(bench: Bench) -> None:
    house = await with_segments(bench)
    await asyncio.sleep(60)
    bench.disk.remove(FIRST)
    await asyncio.sleep(INTERVAL_S)
    [place] = house.server.metrics.damage
    assert (place.file, place.begin, place.end) == (FIRST, 0, PER_SEGMENT * BATCH_SIZE)
    assert partition_of(house).is_quarantined


@on_the_bench
async def test_a_disk_that_fails_for_a_moment_costs_no_log(bench: Bench) -> None:
    """A6: a path of several is changed, a network block device is away. No byte is damaged by that."""
    house = await with_segments(bench)
    await asyncio.sleep(60)
    for _ in range(2 * (TRIES - 1)):  # each time the batch alone is asked for once more
        bench.disk.fail_next("read", path=FIRST)
    await asyncio.sleep(INTERVAL_S + DAY_S)
    assert (partition_of(house).log.quarantined, house.server.metrics.scrub_damage) == (None, 0)
    assert digest_of(bench).verified_ms > bench.environment.now_ms() - INTERVAL_S * 1000


@on_the_bench
async def test_what_the_disk_never_gives_is_damage(bench: Bench) -> None:
    """A6: a bad sector; as soon as it was asked often enough, some time apart."""
    house = await with_segments(bench)
    bench.disk.spoil(FIRST, 0, 1)
    await asyncio.sleep(LOOK_INTERVAL_S + (TRIES - 1.5) * RETRY_S)
    assert partition_of(house).log.quarantined is None
    await asyncio.sleep(RETRY_S)
    damage = partition_of(house).log.quarantined
    assert damage is not None
    assert (damage.path, damage.position, damage.reason) == (FIRST, 0, "Input/output error")


@pytest.mark.parametrize("is_lasting", [False, True])
@on_the_bench
async def test_what_a_consumer_could_not_read_is_read_again_soon_and_is_damage_if_it_stays_so(
    bench: Bench, caplog: pytest.LogCaptureFixture, *, is_lasting: bool
) -> None:
    """A6: whatever its digest says, which was found sound a minute ago."""
    house = await with_segments(bench)
    await asyncio.sleep(60)
    assert len(digests(bench)) == 2
    partition = partition_of(house)
    begin = 3 * BATCH_SIZE + 100
    bench.disk.spoil(FIRST, begin, begin + 512)
    with pytest.raises(Unreadable):
        partition.read(3, size_max=1, at_least_one=True)
    [place] = house.server.metrics.damage
    assert (place.file, place.begin, partition.is_quarantined) == (FIRST, begin, False)
    if not is_lasting:
        bench.disk.spoil(FIRST, 0, 0)
    await asyncio.sleep(2 * LOOK_INTERVAL_S + TRIES * RETRY_S)
    assert partition.is_quarantined == is_lasting
    assert bool(house.server.metrics.damage) == is_lasting
    lines = [line.getMessage() for line in caplog.records if line.levelno == logging.ERROR]
    assert [line.split(" topic=")[0] for line in lines] == [
        "bytes of the log cannot be read now",
        *(["damaged bytes in the log"] if is_lasting else []),
    ]
    if not is_lasting:
        assert partition.read(3, size_max=1, at_least_one=True).next_offset == 4
        await house.produce("orders", a_batch([b"x"]))


@on_the_bench
async def test_what_a_consumer_could_not_read_is_read_before_all_that_is_due(bench: Bench) -> None:
    """Whoever reads there is refused until it is known whether it is damage; all that is due can take days."""
    house = await with_segments(bench)
    await house.create("due", segment_bytes=SEGMENT_BYTES)
    await fill(house, 8 * PER_SEGMENT, "due")
    await asyncio.sleep(60)
    await house.server.stop()
    house = await bench.serve(*SETTINGS, "log.scrub.bytes.per.second=20000")
    await asyncio.sleep(INTERVAL_S - 60)
    due = [f"due-0/{base:020d}.log" for base in range(0, 7 * PER_SEGMENT, PER_SEGMENT)]
    before = [digest_of(bench, path) for path in due]
    await until(lambda: digest_of(bench, due[0]) != before[0])
    bench.disk.spoil(FIRST, 100, 612)
    partition = partition_of(house)
    with pytest.raises(Unreadable):
        partition.read(0, size_max=1, at_least_one=True)
    await asyncio.sleep(PER_SEGMENT * BATCH_SIZE / 20_000 + TRIES * RETRY_S)
    assert partition.is_quarantined
    assert [digest_of(bench, path) for path in due[2:]] == before[2:], "they are still due"


@on_the_bench
async def test_a_doubt_does_not_say_that_something_was_never_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await with_segments(bench)
    await asyncio.sleep(60)
    log = partition_of(house).log

    def segments(looked_at: Log) -> tuple[Segment, ...]:
        """Somebody cannot read while the scrubber looks through the logs; the cluster's facts are the first."""
        if looked_at is not log:
            log.doubt(FIRST)
        found: tuple[Segment, ...] = real.__get__(looked_at)
        return found

    real = vars(Log)["segments"]
    monkeypatch.setattr(Log, "segments", property(segments))
    read, oldest_ms = batches_read(house), house.server.metrics.scrub_oldest_ms
    await asyncio.sleep(2 * LOOK_INTERVAL_S)
    assert batches_read(house) > read
    assert house.server.metrics.scrub_oldest_ms >= oldest_ms > 0


@on_the_bench
async def test_want_of_memory_is_no_damage_however_long_it_lasts(bench: Bench) -> None:
    house = await with_segments(bench)
    for _ in range(10 * TRIES):
        bench.disk.fail_next("read", errno.ENOMEM, path=FIRST)
    await asyncio.sleep(2 * INTERVAL_S)
    assert (partition_of(house).log.quarantined, house.server.metrics.scrub_damage) == (None, 0)


def test_whatever_goes_wrong_the_other_segments_are_read(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(inspection: Inspection) -> bool:
        if inspection.path == FIRST:
            raise MemoryError("no more of it")
        return really(inspection)

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await with_segments(bench)
        await asyncio.sleep(60)
        assert digests(bench) == ["orders-0/00000000000000000050.digest"]
        [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert (record.getMessage(), record.exc_info is not None) == (f"segment not verified now path={FIRST}", True)
        monkeypatch.undo()
        await asyncio.sleep(INTERVAL_S + DAY_S)
        assert len(digests(bench)) == 2, "and this one later"
        assert not partition_of(house).log.offline

    really = Inspection.step
    monkeypatch.setattr(Inspection, "step", step)
    play()


def test_a_defect_where_nobody_expects_one_is_not_the_end_of_all_reading(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspection_of(log: Log, segment: Segment) -> Inspection | None:
        if segment.path == FIRST:
            raise AssertionError("what nobody thought of")
        return really(log, segment)

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await with_segments(bench)
        await asyncio.sleep(2 * DEFECT_PAUSE_S)
        assert digests(bench) == ["orders-0/00000000000000000050.digest"]
        lines = [line for line in caplog.records if line.levelno == logging.ERROR]
        assert {line.getMessage() for line in lines} == {"scrubber failed, and begins anew after seconds=600"}
        assert all(line.exc_info for line in lines)
        assert len(lines) <= 2
        monkeypatch.undo()
        await asyncio.sleep(INTERVAL_S + DAY_S)
        assert len(digests(bench)) == 2, "and this one later"
        assert not partition_of(house).log.offline

    really = Log.inspection_of
    monkeypatch.setattr(Log, "inspection_of", inspection_of)
    play()


def test_damage_in_the_clusters_metadata_is_told_of_and_everything_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A start would be refused; whoever hears of it now can save what is there."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await with_segments(bench)
        path = "__cluster_metadata-0/00000000000000000000.log"
        bench.disk.corrupt(path, 70, b"rot")
        await asyncio.sleep(2 * INTERVAL_S + 60)
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.getMessage().startswith("the cluster's metadata is damaged, and a start would be refused")
        [place] = house.server.metrics.damage
        assert (place.topic, place.partition, place.file, place.begin) == ("__cluster_metadata", 0, path, 0)
        assert house.server.live()
        await house.create("events")
        await fill(house, 1, "events")

    play()


def test_sound_batches_that_were_others_once_are_told_of_and_served(caplog: pytest.LogCaptureFixture) -> None:
    """The digest has no say above the batches; that they changed is said once."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await with_segments(bench)
        await asyncio.sleep(60)
        other = a_batch([some_value(7, VALUE_SIZE)], base_offset=20, leader_epoch=0)
        bench.disk.corrupt(FIRST, 20 * BATCH_SIZE, bytes(other))
        caplog.clear()
        await asyncio.sleep(INTERVAL_S)
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert "were others once" in record.getMessage()
        assert not partition_of(house).is_offline
        assert len(house.server.metrics.damage) == 1
        await asyncio.sleep(INTERVAL_S)
        assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1

    play()


@on_the_bench
async def test_a_topic_that_is_deleted_meanwhile_is_no_damage(bench: Bench) -> None:
    """And nothing of it comes to lie in the log of a topic of the same name."""
    house = await with_segments(bench, "log.scrub.bytes.per.second=100000")
    await asyncio.sleep(LOOK_INTERVAL_S + 3)
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    assert house.server.metrics.scrubbed_bytes > 0
    gone: list[object] = []
    house.server.topics.delete(topic, gone.append)
    await asyncio.sleep(1)
    await house.create("orders", segment_bytes=SEGMENT_BYTES)
    await fill(house, 10)
    await asyncio.sleep(60)
    assert not digests(bench)
    assert not house.server.metrics.damage
    assert not partition_of(house).is_offline


@on_the_bench
async def test_a_digest_is_not_given_to_a_log_that_was_deleted_while_it_was_written(bench: Bench) -> None:
    """The new log of that name has a segment of that name, too."""
    house = await bench.serve(*SETTINGS, inline_sync_max_s=1.0)
    await house.create("orders", segment_bytes=SEGMENT_BYTES)
    await fill(house, PER_SEGMENT + 1)
    bench.loop.pool_delay_s_min = 2.0
    first = partition_of(house).log.segments[0]
    for _ in range(10_000):
        if first.verified_ms is not None:
            break
        await asyncio.sleep(0.1)
    assert not bench.disk.exists(DRAFT), "about to be written"
    topic = house.server.topics.by_name("orders")
    assert topic is not None
    house.server.topics.delete(topic, lambda outcome: None)
    await asyncio.sleep(0.1)
    await house.create("orders", segment_bytes=SEGMENT_BYTES)
    await asyncio.sleep(60)
    assert bench.disk.exists(DRAFT), "which means nothing"
    assert not digests(bench)


@pytest.mark.parametrize(("call", "path"), [("append", SUFFIX), ("open", FIRST), ("rename", SUFFIX), ("sync", SUFFIX)])
def test_a_digest_that_cannot_be_written_costs_a_warning_and_nothing_else(
    call: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A7: a full disk, or no descriptor."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        house = await with_segments(bench)
        bench.disk.fail_next(call, errno.ENOSPC, path=path)
        caplog.clear()
        await asyncio.sleep(60)
        [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.getMessage().startswith("segment not verified now path=orders-0/")
        assert len(digests(bench)) == 1
        assert not partition_of(house).is_offline
        await asyncio.sleep(INTERVAL_S)
        assert len(digests(bench)) == 2

    play()


@on_the_bench
async def test_after_the_stop_nothing_is_read_any_more(bench: Bench) -> None:
    house = await with_segments(bench, "log.scrub.bytes.per.second=100000")
    await asyncio.sleep(LOOK_INTERVAL_S + 3)
    read = house.server.metrics.scrubbed_bytes
    await house.server.stop()
    pooled = bench.environment.pooled
    await asyncio.sleep(DAY_S)
    assert (house.server.metrics.scrubbed_bytes, bench.environment.pooled) == (read, pooled)


@on_the_bench
async def test_a_stop_in_the_middle_of_a_slice_waits_for_nothing(bench: Bench) -> None:
    house = await with_segments(bench)
    bench.loop.pool_delay_s_min = 3.0
    await asyncio.sleep(LOOK_INTERVAL_S + 1)
    await house.server.stop()
    await asyncio.sleep(DAY_S)
    house = await bench.serve(*SETTINGS)
    bench.loop.pool_delay_s_min = 0.0
    await asyncio.sleep(60)
    assert len(digests(bench)) == 2


@on_the_bench
async def test_a_clock_that_jumps_back_costs_reading_and_nothing_else(bench: Bench) -> None:
    """A16: what was verified in the future is verified again."""
    house = await with_segments(bench)
    await asyncio.sleep(60)
    await house.server.stop()
    for path in digests(bench):
        digest = read_digest(bench.disk, path)
        assert digest is not None
        ahead = replace(digest, verified_ms=digest.verified_ms + 2 * INTERVAL_S * 1000)
        bench.disk.corrupt(path, 0, ahead.encode())
    house = await bench.serve(*SETTINGS)
    await asyncio.sleep(60)
    assert batches_read(house) >= 2 * PER_SEGMENT
    assert abs(digest_of(bench).verified_ms - bench.environment.now_ms()) < 120_000
    assert house.server.metrics.scrub_damage == 0
