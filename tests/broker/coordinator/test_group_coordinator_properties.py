"""Whatever is asked of a shard, by whomever, a start at any time finds what is remembered now [G-12, G-13, C-8].

Strangers, in no order: requests of both protocols to a few groups, by names and numbers that are right, old or made up;
commits, deletions, offsets that expire, topics that come, grow and go; writes that fail; restarts. What honest members
may rely on is tested in `test_classic_group_properties`, `test_consumer_group` and `test_group_migration_properties`.
"""

import random
from collections.abc import Mapping
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from support.classic_groups import Answer
from support.consumer_world import TopicsForTests, gathered, snapshot
from support.group_settings import SettingsForTests
from support.mixed_groups import RANGE, REBALANCE_MS, SESSION_MS, MixedWorld, assignment, words
from tidelog.broker.coordinator.consumer_group import ConsumerGroup
from tidelog.broker.coordinator.decision import Caller
from tidelog.broker.coordinator.group_coordinator import GroupCoordinator
from tidelog.broker.coordinator.group_records import ClassicGroupMetadata, ConsumerGroupEpoch, Record
from tidelog.protocol.errors import RequestRefused
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from tidelog.protocol.messages.offset_fetch import OffsetFetchRequestGroup, OffsetFetchResponseGroup
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tidelog.protocol.primitives import ZERO_UUID

GROUPS = ("g0", "g1", "g2")
TOPICS = ("a", "b", "c")
PEOPLE = 4
DAY_MS = 86_400_000
CHANCE = st.integers(0, 1 << 32).map(random.Random)
"""Not `st.randoms`, which would have each of its many draws shrunk, and takes a minute."""


class Person:
    """Somebody who talks to a group, in whichever protocol, and keeps what it was told last."""

    def __init__(self, group_id: str, name: str, instance_id: str | None) -> None:
        self.group_id = group_id
        self.name = name
        self.instance_id = instance_id
        self.member_id = ""
        self.number = -1
        """Its generation or epoch."""


def facts_of(coordinator: GroupCoordinator) -> Mapping[str, object]:
    """All that is remembered, by group; nothing of groups that nobody has written of."""
    found: dict[str, object] = {}
    for group_id, group in coordinator.groups.items():
        offsets = {topic: dict(partitions) for topic, partitions in coordinator.offsets.of(group_id).items()}
        if isinstance(group, ConsumerGroup):
            found[group_id] = ("consumer", snapshot(group), offsets)
        elif group.facts.is_written or offsets:
            found[group_id] = ("classic", group.facts.remembered if group.facts.is_written else None, offsets)
    return found


