"""Whatever members, strangers, the disk and power cuts do, a classic group keeps its promises [G-1 … G-9, G-13].

Members follow the protocol: they join, sync, send heartbeats, and do what they are told. They also freeze, die, change
their minds, come back under the same instance id. The parts that leaders hand out are numbered, so that two owners of
one part would be seen.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support.classic_groups import Answer, Protocols, World
from support.group_settings import SettingsForTests
from tidelog.broker.coordinator.classic_state import COMPLETING, EMPTY, PREPARING, STABLE
from tidelog.broker.coordinator.decision import TimerKey
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.leave_group import MemberIdentity

SESSION_MS = 10_000
REBALANCE_MS = 15_000
STEP_MS = 1000
PATIENCE_MS = max(SESSION_MS, REBALANCE_MS) + STEP_MS
CHANCE = st.randoms(use_true_random=False)
FENCED, UNKNOWN = ErrorCode.FENCED_INSTANCE_ID, ErrorCode.UNKNOWN_MEMBER_ID


@dataclass(slots=True, kw_only=True, eq=False)
class Client:
    """A consumer, as its library would behave."""

    name: str
    instance: str | None
    member_id: str = ""
    generation: int = -1
    part: bytes | None = None
    """What it owns in its generation; None while it owns nothing."""
    words: int = 0
    """What it says of itself; another number is another subscription."""
    likes_b: bool = False
    joining: Answer | None = None
    syncing: Answer | None = None
    frozen: bool = False
    dead: bool = False
    excused: bool = False
    """It has been silent for too long, or the broker forgot it: it may be unknown."""
    asked_ms: int = 0

    @property
    def who(self) -> str:
        """Who it is over a change of its id."""
        return self.instance or self.member_id

    @property
    def protocols(self) -> Protocols:
        said = str(self.words).encode()
        both = (("a", said), ("b", said))
        return both[::-1] if self.likes_b else both


@dataclass(slots=True)
class Seen:
    """What clients were told, over all crashes."""

    owners: dict[tuple[int, bytes], str] = field(default_factory=dict)
    """By generation and part."""
    parts: dict[tuple[int, str], bytes] = field(default_factory=dict)
    """By generation and member."""
    leaders: dict[int, str] = field(default_factory=dict)
    """By generation, since the last start."""


def one_of(clients: Sequence[Client], chance: random.Random) -> Client | None:
    """Any of them; None if there is none."""
    return chance.choice(clients) if clients else None


class ClassicGroups(RuleBasedStateMachine):
    """See above."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.clients: list[Client] = []
        self.seen = Seen()
        self.names = 0

    @initialize(delay_ms=st.sampled_from([0, 3000]))
    def begin(self, delay_ms: int) -> None:
        self.world = World(settings=SettingsForTests(initial_rebalance_delay_ms=delay_ms))

    # -- what clients do --

    @property
    def alive(self) -> list[Client]:
        return [client for client in self.clients if not client.dead and not client.frozen]

    def act(self, client: Client) -> None:
        if client.joining is not None:
            self.hear_join(client, client.joining)
        elif client.syncing is not None:
            self.hear_sync(client, client.syncing)
        elif client.part is None:
            self.join(client)
        else:
            code = self.world.beat(client.member_id, generation=client.generation, instance=client.instance)
            if code:
                self.told(client, code)
            else:
                client.excused = self.world.is_full

    def join(self, client: Client) -> None:
        client.part = None
        client.asked_ms = self.world.now_ms
        client.joining = self.world.join(
            client.member_id,
            instance=client.instance,
            protocols=client.protocols,
            session_ms=SESSION_MS,
            rebalance_ms=REBALANCE_MS,
            client=client.name,
        )
        if client.joining.is_there:
            self.hear_join(client, client.joining)

    def hear_join(self, client: Client, answer: Answer) -> None:
        if not answer.is_there:
            return
        client.joining = None
        if answer.code == ErrorCode.MEMBER_ID_REQUIRED:
            assert client.instance is None
            client.member_id = answer.join.member_id
            self.join(client)
            return
        if answer.code:
            self.told(client, answer.code)
            return
        joined = answer.join
        client.member_id, client.generation = joined.member_id, joined.generation_id
        parts = []
        if joined.leader == client.member_id:
            leader = self.seen.leaders.setdefault(joined.generation_id, client.who)
            assert leader == client.who, "a generation has one leader"
            assert client.member_id in {member.member_id for member in joined.members}
            if not joined.skip_assignment:
                names = enumerate(member.member_id for member in joined.members)
                parts = [(name, f"{client.generation}/{number}".encode()) for number, name in names]
        else:
            assert joined.members == ()
        client.asked_ms = self.world.now_ms
        client.syncing = self.world.sync(
            client.member_id,
            parts,
            generation=client.generation,
            instance=client.instance,
            named=(joined.protocol_type, joined.protocol_name),
        )
        self.hear_sync(client, client.syncing)

    def hear_sync(self, client: Client, answer: Answer) -> None:
        if not answer.is_there:
            return
        client.syncing = None
        if answer.code:
            self.told(client, answer.code)
            return
        part = answer.sync.assignment
        assert part.startswith(f"{client.generation}/".encode()), "everybody who has joined has a part"
        owner = self.seen.owners.setdefault((client.generation, part), client.who)
        assert owner == client.who, "a part has one owner in a generation"
        assert self.seen.parts.setdefault((client.generation, client.who), part) == part
        client.part = part

    def told(self, client: Client, code: int) -> None:
        client.part = None
        if code == FENCED:
            assert client.instance is not None
            others = [one for one in self.clients if one is not client and one.instance == client.instance]
            assert others, "nobody is fenced without another one of its name"
            client.dead = True
        elif code == UNKNOWN:
            assert client.excused, "a live member is not unknown"
            client.member_id, client.generation = "", -1

    # -- what happens --

    @rule(static=st.booleans(), likes_b=st.booleans())
    def come(self, static: bool, likes_b: bool) -> None:
        if len(self.clients) < 12:
            self.names += 1
            name = f"c{self.names}"
            client = Client(name=name, instance=f"i{self.names}" if static else None, likes_b=likes_b)
            client.excused = self.world.is_full
            self.clients.append(client)
            self.act(client)

    @rule(chance=CHANCE)
    def come_back(self, chance: random.Random) -> None:
        old = one_of([client for client in self.clients if client.instance], chance)
        if old is None:
            return
        self.names += 1
        client = Client(name=f"c{self.names}", instance=old.instance, words=old.words, likes_b=old.likes_b)
        client.excused = self.world.is_full
        self.clients.append(client)
        for other in self.clients:  # whoever was removed meanwhile may find itself unknown, or fenced
            other.excused = other.excused or other.instance == old.instance
        self.act(client)

    @rule(chance=CHANCE)
    def somebody_acts(self, chance: random.Random) -> None:
        client = one_of(self.alive, chance)
        if client is not None:
            self.act(client)

    @rule(chance=CHANCE)
    def somebody_freezes(self, chance: random.Random) -> None:
        client = one_of(self.alive, chance)
        if client is None:
            return
        client.frozen = client.excused = True

    @rule(chance=CHANCE)
    def somebody_thaws(self, chance: random.Random) -> None:
        client = one_of([client for client in self.clients if client.frozen], chance)
        if client is None:
            return
        client.frozen = False
        self.act(client)

    @rule(chance=CHANCE)
    def somebody_dies(self, chance: random.Random) -> None:
        client = one_of(self.alive, chance)
        if client is not None:
            client.dead = True

    @rule(chance=CHANCE)
    def somebody_asks_again(self, chance: random.Random) -> None:
        """Its connection was lost, and with it the answer."""
        client = one_of(self.alive, chance)
        if client is None:
            return
        client.joining = client.syncing = None
        if client.member_id or client.instance is None:
            self.join(client)

    @rule(chance=CHANCE)
    def somebody_wants_something_else(self, chance: random.Random) -> None:
        client = one_of([client for client in self.alive if client.part], chance)
        if client is None:
            return
        client.words += 1
        self.join(client)

    @rule(chance=CHANCE, by_instance=st.booleans())
    def somebody_leaves(self, chance: random.Random, by_instance: bool) -> None:
        client = one_of([client for client in self.alive if client.member_id], chance)
        if client is None:
            return
        identity = MemberIdentity(
            member_id="" if by_instance and client.instance else client.member_id, group_instance_id=client.instance
        )
        answer = self.world.leave_as(identity)
        if answer.refused is None:
            for other in self.clients:
                other.dead = other.dead or (other.who == client.who and other is client)
                other.excused = other.excused or other.who == client.who

    @rule(chance=CHANCE, generation=st.integers(-1, 9), number=st.integers(0, 3))
    def a_stranger_talks(self, chance: random.Random, generation: int, number: int) -> None:
        """It names members, not knowing what they know; it never uses a name as its owner would."""
        world, name = self.world, chance.choice(["", "nobody", "c1-0"])
        if generation == world.group.generation:
            generation -= 1
        if number == 0:
            world.beat(name, generation=generation)
        elif number == 1:
            world.sync(name, [(name, b"x")], generation=generation)
        elif number == 2:
            world.join("nobody", session_ms=SESSION_MS)
        else:
            world.join(protocol_type="connect", session_ms=SESSION_MS)

    @rule()
    def an_id_is_not_used(self) -> None:
        self.world.join(protocols=(("a", b""), ("b", b"")), session_ms=SESSION_MS)

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds * 1000 // STEP_MS):
            self.world.advance(STEP_MS)
            for client in self.alive:
                self.act(client)
            self.nobody_waits_for_long()

    @rule()
    def the_disk_is_full_or_not(self) -> None:
        self.world.is_full = not self.world.is_full
        for client in self.clients:
            client.excused = True
            client.asked_ms = self.world.now_ms

    @rule()
    def the_power_goes(self) -> None:
        self.world.restart()
        self.seen.leaders.clear()
        for client in self.clients:
            client.joining = client.syncing = None
            client.excused = True

    # -- what is promised --

    def nobody_waits_for_long(self) -> None:
        if self.world.is_full:
            return
        for client in self.alive:
            if client.joining is not None or client.syncing is not None:
                assert self.world.now_ms - client.asked_ms <= PATIENCE_MS, "nobody is left waiting"

    @invariant()
    def the_books_are_right(self) -> None:
        group = self.world.group
        members = group.members.by_id.values()
        assert group.members.joined == sum(member.join_waiter is not None for member in members)
        assert (group.leader in group.members.by_id) if members else (group.leader is None)
        assert group.members.vote() is not None or not members
        if group.state is STABLE:
            assert not any(member.join_waiter or member.sync_waiter for member in members)
        if group.state in (PREPARING, COMPLETING, STABLE):
            assert members
        else:
            assert group.state is EMPTY
            assert not members

    @invariant()
    def everything_that_waits_has_a_timer(self) -> None:
        world, group = self.world, self.world.group
        for member_id in group.members.by_id:
            assert TimerKey("g", "session", member_id) in world.timers
        if group.state is PREPARING:
            assert TimerKey("g", "join") in world.timers

    @invariant()
    def what_is_at_rest_is_what_is_remembered(self) -> None:
        group, replayed = self.world.group, self.world.replayed()
        if group.state in (STABLE, EMPTY):
            facts = [
                (one.describe(), one.generation, one.leader, one.protocol, one.empty_since_ms)
                for one in (group, replayed)
            ]
            assert facts[0] == facts[1]

    @invariant()
    def generations_only_grow(self) -> None:
        assert self.world.told_generations == sorted(self.world.told_generations)

    @invariant()
    def old_generations_are_refused(self) -> None:
        group = self.world.group
        for client in self.clients:
            if client.generation < 0:
                continue
            try:
                group.check_commit(client.member_id, client.instance, client.generation)
            except RequestRefused:
                continue
            assert client.generation == group.generation
            assert client.member_id in group.members.by_id

    def teardown(self) -> None:
        """In peace, the group finds together: those who live are its members, each with a part."""
        self.world.is_full = False
        for client in self.clients:
            client.dead = client.dead or client.frozen
            client.asked_ms = self.world.now_ms
        for _ in range(8):
            self.time_passes(20)
        alive = self.alive
        group = self.world.group
        assert group.state is (STABLE if alive else EMPTY)
        assert {client.member_id for client in alive} == set(group.members.by_id)
        assert all(client.part is not None and client.generation == group.generation for client in alive)


