"""Groups in a simulated world: members of both protocols and consumers of the thin client, while all things break.

`run_groups` plays it: a producer (acks=all) writes into a topic that grows; three groups read it. Members are killed
and started again, frozen and thawed, leave in order and come back; the broker is killed and restarted, the power fails,
the network breaks, the clock jumps. Then everything is healed, a last power cut follows, and each group has to come to
the end of every partition.

What members did and saw is in a `GroupHistory`; whether that was legal, `support.group_timeline.check_groups` tells.
"""

import asyncio
import contextlib
import random
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field

from tidelog.broker.config import BrokerConfig
from tidelog.client.config import Address, ClientConfig
from tidelog.client.consumer import Batch, Consumer
from tidelog.client.errors import PartitionsLost, Retriable, TidelogError, TopicExists
from tidelog.client.records import RecordMetadata, TopicPartition

from .environment import simulate, wall_clock_ms
from .group_lines import BrokerSource, NetworkLine
from .group_members import ClassicMember, Hands, ModernMember, Persona
from .group_timeline import GroupHistory, check_groups
from .history import FaultKind, Violation
from .loop import Process, ProcessDied, SimLoop, Trace
from .stage import HEALING_S_MAX, HOST, PORT, Stage
from .transport import Endpoint

TOPIC = "events"
SESSION_S = 6.0
REBALANCE_S = 3.0
HEARTBEAT_S = 0.5
FREEZE_S_MAX = 2 * SESSION_S
PAUSE_S = 0.05
BURST_MAX = 8
CATCHING_UP_S_MAX = 60.0
CLASSIC, MODERN, THIN = "classic", "modern", "thin"
SEATS = (
    (CLASSIC, False),
    (CLASSIC, False),
    (CLASSIC, True),
    (MODERN, False),
    (MODERN, True),
    (THIN, False),
    (THIN, True),
)
"""The groups' members, and whether they are static ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """What a seed plays."""

    fire_s: float = 60.0
    """So long, in virtual time, things break."""
    faults_every_s: float = 0.7
    """Mean time between two faults."""
    power_cuts: bool = True
    deaths: bool = True
    overrides: tuple[str, ...] = ()
    """Settings of the broker, beside those drawn from the seed."""
    pool_delay_s_max: float | None = None
    """How long a call of the pool, a sync too, may wait for its turn; None: drawn from the seed."""
    unsynced: re.Pattern[str] | None = None
    """A planted bug: the sync of files of such a path does nothing."""


@dataclass(slots=True, kw_only=True)
class PlayedGroups:
    """What came of it."""

    history: GroupHistory
    logs: dict[int, list[int]]
    happened: Counter[str]
    digest: str
    virtual_s: float
    boots: int
    violations: list[Violation] = field(default_factory=list)


def run_groups(
    seed: int, plan: GroupPlan | None = None, *, debug: bool = False, trace: Trace | None = None
) -> PlayedGroups:
    """Play one seed and check it."""
    chosen = plan or GroupPlan()
    played = simulate(lambda loop: GroupWorld(loop, chosen).play(), seed=seed, debug=debug, trace=trace)
    played.violations = check_groups(played.history, played.logs)
    return played


@dataclass(slots=True, eq=False)
class Seat:
    """Where one member after the other sits."""

    number: int
    group_id: str
    is_static: bool
    lives: int = 0
    process: Process | None = None
    member: ClassicMember | ModernMember | None = None
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        """Of who sits there now."""
        return f"{self.group_id}{self.number}.{self.lives}"

    @property
    def instance_id(self) -> str | None:
        """Of a static member, the same in each life."""
        return f"{self.group_id}{self.number}" if self.is_static else None


class GroupWorld:
    """The actors and the stage."""

    def __init__(self, loop: SimLoop, plan: GroupPlan) -> None:
        self.loop = loop
        self.plan = plan
        self.history = GroupHistory()
        self.random = loop.random_for("groups")
        self.happened: Counter[str] = Counter()
        self.stage = Stage(loop, self.random, power_cuts=plan.power_cuts, deaths=plan.deaths)
        self.stage.machine.on_fault = self._note_fault
        self.stage.machine.unsynced = plan.unsynced
        loop.pool_delay_s_max = plan.pool_delay_s_max or self.random.choice((0.001, 0.003, 0.05))
        self.stage.config = self._draw_config()
        self.partitions = self.random.randint(2, 5)
        self.seats = [Seat(number, *seat) for number, seat in enumerate(SEATS)]
        self._is_over = False

    def _note_fault(self, kind: FaultKind) -> None:
        self.happened[kind] += 1

    def _draw_config(self) -> BrokerConfig:
        draw = self.random
        overrides = [
            f"listeners={HOST}:{PORT}",
            "http.listen=off",
            "data.dir=data",
            "auto.create.topics.enable=false",
            f"offsets.topic.num.partitions={draw.choice((1, 2, 4))}",
            f"group.initial.rebalance.delay.ms={draw.choice((0, 0, 500))}",
            f"group.consumer.session.timeout.ms={int(SESSION_S * 1000)}",
            f"group.consumer.min.session.timeout.ms={int(SESSION_S * 1000)}",
            f"group.consumer.heartbeat.interval.ms={int(HEARTBEAT_S * 1000)}",
            f"group.consumer.min.heartbeat.interval.ms={int(HEARTBEAT_S * 1000)}",
            f"log.flush.offset.checkpoint.interval.ms={draw.choice((50, 200, 1_000))}",
        ]
        return BrokerConfig.load(environ={}, overrides=[*overrides, *self.plan.overrides])

    # The play

    async def play(self) -> PlayedGroups:
        """From the first boot to the last look."""
        for seat in self.seats:
            self.history.group(seat.group_id, has_common_generation=seat.group_id == CLASSIC)
        async with asyncio.TaskGroup() as group:
            supervisor = group.create_task(self.stage.supervise())
            await self.stage.within(HEALING_S_MAX, self._create_topic(), "the topic is not created")
            lives = [group.create_task(self._sit(seat)) for seat in self.seats]
            working = self.stage.actor("producer", self._produce())
            growing = self.stage.actor("grower", self._grow())
            await self.stage.chaos(
                every_s=self.plan.faults_every_s,
                seconds_max=self.plan.fire_s,
                is_over=lambda: False,
                more=[*[self._kill_one] * 3, *[self._freeze_one] * 4, *[self._have_one_leave] * 3],
            )
            self.stage.heal()
            for seat in self.seats:
                if seat.process is not None:
                    seat.process.thaw()
            await self.stage.within(HEALING_S_MAX, working, "the producer is not done")
            await self.stage.within(HEALING_S_MAX, growing, "the topic does not grow")
            self.stage.machine.cut_power() if self.plan.power_cuts else self.stage.machine.kill()
            logs: dict[int, list[int]] = {}
            await self.stage.within(HEALING_S_MAX, self._read_logs(logs), "the logs cannot be read")
            await self.stage.within(CATCHING_UP_S_MAX, self._until_all_is_read(lives, logs), "the groups are behind")
            await self.stage.within(HEALING_S_MAX, self._ask_for_offsets(), "offsets are not told")
            self._is_over = True
            for life in lives:
                life.cancel()
            supervisor.cancel()
            self.stage.machine.kill()
        return PlayedGroups(
            history=self.history,
            logs=logs,
            happened=self.happened,
            digest=self.loop.trace.digest(),
            virtual_s=self.loop.time(),
            boots=self.stage.machine.boot_count,
        )

    async def _create_topic(self) -> None:
        async with self.stage.client("creator") as client:
            while True:
                try:
                    await client.admin.create_topic(TOPIC, partitions=self.partitions)
                except TopicExists:
                    return
                except Retriable:
                    continue
                return

    async def _grow(self) -> None:
        async with self.stage.client("grower") as client:
            await asyncio.sleep(self.plan.fire_s * (0.3 + 0.4 * self.random.random()))
            wanted = self.partitions + self.random.randint(1, 3)
            while self.partitions < wanted:
                with contextlib.suppress(TidelogError):  # an attempt whose answer was lost has perhaps done it
                    await client.admin.create_partitions(TOPIC, wanted)
                with contextlib.suppress(Retriable):
                    self.partitions = len((await client.admin.describe_topic(TOPIC)).partitions)

    async def _produce(self) -> None:
        draw = self.loop.random_for("producer")
        async with self.stage.client("producer") as client, client.producer(delivery_timeout=600.0) as producer:
            number, partitions = 0, self.partitions
            while self.stage.is_working:
                if partitions < self.partitions:  # which a producer learns by itself only after minutes
                    with contextlib.suppress(Retriable):
                        partitions = len((await client.admin.describe_topic(TOPIC)).partitions)
                for _ in range(draw.randint(1, BURST_MAX)):
                    number += 1
                    outcome = producer.send_nowait(TOPIC, b"%d" % number, partition=draw.randrange(partitions))
                    outcome.add_done_callback(_never_mind)
                await asyncio.sleep(draw.expovariate(1 / PAUSE_S))

    async def _read_logs(self, logs: dict[int, list[int]]) -> None:
        async with self.stage.client("auditor") as client:
            for partition in range(self.partitions):
                reader = client.read(TOPIC, start="earliest", end="now", partition=partition)
                logs[partition] = [zlib.crc32(record.value or b"") async for record in reader]

    async def _until_all_is_read(self, lives: list[asyncio.Task[None]], logs: dict[int, list[int]]) -> None:
        groups = self.history.groups.values()
        while any(group.reached.get(one, 0) < len(sums) for group in groups for one, sums in logs.items()):
            for life in lives:
                if life.done():
                    life.result()
            await asyncio.sleep(0.5)

    async def _ask_for_offsets(self) -> None:
        async with self.stage.client("surveyor") as client:
            for group_id in self.history.groups:
                invoked = self.history.now()
                offsets = await client.admin.groups.offsets(group_id)
                told = dict.fromkeys(range(self.partitions), -1)
                told |= {place.partition: found.offset for place, found in offsets.items()}
                self.history.told(group_id, "surveyor", told, invoked=invoked)

    # What happens to members

    def _seated(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.process is not None and seat.process.runs]

    def _kill_one(self) -> None:
        if seats := self._seated():
            process = self.random.choice(seats).process
            assert process is not None
            self.happened["member killed"] += 1
            process.die()

    def _freeze_one(self) -> None:
        if seats := self._seated():
            process = self.random.choice(seats).process
            assert process is not None
            self.happened["member frozen"] += 1
            seconds = self.random.random() * FREEZE_S_MAX
            process.freeze()
            for belonging in process.belongings:
                if isinstance(belonging, Endpoint):
                    belonging.connection.stall(seconds)
            self.loop.call_later(seconds, process.thaw)

    def _have_one_leave(self) -> None:
        if seats := self._seated():
            seat = self.random.choice(seats)
            self.happened["member leaves"] += 1
            seat.leaving.set()
            if seat.member is not None:
                seat.member.is_leaving = True

    # Members

    async def _sit(self, seat: Seat) -> None:
        """One life after the other."""
        while not self._is_over:
            seat.lives += 1
            seat.leaving.clear()
            process = seat.process = Process(self.loop, seat.name)
            live = self._consume(seat) if seat.group_id == THIN else self._live(seat)
            with contextlib.suppress(ProcessDied):
                await process.start(live)
            seat.process = seat.member = None
            process.die()
            await asyncio.sleep(self.random.random() * (3 if self.stage.is_working else 0.5))

    async def _live(self, seat: Seat) -> None:
        chance = self.loop.random_for(f"member {seat.name}")
        persona = Persona(
            group_id=seat.group_id,
            name=seat.name,
            topic=TOPIC,
            instance_id=seat.instance_id,
            session_s=SESSION_S,
            rebalance_s=REBALANCE_S,
            heartbeat_s=HEARTBEAT_S,
        )
        address = Address(HOST, PORT)
        config = ClientConfig(
            servers=(address,), client_id=seat.name, now_ms=lambda: wall_clock_ms(self.loop), random=chance
        )
        line = NetworkLine(address, config)
        hands = Hands(persona, line, BrokerSource(line, TOPIC), self.history)
        member = seat.member = (ClassicMember if seat.group_id == CLASSIC else ModernMember)(hands, chance)
        await member.live()
        line.drop()

    async def _consume(self, seat: Seat) -> None:
        """A program with the thin client."""
        async with self.stage.client(seat.name) as client:
            while not seat.leaving.is_set():
                program = ThinProgram(self.history, seat, self.loop.random_for(f"program {seat.name}"))
                consumer = client.consumer(
                    TOPIC,
                    group=seat.group_id,
                    commit="manual",
                    instance_id=seat.instance_id,
                    rebalance_timeout=REBALANCE_S,
                    max_wait=0.1,
                    on_assign=program.assigned,
                )
                program.consumer = consumer
                with contextlib.suppress(Retriable):
                    async with consumer:
                        await program.read()


class ThinProgram:
    """Reads batches, and commits most of them."""

    def __init__(self, history: GroupHistory, seat: Seat, chance: random.Random) -> None:
        self._history = history
        self._seat = seat
        self._chance = chance
        self._who = seat.instance_id or seat.name
        self.consumer: Consumer[bytes, bytes] | None = None
        self._generations: dict[int, int] = {}

    @property
    def _epoch(self) -> int:
        assert self.consumer is not None
        return self.consumer._session.membership.epoch  # noqa: SLF001 - programs need not know it; the judge must

    def assigned(self, partitions: list[TopicPartition]) -> None:
        """The consumer was given these."""
        numbers = [partition.partition for partition in partitions]
        self._generations |= dict.fromkeys(numbers, self._epoch)
        self._history.given(self._seat.group_id, self._who, self._epoch, numbers)

    async def read(self) -> None:
        """Until it is to leave."""
        assert self.consumer is not None
        async for batch in self.consumer.batches(max_records=20, max_wait=0.05):
            self._delivered(batch)
            if self._chance.random() < 0.3:
                await self._commit(batch)
            if self._seat.leaving.is_set():
                return

    def _delivered(self, batch: Batch[bytes, bytes]) -> None:
        runs: dict[int, tuple[int, list[int]]] = {}
        for record in batch:
            first, sums = runs.setdefault(record.partition, (record.offset, []))
            assert record.offset == first + len(sums), "a batch has each partition's records one after the other"
            sums.append(zlib.crc32(record.value or b""))
        for partition, (first, sums) in runs.items():
            generation = self._generations[partition]
            self._history.delivered(
                self._seat.group_id, self._who, generation, partition=partition, first=first, sums=sums
            )

    async def _commit(self, batch: Batch[bytes, bytes]) -> None:
        offsets = {holding.name.partition: end for holding, end in batch.ends.items()}
        commits = self._history.committing(self._seat.group_id, self._who, self._epoch, offsets)
        try:
            await batch.commit()
        except (Retriable, PartitionsLost):
            self._history.committed(commits, "info")
        except BaseException:
            self._history.committed(commits, "info")
            raise
        else:
            self._history.committed(commits, "ok")


def _never_mind(outcome: asyncio.Future[RecordMetadata]) -> None:
    if not outcome.cancelled():
        outcome.exception()
