"""Whatever members of both protocols, the disk and power cuts do, a group keeps its promises between them [C-8].

Members are honest: eager and cooperative ones of the classic protocol, and ones of the consumer protocol. They also
freeze, die, leave, lose answers, and come back under the same instance id by the other protocol. The promises: a
partition is read by one member at most of those that may commit; what is written is what is remembered; nobody waits
for ever, nor is sent away for nothing; and in peace the group settles, as one of the protocol that its members speak.
"""

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from support.consumer_world import TopicsForTests
from support.mixed_groups import (
    COOPERATIVE,
    RANGE,
    REBALANCE_MS,
    SESSION_MS,
    Classic,
    Consumer,
    MixedWorld,
    held,
    places,
    remembered,
)
from tidelog.broker.coordinator.classic_group import ClassicGroup
from tidelog.broker.coordinator.classic_state import STABLE
from tidelog.broker.coordinator.consumer_group import ConsumerGroup
from tidelog.protocol.errors import ErrorCode, RequestRefused

KINDS = ("eager", "cooperative", "modern")
CHANCE = st.randoms(use_true_random=False)
STEP_MS = 1000
PATIENCE_MS = max(SESSION_MS, REBALANCE_MS) + 2 * STEP_MS
MEMBERS_MAX = 7


@dataclass(eq=False)
class Somebody:
    """A process with a consumer in it."""

    member: Classic | Consumer
    instance: str | None
    frozen: bool = False
    excused: bool = False
    """It may find itself removed: it was silent for too long, or what it said could not be written."""
    is_out: bool = False
    """Its group is not one of its protocol any more, which it does not outlive."""

    @property
    def epoch(self) -> int:
        return self.member.generation if isinstance(self.member, Classic) else self.member.epoch

    def act(self) -> None:
        member = self.member
        known = member.member_id
        if isinstance(member, Consumer):
            before = member.epoch
            self.is_out = member.act() == ErrorCode.GROUP_ID_NOT_FOUND
            if self.is_out or (member.epoch == 0 and before > 0):
                assert self.excused, "a live member is not fenced"
            return
        count = len(member.codes)
        member.act()
        if ErrorCode.UNKNOWN_MEMBER_ID in member.codes[count:]:
            assert self.excused, f"a live member is not unknown: {known}"


def one_of(people: Sequence[Somebody], chance: random.Random) -> Somebody | None:
    """Any of them; None if there is none."""
    return chance.choice(people) if people else None


