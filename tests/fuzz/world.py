"""A whole broker on the bench, a crowd of strangers at its door, and an honest client among them.

The strangers' bytes go into the broker's own connection objects; the loop and the disk are simulated, so a fault is
repeated by its seed. After each handful of inputs: every one of them was answered or sent away within a second of
virtual time, nothing was raised that nobody caught, nothing was logged as an error. A world ends with a stop, a start
on the same disk, and the honest client reading everything once more.

What a stranger may legally do is no fault, and is kept from doing harm by `generator.py`; topics that pile up are
deleted at the end of each round.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from support.bench import a_simulated_config
from support.disk import SimulatedDisk
from support.environment import raise_failures
from support.loop import SimLoop
from tidelog.broker.server import Server
from tidelog.protocol.apis import APIS, ApiKey
from tidelog.protocol.errors import RequestRefused

from .doorstep import Doorstep, Visitor
from .generator import TOPICS, Palette
from .honest import HonestClient
from .inputs import Input, Inputs

GROUP = 8
"""Inputs at a time: each on a connection of its own, all in the same instant."""
ROUND = 1_000
"""Inputs until the topics are made anew, and time passes."""
HONEST_EVERY = 10
"""Groups for each record of the honest client."""
ROUND_S = 61.0
ANSWER_S = 1.0
STEP_S = 0.001
LINGER_RATE = 0.04
PATIENT = frozenset({ApiKey.JOIN_GROUP, ApiKey.SYNC_GROUP, ApiKey.CONSUMER_GROUP_HEARTBEAT})
"""Who says at once that nothing follows is not kept waiting for other members. Half of these stay, to be answered."""
LINGERERS_MAX = 40
DEAF_RATE = 0.02
LOG_LINE_MAX = 2_000


class Fault(AssertionError):
    """What must not happen, and by which bytes."""


@dataclass(kw_only=True)
class Tally:
    """What was played."""

    inputs: int = 0
    decoded: int = 0
    """Inputs of which at least one request was understood."""
    answered: int = 0
    """Inputs that were answered with at least a byte; the others were sent away, or had no answer due."""
    waiting: int = 0
    """Inputs that had to wait for their own first request, a long fetch, longer than they stayed."""
    slowest_s: float = 0.0
    """What the slowest handful took of real time, to be read by people."""
    slowest: str = ""
    honest_records: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    well_answered: Counter[str] = field(default_factory=Counter)
    """Requests answered without an error at their top, by API."""

    def add(self, other: Tally) -> None:
        """Both together."""
        self.inputs += other.inputs
        self.decoded += other.decoded
        self.answered += other.answered
        self.waiting += other.waiting
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest = other.slowest_s, other.slowest
        self.honest_records += other.honest_records
        self.kinds += other.kinds
        self.well_answered += other.well_answered


class Listening(logging.Handler):
    """Hears every log line, formatted: errors are faults, and so are lines that a stranger could fill."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        line = record.getMessage()
        if record.levelno >= logging.ERROR or record.exc_info:
            self.faults.append(logging.Formatter("%(levelname)s %(name)s %(message)s").format(record))
        elif len(line) > LOG_LINE_MAX or not line.isprintable():
            self.faults.append(f"a stranger's words in the log: {line[:300]!r}")

    def __enter__(self) -> Self:
        root = logging.getLogger()
        root.addHandler(self)
        self._level, self._tidelog_level = root.level, logging.getLogger("tidelog").level
        root.setLevel(logging.WARNING)
        logging.getLogger("tidelog").setLevel(logging.WARNING)
        return self

    def __exit__(self, *exception: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)
        logging.getLogger("tidelog").setLevel(self._tidelog_level)


