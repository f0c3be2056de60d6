"""Group commit: one sync for all who wait, one log's failure its own (house rule 1.6)."""

import asyncio
import errno

import pytest

from support.bench import Append, Bench, on_the_bench, readable
from support.builders import a_batch
from tidelog.broker.errors import code_of
from tidelog.broker.topics.flusher import LOGS_MIN, Flusher
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.storage.errors import DiskFailed, LogOffline


def answers(*appends: Append) -> list[list[Exception | None]]:
    return [append.answers for append in appends]


async def turn() -> None:
    """One turn of the loop: the round that was scheduled begins."""
    await asyncio.sleep(0)


@on_the_bench
async def test_one_round_serves_all_who_wait(bench: Bench) -> None:
    partitions = [bench.partition("orders", index) for index in range(3)]
    bench.disk.synced.clear()
    appends = [bench.produce(partition) for _ in range(5) for partition in partitions]
    assert answers(*appends) == [[]] * 15, "nobody is answered before the disk has it"
    await bench.settle()
    assert answers(*appends) == [[None]] * 15
    assert [bench.disk.syncs_of(f"orders-{index}") for index in range(3)] == [1, 1, 1]
    assert bench.environment.pooled == 1


@on_the_bench
async def test_what_is_written_during_a_round_waits_for_the_next(bench: Bench) -> None:
    partition = bench.partition()
    bench.disk.synced.clear()
    first = bench.produce(partition)
    await turn()
    assert bench.environment.pooled == 1, "the round is under way"
    second, third = bench.produce(partition), bench.produce(partition)
    await bench.end_of_round()
    assert answers(first, second, third) == [[None], [], []]
    assert partition.high_watermark == 1
    await bench.settle()
    assert answers(first, second, third) == [[None], [None], [None]]
    assert bench.disk.syncs_of("orders-0") == 2


@on_the_bench
async def test_a_round_leaves_out_what_has_nothing_to_sync(bench: Bench) -> None:
    clean, dirty = bench.partition("clean"), bench.partition("dirty")
    bench.disk.synced.clear()
    bench.flusher.kick(clean)
    await bench.settle()
    assert (bench.disk.synced, bench.environment.pooled) == ([], 0)
    bench.flusher.kick(clean)
    bench.produce(dirty)
    await bench.settle()
    assert (bench.disk.syncs_of("clean-0"), bench.disk.syncs_of("dirty-0")) == (0, 1)


@on_the_bench
async def test_a_failed_sync_costs_one_log_and_its_waiters_only(bench: Bench) -> None:
    before, failing, after = (bench.partition(name) for name in ("before", "failing", "after"))
    kept = bench.produce(failing, b"kept")
    await bench.settle()
    bench.disk.fail_next("sync", errno.EIO, path="failing-0/")
    lost = [bench.produce(failing), bench.produce(failing)]
    others = [bench.produce(before), bench.produce(after)]
    await bench.settle()
    assert answers(kept, *others) == [[None], [None], [None]]
    assert [code_of(append.error) for append in lost if append.error] == [ErrorCode.KAFKA_STORAGE_ERROR] * 2
    assert [partition.log.offline for partition in (before, failing, after)] == [False, True, False]
    assert bench.metrics.topic_errors == {("failing", "fsync"): 1}
    assert readable(failing) == [b"kept"], "what was durable stays readable, and nothing else"
    assert bench.produce(before).base_offset == 1


@on_the_bench
async def test_a_log_whose_sync_failed_is_never_synced_again(bench: Bench) -> None:
    """The kernel may have dropped the pages: a second fsync would succeed and lie."""
    partition = bench.partition()
    bench.produce(partition)
    bench.disk.fail_next("sync", path=".log")
    await bench.settle()
    bench.disk.synced.clear()
    bench.flusher.kick(partition)
    with pytest.raises(LogOffline):
        bench.produce(partition)
    await bench.settle()
    partition.log.close()
    assert bench.disk.synced == []


@on_the_bench
async def test_who_waits_for_a_log_that_went_offline_before_the_round_is_told(bench: Bench) -> None:
    partition, other = bench.partition(), bench.partition("other")
    bench.produce(partition)
    await bench.settle()
    waiting, sound = bench.produce(partition), bench.produce(other)
    bench.disk.fail_next("write", path="durable-mark")
    with pytest.raises(DiskFailed):
        partition.log.write_mark()
    await bench.settle()
    assert isinstance(waiting.error, LogOffline)
    assert sound.error is None


