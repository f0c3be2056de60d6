"""Facts: durable before anybody is told, told in order, replayed as they were told."""

import random
from uuid import UUID

import pytest

from support.bench import Bench, on_the_bench
from tidelog.broker.errors import code_of
from tidelog.broker.metadata import store as stores
from tidelog.broker.metadata.records import Fact, TopicCreated, TopicDeleted, UnknownFact
from tidelog.broker.metadata.store import MetadataStore
from tidelog.protocol import batch as batches
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.records import build_batch
from tidelog.storage.config import LogConfig
from tidelog.storage.errors import CorruptLog, DiskFailed, DiskFull, LogOffline
from tidelog.storage.log_directory import LogDirectory


def created(number: int) -> TopicCreated:
    return TopicCreated(name=f"topic-{number}", topic_id=UUID(int=number + 1), partitions=1)


def a_store(bench: Bench, **settings: str) -> MetadataStore:
    return MetadataStore(bench.log("facts", **settings), environment=bench.environment, flusher=bench.flusher)


class Told:
    """Who appends facts, and what it hears."""

    def __init__(self, store: MetadataStore) -> None:
        self.store = store
        self.facts: list[Fact] = []
        """Those it was told are durable, in the order in which it was."""
        self.errors: list[Exception] = []

    def append(self, *facts: Fact) -> None:
        def heard(error: Exception | None) -> None:
            if error is None:
                self.facts.extend(facts)
            else:
                self.errors.append(error)

        self.store.append(facts, heard)


def after_a_crash(bench: Bench) -> list[Fact]:
    """What a new process finds."""
    bench.disk.crash()
    directory = LogDirectory.open(bench.disk, cluster_id=lambda: "never asked", now_ms=0)
    log = directory.open_log("facts", 0, LogConfig(), now_ms=0)
    return list(MetadataStore(log, environment=bench.environment, flusher=bench.flusher).replay())


@on_the_bench
async def test_a_fact_is_durable_before_anybody_is_told(bench: Bench) -> None:
    told = Told(a_store(bench))
    bench.disk.synced.clear()
    told.append(created(0))
    assert (told.facts, bench.disk.synced) == ([], [])
    await bench.settle()
    assert told.facts == [created(0)]
    assert bench.disk.syncs_of("facts-0") == 1
    assert after_a_crash(bench) == [created(0)]


@pytest.mark.parametrize("seed", range(20))
def test_what_was_told_survives_every_power_cut_in_order(seed: int) -> None:
    @on_the_bench
    async def play(bench: Bench) -> None:
        dice = random.Random(seed)
        bench.disk.rng.seed(seed)
        told = Told(a_store(bench, segment_bytes="1024"))
        sent: list[Fact] = []
        for number in range(30):
            sent.append(created(number))
            told.append(sent[-1])
            if dice.random() < 0.3:
                await bench.settle()
        found = after_a_crash(bench)
        assert found == sent[: len(found)]
        assert told.facts == sent[: len(told.facts)]
        assert len(found) >= len(told.facts)

    play()


@on_the_bench
async def test_everybody_is_told_in_the_order_of_the_facts(bench: Bench) -> None:
    told = Told(a_store(bench))
    for number in range(10):
        told.append(created(number))
    await bench.settle()
    assert told.facts == [created(number) for number in range(10)]


@on_the_bench
async def test_facts_appended_together_are_one_batch(bench: Bench) -> None:
    """All or nothing."""
    store = a_store(bench)
    Told(store).append(created(0), TopicDeleted(UUID(int=1)), created(2))
    await bench.settle()
    records = store.log.read(0, size_max=1 << 20, up_to=3, at_least_one=True).records
    assert [header.record_count for _, header in batches.walk(records)] == [3]
    assert list(store.replay()) == [created(0), TopicDeleted(UUID(int=1)), created(2)]


