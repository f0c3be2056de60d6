"""Group commit: one sync for all who wait, one log's failure its own (house rule 1.6)."""

import asyncio
import errno

import pytest

from support.bench import Append, Bench, on_the_bench, readable
from support.builders import a_batch
from tidelog.broker.errors import code_of
from tidelog.broker.topics.flusher import LOGS_MIN, SYNCS_MAX, Flusher
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.storage.errors import DiskFailed, LogOffline


def answers(*appends: Append) -> list[list[Exception | None]]:
    return [append.answers for append in appends]


def code_of_answer(append: Append) -> ErrorCode:
    """Why it was refused."""
    assert append.error is not None
    return code_of(append.error)


async def turn() -> None:
    """One turn of the loop: what was scheduled begins."""
    await asyncio.sleep(0)


@on_the_bench
async def test_one_sync_serves_all_who_wait_for_a_log(bench: Bench) -> None:
    partitions = [bench.partition("orders", index) for index in range(3)]
    bench.disk.synced.clear()
    appends = [bench.produce(partition) for _ in range(5) for partition in partitions]
    assert answers(*appends) == [[]] * 15, "nobody is answered before the disk has it"
    await bench.settle()
    assert answers(*appends) == [[None]] * 15
    assert [bench.disk.syncs_of(f"orders-{index}") for index in range(3)] == [1, 1, 1]


@on_the_bench
async def test_what_is_written_during_a_sync_waits_for_the_next(bench: Bench) -> None:
    partition = bench.partition()
    bench.disk.synced.clear()
    first = bench.produce(partition)
    await turn()
    assert bench.environment.pooled == 1, "the sync is under way"
    second, third = bench.produce(partition), bench.produce(partition)
    await bench.end_of_sync(partition)
    assert answers(first, second, third) == [[None], [], []]
    assert partition.high_watermark == 1
    await bench.settle()
    assert answers(first, second, third) == [[None], [None], [None]]
    assert bench.disk.syncs_of("orders-0") == 2


@on_the_bench
async def test_what_has_nothing_to_sync_is_left_out(bench: Bench) -> None:
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
async def test_who_waits_for_a_log_that_went_offline_before_its_sync_is_told(bench: Bench) -> None:
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
async def test_a_sync_on_the_loop_is_over_within_one_turn(bench: Bench) -> None:
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
    bench.flusher.when_free(first, lambda: later.append(bench.produce(second)))
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
    partition, other = bench.partition(), bench.partition("other")
    done: list[str] = []
    bench.flusher.when_free(partition, lambda: done.append("idle"))
    assert done == ["idle"], "nothing is under way"
    append = bench.produce(partition)
    bench.flusher.when_free(partition, lambda: done.append("kicked"))
    assert done == ["idle", "kicked"], "a sync that has not begun takes no files yet"
    await turn()
    bench.flusher.when_free(partition, lambda: done.append(f"after {append.answers}"))
    assert len(done) == 2
    bench.flusher.when_free(other, lambda: done.append("another"))
    assert done.pop() == "another"
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


@on_the_bench
async def test_who_waited_for_the_end_of_all_syncs_may_be_cancelled(bench: Bench) -> None:
    append = bench.produce(bench.partition())
    await turn()
    waiting = asyncio.ensure_future(bench.flusher.drain())
    await turn()
    waiting.cancel()
    await bench.settle()
    assert append.answers == [None]


# A file for which the disk takes long


HANGS_S = 60.0
SOON_S = 1.0


async def waited(bench: Bench, partitions: list[Partition]) -> list[float]:
    """How long a producer of each partition waits for its acknowledgement; all of them produce now."""
    began = bench.loop.time()
    appends = [bench.produce(partition) for partition in partitions]
    seconds = [-1.0] * len(appends)
    while -1.0 in seconds:
        await asyncio.sleep(0.001)
        for index, append in enumerate(appends):
            if append.answers and seconds[index] < 0:
                assert append.error is None
                seconds[index] = bench.loop.time() - began
    return seconds


async def tries_of(bench: Bench, partitions: list[Partition], *, count: int = 100) -> list[float]:
    """How long their producers wait, sorted, in so many tries."""
    return sorted([seconds for _ in range(count) for seconds in await waited(bench, partitions)])


@on_the_bench
async def test_a_file_whose_sync_hangs_holds_up_its_own_log_only(bench: Bench) -> None:
    """A6. What was written to it meanwhile is durable with its next sync."""
    hanging, *others = [bench.partition("orders", index) for index in range(LOGS_MIN - 1)]
    bench.disk.slow = {"orders-0/": HANGS_S}
    began = bench.loop.time()
    first = bench.produce(hanging)
    await turn()
    second = bench.produce(hanging)
    for _ in range(10):
        assert max(await waited(bench, others)) < SOON_S
    assert answers(first, second) == [[], []]
    bench.disk.synced.clear()
    await bench.end_of_sync(hanging)
    assert bench.loop.time() - began >= HANGS_S
    assert answers(first, second) == [[None], []]
    await bench.settle()
    assert answers(first, second) == [[None], [None]]
    assert bench.disk.syncs_of("orders-0") == 1


