"""A rebalance storm in virtual time: members come, go, hang and die, and the groups find together again [A12].

Members of four groups share 64 partitions each: classic ones and those of the consumer protocol, dynamic and static.
Every 50 ms one of them joins, leaves in order, hangs for a while or is killed. The handlers of a real broker are asked
directly; its log lies on a simulated disk.

CI plays the five minutes with 200 members once, TIDELOG_PROOF=1 for twenty seeds; TIDELOG_SEED plays one seed.
"""

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from support.bench import Bench
from support.environment import simulate
from support.group_lines import HouseLine, ModelSource
from support.group_members import ClassicMember, Hands, ModernMember, Persona
from support.group_timeline import GroupHistory, check_groups
from support.house import House
from support.loop import SimLoop
from tidelog.protocol.messages.consumer_group_describe import (
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
)
from tidelog.protocol.messages.describe_groups import DescribeGroupsRequest, DescribeGroupsResponse

IS_PROOF = os.environ.get("TIDELOG_PROOF") == "1"
MEMBERS = 200
STORM_S = 300.0
EVENT_S = 0.05
PARTITIONS = 64
TOPIC = "orders"
SESSION_S = 6.0
REBALANCE_S = 2.0
STABLE_WITHIN_S = SESSION_S + 3.0
HANG_S_MAX = 12.0
"""Twice a session: some of those who hang come back in time, some do not."""
RECORDS_PER_S = 20.0
CLASSIC, CLASSIC_STATIC, MODERN, MODERN_STATIC = "classic", "classic static", "modern", "modern static"
GROUPS = (CLASSIC, CLASSIC_STATIC, MODERN, MODERN_STATIC)
SHARES = {CLASSIC: 0.4, CLASSIC_STATIC: 0.1, MODERN: 0.4, MODERN_STATIC: 0.1}
"""Of the members."""
SETTINGS = (
    f"group.consumer.session.timeout.ms={int(SESSION_S * 1000)}",
    f"group.consumer.min.session.timeout.ms={int(SESSION_S * 1000)}",
    "group.consumer.heartbeat.interval.ms=1000",
    "group.consumer.min.heartbeat.interval.ms=1000",
    "group.initial.rebalance.delay.ms=0",
)


@dataclass(eq=False)
class Player:
    """A member in the storm."""

    group_id: str
    member: ClassicMember | ModernMember
    line: HouseLine
    life: "asyncio.Task[None]"
    instance_id: str | None
    is_hanging: bool = False


@dataclass
class Weathered:
    """What came of it."""

    history: GroupHistory
    events: Counter[str]
    stable_after_s: dict[str, float]
    requests: int
    logs: dict[int, list[int]]

    def generations(self, group_id: str) -> int:
        """How many there were."""
        return len({given.generation for given in self.history.groups[group_id].given})


@dataclass
class Storm:
    """The groups, and who shakes them."""

    loop: SimLoop
    house: House
    source: ModelSource
    chance: random.Random
    history: GroupHistory = field(default_factory=GroupHistory)
    players: list[Player] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    lives: int = 0
    is_over: bool = False

    def come_back(self, group_id: str, instance_id: str) -> None:
        """A static member is started again after it was killed."""
        if not self.is_over:
            self.events["come back"] += 1
            self.join(group_id, instance_id)

    def join(self, group_id: str, instance_id: str | None = None) -> None:
        """One more member, or a static one in another life."""
        self.lives += 1
        if instance_id is None and "static" in group_id:
            instance_id = f"instance {self.lives}"
        persona = Persona(
            group_id=group_id,
            name=f"m{self.lives}",
            topic=TOPIC,
            instance_id=instance_id,
            session_s=SESSION_S,
            rebalance_s=REBALANCE_S,
            heartbeat_s=1.0,
            commit_rate=0.2,
        )
        line = HouseLine(self.house)
        hands = Hands(persona, line, self.source, self.history)
        chance = random.Random(f"{self.loop.seed}/{persona.name}")
        member = (ClassicMember if group_id.startswith("classic") else ModernMember)(hands, chance)
        self.players.append(Player(group_id, member, line, asyncio.ensure_future(member.live()), instance_id))

    def of(self, group_id: str) -> list[Player]:
        """Who lives in a group."""
        return [player for player in self.players if player.group_id == group_id]

    def shake(self) -> None:
        """One event."""
        self.look_after()
        draw = self.chance
        group_id = draw.choices(GROUPS, [SHARES[group] for group in GROUPS])[0]
        there = self.of(group_id)
        lacking = MEMBERS * SHARES[group_id] - len(there)
        if lacking > 0 and draw.random() < 5 * lacking / (MEMBERS * SHARES[group_id]):
            self.events["join"] += 1
            self.join(group_id)
            return
        awake = [player for player in there if not player.is_hanging]
        if not awake:
            return
        player = draw.choice(awake)
        what = draw.choice(("leave", "hang", "kill"))
        self.events[what] += 1
        if what == "leave":
            player.member.is_leaving = True
        elif what == "kill":
            self.bury(player)
            if player.instance_id is not None:  # it is started again, under the same name
                self.loop.call_later(draw.random() * 2 * SESSION_S, self.come_back, group_id, player.instance_id)
        else:
            player.is_hanging = True
            player.line.pause()
            self.loop.call_later(draw.random() * HANG_S_MAX, self.wake, player)

    def wake(self, player: Player) -> None:
        """It goes on."""
        player.is_hanging = False
        player.line.resume()

    def bury(self, player: Player) -> None:
        """It is no more."""
        player.life.cancel()
        self.requests += player.line.asked
        self.players.remove(player)

    def look_after(self) -> None:
        """Raise what went wrong, forget who has left."""
        for player in list(self.players):
            if player.life.done():
                player.life.result()
                self.bury(player)

    async def read_to(self, end: int) -> None:
        """Until each group has read everything."""
        began = self.loop.time()
        groups = self.history.groups.values()
        while any(group.reached.get(one, 0) < end for group in groups for one in range(PARTITIONS)):
            await asyncio.sleep(0.5)
            assert self.loop.time() - began < STABLE_WITHIN_S, "records stay unread"

    async def settled(self, group_id: str) -> bool:
        """Whether the group is stable, and all partitions are in the hands of those who live."""
        self.look_after()
        held = sorted(partition for player in self.of(group_id) for partition in player.member.hands.positions)
        return held == list(range(PARTITIONS)) and await self.state_of(group_id) == "Stable"

    async def state_of(self, group_id: str) -> str:
        """In Kafka's words."""
        if group_id.startswith("classic"):
            response = await self.house.ask(DescribeGroupsRequest(groups=(group_id,)))
            assert isinstance(response, DescribeGroupsResponse)
        else:
            response = await self.house.ask(ConsumerGroupDescribeRequest(group_ids=(group_id,)))
            assert isinstance(response, ConsumerGroupDescribeResponse)
        return response.groups[0].group_state