class Shard(RuleBasedStateMachine):
    """See above."""

    def __init__(self) -> None:
        super().__init__()
        topics = TopicsForTests(a=2, b=1)
        self.world = MixedWorld(topics, SettingsForTests(session_timeout_ms=SESSION_MS))
        self.people = [
            Person(group_id, f"p{number}", f"i{number}" if number == 0 else None)
            for group_id in GROUPS
            for number in range(PEOPLE)
        ]

    def number(self, person: Person, chance: random.Random) -> int:
        """Its generation or epoch, mostly the right one."""
        return chance.choice((person.number, person.number, person.number, person.number - 1, -1, 0, 7))

    def name(self, person: Person, chance: random.Random) -> str:
        """Its member id, mostly."""
        return chance.choice((person.member_id, person.member_id, person.member_id, "", "nobody"))

    # -- the classic protocol --

    @rule(chance=CHANCE, version=st.sampled_from([1, 3, 4, 9]))
    def join(self, chance: random.Random, version: int) -> None:
        person = chance.choice(self.people)
        request = JoinGroupRequest(
            group_id=person.group_id,
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            member_id=self.name(person, chance),
            group_instance_id=person.instance_id if version >= 5 else None,
            protocol_type=chance.choice(("consumer", "consumer", "consumer", "connect")),
            protocols=(JoinGroupRequestProtocol(name=RANGE, metadata=words(chance.sample(TOPICS, 2))),),
        )
        caller = Caller(person.name, "/127.0.0.1", version)
        answer = self.world.tell(lambda groups, waiter, at: groups.join_group(request, caller, waiter, at))
        if isinstance(answer.response, JoinGroupResponse) and answer.response.member_id:
            person.member_id = answer.response.member_id
            person.number = max(person.number, answer.response.generation_id)

    @rule(chance=CHANCE)
    def sync(self, chance: random.Random) -> None:
        person = chance.choice(self.people)
        others = [one.member_id for one in self.people if one.group_id == person.group_id and one.member_id]
        request = SyncGroupRequest(
            group_id=person.group_id,
            generation_id=self.generation_of(person, chance),
            member_id=self.name(person, chance),
            group_instance_id=person.instance_id,
            assignments=tuple(
                SyncGroupRequestAssignment(member_id=one, assignment=assignment({("a", index)}))
                for index, one in enumerate(dict.fromkeys(others))
            ),
        )
        caller = Caller(person.name, "/127.0.0.1", 5)
        self.world.tell(lambda groups, waiter, at: groups.sync_group(request, caller, waiter, at))

    def generation_of(self, person: Person, chance: random.Random) -> int:
        """As whoever waits in a join will be told it, mostly."""
        group = self.world.coordinator.groups.get(person.group_id)
        if group is None or isinstance(group, ConsumerGroup) or chance.random() < 0.3:
            return self.number(person, chance)
        return group.generation

    @rule(chance=CHANCE)
    def beat(self, chance: random.Random) -> None:
        person = chance.choice(self.people)
        request = HeartbeatRequest(
            group_id=person.group_id,
            generation_id=self.generation_of(person, chance),
            member_id=self.name(person, chance),
        )
        self.world.tell(lambda groups, waiter, at: groups.heartbeat(request, waiter, at))

    @rule(chance=CHANCE)
    def leave(self, chance: random.Random) -> None:
        person = chance.choice(self.people)
        identity = MemberIdentity(member_id=self.name(person, chance), group_instance_id=person.instance_id)
        request = LeaveGroupRequest(group_id=person.group_id, members=(identity,))
        caller = Caller(person.name, "/127.0.0.1", 5)
        self.world.tell(lambda groups, waiter, at: groups.leave_group(request, caller, waiter, at))

    # -- the consumer protocol --

    @rule(chance=CHANCE, is_full=st.booleans())
    def modern_beat(self, chance: random.Random, is_full: bool) -> None:
        person = chance.choice(self.people)
        epoch = chance.choice((0, 0, person.number, person.number, person.number - 1, -1, -2))
        topics = self.world.topics
        owned = {(topics.by_name[name][0], 0) for name in topics.by_name if chance.random() < 0.3}
        says_all = is_full or epoch == 0
        request = ConsumerGroupHeartbeatRequest(
            group_id=person.group_id,
            member_id=person.member_id or f"{person.group_id}-{person.name}",
            member_epoch=epoch,
            instance_id=person.instance_id,
            rebalance_timeout_ms=REBALANCE_MS if says_all else -1,
            subscribed_topic_names=tuple(chance.sample(TOPICS, 2)) if says_all else None,
            subscribed_topic_regex=chance.choice((None, "[ab]")) if says_all else None,
            topic_partitions=() if epoch == 0 else gathered(owned) if chance.random() < 0.5 else None,
        )
        try:
            answer = self.world.ask(request, person.name)
        except RequestRefused:
            return
        assert isinstance(answer, ConsumerGroupHeartbeatResponse)
        person.member_id, person.number = answer.member_id or "", answer.member_epoch

    # -- offsets --

    @rule(chance=CHANCE, offset=st.integers(0, 9), version=st.sampled_from([4, 8, 9]))
    def commit(self, chance: random.Random, offset: int, version: int) -> None:
        person = chance.choice(self.people)
        parts = tuple(
            OffsetCommitRequestPartition(partition_index=index, committed_offset=offset) for index in range(2)
        )
        request = OffsetCommitRequest(
            group_id=person.group_id,
            generation_id_or_member_epoch=chance.choice((-1, person.number)),
            member_id=chance.choice(("", person.member_id)),
            retention_time_ms=chance.choice((-1, -1, DAY_MS)) if version <= 4 else -1,
            topics=tuple(OffsetCommitRequestTopic(name=name, partitions=parts) for name in chance.sample(TOPICS, 2)),
        )
        self.world.tell(lambda groups, waiter, at: groups.commit_offsets(request, waiter, at, version=version))

    @rule(chance=CHANCE)
    def delete_offsets(self, chance: random.Random) -> None:
        request = OffsetDeleteRequest(
            group_id=chance.choice(GROUPS),
            topics=tuple(
                OffsetDeleteRequestTopic(name=name, partitions=(OffsetDeleteRequestPartition(partition_index=0),))
                for name in chance.sample(TOPICS, 2)
            ),
        )
        self.world.tell(lambda groups, waiter, at: groups.delete_offsets(request, waiter))

    @rule(group_id=st.sampled_from(GROUPS))
    def delete_group(self, group_id: str) -> None:
        self.world.tell(lambda groups, waiter, at: groups.delete_group(group_id, waiter, at))

    # -- what happens --

    @rule(chance=CHANCE)
    def topics_change(self, chance: random.Random) -> None:
        name, topics = chance.choice(TOPICS), self.world.topics
        is_deleted = False
        if name not in topics.by_name:
            topics.create(name, chance.randint(1, 2))
        elif chance.random() < 0.5:
            topics.grow(name, topics.by_name[name][1] + 1)
        else:
            is_deleted = True
            topics.delete(name)
        for decision in self.world.coordinator.topic_changed(name, is_deleted=is_deleted):
            self.world.perform(decision)

    @rule(ms=st.sampled_from([100, 1000, SESSION_MS, REBALANCE_MS, DAY_MS, 8 * DAY_MS]))
    def time_passes(self, ms: int) -> None:
        self.world.pass_time(ms)

    @rule()
    def the_disk_is_full_or_not(self) -> None:
        self.world.is_full = not self.world.is_full

    @rule()
    def the_broker_restarts(self) -> None:
        before = facts_of(self.world.coordinator)
        self.world.is_full, was_full = True, self.world.is_full
        self.world.crash()
        assert facts_of(self.world.coordinator) == before, "a start changes nothing by itself"
        self.world.is_full = was_full

    # -- what is promised --

    @invariant()
    def a_start_finds_what_is_remembered(self) -> None:
        world = self.world
        now = facts_of(world.coordinator)
        assert facts_of(world.replayed(world.log)) == now
        assert facts_of(world.replayed(world.compacted())) == now

    @invariant()
    def offsets_are_told_of_topics_that_are_there(self) -> None:
        coordinator, topics = self.world.coordinator, self.world.topics
        for group_id in GROUPS:
            request = OffsetFetchRequestGroup(group_id=group_id, topics=None)
            [reply] = coordinator.fetch_offsets(request, Answer(), version=9).replies
            assert isinstance(reply.response, OffsetFetchResponseGroup)
            for topic in reply.response.topics:
                if topic.name in topics.by_name:
                    held = coordinator.offsets.of(group_id)[topic.name]
                    told = {one.partition_index: one.committed_offset for one in topic.partitions}
                    assert told == {
                        index: offset.offset
                        for index, offset in held.items()
                        if offset.topic_id in (topics.by_name[topic.name][0], ZERO_UUID)
                    }

    @invariant()
    def nobody_is_kept_of_whom_no_timer_thinks(self) -> None:
        timers = {(key.group_id, key.member_id) for key in self.world.timers}
        for group_id, group in self.world.coordinator.groups.items():
            members = group.roster.members if isinstance(group, ConsumerGroup) else group.members.by_id
            assert all((group_id, member_id) in timers for member_id in members)