class MixedGroups(RuleBasedStateMachine):
    """See above."""

    def __init__(self) -> None:
        super().__init__()
        self.world = MixedWorld(TopicsForTests(a=3, b=2))
        self.people: list[Somebody] = []
        self.names = 0
        self.upgrades = self.downgrades = 0
        self.has_forgotten = False
        """A classic group remembers of its members but the protocol that was chosen."""

    @property
    def alive(self) -> list[Somebody]:
        return [one for one in self.people if not one.frozen]

    def enter(self, kind: str, instance: str | None) -> Somebody:
        self.names += 1
        name = f"m{self.names}"
        member: Classic | Consumer
        if kind == "modern":
            member = Consumer(self.world, name, ("a", "b"), "", instance_id=instance)
        else:
            assignors = (COOPERATIVE,) if kind == "cooperative" else (RANGE, COOPERATIVE)
            member = Classic(self.world, name, ("a", "b"), instance, assignors)
        somebody = Somebody(member, instance, excused=self.world.is_full)
        self.people.append(somebody)
        return somebody

    def do(self, somebody: Somebody) -> None:
        before = self.world.group
        somebody.act()
        self.count(before)
        if somebody.is_out:
            self.people.remove(somebody)
        elif isinstance(somebody.member, Classic) and somebody.member.is_fenced:
            others = [one for one in self.people if one is not somebody and one.instance == somebody.instance]
            assert others or somebody.excused, "nobody is fenced without another one of its name"
            self.people.remove(somebody)
        elif isinstance(somebody.member, Classic) and somebody.member.does_not_fit:
            assert self.has_forgotten, "all know an assignor that all know"
            self.people.remove(somebody)

    def count(self, before: object) -> None:
        after = self.world.group
        self.upgrades += isinstance(before, ClassicGroup) and isinstance(after, ConsumerGroup)
        self.downgrades += isinstance(before, ConsumerGroup) and isinstance(after, ClassicGroup)

    # -- what happens --

    @rule(kind=st.sampled_from(KINDS), static=st.booleans())
    def come(self, kind: str, static: bool) -> None:
        if len(self.people) < MEMBERS_MAX:
            self.do(self.enter(kind, f"i{self.names}" if static else None))

    @rule(kind=st.sampled_from(KINDS), chance=CHANCE)
    def come_back(self, kind: str, chance: random.Random) -> None:
        """A static member's process is killed and started again."""
        old = one_of([one for one in self.people if one.instance is not None], chance)
        if old is None:
            return
        self.people.remove(old)
        new = self.enter(kind, old.instance)
        new.excused = True  # it may be a while until the name is free
        self.do(new)

    @rule(kind=st.sampled_from(KINDS), chance=CHANCE)
    def roll(self, kind: str, chance: random.Random) -> None:
        """One leaves, and one of another protocol comes."""
        self.somebody_leaves(chance)
        self.come(kind, False)

    @rule(chance=CHANCE)
    def somebody_leaves(self, chance: random.Random) -> None:
        somebody = one_of([one for one in self.alive if one.member.member_id], chance)
        if somebody is None or self.world.is_full:
            return
        before = self.world.group
        self.people.remove(somebody)
        if isinstance(somebody.member, Classic):
            somebody.member.leave()
        elif somebody.member.epoch:
            away = somebody.instance is not None and chance.random() < 0.5
            with suppress(RequestRefused):  # it may have been removed
                somebody.member.leave(epoch=-2 if away else -1)
        self.count(before)

    @rule(chance=CHANCE)
    def somebody_acts(self, chance: random.Random) -> None:
        somebody = one_of(self.alive, chance)
        if somebody is not None:
            self.do(somebody)

    @rule(chance=CHANCE)
    def somebody_freezes(self, chance: random.Random) -> None:
        somebody = one_of(self.alive, chance)
        if somebody is not None:
            somebody.frozen = somebody.excused = True

    @rule(chance=CHANCE)
    def somebody_thaws(self, chance: random.Random) -> None:
        somebody = one_of([one for one in self.people if one.frozen], chance)
        if somebody is not None:
            somebody.frozen = False
            self.do(somebody)

    @rule(chance=CHANCE)
    def somebody_hesitates(self, chance: random.Random) -> None:
        somebody = one_of(self.alive, chance)
        if somebody is not None and isinstance(somebody.member, Classic):
            somebody.member.hesitates = True

    @rule(chance=CHANCE)
    def somebody_dies(self, chance: random.Random) -> None:
        somebody = one_of(self.people, chance)
        if somebody is not None:
            self.people.remove(somebody)

    @rule(chance=CHANCE)
    def an_answer_is_lost(self, chance: random.Random) -> None:
        somebody = one_of(self.alive, chance)
        if somebody is None:
            return
        if isinstance(somebody.member, Consumer):
            somebody.excused = True  # after two of them, it may not know its epoch any more
            somebody.member.heartbeat(lost=True)
            somebody.member.obey()
        else:
            somebody.member.ask_again()

    @rule(name=st.sampled_from(["a", "b"]))
    def a_topic_grows(self, name: str) -> None:
        topics = self.world.topics
        if topics.by_name[name][1] < 6:
            topics.grow(name, topics.by_name[name][1] + 1)
            for decision in self.world.coordinator.topic_changed(name, is_deleted=False):
                self.world.perform(decision)

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds * 1000 // STEP_MS):
            before = self.world.group
            self.world.pass_time(STEP_MS)
            self.count(before)
            for somebody in self.alive:
                self.do(somebody)
            self.nobody_waits_for_long()

    @rule()
    def the_disk_is_full_or_not(self) -> None:
        self.world.is_full = not self.world.is_full
        for somebody in self.people:
            somebody.excused = True
            if isinstance(somebody.member, Classic):
                somebody.member.asked_ms = self.world.now_ms

    @rule()
    def the_power_goes(self) -> None:
        is_written = isinstance(self.world.group, ConsumerGroup) or self.world.group is None
        self.has_forgotten = self.has_forgotten or isinstance(self.world.group, ClassicGroup)
        self.world.crash()
        for somebody in self.people:
            # A join under way is not remembered; members of a consumer group are, whichever protocol they speak.
            somebody.excused = somebody.excused or not is_written
            if isinstance(somebody.member, Classic):
                somebody.member.ask_again()

    # -- what is promised --

    def nobody_waits_for_long(self) -> None:
        for somebody in self.alive if not self.world.is_full else ():
            member = somebody.member
            if isinstance(member, Classic) and member.waits_for is not None:
                assert self.world.now_ms - member.asked_ms <= PATIENCE_MS, "nobody is left waiting"

    @invariant()
    def a_partition_is_read_by_one_of_those_that_may_commit(self) -> None:
        readers: dict[tuple[str, int], Somebody] = {}
        for somebody in self.alive:
            member = somebody.member
            if not held(member) or self.world.commit_code(member.member_id, somebody.epoch):
                continue
            for place in held(member):
                assert place not in readers, f"{place} is read by two"
                readers[place] = somebody

    @invariant()
    def what_is_written_is_what_is_remembered(self) -> None:
        now = remembered(self.world.coordinator)
        assert remembered(self.world.replayed(self.world.log)) == now
        assert remembered(self.world.replayed(self.world.compacted())) == now
        old = self.world.compacted(tombstones=False)
        assert (remembered(self.world.replayed(old)) or None) == now or now is None
        assert now is not None or not old

    @invariant()
    def a_consumer_group_has_members_of_its_protocol(self) -> None:
        group = self.world.group
        if isinstance(group, ConsumerGroup):
            assert not group.roster.members or group.roster.classic < len(group.roster.members)

    @invariant()
    def classic_members_have_a_protocol_in_common(self) -> None:
        group = self.world.group
        if isinstance(group, ConsumerGroup):
            roster = group.roster
            values = [member.value.classic for member in roster.members.values()]
            known = [{one.name for one in value.protocols} for value in values if value is not None]
            assert roster.classic == len(known)
            assert not known or set.intersection(*known)
        elif group is not None and group.state is STABLE:
            assert group.members.vote() is not None

    def teardown(self) -> None:
        """In peace, the group finds together."""
        self.world.is_full = False
        self.people = self.alive
        for somebody in self.people:
            if isinstance(somebody.member, Classic):
                somebody.member.asked_ms = self.world.now_ms
        for _ in range(8):
            self.time_passes(20)
            self.a_partition_is_read_by_one_of_those_that_may_commit()
        self.what_is_written_is_what_is_remembered()
        assert self.world.member_ids == {one.member.member_id for one in self.people}
        if not self.people:
            return
        parts = [held(one.member) for one in self.people]
        assert sum(map(len, parts)) == len(set().union(*parts)) == len(places(self.world.topics))
        is_modern = any(isinstance(one.member, Consumer) for one in self.people)
        assert isinstance(self.world.group, ConsumerGroup if is_modern else ClassicGroup)


