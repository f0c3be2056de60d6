"""A deterministic asyncio loop: virtual time, seeded choices, processes that can be killed.

Time moves only when nothing is left to do: then it jumps to the next timer, so a simulated day takes as long as its
events. Everything random is drawn from the seed: how late the loop wakes, which of the timers and I/O events that
are due together comes first, when a call of the thread pool runs and when its answer arrives. What asyncio promises
stays promised: callbacks run in the order in which they were queued, timers in the order of their times.

A `Process` is what `kill -9` ends. Who owns a callback is told by the context it runs in (a context variable, which
asyncio itself hands on to every task, timer and done-callback). At a kill everything that the process has scheduled
is dropped, and whatever is scheduled in its name later is dropped as well, be it by a future that somebody else
completes or by a frame that still unwinds. Its suspended coroutines are kept until the loop closes: a garbage
collector that closed one earlier would run its `finally` blocks, and the dead do not tidy up.

A process can also be frozen, as SIGSTOP does it: what it has scheduled is withheld, and so is what is scheduled in its
name meanwhile. When it thaws, it goes on with all of that, and finds its timers overdue. (Its connections are the
network's business: whoever freezes a process stalls them.)

Invariants: no callback of a dead process begins; the same seed and program give the same `trace.digest()`, debug
mode or not.
"""

import asyncio
import contextvars
import functools
import gc
import hashlib
import heapq
import random
import socket
import sys
import weakref
from asyncio import events
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TIME_AT_START = 1_000.0
TURNS_PER_INSTANT_MAX = 50_000
"""So many turns of the loop while the clock stands still mean that somebody spins."""
LATE_RATE = 0.1
LATE_S_MAX = 0.002
POOL_DELAY_S_MAX = 0.003
TRACE_LINES_KEPT = 200


class Deadlock(RuntimeError):
    """Every task waits and nothing is scheduled: nothing will ever happen again."""


class Livelock(RuntimeError):
    """Callbacks queue callbacks without end, and time cannot move."""


class ProcessDied(Exception):
    """What somebody who waited for a process is told."""


class Dead(BaseException):
    """Thrown at the code of a dead process that still reaches for the world."""


PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("PROCESS", default=None)
"""The process that the running code belongs to; None: the test itself, which never dies."""

WORLD = contextvars.Context()
"""The context of what belongs to no process: the network, the test."""


class Trace:
    """What happened, in order, as a digest; the last lines are kept to be read, all of them if asked."""

    def __init__(self, *, keep_all: bool = False) -> None:
        self.count = 0
        self.lines: list[str] = []
        self._hash = hashlib.blake2b(digest_size=16)
        self._lines_max = None if keep_all else TRACE_LINES_KEPT

    def add(self, time: float, what: str, *facts: object) -> None:
        """One event. The facts must print the same in every run: no addresses, no unordered sets."""
        line = f"{time:.9f} {what} {' '.join(map(str, facts))}\n"
        self.count += 1
        self._hash.update(line.encode())
        self.lines.append(line)
        if self._lines_max is not None and len(self.lines) > 2 * self._lines_max:
            del self.lines[: -self._lines_max]

    def digest(self) -> str:
        """The hash over all events so far."""
        return self._hash.hexdigest()


class Belonging(Protocol):
    """Something outside a process that ends with it: a socket, a listener."""

    def owner_died(self, *, power_cut: bool) -> None:
        """The owner is dead; nothing of it may be called any more."""


