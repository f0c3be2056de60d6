"""Who may commit, fetch and delete offsets, as the groups themselves see it [G-10, G-11, G-12, C-7]."""

from collections.abc import Mapping

import pytest

from support.classic_groups import Answer
from support.classic_groups import World as ClassicWorld
from support.consumer_world import MemberForTests, TopicsForTests, settle
from support.consumer_world import World as ConsumerWorld
from support.group_settings import SettingsForTests
from tidelog.broker.coordinator.classic_group import ClassicGroup
from tidelog.broker.coordinator.decision import Decision, Instant
from tidelog.broker.coordinator.group_records import OffsetCommitted, Record
from tidelog.broker.coordinator.offset_requests import Group, OffsetRequests
from tidelog.broker.coordinator.offsets import Offsets
from tidelog.protocol.errors import ErrorCode, RequestRefused
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponseGroup,
)

WALL_MS = 1_700_000_000_000
DAY_MS = 86_400_000
ORDERS = b"\x00\x00" + b"\x00\x00\x00\x01\x00\x06orders" + b"\xff\xff\xff\xff"
"""What a consumer says that it reads."""


class Shard:
    """Groups and offsets of a shard, without what runs them."""

    def __init__(self, *groups: Group, topics: TopicsForTests | None = None) -> None:
        self.settings = SettingsForTests()
        self.groups: dict[str, Group] = {group.group_id: group for group in groups}
        self.offsets = Offsets()
        self.requests = OffsetRequests(
            self.groups, self.offsets, self.settings, topics or TopicsForTests(orders=2, bills=1)
        )

    def perform(self, decision: Decision[Record]) -> object:
        """The answer."""
        for record in decision.records:
            assert isinstance(record, OffsetCommitted)
            self.offsets.apply(record)
        [reply] = decision.replies
        return reply.response

    def commit(
        self,
        offset: int = 5,
        *,
        topic: str = "orders",
        group_id: str = "g",
        member_id: str = "",
        generation: int = -1,
        instance: str | None = None,
        version: int = 9,
        now_ms: int = 0,
    ) -> int:
        request = OffsetCommitRequest(
            group_id=group_id,
            member_id=member_id,
            generation_id_or_member_epoch=generation,
            group_instance_id=instance,
            topics=(
                OffsetCommitRequestTopic(
                    name=topic, partitions=(OffsetCommitRequestPartition(partition_index=0, committed_offset=offset),)
                ),
            ),
        )
        at = Instant(now_ms, WALL_MS + now_ms)
        try:
            response = self.perform(self.requests.commit(request, Answer(), at, version=version))
        except RequestRefused as refused:
            assert self.told(group_id) != offset
            return refused.code
        assert isinstance(response, OffsetCommitResponse)
        return response.topics[0].partitions[0].error_code

    def fetch(self, group_id: str = "g", *, member_id: str | None = None, epoch: int = -1, version: int = 9) -> int:
        """The offset of orders-0."""
        request = OffsetFetchRequestGroup(
            group_id=group_id,
            member_id=member_id,
            member_epoch=epoch,
            topics=(OffsetFetchRequestTopics(name="orders", partition_indexes=(0,)),),
        )
        decision = self.requests.fetch(request, Answer(), version=version)
        assert not decision.records
        response = self.perform(decision)
        assert isinstance(response, OffsetFetchResponseGroup)
        return response.topics[0].partitions[0].committed_offset

    def told(self, group_id: str = "g") -> int | None:
        committed = self.offsets.get(group_id, "orders", 0)
        return None if committed is None else committed.offset

    def delete(self, group_id: str = "g") -> Mapping[str, int]:
        topics = tuple(
            OffsetDeleteRequestTopic(name=name, partitions=(OffsetDeleteRequestPartition(partition_index=0),))
            for name in ("orders", "bills")
        )
        decision = self.requests.delete(OffsetDeleteRequest(group_id=group_id, topics=topics), Answer())
        response = self.perform(decision)
        assert isinstance(response, OffsetDeleteResponse)
        return {topic.name: topic.partitions[0].error_code for topic in response.topics}

    def expired(self, after_ms: int) -> int:
        return len(self.requests.expired("g", WALL_MS + after_ms))


def a_classic_group(*, protocol_type: str = "consumer", members: int = 0) -> tuple[ClassicWorld, list[str]]:
    world = ClassicWorld()
    protocols = (("range", ORDERS),)
    if protocol_type == "consumer":
        return world, world.stable(members, protocols=protocols) if members else []
    assert members == 1
    joined = world.join(protocol_type=protocol_type, version=3)
    world.advance(0)
    member_id = joined.join.member_id
    assert world.sync(member_id, [(member_id, b"all")]).code == 0
    return world, [member_id]


