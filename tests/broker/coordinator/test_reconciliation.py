"""Reconciliation: give up first, then take [C-3]."""

import time
from collections.abc import Collection
from uuid import UUID

from support.consumer_world import gathered
from tidelog.broker.coordinator.assignors import Assignment
from tidelog.broker.coordinator.group_records import CurrentAssignmentValue, MemberState
from tidelog.broker.coordinator.reconciliation import holds_any, holds_only, reconcile
from tidelog.protocol.messages.consumer_group_heartbeat import TopicPartitions

A, B = UUID(int=1), UUID(int=2)
STABLE, UNREVOKED, UNRELEASED = MemberState


def a_value(
    epoch: int, assigned: Assignment, pending: Assignment | None = None, state: MemberState = STABLE, previous: int = 0
) -> CurrentAssignmentValue:
    return CurrentAssignmentValue(
        member_epoch=epoch,
        previous_epoch=previous,
        state=state,
        assigned=assigned,
        pending_revocation=pending or {},
    )


def step(
    current: CurrentAssignmentValue,
    target: Assignment,
    owned: Collection[TopicPartitions] | None = None,
    *,
    taken: Assignment | None = None,
    subscribed: Collection[UUID] = (A, B),
) -> CurrentAssignmentValue:
    """Towards a target of epoch 2."""
    return reconcile(
        current,
        target_epoch=2,
        target=target,
        subscribed=subscribed,
        owned=owned,
        is_free=lambda topic, partition: partition not in (taken or {}).get(topic, ()),
    )


def test_who_has_arrived_stays_as_it_is() -> None:
    current = a_value(2, {A: (0,)})
    assert step(current, {A: (0,)}) is current


def test_who_loses_nothing_rises_at_once_and_gets_what_is_free() -> None:
    assert step(a_value(1, {A: (0,)}), {A: (0, 1), B: (2,)}, taken={A: (1,)}) == (
        a_value(2, {A: (0,), B: (2,)}, state=UNRELEASED, previous=1)
    )
    assert step(a_value(1, {A: (0,)}), {A: (0,), B: (2,)}) == a_value(2, {A: (0,), B: (2,)}, previous=1)


def test_who_has_to_give_up_stays_at_its_epoch_and_gets_nothing_yet() -> None:
    revoking = step(a_value(1, {A: (0, 1)}), {A: (0,), B: (0,)})
    assert revoking == a_value(1, {A: (0,)}, {A: (1,)}, state=UNREVOKED)
    for owned in (None, gathered({(A, 0), (A, 1)}), gathered({(A, 1)})):
        assert step(revoking, {A: (0,), B: (0,)}, owned) is revoking
    assert step(revoking, {A: (0,), B: (0,)}, gathered({(A, 0)})) == a_value(2, {A: (0,), B: (0,)}, previous=1)


def test_who_says_that_it_has_given_up_already_rises_at_once() -> None:
    assert step(a_value(1, {A: (0, 1)}), {A: (0,)}, gathered({(A, 0)})) == a_value(2, {A: (0,)}, previous=1)


def test_what_was_given_up_is_taken_back_if_the_target_says_so_by_then() -> None:
    revoking = a_value(1, {A: (0,)}, {A: (1,)}, state=UNREVOKED)
    assert step(revoking, {A: (0, 1)}, gathered({(A, 0)})) == a_value(2, {A: (0, 1)}, previous=1)


def test_who_waits_gets_what_has_become_free_and_keeps_its_previous_epoch() -> None:
    """Of an answer that got lost, the epoch before the last *change* of epochs is left; see `_moved`."""
    waiting = a_value(2, {A: (0,)}, state=UNRELEASED, previous=1)
    assert step(waiting, {A: (0, 1, 2)}, taken={A: (1, 2)}) is waiting
    assert step(waiting, {A: (0, 1, 2)}, taken={A: (2,)}) == a_value(2, {A: (0, 1)}, state=UNRELEASED, previous=1)
    assert step(waiting, {A: (0, 1, 2)}) == a_value(2, {A: (0, 1, 2)}, previous=1)


def test_what_is_not_subscribed_to_is_not_had_whatever_the_target_says() -> None:
    assert step(a_value(1, {A: (0,)}), {A: (0,), B: (0,)}, subscribed=[B]) == (
        a_value(1, {}, {A: (0,)}, state=UNREVOKED)
    )


def test_who_is_giving_up_is_to_give_up_also_what_it_no_longer_subscribes_to() -> None:
    revoking = a_value(1, {A: (0,), B: (0,)}, {A: (1,)}, state=UNREVOKED)
    assert step(revoking, {}, subscribed=[B]) == a_value(1, {B: (0,)}, {A: (0, 1)}, state=UNREVOKED)
    assert step(revoking, {}) is revoking


def test_what_a_member_does_not_say_it_may_hold() -> None:
    assert holds_any(None, {})
    assert not holds_any((), {A: (0,)})
    assert holds_any(gathered({(A, 0), (B, 3)}), {B: (3,)})
    assert not holds_only(None, {A: (0,)})
    assert holds_only((), {})
    assert holds_only(gathered({(A, 0)}), {A: (0, 1)})
    assert not holds_only(gathered({(A, 2)}), {A: (0, 1)})
    assert not holds_only(gathered({(B, 0)}), {A: (0,)})


def test_a_topic_that_is_named_ever_again_costs_no_more_than_its_name() -> None:
    """Q-3: a hundred thousand times a large set is the loop's time of seconds."""
    topic = UUID(int=1)
    owned = tuple(TopicPartitions(topic_id=topic, partitions=(0,)) for _ in range(20_000))
    partitions = {topic: tuple(range(1, 20_001))}
    began = time.process_time()
    assert not holds_any(owned, partitions)
    assert not holds_only(owned, partitions)
    assert time.process_time() - began < 1.0
