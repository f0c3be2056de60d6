"""The wall clock jumps by hours and days, strobes or stands still: nothing that is promised depends on it [A16].

Sessions and delays are timed by a clock that never jumps; the times that are stamped into records never go back; and
the state that keeps a retry from being written twice is not forgotten because a clock was set forward.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import pytest

from support.bench import a_simulated_config
from support.builders import a_batch, records_of
from support.disk import SimulatedDisk
from support.environment import Machine, simulate
from support.groups import commit, join_alone
from support.house import House
from support.loop import SimLoop
from support.proofs import record
from support.workload import Plan, run_world
from tidelog.broker.server import Server
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
)
from tidelog.protocol.messages.produce import PartitionProduceResponse

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
JUMPS_MS = (HOUR_MS, -HOUR_MS, DAY_MS, -DAY_MS, 3 * DAY_MS, -3 * DAY_MS)
STROBE_HZ = 10
STROBE_S = 60
WORLDS = 20 if os.environ.get("TIDELOG_PROOF") else 4


@dataclass
class Scene:
    """A broker on a machine whose clock can be set."""

    loop: SimLoop
    machine: Machine
    house: House
    jumps: int = 0

    def jump(self, by_ms: int) -> None:
        """Set the clock."""
        self.machine.skew_ms += by_ms
        self.jumps += 1

    async def stand_still(self, seconds: float) -> None:
        """Time passes, and the clock does not notice, but once a tenth of a second is set back to where it was."""
        for _ in range(int(seconds * STROBE_HZ)):
            await asyncio.sleep(1 / STROBE_HZ)
            self.jump(-1000 // STROBE_HZ)

    async def strobe(self) -> None:
        """A day forward, a day back, ten times a second."""
        for number in range(STROBE_HZ * STROBE_S):
            self.jump(DAY_MS if number % 2 else -DAY_MS)
            await asyncio.sleep(1 / STROBE_HZ)

    async def produce(self, *, producer_id: int = -1, sequence: int = -1) -> PartitionProduceResponse:
        """One record."""
        epoch = -1 if producer_id < 0 else 0
        batch = a_batch([b"x"], producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)
        outcome = await self.house.produce("orders", batch)
        assert isinstance(outcome, PartitionProduceResponse)
        assert outcome.error_code == ErrorCode.NONE, outcome
        return outcome

    def times(self) -> list[int]:
        """Of all records, in their order."""
        topic = self.house.server.topics.by_name("orders")
        assert topic is not None
        read = topic.partitions[0].read(0, size_max=1 << 20, at_least_one=True)
        return [one.timestamp for one in records_of(read.records)]


def played(program: Callable[[Scene], Coroutine[object, object, None]], **configs: str) -> None:
    """Run it with a broker that has the topic `orders`."""

    async def play(loop: SimLoop) -> int:
        machine = Machine(loop, SimulatedDisk(loop.seed))
        environment = machine.boot()
        server = Server(a_simulated_config("offsets.topic.num.partitions=1"), environment)
        await environment.process.start(server.start())
        scene = Scene(loop, machine, House(server))
        await scene.house.create("orders", 1, **configs)
        await program(scene)
        await environment.process.start(server.stop())
        machine.kill()
        return scene.jumps

    jumps = simulate(play, seed=1)
    record("clocks", part=program.__name__, size=jumps, lost=0)


def test_append_times_never_go_back() -> None:
    async def stamped(scene: Scene) -> None:
        answered = []
        for by_ms in (0, *JUMPS_MS):
            scene.jump(by_ms)
            for _ in range(3):
                answered.append((await scene.produce()).log_append_time_ms)
                await asyncio.sleep(0.5)
        times = scene.times()
        assert times == sorted(times)
        assert times == answered, "what producers are told is what is stamped"

    played(stamped, message_timestamp_type="LogAppendTime")


def test_append_times_never_go_back_over_a_restart() -> None:
    async def play(loop: SimLoop) -> None:
        machine = Machine(loop, SimulatedDisk(loop.seed))
        for skew_ms in (0, -DAY_MS):
            machine.skew_ms = skew_ms
            environment = machine.boot()
            server = Server(a_simulated_config(), environment)
            await environment.process.start(server.start())
            scene = Scene(loop, machine, House(server))
            if skew_ms == 0:
                await scene.house.create("orders", message_timestamp_type="LogAppendTime")
            await scene.produce()
            assert len(set(scene.times())) == 1
            machine.kill()

    simulate(play, seed=1)


@pytest.mark.parametrize("by_ms", JUMPS_MS)
def test_a_retry_is_recognised_though_the_clock_was_set(by_ms: int) -> None:
    """I-2, I-6: a producer is forgotten after a day of silence, and a clock that was set is no silence."""

    async def recognised(scene: Scene) -> None:
        first = await scene.produce(producer_id=7, sequence=0)
        scene.jump(by_ms)
        await asyncio.sleep(3600)  # the check for silent producers comes every ten minutes
        again = await scene.produce(producer_id=7, sequence=0)
        assert again.base_offset == first.base_offset
        assert len(scene.times()) == 1

    recognised.__name__ = f"retry {by_ms}"
    played(recognised)


@pytest.mark.parametrize("by_ms", JUMPS_MS)
def test_offsets_of_a_group_without_members_are_kept_though_the_clock_was_set(by_ms: int) -> None:
    """G-12: they go after a week in which nobody cares, and a clock that was set is no week."""

    async def kept(scene: Scene) -> None:
        assert await commit(scene.house, "billing", "orders", offset=7) == ErrorCode.NONE
        for _ in range(3):
            scene.jump(by_ms)
            await asyncio.sleep(1200)  # the look for old offsets comes every ten minutes
            wanted = OffsetFetchRequestTopics(name="orders", partition_indexes=(0,))
            request = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id="billing", topics=(wanted,)),))
            response = await scene.house.ask(request, 8)
            assert isinstance(response, OffsetFetchResponse)
            assert response.groups[0].topics[0].partitions[0].committed_offset == 7

    kept.__name__ = f"offsets {by_ms}"
    played(kept)


def test_a_member_that_heartbeats_stays_whatever_the_clock_says() -> None:
    async def stays(scene: Scene) -> None:
        member = await join_alone(scene.house, "billing")
        strobe = asyncio.ensure_future(scene.strobe())
        request = HeartbeatRequest(
            group_id="billing", generation_id=member.generation, member_id=member.member_id, group_instance_id=None
        )
        while not strobe.done():
            response = await scene.house.ask(request)
            assert isinstance(response, HeartbeatResponse)
            assert response.error_code == ErrorCode.NONE
            await asyncio.sleep(2)

    played(stays)


def test_a_member_that_is_silent_goes_though_the_clock_stands_still() -> None:
    async def goes(scene: Scene) -> None:
        member = await join_alone(scene.house, "billing")
        request = HeartbeatRequest(
            group_id="billing", generation_id=member.generation, member_id=member.member_id, group_instance_id=None
        )
        await scene.stand_still(9)  # of a session of ten seconds
        response = await scene.house.ask(request)
        assert isinstance(response, HeartbeatResponse)
        assert response.error_code == ErrorCode.NONE
        await scene.stand_still(11)
        response = await scene.house.ask(request)
        assert isinstance(response, HeartbeatResponse)
        assert response.error_code == ErrorCode.UNKNOWN_MEMBER_ID

    played(goes)


@pytest.mark.parametrize("seed", range(1, WORLDS + 1))
def test_a_whole_world_keeps_its_promises_while_the_clock_jumps_by_days(seed: int) -> None:
    world = run_world(seed, Plan(clock_jump_ms_max=3 * DAY_MS, clock_jumps_every_s=1 / STROBE_HZ))
    record("clocks", part=f"world {seed}", size=world.clock_jumps, lost=len(world.violations))
    assert not world.violations, "\n".join(map(str, world.violations[:10]))
    assert world.clock_jumps > 40
