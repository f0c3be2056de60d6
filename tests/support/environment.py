"""The simulated `Environment`, the machine it runs on, and `simulate`, which runs a program in a world of its own.

A `Machine` has a disk that outlives the processes on it. `boot` starts a new process on what the last one left;
`kill` is `kill -9`; `cut_power` takes the page cache along, at once or at the n-th disk call from now. From that
instant every call of the old process on its disk raises `Dead`, also from frames that still unwind.

A disk call may take time (`spend`): the loop stands still meanwhile, as it would.
"""

import asyncio
import functools
import gc
import logging
import random
import re
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar, cast

from tidelog.storage.disk import Volume

from .history import FaultKind
from .loop import Dead, Process, SimLoop, Trace, owner_of
from .network import SimNetwork

T = TypeVar("T")

WALL_CLOCK_AT_START_MS = 1_750_000_000_000
SYNC_S_MAX = 0.002
SYNCS = frozenset({"sync", "sync_all", "sync_directory"})


class PowerOff(Dead):
    """What the disk call in which the power failed raises."""


class CrashingDisk(Protocol):
    """What a machine asks of its disk besides being one: `support.disk.SimulatedDisk`."""

    def crash(self) -> None:
        """The power fails."""

    def kill(self) -> None:
        """The process is killed; the page cache stays."""


class Machine:
    """A disk, and at most one process at a time that uses it."""

    def __init__(self, loop: SimLoop, disk: CrashingDisk, *, name: str = "broker") -> None:
        self.loop = loop
        self.disk = disk
        self.name = name
        self.process: Process | None = None
        self.boot_count = 0
        self.skew_ms = 0
        """How far its wall clock is off; it may be changed at any time."""
        self.disk_calls = 0
        self.unsynced: re.Pattern[str] | None = None
        """A planted bug: the sync of files of such a path does nothing."""
        self.on_fault: Callable[[FaultKind], None] = _ignore
        """Told before it happens."""
        self._random = loop.random_for(f"machine {name}")
        self._calls_until_cut: int | None = None
        self._cut_in_sync = False

    @property
    def is_up(self) -> bool:
        """Whether a process is there."""
        return self.process is not None and not self.process.is_dead

    def boot(self) -> "SimulatedEnvironment":
        """A new process on what the last one left."""
        assert not self.is_up, "one process at a time"
        self.boot_count += 1
        self.process = Process(self.loop, f"{self.name}.{self.boot_count}")
        return SimulatedEnvironment(self, self.process)

    def kill(self) -> None:
        """`kill -9`."""
        self._calls_until_cut = None
        if self.process is not None and not self.process.is_dead:
            self.on_fault("kill")
            self.process.die()
            self.disk.kill()

    def cut_power(self) -> None:
        """The power fails now; with nobody running, it still takes what an earlier process left in the page cache."""
        self._calls_until_cut = None
        self.on_fault("power cut")
        if self.process is not None:
            self.process.die(power_cut=True)
        self.disk.crash()

    def cut_power_at_call(self, count: int | None, *, in_sync: bool = False) -> None:
        """The power fails in the `count`-th disk call from now, before or after its effect; None: not.

        With `in_sync` only syncs count: there the promises are made.
        """
        self._calls_until_cut = count
        self._cut_in_sync = in_sync

    def disk_call(self, process: Process, name: str, call: Callable[[], T]) -> T:
        """A disk call of a process on this machine."""
        if process.is_dead:
            raise Dead(f"{process.name} is dead")
        self.disk_calls += 1
        self.loop.trace.add(self.loop.time(), "disk", name)
        if name in SYNCS:
            self.loop.spend(SYNC_S_MAX * self._random.random() ** 3)
        if self._calls_until_cut is None or (self._cut_in_sync and name not in SYNCS):
            return call()
        self._calls_until_cut -= 1
        if self._calls_until_cut > 0:
            return call()
        if self._random.random() < 0.5:
            call()
        self.cut_power()
        raise PowerOff(f"the power fails in {name}")


