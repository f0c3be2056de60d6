"""The deterministic loop: virtual time, seeded order, dead processes."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from support.environment import simulate
from support.loop import TIME_AT_START, Deadlock, IoHandle, Livelock, Process, ProcessDied, SimLoop, Trace


def test_a_simulated_day_takes_no_time() -> None:
    async def program(loop: SimLoop) -> float:
        started = loop.time()
        await asyncio.sleep(86_400)
        return loop.time() - started

    started = time.monotonic()
    assert simulate(program, seed=1) == pytest.approx(86_400, abs=0.01)
    assert time.monotonic() - started < 1


def test_timers_run_in_the_order_of_their_times_whatever_the_seed() -> None:
    async def program(loop: SimLoop) -> list[float]:
        ran: list[float] = []
        for delay in (0.003, 0.001, 0.0015, 0.002, 0.0012, 0.5):
            loop.call_later(delay, ran.append, delay)
        await asyncio.sleep(1)
        return ran

    for seed in range(50):
        assert simulate(program, seed=seed) == [0.001, 0.0012, 0.0015, 0.002, 0.003, 0.5]


def test_callbacks_run_in_the_order_in_which_they_were_queued() -> None:
    async def program(loop: SimLoop) -> list[int]:
        ran: list[int] = []
        for number in range(20):
            loop.call_soon(ran.append, number)
        await asyncio.sleep(1)
        return ran

    for seed in range(20):
        assert simulate(program, seed=seed) == list(range(20))


def test_timers_and_events_that_are_due_together_run_in_an_order_drawn_from_the_seed() -> None:
    async def program(loop: SimLoop) -> str:
        ran: list[str] = []
        for name in "ab":
            loop.call_at(loop.time() + 1, ran.append, name)
        for name in "XY":
            loop.call_io(loop.time() + 1, ran.append, name)
        await asyncio.sleep(2)
        return "".join(ran)

    orders = [simulate(program, seed=seed) for seed in range(200)]
    assert len(set(orders)) == 24
    assert orders == [simulate(program, seed=seed) for seed in range(200)]


def test_events_move_freely_among_timers_that_keep_their_order() -> None:
    async def program(loop: SimLoop) -> str:
        ran: list[str] = []
        now = loop.time()
        for delay, name in ((0.1, "a"), (0.2, "b"), (0.3, "c")):
            loop.call_at(now + delay, ran.append, name)
        loop.call_io(now + 0.3, ran.append, "X")
        loop.call_soon(loop.spend, 1.0)
        await asyncio.sleep(2)
        return "".join(ran)

    orders = {simulate(program, seed=seed) for seed in range(100)}
    assert orders == {"Xabc", "aXbc", "abXc", "abcX"}


def test_a_cancelled_timer_never_runs() -> None:
    async def program(loop: SimLoop) -> list[int]:
        ran: list[int] = []
        handles = [loop.call_later(1, ran.append, number) for number in range(300)]
        for handle in handles[::2]:
            handle.cancel()
        await asyncio.sleep(2)
        return sorted(ran)

    assert simulate(program, seed=3) == list(range(1, 300, 2))


def test_a_loop_in_which_everybody_waits_is_a_deadlock_that_says_where() -> None:
    async def waits_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    async def program(loop: SimLoop) -> None:
        await waits_for_ever()

    with pytest.raises(Deadlock, match="waits_for_ever"):
        simulate(program, seed=1)


def test_a_program_that_spins_is_a_livelock() -> None:
    async def program(loop: SimLoop) -> None:
        while True:  # noqa: ASYNC110 - spinning is the point
            await asyncio.sleep(0)

    with pytest.raises(Livelock):
        simulate(program, seed=1)


def test_a_timer_that_sets_itself_for_the_same_moment_is_no_world() -> None:
    async def program(loop: SimLoop) -> None:
        def again() -> None:
            loop.call_at(loop.time(), again)

        again()
        await asyncio.sleep(1)

    with pytest.raises(Livelock):
        simulate(program, seed=1)


def test_timeouts_groups_and_cancellation_work_as_ever() -> None:
    async def program(loop: SimLoop) -> list[str]:
        events: list[str] = []

        async def sleeper(name: str, delay: float) -> None:
            try:
                await asyncio.sleep(delay)
                events.append(f"{name} woke")
            except asyncio.CancelledError:
                events.append(f"{name} cancelled")
                raise

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await sleeper("first", 5)
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("second", 2))
            group.create_task(sleeper("third", 1))
        with pytest.raises(ExceptionGroup):  # noqa: PT012 - the group is what raises
            async with asyncio.TaskGroup() as group:
                group.create_task(sleeper("fourth", 2))
                group.create_task(_fails())
        assert await asyncio.wait_for(asyncio.sleep(1, "result"), 3) == "result"
        assert loop.time() < 1_010
        return events

    for seed in range(20):
        assert simulate(program, seed=seed) == ["first cancelled", "third woke", "second woke", "fourth cancelled"]


async def _fails() -> None:
    await asyncio.sleep(0.5)
    raise ValueError("on purpose")


def test_a_call_of_the_pool_runs_later_on_no_thread_and_answers_later_still() -> None:
    async def program(loop: SimLoop) -> tuple[float, float]:
        main = threading.get_ident()
        started = loop.time()
        ran_at: list[float] = []

        def work(factor: int) -> int:
            assert threading.get_ident() == main
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            with pytest.raises(RuntimeError, match="thread"):
                loop.call_soon(print)
            ran_at.append(loop.time())
            return 21 * factor

        assert await loop.run_in_executor(None, work, 2) == 42
        assert await asyncio.to_thread(work, 1) == 21
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        return ran_at[0] - started, loop.time() - ran_at[0]

    before, after = simulate(program, seed=5)
    assert before > 0
    assert after > 0


def test_a_real_socket_is_refused() -> None:
    async def program(loop: SimLoop) -> None:
        loop.add_reader(0, print)

    with pytest.raises(RuntimeError, match="no real files"):
        simulate(program, seed=1)


def test_an_exception_that_nobody_handles_fails_the_simulation() -> None:
    async def program(loop: SimLoop) -> None:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        simulate(program, seed=1)
    assert isinstance(caught.value.exceptions[0].__cause__, ZeroDivisionError)


# Processes


def run_and_kill(body: Callable[[list[str]], Coroutine[object, object, None]], *, seed: int = 1) -> list[str]:
    """Starts `body` in a process, kills it after a second, looks what it did until its coroutines were buried."""
    events: list[str] = []

    async def program(loop: SimLoop) -> None:
        process = Process(loop, "victim")
        outcome = process.start(body(events))
        await asyncio.sleep(1)
        process.die()
        events.append("killed")
        with pytest.raises(ProcessDied):
            await outcome
        await asyncio.sleep(10)

    simulate(program, seed=seed)
    return events[: events.index("killed") + 1] if "after" not in events else events


def test_no_task_timer_or_callback_of_a_killed_process_runs_again() -> None:
    async def body(events: list[str]) -> None:
        loop = asyncio.get_running_loop()

        async def child() -> None:
            await asyncio.sleep(2)
            events.append("after")

        loop.call_later(2, events.append, "after")
        loop.run_in_executor(None, time.monotonic).add_done_callback(
            lambda _: loop.call_later(3, events.append, "after")
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(child())
            events.append("started")

    assert run_and_kill(body) == ["started", "killed"]


def test_finally_blocks_of_a_killed_process_reach_nobody_while_the_world_goes_on() -> None:
    events: list[str] = []

    async def body() -> None:
        async def steps() -> AsyncIterator[int]:
            try:
                while True:
                    await asyncio.sleep(0.4)
                    yield 1
            finally:
                events.append("generator finalized")

        try:
            async for _ in steps():
                events.append("step")  # noqa: PERF401 - it must be seen when the kill comes
        finally:
            events.append("finally")
            await asyncio.sleep(1)
            events.append("after")

    async def program(loop: SimLoop) -> list[str]:
        process = Process(loop, "victim")
        process.start(body())
        await asyncio.sleep(1)
        process.die()
        await asyncio.sleep(10)
        return list(events)

    assert simulate(program, seed=1) == ["step", "step"]
    assert "after" not in events


def test_a_future_that_the_living_complete_wakes_no_dead_task() -> None:
    async def program(loop: SimLoop) -> None:
        shared = loop.create_future()
        process = Process(loop, "victim")
        woken: list[str] = []

        async def waits() -> None:
            await shared
            woken.append("task")

        async def body() -> None:
            shared.add_done_callback(lambda _: woken.append("callback"))
            await waits()

        process.start(body())
        await asyncio.sleep(0)
        process.die()
        shared.set_result(None)
        await asyncio.sleep(1)
        assert woken == []

    simulate(program, seed=1)


def test_what_the_dying_frame_still_schedules_is_dropped() -> None:
    async def program(loop: SimLoop) -> None:
        process = Process(loop, "victim")
        ran: list[str] = []

        async def body() -> None:
            try:
                process.die()
            finally:
                loop.call_soon(ran.append, "soon")
                loop.call_later(0, ran.append, "later")
                loop.call_soon_threadsafe(ran.append, "threadsafe")
                loop.run_in_executor(None, ran.append, "pool")
                loop.create_task(_append(ran, "task"))

        with pytest.raises(ProcessDied):
            await process.start(body())
        await asyncio.sleep(1)
        assert ran == []

    simulate(program, seed=1)


async def _append(ran: list[str], what: str) -> None:
    ran.append(what)


def test_a_process_may_die_within_a_call_of_the_pool() -> None:
    async def program(loop: SimLoop) -> None:
        process = Process(loop, "victim")
        ran: list[str] = []

        async def body() -> None:
            await loop.run_in_executor(None, process.die)
            ran.append("after")

        with pytest.raises(ProcessDied):
            await process.start(body())
        await asyncio.sleep(1)
        assert ran == []

    simulate(program, seed=1)


def test_others_live_on_when_a_process_is_killed() -> None:
    async def program(loop: SimLoop) -> list[str]:
        ran: list[str] = []

        async def body(name: str) -> None:
            for _ in range(3):
                await asyncio.sleep(1)
                ran.append(name)

        one, two = Process(loop, "one"), Process(loop, "two")
        one.start(body("one"))
        waiting = two.start(body("two"))
        await asyncio.sleep(1.5)
        one.die()
        await waiting
        return sorted(ran)

    assert simulate(program, seed=1) == ["one", "two", "two", "two"]


def test_an_exception_of_a_process_is_its_callers_and_one_of_the_dead_is_nobodys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def program(loop: SimLoop) -> None:
        process = Process(loop, "victim")
        with pytest.raises(ValueError, match="on purpose"):
            await process.start(_fails())

        async def dies_badly() -> None:
            future = loop.create_future()
            future.set_exception(ValueError("never retrieved"))
            process.die()
            raise ValueError("of the dead")

        with pytest.raises(ProcessDied):
            await process.start(dies_badly())
        with pytest.raises(ProcessDied):
            await process.start(_fails())

    with caplog.at_level(logging.WARNING):
        simulate(program, seed=1)
    assert caplog.records == []


def test_cancelling_the_outcome_cancels_the_task() -> None:
    async def program(loop: SimLoop) -> list[str]:
        seen: list[str] = []

        async def body() -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        process = Process(loop, "p")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await process.start(body())
        await asyncio.sleep(0)
        return seen

    assert simulate(program, seed=1) == ["cancelled"]


# Same seed, same trace


async def a_mixture(loop: SimLoop) -> str:
    """Timers, pool calls, processes and a kill."""
    victim = Process(loop, "victim")

    async def works() -> None:
        while True:
            await asyncio.sleep(loop.random.random())
            await loop.run_in_executor(None, loop.spend, 0.0001)

    victim.start(works())
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(asyncio.sleep(3))
        loop.call_later(2, victim.die)
    return loop.trace.digest()


def test_the_same_seed_gives_the_same_trace_with_debug_mode_or_without() -> None:
    digests = [simulate(a_mixture, seed=7, debug=debug) for debug in (False, True, False)]
    assert digests[0] == digests[1] == digests[2]
    assert digests[0] != simulate(a_mixture, seed=8)


def test_a_trace_keeps_its_last_lines_or_all() -> None:
    short, full = Trace(), Trace(keep_all=True)
    for trace in (short, full):
        for number in range(1000):
            trace.add(0.5, "event", number)
    assert short.digest() == full.digest()
    assert len(full.lines) == 1000
    assert 200 <= len(short.lines) <= 400
    assert short.lines[-1] == "0.500000000 event 999\n"


def test_an_io_handle_is_a_timer_that_can_be_cancelled() -> None:
    async def program(loop: SimLoop) -> list[str]:
        ran: list[str] = []
        handle = loop.call_io(loop.time() + 1, ran.append, "io")
        assert isinstance(handle, IoHandle)
        handle.cancel()
        await asyncio.sleep(2)
        return ran

    assert simulate(program, seed=1) == []


def test_a_frozen_process_goes_on_where_it_was_and_finds_its_timers_overdue() -> None:
    async def program(loop: SimLoop) -> list[str]:
        said: list[str] = []
        process = Process(loop, "sleeper")

        async def count() -> None:
            for number in range(4):
                said.append(f"{number} at {loop.time() - TIME_AT_START:.1f}")
                await asyncio.sleep(1)

        counting = process.start(count())
        await asyncio.sleep(1.5)
        process.freeze()
        await asyncio.sleep(10)
        assert len(said) == 2
        process.thaw()
        await counting
        return said

    for seed in range(20):
        assert simulate(program, seed=seed) == ["0 at 0.0", "1 at 1.0", "2 at 11.5", "3 at 12.5"]


def test_nothing_of_a_frozen_process_runs_whoever_wakes_it() -> None:
    async def program(loop: SimLoop) -> list[str]:
        said: list[str] = []
        process = Process(loop, "sleeper")
        awaited = loop.create_future()

        async def wait() -> None:
            await awaited
            said.append("woken")

        waiting = process.start(wait())
        await asyncio.sleep(0.1)
        process.freeze()
        awaited.set_result(None)
        process.call(lambda: loop.call_soon(said.append, "queued"))
        process.call(lambda: loop.call_later(0.1, said.append, "late"))
        await asyncio.sleep(1)
        assert said == []
        process.thaw()
        await waiting
        await asyncio.sleep(1)
        return said

    assert simulate(program, seed=1) == ["woken", "queued", "late"]


def test_a_timer_that_came_due_while_frozen_can_still_be_cancelled() -> None:
    async def program(loop: SimLoop) -> list[str]:
        said: list[str] = []
        process = Process(loop, "sleeper")
        timer = process.call(lambda: loop.call_later(1, said.append, "due"))
        process.freeze()
        await asyncio.sleep(2)
        timer.cancel()
        process.thaw()
        await asyncio.sleep(1)
        return said

    assert simulate(program, seed=1) == []


def test_a_frozen_process_that_is_killed_never_thaws() -> None:
    async def program(loop: SimLoop) -> list[str]:
        said: list[str] = []
        process = Process(loop, "sleeper")
        process.call(lambda: loop.call_later(1, said.append, "alive"))
        process.freeze()
        await asyncio.sleep(2)
        process.die()
        process.thaw()
        await asyncio.sleep(1)
        return said

    assert simulate(program, seed=1) == []
