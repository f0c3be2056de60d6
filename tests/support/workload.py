"""A whole small world: a broker on a simulated machine, clients that use it, and somebody who breaks things.

`run_world` plays it: producers (acks=all, 1 and 0; idempotent or not; keys; codecs), readers that follow, readers that
go to the end and come back, somebody who creates and deletes topics; meanwhile the chaos: `kill -9`, power cuts,
between the broker's steps or in the middle of a disk call or of a recovery, broken and stalled connections, orderly
restarts, a wall clock that jumps. Then everything is healed: what is under way must come to an end, a last power cut
and start follow, and all logs are read.

What the clients did and saw is in the `History`; whether that was legal, `support.history.check` tells.
"""

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from tidelog.broker.config import BrokerConfig
from tidelog.client.client import Client
from tidelog.client.errors import BufferFull, OffsetOutOfRange, Retriable, TidelogError, TopicExists, TopicNotFound
from tidelog.client.records import Record, RecordMetadata

from .environment import simulate
from .history import Entry, FaultKind, History, Place, Read, Send, TopicChange, Violation, check
from .loop import Process, ProcessDied, SimLoop, Trace
from .stage import CLOCK_JUMP_MS_MAX, HEALING_S_MAX, HOST, PORT, Stage

SCRATCH = "scratch"
ACKS = {"all": -1, 1: 1, 0: 0}
CODECS = (None, None, "gzip", "snappy", "lz4", "zstd")
BURSTS = (1, 1, 2, 5, 10, 20)
PAUSE_S = 0.04
DELIVERY_TIMEOUT_S = 600.0
"""Longer than any run: a record that is not delivered by then says that something is stuck."""
FIRE_S_PER_SEND_MAX = 0.03
"""So long, in virtual time, the faults go on at most; then what is not done must get done without them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a seed plays."""

    sends: int = 2_000
    """Records of the producers together; readers and topics come on top."""
    producers: int = 3
    bounded_readers: int = 2
    scratch_rounds: int = 6
    faults_every_s: float = 0.25
    """Mean time between two faults."""
    power_cuts: bool = True
    deaths: bool = True
    """The broker is killed, and restarted in order."""
    clock_jump_ms_max: int = CLOCK_JUMP_MS_MAX
    clock_jumps_every_s: float = 0.0
    """Beside the jumps that are among the faults; 0 for none."""
    overrides: tuple[str, ...] = ()
    """Settings of the broker, beside those drawn from the seed."""
    unsynced: re.Pattern[str] | None = None
    """A planted bug: the sync of files of such a path does nothing."""
    unnumbered: bool = False
    """A planted bug: producers that are said to be idempotent do not number their batches."""


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of it."""

    history: History
    final: dict[Place, list[Entry]]
    digest: str
    events: int
    virtual_s: float
    boots: int
    disk_calls: int
    clock_jumps: int
    violations: list[Violation] = field(default_factory=list)


def run_world(seed: int, plan: Plan | None = None, *, debug: bool = False, trace: Trace | None = None) -> Played:
    """Play one seed and check it."""
    chosen = plan or Plan()
    played = simulate(lambda loop: World(loop, chosen).play(), seed=seed, debug=debug, trace=trace)
    played.violations = check(played.history, played.final)
    return played


class World:
    """The actors and the stage."""

    def __init__(self, loop: SimLoop, plan: Plan) -> None:
        self.loop = loop
        self.plan = plan
        self.history = History()
        self.random = loop.random_for("world")
        self.stage = Stage(
            loop,
            self.random,
            power_cuts=plan.power_cuts,
            deaths=plan.deaths,
            clock_jump_ms_max=plan.clock_jump_ms_max,
        )
        self.stage.network.on_fault = lambda _: self.history.fault("connection")
        self.machine = self.stage.machine
        self.machine.on_fault = self._note_fault
        self.machine.unsynced = plan.unsynced
        loop.pool_delay_s_max = self.random.choice((0.001, 0.003, 0.05))
        self.stage.config = self._draw_config()
        self.topics = {name: self.random.randint(1, 3) for name in ("orders", "events")}
        """Name to partitions; these are never deleted."""
        self.scratch_number = 0
        self._producers: dict[int, Process] = {}
        self._sent_count = [0] * plan.producers
        self._reached: dict[Place, int] = {}
        """Where the followers are."""

    def _note_fault(self, kind: FaultKind) -> None:
        self.history.fault(kind)

    def _draw_config(self) -> BrokerConfig:
        draw = self.random
        overrides = [
            f"listeners={HOST}:{PORT}",
            "http.listen=off",
            "data.dir=data",
            "auto.create.topics.enable=false",
            f"log.segment.bytes={draw.choice((4_096, 16_384, 65_536, 1 << 30))}",
            f"log.index.interval.bytes={draw.choice((0, 256, 4_096))}",
            f"log.flush.offset.checkpoint.interval.ms={draw.choice((50, 200, 1_000))}",
            f"connections.max.inflight.requests={draw.choice((2, 256))}",
        ]
        return BrokerConfig.load(overrides=[*overrides, *self.plan.overrides])

    # The play

    async def play(self) -> Played:
        """From the first boot to the last look."""
        final: dict[Place, list[Entry]] = {}
        # A group, so that a broker that cannot start ends the play with its error.
        async with asyncio.TaskGroup() as group:
            supervisor = group.create_task(self.stage.supervise())
            await self.stage.within(HEALING_S_MAX, self._create_topics(), "the topics are not created")
            strobe = group.create_task(self._strobe()) if self.plan.clock_jumps_every_s else None
            await self._work_under_fire()
            if strobe is not None:
                strobe.cancel()
            await self.stage.within(HEALING_S_MAX, self._look_at_the_end(final), "the logs cannot be read")
            supervisor.cancel()
            self.machine.kill()
        return Played(
            history=self.history,
            final=final,
            digest=self.loop.trace.digest(),
            events=self.loop.trace.count,
            virtual_s=self.loop.time(),
            boots=self.machine.boot_count,
            disk_calls=self.machine.disk_calls,
            clock_jumps=self.stage.clock_jumps,
        )

    async def _strobe(self) -> None:
        while True:
            await asyncio.sleep(self.plan.clock_jumps_every_s)
            self.stage.jump_clock()

    async def _create_topics(self) -> None:
        async with self.stage.client("creator") as client:
            for name, partitions in self.topics.items():
                config = {"message.timestamp.type": self.random.choice(("CreateTime", "LogAppendTime"))}
                create = partial(client.admin.create_topic, name, partitions=partitions, config=config)
                await self._settle(self.history.topic_change(name, creates=True), create)

    async def _work_under_fire(self) -> None:
        followers = [self.stage.actor(f"follower-{place}", self._follow(place)) for place in self._places()]
        workers: list[asyncio.Future[None]] = [
            asyncio.ensure_future(self._producer_lives(number)) for number in range(self.plan.producers)
        ]
        workers += [
            self.stage.actor(f"reader-{number}", self._read_to_the_end(number))
            for number in range(self.plan.bounded_readers)
        ]
        workers.append(self.stage.actor("scratcher", self._create_and_delete()))
        producers = workers[: self.plan.producers]
        await self.stage.chaos(
            every_s=self.plan.faults_every_s,
            seconds_max=FIRE_S_PER_SEND_MAX * self.plan.sends,
            is_over=lambda: all(producer.done() for producer in producers),
            more=[self._kill_producer],
        )
        self.stage.heal()
        await self.stage.within(HEALING_S_MAX, _all_done(workers), "the workers are not done")
        self.machine.cut_power() if self.plan.power_cuts else self.machine.kill()
        await self.stage.within(HEALING_S_MAX, self._follow_to_the_end(followers), "the followers are behind")

    async def _follow_to_the_end(self, followers: list[asyncio.Future[None]]) -> None:
        ends: dict[Place, int] = {}
        async with self.stage.client("surveyor") as client:
            for name in self.topics:
                offsets = await client.admin.list_offsets(name, dict.fromkeys(range(self.topics[name]), "latest"))
                ends.update({Place(name, partition): at.offset for partition, at in offsets.items()})
        while any(self._reached.get(place, 0) < end for place, end in ends.items()):
            for follower in followers:
                if follower.done():
                    follower.result()
            await asyncio.sleep(0.5)
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)

    async def _look_at_the_end(self, final: dict[Place, list[Entry]]) -> None:
        async with self.stage.client("auditor") as client:
            for topic in await client.admin.list_topics():
                name = self._name_in_history(topic.name)
                for partition in range(len(topic.partitions)):
                    reader = client.read(topic.name, start="earliest", end="now", partition=partition)
                    final[Place(name, partition)] = [entry_of(record) async for record in reader]

    # The clients

    def _kill_producer(self) -> None:
        alive = [process for process in self._producers.values() if not process.is_dead]
        if alive:
            self.history.fault("kill")
            self.random.choice(alive).die()

    def _places(self) -> list[Place]:
        return [Place(name, partition) for name, count in self.topics.items() for partition in range(count)]

    def _name_in_history(self, topic: str) -> str:
        return f"{SCRATCH}#{self.scratch_number}" if topic == SCRATCH else topic

    async def _producer_lives(self, number: int) -> None:
        """A producer that is started anew when it was killed; what it had not heard of by then, nobody knows."""
        life = 0
        while self._sent_count[number] < self.plan.sends // self.plan.producers:
            life += 1
            name = f"p{number}.{life}"
            process = self._producers[number] = Process(self.loop, name)
            with contextlib.suppress(ProcessDied):
                await process.start(self._produce(number, name))

    async def _produce(self, number: int, name: str) -> None:
        draw = self.loop.random_for(f"producer {name}")
        count = self.plan.sends // self.plan.producers
        acks: str | int = ("all", 1, "all", 0)[number % 4]
        idempotent = acks == "all" and (number == 0 or draw.random() < 0.5)
        outcomes: list[asyncio.Future[RecordMetadata]] = []
        async with self.stage.client(name) as client:
            producer = client.producer(
                acks=acks,
                idempotent=idempotent and not self.plan.unnumbered,
                compression=draw.choice(CODECS),
                linger=draw.choice((0.0, 0.005)),
                max_batch=draw.choice((2_000, 1 << 20)),
                delivery_timeout=DELIVERY_TIMEOUT_S,
            )
            async with producer:
                while self._sent_count[number] < count:
                    for _ in range(min(draw.choice(BURSTS), count - self._sent_count[number])):
                        send = self._draw_send(draw, name, ACKS[acks], idempotent=idempotent)
                        self._sent_count[number] += 1
                        try:
                            future = producer.send_nowait(
                                send.topic, send.value, key=send.key, partition=send.partition
                            )
                        except BufferFull:
                            self.history.over(send, "fail")
                            await asyncio.sleep(0.01)
                        else:
                            future.add_done_callback(partial(self._sent, send))
                            outcomes.append(future)
                    if draw.random() < 0.1:
                        await producer.flush()
                    await asyncio.sleep(draw.expovariate(1 / PAUSE_S))
                await asyncio.gather(*outcomes, return_exceptions=True)

    def _draw_send(self, draw: random.Random, name: str, acks: int, *, idempotent: bool) -> Send:
        topic = draw.choice(list(self.topics))
        partition = draw.randrange(self.topics[topic]) if draw.random() < 0.3 else None
        key = None if partition is not None or draw.random() < 0.3 else b"key %d" % draw.randrange(20)
        value = b"%s %d %s" % (name.encode(), len(self.history.sends), b"." * _size(draw))
        return self.history.send(
            producer=name,
            topic=topic,
            key=key,
            value=value,
            acks=acks,
            partition=partition,
            idempotent=idempotent,
        )

    def _sent(self, send: Send, future: asyncio.Future[RecordMetadata]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.history.over(send, "info")
            return
        metadata = future.result()
        self.history.acknowledged(send, metadata.partition, metadata.offset if metadata.offset >= 0 else None)

    async def _follow(self, place: Place) -> None:
        position = 0
        name = f"follower-{place}"
        async with self.stage.client(name) as client:
            while True:
                read = self.history.read(reader=name, place=place, start=position, is_bounded=False)
                reader = client.read(place.topic, start=position, partition=place.partition)
                await self._go_through(read, reader)
                position = self._reached.get(place, 0)
                await asyncio.sleep(0.1)

    async def _read_to_the_end(self, number: int) -> None:
        draw = self.loop.random_for(f"reader {number}")
        name = f"reader-{number}"
        async with self.stage.client(name) as client:
            while self.stage.is_working:
                place = draw.choice(self._places())
                if draw.random() < 0.3:
                    await self._ask_for_the_end(client, place)
                start = draw.randint(0, self._highest_seen(place)) if draw.random() < 0.5 else 0
                read = self.history.read(reader=name, place=place, start=start, is_bounded=True)
                await self._go_through(
                    read, client.read(place.topic, start=start, end="now", partition=place.partition)
                )
                await asyncio.sleep(draw.expovariate(1 / 0.2))

    def _highest_seen(self, place: Place) -> int:
        return max((r.seen[-1][1].offset for r in self.history.reads[-20:] if r.place == place and r.seen), default=0)

    async def _ask_for_the_end(self, client: Client, place: Place) -> None:
        invoked = self.history.now()
        with contextlib.suppress(TidelogError):
            offsets = await client.admin.list_offsets(place.topic, {place.partition: "latest"})
            self.history.end_seen(place, offsets[place.partition].offset, invoked=invoked)

    async def _go_through(self, read: Read, reader: AsyncIterable[Record]) -> None:
        try:
            async for record in reader:
                assert (record.topic, record.partition) == (read.place.topic.partition("#")[0], read.place.partition)
                self.history.saw(read, entry_of(record))
                if not read.is_bounded:
                    self._reached[read.place] = record.offset + 1
        except OffsetOutOfRange:
            self.history.over(read, "fail")
        except TidelogError:
            self.history.over(read, "info")
        else:
            self.history.over(read, "ok")

    async def _create_and_delete(self) -> None:
        async with (
            self.stage.client("scratcher") as client,
            client.producer(delivery_timeout=DELIVERY_TIMEOUT_S) as producer,
        ):
            for number in range(1, self.plan.scratch_rounds + 1):
                self.scratch_number = number
                name = f"{SCRATCH}#{number}"
                create = partial(client.admin.create_topic, SCRATCH, partitions=1)
                await self._settle(self.history.topic_change(name, creates=True), create)
                for index in range(3):
                    value = b"%s %d" % (name.encode(), index)
                    send = self.history.send(
                        producer="scratcher", topic=name, key=None, value=value, acks=-1, partition=0, idempotent=True
                    )
                    try:
                        metadata = await producer.send(SCRATCH, value, partition=0)
                    except TidelogError:
                        self.history.over(send, "info")
                    else:
                        self.history.acknowledged(send, metadata.partition, metadata.offset)
                read = self.history.read(reader="scratcher", place=Place(name, 0), start=0, is_bounded=True)
                await self._go_through(read, client.read(SCRATCH, start=0, end="now", partition=0))
                if number < self.plan.scratch_rounds:
                    delete = partial(client.admin.delete_topic, SCRATCH)
                    await self._settle(self.history.topic_change(name, creates=False), delete)

    async def _settle(self, change: TopicChange, attempt: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await attempt()
            except (TopicExists, TopicNotFound) as error:
                if isinstance(error, TopicExists) is not change.creates:
                    raise
                break  # an earlier attempt, whose answer was lost, has done it
            except Retriable:
                continue
            break
        self.history.over(change, "ok")


def entry_of(record: Record) -> Entry:
    """What the history keeps of a record."""
    return Entry(record.offset, record.key, record.value)


def _size(draw: random.Random) -> int:
    return draw.choice((0, 10, 100, 100, 300, 3_000))


async def _all_done(workers: Iterable[asyncio.Future[None]]) -> None:
    await asyncio.gather(*workers)