async def weather(loop: SimLoop) -> Weathered:
    """The whole storm."""
    bench = Bench(loop, seed=loop.seed)
    house = await bench.serve(*SETTINGS)
    await house.create(TOPIC, PARTITIONS)
    source = ModelSource(PARTITIONS, records_per_s=RECORDS_PER_S, pause_s=0.7)
    storm = Storm(loop, house, source, loop.random_for("storm"))
    for group_id in GROUPS:
        storm.history.group(group_id, has_common_generation=group_id.startswith("classic"))
        for _ in range(int(MEMBERS * SHARES[group_id])):
            storm.join(group_id)
    over_at = loop.time() + STORM_S
    while loop.time() < over_at:
        await asyncio.sleep(EVENT_S)
        storm.shake()
    stable_after_s = await calm(storm)
    end = source.stop()
    await storm.read_to(end)
    for player in storm.players:
        player.member.is_leaving = True
    await asyncio.wait([player.life for player in storm.players], timeout=SESSION_S)
    storm.look_after()
    assert not storm.players, "not all have left"
    await house.server.stop()
    return Weathered(
        history=storm.history,
        events=storm.events,
        stable_after_s=stable_after_s,
        requests=storm.requests,
        logs={partition: [0] * end for partition in range(PARTITIONS)},
    )


async def calm(storm: Storm) -> dict[str, float]:
    """Nobody comes or goes any more, and who hangs now never wakes; how long each group takes."""
    storm.is_over = True
    began = storm.loop.time()
    for player in list(storm.players):
        if player.is_hanging:
            storm.bury(player)
    took: dict[str, float] = {}
    while len(took) < len(GROUPS):
        await asyncio.sleep(0.1)
        for group_id in GROUPS:
            if group_id not in took and await storm.settled(group_id):
                took[group_id] = storm.loop.time() - began
        assert storm.loop.time() - began < 10 * STABLE_WITHIN_S, f"settled are only {took}"
    return took


def chosen_seeds() -> list[int]:
    """The seeds to play."""
    if one := os.environ.get("TIDELOG_SEED"):
        return [int(one)]
    return list(range(1, 21 if IS_PROOF else 2))


@pytest.mark.parametrize("seed", chosen_seeds())
def test_after_a_storm_the_groups_find_together_and_nothing_is_skipped(seed: int) -> None:
    weathered = simulate(weather, seed=seed)
    violations = check_groups(weathered.history, weathered.logs)
    assert not violations, "\n".join(map(str, violations[:10]))
    assert max(weathered.stable_after_s.values()) <= STABLE_WITHIN_S
    assert min(weathered.events[what] for what in ("join", "leave", "hang", "kill")) > STORM_S
    for group_id, group in weathered.history.groups.items():
        assert weathered.generations(group_id) > STORM_S / 4
        probes = [commit for commit in group.commits if commit.is_known_stale]
        assert len(probes) > STORM_S
        heard = {commit.outcome for commit in probes} - {
            "pending"
        }  # which is of those who were killed while they asked
        assert heard == {"fail"}, "commits of old generations are refused, every time"