class SimulatedEnvironment:
    """The broker's world in one life of a process. The lives share the machine's disk and clock."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self.process = process
        self.random: random.Random = machine.loop.random_for(process.name)
        self._machine = machine
        self._loop = machine.loop

    def now_ms(self) -> int:
        """The machine's wall clock: virtual, and off by its skew."""
        return wall_clock_ms(self._loop) + self._machine.skew_ms

    def monotonic(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def disk(self, directory: str) -> Volume:
        """The machine's disk, whatever the directory is called."""
        return cast(Volume, WatchedCalls(self._machine.disk, self._machine, self.process))

    def run_blocking(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run it at some later time, answer later still."""
        return self._loop.run_in_executor(None, function)

    async def listen(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.AbstractServer:
        """Listen in the simulated network."""
        return await self._loop.create_server(factory, host, port)

    def descriptors_max(self) -> int:
        """More than any test opens."""
        return 1 << 20

    def bind(self, host: str, port: int) -> socket.socket:
        """HTTP is not simulated: configure none."""
        raise NotImplementedError("a simulation has no sockets: run the broker without HTTP")


class WatchedCalls:
    """Stands before a disk, a file, a map or a lock: its calls are counted and traced, and die with the process."""

    def __init__(self, target: object, machine: Machine, process: Process) -> None:
        self._target, self._machine, self._process = target, machine, process

    def __getattr__(self, name: str) -> object:
        found = getattr(self._target, name)
        if name.startswith("__") or not callable(found):
            return found
        call = functools.partial(self._call, name, found)
        self.__dict__[name] = call  # the next look-up finds it without coming here
        return call

    def _call(self, name: str, method: Callable[..., object], *arguments: object, **options: object) -> object:
        if (
            name == "sync"
            and self._machine.unsynced
            and self._machine.unsynced.search(getattr(self._target, "path", ""))
        ):
            return None
        result = self._machine.disk_call(self._process, name, lambda: method(*arguments, **options))
        if name in ("open", "lock"):
            return WatchedCalls(result, self._machine, self._process)
        return result


def simulate(
    program: Callable[[SimLoop], Coroutine[object, object, T]],
    *,
    seed: int,
    debug: bool = False,
    trace: Trace | None = None,
) -> T:
    """Run a program in a new world; what it leaves running is cancelled at its end.

    Raises what the program raises, Deadlock, Livelock, and ExceptionGroup for exceptions that nobody handled and for
    whatever tidelog logs as an ERROR: nothing here asks for one.
    """
    loop = SimLoop(seed, trace=trace)
    with _without_garbage_collection(), Complaints(loop):
        loop.set_debug(debug)
        SimNetwork(loop)
        try:
            try:
                result = loop.run_until_complete(program(loop))
            finally:
                _cancel_the_rest(loop)
        finally:
            loop.close()
    raise_failures(loop)
    return result


def raise_failures(loop: SimLoop) -> None:
    """Raise what has failed so far and was nobody's to handle; each kind once."""
    failures = [_as_exception(report) for report in loop.failures]
    if failures:
        distinct = {f"{failure} {failure.__cause__!r}": failure for failure in failures}
        raise ExceptionGroup(f"{len(failures)} times something failed", list(distinct.values()))


class Complaints(logging.Handler):
    """Makes a failure of the simulation of whatever the living log as an ERROR."""

    def __init__(self, loop: SimLoop) -> None:
        super().__init__(logging.ERROR)
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        owner = owner_of(None)
        if owner is None or not owner.is_dead:
            error = record.exc_info[1] if record.exc_info else None
            self._loop.failures.append({"message": f"logged: {record.getMessage()}", "exception": error})

    def __enter__(self) -> None:
        logging.getLogger("tidelog").addHandler(self)

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("tidelog").removeHandler(self)


def wall_clock_ms(loop: SimLoop) -> int:
    """The true wall-clock time of the simulated world."""
    return WALL_CLOCK_AT_START_MS + int(loop.time() * 1000)


def network_of(loop: SimLoop) -> SimNetwork:
    """The loop's network, with its faults."""
    assert isinstance(loop.network, SimNetwork)
    return loop.network


def _cancel_the_rest(loop: SimLoop) -> None:
    rest = loop.living_tasks()
    for task in rest:
        task.cancel()

    async def ends() -> None:
        await asyncio.gather(*rest, return_exceptions=True)
        await loop.shutdown_asyncgens()

    if not loop.is_closed():
        loop.run_until_complete(ends())


def _as_exception(report: dict[str, object]) -> Exception:
    cause = report.get("exception")
    error = RuntimeError(str(report.get("message", "unhandled exception")))
    error.__cause__ = cause if isinstance(cause, BaseException) else None
    return error


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    # Cycles are collected when so and so many objects were made, which differs between two runs in one interpreter;
    # what finalizers do (an async generator's is a task) would then fall into different places of the trace.
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()  # what other tests have left is not looked through again at the end of each run
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def _ignore(kind: FaultKind) -> None:
    pass
