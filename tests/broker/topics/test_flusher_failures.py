"""What nobody foresaw in a sync is the failure of one log, and leaves no other waiting (house rule 1.6)."""

import asyncio
import errno
from collections.abc import Callable

import pytest

from support.bench import Append, Bench, on_the_bench
from support.environment import raise_failures
from tidelog.broker.errors import code_of
from tidelog.broker.topics.flusher import LOGS_MIN, SYNCS_MAX, Flusher
from tidelog.broker.topics.partition import Partition
from tidelog.protocol.errors import ErrorCode
from tidelog.storage.flush import Flush


def answers(*appends: Append) -> list[list[Exception | None]]:
    return [append.answers for append in appends]


def code_of_answer(append: Append) -> ErrorCode:
    """Why it was refused."""
    assert append.error is not None
    return code_of(append.error)


def many(bench: Bench, count: int = LOGS_MIN) -> list[Partition]:
    """Logs on a disk that can be synced at one stroke."""
    bench.flusher.lies_on(bench.disk)
    return [bench.partition("orders", index) for index in range(count)]


async def produced(bench: Bench, partitions: list[Partition]) -> list[Append]:
    """To all of them at once, and synced; `disk.synced` is what was."""
    bench.disk.synced.clear()
    appends = [bench.produce(partition) for partition in partitions]
    await bench.settle()
    return appends


def raising(error: Exception, *, when: Callable[[str, str], bool], call: Callable[[str, str], None]) -> object:
    """A call of the disk that raises this on some paths."""

    def called(name: str, path: str) -> None:
        if when(name, path):
            raise error
        call(name, path)

    return called


@pytest.mark.parametrize("inline_max_s", [0.0, 1.0], ids=["pool", "loop"])
@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "?"), AttributeError("a defect")], ids=repr)
@on_the_bench
async def test_whatever_a_sync_raises_is_the_failure_of_its_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, inline_max_s: float
) -> None:
    bench.flusher = Flusher(bench.environment, bench.metrics, inline_max_s=inline_max_s)
    failing, *others = [bench.partition(name) for name in ("failing", "other", "another")]
    for partition in (failing, *others):
        bench.produce(partition)
        await bench.settle()
    fails = raising(error, when=lambda _, path: path.startswith("failing-0"), call=bench.disk.before)
    lost = bench.produce(failing)
    sound = [bench.produce(partition) for partition in others]
    monkeypatch.setattr(bench.disk, "before", fails)
    await bench.settle()
    assert code_of_answer(lost) == ErrorCode.KAFKA_STORAGE_ERROR
    assert repr(error) in str(lost.error)
    assert answers(*sound) == [[None], [None]]
    assert [partition.log.offline for partition in (failing, *others)] == [True, False, False]


@on_the_bench
async def test_a_pool_that_takes_no_work_fails_the_flush_and_not_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread can be started, for one. What is found in its queue later is over by then."""
    queued: list[Callable[[], object]] = []

    def refuse(function: Callable[[], object]) -> None:
        queued.append(function)
        raise RuntimeError("can't start new thread")

    failing = [bench.partition("failing", index) for index in range(SYNCS_MAX + 1)]
    lost = [bench.produce(partition) for partition in failing]
    with monkeypatch.context() as refused:
        refused.setattr(bench.environment, "run_blocking", refuse)
        await bench.settle()
    assert {code_of_answer(append) for append in lost} == {ErrorCode.KAFKA_STORAGE_ERROR}
    assert all(partition.log.offline for partition in failing)
    bench.disk.synced.clear()
    for function in queued:
        function()
    assert (len(queued), bench.disk.synced) == (len(failing), [])
    sound = bench.produce(bench.partition())
    await bench.settle()
    assert sound.answers == [None]


@on_the_bench
async def test_a_flush_that_cannot_even_begin_is_the_failure_of_its_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of its producers, for one, is copied for it."""
    failing, other = bench.partition("failing"), bench.partition("other")

    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(failing.log, "begin_flush", fail)
    lost, sound = bench.produce(failing), bench.produce(other)
    await bench.settle()
    assert code_of_answer(lost) == ErrorCode.KAFKA_STORAGE_ERROR
    assert sound.answers == [None]
    assert [failing.log.offline, other.log.offline] == [True, False]


async def told_in_vain(bench: Bench, monkeypatch: pytest.MonkeyPatch, partitions: list[Partition]) -> None:
    """The first of them fails when it is told that it is durable: all others hear what they should."""

    def fail(flush: object) -> None:
        raise ZeroDivisionError

    first, *others = partitions
    with monkeypatch.context() as failing:
        failing.setattr(first, "flushed", fail)
        appends = [bench.produce(partition) for partition in partitions]
        await asyncio.sleep(0)
        ended: list[str] = []
        bench.flusher.when_free(first, lambda: fail(None))
        bench.flusher.when_free(first, lambda: ended.append("so is whoever waits for its end"))
        await bench.settle()
    assert answers(*appends[1:]) == [[None]] * len(others)
    assert len(ended) == 1
    with pytest.raises(ExceptionGroup, match="2 times something failed"):
        raise_failures(bench.loop)
    bench.loop.failures.clear()


@pytest.mark.parametrize("count", [2, LOGS_MIN])
@on_the_bench
async def test_a_log_that_cannot_be_told_keeps_no_other_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    partitions = many(bench, count)
    await produced(bench, partitions)
    await told_in_vain(bench, monkeypatch, partitions)
    assert ("" in bench.disk.synced) == (count == LOGS_MIN)


@on_the_bench
async def test_what_was_written_during_a_sync_is_synced_though_its_log_cannot_be_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = bench.partition()
    first = bench.produce(partition)
    await asyncio.sleep(0)
    second = bench.produce(partition)
    flushed = partition.flushed

    def fail_once(flush: Flush) -> None:
        monkeypatch.setattr(partition, "flushed", flushed)
        partition.log.end_flush(flush)
        raise ZeroDivisionError

    monkeypatch.setattr(partition, "flushed", fail_once)
    await bench.settle()
    assert answers(first, second) == [[None], [None]]
    bench.loop.failures.clear()


@on_the_bench
async def test_whatever_a_sync_of_everything_raises_each_log_is_synced_and_it_is_not_used_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions = many(bench)
    fails = raising(MemoryError(), when=lambda name, _: name == "sync_all", call=bench.disk.before)
    with monkeypatch.context() as failing:
        failing.setattr(bench.disk, "before", fails)
        assert answers(*await produced(bench, partitions)) == [[None]] * LOGS_MIN
    for _ in range(200):
        assert answers(*await produced(bench, partitions)) == [[None]] * LOGS_MIN
        assert "" not in bench.disk.synced
