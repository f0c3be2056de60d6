"""Reconciliation: how a member of a consumer group comes from what it has to what it shall have (KIP-848).

A member gives up before others take: partitions that it shall not have any more are *pending revocation*, and still
its own, until a heartbeat says that it holds none of them. Only then does it rise to the epoch of the target assignment
and get what is new for it, as far as that is free; the rest is *unreleased*, and comes as soon as others have let go.

    state                  waits for                          then
    STABLE                 a newer target assignment          -> any
    UNREVOKED_PARTITIONS   a heartbeat without the revoked    -> any, for the newest target assignment
    UNRELEASED_PARTITIONS  others to let go                   -> any, for the newest target assignment

Pure: from a record's value to the next one. The same object comes back if nothing changes.
"""

from collections.abc import Callable, Collection
from uuid import UUID

from ...protocol.messages.consumer_group_heartbeat import TopicPartitions
from .assignors import Assignment
from .group_records import CurrentAssignmentValue, MemberState

IsFree = Callable[[UUID, int], bool]
"""Whether no *other* member has the partition, or has yet to give it up."""


def reconcile(
    current: CurrentAssignmentValue,
    *,
    target_epoch: int,
    target: Assignment,
    subscribed: Collection[UUID],
    owned: Collection[TopicPartitions] | None,
    is_free: IsFree,
) -> CurrentAssignmentValue:
    """Where the member is after a heartbeat that said it holds `owned` (None: it did not say).

    `subscribed`: the topics of its subscription that exist; whatever else it was to have, it shall not have any more.
    """
    if current.state == MemberState.STABLE and current.member_epoch == target_epoch:
        return current
    if current.state == MemberState.UNREVOKED_PARTITIONS and holds_any(owned, current.pending_revocation):
        return _without_unsubscribed(current, subscribed)
    kept: dict[UUID, tuple[int, ...]] = {}
    revoked: dict[UUID, tuple[int, ...]] = {}
    new: dict[UUID, tuple[int, ...]] = {}
    unreleased = False
    for topic in {**current.assigned, **target}:
        has = current.assigned.get(topic, ())
        shall = target.get(topic, ()) if topic in subscribed else ()
        if has != shall:
            goes = set(has).difference(shall)
            if goes:
                revoked[topic] = tuple(sorted(goes))
                has = tuple(partition for partition in has if partition not in goes)
            missing = sorted(set(shall).difference(has))
            free = tuple(partition for partition in missing if is_free(topic, partition))
            unreleased |= len(free) < len(missing)
            if free:
                new[topic] = tuple(sorted((*has, *free)))
        if has:
            kept[topic] = has
    if revoked and holds_any(owned, revoked):
        return _moved(current, current.member_epoch, MemberState.UNREVOKED_PARTITIONS, assigned=kept, pending=revoked)
    state = MemberState.UNRELEASED_PARTITIONS if unreleased else MemberState.STABLE
    return _moved(current, target_epoch, state, assigned=kept | new, pending={})


def holds_any(owned: Collection[TopicPartitions] | None, partitions: Assignment) -> bool:
    """Whether the member may still hold any of the partitions; what it does not say, it may."""
    if owned is None:
        return True
    said = _united(owned)
    return any(not said.isdisjoint((topic, number) for number in numbers) for topic, numbers in partitions.items())


def holds_only(owned: Collection[TopicPartitions] | None, partitions: Assignment) -> bool:
    """Whether the member says that it holds nothing but partitions of these."""
    if owned is None or any(one.topic_id not in partitions for one in owned):
        return False
    return _united(owned) <= {(topic, number) for topic, numbers in partitions.items() for number in numbers}


def _united(owned: Collection[TopicPartitions]) -> set[tuple[UUID, int]]:
    """Each once: a stranger may name a topic a hundred thousand times."""
    return {(one.topic_id, number) for one in owned for number in one.partitions}


def _without_unsubscribed(current: CurrentAssignmentValue, subscribed: Collection[UUID]) -> CurrentAssignmentValue:
    """The member has still to revoke; what it does not even subscribe to any more, it is to revoke likewise."""
    gone = {topic: parts for topic, parts in current.assigned.items() if topic not in subscribed}
    if not gone:
        return current
    kept = {topic: parts for topic, parts in current.assigned.items() if topic in subscribed}
    pending = dict(current.pending_revocation)
    for topic, parts in gone.items():
        pending[topic] = tuple(sorted({*pending.get(topic, ()), *parts}))
    return _moved(current, current.member_epoch, MemberState.UNREVOKED_PARTITIONS, assigned=kept, pending=pending)


def _moved(
    current: CurrentAssignmentValue,
    epoch: int,
    state: MemberState,
    *,
    assigned: Assignment,
    pending: Assignment,
) -> CurrentAssignmentValue:
    """The next value; its previous epoch is the last one that differs, for that is what a lost answer leaves behind."""
    value = CurrentAssignmentValue(
        member_epoch=epoch,
        previous_epoch=current.member_epoch if epoch != current.member_epoch else current.previous_epoch,
        state=state,
        assigned=assigned,
        pending_revocation=pending,
    )
    return current if value == current else value
