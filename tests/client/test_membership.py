"""What a member says to its group and when, and what it makes of the answers [C-1 to C-6]."""

import math
import uuid
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fake_coordinator import ConsumerGroup
from tidelog.client.errors import Refused, Unavailable
from tidelog.client.membership import (
    INTERVAL,
    REFUSED_MAX,
    SILENCES_MAX,
    Identity,
    Membership,
    Place,
    Places,
    State,
)
from tidelog.protocol.errors import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import (
    Assignment,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)

TOPIC = uuid.UUID(int=7)


def places(*partitions: int) -> Places:
    return frozenset(Place(TOPIC, partition) for partition in partitions)


def a_membership(*, instance_id: str | None = None) -> Membership:
    identity = Identity(
        group_id="g", member_id="m", instance_id=instance_id, topics=("orders",), rebalance_timeout=60.0
    )
    return Membership(identity, backoff=lambda failures: 0.1 * failures)


def an_answer(
    epoch: int = 1, *, assigned: Iterable[int] | None = None, code: ErrorCode = ErrorCode.NONE, interval_ms: int = 3000
) -> ConsumerGroupHeartbeatResponse:
    assignment = None
    if assigned is not None:
        assignment = Assignment(topic_partitions=(TopicPartitions(topic_id=TOPIC, partitions=tuple(assigned)),))
    return ConsumerGroupHeartbeatResponse(
        error_code=code, member_id="m", member_epoch=epoch, heartbeat_interval_ms=interval_ms, assignment=assignment
    )


def told(request: ConsumerGroupHeartbeatRequest) -> set[int] | None:
    """What the request says that the member has."""
    if request.topic_partitions is None:
        return None
    return {partition for topic in request.topic_partitions for partition in topic.partitions}


def beat(member: Membership, now: float, answer: ConsumerGroupHeartbeatResponse) -> ConsumerGroupHeartbeatRequest:
    assert member.due_at <= now
    request = member.heartbeat(now)
    member.answered(answer, now)
    return request


def a_stable_member(*partitions: int, now: float = 0.0) -> Membership:
    member = a_membership()
    beat(member, now, an_answer(assigned=partitions))
    if partitions:
        member.reconciled(places(*partitions), places(*partitions))
        beat(member, now, an_answer())
    assert member.state is State.STABLE
    return member


def test_it_joins_at_once_and_says_everything() -> None:
    member = a_membership(instance_id="i")
    request = beat(member, 0.0, an_answer(epoch=5))
    assert request == ConsumerGroupHeartbeatRequest(
        group_id="g",
        member_id="m",
        member_epoch=0,
        instance_id="i",
        rebalance_timeout_ms=60_000,
        subscribed_topic_names=("orders",),
        topic_partitions=(),
    )
    assert (member.state, member.epoch) == (State.STABLE, 5)


def test_then_it_says_only_that_it_lives_as_often_as_the_group_wants() -> None:
    member = a_membership()
    beat(member, 0.0, an_answer(epoch=5))
    assert member.due_at == 3.0
    request = beat(member, 3.0, an_answer(epoch=6))
    assert request == ConsumerGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=5)
    assert (member.epoch, member.due_at) == (6, 6.0)


def test_one_heartbeat_is_under_way_at_a_time() -> None:
    member = a_membership()
    member.heartbeat(0.0)
    assert member.due_at == math.inf
    with pytest.raises(AssertionError):
        member.heartbeat(0.0)


def test_an_assignment_is_acknowledged_at_once_when_it_is_reconciled() -> None:
    member = a_membership()
    beat(member, 0.0, an_answer(assigned=[0, 1]))
    assert (member.state, member.target, member.owned) == (State.RECONCILING, places(0, 1), places())
    assert told(beat(member, 3.0, an_answer())) is None, "not yet"
    assert member.state is State.RECONCILING
    member.reconciled(places(0, 1), places(0, 1))
    assert member.due_at <= 3.1
    assert told(beat(member, 3.1, an_answer())) == {0, 1}
    assert member.state is State.STABLE