TestShard = Shard.TestCase
TestShard.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("seed", range(8))
def test_a_long_life_is_remembered(seed: int) -> None:
    shard = a_long_life(seed)
    kinds = {type(record) for record in shard.world.log}
    assert kinds == set(get_args(Record)), "everything was written that there is to write"
    assert any(isinstance(record, ClassicGroupMetadata) and record.value is None for record in shard.world.log)
    assert any(isinstance(record, ConsumerGroupEpoch) and record.epoch is None for record in shard.world.log)


def a_long_life(seed: int) -> Shard:
    chance = random.Random(seed)
    shard = Shard()
    rules = [
        *[lambda: shard.join(chance, chance.choice((3, 4, 9)))] * 4,
        *[lambda: shard.sync(chance)] * 4,
        *[lambda: shard.modern_beat(chance, chance.random() < 0.5)] * 8,
        *[lambda: shard.commit(chance, chance.randrange(9), chance.choice((4, 8, 9)))] * 4,
        lambda: shard.beat(chance),
        lambda: shard.leave(chance),
        lambda: shard.delete_offsets(chance),
        lambda: shard.delete_group(chance.choice(GROUPS)),
        lambda: shard.topics_change(chance),
        *[lambda: shard.time_passes(chance.choice((100, 1000)))] * 2,
        lambda: shard.time_passes(chance.choice((SESSION_MS, REBALANCE_MS, DAY_MS))),
        shard.the_broker_restarts,
    ]
    for number in range(600):
        chance.choice(rules)()
        shard.nobody_is_kept_of_whom_no_timer_thinks()
        if number % 20 == 0:
            shard.a_start_finds_what_is_remembered()
            shard.offsets_are_told_of_topics_that_are_there()
    return shard
