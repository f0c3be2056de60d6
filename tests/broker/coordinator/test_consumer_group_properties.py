"""Any sequence of what may happen to a consumer group (KIP-848) [C-1 … C-9]."""

import re
from collections import Counter
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support.consumer_world import (
    MemberForTests,
    TopicsForTests,
    World,
    settle,
    snapshot,
    spread_assignment,
)
from tidelog.protocol.errors import ErrorCode

NAMES = ("a", "b", "c", "log-1", "log-2")
SUBSCRIPTIONS = (
    (("a",), None),
    (("a", "b"), None),
    (("b", "c"), None),
    ((), "log-.*"),
    (("a",), "(b|log-1)"),
    ((), None),
)

DEEDS = ("hears", "hears", "obeys", "hears and obeys", "loses the answer", "finds the disk full")


class AnySequence(RuleBasedStateMachine):
    """Members that join, leave, fall silent and lose answers; topics that come and go; and crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(TopicsForTests(a=3, b=4))
        self.members: dict[str, MemberForTests] = {}
        self.epochs = (0, 0)

    def _pick(self, number: int) -> MemberForTests | None:
        ids = sorted(self.members)
        return self.members[ids[number % len(ids)]] if ids else None

    @initialize(count=st.integers(0, 3))
    def a_few_are_there(self, count: int) -> None:
        for number in range(count):
            self.joins(number, SUBSCRIPTIONS[0], static=False)
        self.members_act([(number, "hears and obeys") for number in range(count)] * 3)

    @rule(number=st.integers(0, 5), subscription=st.sampled_from(SUBSCRIPTIONS), static=st.booleans())
    def joins(self, number: int, subscription: tuple[tuple[str, ...], str | None], static: bool) -> None:
        member_id = f"{'static' if static else 'member'}-{number}"
        instance = f"instance-{number}" if static else None
        taken = {member.instance_id for member in self.members.values()} - {None}
        if member_id not in self.members and instance not in taken:
            names, regex = subscription
            member = MemberForTests(self.world, member_id, names, regex or "", instance)
            if member.heartbeat() is ErrorCode.NONE:
                self.members[member_id] = member

    @rule(deeds=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(DEEDS)), min_size=1, max_size=12))
    def members_act(self, deeds: list[tuple[int, str]]) -> None:
        for number, deed in deeds:
            member = self._pick(number)
            if member is None:
                return
            if deed != "obeys":
                before = snapshot(self.world.group)
                code = member.heartbeat(lost=deed == "loses the answer", writable=deed != "finds the disk full")
                if code is not ErrorCode.NONE:
                    assert snapshot(self.world.group) == before
            if deed in ("obeys", "hears and obeys"):
                member.obey()
            self.nobody_reads_what_another_reads()

    @rule(number=st.integers(0, 9), subscription=st.sampled_from(SUBSCRIPTIONS))
    def subscribes_anew(self, number: int, subscription: tuple[tuple[str, ...], str | None]) -> None:
        if (member := self._pick(number)) is not None:
            member.names, member.regex = subscription[0], subscription[1] or ""
            member.full = True
            member.heartbeat()

    @rule(number=st.integers(0, 9), lost=st.booleans())
    def leaves(self, number: int, lost: bool) -> None:
        if (member := self._pick(number)) is not None:
            if member.member_id in self.world.group.roster.members and not lost:
                member.leave()
            del self.members[member.member_id]  # or it is killed, and nobody hears of it

    @rule(number=st.integers(0, 9), renamed=st.booleans())
    def is_started_anew(self, number: int, renamed: bool) -> None:
        """A static member leaves for a while and comes back, under the same id or another one."""
        member = self._pick(number)
        if member is None or member.instance_id is None or member.member_id not in self.world.group.roster.members:
            return
        member.leave(-2)
        del self.members[member.member_id]
        if renamed:
            member.member_id += "+"
        assert member.heartbeat() is ErrorCode.NONE
        self.members[member.member_id] = member

    @rule(number=st.integers(0, 9))
    def joins_anew(self, number: int) -> None:
        """It has lost track, and gives up all that it has."""
        if (member := self._pick(number)) is not None:
            member.forget()
            member.heartbeat()

    @rule(ms=st.sampled_from((1000, 10_000, 21_000, 46_000)))
    def time_passes(self, ms: int) -> None:
        self.world.pass_time(ms)

    @rule(name=st.sampled_from(NAMES), partitions=st.integers(1, 7))
    def topic_changes(self, name: str, partitions: int) -> None:
        topics = self.world.topics
        found = topics.partitions_of(name)
        if found is None:
            topics.create(name, partitions)
        elif partitions > found[1]:
            topics.grow(name, partitions)
        else:
            topics.delete(name)
        self.world.group.topics_changed([name])

    @rule()
    def crashes(self) -> None:
        before = snapshot(self.world.group)
        self.world.crash()
        assert snapshot(self.world.group) == before

    @invariant()
    def nobody_reads_what_another_reads(self) -> None:
        """Of those that the group counts as members; who was removed must have heard of it before it reads on."""
        known = self.world.group.roster.members
        seen: set[tuple[UUID, int]] = set()
        for member in self.members.values():
            if member.member_id in known and member.epoch not in (0, -2):
                assert seen.isdisjoint(member.owned), "two members read one partition"
                seen |= member.owned

    @invariant()
    def the_books_are_right(self) -> None:
        roster = self.world.group.roster
        owners: dict[UUID, dict[int, str]] = {}
        for member in roster.members.values():
            for partitions in (member.current.assigned, member.current.pending_revocation):
                for topic, number in spread_assignment(partitions):
                    assert number not in owners.setdefault(topic, {}), "two members own one partition"
                    owners[topic][number] = member.member_id
            assert member.epoch <= roster.target_epoch
        assert roster.owners == owners
        assert Counter(member.subscription for member in roster.members.values()) == roster.subscriptions
        assert set(roster.regexes) == {subscription.regex for subscription in roster.subscriptions} - {""}
        assert set(roster.targets) <= set(roster.members)
        assert self.epochs <= (roster.epoch, roster.target_epoch), "epochs never go back"
        assert roster.target_epoch <= roster.epoch
        self.epochs = (roster.epoch, roster.target_epoch)

    def teardown(self) -> None:
        """At last everybody behaves: everything is read, and by one each."""
        world = self.world
        assert snapshot(world.replayed(world.log)) == snapshot(world.group)
        assert snapshot(world.replayed(world.compacted())) == snapshot(world.group)
        for _ in range(10):  # those that were killed expire meanwhile, and the others do not
            world.pass_time(10_000)
            for member in self.members.values():
                member.heartbeat()
                member.obey()
        if self.members:
            settle(self.members.values())
        wanted, readers = set(), Counter[tuple[UUID, int]]()
        for member in self.members.values():
            readers.update(member.owned)
            topics = {
                *(member.names or ()),
                *(n for n in world.topics.names() if member.regex and re.fullmatch(member.regex, n)),
            }
            for topic_id, count in filter(None, map(world.topics.partitions_of, topics)):
                wanted |= {(topic_id, number) for number in range(count)}
        assert set(readers) == wanted
        assert set(readers.values()) <= {1}
        if len({(member.names, member.regex) for member in self.members.values()}) == 1:
            sizes = [len(member.owned) for member in self.members.values()]
            assert max(sizes) - min(sizes) <= 1


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