@on_the_bench
async def test_how_long_a_sync_takes_decides_where_it_is_done(bench: Bench) -> None:
    bench.flusher = Flusher(bench.environment, bench.metrics, inline_max_s=0.001)
    partition, other = bench.partition(), bench.partition("other")

    async def goes_to_the_pool() -> bool:
        before = bench.environment.pooled
        bench.produce(partition)
        await bench.settle()
        return bench.environment.pooled > before

    bench.disk.sync_s = 0.0006
    assert await goes_to_the_pool(), "nothing has been measured yet"
    assert [await goes_to_the_pool() for _ in range(10)] == [False] * 10
    bench.produce(other)
    assert await goes_to_the_pool(), "two of them would hold the loop up for longer than is allowed"
    bench.disk.sync_s = 0.05
    assert not await goes_to_the_pool(), "nobody can know"
    assert [await goes_to_the_pool() for _ in range(10)] == [True] * 10
    bench.disk.sync_s = 0.0001
    assert [await goes_to_the_pool() for _ in range(40)][-1] is False


@on_the_bench
async def test_an_inline_round_is_over_within_one_turn(bench: Bench) -> None:
    bench.flusher = Flusher(bench.environment, bench.metrics, inline_max_s=1.0)
    partition = bench.partition()
    bench.produce(partition)
    await bench.settle()
    append = bench.produce(partition)
    await turn()
    assert append.answers == [None]
    assert bench.flusher.is_idle
    assert bench.environment.pooled == 1


@on_the_bench
async def test_a_sync_that_fails_inline_is_as_final(bench: Bench) -> None:
    bench.flusher = Flusher(bench.environment, bench.metrics, inline_max_s=1.0)
    partition, other = bench.partition(), bench.partition("other")
    bench.produce(partition)
    await bench.settle()
    bench.disk.fail_next("sync", path="orders-0/")
    failed, sound = bench.produce(partition), bench.produce(other)
    await bench.settle()
    assert isinstance(failed.error, DiskFailed)
    assert sound.error is None
    assert partition.log.offline


@on_the_bench
async def test_drain_waits_for_all_that_was_kicked_and_is_kicked_meanwhile(bench: Bench) -> None:
    first, second = bench.partition(), bench.partition("other")
    await bench.settle()
    assert bench.flusher.is_idle
    later: list[Append] = []
    one = bench.produce(first)
    await turn()
    bench.flusher.after_round(lambda: later.append(bench.produce(second)))
    await bench.settle()
    assert bench.flusher.is_idle
    assert answers(one, *later) == [[None], [None]]


@on_the_bench
async def test_drain_ends_when_syncs_fail(bench: Bench) -> None:
    append = bench.produce(bench.partition())
    bench.disk.fail_next("sync", path="orders-0/")
    await bench.settle()
    assert isinstance(append.error, DiskFailed)
    assert bench.flusher.is_idle


@on_the_bench
async def test_what_must_not_happen_during_a_sync_waits_for_its_end(bench: Bench) -> None:
    """Deleting a log, for one."""
    partition = bench.partition()
    done: list[str] = []
    bench.flusher.after_round(lambda: done.append("idle"))
    assert done == ["idle"], "nothing is under way"
    append = bench.produce(partition)
    bench.flusher.after_round(lambda: done.append("kicked"))
    assert done == ["idle", "kicked"], "a round that has not begun takes no files yet"
    await turn()
    bench.flusher.after_round(lambda: done.append(f"after {append.answers}"))
    assert len(done) == 2
    await bench.settle()
    assert done == ["idle", "kicked", "after [None]"]


@on_the_bench
async def test_every_sync_is_measured(bench: Bench) -> None:
    partitions = [bench.partition("orders", index) for index in range(3)]
    bench.disk.sync_s = 0.02
    for partition in partitions:
        bench.produce(partition)
    await bench.settle()
    assert sum(bench.metrics.fsync.counts) == 3
    assert bench.metrics.fsync.sum == pytest.approx(0.06)


# One sync of everything


EVERYTHING = ""
"""The path of a sync that names no file."""


class Many:
    """Logs that are dirty at the same time, on a disk that can be synced at one stroke."""

    def __init__(self, bench: Bench, count: int = LOGS_MIN) -> None:
        self.partitions = [bench.partition("orders", index) for index in range(count)]
        self._bench = bench
        bench.flusher.lies_on(bench.disk)

    async def round(self) -> list[Append]:
        """One commit round of all of them; `disk.synced` is what it synced."""
        self._bench.disk.synced.clear()
        appends = [self._bench.produce(partition) for partition in self.partitions]
        await self._bench.settle()
        return appends

    def was_at_once(self) -> bool:
        """Whether the last round was one sync of everything."""
        return self._bench.disk.synced == [EVERYTHING]


@on_the_bench
async def test_a_round_of_many_logs_is_one_sync_of_everything(bench: Bench) -> None:
    many = Many(bench)
    appends = await many.round()
    assert many.was_at_once()
    assert answers(*appends) == [[None]] * LOGS_MIN
    assert [partition.high_watermark for partition in many.partitions] == [1] * LOGS_MIN
    bench.disk.crash()
    for partition in many.partitions:
        assert bench.disk.size(f"{partition.log.directory}/{0:020d}.log") == len(a_batch((b"value",)))


