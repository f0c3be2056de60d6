"""What failed to be read a moment ago is refused without another look, for a while, and for what was asked alone."""

import asyncio

import pytest

from support.bench import Bench, on_the_bench
from tidelog.broker.topics.failed_reads import FAILURES_MAX, PAUSE_S, FailedReads
from tidelog.storage.errors import CorruptLog, DiskFailed, DiskFull, OutOfDescriptors, OutOfMemory, Unreadable

DAMAGE = CorruptLog("t-0/x.log", 5, "why", end=9)


@pytest.mark.parametrize("error", [DAMAGE, Unreadable(DAMAGE)])
@on_the_bench
async def test_a_failure_is_an_answer_for_a_while(bench: Bench, *, error: CorruptLog | Unreadable) -> None:
    del bench
    failed = FailedReads()
    failed.check(7)
    failed.add(7, error)
    failed.check(8)
    failed.check(("time", 7))
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            failed.check(7)
        assert str(caught.value) == str(error)
        assert caught.value is not error, "which would keep alive what its reader had in hand"
    await asyncio.sleep(PAUSE_S / 2)
    failed.add(7, error)
    await asyncio.sleep(PAUSE_S / 2)
    failed.check(7)
    failed.add(7, error)
    failed.clear()
    failed.check(7)


@pytest.mark.parametrize(
    "error", [DiskFull("x", "why"), OutOfDescriptors("x", "why"), OutOfMemory("x", "why"), DiskFailed("x", "why")]
)
@on_the_bench
async def test_what_says_nothing_of_the_bytes_is_not_remembered(bench: Bench, *, error: DiskFailed) -> None:
    del bench
    failed = FailedReads()
    failed.add(7, error)
    failed.check(7)


@on_the_bench
async def test_the_oldest_failures_are_forgotten_when_there_are_many(bench: Bench) -> None:
    del bench
    failed = FailedReads()
    for offset in range(FAILURES_MAX + 1):
        failed.add(offset, DAMAGE)
    failed.check(0)
    with pytest.raises(CorruptLog):
        failed.check(1)
    with pytest.raises(CorruptLog):
        failed.check(FAILURES_MAX)
