"""The simulated environment: a machine whose processes die while its disk stays, and the clocks."""

import asyncio
import logging

import pytest

from support.disk import SimulatedDisk
from support.environment import Machine, PowerOff, SimulatedEnvironment, network_of, simulate, wall_clock_ms
from support.history import FaultKind
from support.loop import Dead, ProcessDied, SimLoop
from tidelog.broker.environment import Environment
from tidelog.storage.disk import File


def a_machine(loop: SimLoop) -> Machine:
    """A machine with an empty disk."""
    return Machine(loop, SimulatedDisk(loop.seed))


def opened(environment: SimulatedEnvironment, path: str = "file") -> File:
    """A file on its disk, durable as a name."""
    disk = environment.disk("data")
    file = disk.open(path, create=True)
    disk.sync_directory("")
    return file


def contents(environment: SimulatedEnvironment, path: str = "file") -> bytes:
    """What a file holds."""
    return environment.disk("data").open(path).read(0, 100_000)


def test_it_is_an_environment() -> None:
    async def program(loop: SimLoop) -> None:
        environment: Environment = a_machine(loop).boot()
        assert environment.monotonic() == loop.time()
        with pytest.raises(NotImplementedError):
            environment.bind("127.0.0.1", 0)

    simulate(program, seed=1)


def test_a_kill_loses_nothing_and_a_power_cut_what_was_not_synced() -> None:
    async def program(loop: SimLoop) -> tuple[bytes, bytes]:
        machine = a_machine(loop)
        file = opened(machine.boot())
        file.append([b"synced"])
        file.sync()
        file.append([b"!" * 5_000])
        machine.kill()
        after_kill = contents(machine.boot())
        machine.cut_power()
        return after_kill, contents(machine.boot())

    after_cuts = set()
    for seed in range(30):
        after_kill, after_cut = simulate(program, seed=seed)
        assert after_kill == b"synced" + b"!" * 5_000
        assert after_cut.startswith(b"synced")
        after_cuts.add(after_cut)
    assert len(after_cuts) > 5


def test_the_power_fails_at_the_chosen_disk_call_and_ends_the_process() -> None:
    async def program(loop: SimLoop) -> int:
        machine = a_machine(loop)
        faults: list[FaultKind] = []
        machine.on_fault = faults.append
        environment = machine.boot()
        calls = 0

        async def works() -> None:
            nonlocal calls
            file = opened(environment)
            machine.cut_power_at_call(5)
            try:
                while True:
                    file.append([b"x"])
                    calls += 1
            finally:
                with pytest.raises(Dead):
                    file.sync()  # the frame unwinds, but the machine is off

        with pytest.raises(ProcessDied):
            await environment.process.start(works())
        assert faults == ["power cut"]
        assert not machine.is_up
        return calls

    assert {simulate(program, seed=seed) for seed in range(20)} == {4}


def test_the_power_can_be_made_to_fail_in_a_sync() -> None:
    async def program(loop: SimLoop) -> None:
        machine = a_machine(loop)
        file = opened(machine.boot())
        machine.cut_power_at_call(2, in_sync=True)
        file.append([b"x"])
        file.sync()
        for _ in range(10):
            file.append([b"x"])
        with pytest.raises(PowerOff):
            file.sync()

    for seed in range(10):
        simulate(program, seed=seed)


def test_the_power_may_fail_in_a_call_of_the_pool() -> None:
    async def program(loop: SimLoop) -> None:
        machine = a_machine(loop)
        environment = machine.boot()

        async def works() -> None:
            file = opened(environment)
            machine.cut_power_at_call(1)
            await environment.run_blocking(file.sync)

        with pytest.raises(ProcessDied):
            await environment.process.start(works())
        machine.boot()

    for seed in range(10):
        simulate(program, seed=seed)


def test_what_a_dead_process_had_open_is_dead() -> None:
    async def program(loop: SimLoop) -> None:
        machine = a_machine(loop)
        environment = machine.boot()
        file = opened(environment)
        lock = environment.disk("data").lock(".lock")
        machine.kill()
        for call in (file.sync, lock.release, lambda: environment.disk("data").exists("file")):
            with pytest.raises(Dead):
                call()
        machine.boot().disk("data").lock(".lock")

    simulate(program, seed=1)


def test_a_power_cut_takes_what_a_killed_process_left_in_the_page_cache() -> None:
    async def program(loop: SimLoop) -> bytes:
        machine = a_machine(loop)
        opened(machine.boot()).append([b"never synced"])
        machine.kill()
        machine.cut_power()
        return contents(machine.boot())

    assert len({simulate(program, seed=seed) for seed in range(20)}) > 1


def test_a_sync_takes_time_during_which_the_loop_stands_still() -> None:
    async def program(loop: SimLoop) -> float:
        file = opened(a_machine(loop).boot())
        before = loop.time()
        file.append([b"x"])
        assert loop.time() == before
        file.sync()
        return loop.time() - before

    assert all(0 < simulate(program, seed=seed) < 0.01 for seed in range(10))


def test_the_wall_clock_jumps_and_the_monotonic_one_does_not() -> None:
    async def program(loop: SimLoop) -> None:
        machine = a_machine(loop)
        environment = machine.boot()
        true, monotonic = wall_clock_ms(loop), environment.monotonic()
        assert environment.now_ms() == true
        machine.skew_ms = -3_600_000
        assert environment.now_ms() == true - 3_600_000
        await asyncio.sleep(2)
        assert environment.now_ms() == pytest.approx(true - 3_600_000 + 2_000, abs=10)
        assert environment.monotonic() == pytest.approx(monotonic + 2, abs=0.01)

    simulate(program, seed=1)


def test_each_life_draws_its_own_random_numbers_from_the_seed() -> None:
    async def program(loop: SimLoop) -> list[float]:
        machine = a_machine(loop)
        first = machine.boot().random.random()
        machine.kill()
        return [first, machine.boot().random.random()]

    drawn = simulate(program, seed=1)
    assert len(set(drawn)) == 2
    assert drawn == simulate(program, seed=1)


def test_a_machine_that_is_booted_again_listens_where_it_did() -> None:
    async def program(loop: SimLoop) -> None:
        machine = a_machine(loop)
        for _ in range(3):
            environment = machine.boot()
            await environment.process.start(environment.listen("127.0.0.1", 9092, asyncio.Protocol))
            await loop.create_connection(asyncio.Protocol, "127.0.0.1", 9092)
            machine.cut_power()
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(asyncio.Protocol, "127.0.0.1", 9092)
        await asyncio.sleep(10)
        assert not network_of(loop).connections

    simulate(program, seed=1)


def test_what_is_logged_as_an_error_fails_the_simulation_unless_the_dead_say_it() -> None:
    logger = logging.getLogger("tidelog.test")

    async def program(loop: SimLoop) -> None:
        machine = a_machine(loop)

        async def complains() -> None:
            logger.warning("an operator should look")
            machine.kill()
            logger.error("from the grave")

        with pytest.raises(ProcessDied):
            await machine.boot().process.start(complains())

    simulate(program, seed=1)

    async def loses_data(loop: SimLoop) -> None:
        logger.error("data is at stake")

    with pytest.raises(ExceptionGroup) as caught:
        simulate(loses_data, seed=1)
    assert "data is at stake" in str(caught.value.exceptions[0])