WEIGHTS: Mapping[str, float] = {
    "time_passes": 8,
    "come": 2,
    "come_back": 1.5,
    "roll": 3,
    "somebody_leaves": 0.7,
    "somebody_acts": 4,
    "somebody_freezes": 0.7,
    "somebody_thaws": 0.7,
    "somebody_dies": 0.5,
    "somebody_hesitates": 2,
    "an_answer_is_lost": 1,
    "a_topic_grows": 0.3,
    "the_disk_is_full_or_not": 0.3,
    "the_power_goes": 0.7,
}
"""How often what happens on a long walk; hypothesis prefers short ones."""
PROMISES = (
    MixedGroups.a_partition_is_read_by_one_of_those_that_may_commit,
    MixedGroups.what_is_written_is_what_is_remembered,
    MixedGroups.classic_members_have_a_protocol_in_common,
    MixedGroups.a_consumer_group_has_members_of_its_protocol,
)


def walk(seed: int, steps: int = 150) -> MixedGroups:
    """A long life."""
    chance = random.Random(seed)
    world = MixedGroups()
    for _ in range(steps):
        [what] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if what == "time_passes":
            MixedGroups.time_passes(world, chance.randint(1, 12))
        elif what == "come":
            MixedGroups.come(world, chance.choice(KINDS), chance.random() < 0.3)
        elif what in ("roll", "come_back"):
            getattr(world, what)(chance.choice(KINDS), chance)
        elif what == "a_topic_grows":
            MixedGroups.a_topic_grows(world, chance.choice("ab"))
        elif what in ("the_disk_is_full_or_not", "the_power_goes"):
            getattr(world, what)()
        else:
            getattr(world, what)(chance)
        for promise in PROMISES:
            promise(world)
    world.teardown()
    return world


@pytest.mark.parametrize("seed", range(20))
def test_a_long_life_keeps_the_promises(seed: int) -> None:
    walk(seed)


def test_long_lives_go_both_ways() -> None:
    lives = [walk(seed, steps=60) for seed in range(100, 108)]
    assert sum(life.upgrades for life in lives) >= 4
    assert sum(life.downgrades for life in lives) >= 4


TestMixedGroups = MixedGroups.TestCase
TestMixedGroups.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