WEIGHTS: Mapping[str, float] = {
    "time_passes": 8,
    "come": 3,
    "come_back": 1.5,
    "somebody_acts": 4,
    "somebody_freezes": 1,
    "somebody_thaws": 1,
    "somebody_dies": 0.7,
    "somebody_asks_again": 1,
    "somebody_wants_something_else": 1,
    "somebody_leaves": 0.7,
    "an_id_is_not_used": 0.5,
    "the_disk_is_full_or_not": 0.3,
    "the_power_goes": 0.5,
}
"""How often what happens on a long walk; hypothesis prefers short ones."""


@pytest.mark.parametrize("seed", range(20))
def test_a_long_life_keeps_the_promises(seed: int) -> None:
    chance = random.Random(seed)
    world = ClassicGroups()
    world.world = World(settings=SettingsForTests(initial_rebalance_delay_ms=chance.choice([0, 0, 3000])))
    for _ in range(200):
        [what] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        world.clients = [client for client in world.clients if client.instance or not client.dead]
        if what == "time_passes":
            ClassicGroups.time_passes(world, chance.randint(1, 12))
        elif what == "come":
            ClassicGroups.come(world, chance.random() < 0.25, chance.random() < 0.5)
        elif what == "somebody_leaves":
            ClassicGroups.somebody_leaves(world, chance, chance.random() < 0.5)
        elif what in ("an_id_is_not_used", "the_disk_is_full_or_not", "the_power_goes"):
            getattr(world, what)()
        else:
            getattr(world, what)(chance)
        for promise in PROMISES:
            promise(world)
    world.teardown()


PROMISES = (
    ClassicGroups.the_books_are_right,
    ClassicGroups.everything_that_waits_has_a_timer,
    ClassicGroups.what_is_at_rest_is_what_is_remembered,
    ClassicGroups.generations_only_grow,
    ClassicGroups.old_generations_are_refused,
)

TestClassicGroups = ClassicGroups.TestCase
TestClassicGroups.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