class World:
    """One broker's life under fuzz."""

    def __init__(self, seed: int, loop: SimLoop, listening: Listening) -> None:
        self.tally = Tally()
        self._seed = seed
        self._loop = loop
        self._listening = listening
        self._rng = random.Random(f"world {seed}")
        self._palette = Palette()
        self._inputs = Inputs(seed, self._palette)
        self._disk = SimulatedDisk(seed)
        self._doorstep = Doorstep(loop, self._disk, seed)
        self._server = self._new_server()
        self._lingering: list[Visitor] = []
        self._answers_read = itertools.count()
        self._bytes_understood = 0

    async def play(self, count: int) -> None:
        """So many inputs, then a restart. Raises Fault."""
        await self._server.start()
        honest = HonestClient(self._doorstep.enter)
        await honest.create_own()
        while self.tally.inputs < count:
            await self._begin_round(honest)
            for number in range(ROUND // GROUP):
                await self._group(honest if number % HONEST_EVERY == 0 else None)
            await honest.consume()
            await self._end_round()
        self.tally.honest_records = len(honest.acknowledged)
        for api in APIS.values():
            self.tally.well_answered[api.name] += self._server.metrics.api(api.key).requests[0]
        await self._restart(honest)

    # A round

    async def _begin_round(self, honest: HonestClient) -> None:
        await honest.delete_others()
        await honest.create(TOPICS, partitions=2)
        self._palette.topic_ids[:] = [topic.topic_id for topic in await honest.others()]

    async def _group(self, honest: HonestClient | None) -> None:
        record = honest.send_record() if honest else None
        group = [self._inputs.next() for _ in range(GROUP)]
        began = time.perf_counter()
        try:
            visits = [(self._visit(entry), entry) for entry in group]
            await self._until_gone([visitor for visitor, _ in visits])
            for visitor, entry in visits:
                self._read_answer(visitor, entry)
            self._check()
        except Exception as error:
            raise Fault(self._told(group)) from error
        took_s = time.perf_counter() - began
        if took_s > self.tally.slowest_s:
            self.tally.slowest_s = took_s
            self.tally.slowest = f"seed {self._seed}, before input {self.tally.inputs}"
        if honest and record:
            await honest.acknowledge(record)

    async def _end_round(self) -> None:
        """The time passes after which somebody is idle, late, or forgotten."""
        await asyncio.sleep(ROUND_S)
        leaving, self._lingering = self._lingering, []
        for visitor in leaving:
            visitor.take_again()
            if self._rng.random() < 0.5:
                visitor.reset()
            else:
                visitor.end()
        await self._until_gone(leaving)
        self._check()

    async def _restart(self, honest: HonestClient) -> None:
        """A clean stop, and a start on what the fuzz has left behind."""
        await self._server.stop()
        self._server = self._new_server()
        await self._server.start()
        honest.reconnect()
        await honest.consume_again()
        await self._server.stop()
        self._check()

    def _new_server(self) -> Server:
        return Server(a_simulated_config(), self._doorstep)

    # An input

    def _visit(self, entry: Input) -> Visitor:
        rng = self._rng
        draw = rng.random()
        visitor = self._doorstep.enter()
        if draw < DEAF_RATE:
            visitor.take_nothing()
        for piece in entry.pieces():
            visitor.say(piece)
        self.tally.inputs += 1
        self.tally.kinds[entry.kind] += 1
        understood = sum([self._server.metrics.api(key).request_bytes for key in APIS])
        if understood > self._bytes_understood:
            self._bytes_understood = understood
            self.tally.decoded += 1
        if draw < DEAF_RATE:
            visitor.take_again()
        elif draw > 1 - (0.5 if entry.asked and entry.asked[1].api.key in PATIENT else LINGER_RATE):
            self._linger(visitor)
            return visitor
        visitor.end()
        return visitor

    def _linger(self, visitor: Visitor) -> None:
        """Stay, as one does who waits for a fetch or has sent half a frame."""
        self._lingering.append(visitor)
        if len(self._lingering) > LINGERERS_MAX:
            self._lingering.pop(self._rng.randrange(LINGERERS_MAX)).reset()

    async def _until_gone(self, visitors: list[Visitor]) -> None:
        deadline = self._loop.time() + ANSWER_S
        while True:
            await asyncio.sleep(STEP_S)
            left = [visitor for visitor in visitors if not visitor.is_gone and visitor not in self._lingering]
            if not left:
                return
            if self._loop.time() > deadline:
                break
        for visitor in left:
            # Behind a fetch that waits as long as it asked for lies a request that is not read yet, and behind that
            # the end, which nobody can see.
            if visitor.is_reading():
                raise Fault("an input was neither answered nor sent away")
            self.tally.waiting += 1
            self._linger(visitor)

    def _read_answer(self, visitor: Visitor, entry: Input) -> None:
        """Of a flawless request: one answer at most, and its client can read it."""
        self.tally.answered += bool(visitor.heard)
        if entry.asked is None or not visitor.heard:
            return
        wire, header = entry.asked
        heard = visitor.heard
        size = int.from_bytes(heard[:4], "big")
        if size != len(heard) - 4:
            raise Fault(f"{len(heard)} bytes answer one request, of which the first frame claims {size}")
        frame = memoryview(heard)[4:]
        if wire.correlation_id(frame) != header.correlation_id:
            raise Fault("an answer to somebody else")
        if next(self._answers_read) % 4 == 0 or header.api.key in PATIENT:
            try:
                self._palette.learn(wire.decode_response(header, frame), entry.request)
            except RequestRefused:
                return

    def _check(self) -> None:
        raise_failures(self._loop)
        if self._listening.faults:
            faults, self._listening.faults = self._listening.faults, []
            raise Fault("\n".join(faults[:5]))

    def _told(self, group: list[Input]) -> str:
        told = [f"{entry.kind}: {entry.data.hex() if len(entry.data) < 2_000 else len(entry.data)}" for entry in group]
        return "\n".join((f"seed {self._seed}, after {self.tally.inputs} inputs, one of these:", *told))


def play_world(seed: int, count: int) -> Tally:
    """One world. Raises Fault, or whatever the broker or the honest client raises; both say the seed."""
    loop = SimLoop(seed)
    with Listening() as listening:
        world = World(seed, loop, listening)
        try:
            loop.run_until_complete(world.play(count))
        except BaseException as error:
            error.add_note(f"seed {seed}: {world.tally.inputs} inputs were played")
            raise
        finally:
            loop.close()
    return world.tally