def a_consumer_group() -> tuple[ConsumerWorld, MemberForTests, Shard]:
    topics = TopicsForTests(orders=2, bills=1)
    world = ConsumerWorld(topics)
    world.group.group_id = "g"
    member = MemberForTests(world, "m", names=("orders",))
    settle([member])
    return world, member, Shard(world.group, topics=topics)


# -- nobody's group --


@pytest.mark.parametrize("group_id", ["g", ""])
def test_who_is_no_member_may_commit_for_a_group_that_nobody_knows(group_id: str) -> None:
    """[G-10]"""
    shard = Shard()
    assert shard.commit(5, group_id=group_id) == ErrorCode.NONE
    assert shard.fetch(group_id) == 5


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (2, ErrorCode.ILLEGAL_GENERATION),
        (8, ErrorCode.ILLEGAL_GENERATION),
        (9, ErrorCode.GROUP_ID_NOT_FOUND),
        (10, ErrorCode.GROUP_ID_NOT_FOUND),
    ],
)
def test_a_member_of_a_group_that_nobody_knows_is_told_so(version: int, code: ErrorCode) -> None:
    """[G-10]"""
    assert Shard().commit(member_id="m", generation=0, version=version) == code


def test_the_group_is_not_asked_about_a_commit_of_nothing_that_exists() -> None:
    """As in Kafka, where the coordinator does not even hear of it."""
    assert Shard().commit(topic="nothing", member_id="m", generation=7) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_of_a_group_that_nobody_knows_there_are_no_offsets() -> None:
    """[G-11]"""
    assert Shard().fetch() == -1
    assert Shard().fetch(member_id="m", epoch=7) == -1


def test_offsets_of_groups_that_nobody_knows_cannot_be_deleted() -> None:
    with pytest.raises(RequestRefused, match="GROUP_ID_NOT_FOUND"):
        Shard().delete()
    with pytest.raises(RequestRefused, match="INVALID_GROUP_ID"):
        Shard().delete("")


# -- classic groups --


def test_an_empty_classic_group_takes_commits_of_everybody() -> None:
    """[G-10]"""
    world, _ = a_classic_group()
    shard = Shard(world.group)
    assert shard.commit(5) == ErrorCode.NONE
    assert shard.delete() == {"orders": 0, "bills": 0}
    assert shard.told() is None


def test_a_classic_group_with_members_takes_commits_of_them_alone() -> None:
    """[G-10]"""
    world, [member_id] = a_classic_group(members=1)
    shard = Shard(world.group)
    generation = world.group.generation
    assert shard.commit(5, member_id=member_id, generation=generation) == ErrorCode.NONE
    assert shard.commit(6) == ErrorCode.UNKNOWN_MEMBER_ID
    assert shard.commit(6, member_id="another", generation=generation) == ErrorCode.UNKNOWN_MEMBER_ID
    assert shard.commit(6, member_id=member_id, generation=generation + 1) == ErrorCode.ILLEGAL_GENERATION
    assert shard.commit(6, member_id=member_id, generation=generation - 1) == ErrorCode.ILLEGAL_GENERATION
    assert shard.fetch() == 5


def test_while_a_rebalance_gathers_members_the_old_generation_may_commit() -> None:
    """[G-10, G-14]"""
    world, [member_id] = a_classic_group(members=1)
    shard, generation = Shard(world.group), world.group.generation
    world.enter(protocols=(("range", ORDERS),))
    assert world.group.state.value == "PreparingRebalance"
    assert shard.commit(5, member_id=member_id, generation=generation) == ErrorCode.NONE
    world.enter(member_id, protocols=(("range", ORDERS),))
    assert world.group.state.value == "CompletingRebalance"
    assert shard.commit(6, member_id=member_id, generation=generation) == ErrorCode.ILLEGAL_GENERATION
    assert shard.commit(6, member_id=member_id, generation=generation + 1) == ErrorCode.REBALANCE_IN_PROGRESS


def test_a_commit_is_a_sign_of_life() -> None:
    world, [member_id] = a_classic_group(members=1)
    shard, generation = Shard(world.group), world.group.generation
    for _ in range(5):
        world.advance(9_000)  # of a session of 10 s
        assert shard.commit(member_id=member_id, generation=generation, now_ms=world.now_ms) == ErrorCode.NONE
    assert isinstance(world.group, ClassicGroup)
    assert member_id in world.group.members.by_id
    world.advance(10_000)
    assert member_id not in world.group.members.by_id