def test_what_is_to_be_given_up_is_held_until_it_is() -> None:
    member = a_stable_member(0, 1)
    beat(member, 3.0, an_answer(assigned=[1]))
    assert (member.state, member.owned - member.target) == (State.RECONCILING, places(0))
    member.heartbeat(6.0)
    member.failed(6.0, None)
    assert told(beat(member, 6.5, an_answer())) == {0, 1}, "a heartbeat that says everything confirms nothing"
    member.reconciled(places(1), places(1))
    assert told(beat(member, 6.6, an_answer(epoch=2))) == {1}
    assert (member.state, member.epoch) == (State.STABLE, 2)


def test_an_answer_to_an_earlier_heartbeat_does_not_count_for_the_acknowledgement() -> None:
    member = a_stable_member(0)
    beat(member, 3.0, an_answer(assigned=[]))
    request = member.heartbeat(6.0)
    member.reconciled(places(), places())
    member.answered(an_answer(), 6.1)
    assert told(request) is None
    assert member.state is State.ACKNOWLEDGING
    assert told(beat(member, 6.1, an_answer(epoch=2))) == set()
    assert member.state is State.STABLE


def test_an_assignment_that_changes_meanwhile_is_reconciled_next() -> None:
    member = a_stable_member(0, 1)
    beat(member, 3.0, an_answer(assigned=[0]))
    beat(member, 6.0, an_answer(assigned=[0, 1]))
    member.reconciled(places(0), places(0))
    assert told(beat(member, 6.0, an_answer())) == {0}
    assert (member.state, member.target - member.owned) == (State.RECONCILING, places(1))


def test_what_could_not_be_read_of_an_assignment_is_looked_at_again() -> None:
    member = a_membership()
    beat(member, 0.0, an_answer(assigned=[0, 1]))
    member.reconciled(places(0, 1), places(0))
    beat(member, 0.0, an_answer())
    assert member.state is State.STABLE
    member.reconsider()
    assert (member.state, member.target - member.owned) == (State.RECONCILING, places(1))


def test_after_a_failure_everything_is_said_again_with_the_same_epoch() -> None:
    member = a_stable_member(0, 1)
    member.heartbeat(3.0)
    member.failed(13.0, Unavailable("gone"))
    assert (member.due_at, str(member.problem)) == (13.1, "gone")
    request = beat(member, 13.1, an_answer(assigned=[0, 1]))
    assert (request.member_epoch, request.subscribed_topic_names, told(request)) == (1, ("orders",), {0, 1})
    assert (member.state, member.problem) == (State.STABLE, None)
    assert told(beat(member, member.due_at, an_answer())) is None


@pytest.mark.parametrize(
    "code", [ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR]
)
def test_what_may_pass_is_tried_again_more_and_more_slowly(code: ErrorCode) -> None:
    member = a_stable_member(0)
    for failures, now in enumerate((3.0, 4.0, 5.0), start=1):
        beat(member, now, an_answer(code=code))
        assert member.due_at == pytest.approx(now + 0.1 * failures)
        assert isinstance(member.problem, Unavailable)
        assert member.is_member


@pytest.mark.parametrize(
    "code", [ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.GROUP_ID_NOT_FOUND]
)
def test_fenced_it_is_silent_until_all_is_dropped_and_joins_again_under_its_name(code: ErrorCode) -> None:
    member = a_stable_member(0, 1)
    beat(member, 3.0, an_answer(code=code))
    assert (member.state, member.due_at, member.owned, member.is_member) == (State.FENCED, math.inf, places(), False)
    member.dropped()
    request = beat(member, 3.0, an_answer(epoch=9, assigned=[0]))
    assert (request.member_id, request.member_epoch, told(request)) == ("m", 0, set())
    assert (member.state, member.epoch) == (State.RECONCILING, 9)


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.GROUP_AUTHORIZATION_FAILED,
        ErrorCode.INVALID_REGULAR_EXPRESSION,
        ErrorCode.GROUP_MAX_SIZE_REACHED,
        ErrorCode.GROUP_ID_NOT_FOUND,
        ErrorCode.INVALID_REQUEST,
    ],
)
def test_a_refusal_for_good_ends_it(code: ErrorCode) -> None:
    member = a_membership()
    beat(member, 0.0, an_answer(code=code))
    assert (member.state, member.due_at, member.leave()) == (State.FAILED, math.inf, None)
    assert member.error is not None