@on_the_bench
async def test_a_file_that_is_slow_holds_up_no_other_log(bench: Bench) -> None:
    """A6: the 99th percentile of the others is at most twice what it was."""
    partitions = [bench.partition("orders", index) for index in range(LOGS_MIN - 1)]
    bench.disk.sync_s = 0.002
    before = await tries_of(bench, partitions[1:])
    bench.disk.slow = {"orders-0/": 0.05}
    slow: list[Append] = []

    def produce_slowly() -> None:
        if not slow or slow[-1].answers:
            slow.append(bench.produce(partitions[0]))
        timer.append(bench.loop.call_later(0.001, produce_slowly))

    timer: list[asyncio.TimerHandle] = []
    produce_slowly()
    after = await tries_of(bench, partitions[1:])
    timer[-1].cancel()
    assert len(slow) > 10
    assert after[len(after) * 99 // 100] <= 2 * before[len(before) * 99 // 100]


@on_the_bench
async def test_a_few_files_whose_syncs_hang_hold_up_all_until_one_of_them_returns(bench: Bench) -> None:
    """The pool has an end. Whoever needs no sync is served."""
    hanging = [bench.partition("hanging", index) for index in range(SYNCS_MAX)]
    other = bench.partition("other")
    bench.disk.slow = {"hanging-": HANGS_S, "hanging-2/": -HANGS_S / 2}
    for partition in hanging:
        bench.produce(partition)
    await turn()
    late, early = bench.produce(other), bench.produce(other, acks=1)
    await bench.end_of_sync(hanging[2])
    assert answers(late, early) == [[], [None]]
    await asyncio.sleep(SOON_S)
    assert answers(late) == [[None]]
    assert not any(partition.high_watermark for partition in hanging if partition is not hanging[2])
    await bench.settle()


@on_the_bench
async def test_a_log_whose_sync_hangs_is_deleted_after_it_and_others_at_once(bench: Bench) -> None:
    house = await bench.serve()
    await house.create("hanging")
    await house.create("other")
    topics = house.server.topics
    hanging, other = topics.by_name("hanging"), topics.by_name("other")
    assert hanging is not None
    assert other is not None
    bench.disk.slow = {"hanging-0/": HANGS_S}
    append = bench.produce(hanging.partitions[0])
    await turn()
    for topic in (other, hanging):
        topics.delete(topic, lambda _: None)
    await asyncio.sleep(SOON_S)
    assert (bench.disk.exists("hanging-0"), bench.disk.exists("other-0")) == (True, False)
    assert code_of_answer(append) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    await asyncio.sleep(HANGS_S)
    assert not bench.disk.exists("hanging-0")


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
        """All of them are dirty at once; `disk.synced` is what was synced for them."""
        self._bench.disk.synced.clear()
        appends = [self._bench.produce(partition) for partition in self.partitions]
        await self._bench.settle()
        return appends

    def was_at_once(self) -> bool:
        """Whether the last round was one sync of everything."""
        return self._bench.disk.synced == [EVERYTHING]


@on_the_bench
async def test_many_dirty_logs_are_one_sync_of_everything(bench: Bench) -> None:
    many = Many(bench)
    appends = await many.round()
    assert many.was_at_once()
    assert answers(*appends) == [[None]] * LOGS_MIN
    assert [partition.high_watermark for partition in many.partitions] == [1] * LOGS_MIN
    bench.disk.crash()
    for partition in many.partitions:
        assert bench.disk.size(f"{partition.log.directory}/{0:020d}.log") == len(a_batch((b"value",)))


@on_the_bench
async def test_few_dirty_logs_are_synced_each(bench: Bench) -> None:
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
    assert EVERYTHING in bench.disk.synced, "nobody can know"
    began, rounds = bench.loop.time(), 0
    while not (await many.round() and EVERYTHING in bench.disk.synced):
        rounds += 1
    assert 0.005 < 0.2 / (bench.loop.time() - 0.2 - began) < 0.02, "about a hundredth of the time is spent on trying"
    bench.disk.sync_all_s = 0.001
    tries = [await many.round() and many.was_at_once() for _ in range(2 * rounds)]
    assert tries[-10:] == [True] * 10


@on_the_bench
async def test_where_it_cannot_be_believed_each_log_is_synced(bench: Bench) -> None:
    """A5: after a failed sync it would tell of that failure again, and cost logs that have nothing to do with it."""
    many = Many(bench)
    bench.disk.fail_next("sync")
    with pytest.raises(DiskFailed):
        bench.disk.open("some-file", create=True).sync()
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
async def test_when_it_takes_long_it_is_given_up_and_each_log_is_synced(bench: Bench) -> None:
    """A6: it also writes what others have left unwritten, and waits for a file of ours that hangs."""
    many = Many(bench, 2 * LOGS_MIN)
    await many.round()
    hanging, *others = many.partitions
    bench.disk.slow = {hanging.log.directory: HANGS_S}
    bench.disk.synced.clear()
    appends = [bench.produce(partition) for partition in many.partitions]
    await asyncio.sleep(SOON_S)
    assert answers(*appends) == [[]] + [[None]] * len(others)
    for _ in range(20):
        assert max(await waited(bench, others)) < SOON_S
    assert bench.disk.synced.count(EVERYTHING) == 1, "not again, while it goes on"
    await bench.settle()
    assert answers(*appends) == [[None]] * len(appends)


@on_the_bench
async def test_when_it_was_given_up_it_takes_no_place_of_a_log(bench: Bench) -> None:
    """A6: only `SYNCS_MAX` files that hang hold up all."""
    many = Many(bench, 2 * LOGS_MIN)
    await many.round()
    hanging, others = many.partitions[: SYNCS_MAX - 1], many.partitions[SYNCS_MAX - 1 :]
    bench.disk.slow = {f"{partition.log.directory}/": HANGS_S for partition in hanging}
    appends = [bench.produce(partition) for partition in many.partitions]
    await asyncio.sleep(SOON_S)
    assert answers(*appends) == [[]] * len(hanging) + [[None]] * len(others)
    for _ in range(20):
        assert max(await waited(bench, others)) < SOON_S
    await bench.settle()


@on_the_bench
async def test_while_it_goes_on_nothing_is_synced_on_the_loop(bench: Bench) -> None:
    """The disk that holds it up would hold up the loop."""
    bench.flusher = Flusher(bench.environment, bench.metrics, inline_max_s=0.001)
    many = Many(bench)
    bench.disk.slow = {"what others have written": HANGS_S}
    for partition in many.partitions:
        bench.produce(partition)
    await asyncio.sleep(SOON_S)
    assert bench.flusher.is_idle
    for count in range(20):
        before = bench.environment.pooled
        bench.produce(many.partitions[count % LOGS_MIN])
        await bench.settle()
        assert bench.environment.pooled == before + 1


@on_the_bench
async def test_when_it_has_been_given_up_its_end_ends_nothing(bench: Bench) -> None:
    many = Many(bench)
    await many.round()
    bench.disk.slow = {"what others have written": HANGS_S}
    bench.disk.sync_all_loses = None
    bench.disk.fail_next("sync_all")
    appends = [bench.produce(partition) for partition in many.partitions]
    await asyncio.sleep(SOON_S)
    assert answers(*appends) == [[None]] * LOGS_MIN
    await asyncio.sleep(HANGS_S)
    assert answers(*await many.round()) == [[None]] * LOGS_MIN
    assert not any(partition.log.offline for partition in many.partitions)


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


@on_the_bench
async def test_a_snapshot_that_goes_with_a_checkpoint_follows_it(bench: Bench) -> None:
    many = Many(bench)
    first, *_ = many.partitions
    bench.stage(first, batch=a_batch((bytes(10_000),), producer_id=7, producer_epoch=0, base_sequence=0))
    first.checkpoint()
    await many.round()
    assert EVERYTHING in bench.disk.synced
    assert any(name.endswith(".snapshot") for name in bench.disk.list(first.log.directory))


@on_the_bench
async def test_who_waits_for_a_snapshot_is_not_put_off_by_others_who_never_stop(bench: Bench) -> None:
    many = Many(bench, 3 * LOGS_MIN)
    await many.round()
    first, *others = many.partitions
    append = bench.stage(first, batch=a_batch((bytes(10_000),), producer_id=7, producer_epoch=0, base_sequence=0))
    first.write_out()
    first.checkpoint()
    until = bench.loop.time() + 5 * SOON_S
    at_once = bench.disk.synced.count(EVERYTHING)
    while not append.answers:
        for partition in others:
            bench.produce(partition)
        assert bench.loop.time() < until
        await asyncio.sleep(0.0005)
    assert bench.disk.synced.count(EVERYTHING) - at_once <= 3
    await bench.settle()


def stored(partition: Partition) -> bytes:
    """The first batch as it lies in the log."""
    batch = a_batch((b"value",), leader_epoch=partition.log.leader_epoch)
    return bytes(batch)