class Network(Protocol):
    """What the loop asks of the network; `support.network` has it."""

    async def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str | None, port: int
    ) -> asyncio.AbstractServer:
        """Accept connections on an address."""

    async def connect(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to an address."""


class IoHandle(asyncio.TimerHandle):
    """An I/O event: due at a time like a timer, but without a place in the timers' order."""

    __slots__ = ()


class SimTask(asyncio.Task[T]):
    """A task with a hash of its own: sets of tasks (a TaskGroup has one) have the same order in every run."""

    def __init__(
        self,
        coroutine: Coroutine[object, object, T],
        *,
        loop: "SimLoop",
        number: int,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        self._hash = number
        self.owner = owner_of(context)
        super().__init__(coroutine, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._hash


class SimLoop(asyncio.SelectorEventLoop):
    """The loop. See the module's docstring."""

    network: Network | None = None

    def __init__(self, seed: int, *, trace: Trace | None = None) -> None:
        self._now = TIME_AT_START
        self._turns = 0
        self._in_thread = False
        super().__init__(_VirtualSelector(self))  # type: ignore[arg-type]
        self._clock_resolution = 0.0  # a timer is due at its time and no tick before
        self.seed = seed
        self.trace = trace or Trace()
        self.pool_delay_s_min = 0.0
        self.pool_delay_s_max = POOL_DELAY_S_MAX
        """How long a call of the pool may wait for its turn, and its answer for the loop's."""
        self.failures: list[dict[str, object]] = []
        """What the exception handler was told, except about the dead."""
        self.random = self.random_for("loop")
        self._all_tasks: weakref.WeakValueDictionary[int, SimTask[object]] = weakref.WeakValueDictionary()
        self._task_count = 0
        self._asyncgens_of: weakref.WeakKeyDictionary[AsyncGenerator[object, object], Process | None]
        self._asyncgens_of = weakref.WeakKeyDictionary()
        self._graveyard: list[tuple[Process, SimTask[object]]] = []
        self._graveyard_asyncgens: list[AsyncGenerator[object, object]] = []
        self.set_exception_handler(_collect_failure)

    def random_for(self, purpose: str) -> random.Random:
        """A source of its own for each purpose, so that one more draw here does not shift all that happens there."""
        return random.Random(f"{self.seed}/{purpose}")

    # Time

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def spend(self, seconds: float) -> None:
        """The running callback takes this long: the clock moves under it, and timers become overdue."""
        self._now += seconds

    def turn(self) -> None:
        """What the selector does instead of sleeping: move the clock, queue what is due in a seeded order."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        self._turns += 1
        if not self._ready and not self._stopping:  # type: ignore[attr-defined]
            if not scheduled:
                raise Deadlock("every task waits and nothing is scheduled:\n" + "\n".join(self.stacks()))
            if scheduled[0].when() > self._now:
                self._turns = 0
                late = self.random.random() < LATE_RATE
                self._now = scheduled[0].when() + (self.random.random() * LATE_S_MAX if late else 0.0)
        if self._turns > TURNS_PER_INSTANT_MAX:
            self._turns = 0
            queued = [*list(self._ready)[:5], *scheduled[:5]]  # type: ignore[attr-defined]
            raise Livelock(f"time stands still at {self._now}; queued: {queued}")
        due = []
        while scheduled and scheduled[0].when() <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - as BaseEventLoop does
            if handle.cancelled():
                self._timer_cancelled_count -= 1
            elif (owner := owner_of(handle._context)) is not None and owner.is_frozen:  # type: ignore[attr-defined]  # noqa: SLF001
                owner.withheld.append(handle)
            else:
                due.append(handle)
        for handle in self._in_some_order(due) if len(due) > 1 else due:
            if not isinstance(handle, IoHandle):
                self.trace.add(self._now, "timer", f"{handle.when():.9f}", _name(handle._callback))  # type: ignore[attr-defined]  # noqa: SLF001
            self._ready.append(handle)  # type: ignore[attr-defined]

    def _in_some_order(self, due: list[asyncio.TimerHandle]) -> list[asyncio.TimerHandle]:
        order = list(due)
        self.random.shuffle(order)
        # Sorting is stable: timers of one time stay shuffled, those of different times get their order back.
        timers = iter(sorted((handle for handle in order if not isinstance(handle, IoHandle)), key=lambda h: h.when()))
        return [handle if isinstance(handle, IoHandle) else next(timers) for handle in order]

    # Scheduling: nothing is queued for the dead

    def call_soon(  # type: ignore[override]
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Queue a callback."""
        self._check_not_in_thread()
        if (owner := owner_of(context)) is not None and not owner.runs:
            return self._dropped(callback, args, context) if owner.is_dead else self._withheld(callback, args, context)
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Queue a callback; what a thread of the pool may call."""
        if (owner := owner_of(context)) is not None and not owner.runs:
            return self._dropped(callback, args, context) if owner.is_dead else self._withheld(callback, args, context)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Set a timer."""
        self._check_not_in_thread()
        if (owner := owner_of(context)) is not None and owner.is_dead:
            handle = asyncio.TimerHandle(when, callback, args, self, context)
            handle.cancel()
            return handle
        return super().call_at(when, callback, *args, context=context)

    def call_io(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Set an I/O event: like a timer, but in no order with what is due together with it."""
        handle = IoHandle(when, callback, args, self, context)
        if (owner := owner_of(context)) is not None and owner.is_dead:
            handle.cancel()
        else:
            heapq.heappush(self._scheduled, handle)  # type: ignore[attr-defined]
            handle._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001
        return handle

    def _withheld(
        self, callback: Callable[..., object], args: Iterable[object], context: contextvars.Context | None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, tuple(args), self, context)
        owner = owner_of(context)
        assert owner is not None
        owner.withheld.append(handle)
        return handle

    def _dropped(
        self, callback: Callable[..., object], args: Iterable[object], context: contextvars.Context | None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, tuple(args), self, context)
        handle.cancel()
        return handle

    def create_future(self) -> asyncio.Future[object]:
        """A future that knows whose it is, for the exception handler."""
        future = super().create_future()
        future.owner = PROCESS.get()
        return future

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[object, object, T], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        """Start a task in the process whose context it gets."""
        self._check_closed()  # type: ignore[attr-defined]
        self._task_count += 1
        task = SimTask(coro, loop=self, number=self._task_count, name=name, context=context)
        if task.owner is not None and task.owner.is_dead:
            self._bury(task.owner, task)
        else:
            self._all_tasks[self._task_count] = task  # type: ignore[assignment]
        return task

    # Threads, which are not

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func` at some later time, answer at a still later one. Whatever the executor, they are all this."""
        future: asyncio.Future[T] = self.create_future()  # type: ignore[assignment]

        def settle(result: T | None, error: BaseException | None) -> None:
            self.trace.add(self._now, "pool answers", _name(func), type(error).__name__)
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            self.trace.add(self._now, "pool runs", _name(func))
            result: T | None = None
            error: BaseException | None = None
            try:
                with self._on_a_thread():
                    result = func(*args)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as raised:  # noqa: BLE001 - an executor hands on whatever was raised
                error = raised
            self.call_io(self._now + self._pool_delay(), settle, result, error)

        self.call_io(self._now + self._pool_delay(), work)
        return future

    async def shutdown_default_executor(self) -> None:  # type: ignore[override]
        """There is none."""

    def _pool_delay(self) -> float:
        return self.pool_delay_s_min + self.pool_delay_s_max * self.random.random() ** 3

    @contextmanager
    def _on_a_thread(self) -> Iterator[None]:
        # A real thread has no running loop and must not touch this one: whoever does so here hears of it.
        self._in_thread = True
        events._set_running_loop(None)  # noqa: SLF001 # type: ignore[attr-defined]
        try:
            yield
        finally:
            events._set_running_loop(self)  # noqa: SLF001 # type: ignore[attr-defined]
            self._in_thread = False

    @contextmanager
    def as_the_world(self) -> Iterator[None]:
        """Act on the loop from wherever the code runs, a simulated thread included: what the power does."""
        in_thread, self._in_thread = self._in_thread, False
        running = events._get_running_loop()  # noqa: SLF001 # type: ignore[attr-defined]
        events._set_running_loop(self)  # noqa: SLF001 # type: ignore[attr-defined]
        try:
            yield
        finally:
            events._set_running_loop(running)  # noqa: SLF001 # type: ignore[attr-defined]
            self._in_thread = in_thread

    def _check_not_in_thread(self) -> None:
        if self._in_thread:
            raise RuntimeError("a thread of the pool touches the loop other than by call_soon_threadsafe")

    # Network

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        **options: object,
    ) -> asyncio.AbstractServer:
        """Listen in the simulated network. TLS and ready-made sockets are not simulated."""
        _refuse_options(options, "ssl", "sock")
        assert self.network is not None, "this loop has no network"
        return await self.network.listen(protocol_factory, host, port or 0)

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        **options: object,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect in the simulated network. Raises ConnectionRefusedError when nobody listens."""
        _refuse_options(options, "ssl", "sock")
        assert self.network is not None, "this loop has no network"
        assert host is not None, "an address is needed"
        assert port is not None, "an address is needed"
        return await self.network.connect(protocol_factory, host, port)

    async def getaddrinfo(  # type: ignore[override]
        self, host: str | None, port: int, **options: object
    ) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]]:
        """Every name is this machine."""
        address = host if host and host[0].isdigit() else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]

    # Ends

    def drop_all_of(self, process: "Process") -> None:
        """Cancel what a dead process has queued, keep its coroutines from ever running again."""
        # Cancelled, not removed: the loop may be counting its way through the queue. And first the tasks are taken
        # hold of: a cancelled handle lets go of its callback, and with it may go the last reference to a coroutine.
        for task in list(self._all_tasks.values()):
            if task.owner is process:
                self._bury(process, task)
        for generator, owner in list(self._asyncgens_of.items()):
            if owner is process:
                self._asyncgens.discard(generator)  # type: ignore[attr-defined]
                self._graveyard_asyncgens.append(generator)
        for handle in (*self._ready, *self._scheduled):  # type: ignore[attr-defined]
            if owner_of(handle._context) is process:  # noqa: SLF001
                handle.cancel()

    def withhold_all_of(self, process: "Process") -> None:
        """Take what a process has queued out of the queue; its timers are withheld when they come due."""
        ready = self._ready  # type: ignore[attr-defined]
        for index, handle in enumerate(ready):
            if owner_of(handle._context) is process and not handle.cancelled():  # noqa: SLF001
                process.withheld.append(handle)
                # Replaced, not removed: the loop may be counting its way through the queue.
                ready[index] = self._dropped(_nothing, (), WORLD)

    def requeue(self, handles: Iterable[asyncio.Handle]) -> None:
        """Queue what was withheld."""
        self._ready.extend(handle for handle in handles if not handle.cancelled())  # type: ignore[attr-defined]

    def living_tasks(self) -> list[SimTask[object]]:
        """Tasks of the living that are not done, oldest first."""
        return [
            task
            for task in list(self._all_tasks.values())
            if not task.done() and (task.owner is None or not task.owner.is_dead)
        ]

    def close(self) -> None:
        """Close the loop, and then the coroutines of the dead: nothing that they do now reaches anybody."""
        was_closed = self.is_closed()
        super().close()
        if was_closed or not self._graveyard:
            return
        # The dead may say what they like in their `finally` blocks: it is no news.
        hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
        try:
            for process, task in self._graveyard:
                process.context.run(_close_quietly, task)
            self._graveyard.clear()
            self._graveyard_asyncgens.clear()
            gc.collect()
        finally:
            sys.unraisablehook = hook

    def _bury(self, process: "Process", task: SimTask[T]) -> None:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self._graveyard.append((process, task))  # type: ignore[arg-type]

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[object, object]) -> None:
        super()._asyncgen_firstiter_hook(agen)  # type: ignore[misc]
        self._asyncgens_of[agen] = PROCESS.get()

    def stacks(self) -> list[str]:
        """Where each living task waits."""
        return [f"  {task.get_name()} in {_where(task)}" for task in self.living_tasks()]

    # No real file or socket wakes this loop

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class Process:
    """Code that lives and dies together: a broker, a client."""

    def __init__(self, loop: SimLoop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.is_dead = False
        self.is_frozen = False
        self.withheld: list[asyncio.Handle] = []
        """What it would have run, were it not frozen."""
        self.belongings: dict[Belonging, None] = {}
        """In the order in which they were acquired."""
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)
        self._awaited: dict[asyncio.Future[object], None] = {}

    def __repr__(self) -> str:
        return f"<Process {self.name}{' (dead)' if self.is_dead else ''}>"

    @property
    def runs(self) -> bool:
        """Neither dead nor frozen."""
        return not (self.is_dead or self.is_frozen)

    def freeze(self) -> None:
        """SIGSTOP: no callback of it begins until it thaws."""
        if self.runs:
            self.is_frozen = True
            self.loop.trace.add(self.loop.time(), "freezes", self.name)
            self.loop.withhold_all_of(self)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was, however late it is."""
        if self.is_frozen and not self.is_dead:
            self.is_frozen = False
            self.loop.trace.add(self.loop.time(), "thaws", self.name)
            withheld, self.withheld = self.withheld, []
            self.loop.requeue(withheld)

    def start(self, coroutine: Coroutine[object, object, T]) -> asyncio.Future[T]:
        """Run a coroutine in this process. The caller's future raises ProcessDied when the process dies first."""
        outcome: asyncio.Future[T] = self.loop.create_future()  # type: ignore[assignment]
        if self.is_dead:
            coroutine.close()
            outcome.set_exception(ProcessDied(self.name))
            return outcome
        task = self.context.run(self.loop.create_task, coroutine)
        self._awaited[outcome] = None  # type: ignore[index]

        def relay(task: asyncio.Task[T]) -> None:
            self._awaited.pop(outcome, None)  # type: ignore[arg-type]
            if outcome.done():
                return
            if task.cancelled():
                outcome.cancel()
            elif (error := task.exception()) is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(task.result())

        task.add_done_callback(relay, context=WORLD)
        outcome.add_done_callback(lambda outcome: task.cancel() if outcome.cancelled() else None, context=WORLD)
        return outcome

    def call(self, function: Callable[[], T]) -> T:
        """Call a plain function in this process."""
        if self.is_dead:
            raise ProcessDied(self.name)
        return self.context.copy().run(function)

    def die(self, *, power_cut: bool = False) -> None:
        """`kill -9`, or the power fails: no further callback of it begins. Its peers notice in their own time."""
        if self.is_dead:
            return
        self.is_dead = True
        self.loop.trace.add(self.loop.time(), "dies", self.name, "power cut" if power_cut else "killed")
        self.loop.drop_all_of(self)
        with self.loop.as_the_world():
            self._tell_the_others(power_cut=power_cut)

    def _tell_the_others(self, *, power_cut: bool) -> None:
        belongings, self.belongings = self.belongings, {}
        for belonging in belongings:
            belonging.owner_died(power_cut=power_cut)
        awaited, self._awaited = self._awaited, {}
        for outcome in awaited:
            if not outcome.done():
                outcome.set_exception(ProcessDied(self.name))
                outcome.exception()  # whoever started it need not wait for it


def owner_of(context: contextvars.Context | None) -> Process | None:
    """The process that code in this context (None: the running code) belongs to."""
    return PROCESS.get() if context is None else context.get(PROCESS)


class _VirtualSelector:
    """Waits by moving the clock. Real files and sockets are refused."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = weakref.ref(loop)

    def select(self, timeout: float | None = None) -> list[NoReturn]:
        loop = self._loop()
        assert loop is not None
        loop.turn()
        return []

    def register(self, *arguments: object) -> NoReturn:
        raise RuntimeError("a simulation has no real files or sockets")

    modify = unregister = get_key = register

    def get_map(self) -> dict[int, NoReturn]:
        return {}

    def close(self) -> None:
        pass


def _collect_failure(loop: asyncio.AbstractEventLoop, report: dict[str, object]) -> None:
    assert isinstance(loop, SimLoop)
    owner = PROCESS.get()
    if isinstance(handle := report.get("handle"), asyncio.Handle):
        owner = owner_of(handle._context)  # type: ignore[attr-defined]  # noqa: SLF001
    for key in ("future", "task", "transport"):
        if key in report:
            owner = getattr(report[key], "owner", owner)
    if owner is None or not owner.is_dead:
        loop.failures.append(report)


def _close_quietly(task: asyncio.Task[object]) -> None:
    task._log_traceback = False  # type: ignore[attr-defined]  # noqa: SLF001
    coroutine = task.get_coro()
    for _ in range(100):  # a `finally` that awaits refuses the first close
        try:
            coroutine.close()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001, S112 - the last words of the dead
            continue
        return


def _nothing() -> None:
    pass


def _refuse_options(options: dict[str, object], *names: str) -> None:
    for name in names:
        if options.get(name):
            raise NotImplementedError(f"{name}= is not simulated")


def _name(callback: object) -> str:
    while isinstance(callback, functools.partial):
        callback = callback.func
    return getattr(callback, "__qualname__", type(callback).__name__)


def _where(task: asyncio.Task[object]) -> str:
    awaited: object = task.get_coro()
    place = "?"
    while True:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is None:
            return place
        place = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