def test_an_instance_id_that_is_in_use_is_waited_for_as_long_as_a_dead_member_may_have_it() -> None:
    member = a_membership(instance_id="i")
    now = 0.0
    while member.state is State.JOINING:
        beat(member, now, an_answer(code=ErrorCode.UNRELEASED_INSTANCE_ID))
        now += 1.0
    assert now == pytest.approx(REFUSED_MAX + 1)
    assert isinstance(member.error, Refused)
    assert member.error.code is ErrorCode.UNRELEASED_INSTANCE_ID


def test_it_is_certain_of_what_it_has_for_some_intervals_after_it_asked_and_was_answered() -> None:
    member = a_membership()
    assert member.certain_until == -math.inf
    member.heartbeat(10.0)
    member.answered(an_answer(interval_ms=3000), 12.0)
    assert member.certain_until == 10.0 + SILENCES_MAX * 3.0
    beat(member, 15.0, an_answer(code=ErrorCode.UNKNOWN_MEMBER_ID))
    assert member.certain_until == -math.inf


@pytest.mark.parametrize(("instance_id", "epoch"), [(None, -1), ("i", -2)])
def test_leaving_is_said_once_for_good_or_for_a_while(instance_id: str | None, epoch: int) -> None:
    member = a_membership(instance_id=instance_id)
    assert a_membership().leave() is None, "nobody has heard of it"
    member.heartbeat(0.0)
    farewell = member.leave()
    assert farewell is not None, "the join may have been heard"
    assert (farewell.member_id, farewell.member_epoch, farewell.instance_id) == ("m", epoch, instance_id)
    assert (member.leave(), member.due_at) == (None, math.inf)
    member.answered(an_answer(), 1.0)
    assert member.state is State.LEFT


def test_a_hint_that_something_has_changed_is_followed_at_once() -> None:
    member = a_stable_member(0)
    assert member.due_at == 3.0
    member.hurry()
    assert member.due_at == -math.inf


def test_the_interval_is_kafkas_until_the_group_says_its_own() -> None:
    assert a_membership().interval == INTERVAL


# With a group


class World:
    """Three members and their group; heartbeats and answers may get lost."""

    def __init__(self) -> None:
        self.group = ConsumerGroup(session_s=math.inf)
        self.members = [
            Membership(Identity(group_id="g", member_id=f"m{number}", topics=("orders",)), backoff=lambda failures: 0.0)
            for number in range(3)
        ]
        self.expelled: set[str] = set()
        """Those that do not know it yet."""

    def beat(self, member: Membership, *, is_heard: bool = True, is_answered: bool = True) -> None:
        if member.due_at == math.inf:
            return
        request = member.heartbeat(0.0)
        answer = self.group.heartbeat(request, {"orders": (TOPIC, 5)}, now=0.0) if is_heard else None
        if answer is None or not is_answered:
            member.failed(0.0, None)
        else:
            member.answered(answer, 0.0)
        if member.state is State.FENCED:
            self.expelled.discard(member.identity.member_id)

    def settle(self, member: Membership) -> None:
        if member.state is State.RECONCILING:
            member.reconciled(member.target, member.target)
        elif member.state is State.FENCED:
            member.dropped()

    def expel(self, member: Membership) -> None:
        name = member.identity.member_id
        if name in self.group.members:
            self.group.expire(name)
            self.expelled.add(name)

    def check(self) -> None:
        for number in range(5):
            holder = self.group.holder((TOPIC, number))
            owners = [
                member.identity.member_id
                for member in self.members
                if Place(TOPIC, number) in member.owned and member.identity.member_id not in self.expelled
            ]
            assert owners in ([], [holder])


STEPS = st.tuples(st.integers(0, 2), st.sampled_from(["beat", "answer lost", "lost", "settle", "expel"]))


@given(st.lists(STEPS, max_size=60))
def test_members_agree_with_their_group_whatever_is_lost_on_the_way(steps: list[tuple[int, str]]) -> None:
    """No partition is owned by two, and when all is heard again every partition is owned by one."""
    world = World()
    for number, what in steps:
        member = world.members[number]
        if what == "settle":
            world.settle(member)
        elif what == "expel":
            world.expel(member)
        else:
            world.beat(member, is_heard=what != "lost", is_answered=what == "beat")
        world.check()
    for _ in range(20):
        for member in world.members:
            world.beat(member)
            world.settle(member)
            world.check()
    owned = [place for member in world.members for place in member.owned]
    assert sorted(owned) == sorted(places(*range(5)))
    assert len({member.epoch for member in world.members}) == 1