@on_the_bench
async def test_a_replay_reads_all_facts_however_many(bench: Bench) -> None:
    store = a_store(bench, segment_bytes="300000")
    facts = [
        TopicCreated(name=f"t{number}", topic_id=UUID(int=number), partitions=1, configs={"x": "y" * 50_000})
        for number in range(30)
    ]
    told = Told(store)
    for fact in facts:
        told.append(fact)
    await bench.settle()
    assert store.log.segment_count > 1
    assert store.log.size > stores.READ_SIZE
    assert list(store.replay()) == facts


@on_the_bench
async def test_a_failed_sync_is_told_to_all_who_wait_and_ends_all_changes(bench: Bench) -> None:
    told = Told(a_store(bench))
    told.append(created(0))
    await bench.settle()
    told.append(created(1))
    told.append(created(2))
    bench.disk.fail_next("sync", path="facts-0/")
    await bench.settle()
    assert told.facts == [created(0)]
    assert [type(error) for error in told.errors] == [DiskFailed, DiskFailed]
    told.append(created(3))
    assert isinstance(told.errors[2], LogOffline)
    assert {code_of(error) for error in told.errors} == {ErrorCode.KAFKA_STORAGE_ERROR}
    assert after_a_crash(bench)[:1] == [created(0)]


@on_the_bench
async def test_who_waits_while_the_log_goes_offline_for_another_reason_is_told(bench: Bench) -> None:
    store = a_store(bench)
    told = Told(store)
    told.append(created(0))
    await bench.settle()
    told.append(created(1))
    bench.disk.fail_next("write", path="durable-mark")
    with pytest.raises(DiskFailed):
        store.log.write_mark()
    await bench.settle()
    assert (told.facts, [type(error) for error in told.errors]) == ([created(0)], [LogOffline])


@on_the_bench
async def test_who_waits_for_a_sync_while_damage_is_found_is_told(bench: Bench) -> None:
    store = a_store(bench)
    told = Told(store)
    store.append([created(0)], lambda error: told.errors.append(error) if error is not None else None)
    flush = store.begin_flush()
    assert flush is not None
    flush.sync()
    store.log.quarantine(CorruptLog("facts-0/00000000000000000000.log", 0, "rot"))
    store.flushed(flush)
    assert [type(error) for error in told.errors] == [LogOffline]
    await bench.settle()
    assert len(told.errors) == 1


@on_the_bench
async def test_a_full_disk_refuses_one_fact_and_not_the_next(bench: Bench) -> None:
    store = a_store(bench)
    told = Told(store)
    bench.disk.full(0)
    told.append(created(0))
    assert [type(error) for error in told.errors] == [DiskFull], "at once: it was never written"
    bench.disk.full(None)
    told.append(created(1))
    await bench.settle()
    assert told.facts == [created(1)]
    assert list(store.replay()) == [created(1)]
    assert after_a_crash(bench) == [created(1)]


def test_a_disk_that_stays_full_is_reported_once_until_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    """Every retry of every client ends there: the log must not fill with them."""

    @on_the_bench
    async def play(bench: Bench) -> None:
        told = Told(a_store(bench))
        for filled in (1, 2):
            bench.disk.full(0)
            for number in range(5):
                told.append(created(number))
            bench.disk.full(None)
            told.append(created(9))
            await bench.settle()
            assert len(told.errors) == 5 * filled
            reports = [record for record in caplog.records if "metadata cannot be written" in record.getMessage()]
            assert len(reports) == filled

    play()


@on_the_bench
async def test_a_record_that_is_no_fact_we_know_ends_the_replay(bench: Bench) -> None:
    """Skipping it would be guessing."""
    store = a_store(bench)
    Told(store).append(created(0))
    batch = memoryview(build_batch([(None, b"from the future", (), 0)]))
    store.log.append(batch, batches.read_header(batch), now_ms=0)
    store.log.write_out()
    facts = store.replay()
    assert next(facts) == created(0)
    with pytest.raises(UnknownFact):
        next(facts)