def test_offsets_of_topics_that_members_read_stay() -> None:
    """[G-12]"""
    world, [member_id] = a_classic_group(members=1)
    shard, generation = Shard(world.group), world.group.generation
    for topic in ("orders", "bills"):
        shard.commit(topic=topic, member_id=member_id, generation=generation)
    assert shard.delete() == {"orders": ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, "bills": ErrorCode.NONE}
    assert (shard.told(), shard.offsets.get("g", "bills", 0)) == (5, None)


def test_nothing_is_deleted_while_members_read_who_knows_what() -> None:
    """[G-12]"""
    world, [member_id] = a_classic_group(protocol_type="connect", members=1)
    shard = Shard(world.group)
    assert shard.commit(member_id=member_id, generation=world.group.generation) == ErrorCode.NONE
    with pytest.raises(RequestRefused, match="NON_EMPTY_GROUP"):
        shard.delete()
    assert shard.expired(700 * DAY_MS) == 0


def test_offsets_of_simple_consumers_expire_by_themselves() -> None:
    """[G-12]"""
    world, _ = a_classic_group()
    shard = Shard(world.group)
    shard.commit()
    assert [shard.expired(7 * DAY_MS - 1), shard.expired(7 * DAY_MS)] == [0, 1]
    shard.settings.offsets_retention_ms = 8 * DAY_MS
    assert shard.expired(7 * DAY_MS) == 0


def test_offsets_of_a_group_that_was_left_expire_after_that() -> None:
    """[G-12]"""
    world, [member_id] = a_classic_group(members=1)
    shard = Shard(world.group)
    for topic in ("orders", "bills"):
        shard.commit(topic=topic, member_id=member_id, generation=world.group.generation)
    assert shard.expired(700 * DAY_MS) == 1  # of the bills, which nobody reads
    world.advance(5_000)
    world.leave(member_id)
    assert world.group.empty_since_ms == WALL_MS + 5_000
    assert [shard.expired(7 * DAY_MS + 4_999), shard.expired(7 * DAY_MS + 5_000)] == [0, 2]


def test_nothing_expires_in_the_middle_of_a_rebalance() -> None:
    """[G-12]"""
    world, [member_id] = a_classic_group(members=1)
    shard = Shard(world.group)
    shard.commit(topic="bills", member_id=member_id, generation=world.group.generation)
    world.enter(protocols=(("range", ORDERS),))
    assert shard.expired(700 * DAY_MS) == 0


# -- consumer groups --


def test_a_member_of_a_consumer_group_commits_with_its_epoch() -> None:
    """[C-7]"""
    _, member, shard = a_consumer_group()
    assert shard.commit(5, member_id="m", generation=member.epoch) == ErrorCode.NONE
    assert shard.commit(6, member_id="m", generation=member.epoch + 1) == ErrorCode.STALE_MEMBER_EPOCH
    assert shard.commit(6, member_id="m", generation=member.epoch - 1) == ErrorCode.STALE_MEMBER_EPOCH
    assert shard.commit(6, member_id="n", generation=member.epoch) == ErrorCode.UNKNOWN_MEMBER_ID
    assert shard.commit(6) == ErrorCode.UNKNOWN_MEMBER_ID
    assert shard.commit(6, member_id="m", generation=member.epoch, version=8) == ErrorCode.UNSUPPORTED_VERSION
    assert shard.fetch(member_id="m", epoch=member.epoch) == 5


def test_an_empty_consumer_group_takes_commits_of_everybody() -> None:
    """[C-7]"""
    _, member, shard = a_consumer_group()
    member.leave()
    assert shard.commit(5) == ErrorCode.NONE
    assert shard.commit(6, member_id="m", generation=1) == ErrorCode.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", [1, 7, 8, 9, 10])
def test_who_does_not_claim_to_be_a_member_is_told_offsets(version: int) -> None:
    """[C-7]"""
    _, member, shard = a_consumer_group()
    shard.commit(5, member_id="m", generation=member.epoch)
    assert shard.fetch(version=version) == 5


def test_who_claims_to_be_a_member_is_told_offsets_at_its_epoch_alone() -> None:
    """[C-7]"""
    _, member, shard = a_consumer_group()
    with pytest.raises(RequestRefused, match="STALE_MEMBER_EPOCH"):
        shard.fetch(member_id="m", epoch=member.epoch + 1)
    with pytest.raises(RequestRefused, match="UNKNOWN_MEMBER_ID"):
        shard.fetch(member_id="n", epoch=1)


def test_offsets_of_topics_that_a_consumer_group_reads_stay() -> None:
    """[G-12]"""
    _, member, shard = a_consumer_group()
    for topic in ("orders", "bills"):
        shard.commit(topic=topic, member_id="m", generation=member.epoch)
    assert shard.expired(7 * DAY_MS) == 1
    assert shard.delete() == {"orders": ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, "bills": ErrorCode.NONE}
    assert shard.told() == 5