@on_the_bench
async def test_a_round_of_few_logs_syncs_each(bench: Bench) -> None:
    many = Many(bench, LOGS_MIN - 1)
    await many.round()
    assert EVERYTHING not in bench.disk.synced
    assert sorted(many.partitions, key=lambda one: one.index) == many.partitions
    assert [bench.disk.syncs_of(f"orders-{index}") for index in range(LOGS_MIN - 1)] == [1] * (LOGS_MIN - 1)


@on_the_bench
async def test_what_is_measured_to_be_slower_is_left_and_tried_again_later(bench: Bench) -> None:
    """Whoever else writes to the disk makes a sync of everything slow, at any time."""
    many = Many(bench)
    bench.disk.sync_s = 0.01
    assert [await many.round() and many.was_at_once() for _ in range(20)] == [True] * 20
    bench.disk.sync_all_s = 0.2
    await many.round()
    assert many.was_at_once(), "nobody can know"
    began, rounds = bench.loop.time(), 0
    while not (await many.round() and many.was_at_once()):
        rounds += 1
    assert 0.005 < 0.2 / (bench.loop.time() - 0.2 - began) < 0.02, "about a hundredth of the time is spent on trying"
    bench.disk.sync_all_s = 0.001
    tries = [await many.round() and many.was_at_once() for _ in range(2 * rounds)]
    assert tries[-10:] == [True] * 10


@on_the_bench
async def test_where_it_cannot_be_believed_each_log_is_synced(bench: Bench) -> None:
    """A5: after a failed sync it would tell of that failure again, and cost logs that have nothing to do with it."""
    many = Many(bench)
    bench.disk.fail_next("sync_map")
    with pytest.raises(DiskFailed):
        bench.disk.map("some-map", 10).sync()
    appends = await many.round()
    assert EVERYTHING not in bench.disk.synced
    assert answers(*appends) == [[None]] * LOGS_MIN


@on_the_bench
async def test_when_it_fails_for_a_neighbour_no_log_is_lost(bench: Bench) -> None:
    """A5: it names no file, and tells of whatever failed on the filesystem. Each log's own sync knows better."""
    many = Many(bench)
    bench.disk.sync_all_loses = None
    bench.disk.fail_next("sync_all")
    appends = await many.round()
    assert answers(*appends) == [[None]] * LOGS_MIN
    assert bench.disk.synced[0] == EVERYTHING
    assert [bench.disk.syncs_of(partition.log.directory) for partition in many.partitions] == [1] * LOGS_MIN
    assert not any(partition.log.offline for partition in many.partitions)
    bench.disk.crash()
    for partition in many.partitions:
        assert bench.disk.open(f"{partition.log.directory}/{0:020d}.log").read(0, 1 << 20) == stored(partition)


@on_the_bench
async def test_after_it_has_failed_it_is_not_used_again(bench: Bench) -> None:
    many = Many(bench)
    bench.disk.sync_all_loses = None
    bench.disk.fail_next("sync_all")
    await many.round()
    for _ in range(200):
        assert answers(*await many.round()) == [[None]] * LOGS_MIN
        assert EVERYTHING not in bench.disk.synced


@on_the_bench
async def test_when_it_fails_those_go_offline_whose_bytes_are_lost(bench: Bench) -> None:
    """A5: and they alone."""
    house = await bench.serve()
    await house.create("orders", LOGS_MIN)
    bench.disk.sync_all_loses = "orders-3/"
    bench.disk.fail_next("sync_all")
    writes = (house.produce("orders", a_batch(), partition=index) for index in range(LOGS_MIN))
    results = await asyncio.gather(*writes)
    wanted = [ErrorCode.KAFKA_STORAGE_ERROR if index == 3 else 0 for index in range(LOGS_MIN)]
    assert [one.error_code for one in results] == wanted  # type: ignore[union-attr]
    [topic] = house.server.topics
    assert [partition.log.offline for partition in topic.partitions] == [index == 3 for index in range(LOGS_MIN)]
    assert not house.server.services.metadata_log.offline
    assert house.server.live()


@on_the_bench
async def test_what_was_acknowledged_is_there_after_it_failed_and_the_power_went(bench: Bench) -> None:
    many = Many(bench)
    await many.round()
    bench.disk.fail_next("sync_all")
    lost = await many.round()
    assert all(isinstance(append.error, DiskFailed) for append in lost)
    assert all(partition.log.offline for partition in many.partitions)
    for partition in many.partitions:
        partition.log.discard()
    bench.disk.crash()
    for partition in many.partitions:
        path = f"{partition.log.directory}/{0:020d}.log"
        assert bench.disk.open(path).read(0, 1 << 20).startswith(stored(partition))


def stored(partition: Partition) -> bytes:
    """The first batch as it lies in the log."""
    batch = a_batch((b"value",), leader_epoch=partition.log.leader_epoch)
    return bytes(batch)
